//! See `gateway_fuzz::gemini_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::gemini_stream(bytes));

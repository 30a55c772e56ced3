//! See `gateway_fuzz::gemini`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::gemini(bytes));

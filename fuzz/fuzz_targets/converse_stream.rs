//! See `gateway_fuzz::converse_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::converse_stream(bytes));

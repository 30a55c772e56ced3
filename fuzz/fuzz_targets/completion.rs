//! See `gateway_fuzz::completion`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::completion(bytes));

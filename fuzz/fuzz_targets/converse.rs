//! See `gateway_fuzz::converse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::converse(bytes));

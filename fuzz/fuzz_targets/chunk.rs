//! See `gateway_fuzz::chunk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::chunk(bytes));

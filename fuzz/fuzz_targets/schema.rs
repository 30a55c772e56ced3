//! See `gateway_fuzz::schema`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::schema(bytes));

//! See `gateway_fuzz::request_messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::request_messages(bytes));

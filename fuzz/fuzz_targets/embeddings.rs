//! See `gateway_fuzz::embeddings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::embeddings(bytes));

//! See `gateway_fuzz::request_embeddings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::request_embeddings(bytes));

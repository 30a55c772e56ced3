//! One binary for all of this crate's integration tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub
)]

mod after_an_answer;
mod binaries;
mod lambda;
mod runtime_double;

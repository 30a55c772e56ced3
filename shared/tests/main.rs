//! The core from outside: the contract suites of its borders, and requests through the whole pipeline.
//!
//! One binary, so that the crate is linked once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod contracts;
mod rig;
mod stages;

//! One binary for all of this crate's integration tests: the control plane on a real gateway in this process, with the
//! embedded directory and ledger, the simulated provider and a clock that stands still.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub
)]

mod access;
mod admins;
mod alerts;
mod again;
mod bad_input;
mod borders;
mod house;
mod idempotency;
mod key_limits;
mod keys;
mod lists;
mod lost_updates;
mod metrics;
mod openapi;
mod quota;
mod reading;
mod tenants;
mod usage;
mod usage_by;

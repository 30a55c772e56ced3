//! What every store does, whatever it is made of: one list of cases for each of its three borders.
//!
//! An implementation is held to it by one line for each border,
//! `store::contract::counters(async || Arc::new(fresh_one()) as Arc<dyn Counters>).await`, on a runtime of several threads,
//! for the sake of the cases in which many ask at once. Time is passed in, so nothing here waits; an implementation that
//! leaves expiry to its backend's own clock does not keep the contract.
//!
//! The cases hold up M1, M2, M5, M7 (counters), T1 (cache) and A6 (health).

#![cfg(any(test, feature = "contract"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod cache;
mod counters;
mod health;
mod interleavings;

use super::{Counters, HealthStore, ResponseCache};
use std::sync::Arc;

/// 2025-11-22 14:00:00 UTC: within a day and a month, at the edge of neither.
pub const NOW: u64 = 1_763_820_000_000;

/// Runs every case of the counters, each on counters of its own that `fresh` makes, empty.
///
/// # Panics
/// If the counters break the contract; the message says which case.
pub async fn counters(fresh: impl AsyncFn() -> Arc<dyn Counters>) {
    counters::suite(&fresh).await;
    interleavings::suite(&fresh).await;
}

/// Runs every case of the response cache, each on a cache of its own that `fresh` makes: empty, with room for 4 MiB, and
/// for 1 MiB in one entry.
///
/// # Panics
/// If the cache breaks the contract; the message says which case.
pub async fn response_cache(fresh: impl AsyncFn() -> Arc<dyn ResponseCache>) {
    cache::suite(&fresh).await;
}

/// Runs every case of the health store, each on a store of its own that `fresh` makes: empty, with default settings.
///
/// # Panics
/// If the store breaks the contract; the message says which case.
pub async fn health(fresh: impl AsyncFn() -> Arc<dyn HealthStore>) {
    health::suite(&fresh).await;
}

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

use super::{Admission, Counters, HealthStore, ResponseCache, Settled, Settlement, StoreError, Ticket, Verdict};
use crate::id::RequestId;
use crate::limit::window::Window;
use crate::money::{Amounts, Charged};
use async_trait::async_trait;
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

/// The incarnation of a tenant's counters, as a request is told it whose settings the store was not told.
///
/// # Panics
/// If such a request is not told that it is stale.
pub async fn incarnation_of(counters: &dyn Counters, tenant: &str, now_ms: u64) -> u64 {
    let ask = Admission {
        tenant: tenant.into(),
        id: RequestId::new(now_ms),
        settings_version: u64::MAX,
        request_rate: None,
        token_rate: None,
        rate_tokens: 0,
        concurrency: None,
        quotas: Vec::new(),
        hold: Amounts::default(),
        strict_hold: Amounts::default(),
        lease_until_ms: now_ms + 60_000,
    };
    match counters.admit_unticketed(&ask, false, now_ms).await.unwrap() {
        Verdict::Stale { incarnation, .. } => incarnation,
        other => panic!("should be stale, but: {other:?}"),
    }
}

/// What is asked of counters with a ticket that knows nothing, as whoever was never told what became of a request's admission.
#[async_trait]
pub trait Unticketed {
    async fn admit_unticketed(&self, ask: &Admission, hit: bool, now_ms: u64) -> Result<Verdict, StoreError>;
    async fn settle_unticketed(&self, settlement: &Settlement, now_ms: u64) -> Result<Settled, StoreError>;
    async fn release_unticketed(&self, ask: &Admission, now_ms: u64) -> Result<(), StoreError>;
}

#[async_trait]
impl<T: Counters + ?Sized> Unticketed for T {
    async fn admit_unticketed(&self, ask: &Admission, hit: bool, now_ms: u64) -> Result<Verdict, StoreError> {
        self.admit(ask, &mut Ticket::new(ask.id), hit, now_ms).await
    }

    async fn settle_unticketed(&self, settlement: &Settlement, now_ms: u64) -> Result<Settled, StoreError> {
        self.settle(settlement, &Ticket::new(settlement.id), now_ms).await
    }

    async fn release_unticketed(&self, ask: &Admission, now_ms: u64) -> Result<(), StoreError> {
        self.release(ask, &Ticket::new(ask.id), now_ms).await
    }
}

/// Tells counters a tenant's version and windows, as a request does that found them stale.
///
/// # Panics
/// If they do not heed it.
pub async fn rebuild(
    counters: &dyn Counters,
    tenant: &str,
    settings_version: u64,
    windows: &[(Window, Charged)],
    now_ms: u64,
) {
    let incarnation = incarnation_of(counters, tenant, now_ms).await;
    assert!(counters.rebuild(tenant, Some(incarnation), settings_version, windows, now_ms).await.unwrap());
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

//! Waits before a retry.

use crate::id::jitter;
use crate::limit::retry_budget::backoff_ms;
use crate::request::work::Work;
use std::time::Duration;
use tokio::time::Instant;

/// The longest that a request waits for its only candidate's `Retry-After`.
const LONGEST_WAIT_MS: u64 = 10_000;

/// Waits before a retry of the same candidate, if the budget and the deadline allow one.
pub(crate) async fn back_off(work: &mut Work<'_>, retries: u32) -> bool {
    let config = &work.gateway.config;
    if retries >= config.max_retries_per_candidate || !work.gateway.may_retry().await {
        return false;
    }
    let until = Instant::now() + Duration::from_millis(backoff_ms(retries + 1, jitter(), &config.retry));
    if work.deadline.comes_by(until) {
        return false;
    }
    work.journal.wait(work.deadline.sleep_until(until)).await;
    true
}

/// Waits for the only candidate, as long as its `retry-after` says; without one, as after any failure (A3).
pub(crate) async fn wait_until(work: &mut Work<'_>, until_ms: Option<u64>, retries: u32) -> bool {
    let Some(until_ms) = until_ms else { return back_off(work, retries).await };
    let wait_ms = until_ms.saturating_sub(work.gateway.clock.now_ms());
    if retries >= work.gateway.config.max_retries_per_candidate
        || wait_ms > LONGEST_WAIT_MS
        || wait_ms >= work.left_ms()
    {
        return false;
    }
    if !work.gateway.may_retry().await {
        return false;
    }
    let until = Instant::now() + Duration::from_millis(wait_ms);
    work.journal.wait(work.deadline.sleep_until(until)).await;
    true
}

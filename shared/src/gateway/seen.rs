//! What this process has seen of the fleet that its operator is to be told of; `fleet_alerts` tells it.

use crate::locking::lock;
use crate::receipt::{Attempt, AttemptOutcome};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// So many admissions in a row that the store did not answer are an outage.
pub(super) const STORE_FAILURES: u32 = 3;

/// What this process has seen.
#[derive(Default)]
pub(crate) struct Seen(pub(super) Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    /// Models that failed, and since when they were out when that was told, in Unix milliseconds.
    pub(super) models: HashMap<Arc<str>, Option<u64>>,
    pub(super) store_failures: u32,
    pub(super) store_is_told: bool,
    pub(super) ledger_is_told: bool,
}

impl Seen {
    /// Notes which models a request did not get an answer of.
    pub(super) fn note_attempts(&self, attempts: &[Attempt]) {
        let failed = attempts.iter().filter(|attempt| attempt.outcome != AttemptOutcome::Ok);
        for attempt in failed {
            lock(&self.0).models.entry(attempt.model.clone()).or_default();
        }
    }

    /// Notes that the store did not answer an admission, or that it did.
    pub(super) fn note_store(&self, answers: bool) {
        let failures = &mut lock(&self.0).store_failures;
        *failures = if answers { 0 } else { failures.saturating_add(1) };
    }
}

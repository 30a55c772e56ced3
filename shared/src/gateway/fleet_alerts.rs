//! What the whole fleet's operator is told of: models that are out, keys that are refused, a store or a ledger that is down.
//!
//! Each is found by many processes at once and told by the one that has its claim. What a process saw stays noted until it is
//! over, so that the end is told as well.

use crate::alerts::alert::{Alert, Claim, Kind};
use crate::clock::{DAY_MS, HOUR_MS};
use crate::gateway::Gateway;
use crate::gateway::seen::STORE_FAILURES;
use crate::health::Word;
use crate::locking::lock;
use crate::receipt::Attempt;
use serde_json::json;
use std::sync::Arc;

/// The same is not told again for so long.
const OUTAGE_AGAIN_MS: u64 = 600_000;
const KEY_AGAIN_MS: u64 = HOUR_MS;

/// What is told once while it lasts, or once an hour.
fn claim(what: String, until_ms: u64) -> Claim {
    Claim { uid: None, what, until_ms }
}

impl Gateway {
    /// Notes what a request's attempts show of models, where somebody is told.
    pub(crate) fn note_attempts(&self, attempts: &[Attempt]) {
        if !self.alerting.is_off() {
            self.seen.note_attempts(attempts);
        }
    }

    /// Notes whether the store answered an admission, where somebody is told.
    pub(crate) fn note_store(&self, answers: bool) {
        if !self.alerting.is_off() {
            self.seen.note_store(answers);
        }
    }

    /// Has told what has happened to the fleet since the last look.
    pub(super) async fn look_at_the_fleet(&self, now_ms: u64) {
        self.look_at_models(now_ms).await;
        self.look_at_keys(now_ms);
        self.look_at_the_store(now_ms);
        self.look_at_the_ledger(now_ms).await;
    }

    async fn look_at_models(&self, now_ms: u64) {
        let names: Vec<Arc<str>> = lock(&self.seen.0).models.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        // What this process alone has seen is nothing to tell the fleet's operator.
        let (health, true) = self.health.snapshot(&names, now_ms).await else { return };
        for (name, health) in names.into_iter().zip(health) {
            let out_since_ms = (health.condition.word == Word::Down).then_some(health.condition.since_ms);
            let known = match out_since_ms {
                Some(_) => lock(&self.seen.0).models.insert(name.clone(), out_since_ms).flatten(),
                None => lock(&self.seen.0).models.remove(&name).flatten(),
            };
            let (kind, since_ms, text) = match (known, out_since_ms) {
                (None, Some(since_ms)) => (Kind::BreakerOpened, since_ms, "is out: its breaker is open"),
                (Some(since_ms), None) => (Kind::BreakerClosed, since_ms, "answers again: its breaker is closed"),
                _ => continue,
            };
            let details = json!({"model": name, "since_ms": since_ms});
            let alert = Alert::of_fleet(kind, format!("{name} {text}"), details, now_ms);
            self.alerting.tell(claim(format!("{} {name} {since_ms}", kind.as_str()), now_ms + DAY_MS), alert, now_ms);
        }
    }

    fn look_at_keys(&self, now_ms: u64) {
        for (name, provider) in &self.providers {
            for refused in provider.take_refused_keys() {
                let (last4, status) = (&*refused.last4, refused.status);
                let text = format!("{name} refuses our key …{last4} ({status})");
                let details = json!({"provider": name, "key_last4": last4, "status": status});
                let alert = Alert::of_fleet(Kind::KeyRefused, text, details, now_ms);
                self.alerting.tell(claim(format!("key {name} {last4}"), now_ms + KEY_AGAIN_MS), alert, now_ms);
            }
        }
    }

    fn look_at_the_store(&self, now_ms: u64) {
        let (kind, text) = {
            let mut state = lock(&self.seen.0);
            let (failures, is_told) = (state.store_failures, state.store_is_told);
            let told = match is_told {
                false if failures >= STORE_FAILURES => {
                    (Kind::StoreDown, "The store is down: limits are held by outage shares")
                }
                true if failures == 0 => (Kind::StoreUp, "The store answers again"),
                _ => return,
            };
            state.store_is_told = !is_told;
            told
        };
        let alert = Alert::of_fleet(kind, text.to_owned(), json!({}), now_ms);
        self.alerting.tell(claim(kind.as_str().to_owned(), now_ms + OUTAGE_AGAIN_MS), alert, now_ms);
    }

    /// An outage of the ledger cannot be kept in it. So it is claimed in the store, and sent out of this process's memory.
    async fn look_at_the_ledger(&self, now_ms: u64) {
        let (fault, is_told) = (self.ledger_standing.fault(), lock(&self.seen.0).ledger_is_told);
        if fault.is_some() == is_told {
            return;
        }
        let kind = if is_told { Kind::LedgerUp } else { Kind::LedgerDown };
        let claim = claim(kind.as_str().to_owned(), now_ms + OUTAGE_AGAIN_MS);
        match fault {
            None => {
                let alert = Alert::of_fleet(kind, "The ledger takes receipts again".to_owned(), json!({}), now_ms);
                self.alerting.tell(claim, alert, now_ms);
            }
            Some(why) => {
                let text = format!("The ledger is down ({why}): receipts go to the log");
                // Without the store each process tells it.
                if self.store.claim(&claim.what, OUTAGE_AGAIN_MS, now_ms).await.unwrap_or(true) {
                    self.alerting.tell_unkept(Alert::of_fleet(kind, text, json!({}), now_ms));
                }
            }
        }
        lock(&self.seen.0).ledger_is_told = !is_told;
    }
}

//! Alerts: what an operator is told of without asking. See ADR 50.
//!
//! What is told stands here, and where it goes; when it is found and sent is [`crate::gateway`]'s, and what keeps
//! it until it is delivered is the ledger's [outbox](crate::ledger::Outbox).

pub mod address;
pub mod alert;
pub(crate) mod budget;
pub mod delivery;
pub mod webhook;

use alert::Alert;
use async_trait::async_trait;
use delivery::Tried;

/// A way to a destination.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Sends an alert there once. What it takes in time is for the caller to bound; `now_ms` is Unix milliseconds.
    async fn deliver(&self, to: &str, alert: &Alert, now_ms: u64) -> Tried;
}

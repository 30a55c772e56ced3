//! The outbox: alerts that were found, until they are delivered, and for a while after.
//!
//! It is in the ledger and not in the store because an alert must outlive both the process that found it, which a frozen
//! function is as good as, and the loss of the store. Posting is one conditional write with the claim, so that of many
//! processes that find the same one posts it. A try that ends between the receiver's answer and the note of it is made
//! again: a receiver may get an alert twice, by the same id, and never misses one.

use crate::alerts::alert::Claim;
use crate::alerts::delivery::Posted;
use crate::ledger::error::LedgerError;
use async_trait::async_trait;

/// How many alerts are listed, and so many at least are kept.
pub const ALERTS_LISTED: usize = 100;

/// Alerts on their way.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Keeps an alert, and its claim, unless one is there whose time is not over at `now_ms`; answers whether it did. Whoever
    /// posts it delivers it: it is due for others only after `lease_ms`.
    async fn post(&self, claim: &Claim, posted: &Posted, lease_ms: u64, now_ms: u64) -> Result<bool, LedgerError>;

    /// At most `limit` alerts that are due, each to one caller, and to others only after `lease_ms`.
    async fn take_due(&self, limit: usize, lease_ms: u64, now_ms: u64) -> Result<Vec<Posted>, LedgerError>;

    /// Keeps how it stands with an alert that was posted or taken.
    async fn note_delivery(&self, posted: &Posted) -> Result<(), LedgerError>;

    /// The latest [`ALERTS_LISTED`], newest first.
    async fn alerts(&self) -> Result<Vec<Posted>, LedgerError>;
}

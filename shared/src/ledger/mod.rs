//! The ledger: receipts, and the totals that are their sums; the durable truth about what was used (M5).
//!
//! The store may be flushed at any moment; the next admission then asks the ledger what a window had used. A receipt is
//! recorded once, however often it is sent (M2), and is on disk, safe from `kill -9`, when [`Ledger::record`] returns.
//!
//! `tenant` is a tenant's uid wherever it stands here (T5): what a tenant of the same id did before is another's.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod embedded;
mod claims;
mod error;
mod outbox;
mod spread;
mod tags;
mod tally;
mod usage;
pub(crate) mod standing;

pub use claims::{Begun, Claims, IdempotencyKey};
pub use error::LedgerError;
pub use outbox::{ALERTS_LISTED, Outbox};
pub use spread::Spread;
pub use tags::{REST, TAG_KEYS, TAG_VALUES};
pub use tally::{Calls, Counts, Figures, Period, Tally};
pub use usage::{Column, TagQuery, UsageQuery, UsageRow};

use crate::directory::Page;
use crate::feedback::Feedback;
use crate::id::RequestId;
use crate::limit::window::Window;
use crate::money::Charged;
use crate::receipt::Receipt;
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// A query for receipts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptQuery {
    /// Only those of the tenant of this uid.
    pub tenant: Option<Arc<str>>,
    /// Only those of requests that came in then, in Unix milliseconds.
    pub created_ms: RangeInclusive<u64>,
}

impl ReceiptQuery {
    /// Whether this receipt is among them.
    fn is_of(&self, receipt: &Receipt) -> bool {
        self.created_ms.contains(&receipt.created_at_ms)
            && self.tenant.as_ref().is_none_or(|tenant| tenant == receipt.uid())
    }
}

/// Which tenants are meant, by their uids.
pub type WhoseUid = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What was erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Receipts.
    pub receipts: u64,
    /// Rows of usage, or parts of them.
    pub usage_rows: u64,
    /// Totals, grants, idempotency keys and their answers.
    pub others: u64,
    /// Where the next call goes on; `None` when all is done.
    pub next: Option<String>,
}

/// Where receipts are kept.
#[async_trait]
pub trait Ledger: Claims + Outbox {
    /// Records a receipt: itself, its windows' totals, its hour's and its tags'. Sent twice, it counts once, and the first one stays.
    async fn record(&self, receipt: &Receipt) -> Result<(), LedgerError>;

    /// Takes note of a cache hit without making its answer wait: where a durable record is cheap it is made, elsewhere
    /// the structured log line is the receipt. An error means that the record was to be made and was not.
    fn note_hit(&self, receipt: &Receipt) -> Result<(), LedgerError>;

    /// What a tenant has used in a window: the sum over the receipts that name it.
    async fn totals(&self, tenant: &str, window: &Window) -> Result<Charged, LedgerError>;

    /// A tenant's receipt with what was said of it, if it is this tenant's (T1) and not older than 30 days at `now_ms`.
    async fn receipt(&self, tenant: &str, id: RequestId, now_ms: u64) -> Result<Option<Receipt>, LedgerError>;

    /// Keeps what a tenant says of one of its receipts, in place of what it said before; durable when this returns. Answers
    /// whether there is a receipt of this id, of this tenant and not older than 30 days at `now_ms`; where there is none,
    /// nothing is kept. Of two that come at once one stands, whole.
    async fn keep_feedback(
        &self,
        tenant: &str,
        id: RequestId,
        feedback: &Feedback,
        now_ms: u64,
    ) -> Result<bool, LedgerError>;

    /// Goes through the receipts of a query: one page from after `cursor` is what one read of the backend brings, about a
    /// megabyte, and may hold none though more follow. Those of one tenant come newest first; those of all in no promised
    /// order, and one that is recorded meanwhile may be missed.
    async fn receipts(&self, query: &ReceiptQuery, cursor: Option<&str>) -> Result<Page<Receipt>, LedgerError>;

    /// At most `limit` rows by day, tenant and model, from after `cursor`. The query is of whole days.
    async fn usage(
        &self,
        query: &UsageQuery,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<UsageRow>, LedgerError>;

    /// What the receipts of a query add up to, told apart by these columns and in their order. By [`Column::Tag`] it needs the
    /// query's tag.
    async fn usage_by(&self, query: &UsageQuery, by: &BTreeSet<Column>) -> Result<Vec<UsageRow>, LedgerError>;

    /// What the receipts of a period add up to: exactly the fold over them.
    async fn figures(&self, period: &Period) -> Result<Figures, LedgerError>;

    /// For how long hours are kept apart; what is older is known by day, and counts in a day's first hour.
    fn keeps_hours_ms(&self) -> u64;

    /// Writes what waits in this process, so that every other one sees it: before the process ends, and now and then.
    async fn flush(&self) -> Result<(), LedgerError>;

    /// Erases what is kept of the tenants that are `whose`: receipts, totals, usage rows and claims, from after `cursor`. It
    /// is not seen any more when this returns, and its bytes are gone from the log and the table. A receipt that is
    /// recorded meanwhile may stay.
    async fn erase(&self, whose: WhoseUid, cursor: Option<&str>) -> Result<Erased, LedgerError>;

    /// Whether the ledger answers and, as far as it knows without trying, takes what is written.
    async fn ping(&self) -> Result<(), LedgerError>;

    /// Whether it takes what is written, found out by writing something that does not count. A ledger that can be read and
    /// is full, throttled or read-only answers a ping.
    async fn probe(&self) -> Result<(), LedgerError>;
}

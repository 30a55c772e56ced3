//! The ledger in DynamoDB: what a fleet of functions shares.
//!
//! A receipt, its windows' totals and its hour's are one transaction, whose condition is that the receipt is not there yet:
//! it is counted once, however often it is sent and by whomever (M2), and the totals are always the sums of the receipts
//! (M5). Only a receipt that is sent again after 31 days, when DynamoDB has deleted it, counts twice.
//!
//! One item takes 1,000 writes a second, and a transaction that meets another on an item is cancelled. So each sum is
//! spread over 16 items in partitions of their own, and read as the sum of these. Which of them a receipt is added to does
//! not matter; the one whose transaction was cancelled tries another.
//!
//! A cache hit may not wait for a write. Its receipt is kept in this process and written beside the next receipt that is,
//! or when the process flushes, many hits in one transaction. If the process ends first, or a thousand are waiting, the structured log line is the
//! receipt, and replaying it counts it once, whether or not it had been written.

mod claims;
mod listing;
mod outbox;
mod receipts;
mod row;
mod scan;
mod tag_row;
mod usage;

use self::receipts::{SHARDS, Tagged, changes, charged, kept, list_day, receipt_key, totals_key};
use super::tags::{OfDay, TAG_KEYS, Tag, Tags};
use super::{Column, Erased, Figures, Ledger, LedgerError, Period, ReceiptQuery, UsageQuery, UsageRow, WhoseUid};
use crate::clock::DAY_MS;
use crate::directory::Page;
use crate::dynamodb::{Fault, Table};
use crate::feedback::Feedback;
use crate::id::RequestId;
use crate::limit::window::{Window, day_utc};
use crate::locking::lock;
use crate::money::Charged;
use crate::receipt::Receipt;
use async_trait::async_trait;
use futures_util::future::try_join_all;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::timeout;

/// For how long a receipt can be read. DynamoDB deletes it a day later, or two.
const KEEP_RECEIPTS_MS: u64 = 30 * DAY_MS;
/// For how long rows are kept, hour by hour.
const KEEP_ROWS_MS: u64 = 400 * DAY_MS;
/// How many hits wait at most to be written.
const HITS_WAITING: usize = 1000;
/// How many of them go beside one receipt.
const HITS_AT_ONCE: usize = 100;
/// How many items a transaction changes at most.
const CHANGES_AT_ONCE: usize = 100;
/// How many of them a receipt changes beside its windows' totals and its tags' rows: its own, and the hour's row.
const CHANGES: usize = 2;
/// How long a read waits for hits to be written first.
const BEFORE_READING: Duration = Duration::from_millis(500);

impl From<Fault> for LedgerError {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(fault.to_string())
    }
}

/// A ledger in a table, which a directory may share.
pub struct DynamoLedger {
    table: Table,
    hits: Mutex<VecDeque<Receipt>>,
    /// Held while hits are written, so that who waits for all of them waits for those too.
    writing: tokio::sync::Mutex<()>,
    /// The days that this process has listed among those that have usage.
    days: Mutex<BTreeSet<String>>,
    /// The tags that this process counts by.
    tags: Mutex<Tags>,
}

impl DynamoLedger {
    /// The ledger in `table`.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self {
            table,
            hits: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            days: Mutex::default(),
            tags: Mutex::default(),
        }
    }

    /// Records those of the receipts, as many as one transaction takes, that are not yet recorded.
    async fn write(&self, receipts: &[Receipt]) -> Result<(), Fault> {
        let tags: Vec<Vec<Tag>> = receipts.iter().map(|receipt| self.tags_of(receipt)).collect();
        let counted = async {
            let mut left: Vec<Tagged> = receipts.iter().zip(tags.iter().map(Vec::as_slice)).collect();
            while !left.is_empty() {
                let refused = self.table.transact(|tries| changes(&left, tries)).await?;
                if refused.is_empty() {
                    break;
                }
                // The receipts come first, so that the place of a refused change is that of its receipt.
                let mut place = 0..;
                left.retain(|_| place.next().is_some_and(|place| refused.iter().all(|refusal| refusal.place != place)));
            }
            Ok(())
        };
        tokio::try_join!(counted, self.list_days(receipts)).map(drop)
    }

    /// The tags that a receipt is counted under, as far as this process knows which there are.
    fn tags_of(&self, receipt: &Receipt) -> Vec<Tag> {
        if receipt.tags.is_empty() {
            return Vec::new();
        }
        lock(&self.tags).of(&day_utc(receipt.created_at_ms).into(), receipt, OfDay::default)
    }

    /// Lists the receipts' days among those that have usage: once a day and process.
    async fn list_days(&self, receipts: &[Receipt]) -> Result<(), Fault> {
        let mut new: BTreeSet<String> = receipts.iter().map(|receipt| day_utc(receipt.created_at_ms)).collect();
        new.retain(|day| !lock(&self.days).contains(day));
        for day in new {
            self.table.write(list_day(&day)).await?;
            lock(&self.days).insert(day);
        }
        Ok(())
    }

    /// Writes hits that wait, unless others are being written. Those that cannot be written wait on.
    async fn write_hits(&self) {
        if let Ok(turn) = self.writing.try_lock()
            && let Err(error) = self.write_some_hits(&turn).await
        {
            tracing::warn!(%error, "cache hits could not be recorded yet");
        }
    }

    /// Writes all hits that wait, if that can be soon: what is read has them then. Where writes fail, reads go on.
    async fn flush_before_reading(&self) {
        match timeout(BEFORE_READING, self.write_all_hits()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cache hits could not be recorded yet"),
            Err(_) => tracing::warn!("cache hits take long to be recorded; what is read lacks them"),
        }
    }

    /// Writes all hits that wait.
    async fn write_all_hits(&self) -> Result<(), Fault> {
        let turn = self.writing.lock().await;
        while self.write_some_hits(&turn).await? > 0 {}
        Ok(())
    }

    /// Writes as many hits as go beside one receipt; answers how many that were.
    async fn write_some_hits(&self, _turn: &tokio::sync::MutexGuard<'_, ()>) -> Result<usize, Fault> {
        let mut taken = Taken { from: self, hits: Vec::new() };
        {
            let mut waiting = lock(&self.hits);
            let count = waiting.len().min(HITS_AT_ONCE);
            taken.hits.extend(waiting.drain(..count));
        }
        taken.hits.sort_unstable_by_key(|hit| hit.id);
        taken.hits.dedup_by_key(|hit| hit.id);
        try_join_all(transactions(&taken.hits).map(|some| self.write(some))).await?;
        let count = taken.hits.len();
        taken.hits.clear();
        Ok(count)
    }

    /// Keeps a hit to be written later, if there is room.
    fn keep(&self, hit: Receipt) {
        let mut waiting = lock(&self.hits);
        if waiting.len() < HITS_WAITING {
            waiting.push_back(hit);
        } else {
            log(&hit);
        }
    }
}

/// Receipts, as many at a time as one transaction takes.
fn transactions(receipts: &[Receipt]) -> impl Iterator<Item = &[Receipt]> {
    let changes = |receipt: &Receipt| CHANGES + receipt.windows.len() + receipt.tags.len().min(TAG_KEYS);
    let mut left = receipts;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = left.iter().take_while(|receipt| {
            sum += changes(receipt);
            sum <= CHANGES_AT_ONCE
        });
        let (some, rest) = left.split_at(fits.count());
        left = rest;
        (!some.is_empty()).then_some(some)
    })
}

impl Drop for DynamoLedger {
    /// What could not be written by the end of the process is in the log.
    fn drop(&mut self) {
        lock(&self.hits).iter().for_each(log);
    }
}

/// Logs a hit that the ledger will not have by itself.
fn log(hit: &Receipt) {
    let receipt = serde_json::to_string(hit).unwrap_or_default();
    tracing::error!(target: "receipt", receipt, "a cache hit is not in the ledger; `ai-gateway replay` writes it later");
}

/// Hits that are being written. Those that are left when it is dropped, by a failure or because nobody waits any more,
/// wait again: some of them may be written, and count once all the same.
struct Taken<'a> {
    from: &'a DynamoLedger,
    hits: Vec<Receipt>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.hits.drain(..).for_each(|hit| self.from.keep(hit));
    }
}

#[async_trait]
impl Ledger for DynamoLedger {
    async fn record(&self, receipt: &Receipt) -> Result<(), LedgerError> {
        let (recorded, ()) = tokio::join!(self.write(std::slice::from_ref(receipt)), self.write_hits());
        Ok(recorded?)
    }

    fn note_hit(&self, receipt: &Receipt) -> Result<(), LedgerError> {
        self.keep(receipt.clone());
        Ok(())
    }

    async fn totals(&self, tenant: &str, window: &Window) -> Result<Charged, LedgerError> {
        self.flush_before_reading().await;
        let keys: Vec<_> = (0..SHARDS).map(|shard| totals_key(tenant, window, shard)).collect();
        let shards = self.table.get_many(&keys).await?;
        Ok(shards.iter().map(charged).fold(Charged::default(), Charged::plus))
    }

    async fn receipt(&self, tenant: &str, id: RequestId, now_ms: u64) -> Result<Option<Receipt>, LedgerError> {
        let Some(item) = self.table.get(&receipt_key(tenant, id)).await? else { return Ok(None) };
        let receipt = kept(&item)?;
        // What has expired stays for days.
        Ok(Some(receipt).filter(|receipt| now_ms.saturating_sub(receipt.created_at_ms) <= KEEP_RECEIPTS_MS))
    }

    async fn keep_feedback(
        &self,
        tenant: &str,
        id: RequestId,
        feedback: &Feedback,
        now_ms: u64,
    ) -> Result<bool, LedgerError> {
        if now_ms.saturating_sub(id.created_at_ms()) > KEEP_RECEIPTS_MS {
            return Ok(false);
        }
        if lock(&self.hits).iter().any(|hit| hit.id == id) {
            self.flush_before_reading().await;
        }
        let said = receipts::say(tenant, id, feedback)?;
        Ok(self.table.write(said).await?.is_none())
    }

    async fn receipts(&self, query: &ReceiptQuery, cursor: Option<&str>) -> Result<Page<Receipt>, LedgerError> {
        if cursor.is_none() {
            self.flush_before_reading().await;
        }
        match &query.tenant {
            Some(uid) => listing::page(&self.table, uid, query, cursor).await,
            None => scan::receipts(&self.table, query, cursor).await,
        }
    }

    async fn usage(
        &self,
        query: &UsageQuery,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<UsageRow>, LedgerError> {
        self.flush_before_reading().await;
        Ok(usage::page(&self.table, query, cursor, limit.max(1)).await?)
    }

    async fn usage_by(&self, query: &UsageQuery, by: &BTreeSet<Column>) -> Result<Vec<UsageRow>, LedgerError> {
        self.flush_before_reading().await;
        Ok(usage::by(&self.table, query, by).await?)
    }

    async fn figures(&self, period: &Period) -> Result<Figures, LedgerError> {
        self.flush_before_reading().await;
        Ok(usage::figures(&self.table, period).await?)
    }

    fn keeps_hours_ms(&self) -> u64 {
        KEEP_ROWS_MS
    }

    async fn flush(&self) -> Result<(), LedgerError> {
        Ok(self.write_all_hits().await?)
    }

    async fn erase(&self, whose: WhoseUid, cursor: Option<&str>) -> Result<Erased, LedgerError> {
        lock(&self.hits).retain(|hit| !whose(hit.uid()));
        lock(&self.tags).erase(&whose);
        scan::erase(&self.table, &whose, cursor).await
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        Ok(self.table.ping().await?)
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        Ok(self.table.probe().await?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ledger::contract::{MIDNIGHT_MS, receipt};
    use crate::limit::lineage::Lineage;
    use std::collections::BTreeMap;

    #[test]
    fn hits_go_in_parts_that_fit_a_transaction_whatever_they_add_to() {
        let hit = |n: usize| {
            let mut hit = Receipt { tags: BTreeMap::new(), ..receipt(&format!("t{n}"), MIDNIGHT_MS) };
            if n.is_multiple_of(3) {
                let own: Vec<Window> = hit.windows.iter().map(|window| window.of_key(Lineage::of("ci"))).collect();
                hit.windows.extend(own);
            }
            hit
        };
        let hits: Vec<Receipt> = (0..HITS_AT_ONCE).map(hit).collect();
        let parts: Vec<&[Receipt]> = transactions(&hits).collect();
        let of =
            |part: &&[Receipt]| changes(&part.iter().map(|hit| (hit, &[][..])).collect::<Vec<_>>(), 0).unwrap().len();
        let changed: Vec<usize> = parts.iter().map(of).collect();
        assert!(changed.iter().all(|items| (1..=CHANGES_AT_ONCE).contains(items)), "{changed:?}");
        assert_eq!((parts.concat().len(), parts.len()), (HITS_AT_ONCE, 5), "none is left out, and few are needed");
        assert_eq!(transactions(&[]).count(), 0);
    }
}

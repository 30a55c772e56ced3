//! The ledger on the machine it runs on: an append-only log in the folder `ledger`, and its sums in memory.
//!
//! A receipt is one `write` of one line to the page cache, so that it survives `kill -9` at any instant; it costs a few
//! microseconds, which is why it runs inline in an `async fn`. One thread brings what was written to the disk, in groups:
//! a power cut loses at most the last 50 ms and the sync itself. A database would either wait for the disk once for
//! each receipt or promise less.
//!
//! The sums are exactly those of the receipts in the log (M5): they are folded from it at the start and added to, under
//! one lock, as a line is appended. The start reads a checkpoint and what came after it. One id is counted once, however
//! often it is sent (M2); which duplicates there are and what they cost stands in `recent.rs`. Of two receipts of one id
//! the first one counts. Only a receipt that is sent again after 31 days, when its log is deleted, counts twice.

mod checkpoint;
mod claims;
#[cfg(test)]
pub(crate) mod crash;
mod feedback;
mod listing;
mod log;
mod outbox;
mod recent;
mod rows;
mod segment;
mod tagged;
mod texts;
mod totals;

use self::checkpoint::sync_folder;
use self::log::{Bounds, Log, Stretch, Work};
use super::{
    Begun, Claims, Column, Erased, Figures, IdempotencyKey, Ledger, LedgerError, Outbox, Period, ReceiptQuery,
    UsageQuery, UsageRow, WhoseUid,
};
use crate::alerts::{alert::Claim, delivery::Posted};
use crate::directory::Page;
use crate::disk::DiskFault;
use crate::feedback::Feedback;
use crate::id::RequestId;
use crate::limit::window::Window;
use crate::money::{Amounts, Charged};
use crate::receipt::Receipt;
use async_trait::async_trait;
use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long what was written waits at most for the sync that it shares with others.
const SYNC_EVERY: Duration = Duration::from_millis(50);

/// How long the thread waits before it tries again what the disk refused.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How many checkpoints are kept, and how often an erasure tries to write them anew.
const CHECKPOINTS: u32 = 2;
const REWRITES: u32 = 100;

/// For how long a receipt can be read.
const KEEP_RECEIPTS_MS: u64 = 30 * 86_400_000;

/// A ledger in a folder's `ledger`. No two of them have the same folder open. Dropping it brings everything to the disk.
pub struct EmbeddedLedger {
    shared: Arc<Shared>,
    claims: Arc<tokio::sync::Mutex<OnDemand>>,
    /// What tenants said of their receipts, opened when anything is first said or looked for.
    said: Arc<tokio::sync::Mutex<Option<feedback::Said>>>,
    syncing: Option<JoinHandle<()>>,
    /// Held until the thread has ended.
    lock: File,
}

/// The claims, opened when one is first made: most ledgers never see one.
#[derive(Default)]
struct OnDemand {
    is_wanted: bool,
    claims: Option<claims::Claims>,
}

struct Shared {
    folder: PathBuf,
    log: Mutex<Log>,
    /// Wakes the thread that syncs.
    wake: Condvar,
    /// Held by whoever brings what was written to the disk.
    syncing: Mutex<()>,
    sync: fn(&File) -> io::Result<()>,
}

impl EmbeddedLedger {
    /// Opens the ledger in `folder`; makes both where they do not exist.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] if another process has it open, or the folder cannot be read or written.
    pub fn open(folder: &Path, now_ms: u64) -> Result<Self, LedgerError> {
        Self::open_with(folder, now_ms, Bounds::default())
    }

    fn open_with(folder: &Path, now_ms: u64, bounds: Bounds) -> Result<Self, LedgerError> {
        let folder = folder.join("ledger");
        let cannot = |error| unavailable(&format!("cannot open {}", folder.display()), &error);
        let lock = lock(&folder).map_err(cannot)?;
        let log = Mutex::new(Log::open(&folder, bounds, now_ms).map_err(cannot)?);
        let shared = Arc::new(Shared {
            folder: folder.clone(),
            log,
            wake: Condvar::new(),
            syncing: Mutex::default(),
            sync: bounds.sync,
        });
        let syncing = thread::Builder::new().name("ledger".to_owned()).spawn({
            let shared = shared.clone();
            move || shared.sync_until_closed()
        });
        Ok(Self { shared, claims: Arc::default(), said: Arc::default(), syncing: Some(syncing.map_err(cannot)?), lock })
    }
}

impl Drop for EmbeddedLedger {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.wake.notify_one();
        if let Some(syncing) = self.syncing.take() {
            // It fails only if the thread panicked, which has been logged by then.
            let _ = syncing.join();
        }
        // Closing the file is not enough where a process that was just forked holds it as well, until it execs.
        let _ = self.lock.unlock();
    }
}

impl Shared {
    /// The log; a panic elsewhere leaves at most one receipt half counted, and no reason to refuse the others.
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a receipt, unless it is there already.
    fn append(&self, receipt: &Receipt) -> Result<(), DiskFault> {
        let line = segment::frame(receipt)?;
        let mut looked_up_at = None;
        loop {
            let mut log = self.lock();
            if log.recent.contains(receipt.id) {
                return Ok(());
            }
            // Whatever came in since the look-up is remembered, unless two generations went by.
            let is_looked_up = looked_up_at.is_some_and(|at| log.recent.dropped() <= at + 1);
            if is_looked_up || !log.recent.may_have_forgotten(receipt.id) {
                log.append(receipt, &line)?;
                if !std::mem::replace(&mut log.has_work, true) {
                    self.wake.notify_one();
                }
                return Ok(());
            }
            looked_up_at = Some(log.recent.dropped());
            drop(log);
            // An erased one is there as well.
            if self.find::<IgnoredAny>(receipt.id)?.is_some() {
                return Ok(());
            }
        }
    }

    fn find<T: DeserializeOwned>(&self, id: RequestId) -> io::Result<Option<T>> {
        let segments = self.lock().segments_for(id);
        // Newest first: that is where most look-ups end.
        for segment in segments.iter().rev() {
            if let Some(receipt) = segment.find(&self.folder, id)? {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    /// Erases receipts and sums, from the checkpoints as well.
    fn erase(&self, whose: &WhoseUid) -> Result<Erased, DiskFault> {
        // The sums go first, with all receipts of that instant: should the process end in between, what is left can be
        // erased again, and what was erased is counted nowhere.
        let (usage_rows, others, segments) = self.lock().erase(whose);
        let mut erased = Erased { usage_rows, others, ..Erased::default() };
        for segment in segments {
            erased.receipts += segment.erase(&self.folder, whose)?;
        }
        // The current one, and with the next one the previous one. None is made while somebody reads the rows.
        let mut left = CHECKPOINTS;
        for _ in 0..REWRITES {
            self.lock().wants_checkpoint = true;
            self.sync();
            let mut log = self.lock();
            log.check()?;
            if let Some(fault) = &log.checkpoint_fault {
                return Err(fault.clone());
            }
            left -= u32::from(!log.wants_checkpoint);
            if left == 0 {
                return Ok(erased);
            }
        }
        Err(io::Error::other("the checkpoints are not written yet; erase it again").into())
    }

    /// The thread that waits for the disk, so that no request does.
    fn sync_until_closed(&self) {
        loop {
            let mut log = self.lock();
            while !log.has_work && !log.is_closing {
                log = self.wake.wait(log).unwrap_or_else(PoisonError::into_inner);
            }
            let pause =
                if log.sync_fault.is_some() || log.checkpoint_fault.is_some() { RETRY_EVERY } else { SYNC_EVERY };
            let more = self.wake.wait_timeout_while(log, pause, |log| !log.is_closing);
            (log, _) = more.unwrap_or_else(PoisonError::into_inner);
            let is_closing = log.is_closing;
            drop(log);
            self.sync();
            if is_closing {
                return;
            }
        }
    }

    /// Brings what was written to the disk, and then a checkpoint if one is due.
    fn sync(&self) {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut work = self.lock().take_work();
        let stretches = std::mem::take(&mut work.stretches);
        for (place, stretch) in stretches.iter().enumerate() {
            if let Err(fault) = stretch.sync(self.sync) {
                return self.failed(fault, stretches.into_iter().skip(place), work);
            }
            self.lock().note_synced(stretch);
        }
        if stretches.len() > 1
            && let Err(error) = sync_folder(&self.folder)
        {
            return self.failed(error.into(), stretches.into_iter(), work);
        }
        if self.lock().sync_fault.take().is_some() {
            tracing::warn!(folder = %self.folder.display(), "the ledger is brought to the disk again");
        }
        let written = work.checkpoint.take().map_or(Ok(()), |checkpoint| {
            let bytes = checkpoint.write(&self.folder)?;
            self.lock().note_checkpoint(bytes);
            work.forget_at_ms.map_or(Ok(()), |now_ms| log::delete_old(&self.folder, now_ms))
        });
        let fault = written.err().map(DiskFault::from);
        let mut log = self.lock();
        if let Some(fault) = &fault {
            if log.checkpoint_fault.as_ref() != Some(fault) {
                tracing::error!(%fault, folder = %self.folder.display(), "the ledger's checkpoint cannot be written");
            }
            log.put_off_checkpoint(&mut work);
        }
        log.checkpoint_fault = fault;
    }

    fn failed(&self, fault: DiskFault, stretches: impl Iterator<Item = Stretch>, mut work: Work) {
        let mut log = self.lock();
        if log.sync_fault.as_ref() != Some(&fault) {
            tracing::error!(%fault, folder = %self.folder.display(), "the ledger cannot be brought to the disk");
        }
        log.note_unsynced(stretches, &mut work, fault);
    }

    /// Finds out by writing whether the log takes receipts.
    fn probe(&self) -> Result<(), DiskFault> {
        if self.lock().check().is_err() {
            self.sync();
        }
        self.lock().probe()
    }
}

#[async_trait]
impl Ledger for EmbeddedLedger {
    async fn record(&self, receipt: &Receipt) -> Result<(), LedgerError> {
        Ok(self.shared.append(receipt)?)
    }

    fn note_hit(&self, receipt: &Receipt) -> Result<(), LedgerError> {
        Ok(self.shared.append(receipt)?)
    }

    async fn totals(&self, tenant: &str, window: &Window) -> Result<Charged, LedgerError> {
        Ok(self.shared.lock().totals.window(tenant, window))
    }

    async fn receipt(&self, tenant: &str, id: RequestId, now_ms: u64) -> Result<Option<Receipt>, LedgerError> {
        let found = self.recorded(tenant, id, now_ms)?;
        Ok(self.with_feedback(found.into_iter().collect()).await?.pop())
    }

    async fn keep_feedback(
        &self,
        tenant: &str,
        id: RequestId,
        feedback: &Feedback,
        now_ms: u64,
    ) -> Result<bool, LedgerError> {
        if self.recorded(tenant, id, now_ms)?.is_none() {
            return Ok(false);
        }
        self.keep_said(tenant, id, feedback, now_ms).await.map(|()| true)
    }

    async fn receipts(&self, query: &ReceiptQuery, cursor: Option<&str>) -> Result<Page<Receipt>, LedgerError> {
        let segments = self.shared.lock().segments();
        let (folder, query) = (self.shared.folder.clone(), query.clone());
        let begin = cursor.map(listing::read).transpose()?;
        let page = if query.tenant.is_some() { listing::page_back } else { listing::page };
        let read = tokio::task::spawn_blocking(move || page(&folder, &segments, &query, begin.as_ref()));
        let read = read.await.map_err(|error| LedgerError::Unavailable(error.to_string()))?;
        let page = read.map_err(|error| unavailable("cannot read the receipts", &error))?;
        Ok(Page { data: self.with_feedback(page.data).await?, ..page })
    }

    async fn usage(
        &self,
        query: &UsageQuery,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<UsageRow>, LedgerError> {
        let (query, cursor) = (query.clone(), cursor.map(str::to_owned));
        self.of_rows(move |rows| rows.page(&query, cursor.as_deref(), limit)).await
    }

    async fn usage_by(&self, query: &UsageQuery, by: &BTreeSet<Column>) -> Result<Vec<UsageRow>, LedgerError> {
        let (query, by) = (query.clone(), by.clone());
        self.of_rows(move |rows| rows.by(&query, &by)).await
    }

    async fn figures(&self, period: &Period) -> Result<Figures, LedgerError> {
        let period = *period;
        self.of_rows(move |rows| rows.figures(&period)).await
    }

    fn keeps_hours_ms(&self) -> u64 {
        totals::KEEP_HOURS_MS
    }

    async fn flush(&self) -> Result<(), LedgerError> {
        // What was appended is in the page cache, where every reader finds it.
        Ok(())
    }

    async fn erase(&self, whose: WhoseUid, _cursor: Option<&str>) -> Result<Erased, LedgerError> {
        let (shared, of) = (self.shared.clone(), whose.clone());
        let erased = tokio::task::spawn_blocking(move || shared.erase(&of)).await;
        let erased = erased.map_err(|error| LedgerError::Unavailable(error.to_string()))??;
        let said = self.erase_said(whose.clone()).await?;
        let claims = self.claim(move |claims| claims.erase(&whose)).await?;
        Ok(Erased { others: erased.others + said + claims, ..erased })
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        self.shared.lock().check()?;
        self.probe_claims().await
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        let shared = self.shared.clone();
        let probed = tokio::task::spawn_blocking(move || shared.probe()).await;
        probed.map_err(|error| LedgerError::Unavailable(error.to_string()))??;
        self.probe_claims().await
    }
}

impl EmbeddedLedger {
    /// A receipt as it was recorded, if it is this tenant's and may be seen.
    fn recorded(&self, tenant: &str, id: RequestId, now_ms: u64) -> Result<Option<Receipt>, LedgerError> {
        let found: Option<Receipt> =
            self.shared.find(id).map_err(|error| unavailable("cannot read a receipt", &error))?;
        let may_be_seen = |receipt: &Receipt| {
            **receipt.uid() == *tenant && now_ms.saturating_sub(receipt.created_at_ms) <= KEEP_RECEIPTS_MS
        };
        Ok(found.filter(may_be_seen))
    }

    /// Whether claims can be made, where anybody ever made one.
    async fn probe_claims(&self) -> Result<(), LedgerError> {
        let is_wanted = self.claims.lock().await.is_wanted;
        if is_wanted { self.claim(|claims| Ok(claims.probe()?)).await } else { Ok(()) }
    }

    /// What the usage rows add up to, on a thread that serves no request: there may be a year of them.
    async fn of_rows<T: Send + 'static>(
        &self,
        add_up: impl FnOnce(&totals::Rows) -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        let rows = self.shared.lock().totals.rows();
        let added = tokio::task::spawn_blocking(move || add_up(&rows)).await;
        added.map_err(|error| LedgerError::Unavailable(error.to_string()))
    }

    /// Does something with the claims, and waits for the disk on a thread that serves no request.
    async fn claim<T: Send + 'static>(
        &self,
        work: impl FnOnce(&claims::Claims) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (claims, folder) = (self.claims.clone(), self.shared.folder.clone());
        // Whoever waits for a turn holds up no thread.
        let mut claims = claims.lock_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            claims.is_wanted = true;
            let opened = match claims.claims.take() {
                Some(opened) => opened,
                None => claims::Claims::open(&folder)?,
            };
            work(claims.claims.insert(opened))
        });
        done.await.unwrap_or_else(|error| Err(LedgerError::Unavailable(error.to_string())))
    }
}

#[async_trait]
impl Claims for EmbeddedLedger {
    async fn grant(&self, tenant: &str, window: &Window, more: Amounts, max: Amounts) -> Result<bool, LedgerError> {
        let (tenant, window) = (tenant.to_owned(), window.key());
        self.claim(move |claims| claims.grant(&tenant, &window, more, max)).await
    }

    async fn open_window(&self, tenant: &str, window: &Window) -> Result<bool, LedgerError> {
        let (tenant, window) = (tenant.to_owned(), window.key());
        self.claim(move |claims| claims.open_window(&tenant, &window)).await
    }

    async fn begin(
        &self,
        key: &IdempotencyKey,
        body: [u8; 32],
        request: RequestId,
        lease_until_ms: u64,
        now_ms: u64,
    ) -> Result<Begun, LedgerError> {
        let key = key.clone();
        self.claim(move |claims| claims.begin(&key, body, request, lease_until_ms, now_ms)).await
    }

    async fn finish(
        &self,
        key: &IdempotencyKey,
        request: RequestId,
        answer: Option<Bytes>,
        _now_ms: u64,
    ) -> Result<(), LedgerError> {
        let key = key.clone();
        self.claim(move |claims| claims.finish(&key, request, answer)).await
    }
}

#[async_trait]
impl Outbox for EmbeddedLedger {
    async fn post(&self, claim: &Claim, posted: &Posted, lease_ms: u64, now_ms: u64) -> Result<bool, LedgerError> {
        let (claim, posted) = (claim.clone(), posted.clone());
        self.claim(move |claims| outbox::Outbox(claims.database()).post(&claim, &posted, lease_ms, now_ms)).await
    }

    async fn take_due(&self, limit: usize, lease_ms: u64, now_ms: u64) -> Result<Vec<Posted>, LedgerError> {
        self.claim(move |claims| outbox::Outbox(claims.database()).take_due(limit, lease_ms, now_ms)).await
    }

    async fn note_delivery(&self, posted: &Posted) -> Result<(), LedgerError> {
        let posted = posted.clone();
        self.claim(move |claims| outbox::Outbox(claims.database()).note_delivery(&posted)).await
    }

    async fn alerts(&self) -> Result<Vec<Posted>, LedgerError> {
        self.claim(|claims| outbox::Outbox(claims.database()).alerts()).await
    }
}

/// Keeps other processes out of `folder` for as long as the file lives.
fn lock(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let file = File::options().create(true).truncate(false).write(true).open(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::other("another process has it open; is another gateway running on this folder?"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn unavailable(what: &str, error: &io::Error) -> LedgerError {
    LedgerError::Unavailable(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests;

//! What tenants say of their receipts: one small database beside the log, made when something is first said.
//!
//! The log is for what is written once. This is written again when a tenant thinks better of it, must be found by its
//! receipt however long after that it was said, and may wait for the disk: it is redb, as the claims are, in a file of its
//! own, so that reading a receipt never waits for a claim.

use super::{EmbeddedLedger, KEEP_RECEIPTS_MS};
use crate::clock::DAY_MS;
use crate::disk::database::FileDatabase;
use crate::feedback::Feedback;
use crate::id::RequestId;
use crate::ledger::{LedgerError, WhoseUid};
use crate::receipt::Receipt;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use std::path::Path;

/// What was said, as JSON, by tenant and receipt; a tenant's are in the order of their receipts' age.
const FEEDBACK: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("feedback");
const FILE: &str = "feedback.redb";
const CACHE_BYTES: usize = 1 << 20;
/// How many that are too old one change takes out.
const FORGET_AT_ONCE: usize = 16;

/// The database.
pub(super) struct Said(FileDatabase);

impl Said {
    fn open(folder: &Path) -> Result<Self, LedgerError> {
        let tables = |change: &WriteTransaction| change.open_table(FEEDBACK).map(drop).map_err(redb::Error::from);
        let cannot = |error: redb::Error| LedgerError::Unavailable(format!("{FILE}: {error}"));
        Ok(Self(FileDatabase::open(&folder.join(FILE), CACHE_BYTES, tables).map_err(cannot)?))
    }

    fn keep(&self, tenant: &str, id: RequestId, feedback: &Feedback, now_ms: u64) -> Result<(), LedgerError> {
        let json = serde_json::to_vec(feedback).map_err(|error| LedgerError::Unavailable(error.to_string()))?;
        let too_old = RequestId::new(now_ms.saturating_sub(KEEP_RECEIPTS_MS + DAY_MS)).to_string();
        self.0.write(|change| {
            let mut said = change.open_table(FEEDBACK)?;
            said.insert((tenant, id.to_string().as_str()), json.as_slice())?;
            let mut old: Vec<String> = Vec::new();
            for row in said.range((tenant, "")..(tenant, too_old.as_str()))?.take(FORGET_AT_ONCE) {
                old.push(row?.0.value().1.to_owned());
            }
            for id in &old {
                said.remove((tenant, id.as_str()))?;
            }
            Ok(())
        })
    }

    fn add_to(&self, receipts: &mut [Receipt]) -> Result<(), LedgerError> {
        let found = self.0.read(|read| -> Result<Vec<Option<Feedback>>, LedgerError> {
            let said = read.open_table(FEEDBACK)?;
            let of = |receipt: &Receipt| {
                let json = said.get((&**receipt.uid(), receipt.id.to_string().as_str()))?;
                // What another version wrote is as good as unsaid.
                Ok(json.and_then(|json| serde_json::from_slice(json.value()).ok()))
            };
            receipts.iter().map(of).collect()
        })?;
        for (receipt, feedback) in receipts.iter_mut().zip(found) {
            receipt.feedback = feedback.or_else(|| receipt.feedback.take());
        }
        Ok(())
    }

    fn erase(&self, whose: &WhoseUid) -> Result<u64, LedgerError> {
        self.0.write(|change| {
            let mut said = change.open_table(FEEDBACK)?;
            let before = said.len()?;
            said.retain(|(uid, _), _| !whose(uid))?;
            Ok(before - said.len()?)
        })
    }
}

impl EmbeddedLedger {
    /// Keeps what is said of a receipt that is there.
    pub(super) async fn keep_said(
        &self,
        tenant: &str,
        id: RequestId,
        feedback: &Feedback,
        now_ms: u64,
    ) -> Result<(), LedgerError> {
        let (tenant, feedback) = (tenant.to_owned(), feedback.clone());
        self.with_said(move |said| said.keep(&tenant, id, &feedback, now_ms)).await
    }

    /// These receipts, with what is said of them.
    pub(super) async fn with_feedback(&self, mut receipts: Vec<Receipt>) -> Result<Vec<Receipt>, LedgerError> {
        if receipts.is_empty() || !self.has_said().await {
            return Ok(receipts);
        }
        self.with_said(move |said| said.add_to(&mut receipts).map(|()| receipts)).await
    }

    /// Removes what is `whose`; answers how much that was.
    pub(super) async fn erase_said(&self, whose: WhoseUid) -> Result<u64, LedgerError> {
        if self.has_said().await { self.with_said(move |said| said.erase(&whose)).await } else { Ok(0) }
    }

    /// Whether anything was ever said. Whoever only asks makes no file.
    async fn has_said(&self) -> bool {
        self.said.lock().await.is_some() || self.shared.folder.join(FILE).exists()
    }

    /// Does something with the database, and waits for the disk on a thread that serves no request.
    async fn with_said<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Said) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (said, folder) = (self.said.clone(), self.shared.folder.clone());
        let mut said = said.lock_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let opened = match said.take() {
                Some(opened) => opened,
                None => Said::open(&folder)?,
            };
            work(said.insert(opened))
        });
        done.await.unwrap_or_else(|error| Err(LedgerError::Unavailable(error.to_string())))
    }
}

//! Borders that a test can switch off, each in front of a real one.

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::admin::AdminRecord;
use gateway_core::alerts::alert::Claim;
use gateway_core::alerts::delivery::Posted;
use gateway_core::directory::{AuditEntry, Directory, DirectoryError, KeyRecord, Page};
use gateway_core::feedback::Feedback;
use gateway_core::health::{ModelHealth, Observation};
use gateway_core::id::RequestId;
use gateway_core::ledger::{
    Begun, Claims, Column, Erased, Figures, IdempotencyKey, Ledger, LedgerError, Outbox, Period, ReceiptQuery,
    UsageQuery, UsageRow, WhoseUid,
};
use gateway_core::limit::window::Window;
use gateway_core::money::{Amounts, Charged};
use gateway_core::receipt::Receipt;
use gateway_core::store::{
    Admission, CacheKey, Counters, ExpiredHold, HealthStore, ResponseCache, Settled, Settlement, StoreError, Ticket,
    Verdict, WindowUse,
};
use gateway_core::tenant::TenantRecord;
use gateway_core::tenant::key::KeyHash;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// A border that can be down.
pub struct Unreliable<T> {
    pub inner: T,
    pub down: AtomicBool,
    /// Whether admissions are heard and their answers lost.
    pub deaf: AtomicBool,
    /// Whether it is down as soon as such an admission was heard.
    pub down_after_admission: AtomicBool,
    /// Whether what is remembered comes back damaged.
    pub garbled: AtomicBool,
    /// Receipts that came through.
    pub recorded: watch::Sender<u64>,
    /// The last of them.
    pub last_receipt: Mutex<Option<Receipt>>,
}

impl<T> Unreliable<T> {
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            down: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            down_after_admission: AtomicBool::new(false),
            garbled: AtomicBool::new(false),
            recorded: watch::Sender::new(0),
            last_receipt: Mutex::default(),
        }
    }

    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// What was remembered, or half of it.
    fn as_it_comes(&self, value: Bytes) -> Bytes {
        if self.garbled.load(Ordering::SeqCst) { value.slice(value.len() / 2..) } else { value }
    }

    /// What is behind it, if it is up.
    pub fn up<E>(&self, error: impl FnOnce(String) -> E) -> Result<&T, E> {
        if self.down.load(Ordering::SeqCst) { Err(error("switched off by the test".into())) } else { Ok(&self.inner) }
    }
}

#[async_trait]
impl<T: Directory> Directory for Unreliable<T> {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<(TenantRecord, KeyRecord)>, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.find_key(hash).await
    }

    async fn tenant(&self, id: &str) -> Result<Option<TenantRecord>, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.tenant(id).await
    }

    async fn tenants(&self, cursor: Option<&str>, limit: usize) -> Result<Page<TenantRecord>, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.tenants(cursor, limit).await
    }

    async fn create_tenant(&self, tenant: &TenantRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.up(DirectoryError::Unavailable)?.create_tenant(tenant, audit).await
    }

    async fn update_tenant(&self, tenant: &TenantRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.up(DirectoryError::Unavailable)?.update_tenant(tenant, audit).await
    }

    async fn delete_tenant(&self, id: &str, version: Option<u64>, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.up(DirectoryError::Unavailable)?.delete_tenant(id, version, audit).await
    }

    async fn keys(&self, tenant: &str) -> Result<Vec<KeyRecord>, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.keys(tenant).await
    }

    async fn create_key(&self, key: &KeyRecord, audit: AuditEntry) -> Result<u64, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.create_key(key, audit).await
    }

    async fn update_key(&self, key: &KeyRecord, audit: AuditEntry) -> Result<u64, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.update_key(key, audit).await
    }

    async fn delete_key(
        &self,
        tenant: &str,
        id: &str,
        version: Option<u64>,
        audit: AuditEntry,
    ) -> Result<u64, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.delete_key(tenant, id, version, audit).await
    }

    async fn find_admin(&self, hash: &KeyHash) -> Result<Option<AdminRecord>, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.find_admin(hash).await
    }

    async fn admin(&self, id: &str) -> Result<Option<AdminRecord>, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.admin(id).await
    }

    async fn admins(&self, cursor: Option<&str>, limit: usize) -> Result<Page<AdminRecord>, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.admins(cursor, limit).await
    }

    async fn create_admin(&self, admin: &AdminRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.up(DirectoryError::Unavailable)?.create_admin(admin, audit).await
    }

    async fn update_admin(&self, admin: &AdminRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.up(DirectoryError::Unavailable)?.update_admin(admin, audit).await
    }

    async fn delete_admin(&self, id: &str, version: u64, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.up(DirectoryError::Unavailable)?.delete_admin(id, version, audit).await
    }

    async fn note(&self, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.up(DirectoryError::Unavailable)?.note(audit).await
    }

    async fn audit(&self, cursor: Option<&str>, limit: usize) -> Result<Page<AuditEntry>, DirectoryError> {
        self.up(DirectoryError::Unavailable)?.audit(cursor, limit).await
    }

    async fn ping(&self) -> Result<(), DirectoryError> {
        self.up(DirectoryError::Unavailable)?.ping().await
    }
}

#[async_trait]
impl<T: Ledger> Ledger for Unreliable<T> {
    async fn record(&self, receipt: &Receipt) -> Result<(), LedgerError> {
        self.up(LedgerError::Unavailable)?.record(receipt).await?;
        *self.last_receipt.lock().unwrap() = Some(receipt.clone());
        self.recorded.send_modify(|recorded| *recorded += 1);
        Ok(())
    }

    fn note_hit(&self, receipt: &Receipt) -> Result<(), LedgerError> {
        self.up(LedgerError::Unavailable)?.note_hit(receipt)
    }

    async fn totals(&self, tenant: &str, window: &Window) -> Result<Charged, LedgerError> {
        self.up(LedgerError::Unavailable)?.totals(tenant, window).await
    }

    async fn receipt(&self, tenant: &str, id: RequestId, now_ms: u64) -> Result<Option<Receipt>, LedgerError> {
        self.up(LedgerError::Unavailable)?.receipt(tenant, id, now_ms).await
    }

    async fn keep_feedback(
        &self,
        tenant: &str,
        id: RequestId,
        feedback: &Feedback,
        now_ms: u64,
    ) -> Result<bool, LedgerError> {
        self.up(LedgerError::Unavailable)?.keep_feedback(tenant, id, feedback, now_ms).await
    }

    async fn receipts(&self, query: &ReceiptQuery, cursor: Option<&str>) -> Result<Page<Receipt>, LedgerError> {
        self.up(LedgerError::Unavailable)?.receipts(query, cursor).await
    }

    async fn usage(
        &self,
        query: &UsageQuery,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<UsageRow>, LedgerError> {
        self.up(LedgerError::Unavailable)?.usage(query, cursor, limit).await
    }

    async fn usage_by(&self, query: &UsageQuery, by: &BTreeSet<Column>) -> Result<Vec<UsageRow>, LedgerError> {
        self.up(LedgerError::Unavailable)?.usage_by(query, by).await
    }

    async fn figures(&self, period: &Period) -> Result<Figures, LedgerError> {
        self.up(LedgerError::Unavailable)?.figures(period).await
    }

    fn keeps_hours_ms(&self) -> u64 {
        self.inner.keeps_hours_ms()
    }

    async fn flush(&self) -> Result<(), LedgerError> {
        self.up(LedgerError::Unavailable)?.flush().await
    }

    async fn erase(&self, whose: WhoseUid, cursor: Option<&str>) -> Result<Erased, LedgerError> {
        self.up(LedgerError::Unavailable)?.erase(whose, cursor).await
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        // What cannot be written can be read.
        self.inner.ping().await
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        self.up(LedgerError::Unavailable)?.probe().await
    }
}

#[async_trait]
impl<T: Claims> Claims for Unreliable<T> {
    async fn grant(&self, tenant: &str, window: &Window, more: Amounts, max: Amounts) -> Result<bool, LedgerError> {
        self.up(LedgerError::Unavailable)?.grant(tenant, window, more, max).await
    }

    async fn open_window(&self, tenant: &str, window: &Window) -> Result<bool, LedgerError> {
        self.up(LedgerError::Unavailable)?.open_window(tenant, window).await
    }

    async fn begin(
        &self,
        key: &IdempotencyKey,
        body: [u8; 32],
        request: RequestId,
        lease_until_ms: u64,
        now_ms: u64,
    ) -> Result<Begun, LedgerError> {
        self.up(LedgerError::Unavailable)?.begin(key, body, request, lease_until_ms, now_ms).await
    }

    async fn finish(
        &self,
        key: &IdempotencyKey,
        request: RequestId,
        answer: Option<Bytes>,
        now_ms: u64,
    ) -> Result<(), LedgerError> {
        self.up(LedgerError::Unavailable)?.finish(key, request, answer, now_ms).await
    }
}

#[async_trait]
impl<T: Outbox> Outbox for Unreliable<T> {
    async fn post(&self, claim: &Claim, posted: &Posted, lease_ms: u64, now_ms: u64) -> Result<bool, LedgerError> {
        self.up(LedgerError::Unavailable)?.post(claim, posted, lease_ms, now_ms).await
    }

    async fn take_due(&self, limit: usize, lease_ms: u64, now_ms: u64) -> Result<Vec<Posted>, LedgerError> {
        self.up(LedgerError::Unavailable)?.take_due(limit, lease_ms, now_ms).await
    }

    async fn note_delivery(&self, posted: &Posted) -> Result<(), LedgerError> {
        self.up(LedgerError::Unavailable)?.note_delivery(posted).await
    }

    async fn alerts(&self) -> Result<Vec<Posted>, LedgerError> {
        self.up(LedgerError::Unavailable)?.alerts().await
    }
}

#[async_trait]
impl<T: Counters> Counters for Unreliable<T> {
    async fn admit(&self, ask: &Admission, ticket: &mut Ticket, hit: bool, now_ms: u64) -> Result<Verdict, StoreError> {
        let verdict = self.up(StoreError)?.admit(ask, ticket, hit, now_ms).await;
        self.down.fetch_or(self.down_after_admission.load(Ordering::SeqCst), Ordering::SeqCst);
        if self.deaf.load(Ordering::SeqCst) { Err(StoreError("the answer was lost".into())) } else { verdict }
    }

    async fn extend(&self, ask: &Admission, target: Amounts, now_ms: u64) -> Result<bool, StoreError> {
        self.up(StoreError)?.extend(ask, target, now_ms).await
    }

    async fn settle(&self, settlement: &Settlement, ticket: &Ticket, now_ms: u64) -> Result<Settled, StoreError> {
        self.up(StoreError)?.settle(settlement, ticket, now_ms).await
    }

    async fn release(&self, ask: &Admission, ticket: &Ticket, now_ms: u64) -> Result<(), StoreError> {
        self.up(StoreError)?.release(ask, ticket, now_ms).await
    }

    async fn free_place(&self, ask: &Admission, now_ms: u64) -> Result<(), StoreError> {
        self.up(StoreError)?.free_place(ask, now_ms).await
    }

    async fn rebuild(
        &self,
        tenant: &str,
        incarnation: Option<u64>,
        version: u64,
        windows: &[(Window, Charged)],
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        self.up(StoreError)?.rebuild(tenant, incarnation, version, windows, now_ms).await
    }

    async fn close(
        &self,
        tenant: &str,
        incarnation: u64,
        window: &Window,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.up(StoreError)?.close(tenant, incarnation, window, until_ms, now_ms).await
    }

    fn take_expired(&self, tenant: &str) -> Vec<ExpiredHold> {
        self.up(StoreError).map(|store| store.take_expired(tenant)).unwrap_or_default()
    }

    async fn acknowledge(&self, tenant: &str, expired: &[ExpiredHold], now_ms: u64) -> Result<(), StoreError> {
        self.up(StoreError)?.acknowledge(tenant, expired, now_ms).await
    }

    async fn forget(&self, tenant: &str) -> Result<(), StoreError> {
        self.up(StoreError)?.forget(tenant).await
    }

    async fn usage(&self, tenant: &str, windows: &[Window], now_ms: u64) -> Result<Vec<Option<WindowUse>>, StoreError> {
        self.up(StoreError)?.usage(tenant, windows, now_ms).await
    }
}

#[async_trait]
impl<T: ResponseCache> ResponseCache for Unreliable<T> {
    async fn get(&self, key: &CacheKey, now_ms: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.up(StoreError)?.get(key, now_ms).await?.map(|value| self.as_it_comes(value)))
    }

    async fn put(&self, key: &CacheKey, value: Bytes, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        self.up(StoreError)?.put(key, value, ttl_ms, now_ms).await
    }

    async fn notes(&self, group: &CacheKey, now_ms: u64) -> Result<Vec<Bytes>, StoreError> {
        let notes = self.up(StoreError)?.notes(group, now_ms).await?;
        Ok(notes.into_iter().map(|note| self.as_it_comes(note)).collect())
    }

    async fn note(&self, group: &CacheKey, note: Bytes, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        self.up(StoreError)?.note(group, note, ttl_ms, now_ms).await
    }

    async fn purge(&self, tenant: &str) -> Result<(), StoreError> {
        self.up(StoreError)?.purge(tenant).await
    }
}

#[async_trait]
impl<T: HealthStore> HealthStore for Unreliable<T> {
    async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> Result<Vec<ModelHealth>, StoreError> {
        self.up(StoreError)?.snapshot(models, now_ms).await
    }

    async fn record(&self, observations: &[Observation], now_ms: u64) -> Result<(), StoreError> {
        self.up(StoreError)?.record(observations, now_ms).await
    }

    async fn try_probe(&self, model: &Arc<str>, tenant: &str, lease_ms: u64, now_ms: u64) -> Result<bool, StoreError> {
        self.up(StoreError)?.try_probe(model, tenant, lease_ms, now_ms).await
    }
}

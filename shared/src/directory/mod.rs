//! The directory: tenants, their keys, and admins; and, in [`crate::ledger`], what they did.
//!
//! The border is what the gateway needs of a durable store, not what a database offers: look a key up by its hash, and
//! change a tenant or a key so that nobody can miss the change. Every change raises the tenant's version (T2), and is
//! written down in the audit log in the same transaction as the change.

pub mod authenticate;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod embedded;

use crate::admin::AdminRecord;
use crate::disk::DiskFault;
use crate::limit::lineage::Lineage;
use crate::tenant::Limits;
use crate::tenant::TenantRecord;
use crate::tenant::key::KeyHash;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// What the directory stores of an API key. The key itself is nowhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Names the key in the admin plane; unique within the tenant.
    pub id: Arc<str>,
    /// The tenant that owns it.
    pub tenant: Arc<str>,
    /// The keyed hash of the key, in hexadecimal.
    pub hash: String,
    /// A name for people.
    pub name: String,
    /// The first twelve characters of the key.
    pub prefix: String,
    /// The last four characters of the key.
    pub last4: Arc<str>,
    /// When it was made, in Unix milliseconds.
    pub created_at_ms: u64,
    /// Its own expiry, in Unix milliseconds.
    pub expires_at_ms: Option<u64>,
    /// When the grace ends that a rotation left it; what its successors expire by is its own expiry, not this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires_at_ms: Option<u64>,
    /// Names or prefixes ending in `*` of the models and tiers that it may use of those that its tenant may; absent: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_models: Option<Vec<String>>,
    /// What it may use at most, beside its tenant's limits; absent: no less than its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The id of the first of the keys that were rotated into it; absent where it is that itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Arc<str>>,
    /// Begins with 1 and grows by one with every change; one from before there were versions begins with 0.
    #[serde(default)]
    pub version: u64,
}

/// When a key stops working.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expiry {
    /// Its own expiry, in Unix milliseconds.
    pub expires_at_ms: Option<u64>,
    /// When its grace ends, if it was rotated.
    pub retires_at_ms: Option<u64>,
}

impl KeyRecord {
    /// When it stops working: the earlier of the two.
    #[must_use]
    pub fn ends_at_ms(&self) -> Option<u64> {
        self.expires_at_ms.into_iter().chain(self.retires_at_ms).min()
    }

    /// What its own limits are counted under.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        Lineage::of(self.first.as_ref().unwrap_or(&self.id))
    }

    /// Whether this is the next version of that key.
    fn follows(&self, stored: &Self) -> bool {
        stored.version.checked_add(1) == Some(self.version) && stored.hash == self.hash
    }

    /// The key with another expiry, its version one higher.
    #[must_use]
    pub fn with_expiry(&self, Expiry { expires_at_ms, retires_at_ms }: Expiry) -> Self {
        Self { expires_at_ms, retires_at_ms, version: self.version + 1, ..self.clone() }
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The first `limit` of `rows`, which has one more where there is a next page; `cursor` is what a row is found by.
    #[must_use]
    pub fn cut(rows: impl IntoIterator<Item = T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let mut rows = rows.into_iter();
        let data: Vec<T> = rows.by_ref().take(limit).collect();
        let next = rows.next().and_then(|_| data.last().map(cursor));
        Self { data, next }
    }
}

/// One entry of the append-only audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// Which admin, by id.
    pub who: String,
    /// The address that the admin's request came from, as far as the host knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// What was done, as `tenant.create`, `key.revoke`.
    pub what: String,
    /// To what: a tenant's or admin's id, or `tenant/key`.
    pub subject: String,
    /// As it was before; `null` when it was not.
    pub before: Value,
    /// As it is now; `null` when it is no more.
    pub after: Value,
}

/// Why a call of the directory failed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is something of that id already.
    #[error("exists already")]
    Exists,
    /// There is nothing of that id.
    #[error("does not exist")]
    Missing,
    /// It was changed by somebody else since it was read.
    #[error("was changed meanwhile")]
    Conflict,
    /// The disk did not take the change, and nothing was changed. What is there can be read.
    #[error("nothing was changed: {0}")]
    Unwritten(DiskFault),
    /// The directory cannot be reached or is broken, and whether it was changed is not known; the text is for the operator.
    #[error("the directory is unavailable: {0}")]
    Unavailable(String),
}

/// Where tenants, keys and admins are kept.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The key of this hash and its tenant, if both exist. Expiry and `enabled` are the caller's to check.
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<(TenantRecord, KeyRecord)>, DirectoryError>;

    /// The tenant of this id.
    async fn tenant(&self, id: &str) -> Result<Option<TenantRecord>, DirectoryError>;

    /// At most `limit` tenants in the order of their ids, from after `cursor`.
    async fn tenants(&self, cursor: Option<&str>, limit: usize) -> Result<Page<TenantRecord>, DirectoryError>;

    /// Adds a tenant. [`DirectoryError::Exists`] if there is one of that id.
    async fn create_tenant(&self, tenant: &TenantRecord, audit: AuditEntry) -> Result<(), DirectoryError>;

    /// Replaces a tenant whose version is `tenant.version - 1` and whose uid is the same; otherwise [`DirectoryError::Conflict`] or `Missing`.
    async fn update_tenant(&self, tenant: &TenantRecord, audit: AuditEntry) -> Result<(), DirectoryError>;

    /// Removes a tenant and all its keys; [`DirectoryError::Conflict`] if it is to be of this version and is not.
    async fn delete_tenant(&self, id: &str, version: Option<u64>, audit: AuditEntry) -> Result<(), DirectoryError>;

    /// The keys of a tenant, in the order of their ids. `Missing` if there is no such tenant.
    async fn keys(&self, tenant: &str) -> Result<Vec<KeyRecord>, DirectoryError>;

    /// Adds a key and raises its tenant's version; answers the new version. `Missing` if there is no such tenant,
    /// `Exists` if the tenant has a key of that id or the hash is taken.
    async fn create_key(&self, key: &KeyRecord, audit: AuditEntry) -> Result<u64, DirectoryError>;

    /// Replaces a key whose version is `key.version - 1` and whose hash is the same, and raises its tenant's version; answers
    /// that. Otherwise [`DirectoryError::Conflict`] or `Missing`.
    async fn update_key(&self, key: &KeyRecord, audit: AuditEntry) -> Result<u64, DirectoryError>;

    /// Removes a key and raises its tenant's version; answers the new version. `Missing` if there is no such key,
    /// `Conflict` if it is to be of this version and is not.
    async fn delete_key(
        &self,
        tenant: &str,
        id: &str,
        version: Option<u64>,
        audit: AuditEntry,
    ) -> Result<u64, DirectoryError>;

    /// The admin whose token has this hash. Expiry and role are the caller's to check.
    async fn find_admin(&self, hash: &KeyHash) -> Result<Option<AdminRecord>, DirectoryError>;

    /// The admin of this id.
    async fn admin(&self, id: &str) -> Result<Option<AdminRecord>, DirectoryError>;

    /// At most `limit` admins in the order of their ids, from after `cursor`.
    async fn admins(&self, cursor: Option<&str>, limit: usize) -> Result<Page<AdminRecord>, DirectoryError>;

    /// Adds an admin. [`DirectoryError::Exists`] if there is one of that id, or the hash is taken.
    async fn create_admin(&self, admin: &AdminRecord, audit: AuditEntry) -> Result<(), DirectoryError>;

    /// Replaces an admin whose version is `admin.version - 1`; otherwise [`DirectoryError::Conflict`] or `Missing`. By the
    /// token that it had before nobody is found any more, if it has another now.
    async fn update_admin(&self, admin: &AdminRecord, audit: AuditEntry) -> Result<(), DirectoryError>;

    /// Removes an admin, if its version is `version`; otherwise [`DirectoryError::Conflict`] or `Missing`.
    async fn delete_admin(&self, id: &str, version: u64, audit: AuditEntry) -> Result<(), DirectoryError>;

    /// Writes an audit entry down of what is changed elsewhere.
    async fn note(&self, audit: AuditEntry) -> Result<(), DirectoryError>;

    /// At most `limit` audit entries, newest first, from after `cursor`; `Missing` for a cursor that was never given.
    async fn audit(&self, cursor: Option<&str>, limit: usize) -> Result<Page<AuditEntry>, DirectoryError>;

    /// Whether the directory answers. [`DirectoryError::Unwritten`] if it can be read and not be changed.
    async fn ping(&self) -> Result<(), DirectoryError>;
}

//! What every change has in common: its entry in the audit log, and that it is effective at once.
//!
//! The directory takes no change without an entry, in one transaction with it. What is left to do here is to inform the
//! store the tenant's new version: the next admission, in whatever process, sees that what it goes by is old and reads the
//! directory first (T2). An entry holds what the plane shows of a thing, hence never a key or its hash (T3).

use crate::Plane;
use crate::caller::Caller;
use gateway_core::directory::AuditEntry;
use gateway_core::tenant::id_of;
use serde_json::Value;

/// How often a change is made again because somebody else was faster.
pub(crate) const TRIES: usize = 16;

impl Plane {
    /// The audit log's entry of a change.
    pub(crate) fn entry(&self, by: &Caller, what: &str, subject: String, before: Value, after: Value) -> AuditEntry {
        let (who, from, what) = (by.id.to_string(), by.from, what.to_owned());
        AuditEntry { at_ms: self.gateway.clock.now_ms(), who, from, what, subject, before, after }
    }

    /// Makes a tenant's change, or that of one of its keys, effective with its next request.
    ///
    /// The change stands in the directory by now, so a store that is down does not make it fail: it then becomes
    /// effective as fast as each process asks the directory again by itself, which is within ten seconds.
    pub(crate) async fn tell_store(&self, uid: &str, version: u64) {
        let now_ms = self.gateway.clock.now_ms();
        if let Err(error) = self.gateway.store.counters().rebuild(uid, None, version, &[], now_ms).await {
            tracing::warn!(tenant = id_of(uid), %error, "the store does not know of a change yet; it may take ten seconds to be effective");
        }
    }

    /// The same, of a change to one of the keys of the tenant of this id.
    pub(crate) async fn tell_store_of(&self, tenant: &str, version: u64) {
        match self.gateway.directory.tenant(tenant).await {
            Ok(Some(record)) => self.tell_store(record.uid(), version).await,
            // It was deleted meanwhile, and its keys with it.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(tenant, %error, "the store does not know of a change yet; it may take ten seconds to be effective");
            }
        }
    }
}

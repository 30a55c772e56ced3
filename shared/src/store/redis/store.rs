//! The store itself: its connection, its scripts, and what this process remembers of what it said.

use super::address::Address;
use super::cached_model::{CachedModel, Tuning};
use super::connection::Connection;
use super::layout::LAYOUT;
use super::script::{Batch, Scripts, Step};
use crate::health::breaker::BreakerSettings;
use crate::health::score::HealthSettings;
use crate::store::{ExpiredHold, StoreError};
use ::redis::Value;
use lru::LruCache;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

/// Of how many tenants the cache version is remembered.
const CACHE_VERSIONS_KEPT: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// The store in Redis or Valkey.
pub struct RedisStore {
    pub(super) connection: Connection,
    pub(super) scripts: Scripts,
    pub(super) prefix: String,
    pub(super) tuning: Tuning,
    pub(super) max_entry_bytes: usize,
    /// Expired holds that this process got, and that nobody has taken.
    pub(super) expired: Mutex<HashMap<String, Vec<ExpiredHold>>>,
    /// The version of each tenant's remembered answers.
    pub(super) cache_versions: Mutex<LruCache<Arc<str>, String>>,
    /// The models' health.
    pub(super) models: Mutex<HashMap<Arc<str>, CachedModel>>,
}

impl std::fmt::Debug for RedisStore {
    // The address may hold a password (T3).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore")
            .field("is_cluster", &self.connection.is_cluster())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// A store at `redis://`, `rediss://`, `redis-cluster://` or `rediss-cluster://`; nothing is dialled before its first
    /// use. Answers of more than `max_entry_bytes` are not kept.
    ///
    /// # Errors
    /// The address cannot be used. The message does not repeat it.
    pub fn new(
        url: &str,
        health: &HealthSettings,
        breaker: &BreakerSettings,
        max_entry_bytes: usize,
    ) -> Result<Self, StoreError> {
        Self::trusting(None, url, health, breaker, max_entry_bytes)
    }

    /// The same; with TLS, the certificate authority `authority`, in PEM, is trusted in place of the usual ones.
    ///
    /// # Errors
    /// As [`RedisStore::new`].
    pub fn trusting(
        authority: Option<&[u8]>,
        url: &str,
        health: &HealthSettings,
        breaker: &BreakerSettings,
        max_entry_bytes: usize,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            connection: Connection::new(Address::parse(url, authority)?),
            scripts: Scripts::default(),
            prefix: ["gw:", LAYOUT].concat(),
            tuning: Tuning { tau_ms: health.tau_ms, breaker: breaker.clone() },
            max_entry_bytes,
            expired: Mutex::default(),
            cache_versions: Mutex::new(LruCache::new(CACHE_VERSIONS_KEPT)),
            models: Mutex::default(),
        })
    }

    /// The same with keys that begin with `prefix` in place of `gw:`, so that several fleets can share a server. It must
    /// not contain a brace.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.prefix = [prefix, LAYOUT].concat();
        self
    }

    /// Sends one command.
    pub(super) async fn ask(&self, step: Step<'_>) -> Result<Value, StoreError> {
        let mut batch = Batch::default();
        let answer = batch.push(step);
        self.connection.send(&batch).await?.take(answer)
    }
}

//! Authentication: a key in, the tenant and its settings out.
//!
//! The directory's answer is kept for ten seconds, and for a minute while the directory is down. That cache is not what
//! revocation rests on: every admission compares the settings version with the store's, and a difference throws the kept
//! answer away (T2). A key that is not one (prefix, checksum) costs no look-up.

use crate::clock::{LEFT_ALONE_MS, is_within};
use crate::directory::{Directory, DirectoryError};
use crate::error::Error;
use crate::limit::lineage::Lineage;
use crate::locking::lock;
use crate::tenant::key::{ApiKey, KeyHash, KeyHasher};
use crate::tenant::{Limits, Tenant, TenantSettings, narrowed};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// How long the directory's answer is as good as asking.
const FRESH_MS: u64 = 10_000;
/// How long it is better than none, while the directory is down.
const STALE_MS: u64 = 60_000;
/// Keys that are kept; what is least used goes first.
const KEPT: usize = 10_000;

/// The tenant and key of a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The tenant; of its models those that the key may use.
    pub tenant: Arc<Tenant>,
    /// The last four characters of the key.
    pub key_last4: Arc<str>,
    /// When the key stops working, in Unix milliseconds.
    pub key_expires_at_ms: Option<u64>,
    /// The key's own limits, if it has any.
    pub key_limits: Option<Arc<KeyLimits>>,
    /// Whether the directory is down and this is what it said within the last minute.
    pub is_stale: bool,
    hash: KeyHash,
}

/// What a key may use at most, and what that is counted under.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// The keys that share it.
    pub lineage: Lineage,
    /// The limits.
    pub limits: Limits,
}

impl Caller {
    /// What the key's own limits are counted under, if it has any.
    #[must_use]
    pub fn lineage(&self) -> Option<Lineage> {
        self.key_limits.as_ref().map(|own| own.lineage)
    }

    /// The operator of a tenant, who asks in its place and has none of its keys.
    #[must_use]
    pub fn operator_of(tenant: Tenant) -> Self {
        Self {
            tenant: Arc::new(tenant),
            key_last4: Arc::default(),
            key_expires_at_ms: None,
            key_limits: None,
            is_stale: false,
            hash: KeyHash([0; 32]),
        }
    }
}

/// Finds out who is asking.
pub struct Authenticator {
    directory: Arc<dyn Directory>,
    hasher: KeyHasher,
    defaults: TenantSettings,
    kept: Mutex<LruCache<KeyHash, (Caller, u64)>>,
    /// When the directory failed the last time: for a moment it is not read for a key of which something is kept.
    failed_at_ms: AtomicU64,
}

impl Authenticator {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>, hasher: KeyHasher, defaults: TenantSettings) -> Self {
        let capacity = NonZeroUsize::new(KEPT).unwrap_or(NonZeroUsize::MIN);
        Self { directory, hasher, defaults, kept: Mutex::new(LruCache::new(capacity)), failed_at_ms: AtomicU64::new(0) }
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// 401 for no key, a mistyped, unknown, revoked or expired one; 403 for a disabled tenant; 503 if the directory is
    /// down and has not been read for this key within a minute.
    pub async fn authenticate(&self, key: Option<&str>, now_ms: u64) -> Result<Caller, Error> {
        let key = key.ok_or(Error::InvalidApiKey("Send your key as `authorization: Bearer gw_live_…`."))?;
        let key = ApiKey::parse(key).ok_or(Error::InvalidApiKey("This is not an API key of this gateway."))?;
        let hash = self.hasher.hash(key.reveal());
        let kept = lock(&self.kept).get(&hash).cloned();
        // Nobody is refused by what is kept: a tenant that is enabled again need not wait for it to age.
        if let Some((caller, read_at_ms)) = &kept
            && is_within(FRESH_MS, *read_at_ms, now_ms)
            && let Ok(caller) = admissible(caller.clone(), now_ms)
        {
            return Ok(caller);
        }
        if let Some((caller, read_at_ms)) = &kept
            && is_within(LEFT_ALONE_MS, self.failed_at_ms.load(Relaxed), now_ms)
            && is_within(STALE_MS, *read_at_ms, now_ms)
        {
            return admissible(Caller { is_stale: true, ..caller.clone() }, now_ms);
        }
        self.read(hash, kept, now_ms).await
    }

    /// Asks the directory about a caller again, whatever is kept.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub async fn again(&self, caller: &Caller, now_ms: u64) -> Result<Caller, Error> {
        lock(&self.kept).pop(&caller.hash);
        self.read(caller.hash, None, now_ms).await
    }

    async fn read(&self, hash: KeyHash, kept: Option<(Caller, u64)>, now_ms: u64) -> Result<Caller, Error> {
        match self.directory.find_key(&hash).await {
            Ok(Some((record, key))) => {
                let mut tenant = record
                    .resolve(&self.defaults)
                    .map_err(|e| Error::Internal(format!("tenant {}: {e}", record.id)))?;
                if let Some(own) = &key.allowed_models {
                    tenant.settings.allowed_models = narrowed(own, &tenant.settings.allowed_models);
                }
                let lineage = key.lineage();
                let limits = key.limits.clone().filter(|own| *own != Limits::default());
                let caller = Caller {
                    tenant: Arc::new(tenant),
                    key_limits: limits.map(|limits| Arc::new(KeyLimits { lineage, limits })),
                    key_expires_at_ms: key.ends_at_ms(),
                    key_last4: key.last4,
                    is_stale: false,
                    hash,
                };
                lock(&self.kept).put(hash, (caller.clone(), now_ms));
                admissible(caller, now_ms)
            }
            Ok(None) => {
                lock(&self.kept).pop(&hash);
                Err(Error::InvalidApiKey("This API key is unknown or was revoked."))
            }
            Err(DirectoryError::Unavailable(why)) => {
                self.failed_at_ms.store(now_ms, Relaxed);
                match kept {
                    Some((caller, read_at_ms)) if is_within(STALE_MS, read_at_ms, now_ms) => {
                        admissible(Caller { is_stale: true, ..caller }, now_ms)
                    }
                    _ => Err(Error::Unavailable(why)),
                }
            }
            Err(other) => Err(Error::Internal(other.to_string())),
        }
    }
}

fn admissible(caller: Caller, now_ms: u64) -> Result<Caller, Error> {
    if caller.key_expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
        return Err(Error::InvalidApiKey("This API key has expired."));
    }
    if !caller.tenant.settings.enabled {
        return Err(Error::TenantDisabled);
    }
    Ok(caller)
}

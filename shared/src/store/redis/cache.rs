//! Remembered answers.
//!
//! An answer's value begins with when it expires and with its *cache version*, a random word that stands in the tenant's
//! hash. An answer of another version is not seen, so that a purge is one write of one word, however many answers
//! there are. The word is read by the admission script, which reads the hash anyhow, and is sent to the process, which
//! writes answers under it: no round trip is spent on it. An answer to a request of before a purge is thus not
//! remembered after it; and a tenant that is lost loses the cache with it, never the purge. Rejected: a set of each
//! tenant's keys, which grows with the cache, and which an eviction takes away without a purge being able to know.
//!
//! What was purged is out of sight at once, and out of memory when its time has ended.
//!
//! The notes of a group are one list of such values, under the tenant's hash tag like all else of it.

use super::answers::text;
use super::counters::fresh_cache_version;
use super::script::Batch;
use super::store::RedisStore;
use crate::locking::lock;
use crate::store::{CacheKey, MAX_NOTE_BYTES, NOTES_KEPT, ResponseCache, StoreError};
use crate::tenant::key::hex;
use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Value};
use std::sync::Arc;

/// Digits of the time of expiry at the beginning of a value, in Unix milliseconds.
const EXPIRY_BYTES: usize = 15;
/// What stands before the answer: the time of expiry, and the cache version's 16 characters.
const HEAD_BYTES: usize = EXPIRY_BYTES + 16;
/// The server forgets an answer this long after its time, for the sake of clocks that differ.
const FORGET_AFTER_MS: u64 = 60_000;
/// A tenant of which only the cache version is known is kept this long.
const VERSION_KEPT_MS: u64 = 86_400_000;
/// The longest time to live that is kept: a year.
const LONGEST_MS: u64 = 366 * 86_400_000;

/// The answer in a value, if it is of this version and its time is not over.
pub(super) fn answer_of(value: Value, version: &str, now_ms: u64) -> Option<Bytes> {
    let Value::BulkString(value) = value else { return None };
    let head = std::str::from_utf8(value.get(..HEAD_BYTES)?).ok()?;
    let (expires_at_ms, of) = head.split_at_checked(EXPIRY_BYTES)?;
    let is_current = of == version && expires_at_ms.parse::<u64>().ok()? > now_ms;
    is_current.then(|| Bytes::from(value).slice(HEAD_BYTES..))
}

/// A value with what stands before it.
fn kept(value: &[u8], ttl_ms: u64, of: &str, now_ms: u64) -> Vec<u8> {
    let mut kept = Vec::with_capacity(HEAD_BYTES + value.len());
    kept.extend_from_slice(format!("{:015}{of}", now_ms.saturating_add(ttl_ms)).as_bytes());
    kept.extend_from_slice(value);
    kept
}

impl RedisStore {
    pub(super) fn cache_key(&self, key: &CacheKey) -> String {
        [&self.tenant_key(&key.tenant), ":c:", &hex(&key.hash)].concat()
    }

    pub(super) fn read(&self, key: &str) -> Cmd {
        let mut get = redis::cmd("GET");
        get.arg(key);
        get
    }

    /// The command that remembers an answer; none if it is too large.
    pub(super) fn write(&self, key: &CacheKey, value: &[u8], ttl_ms: u64, of: &str, now_ms: u64) -> Option<Cmd> {
        if value.len() > self.max_entry_bytes {
            return None;
        }
        let ttl_ms = ttl_ms.min(LONGEST_MS);
        let kept = kept(value, ttl_ms, of, now_ms);
        let mut set = redis::cmd("SET");
        set.arg(self.cache_key(key)).arg(kept).arg("PX").arg(ttl_ms + FORGET_AFTER_MS);
        Some(set)
    }

    fn group_key(&self, group: &CacheKey) -> String {
        [&self.tenant_key(&group.tenant), ":n:", &hex(&group.hash)].concat()
    }

    /// The commands that add a note to a group: first, the latest only, and for as long as the latest is of use.
    pub(super) fn add_note(&self, group: &CacheKey, note: &[u8], ttl_ms: u64, of: &str, now_ms: u64) -> Vec<Cmd> {
        if note.len() > MAX_NOTE_BYTES {
            return Vec::new();
        }
        let (key, ttl_ms) = (self.group_key(group), ttl_ms.min(LONGEST_MS));
        let (mut push, mut trim, mut expire) = (redis::cmd("LPUSH"), redis::cmd("LTRIM"), redis::cmd("PEXPIRE"));
        push.arg(&key).arg(kept(note, ttl_ms, of, now_ms));
        trim.arg(&key).arg(0).arg(NOTES_KEPT - 1);
        expire.arg(&key).arg(ttl_ms + FORGET_AFTER_MS);
        vec![push, trim, expire]
    }

    /// The version under which a tenant's answers are kept, made if there is none.
    async fn cache_version(&self, tenant: &Arc<str>) -> Result<String, StoreError> {
        match self.known_cache_version(tenant) {
            Some(version) => Ok(version),
            None => self.set_cache_version(tenant, "keep").await,
        }
    }

    fn read_version(&self, tenant: &str) -> Cmd {
        let mut version = redis::cmd("HGET");
        version.arg(self.tenant_key(tenant)).arg("cache_version");
        version
    }

    /// Notes the cache version of the server's answer.
    pub(super) fn learn_cache_version(&self, tenant: &Arc<str>, version: String) {
        let mut known = lock(&self.cache_versions);
        if !version.is_empty() && known.get(tenant) != Some(&version) {
            known.put(tenant.clone(), version);
        }
    }

    /// The latest version of a tenant's answers that this process knows.
    pub(super) fn known_cache_version(&self, tenant: &str) -> Option<String> {
        lock(&self.cache_versions).get(tenant).cloned()
    }

    async fn set_cache_version(&self, tenant: &Arc<str>, how: &str) -> Result<String, StoreError> {
        let call = self.scripts.cache_version.call(&[&self.tenant_key(tenant)]);
        let answer = self.ask(call.arg(fresh_cache_version()).arg(how).arg(VERSION_KEPT_MS)).await?;
        let version = text(&answer).unwrap_or_default().to_owned();
        self.learn_cache_version(tenant, version.clone());
        Ok(version)
    }
}

#[async_trait]
impl ResponseCache for RedisStore {
    async fn get(&self, key: &CacheKey, now_ms: u64) -> Result<Option<Bytes>, StoreError> {
        let mut batch = Batch::default();
        let version = batch.push(self.read_version(&key.tenant).into());
        let value = batch.push(self.read(&self.cache_key(key)).into());
        let mut answers = self.connection.send(&batch).await?;
        let version = answers.take(version)?;
        Ok(answer_of(answers.take(value)?, text(&version).unwrap_or_default(), now_ms))
    }

    async fn put(&self, key: &CacheKey, value: Bytes, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        let version = self.cache_version(&key.tenant).await?;
        match self.write(key, &value, ttl_ms, &version, now_ms) {
            Some(set) => self.ask(set.into()).await.map(drop),
            None => Ok(()),
        }
    }

    async fn notes(&self, group: &CacheKey, now_ms: u64) -> Result<Vec<Bytes>, StoreError> {
        let mut range = redis::cmd("LRANGE");
        range.arg(self.group_key(group)).arg(0).arg(NOTES_KEPT - 1);
        let mut batch = Batch::default();
        let version = batch.push(self.read_version(&group.tenant).into());
        let notes = batch.push(range.into());
        let mut answers = self.connection.send(&batch).await?;
        let version = answers.take(version)?;
        let version = text(&version).unwrap_or_default();
        let Value::Array(notes) = answers.take(notes)? else { return Ok(Vec::new()) };
        Ok(notes.into_iter().filter_map(|note| answer_of(note, version, now_ms)).collect())
    }

    async fn note(&self, group: &CacheKey, note: Bytes, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        let version = self.cache_version(&group.tenant).await?;
        let mut batch = Batch::default();
        let adding = self.add_note(group, &note, ttl_ms, &version, now_ms).into_iter();
        let places: Vec<_> = adding.map(|command| batch.push(command.into())).collect();
        if places.is_empty() {
            return Ok(());
        }
        let mut answers = self.connection.send(&batch).await?;
        places.into_iter().try_for_each(|place| answers.take(place).map(drop))
    }

    async fn purge(&self, tenant: &str) -> Result<(), StoreError> {
        self.set_cache_version(&Arc::from(tenant), "new").await.map(drop)
    }
}

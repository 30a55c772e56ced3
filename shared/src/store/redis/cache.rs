//! Remembered answers.
//!
//! An answer's value begins with when it expires and with its *generation*, a random word that stands in the tenant's
//! hash. An answer of another generation is not seen, so that a purge is one write of one word, however many answers
//! there are. The word is read by the admission script, which reads the hash anyhow, and is told to the process, which
//! writes answers under it: no round trip is spent on it. An answer that was asked for before a purge is thus not
//! remembered after it; and a tenant that is lost loses the cache with it, never the purge. Rejected: a set of each
//! tenant's keys, which grows with the cache, and which an eviction takes away without a purge being able to know.
//!
//! What was purged is out of sight at once, and out of memory when its time is over.

use super::RedisStore;
use super::answers::text;
use super::counters::fresh_generation;
use super::script::Batch;
use crate::store::{CacheKey, ResponseCache, StoreError};
use crate::tenant::key::hex;
use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Value};
use std::sync::{Arc, PoisonError};

/// Digits of the time of expiry at the beginning of a value, in Unix milliseconds.
const EXPIRY_BYTES: usize = 15;
/// What stands before the answer: the time of expiry, and the generation's 16 characters.
const HEAD_BYTES: usize = EXPIRY_BYTES + 16;
/// The server forgets an answer this long after its time, for the sake of clocks that differ.
const FORGET_AFTER_MS: u64 = 60_000;
/// A tenant of which only the generation is known is kept this long.
const GENERATION_KEPT_MS: u64 = 86_400_000;
/// The longest time to live that is kept: a year.
const LONGEST_MS: u64 = 366 * 86_400_000;

/// The answer in a value, if it is of this generation and its time is not over.
pub(super) fn answer_of(value: Value, generation: &str, now_ms: u64) -> Option<Bytes> {
    let Value::BulkString(value) = value else { return None };
    let head = std::str::from_utf8(value.get(..HEAD_BYTES)?).ok()?;
    let (expires_at_ms, of) = head.split_at_checked(EXPIRY_BYTES)?;
    let is_current = of == generation && expires_at_ms.parse::<u64>().ok()? > now_ms;
    is_current.then(|| Bytes::from(value).slice(HEAD_BYTES..))
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
        let mut kept = Vec::with_capacity(HEAD_BYTES + value.len());
        kept.extend_from_slice(format!("{:015}{of}", now_ms.saturating_add(ttl_ms)).as_bytes());
        kept.extend_from_slice(value);
        let mut set = redis::cmd("SET");
        set.arg(self.cache_key(key)).arg(kept).arg("PX").arg(ttl_ms + FORGET_AFTER_MS);
        Some(set)
    }

    /// Notes the generation that the server told.
    pub(super) fn learn_generation(&self, tenant: &Arc<str>, generation: String) {
        let mut known = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if !generation.is_empty() && known.get(tenant) != Some(&generation) {
            known.put(tenant.clone(), generation);
        }
    }

    /// The generation of a tenant's answers, as this process heard of it last.
    pub(super) fn known_generation(&self, tenant: &str) -> Option<String> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    async fn set_generation(&self, tenant: &Arc<str>, how: &str) -> Result<String, StoreError> {
        let call = self.scripts.generation.call(&[&self.tenant_key(tenant)]);
        let answer = self.ask(call.arg(fresh_generation()).arg(how).arg(GENERATION_KEPT_MS)).await?;
        let generation = text(&answer).unwrap_or_default().to_owned();
        self.learn_generation(tenant, generation.clone());
        Ok(generation)
    }
}

#[async_trait]
impl ResponseCache for RedisStore {
    async fn get(&self, key: &CacheKey, now_ms: u64) -> Result<Option<Bytes>, StoreError> {
        let mut generation = redis::cmd("HGET");
        generation.arg(self.tenant_key(&key.tenant)).arg("g");
        let mut batch = Batch::default();
        let generation = batch.push(generation.into());
        let value = batch.push(self.read(&self.cache_key(key)).into());
        let mut answers = self.connection.send(&batch).await?;
        let generation = answers.take(generation)?;
        Ok(answer_of(answers.take(value)?, text(&generation).unwrap_or_default(), now_ms))
    }

    async fn put(&self, key: &CacheKey, value: Bytes, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        let generation = match self.known_generation(&key.tenant) {
            Some(generation) => generation,
            None => self.set_generation(&key.tenant, "keep").await?,
        };
        match self.write(key, &value, ttl_ms, &generation, now_ms) {
            Some(set) => self.ask(set.into()).await.map(drop),
            None => Ok(()),
        }
    }

    async fn purge(&self, tenant: &str) -> Result<(), StoreError> {
        self.set_generation(&Arc::from(tenant), "new").await.map(drop)
    }
}

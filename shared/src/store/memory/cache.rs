//! Remembered answers in this process's memory: least recently used first out, bounded in number and bytes, each for its
//! time.

use crate::locking::lock;
use crate::store::{CacheKey, MAX_NOTE_BYTES, NOTES_KEPT, ResponseCache, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use lru::LruCache;
use std::collections::VecDeque;
use std::sync::Mutex;

/// What an entry weighs beside its bytes.
const ENTRY_BYTES: usize = 200;
/// Of the bytes that answers may take, the notes may take one in so many, beside them.
const NOTES_SHARE: usize = 8;

/// The memory cache.
pub struct MemoryCache {
    max_entries: usize,
    max_bytes: usize,
    max_entry_bytes: usize,
    inner: Mutex<Inner>,
}

struct Inner {
    entries: LruCache<CacheKey, (Bytes, u64)>,
    bytes: usize,
    groups: LruCache<CacheKey, VecDeque<(Bytes, u64)>>,
    /// Of the notes of all groups.
    note_bytes: usize,
}

/// What a group's notes weigh.
fn weight(notes: &VecDeque<(Bytes, u64)>) -> usize {
    notes.iter().map(|(note, _)| note.len() + ENTRY_BYTES).sum::<usize>() + ENTRY_BYTES
}

impl MemoryCache {
    /// A cache of at most `max_entries` answers and `max_bytes`; one of more than `max_entry_bytes` is not kept.
    #[must_use]
    pub fn new(max_entries: usize, max_bytes: usize, max_entry_bytes: usize) -> Self {
        let (entries, groups) = (LruCache::unbounded(), LruCache::unbounded());
        let inner = Mutex::new(Inner { entries, bytes: 0, groups, note_bytes: 0 });
        Self { max_entries, max_bytes, max_entry_bytes, inner }
    }
}

impl Inner {
    fn remove(&mut self, key: &CacheKey) {
        if let Some((value, _)) = self.entries.pop(key) {
            self.bytes -= value.len() + ENTRY_BYTES;
        }
    }
}

#[async_trait]
impl ResponseCache for MemoryCache {
    async fn get(&self, key: &CacheKey, now_ms: u64) -> Result<Option<Bytes>, StoreError> {
        let mut inner = lock(&self.inner);
        match inner.entries.get(key) {
            Some((value, until_ms)) if *until_ms > now_ms => Ok(Some(value.clone())),
            Some(_) => {
                inner.remove(key);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    async fn put(&self, key: &CacheKey, value: Bytes, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        let weight = value.len() + ENTRY_BYTES;
        if value.len() > self.max_entry_bytes || weight > self.max_bytes {
            return Ok(());
        }
        let mut inner = lock(&self.inner);
        inner.remove(key);
        inner.bytes += weight;
        inner.entries.put(key.clone(), (value, now_ms.saturating_add(ttl_ms)));
        while (inner.bytes > self.max_bytes || inner.entries.len() > self.max_entries)
            && let Some((_, (value, _))) = inner.entries.pop_lru()
        {
            inner.bytes -= value.len() + ENTRY_BYTES;
        }
        Ok(())
    }

    async fn notes(&self, group: &CacheKey, now_ms: u64) -> Result<Vec<Bytes>, StoreError> {
        let mut inner = lock(&self.inner);
        let notes = inner.groups.get(group).into_iter().flatten();
        Ok(notes.filter(|(_, until_ms)| *until_ms > now_ms).map(|(note, _)| note.clone()).collect())
    }

    async fn note(&self, group: &CacheKey, note: Bytes, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        if note.len() > MAX_NOTE_BYTES {
            return Ok(());
        }
        let mut inner = lock(&self.inner);
        let mut notes = inner.groups.pop(group).inspect(|notes| inner.note_bytes -= weight(notes)).unwrap_or_default();
        notes.push_front((note, now_ms.saturating_add(ttl_ms)));
        notes.truncate(NOTES_KEPT);
        inner.note_bytes += weight(&notes);
        inner.groups.put(group.clone(), notes);
        while inner.note_bytes > self.max_bytes / NOTES_SHARE
            && let Some((_, notes)) = inner.groups.pop_lru()
        {
            inner.note_bytes -= weight(&notes);
        }
        Ok(())
    }

    async fn purge(&self, tenant: &str) -> Result<(), StoreError> {
        let mut inner = lock(&self.inner);
        let groups: Vec<CacheKey> =
            inner.groups.iter().filter(|(key, _)| &*key.tenant == tenant).map(|(key, _)| key.clone()).collect();
        for group in groups {
            if let Some(notes) = inner.groups.pop(&group) {
                inner.note_bytes -= weight(&notes);
            }
        }
        let keys: Vec<CacheKey> =
            inner.entries.iter().filter(|(key, _)| &*key.tenant == tenant).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| inner.remove(key));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn it_holds_as_many_answers_as_it_is_told_and_forgets_the_least_used() {
        for max_entries in [0, 1, 3] {
            let cache = MemoryCache::new(max_entries, usize::MAX, usize::MAX);
            let key = |n: u8| CacheKey { tenant: "acme".into(), hash: [n; 32] };
            for n in 0..5 {
                cache.put(&key(n), Bytes::from_static(b"answer"), 1_000, 0).await.unwrap();
                // The first one is read all the time.
                cache.get(&key(0), 0).await.unwrap();
            }
            let mut kept = Vec::new();
            for n in 0..5 {
                kept.extend(cache.get(&key(n), 0).await.unwrap().map(|_| n));
            }
            assert_eq!(kept.len(), max_entries, "{kept:?}");
            assert_eq!(kept.first(), (max_entries > 1).then_some(&0).or(kept.last()), "{kept:?}");
        }
    }
}

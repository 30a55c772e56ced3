//! The store in this process's memory.

mod cache;
mod counters;
mod health;

pub use cache::MemoryCache;
pub use counters::MemoryCounters;
pub use health::MemoryHealth;

use crate::config::{CacheSettings, Config};
use crate::store::Composed;
use std::sync::Arc;

impl Composed {
    /// A store whose three parts are in this process's memory, bounded as the configuration says.
    #[must_use]
    pub fn in_memory(config: &Config) -> Self {
        let bound = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let CacheSettings { max_entries, max_bytes, max_entry_bytes, items_seconds: _ } = config.cache;
        Self {
            counters: Arc::new(MemoryCounters::default()),
            cache: Arc::new(MemoryCache::new(bound(max_entries), bound(max_bytes), bound(max_entry_bytes))),
            health: Arc::new(MemoryHealth::new(&config.health, config.breaker.clone())),
            kind: "memory",
        }
    }
}

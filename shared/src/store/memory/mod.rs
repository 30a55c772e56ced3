//! The store in this process's memory.

mod cache;
mod counters;

pub use cache::MemoryCache;
pub use counters::MemoryCounters;

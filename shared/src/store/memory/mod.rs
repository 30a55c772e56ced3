//! The store in this process's memory.

mod cache;
mod counters;
mod health;

pub use cache::MemoryCache;
pub use counters::MemoryCounters;
pub use health::MemoryHealth;

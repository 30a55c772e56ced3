//! The store in Redis or Valkey (7 or later), one server or a cluster: the counters, cache and health of a whole fleet.
//!
//! Each operation is one script, hence atomic, and idempotent, hence sent again without a thought when an answer fails to
//! come ([`connection`]). A request waits for the store twice, on a hit once: its admission reads the remembered answer
//! beside the script that depends on it, and its settlement takes along the answer to remember and what was observed of models,
//! in one pipeline; to a cluster that travels beside it, because models are in other slots.
//!
//! The admission script looks for itself whether the answer is there, and counts a hit or takes a hold by that; no body
//! passes through Lua. The answer is read in the same transaction, so that what the script saw is what was read: what is
//! counted as a hit is answered from the cache, and what is not has its hold (see ADR 21).
//!
//! Serves M1, M2, M5 and M7 (`counters.rs`), T1 (`cache.rs`) and A6 (`health.rs`).

mod address;
mod answers;
mod batches;
mod cache;
mod cached_model;
mod connection;
mod counters;
mod health;
mod inspect;
mod layout;
mod link;
mod model;
mod script;
mod store;
mod words;

pub use inspect::{TenantHold, TenantRecord};
pub use model::ModelRecord;
pub use store::RedisStore;

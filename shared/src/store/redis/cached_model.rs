//! What this process knows of a model, for a second of the caller's time.

use crate::health::ModelState;
use crate::health::breaker::BreakerSettings;

/// How old, in milliseconds, what is kept in process may be.
const CACHED_MS: u64 = 1_000;
/// What this process knows of a model.
#[derive(Debug, Clone, Default)]
pub(super) struct CachedModel {
    pub(super) state: ModelState,
    /// When it was read, 0 if it is to be read anew; and how often the model had been written then.
    pub(super) read_at_ms: u64,
    pub(super) read_at_times: u64,
    /// How often the server said at most that it was written, and when it last said so.
    pub(super) times_written: u64,
    pub(super) written_seen_at_ms: u64,
}

impl CachedModel {
    pub(super) fn is_fresh(&self, now_ms: u64) -> bool {
        self.read_at_ms.abs_diff(now_ms) < CACHED_MS
    }

    /// Takes in how often the model was written; answers whether the server has said of a later time already. A store that
    /// was lost begins anew.
    pub(super) fn is_overtaken(&mut self, times_written: u64, now_ms: u64) -> bool {
        let overtaken = times_written < self.times_written && self.written_seen_at_ms.abs_diff(now_ms) < CACHED_MS;
        if !overtaken {
            (self.times_written, self.written_seen_at_ms) = (times_written, now_ms);
        }
        overtaken
    }
}

/// Settings of the statistics and the breaker, as the scripts take them.
#[derive(Debug)]
pub(super) struct Tuning {
    pub(super) tau_ms: u64,
    pub(super) breaker: BreakerSettings,
}

//! The time of day, read in one place only.
//!
//! Nothing below the pipeline's root reads the time: `now_ms` is an argument everywhere, so that a test says what time
//! it is and never sleeps. Spans (latency, time-outs, the deadline) are measured with `tokio::time`, which tests pause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// Milliseconds in an hour.
pub const HOUR_MS: u64 = 3_600_000;
/// Milliseconds in a day; Unix time has no leap seconds.
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// For how long what failed to answer is not called again, where one can do without.
pub(crate) const LEFT_ALONE_MS: u64 = 1_000;

/// Whether it is less than so long since something, or before it: a span that began on a clock that was set back since would
/// last until the clock is there again.
#[must_use]
pub fn is_within(span_ms: u64, since_ms: u64, now_ms: u64) -> bool {
    now_ms.abs_diff(since_ms) < span_ms
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands still until it is set; for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `now_ms`.
    #[must_use]
    pub fn at(now_ms: u64) -> Self {
        Self(AtomicU64::new(now_ms))
    }

    /// Moves the clock by `by_ms`.
    pub fn advance(&self, by_ms: u64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Sets the clock back by `by_ms`.
    pub fn set_back(&self, by_ms: u64) {
        self.0.fetch_sub(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

//! LiteLLM's router: any model that is not cooling down, evenly (`simple-shuffle`).
//!
//! What cools a model down follows its documentation and `cooldown_handlers.py`. By default: a 429 at once; else more
//! than half of at least five calls of this minute. With `allowed_fails` set: more failures than that, each within the
//! cooldown time of the one before it. The time is five seconds, or as `retry-after` says.

use crate::policy::{End, Policy, shuffled};
use crate::world::COUNT;
use fastrand::Rng;

const COOLDOWN_MS: u64 = 5_000;
const MINUTE_MS: u64 = 60_000;
const LEAST_CALLS: u64 = 5;

/// What it knows of one model.
#[derive(Default, Clone, Copy)]
struct Known {
    cooled_until_ms: u64,
    /// Failures that `allowed_fails` counts, and until when they are kept.
    failures: u64,
    kept_until_ms: u64,
    /// The minute in which these were counted.
    minute: u64,
    answered: u64,
    failed: u64,
}

/// The router.
pub(super) struct LiteLlm {
    allowed_fails: Option<u64>,
    /// The most calls for one request.
    tries: usize,
    known: [Known; COUNT],
}

impl LiteLlm {
    pub(super) fn by_allowed_fails(allowed_fails: u64) -> Self {
        Self { allowed_fails: Some(allowed_fails), tries: COUNT, known: Default::default() }
    }

    pub(super) fn by_default() -> Self {
        Self { allowed_fails: None, tries: 3, known: Default::default() }
    }
}

impl Policy for LiteLlm {
    fn order(&mut self, now_ms: u64, dice: &mut Rng) -> Vec<usize> {
        let mut models = shuffled(dice);
        models.retain(|&model| self.known[model].cooled_until_ms <= now_ms);
        models.truncate(self.tries);
        models
    }

    fn ended(&mut self, model: usize, _: f64, end: End, now_ms: u64) {
        let known = &mut self.known[model];
        if known.minute != now_ms / MINUTE_MS {
            (known.minute, known.answered, known.failed) = (now_ms / MINUTE_MS, 0, 0);
        }
        if end == End::Answered {
            known.answered += 1;
            return;
        }
        known.failed += 1;
        let cools = match (self.allowed_fails, end) {
            (Some(allowed), _) => {
                let failures = if now_ms < known.kept_until_ms { known.failures } else { 0 } + 1;
                if failures <= allowed {
                    (known.failures, known.kept_until_ms) = (failures, now_ms + COOLDOWN_MS);
                }
                failures > allowed
            }
            (None, End::RateLimited { .. }) => true,
            (None, _) => known.failed > known.answered && known.failed + known.answered >= LEAST_CALLS,
        };
        if cools {
            let cooldown_ms = match end {
                End::RateLimited { retry_after_ms: Some(asked_ms) } => asked_ms,
                _ => COOLDOWN_MS,
            };
            known.cooled_until_ms = now_ms + cooldown_ms;
        }
    }
}

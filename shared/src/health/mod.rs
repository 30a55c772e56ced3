//! What is known of each model: how fast it is, how often it fails, whether it may be asked at all.
//!
//! Three small state machines, pure and testable by themselves: [`welford`] (decayed statistics), [`breaker`] and
//! [`score`] (the order of candidates). This file is what they are put together to: one [`ModelHealth`] per model, and
//! the store that keeps it in this process's memory.

pub mod breaker;
pub mod score;
pub mod welford;

use crate::id::jitter;
use crate::store::{HealthStore, StoreError};
use async_trait::async_trait;
use breaker::{Breaker, BreakerSettings, Outcome};
use score::{HealthSettings, Measures, Standing};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use welford::Welford;

/// What an attempt showed of its model. A fault of the caller's shows nothing and is not recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The model's catalog name.
    pub model: Arc<str>,
    /// When the attempt began, in Unix milliseconds.
    pub begun_at_ms: u64,
    /// What it showed.
    pub sight: Sight,
}

/// What can be seen of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sight {
    /// It answered.
    Answered {
        /// Milliseconds to the first token; of a whole answer, to its end.
        ttft_ms: f64,
        /// Milliseconds per output token after the first, where that can be told.
        ms_per_token: Option<f64>,
    },
    /// 5xx, time-out, reset, truncation.
    Failed,
    /// It is not to be asked until then (429, or our key, bill or model id was refused).
    CoolDown {
        /// Unix milliseconds.
        until_ms: u64,
    },
    /// It was leased the breaker's probe, which showed nothing.
    Nothing,
}

impl Sight {
    /// What a whole answer shows. It does not show its first token, which counts as one more token.
    #[must_use]
    pub fn of_whole(latency_ms: f64, output_tokens: u64) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let ms_per_token = latency_ms / output_tokens.max(1) as f64;
        Self::Answered { ttft_ms: ms_per_token, ms_per_token: Some(ms_per_token) }
    }
}

/// What is known of a model now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelHealth {
    /// Its figures.
    pub measures: Measures,
    /// Whether it may be used.
    pub standing: Standing,
    /// Its breaker.
    pub breaker: breaker::BreakerState,
    /// When its cooldown ends, in Unix milliseconds; 0 when it has none.
    pub cooldown_until_ms: u64,
}

/// What a store keeps of a model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    pub(crate) ttft_ms: Welford,
    pub(crate) ms_per_token: Welford,
    pub(crate) failure: Welford,
    pub(crate) breaker: Breaker,
    pub(crate) cooldown_until_ms: u64,
}

impl Kept {
    pub(crate) fn read(&self, now_ms: u64, tau_ms: u64) -> ModelHealth {
        ModelHealth {
            measures: Measures {
                ttft_ms: self.ttft_ms.read(now_ms, tau_ms),
                ms_per_token: self.ms_per_token.read(now_ms, tau_ms),
                failure: self.failure.read(now_ms, tau_ms),
            },
            standing: Standing::of(self.cooldown_until_ms, &self.breaker, now_ms),
            breaker: self.breaker.state(now_ms),
            cooldown_until_ms: if self.cooldown_until_ms > now_ms { self.cooldown_until_ms } else { 0 },
        }
    }

    /// Adds an answer to the averages.
    pub(crate) fn answered(&mut self, ttft_ms: f64, ms_per_token: Option<f64>, now_ms: u64, tau_ms: u64) {
        self.ttft_ms.record(ttft_ms, now_ms, tau_ms);
        if let Some(ms_per_token) = ms_per_token {
            self.ms_per_token.record(ms_per_token, now_ms, tau_ms);
        }
        self.failure.record(0.0, now_ms, tau_ms);
    }

    fn record(&mut self, seen: &Observation, now_ms: u64, tau_ms: u64, settings: &BreakerSettings) {
        let outcome = match seen.sight {
            Sight::Answered { ttft_ms, ms_per_token } => {
                self.answered(ttft_ms, ms_per_token, now_ms, tau_ms);
                Outcome::Success
            }
            Sight::Failed => {
                self.failure.record(1.0, now_ms, tau_ms);
                Outcome::Failure
            }
            Sight::CoolDown { until_ms } => {
                self.cooldown_until_ms = self.cooldown_until_ms.max(until_ms);
                self.breaker.release_probe(seen.begun_at_ms);
                return;
            }
            Sight::Nothing => return self.breaker.release_probe(seen.begun_at_ms),
        };
        let seen = breaker::Seen { outcome, begun_at_ms: seen.begun_at_ms, now_ms };
        self.breaker.record(seen, jitter(), tau_ms, settings);
    }
}

/// Health in this process's memory.
#[derive(Debug)]
pub struct MemoryHealth {
    tau_ms: u64,
    breaker: BreakerSettings,
    models: Mutex<HashMap<Arc<str>, Kept>>,
}

impl MemoryHealth {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(health: &HealthSettings, breaker: BreakerSettings) -> Self {
        Self { tau_ms: health.tau_ms, breaker, models: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Kept>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HealthStore for MemoryHealth {
    async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> Result<Vec<ModelHealth>, StoreError> {
        let kept = self.lock();
        let unknown = Kept::default();
        Ok(models.iter().map(|model| kept.get(model).unwrap_or(&unknown).read(now_ms, self.tau_ms)).collect())
    }

    async fn record(&self, seen: &[Observation], now_ms: u64) -> Result<(), StoreError> {
        let mut kept = self.lock();
        for sight in seen {
            if !kept.contains_key(&sight.model) {
                kept.insert(sight.model.clone(), Kept::default());
            }
            if let Some(model) = kept.get_mut(&sight.model) {
                model.record(sight, now_ms, self.tau_ms, &self.breaker);
            }
        }
        Ok(())
    }

    async fn try_probe(&self, model: &Arc<str>, lease_ms: u64, now_ms: u64) -> Result<bool, StoreError> {
        Ok(self.lock().get_mut(model).is_some_and(|kept| kept.breaker.try_probe(now_ms, lease_ms)))
    }
}

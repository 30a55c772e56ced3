//! The models' health in this process's memory.

use crate::health::breaker::BreakerSettings;
use crate::health::refusals::mark_of_tenant;
use crate::health::score::HealthSettings;
use crate::health::{ModelHealth, ModelState, Observation};
use crate::limit::retry_budget::{RetryAsk, RetryBudget};
use crate::locking::lock;
use crate::store::{HealthStore, StoreError};
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Health in this process's memory.
#[derive(Debug)]
pub struct MemoryHealth {
    tau_ms: u64,
    breaker: BreakerSettings,
    models: Mutex<HashMap<Arc<str>, ModelState>>,
    /// The budget of retries, once one was wanted.
    retries: Mutex<Option<RetryBudget>>,
}

impl MemoryHealth {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(health: &HealthSettings, breaker: BreakerSettings) -> Self {
        Self { tau_ms: health.tau_ms, breaker, models: Mutex::default(), retries: Mutex::default() }
    }
}

#[async_trait]
impl HealthStore for MemoryHealth {
    async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> Result<Vec<ModelHealth>, StoreError> {
        let known = lock(&self.models);
        let unknown = ModelState::default();
        Ok(models.iter().map(|model| known.get(model).unwrap_or(&unknown).snapshot(now_ms, self.tau_ms)).collect())
    }

    async fn record(&self, observations: &[Observation], now_ms: u64) -> Result<(), StoreError> {
        let mut models = lock(&self.models);
        for observation in observations {
            if !models.contains_key(&observation.model) {
                models.insert(observation.model.clone(), ModelState::default());
            }
            if let Some(state) = models.get_mut(&observation.model) {
                state.record(observation, now_ms, self.tau_ms, &self.breaker);
            }
        }
        Ok(())
    }

    async fn try_probe(&self, model: &Arc<str>, tenant: &str, lease_ms: u64, now_ms: u64) -> Result<bool, StoreError> {
        let mut models = lock(&self.models);
        let Some(known) = models.get_mut(model) else { return Ok(false) };
        let mut state = known.clone();
        let leased = state.try_probe(mark_of_tenant(tenant), lease_ms, now_ms);
        if leased {
            *known = state;
        }
        Ok(leased)
    }

    async fn try_retry(&self, ask: &RetryAsk<'_>, now_ms: u64) -> Result<bool, StoreError> {
        let mut retries = lock(&self.retries);
        let budget = retries.get_or_insert_with(|| RetryBudget::new(ask.settings.clone()));
        budget.note_requests(&ask.requests, now_ms);
        Ok(budget.try_retry(now_ms))
    }
}

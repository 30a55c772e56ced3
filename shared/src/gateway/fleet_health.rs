//! The models' health: the fleet's, and while the store is down what this process has observed.

use crate::clock::{LEFT_ALONE_MS, is_within};
use crate::health::{ModelHealth, Observation};
use crate::store::memory::MemoryHealth;
use crate::store::{HealthStore, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::timeout;

/// How long a request waits for the models' health, which is off its critical path.
const WITHIN: Duration = Duration::from_millis(200);

/// What is known of the models.
pub(crate) struct FleetHealth {
    store: Arc<dyn Store>,
    here: MemoryHealth,
    /// When the store last failed to answer, in Unix milliseconds: for a moment it is not called.
    failed_at_ms: AtomicU64,
}

impl FleetHealth {
    /// Health as the store has it, with what this process sees to fall back on.
    pub(crate) fn new(store: Arc<dyn Store>, here: MemoryHealth) -> Self {
        Self { store, here, failed_at_ms: AtomicU64::new(0) }
    }

    /// The health of models, and whether it is the fleet's: while the store is down it is what this process has observed.
    pub(crate) async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> (Vec<ModelHealth>, bool) {
        if !is_within(LEFT_ALONE_MS, self.failed_at_ms.load(Relaxed), now_ms) {
            if let Ok(Ok(health)) = timeout(WITHIN, self.store.health().snapshot(models, now_ms)).await {
                return (health, true);
            }
            self.failed_at_ms.store(now_ms, Relaxed);
        }
        (self.here.snapshot(models, now_ms).await.unwrap_or_default(), false)
    }

    /// Notes what was observed of models in this process, for when the store is down.
    pub(crate) async fn note(&self, observations: &[Observation], now_ms: u64) {
        // Memory does not fail.
        let _ = self.here.record(observations, now_ms).await;
    }

    /// Takes the one probe of a model for a tenant: the fleet's, or while the store is down this process's.
    pub(crate) async fn try_probe(&self, model: &Arc<str>, tenant: &str, lease_ms: u64, now_ms: u64) -> bool {
        match self.store.health().try_probe(model, tenant, lease_ms, now_ms).await {
            Ok(leased) => leased,
            Err(_) => self.here.try_probe(model, tenant, lease_ms, now_ms).await.unwrap_or(false),
        }
    }

    /// The health of models as this process has observed it.
    pub(crate) async fn here(&self, models: &[Arc<str>], now_ms: u64) -> Vec<ModelHealth> {
        self.here.snapshot(models, now_ms).await.unwrap_or_default()
    }

    /// Records at once what was observed of a model, for all.
    pub(crate) async fn record(&self, observed: Observation, now_ms: u64) {
        let observed = [observed];
        self.note(&observed, now_ms).await;
        if let Err(error) = self.store.health().record(&observed, now_ms).await {
            tracing::warn!(%error, "what was observed of a model is known to this process alone");
        }
    }
}

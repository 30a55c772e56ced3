//! A primary that is down for a minute, behind two processes that share a store.

use crate::rig::{Rig, cheap, streamed};
use async_trait::async_trait;
use futures_util::future::join_all;
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::provider::{Call, Provider, ProviderError, Reply};
use gateway_core::receipt::AttemptOutcome;
use gateway_core::store::Composed;
use gateway_core::store::memory::MemoryHealth;
use simulated_provider::Simulated;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;
use tokio::time::sleep;

/// Milliseconds between two rounds of requests.
const STEP_MS: u64 = 500;
const REQUESTS: usize = 5;

/// A provider whose reasoning model, the primary here, is down while it is told to be; its answers take a while.
struct Flapping {
    inner: Simulated,
    is_down: AtomicBool,
    calls: AtomicU64,
    /// Calls of the primary at one time, now and at most.
    at_once: AtomicU64,
    most_at_once: AtomicU64,
}

#[async_trait]
impl Provider for Flapping {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        if &*call.model.provider_model != "reasoning" {
            return self.inner.chat(call).await;
        }
        self.calls.fetch_add(1, SeqCst);
        self.most_at_once.fetch_max(self.at_once.fetch_add(1, SeqCst) + 1, SeqCst);
        sleep(Duration::from_millis(40)).await;
        self.at_once.fetch_sub(1, SeqCst);
        match self.is_down.load(SeqCst) {
            true => Err(ProviderError::retryable(AttemptOutcome::HttpError, "down").with_status(503)),
            false => self.inner.chat(call).await,
        }
    }
}

async fn process(provider: &Arc<Flapping>, health: &Arc<MemoryHealth>) -> Rig {
    let (provider, health) = (provider.clone(), health.clone());
    let scene = cheap(["sim/reasoning", "sim/cheap"]).store(|memory| Composed { health, ..memory });
    let scene = scene.table("[retry]\nmax_per_candidate = 0");
    scene.with(|builder| builder.provider("sim", provider)).build().await
}

/// A round of requests at both processes; answers how many the primary served.
async fn round(fleet: &[Rig]) -> usize {
    let asked = join_all(fleet.iter().flat_map(|rig| (0..REQUESTS).map(|_| rig.fresh(streamed("cheap"))))).await;
    for got in &asked {
        assert!(got.is_done(), "served throughout: {got:?}");
    }
    fleet.iter().for_each(|rig| rig.clock.advance(STEP_MS));
    asked.iter().filter(|got| got.header("x-gateway-model") == "sim/reasoning").count()
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_down_for_a_minute_is_left_probed_by_one_at_a_time_and_used_again_within_thirty_seconds() {
    let provider = Arc::new(Flapping {
        inner: Simulated::new(),
        is_down: AtomicBool::new(false),
        calls: AtomicU64::new(0),
        at_once: AtomicU64::new(0),
        most_at_once: AtomicU64::new(0),
    });
    let health = Arc::new(MemoryHealth::new(&HealthSettings::default(), BreakerSettings::default()));
    let fleet = [process(&provider, &health).await, process(&provider, &health).await];
    assert_eq!(round(&fleet).await, 2 * REQUESTS, "it is well");
    provider.is_down.store(true, SeqCst);
    assert_eq!(round(&fleet).await, 0);
    let noticed = provider.calls.load(SeqCst);
    provider.most_at_once.store(0, SeqCst);
    for _ in 0..60_000 / STEP_MS {
        assert_eq!(round(&fleet).await, 0);
    }
    assert_eq!(provider.most_at_once.load(SeqCst), 1, "one probe at a time, of both processes");
    // Open for 5, 10, 20 and 20 s, give or take a tenth.
    let probes = provider.calls.load(SeqCst) - noticed;
    assert!((3..=5).contains(&probes), "{probes} probes in a minute");
    provider.is_down.store(false, SeqCst);
    let mut rounds = 0;
    while round(&fleet).await < 2 * REQUESTS {
        rounds += 1;
        assert!(rounds * STEP_MS < 30_000, "it is not used again");
    }
}

//! Twenty gateways on one Redis while every provider is down: what is left of a provider is not called more for it (A3, A6).

use crate::rig::{Rig, ask, cheap};
use async_trait::async_trait;
use futures_util::future::join_all;
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::provider::{Call, Fault, Provider, ProviderError, Reply};
use gateway_core::receipt::AttemptOutcome;
use gateway_core::store::redis::RedisStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use test_servers::redis::Redis;

const GATEWAYS: usize = 20;
const STEP_MS: u64 = 500;
/// Until the first of a run of failures has told all the others: the health that they know is a second old.
const FIRST_MS: u64 = 2_000;
const OUTAGE_MS: u64 = 20_000;

/// A provider of which every model is down.
struct Down {
    error: fn() -> ProviderError,
    calls: AtomicU64,
}

#[async_trait]
impl Provider for Down {
    async fn chat(&self, _: Call<'_>) -> Result<Reply, ProviderError> {
        self.calls.fetch_add(1, SeqCst);
        Err((self.error)())
    }
}

fn failed() -> ProviderError {
    ProviderError { status: Some(503), ..ProviderError::retryable(AttemptOutcome::HttpError, "it is down") }
}

fn silent() -> ProviderError {
    ProviderError::retryable(AttemptOutcome::Timeout, "it is silent")
}

fn limited() -> ProviderError {
    ProviderError { fault: Fault::RateLimited { until_ms: None }, status: Some(429), ..failed() }
}

fn refused() -> ProviderError {
    ProviderError { fault: Fault::CandidateDown, status: Some(401), ..failed() }
}

async fn fleet(redis: &Redis, down: &Arc<Down>, prefix: &str) -> Vec<Rig> {
    let rigs = (0..GATEWAYS).map(|_| {
        let store = RedisStore::new(&redis.url(), &HealthSettings::default(), &BreakerSettings::default(), 1 << 20);
        let (store, down) = (Arc::new(store.unwrap().with_prefix(prefix)), down.clone());
        let scene = cheap(["ok@a", "ok@b", "ok@c"]).table("[retry]\nbackoff_base_ms = 0");
        scene.with(move |builder| builder.provider("up", down).store(store)).build()
    });
    join_all(rigs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_calls_are_at_most_a_fifth_more_than_the_requests_of_twenty_gateways() {
    let redis = Redis::start(&[]).await.unwrap();
    for (name, error) in
        [("failed", failed as fn() -> ProviderError), ("silent", silent), ("limited", limited), ("refused", refused)]
    {
        let down = Arc::new(Down { error, calls: AtomicU64::new(0) });
        let rigs = fleet(&redis, &down, name).await;
        let (mut requests, mut first_calls) = (0, 0);
        for step in 0..OUTAGE_MS / STEP_MS {
            let answers = rigs.iter().map(|rig| async move {
                assert_eq!(rig.fresh(ask("cheap")).await.status, 502);
                rig.clock.advance(STEP_MS);
            });
            join_all(answers).await;
            if step * STEP_MS < FIRST_MS {
                first_calls = down.calls.load(SeqCst);
            } else {
                requests += GATEWAYS as u64;
            }
        }
        let calls = down.calls.load(SeqCst) - first_calls;
        assert!(calls * 10 <= requests * 12, "{name}: {calls} calls for {requests} requests");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_number_of_retries_is_the_fleets_and_not_each_gateways() {
    let redis = Redis::start(&[]).await.unwrap();
    let down = Arc::new(Down { error: failed, calls: AtomicU64::new(0) });
    let rigs = fleet(&redis, &down, "least").await;
    // Each asks a model that is not out yet: without a common budget, each would try again.
    let one = join_all(rigs.iter().take(5).map(|rig| rig.fresh(ask("up/ok@a")))).await;
    assert!(one.iter().all(|got| got.status == 502));
    let retries = down.calls.load(SeqCst) - 5;
    assert!(retries <= 3, "{retries} retries of five requests");
}

#[tokio::test]
async fn without_the_store_each_gateway_has_a_budget_of_its_own() {
    let down = Arc::new(Down { error: failed, calls: AtomicU64::new(0) });
    let (health, breaker) = (HealthSettings::default(), BreakerSettings::default());
    // Nobody listens there.
    let store = Arc::new(RedisStore::new("redis://127.0.0.1:1", &health, &breaker, 1 << 20).unwrap());
    let provider = down.clone();
    let scene =
        cheap(["ok"]).table("[retry]\nbackoff_base_ms = 0\n[breaker]\nconsecutive_failures = 99\nleast_samples = 99");
    let rig = scene.with(move |builder| builder.provider("up", provider).store(store)).build().await;
    for _ in 0..8 {
        assert_eq!(rig.fresh(ask("up/ok")).await.status, 502);
    }
    assert_eq!(down.calls.load(SeqCst), 8 + 3);
}

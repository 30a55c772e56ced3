//! What changes while a request is with its model: the day, its tenant's limit, the price.

use crate::rig::{NOW, Rig, Scene, ask, ask_with, streamed, two_tiers};
use async_trait::async_trait;
use gateway_core::limit::window::Window;
use gateway_core::money::Amounts;
use gateway_core::provider::{Call, Chunk, Chunks, Provider, ProviderError, Reply};
use gateway_core::store::memory::MemoryCounters;
use serde_json::json;
use simulated_provider::Simulated;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A provider that waits to be told to answer.
#[derive(Default)]
struct Waiting {
    simulated: Simulated,
    is_called: Notify,
    may_answer: Notify,
}

#[async_trait]
impl Provider for Waiting {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        self.is_called.notify_one();
        self.may_answer.notified().await;
        self.simulated.chat(call).await
    }
}

async fn waiting(scene: Scene) -> (Rig, Arc<Waiting>) {
    let provider = Arc::new(Waiting::default());
    let given = provider.clone();
    (scene.with(move |builder| builder.provider("sim", given)).build().await, provider)
}

/// Sends a request and does something while its model is at it.
async fn meanwhile(rig: &Rig, provider: &Waiting, doing: impl Future<Output = ()>) -> u16 {
    let (got, ()) = tokio::join!(rig.fresh(ask("cheap")), async {
        provider.is_called.notified().await;
        doing.await;
        provider.may_answer.notify_one();
    });
    got.status
}

fn simulated() -> Scene {
    two_tiers(["sim/cheap"], ["sim/reasoning"])
}

#[tokio::test]
async fn a_request_that_midnight_overtakes_is_charged_to_the_day_that_admitted_it() {
    let (rig, provider) = waiting(simulated()).await;
    let (day, next) = (Window::day(NOW, 0), Window::day(Window::day(NOW, 0).resets_at_ms, 0));
    rig.clock.advance(day.resets_at_ms - NOW - 1);
    assert_eq!(meanwhile(&rig, &provider, async { rig.clock.advance(2) }).await, 200);
    assert_eq!(meanwhile(&rig, &provider, async {}).await, 200);
    let uid = rig.uid().await;
    let windows = rig.gateway.store.counters().usage(&uid, &[day, next], rig.clock_now()).await.unwrap();
    for (place, window) in [day, next].iter().enumerate() {
        let (counted, total) = (windows[place].unwrap(), rig.gateway.ledger.totals(&uid, window).await.unwrap().used);
        assert_eq!((counted.used, counted.held), (total, Amounts::default()), "{window:?}");
        assert_eq!(total.requests, 1, "{window:?}");
    }
}

#[tokio::test]
async fn a_limit_that_is_lowered_under_a_request_holds_for_the_next() {
    let (rig, provider) = waiting(simulated().limits(json!({"daily_requests": 10}))).await;
    let lowered = async { rig.change_tenant("acme", json!({"limits": {"daily_requests": 0}})).await };
    assert_eq!(meanwhile(&rig, &provider, lowered).await, 200, "what was admitted is served");
    let got = rig.fresh(ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str()), (429, "quota_exceeded"));
    assert_eq!((rig.counted().await, rig.totals().await.requests), (rig.totals().await, 1));
}

#[tokio::test]
async fn a_request_pays_the_price_that_it_was_held_at_while_a_new_configuration_takes_over() {
    // Two processes of a deployment share the counters; each bills by its own configuration to its end.
    let counters = Arc::new(MemoryCounters::default());
    let priced = |input: u32| {
        let model = format!("usd_per_million = {{ input = {input}, output = 0 }}");
        two_tiers(["sim/reasoning"], ["sim/reasoning"])
            .table(&format!("[models.\"priced/cheap\"]\nprovider = \"sim\"\nid = \"cheap\"\n{model}"))
            .counters(counters.clone())
    };
    let ((old, at_it), (new, fresh)) = (waiting(priced(1)).await, waiting(priced(1000)).await);
    let body = json!({"model": "priced/cheap", "messages": [{"role": "user", "content": "What is an interface?"}]});
    let send = async |rig: &Rig| rig.chat_with(&[("x-gateway-cache", "no-store")], body.clone()).await;
    let (first, ()) = tokio::join!(send(&old), async {
        at_it.is_called.notified().await;
        let (second, ()) = tokio::join!(send(&new), async {
            fresh.is_called.notified().await;
            fresh.may_answer.notify_one();
        });
        assert_eq!(second.status, 200);
        at_it.may_answer.notify_one();
    });
    assert_eq!(first.status, 200);
    let (cheap, dear) = (old.totals().await, new.totals().await);
    assert_eq!((dear.tokens, dear.cost_nusd), (cheap.tokens, cheap.cost_nusd * 1000));
    assert_eq!(new.counted().await, cheap.plus(dear), "and the store has both");
}

/// A provider that streams a word a second, without end.
struct Dripping;

struct Drops(Box<dyn Chunks>);

#[async_trait]
impl Provider for Dripping {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        match Simulated::new().chat(call).await? {
            Reply::Stream(chunks) => Ok(Reply::Stream(Box::new(Drops(chunks)))),
            whole => Ok(whole),
        }
    }
}

#[async_trait]
impl Chunks for Drops {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        let mut words = loop {
            let next = self.0.next().await?.unwrap_or_default();
            if next.iter().any(Chunk::has_content) {
                break next;
            }
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        words.truncate(1);
        self.0 = Box::new(Again(words.clone()));
        Ok(Some(words))
    }
}

/// The same words each time.
struct Again(Vec<Chunk>);

#[async_trait]
impl Chunks for Again {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        Ok(Some(self.0.clone()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_ends_is_ended_when_the_attempts_time_is_over() {
    for opening in ["ok", "held back"] {
        let holdback = if opening == "ok" { 0 } else { 60_000 };
        let scene = two_tiers(["sim/cheap"], ["sim/reasoning"])
            .table("[timeouts_ms]\ntotal = 5500\nidle = 2000\nfirst_token = 2000\nrequest = 600000")
            .table(&format!("[tenant_defaults.upgrade]\nstream_holdback_bytes = {holdback}"))
            .with(|builder| builder.provider("sim", Arc::new(Dripping)));
        let rig = scene.build().await;
        let begun = Instant::now();
        let got = rig.chat(streamed("cheap")).await;
        assert_eq!(begun.elapsed().as_millis(), 5500, "{opening}: {got:?}");
        let receipt = rig.receipt(&got).await;
        assert_eq!(receipt["attempts"][0]["outcome"], "timeout", "{receipt}");
        assert!(receipt["usage"]["output_tokens"].as_u64().unwrap() > 0, "what came is billed");
        let health = rig.gateway.store.health().snapshot(&["sim/cheap".into()], rig.clock_now()).await.unwrap();
        let failures = health[0].measures.failure.weight;
        assert_eq!(failures, 0.0, "a model that is answering has not failed");
    }
}

#[tokio::test]
async fn tokens_that_a_request_did_not_need_are_the_next_ones_at_once() {
    let limits = json!({"tokens_per_minute": 1000, "requests_per_minute": null});
    let (rig, provider) = waiting(simulated().limits(limits)).await;
    let large = || ask_with("cheap", json!({"max_tokens": 900}));
    let (got, ()) = tokio::join!(rig.fresh(large()), async {
        provider.is_called.notified().await;
        for _ in 0..2 {
            assert_eq!(rig.fresh(large()).await.status, 429, "all of the rate is taken");
        }
        provider.may_answer.notify_one();
    });
    assert_eq!(got.status, 200);
    provider.may_answer.notify_one();
    assert_eq!(rig.fresh(large()).await.status, 200, "the refusal of before is forgotten");
}

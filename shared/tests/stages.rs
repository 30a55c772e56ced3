//! One test for each border: what the pipeline does when that one is replaced by a fake that fails, or that watches.

use crate::rig::{NOW, Rig, Scene, ask, ask_with, cheap, scene, streamed, two_tiers};
use crate::unreliable::Unreliable;
use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::limit::window::Window;
use gateway_core::money::{Amounts, Charged};
use gateway_core::provider::{Call, Provider, ProviderError, Reply};
use gateway_core::store::memory::{MemoryCache, MemoryCounters, MemoryHealth};
use gateway_core::store::{
    Admission, CacheKey, Composed, Counters, ExpiredHold, ResponseCache, Settled, Settlement, StoreError, Ticket,
    Verdict, WindowUse,
};
use serde_json::json;
use simulated_provider::Simulated;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span;

fn counters() -> Arc<Unreliable<MemoryCounters>> {
    Arc::new(Unreliable::new(MemoryCounters::default()))
}

async fn with_counters(scene: Scene) -> (Rig, Arc<Unreliable<MemoryCounters>>) {
    let counters = counters();
    (scene.counters(counters.clone()).build().await, counters)
}

#[tokio::test]
async fn with_the_counters_down_nothing_is_dispatched_for_a_tenant_without_an_outage_share() {
    let (rig, counters) = with_counters(cheap(["ok"]).tenant(json!({"outage_share": 0}))).await;
    counters.set_down(true);
    for body in [ask("cheap"), streamed("cheap")] {
        let got = rig.chat(body).await;
        assert_eq!((got.status, got.error_code().as_str()), (503, "store_unavailable"));
        assert_eq!(got.header("retry-after"), "1");
    }
    assert_eq!(rig.double.counts().total.calls, 0);
    assert_eq!(rig.totals().await, Amounts::default(), "what the gateway refuses counts nothing");
}

#[tokio::test]
async fn counters_that_fail_after_the_call_take_no_answer_from_the_client_and_the_hold_is_charged_by_its_lease() {
    let counters = counters();
    let switched = counters.clone();
    let provider = OnCall(Simulated::new(), Box::new(move |_| switched.set_down(true)));
    let scene = two_tiers(["sim/cheap"], ["sim/reasoning"]);
    let scene = scene.counters(counters.clone()).with(move |builder| builder.provider("sim", Arc::new(provider)));
    let rig = scene.build().await;
    let got = rig.chat(ask("cheap")).await;
    assert_eq!(got.status, 200);
    counters.set_down(false);
    let uid = rig.uid().await;
    let usage = async |now_ms| counters.usage(&uid, &[Window::day(NOW, 0)], now_ms).await.unwrap()[0].unwrap();
    let before = usage(NOW).await;
    assert!(before.held.tokens > 0 && before.used == Amounts::default(), "{before:?}");
    let after = usage(NOW + 300_000 + 60_000).await;
    assert_eq!(after, WindowUse { used: before.held, held: Amounts::default() });
}

#[tokio::test]
async fn with_the_cache_down_requests_are_served_as_misses() {
    let cache = Arc::new(Unreliable::new(MemoryCache::new(1_000, 1 << 20, 1 << 20)));
    let given = cache.clone();
    let rig = cheap(["ok"]).store(|memory| Composed { cache: given, ..memory }).build().await;
    cache.set_down(true);
    for _ in 0..2 {
        let got = rig.chat(ask("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-cache")), (200, "miss"));
    }
    cache.set_down(false);
    assert_eq!(rig.chat(ask("cheap")).await.header("x-gateway-cache"), "miss", "nothing was written");
    assert_eq!(rig.chat(ask("cheap")).await.header("x-gateway-cache"), "hit");
    assert_eq!(rig.calls("ok"), 3);
}

/// A cache that remembers what nobody can read any more: another version wrote it.
struct Gibberish;

#[async_trait]
impl ResponseCache for Gibberish {
    async fn get(&self, _key: &CacheKey, _now_ms: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(Some(Bytes::from_static(b"v0|an answer of long ago")))
    }

    async fn put(&self, _key: &CacheKey, _value: Bytes, _ttl_ms: u64, _now_ms: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn purge(&self, _tenant: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn what_cannot_be_read_in_the_cache_is_a_miss_and_is_held_for_like_one() {
    let watch = Arc::new(Watch::default());
    let (spy, provider) = (watch.clone(), watch.clone());
    let scene = two_tiers(["sim/cheap"], ["sim/reasoning"]).limits(json!({"daily_tokens": 10}));
    let rig = scene
        .store(|memory| Composed { counters: spy, cache: Arc::new(Gibberish), ..memory })
        .with(move |builder| builder.provider("sim", Arc::new(Spied(Simulated::new(), provider))))
        .build()
        .await;
    let got = rig.chat(ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str()), (429, "quota_exceeded"), "10 tokens are too few for any call");
    assert!(!watch.log().iter().any(|entry| entry.starts_with("call")), "{:?}", watch.log());
    rig.change_tenant("acme", json!({"limits": {"daily_tokens": null}})).await;
    let got = rig.chat(ask("cheap")).await;
    assert_eq!((got.status, got.header("x-gateway-cache")), (200, "miss"));
    assert_eq!(rig.counted().await.tokens, rig.totals().await.tokens);
}

#[tokio::test]
async fn with_the_health_store_down_a_process_goes_by_what_it_has_seen_and_the_answer_says_so() {
    let health = MemoryHealth::new(&HealthSettings::default(), BreakerSettings::default());
    let health = Arc::new(Unreliable::new(health));
    let given = health.clone();
    let rig = cheap(["status-500", "ok"]).store(|memory| Composed { health: given, ..memory }).build().await;
    health.set_down(true);
    for _ in 0..8 {
        let got = rig.chat_with(&[("x-gateway-cache", "no-store")], ask("cheap")).await;
        assert_eq!(
            (got.status, got.header("x-gateway-model"), got.header("x-gateway-degraded")),
            (200, "up/ok", "health")
        );
    }
    assert!(rig.calls("status-500") < 8, "its breaker opens after five failures in a row");
    assert_eq!(rig.calls("ok"), 8);
    health.set_down(false);
    rig.clock.advance(1_000);
    let got = rig.chat_with(&[("x-gateway-cache", "no-store")], ask("cheap")).await;
    assert_eq!((got.status, got.header("x-gateway-degraded")), (200, ""));
}

#[tokio::test]
async fn with_the_directory_down_a_key_is_good_for_a_minute_and_an_unknown_one_is_not_let_in() {
    let rig = cheap(["ok"]).build().await;
    let unseen = rig.add_tenant("other", json!({})).await;
    assert_eq!(rig.chat(ask("cheap")).await.status, 200);
    rig.directory.set_down(true);
    let got = rig.chat_as(&unseen, &[], ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str()), (503, "store_unavailable"), "not 401: nobody knows");
    rig.clock.advance(59_999);
    assert_eq!(rig.chat(ask("cheap")).await.status, 200);
    rig.clock.advance(1);
    assert_eq!(rig.chat(ask("cheap")).await.status, 503);
    rig.directory.set_down(false);
    assert_eq!(rig.chat(ask("cheap")).await.status, 200);
    assert_eq!(rig.chat_as(&unseen, &[], ask("cheap")).await.status, 200);
}

#[tokio::test]
async fn with_the_ledger_down_requests_are_served_and_their_receipts_are_in_the_log() {
    let rig = cheap(["ok"]).build().await;
    assert_eq!(rig.chat(ask("cheap")).await.status, 200);
    let before = rig.totals().await;
    rig.ledger.set_down(true);
    let log = Log::default();
    let listening = tracing::subscriber::set_default(log.clone());
    let got = rig.chat_with(&[("x-gateway-cache", "no-store")], ask("cheap")).await;
    drop(listening);
    assert_eq!(got.status, 200);
    let id = got.header("x-request-id");
    let receipts = log.0.lock().unwrap().clone();
    let mut replayable = receipts.iter().filter_map(|json| serde_json::from_str(json).ok());
    let receipt = replayable.find(|receipt: &gateway_core::receipt::Receipt| receipt.id.to_string() == id);
    assert_eq!(receipt.expect("the receipt is in the log").amounts(), before, "the same request costs the same");
    assert_eq!(rig.totals().await, before, "the ledger has not heard of it");
    assert_eq!(rig.counted().await, before.plus(before), "the store has");
    assert!(!receipts.iter().any(|line| line.contains("What is an interface?")), "a prompt is in the log");
}

/// Collects the receipts of the structured log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "receipt"
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Receipts<'a>(&'a mut Vec<String>);
        impl Visit for Receipts<'_> {
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "receipt" {
                    self.0.push(value.to_owned());
                }
            }

            fn record_debug(&mut self, _field: &Field, _value: &dyn Debug) {}
        }
        event.record(&mut Receipts(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

/// Writes down in which order things are asked.
#[derive(Default)]
struct Watch {
    counters: MemoryCounters,
    /// Whether what is stale was sent twice.
    sends_twice: AtomicBool,
    log: Mutex<Vec<String>>,
}

impl Watch {
    fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

#[async_trait]
impl Counters for Watch {
    async fn admit(&self, ask: &Admission, ticket: &mut Ticket, hit: bool, now_ms: u64) -> Result<Verdict, StoreError> {
        let verdict = self.counters.admit(ask, ticket, hit, now_ms).await;
        match verdict.as_ref().unwrap() {
            Verdict::Admitted { .. } if hit => self.note("count a hit"),
            Verdict::Admitted { .. } => {
                ticket.admitted_in(Some(7));
                self.note("hold");
            }
            Verdict::Refused { .. } => self.note("refuse"),
            Verdict::Stale { .. } => {
                if self.sends_twice.load(Relaxed) {
                    ticket.doubt();
                }
                self.note("stale");
            }
        }
        verdict
    }

    async fn extend(&self, ask: &Admission, target: Amounts, now_ms: u64) -> Result<bool, StoreError> {
        self.note("extend");
        self.counters.extend(ask, target, now_ms).await
    }

    async fn settle(&self, settlement: &Settlement, ticket: &Ticket, now_ms: u64) -> Result<Settled, StoreError> {
        self.note(if ticket.incarnation() == Some(7) { "settle" } else { "settle, incarnation unknown" });
        self.counters.settle(settlement, ticket, now_ms).await
    }

    async fn release(&self, ask: &Admission, ticket: &Ticket, now_ms: u64) -> Result<(), StoreError> {
        self.note(if ticket.incarnation() == Some(7) { "release" } else { "release, incarnation unknown" });
        self.counters.release(ask, ticket, now_ms).await
    }

    async fn free_place(&self, ask: &Admission, now_ms: u64) -> Result<(), StoreError> {
        self.note("free the place");
        self.counters.free_place(ask, now_ms).await
    }

    async fn rebuild(
        &self,
        tenant: &str,
        incarnation: Option<u64>,
        version: u64,
        windows: &[(Window, Charged)],
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        self.note("rebuild");
        self.counters.rebuild(tenant, incarnation, version, windows, now_ms).await
    }

    async fn close(
        &self,
        tenant: &str,
        incarnation: u64,
        window: &Window,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.counters.close(tenant, incarnation, window, until_ms, now_ms).await
    }

    async fn forget(&self, tenant: &str) -> Result<(), StoreError> {
        self.counters.forget(tenant).await
    }

    fn take_expired(&self, tenant: &str) -> Vec<ExpiredHold> {
        self.counters.take_expired(tenant)
    }

    async fn acknowledge(&self, tenant: &str, expired: &[ExpiredHold], now_ms: u64) -> Result<(), StoreError> {
        self.counters.acknowledge(tenant, expired, now_ms).await
    }

    async fn usage(&self, tenant: &str, windows: &[Window], now_ms: u64) -> Result<Vec<Option<WindowUse>>, StoreError> {
        self.note("usage");
        self.counters.usage(tenant, windows, now_ms).await
    }
}

/// A provider whose calls are written down.
struct Spied(Simulated, Arc<Watch>);

#[async_trait]
impl Provider for Spied {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        self.1.note(format!("call {}", call.model.name));
        self.0.chat(call).await
    }
}

type DoOnCall = Box<dyn Fn(&Call<'_>) + Send + Sync>;

/// A provider that does something besides.
struct OnCall(Simulated, DoOnCall);

#[async_trait]
impl Provider for OnCall {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        (self.1)(&call);
        self.0.chat(call).await
    }
}

async fn watched(scene: Scene) -> (Rig, Arc<Watch>) {
    let watch = Arc::new(Watch::default());
    let (spy, provider) = (watch.clone(), watch.clone());
    let inject = move |builder: gateway_core::gateway::builder::Builder| {
        builder.provider("sim", Arc::new(Spied(Simulated::new(), provider)))
    };
    (scene.counters(spy).with(inject).build().await, watch)
}

#[tokio::test(start_paused = true)]
async fn no_call_is_made_before_the_hold_and_none_after_the_settlement() {
    for (cheap_models, body, then) in [
        (vec!["sim/cheap"], ask("cheap"), vec!["call sim/cheap"]),
        (vec!["sim/cheap"], streamed("cheap"), vec!["call sim/cheap"]),
        (vec!["sim/429", "sim/cheap"], ask("cheap"), vec!["call sim/429", "call sim/cheap"]),
        (vec!["sim/unsure"], ask("cheap"), vec!["call sim/unsure", "extend", "call sim/reasoning"]),
        (vec!["sim/unsure"], streamed("cheap"), vec!["call sim/unsure", "extend", "call sim/reasoning"]),
    ] {
        let scene = scene().tier("cheap", &cheap_models).tier("reasoning", &["sim/reasoning"]).holding_streams_back();
        let (rig, watch) = watched(scene).await;
        let got = rig.chat(body.clone()).await;
        assert_eq!(got.status, 200, "{body}");
        let expected: Vec<&str> = ["stale", "rebuild", "hold"].into_iter().chain(then).chain(["settle"]).collect();
        assert_eq!(watch.log(), expected, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_classifier_is_asked_within_the_hold_too() {
    let scene = two_tiers(["sim/cheap"], ["sim/reasoning"]).table("[intent]\nask_below = 1");
    let (rig, watch) = watched(scene).await;
    let design = json!({"messages": [{"role": "user", "content": "some design, please"}]});
    let got = rig.chat(ask_with("auto", design)).await;
    assert_eq!((got.status, got.header("x-gateway-intent-source")), (200, "classifier"), "{got:?}");
    let log = watch.log();
    assert_eq!(log[..4], ["stale", "rebuild", "hold", "call sim/cheap"], "{log:?}");
    assert_eq!(log.last().unwrap(), "settle", "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_of_which_nothing_was_dispatched_gives_its_hold_back() {
    let (rig, watch) = watched(two_tiers(["sim/cheap"], ["sim/reasoning"])).await;
    let got = rig.chat_with(&[("x-gateway-cache", "only-if-cached")], ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str()), (504, "not_cached"));
    assert_eq!(watch.log(), ["stale", "rebuild", "hold", "release"]);
    assert_eq!((rig.counted().await, rig.totals().await), (Amounts::default(), Amounts::default()));
}

#[tokio::test(start_paused = true)]
async fn the_counters_are_told_of_which_requests_no_copy_may_come() {
    for (sends_twice, ended) in
        [(false, ["settle", "release"]), (true, ["settle, incarnation unknown", "release, incarnation unknown"])]
    {
        for (cache, ended) in [("no-store", &["call sim/cheap", ended[0]][..]), ("only-if-cached", &[ended[1]])] {
            let (rig, watch) = watched(two_tiers(["sim/cheap"], ["sim/reasoning"])).await;
            watch.sends_twice.store(sends_twice, Relaxed);
            rig.chat_with(&[("x-gateway-cache", cache)], ask("cheap")).await;
            assert_eq!(watch.log(), [&["stale", "rebuild", "hold"], ended].concat());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_of_which_a_copy_may_come_gives_back_what_that_would_hold() {
    for (sends_twice, then) in [(false, None), (true, Some("release, incarnation unknown"))] {
        let scene = two_tiers(["sim/cheap"], ["sim/reasoning"]).limits(json!({"daily_tokens": 1}));
        let (rig, watch) = watched(scene).await;
        watch.sends_twice.store(sends_twice, Relaxed);
        for _ in 0..2 {
            assert_eq!(rig.chat(ask("cheap")).await.error_code(), "quota_exceeded");
        }
        let expected: Vec<_> = ["stale", "rebuild", "refuse"].into_iter().chain(then).chain(["refuse"]).collect();
        assert_eq!(watch.log(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn windows_and_rates_follow_the_clock_that_was_given() {
    let scene = two_tiers(["sim/cheap"], ["sim/reasoning"]);
    let rig = scene.limits(json!({"daily_requests": 2, "requests_per_minute": 1})).build().await;
    let status = async || rig.chat(ask("cheap")).await;
    assert_eq!(status().await.status, 200);
    let refused = status().await;
    assert_eq!((refused.error_code().as_str(), refused.header("retry-after")), ("rate_limited", "60"));
    rig.clock.advance(60_000);
    assert_eq!(status().await.status, 200);
    rig.clock.advance(60_000);
    let refused = status().await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "quota_exceeded"));
    assert_eq!(refused.header("x-should-retry"), "false");
    assert_eq!(refused.json()["error"]["details"]["resets_at_ms"], Window::day(NOW, 0).resets_at_ms);
    rig.clock.advance(Window::day(NOW, 0).resets_at_ms - NOW);
    assert_eq!(status().await.status, 200, "a new day");
}

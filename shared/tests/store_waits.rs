//! For what a request waits for the store, and when: calls that run side by side are one wait.

use crate::rig::{Got, Rig, ask_with, two_tiers};
use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::health::{ModelHealth, Observation};
use gateway_core::limit::retry_budget::RetryAsk;
use gateway_core::limit::window::Window;
use gateway_core::money::{Amounts, Charged};
use gateway_core::provider::{Call, Provider, ProviderError, Reply};
use gateway_core::store::memory::{MemoryCache, MemoryCounters, MemoryHealth};
use gateway_core::store::{
    Admission, CacheKey, CacheWrite, Composed, Counters, ExpiredHold, HealthStore, ResponseCache, Settled, Settlement,
    Store, StoreError, Ticket, Verdict, WindowUse,
};
use serde_json::json;
use simulated_provider::Simulated;
use std::sync::{Arc, Mutex};
use tokio::task::yield_now;

/// The store in memory, and a provider, whose calls are written down.
struct Noted {
    store: Composed,
    provider: Simulated,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// What was called, in its order; calls that overlap stand together.
    waits: Vec<Vec<String>>,
    running: usize,
}

impl Noted {
    /// Makes a call that takes a while, as one over a network does: what begins meanwhile belongs to the same wait.
    async fn noted<T>(&self, what: impl Into<String>, call: impl Future<Output = T>) -> T {
        {
            let mut log = self.log.lock().unwrap();
            if log.running == 0 {
                log.waits.push(Vec::new());
            }
            log.running += 1;
            log.waits.last_mut().unwrap().push(what.into());
        }
        yield_now().await;
        let done = call.await;
        self.log.lock().unwrap().running -= 1;
        done
    }

    /// What was waited for since this was asked the last time: of each wait the calls, by the alphabet.
    fn waits(&self) -> Vec<String> {
        let mut waits = std::mem::take(&mut self.log.lock().unwrap().waits);
        waits.iter_mut().for_each(|calls| calls.sort());
        waits.into_iter().map(|calls| calls.join(", ")).collect()
    }
}

#[async_trait]
impl Store for Noted {
    fn counters(&self) -> &dyn Counters {
        self
    }

    fn cache(&self) -> &dyn ResponseCache {
        self
    }

    fn health(&self) -> &dyn HealthStore {
        self
    }

    fn kind(&self) -> &'static str {
        "noted"
    }

    async fn admit(
        &self,
        ask: &Admission,
        ticket: &mut Ticket,
        key: Option<&CacheKey>,
        now_ms: u64,
    ) -> Result<(Verdict, Option<Bytes>), StoreError> {
        self.noted("admit", Store::admit(&self.store, ask, ticket, key, now_ms)).await
    }

    async fn settle(
        &self,
        settlement: &Settlement,
        ticket: &Ticket,
        observations: &[Observation],
        write: Option<CacheWrite>,
        now_ms: u64,
    ) -> Result<Settled, StoreError> {
        self.noted("settle", Store::settle(&self.store, settlement, ticket, observations, write, now_ms)).await
    }
}

#[async_trait]
impl Counters for Noted {
    async fn admit(&self, ask: &Admission, ticket: &mut Ticket, hit: bool, now_ms: u64) -> Result<Verdict, StoreError> {
        self.noted("admit", self.store.counters.admit(ask, ticket, hit, now_ms)).await
    }

    async fn extend(&self, ask: &Admission, target: Amounts, now_ms: u64) -> Result<bool, StoreError> {
        self.noted("extend", self.store.counters.extend(ask, target, now_ms)).await
    }

    async fn settle(&self, settlement: &Settlement, ticket: &Ticket, now_ms: u64) -> Result<Settled, StoreError> {
        self.noted("settle", self.store.counters.settle(settlement, ticket, now_ms)).await
    }

    async fn release(&self, ask: &Admission, ticket: &Ticket, now_ms: u64) -> Result<(), StoreError> {
        self.noted("release", self.store.counters.release(ask, ticket, now_ms)).await
    }

    async fn free_place(&self, ask: &Admission, now_ms: u64) -> Result<(), StoreError> {
        self.noted("free place", self.store.counters.free_place(ask, now_ms)).await
    }

    async fn rebuild(
        &self,
        tenant: &str,
        incarnation: Option<u64>,
        version: u64,
        windows: &[(Window, Charged)],
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        self.noted("rebuild", self.store.counters.rebuild(tenant, incarnation, version, windows, now_ms)).await
    }

    async fn close(
        &self,
        tenant: &str,
        incarnation: u64,
        window: &Window,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.noted("close", self.store.counters.close(tenant, incarnation, window, until_ms, now_ms)).await
    }

    fn take_expired(&self, tenant: &str) -> Vec<ExpiredHold> {
        self.store.counters.take_expired(tenant)
    }

    async fn acknowledge(&self, tenant: &str, lost: &[ExpiredHold], now_ms: u64) -> Result<(), StoreError> {
        self.noted("acknowledge", self.store.counters.acknowledge(tenant, lost, now_ms)).await
    }

    async fn forget(&self, tenant: &str) -> Result<(), StoreError> {
        self.noted("forget", self.store.counters.forget(tenant)).await
    }

    async fn usage(&self, tenant: &str, windows: &[Window], now_ms: u64) -> Result<Vec<Option<WindowUse>>, StoreError> {
        self.noted("usage", self.store.counters.usage(tenant, windows, now_ms)).await
    }
}

#[async_trait]
impl ResponseCache for Noted {
    async fn get(&self, key: &CacheKey, now_ms: u64) -> Result<Option<Bytes>, StoreError> {
        self.noted("get", self.store.cache.get(key, now_ms)).await
    }

    async fn put(&self, key: &CacheKey, value: Bytes, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        self.noted("put", self.store.cache.put(key, value, ttl_ms, now_ms)).await
    }

    async fn notes(&self, group: &CacheKey, now_ms: u64) -> Result<Vec<Bytes>, StoreError> {
        self.noted("notes", self.store.cache.notes(group, now_ms)).await
    }

    async fn note(&self, group: &CacheKey, note: Bytes, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        self.noted("note", self.store.cache.note(group, note, ttl_ms, now_ms)).await
    }

    async fn purge(&self, tenant: &str) -> Result<(), StoreError> {
        self.noted("purge", self.store.cache.purge(tenant)).await
    }
}

#[async_trait]
impl HealthStore for Noted {
    async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> Result<Vec<ModelHealth>, StoreError> {
        self.noted("health", self.store.health.snapshot(models, now_ms)).await
    }

    async fn record(&self, observations: &[Observation], now_ms: u64) -> Result<(), StoreError> {
        self.noted("record", self.store.health.record(observations, now_ms)).await
    }

    async fn try_probe(&self, model: &Arc<str>, tenant: &str, lease_ms: u64, now_ms: u64) -> Result<bool, StoreError> {
        self.noted("probe", self.store.health.try_probe(model, tenant, lease_ms, now_ms)).await
    }

    async fn try_retry(&self, ask: &RetryAsk<'_>, now_ms: u64) -> Result<bool, StoreError> {
        self.noted("retry", self.store.health.try_retry(ask, now_ms)).await
    }
}

/// The provider of the same.
struct Calls(Arc<Noted>);

#[async_trait]
impl Provider for Calls {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        self.0.noted(format!("call {}", call.model.name), self.0.provider.chat(call)).await
    }
}

/// A gateway that asks `sim/cheap` what each request of `auto` is about, and that has served its tenant before.
async fn rig() -> (Rig, Arc<Noted>) {
    let store = Composed {
        counters: Arc::new(MemoryCounters::default()),
        cache: Arc::new(MemoryCache::new(16, 1 << 20, 1 << 20)),
        health: Arc::new(MemoryHealth::new(&HealthSettings::default(), BreakerSettings::default())),
        kind: "noted",
    };
    let noted = Arc::new(Noted { store, provider: Simulated::new(), log: Mutex::default() });
    let (store, calls) = (noted.clone(), Calls(noted.clone()));
    let scene = two_tiers(["sim/cheap"], ["sim/reasoning"]).table("[intent]\nask_below = 1");
    let scene = scene.with(move |builder| builder.store(store).provider("sim", Arc::new(calls)));
    let rig = scene.build().await;
    assert_eq!(about(&rig, "cheap", "a first word").await.status, 200);
    noted.waits();
    (rig, noted)
}

async fn about(rig: &Rig, model: &str, prompt: &str) -> Got {
    rig.fresh(ask_with(model, json!({"messages": [{"role": "user", "content": prompt}]}))).await
}

#[tokio::test]
async fn what_a_request_is_about_is_read_with_its_admission_and_written_with_its_settlement() {
    let (rig, noted) = rig().await;
    assert_eq!(about(&rig, "cheap", "good day to you").await.status, 200);
    assert_eq!(noted.waits(), ["admit, health", "call sim/cheap", "put, settle"]);

    let asked = about(&rig, "auto", "good day to you").await;
    let told = [asked.header("x-gateway-intent-source"), asked.header("x-gateway-tier")];
    assert_eq!(told, ["classifier", "cheap"]);
    assert_eq!(noted.waits(), ["admit, get, health", "call sim/cheap", "call sim/cheap", "put, put, settle"]);

    assert_eq!(about(&rig, "auto", "good day to you").await.header("x-gateway-intent-source"), "classifier");
    assert_eq!(noted.waits(), ["admit, get, health", "call sim/cheap", "put, settle"], "it is remembered");
}

#[tokio::test]
async fn where_a_conversation_is_is_read_with_its_admission_and_written_with_its_settlement() {
    let (rig, noted) = rig().await;
    let turns = json!({"messages": [{"role": "user", "content": "good day"}, {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "and good night"}]});
    for (model, read, written) in
        [("cheap", "admit, get, health", "put, settle"), ("sim/cheap", "admit, health", "settle")]
    {
        // The second finds where the first was.
        for turn in 1..=2 {
            assert_eq!(rig.fresh(ask_with(model, turns.clone())).await.status, 200);
            assert_eq!(noted.waits(), [read, "call sim/cheap", written], "{model}, {turn}");
        }
    }
}

#[tokio::test]
async fn what_asks_the_same_is_looked_for_beside_the_admission_and_waited_for_once_more_if_it_is_there() {
    let (rig, noted) = rig().await;
    rig.change_tenant("acme", json!({"cache": {"semantic": true}})).await;
    let ask = |prompt: &str| ask_with("cheap", json!({"messages": [{"role": "user", "content": prompt}]}));
    rig.chat(ask("What is a heron?")).await;
    noted.waits();
    assert_eq!(rig.chat(ask("What is an egret?")).await.header("x-gateway-cache"), "miss");
    assert_eq!(noted.waits(), ["admit, health, notes", "call sim/cheap", "put, settle"], "a miss waits no longer");
    assert_eq!(rig.chat(ask("what's a heron")).await.header("x-gateway-cache"), "hit-semantic");
    assert_eq!(noted.waits(), ["admit, health, notes", "admit, health, release"]);
    assert_eq!(rig.chat(ask("What is a heron?")).await.header("x-gateway-cache"), "hit");
    assert_eq!(noted.waits(), ["admit, health, notes"]);
}

//! What the scripts do in Lua is what the memory store does in Rust, on random sequences: counters to the unit, health to
//! 1e-9.

use super::{Fresh, NOW, ask};
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::refusals::Refused;
use gateway_core::health::score::HealthSettings;
use gateway_core::health::welford::Figures;
use gateway_core::health::{ModelHealth, Observation, Signal};
use gateway_core::id::RequestId;
use gateway_core::limit::gcra::Rate;
use gateway_core::limit::lineage::Lineage;
use gateway_core::limit::window::Window;
use gateway_core::money::Amounts;
use gateway_core::store::contract::{Unticketed, rebuild};
use gateway_core::store::memory::{MemoryCounters, MemoryHealth};
use gateway_core::store::redis::RedisStore;
use gateway_core::store::{Admission, Counters, ExpiredHold, HealthStore, PaceLimits, QuotaAsk, Settlement, Ticket};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::sync::Arc;
use test_servers::redis::Redis;

/// One step with the counters; a number stands for an earlier request.
#[derive(Debug, Clone)]
enum Step {
    Admit {
        is_hit: bool,
        /// With no key that has limits of its own, or with one of two.
        key: usize,
        hold: (u64, u64),
        times: u64,
        rate_tokens: u64,
        lease_ms: u64,
    },
    Again(usize),
    Extend(usize, u64, u64),
    Settle(usize, u64, u64),
    Release(usize),
    FreePlace(usize),
    Wait(u64),
    /// The clock is set back, by some minutes or hours.
    Back(u64),
}

#[derive(Debug, Clone)]
struct Limits {
    requests: (u64, u64, u64),
    tokens: (u64, u64, u64),
    concurrency: u64,
    quota: (u64, u64, u64),
    month_nusd: u64,
}

impl Limits {
    fn pace(&self) -> PaceLimits {
        let rate = |(limit, period_ms, capacity)| Rate::new(limit, period_ms, capacity).ok();
        let (request_rate, token_rate) = (rate(self.requests), rate(self.tokens));
        PaceLimits { request_rate, token_rate, concurrency: Some(self.concurrency) }
    }

    fn quotas(&self, [day, month]: [Window; 2]) -> [QuotaAsk; 2] {
        let (requests, tokens, cost_nusd) = self.quota;
        [
            QuotaAsk { window: day, requests: Some(requests), tokens: Some(tokens), cost_nusd: Some(cost_nusd) },
            QuotaAsk { window: month, requests: None, tokens: None, cost_nusd: Some(self.month_nusd) },
        ]
    }
}

fn step() -> impl Strategy<Value = Step> {
    let earlier = 0..64_usize;
    prop_oneof![
        6 => (prop::bool::weighted(0.2), 0..3_usize, (0..150_u64, 0..2_000_u64), 1..3_u64, 0..200_u64, 1..120_000_u64).prop_map(
            |(is_hit, key, hold, times, rate_tokens, lease_ms)| Step::Admit {
                is_hit, key, hold, times, rate_tokens, lease_ms
            }
        ),
        1 => earlier.clone().prop_map(Step::Again),
        2 => (earlier.clone(), 0..300_u64, 0..4_000_u64).prop_map(|(i, t, c)| Step::Extend(i, t, c)),
        3 => (earlier.clone(), 0..300_u64, 0..4_000_u64).prop_map(|(i, t, c)| Step::Settle(i, t, c)),
        1 => earlier.clone().prop_map(Step::Release),
        1 => earlier.prop_map(Step::FreePlace),
        3 => prop_oneof![0..50_u64, 0..40_000_u64].prop_map(Step::Wait),
        1 => (0..7_200_000_u64).prop_map(Step::Back),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let rate = || (1..10_000_u64, prop_oneof![Just(60_000_u64), 1..90_000_u64], 1..1_000_u64);
    (rate(), rate(), 1..12_u64, (5..60_u64, 100..4_000_u64, 1_000..50_000_u64), 1_000..90_000_u64).prop_map(
        |(requests, tokens, concurrency, quota, month_nusd)| Limits {
            requests,
            tokens,
            concurrency,
            quota,
            month_nusd,
        },
    )
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[test]
fn counters_agree_to_the_unit() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(Redis::start(&[])).unwrap();
    let fresh = Fresh::at(redis.url());
    runner(60)
        .run(&([limits(), limits(), limits()], prop::collection::vec(step(), 1..120)), |(limits, steps)| {
            runtime.block_on(follow(&limits, &steps, &MemoryCounters::default(), &fresh.store()));
            Ok(())
        })
        .unwrap();
}

#[expect(clippy::too_many_lines, reason = "an arm for each step")]
async fn follow([limits, keys @ ..]: &[Limits; 3], steps: &[Step], memory: &MemoryCounters, redis: &RedisStore) {
    let lineages = ["one", "other"].map(Lineage::of);
    let spans = [Window::day(NOW, 0), Window::month(NOW)];
    let own = lineages.map(|lineage| spans.map(|window| window.of_key(lineage)));
    let windows: Vec<Window> = [spans, own[0], own[1]].concat();
    let charged: Vec<_> = windows.iter().map(|window| (*window, Amounts::default().into())).collect();
    for store in [memory as &dyn Counters, redis] {
        rebuild(store, "acme", 7, &charged, NOW).await;
    }
    let mut now_ms = NOW;
    let mut asked: Vec<(Admission, bool, Ticket)> = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        let at = format!("step {place}: {step:?}");
        // What was not sent once is sent until a minute after its lease at the latest: so long it is remembered.
        let is_remembered = |(ask, _, ticket): &&(Admission, bool, Ticket)| {
            ticket.incarnation().is_some() || now_ms < ask.lease_until_ms + 60_000
        };
        let earlier = |i: &usize| asked.get(i % asked.len().max(1)).filter(is_remembered).cloned();
        match step {
            Step::Wait(ms) => now_ms += ms,
            Step::Back(ms) => now_ms -= ms,
            Step::Admit { is_hit, key, hold, times, rate_tokens, lease_ms } => {
                let hold = Amounts { requests: 1, tokens: hold.0, cost_nusd: hold.1 };
                let upper_bound_hold =
                    Amounts { tokens: hold.tokens * times, cost_nusd: hold.cost_nusd * times, ..hold };
                let PaceLimits { request_rate, token_rate, concurrency } = limits.pace();
                let key = key.checked_sub(1);
                let own_quotas = key.map(|key| keys[key].quotas(own[key]));
                let ask = Admission {
                    id: RequestId::new(now_ms),
                    request_rate,
                    token_rate,
                    rate_tokens: *rate_tokens,
                    concurrency,
                    key: key.map(|key| (lineages[key], keys[key].pace())),
                    quotas: limits.quotas(spans).into_iter().chain(own_quotas.into_iter().flatten()).collect(),
                    hold,
                    upper_bound_hold,
                    lease_until_ms: now_ms + lease_ms,
                    ..ask("acme")
                };
                let mut ticket = Ticket::new(ask.id);
                let got = redis.admit(&ask, &mut ticket, *is_hit, now_ms).await.unwrap();
                assert_eq!(got, memory.admit_unticketed(&ask, *is_hit, now_ms).await.unwrap(), "{at}");
                // Half of them are sent once, and settled or released by whoever was told that.
                if place % 2 == 1 {
                    ticket.doubt();
                }
                asked.push((ask, *is_hit, ticket));
            }
            Step::Again(i) => {
                let Some((ask, is_hit, ticket)) = earlier(i) else { continue };
                if ticket.incarnation().is_some() {
                    continue;
                }
                let got = redis.admit_unticketed(&ask, is_hit, now_ms).await.unwrap();
                assert_eq!(got, memory.admit_unticketed(&ask, is_hit, now_ms).await.unwrap(), "{at}");
            }
            Step::Extend(i, tokens, cost_nusd) => {
                let Some((ask, ..)) = earlier(i) else { continue };
                let target = Amounts { requests: 1, tokens: *tokens, cost_nusd: *cost_nusd };
                let got = redis.extend(&ask, target, now_ms).await.unwrap();
                assert_eq!(got, memory.extend(&ask, target, now_ms).await.unwrap(), "{at}");
            }
            Step::Settle(i, tokens, cost_nusd) => {
                // A hit holds nothing that could be settled.
                let Some((ask, false, ticket)) = earlier(i) else { continue };
                let used = Amounts { requests: 1, tokens: *tokens, cost_nusd: *cost_nusd };
                let settlement = Settlement::of(&ask, used);
                let got = redis.settle(&settlement, &ticket, now_ms).await.unwrap();
                assert_eq!(got, memory.settle(&settlement, &ticket, now_ms).await.unwrap(), "{at}");
            }
            Step::Release(i) => {
                let Some((ask, _, ticket)) = earlier(i) else { continue };
                redis.release(&ask, &ticket, now_ms).await.unwrap();
                memory.release(&ask, &ticket, now_ms).await.unwrap();
            }
            Step::FreePlace(i) => {
                let Some((ask, ..)) = earlier(i) else { continue };
                redis.free_place(&ask, now_ms).await.unwrap();
                memory.free_place(&ask, now_ms).await.unwrap();
            }
        }
        let got = redis.usage("acme", &windows, now_ms).await.unwrap();
        assert_eq!(got, memory.usage("acme", &windows, now_ms).await.unwrap(), "{at}");
        assert_eq!(by_id(redis.take_expired("acme")), by_id(memory.take_expired("acme")), "{at}");
    }
}

fn by_id(mut expired: Vec<ExpiredHold>) -> Vec<ExpiredHold> {
    expired.sort_by_key(|expired| expired.id);
    expired
}

/// One step with the health of a model.
#[derive(Debug, Clone)]
enum Observed {
    Answered(f64, Option<f64>, u64),
    Failed(u64),
    CoolDown(u64),
    Nothing(u64),
    /// A request of four, a tenant of two, and how long it took.
    Refused(u64, u64, u64),
    Probe(u64, u64),
    Wait(u64),
    /// The clock is set back.
    Back(u64),
}

fn observed() -> impl Strategy<Value = Observed> {
    let age = || prop_oneof![3 => Just(0_u64), 1 => 0..3_000_u64];
    prop_oneof![
        4 => (0.1..1e5_f64, prop::option::of(1e-3..1e3_f64), age()).prop_map(|(x, y, age)| Observed::Answered(x, y, age)),
        5 => age().prop_map(Observed::Failed),
        1 => (0..5_000_u64).prop_map(Observed::CoolDown),
        1 => age().prop_map(Observed::Nothing),
        5 => (1..5_u64, 0..2_u64, age()).prop_map(|(request, tenant, age)| Observed::Refused(request, tenant, age)),
        2 => (1..40_000_u64, 0..2_u64).prop_map(|(lease, tenant)| Observed::Probe(lease, tenant)),
        1 => (0..40_000_u64).prop_map(Observed::Back),
        4 => prop_oneof![0..500_u64, 0..25_000_u64].prop_map(Observed::Wait),
    ]
}

fn assert_close(got: &Figures, want: &Figures, at: &str) {
    for (got, want) in
        [(got.mean, want.mean), (got.variance, want.variance), (got.n_eff, want.n_eff), (got.weight, want.weight)]
    {
        assert!((got - want).abs() <= 1e-9 * want.abs().max(1.0), "{at}: {got}, not {want}");
    }
}

fn assert_same(got: &ModelHealth, want: &ModelHealth, at: &str) {
    assert_eq!(
        (got.standing, got.breaker, got.cooldown_until_ms, got.only_for),
        (want.standing, want.breaker, want.cooldown_until_ms, want.only_for),
        "{at}"
    );
    assert_close(&got.measures.ttft_ms, &want.measures.ttft_ms, at);
    assert_close(&got.measures.ms_per_token, &want.measures.ms_per_token, at);
    assert_close(&got.measures.failure, &want.measures.failure, at);
}

/// Without jitter, which is drawn at random.
fn breaker() -> BreakerSettings {
    BreakerSettings { jitter_percent: 0, ..BreakerSettings::default() }
}

#[test]
fn statistics_and_breaker_agree() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(Redis::start(&[])).unwrap();
    let health = HealthSettings::default();
    let made = Cell::new(0);
    runner(60)
        .run(&prop::collection::vec(observed(), 1..150), |steps| {
            made.set(made.get() + 1);
            let store = RedisStore::new(&redis.url(), &health, &breaker(), 0).unwrap();
            let store = store.with_prefix(&format!("h{}:", made.get()));
            runtime.block_on(watch(&steps, &MemoryHealth::new(&health, breaker()), &store));
            Ok(())
        })
        .unwrap();
}

const TENANTS: [&str; 2] = ["acme", "globex"];

async fn watch(steps: &[Observed], memory: &MemoryHealth, redis: &RedisStore) {
    let model: Arc<str> = "groq/llama-3.3-70b".into();
    let mut now_ms = NOW;
    for (place, step) in steps.iter().enumerate() {
        let at = format!("step {place}: {step:?}");
        let (signal, age_ms) = match *step {
            Observed::Wait(ms) => {
                now_ms += ms;
                continue;
            }
            Observed::Back(ms) => {
                now_ms -= ms;
                continue;
            }
            Observed::Probe(lease_ms, tenant) => {
                let tenant = TENANTS[tenant as usize];
                let got = redis.try_probe(&model, tenant, lease_ms, now_ms).await.unwrap();
                assert_eq!(got, memory.try_probe(&model, tenant, lease_ms, now_ms).await.unwrap(), "{at}");
                continue;
            }
            Observed::Refused(request, tenant, age_ms) => {
                let mark = Refused::of(RequestId::new(NOW), TENANTS[tenant as usize]);
                (Signal::Refused(Refused { request, ..mark }), age_ms)
            }
            Observed::Answered(ttft_ms, ms_per_token, age_ms) => (Signal::Answered { ttft_ms, ms_per_token }, age_ms),
            Observed::Failed(age_ms) => (Signal::Failed, age_ms),
            Observed::CoolDown(ms) => (Signal::CoolDown { until_ms: now_ms + ms }, 0),
            Observed::Nothing(age_ms) => (Signal::Nothing, age_ms),
        };
        let observations = [Observation { model: model.clone(), begun_at_ms: now_ms - age_ms, signal }];
        redis.record(&observations, now_ms).await.unwrap();
        memory.record(&observations, now_ms).await.unwrap();
        for later_ms in [0, 999, 30_000] {
            let got = redis.snapshot(std::slice::from_ref(&model), now_ms + later_ms).await.unwrap();
            let want = memory.snapshot(std::slice::from_ref(&model), now_ms + later_ms).await.unwrap();
            assert_same(&got[0], &want[0], &at);
        }
    }
}

#[test]
fn without_decay_mean_and_variance_are_those_of_two_passes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(Redis::start(&[])).unwrap();
    let health = HealthSettings { tau_ms: 1 << 52, ..HealthSettings::default() };
    let made = Cell::new(0);
    // Samples far from zero: the difference of two large sums would lose the variance.
    runner(20)
        .run(&(prop::collection::vec(0.0..10.0_f64, 2..60), 0.0..1e6_f64), |(samples, offset)| {
            made.set(made.get() + 1);
            let store = RedisStore::new(&redis.url(), &health, &breaker(), 0).unwrap();
            let store = store.with_prefix(&format!("p{}:", made.get()));
            let samples: Vec<f64> = samples.iter().map(|x| x + offset).collect();
            let observation = |&ttft_ms: &f64| Observation {
                model: "m".into(),
                begun_at_ms: NOW,
                signal: Signal::Answered { ttft_ms, ms_per_token: None },
            };
            let observations: Vec<_> = samples.iter().map(observation).collect();
            runtime.block_on(store.record(&observations, NOW)).unwrap();
            let got = runtime.block_on(store.snapshot(&["m".into()], NOW)).unwrap()[0].measures.ttft_ms;
            let n = samples.len() as f64;
            let mean = samples.iter().sum::<f64>() / n;
            let variance = samples.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            prop_assert!((got.mean - mean).abs() <= 1e-9 * mean.max(1.0), "{got:?}: mean {mean}");
            prop_assert!((got.variance - variance).abs() <= 1e-7, "{got:?}: variance {variance}");
            prop_assert!((got.n_eff - n).abs() <= 1e-9 * n, "{got:?}: {n} samples");
            Ok(())
        })
        .unwrap();
}

//! The store in a real Redis, alone and as a cluster of three: what the contracts of its borders do not ask.

mod between;
mod faults;
mod inspect;
mod same_as_memory;
mod tls;
mod waits;

use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::health::{Observation, Signal};
use gateway_core::id::RequestId;
use gateway_core::limit::window::Window;
use gateway_core::money::Amounts;
use gateway_core::store::contract::{Unticketed, incarnation_of, rebuild};
use gateway_core::store::redis::RedisStore;
use gateway_core::store::{
    Admission, CacheKey, CacheWrite, Counters, HealthStore, QuotaAsk, ResponseCache, Settled, Settlement, Store,
    Ticket, Verdict, contract,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use test_servers::redis::{Redis, RedisCluster};

const MIB: usize = 1 << 20;
const NOW: u64 = contract::NOW;
const VERSION: u64 = 7;
const ZERO: Amounts = Amounts { requests: 0, tokens: 0, cost_nusd: 0 };
const HOLD: Amounts = Amounts { requests: 1, tokens: 100, cost_nusd: 1_000 };

fn store_at(url: &str) -> RedisStore {
    RedisStore::new(url, &HealthSettings::default(), &BreakerSettings::default(), MIB).unwrap()
}

/// Makes stores on one server that see nothing of each other.
struct Fresh {
    url: String,
    made: AtomicU64,
}

impl Fresh {
    fn at(url: String) -> Self {
        Self { url, made: AtomicU64::new(0) }
    }

    fn store(&self) -> Arc<RedisStore> {
        let prefix = format!("t{}:", self.made.fetch_add(1, Ordering::Relaxed));
        Arc::new(store_at(&self.url).with_prefix(&prefix))
    }
}

fn day() -> Window {
    Window::day(NOW, 0)
}

/// A request of [`HOLD`] in today's window and this month's, without limits.
fn ask(tenant: &str) -> Admission {
    let quota = |window| QuotaAsk { window, requests: None, tokens: None, cost_nusd: None };
    Admission {
        tenant: tenant.into(),
        id: RequestId::new(NOW),
        settings_version: VERSION,
        request_rate: None,
        token_rate: None,
        rate_tokens: HOLD.tokens,
        concurrency: None,
        key: None,
        quotas: vec![quota(day()), quota(Window::month(NOW))],
        hold: HOLD,
        upper_bound_hold: HOLD,
        lease_until_ms: NOW + 60_000,
    }
}

/// Tells the store all that a request needs it to know, with nothing used.
async fn introduce(store: &RedisStore, ask: &Admission) {
    let windows: Vec<_> = ask.quotas.iter().map(|quota| (quota.window, ZERO.into())).collect();
    rebuild(store, &ask.tenant, ask.settings_version, &windows, NOW).await;
}

async fn used_and_held(store: &RedisStore, tenant: &str) -> (Amounts, Amounts) {
    let counted = store.usage(tenant, &[day()], NOW).await.unwrap()[0].expect("the window is known");
    (counted.used, counted.held)
}

fn cache_key(tenant: &str, number: u8) -> CacheKey {
    CacheKey { tenant: tenant.into(), hash: [number; 32] }
}

#[test]
fn scripts_touch_only_keys_that_were_declared() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/lua");
    let mut calls = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-- "), "{}: what it does stands first", path.display());
        for call in text.split("redis.call(").skip(1) {
            if call.starts_with("'TIME')") {
                continue;
            }
            let (_command, key) = call.split_once(", ").unwrap();
            assert!(key.starts_with("KEYS["), "{}: redis.call({call}", path.display());
            calls += 1;
        }
        assert!(!text.contains("redis.pcall") && !text.contains("redis.setresp"), "{}", path.display());
    }
    assert!(calls > 30, "{calls} calls");
}

/// A settlement with all that a request sends beside it, which the contract of the counters alone does not try.
async fn charges_once_and_records_what_was_observed(store: &RedisStore) {
    let ask = ask("acme");
    introduce(store, &ask).await;
    store.counters().admit_unticketed(&ask, false, NOW).await.unwrap();
    let model: Arc<str> = "m".into();
    let signal = Signal::Answered { ttft_ms: 20.0, ms_per_token: None };
    let observation = Observation { model: model.clone(), begun_at_ms: NOW, signal };
    let write = CacheWrite { key: cache_key("acme", 1), value: "answer".into(), ttl_ms: 1_000, note: None };
    let used = Amounts { requests: 1, tokens: 7, cost_nusd: 70 };
    for expected in [Settled::Done, Settled::Again] {
        let (observations, write) = (std::slice::from_ref(&observation), Some(write.clone()));
        let settled = Store::settle(store, &Settlement::of(&ask, used), &Ticket::new(ask.id), observations, write, NOW)
            .await
            .unwrap();
        assert_eq!(settled, expected);
        assert_eq!(used_and_held(store, "acme").await, (used, ZERO));
    }
    assert_eq!(store.get(&cache_key("acme", 1), NOW).await.unwrap().as_deref(), Some(&b"answer"[..]));
    let health = store.snapshot(&[model], NOW).await.unwrap()[0];
    assert_eq!(health.measures.ttft_ms.mean, 20.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_settlement_charges_once_and_records_what_was_observed() {
    let redis = Redis::start(&[]).await.unwrap();
    charges_once_and_records_what_was_observed(&store_at(&redis.url())).await;
    let cluster = RedisCluster::start(3, 0).await.unwrap();
    charges_once_and_records_what_was_observed(&store_at(&cluster.url())).await;
}

/// The weight of what was observed of a model, as itself and as another process knows it.
async fn weights(url: &str, busy: &RedisStore, model: &Arc<str>, now_ms: u64) -> (f64, f64) {
    let weight = async |store: &RedisStore| {
        store.snapshot(std::slice::from_ref(model), now_ms).await.unwrap()[0].measures.failure.weight.round()
    };
    (weight(busy).await, weight(&store_at(url)).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_observes_of_a_model_is_recorded_with_the_settlement_and_known_to_it_at_once() {
    let redis = Redis::start(&[]).await.unwrap();
    let cluster = RedisCluster::start(3, 0).await.unwrap();
    for url in [redis.url(), cluster.url()] {
        let store = store_at(&url);
        let model: Arc<str> = "m".into();
        let ask = ask("acme");
        introduce(&store, &ask).await;
        let see = async |store: &RedisStore, signal, now_ms| {
            let observations = [Observation { model: model.clone(), begun_at_ms: NOW, signal }];
            Store::settle(store, &Settlement::of(&ask, ZERO), &Ticket::new(ask.id), &observations, None, now_ms)
                .await
                .unwrap();
        };
        let answered = Signal::Answered { ttft_ms: 20.0, ms_per_token: None };
        for (after_ms, weight) in [(0, 1.0), (1, 2.0), (99, 3.0), (100, 4.0)] {
            see(&store, answered, NOW + after_ms).await;
            assert_eq!(weights(&url, &store, &model, NOW + after_ms).await, (weight, weight), "{url}: {after_ms} ms");
        }
        // Another's is known when what was read is a second old.
        see(&store_at(&url), answered, NOW + 101).await;
        assert_eq!(weights(&url, &store, &model, NOW + 101).await, (4.0, 5.0));
        see(&store, answered, NOW + 102).await;
        assert_eq!(weights(&url, &store, &model, NOW + 102).await, (5.0, 6.0));
        assert_eq!(weights(&url, &store, &model, NOW + 1_001).await, (6.0, 6.0));
        // Or when this one has recorded a failure, whatever it knew.
        see(&store_at(&url), answered, NOW + 1_002).await;
        see(&store, Signal::Failed, NOW + 1_003).await;
        assert_eq!(weights(&url, &store, &model, NOW + 1_003).await, (8.0, 8.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_is_garbage_after_some_time() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    let (settled, open, hit) = (ask("acme"), ask("acme"), ask("acme"));
    introduce(&store, &settled).await;
    let incarnation = incarnation_of(&store, "acme", NOW).await;
    store.close("acme", incarnation, &Window::day(NOW + 86_400_000, 0), NOW + 1_000, NOW).await.unwrap();
    for ask in [&settled, &open] {
        store.counters().admit_unticketed(ask, false, NOW).await.unwrap();
    }
    store.counters().admit_unticketed(&hit, true, NOW).await.unwrap();
    let observation = Observation { model: "m".into(), begun_at_ms: NOW, signal: Signal::Failed };
    let write = CacheWrite { key: cache_key("acme", 1), value: "answer".into(), ttl_ms: 1_000, note: None };
    Store::settle(&store, &Settlement::of(&settled, HOLD), &Ticket::new(settled.id), &[observation], Some(write), NOW)
        .await
        .unwrap();
    let keys = redis.ask(&["KEYS", "*"]).await.unwrap();
    assert_eq!(keys.lines().count(), 5, "the tenant, two marks, an answer, a model: {keys}");
    for key in keys.lines() {
        let ttl_ms: i64 = redis.ask(&["PTTL", key]).await.unwrap().parse().unwrap();
        assert!((1..=40 * 86_400_000).contains(&ttl_ms), "{key}: {ttl_ms} ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_done_leaves_nothing_or_a_mark_for_a_time() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    let lone = ask("acme");
    store.release_unticketed(&lone, NOW).await.unwrap();
    let most_ms = i64::try_from(lone.lease_until_ms + 60_000 - NOW).unwrap();
    let keys = redis.ask(&["KEYS", "*"]).await.unwrap();
    assert_eq!(keys.lines().count(), 2, "a tenant of which nothing else is known, and the mark: {keys}");
    for key in keys.lines() {
        let ttl_ms: i64 = redis.ask(&["PTTL", key]).await.unwrap().parse().unwrap();
        assert!((1..=most_ms).contains(&ttl_ms), "{key}: {ttl_ms} ms");
    }
    let verdict = store.counters().admit_unticketed(&ask("acme"), false, NOW).await.unwrap();
    assert!(matches!(verdict, Verdict::Stale { settings: true, .. }), "{verdict:?}");
    introduce(&store, &lone).await;
    let verdict = store.counters().admit_unticketed(&lone, false, NOW).await.unwrap();
    assert!(matches!(verdict, Verdict::Admitted { held: ZERO, .. }), "the mark outlives the rebuild: {verdict:?}");
    let left = async || {
        let fields = redis.ask(&["HLEN", "gw:3:{acme}"]).await.unwrap().parse::<u64>().unwrap();
        (fields, redis.ask(&["DBSIZE"]).await.unwrap().parse::<u64>().unwrap())
    };
    let (fields, keys) = left().await;
    for (is_known, is_settled, marks) in [(true, true, 0), (true, false, 0), (false, true, 1), (false, false, 2)] {
        let ask = ask("acme");
        let mut ticket = Ticket::new(ask.id);
        let verdict = store.counters().admit(&ask, &mut ticket, false, NOW).await.unwrap();
        assert!(matches!(verdict, Verdict::Admitted { held: HOLD, .. }), "{verdict:?}");
        if !is_known {
            ticket.doubt();
        }
        match is_settled {
            true => drop(store.counters().settle(&Settlement::of(&ask, HOLD), &ticket, NOW).await.unwrap()),
            false => store.release(&ask, &ticket, NOW).await.unwrap(),
        }
        assert_eq!(left().await, (fields, keys + marks));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_beyond_the_numbers_of_lua_saturates_and_refuses() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    let mut ask = ask("acme");
    ask.quotas[0].cost_nusd = Some(u64::MAX);
    introduce(&store, &ask).await;
    store.counters().admit_unticketed(&ask, false, NOW).await.unwrap();
    let used = Amounts { cost_nusd: u64::MAX, ..HOLD };
    store.counters().settle_unticketed(&Settlement::of(&ask, used), NOW).await.unwrap();
    assert_eq!(used_and_held(&store, "acme").await, (Amounts { cost_nusd: 1 << 53, ..HOLD }, ZERO));
    let next = Admission { id: RequestId::new(NOW), ..ask };
    let verdict = store.counters().admit_unticketed(&next, false, NOW).await.unwrap();
    assert!(matches!(verdict, Verdict::Refused { .. }), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_at_midnight_keeps_its_place() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    let midnight = day().resets_at_ms;
    let at = |now_ms: u64| {
        let quota = QuotaAsk { window: Window::day(now_ms, 0), requests: None, tokens: None, cost_nusd: None };
        let id = RequestId::new(now_ms);
        Admission { id, concurrency: Some(1), quotas: vec![quota], lease_until_ms: now_ms + 60_000, ..ask("acme") }
    };
    let (before, after, later) = (at(midnight - 1), at(midnight), at(midnight + 59_999));
    for ask in [&before, &after] {
        introduce(&store, ask).await;
    }
    let admit = async |ask: &Admission, now_ms| store.counters().admit_unticketed(ask, false, now_ms).await.unwrap();
    assert!(matches!(admit(&before, midnight - 1).await, Verdict::Admitted { .. }));
    let verdict = admit(&after, midnight).await;
    assert!(matches!(verdict, Verdict::Refused { .. }), "its place is taken: {verdict:?}");
    let verdict = admit(&later, midnight + 59_999).await;
    assert!(matches!(verdict, Verdict::Admitted { .. }), "its lease is over: {verdict:?}");
    let expiring: Vec<_> = store.take_expired("acme").into_iter().map(|expiring| expiring.id).collect();
    assert_eq!(expiring, [before.id], "the sweep finds what is of yesterday");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_was_lost_days_ago_is_told_when_its_tenant_comes_again() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    let mut expiring = ask("acme");
    expiring.quotas.truncate(1);
    introduce(&store, &expiring).await;
    store.counters().admit_unticketed(&expiring, false, NOW).await.unwrap();
    let later_ms = NOW + 5 * 86_400_000;
    let window = Window::day(later_ms, 0);
    rebuild(&store, "acme", VERSION, &[(window, ZERO.into())], later_ms).await;
    let expired = store.take_expired("acme");
    assert_eq!(expired.iter().map(|expiring| (expiring.id, expiring.held)).collect::<Vec<_>>(), [(expiring.id, HOLD)]);
    let counted = store.usage("acme", &[day(), window], later_ms).await.unwrap();
    assert_eq!(counted.iter().map(|counted| counted.unwrap().used).collect::<Vec<_>>(), [HOLD, ZERO]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_counts_as_a_hit_has_an_answer_and_what_does_not_has_a_hold() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = Arc::new(store_at(&redis.url()));
    introduce(&store, &ask("acme")).await;
    let key = cache_key("acme", 1);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let (store, key) = (store.clone(), key.clone());
        tasks.spawn(async move {
            let mut hits = 0;
            for round in 0..300 {
                if task == 0 {
                    store.put(&key, "answer".into(), 60_000, NOW).await.unwrap();
                    continue;
                }
                if task == 1 {
                    if round % 2 == 0 {
                        store.purge("acme").await.unwrap();
                    }
                    continue;
                }
                let ask = ask("acme");
                let (verdict, answer) =
                    Store::admit(&*store, &ask, &mut Ticket::new(ask.id), Some(&key), NOW).await.unwrap();
                let Verdict::Admitted { held, .. } = verdict else { panic!("{verdict:?}") };
                match answer {
                    Some(answer) => {
                        assert_eq!((held, &*answer), (ZERO, &b"answer"[..]));
                        hits += 1;
                    }
                    None => {
                        assert_eq!(held, HOLD);
                        store.release_unticketed(&ask, NOW).await.unwrap();
                    }
                }
            }
            hits
        });
    }
    let hits = tasks.join_all().await.into_iter().sum();
    assert_eq!(used_and_held(&store, "acme").await, (Amounts { requests: hits, ..ZERO }, ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_that_was_counted_and_whose_answer_is_gone_is_told_as_one_that_cannot_be_read() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    let (ask, key) = (ask("acme"), cache_key("acme", 1));
    introduce(&store, &ask).await;
    store.put(&key, "answer".into(), 60_000, NOW).await.unwrap();
    for expected in [&b"answer"[..], b"", b""] {
        let (verdict, answer) = Store::admit(&store, &ask, &mut Ticket::new(ask.id), Some(&key), NOW).await.unwrap();
        assert!(matches!(verdict, Verdict::Admitted { held: ZERO, .. }), "{verdict:?}");
        assert_eq!(answer.as_deref(), Some(expected), "it is a repetition from the second on");
        store.purge("acme").await.unwrap();
    }
    assert_eq!(used_and_held(&store, "acme").await, (Amounts { requests: 1, ..ZERO }, ZERO), "it counts once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_time_is_over_is_a_miss_to_the_admission() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    introduce(&store, &ask("acme")).await;
    let key = cache_key("acme", 1);
    store.put(&key, "answer".into(), 1_000, NOW).await.unwrap();
    let mut hits = 0;
    let scripts_run = async || {
        let stats = redis.ask(&["INFO", "commandstats"]).await.unwrap();
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next());
        calls.unwrap().parse::<u64>().unwrap()
    };
    // The server's own clock has moved by next to nothing: what counts is the time that is passed in.
    for (after_ms, is_hit) in [(0, true), (999, true), (1_000, false), (1_001, false), (86_400_000 / 24, false)] {
        let ask = ask("acme");
        let before = scripts_run().await;
        let (verdict, answer) =
            Store::admit(&store, &ask, &mut Ticket::new(ask.id), Some(&key), NOW + after_ms).await.unwrap();
        // The script itself knows: where it takes an old answer for a hit, it is told otherwise, and is asked again.
        assert!(after_ms == 0 || scripts_run().await == before + 1, "after {after_ms} ms");
        let Verdict::Admitted { held, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(answer.is_some(), is_hit, "after {after_ms} ms");
        assert_eq!(held, if is_hit { ZERO } else { HOLD }, "after {after_ms} ms");
        hits += u64::from(is_hit);
        if !is_hit {
            store.release_unticketed(&ask, NOW + after_ms).await.unwrap();
        }
    }
    assert_eq!(used_and_held(&store, "acme").await, (Amounts { requests: hits, ..ZERO }, ZERO));
}

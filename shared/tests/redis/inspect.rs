//! What an operator is told of a tenant and a model, in words.

use super::{HOLD, NOW, VERSION, ZERO, ask, day, introduce, store_at};
use gateway_core::health::refusals::Refused;
use gateway_core::health::{Observation, Signal};
use gateway_core::id::RequestId;
use gateway_core::limit::window::Window;
use gateway_core::store::contract::{Unticketed, incarnation_of};
use gateway_core::store::redis::TenantHold;
use gateway_core::store::{Admission, Counters, HealthStore, Settlement, Store};
use std::sync::Arc;
use test_servers::redis::Redis;

fn holds(words: &str, parts: &[&str]) {
    for part in parts {
        assert!(words.contains(part), "`{part}` is not in\n{words}");
    }
}

#[tokio::test]
async fn a_model_is_told_in_words() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    let model: Arc<str> = "groq/llama".into();
    assert_eq!(store.inspect_model(&model).await.unwrap(), None);
    let see = async |signal, now_ms| {
        let observation = Observation { model: model.clone(), begun_at_ms: now_ms, signal };
        store.record(&[observation], now_ms).await.unwrap();
    };
    for ttft_ms in [60.0, 100.0] {
        see(Signal::Answered { ttft_ms, ms_per_token: None }, NOW).await;
    }
    see(Signal::CoolDown { until_ms: NOW + 12_300 }, NOW).await;
    let words = store.inspect_model(&model).await.unwrap().unwrap().words(NOW + 1_000);
    let parts = [
        "written                3 times\n",
        "time to first token    mean 80.000 ms, deviation 20.000, weight 1.97, latest 2025-11-22T14:00:00Z (1.0 s ago)\n",
        "time per token         nothing observed\n",
        "breaker                closed; 0 failures in a row\n",
        "refusals               none since the latest answer; breaker closed\n",
        "cooldown               until 2025-11-22T14:00:13Z (in 11.3 s)\n",
    ];
    holds(&words, &parts);

    let mark = Refused::of(RequestId::new(NOW), "acme");
    for request in 1..=2 {
        see(Signal::Refused(Refused { request, ..mark }), NOW).await;
    }
    for _ in 0..5 {
        see(Signal::Failed, NOW).await;
    }
    let words = store.inspect_model(&model).await.unwrap().unwrap().words(NOW + 60_000);
    let parts = [
        "half open, opened 1 time in a row; its probe is free; 5 failures in a row\n",
        "2 requests since the latest answer; breaker closed\n",
        "cooldown               over since 2025-11-22T14:00:13Z (47.7 s ago)\n",
    ];
    holds(&words, &parts);
    see(Signal::Refused(Refused { request: 3, ..mark }), NOW).await;
    assert!(store.try_probe(&model, "globex", 30_000, NOW + 60_000).await.unwrap());
    let words = store.inspect_model(&model).await.unwrap().unwrap().words(NOW + 60_000);
    let parts =
        ["its probe is leased until 2025-11-22T14:01:30Z (in 30.0 s)", "its probe is free, for one tenant alone\n"];
    holds(&words, &parts);
}

#[tokio::test]
async fn a_tenant_is_told_in_words() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    assert_eq!(store.inspect_tenant("acme").await.unwrap(), None);
    let (settled, open, released) = (ask("acme"), ask("acme"), ask("acme"));
    introduce(&store, &settled).await;
    let incarnation = incarnation_of(&store, "acme", NOW).await;
    let tomorrow = Window::day(NOW + 86_400_000, 0);
    store.close("acme", incarnation, &tomorrow, NOW + 1_000, NOW).await.unwrap();
    for ask in [&settled, &open] {
        store.counters().admit_unticketed(ask, false, NOW).await.unwrap();
    }
    store.counters().settle_unticketed(&Settlement::of(&settled, HOLD), NOW).await.unwrap();
    store.release_unticketed(&released, NOW).await.unwrap();
    let words = store.inspect_tenant("acme").await.unwrap().unwrap().words(NOW);
    let hold = format!(
        "hold                   {}: 1 request, 100 tokens, 0.000001000 USD; leased until 2025-11-22T14:01:00Z (in 60.0 s)\n",
        open.id
    );
    let used = "used 1 request, 100 tokens, 0.000001000 USD; held 1 request, 100 tokens, 0.000001000 USD\n";
    let (day_words, month_words) =
        (format!("day from 2025-11-22T00:00:00Z {used}"), format!("month from 2025-11-01T00:00:00Z {used}"));
    let parts = [
        "settings version       7\n",
        &format!("incarnation            {incarnation}\n"),
        "requests in flight     1\n",
        "rate of requests       nothing is taken\n",
        &day_words,
        &month_words,
        "day from 2025-11-23T00:00:00Z lost, and closed until 2025-11-22T14:00:01Z (in 1.0 s)\n",
        &hold,
        "tombstones             there may be some until 2025-11-22T14:02:00Z (in 120.0 s)\n",
    ];
    holds(&words, &parts);
    // Its lease is over, which the next look of a request finds.
    store.usage("acme", &[day()], NOW + 60_000).await.unwrap();
    let words = store.inspect_tenant("acme").await.unwrap().unwrap().words(NOW + 60_000);
    let parts = [
        "requests in flight     0\n",
        "its lease ended and it is charged; handed to the ledger 2025-11-22T14:01:00Z (in 0.0 s)\n",
    ];
    holds(&words, &parts);
    holds(&words, &[&format!("held {} requests, 0 tokens", ZERO.requests)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_of_a_tenant_is_told_by_names() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    assert_eq!(store.inspect_tenant("acme").await.unwrap(), None);
    let (open, expired) = (ask("acme"), Admission { lease_until_ms: NOW + 5, ..ask("acme") });
    introduce(&store, &open).await;
    let incarnation = incarnation_of(&store, "acme", NOW).await;
    store.close("acme", incarnation, &Window::day(NOW + 86_400_000, 0), NOW + 1_000, NOW).await.unwrap();
    for ask in [&open, &expired] {
        store.counters().admit_unticketed(ask, false, NOW).await.unwrap();
    }
    store.release_unticketed(&ask("acme"), NOW).await.unwrap();
    store.usage("acme", &[day()], NOW + 5).await.unwrap();
    let record = store.inspect_tenant("acme").await.unwrap().unwrap();
    assert_eq!((record.key.as_str(), record.layout.as_str()), ("gw:3:{acme}", "3"));
    assert_eq!((record.incarnation, record.settings_version), (Some(incarnation), Some(VERSION)));
    assert_eq!((record.open_holds, record.sweep_at_ms), (1, Some(NOW + 60_000)));
    assert_eq!(record.tombstones_until_ms, Some(NOW + 120_000));
    assert_eq!(record.cache_version.unwrap().len(), 16);
    let counted = gateway_core::store::WindowUse { used: HOLD, held: HOLD };
    let windows = [day(), Window::month(NOW)];
    assert_eq!(record.windows, windows.iter().map(|window| (window.key(), counted)).collect());
    assert_eq!(record.outage, windows.iter().map(|window| (window.key(), ZERO)).collect());
    assert_eq!(record.closed_until_ms, [(Window::day(NOW + 86_400_000, 0).key(), NOW + 1_000)].into());
    let hold = |lease_until_ms, handed_out_at_ms| TenantHold {
        lease_until_ms,
        handed_out_at_ms,
        held: HOLD,
        windows: windows.into(),
        key: None,
    };
    let holds =
        [(open.id.to_string(), hold(Some(NOW + 60_000), None)), (expired.id.to_string(), hold(None, Some(NOW + 5)))];
    assert_eq!(record.holds, holds.into());
    assert_eq!(record.unknown, Vec::<String>::new());
}

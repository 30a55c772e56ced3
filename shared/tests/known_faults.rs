//! The known faults of the gateway that this one takes its idea from, each with a test that fails where the fault is.
//!
//! Those whose test stands elsewhere: upgrades and classifications that nobody was billed for (upgrades.rs, routing.rs),
//! limits that were checked and then passed (the counters' contract), cache keys without tenant, model and parameters
//! (caching.rs), an upstream's 429 that went to the client (attempts.rs), a stream that was swapped after its first byte
//! (upgrades.rs).

use crate::rig::{NOW, ask, ask_with, cheap, name_of, streamed};
use futures_util::future::join_all;
use gateway_core::limit::window::Window;
use serde_json::json;

#[tokio::test]
async fn every_provider_and_model_has_its_price_and_no_answer_is_free() {
    // Theirs: the cost of its main provider was always 0.
    for model in ["cheap", "reasoning", "up/ok", "up/ok@strong", "sim/cheap", "sim/reasoning"] {
        for body in [ask(model), streamed(model)] {
            let rig = cheap(["ok"]).build().await;
            let got = rig.chat(body).await;
            assert_eq!(got.status, 200);
            let served_by = got.header("x-gateway-model").to_owned();
            let receipt = rig.receipt(&got).await;
            let price = match rig.gateway.config.catalog.resolve(&served_by) {
                Some(gateway_core::catalog::Target::Model(model)) => model.price.clone(),
                other => panic!("{served_by}: {other:?}"),
            };
            let usage = serde_json::from_value(receipt["usage"].clone()).unwrap();
            let cost_nusd = price.cost_nusd(&usage, rig.clock_now());
            assert_eq!(receipt["cost_usd"], format!("0.{cost_nusd:09}"), "{model}");
            assert!(cost_nusd > 0, "{model} is free");
            assert_eq!(rig.totals().await.cost_nusd, cost_nusd);
        }
    }
}

#[tokio::test]
async fn health_forgets_and_recovers() {
    // Theirs: a process map that never forgot and never recovered.
    let flaky = "fail-first-5+status-500";
    let rig = cheap([flaky, "ok"]).table("[retry]\nmax_per_candidate = 0").build().await;
    for _ in 0..6 {
        rig.fresh(ask("cheap")).await;
    }
    let health =
        async || rig.gateway.store.health().snapshot(&[name_of(flaky).into()], rig.clock_now()).await.unwrap()[0];
    assert!(health().await.measures.failure.failure_probability() > 0.4);
    assert_eq!(rig.fresh(ask("cheap")).await.header("x-gateway-model"), "up/ok", "it is avoided");
    rig.clock.advance(600_000);
    assert!(health().await.measures.failure.failure_probability() < 0.03, "ten minutes later nobody remembers");
    for _ in 0..3 {
        assert_eq!(rig.fresh(ask("cheap")).await.header("x-gateway-model"), name_of(flaky), "and it is used again");
    }
}

#[tokio::test]
async fn no_key_is_kept_in_plain_text() {
    // Theirs: keys in plain text.
    let rig = cheap(["ok"]).build().await;
    let got = rig.chat(ask("cheap")).await;
    let secret = rig.key.strip_prefix("gw_live_").unwrap();
    // All but the last four characters, which are shown, and the first four behind the prefix, which are.
    let kept_out = &secret[4..secret.len() - 4];
    assert!(!got.contains(kept_out) && !rig.receipt(&got).await.to_string().contains(kept_out));
    let mut files = vec![rig.folder().to_owned()];
    let mut bytes_seen = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes_seen += bytes.len();
        let found = bytes.windows(kept_out.len()).any(|window| window == kept_out.as_bytes());
        assert!(!found, "{} holds the key", path.display());
    }
    assert!(bytes_seen > 10_000, "the directory's file was read");
    let debug = format!("{:?}", gateway_core::tenant::key::ApiKey::parse(&rig.key));
    assert!(!debug.contains(kept_out), "{debug}");
}

#[tokio::test]
async fn a_store_that_failed_once_is_asked_again_by_the_next_request() {
    // Theirs: one failed Redis connection meant memory for ever, and counts that nobody else saw.
    let counters =
        std::sync::Arc::new(crate::unreliable::Unreliable::new(gateway_core::store::memory::MemoryCounters::default()));
    let rig = cheap(["ok"]).limits(json!({"daily_requests": 2})).counters(counters.clone()).build().await;
    assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
    counters.set_down(true);
    for _ in 0..5 {
        assert_eq!(rig.fresh(ask("cheap")).await.status, 503);
    }
    counters.set_down(false);
    assert_eq!(rig.fresh(ask("cheap")).await.status, 200, "with the first request after it is back");
    assert_eq!(rig.fresh(ask("cheap")).await.error_code(), "quota_exceeded", "and by the same counts");
    assert_eq!(rig.totals().await.requests, 2);
}

#[tokio::test]
async fn a_day_begins_at_its_anchor_however_late_its_first_request_comes() {
    // Theirs: 24 hours after the last reset, so that the reset drifted.
    let anchor_ms = NOW - 5 * 3_600_000;
    let settings = json!({"limits": {"daily_requests": 1}, "window_anchor_ms": anchor_ms});
    let rig = cheap(["ok"]).tenant(settings).build().await;
    let mut begins_ms = anchor_ms;
    for late_ms in [0, 7_000_000, 80_000_000, 1, 50_000_000] {
        rig.clock.advance((begins_ms + late_ms).max(NOW) - rig.clock_now());
        assert_eq!(rig.fresh(ask("cheap")).await.status, 200, "{late_ms} ms into the day");
        let refused = rig.fresh(ask("cheap")).await;
        begins_ms += 86_400_000;
        assert_eq!(refused.json()["error"]["details"]["resets_at_ms"], begins_ms, "{late_ms} ms into the day");
        let last = begins_ms - 1 - rig.clock_now();
        rig.clock.advance(last);
        assert_eq!(rig.fresh(ask("cheap")).await.error_code(), "quota_exceeded", "in the day's last millisecond");
        assert_eq!(Window::day(rig.clock_now(), anchor_ms).resets_at_ms, begins_ms);
    }
}

#[tokio::test]
async fn requests_at_the_same_time_see_one_anothers_holds() {
    // As above: what is in flight counts against the limit before it is known what it costs.
    let body = ask_with("cheap", json!({"max_tokens": 60}));
    let hold = body.to_string().len() + 16 + 60;
    let rig = cheap(["slow-30"]).limits(json!({"daily_tokens": 3 * hold})).build().await;
    let all = join_all((0..10).map(|_| rig.fresh(body.clone()))).await;
    assert_eq!(all.iter().filter(|got| got.status == 200).count(), 3);
}

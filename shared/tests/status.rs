//! `GET /v1/status`: what a tenant learns of the models that it may use.

use crate::rig::{Got, NOW, Rig, ask, cheap, with_key};
use crate::unreliable::Unreliable;
use gateway_core::door::refusal;
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::store::Composed;
use gateway_core::store::memory::MemoryHealth;
use serde_json::{Value, json};
use std::sync::Arc;

const ONCE: &str = "[retry]\nmax_per_candidate = 0";

async fn status(rig: &Rig, key: &str) -> Got {
    let answer = rig.gateway.status(&with_key(key, &[])).await;
    Got::all_of(answer.unwrap_or_else(|error| refusal(&error, None))).await
}

/// Each name with its state and since when, as a key sees it.
async fn told(rig: &Rig, key: &str) -> Vec<(String, String, Value)> {
    let told = status(rig, key).await.json();
    assert_eq!(told["object"], "list");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entry = |entry: &Value| {
        let names: Vec<&String> = entry.as_object().unwrap().keys().collect();
        assert_eq!(names, ["id", "object", "since_ms", "state"], "states, and no figures");
        (text(&entry["id"]), text(&entry["state"]), entry["since_ms"].clone())
    };
    told["data"].as_array().unwrap().iter().map(entry).collect()
}

#[tokio::test]
async fn a_tenant_sees_of_each_model_that_it_may_use_whether_it_works_and_since_when() {
    let rig = cheap(["status-503", "ok"]).table(ONCE).table("[aliases]\nfast = \"up/ok\"").build().await;
    let few = rig.add_tenant("few", json!({"allowed_models": ["cheap", "up/status-503"]})).await;
    let row = |name: &str, state: &str, since_ms: Value| (name.to_owned(), state.to_owned(), since_ms);
    let well = ["auto", "cheap", "reasoning", "up/status-503", "up/ok", "up/ok@strong", "fast"];
    assert_eq!(told(&rig, &rig.key).await, well.map(|name| row(name, "ok", Value::Null)));
    rig.clock.advance(1_000);
    rig.fresh(ask("cheap")).await;
    rig.clock.advance(1_000);
    let failing = |state| {
        [
            row("cheap", "degraded", json!(NOW + 1_000)),
            row("up/status-503", state, json!(NOW + if state == "down" { 2_000 } else { 1_000 })),
        ]
    };
    assert_eq!(told(&rig, &few).await, failing("degraded"));
    for _ in 0..4 {
        rig.fresh(ask("cheap")).await;
    }
    rig.clock.advance(1_000);
    let all = told(&rig, &rig.key).await;
    assert_eq!(all[3], row("up/status-503", "down", json!(NOW + 2_000)));
    assert_eq!(all[1], row("cheap", "degraded", json!(NOW + 2_000)), "another of its models answers");
    assert_eq!(all[0], row("auto", "degraded", json!(NOW + 2_000)));
    for name in [2, 4, 5, 6] {
        assert_eq!((&*all[name].1, &all[name].2), ("ok", &Value::Null), "{}", all[name].0);
    }
    assert_eq!(told(&rig, &few).await, [all[1].clone(), all[3].clone()], "whoever asks");
    let stranger = status(&rig, "gw_live_nobody").await;
    assert_eq!((stranger.status, stranger.error_code().as_str()), (401, "invalid_api_key"));
}

#[tokio::test]
async fn a_model_that_is_kept_from_one_tenant_is_down_to_that_one_alone() {
    let rig = cheap(["status-404", "ok"]).table(ONCE).build().await;
    let other = rig.add_tenant("other", json!({})).await;
    for _ in 0..3 {
        rig.fresh(ask("cheap")).await;
    }
    assert_eq!(told(&rig, &rig.key).await[3].1, "down");
    assert!(told(&rig, &other).await.iter().all(|(_, state, _)| state == "ok"));
}

#[tokio::test]
async fn while_the_store_is_down_it_says_what_this_process_knows_and_that_it_does() {
    let memory = MemoryHealth::new(&HealthSettings::default(), BreakerSettings::default());
    let health = Arc::new(Unreliable::new(memory));
    let kept = health.clone();
    let rig = cheap(["ok"]).store(|memory| Composed { health: kept, ..memory }).build().await;
    assert_eq!(status(&rig, &rig.key).await.header("x-gateway-degraded"), "");
    health.set_down(true);
    let got = status(&rig, &rig.key).await;
    assert_eq!((got.status, got.header("x-gateway-degraded")), (200, "health"));
}

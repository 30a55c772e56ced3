//! What the fleet's operator is told of: models that are out, keys that are refused, a store or ledger that is down.

use super::receiver::{Heard, Receiver, answers};
use super::{WITHIN, another_with, spend, told, webhooks};
use crate::rig::{OUR_KEY, Rig, Scene, ask, cheap};
use crate::unreliable::Unreliable;
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::store::memory::MemoryCounters;
use gateway_core::store::redis::RedisStore;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use test_servers::redis::Redis;

/// Failures are not tried again, so that each request is one.
const ONCE: &str = "[retry]\nmax_per_candidate = 0";

fn of(url: &str, scene: Scene) -> Scene {
    let table = format!("{ONCE}\n[alerts]\nwebhook = {url:?}\nsecret = \"env:UP_KEY\"");
    scene.table(&table).with(|builder| builder.webhooks(webhooks()))
}

fn kinds(heard: &[Heard]) -> Vec<String> {
    heard.iter().map(|heard| heard.json()["kind"].as_str().unwrap().to_owned()).collect()
}

async fn ask_and_tell(rig: &Rig, requests: u64) {
    for _ in 0..requests {
        rig.fresh(ask("cheap")).await;
    }
    rig.gateway.send_alerts(WITHIN).await;
}

#[tokio::test]
async fn a_breaker_that_opens_and_closes_is_told_once_each() {
    let receiver = Receiver::start([]).await;
    let rig = of(&receiver.url, cheap(["fail-first-6+status-500", "ok"])).build().await;
    ask_and_tell(&rig, 4).await;
    assert_eq!(receiver.heard().len(), 0);
    ask_and_tell(&rig, 1).await;
    ask_and_tell(&rig, 3).await;
    let opened = receiver.heard()[0].json();
    assert_eq!((&opened["kind"], &opened["model"]), (&json!("breaker_opened"), &json!("up/fail-first-6+status-500")));
    assert_eq!((&opened["since_ms"], &opened["tenant"]), (&json!(rig.clock_now()), &json!(null)));
    // The first probe fails: that is the same outage.
    for _ in 0..4 {
        rig.clock.advance(25_000);
        ask_and_tell(&rig, 2).await;
    }
    assert_eq!(kinds(&receiver.heard()), ["breaker_opened", "breaker_closed"]);
    assert_eq!(receiver.heard()[1].json()["since_ms"], opened["since_ms"]);
}

#[tokio::test]
async fn a_model_that_is_out_for_one_tenant_alone_is_no_news() {
    let receiver = Receiver::start([]).await;
    let rig = of(&receiver.url, cheap(["status-404", "ok"])).build().await;
    ask_and_tell(&rig, 5).await;
    assert_eq!(receiver.heard().len(), 0);
}

#[tokio::test]
async fn a_key_that_is_refused_is_told_once_an_hour_by_its_last_characters() {
    let receiver = Receiver::start([]).await;
    let rig = of(&receiver.url, cheap(["status-401", "ok"])).build().await;
    ask_and_tell(&rig, 1).await;
    rig.clock.advance(3_500_000);
    ask_and_tell(&rig, 1).await;
    let heard = receiver.heard();
    assert_eq!(kinds(&heard), ["key_refused"]);
    let alert = heard[0].json();
    let expected = (&json!("up"), &json!(&OUR_KEY[OUR_KEY.len() - 4..]), &json!(401));
    assert_eq!((&alert["provider"], &alert["key_last4"], &alert["status"]), expected);
    assert!(!heard[0].body.contains(&OUR_KEY[..OUR_KEY.len() - 4]));
    rig.clock.advance(200_000);
    ask_and_tell(&rig, 1).await;
    assert_eq!(kinds(&receiver.heard()), ["key_refused", "key_refused"]);
}

#[tokio::test]
async fn a_store_that_is_down_is_told_and_that_it_is_back() {
    let receiver = Receiver::start([]).await;
    let counters = Arc::new(Unreliable::new(MemoryCounters::default()));
    let down = counters.clone();
    let rig = of(&receiver.url, cheap(["ok"]).counters(counters)).build().await;
    ask_and_tell(&rig, 1).await;
    down.down.store(true, SeqCst);
    ask_and_tell(&rig, 2).await;
    assert_eq!(receiver.heard().len(), 0, "it may be a moment");
    ask_and_tell(&rig, 3).await;
    ask_and_tell(&rig, 3).await;
    down.down.store(false, SeqCst);
    ask_and_tell(&rig, 1).await;
    ask_and_tell(&rig, 1).await;
    assert_eq!(kinds(&receiver.heard()), ["store_down", "store_up"]);
}

#[tokio::test]
async fn a_ledger_that_is_down_is_told_by_one_of_those_who_share_a_store_and_tried_again() {
    let receiver = Receiver::start([answers(503)]).await;
    let redis = Redis::start(&[]).await.unwrap();
    let store = || {
        let (health, breaker) = (HealthSettings::default(), BreakerSettings::default());
        Arc::new(RedisStore::new(&redis.url(), &health, &breaker, 1 << 20).unwrap())
    };
    let ours = store();
    let rig = told(&receiver.url, json!({"daily_requests": 1_000}));
    let rig = rig.with(|builder| builder.store(ours)).build().await;
    let theirs = another_with(&rig, |builder| builder.store(store())).await;
    spend(&rig, 1).await;
    rig.ledger.down.store(true, SeqCst);
    spend(&rig, 1).await;
    // The other one finds out by the failure of its own request.
    let incoming = super::incoming(&rig, ask("up/ok"));
    crate::rig::Got::all_of(theirs.chat(incoming).await).await;
    theirs.send_alerts(WITHIN).await;
    assert_eq!(kinds(&receiver.heard()), ["ledger_down"]);
    rig.clock.advance(10_000);
    rig.gateway.send_alerts(WITHIN).await;
    assert_eq!(kinds(&receiver.heard()), ["ledger_down", "ledger_down"], "the first try failed");
    rig.ledger.down.store(false, SeqCst);
    spend(&rig, 1).await;
    spend(&rig, 1).await;
    let heard = receiver.heard();
    assert_eq!(kinds(&heard), ["ledger_down", "ledger_down", "ledger_up"]);
    assert_eq!(heard[0].body, heard[1].body);
}

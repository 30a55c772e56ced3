//! Alerts: each is told once, signed, in no request's time, and is not lost.

mod fleet;
mod sns;
pub mod receiver;

use crate::key_limits::limited_key;
use crate::rig::{Got, OUR_KEY, Rig, Scene, ask, ask_with, boxed, cheap, with_key};
use crate::unreliable::Unreliable;
use gateway_core::alerts::webhook::Webhooks;
use gateway_core::clock::Clock;
use gateway_core::config::{Config, OpenAiSpec, ProviderKind, Secret};
use gateway_core::directory::Directory;
use gateway_core::gateway::Gateway;
use gateway_core::gateway::builder::Builder;
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::ledger::Outbox;
use gateway_core::provider::openai::OpenAi;
use gateway_core::request::incoming::Incoming;
use gateway_core::store::memory::MemoryCounters;
use gateway_core::store::redis::RedisStore;
use gateway_core::tenant::key::KeyHasher;
use gateway_core::tls::client_config;
use receiver::{Does, Heard, Receiver, answers};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use test_servers::redis::Redis;
use tokio::task::JoinSet;

/// How long a receiver may take; those that answer do so at once.
const WITHIN: Duration = Duration::from_millis(500);
const DAY_MS: u64 = 86_400_000;

fn webhooks() -> Arc<Webhooks> {
    let secret = Secret::new(OUR_KEY).unwrap();
    Arc::new(Webhooks::new(secret.into(), client_config().unwrap()).unwrap())
}

/// A scene whose alerts go to this address.
fn told(url: &str, limits: Value) -> Scene {
    let table = format!("[alerts]\nwebhook = {url:?}\nsecret = \"env:UP_KEY\"");
    cheap(["ok"]).table(&table).limits(limits).with(|builder| builder.webhooks(webhooks()))
}

/// Sends as many requests, and then what alerts there are.
async fn spend(rig: &Rig, requests: u64) {
    for _ in 0..requests {
        assert_eq!(rig.fresh(ask("up/ok")).await.status, 200);
    }
    rig.gateway.send_alerts(WITHIN).await;
}

/// Which thresholds were told of.
fn thresholds(heard: &[Heard]) -> Vec<u64> {
    heard.iter().map(|heard| heard.json()["budget"]["threshold_percent"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn each_threshold_is_told_of_once_and_signed() {
    let receiver = Receiver::start([]).await;
    let rig = told(&receiver.url, json!({"daily_requests": 10, "daily_cost_usd": "5"})).build().await;
    spend(&rig, 4).await;
    assert_eq!(receiver.heard().len(), 0);
    for requests in [1, 1, 2, 1, 1] {
        spend(&rig, requests).await;
    }
    let heard = receiver.heard();
    assert_eq!(thresholds(&heard), [50, 80, 100]);
    let alert = heard[1].json();
    let midnight = rig.clock.now_ms() / DAY_MS * DAY_MS;
    assert_eq!(alert["id"], *heard[1].headers["webhook-id"]);
    assert_eq!(heard[1].headers["webhook-timestamp"], (rig.clock.now_ms() / 1000).to_string());
    assert_eq!(
        alert,
        json!({"id": alert["id"], "kind": "budget", "at_ms": rig.clock.now_ms(), "tenant": "acme",
            "text": "acme has used 80 % of its daily_requests: 8 of 10",
            "budget": {"limit": "daily_requests", "threshold_percent": 80, "percent": 80, "used": 8, "limit_value": 10},
            "window": {"starts_at_ms": midnight, "resets_at_ms": midnight + DAY_MS},
            "gateway_version": env!("CARGO_PKG_VERSION")})
    );
    assert!(heard.iter().all(|heard| heard.is_signed_with(OUR_KEY.as_bytes()) && !heard.is_signed_with(b"another")));
    assert_eq!(rig.gateway.metrics.to_json()["alerts_sent_total"], 3);
}

#[tokio::test]
async fn what_one_key_uses_of_limits_of_its_own_is_told_to_nobody() {
    let receiver = Receiver::start([]).await;
    let rig = told(&receiver.url, json!({"daily_requests": 100})).build().await;
    let key = limited_key(&rig, "ci", json!({"daily_requests": 2, "monthly_cost_usd": "1"}), None).await;
    for status in [200, 200, 429] {
        assert_eq!(rig.chat_as(&key, &[("x-gateway-cache", "no-store")], ask("up/ok")).await.status, status);
        rig.gateway.send_alerts(WITHIN).await;
    }
    assert_eq!(receiver.heard().len(), 0);
}

#[tokio::test]
async fn a_tenant_has_not_used_all_where_one_of_its_keys_has() {
    let receiver = Receiver::start([]).await;
    let rig = told(&receiver.url, json!({"daily_requests": 10})).build().await;
    // The tenant's own refusal would count as all of its limit from here on.
    let key = limited_key(&rig, "ci", json!({"daily_requests": 9}), None).await;
    for place in 0..10 {
        let status = if place < 9 { 200 } else { 429 };
        assert_eq!(rig.chat_as(&key, &[("x-gateway-cache", "no-store")], ask("up/ok")).await.status, status);
        rig.gateway.send_alerts(WITHIN).await;
    }
    assert_eq!(thresholds(&receiver.heard()), [50, 80]);
}

#[tokio::test]
async fn money_is_told_of_as_the_admin_plane_shows_it_and_by_the_month_as_well() {
    let receiver = Receiver::start([]).await;
    let rig = told(&receiver.url, json!({"monthly_cost_usd": "0.001"})).build().await;
    while rig.fresh(ask_with("up/ok", json!({"max_tokens": 40}))).await.status == 200 {}
    rig.gateway.send_alerts(WITHIN).await;
    let alert = receiver.heard().first().map(Heard::json).unwrap_or_default();
    assert_eq!(alert["budget"]["limit"], "monthly_cost_usd", "{alert}");
    assert_eq!(alert["budget"]["limit_value"], "0.001000000");
    let used = rig.billed().cost_nusd;
    assert_eq!(alert["budget"]["used"], format!("0.{used:09}"));
    assert_eq!(alert["window"]["starts_at_ms"], 1_761_955_200_000_u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_that_cross_together_are_told_of_once() {
    let receiver = Receiver::start([]).await;
    let rig = Arc::new(told(&receiver.url, json!({"daily_requests": 60})).build().await);
    let mut asking = JoinSet::new();
    for _ in 0..50 {
        let rig = rig.clone();
        asking.spawn(async move {
            assert_eq!(rig.fresh(ask("up/ok")).await.status, 200);
            rig.gateway.send_alerts(WITHIN).await;
        });
    }
    asking.join_all().await;
    rig.gateway.send_alerts(WITHIN).await;
    let told = thresholds(&receiver.heard());
    assert!(told == [80] || told == [50, 80], "{told:?}");
}

#[tokio::test]
async fn a_raised_limit_is_told_of_anew_and_so_is_the_next_day() {
    let receiver = Receiver::start([]).await;
    let rig = told(&receiver.url, json!({"daily_requests": 2})).build().await;
    spend(&rig, 1).await;
    rig.change_tenant("acme", json!({"limits": {"daily_requests": 4}})).await;
    spend(&rig, 1).await;
    spend(&rig, 0).await;
    assert_eq!(thresholds(&receiver.heard()), [50, 50]);
    rig.clock.advance(DAY_MS);
    spend(&rig, 1).await;
    assert_eq!(receiver.heard().len(), 2, "of a new day there is a quarter");
    spend(&rig, 1).await;
    assert_eq!(thresholds(&receiver.heard()), [50, 50, 50]);
}

#[tokio::test]
async fn who_is_refused_near_the_end_of_a_limit_has_met_it() {
    let receiver = Receiver::start([]).await;
    let rig = told(&receiver.url, json!({"daily_tokens": 1_000_000})).build().await;
    let uid = rig.uid().await;
    assert_eq!(rig.fresh(ask("up/ok")).await.status, 200);
    let window = [gateway_core::limit::window::Window::day(rig.clock.now_ms(), 0)];
    let mut receipt = rig.ledger.last_receipt.lock().unwrap().clone().unwrap();
    receipt.id = gateway_core::id::RequestId::new(rig.clock.now_ms());
    receipt.usage.input_tokens = 999_000;
    assert_eq!((receipt.uid(), &receipt.windows[..1]), (&uid, &window[..]));
    gateway_core::ledger::Ledger::record(&*rig.ledger, &receipt).await.unwrap();
    rig.gateway.store.counters().forget(&uid).await.unwrap();
    assert_eq!(rig.fresh(ask("up/ok")).await.status, 429);
    rig.gateway.send_alerts(WITHIN).await;
    let alert = receiver.heard().first().map(Heard::json).unwrap_or_default();
    assert_eq!(
        (&alert["budget"]["threshold_percent"], &alert["budget"]["percent"]),
        (&json!(100), &json!(99)),
        "{alert}"
    );
}

#[tokio::test]
async fn a_tenant_may_have_its_own_receiver_or_hear_nothing() {
    let (usual, own) = (Receiver::start([]).await, Receiver::start([]).await);
    let rig = told(&usual.url, json!({"daily_requests": 1})).build().await;
    rig.change_tenant("acme", json!({"alerts": {"webhook": own.url, "thresholds": [70]}})).await;
    let quiet = rig.add_tenant("quiet", json!({"limits": {"daily_requests": 1}, "alerts": {"enabled": false}})).await;
    assert_eq!(rig.chat_as(&quiet, &[], ask("up/ok")).await.status, 200);
    spend(&rig, 1).await;
    assert_eq!((usual.heard().len(), thresholds(&own.heard())), (0, vec![70]));
}

#[tokio::test]
async fn no_request_waits_for_a_receiver_that_hangs_and_the_alert_is_tried_again() {
    let receiver = Receiver::start([Does::Hangs]).await;
    let rig = told(&receiver.url, json!({"daily_requests": 2})).build().await;
    assert_eq!(rig.fresh(ask("up/ok")).await.status, 200);
    let (answered, ()) = tokio::join!(rig.fresh(ask("up/ok")), rig.gateway.send_alerts(WITHIN));
    assert_eq!(answered.status, 200);
    assert_eq!(pending(&rig).await, Some((1, "no answer in time".to_owned())));
    rig.clock.advance(20_000);
    rig.gateway.send_alerts(WITHIN).await;
    let heard = receiver.heard();
    let again: Vec<_> = heard.iter().filter(|again| again.body == heard[0].body).collect();
    assert_eq!((heard.len(), again.len()), (3, 2));
    assert_eq!(again[1].headers["webhook-id"], heard[0].headers["webhook-id"]);
    assert_ne!(again[1].headers["webhook-timestamp"], heard[0].headers["webhook-timestamp"]);
    assert!(again[1].is_signed_with(OUR_KEY.as_bytes()));
    assert_eq!(pending(&rig).await, None);
}

/// Of the alert that is still to be delivered how often it was tried and what came of it.
async fn pending(rig: &Rig) -> Option<(u32, String)> {
    let alerts = rig.ledger.alerts().await.unwrap();
    let delivery = alerts.iter().find(|posted| posted.due_at_ms().is_some()).map(|posted| &posted.deliveries[0]);
    delivery.map(|delivery| (delivery.tries, delivery.last.clone()))
}

#[tokio::test]
async fn a_receiver_that_misbehaves_is_tried_again_or_given_up() {
    let elsewhere = Receiver::start([]).await;
    let redirect = format!("location: {}\r\n", elsewhere.url);
    for (does, wait_ms, is_tried_again) in [
        (answers(500), 10_000, true),
        (Does::Breaks, 10_000, true),
        (Does::TalksForEver(503), 10_000, true),
        (Does::Answers(307, redirect), 10_000, true),
        (Does::Answers(429, "retry-after: 120\r\n".to_owned()), 119_000, false),
        (Does::Answers(429, "retry-after: 120\r\n".to_owned()), 130_000, true),
        (answers(410), DAY_MS / 2, false),
        (answers(400), DAY_MS / 2, false),
        (Does::TalksForEver(200), DAY_MS / 2, false),
    ] {
        let receiver = Receiver::start([does.clone()]).await;
        let rig = told(&receiver.url, json!({"daily_requests": 2})).build().await;
        spend(&rig, 1).await;
        rig.clock.advance(wait_ms);
        rig.gateway.send_alerts(WITHIN).await;
        assert_eq!(receiver.heard().len(), if is_tried_again { 2 } else { 1 }, "{does:?}");
        assert_eq!(elsewhere.heard().len(), 0, "a redirect leads where nobody has checked");
        let failed = rig.gateway.metrics.to_json()["alerts_failed_total"].clone();
        assert_eq!(failed, u64::from(matches!(does, Does::Answers(400 | 410, _))), "{does:?}");
    }
}

#[tokio::test]
async fn what_was_told_before_the_process_ended_is_not_told_again_and_what_was_not_is() {
    let receiver = Receiver::start([answers(503)]).await;
    let rig = told(&receiver.url, json!({"daily_requests": 2})).build().await;
    spend(&rig, 1).await;
    let next = another(&rig).await;
    rig.clock.advance(60_000);
    next.send_alerts(WITHIN).await;
    assert_eq!(thresholds(&receiver.heard()), [50, 50], "the first try failed");
    next.send_alerts(WITHIN).await;
    // The window begins anew in the new process's store, from the ledger.
    assert_eq!(rig.fresh(ask("up/ok")).await.status, 200);
    next.send_alerts(WITHIN).await;
    rig.gateway.send_alerts(WITHIN).await;
    assert_eq!(thresholds(&receiver.heard()), [50, 50, 100]);
}

/// Another process on the same directory and ledger.
async fn another(rig: &Rig) -> Arc<Gateway> {
    another_with(rig, |builder| builder).await
}

async fn another_with(rig: &Rig, inject: impl FnOnce(Builder) -> Builder) -> Arc<Gateway> {
    let hasher = KeyHasher::new(b"the installation's secret");
    let up =
        OpenAi::new(openai_of(&rig.gateway.config), &[Secret::new(OUR_KEY).unwrap().into()], client_config().unwrap());
    let builder = Gateway::builder(rig.gateway.config.clone()).clock(rig.clock.clone()).webhooks(webhooks());
    let builder = builder.provider("up", Arc::new(up.unwrap()));
    Arc::new(inject(builder).build(rig.directory.clone(), rig.ledger.clone(), hasher).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_on_one_redis_tell_each_threshold_once_also_when_it_is_flushed() {
    let receiver = Receiver::start([]).await;
    let redis = Redis::start(&[]).await.unwrap();
    let store = || {
        let (health, breaker) = (HealthSettings::default(), BreakerSettings::default());
        Arc::new(RedisStore::new(&redis.url(), &health, &breaker, 1 << 20).unwrap())
    };
    let ours = store();
    let rig = told(&receiver.url, json!({"daily_requests": 20})).with(|builder| builder.store(ours)).build().await;
    let theirs = another_with(&rig, |builder| builder.store(store())).await;
    for n in 0..16 {
        let gateway = if n % 2 == 0 { &rig.gateway } else { &theirs };
        assert_eq!(Got::all_of(gateway.chat(incoming(&rig, ask("up/ok"))).await).await.status, 200);
        tokio::join!(rig.gateway.send_alerts(WITHIN), theirs.send_alerts(WITHIN));
        if n == 12 {
            redis.ask(&["FLUSHALL"]).await.unwrap();
        }
    }
    assert_eq!(thresholds(&receiver.heard()), [50, 80]);
}

/// A request of the tenant `acme`, past the cache.
fn incoming(rig: &Rig, body: Value) -> Incoming {
    let headers = with_key(&rig.key, &[("x-gateway-cache", "no-store")]);
    Incoming { headers, body: boxed(body.to_string()), time_left: None }
}

fn openai_of(config: &Config) -> &OpenAiSpec {
    let up = config.providers.iter().find(|spec| &*spec.name == "up").unwrap();
    let ProviderKind::OpenAi(spec) = &up.kind else { panic!("it is another kind") };
    spec
}

#[tokio::test]
async fn without_the_store_the_ledger_says_what_is_used() {
    let receiver = Receiver::start([]).await;
    let counters = Arc::new(Unreliable::new(MemoryCounters::default()));
    let (down, limits) = (counters.clone(), json!({"daily_requests": 100}));
    let rig = told(&receiver.url, limits).counters(counters).build().await;
    rig.change_tenant("acme", json!({"outage_share": 1})).await;
    spend(&rig, 49).await;
    down.down.store(true, SeqCst);
    spend(&rig, 1).await;
    spend(&rig, 1).await;
    assert_eq!(thresholds(&receiver.heard()), [50]);
    down.down.store(false, SeqCst);
    spend(&rig, 1).await;
    assert_eq!(thresholds(&receiver.heard()), [50]);
}

#[tokio::test]
async fn without_the_ledger_alerts_wait() {
    let receiver = Receiver::start([]).await;
    let rig = told(&receiver.url, json!({"daily_requests": 4})).build().await;
    spend(&rig, 1).await;
    rig.ledger.down.store(true, SeqCst);
    spend(&rig, 1).await;
    spend(&rig, 0).await;
    assert_eq!(budgets(&receiver), [0_u64; 0], "all that is told is that the ledger is down");
    rig.ledger.down.store(false, SeqCst);
    spend(&rig, 0).await;
    assert_eq!(budgets(&receiver), [50]);
}

/// The thresholds that were told of, among whatever else was.
fn budgets(receiver: &Receiver) -> Vec<u64> {
    let heard = receiver.heard().into_iter().filter(|heard| heard.json()["kind"] == "budget");
    thresholds(&heard.collect::<Vec<_>>())
}

#[tokio::test]
async fn a_test_says_what_each_receiver_answers_and_is_not_kept() {
    let (usual, own) = (Receiver::start([answers(401)]).await, Receiver::start([Does::Hangs]).await);
    let rig = told(&usual.url, json!({})).build().await;
    rig.change_tenant("acme", json!({"alerts": {"webhook": own.url}})).await;
    let record = rig.directory.inner.tenant("acme").await.unwrap().unwrap();
    let acme = record.resolve(&rig.gateway.config.tenant_defaults).unwrap();
    let tested = async |tenant| rig.gateway.test_alerts(tenant, WITHIN).await.to_json();
    let refused = tested(None).await;
    assert_eq!((&refused["kind"], &refused["state"]), (&json!("test"), &json!("failed")));
    assert_eq!(refused["deliveries"][0]["last"], "401 no");
    assert_eq!(tested(None).await["state"], "delivered");
    assert_eq!(tested(Some(&acme)).await["deliveries"][0]["last"], "no answer in time");
    assert!(usual.heard().iter().all(|heard| heard.is_signed_with(OUR_KEY.as_bytes())));
    assert_eq!((usual.heard().len(), own.heard().len(), rig.ledger.alerts().await.unwrap().len()), (2, 1, 0));
}

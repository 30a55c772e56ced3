//! A key of so many dollars a day, within its tenant: at any concurrency, over a rotation, a loss of the store, an outage of it
//! and the death of a process.

use crate::rig::{Got, NOW, Rig, Scene, ask, ask_with, boxed, cheap, with_key};
use crate::unreliable::Unreliable;
use futures_util::future::join_all;
use gateway_core::directory::{Directory, KeyRecord, contract};
use gateway_core::id::RequestId;
use gateway_core::ledger::{Claims, Ledger};
use gateway_core::limit::lineage::Lineage;
use gateway_core::limit::window::Window;
use gateway_core::money::Amounts;
use gateway_core::request::incoming::Incoming;
use gateway_core::store::contract::Unticketed;
use gateway_core::store::memory::MemoryCounters;
use gateway_core::store::{Admission, PaceLimits, QuotaAsk, Verdict, WindowUse};
use gateway_core::tenant::Limits;
use gateway_core::tenant::key::ApiKey;
use serde_json::{Value, json};
use std::sync::Arc;

const ZERO: Amounts = Amounts { requests: 0, tokens: 0, cost_nusd: 0 };

/// A tenant that has no limit that matters.
fn wide() -> Scene {
    cheap(["ok"]).limits(json!({"requests_per_minute": null, "tokens_per_minute": null, "concurrency": null,
        "daily_requests": null, "daily_tokens": null, "daily_cost_usd": "1000"}))
}

/// Makes a key of `acme` with limits of its own; `first` is the one that it is rotated out of.
pub async fn limited_key(rig: &Rig, id: &str, limits: Value, first: Option<&str>) -> String {
    let key = ApiKey::generate();
    let record = KeyRecord {
        hash: rig.gateway.hasher.hash(key.reveal()).hex(),
        limits: Some(Limits::default().patched(limits).unwrap()),
        first: first.map(Into::into),
        ..contract::key("acme", id)
    };
    rig.directory.inner.create_key(&record, contract::entry("key.create", id)).await.unwrap();
    key.reveal().to_owned()
}

fn of_key(window: Window) -> Window {
    window.of_key(Lineage::of("ci"))
}

fn today() -> [Window; 2] {
    let day = Window::day(NOW, 0);
    [day, of_key(day)]
}

/// What the ledger says that tenant and key used today.
async fn totals(rig: &Rig) -> [Amounts; 2] {
    let uid = rig.uid().await;
    let [tenant, key] = today();
    [
        rig.ledger.inner.totals(&uid, &tenant).await.unwrap().used,
        rig.ledger.inner.totals(&uid, &key).await.unwrap().used,
    ]
}

/// What the store says.
async fn counted(rig: &Rig) -> [WindowUse; 2] {
    let usage = rig.gateway.store.counters().usage(&rig.uid().await, &today(), rig.clock_now()).await.unwrap();
    [usage[0].unwrap_or_default(), usage[1].unwrap_or_default()]
}

async fn assert_the_books_agree(rig: &Rig) {
    let totals = totals(rig).await;
    assert_eq!(counted(rig).await, totals.map(|used| WindowUse { used, held: ZERO }), "store and ledger");
}

fn numbered(n: usize) -> Value {
    ask_with("cheap", json!({"user": format!("caller {n}"), "max_tokens": 40}))
}

const NO_CACHE: &[(&str, &str)] = &[("x-gateway-cache", "no-store")];

async fn status(rig: &Rig, key: &str) -> u16 {
    rig.chat_as(key, NO_CACHE, ask("cheap")).await.status
}

#[tokio::test]
async fn many_at_once_with_one_key_spend_no_more_than_its_money_and_others_go_on() {
    let rig = wide().build().await;
    let key = limited_key(&rig, "ci", json!({"daily_cost_usd": "0.002"}), None).await;
    let mut passed = 0;
    for round in 0..20 {
        let calls = (0..32).map(async |n| {
            let with = if n % 4 == 0 { &rig.key } else { &key };
            let got = rig.chat_as(with, NO_CACHE, numbered(round * 32 + n)).await;
            assert!(counted(&rig).await[1].used.cost_nusd <= 2_000_000, "the key's money");
            (n % 4 == 0, got)
        });
        for (is_wide, got) in join_all(calls).await {
            match got.status {
                200 => passed += u64::from(!is_wide),
                429 if !is_wide => {
                    let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
                    assert!(
                        message.starts_with("The quota daily_cost_usd of this key has not enough left"),
                        "{message}"
                    );
                }
                other => panic!("{other}: {got:?}"),
            }
        }
    }
    let [tenant, key_used] = totals(&rig).await;
    assert_eq!((key_used.requests, tenant.requests), (passed, passed + 160));
    assert!((1_000_000..=2_000_000).contains(&key_used.cost_nusd), "{key_used:?}");
    assert_eq!(Amounts { requests: 0, ..tenant }, rig.billed());
    assert_the_books_agree(&rig).await;
}

#[tokio::test]
async fn a_key_that_was_rotated_and_a_store_that_was_lost_give_no_second_budget() {
    let rig = wide().build().await;
    let limits = json!({"daily_requests": 5, "monthly_cost_usd": "100"});
    let first = limited_key(&rig, "ci", limits.clone(), None).await;
    let second = limited_key(&rig, "ci-2", limits.clone(), Some("ci")).await;
    let other = limited_key(&rig, "cd", limits, None).await;
    for key in [&first, &second, &second] {
        assert_eq!(status(&rig, key).await, 200);
    }
    let before = totals(&rig).await;
    let month = of_key(Window::month(NOW));
    assert_eq!(rig.ledger.inner.totals(&rig.uid().await, &month).await.unwrap().used, before[1]);
    rig.gateway.store.counters().forget(&rig.uid().await).await.unwrap();
    assert_eq!([status(&rig, &first).await, status(&rig, &second).await], [200, 200]);
    assert_eq!([status(&rig, &first).await, status(&rig, &second).await], [429, 429]);
    assert_eq!((status(&rig, &other).await, status(&rig, &rig.key).await), (200, 200));
    assert_the_books_agree(&rig).await;
    assert_eq!(totals(&rig).await.map(|used| used.requests), [7, 5]);
}

#[tokio::test]
async fn a_remembered_answer_counts_for_the_key_and_costs_it_nothing() {
    let rig = wide().build().await;
    let key = limited_key(&rig, "ci", json!({"daily_requests": 3, "tokens_per_minute": 4000}), None).await;
    let answers = [rig.chat_as(&key, &[], ask("cheap")).await, rig.chat_as(&key, &[], ask("cheap")).await];
    assert_eq!(answers.map(|got| got.header("x-gateway-cache").to_owned()), ["miss", "hit"]);
    let [_, used] = totals(&rig).await;
    assert_eq!((used.requests, Amounts { requests: 0, ..used }), (2, rig.billed()));
    assert_the_books_agree(&rig).await;
    assert_eq!(rig.chat_as(&key, &[], ask("cheap")).await.status, 200);
    assert_eq!(rig.chat_as(&key, &[], ask("cheap")).await.status, 429, "a hit is refused too");
}

#[tokio::test]
async fn the_rates_that_are_told_are_the_keys_where_it_has_less() {
    let rig = wide().build().await;
    let key = limited_key(&rig, "ci", json!({"requests_per_minute": 3, "concurrency": 1}), None).await;
    for left in ["2", "1", "0"] {
        let got = rig.chat_as(&key, NO_CACHE, ask("cheap")).await;
        let headers = ["limit", "remaining"].map(|of| got.header(&format!("x-ratelimit-{of}-requests")).to_owned());
        assert_eq!(headers, ["3", left]);
    }
    for _ in 0..2 {
        let got = rig.chat_as(&key, NO_CACHE, ask("cheap")).await;
        assert_eq!((got.status, got.header("retry-after")), (429, "20"), "{got:?}");
        assert!(
            got.json()["error"]["message"].as_str().unwrap().contains("requests_per_minute of this key"),
            "{got:?}"
        );
    }
    assert_eq!(status(&rig, &rig.key).await, 200, "another key is not refused by what is known of this one");
}

#[tokio::test]
async fn no_door_is_open_to_a_key_that_has_nothing_left() {
    let rig = wide().build().await;
    let key = limited_key(&rig, "ci", json!({"daily_requests": 0}), None).await;
    let bodies = [
        ("chat", ask("cheap")),
        ("chat", crate::rig::streamed("cheap")),
        ("messages", json!({"model": "cheap", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})),
        ("responses", json!({"model": "cheap", "input": "hi"})),
    ];
    for (door, body) in bodies {
        let call = Incoming { headers: with_key(&key, NO_CACHE), body: boxed(body.to_string()), time_left: None };
        let answer = match door {
            "chat" => rig.gateway.chat(call).await,
            "messages" => rig.gateway.messages(call).await,
            _ => rig.gateway.responses(call).await,
        };
        let got = Got::all_of(answer).await;
        assert_eq!((got.status, got.header("x-should-retry")), (429, "false"), "{door}: {got:?}");
        let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("daily_requests of this key"), "{door}: {message}");
    }
    assert_eq!((rig.double.counts().total.calls, totals(&rig).await), (0, [ZERO; 2]));
}

#[tokio::test]
async fn without_the_store_a_key_has_its_share_and_takes_no_more_of_its_tenants() {
    let counters = Arc::new(Unreliable::new(MemoryCounters::default()));
    let limits =
        json!({"requests_per_minute": null, "daily_requests": 100, "daily_tokens": null, "daily_cost_usd": null});
    let rig = cheap(["ok"]).limits(limits).counters(counters.clone()).build().await;
    let key = limited_key(&rig, "ci", json!({"daily_requests": 40}), None).await;
    assert_eq!(status(&rig, &key).await, 200);
    counters.set_down(true);
    let mut passed = 0;
    for _ in 0..12 {
        passed += u64::from(status(&rig, &key).await == 200);
    }
    assert_eq!(passed, 4, "a tenth of its forty");
    passed = 0;
    for _ in 0..12 {
        passed += u64::from(status(&rig, &rig.key).await == 200);
    }
    assert_eq!(passed, 6, "the rest of the tenth of its tenant's hundred");
    counters.set_down(false);
    // Of another process the ledger would grant nothing either.
    let (share, one) = (Amounts { requests: 4, ..ZERO }, Amounts { requests: 1, ..ZERO });
    assert!(!rig.ledger.grant(&rig.uid().await, &today()[1], one, share).await.unwrap());
    assert_eq!([status(&rig, &rig.key).await, status(&rig, &key).await], [200, 200]);
    assert_eq!(totals(&rig).await.map(|used| used.requests), [13, 6]);
    assert_the_books_agree(&rig).await;
}

#[tokio::test]
async fn a_request_whose_process_was_lost_is_charged_to_its_key_in_the_ledger() {
    let counters = Arc::new(MemoryCounters::default());
    let rig = wide().counters(counters.clone()).build().await;
    let limits = json!({"daily_cost_usd": "5", "concurrency": 1});
    let key = limited_key(&rig, "ci", limits, None).await;
    assert_eq!(status(&rig, &key).await, 200);
    let before = totals(&rig).await;
    let lost = about_to_be_lost(&rig).await;
    let verdict = counters.admit_unticketed(&lost, false, rig.clock_now()).await.unwrap();
    assert!(matches!(verdict, Verdict::Admitted { .. }), "{verdict:?}");
    assert_eq!(status(&rig, &key).await, 429, "its place is taken");
    rig.clock.advance(1_000);
    assert_eq!(status(&rig, &key).await, 200, "its lease is over");
    let after = totals(&rig).await;
    for (before, after) in before.into_iter().zip(after) {
        let more = after.minus(before);
        assert_eq!((more.requests, more.minus(lost.hold).minus(before)), (2, ZERO), "one more like the first");
    }
    assert_the_books_agree(&rig).await;
}

/// A request with the key, whose lease ends in a second.
async fn about_to_be_lost(rig: &Rig) -> Admission {
    let hold = Amounts { requests: 1, tokens: 1_000, cost_nusd: 1_000_000 };
    let quota = |window| QuotaAsk { window, requests: None, tokens: None, cost_nusd: Some(5_000_000_000) };
    let own = PaceLimits { concurrency: Some(1), ..PaceLimits::default() };
    Admission {
        tenant: rig.uid().await,
        id: RequestId::new(rig.clock_now()),
        settings_version: rig.directory.inner.tenant("acme").await.unwrap().unwrap().version,
        request_rate: None,
        token_rate: None,
        rate_tokens: 0,
        concurrency: None,
        key: Some((Lineage::of("ci"), own)),
        quotas: today().map(quota).into(),
        hold,
        upper_bound_hold: hold,
        lease_until_ms: rig.clock_now() + 1_000,
    }
}

#[tokio::test]
async fn a_model_of_unknown_price_is_not_for_a_key_that_has_a_limit_of_money() {
    let scene = cheap(["ok"]).model_at("\"unknown\"", "tools", "").limits(json!({"daily_cost_usd": null}));
    let rig = scene.build().await;
    let key = limited_key(&rig, "ci", json!({"monthly_cost_usd": "5"}), None).await;
    let got = rig.chat_as(&key, NO_CACHE, ask("up/tools")).await;
    assert_eq!((got.status, got.json()["error"]["param"].as_str()), (400, Some("model")), "{got:?}");
    assert_eq!(rig.chat_as(&rig.key, NO_CACHE, ask("up/tools")).await.status, 200);
}

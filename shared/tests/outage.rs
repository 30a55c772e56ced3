//! The bad night: the store is down, comes back, forgets, or was heard and could not answer.

use crate::rig::{NOW, Rig, Scene, ask, cheap};
use crate::unreliable::Unreliable;
use gateway_core::id::RequestId;
use gateway_core::ledger::{Claims, Ledger};
use gateway_core::limit::gcra::Rate;
use gateway_core::limit::window::Window;
use gateway_core::money::Amounts;
use gateway_core::request::reply::AnswerBody;
use gateway_core::store::contract::Unticketed;
use gateway_core::store::memory::MemoryCounters;
use gateway_core::store::{Admission, Counters, QuotaAsk, Verdict};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// The deadline of the rig's requests, and what a lease adds to it.
const LEASE_MS: u64 = 300_000 + 60_000;

async fn with_counters(scene: Scene) -> (Rig, Arc<Unreliable<MemoryCounters>>) {
    let counters = Arc::new(Unreliable::new(MemoryCounters::default()));
    (scene.counters(counters.clone()).build().await, counters)
}

fn day() -> Window {
    Window::day(NOW, 0)
}

/// Only requests are limited.
fn requests(daily: u64) -> Value {
    json!({"daily_requests": daily, "daily_tokens": null, "daily_cost_usd": null, "concurrency": null})
}

/// How many of `n` requests, one after the other, are served; each of the others is refused with 503.
async fn served(rig: &Rig, n: usize) -> usize {
    let mut served = 0;
    for _ in 0..n {
        let got = rig.fresh(ask("cheap")).await;
        match got.status {
            200 => served += 1,
            503 => assert_eq!((got.error_code().as_str(), got.header("retry-after")), ("store_unavailable", "1")),
            other => panic!("{other}: {got:?}"),
        }
    }
    served
}

#[tokio::test]
async fn without_the_store_a_tenant_goes_on_within_its_share_and_is_charged_when_the_store_is_back() {
    let (rig, counters) = with_counters(cheap(["ok"]).limits(requests(100))).await;
    assert_eq!(served(&rig, 3).await, 3);
    counters.set_down(true);
    let got = rig.fresh(ask("cheap")).await;
    assert_eq!((got.status, got.header("x-gateway-degraded"), got.header("x-gateway-cache")), (200, "store", "bypass"));
    assert_eq!(rig.receipt(&got).await["outage"], json!(true));
    assert_eq!(served(&rig, 20).await, 9, "ten of a hundred, of which one is used");
    assert_eq!(rig.totals().await, Amounts { requests: 13, ..rig.billed() });
    counters.set_down(false);
    for used in [14, 15] {
        let got = rig.fresh(ask("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-degraded")), (200, ""));
        assert_eq!(rig.counted().await, Amounts { requests: used, ..rig.billed() }, "it is charged once");
    }
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn the_share_is_no_more_than_what_is_left_of_the_limit() {
    let (rig, counters) = with_counters(cheap(["ok"]).tenant(json!({"outage_share": 1, "limits": requests(8)}))).await;
    assert_eq!(served(&rig, 5).await, 5);
    counters.set_down(true);
    assert_eq!(served(&rig, 10).await, 3);
    counters.set_down(false);
    let got = rig.fresh(ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str()), (429, "quota_exceeded"));
    assert_eq!(rig.counted().await.requests, 8);
}

#[tokio::test]
async fn what_the_month_refuses_uses_up_nothing_of_the_days_share() {
    let limits = json!({"daily_requests": null, "daily_tokens": 100_000, "daily_cost_usd": null, "monthly_cost_usd": "0.000000100"});
    let (rig, counters) = with_counters(cheap(["ok"]).limits(limits)).await;
    counters.set_down(true);
    assert_eq!(served(&rig, 20).await, 0);
    let (day, share) = (Window::day(rig.clock_now(), 0), Amounts { tokens: 10_000, ..Amounts::default() });
    assert!(rig.ledger.grant(&rig.uid().await, &day, share, share).await.unwrap(), "all of it is there for others");
}

#[tokio::test]
async fn a_second_outage_of_the_day_has_what_is_left_of_the_share() {
    let (rig, counters) = with_counters(cheap(["ok"]).limits(requests(100))).await;
    for expected in [4, 4, 2] {
        counters.set_down(true);
        assert_eq!(served(&rig, 4).await, expected);
        counters.set_down(false);
        assert_eq!(served(&rig, 1).await, 1);
        assert_eq!(rig.counted().await, rig.totals().await);
    }
}

#[tokio::test]
async fn money_is_granted_by_the_bound_of_what_a_request_may_cost() {
    let limits = json!({"daily_requests": null, "daily_tokens": null, "daily_cost_usd": "0.100000000"});
    let (rig, counters) = with_counters(cheap(["ok"]).limits(limits)).await;
    counters.set_down(true);
    let served = served(&rig, 400).await;
    let used = rig.totals().await.cost_nusd;
    assert!(used <= 10_000_000, "{used} nano-dollars is more than a tenth");
    assert!(served > 3, "{served}");
    counters.set_down(false);
    assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn rates_hold_within_the_process() {
    let limits =
        json!({"requests_per_minute": 4, "daily_requests": 1000, "daily_tokens": null, "daily_cost_usd": null});
    let (rig, counters) = with_counters(cheap(["ok"]).limits(limits)).await;
    counters.set_down(true);
    for status in [200, 200, 200, 200, 429] {
        assert_eq!(rig.fresh(ask("cheap")).await.status, status);
    }
}

#[tokio::test]
async fn with_the_ledger_down_as_well_nothing_is_dispatched() {
    let (rig, counters) = with_counters(cheap(["ok"]).limits(requests(100))).await;
    counters.set_down(true);
    rig.ledger.set_down(true);
    assert_eq!(served(&rig, 3).await, 0);
    assert_eq!(rig.double.counts().total.calls, 0);
}

#[tokio::test]
async fn a_tenant_that_requires_the_ledger_is_refused_while_it_is_down() {
    let rig = cheap(["ok"]).tenant(json!({"ledger_required": true})).build().await;
    rig.ledger.set_down(true);
    let first = rig.fresh(ask("cheap")).await;
    assert_eq!((first.status, first.header("x-gateway-degraded")), (503, ""), "its window is unknown");
    rig.ledger.set_down(false);
    rig.clock.advance(1_000);
    assert_eq!(served(&rig, 1).await, 1);
    rig.ledger.set_down(true);
    let unnoticed = rig.fresh(ask("cheap")).await;
    assert_eq!((unnoticed.status, unnoticed.header("x-gateway-degraded")), (200, "ledger"));
    assert_eq!(rig.fresh(ask("cheap")).await.status, 503);
    rig.ledger.set_down(false);
    rig.clock.advance(1_000);
    assert_eq!(served(&rig, 1).await, 1);
}

#[tokio::test]
async fn a_clock_that_is_set_back_leaves_no_backend_alone_for_longer() {
    let rig = cheap(["ok"]).tenant(json!({"ledger_required": true})).build().await;
    assert_eq!(served(&rig, 1).await, 1);
    rig.ledger.set_down(true);
    assert_eq!(served(&rig, 1).await, 1, "it is not noticed yet");
    assert_eq!(served(&rig, 1).await, 0);
    rig.ledger.set_down(false);
    rig.clock.set_back(3_600_000);
    rig.clock.advance(1_000);
    assert_eq!(served(&rig, 1).await, 1);
}

#[tokio::test]
async fn a_ledger_that_answers_pings_and_takes_no_receipt_is_down_until_a_write_has_worked() {
    let rig = cheap(["ok"]).tenant(json!({"ledger_required": true})).build().await;
    let free = rig.add_tenant("free", json!({})).await;
    let serve_free = async || rig.chat_as(&free, &[("x-gateway-cache", "no-store")], ask("cheap")).await;
    assert_eq!((served(&rig, 1).await, serve_free().await.status), (1, 200));
    rig.ledger.set_down(true);
    rig.ledger.inner.ping().await.expect("it can be read");
    assert_eq!(rig.fresh(ask("cheap")).await.status, 200, "the first one is not known to be the first");
    for _ in 0..5 {
        rig.clock.advance(1_000);
        assert_eq!(served(&rig, 2).await, 0);
        let ready = rig.gateway.ready().await;
        let AnswerBody::Whole(body) = ready.body else { panic!("a whole answer") };
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((ready.status.as_u16(), &body["ready"]), (200, &json!(true)), "others are served");
        assert_eq!(body["ledger"], json!({"state": "down", "error": "it does not do what it is asked"}));
        assert_eq!(rig.gateway.faults().await, json!({"ledger": "it does not do what it is asked"}));
        let got = serve_free().await;
        assert_eq!((got.status, got.header("x-gateway-degraded")), (200, "ledger"));
    }
    rig.ledger.set_down(false);
    rig.clock.advance(1_000);
    assert_eq!(served(&rig, 2).await, 2);
    assert_eq!(rig.gateway.faults().await, json!({}));
}

#[tokio::test]
async fn a_hit_that_is_not_recorded_takes_the_ledger_down_as_well() {
    let rig = cheap(["ok"]).tenant(json!({"ledger_required": true})).build().await;
    assert_eq!(rig.chat(ask("cheap")).await.status, 200);
    rig.ledger.set_down(true);
    assert_eq!(rig.chat(ask("cheap")).await.header("x-gateway-cache"), "hit");
    let got = rig.chat(ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str()), (503, "store_unavailable"));
    assert!(got.contains("cannot be recorded"), "{got:?}");
}

#[tokio::test]
async fn an_admission_whose_answer_was_lost_is_taken_back() {
    let (rig, counters) = with_counters(cheap(["ok"])).await;
    assert_eq!(served(&rig, 1).await, 1);
    counters.deaf.store(true, SeqCst);
    let got = rig.fresh(ask("cheap")).await;
    assert_eq!((got.status, got.header("x-gateway-degraded")), (200, "store"), "it was heard, and goes on without");
    let usage = counters.usage(&rig.uid().await, &[day()], NOW).await.unwrap()[0].unwrap();
    assert_eq!(usage.held.requests, 1, "the store holds for it");
    counters.deaf.store(false, SeqCst);
    assert_eq!(served(&rig, 1).await, 1);
    assert_eq!(rig.counted().await, rig.totals().await, "and gave it back");
}

#[tokio::test]
async fn what_the_store_holds_for_a_refused_request_is_given_back_by_whoever_comes_next() {
    let (rig, counters) = with_counters(cheap(["ok"]).tenant(json!({"outage_share": 0}))).await;
    let other = rig.add_tenant("other", json!({})).await;
    assert_eq!(served(&rig, 1).await, 1);
    counters.deaf.store(true, SeqCst);
    counters.down_after_admission.store(true, SeqCst);
    assert_eq!(served(&rig, 1).await, 0);
    counters.deaf.store(false, SeqCst);
    counters.down_after_admission.store(false, SeqCst);
    counters.set_down(false);
    let held = async || counters.usage(&rig.uid().await, &[day()], NOW).await.unwrap()[0].unwrap().held.requests;
    assert_eq!(held().await, 1, "it was heard");
    assert_eq!(rig.chat_as(&other, &[], ask("cheap")).await.status, 200, "another tenant's request");
    assert_eq!(held().await, 0);
    rig.clock.advance(LEASE_MS);
    assert_eq!(served(&rig, 1).await, 1);
    assert_eq!(rig.totals().await.requests, 2, "nobody is billed for what was refused");
}

#[tokio::test]
async fn a_strict_tenant_waits_for_a_window_that_was_lost_in_an_outage_as_well() {
    let (rig, counters) = with_counters(cheap(["ok"])).await;
    let lost = rig.add_tenant("lost", json!({"strict": true, "outage_share": 1})).await;
    rig.ledger.open_window(&rig.uid_of("lost").await, &day()).await.unwrap();
    let status = async || rig.chat_as(&lost, &[("x-gateway-cache", "no-store")], ask("cheap")).await.status;
    counters.set_down(true);
    assert_eq!(status().await, 200);
    counters.set_down(false);
    assert_eq!(status().await, 503, "its window is missing, and it had one");
    rig.clock.advance(LEASE_MS);
    assert_eq!([status().await, status().await], [200, 200]);
    let counted = counters.usage(&rig.uid_of("lost").await, &[day()], rig.clock_now()).await.unwrap()[0].unwrap().used;
    assert_eq!((counted, counted.requests), (rig.totals_of("lost").await, 3));
}

/// An admission as the pipeline makes them for `acme`.
async fn admission(rig: &Rig) -> Admission {
    let record = gateway_core::directory::Directory::tenant(&rig.directory.inner, "acme").await.unwrap().unwrap();
    let one = Amounts { requests: 1, tokens: 50, cost_nusd: 5_000 };
    Admission {
        tenant: record.uid().clone(),
        id: RequestId::new(NOW),
        settings_version: record.version,
        request_rate: Rate::new(600, 60_000, 600).ok(),
        token_rate: None,
        rate_tokens: 0,
        concurrency: None,
        key: None,
        quotas: vec![QuotaAsk { window: day(), requests: None, tokens: None, cost_nusd: None }],
        hold: one,
        upper_bound_hold: one,
        lease_until_ms: NOW + 1_000,
    }
}

#[tokio::test]
async fn the_hold_of_a_process_that_died_is_charged_in_full_and_the_ledger_hears_of_it() {
    let (rig, counters) = with_counters(cheap(["ok"])).await;
    assert_eq!(served(&rig, 1).await, 1);
    let lost = admission(&rig).await;
    assert!(matches!(counters.admit_unticketed(&lost, false, NOW).await.unwrap(), Verdict::Admitted { .. }));
    rig.clock.advance(1_000);
    assert_eq!(served(&rig, 2).await, 2);
    assert_eq!(rig.counted().await, rig.totals().await, "the truth has the estimate as well");
    assert_eq!(rig.totals().await, Amounts { requests: 3, ..rig.billed() }.plus(lost.hold));
    let receipt = rig.ledger.inner.receipt(&rig.uid().await, lost.id, NOW).await.unwrap().expect("it has a receipt");
    assert_eq!((receipt.estimated, receipt.status, receipt.amounts()), (true, 500, lost.hold));
}

#[tokio::test]
async fn a_strict_tenant_waits_one_lease_for_a_window_that_was_lost_and_not_for_a_new_one() {
    let (rig, counters) = with_counters(cheap(["ok"]).tenant(json!({"strict": true}))).await;
    assert_eq!(served(&rig, 1).await, 1, "a new window is opened at once");
    let lost = rig.add_tenant("lost", json!({"strict": true})).await;
    rig.ledger.open_window(&rig.uid_of("lost").await, &day()).await.unwrap();
    for (after_ms, retry_after) in [(0, "360"), (100_000, "260"), (LEASE_MS - 100_001, "1")] {
        rig.clock.advance(after_ms);
        let got = rig.chat_as(&lost, &[], ask("cheap")).await;
        assert_eq!((got.status, got.header("retry-after")), (503, retry_after), "after {after_ms} more");
    }
    rig.clock.advance(1);
    assert_eq!(rig.chat_as(&lost, &[], ask("cheap")).await.status, 200);
    assert_eq!(rig.calls("ok"), 2);
    drop(counters);
}

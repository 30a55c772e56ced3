//! Every call that a provider may bill is charged, to the token and the nano-dollar, whoever leaves and whatever fails
//! over (M3, M4, M6); and no limit is passed at any concurrency (M1).

use crate::rig::{Rig, Scene, ask, ask_with, cheap, name_of, read_on, scene, streamed, two_tiers};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use gateway_core::money::Amounts;
use gateway_core::request::reply::AnswerBody;
use serde_json::{Value, json};
use std::time::Duration;

/// What the gateway charged is what the double billed.
async fn assert_the_books_agree(rig: &Rig, requests: u64) {
    let charged = rig.totals().await;
    assert_eq!(charged, Amounts { requests, ..rig.billed() }, "the ledger, and the provider's own count");
    assert_eq!(rig.counted().await, charged, "the store, and the ledger");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream_is_charged_what_the_provider_bills() {
    for model in ["drip-1", "cached-4+reasoning-20+drip-1", "drip-1+stops-when-left"] {
        for events_read in [0, 1, 7, 30] {
            let rig = cheap(["ok"]).model(model, "").build().await;
            let answer = rig.begin(&rig.key, &[], streamed(&name_of(model)).to_string().into()).await;
            let AnswerBody::Stream(mut events) = answer.body else { panic!("{model} answers with a stream") };
            read_on(&mut events, events_read).await;
            drop(events);
            rig.recorded(1).await;
            assert_the_books_agree(&rig, 1).await;
            let id = answer.headers["x-request-id"].to_str().unwrap().parse().unwrap();
            let ledger = &rig.ledger.inner;
            let receipt = gateway_core::ledger::Ledger::receipt(ledger, &rig.uid().await, id, rig.clock_now())
                .await
                .unwrap()
                .unwrap();
            let outcome = receipt.attempts[0].outcome;
            assert_eq!(
                outcome,
                gateway_core::receipt::AttemptOutcome::ClientGone,
                "{model}, after {events_read} events"
            );
            assert!(!receipt.estimated, "{model}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_charged_what_the_provider_bills() {
    for body in [ask("up/slow-40"), streamed("up/slow-40")] {
        let rig = cheap(["ok"]).model("slow-40", "").build().await;
        let left = tokio::time::timeout(Duration::ZERO, rig.chat(body)).await;
        assert!(left.is_err(), "it left");
        rig.recorded(1).await;
        assert_the_books_agree(&rig, 1).await;
        assert!(rig.billed().tokens > 0);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_keep_the_request_from_being_settled() {
    let rig = cheap(["ok"]).model("giant-1", "").build().await;
    let answer = rig.begin(&rig.key, &[], streamed("up/giant-1").to_string().into()).await;
    rig.recorded(1).await;
    assert_the_books_agree(&rig, 1).await;
    drop(answer);
}

/// Three tiers: the first fails over, the second is unsure of itself, the third is sure.
fn mixed() -> Scene {
    scene()
        .tier("cheap", &["fail-50+status-503+cached-2", "ok@b"])
        .tier("unsure", &["hedge", "low-logprob@b"])
        .tier("reasoning", &["reasoning-7+cached-3@strong"])
        .model("tools", "")
        .model("unicode+cached-99", "")
        .model("length+reasoning-3", "")
        .model("drip-1", "")
        .table("[intent]\nask_below = 1\ndefault_intent = \"greeting\"\n[retry]\nmax_per_candidate = 0")
}

/// The n-th request of a mixed run.
fn request(n: usize) -> Value {
    let models =
        ["cheap", "auto", "unsure", "up/tools", "cheap", "up/unicode+cached-99", "reasoning", "up/length+reasoning-3"];
    let mut body = ask_with(models[n % models.len()], json!({"user": format!("caller {n}")}));
    body["messages"][0]["content"] =
        format!("Request number {n}, and some words of it: {}", "word ".repeat(n % 23)).into();
    if n.is_multiple_of(3) {
        body["stream"] = true.into();
    }
    if n.is_multiple_of(6) {
        body["stream_options"] = json!({"include_usage": true});
    }
    match n % 11 {
        4 => body["n"] = 3.into(),
        5 => body["max_tokens"] = 9.into(),
        6 => body["max_completion_tokens"] = 40.into(),
        _ => {}
    }
    body
}

#[tokio::test]
async fn after_a_mixed_run_the_ledgers_totals_are_the_providers_own_count() {
    const REQUESTS: usize = 400;
    let rig = mixed().build().await;
    // Each seventh client leaves in the middle of its stream.
    let leave = async |n: usize| {
        let mut body = request(n);
        body["stream"] = true.into();
        let answer = rig.begin(&rig.key, &[], body.to_string().into()).await;
        if let AnswerBody::Stream(mut events) = answer.body {
            for _ in 0..n % 5 {
                events.recv().await;
            }
        }
        (200, false, false)
    };
    let stay = async |n: usize| {
        let got = rig.chat(request(n)).await;
        assert!(!got.is_error(), "{n}: {got:?}");
        assert!(!got.is_stream() || got.is_done(), "{n}: {got:?}");
        (got.status, got.header("x-gateway-failover") == "true", got.header("x-gateway-upgraded") == "true")
    };
    let run = stream::iter(0..REQUESTS).map(async |n| if n % 7 == 6 { leave(n).await } else { stay(n).await });
    let seen: Vec<_> = run.buffer_unordered(16).collect().await;
    rig.recorded(REQUESTS as u64).await;
    assert_the_books_agree(&rig, REQUESTS as u64).await;
    assert!(seen.iter().all(|(status, ..)| *status == 200));
    let (failed_over, upgraded) =
        (seen.iter().filter(|seen| seen.1).count(), seen.iter().filter(|seen| seen.2).count());
    assert!(failed_over > 10 && upgraded > 20, "{failed_over} failed over, {upgraded} upgraded");
    let counts = rig.double.counts();
    assert!(counts.total.left == 0, "the gateway leaves no stream before its end");
    assert!(counts.of("hedge").calls > 20 && counts.of("reasoning-7+cached-3@strong").calls > 20, "{counts:?}");
}

/// Asks many at once and then one after the other until a quota refuses; at the end the limit is kept, and what is left
/// is less than one hold.
async fn exhaust(rig: &Rig, body: &Value, used_of_limit: impl Fn(Amounts) -> (u64, u64), hold: u64) {
    let all = join_all((0..100).map(|_| rig.fresh(body.clone()))).await;
    assert!(
        all.iter().any(|got| got.status == 200) && all.iter().any(|got| got.status == 429),
        "the limit is in between"
    );
    let refused = loop {
        let got = rig.fresh(body.clone()).await;
        if got.status != 200 {
            break got;
        }
    };
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "quota_exceeded"));
    let (used, limit) = used_of_limit(rig.totals().await);
    assert!(used <= limit, "{used} of {limit}");
    assert!(limit - used < hold, "{} are left, and one hold is {hold}", limit - used);
    assert_eq!(rig.counted().await, rig.totals().await);
}

/// A request of at most 60 tokens of output, and the most that it can be held for in all.
fn bounded(model: &str) -> (Value, u64) {
    let body = ask_with(model, json!({"max_tokens": 60}));
    let hold_tokens = body.to_string().len() as u64 + 16 + 60;
    (body, hold_tokens)
}

#[tokio::test]
async fn a_token_quota_is_never_passed_and_used_to_within_one_hold() {
    let (body, hold) = bounded("cheap");
    for model in ["ok", "fail-50+status-503", "reasoning-40"] {
        let rig = cheap([model, "ok@b"]).limits(json!({"daily_tokens": 5_000})).build().await;
        exhaust(&rig, &body, |used| (used.tokens, 5_000), hold).await;
        assert_eq!(rig.totals().await.tokens, rig.billed().tokens);
    }
}

#[tokio::test]
async fn a_cost_quota_is_never_passed_and_used_to_within_one_hold() {
    let (body, hold_tokens) = bounded("cheap");
    for limit in ["daily_cost_usd", "monthly_cost_usd"] {
        let rig = cheap(["ok"]).limits(json!({limit: "0.002000000"})).build().await;
        // The dearest token of the cheap tier is one of reasoning.
        exhaust(&rig, &body, |used| (used.cost_nusd, 2_000_000), hold_tokens * 810 + 2).await;
        assert_eq!(rig.totals().await.cost_nusd, rig.billed().cost_nusd);
    }
}

#[tokio::test]
async fn upgrades_pass_no_quota() {
    let (body, hold) = bounded("cheap");
    let rig = two_tiers(["hedge"], ["reasoning-30@strong"]).limits(json!({"daily_tokens": 8_000})).build().await;
    // Towards the end the quota has enough left for a first answer, but not for an upgrade.
    exhaust(&rig, &body, |used| (used.tokens, 8_000), hold).await;
    assert!(rig.calls("reasoning-30@strong") > 5);
    assert!(rig.calls("hedge") > rig.calls("reasoning-30@strong"));
    assert_eq!(rig.totals().await.tokens, rig.billed().tokens);
}

#[tokio::test]
async fn failed_calls_that_may_be_billed_pass_no_quota() {
    let (body, hold) = bounded("cheap");
    for model in ["cut", "malformed", "cut-clean"] {
        // Without its breaker, which would keep the failing model from being asked.
        let scene = cheap([model, "ok"]).table("[breaker]\nconsecutive_failures = 1000\nleast_samples = 10000");
        let rig = scene.limits(json!({"daily_tokens": 8_000})).build().await;
        let all = join_all((0..60).map(|_| rig.fresh(body.clone()))).await;
        assert!(all.iter().any(|got| got.status == 200), "{model}");
        loop {
            let got = rig.fresh(body.clone()).await;
            if got.status == 429 {
                break;
            }
        }
        let used = rig.totals().await;
        assert!(used.tokens <= 8_000 && 8_000 - used.tokens < hold, "{model}: {used:?}");
        assert_eq!(rig.counted().await, used, "{model}");
    }
}

#[tokio::test]
async fn what_a_provider_reports_is_charged_exactly_even_above_the_hold() {
    for body in [ask_with("up/overrun", json!({"max_tokens": 2})), {
        let mut body = streamed("up/overrun");
        body["max_tokens"] = 2.into();
        body
    }] {
        let rig = cheap(["ok"]).model("overrun", "").limits(json!({"daily_tokens": 250})).build().await;
        assert_eq!(rig.chat(body.clone()).await.status, 200);
        assert_the_books_agree(&rig, 1).await;
        assert!(rig.totals().await.tokens > 50);
    }
}

#[tokio::test]
async fn what_the_gateway_refuses_counts_nothing() {
    let limits = json!({"requests_per_minute": 1, "daily_requests": 100});
    let rig = cheap(["ok"]).limits(limits).build().await;
    assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
    let before = rig.totals().await;
    for (body, status) in [
        (ask("nobody/knows-it"), 404),
        (ask_with("cheap", json!({"max_tokens": -1})), 400),
        (json!({}), 400),
        (ask("cheap"), 429),
        (json!({}), 429),
    ] {
        assert_eq!(rig.fresh(body).await.status, status);
    }
    assert_eq!((rig.totals().await, rig.counted().await, rig.calls("ok")), (before, before, 1));
}

#[tokio::test]
async fn a_request_whose_candidates_all_failed_counts_one_request() {
    let rig = cheap(["ok"]).model("status-500", "").table("[retry]\nbackoff_base_ms = 0").build().await;
    assert_eq!(rig.fresh(ask("up/status-500")).await.status, 502);
    assert_the_books_agree(&rig, 1).await;
}

#[tokio::test]
async fn requests_in_flight_are_bounded_and_a_place_is_free_when_one_ends() {
    let rig = cheap(["ok"]).model("slow-30", "").limits(json!({"concurrency": 3})).build().await;
    let all = join_all((0..20).map(|_| rig.fresh(ask("up/slow-30")))).await;
    assert_eq!(all.iter().filter(|got| got.status == 200).count(), 3);
    let refused = all.iter().filter(|got| got.error_code() == "concurrency_limited");
    assert!(refused.clone().count() == 17 && refused.clone().all(|got| got.header("retry-after") == "1"));
    for _ in 0..4 {
        assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
    }
    assert_the_books_agree(&rig, 7).await;
}

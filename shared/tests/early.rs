//! Who is over a rate costs no more than the head of its request; and a replay is a request like others.

use crate::rig::{Got, Rig, Scene, ask, ask_with, two_tiers, with_key};
use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::error::Error;
use gateway_core::limit::budget::Room;
use gateway_core::request::incoming::{Incoming, RequestBody};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A body that says whether it was read.
struct Noted(Bytes, Arc<AtomicUsize>);

#[async_trait]
impl RequestBody for Noted {
    async fn read(self: Box<Self>, _: &Room) -> Result<Bytes, Error> {
        self.1.fetch_add(1, Relaxed);
        Ok(self.0)
    }
}

/// Sends a request; answers also whether its body was read.
async fn send(rig: &Rig, headers: &[(&'static str, &str)], body: Value) -> (Got, bool) {
    let read = Arc::new(AtomicUsize::new(0));
    let body = Box::new(Noted(body.to_string().into(), read.clone()));
    let call = Incoming { headers: with_key(&rig.key, headers), body, time_left: None };
    let got = Got::all_of(rig.gateway.chat(call).await).await;
    (got, read.load(Relaxed) > 0)
}

const PAST_CACHE: [(&str, &str); 1] = [("x-gateway-cache", "no-store")];

fn limited(limits: Value) -> Scene {
    two_tiers(["sim/cheap"], ["sim/reasoning"]).limits(limits)
}

#[tokio::test]
async fn who_is_over_its_request_rate_is_refused_before_its_body_is_read() {
    let rig = limited(json!({"requests_per_minute": 120, "tokens_per_minute": 1_000_000})).build().await;
    for _ in 0..120 {
        assert_eq!(rig.chat(ask("cheap")).await.status, 200);
    }
    let (first, was_read) = send(&rig, &[], ask("cheap")).await;
    assert_eq!((first.status, first.error_code().as_str(), was_read), (429, "rate_limited", true), "the store says so");
    for _ in 0..3 {
        let (again, was_read) = send(&rig, &[], ask("cheap")).await;
        assert!(!was_read);
        assert_eq!((again.status, again.error_code()), (429, first.error_code()));
        for name in [
            "retry-after",
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens",
        ] {
            assert!(!first.header(name).is_empty(), "{name}");
            assert_eq!(again.header(name), first.header(name), "{name}");
        }
    }
    // A request takes half a second. When the store would admit, so does memory; and it is back to refusing after that.
    rig.clock.advance(499);
    assert_eq!(send(&rig, &[], ask("cheap")).await.0.status, 429);
    rig.clock.advance(1);
    assert_eq!(send(&rig, &[], ask("cheap")).await.0.status, 200);
    assert_eq!(send(&rig, &[], ask("cheap")).await.0.status, 429);
    let other = rig.add_tenant("other", json!({})).await;
    assert_eq!(rig.chat_as(&other, &[], ask("cheap")).await.status, 200);
}

#[tokio::test]
async fn what_is_remembered_of_a_rate_is_forgotten_with_time_settings_clock_and_what_is_given_back() {
    let full = async || {
        let rig = limited(json!({"requests_per_minute": 1})).build().await;
        assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
        assert!(send(&rig, &[], ask("cheap")).await.1);
        assert!(!send(&rig, &[], ask("cheap")).await.1, "it is remembered");
        rig
    };
    // The store alone knows what other processes gave back: it is asked again within a second.
    let rig = full().await;
    rig.clock.advance(1_000);
    assert!(send(&rig, &[], ask("cheap")).await.1);
    // A clock that is set back.
    let rig = full().await;
    rig.clock.set_back(3_600_000);
    assert!(send(&rig, &[], ask("cheap")).await.1);
    // New limits, once this process has heard of them.
    let rig = full().await;
    rig.change_tenant("acme", json!({"limits": {"requests_per_minute": 100}})).await;
    rig.clock.advance(1_000);
    assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
}

#[tokio::test]
async fn what_is_given_back_lets_the_next_request_in_at_once() {
    let rig = limited(json!({"requests_per_minute": 1})).build().await;
    // It is admitted, finds nothing remembered, and gives its place back.
    let only = [("x-gateway-cache", "only-if-cached")];
    for _ in 0..3 {
        let (got, was_read) = send(&rig, &only, ask("cheap")).await;
        assert_eq!((got.error_code().as_str(), was_read), ("not_cached", true));
    }
    assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
}

#[tokio::test]
async fn tokens_that_are_used_up_refuse_only_what_asks_for_as_many() {
    let rig = limited(json!({"tokens_per_minute": 1000, "requests_per_minute": null})).build().await;
    let asks = |tokens: u64| ask_with("cheap", json!({"max_tokens": tokens}));
    let remembered = rig.chat(asks(500)).await;
    assert_eq!(remembered.status, 200);
    let (large, _) = send(&rig, &PAST_CACHE, asks(5000)).await;
    assert_eq!((large.status, large.error_code().as_str()), (429, "rate_limited"));
    assert_eq!(send(&rig, &PAST_CACHE, asks(10)).await.0.status, 200, "a small one passes");
    let (large, _) = send(&rig, &PAST_CACHE, asks(5000)).await;
    assert_eq!(large.status, 429);
    let hit = rig.chat(asks(500)).await;
    assert_eq!((hit.status, hit.header("x-gateway-cache")), (200, "hit"), "a remembered answer takes no tokens");
}

#[tokio::test]
async fn of_a_tenant_without_tokens_no_body_is_read_where_no_remembered_answer_may_serve() {
    // Each answer takes more than was asked for, so that the rate is overdrawn.
    let rig = limited(json!({"tokens_per_minute": 40, "requests_per_minute": null})).build().await;
    let body = ask_with("cheap", json!({"max_tokens": 40}));
    assert_eq!(send(&rig, &PAST_CACHE, body.clone()).await.0.status, 200);
    assert_eq!(send(&rig, &PAST_CACHE, body.clone()).await.0.status, 429);
    let (refused, was_read) = send(&rig, &PAST_CACHE, body.clone()).await;
    assert_eq!((refused.status, refused.header("x-ratelimit-limit-tokens"), was_read), (429, "40", false));
    let (_, was_read) = send(&rig, &[], body).await;
    assert!(was_read, "whether there is a remembered answer is seen in the body alone");
}

#[tokio::test]
async fn a_request_over_its_rate_claims_no_idempotency_key() {
    let rig = limited(json!({"requests_per_minute": 1})).build().await;
    assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
    assert_eq!(rig.fresh(ask("cheap")).await.status, 429);
    // A claim would fail, and say so.
    rig.ledger.set_down(true);
    let (got, was_read) = send(&rig, &[("idempotency-key", "k")], ask("cheap")).await;
    assert_eq!((got.status, was_read), (429, false));
}

#[tokio::test]
async fn tokens_that_are_used_up_refuse_no_replay() {
    // Each answer takes more than was asked for, so that the rate is overdrawn.
    let rig = limited(json!({"tokens_per_minute": 40, "requests_per_minute": null})).build().await;
    let body = || ask_with("cheap", json!({"max_tokens": 40, "temperature": 1}));
    let key = [("idempotency-key", "k"), PAST_CACHE[0]];
    assert_eq!(send(&rig, &key, body()).await.0.status, 200);
    for _ in 0..2 {
        assert_eq!(send(&rig, &PAST_CACHE, body()).await.0.status, 429);
    }
    for key in [&key[..], &key[..1]] {
        assert_eq!(send(&rig, key, body()).await.0.header("idempotent-replayed"), "true");
    }
}

#[tokio::test]
async fn a_replay_takes_one_of_the_request_rate_and_nothing_else() {
    let rig = limited(json!({"requests_per_minute": 3, "daily_requests": 1})).build().await;
    let key = [("idempotency-key", "k"), ("x-gateway-cache", "no-store")];
    let first = send(&rig, &key, ask("cheap")).await.0;
    let (used, counted) = (rig.totals().await, rig.counted().await);
    for _ in 0..2 {
        let again = send(&rig, &key, ask("cheap")).await.0;
        assert_eq!((again.header("idempotent-replayed"), &again.body), ("true", &first.body));
    }
    let over = send(&rig, &key, ask("cheap")).await.0;
    assert_eq!((over.status, over.error_code().as_str()), (429, "rate_limited"));
    assert_eq!((rig.totals().await, rig.counted().await), (used, counted), "no quota, no hold");
    rig.clock.advance(60_000);
    assert_eq!(send(&rig, &key, ask("cheap")).await.0.header("idempotent-replayed"), "true");
}

#[tokio::test]
async fn a_replay_needs_what_the_key_may_do_now() {
    let rig = limited(json!({})).build().await;
    let key = [("idempotency-key", "k")];
    assert_eq!(send(&rig, &key, ask("cheap")).await.0.status, 200);
    // This process goes by what it read before, until the store says that it is old.
    rig.change_tenant("acme", json!({"allowed_models": ["reasoning"]})).await;
    let refused = send(&rig, &key, ask("cheap")).await.0;
    assert_eq!((refused.status, refused.error_code().as_str()), (403, "model_not_allowed"));
    rig.change_tenant("acme", json!({"allowed_models": ["*"]})).await;
    rig.clock.advance(10_000);
    assert_eq!(send(&rig, &key, ask("cheap")).await.0.header("idempotent-replayed"), "true");
    rig.change_tenant("acme", json!({"enabled": false})).await;
    assert_eq!(send(&rig, &key, ask("cheap")).await.0.status, 403);
}

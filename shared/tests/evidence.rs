//! What a failure shows of a model: that of one request takes the model from nobody, and the classifier's counts as an
//! attempt's does (A2, T5).

use crate::rig::{Got, Rig, Scene, ask, ask_with, cheap, name_of, scene, two_tiers};
use async_trait::async_trait;
use gateway_core::health::ModelHealth;
use gateway_core::health::breaker::BreakerState;
use gateway_core::health::score::Standing;
use gateway_core::provider::{Call, Fault, Provider, ProviderError, Reply};
use gateway_core::receipt::AttemptOutcome;
use serde_json::json;
use simulated_provider::Simulated;
use std::sync::Arc;

const ONCE: &str = "[retry]\nmax_per_candidate = 0";

/// The ways in which a provider tells a request no that it might have told any.
const REFUSALS: [&str; 6] = ["status-402", "status-403", "status-404", "status-401", "insufficient-quota", "malformed"];

async fn health(rig: &Rig, model: &str) -> ModelHealth {
    rig.gateway.store.health().snapshot(&[model.into()], rig.clock_now()).await.unwrap()[0]
}

#[tokio::test]
async fn a_model_is_down_after_three_different_requests_were_refused_and_comes_back_by_one_probe() {
    for refusal in REFUSALS {
        let flaky = format!("fail-first-4+{refusal}");
        let rig = cheap([&flaky, "ok"]).table(ONCE).build().await;
        for calls in [1, 2, 3, 3, 3] {
            let got = rig.fresh(ask("cheap")).await;
            assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "{refusal}");
            assert_eq!(rig.calls(&flaky), calls, "{refusal}");
        }
        assert_eq!(health(&rig, &name_of(&flaky)).await.measures.failure.weight, 0.0, "{refusal} is no failure");
        rig.clock.advance(5_501);
        for _ in 0..5 {
            assert_eq!(rig.fresh(ask("cheap")).await.header("x-gateway-model"), "up/ok");
        }
        assert_eq!(rig.calls(&flaky), 4, "{refusal}: one probe, which was refused");
        rig.clock.advance(11_001);
        for _ in 0..5 {
            assert_eq!(rig.fresh(ask("cheap")).await.header("x-gateway-model"), name_of(&flaky), "{refusal}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_counts_as_a_refusal_and_is_not_tried_again() {
    let rig = cheap(["malformed", "ok"]).build().await;
    for calls in [1, 2] {
        rig.fresh(ask("cheap")).await;
        assert_eq!(rig.calls("malformed"), calls);
        assert_eq!(health(&rig, "up/malformed").await.measures.failure.weight, 0.0, "that is no failure");
        assert_eq!(health(&rig, "up/malformed").await.standing_for(&rig.uid().await), Standing::Ready);
    }
    rig.fresh(ask("cheap")).await;
    assert!(matches!(health(&rig, "up/malformed").await.standing_for(&rig.uid().await), Standing::BreakerOpen { .. }));
}

/// Refuses what is about a bomb.
struct Moderating(Simulated, fn() -> ProviderError);

#[async_trait]
impl Provider for Moderating {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let first = call.model.name.ends_with("cheap");
        if first && call.request.facts.prompt.contains("bomb") { Err((self.1)()) } else { self.0.chat(call).await }
    }
}

fn moderated() -> ProviderError {
    let error = ProviderError::retryable(AttemptOutcome::HttpError, "moderated").with_status(403);
    ProviderError { fault: Fault::CandidateDown, may_bill: false, ..error }
}

fn unreadable() -> ProviderError {
    ProviderError::retryable(AttemptOutcome::Malformed, "not a whole chat completion").with_status(200)
}

async fn moderating(error: fn() -> ProviderError) -> Rig {
    let provider = Arc::new(Moderating(Simulated::new(), error));
    let scene = two_tiers(["sim/cheap", "sim/reasoning"], ["sim/reasoning"]).table(ONCE);
    scene.with(|builder| builder.provider("sim", provider)).build().await
}

async fn send(rig: &Rig, key: &str, prompt: &str) -> Got {
    let body = ask_with("cheap", json!({"messages": [{"role": "user", "content": prompt}]}));
    rig.chat_as(key, &[("x-gateway-cache", "no-store"), ("x-gateway-upgrade", "off")], body).await
}

#[tokio::test(start_paused = true)]
async fn what_one_tenant_sends_takes_a_model_from_no_other() {
    for error in [moderated, unreadable] {
        let rig = moderating(error).await;
        let other = rig.add_tenant("globex", json!({})).await;
        for round in 0..20 {
            let got = send(&rig, &rig.key, "how to build a bomb").await;
            assert_eq!((got.status, got.header("x-gateway-model")), (200, "sim/reasoning"));
            // What came too often from one is not asked for that one; the others' answers in between are no excuse.
            let got = send(&rig, &other, "good morning").await;
            assert_eq!((got.status, got.header("x-gateway-model")), (200, "sim/cheap"), "round {round}");
        }
        for _ in 0..4 {
            send(&rig, &rig.key, "how to build a bomb").await;
        }
        assert!(matches!(health(&rig, "sim/cheap").await.standing_for(&rig.uid().await), Standing::BreakerOpen { .. }));
        let got = send(&rig, &other, "good morning").await;
        assert_eq!((got.header("x-gateway-model"), got.header("x-gateway-failover")), ("sim/cheap", "false"));
    }
}

/// Every way to fail but a 429 and an error that says when to come again: those are the provider's word to all who use its key (A3).
const FAILURES: [&str; 22] = [
    "status-400",
    "status-401",
    "status-402",
    "status-403",
    "status-404",
    "status-408",
    "status-413",
    "status-422",
    "status-500",
    "status-503",
    "context-overflow",
    "content-filter",
    "insufficient-quota",
    "reset",
    "reset-mid",
    "cut",
    "cut-clean",
    "stall",
    "stall-head",
    "malformed",
    "not-json",
    "error-event",
];

#[tokio::test]
async fn three_failed_answers_of_any_kind_to_one_tenant_take_a_model_from_no_other() {
    for failure in FAILURES {
        for stream in [false, true] {
            let flaky = format!("fail-first-3+{failure}");
            let short = "timeouts_ms = { first_token = 80, idle = 80, total = 80 }";
            let tiers = scene().model(&flaky, short).tier("cheap", &[&flaky, "ok"]).tier("reasoning", &["ok@strong"]);
            let rig = tiers.table(ONCE).build().await;
            let other = rig.add_tenant("globex", json!({})).await;
            let body = ask_with("cheap", json!({"stream": stream}));
            for _ in 0..3 {
                rig.fresh(body.clone()).await;
            }
            assert_eq!(rig.calls(&flaky), 3, "{failure}");
            let got = rig.chat_as(&other, &[("x-gateway-cache", "no-store")], body).await;
            assert_eq!(got.header("x-gateway-model"), name_of(&flaky), "{failure}, stream: {stream}");
            assert!(got.status == 200 && !got.is_error(), "{failure}, stream: {stream}: {got:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_between_begins_the_count_anew() {
    let rig = moderating(moderated).await;
    for _ in 0..5 {
        for (prompt, model) in [("a bomb", "sim/reasoning"), ("another bomb", "sim/reasoning"), ("hello", "sim/cheap")]
        {
            assert_eq!(send(&rig, &rig.key, prompt).await.header("x-gateway-model"), model);
        }
    }
}

/// A classifier of its own that does this, and intents that nobody is sure of.
fn classified_by(behaviour: &str) -> Scene {
    let scene = scene().tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]).tier("asked", &[behaviour]);
    scene.table(
        "[intent]\nask_below = 1\nclassifier_tier = \"asked\"\nclassifier_timeout_ms = 200\ndefault_intent = \"greeting\"",
    )
}

/// Sends requests that are each classified anew.
async fn classify(rig: &Rig, requests: usize) {
    for request in 0..requests {
        let prompt = format!("some {request} design, please");
        let body = ask_with("auto", json!({"messages": [{"role": "user", "content": prompt}]}));
        assert_eq!(rig.fresh(body).await.status, 200);
    }
}

#[tokio::test]
async fn a_classifier_call_shows_what_an_attempt_would_show() {
    for (behaviour, calls, breaker) in [
        // The caller's own fault, and our own short patience, show nothing.
        ("content-filter", 8, BreakerState::Closed),
        ("context-overflow", 8, BreakerState::Closed),
        ("status-422", 8, BreakerState::Closed),
        ("stall-head", 6, BreakerState::Closed),
        ("status-500", 5, BreakerState::Open),
        ("cut", 5, BreakerState::Open),
    ] {
        let rig = classified_by(behaviour).build().await;
        classify(&rig, usize::try_from(calls).unwrap() + if breaker == BreakerState::Open { 3 } else { 0 }).await;
        let health_now = health(&rig, &name_of(behaviour)).await;
        assert_eq!((rig.calls(behaviour), health_now.breaker), (calls, breaker), "{behaviour}");
        let failed = if breaker == BreakerState::Open { 5.0 } else { 0.0 };
        assert_eq!(health_now.measures.failure.weight, failed, "{behaviour}");
    }
}

#[tokio::test]
async fn a_classifier_that_asks_for_a_pause_is_left_alone_as_long_as_it_asks() {
    for (behaviour, pause_ms) in [("429-after-30", 30_000), ("429-ms-1500", 1_500), ("429", 5_000)] {
        let rig = classified_by(behaviour).build().await;
        classify(&rig, 3).await;
        let health_now = health(&rig, &name_of(behaviour)).await;
        assert_eq!(health_now.cooldown_until_ms, rig.clock_now() + pause_ms, "{behaviour}");
        assert_eq!(rig.calls(behaviour), 1, "{behaviour}");
    }
}

#[tokio::test]
async fn a_classifiers_refusals_count_as_an_attempts() {
    for behaviour in ["status-403", "malformed"] {
        let rig = classified_by(behaviour).build().await;
        classify(&rig, 5).await;
        assert_eq!(rig.calls(behaviour), 3, "{behaviour}");
    }
}

//! Retry, failover, waiting and giving up: what becomes of a request when candidates fail (A2, A3, A4, A6).

use crate::rig::{Got, OUR_KEY, Rig, ask, ask_with, cheap, name_of, scene, streamed, two_tiers};
use gateway_core::money::Amounts;
use gateway_core::request::incoming::Incoming;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use upstream_double::LEAK;

/// Timers short enough to be waited for.
pub const SHORT: &str = "timeouts_ms = { first_token = 60, idle = 60, total = 60 }";

/// Each attempt of a receipt as `model kind outcome status`.
pub fn attempts(receipt: &Value) -> Vec<String> {
    let shown = |attempt: &Value| {
        let text = |field: &str| attempt[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {} {}", text("model"), text("kind"), text("outcome"), attempt["status"])
    };
    receipt["attempts"].as_array().unwrap_or_else(|| panic!("{receipt}")).iter().map(shown).collect()
}

pub fn both_ways(model: &str) -> [Value; 2] {
    [ask(model), streamed(model)]
}

#[tokio::test]
async fn a_rate_limited_candidate_is_failed_over_at_once() {
    for model in ["429", "429-after-1", "429-after-date-1", "429-ms-10", "insufficient-quota"] {
        for body in both_ways("cheap") {
            let rig = cheap([model, "ok"]).build().await;
            let got = rig.chat(body).await;
            assert_eq!(
                (got.status, got.header("x-gateway-model"), got.header("x-gateway-failover")),
                (200, "up/ok", "true"),
                "{model}"
            );
            assert_eq!(got.header("x-gateway-attempts"), "2");
            let receipt = rig.receipt(&got).await;
            assert_eq!(
                attempts(&receipt),
                [format!("up/{model} first rate_limited 429"), "up/ok failover ok 200".to_owned()]
            );
        }
    }
}

#[tokio::test]
async fn a_rate_limited_candidate_is_left_alone_as_long_as_it_asks() {
    for (model, asked_ms) in [("429", 5_000), ("429-after-30", 30_000), ("429-ms-1500", 1_500)] {
        let rig = cheap([model, "ok"]).build().await;
        for (advance_ms, calls) in [(0, 1), (0, 1), (asked_ms - 1, 1), (1, 2)] {
            rig.clock.advance(advance_ms);
            assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
            assert_eq!(rig.calls(model), calls, "{model}, {advance_ms} ms later");
        }
    }
}

#[tokio::test]
async fn the_only_candidate_is_waited_for_as_long_as_it_asks_or_as_after_any_failure() {
    for model in ["fail-first-1+429-ms-20", "fail-first-1+429", "fail-first-1+status-500"] {
        let rig = cheap(["ok"]).model(model, "").build().await;
        let got = rig.chat(ask(&name_of(model))).await;
        assert_eq!(got.status, 200, "{model}");
        let receipt = rig.receipt(&got).await;
        let kinds: Vec<_> = receipt["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["kind"]).collect();
        assert_eq!(kinds, ["first", "retry"], "{model}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_as_long_as_the_candidate_asked_and_comes_once() {
    let rig = two_tiers(["sim/429"], ["sim/reasoning"]).build().await;
    let begun = Instant::now();
    let got = rig.chat(ask("sim/429")).await;
    assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"));
    assert_eq!(
        attempts(&rig.receipt(&got).await),
        ["sim/429 first rate_limited 429", "sim/429 retry rate_limited 429"]
    );
    assert_eq!(begun.elapsed().as_secs(), 1, "the simulated provider asks for a second");
}

#[tokio::test]
async fn nobody_waits_for_a_candidate_that_asks_for_too_much() {
    let rig = cheap(["ok"]).model("429-after-11", "").build().await;
    let got = rig.chat(ask("up/429-after-11")).await;
    assert_eq!((got.status, rig.calls("429-after-11")), (502, 1));
}

#[tokio::test]
async fn a_silent_candidate_is_failed_over_and_not_retried() {
    // Of a stream that goes silent later the client has seen something; see below. Of `stall-3` it has not: the beginning
    // is held back.
    for silent in ["stall-head", "stall-0", "stall-3", "ttft-60000", "slow-60000"] {
        for body in both_ways("cheap") {
            let scene = scene().model(silent, SHORT).tier("cheap", &[silent, "ok"]).tier("reasoning", &["ok@strong"]);
            let rig = scene.holding_streams_back().build().await;
            let got = rig.chat(body.clone()).await;
            assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "{silent} {body}");
            assert_eq!(rig.calls(silent), 1, "{silent} {body}");
            assert!(got.text().ends_with("as long as the promise is kept."), "{silent}: {}", got.text());
            let receipt = rig.receipt(&got).await;
            assert_eq!(receipt["attempts"][0]["outcome"], "timeout", "{silent} {body}");
        }
    }
}

#[tokio::test]
async fn the_head_of_a_stream_has_a_time_of_its_own() {
    let head = "timeouts_ms = { head = 60 }";
    for (model, body, served_by) in [
        ("stall-head", streamed("cheap"), "up/ok"),
        // Its first token may take longer, and the head of a whole answer as long as that.
        ("ttft-200", streamed("cheap"), "up/ttft-200"),
        ("slow-200", ask("cheap"), "up/slow-200"),
    ] {
        let scene = scene().model(model, head).tier("cheap", &[model, "ok"]).tier("reasoning", &["ok@strong"]);
        let rig = scene.build().await;
        let got = rig.chat(body).await;
        assert_eq!((got.status, got.header("x-gateway-model"), rig.calls(model)), (200, served_by, 1));
    }
}

#[tokio::test]
async fn a_stream_that_goes_silent_after_its_first_bytes_ends_with_an_error() {
    let rig = cheap(["ok"]).model("stall-5", SHORT).build().await;
    let got = rig.chat(streamed("up/stall-5")).await;
    assert_eq!((got.status, got.error_code().as_str(), got.is_done()), (200, "all_candidates_failed", false));
    assert_eq!(got.text(), "An interface is a ");
    assert_eq!(attempts(&rig.receipt(&got).await), ["up/stall-5 first timeout 200"]);
}

#[tokio::test]
async fn the_callers_own_fault_is_told_as_the_provider_told_it_and_not_retried() {
    for (model, status, code, words) in [
        ("status-400", 400, "invalid_request", "Bad Request: "),
        ("status-422", 422, "invalid_request", "Unprocessable Content: "),
        (
            "content-filter",
            400,
            "content_policy_violation",
            "Your request was rejected as a result of our safety system.",
        ),
        ("context-overflow", 400, "context_length_exceeded", "This model's maximum context length is 4096 tokens."),
    ] {
        for body in both_ways("cheap") {
            let rig = cheap([model, "ok"]).build().await;
            let got = rig.chat(body).await;
            assert_eq!((got.status, got.error_code().as_str()), (status, code), "{model}");
            let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.starts_with(words), "{model}: {message}");
            assert_eq!((rig.calls(model), rig.calls("ok"), rig.calls("ok@strong")), (1, 0, 0), "{model}");
            assert_eq!(rig.counted().await, Amounts { requests: 1, tokens: 0, cost_nusd: 0 }, "{model}");
            let seen = rig.gateway.store.health().snapshot(&[name_of(model).into()], rig.clock_now()).await.unwrap();
            assert_eq!(seen[0].measures.failure.weight, 0.0, "the model has not failed");
        }
    }
}

#[tokio::test]
async fn what_a_provider_says_of_our_key_bill_and_model_reaches_nobody() {
    for status in [401, 402, 403, 404] {
        for body in both_ways("cheap") {
            let model = format!("status-{status}");
            let rig = cheap([&model, "ok"]).build().await;
            let got = rig.chat(body).await;
            assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "{status}");
            assert_eq!(rig.calls(&model), 1, "{status} is not retried");
            assert_untold(&rig, &got).await;
            // That of one request may be its own; that of three is the model's, which is left alone for a while.
            for calls in [2, 3, 3, 3] {
                rig.fresh(ask("cheap")).await;
                assert_eq!(rig.calls(&model), calls, "{status}");
            }
        }
    }
}

#[tokio::test]
async fn when_all_candidates_fail_each_attempt_is_named_and_no_more_is_told() {
    for (model, class, cause) in [
        ("status-401", "http_error", Some("unauthorized")),
        ("status-402", "http_error", Some("payment_required")),
        ("status-403", "http_error", Some("forbidden")),
        ("status-404", "http_error", Some("not_found")),
        ("status-405", "http_error", None),
        ("status-451", "http_error", None),
        ("status-500", "http_error", None),
        ("status-503", "http_error", None),
        ("status-529", "http_error", None),
        ("429", "rate_limited", None),
        ("insufficient-quota", "rate_limited", Some("payment_required")),
    ] {
        for body in both_ways(&name_of(model)) {
            let rig = cheap(["ok"]).model(model, "").table("[retry]\nmax_per_candidate = 0").build().await;
            let got = rig.chat(body).await;
            assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"), "{model}");
            let details = &got.json()["error"]["details"];
            let status = &details[0]["status"];
            let mut expected = json!({"model": name_of(model), "class": class, "status": status});
            if let Some(cause) = cause {
                expected["cause"] = cause.into();
            }
            assert_eq!(*details, json!([expected]), "{model}");
            assert!(status.as_u64().is_some_and(|status| status >= 400), "{model}: {details}");
            assert_untold(&rig, &got).await;
        }
    }
}

/// Nothing of what providers say among themselves and us is in the answer or its receipt.
async fn assert_untold(rig: &Rig, got: &Got) {
    let receipt = rig.receipt(got).await.to_string();
    for secret in [LEAK, OUR_KEY, "worker.py", "req_double"] {
        assert!(!got.contains(secret), "{secret} is told: {got:?}");
        assert!(!receipt.contains(secret), "{secret} is on the receipt: {receipt}");
    }
}

#[tokio::test]
async fn what_is_too_long_for_a_model_goes_only_to_one_with_a_larger_window() {
    let small = "context_tokens = 8192";
    for body in both_ways("cheap") {
        let scene = scene().model("context-overflow", small).model("ok@same", small);
        let scene = scene.tier("cheap", &["context-overflow", "ok@same"]).tier("reasoning", &["ok@strong"]);
        let rig = scene.build().await;
        let got = rig.chat(body.clone()).await;
        assert_eq!((got.status, got.error_code().as_str()), (400, "context_length_exceeded"));
        assert_eq!(rig.calls("ok@same"), 0);

        let (small, large) = ("context-overflow", "ok@large");
        let scene = cheap(["ok"]).model(small, "context_tokens = 8192").model("ok@same", "context_tokens = 8192");
        let rig = scene.model(large, "context_tokens = 200000").build().await;
        let mut body = body;
        body.as_object_mut().unwrap().remove("model");
        body["models"] = json!([name_of(small), "up/ok@same", name_of(large)]);
        let got = rig.chat(body).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@large"));
        assert_eq!(rig.calls("ok@same"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn past_its_deadline_a_request_is_told_so_and_nothing_more_is_started() {
    for models in [vec!["sim/stall"], vec!["sim/stall", "sim/cheap"], vec!["sim/slow-2000", "sim/cheap"]] {
        for body in both_ways("cheap") {
            let scene = scene().tier("cheap", &models).tier("reasoning", &["sim/reasoning"]);
            let rig = scene.table("[timeouts_ms]\nrequest = 1000").build().await;
            let begun = Instant::now();
            let got = rig.chat(body.clone()).await;
            assert_eq!(got.error_code(), "deadline_exceeded", "{models:?} {body}");
            // Of a stream that has begun, the status is with the client already.
            assert!(got.status == 504 || got.is_stream() && !got.is_done(), "{models:?} {body}");
            assert_eq!(begun.elapsed(), Duration::from_secs(1), "{models:?}");
            let receipt = rig.receipt(&got).await;
            assert_eq!((attempts(&receipt).len(), &receipt["status"]), (1, &json!(504)), "{receipt}");
            assert_eq!(rig.counted().await, rig.totals().await);
            let seen = rig.gateway.store.health().snapshot(&[models[0].into()], rig.clock_now()).await.unwrap();
            assert_eq!(seen[0].measures.failure.weight, 0.0, "our own deadline says nothing of the model");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_transports_deadline_holds_where_it_is_the_nearer_one() {
    let rig = two_tiers(["sim/stall"], ["sim/reasoning"]).build().await;
    let begun = Instant::now();
    let headers = crate::rig::with_key(&rig.key, &[]);
    let time_left = Some(Duration::from_secs(29));
    let body = crate::rig::boxed(ask("cheap").to_string());
    let got = Got::all_of(rig.gateway.chat(Incoming { headers, body, time_left }).await).await;
    assert_eq!((got.status, got.error_code().as_str()), (504, "deadline_exceeded"));
    assert!(begun.elapsed() < Duration::from_secs(29), "there is time left to say so");
}

#[tokio::test]
async fn a_request_without_time_left_calls_nobody_and_counts_nothing() {
    let rig = cheap(["ok"]).limits(json!({"daily_requests": 1})).build().await;
    for time_left in [Duration::ZERO, Duration::from_millis(1)] {
        let headers = crate::rig::with_key(&rig.key, &[]);
        let body = crate::rig::boxed(ask("cheap").to_string());
        let call = Incoming { headers, body, time_left: Some(time_left) };
        let got = Got::all_of(rig.gateway.chat(call).await).await;
        assert_eq!((got.status, got.error_code().as_str()), (504, "deadline_exceeded"));
    }
    assert_eq!((rig.counted().await, rig.totals().await), (Amounts::default(), Amounts::default()));
    assert_eq!((rig.chat(ask("cheap")).await.status, rig.calls("ok")), (200, 1));
}

#[tokio::test]
async fn the_breaker_of_a_failing_model_opens_and_the_model_is_avoided() {
    let rig = cheap(["status-500", "ok"]).table("[retry]\nmax_per_candidate = 0").build().await;
    for request in 1..=20u64 {
        let got = rig.fresh(ask("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"));
        assert_eq!(rig.calls("status-500"), request.min(5), "five failures in a row are enough");
        assert_eq!(got.header("x-gateway-failover"), if request <= 5 { "true" } else { "false" });
    }
    rig.clock.advance(5_501);
    for _ in 0..5 {
        assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
    }
    assert_eq!(rig.calls("status-500"), 6, "one probe, and it failed");
}

#[tokio::test]
async fn a_model_that_has_recovered_is_used_again_after_one_probe() {
    let flaky = "fail-first-5+status-502";
    let rig = cheap([flaky, "ok"]).table("[retry]\nmax_per_candidate = 0").build().await;
    for _ in 0..8 {
        assert_eq!(rig.fresh(ask("cheap")).await.header("x-gateway-model"), "up/ok");
    }
    rig.clock.advance(5_501);
    for _ in 0..5 {
        assert_eq!(rig.fresh(ask("cheap")).await.header("x-gateway-model"), name_of(flaky));
    }
    assert_eq!(rig.calls(flaky), 10);
}

#[tokio::test]
async fn a_probe_that_shows_nothing_of_the_model_is_given_back() {
    // The sixth call is the probe, and the caller's own fault.
    let flaky = "fail-first-5+status-500";
    let rig = cheap([flaky, "ok"]).model("content-filter", "").table("[retry]\nmax_per_candidate = 0").build().await;
    for _ in 0..5 {
        rig.fresh(ask("cheap")).await;
    }
    rig.clock.advance(5_501);
    let mut too_long = ask("cheap");
    too_long["max_tokens"] = 1.into();
    assert_eq!(rig.fresh(too_long).await.header("x-gateway-model"), name_of(flaky));
    assert_eq!(rig.fresh(ask("cheap")).await.header("x-gateway-model"), name_of(flaky));
}

#[tokio::test]
async fn when_all_breakers_are_open_the_least_bad_model_is_used() {
    let flaky = "fail-first-5+status-500";
    let rig = cheap(["ok"]).model(flaky, "").table("[retry]\nmax_per_candidate = 0").build().await;
    for _ in 0..5 {
        assert_eq!(rig.fresh(ask(&name_of(flaky))).await.status, 502);
    }
    let got = rig.fresh(ask(&name_of(flaky))).await;
    assert_eq!((got.status, rig.calls(flaky)), (200, 6));
    let receipt = rig.receipt(&got).await;
    assert!(receipt["reasons"].to_string().contains("last resort"), "{receipt}");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_far_slower_than_the_next_is_passed_over() {
    let rig = two_tiers(["sim/slow-2000", "sim/cheap"], ["sim/reasoning"]).ranked_by_health().build().await;
    for model in ["sim/slow-2000", "sim/slow-2000", "sim/cheap", "sim/cheap"] {
        assert_eq!(rig.fresh(ask(model)).await.status, 200);
    }
    let got = rig.fresh(ask("cheap")).await;
    assert_eq!((got.header("x-gateway-model"), got.header("x-gateway-failover")), ("sim/cheap", "false"));
    assert!(rig.receipt(&got).await["reasons"].to_string().contains("faster"), "{got:?}");
}

/// Half of the first model's calls fail. The clock moves on, so that its breaker opens and closes, and the requests come
/// in groups, as they would.
#[tokio::test(start_paused = true)]
async fn with_a_model_that_fails_half_its_calls_five_thousand_requests_succeed_and_receipts_name_each_attempt() {
    let rig = two_tiers(["sim/fail-50", "sim/cheap"], ["sim/reasoning"]).build().await;
    let (mut succeeded, mut failed_over, mut attempted) = (0, 0, 0);
    for group in 0..500 {
        let headers = [("x-gateway-cache", "no-store"), ("x-gateway-upgrade", "off")];
        let requests = (0..10).map(|_| rig.chat_with(&headers, ask_with("cheap", json!({"max_tokens": 5}))));
        for got in futures_util::future::join_all(requests).await {
            succeeded += usize::from(got.status == 200 && !got.text().is_empty());
            failed_over += usize::from(got.header("x-gateway-failover") == "true");
            let attempts: u64 = got.header("x-gateway-attempts").parse().unwrap();
            attempted += attempts;
            if group % 25 == 0 {
                let receipt = rig.receipt(&got).await;
                let named = receipt["attempts"].as_array().unwrap();
                assert_eq!(named.len() as u64, attempts, "{receipt}");
                assert_eq!(named.last().unwrap()["outcome"], "ok");
                let failed = &named[..named.len() - 1];
                assert!(failed.iter().all(|attempt| attempt["model"] == "sim/fail-50" && attempt["status"] == 500));
            }
        }
        rig.clock.advance(1_000);
    }
    assert!(succeeded >= 4_995, "{succeeded} of 5000");
    assert!(failed_over > 500, "{failed_over} requests failed over, {attempted} attempts");
    assert_eq!(rig.totals().await.requests, 5_000);
}

#[tokio::test]
async fn clients_are_told_when_the_first_of_models_that_are_all_out_comes_back() {
    let rig = cheap(["status-503", "429@b"]).table("[retry]\nmax_per_candidate = 0").build().await;
    let retry_after = async || {
        let got = rig.fresh(ask("up/status-503")).await;
        assert_eq!(got.status, 502);
        got.header("retry-after").to_owned()
    };
    for failed in 0..5 {
        assert_eq!(retry_after().await, "", "{failed} failures close nothing");
    }
    // The breaker is open for five seconds, give or take a tenth.
    assert!(["5", "6"].contains(&&*retry_after().await));
    rig.clock.advance(3_000);
    assert!(["2", "3"].contains(&&*retry_after().await), "what is left");
    rig.fresh(ask("cheap")).await;
    let both = rig.fresh(ask("cheap")).await;
    assert!(["2", "3"].contains(&both.header("retry-after")), "the breaker's end is before the other's cooldown's");
}

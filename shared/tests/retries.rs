//! Retries: which failures have one, and how many there may be (A3, A6).

use crate::attempts::{SHORT, attempts, both_ways};
use crate::rig::{ask, cheap, scene};

#[tokio::test]
async fn a_failed_call_is_retried_once_and_then_failed_over() {
    for body in both_ways("cheap") {
        let rig = cheap(["status-500", "ok"]).table("[retry]\nbackoff_base_ms = 0").build().await;
        let got = rig.chat(body).await;
        let expected =
            ["up/status-500 first http_error 500", "up/status-500 retry http_error 500", "up/ok failover ok 200"];
        assert_eq!(attempts(&rig.receipt(&got).await), expected);
    }
}

#[tokio::test]
async fn only_what_may_pass_is_retried() {
    let passing = ["status-500", "status-502", "status-503", "status-520", "status-529", "reset", "cut"];
    let lasting = ["status-501", "status-504", "status-505", "status-524", "status-526", "status-408", "status-409"];
    let lasting = lasting.into_iter().chain(["status-424", "429", "status-401", "malformed"]);
    for (model, calls) in passing.map(|model| (model, 2)).into_iter().chain(lasting.map(|model| (model, 1))) {
        let scene = scene().model(model, SHORT).tier("cheap", &[model, "ok"]).tier("reasoning", &["ok@strong"]);
        let rig = scene.table("[retry]\nbackoff_base_ms = 0").build().await;
        let got = rig.chat(ask("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "{model}");
        assert_eq!(rig.calls(model), calls, "{model}");
    }
}

#[tokio::test]
async fn retries_stay_within_their_share_of_the_traffic() {
    // Its breaker stays closed: a model that is out is not called again for the same request.
    let tables = "[retry]\nbackoff_base_ms = 0\n[breaker]\nconsecutive_failures = 1000\nleast_samples = 1000";
    let rig = cheap(["ok"]).model("status-503", "").table(tables).build().await;
    for requests in 1..=100 {
        let got = rig.chat(ask("up/status-503")).await;
        assert_eq!(got.status, 502);
        let retries = rig.calls("status-503") - requests;
        assert!(retries <= (requests / 5).max(3), "{retries} retries of {requests} requests");
    }
    assert_eq!(rig.calls("status-503"), 120, "and the share is used");
}

#[tokio::test]
async fn a_model_that_is_out_is_called_once_as_a_probe_or_as_the_last_resort() {
    let rig = cheap(["status-500"]).table("[retry]\nbackoff_base_ms = 0").build().await;
    for (advance_ms, calls) in [(0, 2), (0, 4), (0, 6), (0, 7), (5_501, 8), (0, 9)] {
        rig.clock.advance(advance_ms);
        assert_eq!(rig.fresh(ask("cheap")).await.status, 502);
        assert_eq!(rig.calls("status-500"), calls, "{advance_ms} ms later");
    }
}

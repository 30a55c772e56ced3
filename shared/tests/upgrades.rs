//! Upgrades: an unreliable answer of a cheap tier is replaced by a stronger tier's, before the client has seen any of it.

use crate::attempts::attempts;
use crate::rig::{Got, Scene, ask, ask_with, name_of, scene, streamed, two_tiers};
use gateway_core::money::Amounts;
use serde_json::{Value, json};

/// The strong model says something that no other does.
const STRONG: &str = "reasoning-3+say:Certainly so.";
const SURE: &str = "Certainly so.";

fn unsure(model: &str) -> Scene {
    two_tiers([model], [STRONG])
}

#[tokio::test]
async fn an_unreliable_answer_is_replaced_and_both_are_billed() {
    let json_only = json!({"response_format": {"type": "json_object"}});
    let schema = json!({"type": "object", "properties": {"answer": {"type": "number"}}, "required": ["answer"]});
    let fits_schema =
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}});
    for (model, fields) in [
        ("hedge", json!({})),
        ("refusal", json!({})),
        ("empty", json!({})),
        ("length", json!({})),
        ("low-logprob", json!({})),
        ("bad-json", json_only),
        ("json", fits_schema),
    ] {
        for stream in [false, true] {
            let mut body = ask_with("cheap", fields.clone());
            if stream {
                body["stream"] = true.into();
            }
            let rig = unsure(model).build().await;
            let got = rig.chat(body).await;
            let at = format!("{model}, stream: {stream}");
            if model == "length" && stream {
                // Its end is not known while its beginning is judged.
                assert_eq!((got.header("x-gateway-upgraded"), got.is_done()), ("false", true), "{at}");
                continue;
            }
            assert_eq!((got.status, got.text().as_str()), (200, SURE), "{at}");
            assert_eq!((got.header("x-gateway-upgraded"), got.header("x-gateway-tier")), ("true", "reasoning"), "{at}");
            assert_eq!(got.header("x-gateway-model"), name_of(STRONG), "{at}");
            let receipt = rig.receipt(&got).await;
            let expected =
                [format!("{} first low_confidence 200", name_of(model)), format!("{} upgrade ok 200", name_of(STRONG))];
            assert_eq!(attempts(&receipt), expected, "{at}");
            assert_eq!(receipt["upgraded"], true, "{at}");
            assert!(!receipt["reasons"].as_array().unwrap().is_empty(), "{at}");
            assert_eq!(rig.totals().await, Amounts { requests: 1, ..rig.billed() }, "{at}");
            assert_eq!(rig.counted().await, rig.totals().await, "{at}");
            assert!(rig.calls(model) == 1 && rig.calls(STRONG) == 1, "{at}");
        }
    }
}

#[tokio::test]
async fn a_good_answer_stands() {
    for model in ["ok", "json", "unicode", "tools"] {
        for body in [ask("cheap"), streamed("cheap")] {
            let rig = unsure(model).build().await;
            let got = rig.chat(body).await;
            assert_eq!((got.header("x-gateway-upgraded"), rig.calls(STRONG)), ("false", 0), "{model}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_at_the_clients_own_bound_stands() {
    let rig = unsure("ok").build().await;
    let got = rig.chat(ask_with("cheap", json!({"max_tokens": 3}))).await;
    assert_eq!((got.text().as_str(), got.header("x-gateway-upgraded")), ("An interface is ", "false"));
}

async fn stands(scene: Scene, headers: &[(&'static str, &str)], body: Value) -> Got {
    let rig = scene.build().await;
    let got = rig.chat_with(headers, body).await;
    assert_eq!((got.status, got.header("x-gateway-upgraded"), rig.calls(STRONG)), (200, "false", 0));
    assert!(got.text().starts_with("I'm not sure"), "{got:?}");
    got
}

#[tokio::test]
async fn whoever_does_not_want_an_upgrade_gets_none() {
    stands(unsure("hedge"), &[("x-gateway-upgrade", "off")], ask("cheap")).await;
    stands(unsure("hedge"), &[("x-gateway-upgrade", "off")], streamed("cheap")).await;
    stands(unsure("hedge").tenant(json!({"upgrade": {"enabled": false}})), &[], ask("cheap")).await;
}

#[tokio::test]
async fn whoever_pinned_a_model_gets_that_model() {
    stands(unsure("hedge"), &[], ask("up/hedge")).await;
    stands(unsure("hedge"), &[], streamed("up/hedge")).await;
    let mut listed = ask("up/hedge");
    listed["models"] = json!(["up/hedge"]);
    stands(unsure("hedge"), &[], listed).await;
    // Unless the client asks for it.
    let rig = unsure("hedge").build().await;
    let got = rig.chat_with(&[("x-gateway-upgrade", "on")], ask("up/hedge")).await;
    assert_eq!((got.text().as_str(), got.header("x-gateway-upgraded")), (SURE, "true"));
}

#[tokio::test]
async fn the_strongest_tiers_answer_stands() {
    let rig = two_tiers(["ok"], ["hedge"]).build().await;
    let got = rig.chat(ask("reasoning")).await;
    assert_eq!((got.status, got.header("x-gateway-upgraded"), rig.double.counts().total.calls), (200, "false", 1));
}

#[tokio::test]
async fn where_the_quota_has_too_little_left_for_an_upgrade_the_first_answer_stands_and_the_receipt_says_so() {
    for stream in [false, true] {
        let body = ask_with("cheap", json!({"max_tokens": 60, "stream": stream}));
        let hold = body.to_string().len() + 16 + 60;
        // Enough for one more answer, but not for what the first has used as well.
        let rig = unsure("hedge").limits(json!({"daily_tokens": hold + 10})).build().await;
        let got = rig.chat(body).await;
        assert_eq!((got.status, got.header("x-gateway-upgraded"), rig.calls(STRONG)), (200, "false", 0));
        assert!(got.text().starts_with("I'm not sure"), "{got:?}");
        let receipt = rig.receipt(&got).await;
        assert!(receipt["reasons"].to_string().contains("not enough left for an upgrade"), "{receipt}");
        assert_eq!(rig.counted().await, Amounts { requests: 1, ..rig.billed() });
    }
}

#[tokio::test]
async fn a_failover_within_an_upgrade_is_held_for_beside_the_stream_that_still_runs() {
    for (room, calls) in [(10, 0), (10_000, 1)] {
        let body = ask_with("cheap", json!({"max_tokens": 60, "stream": true}));
        let hold = body.to_string().len() + 16 + 60;
        // Enough for the first and an upgrade, but not for what a failed upgrade may be billed as well.
        let short = "timeouts_ms = { first_token = 60, idle = 60, total = 60 }";
        let scene = scene().model("stall-head", short).tier("cheap", &["hedge"]);
        let scene = scene.tier("reasoning", &["stall-head", "ok@strong"]).table("[retry]\nmax_per_candidate = 0");
        let rig = scene.limits(json!({"daily_tokens": 2 * hold + room})).build().await;
        let got = rig.chat(body).await;
        assert_eq!((got.status, rig.calls("stall-head"), rig.calls("ok@strong")), (200, 1, calls), "{got:?}");
        assert_eq!(got.text().starts_with("I'm not sure"), calls == 0, "{got:?}");
    }
}

#[tokio::test]
async fn whatever_keeps_the_stronger_tier_from_answering_the_first_answer_stands() {
    for strong in ["status-500", "status-401", "429", "content-filter", "cut", "stall-head", "not-json"] {
        for body in [ask("cheap"), streamed("cheap")] {
            let short = "timeouts_ms = { first_token = 60, idle = 60, total = 60 }";
            let scene = scene().model(strong, short).tier("cheap", &["hedge"]).tier("reasoning", &[strong]);
            let rig = scene.table("[retry]\nmax_per_candidate = 0").build().await;
            let got = rig.chat(body.clone()).await;
            if strong == "cut" && body["stream"] == true {
                // A stream that has begun is the answer; this one is cut later, and says so.
                assert!(got.is_error(), "{got:?}");
                continue;
            }
            assert_eq!((got.status, got.header("x-gateway-upgraded")), (200, "false"), "{strong}");
            assert!(got.text().starts_with("I'm not sure"), "{strong}: {got:?}");
            assert!(!got.is_stream() || got.is_done(), "{strong}");
            let receipt = rig.receipt(&got).await;
            assert!(receipt["reasons"].to_string().contains("the upgrade failed"), "{receipt}");
            assert_eq!(rig.calls(strong), 1, "{strong}");
            assert_eq!(rig.counted().await, rig.totals().await, "{strong}");
        }
    }
}

#[tokio::test]
async fn an_answer_in_doubt_is_not_remembered() {
    let rig = unsure("hedge").build().await;
    for _ in 0..2 {
        let got = rig.chat_with(&[("x-gateway-upgrade", "off")], ask("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-upgraded")), (200, "false"));
    }
    let rig = two_tiers(["hedge"], ["status-500"]).build().await;
    for _ in 0..2 {
        assert_eq!(rig.chat(ask("cheap")).await.header("x-gateway-cache"), "miss");
    }
}

#[tokio::test]
async fn nothing_that_a_client_has_read_is_taken_back() {
    // A long answer that turns out to be cut by its length, one whose last words are a hedge, and one that breaks off.
    let long = "Some words that are sure of themselves. ".repeat(20);
    let (cut, unsure_in_the_end) = (format!("length+say:{long}"), format!("say:{long} I'm not sure."));
    for (model, begins, is_whole) in [
        (cut.as_str(), "Some words", true),
        (&unsure_in_the_end, "Some words", true),
        ("reset-mid-30", "An interface", false),
    ] {
        let rig = unsure(model).build().await;
        let got = rig.chat(streamed("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-upgraded"), rig.calls(STRONG)), (200, "false", 0));
        assert_eq!(got.is_done(), is_whole, "{model}");
        assert!(got.text().starts_with(begins) && !got.text().contains(SURE), "{got:?}");
        let answers: Vec<_> = got.chunks().into_iter().filter(|chunk| chunk["error"].is_null()).collect();
        let one_models = answers.iter().all(|chunk| chunk["model"] == got.header("x-gateway-model"));
        assert!(answers.len() > 10 && one_models, "one model's answer: {got:?}");
    }
}

#[tokio::test]
async fn of_an_upgraded_stream_the_client_sees_nothing_of_the_first_answer() {
    let rig = unsure("hedge").build().await;
    let got = rig.chat(streamed("cheap")).await;
    assert!(got.chunks().iter().all(|chunk| chunk["model"] == name_of(STRONG)));
    assert!(!got.contains("not sure") && got.is_done());
    assert_eq!(got.final_values()["x-gateway-upgraded"], "true");
    let ids: std::collections::BTreeSet<_> = got.chunks().iter().map(|chunk| chunk["id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

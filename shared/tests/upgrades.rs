//! Upgrades: an unreliable answer of a cheap tier is replaced by a stronger tier's, before the client has seen any of it.

use crate::attempts::attempts;
use crate::rig::{Got, Scene, ask, ask_with, name_of, scene, streamed, two_tiers};
use async_trait::async_trait;
use gateway_core::money::Amounts;
use gateway_core::provider::{Call, Chunk, Chunks, Provider, ProviderError, Reply};
use serde_json::{Value, json};
use simulated_provider::Simulated;
use std::sync::Arc;
use std::time::Duration;

/// The strong model says something that no other does.
const STRONG: &str = "reasoning-3+say:Certainly so.";
const SURE: &str = "Certainly so.";

fn unsure(model: &str) -> Scene {
    two_tiers([model], [STRONG]).holding_streams_back()
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
            assert!(receipt["doubt"].as_f64().unwrap() > 0.5, "{at}: {receipt}");
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
            assert!(rig.receipt(&got).await["doubt"].as_f64().unwrap() < 0.5, "{model}");
        }
    }
}

/// A provider whose streams bring a word every ten milliseconds.
struct Dripping;

struct Drops(Box<dyn Chunks>);

#[async_trait]
impl Provider for Dripping {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        Ok(match Simulated::new().chat(call).await? {
            Reply::Stream(chunks) => Reply::Stream(Box::new(Drops(chunks))),
            whole @ Reply::Whole(_) => whole,
        })
    }
}

#[async_trait]
impl Chunks for Drops {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.0.next().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_its_first_word_unless_the_tenant_wants_its_beginning_judged() {
    for (bytes, upgraded, begins_at_once) in [(0, "false", true), (48, "true", false)] {
        let scene = two_tiers(["sim/unsure"], ["sim/reasoning"])
            .with(|builder| builder.provider("sim", Arc::new(Dripping)))
            .tenant(json!({"upgrade": {"stream_holdback_bytes": bytes}}));
        let rig = scene.build().await;
        let got = rig.chat(streamed("cheap")).await;
        assert_eq!((got.header("x-gateway-upgraded"), got.is_done()), (upgraded, true), "{got:?}");
        let receipt = rig.receipt(&got).await;
        let first_word_ms = receipt["attempts"][0]["ttft_ms"].as_f64().unwrap();
        assert_eq!(receipt["ttft_ms"].as_f64().unwrap() == first_word_ms, begins_at_once, "{receipt}");
        assert_eq!(receipt["doubt"].is_null(), begins_at_once, "what is not held back is not judged: {receipt}");
    }
}

#[tokio::test]
async fn a_stream_without_a_word_is_replaced_though_nothing_is_held_back() {
    let rig = two_tiers(["empty"], [STRONG]).build().await;
    let got = rig.chat(streamed("cheap")).await;
    assert_eq!((got.text().as_str(), got.header("x-gateway-upgraded")), (SURE, "true"));
}

#[tokio::test]
async fn the_answer_to_a_greeting_is_never_replaced_for_what_it_says() {
    for (model, calls) in [("hedge", 0), ("refusal", 0), ("empty", 1)] {
        let rig = unsure(model).shipped_intents().build().await;
        let mut body = ask("auto");
        body["messages"][0]["content"] = "Hello!".into();
        let got = rig.chat(body).await;
        assert_eq!(
            (got.status, got.header("x-gateway-intent"), rig.calls(STRONG)),
            (200, "greeting", calls),
            "{model}"
        );
    }
}

#[tokio::test]
async fn the_tenants_dial_says_how_much_doubt_is_borne() {
    for (quality, model, upgraded) in [
        (0.0, "hedge", "false"),
        (0.2, "hedge", "false"),
        (0.5, "hedge", "true"),
        (1.0, "hedge", "true"),
        (1.0, "ok", "false"),
        // No answer at all is worth no price.
        (0.0, "empty", "true"),
    ] {
        let rig = unsure(model).tenant(json!({"quality": quality})).build().await;
        let got = rig.chat(ask("cheap")).await;
        assert_eq!(got.header("x-gateway-upgraded"), upgraded, "{model} at {quality}");
        assert!(rig.receipt(&got).await["doubt"].is_number());
    }
}

#[tokio::test]
async fn where_all_strong_models_are_out_none_is_called_and_nothing_is_held() {
    for out in ["status-500", "429"] {
        let scene = scene().tier("cheap", &["hedge"]).tier("reasoning", &[out]);
        let rig = scene.table("[retry]\nmax_per_candidate = 0").build().await;
        for _ in 0..5 {
            rig.fresh(ask(&name_of(out))).await;
        }
        let (calls, before) = (rig.calls(out), rig.counted().await);
        let got = rig.fresh(ask("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-upgraded")), (200, "false"), "{out}");
        assert_eq!(rig.calls(out), calls, "{out}");
        let receipt = rig.receipt(&got).await;
        assert!(receipt["reasons"].to_string().contains("all models of the tier reasoning are out"), "{receipt}");
        let used = Amounts {
            requests: 1,
            tokens: receipt["usage"]["input_tokens"].as_u64().unwrap()
                + receipt["usage"]["output_tokens"].as_u64().unwrap(),
            cost_nusd: rig.counted().await.cost_nusd - before.cost_nusd,
        };
        assert_eq!(rig.counted().await, before.plus(used), "{out}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stronger_model_that_cannot_answer_in_time_is_not_called() {
    for (deadline_ms, upgraded) in [(5_000, "false"), (200_000, "true")] {
        let scene = two_tiers(["sim/unsure"], ["sim/slow-1000"]);
        let rig = scene.table(&format!("[timeouts_ms]\nrequest = {deadline_ms}")).build().await;
        // This shows how long it takes.
        assert_eq!(rig.fresh(ask("sim/slow-1000")).await.status, 200);
        let got = rig.fresh(ask("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-upgraded")), (200, upgraded));
        let receipt = rig.receipt(&got).await;
        let says_why = receipt["reasons"].to_string().contains("too little time is left for the tier reasoning");
        assert_eq!(says_why, upgraded == "false", "{receipt}");
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
        let scene = scene().model("stall-head", short).tier("cheap", &["hedge"]).holding_streams_back();
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
            let rig = scene.holding_streams_back().table("[retry]\nmax_per_candidate = 0").build().await;
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

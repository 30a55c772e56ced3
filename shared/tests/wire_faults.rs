//! Everything that can go wrong on the wire: an answer that is not whole is never presented, cached or counted as one
//! (A1), however and wherever it is cut; and whatever merely looks odd is understood.

use crate::rig::{Got, Rig, ask, ask_with, cheap, name_of, scene, streamed, two_tiers};
use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::gateway::builder::Builder;
use gateway_core::provider::{Call, Chunk, Chunks, Provider, ProviderError, Reply};
use gateway_core::wire::openai::answer::chunk;
use serde_json::{Value, json};
use std::sync::Arc;
use upstream_double::LEAK;

/// Every way in which the double breaks off an answer, garbles it, or never ends it.
const BROKEN: [&str; 28] = [
    "reset",
    "reset-mid",
    "reset-mid-0",
    "reset-mid-1",
    "reset-mid-40",
    "cut",
    "cut-0",
    "cut-1",
    "cut-40",
    "cut-clean",
    "cut-clean-0",
    "cut-clean-1",
    "cut-clean-40",
    "stall",
    "stall-0",
    "stall-40",
    "stall-head",
    "malformed",
    "malformed-0",
    "malformed-1",
    "malformed-40",
    "not-json",
    "error-event",
    "error-event-0",
    "error-event-40",
    "endless",
    "cut+close",
    "cut-clean+no-usage",
];

/// What is broken in a stream only: as a whole answer it lacks its usage, or fits into memory.
const BROKEN_IN_A_STREAM: [&str; 2] = ["cut-before-done", "giant-9"];

/// Timers short enough to be waited for.
const SHORT: &str = "timeouts_ms = { first_token = 80, idle = 80, total = 80 }";

/// A gateway whose models are all of these, each to be asked by name.
async fn with_models(models: &[&str]) -> Rig {
    with_models_that(models, "").await
}

/// The same, and each has these fields.
async fn with_models_that(models: &[&str], fields: &str) -> Rig {
    let scene = models.iter().fold(cheap(["ok"]), |scene, model| scene.model(model, &format!("{SHORT}\n{fields}")));
    scene.table("[timeouts_ms]\nrequest = 400\n[retry]\nbackoff_base_ms = 0").build().await
}

/// Asks twice, and sees that neither answer is or becomes a whole one.
async fn never_whole(rig: &Rig, model: &str, body: &Value) {
    let at = format!("{model}, stream: {}", body["stream"]);
    for time in ["the first time", "the second time"] {
        let got = rig.chat(body.clone()).await;
        assert!(got.is_error(), "{at}, {time}: {got:?}");
        assert!(got.status == 200 || got.status >= 500, "{at}, {time}: {}", got.status);
        assert!(!got.contains("[DONE]"), "{at}, {time}");
        assert_eq!(got.header("x-gateway-cache"), "miss", "{at}, {time}");
        assert!(!got.contains(LEAK), "{at}, {time}");
        let receipt = rig.receipt(&got).await;
        assert!(receipt["status"].as_u64().is_some_and(|status| status >= 500), "{at}: {receipt}");
        let outcomes: Vec<_> =
            receipt["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["outcome"]).collect();
        assert!(!outcomes.is_empty() && outcomes.iter().all(|outcome| **outcome != "ok"), "{at}: {outcomes:?}");
    }
}

#[tokio::test]
async fn a_whole_answer_that_is_broken_is_an_error_and_is_not_remembered() {
    let rig = with_models(&BROKEN).await;
    for model in BROKEN {
        never_whole(&rig, model, &ask(&name_of(model))).await;
    }
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn a_stream_that_is_broken_ends_with_an_error_and_is_not_remembered() {
    let rig = with_models(&[&BROKEN[..], &BROKEN_IN_A_STREAM].concat()).await;
    for model in BROKEN.iter().chain(&BROKEN_IN_A_STREAM).filter(|model| !model.starts_with("malformed")) {
        never_whole(&rig, model, &streamed(&name_of(model))).await;
    }
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn an_event_that_nobody_can_read_is_left_out_of_a_stream_that_is_then_not_remembered() {
    let models = ["malformed", "malformed-0", "malformed-1", "malformed-40"];
    for fields in ["", "on_client_gone = \"cancel\""] {
        let rig = with_models_that(&models, fields).await;
        for model in [models, models].concat() {
            let got = rig.chat(streamed(&name_of(model))).await;
            assert!(got.is_done() && is_the_usual_text(&got), "{model}: {got:?}");
            assert_eq!(got.header("x-gateway-cache"), "miss", "{model}, {fields}");
            let reasons = rig.receipt(&got).await["reasons"].to_string();
            assert!(reasons.contains("could not be read"), "{model}, {fields}: {reasons}");
        }
    }
    // Half of a call's arguments, or of some JSON, would be neither.
    for (model, fields) in
        [("malformed-4+tools", json!({})), ("malformed-2+json", json!({"response_format": {"type": "json_object"}}))]
    {
        let rig = with_models(&[model]).await;
        let mut body = streamed(&name_of(model));
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        never_whole(&rig, model, &body).await;
    }
}

#[tokio::test]
async fn a_whole_answer_that_stalls_behind_its_head_is_given_up_when_the_model_may_be_silent_no_longer() {
    let short = "timeouts_ms = { first_token = 60000, idle = 60, total = 60000 }";
    let scene = cheap(["ok"]).model("stall", short).table("[retry]\nmax_per_candidate = 0");
    let rig = scene.table("[timeouts_ms]\nrequest = 5000").build().await;
    let got = rig.chat(ask("up/stall")).await;
    assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"), "and not the deadline");
    assert_eq!(rig.receipt(&got).await["attempts"][0]["outcome"], "timeout");
}

#[tokio::test]
async fn the_receipt_of_a_failed_stream_says_the_providers_status() {
    for (model, status) in [("cut-40", 200), ("reset-mid-40", 200), ("malformed-40", 200), ("status-503", 503)] {
        let rig = with_models(&[model]).await;
        let got = rig.chat(streamed(&name_of(model))).await;
        assert_eq!(rig.receipt(&got).await["attempts"][0]["status"], status, "{model}");
    }
}

/// A provider whose streams bring these events and then say that they are over, as if all were well.
struct SaysItIsDone(&'static [&'static str]);

struct Events(std::slice::Iter<'static, &'static str>);

#[async_trait]
impl Provider for SaysItIsDone {
    async fn chat(&self, _call: Call<'_>) -> Result<Reply, ProviderError> {
        Ok(Reply::Stream(Box::new(Events(self.0.iter()))))
    }
}

#[async_trait]
impl Chunks for Events {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        Ok(self.0.next().map(|event| vec![chunk(Bytes::from_static(event.as_bytes()), 1).unwrap().unwrap()]))
    }
}

#[tokio::test]
async fn a_stream_that_says_it_is_done_before_every_answer_has_ended_is_not_whole() {
    const ROLE: &str = r#"{"model":"m","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}"#;
    const PIECE: &str = r#"{"model":"m","choices":[{"index":0,"delta":{"content":"Half of "},"finish_reason":null}]}"#;
    const END: &str = r#"{"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const OTHER: &str = r#"{"model":"m","choices":[{"index":1,"delta":{"content":"Another "},"finish_reason":null}]}"#;
    const OTHER_END: &str = r#"{"model":"m","choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"{"model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":5}}"#;
    let table: [(&[&str], bool); 9] = [
        (&[], false),
        (&[ROLE], false),
        (&[ROLE, PIECE], false),
        (&[ROLE, PIECE, USAGE], false),
        (&[ROLE, PIECE, END, USAGE], true),
        (&[ROLE, PIECE, END], true),
        (&[ROLE, PIECE, OTHER, END, USAGE], false),
        (&[ROLE, PIECE, OTHER, OTHER_END, USAGE], false),
        (&[ROLE, PIECE, OTHER, OTHER_END, END, USAGE], true),
    ];
    for (events, whole) in table {
        // By a name of its own, and as one of a tier, whose beginning is held back.
        for model in ["sim/cheap", "cheap"] {
            let inject = move |builder: Builder| builder.provider("sim", Arc::new(SaysItIsDone(events)));
            let rig =
                two_tiers(["sim/cheap"], ["ok"]).with(inject).table("[retry]\nmax_per_candidate = 0").build().await;
            for cache in ["miss", if whole { "hit" } else { "miss" }] {
                let got = rig.chat(streamed(model)).await;
                assert_eq!((got.is_error(), got.is_done()), (!whole, whole), "{model} {events:?}: {got:?}");
                assert_eq!(got.header("x-gateway-cache"), cache, "{model} {events:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_beyond_all_bounds_is_given_up() {
    let rig = cheap(["ok"]).model("giant-33", "").table("[retry]\nmax_per_candidate = 0").build().await;
    let got = rig.chat(ask("up/giant-33")).await;
    assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"));
}

#[tokio::test]
async fn whatever_breaks_before_the_client_has_seen_anything_is_failed_over() {
    for model in BROKEN {
        let scene = scene().model(model, SHORT).tier("cheap", &[model, "ok"]).tier("reasoning", &["ok@strong"]);
        let rig = scene.table("[retry]\nmax_per_candidate = 0").build().await;
        let got = rig.chat(ask("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "{model}");
        assert!(is_the_usual_text(&got), "{model}: {}", got.text());
        let events = model.rsplit_once('-').and_then(|(_, number)| number.parse::<u64>().ok());
        let is_broken_early = events.is_some_and(|events| events <= 1) && !model.starts_with("malformed");
        if model == "reset" || model == "stall-head" || model == "not-json" || is_broken_early {
            let got = rig.chat(streamed("cheap")).await;
            assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "{model}, streamed");
            assert!(got.is_done() && is_the_usual_text(&got), "{model}, streamed: {}", got.text());
        }
    }
}

fn is_the_usual_text(got: &Got) -> bool {
    let text = got.text();
    text.starts_with("An interface is a promise") && text.ends_with("as long as the promise is kept.")
}

#[tokio::test]
async fn a_whole_answer_that_only_lacks_its_usage_is_whole_and_charged_upward() {
    for model in ["cut-before-done", "no-usage"] {
        let rig = cheap(["ok"]).model(model, "").build().await;
        let got = rig.chat(ask(&name_of(model))).await;
        assert!(got.status == 200 && is_the_usual_text(&got), "{model}: {got:?}");
        let (charged, billed) = (rig.totals().await, rig.billed());
        assert!(charged.tokens >= billed.tokens && charged.cost_nusd >= billed.cost_nusd, "{charged:?} of {billed:?}");
        let receipt = rig.receipt(&got).await;
        assert_eq!((&receipt["estimated"], &receipt["attempts"][0]["estimated"]), (&json!(true), &json!(true)));
    }
}

#[tokio::test]
async fn a_stream_without_its_usage_is_charged_upward() {
    let rig = cheap(["ok"]).model("no-usage", "").build().await;
    let got = rig.chat(streamed("up/no-usage")).await;
    assert!(got.is_done() && is_the_usual_text(&got));
    let (charged, billed) = (rig.totals().await, rig.billed());
    assert!(charged.tokens >= billed.tokens && charged.cost_nusd >= billed.cost_nusd, "{charged:?} of {billed:?}");
    assert_eq!(rig.receipt(&got).await["estimated"], true);
}

#[tokio::test]
async fn a_client_that_asks_for_the_usage_of_a_stream_is_told_what_it_is_charged_for() {
    for (model, body, is_told) in [
        ("no-usage", streamed("up/no-usage"), true),
        ("no-usage", ask_with("up/no-usage", json!({"stream": true})), false),
        ("ok", streamed("up/ok"), true),
        ("ok", ask_with("up/ok", json!({"stream": true})), false),
    ] {
        let rig = cheap(["ok"]).model(model, "").build().await;
        let got = rig.chat(body).await;
        let told: Vec<_> = got.chunks().into_iter().filter(|chunk| chunk["usage"].is_object()).collect();
        assert_eq!((got.is_done(), told.len()), (true, usize::from(is_told)), "{model}: {got:?}");
        let receipt = rig.receipt(&got).await;
        assert_eq!(receipt["estimated"], model != "ok", "{model}");
        for chunk in told {
            assert_eq!(chunk["choices"], json!([]), "{model}");
            let of = |name: &str| &chunk["usage"][name];
            let charged = &receipt["usage"];
            assert_eq!(
                (of("prompt_tokens"), of("completion_tokens")),
                (&charged["input_tokens"], &charged["output_tokens"])
            );
        }
    }
}

#[tokio::test]
async fn what_only_looks_odd_is_understood_to_the_character() {
    for model in [
        "ok",
        "sse-crlf",
        "sse-comments",
        "sse-nospace",
        "sse-multiline",
        "one-byte",
        "close",
        "continue",
        "extra",
        "cached-3",
        "reasoning-5",
        "drip-1",
        "unicode",
        "split-utf8",
        "sse-crlf+split-utf8",
        "json",
        "say: two  blanks\n\tand a tab ",
        "giant-1",
    ] {
        let rig = cheap(["ok@cheap"]).model(model, "").build().await;
        let whole = rig.chat(ask(&name_of(model))).await;
        let stream = rig.chat(streamed(&name_of(model))).await;
        assert_eq!((whole.status, stream.status), (200, 200), "{model}");
        assert!(stream.is_done() && !stream.is_error(), "{model}");
        assert!(whole.text() == stream.text() && !whole.text().is_empty(), "{model}: {:?}", stream.text().get(..80));
        assert_eq!(rig.totals().await.tokens, rig.billed().tokens, "{model}");
    }
}

#[tokio::test]
async fn the_pieces_of_a_tools_arguments_reach_the_client_in_order() {
    let rig = cheap(["ok"]).model("tools", "").build().await;
    let tools =
        json!({"tools": [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]});
    let whole = rig.chat(ask_with("up/tools", tools.clone())).await.json();
    let called = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(
        (called["name"].as_str(), &whole["choices"][0]["finish_reason"]),
        (Some("search"), &json!("tool_calls"))
    );
    let mut body = ask_with("up/tools", tools);
    body["stream"] = true.into();
    let got = rig.chat(body).await;
    let pieces = got.chunks();
    let arguments = |chunk: &Value| {
        chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
    };
    let assembled: String = pieces.iter().filter_map(arguments).collect();
    assert_eq!(Some(assembled.as_str()), called["arguments"].as_str());
}

//! What some models refuse: a request that asks for it passes by them, before anything is held or sent.

use crate::rig::{DOORS, Door, Scene, ask, ask_with, scene};
use serde_json::{Value, json};

/// A model that takes neither parameters of sampling nor orders to call a tool, and one that takes both.
fn plain_and_able() -> Scene {
    let plain = "sampling = false\nforced_tools = false";
    scene().model("ok@plain", plain).tier("cheap", &["ok@plain", "ok"]).tier("reasoning", &["ok@strong"])
}

fn tool() -> Value {
    json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])
}

#[tokio::test]
async fn a_request_passes_by_the_models_that_refuse_what_it_asks_for() {
    let rig = plain_and_able().build().await;
    for (fields, field) in [
        (json!({"temperature": 0.5}), "temperature"),
        (json!({"top_p": 0.5}), "temperature"),
        (json!({"tools": tool(), "tool_choice": "required"}), "tool_choice"),
        (json!({"tools": tool(), "tool_choice": {"type": "function", "function": {"name": "f"}}}), "tool_choice"),
    ] {
        let refused = rig.fresh(ask_with("up/ok@plain", fields.clone())).await;
        let error = &refused.json()["error"];
        assert_eq!((refused.status, &error["param"]), (400, &json!(field)), "{fields}: {error}");
        let served = rig.fresh(ask_with("cheap", fields.clone())).await;
        assert_eq!((served.status, served.header("x-gateway-model")), (200, "up/ok"), "{fields}");
    }
    assert_eq!(rig.calls("ok@plain"), 0);
    for fields in [json!({"tools": tool(), "tool_choice": "auto"}), json!({"presence_penalty": 0})] {
        let served = rig.fresh(ask_with("up/ok@plain", fields.clone())).await;
        assert_eq!(served.status, 200, "{fields}");
    }
}

#[tokio::test]
async fn how_much_to_think_is_only_said_to_models_that_know_the_word() {
    let thinks = "efforts = [\"low\", \"high\"]";
    let scene = scene().model("ok", thinks).tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]);
    let rig = scene.tenant(json!({"drop_unknown_effort": false})).build().await;
    for (word, status) in [("low", 200), ("xhigh", 400)] {
        let got = rig.fresh(ask_with("up/ok", json!({"reasoning_effort": word}))).await;
        assert_eq!(got.status, status, "{word}");
        assert!(status == 200 || got.json()["error"]["param"] == "reasoning_effort", "{word}");
    }
    assert_eq!(rig.fresh(ask("up/ok")).await.status, 200);
}

/// How a client of this door says how much to think.
fn effort(door: Door, word: &str) -> Value {
    match door {
        Door::Chat => json!({"reasoning_effort": word}),
        Door::Responses => json!({"reasoning": {"effort": word}, "include": ["reasoning.encrypted_content"]}),
        Door::Messages => {
            let edits = json!({"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]});
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": word}, "context_management": edits})
        }
    }
}

#[tokio::test]
async fn an_effort_that_no_model_knows_is_not_said_and_the_receipt_tells() {
    let does_not_think = r#"provider = "up"
id = "ok"
usd_per_million = { input = 1, output = 2 }"#;
    let claude = does_not_think.replace("\"up\"", "\"claude\"");
    let tables = format!(
        "[models.\"up/plain\"]\n{does_not_think}\n[models.\"up/so\"]\n{does_not_think}\napi = \"responses\"\n\
         [models.\"claude/plain\"]\n{claude}\n"
    );
    let some = "efforts = [\"low\"]";
    let rig = scene().claude("ok").model("ok@some", some).tier("cheap", &["ok@some"]).tier("reasoning", &["ok@strong"]);
    let rig = rig.table(&tables).build().await;
    for door in DOORS {
        for (model, word) in [("up/plain", "low"), ("up/so", "low"), ("claude/plain", "high"), ("up/ok@some", "xhigh")]
        {
            let got = door.ask(&rig, model, effort(door, word)).await;
            assert_eq!(got.status, 200, "{door:?} {model}: {got:?}");
            let sent: Value = serde_json::from_slice(&rig.double.requests().pop().unwrap().body).unwrap();
            for field in ["reasoning_effort", "reasoning", "thinking", "output_config", "context_management"] {
                assert!(sent[field].is_null() || model == "up/ok@some", "{door:?} {model} {field}: {sent}");
            }
            assert!(!sent.to_string().contains("effort"), "{door:?} {model}: {sent}");
            let reasons = rig.receipt(&got).await["reasons"].to_string();
            assert!(reasons.contains(&format!("{model} is not told how much to think")), "{door:?}: {reasons}");
        }
        // Where one knows the word it is the one that is asked.
        let got = door.ask(&rig, "cheap", effort(door, "low")).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@some"), "{door:?}: {got:?}");
        let mut fields = effort(door, "xhigh");
        fields["models"] = json!(["up/ok@strong"]);
        let got = door.ask(&rig, "up/plain", fields).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@strong"), "{door:?}: {got:?}");
    }
    let asks = json!({"include": ["reasoning.encrypted_content"]});
    let got = Door::Responses.ask(&rig, "up/so", asks).await;
    let reasons = rig.receipt(&got).await["reasons"].to_string();
    assert!(reasons.contains("up/so does not think, and is asked for no thoughts"), "{reasons}");
    rig.change_tenant("acme", json!({"drop_unknown_effort": false})).await;
    for door in DOORS {
        let got = door.ask(&rig, "up/plain", effort(door, "low")).await;
        assert_eq!(got.status, 400, "{door:?}: {got:?}");
    }
}

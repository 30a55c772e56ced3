//! What some models refuse: a request that asks for it passes by them, before anything is held or sent.

use crate::rig::{Scene, ask, ask_with, scene};
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
    let rig = scene().model("ok", thinks).tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]).build().await;
    for (word, status) in [("low", 200), ("xhigh", 400)] {
        let got = rig.fresh(ask_with("up/ok", json!({"reasoning_effort": word}))).await;
        assert_eq!(got.status, status, "{word}");
        assert!(status == 200 || got.json()["error"]["param"] == "reasoning_effort", "{word}");
    }
    assert_eq!(rig.fresh(ask("up/ok")).await.status, 200);
}

//! The door for OpenAI's Responses, and models that are called so: each client in front of each kind of model.

#![allow(clippy::unwrap_used, clippy::panic)]
use crate::rig::{Got, Rig, Scene, ask, ask_with, cheap, name_of, scene, streamed, two_tiers, with_key};
use bytes::Bytes;
use gateway_core::request::incoming::Incoming;
use serde_json::{Value, json};

const RESPONSES: &str = "api = \"responses\"";

/// These models, called as Responses, beside one that is called in the chat format.
fn called_so<const N: usize>(behaviours: [&str; N]) -> Scene {
    behaviours.iter().fold(cheap(["ok@chat"]), |scene, behaviour| scene.model(behaviour, RESPONSES))
}

async fn respond(rig: &Rig, headers: &[(&'static str, &str)], body: &Value) -> Got {
    let body = Box::new(Bytes::from(body.to_string()));
    let incoming = Incoming { headers: with_key(&rig.key, headers), body, time_left: None };
    Got::all_of(rig.gateway.responses(incoming).await).await
}

fn input(behaviour: &str, fields: Value) -> Value {
    let mut body = json!({"model": name_of(behaviour), "input": "What is an interface?"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// The events of a stream, whose names are their types.
fn events(got: &Got) -> Vec<Value> {
    let body = std::str::from_utf8(&got.body).unwrap();
    let mut events = Vec::new();
    for event in body.split("\n\n").filter(|event| event.starts_with("event: ")) {
        let (name, data) = event.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{event}");
        events.push(data);
    }
    events
}

fn text(response: &Value) -> String {
    let output = response["output"].as_array().unwrap_or_else(|| panic!("{response}"));
    let parts = output.iter().filter_map(|item| item["content"].as_array()).flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}

/// What was sent to the provider last.
fn sent(rig: &Rig) -> Value {
    serde_json::from_slice(&rig.double.requests().pop().unwrap().body).unwrap()
}

async fn is_settled(rig: &Rig) {
    let totals = rig.totals().await;
    assert_eq!((totals.tokens, totals.cost_nusd), (rig.billed().tokens, rig.billed().cost_nusd));
    assert_eq!(rig.counted().await, totals);
}

#[tokio::test]
async fn each_kind_of_model_answers_whole_and_streamed_and_is_billed_to_the_token() {
    for behaviour in ["cached-3+say:one two three@chat", "cached-3+reasoning-5+say:one two three@so"] {
        let rig = called_so(["cached-3+reasoning-5+say:one two three@so"])
            .model("cached-3+say:one two three@chat", "")
            .build()
            .await;
        let whole = respond(&rig, &[], &input(behaviour, json!({}))).await;
        assert_eq!(whole.status, 200, "{whole:?}");
        let response = whole.json();
        assert_eq!(
            (&response["object"], &response["status"], text(&response).as_str()),
            (&json!("response"), &json!("completed"), "one two three")
        );
        assert_eq!(response["model"], name_of(behaviour));
        let streamed =
            respond(&rig, &[("x-gateway-cache", "no-store")], &input(behaviour, json!({"stream": true}))).await;
        let told = events(&streamed);
        assert_eq!(told.last().unwrap()["type"], "response.completed", "{streamed:?}");
        let last = &told.last().unwrap()["response"];
        assert_eq!(
            (text(last), &last["usage"], &last["model"]),
            (text(&response), &response["usage"], &response["model"])
        );
        assert!(told.iter().enumerate().all(|(number, event)| event["sequence_number"] == number));
        assert_eq!(streamed.final_values()["x-gateway-model"], name_of(behaviour));
        assert!(!streamed.contains("[DONE]") && !streamed.contains(upstream_double::LEAK));
        assert_eq!(response["usage"]["input_tokens_details"]["cached_tokens"], 3);
        is_settled(&rig).await;
    }
}

#[tokio::test]
async fn the_same_format_in_and_out_passes_with_few_fields_replaced() {
    let rig = called_so(["extra"]).build().await;
    let body = input("extra", json!({"metadata": {"a": "b"}, "truncation": "auto", "stream": true}));
    let got = respond(&rig, &[], &body).await;
    assert!(got.status == 200 && got.contains(r#""x_provider":{"a":1.10,"b":[1e3,-0.0]"#), "{got:?}");
    let sent = sent(&rig);
    assert_eq!(
        (&sent["model"], &sent["store"], &sent["metadata"]),
        (&json!("extra"), &json!(false), &json!({"a": "b"}))
    );
    assert_eq!((&sent["max_output_tokens"], &sent["input"]), (&json!(4096), &body["input"]));
    assert_eq!(rig.double.requests().pop().unwrap().path, "/v1/responses");
}

#[tokio::test]
async fn a_chat_client_reaches_a_model_that_is_called_so() {
    let rig = called_so(["ok@so", "tools@so", "length@so", "refusal@so"]).build().await;
    let got = rig.chat(ask(&name_of("ok@so"))).await;
    assert_eq!(
        (got.status, &got.json()["object"], got.json()["choices"][0]["finish_reason"].as_str()),
        (200, &json!("chat.completion"), Some("stop"))
    );
    let live = rig.chat(streamed(&name_of("ok@so"))).await;
    assert!(live.is_done() && live.text() == got.text() && !got.text().is_empty(), "{live:?}");
    assert_eq!(live.chunks().pop().unwrap()["usage"], got.json()["usage"]);
    assert_eq!(sent(&rig)["input"][0]["content"][0]["type"], "input_text");
    let tool = json!({"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}});
    for stream in [false, true] {
        let got = rig.fresh(ask_with(&name_of("tools@so"), json!({"tools": [tool], "stream": stream}))).await;
        let calls: Vec<Value> = match stream {
            false => got.json()["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone(),
            true => got
                .chunks()
                .iter()
                .filter_map(|chunk| {
                    Some(chunk["choices"][0]["delta"]["tool_calls"][0].clone()).filter(|call| !call.is_null())
                })
                .collect(),
        };
        let arguments: String = calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
        assert!(serde_json::from_str::<Value>(&arguments).unwrap().is_object(), "{arguments}");
        assert_eq!((&calls[0]["function"]["name"], &calls[0]["type"]), (&json!("get_weather"), &json!("function")));
        let messages = json!([{"role": "user", "content": "x"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": calls[0]["id"], "type": "function", "function": {"name": "get_weather", "arguments": arguments}}]},
            {"role": "tool", "tool_call_id": calls[0]["id"], "content": "sunny"}]);
        let got = rig.fresh(json!({"model": name_of("ok@so"), "messages": messages, "tools": [tool]})).await;
        assert_eq!(got.status, 200, "{got:?}");
    }
    for (behaviour, finish) in [("length@so", "length"), ("refusal@so", "stop")] {
        assert_eq!(rig.chat(ask(&name_of(behaviour))).await.json()["choices"][0]["finish_reason"], finish);
    }
    is_settled(&rig).await;
}

#[tokio::test]
async fn a_call_that_fails_goes_on_at_a_model_that_is_called_otherwise() {
    for stream in [false, true] {
        let scene = scene()
            .model("status-500@so", RESPONSES)
            .tier("cheap", &["status-500@so", "ok@chat"])
            .tier("reasoning", &["ok@strong"]);
        let rig = scene.build().await;
        let mut body = input("", json!({"stream": stream}));
        body["model"] = "cheap".into();
        let got = respond(&rig, &[], &body).await;
        assert_eq!((got.status, got.calls_of(&rig)), (200, (1, 1)), "{got:?}");
        let response = if stream { events(&got).pop().unwrap()["response"].clone() } else { got.json() };
        assert_eq!((&response["status"], &response["model"]), (&json!("completed"), &json!(name_of("ok@chat"))));
    }
}

trait CallsOf {
    fn calls_of(&self, rig: &Rig) -> (u64, u64);
}

impl CallsOf for Got {
    /// How often each of the two models was called, the first at least once.
    fn calls_of(&self, rig: &Rig) -> (u64, u64) {
        (rig.calls("status-500@so").min(1), rig.calls("ok@chat"))
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_told_as_failed_and_billed_for_what_came() {
    for behaviour in ["cut", "cut-clean", "reset-mid", "malformed", "error-event", "cut@chat"] {
        let rig = called_so(["cut", "cut-clean", "reset-mid", "malformed", "error-event"])
            .model("cut@chat", "")
            .build()
            .await;
        let got = respond(&rig, &[], &input(behaviour, json!({"stream": true}))).await;
        let told = events(&got);
        let [.., error, failed] = &told[..] else { panic!("{behaviour}: {got:?}") };
        assert_eq!((&error["type"], &failed["type"]), (&json!("error"), &json!("response.failed")), "{behaviour}");
        assert_eq!((&error["code"], &failed["response"]["status"]), (&error["error"]["code"], &json!("failed")));
        assert_eq!(failed["response"]["id"], told[0]["response"]["id"], "{behaviour}");
        assert!(!got.contains("response.completed") && !got.contains(upstream_double::LEAK), "{behaviour}");
        assert!(rig.totals().await.tokens > 0, "{behaviour}: what came is billed");
        assert_eq!(rig.counted().await, rig.totals().await);
    }
}

#[tokio::test]
async fn every_layout_of_a_stream_is_read() {
    const MANNERS: [&str; 6] = ["sse-crlf", "sse-comments", "sse-nospace", "sse-multiline", "split-utf8", "one-byte"];
    let rig = called_so(MANNERS).model("ok@so", RESPONSES).build().await;
    for manner in MANNERS {
        let got = respond(&rig, &[], &input(manner, json!({"stream": true}))).await;
        let told = events(&got);
        let deltas: String = told.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(deltas, text(&told.last().unwrap()["response"]), "{manner}");
        assert!(!deltas.is_empty());
    }
}

#[tokio::test]
async fn errors_are_told_as_the_format_has_them() {
    let rig = called_so(["context-overflow", "content-filter", "status-401", "no-sampling"]).build().await;
    for (behaviour, fields, status, code) in [
        ("context-overflow", json!({}), 400, "context_length_exceeded"),
        ("content-filter", json!({}), 400, "content_policy_violation"),
        ("status-401", json!({}), 502, "all_candidates_failed"),
        ("nowhere", json!({}), 404, "model_not_found"),
        ("no-sampling", json!({"temperature": 0.5}), 400, "invalid_request"),
        ("no-sampling", json!({"x_unknown": 1}), 400, "invalid_request"),
    ] {
        let got = respond(&rig, &[], &input(behaviour, fields)).await;
        assert_eq!((got.status, got.error_code().as_str()), (status, code), "{behaviour}: {got:?}");
        assert!(!got.contains(upstream_double::LEAK));
    }
    let got = respond(&rig, &[], &json!({"model": "cheap", "input": [{"role": "user"}]})).await;
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("input[0].content")));
}

#[tokio::test]
async fn what_a_provider_has_stored_is_for_the_one_model_that_is_named() {
    let rig = called_so(["ok@so"]).tenant(json!({"allow_paid_extras": true, "cache": {"enabled": true}})).build().await;
    let stored = |behaviour: &str| input(behaviour, json!({"previous_response_id": "resp_1", "temperature": 0}));
    let mut by_tier = stored("ok@so");
    by_tier["model"] = "cheap".into();
    let mut by_list = stored("ok@so");
    by_list["models"] = json!([name_of("ok@chat")]);
    for (body, why) in [
        (by_tier, "name the one model"),
        (by_list, "name the one model"),
        (stored("ok@chat"), "only the provider that stored it"),
    ] {
        let got = respond(&rig, &[], &body).await;
        assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("previous_response_id")), "{got:?}");
        assert!(got.contains(why), "{got:?}");
    }
    for _ in 0..2 {
        let got = respond(&rig, &[], &stored("ok@so")).await;
        assert_eq!((got.status, got.header("x-gateway-cache")), (200, "bypass"), "{got:?}");
        assert_eq!(sent(&rig)["previous_response_id"], "resp_1");
    }
    assert_eq!(rig.calls("ok@so"), 2);
    let other = called_so(["ok@so"]).build().await;
    let got = respond(&other, &[], &stored("ok@so")).await;
    assert!(
        got.status == 400 && got.contains("allow_paid_extras"),
        "what cannot be counted is held for nobody: {got:?}"
    );
}

#[tokio::test]
async fn answers_are_remembered_for_this_door_and_given_again() {
    let rig = called_so(["ok@so"]).tenant(json!({"cache": {"enabled": true}})).build().await;
    for stream in [false, true] {
        let body = input("ok@so", json!({"temperature": 0, "stream": stream}));
        let first = respond(&rig, &[], &body).await;
        let second = respond(&rig, &[], &body).await;
        assert_eq!((first.header("x-gateway-cache"), second.header("x-gateway-cache")), ("miss", "hit"));
        let said = |got: &Got| if stream { events(got) } else { vec![got.json()] };
        assert_eq!(said(&first), said(&second));
    }
    let keyed = [("idempotency-key", "k"), ("x-gateway-cache", "no-store")];
    let body = input("ok@so", json!({"stream": true}));
    let first = respond(&rig, &keyed, &body).await;
    let again = respond(&rig, &keyed, &body).await;
    assert_eq!((events(&again), again.header("idempotent-replayed")), (events(&first), "true"));
    assert_eq!(rig.calls("ok@so"), 3);
}

#[tokio::test]
async fn the_simulated_models_answer_and_auto_is_routed_by_the_input() {
    let rig = two_tiers(["sim/cheap"], ["sim/reasoning"]).build().await;
    for (text_of, intent) in
        [("good morning, how are you", "greeting"), ("design a distributed database please", "design")]
    {
        let got = respond(&rig, &[], &json!({"model": "auto", "input": text_of, "instructions": "Be brief."})).await;
        assert_eq!((got.status, got.header("x-gateway-intent")), (200, intent), "{got:?}");
        assert!(!text(&got.json()).is_empty());
    }
}

#[tokio::test]
async fn an_item_that_is_only_named_is_put_where_it_was_named() {
    let rig = called_so(["say:two words@so", "reasoning-5+say:three more words@so"]).build().await;
    for (first, second) in [
        ("say:two words@so", "ok@chat"),
        ("reasoning-5+say:three more words@so", "say:two words@so"),
        ("ok@chat", "say:two words@so"),
    ] {
        for stream in [false, true] {
            let got = respond(&rig, &[], &input(first, json!({"stream": stream}))).await;
            let told = if stream { events(&got).pop().unwrap()["response"].clone() } else { got.json() };
            let output = told["output"].as_array().unwrap();
            let named = output.iter().map(|item| json!({"type": "item_reference", "id": item["id"]}));
            let items: Vec<Value> = [json!({"role": "user", "content": "x"})]
                .into_iter()
                .chain(named.clone())
                .chain([json!({"role": "user", "content": "And?"})])
                .collect();
            let body = json!({"model": name_of(second), "input": items});
            let got = respond(&rig, &[], &body).await;
            assert_eq!(got.status, 200, "{got:?}");
            let said = sent(&rig).to_string();
            assert!(said.contains(&text(&told)) && !said.contains("item_reference"), "{said}");
            // Others know nothing of it, and nor does anybody a while later, or of what is not to be kept.
            let other = rig
                .add_tenant(
                    &format!("other-{first}-{stream}")
                        .replace(|c: char| !c.is_ascii_alphanumeric(), "-")
                        .to_lowercase(),
                    json!({}),
                )
                .await;
            let incoming = Incoming {
                headers: with_key(&other, &[]),
                body: Box::new(Bytes::from(body.to_string())),
                time_left: None,
            };
            let got = Got::all_of(rig.gateway.responses(incoming).await).await;
            assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("input[1]")), "{got:?}");
            rig.clock.advance(3_600_000);
            let got = respond(&rig, &[], &body).await;
            assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("input[1]")), "{got:?}");
            assert!(got.contains("store: false"));
        }
    }
    for (headers, fields) in [(&[][..], json!({"store": false})), (&[("x-gateway-cache", "no-store")], json!({}))] {
        let got = respond(&rig, headers, &input("ok@chat", fields)).await;
        let named = json!({"type": "item_reference", "id": got.json()["output"][0]["id"]});
        let got = respond(&rig, &[], &json!({"model": name_of("ok@chat"), "input": [named]})).await;
        assert_eq!(got.status, 400, "{got:?}");
    }
}

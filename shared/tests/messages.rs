//! Anthropic's format at the door and at the provider: the same bytes where both speak it, the same meaning where one does.

use crate::rig::{Got, OUR_KEY, Rig, ask, ask_with, cheap, scene, streamed, with_key};
use bytes::Bytes;
use gateway_core::request::incoming::Incoming;
use http::HeaderMap;
use serde_json::{Value, json};
use upstream_double::LEAK;

/// A request for a message, with further fields.
fn said(model: &str, fields: Value) -> Value {
    let mut body =
        json!({"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": "What is an interface?"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn incoming(rig: &Rig, headers: &[(&'static str, &str)], body: &Value) -> Incoming {
    let body = Box::new(Bytes::from(body.to_string()));
    Incoming { headers: with_key(&rig.key, headers), body, time_left: None }
}

async fn message_with(rig: &Rig, headers: &[(&'static str, &str)], body: Value) -> Got {
    Got::all_of(rig.gateway.messages(incoming(rig, headers, &body)).await).await
}

async fn message(rig: &Rig, body: Value) -> Got {
    message_with(rig, &[], body).await
}

/// The events of a stream without comments, each of which is named after its data's type.
fn events(got: &Got) -> Vec<Value> {
    let text = std::str::from_utf8(&got.body).unwrap();
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
        data
    };
    text.split_terminator("\n\n").filter(|event| !event.starts_with(':')).map(event).collect()
}

fn kinds(got: &Got) -> Vec<String> {
    events(got).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// What a message says in its texts, whole or streamed.
fn text(got: &Got) -> String {
    if got.is_stream() {
        return events(got).iter().filter_map(|event| event["delta"]["text"].as_str().map(str::to_owned)).collect();
    }
    let message = got.json();
    message["content"].as_array().unwrap().iter().filter_map(|block| block["text"].as_str()).collect()
}

/// The arguments of the call in a stream.
fn input(got: &Got) -> Value {
    let partial = |event: &Value| event["delta"]["partial_json"].as_str().map(str::to_owned);
    serde_json::from_str(&events(got).iter().filter_map(partial).collect::<String>()).unwrap()
}

/// A gateway with a model of this name in each of the double's formats.
async fn both(behaviour: &str) -> Rig {
    scene().tier("cheap", &[behaviour]).tier("reasoning", &["ok@strong"]).claude(behaviour).build().await
}

fn weather() -> Value {
    json!({"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}})
}

#[tokio::test]
async fn what_is_in_one_format_passes_byte_for_byte() {
    let rig = both("cached-2+written-1+reasoning-3+extra+say:one two").await;
    let headers = [("anthropic-beta", "context-1m-2025-08-07, oauth-2025-04-20"), ("anthropic-version", "2023-06-01")];
    let fields = json!({"system": "s", "x\"y": null, "cache_control": {"type": "ephemeral"}});
    let got =
        message_with(&rig, &headers, said("claude/cached-2+written-1+reasoning-3+extra+say:one_two", fields)).await;
    assert_eq!(got.status, 400, "the field that nobody documents is the provider's to refuse: {got:?}");
    let name = "claude/cached-2+written-1+reasoning-3+extra+say:one_two";
    let got = message_with(&rig, &headers, said(name, json!({"cache_control": {"type": "ephemeral"}}))).await;
    let whole = got.json();
    assert_eq!((got.status, &whole["model"], &whole["content"][1]["text"]), (200, &json!(name), &json!("one two")));
    assert!(std::str::from_utf8(&got.body).unwrap().contains(r#""a":1.10,"b":[1e3,-0.0]"#));
    assert_eq!(got.header("request-id"), got.header("x-request-id"));
    let sent = rig.double.requests().pop().unwrap();
    assert_eq!((sent.path.as_str(), &*sent.key_last4), ("/v1/messages", &OUR_KEY[OUR_KEY.len() - 4..]));
    assert_eq!(sent.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(sent.header("anthropic-beta"), Some("context-1m-2025-08-07"), "the key is ours, and not a user's token");
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!((&body["max_tokens"], &body["cache_control"]), (&json!(200), &json!({"type": "ephemeral"})));
    let receipt = rig.receipt(&got).await;
    let usage = &receipt["usage"];
    assert_eq!(
        (&usage["cached_input_tokens"], &usage["cache_write_tokens"], &usage["reasoning_tokens"]),
        (&json!(2), &json!(1), &json!(3))
    );
    let streamed = message_with(&rig, &headers, said(name, json!({"stream": true}))).await;
    let expected = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(kinds(&streamed), expected);
    assert_eq!(text(&streamed), "one two");
    assert!(!streamed.final_values().is_null());
    // What the gateway says was used is what the provider billed (M6).
    rig.recorded(3).await;
    let (ours, theirs) = (rig.totals().await, rig.double.counts().total);
    assert_eq!(ours.tokens, theirs.input_tokens + theirs.output_tokens);
}

#[tokio::test]
async fn a_message_is_answered_by_a_chat_provider() {
    let rig = cheap(["reasoning-3+say:one two"]).build().await;
    let hello = json!([{"role": "user", "content": [{"type": "text", "text": "hello there"}]}]);
    for model in ["up/reasoning-3+say:one_two", "cheap", "auto"] {
        let said = |fields: Value| {
            let mut body = said(model, fields);
            body["messages"] = hello.clone();
            body
        };
        let whole = message(&rig, said(json!({"system": "s", "stop_sequences": ["END"]}))).await;
        assert_eq!(
            (whole.status, text(&whole).as_str(), &whole.json()["stop_reason"]),
            (200, "one two", &json!("end_turn"))
        );
        let sent: Value = serde_json::from_slice(&rig.double.requests().pop().unwrap().body).unwrap();
        assert_eq!(
            (&sent["messages"][0], &sent["stop"]),
            (&json!({"role": "system", "content": "s"}), &json!(["END"]))
        );
        let streamed = message(&rig, said(json!({"stream": true}))).await;
        let expected = [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ];
        assert_eq!(kinds(&streamed), expected);
        let used = &events(&streamed)[5]["usage"];
        assert_eq!((text(&streamed).as_str(), &used["output_tokens"]), ("one two", &json!(5)));
        assert!(used["input_tokens"].as_u64().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_chat_is_answered_by_a_provider_of_messages() {
    let name = "claude/reasoning-3+written-1+say:one_two";
    let rig = both("reasoning-3+written-1+say:one two").await;
    let whole = rig.chat(ask(name)).await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "one two"));
    let json = whole.json();
    assert_eq!((&json["model"], &json["choices"][0]["finish_reason"]), (&json!(name), &json!("stop")));
    assert_eq!(json["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
    assert_eq!(json["usage"]["prompt_tokens_details"]["cache_write_tokens"], 1);
    let sent = rig.double.requests().pop().unwrap();
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert!(sent["max_tokens"].as_u64().unwrap() > 0, "always");
    let streamed = rig.chat(streamed(name)).await;
    assert!(streamed.is_done() && streamed.text() == "one two", "{streamed:?}");
    assert!(
        rig.receipt(&streamed).await["reasons"].to_string().contains("cannot say all"),
        "a signature is nobody else's"
    );
}

#[tokio::test]
async fn tools_go_round_through_either_door_to_either_provider() {
    let rig = both("tools").await;
    for model in ["up/tools", "claude/tools"] {
        let question = json!([{"role": "user", "content": "Weather in Paris?"}]);
        let asked = said(model, json!({"tools": [weather()], "messages": question, "stream": true}));
        let got = message(&rig, asked).await;
        assert_eq!(input(&got), json!({"query": "weather in Paris", "days": 3}), "{model}");
        let block = events(&got).into_iter().find(|event| event["content_block"]["type"] == "tool_use").unwrap();
        let (id, name) = (&block["content_block"]["id"], &block["content_block"]["name"]);
        assert_eq!(
            (name, &events(&got).iter().rev().nth(1).unwrap()["delta"]["stop_reason"]),
            (&json!("get_weather"), &json!("tool_use"))
        );
        let call = json!({"type": "tool_use", "id": id, "name": name, "input": input(&got)});
        let result = json!({"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": "sunny"}]});
        let turns =
            json!([question[0], {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]);
        let got = message(&rig, said(model, json!({"tools": [weather()], "messages": turns}))).await;
        assert_eq!((got.status, &got.json()["content"][0]["type"]), (200, &json!("tool_use")), "{model} {got:?}");

        let function =
            json!({"type": "function", "function": {"name": "get_weather", "parameters": weather()["input_schema"]}});
        let asked = ask_with(model, json!({"tools": [function], "messages": question}));
        let first = rig.chat(asked).await.json();
        let (message, choice) = (&first["choices"][0]["message"], &first["choices"][0]["finish_reason"]);
        let call = &message["tool_calls"][0];
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert_eq!((choice, &arguments["days"]), (&json!("tool_calls"), &json!(3)), "{model}");
        let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "sunny"});
        let again =
            rig.chat(ask_with(model, json!({"tools": [function], "messages": [question[0], message, result]}))).await;
        assert_eq!(again.status, 200, "{model}: {again:?}");
    }
}

#[tokio::test]
async fn thoughts_pass_with_their_signatures_and_the_gateways_own_do_not() {
    let rig = both("reasoning-2+say:so").await;
    for (thought, status) in [("sig-double-reasoning-2+say:so-1", 200), ("of another model", 400), ("", 200)] {
        let thought = json!({"type": "thinking", "thinking": "", "signature": thought});
        let turns = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": [thought, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "c"}]);
        let got = message(&rig, said("claude/reasoning-2+say:so", json!({"messages": turns}))).await;
        assert_eq!(got.status, status, "{got:?}");
    }
    let signed = message(&rig, said("claude/reasoning-2+say:so", json!({}))).await.json();
    assert!(signed["content"][0]["signature"].as_str().unwrap().starts_with("sig-double-"));
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_ends_well() {
    for behaviour in ["cut-4", "cut-clean-4", "reset-mid-4", "cut-before-done", "malformed-4", "error-event-5"] {
        let rig = both(behaviour).await;
        let names = [format!("claude/{behaviour}"), format!("up/{behaviour}")];
        // A chat stream is whole with its reason, and without one of its texts that nobody can read.
        let only_messages = ["cut-before-done", "malformed-4"].contains(&behaviour);
        for name in if only_messages { &names[..1] } else { &names[..] } {
            let got = message(&rig, said(name, json!({"stream": true}))).await;
            let kinds = kinds(&got);
            assert!(!kinds.contains(&"message_stop".to_owned()), "{name}: {kinds:?}");
            assert_eq!(kinds.last().unwrap(), "error", "{name}: {kinds:?}");
            assert!(!String::from_utf8_lossy(&got.body).contains(LEAK));
        }
        let chat = rig.chat(streamed(&names[0])).await;
        assert!(!chat.is_done() && !chat.error_code().is_empty(), "{behaviour}: {chat:?}");
    }
}

#[tokio::test]
async fn another_candidate_takes_what_one_provider_fails_at() {
    for (first, status) in
        [("status-529", 529), ("insufficient-quota", 429), ("429-after-1", 429), ("cut-0", 200), ("status-402", 402)]
    {
        for stream in [false, true] {
            let rig = cheap(["say:well"]).claude(first).build().await;
            let body =
                said("cheap", json!({"stream": stream, "model": format!("claude/{first}"), "models": ["up/say:well"]}));
            let got = message(&rig, body).await;
            assert_eq!((got.status, text(&got).as_str()), (200, "well"), "{first}: {got:?}");
            assert_eq!(got.header("x-gateway-failover"), "true");
            let receipt = rig.receipt(&got).await;
            let attempt = &receipt["attempts"][0];
            assert!(attempt["status"] == status || attempt["status"].is_null(), "{first}: {receipt}");
        }
    }
}

#[tokio::test]
async fn errors_are_anthropics_and_tell_nothing_of_ours() {
    let rig = both("ok").await;
    let refused = |got: &Got| (got.status, got.json()["error"]["type"].as_str().unwrap_or_default().to_owned());
    let mut keyless = incoming(&rig, &[], &said("cheap", json!({})));
    keyless.headers = HeaderMap::new();
    let got = Got::all_of(rig.gateway.messages(keyless).await).await;
    assert_eq!(refused(&got), (401, "authentication_error".into()));
    assert_eq!(got.json()["type"], "error");
    let mut of_key = incoming(&rig, &[("x-api-key", &rig.key)], &said("cheap", json!({})));
    of_key.headers.remove("authorization");
    assert_eq!(Got::all_of(rig.gateway.messages(of_key).await).await.status, 200);
    for (body, status, kind, param) in [
        (said("nobody/has", json!({})), 404, "not_found_error", json!("model")),
        (said("cheap", json!({"max_tokens": "x"})), 400, "invalid_request_error", json!("max_tokens")),
        (said("cheap", json!({"speed": "fast"})), 400, "invalid_request_error", json!("speed")),
        (said("cheap", json!({"mcp_servers": [{"type": "url"}]})), 400, "invalid_request_error", json!("mcp_servers")),
    ] {
        let got = message(&rig, body.clone()).await;
        assert_eq!((refused(&got), &got.json()["error"]["param"]), ((status, kind.into()), &param), "{body}");
    }
    for (behaviour, status, kind) in [
        ("context-overflow", 400, "invalid_request_error"),
        ("status-401", 502, "api_error"),
        ("status-500", 502, "api_error"),
        ("modern", 400, "invalid_request_error"),
    ] {
        let rig = both(behaviour).await;
        let got = message(&rig, said(&format!("claude/{behaviour}"), json!({"temperature": 0.5}))).await;
        assert_eq!(refused(&got), (status, kind.into()), "{got:?}");
        assert!(!String::from_utf8_lossy(&got.body).contains(LEAK));
        let is_overflow = got.json()["error"]["code"] == "context_length_exceeded";
        assert_eq!(is_overflow, behaviour == "context-overflow");
    }
}

#[tokio::test]
async fn tokens_are_counted_by_the_provider_or_estimated_and_cost_nothing() {
    let rig = both("ok").await;
    let ask = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "What is an interface?"}], "system": "s"});
    let count = async |headers: &[(&'static str, &str)], body: Value| match rig
        .gateway
        .count_tokens(incoming(&rig, headers, &body))
        .await
    {
        Ok(answer) => Ok(Got::all_of(answer).await.json()["input_tokens"].as_u64().unwrap()),
        Err(error) => Err(error.to_http().param),
    };
    assert_eq!(count(&[], ask("claude/ok")).await, Ok(9), "22 bytes are 6 tokens, and 3 for the message");
    let estimate = count(&[], ask("up/ok")).await.unwrap();
    assert!((10..100).contains(&estimate), "{estimate}");
    assert_eq!(count(&[], json!({"model": "claude/ok"})).await, Err(Some("messages".into())));
    assert!(count(&[], ask("nobody/has")).await.is_err());
    let refused = json!({"model": "claude/ok", "messages": [{"role": "user", "content": ""}]});
    assert!(count(&[], refused).await.is_err(), "what the provider refuses is told");
    assert_eq!((rig.totals().await.cost_nusd, rig.double.counts().total.calls), (0, 0));
}

#[tokio::test]
async fn models_are_listed_as_anthropics_client_reads_them() {
    let rig = both("ok").await;
    let headers = with_key(&rig.key, &[("anthropic-version", "2023-06-01")]);
    let list = Got::all_of(rig.gateway.models(&headers).await.unwrap()).await.json();
    let data = list["data"].as_array().unwrap();
    let ids: Vec<&str> = data.iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"claude/ok") && ids.contains(&"auto"));
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&json!(false), &json!(ids[0]), &json!(ids[ids.len() - 1]))
    );
    assert!(data.iter().all(|model| model["type"] == "model" && model["created_at"].is_string()));
    let one = Got::all_of(rig.gateway.model(&headers, "claude/ok").await.unwrap()).await.json();
    assert_eq!((&one["type"], &one["max_input_tokens"]), (&json!("model"), &json!(131_072)));
}

#[tokio::test]
async fn answers_are_remembered_for_the_same_request_at_the_same_door() {
    let rig = both("say:well").await;
    for stream in [false, true] {
        let body = said("claude/say:well", json!({"stream": stream}));
        let first = message(&rig, body.clone()).await;
        let again = message(&rig, body.clone()).await;
        assert_eq!((first.header("x-gateway-cache"), again.header("x-gateway-cache")), ("miss", "hit"));
        assert_eq!((text(&again), again.is_stream()), ("well".into(), stream));
        if stream {
            assert_eq!(kinds(&again), kinds(&first));
        }
        let other = message_with(&rig, &[("anthropic-beta", "files-api-2025-04-14")], body).await;
        assert_eq!(other.header("x-gateway-cache"), "miss", "another beta may answer otherwise");
    }
    let key = [("idempotency-key", "k1")];
    let body = said("claude/say:well", json!({"stream": true, "temperature": 0.9}));
    let first = message_with(&rig, &key, body.clone()).await;
    let calls = rig.double.counts().total.calls;
    let again = message_with(&rig, &key, body).await;
    assert_eq!((text(&again), kinds(&again)), (text(&first), kinds(&first)));
    assert_eq!(rig.double.counts().total.calls, calls);
}

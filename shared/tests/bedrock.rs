//! Bedrock behind the gateway: its Converse from every door, whole and streamed, its other formats, its signatures, and how it
//! refuses and fails. The double refuses what Bedrock refuses, and computes every signature anew.

use crate::rig::{DOORS, DOUBLE, Door, OUR_KEY, Rig, Scene, ask, ask_with, credentials, scene};
use serde_json::{Value, json};
use upstream_double::LEAK;

/// A scene whose provider `aws` is Bedrock; of `API BEHAVIOUR` comes the model `aws/API-BEHAVIOUR`.
fn bedrock(fields: &str, models: &[(&str, &str)]) -> Scene {
    let mut table = format!(
        "[providers.aws]\nkind = \"bedrock\"\nregion = \"us-east-1\"\nbase_url = \"{DOUBLE}/bedrock\"\n{fields}\n"
    );
    for (api, id) in models {
        let name = Value::from(format!("aws/{api}-{}", id.replace(' ', "_")));
        table += &format!(
            "[models.{name}]\nprovider = \"aws\"\nid = {}\napi = \"{api}\"\nusd_per_million = {{ input = 1, cached_input = 0.5, \
             cache_write = 1.25, output = 2 }}\ncapabilities = [\"tools\", \"json_schema\", \"vision\", \"documents\", \"reasoning\"]\n",
            Value::from(*id)
        );
    }
    scene().tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]).table(&table)
}

async fn converse(ids: &[&str]) -> Rig {
    let models: Vec<(&str, &str)> = ids.iter().map(|id| ("converse", *id)).collect();
    bedrock("", &models).build().await
}

/// What the double was sent last.
fn sent(rig: &Rig) -> (String, Value) {
    let sent = rig.double.requests().pop().unwrap();
    (sent.path, serde_json::from_slice(&sent.body).unwrap())
}

#[tokio::test]
async fn every_door_is_answered_by_a_model_that_converses_and_both_books_are_equal() {
    let rig = converse(&["cached-2+written-1+reasoning-3+say:one two"]).await;
    let model = "aws/converse-cached-2+written-1+reasoning-3+say:one_two";
    let mut requests = 0;
    for door in DOORS {
        for stream in [false, true] {
            let got = door.ask(&rig, model, json!({"stream": stream})).await;
            let heard = door.read(&got);
            assert_eq!((got.is_stream(), &*heard.text, heard.is_over), (stream, "one two", true), "{door:?}: {got:?}");
            let (path, body) = sent(&rig);
            let operation = if stream { "converse-stream" } else { "converse" };
            assert_eq!(
                path,
                format!("/bedrock/model/cached-2%2Bwritten-1%2Breasoning-3%2Bsay%3Aone%20two/{operation}")
            );
            let messages = json!([{"role": "user", "content": [{"text": "What is an interface?"}]}]);
            assert_eq!((&body["messages"], &body["stream"]), (&messages, &Value::Null));
            requests += 1;
        }
    }
    rig.recorded(requests).await;
    let (ours, theirs) = (rig.totals().await, rig.double.counts().total);
    assert_eq!(ours.tokens, theirs.input_tokens + theirs.output_tokens);
    let got = rig.chat(ask(model)).await;
    let usage = &rig.receipt(&got).await["usage"];
    let (input, cached) = (usage["input_tokens"].as_u64().unwrap(), usage["cached_input_tokens"].as_u64().unwrap());
    assert_eq!((cached, usage["cache_write_tokens"].as_u64()), (2, Some(1)));
    assert_eq!(input, rig.double.counts().of("cached-2+written-1+reasoning-3+say:one two").input_tokens / 7);
}

#[tokio::test]
async fn tools_go_there_and_back_through_every_door() {
    let rig = converse(&["tools", "say:done"]).await;
    let schema = json!({"type": "object", "properties": {"query": {"type": "string"}}});
    for door in DOORS {
        let tools = door.tools("find", &schema);
        for stream in [false, true] {
            let got = door.ask(&rig, "aws/converse-tools", json!({"tools": tools, "stream": stream})).await;
            assert_eq!(got.status, 200, "{got:?}");
            let body = String::from_utf8_lossy(&got.body).into_owned();
            assert!(body.contains("tooluse_double_") && body.contains("find"), "{body}");
            let (_, body) = sent(&rig);
            assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]["type"], "object");
        }
        let mut turns = door.request("", json!({}))[door.list()].as_array().unwrap().clone();
        turns.extend(door.after_call("find", "call.1", &json!({"query": "x"}), "sunny"));
        // With the tools, and without: the format wants those named that were called.
        for with_tools in [true, false] {
            let mut fields = json!({door.list(): turns});
            if with_tools {
                fields["tools"] = tools.clone();
            }
            let got = door.ask(&rig, "aws/converse-say:done", fields).await;
            assert_eq!((got.status, &*door.read(&got).text), (200, "done"), "{door:?}: {got:?}");
            let (_, body) = sent(&rig);
            let used = &body["messages"][1]["content"][0]["toolUse"];
            let answered = &body["messages"][2]["content"][0]["toolResult"];
            assert_eq!((&used["input"], &used["toolUseId"]), (&json!({"query": "x"}), &answered["toolUseId"]));
            assert_eq!(answered["content"], json!([{"text": "sunny"}]));
            assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["name"], "find");
        }
    }
}

#[tokio::test]
async fn a_streamed_call_of_a_tool_arrives_whole() {
    let rig = converse(&["tools+split-utf8", "tools+one-byte"]).await;
    for model in ["aws/converse-tools+split-utf8", "aws/converse-tools+one-byte"] {
        let fields = json!({"stream": true, "tools": [{"type": "function", "function": {"name": "find"}}]});
        let got = rig.chat(ask_with(model, fields)).await;
        let chunks = got.chunks();
        let call = |name: &str| {
            let calls = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]["function"][name]);
            calls.filter_map(Value::as_str).collect::<String>()
        };
        let arguments: Value = serde_json::from_str(&call("arguments")).unwrap();
        assert_eq!((call("name").as_str(), &arguments["days"], got.is_done()), ("find", &json!(3), true), "{got:?}");
        assert!(chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"] == "tool_calls"));
    }
}

#[tokio::test]
async fn what_is_cut_never_ends_well_at_any_door() {
    let faults = [
        "cut",
        "cut-clean",
        "cut-1",
        "cut-clean-3",
        "bad-frame",
        "error-event",
        "reset-mid",
        "error-event-0",
        "cut-before-done",
    ];
    let ids: Vec<String> = faults.iter().map(|fault| format!("{fault}+say:one two three four")).collect();
    let rig = converse(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for id in &ids {
        let model = format!("aws/converse-{}", id.replace(' ', "_"));
        for door in DOORS {
            let got = door.ask(&rig, &model, json!({"stream": true})).await;
            let body = String::from_utf8_lossy(&got.body).into_owned();
            assert!(
                !(got.is_stream() && door.read(&got).is_over) && body.contains("error"),
                "{model} {door:?}: {body}"
            );
            assert!(!body.contains(LEAK), "{body}");
            let whole = door.ask(&rig, &model, json!({})).await;
            assert!(whole.status >= 500 || id.starts_with("cut-before-done"), "{model} {door:?}: {whole:?}");
            assert!(!String::from_utf8_lossy(&whole.body).contains(LEAK));
        }
    }
}

#[tokio::test]
async fn an_event_in_a_sound_frame_that_nobody_can_read_is_left_out_unless_it_is_of_a_call() {
    let ids = ["malformed+say:one two three four", "malformed-0+say:one two", "malformed-2+tools"];
    let rig = converse(&ids).await;
    for door in DOORS {
        for (id, text) in [(ids[0], "one two three four"), (ids[1], "one two")] {
            let model = format!("aws/converse-{}", id.replace(' ', "_"));
            let got = door.ask(&rig, &model, json!({"stream": true})).await;
            let heard = door.read(&got);
            assert_eq!((&*heard.text, heard.is_over), (text, true), "{door:?}: {got:?}");
            assert!(rig.receipt(&got).await["reasons"].to_string().contains("could not be read"), "{door:?}");
        }
        let tools = door.tools("find", &json!({"type": "object"}));
        let got = door.ask(&rig, "aws/converse-malformed-2+tools", json!({"tools": tools, "stream": true})).await;
        assert!(String::from_utf8_lossy(&got.body).contains("error"), "{door:?}: {got:?}");
        assert!(!(got.is_stream() && door.read(&got).is_over), "{door:?}: {got:?}");
    }
}

#[tokio::test]
async fn what_ended_is_whole_though_nobody_said_what_it_used() {
    let rig = converse(&["no-usage+say:one two"]).await;
    for door in DOORS {
        let got = door.ask(&rig, "aws/converse-no-usage+say:one_two", json!({"stream": true})).await;
        let heard = door.read(&got);
        assert_eq!((&*heard.text, heard.is_over), ("one two", true), "{got:?}");
        let receipt = rig.receipt(&got).await;
        assert_eq!((&receipt["estimated"], &receipt["status"]), (&json!(true), &json!(200)), "{receipt}");
        // What is charged is told in place of it, but to clients of chat that did not ask.
        let told = format!("\"output_tokens\":{}", receipt["usage"]["output_tokens"]);
        assert_eq!(got.contains(&told), door != Door::Chat, "{door:?} {told}: {got:?}");
    }
}

#[tokio::test]
async fn a_failure_is_of_the_class_that_bedrock_means() {
    let ids =
        ["429", "context-overflow", "status-400", "status-403", "status-404", "status-408", "status-424", "status-503"];
    let rig = converse(&ids).await;
    for (id, status, outcome, cause) in [
        ("429", 503, "rate_limited", Value::Null),
        ("context-overflow", 400, "http_error", Value::Null),
        ("status-400", 400, "http_error", Value::Null),
        ("status-403", 502, "http_error", json!("forbidden")),
        ("status-404", 502, "http_error", json!("not_found")),
        ("status-408", 502, "http_error", Value::Null),
        ("status-424", 502, "http_error", Value::Null),
        ("status-503", 502, "http_error", Value::Null),
    ] {
        let got = rig.chat(ask(&format!("aws/converse-{id}"))).await;
        assert!(got.status == status || id == "429", "{id}: {got:?}");
        assert!(!String::from_utf8_lossy(&got.body).contains(LEAK), "{got:?}");
        let attempt = &rig.receipt(&got).await["attempts"][0];
        assert_eq!((&attempt["outcome"], &attempt["cause"]), (&json!(outcome), &cause), "{id}: {attempt}");
    }
    let long = rig.chat(ask("aws/converse-context-overflow")).await;
    assert_eq!(long.error_code(), "context_length_exceeded");
}

#[tokio::test]
async fn models_on_bedrock_in_other_formats_pass_byte_for_byte() {
    let rig =
        bedrock("", &[("messages", "say:one@us.anthropic.claude-1"), ("chat", "say:one"), ("responses", "say:one")]);
    let rig = rig.build().await;
    for (door, model, path) in [
        (Door::Messages, "aws/messages-say:one@us.anthropic.claude-1", "/bedrock/anthropic/v1/messages"),
        (Door::Chat, "aws/chat-say:one", "/bedrock/openai/v1/chat/completions"),
        (Door::Responses, "aws/responses-say:one", "/bedrock/openai/v1/responses"),
    ] {
        for stream in [false, true] {
            let got = door.ask(&rig, model, json!({"stream": stream})).await;
            let heard = door.read(&got);
            assert_eq!((got.is_stream(), &*heard.text, heard.is_over), (stream, "one", true), "{got:?}");
            let (sent_to, body) = sent(&rig);
            assert_eq!((sent_to.as_str(), body["model"].as_str()), (path, model.split_once('-').map(|(_, id)| id)));
        }
        // And across: another door's words for the same model.
        let other = DOORS.into_iter().find(|other| *other != door).unwrap();
        let got = other.ask(&rig, model, json!({"stream": true})).await;
        let heard = other.read(&got);
        assert_eq!((got.status, &*heard.text, heard.is_over), (200, "one", true), "{got:?}");
    }
}

#[tokio::test]
async fn a_request_has_a_key_or_a_signature_and_never_both() {
    let models = [("converse", "say:one@amazon.nova-pro-v1:0"), ("converse", "say:two/x")];
    let signed = bedrock("", &models).build().await;
    for model in ["aws/converse-say:one@amazon.nova-pro-v1:0", "aws/converse-say:two/x"] {
        let got = signed.chat(ask(model)).await;
        assert_eq!(got.status, 200, "{got:?}");
        let sent = signed.double.requests().pop().unwrap();
        assert!(sent.header("x-amz-date").is_some_and(|date| date.starts_with("20251122T140000Z")), "{sent:?}");
        assert_eq!(sent.header("x-amz-security-token"), Some("token of a session"));
    }
    let keyed = bedrock("api_key = \"env:UP_KEY\"", &models).build().await;
    let got = keyed.chat(ask("aws/converse-say:one@amazon.nova-pro-v1:0")).await;
    assert_eq!(got.status, 200, "{got:?}");
    let sent = keyed.double.requests().pop().unwrap();
    assert_eq!((&*sent.key_last4, sent.header("x-amz-date")), (&OUR_KEY[OUR_KEY.len() - 4..], None));
    let wrong = bedrock("", &models).credentials(credentials("another secret")).build().await;
    let got = wrong.chat(ask("aws/converse-say:two/x")).await;
    assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"));
    assert!(!String::from_utf8_lossy(&got.body).contains("signature"), "{got:?}");
    assert_eq!(wrong.receipt(&got).await["attempts"][0]["cause"], "forbidden");
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_by_name_and_what_is_left_out_is_on_the_receipt() {
    let rig = converse(&["say:one"]).await;
    let model = "aws/converse-say:one";
    let url = json!([{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]);
    let called = json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "find", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "a", "content": "y"},
    ]);
    let tools = json!([{"type": "function", "function": {"name": "find"}}]);
    for (fields, field) in [
        (json!({"n": 2}), "n"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"messages": url}), "messages"),
        (json!({"messages": called, "tools": tools, "tool_choice": "none"}), "tool_choice"),
        (json!({"tools": [{"type": "function", "function": {"name": "a.b"}}]}), "tools"),
        (json!({"temperature": 1.5}), "temperature"),
    ] {
        let got = rig.chat(ask_with(model, fields)).await;
        assert_eq!(got.status, 400, "{got:?}");
        let text = String::from_utf8_lossy(&got.body).into_owned();
        assert!(text.contains(&format!("`{field}`")), "{field}: {text}");
    }
    assert_eq!(rig.double.counts().total.calls, 0);
    let fields = json!({"seed": 7, "user": "u", "parallel_tool_calls": false, "tools": tools, "logit_bias": {"1": 2}});
    let got = rig.chat(ask_with(model, fields)).await;
    assert_eq!(got.status, 200, "{got:?}");
    let receipt = rig.receipt(&got).await.to_string();
    for left_out in ["`seed`", "`logit_bias`", "which of the client's users asks", "one at a time"] {
        assert!(receipt.contains(left_out), "{left_out}: {receipt}");
    }
}

//! Google's format behind every door: whole and streamed, tools there and back, errors, and streams that break off.

use crate::rig::{DOORS, Door, Got, OUR_KEY, Rig, ask, ask_with, boxed, cheap, scene, streamed, with_key};
use gateway_core::request::incoming::Incoming;
use serde_json::{Value, json};
use upstream_double::LEAK;

/// A gateway with models of these names in Google's format.
async fn gemini<const N: usize>(behaviours: [&str; N]) -> Rig {
    let base = scene().tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]);
    behaviours.iter().fold(base, |scene, behaviour| scene.gemini(behaviour)).build().await
}

impl Door {
    /// Asks for the weather, with a tool at hand.
    fn question(self, model: &str, stream: bool) -> Value {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        self.request(model, json!({"stream": stream, "tools": self.tools(TOOL, &schema)}))
    }

    /// The same, after a call of this id and its result.
    fn again(self, model: &str, id: &str, arguments: &Value) -> Value {
        let mut again = self.question(model, false);
        again[self.list()].as_array_mut().unwrap().extend(self.after_call(TOOL, id, arguments, "sunny"));
        again
    }
}

/// What a tool is called.
const TOOL: &str = "get_weather";

fn sent(rig: &Rig) -> Value {
    serde_json::from_slice(&rig.double.requests().pop().unwrap().body).unwrap()
}

#[tokio::test]
async fn a_chat_is_answered_whole_and_streamed_and_billed_to_the_token() {
    let behaviour = "cached-2+reasoning-3+extra+say:one two";
    let rig = gemini([behaviour]).await;
    let name = "gemini/cached-2+reasoning-3+extra+say:one_two";
    let whole = rig.fresh(ask_with(name, json!({"reasoning_effort": "low"}))).await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "one two"), "{whole:?}");
    let (json, sent) = (whole.json(), rig.double.requests().pop().unwrap());
    assert_eq!((&json["model"], &json["choices"][0]["finish_reason"]), (&json!(name), &json!("stop")));
    assert_eq!(json["choices"][0]["message"]["reasoning_content"], "Let me see.");
    assert_eq!(json["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
    assert_eq!(
        (&json["usage"]["completion_tokens"], &json["usage"]["prompt_tokens_details"]["cached_tokens"]),
        (&json!(5), &json!(2))
    );
    assert_eq!(sent.path, "/v1beta/models/cached-2+reasoning-3+extra+say:one%20two:generateContent");
    assert_eq!((&*sent.key_last4, sent.header("authorization")), (&OUR_KEY[OUR_KEY.len() - 4..], None));
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert!(body["generationConfig"]["maxOutputTokens"].as_u64().unwrap() > 0, "always");
    assert_eq!(body["generationConfig"]["thinkingConfig"]["thinkingLevel"], "LOW");
    let streamed = rig.fresh(streamed(name)).await;
    assert!(streamed.is_done() && streamed.text() == "one two", "{streamed:?}");
    rig.recorded(2).await;
    let (ours, theirs) = (rig.totals().await, rig.double.counts().total);
    assert_eq!(ours.tokens, theirs.input_tokens + theirs.output_tokens);
}

#[tokio::test]
async fn tools_go_round_through_every_door_whole_and_streamed() {
    for behaviour in ["reasoning-2+tools", "tools+no-ids", "gemini-2.5-flash+tools", "tools+as-list"] {
        let (rig, name) = (gemini([behaviour]).await, format!("gemini/{behaviour}"));
        for door in DOORS {
            let got = door.send(&rig, door.question(&name, false)).await;
            assert_eq!(got.status, 200, "{door:?} {behaviour}: {got:?}");
            let heard = door.read(&got);
            let arguments: Value = serde_json::from_str(heard.call.strip_prefix(TOOL).unwrap()).unwrap();
            assert_eq!(arguments, json!({"query": "weather in Paris", "days": 3}), "{door:?} {behaviour}");
            let stream = door.send(&rig, door.question(&name, true)).await;
            let whole = String::from_utf8_lossy(&stream.body).into_owned();
            let ends = match door {
                Door::Chat => [r#""finish_reason":"tool_calls""#, "[DONE]"],
                Door::Messages => [r#""stop_reason":"tool_use""#, "message_stop"],
                Door::Responses => [r#""type":"function_call""#, "response.completed"],
            };
            assert!(
                ends.iter().all(|end| whole.contains(end)) && whole.contains("weather in Paris"),
                "{door:?}: {whole}"
            );
            // The client says it all again, without what only the provider knows.
            let got = door.send(&rig, door.again(&name, &heard.call_id, &arguments)).await;
            assert_eq!(got.status, 200, "{door:?} {behaviour}: {got:?}");
            assert_eq!(
                sent(&rig)["contents"][2]["parts"][0]["functionResponse"]["response"],
                json!({"output": "sunny"})
            );
        }
    }
}

#[tokio::test]
async fn a_call_that_another_provider_made_is_taken() {
    let rig = gemini(["tools"]).await;
    for door in DOORS {
        let got = door.send(&rig, door.question("up/ok", false)).await;
        assert_eq!(got.status, 200);
        let got = door.send(&rig, door.again("gemini/tools", "call_of_another", &json!({}))).await;
        assert_eq!(got.status, 200, "{door:?}: {got:?}");
    }
}

/// The signature of the call that was sent to the provider last.
fn signature(rig: &Rig) -> String {
    let parts = sent(rig)["contents"][1]["parts"].clone();
    parts[0]["thoughtSignature"].as_str().unwrap_or_default().to_owned()
}

const UNSIGNED: &str = "skip_thought_signature_validator";

#[tokio::test]
async fn a_call_goes_back_as_it_was_signed_though_no_client_carries_that() {
    for door in DOORS {
        for stream in [false, true] {
            let rig = gemini(["tools", "tools@other"]).await;
            let other = rig.add_tenant("other", json!({})).await;
            let question = door.question("gemini/tools", stream);
            let got = door.send_as(&rig, &rig.key, "no-cache", question).await;
            assert_eq!(got.status, 200, "{got:?}");
            assert!(got.contains("g_double_1"), "{got:?}");
            let again = |model| door.again(model, "g_double_1", &json!({"query": "weather in Paris", "days": 3}));
            for (key, model, expected) in [
                (&rig.key, "gemini/tools", "sig-double-tools-1"),
                // It is the model's own, and the tenant's.
                (&rig.key, "gemini/tools@other", UNSIGNED),
                (&other, "gemini/tools", UNSIGNED),
            ] {
                let got = door.send_as(&rig, key, "no-cache", again(model)).await;
                assert_eq!(
                    (got.status, signature(&rig).as_str()),
                    (200, expected),
                    "{door:?} {stream} {model}: {got:?}"
                );
            }
            // A reminder behind the result does not end the turn.
            let mut reminded = again("gemini/tools");
            reminded[door.list()].as_array_mut().unwrap().push(json!({"role": "user", "content": "be brief"}));
            let got = door.send_as(&rig, &rig.key, "no-cache", reminded).await;
            assert_eq!((got.status, signature(&rig).as_str()), (200, "sig-double-tools-1"), "{door:?}: {got:?}");
            rig.clock.advance(3_601_000);
            let got = door.send_as(&rig, &rig.key, "no-cache", again("gemini/tools")).await;
            assert_eq!((got.status, signature(&rig).as_str()), (200, UNSIGNED), "{door:?}: it is kept for an hour");
        }
    }
    let rig = gemini(["tools"]).await;
    Door::Chat.send_as(&rig, &rig.key, "no-store", Door::Chat.question("gemini/tools", false)).await;
    let again = Door::Chat.again("gemini/tools", "g_double_1", &json!({}));
    let got = Door::Chat.send_as(&rig, &rig.key, "no-cache", again).await;
    assert_eq!((got.status, signature(&rig).as_str()), (200, UNSIGNED), "nothing was to be kept");
}

#[tokio::test]
async fn a_schema_an_image_and_a_document_reach_it() {
    let rig = gemini(["json"]).await;
    let schema = json!({"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"], "additionalProperties": false});
    let content = json!([{"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk="}}]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let got = rig
        .chat(ask_with(
            "gemini/json",
            json!({"messages": [{"role": "user", "content": content}], "response_format": format}),
        ))
        .await;
    assert_eq!((got.status, got.text().as_str()), (200, r#"{"answer": "Forty-two."}"#), "{got:?}");
    assert_eq!(sent(&rig)["generationConfig"]["responseJsonSchema"], schema);
    assert_eq!(sent(&rig)["contents"][0]["parts"].as_array().unwrap().len(), 3);
    let gif = json!([{"type": "image_url", "image_url": {"url": "data:image/gif;base64,aGk="}}]);
    let got = rig.chat(ask_with("gemini/json", json!({"messages": [{"role": "user", "content": gif}]}))).await;
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("messages")), "{got:?}");
    let got = rig.chat(ask_with("gemini/json", json!({"logprobs": true}))).await;
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("logprobs")), "{got:?}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_ends_well() {
    for behaviour in ["cut-4", "cut-clean-4", "reset-mid-4", "malformed-4", "error-event-4", "malformed-call"] {
        let (rig, name) = (gemini([behaviour]).await, format!("gemini/{behaviour}"));
        for door in DOORS {
            let mut body = door.question(&name, true);
            body["tools"] = Value::Null;
            let got = door.send(&rig, body).await;
            let told = String::from_utf8_lossy(&got.body).into_owned();
            let good = ["[DONE]", "message_stop", "response.completed"];
            assert!(!good.iter().any(|end| told.contains(end)), "{door:?} {behaviour}: {told}");
            assert!(told.contains("error") && !told.contains(LEAK), "{door:?} {behaviour}: {told}");
        }
        let whole = rig.fresh(ask(&name)).await;
        let is_whole_only_broken_in_a_stream = behaviour == "cut-clean-4";
        assert!(whole.status >= 400 || is_whole_only_broken_in_a_stream, "{behaviour}: {whole:?}");
    }
}

#[tokio::test]
async fn a_prompt_that_is_blocked_is_the_callers_and_an_answer_that_is_filtered_says_so() {
    let rig = gemini(["content-filter", "content-filter-finish"]).await;
    for stream in [false, true] {
        for door in DOORS {
            let mut body = door.question("gemini/content-filter", stream);
            body["tools"] = Value::Null;
            let got = door.send(&rig, body).await;
            assert!(got.contains("PROHIBITED_CONTENT"), "{door:?}: {got:?}");
            assert_eq!(got.status, 400, "{door:?}: {got:?}");
        }
    }
    assert_eq!(rig.totals().await.cost_nusd, 0);
    let got = rig.fresh(ask("gemini/content-filter")).await;
    assert_eq!(got.error_code(), "content_policy_violation");
    let got = rig.fresh(ask("gemini/content-filter-finish")).await;
    assert_eq!(got.json()["choices"][0]["finish_reason"], "content_filter");
}

#[tokio::test]
async fn another_candidate_takes_what_it_fails_at_and_a_wait_that_it_names_is_kept() {
    for first in ["status-503", "429-after-37", "insufficient-quota", "status-403", "empty+malformed-call", "cut-0"] {
        let rig = cheap(["say:well"]).gemini(first).build().await;
        for stream in [false, true] {
            let body = ask_with(&format!("gemini/{first}"), json!({"stream": stream, "models": ["up/say:well"]}));
            let got = rig.fresh(body).await;
            assert_eq!((got.status, got.text().as_str()), (200, "well"), "{first}: {got:?}");
            assert!(!got.contains(LEAK));
        }
    }
    let rig = gemini(["429-after-37", "insufficient-quota", "context-overflow"]).await;
    let minute = rig.fresh(ask("gemini/429-after-37")).await;
    assert_eq!((minute.status, minute.header("retry-after")), (502, "37"), "{minute:?}");
    let day = rig.fresh(ask("gemini/insufficient-quota")).await;
    assert!(day.status == 502 && day.header("retry-after").is_empty(), "a day's quota is no wait of 20 s: {day:?}");
    let long = rig.fresh(ask("gemini/context-overflow")).await;
    assert_eq!((long.status, long.error_code().as_str()), (400, "context_length_exceeded"), "{long:?}");
}

#[tokio::test]
async fn how_much_to_think_and_how_to_draw_are_said_as_the_model_takes_them() {
    let rig = gemini(["gemini-2.5-flash+ok", "gemini-3.1-pro+ok", "gemini-4-neon+ok"]).await;
    for (model, effort, status) in [
        ("gemini-2.5-flash", "none", 200),
        ("gemini-2.5-flash", "xhigh", 200),
        ("gemini-3.1-pro", "low", 200),
        ("gemini-3.1-pro", "xhigh", 200),
        ("gemini-4-neon", "max", 200),
    ] {
        let got = rig.fresh(ask_with(&format!("gemini/{model}+ok"), json!({"reasoning_effort": effort}))).await;
        assert_eq!(got.status, status, "{model} {effort}: {got:?}");
    }
}

#[tokio::test]
async fn an_answer_of_unlikely_words_is_upgraded() {
    for (behaviour, upgraded) in [("low-logprob", "true"), ("ok", "false")] {
        let name = format!("gemini/{behaviour}");
        let rig = scene().gemini(behaviour).tier("cheap", &[&name]).tier("reasoning", &["ok@strong"]).build().await;
        let got = rig.fresh(ask("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-upgraded")), (200, upgraded), "{got:?}");
        let requests = rig.double.requests();
        let asked: Value = serde_json::from_slice(&requests[0].body).unwrap();
        assert_eq!(asked["generationConfig"]["responseLogprobs"], true, "the gateway asks for what its client did not");
    }
}

#[tokio::test]
async fn tokens_are_counted_by_the_provider_and_cost_nothing() {
    let rig = gemini(["ok"]).await;
    let count = async |messages: Value| {
        let body = json!({"model": "gemini/ok", "system": "s", "messages": messages}).to_string();
        let incoming = Incoming { headers: with_key(&rig.key, &[]), body: boxed(body), time_left: None };
        rig.gateway.count_tokens(incoming).await
    };
    let counted = count(json!([{"role": "user", "content": "What is an interface?"}])).await.unwrap();
    let counted = Got::all_of(counted).await.json();
    assert_eq!(counted["input_tokens"], 9, "22 bytes are 6 tokens, and 3 for the content");
    let sent = rig.double.requests();
    assert!(sent.is_empty() && rig.totals().await.cost_nusd == 0, "{sent:?}");
}

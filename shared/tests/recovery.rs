//! Streams that break off after bytes of them went to the client: the next candidate goes on, in the grammar of each door.

mod seams;

use crate::attempts::attempts;
use crate::rig::{Got, Rig, Scene, name_of, scene, streamed, with_key};
use gateway_core::request::incoming::Incoming;
use serde_json::{Value, json};

const TEXT: &str = "An interface is a promise between two programs. One side says what may be asked, and the other side \
    answers in a form that both agreed on. Neither needs to know how the other works. That is why a small change on one \
    side does not break the other, as long as the promise is kept.";

/// The ways in which a stream breaks off.
const BREAKS: [&str; 6] = ["cut", "cut-clean", "reset-mid", "error-event", "stall", "cut-clean-9"];

/// The doors, each with the table of a model that speaks its format.
const DOORS: [&str; 3] = ["chat", "responses", "messages"];

const TIMERS: &str = "timeouts_ms = { first_token = 2000, idle = 300, total = 900 }\n";

/// A tier of these models, each of which speaks the format of a door.
fn tier(models: &[(&str, &str)]) -> Scene {
    let mut scene = scene().table("[retry]\nmax_per_candidate = 0");
    let mut names = Vec::new();
    for (format, behaviour) in models {
        match *format {
            "messages" => {
                scene = scene.claude(behaviour);
                names.push(format!("claude/{}", behaviour.replace(' ', "_")));
            }
            "gemini" => {
                scene = scene.gemini(behaviour);
                names.push(format!("gemini/{}", behaviour.replace(' ', "_")));
            }
            "responses" => {
                scene = scene.model(behaviour, &format!("api = \"responses\"\n{TIMERS}"));
                names.push(name_of(behaviour));
            }
            _ => {
                scene = scene.model(behaviour, TIMERS);
                names.push(name_of(behaviour));
            }
        }
    }
    scene.tier("reasoning", &["ok@strong"]).tier_of("cheap", names)
}

/// A request for a stream through a door.
fn asked(door: &str, model: &str, fields: Value) -> Value {
    let question = "What is an interface?";
    let mut body = match door {
        "chat" => streamed(model),
        "responses" => json!({"model": model, "input": question, "stream": true}),
        _ => {
            json!({"model": model, "max_tokens": 900, "messages": [{"role": "user", "content": question}], "stream": true})
        }
    };
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

async fn send(rig: &Rig, door: &str, body: Value) -> Got {
    let headers = with_key(&rig.key, &[("x-gateway-cache", "no-store")]);
    let incoming = Incoming { headers, body: Box::new(bytes::Bytes::from(body.to_string())), time_left: None };
    let answer = match door {
        "chat" => rig.gateway.chat(incoming).await,
        "responses" => rig.gateway.responses(incoming).await,
        _ => rig.gateway.messages(incoming).await,
    };
    Got::all_of(answer).await
}

/// The data of a stream's events.
fn events(got: &Got) -> Vec<Value> {
    let body = std::str::from_utf8(&got.body).unwrap();
    let data = body.split("\n\n").filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// What a stream says, as one who knows the door's grammar puts it together; panics where that is broken.
fn told(door: &str, got: &Got) -> String {
    let events = events(got);
    match door {
        "chat" => told_by_chat(&events),
        "responses" => told_by_responses(&events),
        _ => told_by_messages(&events),
    }
}

fn told_by_chat(events: &[Value]) -> String {
    let ids: Vec<&Value> = events.iter().map(|event| &event["id"]).collect();
    assert!(ids.iter().all(|id| *id == ids[0] && id.is_string()), "{ids:?}");
    let made: Vec<&Value> = events.iter().map(|event| &event["created"]).collect();
    assert!(made.iter().all(|at| *at == made[0] && at.is_u64()), "{made:?}");
    let roles = events.iter().filter(|event| event["choices"][0]["delta"]["role"].is_string()).count();
    let ends = events.iter().filter(|event| event["choices"][0]["finish_reason"].is_string()).count();
    assert_eq!((roles, ends), (1, 1), "{events:?}");
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

fn told_by_messages(events: &[Value]) -> String {
    let (mut open, mut next, mut text, mut ends) = (None, 0, String::new(), Vec::new());
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event["type"] == "message_start", place == 0, "{events:?}");
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!((open, event["index"].as_u64()), (None, Some(next)), "{events:?}");
                (open, next) = (Some(next), next + 1);
            }
            "content_block_delta" => {
                assert_eq!(open, event["index"].as_u64(), "{events:?}");
                text += event["delta"]["text"].as_str().unwrap_or_default();
            }
            "content_block_stop" => assert_eq!(open.take(), event["index"].as_u64(), "{events:?}"),
            kind @ ("message_delta" | "message_stop") => {
                assert_eq!(open, None, "{events:?}");
                ends.push(kind);
            }
            "message_start" | "ping" => {}
            other => panic!("{other} in {events:?}"),
        }
    }
    assert_eq!(ends, ["message_delta", "message_stop"], "{events:?}");
    text
}

fn told_by_responses(events: &[Value]) -> String {
    let (mut text, mut parts, mut items) = (String::new(), Vec::new(), Vec::new());
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{events:?}");
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(event["output_index"], items.len(), "{events:?}");
                items.push(event["item"]["id"].clone());
            }
            "response.content_part.added" => parts.push(String::new()),
            "response.output_text.delta" => {
                assert_eq!(event["item_id"], items[event["output_index"].as_u64().unwrap() as usize]);
                let delta = event["delta"].as_str().unwrap();
                text += delta;
                *parts.last_mut().unwrap() += delta;
            }
            "response.output_text.done" => assert_eq!(event["text"].as_str(), parts.last().map(|part| &**part)),
            _ => {}
        }
    }
    let (first, last) = (&events[0], events.last().unwrap());
    assert_eq!((&first["type"], &last["type"]), (&json!("response.created"), &json!("response.completed")));
    assert_eq!(first["response"]["id"], last["response"]["id"]);
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!(count("response.output_item.added"), count("response.output_item.done"), "{events:?}");
    assert_eq!(count("response.content_part.added"), count("response.content_part.done"), "{events:?}");
    let output = last["response"]["output"].as_array().unwrap();
    let whole = output.iter().flat_map(|item| item["content"].as_array().into_iter().flatten());
    let whole: String = whole.filter_map(|part| part["text"].as_str()).collect();
    assert_eq!(whole, text);
    let messages = output.iter().filter(|item| item["type"] == "message");
    messages.for_each(|item| assert!(items.contains(&item["id"]), "{item} {items:?}"));
    text
}

/// The usage that a stream tells: input and output.
fn usage(door: &str, got: &Got) -> (u64, u64) {
    let told: Vec<Value> = events(got)
        .into_iter()
        .filter_map(|event| match door {
            "chat" => event["usage"].is_object().then(|| event["usage"].clone()),
            "responses" => (event["type"] == "response.completed").then(|| event["response"]["usage"].clone()),
            _ => (event["type"] == "message_delta").then(|| event["usage"].clone()),
        })
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let number = |names: [&str; 2]| names.iter().find_map(|name| told[0][*name].as_u64()).unwrap();
    (number(["prompt_tokens", "input_tokens"]), number(["completion_tokens", "output_tokens"]))
}

async fn assert_whole(rig: &Rig, door: &str, got: &Got, context: &str) {
    assert_eq!(told(door, got), TEXT, "{context}");
    let receipt = rig.receipt(got).await;
    let attempts = receipt["attempts"].as_array().unwrap();
    assert_eq!((&attempts[0]["kind"], &attempts[1]["kind"]), (&json!("first"), &json!("continuation")), "{receipt}");
    assert_ne!(attempts[0]["outcome"], "ok", "{receipt}");
    assert_eq!((&attempts[1]["outcome"], attempts.len()), (&json!("ok"), 2), "{receipt}");
    assert_eq!(receipt["model"], attempts[1]["model"], "{context}");
    assert!(receipt["reasons"].to_string().contains("goes on with the stream"), "{receipt}");
    let last = got.final_values();
    assert_eq!((&last["x-gateway-attempts"], &last["x-gateway-failover"]), (&json!("2"), &json!("true")), "{context}");
    let sum = |name: &str| attempts.iter().map(|attempt| attempt["usage"][name].as_u64().unwrap()).sum::<u64>();
    let all = (sum("input_tokens"), sum("output_tokens"));
    assert_eq!(usage(door, got), all, "{receipt}");
    assert_eq!(rig.counted().await, rig.totals().await, "{context}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_goes_on_with_the_next_candidate_through_every_door() {
    for door in DOORS {
        for broken in ["chat", "responses", "messages"] {
            for fault in BREAKS {
                for next in ["chat", "responses", "messages", "gemini"] {
                    let behaviour = if next == "messages" { "modern+goes-on" } else { "goes-on" };
                    let fault = if broken == "messages" && fault == "stall" { "cut-7" } else { fault };
                    let rig = tier(&[(broken, fault), (next, behaviour)]).build().await;
                    let got = send(&rig, door, asked(door, "cheap", json!({}))).await;
                    assert_whole(&rig, door, &got, &format!("{broken} {fault}, then {next}, through {door}")).await;
                }
            }
        }
    }
}

/// A gateway of two models that are called in the chat format, and the answer of the first to break off.
async fn gone_on(door: &str, broken: &str, next: &str, tenant: Value, fields: Value) -> (Rig, Got) {
    let rig = tier(&[("chat", broken), ("chat", next)]).tenant(tenant).build().await;
    let got = send(&rig, door, asked(door, "cheap", fields)).await;
    (rig, got)
}

fn kinds(receipt: &Value) -> Vec<String> {
    attempts(receipt).iter().map(|attempt| attempt.split_once(' ').unwrap().1.to_owned()).collect()
}

#[tokio::test]
async fn two_halves_that_make_no_whole_end_with_an_error() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let json_object = json!({"response_format": {"type": "json_object"}});
    for (broken, fields, why) in [
        ("tools+cut", json!({"tools": tools}), "a call of a tool had begun"),
        ("json+cut-2", json_object, "half of it is no JSON"),
        ("cut", json!({"n": 2}), "it is one of several answers"),
        ("cut", json!({"logprobs": true}), "how likely its tokens are"),
        ("cut-before-done+no-usage", json!({}), "its end had been told"),
    ] {
        let (rig, got) = gone_on("chat", broken, "goes-on", json!({}), fields).await;
        assert!(got.is_error() && rig.calls("goes-on") == 0, "{broken}: {got:?}");
        let receipt = rig.receipt(&got).await;
        assert!(receipt["reasons"].to_string().contains(why), "{broken}: {receipt}");
        assert_eq!(rig.counted().await, rig.totals().await);
    }
}

#[tokio::test]
async fn what_had_not_begun_can_still_come_from_the_next_one() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    // Some text before the call.
    let (rig, got) = gone_on("chat", "cut-3", "tools", json!({}), json!({"tools": tools})).await;
    assert!(got.is_done(), "{got:?}");
    let chunks = got.chunks();
    let called = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0].as_object());
    let arguments: String = called.map(|call| call["function"]["arguments"].as_str().unwrap().to_owned()).collect();
    assert!(serde_json::from_str::<Value>(&arguments).is_ok(), "{arguments}");
    assert_eq!(
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).next_back(),
        Some("tool_calls")
    );
    assert_eq!(rig.counted().await, rig.totals().await);
    // JSON of which nothing has been said, with a role before it.
    let fields = json!({"response_format": {"type": "json_object"}});
    let (_, got) = gone_on("chat", "json+stall-1", "json", json!({}), fields).await;
    assert!(!got.is_stream() || got.text() == r#"{"answer": "Forty-two."}"#, "{got:?}");
}

#[tokio::test]
async fn thoughts_that_broke_off_are_closed_and_the_answer_follows() {
    // The signature of a thought, and then nothing.
    for (door, broken) in
        [("messages", "messages"), ("chat", "messages"), ("responses", "responses"), ("messages", "responses")]
    {
        let fault = "reasoning-5+cut-3";
        let rig = tier(&[(broken, fault), ("chat", "reasoning-3+ok")]).build().await;
        let got = send(&rig, door, asked(door, "cheap", json!({}))).await;
        assert_eq!(told(door, &got), TEXT, "{door} {broken}");
        let sent: Value = serde_json::from_slice(&rig.double.requests().pop().unwrap().body).unwrap();
        assert_eq!(sent["messages"].as_array().unwrap().len(), 1, "it is asked as the client asks: {sent}");
        assert_eq!(rig.counted().await, rig.totals().await);
    }
}

#[tokio::test]
async fn several_may_go_on_one_after_the_other_and_with_none_left_it_is_an_error() {
    let models = [("chat", "cut-9"), ("responses", "goes-on+cut-9"), ("chat", "status-500"), ("messages", "goes-on")];
    for door in DOORS {
        let rig = tier(&models).build().await;
        let got = send(&rig, door, asked(door, "cheap", json!({}))).await;
        assert_eq!(told(door, &got), TEXT, "{door}");
        let receipt = rig.receipt(&got).await;
        let expected = ["first truncated", "continuation truncated", "continuation http_error 500", "continuation ok"];
        assert!(kinds(&receipt).iter().zip(expected).all(|(got, expected)| got.starts_with(expected)), "{receipt}");
        assert_eq!((receipt["attempts"].as_array().unwrap().len(), rig.counted().await), (4, rig.totals().await));
        let rig = tier(&models[..3]).build().await;
        let got = send(&rig, door, asked(door, "cheap", json!({}))).await;
        assert!(String::from_utf8_lossy(&got.body).contains("all_candidates_failed"), "{got:?}");
        assert!(!got.is_done() && !got.contains("message_stop"), "{got:?}");
        assert_eq!(rig.counted().await, rig.totals().await);
    }
}

#[tokio::test]
async fn a_beginning_is_prefilled_where_that_is_taken_and_asked_for_again_where_it_is_refused() {
    for (next, calls) in [("goes-on", 1), ("modern+goes-on", 2)] {
        let rig = tier(&[("chat", "cut-9"), ("messages", next)]).build().await;
        let got = send(&rig, "chat", asked("chat", "cheap", json!({"max_tokens": 500}))).await;
        // The text so far ends with a blank, which no beginning may.
        assert_eq!((told("chat", &got).as_str(), rig.calls(next)), (TEXT, 1), "{next}");
        let rig = tier(&[("chat", "cut-9+letters-5"), ("messages", next)]).build().await;
        let got = send(&rig, "chat", asked("chat", "cheap", json!({"max_tokens": 500}))).await;
        let attempts = rig.receipt(&got).await["attempts"].as_array().unwrap().len();
        assert_eq!((told("chat", &got).as_str(), attempts), (TEXT, 1 + calls), "{next}");
        let sent: Vec<Value> =
            rig.double.requests().iter().map(|sent| serde_json::from_slice(&sent.body).unwrap()).collect();
        let last = sent.last().unwrap();
        assert!(last["messages"][1].to_string().contains(&TEXT[..40]), "{last}");
        assert_eq!((last["messages"].as_array().unwrap().len(), &last["max_tokens"]), (1 + calls, &json!(490)));
    }
}

#[tokio::test]
async fn who_begins_anew_in_other_words_is_not_joined() {
    let long = format!(
        "say:{}",
        "One and two are three, and four and five are nine; so much is known to all of us who can count at all. But then"
    );
    let other = long.replace("But then", "However it is not so.");
    let rig = tier(&[
        ("chat", &format!("cut-32+{long} some say otherwise, and for good reasons.")),
        ("chat", &other),
        ("chat", "say:So be it."),
    ]);
    let rig = rig.build().await;
    let got = send(&rig, "chat", asked("chat", "cheap", json!({}))).await;
    let said = told("chat", &got);
    assert!(said.ends_with("So be it.") && !said.contains("However"), "{said}");
    assert_eq!(kinds(&rig.receipt(&got).await)[1], "continuation malformed 200", "{got:?}");
}

#[tokio::test]
async fn a_tenant_may_want_a_whole_stream_or_an_error() {
    for door in DOORS {
        let (rig, got) = gone_on(door, "cut", "ok", json!({"on_broken_stream": "error"}), json!({})).await;
        assert!(String::from_utf8_lossy(&got.body).contains("all_candidates_failed"), "{got:?}");
        assert_eq!(rig.calls("ok"), 0);
        for fault in BREAKS {
            let (rig, got) = gone_on(door, fault, "ok", json!({"on_broken_stream": "buffer"}), json!({})).await;
            assert_eq!(told(door, &got), TEXT, "{fault}");
            let receipt = rig.receipt(&got).await;
            assert_eq!(kinds(&receipt)[1], "failover ok 200", "{receipt}");
            assert_eq!(rig.counted().await, rig.totals().await);
        }
        let tools = json!({"tools": []});
        let (_, got) = gone_on(door, "tools+cut", "tools", json!({"on_broken_stream": "buffer"}), tools).await;
        assert!(!got.is_error(), "{got:?}");
    }
}

#[tokio::test]
async fn what_was_gone_on_with_is_not_cached_and_kept_for_an_idempotency_key() {
    let rig = tier(&[("chat", "cut-9"), ("chat", "goes-on")]).build().await;
    for _ in 0..2 {
        let got = rig.chat(streamed("cheap")).await;
        assert_eq!((got.text().as_str(), got.header("x-gateway-cache")), (TEXT, "miss"));
    }
    let first = rig.chat_with(&[("idempotency-key", "k")], streamed("cheap")).await;
    let calls = rig.calls("goes-on");
    let again = rig.chat_with(&[("idempotency-key", "k")], streamed("cheap")).await;
    assert_eq!((first.text().as_str(), again.text().as_str(), rig.calls("goes-on")), (TEXT, TEXT, calls));
    assert!(again.is_done());
}

#[tokio::test]
async fn the_failure_counts_for_the_models_health_before_the_answer_has_ended() {
    let rig =
        tier(&[("chat", "cut-9"), ("chat", "goes-on")]).table("[breaker]\nconsecutive_failures = 1").build().await;
    let got = send(&rig, "chat", asked("chat", "cheap", json!({}))).await;
    assert_eq!(told("chat", &got), TEXT);
    let got = send(&rig, "chat", asked("chat", "cheap", json!({}))).await;
    assert_eq!((told("chat", &got).as_str(), rig.calls("cut-9")), (TEXT, 1));
}

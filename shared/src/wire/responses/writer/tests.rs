#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::error::Error;
use crate::wire::openai::answer::{Answers, completion as chat_completion};
use crate::wire::responses::answer::{Answer, completion};
use crate::wire::sse::SseParser;
use std::collections::BTreeMap;

const MODEL: &str = "a/b";

fn writer() -> ResponsesWriter {
    ResponsesWriter::new(RequestId::new(1_700_000_000_000))
}

/// The events in what was written, each by its name and its data, which say the same.
fn events(written: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(written).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("event: "));
    let mut parser = SseParser::default();
    parser.feed(written);
    let read = std::iter::from_fn(|| parser.next_event().unwrap());
    let events: Vec<Value> = read.map(|event| serde_json::from_slice(&event.data).unwrap()).collect();
    assert!(names.eq(events.iter().map(|event| event["type"].as_str().unwrap())), "{text}");
    events
}

/// What these chunks of a chat completion come to.
fn from_chat(chunks: &[Value]) -> Vec<Value> {
    let (mut answers, mut writer, mut out) = (Answers::of(1), writer(), BytesMut::new());
    for chunk in chunks {
        let chunk = answers.read(chunk.to_string().into()).unwrap().unwrap();
        writer.chunk(&chunk, MODEL, Hide::default(), &mut out);
    }
    writer.rest(MODEL, Hide::default(), &mut out);
    events(&out)
}

fn chat(delta: Value, finish: Option<&str>) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().strip_prefix("response.").unwrap_or("")).collect()
}

/// The item that an event is about, which has begun.
fn begun<'i>(items: &'i mut BTreeMap<u64, Value>, event: &Value) -> &'i mut Value {
    let index = event["output_index"].as_u64().unwrap();
    items.get_mut(&index).unwrap_or_else(|| panic!("nothing has begun: {event}"))
}

/// Puts the items together as the official clients do: by their places, from added to done.
fn put_together(events: &[Value]) -> Vec<Value> {
    let mut items = BTreeMap::<u64, Value>::new();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
        let index = event["output_index"].as_u64();
        let kind = event["type"].as_str().unwrap();
        let place = |name: &str| usize::try_from(event[name].as_u64().unwrap()).unwrap();
        if let Some(id) = event["item_id"].as_str() {
            assert_eq!(begun(&mut items, event)["id"], id, "{event}");
        }
        match kind {
            "response.output_item.added" => assert!(items.insert(index.unwrap(), event["item"].clone()).is_none()),
            "response.content_part.added" => {
                let parts = begun(&mut items, event)["content"].as_array_mut().unwrap();
                assert_eq!(parts.len(), place("content_index"));
                parts.push(event["part"].clone());
            }
            "response.output_text.delta" | "response.refusal.delta" => {
                let name = if kind.contains("refusal") { "refusal" } else { "text" };
                let part = &mut begun(&mut items, event)["content"][place("content_index")];
                part[name] = format!("{}{}", part[name].as_str().unwrap(), event["delta"].as_str().unwrap()).into();
            }
            "response.output_text.done" => {
                assert_eq!(begun(&mut items, event)["content"][place("content_index")]["text"], event["text"])
            }
            "response.function_call_arguments.delta" => {
                let item = begun(&mut items, event);
                item["arguments"] =
                    format!("{}{}", item["arguments"].as_str().unwrap(), event["delta"].as_str().unwrap()).into();
            }
            "response.function_call_arguments.done" => {
                assert_eq!(begun(&mut items, event)["arguments"], event["arguments"])
            }
            "response.output_item.done" => {
                let item = begun(&mut items, event);
                if item["type"] != "reasoning" {
                    item["status"] = event["item"]["status"].clone();
                    assert_eq!(*item, event["item"]);
                }
                *item = event["item"].clone();
            }
            _ => {}
        }
    }
    items.into_values().collect()
}

#[test]
fn a_chat_completions_text_is_told_step_by_step() {
    let told = from_chat(&[
        chat(json!({"role": "assistant", "content": ""}), None),
        chat(json!({"reasoning": "H"}), None),
        chat(json!({"reasoning": "m."}), None),
        chat(json!({"content": "On\n"}), None),
        chat(json!({"content": "ce."}), None),
        chat(json!({}), Some("stop")),
        json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}}),
    ]);
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds(&told), expected);
    let items = put_together(&told);
    let whole = &told.last().unwrap()["response"];
    assert_eq!(whole["output"], Value::from(items));
    assert_eq!(whole["output"][0]["summary"], json!([{"type": "summary_text", "text": "Hm."}]));
    assert_eq!(whole["output"][1]["content"][0]["text"], "On\nce.");
    assert_eq!(
        (&whole["status"], &whole["model"], &whole["id"]),
        (&json!("completed"), &json!(MODEL), &told[0]["response"]["id"])
    );
    let usage = json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 13});
    for (name, value) in usage.as_object().unwrap() {
        let told = &whole["usage"][name];
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| assert_eq!(told[name], *value, "{name}")),
            value => assert_eq!(told, value, "{name}"),
        }
    }
    assert_eq!(told[0]["response"]["status"], "in_progress");
}

#[test]
fn calls_that_come_in_turns_are_items_of_their_own() {
    let call = |index: u64, id: Option<&str>, arguments: &str| {
        let mut call = json!({"index": index, "function": {"arguments": arguments}});
        if let Some(id) = id {
            (call["id"], call["function"]["name"]) = (id.into(), if id == "a" { "f" } else { "ns-_-g" }.into());
        }
        chat(json!({"tool_calls": [call]}), None)
    };
    let told = from_chat(&[
        chat(json!({"content": "Wait."}), None),
        call(0, Some("a"), ""),
        call(1, Some("b"), "{\"q\""),
        call(0, None, "{}"),
        call(1, None, ":1}"),
        chat(json!({}), Some("tool_calls")),
    ]);
    let items = put_together(&told);
    assert_eq!(told.last().unwrap()["response"]["output"], Value::from(items.clone()));
    let calls: Vec<_> =
        items[1..].iter().map(|item| [&item["type"], &item["call_id"], &item["name"], &item["arguments"]]).collect();
    assert_eq!(
        calls,
        [
            [&json!("function_call"), &json!("a"), &json!("f"), &json!("{}")],
            [&json!("function_call"), &json!("b"), &json!("g"), &json!("{\"q\":1}")],
        ]
    );
    assert_eq!((items[1].get("namespace"), items[2].get("namespace")), (None, Some(&json!("ns"))));
}

#[test]
fn an_answer_that_is_not_all_says_why() {
    for (finish, status, reason) in [
        ("stop", "completed", Value::Null),
        ("length", "incomplete", json!("max_output_tokens")),
        ("content_filter", "incomplete", json!("content_filter")),
    ] {
        let told = from_chat(&[chat(json!({"content": "x"}), None), chat(json!({}), Some(finish))]);
        let last = told.last().unwrap();
        assert_eq!(last["type"], format!("response.{status}"));
        let response = &last["response"];
        assert_eq!((&response["status"], &response["incomplete_details"]["reason"]), (&json!(status), &reason));
        assert_eq!(response["output"][0]["status"], status);
    }
    let told = from_chat(&[chat(json!({"refusal": "No."}), None), chat(json!({}), Some("stop"))]);
    let whole = &told.last().unwrap()["response"]["output"];
    assert_eq!(whole[0]["content"], json!([{"type": "refusal", "refusal": "No."}]));
    put_together(&told);
}

#[test]
fn a_whole_chat_completion_is_a_whole_response() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": "Wait.", "tool_calls": [call]}}], "usage": {"prompt_tokens": 9, "completion_tokens": 4}});
    let answer = chat_completion(body.to_string().into(), 1, 1.0).unwrap();
    let whole: Value = serde_json::from_slice(&writer().whole(&answer, MODEL, Hide::default())).unwrap();
    assert_eq!(
        (&whole["object"], &whole["status"], &whole["model"]),
        (&json!("response"), &json!("completed"), &json!(MODEL))
    );
    assert_eq!(whole["output"][0]["content"][0]["text"], "Wait.");
    assert_eq!((&whole["output"][1]["call_id"], &whole["usage"]["total_tokens"]), (&json!("a"), &json!(13)));
    // It is read again as what it says.
    let again = completion(whole.to_string().into(), 1.0).unwrap();
    assert_eq!((again.first_text().as_str(), again.usage), ("Wait.", answer.usage));
}

#[test]
fn the_items_of_an_answer_are_known_by_their_names() {
    let body = json!({"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "Wait."}}]});
    let answer = chat_completion(body.to_string().into(), 1, 1.0).unwrap();
    let mut writer = writer();
    assert!(writer.items().is_empty());
    let whole: Value = serde_json::from_slice(&writer.whole(&answer, MODEL, Hide::default())).unwrap();
    let items = writer.items();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].0, whole["output"][0]["id"].as_str().unwrap());
    assert_eq!(serde_json::from_slice::<Value>(&items[0].1).unwrap(), whole["output"][0]);
}

/// The events of a provider of this format, as it writes them.
fn passing() -> [String; 4] {
    [
        r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_p","model":"m-1","x":1.10}}"#.to_owned(),
        r#"{"type":"response.output_text.delta","sequence_number":1,"output_index":0,"content_index":0,"delta":"é","logprobs":[{"logprob":-0.5}],"obfuscation":"zz"}"#.to_owned(),
        "{\"type\":\"response.brand_new\",\n\"sequence_number\":2}".to_owned(),
        r#"{"type":"response.completed","sequence_number":3,"response":{"id":"resp_p","model":"m-1","output":[{"type":"message","content":[{"type":"output_text","text":"é","logprobs":[{"logprob":-0.5}]}]}]}}"#.to_owned(),
    ]
}

fn pass(writer: &mut ResponsesWriter, payloads: &[String], hide: Hide) -> String {
    let (mut answer, mut out) = (Answer::default(), BytesMut::new());
    for payload in payloads {
        let chunk = answer.read(payload.clone().into()).unwrap();
        writer.chunk(&chunk, MODEL, hide, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn what_is_in_this_format_passes_but_for_the_models_name_and_what_was_not_asked_for() {
    let payloads = passing();
    let named = |payload: &str| payload.replace("m-1", MODEL).replace('\n', " ");
    let mut shown = writer();
    let mut out = BytesMut::from(pass(&mut shown, &payloads, Hide::default()).as_bytes());
    assert_eq!(events(&out).len(), 3, "the end waits until the stream is known to be whole");
    shown.rest(MODEL, Hide::default(), &mut out);
    let data: Vec<String> = String::from_utf8(out.to_vec())
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
        .collect();
    assert_eq!(data, payloads.each_ref().map(|payload| named(payload)));
    let mut hidden = writer();
    let mut out = BytesMut::from(pass(&mut hidden, &payloads, Hide { logprobs: true, usage: false }).as_bytes());
    hidden.rest(MODEL, Hide::default(), &mut out);
    assert!(!String::from_utf8(out.to_vec()).unwrap().contains("-0.5"));
    assert_eq!(shown.end("{}"), Bytes::from_static(b": gateway {}\n\n"), "this format has no `[DONE]`");
}

#[test]
fn a_stream_that_breaks_off_ends_as_failed_and_never_as_whole() {
    let http = Error::invalid("input", "Too long.").to_http();
    let payloads = passing();
    for (what, mut writer, before, id) in [
        ("nothing came", writer(), String::new(), None),
        {
            let mut writer = writer();
            let before = pass(&mut writer, &payloads[..2], Hide::default());
            ("it passed", writer, before, Some("resp_p"))
        },
        {
            let mut writer = writer();
            let before = pass(&mut writer, &payloads, Hide::default());
            ("it broke after its end", writer, before, Some("resp_p"))
        },
    ] {
        let told = events(&[before.as_bytes(), &writer.stream_error(&http)].concat());
        let [.., error, failed] = &told[..] else { panic!("{what}: {told:?}") };
        assert_eq!(
            (&error["type"], &error["message"], &error["code"]),
            (&json!("error"), &json!("Too long."), &json!(http.code))
        );
        assert_eq!((&error["param"], &error["error"]["message"]), (&json!("input"), &json!("Too long.")));
        assert_eq!((&failed["type"], &failed["response"]["status"]), (&json!("response.failed"), &json!("failed")));
        assert_eq!(failed["response"]["error"], json!({"code": http.code, "message": "Too long."}));
        if let Some(id) = id {
            assert_eq!(failed["response"]["id"], id, "{what}");
        }
        let numbers: Vec<u64> = told.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{what}: {numbers:?}");
        assert!(!told.iter().any(|event| event["type"] == "response.completed"), "{what}");
    }
}

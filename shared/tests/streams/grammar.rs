//! What each door's streams are made of: a reader that takes nothing else.

use crate::rig::{Door, Got};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a client of a door has when its answer has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// An answer, with what it says and the arguments of its calls.
    Whole { text: String, arguments: Vec<String> },
    /// One error, by its status or within a stream; with what was said before it, and what it says.
    Error { text: String, error: String },
}

/// Reads an answer.
///
/// # Panics
/// It is no stream of this door, or ends in two ways or in none.
pub fn read(door: Door, got: &Got) -> End {
    if !got.is_stream() {
        assert!(got.status >= 400, "{door:?}: no stream: {got:?}");
        let error = &got.json()["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{door:?}: {got:?}");
        assert_eq!(got.json()["type"] == "error", door == Door::Messages, "{door:?}: its envelope: {got:?}");
        return End::Error { text: String::new(), error: got.json().to_string() };
    }
    assert_eq!(got.status, 200);
    let body = std::str::from_utf8(&got.body).unwrap();
    assert!(body.ends_with("\n\n"), "{door:?}: an event is unfinished: {body}");
    let events: Vec<(&str, &str)> = body.split_terminator("\n\n").filter_map(event).collect();
    let events = events.as_slice();
    match door {
        Door::Chat => chat(events),
        Door::Messages => messages(&named(events)),
        Door::Responses => responses(&named(events)),
    }
}

/// Name and data of an event; none of a comment.
fn event(event: &str) -> Option<(&str, &str)> {
    if event.starts_with(": ") {
        assert!(!event.contains('\n'), "a comment has a line of its own: {event}");
        return None;
    }
    let (name, data) = match event.strip_prefix("event: ") {
        Some(rest) => rest.split_once('\n').expect("data after the name"),
        None => ("", event),
    };
    let data = data.strip_prefix("data: ").unwrap_or_else(|| panic!("no event: {event}"));
    assert!(!data.contains('\n'), "data of one line: {event}");
    Some((name, data))
}

/// Events that say their type twice.
fn named(events: &[(&str, &str)]) -> Vec<Value> {
    let read = |(name, data): &(&str, &str)| {
        let value = json(data);
        assert_eq!(value["type"], *name, "{data}");
        value
    };
    events.iter().map(read).collect()
}

fn json(data: &str) -> Value {
    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))
}

fn chat(events: &[(&str, &str)]) -> End {
    let (mut text, mut ids, mut finished) = (String::new(), BTreeSet::new(), false);
    let mut calls: BTreeMap<u64, String> = BTreeMap::new();
    for (place, (name, data)) in events.iter().enumerate() {
        let is_last = place + 1 == events.len();
        assert_eq!(*name, "", "{data}");
        if *data == "[DONE]" {
            assert!(finished, "done, and not finished");
            assert!(is_last, "after the end: {events:?}");
            let arguments = whole_arguments(calls.into_values());
            return End::Whole { text, arguments };
        }
        let chunk = json(data);
        if chunk["error"].is_object() {
            assert!(chunk["error"]["code"].is_string(), "{chunk}");
            assert!(is_last, "after the error: {events:?}");
            return End::Error { text, error: chunk["error"].to_string() };
        }
        assert_eq!(chunk["object"], "chat.completion.chunk", "{chunk}");
        ids.insert(chunk["id"].to_string());
        assert_eq!(ids.len(), 1, "one answer has one id: {ids:?}");
        for choice in chunk["choices"].as_array().unwrap() {
            let delta = &choice["delta"];
            let says = delta["content"].as_str().unwrap_or_default();
            assert!(!finished || says.is_empty() && delta["tool_calls"].is_null(), "after its finish: {chunk}");
            text.push_str(says);
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let arguments = calls.entry(call["index"].as_u64().unwrap()).or_default();
                arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
            }
            if choice["finish_reason"].is_string() {
                assert!(!std::mem::replace(&mut finished, true), "it finishes twice: {chunk}");
            }
        }
    }
    panic!("a stream that just ends: {events:?}")
}

/// The arguments of calls in a whole answer, which are whole themselves.
fn whole_arguments(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let whole = |arguments: String| {
        assert!(serde_json::from_str::<Value>(&arguments).is_ok(), "arguments that break off: {arguments}");
        arguments
    };
    arguments.map(whole).collect()
}

fn messages(events: &[Value]) -> End {
    let (mut text, mut arguments, mut blocks, mut stopped) = (String::new(), Vec::new(), 0, false);
    let mut open: Option<&str> = None;
    let mut begun = false;
    for (place, event) in events.iter().enumerate() {
        let (kind, is_last) = (event["type"].as_str().unwrap(), place + 1 == events.len());
        assert!(begun || ["message_start", "ping", "error"].contains(&kind), "before its beginning: {event}");
        match kind {
            "ping" => {}
            "message_start" => assert!(!std::mem::replace(&mut begun, true), "it begins twice"),
            "content_block_start" => {
                assert_eq!((open, stopped, event["index"].as_u64()), (None, false, Some(blocks)), "{event}");
                open = event["content_block"]["type"].as_str();
                arguments.extend((open == Some("tool_use")).then(String::new));
            }
            "content_block_delta" => {
                assert_eq!(event["index"], blocks, "{event}");
                let delta = &event["delta"];
                let (expected, says) = match delta["type"].as_str().unwrap() {
                    "text_delta" => ("text", delta["text"].as_str()),
                    "input_json_delta" => ("tool_use", delta["partial_json"].as_str()),
                    "thinking_delta" | "signature_delta" => ("thinking", None),
                    other => panic!("{other}"),
                };
                assert_eq!(open, Some(expected), "{event}");
                let of_call = if expected == "tool_use" { arguments.last_mut() } else { None };
                of_call.unwrap_or(&mut text).push_str(says.unwrap_or_default());
            }
            "content_block_stop" => {
                assert!(open.take().is_some() && event["index"] == blocks, "{event}");
                blocks += 1;
            }
            "message_delta" => {
                assert!(open.is_none() && event["delta"]["stop_reason"].is_string(), "{event}");
                assert!(!std::mem::replace(&mut stopped, true), "it stops twice");
            }
            "message_stop" => {
                assert!(stopped && is_last, "its end: {events:?}");
                return End::Whole { text, arguments: whole_arguments(arguments.into_iter().map(or_empty)) };
            }
            "error" => {
                assert!(event["error"]["message"].is_string() && is_last, "its end: {events:?}");
                return End::Error { text, error: event["error"].to_string() };
            }
            other => panic!("{other}"),
        }
    }
    panic!("a stream that just ends: {events:?}")
}

/// What no delta came of is the empty object.
fn or_empty(arguments: String) -> String {
    if arguments.is_empty() { "{}".to_owned() } else { arguments }
}

fn responses(events: &[Value]) -> End {
    let mut text = String::new();
    let (mut open, mut last) = (BTreeSet::new(), "");
    let mut arguments = Vec::new();
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], place, "{event}");
        let (kind, is_last) = (event["type"].as_str().unwrap(), place + 1 == events.len());
        assert_eq!(place == 0, ["response.created", "error"].contains(&kind) && last.is_empty(), "{event}");
        assert!(last != "error" || kind == "response.failed", "after the error: {event}");
        let item = event["output_index"].as_u64();
        match kind {
            "response.output_item.added" => assert!(open.insert(item), "{event}"),
            "response.output_item.done" => assert!(open.remove(&item), "{event}"),
            "response.output_text.delta" => text.push_str(event["delta"].as_str().unwrap()),
            "response.output_text.done" => assert_eq!(event["text"].as_str().unwrap(), text, "what was said"),
            "response.function_call_arguments.done" => arguments.push(event["arguments"].as_str().unwrap().to_owned()),
            "response.completed" | "response.incomplete" => {
                assert!(open.is_empty() && is_last, "its end: {event}");
                return End::Whole { text, arguments: whole_arguments(arguments.into_iter()) };
            }
            "response.failed" => {
                assert!(last == "error" && is_last, "its end: {event}");
                assert!(event["response"]["error"]["code"].is_string(), "{event}");
                return End::Error { text, error: event["response"]["error"].to_string() };
            }
            _ => {}
        }
        last = kind;
    }
    panic!("a stream that just ends: {events:?}")
}

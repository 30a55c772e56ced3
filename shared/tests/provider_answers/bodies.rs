//! Whether what a client got is what the provider sent: the comparison, by code that shares nothing with the gateway.

use crate::rig::Got;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use upstream_double::forms::MODEL;

/// The form's text as the client is to have it: with the catalog's name for the model, in UTF-8, and
/// without what is no number.
pub fn as_told(body: &[u8], model: &str) -> String {
    let text = String::from_utf8_lossy(body).replace(MODEL, model).replace(":NaN", ":null");
    text.replace(r#""model":"""#, &format!(r#""model":"{model}""#))
}

/// The word for a stream that has ended as one that is whole.
pub fn word_of_stream(got: &Got, body: &str) -> &'static str {
    if body.trim_start().starts_with('{') {
        return if same(&put_together(&got.chunks()), body) { "written anew" } else { "written otherwise" };
    }
    let (expected, came) = (chunks_of(body), got.events());
    let came = came.split_last().map_or(&[][..], |(_done, came)| came);
    match came.split_last() {
        _ if came == expected => "as it came",
        Some((last, rest)) if rest == expected && tells_usage(last) => "as it came, and its usage",
        // Where nothing says what was used, a client that asks is told what is billed.
        Some((last, rest)) if rest == expected && tells_an_estimate(last) => "as it came",
        _ => "otherwise",
    }
}

/// Whether these are the form's first events, before the one that tells the error.
pub fn begins_as(got: &Got, body: &str) -> bool {
    let (expected, came) = (chunks_of(body), got.events());
    came.split_last()
        .is_some_and(|(_error, came)| expected.starts_with(&came.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()))
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<&'a RawValue>,
}

/// The data of the events that have choices, up to the end.
fn chunks_of(body: &str) -> Vec<String> {
    let events = events_of(body).into_iter().take_while(|data| data.trim() != "[DONE]");
    // A line end would end the event, and a message in a chunk is what official clients know as a delta.
    let as_event = |data: String| with_delta(data.replace('\n', " ").replace(r#","message":{"#, r#","delta":{"#));
    events.filter(|data| is_chunk(data)).map(as_event).collect()
}

/// The same with an empty delta for the last choice, or with its text for one, where it has none.
fn with_delta(data: String) -> String {
    let data = data.replace(r#""delta":null,"#, "");
    match data.rfind("}]").filter(|_| data.contains(r#""choices":[{"#) && !data.contains(r#""delta":"#)) {
        None => data,
        Some(_) if data.contains(r#""text":"#) => {
            data.replace(r#""text":"Forty two it is.""#, r#""delta":{"content":"Forty two it is."}"#)
        }
        Some(end) => format!(r#"{},"delta":{{}}{}"#, &data[..end], &data[end..]),
    }
}

/// Whether this is JSON with a list of choices. Halves of surrogate pairs are no matter.
fn is_chunk(data: &str) -> bool {
    let chunk = serde_json::from_str::<Chunk<'_>>(data);
    chunk.is_ok_and(|chunk| chunk.choices.is_some_and(|raw| raw.get().starts_with('[')))
}

/// The data of every event, the last one with or without its blank line.
fn events_of(body: &str) -> Vec<String> {
    let body = body.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    for block in body.split("\n\n") {
        let is_object = |line: &&str| line.trim_start().starts_with('{');
        let mut data: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("data:")).collect();
        if data == [""] {
            events.extend(block.lines().filter(is_object).map(str::to_owned));
            continue;
        }
        data.iter_mut().for_each(|line| *line = line.strip_prefix(' ').unwrap_or(line));
        let lines: Vec<String> = data.into_iter().map(str::to_owned).collect();
        // Between events that stand alone only the blank line is missing.
        match lines.len() > 1 && lines.iter().all(|line| is_chunk(line)) {
            true => events.extend(lines),
            false => events.push(lines.join("\n")),
        }
    }
    events.retain(|data| !data.is_empty());
    events
}

/// Whether a stream ended with an error.
pub fn ends_with_error(got: &Got) -> bool {
    let last = got.events().pop().and_then(|data| serde_json::from_str::<Value>(data).ok());
    last.is_some_and(|event| event["error"]["code"].is_string())
}

fn tells_usage(data: &str) -> bool {
    let chunk: Value = serde_json::from_str(data).unwrap_or_default();
    chunk["choices"] == json!([]) && chunk["usage"]["prompt_tokens"] == 9 && chunk["usage"]["completion_tokens"] == 4
}

fn tells_an_estimate(data: &str) -> bool {
    let chunk: Value = serde_json::from_str(data).unwrap_or_default();
    chunk["choices"] == json!([]) && chunk["usage"].is_object()
}

/// The word for a whole answer.
pub fn word_of_whole(got: &Got, body: &str) -> &'static str {
    if !body.trim_start().starts_with('{') {
        let chunks: Vec<Value> = chunks_of(body).iter().map(|data| serde_json::from_str(data).unwrap()).collect();
        let is_same = same(&put_together(&chunks), std::str::from_utf8(&got.body).unwrap());
        return if is_same && got.json()["usage"]["total_tokens"] == 13 {
            "put together"
        } else {
            "put together otherwise"
        };
    }
    match body.rfind('}') {
        _ if got.body == body => "as it came",
        Some(end) if got.body == body[..=end] => "as it came, without its tail",
        _ if got.body == body.trim_ascii_start() => "as it came, without blanks",
        _ => "otherwise",
    }
}

/// What the chunks come to, by choice: the fields of the message and the reason.
fn put_together(chunks: &[Value]) -> BTreeMap<u64, (Value, Value)> {
    let mut all = BTreeMap::<u64, (Value, Value)>::new();
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap().clone()) {
        let (message, finish) = all.entry(choice["index"].as_u64().unwrap()).or_insert((json!({}), Value::Null));
        for (name, value) in choice["delta"].as_object().unwrap() {
            match (&mut message[name], value) {
                (Value::String(so_far), Value::String(more)) if name != "role" => so_far.push_str(more),
                (Value::Array(calls), Value::Array(more)) => join_call(&mut calls[0], &more[0]),
                (field, value) => *field = value.clone(),
            }
        }
        if !choice["finish_reason"].is_null() {
            *finish = choice["finish_reason"].clone();
        }
    }
    all
}

/// Adds to a call of a tool what came of its arguments.
fn join_call(call: &mut Value, more: &Value) {
    let so_far = call["function"]["arguments"].as_str().unwrap_or_default().to_owned();
    call["function"]["arguments"] = (so_far + more["function"]["arguments"].as_str().unwrap_or_default()).into();
}

/// Whether they are those of a whole answer, which says no more than they do, or less.
fn same(anew: &BTreeMap<u64, (Value, Value)>, body: &str) -> bool {
    let whole: Value = serde_json::from_str(body).unwrap();
    let choices = whole["choices"].as_array().unwrap();
    let says = |message: &Value, name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let calls = |message: &Value| {
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        calls.into_iter().map(|call| (call["id"].clone(), call["function"].clone())).collect::<Vec<_>>()
    };
    choices.len() == anew.len()
        && choices.iter().zip(anew.values()).all(|(choice, (message, finish))| {
            let of = &choice["message"];
            ["content", "reasoning_content"].iter().all(|name| says(of, name) == says(message, name))
                && calls(of) == calls(message)
                && choice["finish_reason"] == *finish
        })
}

//! Answers that are nearly what was asked for, made into that: a whole answer as the events of a stream, and what is nearly
//! JSON as JSON.
//!
//! Whole answers are rewritten field by field, so that all that is not named here passes as it came: the message becomes the
//! delta, its calls of tools get their numbers, and the usage an event of its own.

use crate::wire::json::{Fields, Stopped, fields, items};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Most fields of an object of an answer (B2).
const MAX_FIELDS: usize = 1024;

/// The answer without its usage, as one event.
pub(super) fn as_event(body: &[u8]) -> Option<Bytes> {
    let fields = top(body)?;
    let rewritten = fields.iter().filter(|(name, _)| name != "usage").map(|(name, value)| {
        let value = match &**name {
            "object" => CHUNK.to_owned(),
            "choices" => list(value, |_, choice| object(choice, "message", "delta", delta)),
            _ => value.get().to_owned(),
        };
        (&**name, value)
    });
    Some(written(rewritten).into())
}

/// The answer's usage alone, as the last event of a stream tells it; none if it tells none.
pub(super) fn as_usage_event(body: &[u8]) -> Option<Bytes> {
    let fields = top(body)?;
    fields.iter().find(|(name, value)| name == "usage" && value.get() != "null")?;
    let rewritten = fields.iter().map(|(name, value)| match &**name {
        "object" => (&**name, CHUNK.to_owned()),
        "choices" => (&**name, "[]".to_owned()),
        name => (name, value.get().to_owned()),
    });
    Some(written(rewritten).into())
}

/// What an event of a stream calls itself, as JSON.
const CHUNK: &str = r#""chat.completion.chunk""#;

fn top(body: &[u8]) -> Option<Fields<'_>> {
    fields(std::str::from_utf8(body).ok()?, MAX_FIELDS).ok()
}

/// A message as a delta.
fn delta(message: &RawValue) -> String {
    object(message, "tool_calls", "tool_calls", |calls| {
        list(calls, |number, call| match fields(call.get(), MAX_FIELDS) {
            Ok(fields) if !fields.iter().any(|(name, _)| name == "index") => {
                let number = std::iter::once(("index", number.to_string()));
                written(number.chain(fields.iter().map(|(name, value)| (&**name, value.get().to_owned()))))
            }
            _ => call.get().to_owned(),
        })
    })
}

/// An object with one field renamed and its value written anew; anything else as it is.
fn object(json: &RawValue, from: &str, to: &str, value: impl Fn(&RawValue) -> String) -> String {
    let Ok(fields) = fields(json.get(), MAX_FIELDS) else { return json.get().to_owned() };
    written(fields.iter().map(|(name, old)| match &**name == from {
        true => (to, value(old)),
        false => (&**name, old.get().to_owned()),
    }))
}

/// A list with each item written anew; anything else as it is.
fn list(json: &RawValue, item: impl Fn(usize, &RawValue) -> String) -> String {
    let mut out = String::from("[");
    let whole: Result<usize, Stopped<()>> = items(json.get(), |place, value| {
        out.push_str(if place == 0 { "" } else { "," });
        out.push_str(&item(place, value));
        Ok(())
    });
    if whole.is_ok() { out + "]" } else { json.get().to_owned() }
}

fn written<'n>(fields: impl Iterator<Item = (&'n str, String)>) -> String {
    let fields: Vec<String> = fields.map(|(name, value)| format!("{}:{value}", Value::from(name))).collect();
    format!("{{{}}}", fields.join(","))
}

/// What nearly is JSON, as JSON; none if nothing can be mended.
///
/// Bytes that are no UTF-8 are U+FFFD; `NaN` and the infinities, which Python writes for numbers, are `null`; and what stands
/// around a value is left out.
pub(super) fn repaired(json: &[u8]) -> Option<Bytes> {
    let text = String::from_utf8_lossy(json);
    let numbers = with_numbers(&text);
    let rest = numbers.trim_start().trim_start_matches('\u{feff}').trim_start();
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let value = &rest[..values.byte_offset()];
    (value.as_bytes() != json).then(|| value.to_owned().into())
}

/// JSON whose `NaN`, `Infinity` and `-Infinity` are `null`, those in texts apart.
fn with_numbers(json: &str) -> Cow<'_, str> {
    if !json.contains("NaN") && !json.contains("Infinity") {
        return json.into();
    }
    let (mut out, mut rest, mut in_text) = (String::with_capacity(json.len()), json, false);
    while let Some(next) = rest.chars().next() {
        let number = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| !in_text && rest.starts_with(word));
        let taken = match next {
            '\\' if in_text => rest.chars().take(2).map(char::len_utf8).sum(),
            _ => number.map_or(next.len_utf8(), str::len),
        };
        in_text ^= next == '"';
        out.push_str(if number.is_some() { "null" } else { &rest[..taken] });
        rest = &rest[taken..];
    }
    out.into()
}

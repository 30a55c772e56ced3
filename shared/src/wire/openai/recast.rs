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

/// The answer as one event, without the field of the name `but`.
pub(super) fn as_event(body: &[u8], but: &str) -> Option<Bytes> {
    let mut out = String::with_capacity(body.len() + 64);
    let fields = top(body)?;
    write_fields(&mut out, fields.iter().filter(|(name, _)| name != but), |out, name, value| match name {
        "object" => write(out, name, CHUNK),
        "choices" => {
            write(out, name, "");
            write_items(out, value, |out, _, choice| write_choice(out, choice));
        }
        _ => write(out, name, value.get()),
    });
    Some(out.into())
}

/// The answer's usage alone, as the last event of a stream tells it; none if it tells none.
pub(super) fn as_usage_event(body: &[u8]) -> Option<Bytes> {
    let fields = top(body)?;
    fields.iter().find(|(name, value)| name == "usage" && value.get() != "null")?;
    let mut out = String::new();
    write_fields(&mut out, fields.iter(), |out, name, value| match name {
        "object" => write(out, name, CHUNK),
        "choices" => write(out, name, "[]"),
        _ => write(out, name, value.get()),
    });
    Some(out.into())
}

/// The fields of a choice that say what it adds; the first that is there counts.
const SAID: [&str; 3] = ["message", "delta", "text"];

/// What an event of a stream calls itself, as JSON.
const CHUNK: &str = r#""chat.completion.chunk""#;

fn top(body: &[u8]) -> Option<Fields<'_>> {
    fields(std::str::from_utf8(body).ok()?, MAX_FIELDS).ok()
}

/// Writes a choice with a delta: that is its message, else its own, else the text of the older completions, else an empty one,
/// for most clients read it without a look.
fn write_choice(out: &mut String, choice: &RawValue) {
    let Ok(mut fields) = fields(choice.get(), MAX_FIELDS) else { return out.push_str(choice.get()) };
    let has = |wanted: &&str| fields.iter().any(|(name, value)| name == wanted && value.get() != "null");
    let said = SAID.into_iter().find(has);
    fields.retain(|(name, _)| !SAID.contains(&&**name) || Some(&**name) == said);
    if said.is_none() {
        fields.push(("delta".into(), RawValue::NULL));
    }
    write_fields(out, fields.iter(), |out, name, value| match name {
        "message" => {
            write(out, "delta", "");
            write_delta(out, value);
        }
        "text" => write(out, "delta", &format!(r#"{{"content":{value}}}"#)),
        "delta" if said.is_none() => write(out, name, "{}"),
        _ => write(out, name, value.get()),
    });
}

/// Writes a message as a delta, whose calls of tools are numbered.
fn write_delta(out: &mut String, message: &RawValue) {
    write_object(out, message, |out, name, value| {
        if name != "tool_calls" {
            return write(out, name, value.get());
        }
        write(out, name, "");
        write_items(out, value, |out, place, call| match fields(call.get(), MAX_FIELDS) {
            Ok(fields) if !fields.iter().any(|(name, _)| name == "index") => {
                out.push('{');
                write(out, "index", &place.to_string());
                fields.iter().for_each(|(name, value)| {
                    out.push(',');
                    write(out, name, value.get());
                });
                out.push('}');
            }
            _ => out.push_str(call.get()),
        });
    });
}

/// Writes a field's name, and its value if that is JSON already.
fn write(out: &mut String, name: &str, value: &str) {
    out.push_str(&Value::from(name).to_string());
    out.push(':');
    out.push_str(value);
}

/// Writes an object, each of whose fields `field` writes.
fn write_fields<'f>(
    out: &mut String,
    fields: impl Iterator<Item = &'f (Cow<'f, str>, &'f RawValue)>,
    mut field: impl FnMut(&mut String, &str, &RawValue),
) {
    out.push('{');
    for (place, (name, value)) in fields.enumerate() {
        out.push_str(if place == 0 { "" } else { "," });
        field(out, name, value);
    }
    out.push('}');
}

/// Writes an object, each of whose fields `field` writes; anything else as it is.
fn write_object(out: &mut String, json: &RawValue, field: impl FnMut(&mut String, &str, &RawValue)) {
    match fields(json.get(), MAX_FIELDS) {
        Ok(fields) => write_fields(out, fields.iter(), field),
        Err(_) => out.push_str(json.get()),
    }
}

/// Writes a list, each of whose items `item` writes; anything else as it is.
fn write_items(out: &mut String, json: &RawValue, mut item: impl FnMut(&mut String, usize, &RawValue)) {
    if !json.get().starts_with('[') {
        return out.push_str(json.get());
    }
    out.push('[');
    // It was read as JSON before, and no item is refused.
    let _: Result<usize, Stopped<()>> = items(json.get(), |place, value| {
        out.push_str(if place == 0 { "" } else { "," });
        item(out, place, value);
        Ok(())
    });
    out.push(']');
}

/// What nearly is JSON, as JSON; none if nothing can be mended.
///
/// Bytes that are no UTF-8 are U+FFFD; `NaN` and the infinities, which Python writes for numbers, are `null`; and blanks and
/// events around a value are left out.
pub(super) fn repaired(json: &[u8]) -> Option<Bytes> {
    let text = String::from_utf8_lossy(json);
    let numbers = with_numbers(&text);
    let rest = numbers.trim_start().trim_start_matches('\u{feff}').trim_start();
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let (value, tail) = rest.split_at(values.byte_offset());
    // Events may follow an answer that is whole; a second value would be lost.
    let is_alone = tail.trim_start().is_empty() || tail.trim_start().starts_with("data:");
    (is_alone && value.as_bytes() != json).then(|| value.to_owned().into())
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

//! What a conversation has said before the prompt, as far as a decision needs it.
//!
//! Reading a request notes places only, for one that names its model needs no more. What stands there is read where the
//! gateway chooses, and of each message only the beginning: what an assistant is told to be, and what the user was at, is
//! said there.

use crate::wire::json::{Stopped, fields, items, text_of};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::ops::Range;

/// Bytes of a message's text that are read, as it is written in the body.
const BEGINNING_BYTES: usize = 1_000;
/// Bytes of each value that tell one conversation from another.
const TELLING_BYTES: usize = 2_000;
/// Most parts of a message, and most fields of a part, that do.
const TELLING_PARTS: usize = 16;
/// How a part begins that a coding agent stamps each of its requests with: it says nothing, and is another in each.
const STAMP: &str = "x-anthropic-billing-header:";

/// Where in the body the contents of messages stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextPlaces {
    /// The first message of the system or the developer.
    pub system: Option<Range<usize>>,
    /// The first message of the user, be it the prompt itself, or without a text.
    pub first: Option<Range<usize>>,
    /// The user's last message with a text before the prompt.
    pub previous: Option<Range<usize>>,
    /// The prompt: the user's last message with a text.
    pub prompt: Option<Range<usize>>,
    /// The client's own key for the conversation, where that is no field of its own.
    pub key: Option<Range<usize>>,
    /// Whether an assistant has answered before, so that this is no first turn.
    pub is_answered: bool,
}

/// What a conversation has said before the prompt: of each message the beginning of its first text; empty where there is
/// no such message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// What the system or the developer says first.
    pub system: String,
    /// The user's first turn, where it is neither the prompt nor the previous turn.
    pub first: String,
    /// The user's latest turn before the prompt. What a tool answers is no turn of the user.
    pub previous: String,
}

impl ContextPlaces {
    /// Reads what stands at these places of this body.
    pub(crate) fn read(&self, body: &[u8]) -> Context {
        let said = |place: &Option<Range<usize>>| content(body, place).map(beginning).unwrap_or_default();
        let is_earlier = self.first != self.prompt && self.first != self.previous;
        Context {
            system: said(&self.system),
            first: if is_earlier { said(&self.first) } else { String::new() },
            previous: said(&self.previous),
        }
    }
}

impl ContextPlaces {
    /// Hands to `add` what tells this conversation from others, and stays as turns are added: the system prompt and the
    /// user's first turn. A text is the same as a part that has it, and marks for a provider's cache are left out, for
    /// clients move them on from turn to turn.
    pub(crate) fn tell(&self, body: &[u8], mut add: impl FnMut(&[u8])) {
        if let Some(key) = content(body, &self.key) {
            add(key.as_bytes());
        }
        for place in [&self.system, &self.first] {
            match content(body, place) {
                None => add(b"none"),
                Some(text) if text.starts_with('"') => telling(text, &mut add),
                Some(list) => {
                    let told = items(list, |count, part| {
                        if count == TELLING_PARTS {
                            return Err(());
                        }
                        tell_part(part.get(), &mut add);
                        Ok(())
                    });
                    // What comes after the first parts, or is no part, tells nothing.
                    drop(told);
                }
            }
        }
    }
}

fn tell_part(part: &str, add: &mut impl FnMut(&[u8])) {
    let fields = fields(part, TELLING_PARTS).unwrap_or_default();
    if let Some((_, text)) = fields.iter().find(|(name, _)| name == "text") {
        if !is_stamp(text.get().trim_start_matches('"')) {
            telling(text.get(), add);
        }
        return;
    }
    for (name, value) in fields.iter().filter(|(name, _)| name != "cache_control") {
        add(name.as_bytes());
        telling(value.get(), add);
    }
}

/// How long a value is, and how it begins.
fn telling(value: &str, add: &mut impl FnMut(&[u8])) {
    add(&value.len().to_le_bytes());
    add(&value.as_bytes()[..value.len().min(TELLING_BYTES)]);
}

fn content<'b>(body: &'b [u8], place: &Option<Range<usize>>) -> Option<&'b str> {
    std::str::from_utf8(body.get(place.clone()?)?).ok()
}

/// The beginning of a message's text, which is a string or stands in the first part that has one.
fn beginning(content: &str) -> String {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow, default)]
        text: Option<&'a RawValue>,
    }
    if content.starts_with('"') {
        return cut(content);
    }
    let found = items(content, |_, part| match serde_json::from_str(part.get()) {
        Ok(Part { text: Some(text) }) => Some(cut(text.get())).filter(|text| !is_stamp(text)).map_or(Ok(()), Err),
        _ => Ok(()),
    });
    match found {
        Err(Stopped::Refused(text)) => text,
        _ => String::new(),
    }
}

/// Whether a text is no more than a coding agent's stamp.
pub(crate) fn is_stamp(text: &str) -> bool {
    text.starts_with(STAMP)
}

/// What the beginning of a string of JSON says.
fn cut(json: &str) -> String {
    if json.len() <= BEGINNING_BYTES {
        return text_of(json).into_owned();
    }
    // An escape has at most six bytes: one that is cut is left out, and so is one that only may be.
    let end = json.floor_char_boundary(BEGINNING_BYTES);
    let tail = json.floor_char_boundary(end - 6);
    let end = json[tail..end].find('\\').map_or(end, |escape| tail + escape);
    let slashes = json[..end].bytes().rev().take_while(|byte| *byte == b'\\').count();
    text_of(&[&json[..end - slashes % 2], "\""].concat()).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::openai::CHAT;
    use crate::wire::request::Request;
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(messages: &Value) -> (String, [String; 3]) {
        let body = json!({"messages": messages, "model": "auto"}).to_string();
        let request = Request::read(&CHAT, Bytes::from(body)).unwrap();
        let Context { system, first, previous } = request.context();
        (request.facts.prompt, [system, first, previous])
    }

    fn message(role: &str, content: impl Into<Value>) -> Value {
        json!({"role": role, "content": content.into()})
    }

    #[test]
    fn a_conversation_is_its_system_prompt_its_first_turn_and_the_one_before() {
        let user = |content: &str| message("user", content);
        let image = || json!([{"type": "image_url", "image_url": {"url": "data:,"}}]);
        let captioned =
            json!([{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "text", "text": "c\nd"}]);
        let [system, assistant] = [message("system", "s\n\"t"), message("assistant", "a")];
        let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]});
        let tool = || json!({"role": "tool", "content": "t", "tool_call_id": "1"});
        for (messages, prompt, context) in [
            (json!([user("one")]), "one", ["", "", ""]),
            (json!([system, user("one")]), "one", ["s\n\"t", "", ""]),
            (json!([user("one"), message("developer", "d"), system, user("two")]), "two", ["d", "", "one"]),
            (json!([user("one"), assistant, user("two"), assistant, user("three")]), "three", ["", "one", "two"]),
            (json!([user("one"), assistant, user("two"), assistant]), "two", ["", "", "one"]),
            (json!([user("one"), call, tool(), user("two"), call, tool(), tool()]), "two", ["", "", "one"]),
            (json!([user("one"), user("two"), message("user", image())]), "two", ["", "", "one"]),
            (json!([message("user", image()), user("two")]), "two", ["", "", ""]),
            (json!([message("user", image())]), "", ["", "", ""]),
            (json!([message("user", captioned), user("two")]), "two", ["", "", "c\nd"]),
            (json!([message("system", json!([])), message("user", json!([])), user("two")]), "two", ["", "", ""]),
            (json!([message("system", "no user")]), "", ["no user", "", ""]),
        ] {
            assert_eq!(read(&messages), (prompt.to_owned(), context.map(str::to_owned)), "{messages}");
        }
    }

    fn told(messages: &Value, more: &str) -> [u8; 32] {
        let body = format!(r#"{{"messages":{messages},"model":"auto"{more}}}"#);
        Request::read(&CHAT, Bytes::from(body)).unwrap().conversation()
    }

    #[test]
    fn a_conversation_is_told_by_its_beginning_and_the_clients_keys() {
        let (system, user, assistant) = (message("system", "s"), message("user", "one"), message("assistant", "a"));
        let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
        let text = |text: &str| json!({"type": "text", "text": text});
        let marked = json!({"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}});
        let first = told(&json!([system, user]), "");
        for same in [
            json!([system, user, assistant, message("user", "two")]),
            json!([system, user, assistant, message("user", "another two"), assistant, message("user", "three")]),
            json!([system, message("user", json!([marked]))]),
            json!([system, message("user", json!([text("one")])), assistant]),
        ] {
            assert_eq!(told(&same, ""), first, "{same}");
        }
        let mut others = vec![first, told(&json!([system, user]), r#","user":"u""#)];
        others.push(told(&json!([system, user]), r#","prompt_cache_key":"u""#));
        for other in [
            json!([user]),
            json!([system]),
            json!([message("system", "t"), user]),
            json!([system, message("user", "on")]),
            json!([system, message("user", json!([text("one"), text("two")]))]),
            json!([system, message("user", json!([text("one"), image("data:,a")]))]),
            json!([system, message("user", json!([image("data:,a")]))]),
            json!([system, message("user", json!([image("data:,b")]))]),
            json!([system, message("user", "x".repeat(5_000))]),
            json!([system, message("user", "x".repeat(5_001))]),
        ] {
            let told = told(&other, "");
            assert!(!others.contains(&told), "{other}");
            others.push(told);
        }
    }

    proptest! {
        #[test]
        fn of_a_long_text_the_beginning_is_read(unit in r#"[a\\"\n\u{1}é漢\u{1f600}]{1,9}"#, times in 0_usize..400, ascii: bool) {
            let text = unit.repeat(times);
            let mut json = serde_json::to_string(&text).unwrap();
            if ascii {
                let unit = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect();
                json = json.chars().map(|c| if c.is_ascii() { c.to_string() } else { unit(c) }).collect();
            }
            let read = cut(&json);
            // Half of a pair may be left of a character that was cut.
            prop_assert!(text.starts_with(read.trim_end_matches('\u{fffd}')), "{read}");
            prop_assert!(read == text || json.len() > BEGINNING_BYTES);
            prop_assert!(json.len() < BEGINNING_BYTES || read.len() >= (BEGINNING_BYTES - 30) / 6);
        }
    }
}

//! A request on its way to a provider that speaks this format too: the client's body as it came, with the few fields
//! replaced that are the gateway's to say.
//!
//! Thoughts without a signature are not the provider's: the gateway wrote them, for an answer that came in another format.
//! Anthropic would refuse the request for them, and for those that another model has signed; so they are left out.

use super::request::Purpose;
use crate::wire::body::Body;
use crate::wire::conversation::Makers;
use crate::wire::format::Overrides;
use crate::wire::json::{fields, items, without};
use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The client's body with what is the gateway's to say.
pub(super) fn splice(body: &Body, overrides: &Overrides<'_>, purpose: Purpose) -> Bytes {
    let mut out = BytesMut::with_capacity(body.bytes().len() + 128);
    let mut field = |name: &str, value: &[u8]| {
        out.extend_from_slice(if out.is_empty() { b"{" } else { b"," });
        match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            true => out.extend_from_slice(format!("\"{name}\":").as_bytes()),
            false => out.extend_from_slice(format!("{}:", Value::from(name)).as_bytes()),
        }
        out.extend_from_slice(value);
    };
    field("model", Value::from(overrides.model).to_string().as_bytes());
    for (name, value) in body.raw_fields() {
        match name {
            "model" | "models" | "max_tokens" => {}
            "thinking" if !overrides.thinks => {}
            // What clears thoughts is refused where there are none.
            "context_management" if !overrides.thinks && memmem::find(value, b"clear_thinking").is_some() => {}
            "output_config" if !overrides.knows_effort => {
                if let Some(config) = without(value, "effort") {
                    field(name, config.as_bytes());
                }
            }
            "messages" => match without_others(value, overrides.makers) {
                Some(messages) => field(name, messages.as_bytes()),
                None => field(name, value),
            },
            _ => field(name, value),
        }
    }
    if purpose == Purpose::Answer {
        field("max_tokens", overrides.max_output_tokens.to_string().as_bytes());
    }
    out.extend_from_slice(b"}");
    out.freeze()
}

/// With what the thoughts in a request are signed; what has no words has other data.
pub(super) fn seals(body: &Body) -> Vec<Cow<'_, str>> {
    let (mut seals, messages) = (Vec::new(), body.raw("messages").unwrap_or_default());
    if memmem::find(messages.as_bytes(), b"thinking\"").is_none() {
        return seals;
    }
    let _ = items::<()>(messages, |_, message| {
        let all = fields(message.get(), usize::MAX).unwrap_or_default();
        let content = all.iter().find(|(name, _)| name == "content").map_or("", |(_, content)| content.get());
        let _ = items::<()>(content, |_, block| {
            seals.extend(seal_of(block).filter(|seal| !seal.is_empty()));
            Ok(())
        });
        Ok(())
    });
    seals
}

/// The messages without the thoughts that no provider signed, or another model; none where there are no such.
fn without_others(messages: &[u8], makers: Makers<'_>) -> Option<String> {
    let unsigned = [&b"\"signature\":\"\""[..], b"\"signature\": \"\""];
    if !makers.have_others() && !unsigned.iter().any(|sign| memmem::find(messages, sign).is_some()) {
        return None;
    }
    let mut kept = Vec::new();
    items::<()>(std::str::from_utf8(messages).ok()?, |_, message| {
        kept.extend(message_without(message, makers));
        Ok(())
    })
    .ok()?;
    Some(format!("[{}]", kept.join(",")))
}

/// A message without such thoughts; none if nothing else was said in it.
fn message_without<'m>(message: &'m RawValue, makers: Makers<'_>) -> Option<Cow<'m, str>> {
    let whole = Some(Cow::Borrowed(message.get()));
    let Ok(all) = fields(message.get(), usize::MAX) else { return whole };
    let Some(list) = all.iter().find(|(name, value)| name == "content" && value.get().starts_with('[')) else {
        return whole;
    };
    let (mut kept, mut left_out) = (Vec::new(), false);
    let read = items::<()>(list.1.get(), |_, block| {
        let is_others = seal_of(block).is_some_and(|seal| seal.is_empty() || makers.are_others(&seal));
        left_out |= is_others;
        kept.extend((!is_others).then_some(block.get()));
        Ok(())
    });
    match (read, left_out) {
        (Ok(_), true) if kept.is_empty() => None,
        (Ok(_), true) => {
            let field = |(name, value): &(Cow<'_, str>, &RawValue)| match &**name {
                "content" => format!("\"content\":[{}]", kept.join(",")),
                name => format!("{}:{}", Value::from(name), value.get()),
            };
            Some(format!("{{{}}}", all.iter().map(field).collect::<Vec<_>>().join(",")).into())
        }
        _ => whole,
    }
}

/// What seals a thought, which may be nothing; none of what is no thought.
fn seal_of(block: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Thought<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        signature: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        data: Option<Cow<'a, str>>,
    }
    let thought: Thought<'_> = serde_json::from_str(block.get()).ok()?;
    match &*thought.kind {
        "thinking" => thought.signature,
        "redacted_thinking" => thought.data,
        _ => None,
    }
}

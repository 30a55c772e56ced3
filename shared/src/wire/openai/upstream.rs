//! A chat request on its way to a provider that speaks this format too.
//!
//! The client's body goes upstream as it came, with the few fields replaced that are the gateway's to say: the model, the
//! bound on the output (M1 depends on it), and that a stream ends with its usage (M3).

use super::MaxTokensField;
use crate::wire::body::Body;
use crate::wire::format::Overrides;
use crate::wire::json::fields;
use bytes::{Bytes, BytesMut};
use serde_json::Value;

/// The client's body with what is the gateway's to say.
pub(super) fn splice(body: &Body, overrides: &Overrides<'_>, max_tokens_field: MaxTokensField) -> Bytes {
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
            "model" | "models" | "max_tokens" | "max_completion_tokens" | "stream_options" => {}
            "logprobs" if overrides.ask_logprobs => {}
            "reasoning_effort" if !overrides.knows_effort => {}
            _ => field(name, value),
        }
    }
    field(max_tokens_field.as_str(), overrides.max_output_tokens.to_string().as_bytes());
    if overrides.stream {
        field("stream_options", &stream_options(body.raw("stream_options")));
    }
    if overrides.ask_logprobs {
        field("logprobs", b"true");
    }
    out.extend_from_slice(b"}");
    out.freeze()
}

/// The client's stream options, with the usage requested.
fn stream_options(given: Option<&str>) -> Vec<u8> {
    let mut options = String::from("{");
    for (name, value) in given.and_then(|text| fields(text, usize::MAX).ok()).into_iter().flatten() {
        if name != "include_usage" {
            options += &format!("{}:{},", Value::from(&*name), value.get());
        }
    }
    (options + r#""include_usage":true}"#).into_bytes()
}

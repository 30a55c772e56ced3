//! A Responses request on its way to a provider that speaks this format too.
//!
//! The client's body goes upstream as it came, with the few fields replaced that are the gateway's to say: the model and the
//! bound on the output (M1 depends on it). Unless the client says otherwise nothing is stored there, for the gateway may
//! call another provider next time; then a model that thinks is asked for its thoughts in a form that the client can send
//! again. A model that does not think refuses to be asked for those: so it is asked only where the client shows that its
//! model does.

use super::request::LOGPROBS;
use crate::wire::body::Body;
use crate::wire::format::Overrides;
use crate::wire::json::{Stopped, items, text_of, without};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::borrow::Cow;

/// What asks for thoughts that can be sent again.
const ENCRYPTED: &str = "reasoning.encrypted_content";

/// The client's body with what is the gateway's to say.
pub(super) fn splice(body: &Body, overrides: &Overrides<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(body.bytes().len() + 192);
    let mut field = |name: &str, value: &[u8]| {
        out.put_slice(if out.is_empty() { b"{" } else { b"," });
        out.put_slice(Value::from(name).to_string().as_bytes());
        out.put_u8(b':');
        out.put_slice(value);
    };
    let given = |name: &str| body.raw(name).filter(|value| *value != "null");
    let is_stored = given("store") == Some("true");
    field("model", Value::from(overrides.model).to_string().as_bytes());
    for (name, value) in body.raw_fields() {
        match name {
            "model" | "models" | "max_output_tokens" | "include" => {}
            "store" if !is_stored => {}
            "reasoning" if !overrides.thinks => {}
            "reasoning" if !overrides.knows_effort => {
                if let Some(reasoning) = without(value, "effort") {
                    field(name, reasoning.as_bytes());
                }
            }
            "input" if !is_stored => match without_thoughts(value, overrides) {
                Some(input) => field(name, input.as_bytes()),
                None => field(name, value),
            },
            _ => field(name, value),
        }
    }
    field("max_output_tokens", overrides.max_output_tokens.to_string().as_bytes());
    if !is_stored {
        field("store", b"false");
    }
    let is_thinking =
        given("reasoning").is_some() || given("input").is_some_and(|input| input.contains(r#""encrypted_content""#));
    let wanted = [(!is_stored && overrides.thinks && is_thinking, ENCRYPTED), (overrides.ask_logprobs, LOGPROBS)];
    // Codex asks every model for its thoughts; one that has none refuses to be asked.
    let unwanted = (!overrides.thinks).then_some(ENCRYPTED);
    if let Some(include) = include(given("include"), wanted, unwanted) {
        field("include", include.as_bytes());
    }
    out.put_u8(b'}');
    out.freeze()
}

/// What is looked for in an item.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    encrypted_content: Option<&'a RawValue>,
}

/// The items of an input; none where no thought is among them.
fn thinking(input: &str) -> Option<Vec<(&RawValue, Option<Item<'_>>)>> {
    let mut listed = Vec::new();
    let read: Result<usize, Stopped<()>> =
        items(Some(input).filter(|input| input.starts_with('[') && input.contains(r#""reasoning""#))?, |_, raw| {
            let item = serde_json::from_str::<Item<'_>>(raw.get()).ok();
            listed.push((raw, item.filter(|item| item.kind.as_deref() == Some("reasoning"))));
            Ok(())
        });
    read.is_ok().then_some(listed)
}

/// Whether a request asks for thoughts, or has some.
pub(super) fn asks_for_thoughts(body: &Body) -> bool {
    let has = |name: &str, word: &str| body.raw(name).is_some_and(|value| value.contains(word));
    has("reasoning", "{") || has("include", ENCRYPTED) || !seals(body).is_empty()
}

/// With what the thoughts in a request are encrypted.
pub(super) fn seals(body: &Body) -> Vec<Cow<'_, str>> {
    let thoughts = body.raw("input").and_then(thinking).into_iter().flatten().filter_map(|(_, thought)| thought);
    thoughts.filter_map(|thought| thought.encrypted_content).map(|raw| text_of(raw.get())).collect()
}

/// An input without the thoughts that only their ids are of, if there are any: where nothing is stored they are known to
/// nobody, and a provider refuses the request for them. So it does for those that another model encrypted; and a model that
/// does not think gets none at all.
fn without_thoughts(input: &[u8], overrides: &Overrides<'_>) -> Option<String> {
    let (mut kept, mut left_out) = (Vec::new(), false);
    for (raw, thought) in thinking(std::str::from_utf8(input).ok()?)? {
        let is_foreign = |content: &RawValue| overrides.makers.are_others(&text_of(content.get()));
        match thought {
            Some(thought) if !overrides.thinks || thought.encrypted_content.is_none_or(is_foreign) => left_out = true,
            _ => kept.push(raw),
        }
    }
    (left_out && !kept.is_empty()).then(|| serde_json::to_string(&kept).ok()).flatten()
}

/// The client's list with what else is wanted and without what is not; as it came, if that is nothing.
fn include(given: Option<&str>, wanted: [(bool, &str); 2], unwanted: Option<&str>) -> Option<String> {
    let mut listed: Vec<&RawValue> = given.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default();
    let as_given = listed.len();
    let is_unwanted = |word: &str| unwanted.is_some_and(|unwanted| word == format!("{unwanted:?}"));
    listed.retain(|word| !is_unwanted(word.get()));
    let more = wanted.iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, word)| format!("{word:?}"));
    let more: Vec<String> = more.filter(|word| listed.iter().all(|listed| listed.get() != word)).collect();
    if more.is_empty() && listed.len() == as_given {
        return given.map(str::to_owned);
    }
    let more: Vec<&RawValue> = more.iter().filter_map(|word| serde_json::from_str(word).ok()).collect();
    listed.extend(more);
    serde_json::to_string(&listed).ok().filter(|_| !listed.is_empty())
}

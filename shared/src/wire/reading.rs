//! What the readers of all formats' requests do alike.
//!
//! Each takes the fields of a body one by one into [`Facts`]. What a field means is its format's; that none may stand in
//! disguise, what a turn adds to the conversation's places, and when a request says enough, is no format's.

use crate::error::Error;
use crate::wire::body::{parse, short};
use crate::wire::facts::{AnswerFormat, Facts};
use crate::wire::json::place;
use crate::wire::schema::MAX_SCHEMA_BYTES;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A format's reader of requests.
pub(crate) trait Reader {
    /// Fields that the gateway reads, writes or judges, and those that are documented beside them; sorted.
    const KNOWN: &'static [&'static str];

    /// What has been read so far.
    fn facts(&mut self) -> &mut Facts;

    /// Takes from one field, which is not null, what the gateway needs to know, and checks what providers would otherwise
    /// refuse later.
    fn known(&mut self, name: &str, value: &RawValue) -> Result<(), Error>;

    /// Whether this field, which is not null, changes what the provider bills a token or a request at.
    fn changes_price(name: &str, value: &RawValue) -> bool;

    /// Takes one field.
    fn field(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        if let Some(known) = disguised(Self::KNOWN, name) {
            let message = format!("`{name}` is `{known}` to a reader that ignores case; send `{known}` itself.");
            return Err(Error::invalid(name, message));
        }
        if value.get() == "null" {
            return Ok(());
        }
        self.known(name, value)?;
        if Self::changes_price(name, value) {
            self.facts().note_paid_extra(name);
        }
        Ok(())
    }
}

/// The known field that `name` is but for its case, in any reader's view of case; `None` if it is that very field, or none.
pub(crate) fn disguised(known: &[&'static str], name: &str) -> Option<&'static str> {
    if known.binary_search(&name).is_ok() {
        return None;
    }
    let plain = fold(name);
    known.binary_search(&&*plain).ok().map(|place| known[place])
}

/// Lower case, by way of upper case: `ſ` and the Kelvin sign are `s` and `k` to Go, `ß` is `ss` to Python, and a Turkish
/// `ı` or `İ` is an `i` to Java.
pub(crate) fn fold(name: &str) -> String {
    let upper = name.chars().flat_map(char::to_uppercase).map(|c| if c == 'İ' { 'I' } else { c });
    upper.flat_map(char::to_lowercase).collect()
}

/// What is known of a request that was read, if it says which model and, unless that is elsewhere, what is asked: `field` has
/// it, and `must` says in the error what to send.
pub(crate) fn complete(mut facts: Facts, is_asked: bool, field: &str, must: &str) -> Result<Facts, Error> {
    if facts.model.is_empty() && facts.models.is_empty() {
        return Err(Error::invalid("model", "Say which model: `auto`, a tier, or a name of GET /v1/models."));
    }
    if !is_asked {
        return Err(Error::invalid(field, must));
    }
    facts.needs.vision = facts.images > 0;
    facts.needs.json_schema = matches!(facts.answer_format, AnswerFormat::JsonSchema(_));
    Ok(facts)
}

/// Reads an object within the body: `noun` is what it should be.
pub(crate) fn object<'a, T: Deserialize<'a>>(
    path: impl Fn() -> String,
    raw: &'a RawValue,
    noun: &str,
) -> Result<T, Error> {
    if !raw.get().starts_with('{') {
        return Err(Error::invalid(path(), format!("`{}` must be an object.", path())));
    }
    serde_json::from_str(raw.get())
        .map_err(|e| Error::invalid(path(), format!("`{}` is not {noun}: {}.", path(), short(&e))))
}

/// An error about `field` of what stands at `path`: what it must be.
pub(crate) fn wrong(path: &str, field: &str, must: &str) -> Error {
    let path = format!("{path}{field}");
    Error::invalid(path.clone(), format!("`{path}` {must}."))
}

/// A text of the user, which is read whole.
pub(crate) fn text_of_user(path: &str, value: &RawValue) -> Result<String, Error> {
    parse::<Cow<'_, str>>(path, value, "must be text; half of a surrogate pair is none").map(Cow::into_owned)
}

/// Adds a part's text to those before it.
pub(crate) fn add_part(text: &mut String, part: &str) {
    text.push_str(if text.is_empty() { "" } else { "\n" });
    text.push_str(part);
}

/// Takes what one message adds to the prompt and to the places of what came before it; its `content` stands in `body`.
pub(crate) fn note_turn(facts: &mut Facts, body: &Bytes, role: &str, content: &RawValue, text: String) {
    let context = &mut facts.context;
    match role {
        "system" | "developer" if context.system.is_none() => context.system = Some(place(body, content)),
        "user" => {
            let here = place(body, content);
            context.first.get_or_insert_with(|| here.clone());
            if !text.is_empty() {
                context.previous = context.prompt.replace(here);
                facts.prompt = text;
            }
        }
        _ => {}
    }
}

/// An answer that fits this schema. A larger one goes to the provider all the same; here every answer fits it.
pub(crate) fn fits(schema: &str) -> AnswerFormat {
    AnswerFormat::JsonSchema(if schema.len() > MAX_SCHEMA_BYTES { "true" } else { schema }.into())
}

//! What an error's body says, in whatever dress it comes.
//!
//! Most providers copy OpenAI's `{"error":{…}}`, and most differ from it somewhere: the code is a number, `error` is a
//! text, the fields stand at the top, the whole is a list, or a proxy in between answers in a way of its own. So one reader
//! takes all of them, for error statuses and for errors behind a good one. What a caller may read of it is decided
//! elsewhere (A2).
//!
//! A body may be large, its error is not: no more than [`MOST_BYTES`] of a field become a tree (B1).

use crate::steps;
use crate::wire::delay::delay_ms;
use crate::wire::json::items;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// Most bytes of a field that are read.
const MOST_BYTES: usize = 64 << 10;

/// Most characters of a text that are kept.
const MOST_CHARS: usize = 4000;

/// How deep errors are looked for in one another: a router hands on the text of its provider, which may be JSON.
const DEEPEST: usize = 8;

/// What an error says, as far as it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// The HTTP status that it names itself.
    pub status: Option<u16>,
    /// Its code, unless that is a status.
    pub code: Option<String>,
    /// Its type.
    pub kind: Option<String>,
    /// What it says to people.
    pub message: Option<String>,
    /// The field that is to blame.
    pub param: Option<String>,
    /// When to come again, in milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// The same as an instant, in Unix milliseconds.
    pub retry_at_ms: Option<u64>,
}

/// The error in a body or an event that came with a good status; none if it is an answer, or says nothing.
///
/// Beside choices only what calls itself an error is one; without any, a bare `message` or `detail` is one, too.
pub(crate) fn error_in(bytes: &[u8]) -> Option<ErrorBody> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    let Some(outer) = Outer::read(text) else { return named(&list(text)?, DEEPEST) };
    let has_choices = outer.choices.is_some_and(|list| matches!(items::<()>(list.get(), |_, _| Ok(())), Ok(1..)));
    let fields = Value::Object(outer.fields);
    let found = named(&fields, DEEPEST).or_else(|| of_choice(outer.choices?));
    found.or_else(|| if has_choices { None } else { bare(&fields) })
}

/// What the body of an error status says; a page of HTML says nothing, all else that is no JSON is its message.
pub(crate) fn error_of(bytes: &[u8]) -> ErrorBody {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    // An error of a stream may come as the event that it would have been.
    let event = text.lines().find_map(|line| line.strip_prefix("data:"));
    let text = event.filter(|_| !text.starts_with(['{', '['])).unwrap_or(text);
    let fields = Outer::read(text).map(|outer| Value::Object(outer.fields)).or_else(|| list(text));
    let text = || serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    said(&fields.unwrap_or_else(text), DEEPEST).unwrap_or_default()
}

/// The fields of a body in which an error may stand.
#[derive(Default)]
struct Outer<'a> {
    fields: Map<String, Value>,
    choices: Option<&'a RawValue>,
}

impl<'a> Outer<'a> {
    /// Reads an object; of fields of one name the last one counts.
    fn read(text: &'a str) -> Option<Self> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Outer<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outer<'de>, A::Error> {
                let mut outer = Outer::default();
                while let Some(name) = map.next_key::<Name<'_>>()? {
                    steps::count(1);
                    let raw: &RawValue = map.next_value()?;
                    match &*name.0 {
                        "choices" => outer.choices = Some(raw),
                        // Groq's own, and an answer within an event; what else stands in them is no error.
                        "x_groq" | "response" => {
                            if let Some(error) = error_within(raw) {
                                outer.fields.entry("error").or_insert(error);
                            }
                        }
                        name if FIELDS.contains(&name) => drop(outer.fields.insert(name.to_owned(), small(raw))),
                        _ => {}
                    }
                }
                Ok(outer)
            }
        }
        serde_json::Deserializer::from_str(text.trim_ascii()).deserialize_map(Reader).ok()
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields at the top of a body that say something of an error.
const FIELDS: [&str; 29] = [
    "error",
    "errors",
    "error_message",
    "errorMessage",
    "error_type",
    "error_code",
    "message",
    "Message",
    "msg",
    "detail",
    "details",
    "object",
    "type",
    "__type",
    "code",
    "status",
    "status_code",
    "statusCode",
    "http_status_code",
    "param",
    "metadata",
    "title",
    "retry_after",
    "base_resp",
    "retryAfter",
    "estimated_time",
    "retry_after_ms",
    "reason",
    "promptFeedback",
];

/// A field, unless it is too large to be an error's.
fn small(raw: &RawValue) -> Value {
    let is_small = raw.get().len() <= MOST_BYTES;
    if is_small { serde_json::from_str(raw.get()).unwrap_or_default() } else { Value::Bool(true) }
}

/// The `error` that stands in an object.
fn error_within(raw: &RawValue) -> Option<Value> {
    #[derive(Deserialize)]
    struct Within<'a> {
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
    }
    serde_json::from_str::<Within<'_>>(raw.get()).ok()?.error.map(small)
}

/// A list of errors.
fn list(text: &str) -> Option<Value> {
    let mut found = Vec::new();
    let taken = items(text, |_, item| {
        found.push(small(item));
        if found.len() < 8 { Ok(()) } else { Err(()) }
    });
    (!found.is_empty() && !matches!(taken, Err(crate::wire::json::Stopped::NoList))).then_some(Value::Array(found))
}

/// The error that one of the choices names instead of an answer.
fn of_choice(choices: &RawValue) -> Option<ErrorBody> {
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
    }
    let mut found = None;
    let _ = items(choices.get(), |_, item| {
        let error = serde_json::from_str::<Choice<'_>>(item.get()).ok().and_then(|choice| choice.error);
        found = error.and_then(|error| said(&small(error), DEEPEST));
        if found.is_none() { Ok(()) } else { Err(()) }
    });
    found
}

/// What calls itself an error.
fn named(value: &Value, deep: usize) -> Option<ErrorBody> {
    if let Value::Array(items) = value {
        return items.iter().find_map(|item| named(item, deep.checked_sub(1)?));
    }
    let is = |name: &str, word: &str| value.get(name).and_then(Value::as_str) == Some(word);
    let is_named = ["error", "errors"].iter().any(|name| value.get(name).is_some_and(is_there))
        || value.get("base_resp").is_some_and(|base| base_resp(base).is_some())
        || value.get("promptFeedback").is_some_and(|feedback| blocked(feedback).is_some());
    (is_named || is("object", "error") || is("type", "error")).then(|| said(value, deep)).flatten()
}

/// What is no answer, and has a message or a detail where an error would have it.
fn bare(value: &Value) -> Option<ErrorBody> {
    let texts = ["message", "Message", "msg", "detail", "errorMessage", "error_message"];
    texts.iter().any(|name| value.get(name).is_some_and(is_there)).then(|| said(value, DEEPEST)).flatten()
}

/// Whether a value says anything.
fn is_there(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim_ascii().is_empty(),
        Value::Array(items) => items.iter().any(is_there),
        Value::Object(fields) => fields.values().any(is_there),
    }
}

/// What an error says.
fn said(value: &Value, deep: usize) -> Option<ErrorBody> {
    let deep = deep.checked_sub(1)?;
    match value {
        _ if !is_there(value) => None,
        Value::String(text) => of_text(text, deep),
        Value::Array(items) => items.iter().find_map(|item| said(item, deep)),
        Value::Object(fields) => Some(of_fields(fields, deep)),
        _ => Some(ErrorBody { status: text(value).and_then(|text| status_of(&text)), ..ErrorBody::default() }),
    }
}

fn of_text(text: &str, deep: usize) -> Option<ErrorBody> {
    let text = text.trim_ascii();
    if text.starts_with(['{', '[']) {
        let inner = serde_json::from_str(text).ok().and_then(|inner| said(&inner, deep));
        if inner.is_some() {
            return inner;
        }
    }
    let message = (!text.starts_with('<')).then(|| text.chars().take(MOST_CHARS).collect::<String>());
    Some(ErrorBody { message, ..ErrorBody::default() })
}

fn of_fields(fields: &Map<String, Value>, deep: usize) -> ErrorBody {
    let first_text = |names: &[&str]| names.iter().find_map(|name| text(fields.get(*name)?));
    let first_said = |names: &[&str]| names.iter().find_map(|name| said(fields.get(*name)?, deep));
    let place = fields.get("loc").and_then(path);
    // Validators type each of their findings.
    let kinds: &[&str] = if place.is_some() { &[] } else { &["type", "error_type", "__type", "status"] };
    let (retry_after_ms, retry_at_ms) = waits(fields, deep);
    let own = ErrorBody {
        status: STATUSES.iter().find_map(|name| status_of(&text(fields.get(*name)?)?)),
        code: first_text(&["code", "error_code"])
            .filter(|code| status_of(code).is_none())
            .or_else(|| text(fields.get("details")?.get("error_code")?))
            .or_else(|| detail_of_google(fields.get("details")?)),
        kind: kinds.iter().find_map(|name| text(fields.get(*name)?).filter(|kind| !is_idle(kind))),
        message: None,
        param: first_text(&["param"]).or(place),
        retry_after_ms,
        retry_at_ms,
    };
    let inner = first_said(&["error", "errors", "detail"])
        .or_else(|| base_resp(fields.get("base_resp")?))
        .or_else(|| blocked(fields.get("promptFeedback")?));
    let message = first_said(&["message", "Message", "msg", "errorMessage", "error_message", "title", "reason"]);
    // A router's own words are the same for all its providers' errors; theirs stand beside them.
    let raw = fields.get("metadata").and_then(|metadata| said(metadata.get("raw")?, deep));
    let is_routers = message.as_ref().is_none_or(|body| body.message.as_deref() == Some("Provider returned error"));
    let (first, second) = if is_routers { (raw, message) } else { (message, raw) };
    let parts = [inner, Some(own), first, second];
    parts.into_iter().flatten().fold(ErrorBody::default(), ErrorBody::or)
}

/// MiniMax's own way: a number of its own and a message, also beside an answer, where the number is 0.
fn base_resp(value: &Value) -> Option<ErrorBody> {
    let code = value.get("status_code")?.as_u64().filter(|code| *code != 0)?;
    let kind = match code {
        1002 | 1039 => Some("rate_limit"),
        1004 => Some("authentication_error"),
        1008 => Some("insufficient_balance"),
        1026 | 1027 => Some("content_filter"),
        2013 => Some("invalid_request_error"),
        _ => None,
    };
    let (code, kind) = (Some(code.to_string()), kind.map(str::to_owned));
    Some(ErrorBody { code, kind, message: value.get("status_msg").and_then(text), ..ErrorBody::default() })
}

/// Gemini's own way to say that it does not answer a prompt: an answer without answers.
fn blocked(feedback: &Value) -> Option<ErrorBody> {
    let reason = feedback.get("blockReason").and_then(text)?;
    let message = Some(format!("The provider blocked the prompt: {reason}."));
    Some(ErrorBody {
        status: Some(400),
        code: Some("content_policy_violation".into()),
        message,
        ..ErrorBody::default()
    })
}

/// What the list of details says that Google's errors have: a reason, or that a day's quota is used up, which no waiting of
/// some seconds mends, whatever delay stands beside it.
fn detail_of_google(details: &Value) -> Option<String> {
    let details = details.as_array()?;
    let violations = details.iter().filter_map(|detail| detail.get("violations")?.as_array()).flatten();
    let is_of_day =
        violations.filter_map(|violation| violation.get("quotaId")?.as_str()).any(|id| id.contains("PerDay"));
    if is_of_day {
        return Some("insufficient_quota".to_owned());
    }
    details.iter().find_map(|detail| text(detail.get("reason")?))
}

/// The fields in which the status of an error may stand.
const STATUSES: [&str; 8] =
    ["status", "code", "status_code", "statusCode", "http_status_code", "http_code", "httpCode", "error_code"];

/// A type or a status that says no more than that it is an error.
fn is_idle(kind: &str) -> bool {
    kind == "error" || kind.contains(':') || status_of(kind).is_some()
}

impl ErrorBody {
    /// The same, with what only `other` says.
    fn or(self, other: Self) -> Self {
        Self {
            status: self.status.or(other.status),
            code: self.code.or(other.code),
            kind: self.kind.or(other.kind),
            message: self.message.or(other.message),
            param: self.param.or(other.param),
            retry_after_ms: self.retry_after_ms.or(other.retry_after_ms),
            retry_at_ms: self.retry_at_ms.or(other.retry_at_ms),
        }
    }
}

/// A text or a number as a text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim_ascii().is_empty() => Some(text.chars().take(MOST_CHARS).collect()),
        Value::Number(number) if is_there(value) => Some(number.to_string()),
        _ => None,
    }
}

/// The error status that a text is.
fn status_of(text: &str) -> Option<u16> {
    text.trim_ascii().trim_end_matches(".0").parse().ok().filter(|status| (400..600).contains(status))
}

/// A field's path: `["body", "messages", 0]` is `messages.0`.
fn path(value: &Value) -> Option<String> {
    let parts: Vec<_> = value
        .as_array()?
        .iter()
        .filter_map(|part| {
            part.as_str().map_or_else(|| part.as_u64().map(|i| i.to_string()), |part| Some(part.to_owned()))
        })
        .collect();
    let inner = parts.strip_prefix(&["body".to_owned()]).unwrap_or(&parts);
    (!inner.is_empty()).then(|| inner.join("."))
}

/// When to come again, in milliseconds from now and as an instant.
fn waits(fields: &Map<String, Value>, deep: usize) -> (Option<u64>, Option<u64>) {
    let number = |name: &str, unit_ms| delay_ms(&text(fields.get(name)?)?, unit_ms);
    let after = [
        ("retry_after_ms", 1.0),
        ("retry_after", 1e3),
        ("retryAfter", 1e3),
        ("retry_after_seconds", 1e3),
        ("retryDelay", 1e3),
        ("estimated_time", 1e3),
        ("Retry-After", 1e3),
    ];
    let after = after.iter().find_map(|(name, unit_ms)| number(name, *unit_ms));
    let at = number("X-RateLimit-Reset", 1.0).filter(|at_ms| *at_ms > 1_000_000_000_000);
    let Some(deep) = deep.checked_sub(1) else { return (after, at) };
    let below = ["details", "metadata", "headers"].iter().filter_map(|name| fields.get(*name));
    let below = below.flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice));
    let found = below.filter_map(Value::as_object).map(|fields| waits(fields, deep));
    found.fold((after, at), |(after, at), (more_after, more_at)| (after.or(more_after), at.or(more_at)))
}

#[cfg(test)]
mod tests;

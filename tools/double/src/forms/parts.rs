//! What forms are put together from: an answer of four words, whole and as the events of a stream.

use super::Sent;
use crate::answer::Usage;

/// What the four words are billed, and what their usage tells.
pub(super) const BILL: Usage = Usage { input: 9, cached: 0, output: 4, reasoning: 0 };
pub(super) const NOTHING: Usage = Usage { input: 0, cached: 0, output: 0, reasoning: 0 };
pub(super) const USAGE: &str = r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}"#;

/// A message of the four words.
pub(super) const MESSAGE: &str = r#"{"role":"assistant","content":"Forty two it is."}"#;

pub(super) const STOP: &str = r#""stop""#;
pub(super) const NULL: &str = "null";

/// What is billed for so much.
pub(super) const fn bill(input: u64, cached: u64, output: u64, reasoning: u64) -> Usage {
    Usage { input, cached, output, reasoning }
}

/// The JSON of a whole answer of these choices, with further fields.
pub(super) fn answer_of(choices: &str, more: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-form","object":"chat.completion","created":1700000000,"model":"MODEL","choices":[{choices}]{more}}}"#
    )
}

/// A choice of a whole answer.
pub(super) fn choice(index: u64, message: &str, finish: &str) -> String {
    format!(r#"{{"index":{index},"message":{message},"finish_reason":{finish}}}"#)
}

/// A whole answer of one choice, with its usage.
pub(super) fn answer(message: &str, finish: &str) -> Sent {
    answer_with(message, finish, USAGE)
}

/// The same with another usage.
pub(super) fn answer_with(message: &str, finish: &str, usage: &str) -> Sent {
    json(answer_of(&choice(0, message, finish), &format!(r#","usage":{usage}"#)))
}

/// JSON as a whole answer.
pub(super) fn json(body: impl Into<Vec<u8>>) -> Sent {
    Sent::good("application/json", body, BILL)
}

/// These events as a stream.
pub(super) fn sse<S: AsRef<str>>(events: &[S]) -> Sent {
    let body: String = events.iter().map(AsRef::as_ref).collect();
    Sent::good("text/event-stream", body, BILL)
}

/// An event with this data.
pub(super) fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

/// The JSON of a chunk of these choices, with further fields.
pub(super) fn chunk_of(choices: &str, more: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-form","object":"chat.completion.chunk","created":1700000000,"model":"MODEL","choices":[{choices}]{more}}}"#
    )
}

/// The JSON of a chunk of one choice.
pub(super) fn chunk(delta: &str, finish: &str) -> String {
    chunk_of(&format!(r#"{{"index":0,"delta":{delta},"finish_reason":{finish}}}"#), "")
}

/// An event with such a chunk.
pub(super) fn said(delta: &str, finish: &str) -> String {
    event(&chunk(delta, finish))
}

/// The event that gives the role.
pub(super) fn role() -> String {
    said(r#"{"role":"assistant","content":""}"#, NULL)
}

/// An event with some of the text.
pub(super) fn text(text: &str) -> String {
    said(&format!(r#"{{"content":"{text}"}}"#), NULL)
}

/// The event with a finish reason.
pub(super) fn finish(reason: &str) -> String {
    said("{}", reason)
}

/// The event that tells the usage, without choices.
pub(super) fn told() -> String {
    told_as(USAGE)
}

/// The same with another usage.
pub(super) fn told_as(usage: &str) -> String {
    event(&chunk_of("", &format!(r#","usage":{usage}"#)))
}

/// The end.
pub(super) fn done() -> String {
    event("[DONE]")
}

/// A stream of the four words, as it should be.
pub(super) fn stream() -> Sent {
    spoken(&[text("Forty two "), text("it is.")])
}

/// These events between the role and a good end.
pub(super) fn spoken(events: &[String]) -> Sent {
    let (before, after) = ([role()], [finish(STOP), told(), done()]);
    sse(&[&before[..], events, &after[..]].concat())
}

/// An error's JSON in OpenAI's envelope.
pub(super) fn error(message: &str, kind: &str, code: &str) -> String {
    format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":{code}}}}}"#)
}

/// A refusal with this status and JSON.
pub(super) fn refused(status: u16, body: &str) -> Sent {
    Sent { status, ..json(body) }.bill(NOTHING)
}

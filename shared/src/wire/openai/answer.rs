//! Reads OpenAI's chat completion, whole or as a chunk.
//!
//! One borrowed parse finds the pieces, the usage, and the places in the bytes where the gateway writes something of its
//! own (the model's catalog name, log-probabilities that it asked for and the client did not). What providers send that
//! nearly speak the format is read as `docs/answers.md` says (A7): whatever its form, what is there is seen, and nothing is
//! taken for an end that is none.
//!
//! Three bytes can be a choice, and a choice takes a hundred in memory. So no more choices are read than answers were
//! requested (B1, B2): the first one too many ends the reading. A call of a tool is as small, and there may be any
//! number of them; so only the first [`MAX_TOOL_CALLS`] are kept apart.

use crate::money::{ServiceTier, Usage};
use crate::steps;
use crate::wire::answer::{Came, Chunk, Completion, Flaw, NotACompletion, Places};
use crate::wire::error_body::error_in;
use crate::wire::json::{Count, Stopped, items, place, text_of};
use crate::wire::openai::calls::{Calls, unnumbered};
use crate::wire::openai::content::add_content;
use crate::wire::openai::recast::{as_event, as_usage_event, repaired};
use crate::wire::openai::request::MAX_ANSWERS;
use crate::wire::openai::usage::usage_of;
use crate::wire::piece::{Finish, Piece, TokenLogprobs, said};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fmt;

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<WireChoices<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    x_groq: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
}

/// What Groq tells beside the format.
#[derive(Deserialize, Default)]
struct WireGroq<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireChoice<'a> {
    #[serde(default)]
    index: Count,
    #[serde(borrow, default)]
    message: Option<WireMessage<'a>>,
    #[serde(borrow, default)]
    delta: Option<WireMessage<'a>>,
    /// Of the older completions, which some still send.
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "finishReason")]
    finish_reason_in_camel_case: Option<&'a RawValue>,
    /// What the provider behind a router said itself.
    #[serde(borrow, default)]
    native_finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// At most [`MAX_ANSWERS`] choices.
struct WireChoices<'a>(Vec<WireChoice<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for WireChoices<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Choices;
        impl<'de> Visitor<'de> for Choices {
            type Value = WireChoices<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut choices = Vec::new();
                while let Some(choice) = seq.next_element()? {
                    steps::count(1);
                    if choices.len() as u64 == MAX_ANSWERS {
                        return Err(A::Error::custom("more choices than there can be"));
                    }
                    choices.push(choice);
                }
                Ok(WireChoices(choices))
            }
        }
        d.deserialize_seq(Choices)
    }
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct WireCall<'a> {
    #[serde(default)]
    index: Count,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function: Option<WireFunction<'a>>,
}

#[derive(Deserialize, Default)]
struct WireFunction<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireLogprobs {
    #[serde(default)]
    content: Option<Vec<WireToken>>,
}

#[derive(Deserialize)]
struct WireToken {
    logprob: f64,
}

/// The format's name.
pub(crate) const NAME: &str = "openai-chat";

/// Maximum calls of tools in one message that are kept apart; OpenAI takes no more tools than these in a request. Those
/// after them pass on in this format, and are left out elsewhere.
const MAX_TOOL_CALLS: usize = 128;

/// Reads a whole answer to a request for `n`. One without any choice, or with a choice that has not ended, is not
/// whole (A1).
///
/// # Errors
/// Says what the bytes are instead, and what came all the same; more than `n` choices are malformed.
pub fn completion(body: Bytes, n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
    let (body, read) = read_or_repair(body, n, Extent::Whole)?;
    if read.choices.is_none_or(|choices| choices == 0) {
        return Err(read.flawed(Flaw::Malformed));
    }
    if read.ended < read.choices.unwrap_or(0) {
        return Err(read.flawed(Flaw::Unfinished));
    }
    let Read { pieces, usage, places, .. } = read;
    Ok(Completion { format: NAME, body, pieces, usage, first_byte_ms, places })
}

/// Reads the data of one event of the answers to a request for `n`; none if it says nothing of them. Calls of tools have the
/// numbers that they have in the event.
///
/// An event without a list of choices would make a client stumble that expects one. It does not pass on; what it says of the
/// usage is kept.
///
/// # Errors
/// Says what the bytes are instead, and what came all the same; more than `n` choices are malformed.
pub fn chunk(payload: Bytes, n: u64) -> Result<Option<Chunk>, NotACompletion> {
    if matches!(payload.trim_ascii(), b"" | b"null" | b"\"\"") {
        return Ok(None);
    }
    let (mut payload, mut event) = read_or_repair(payload, n, Extent::Event)?;
    if event.choices.is_none() {
        let usage = event.usage;
        return Ok(usage.map(|_| Chunk {
            format: NAME,
            payload: Bytes::new(),
            pieces: Vec::new(),
            usage,
            places: Places::default(),
        }));
    }
    if event.lacks_delta {
        payload = as_event(&payload, "").ok_or(Flaw::Malformed)?;
        event = read(&payload, n, Extent::Event)?;
    }
    let Read { pieces, usage, places, .. } = event;
    Ok(Some(Chunk { format: NAME, payload, pieces, usage, places }))
}

/// The answers of a stream, of which there may be `n`.
#[derive(Debug)]
pub struct Answers {
    n: u64,
    /// The indices that came; not all count from 0.
    indices: BTreeSet<u64>,
    calls: Calls,
}

impl Answers {
    /// None of them has begun.
    #[must_use]
    pub fn of(n: u64) -> Self {
        Self { n, indices: BTreeSet::new(), calls: Calls::default() }
    }

    /// Reads the data of the stream's next event.
    ///
    /// # Errors
    /// As [`chunk`]; that more than `n` answers have begun is malformed.
    pub fn read(&mut self, payload: Bytes) -> Result<Option<Chunk>, NotACompletion> {
        let Some(mut chunk) = chunk(payload, self.n)? else { return Ok(None) };
        for piece in &mut chunk.pieces {
            if let Piece::ToolCall { choice, call, id, name, .. } = piece {
                *call = self.calls.place(*choice, *call, &said(&chunk.payload, id), name.start < name.end);
            }
        }
        self.indices.extend(chunk.pieces.iter().map(Piece::choice));
        let few = self.indices.len() as u64 <= self.n;
        if few { Ok(Some(chunk)) } else { Err(NotACompletion { flaw: Flaw::Malformed, came: chunk.came() }) }
    }
}

/// A whole answer as the events of a stream: all of it, and its usage for those who ask for that.
///
/// # Errors
/// As [`completion`].
pub fn as_stream(body: Bytes, n: u64) -> Result<Vec<Chunk>, NotACompletion> {
    let body = completion(body, n, 0.0)?.body;
    let all = as_event(&body, "usage").ok_or(Flaw::Malformed)?;
    std::iter::once(all).chain(as_usage_event(&body)).filter_map(|event| chunk(event, n).transpose()).collect()
}

/// Reads the bytes, and what may be made of them if they are nearly JSON.
fn read_or_repair(json: Bytes, max_choices: u64, extent: Extent) -> Result<(Bytes, Read), NotACompletion> {
    let malformed = match read(&json, max_choices, extent) {
        Ok(read) => return Ok((json, read)),
        Err(error) if error.flaw != Flaw::Malformed => return Err(error),
        Err(error) => error,
    };
    let json = repaired(&json).ok_or(malformed)?;
    read(&json, max_choices, extent).map(|read| (json, read))
}

/// Where bytes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// They are a whole answer, whose choices have messages.
    Whole,
    /// They are an event, whose choices have deltas.
    Event,
}

/// What is read of an answer or an event.
#[derive(Default)]
struct Read {
    /// How many choices stand in it, if there is a list of them.
    choices: Option<usize>,
    /// How many of them tell that they have ended.
    ended: usize,
    /// Whether one of them tells that the model failed.
    has_failed: bool,
    /// Whether one of an event's choices has no delta.
    lacks_delta: bool,
    pieces: Vec<Piece>,
    usage: Option<Usage>,
    places: Places,
}

/// Reads the bytes, in which at most `max_choices` choices may stand.
fn read(bytes: &Bytes, max_choices: u64, extent: Extent) -> Result<Read, NotACompletion> {
    let json = std::str::from_utf8(bytes).map_err(|_| Flaw::Malformed)?;
    if !json.trim_ascii_start().starts_with('{') {
        return Err(if error_in(bytes).is_none() { Flaw::Malformed } else { Flaw::Error }.into());
    }
    let wire: Wire<'_> =
        serde_json::from_str(json).map_err(|_| NotACompletion { flaw: Flaw::Malformed, came: Came::of_part(bytes) })?;
    let groq: WireGroq<'_> = wire.x_groq.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let usage = Usage::both(wire.usage.and_then(usage_of), groq.usage.and_then(usage_of));
    let service_tier = wire.service_tier.and_then(|raw| ServiceTier::parse(&text_of(raw.get())));
    let usage = usage.map(|usage| Usage { service_tier, ..usage });
    let mut read = Read { usage, choices: wire.choices.as_ref().map(|choices| choices.0.len()), ..Read::default() };
    let choices = wire.choices.map(|choices| choices.0).unwrap_or_default();
    if choices.len() as u64 > max_choices {
        return Err(read.flawed(Flaw::Malformed));
    }
    read.places.model = wire.model.map(|raw| place(bytes, raw));
    read.pieces.reserve(choices.len());
    for (position, choice) in (0..).zip(choices) {
        read.add(bytes, position, choice, extent);
    }
    let may_be_error = wire.error.is_some_and(is_there) || read.choices.is_none();
    if read.has_failed || groq.error.is_some_and(is_there) || may_be_error && error_in(bytes).is_some() {
        return Err(read.flawed(Flaw::Error));
    }
    Ok(read)
}

impl Read {
    /// Why it is no answer, and what came all the same.
    fn flawed(&self, flaw: Flaw) -> NotACompletion {
        NotACompletion { flaw, came: Came::of(&self.pieces, self.usage) }
    }

    fn add(&mut self, bytes: &Bytes, position: u64, wire: WireChoice<'_>, extent: Extent) {
        let (choice, before) = (wire.index.0.unwrap_or(position), self.pieces.len());
        let message = match extent {
            Extent::Whole => wire.message.or(wire.delta),
            Extent::Event => {
                self.lacks_delta |= wire.delta.is_none();
                wire.delta.or(wire.message)
            }
        };
        match (message, wire.text) {
            (Some(message), _) => self.add_message(bytes, choice, message, extent),
            (None, Some(text)) => add_content(&mut self.pieces, bytes, choice, text),
            (None, None) => {}
        }
        if let Some(raw) = wire.logprobs.filter(|raw| raw.get() != "null") {
            self.places.logprobs.push(place(bytes, raw));
            self.pieces.extend(logprobs_of(raw).map(|logprobs| Piece::Logprobs { choice, logprobs }));
        }
        let mut reasons = [wire.finish_reason, wire.finish_reason_in_camel_case].into_iter().flatten();
        if let Some(raw) = reasons.find(|raw| is_there(raw)) {
            self.ended += 1;
            let reason = text_of(raw.get());
            self.has_failed |= is_failure(&reason);
            self.pieces.push(Piece::Finish { choice, why: finish_of(&reason) });
        }
        self.has_failed |= wire.native_finish_reason.is_some_and(|raw| is_failure(&text_of(raw.get())));
        self.has_failed |= wire.error.is_some_and(is_there);
        self.usage = Usage::both(self.usage, wire.usage.and_then(usage_of));
        if self.pieces.len() == before {
            self.pieces.push(Piece::Begin { choice });
        }
    }

    fn add_message(&mut self, bytes: &Bytes, choice: u64, message: WireMessage<'_>, extent: Extent) {
        let thoughts = [message.reasoning, message.reasoning_content].into_iter().flatten();
        let thought = thoughts.filter(|raw| raw.get() != "null").max_by_key(|raw| raw.get().len());
        let thought = thought.map(|raw| Piece::Thought { choice, text: place(bytes, raw) });
        self.pieces.extend(thought.filter(|thought| thought.answer_bytes() > 0));
        if let Some(content) = message.content {
            add_content(&mut self.pieces, bytes, choice, content);
        }
        let refusal = message.refusal.filter(|raw| raw.get().starts_with('"')).map(|raw| text_of(raw.get()));
        if let Some(text) = refusal.filter(|text| !text.is_empty()) {
            self.pieces.push(Piece::Refusal { choice, text: text.into_owned() });
        }
        if let Some(raw) = message.tool_calls.filter(|raw| is_there(raw)) {
            self.add_tool_calls(bytes, choice, raw, extent);
        }
        if let Some(raw) = message.function_call.filter(|raw| is_there(raw)) {
            let function = serde_json::from_str(raw.get()).unwrap_or_default();
            self.pieces.push(tool_call(bytes, choice, 0, WireCall { function: Some(function), ..WireCall::default() }));
        }
    }

    fn add_tool_calls(&mut self, bytes: &Bytes, choice: u64, list: &RawValue, extent: Extent) {
        let whole = items(list.get(), |i, item| {
            if i == MAX_TOOL_CALLS {
                return Err(());
            }
            let call: WireCall<'_> = serde_json::from_str(item.get()).unwrap_or_default();
            let number = match extent {
                Extent::Whole => i as u64,
                Extent::Event => call.index.0.unwrap_or(unnumbered(i)),
            };
            self.pieces.push(tool_call(bytes, choice, number, call));
            Ok(())
        });
        match whole {
            Ok(_) => {}
            Err(Stopped::Refused(())) => self.pieces.push(Piece::Native { choice }),
            // No list, and so nothing that this format knows: it calls tools all the same.
            Err(Stopped::NoList) => self.pieces.push(tool_call(bytes, choice, 0, WireCall::default())),
        }
    }
}

fn tool_call(bytes: &Bytes, choice: u64, call: u64, wire: WireCall<'_>) -> Piece {
    let place = |raw: Option<&RawValue>| raw.filter(|raw| raw.get() != "null").map_or(0..0, |raw| place(bytes, raw));
    let function = wire.function.unwrap_or_default();
    let (id, name, arguments) = (place(wire.id), place(function.name), place(function.arguments));
    Piece::ToolCall { choice, call, id, name, arguments }
}

/// Whether there is more than an empty value.
fn is_there(raw: &RawValue) -> bool {
    !matches!(raw.get(), "null" | "[]" | "{}" | r#""""# | "false" | "0")
}

/// Why an answer ended, also in the words of providers that nearly speak this format.
fn finish_of(reason: &str) -> Finish {
    match reason {
        "stop" | "STOP" | "eos" | "eos_token" | "end" | "end_turn" | "stop_sequence" => Finish::Stop,
        "tool_calls" | "function_call" | "tool_use" | "tool_call" => Finish::ToolCalls,
        "length" | "max_tokens" | "MAX_TOKENS" | "model_length" | "model_context_window_exceeded" => Finish::Length,
        "content_filter" | "content_filtered" | "safety" | "SAFETY" => Finish::Filter,
        "refusal" => Finish::Refusal,
        _ => Finish::Other,
    }
}

/// Whether the answer did not end but broke off, as DeepSeek, Mistral, OpenRouter, SGLang and vLLM say it.
fn is_failure(reason: &str) -> bool {
    matches!(reason, "error" | "insufficient_system_resource" | "abort" | "cancelled")
}

fn logprobs_of(raw: &RawValue) -> Option<TokenLogprobs> {
    let wire: WireLogprobs = serde_json::from_str(raw.get()).ok()?;
    let content = wire.content.filter(|content| !content.is_empty())?;
    Some(TokenLogprobs::of(content.iter().map(|token| token.logprob)))
}

#[cfg(test)]
mod tests;

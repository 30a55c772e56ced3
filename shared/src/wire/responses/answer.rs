//! Reads OpenAI's answers to Responses requests, whole or as the events of a stream.
//!
//! A whole answer is a list of items, and a stream tells the same items again and again: when they begin, in pieces, when
//! they end, and all together at its end. Each is taken once: what had been told in pieces is not told again by the end,
//! and what only the end tells is taken from there, for some providers send no pieces, and some no ends of items
//! ([`Items`]). Events that nobody knows pass on.
//!
//! Three bytes can be an item, and a piece takes a hundred in memory. So only the first [`MAX_ITEMS`] are told apart, and
//! the rest passes on as one piece (B1, B2).

use crate::money::Usage;
use crate::wire::answer::{Came, Chunk, Completion, Flaw, NotACompletion, Places};
use crate::wire::error_body::error_in;
use crate::wire::json::{Stopped, items, place, text_of};
use crate::wire::piece::{Finish, Piece};
use crate::wire::responses::items::{Items, MAX_ITEMS, Part, Told};
use crate::wire::responses::usage::usage_of;
use crate::wire::sse::{Kind, SseParser};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The format's name.
pub(crate) const NAME: &str = "openai-responses";
/// What a whole answer that stands for a stream is called: no door's format, so that it is written anew.
const WHOLE: &str = "openai-responses-whole";

/// What may stand at the top of an answer.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow, default)]
    incomplete_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// What may stand in an event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
    #[serde(default)]
    output_index: u64,
    #[serde(default)]
    content_index: u64,
    #[serde(default)]
    summary_index: u64,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    part: Option<&'a RawValue>,
}

/// Reads a whole answer; one that is still being made, or failed, is not whole (A1).
///
/// # Errors
/// Says what the bytes are instead, and what came all the same.
pub fn completion(body: Bytes, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
    let mut told = Told::of(&body);
    let mut items = Items::default();
    let usage = whole(&body, &mut items, &mut told)?;
    let Told { pieces, places, .. } = told;
    Ok(Completion { format: NAME, body, pieces, usage, first_byte_ms, places })
}

/// Reads a whole answer; what it used.
fn whole(body: &Bytes, items: &mut Items, told: &mut Told<'_>) -> Result<Option<Usage>, NotACompletion> {
    let malformed = || NotACompletion { flaw: Flaw::Malformed, came: Came::of_part(body) };
    let json = std::str::from_utf8(body).map_err(|_| malformed())?;
    if !json.trim_ascii_start().starts_with('{') {
        return Err(if error_in(body).is_none() { malformed() } else { Flaw::Error.into() });
    }
    let response: Response<'_> = serde_json::from_str(json).map_err(|_| malformed())?;
    let usage = response.used();
    let is_known = response.output.is_some_and(|output| output.get().starts_with('['));
    response.add(items, told);
    let flawed = |told: &Told<'_>, flaw| NotACompletion { flaw, came: Came::of(&told.pieces, usage) };
    match response.finish(items) {
        Err(flaw) => Err(flawed(told, flaw)),
        Ok(_) if !is_known => {
            let flaw = if error_in(body).is_some() { Flaw::Error } else { Flaw::Malformed };
            Err(flawed(told, flaw))
        }
        Ok(None) => Err(flawed(told, Flaw::Unfinished)),
        Ok(Some(why)) => {
            told.pieces.push(Piece::Finish { choice: 0, why });
            Ok(usage)
        }
    }
}

impl Response<'_> {
    /// What it used.
    fn used(&self) -> Option<Usage> {
        usage_of(self.usage?, self.service_tier)
    }

    /// Adds what its items tell that has not been told.
    fn add(&self, items: &mut Items, told: &mut Told<'_>) {
        told.places.model = self.model.map(|raw| place(told.bytes, raw));
        let Some(list) = self.output.filter(|list| list.get().starts_with('[')) else { return };
        let read = self::items(list.get(), |i, item| {
            if i == MAX_ITEMS {
                return Err(());
            }
            items.listed(i as u64, item, told);
            Ok(())
        });
        if matches!(read, Err(Stopped::Refused(()))) {
            told.native();
        }
    }

    /// Why it ended, if it has.
    fn finish(&self, items: &Items) -> Result<Option<Finish>, Flaw> {
        let is_error = self.error.is_some_and(|error| error.get() != "null");
        match self.status.as_deref() {
            Some("completed") => Ok(Some(items.finish())),
            Some("incomplete") => Ok(Some(self.cut_by())),
            Some("failed" | "cancelled") => Err(Flaw::Error),
            _ if is_error => Err(Flaw::Error),
            _ => Ok(None),
        }
    }

    /// Why it is not all that the model had to say.
    fn cut_by(&self) -> Finish {
        #[derive(Deserialize)]
        struct Details<'a> {
            #[serde(borrow, default)]
            reason: Option<Cow<'a, str>>,
        }
        let details = self.incomplete_details.and_then(|raw| serde_json::from_str::<Details<'_>>(raw.get()).ok());
        match details.and_then(|details| details.reason).as_deref() {
            Some("content_filter") => Finish::Filter,
            Some("max_output_tokens" | "max_tokens") => Finish::Length,
            _ => Finish::Other,
        }
    }
}

/// The answer of a stream.
#[derive(Debug, Default)]
pub struct Answer {
    items: Items,
}

impl Answer {
    /// Reads the data of the stream's next event.
    ///
    /// # Errors
    /// Says what the bytes are instead, and what came all the same.
    pub fn read(&mut self, payload: Bytes) -> Result<Chunk, NotACompletion> {
        let json = std::str::from_utf8(&payload).map_err(|_| Flaw::Malformed)?;
        let is_object = json.trim_ascii_start().starts_with('{');
        let event: Event<'_> = match serde_json::from_str(json) {
            Ok(event) if is_object => event,
            _ => return Err(Flaw::Malformed.into()),
        };
        let mut told = Told::of(&payload);
        let usage = self.event(&event, &mut told)?;
        if told.pieces.is_empty() {
            told.pieces.push(Piece::Begin { choice: 0 });
        }
        let Told { pieces, places, .. } = told;
        Ok(Chunk { format: NAME, payload: payload.clone(), pieces, usage, places })
    }

    fn event(&mut self, event: &Event<'_>, told: &mut Told<'_>) -> Result<Option<Usage>, NotACompletion> {
        let Some(kind) = event.kind.as_deref() else {
            let flaw = if error_in(told.bytes).is_some() { Flaw::Error } else { Flaw::Malformed };
            return Err(flaw.into());
        };
        let (item, text) = (event.output_index, Part::Text(event.content_index));
        let (refusal, thought) = (Part::Refusal(event.content_index), Part::Thought(event.content_index));
        let summary = Part::Summary(event.summary_index);
        let kind = kind.strip_prefix("response.").unwrap_or(kind);
        match kind {
            "created" | "in_progress" | "queued" => {
                let response = event.response.and_then(|raw| serde_json::from_str::<Response<'_>>(raw.get()).ok());
                let model = response.and_then(|response| response.model);
                told.places.model = model.map(|raw| place(told.bytes, raw));
            }
            "completed" | "incomplete" | "failed" => return self.end(kind, event, told),
            "error" => return Err(Flaw::Error.into()),
            "output_item.added" => event.item.into_iter().for_each(|raw| self.items.begin(item, raw, told)),
            "output_item.done" => event.item.into_iter().for_each(|raw| self.items.end(item, raw, told)),
            "output_text.delta" => {
                self.items.logprobs(event.logprobs, told);
                self.items.delta(item, text, event.delta, told);
            }
            "output_text.done" => {
                told.hide_logprobs(event.logprobs);
                self.items.done(item, text, event.text, told);
            }
            "refusal.delta" => self.items.delta(item, refusal, event.delta, told),
            "refusal.done" => self.items.done(item, refusal, event.refusal, told),
            "function_call_arguments.delta" => self.items.delta(item, Part::Arguments, event.delta, told),
            "function_call_arguments.done" => self.items.done(item, Part::Arguments, event.arguments, told),
            "reasoning_summary_text.delta" => self.items.delta(item, summary, event.delta, told),
            "reasoning_summary_text.done" => self.items.done(item, summary, event.text, told),
            "reasoning_text.delta" => self.items.delta(item, thought, event.delta, told),
            "reasoning_text.done" => self.items.done(item, thought, event.text, told),
            "content_part.added" | "content_part.done" => told.hide_logprobs_of_part(event.part),
            "reasoning_summary_part.added" | "reasoning_summary_part.done" | "keepalive" => {}
            // The work of the provider's own tools, sounds, and what is not known yet.
            _ => told.native(),
        }
        match told.is_contradicted {
            true => Err(NotACompletion { flaw: Flaw::Malformed, came: Came::of(&told.pieces, None) }),
            false => Ok(None),
        }
    }

    /// Reads the stream's last event, in which all of the answer stands.
    fn end(&mut self, kind: &str, event: &Event<'_>, told: &mut Told<'_>) -> Result<Option<Usage>, NotACompletion> {
        let response = event.response.and_then(|raw| serde_json::from_str::<Response<'_>>(raw.get()).ok());
        let Some(mut response) = response else { return Err(Flaw::Malformed.into()) };
        response.status = Some(kind.to_owned().into());
        let usage = response.used();
        response.add(&mut self.items, told);
        let flawed = |told: &Told<'_>, flaw| NotACompletion { flaw, came: Came::of(&told.pieces, usage) };
        match response.finish(&self.items) {
            _ if told.is_contradicted => Err(flawed(told, Flaw::Malformed)),
            Ok(Some(why)) => {
                told.pieces.push(Piece::Finish { choice: 0, why });
                Ok(usage)
            }
            Ok(None) | Err(_) => Err(flawed(told, Flaw::Error)),
        }
    }
}

/// A whole answer as the events of a stream: all of it at once.
///
/// # Errors
/// As [`completion`].
pub fn as_stream(body: Bytes) -> Result<Vec<Chunk>, NotACompletion> {
    let Completion { body, pieces, usage, .. } = completion(body, 0.0)?;
    Ok(vec![Chunk { format: WHOLE, payload: body, pieces, usage, places: Places::default() }])
}

/// Reads the whole body of a stream, for a provider that streams though nobody asked it to: its last event has all.
///
/// # Errors
/// As for a whole answer.
pub fn gathered(body: Bytes, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
    let mut parser = SseParser::default();
    parser.feed(&body);
    parser.finish();
    let (mut answer, mut came) = (Answer::default(), Came::default());
    while let Some(event) = parser.next_event().map_err(|_| Flaw::Malformed)? {
        match event.kind {
            Kind::Error => return Err(NotACompletion { flaw: Flaw::Error, came }),
            Kind::Ping => continue,
            Kind::Message if event.data.trim_ascii() == b"[DONE]" => break,
            Kind::Message => {}
        }
        let chunk = answer.read(event.data).map_err(|error| NotACompletion { came: came.plus(error.came), ..error })?;
        came = came.plus(chunk.came());
        if chunk.pieces.iter().any(|piece| matches!(piece, Piece::Finish { .. })) {
            let whole = response_in(&chunk.payload).ok_or(Flaw::Malformed)?;
            return completion(whole, first_byte_ms);
        }
    }
    let flaw = if came.is_something() { Flaw::Unfinished } else { Flaw::Malformed };
    Err(NotACompletion { flaw, came })
}

/// The answer that stands in an event.
pub(super) fn response_in(payload: &Bytes) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        response: &'a RawValue,
    }
    let whole: Whole<'_> = serde_json::from_slice(payload).ok()?;
    Some(payload.slice(place(payload, whole.response)))
}

/// What an event says it is; most write that first.
pub(super) fn kind_of(payload: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        kind: &'a RawValue,
    }
    let quick = payload.strip_prefix(br#"{"type":""#).and_then(|rest| {
        let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        (rest[end] == b'"').then(|| std::str::from_utf8(&rest[..end]).ok()).flatten()
    });
    match quick {
        Some(kind) => Some(kind.into()),
        None => serde_json::from_slice::<Typed<'_>>(payload).ok().map(|typed| text_of(typed.kind.get())),
    }
}

#[cfg(test)]
mod tests;

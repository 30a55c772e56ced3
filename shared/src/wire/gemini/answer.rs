//! Reads what Gemini answers, whole or as a stream, each event of which is written like a whole answer.
//!
//! A stream has no end of its own: its body just ends, and whether every answer had said why it ended decides whether it was
//! whole (A1). What the model did is told in the parts; that it called tools is `STOP` as any other end, also in an event
//! after that of the call. Without `alt=sse`, as behind some proxies, a stream is a list of its events.

use super::usage::usage_of;
use crate::money::Usage;
use crate::steps;
use crate::wire::answer::{Came, Chunk, Completion, Flaw, NotACompletion, Places};
use crate::wire::error_body::error_in;
use crate::wire::json::{Count, Stopped, items, text_of};
use crate::wire::piece::{Finish, Piece, TokenLogprobs};
use crate::wire::pieces::{Pieces, is_there};
use crate::wire::sse::{Kind, SseParser};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The format's name.
pub(crate) const NAME: &str = "gemini";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow, default)]
    candidates: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt_feedback: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// One of the answers.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(default)]
    index: Count,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logprobs_result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citation_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thought: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thought_signature: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Call<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
}

/// What is known of one of the answers.
#[derive(Debug, Default)]
struct State {
    calls: u64,
    has_ended: bool,
}

/// The answers to a request for `n`, as they come.
#[derive(Debug)]
pub struct Answers {
    n: u64,
    of: BTreeMap<u64, State>,
}

impl Answers {
    /// None of them has begun.
    #[must_use]
    pub fn of(n: u64) -> Self {
        Self { n, of: BTreeMap::new() }
    }

    /// Reads the data of the stream's next event; none if it says nothing.
    ///
    /// # Errors
    /// Says what they are instead, and what came all the same.
    pub fn read(&mut self, payload: Bytes) -> Result<Option<Chunk>, NotACompletion> {
        let (pieces, usage) = self.all(&payload)?;
        let says = !pieces.is_empty() || usage.is_some();
        Ok(says.then(|| Chunk { format: NAME, payload, pieces, usage, places: Places::default() }))
    }

    /// Reads an event, or a list of events.
    fn all(&mut self, bytes: &Bytes) -> Result<(Vec<Piece>, Option<Usage>), NotACompletion> {
        let json = std::str::from_utf8(bytes).map_err(|_| Flaw::Malformed)?;
        let (mut pieces, mut usage) = (Pieces::new(bytes), None);
        let read = match json.trim_ascii_start().starts_with('[') {
            false => self.event(json, &mut pieces, &mut usage),
            true => match items(json, |_, event| self.event(event.get(), &mut pieces, &mut usage)) {
                Ok(_) => Ok(()),
                Err(Stopped::NoList) => Err(Flaw::Malformed),
                Err(Stopped::Refused(flaw)) => Err(flaw),
            },
        };
        match read {
            Ok(()) => Ok((pieces.all, usage)),
            Err(Flaw::Malformed) if pieces.all.is_empty() && usage.is_none() => {
                Err(NotACompletion { flaw: Flaw::Malformed, came: Came::of_part(bytes) })
            }
            Err(flaw) => Err(NotACompletion { flaw, came: Came::of(&pieces.all, usage) }),
        }
    }

    fn event(&mut self, json: &str, pieces: &mut Pieces<'_>, usage: &mut Option<Usage>) -> Result<(), Flaw> {
        let is_object = json.trim_ascii_start().starts_with('{');
        let wire: Wire<'_> = serde_json::from_str(json).ok().filter(|_| is_object).ok_or(Flaw::Malformed)?;
        *usage = Usage::both(*usage, wire.usage_metadata.and_then(usage_of));
        if wire.error.is_some_and(is_there) {
            return Err(Flaw::Error);
        }
        let candidates = wire.candidates.filter(|candidates| is_there(candidates));
        let Some(candidates) = candidates else {
            return match error_in(json.as_bytes()) {
                Some(_) => Err(Flaw::Error),
                // Only the usage, or how the prompt was rated.
                None if wire.usage_metadata.is_some() || wire.prompt_feedback.is_some() => Ok(()),
                None => Err(Flaw::Malformed),
            };
        };
        let read = items(candidates.get(), |position, candidate| {
            let candidate = Some(candidate).filter(|candidate| candidate.get().starts_with('{'));
            let candidate = candidate.ok_or(Flaw::Malformed)?;
            let candidate: Candidate<'_> = serde_json::from_str(candidate.get()).map_err(|_| Flaw::Malformed)?;
            self.candidate(position as u64, &candidate, pieces)
        });
        read.map(drop).map_err(|stopped| if let Stopped::Refused(flaw) = stopped { flaw } else { Flaw::Malformed })
    }

    fn candidate(&mut self, position: u64, candidate: &Candidate<'_>, pieces: &mut Pieces<'_>) -> Result<(), Flaw> {
        let choice = candidate.index.0.unwrap_or(position);
        let (is_new, n) = (!self.of.contains_key(&choice), self.of.len() as u64);
        if is_new && n >= self.n {
            return Err(Flaw::Malformed);
        }
        let state = self.of.entry(choice).or_default();
        (pieces.choice, pieces.calls) = (choice, state.calls);
        let content: Content<'_> =
            candidate.content.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        if is_new {
            pieces.all.push(Piece::Begin { choice });
        }
        if let Some(parts) = content.parts.filter(|parts| is_there(parts)) {
            // What is no list says nothing.
            let _ = items::<()>(parts.get(), |_, part| {
                add(&serde_json::from_str(part.get()).unwrap_or_default(), pieces);
                Ok(())
            });
        }
        state.calls = pieces.calls;
        let logprobs = candidate.logprobs_result.and_then(logprobs_of);
        pieces.all.extend(logprobs.map(|logprobs| Piece::Logprobs { choice, logprobs }));
        if [candidate.grounding_metadata, candidate.citation_metadata].into_iter().flatten().any(is_there) {
            pieces.native();
        }
        if let Some(reason) = candidate.finish_reason.filter(|reason| is_there(reason)) {
            let why = finish_of(&text_of(reason.get()), state.calls > 0)?;
            state.has_ended |= why.is_some();
            pieces.all.extend(why.map(|why| Piece::Finish { choice, why }));
        }
        Ok(())
    }

    /// Whether there are answers, and each has said why it ended.
    fn are_whole(&self) -> Result<(), Flaw> {
        match self.of.values().all(|state| state.has_ended) {
            _ if self.of.is_empty() => Err(Flaw::Malformed),
            true => Ok(()),
            false => Err(Flaw::Unfinished),
        }
    }
}

/// Adds what a part says.
fn add(part: &Part<'_>, pieces: &mut Pieces<'_>) {
    steps::count(1);
    if let Some(call) = part.function_call.filter(|call| call.get().starts_with('{')) {
        let Call { id, name, args } = serde_json::from_str(call.get()).unwrap_or_default();
        let id = id.filter(|id| is_there(id));
        pieces.next_call(id, name, args);
        // A model that signs its calls names them.
        if let (Some(id), Some(signature)) = (id, part.thought_signature.filter(|raw| is_there(raw))) {
            pieces.signature(id, signature);
        }
    } else if let Some(text) = part.text.filter(|text| text.get().starts_with('"')) {
        match part.thought.is_some_and(|thought| thought.get() == "true") {
            true => pieces.thought(Some(text).filter(|text| is_there(text))),
            false => pieces.text(Some(text)),
        }
    } else if part.thought_signature.is_none() {
        // Pictures, sounds, and the work of the provider's own tools. What signs a text is of use to nobody.
        pieces.native();
    }
}

/// Why an answer ended; none if that is not said.
///
/// # Errors
/// It did not end but failed: what the model made was no call of a tool, or no answer at all.
fn finish_of(reason: &str, calls_tools: bool) -> Result<Option<Finish>, Flaw> {
    Ok(Some(match reason {
        "FINISH_REASON_UNSPECIFIED" => return Ok(None),
        "STOP" if calls_tools => Finish::ToolCalls,
        "STOP" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => Finish::Filter,
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MALFORMED_RESPONSE"
        | "MISSING_THOUGHT_SIGNATURE"
        | "OTHER"
        | "NO_IMAGE"
        | "IMAGE_OTHER" => return Err(Flaw::Malformed),
        _ => Finish::Other,
    }))
}

/// How likely the tokens were that it chose.
fn logprobs_of(raw: &RawValue) -> Option<TokenLogprobs> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Result {
        chosen_candidates: Vec<Token>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Token {
        log_probability: f64,
    }
    let result: Result = serde_json::from_str(raw.get()).ok()?;
    let chosen = Some(result.chosen_candidates).filter(|chosen| !chosen.is_empty())?;
    Some(TokenLogprobs::of(chosen.iter().map(|token| token.log_probability)))
}

/// Reads a whole answer to a request for `n`, or a stream that came as a list. One without any answer, or with one that does
/// not say why it ended, is not whole (A1).
///
/// # Errors
/// Says what the bytes are instead, and what came all the same.
pub fn completion(body: Bytes, n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
    let mut answers = Answers::of(n);
    let (pieces, usage) = answers.all(&body)?;
    answers.are_whole().map_err(|flaw| NotACompletion { flaw, came: Came::of(&pieces, usage) })?;
    Ok(Completion { format: NAME, body, pieces, usage, first_byte_ms, places: Places::default() })
}

/// A whole answer as all that comes of a stream.
///
/// # Errors
/// As [`completion`].
pub fn as_stream(body: Bytes, n: u64) -> Result<Vec<Chunk>, NotACompletion> {
    let Completion { body: payload, pieces, usage, .. } = completion(body, n, 0.0)?;
    Ok(vec![Chunk { format: NAME, payload, pieces, usage, places: Places::default() }])
}

/// Reads a stream that nobody asked for, to its end: as the list of its events.
///
/// # Errors
/// As [`completion`].
pub fn gathered(body: Bytes, n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
    let mut parser = SseParser::default();
    parser.feed(&body);
    parser.finish();
    let mut list = BytesMut::with_capacity(body.len());
    while let Some(event) = parser.next_event().map_err(|_| Flaw::Malformed)? {
        match event.kind {
            Kind::Error => return Err(Flaw::Error.into()),
            Kind::Ping => continue,
            Kind::Message => {}
        }
        list.put_u8(if list.is_empty() { b'[' } else { b',' });
        list.extend_from_slice(&event.data);
    }
    list.put_u8(b']');
    completion(list.freeze(), n, first_byte_ms)
}

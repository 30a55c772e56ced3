//! A provider's answer, whole or as the events of a stream: its bytes, whose format they are in, and what they say.
//!
//! One parse finds the pieces, the usage and the places in the bytes where the gateway writes something of its own. To a
//! client that speaks the same format all else passes byte for byte; for any other the answer is written from its pieces
//! ([`Writer`](super::writer::Writer)).

use crate::money::Usage;
use crate::wire::piece::{Finish, Piece, Place, said};
use bytes::{BufMut, Bytes};
use std::borrow::Cow;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The name of the format of `body`.
    pub format: &'static str,
    /// As it came from the provider.
    pub body: Bytes,
    /// What it says: at least one answer, each with its end (A1).
    pub pieces: Vec<Piece>,
    /// What it used, if the provider says.
    pub usage: Option<Usage>,
    /// Milliseconds from the call to the first byte of the answer's body.
    pub first_byte_ms: f64,
    /// What of `body` the gateway may replace.
    pub places: Places,
}

/// An event of a streamed answer.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The name of the format of `payload`.
    pub format: &'static str,
    /// The event's data as it came from the provider.
    pub payload: Bytes,
    /// What it adds to the answers.
    pub pieces: Vec<Piece>,
    /// What the whole answer used, if this event says.
    pub usage: Option<Usage>,
    /// What of `payload` the gateway may replace.
    pub places: Places,
}

/// Where in the bytes stands what the gateway may replace.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The model's name.
    pub model: Option<Place>,
    /// Log-probabilities, in their order.
    pub logprobs: Vec<Place>,
}

/// The bytes are not an answer that is whole, and what came of one all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{flaw}")]
pub struct NotACompletion {
    /// What they are instead.
    pub flaw: Flaw,
    /// What there is to be billed.
    pub came: Came,
}

/// What bytes are that are no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A provider's error.
    #[error("an error")]
    Error,
    /// An answer that does not say that it has ended (A1).
    #[error("an answer without its end")]
    Unfinished,
    /// Nothing that is known.
    #[error("not a chat completion")]
    Malformed,
}

/// What came of an answer before it was known to fail: the provider may bill it (M4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Came {
    /// What it used, if the provider says.
    pub usage: Option<Usage>,
    /// Bytes that were generated: of texts, thoughts and calls of tools.
    pub answer_bytes: usize,
    /// Whether the model refused ([`Finish::Refusal`]).
    pub refused: bool,
}

impl Came {
    /// What these pieces brought.
    #[must_use]
    pub fn of(pieces: &[Piece], usage: Option<Usage>) -> Self {
        let refused = pieces.iter().any(|piece| matches!(piece, Piece::Finish { why: Finish::Refusal, .. }));
        Self { usage, answer_bytes: pieces.iter().map(Piece::answer_bytes).sum(), refused }
    }

    /// What part of a JSON answer brought: no more than stands behind the beginning of its list of answers.
    #[must_use]
    pub fn of_part(json: &[u8]) -> Self {
        let begins = memchr::memchr(b'[', json).filter(|_| json.trim_ascii_start().starts_with(b"{"));
        Self { answer_bytes: begins.map_or(0, |begins| json.len() - begins - 1), ..Self::default() }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, later: Self) -> Self {
        Self {
            usage: Usage::both(self.usage, later.usage),
            answer_bytes: self.answer_bytes + later.answer_bytes,
            refused: self.refused || later.refused,
        }
    }

    /// Whether nobody pays for it: a model that refuses before its first word bills nothing, though it tells the tokens of
    /// the prompt and one of an answer (Anthropic's documentation of refusals).
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.refused && self.answer_bytes == 0 && self.usage.is_none_or(|usage| usage.output_tokens <= 1)
    }

    /// Whether something was generated. For a prompt alone nobody pays.
    #[must_use]
    pub fn is_something(&self) -> bool {
        self.answer_bytes > 0 || self.usage.is_some_and(|usage| usage.output_tokens > 0)
    }
}

impl From<Flaw> for NotACompletion {
    fn from(flaw: Flaw) -> Self {
        Self { flaw, came: Came::default() }
    }
}

impl Completion {
    /// What it brought.
    #[must_use]
    pub fn came(&self) -> Came {
        Came::of(&self.pieces, self.usage)
    }

    /// The text of the first answer.
    #[must_use]
    pub fn first_text(&self) -> String {
        let first = self.pieces.first().map(Piece::choice);
        let of_first = self.pieces.iter().filter(|piece| Some(piece.choice()) == first);
        of_first.filter_map(|piece| if let Piece::Text { text, .. } = piece { Some(&**text) } else { None }).collect()
    }

    /// Whether all its answers are all that the model had to say: cut neither by a bound nor by a filter.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pieces.iter().all(|piece| !matches!(piece, Piece::Finish { why, .. } if !why.is_complete()))
    }

    /// What stands at a place of a piece.
    #[must_use]
    pub fn said(&self, place: &Place) -> Cow<'_, str> {
        said(&self.body, place)
    }
}

impl Chunk {
    /// What it brought.
    #[must_use]
    pub fn came(&self) -> Came {
        Came::of(&self.pieces, self.usage)
    }

    /// Bytes of answers, thoughts and calls of tools in it.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        self.came().answer_bytes
    }

    /// Whether it carries something of an answer or of the thoughts before it, and not only a role or an end.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.pieces.iter().any(Piece::has_content)
    }

    /// Whether it carries some of a call of a tool.
    #[must_use]
    pub fn calls_tools(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::ToolCall { .. }))
    }

    /// Bytes that it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(|piece| size_of::<Piece>() + piece.text_bytes()).sum();
        size_of::<Self>() + self.payload.len() + pieces
    }

    /// Whether it carries nothing but the usage.
    #[must_use]
    pub fn is_usage_only(&self) -> bool {
        self.pieces.is_empty() && self.usage.is_some()
    }

    /// What stands at a place of a piece.
    #[must_use]
    pub fn said(&self, place: &Place) -> Cow<'_, str> {
        said(&self.payload, place)
    }
}

impl Places {
    /// Writes JSON anew: its model is `model`, and log-probabilities are `null` if they are hidden. All else stays as it is.
    pub fn rewrite(&self, json: &[u8], model: &str, hide_logprobs: bool, out: &mut impl BufMut) {
        let hidden = if hide_logprobs { &*self.logprobs } else { &[] };
        let is_before = |place: &&Place| self.model.as_ref().is_none_or(|model| place.start < model.start);
        let (before, after) = hidden.split_at(hidden.iter().take_while(is_before).count());
        let mut done = 0;
        for place in before.iter().chain(&self.model).chain(after) {
            out.put_slice(&json[done..place.start]);
            if self.model.as_ref() == Some(place) {
                put_json(model, out)
            } else {
                out.put_slice(b"null")
            }
            done = place.end;
        }
        out.put_slice(&json[done..]);
    }
}

/// Writes a text as a JSON string.
fn put_json(text: &str, out: &mut impl BufMut) {
    // A text is JSON, and memory takes what is written.
    let _ = serde_json::to_writer(out.writer(), text);
}

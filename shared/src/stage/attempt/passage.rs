//! What a client has of a stream, as far as another model must know it to go on; and how that one's stream joins it.
//!
//! Only text is gone on with. Where a call of a tool had begun, or JSON, two models' halves make no whole; where the end was
//! told there is nothing to go on with. Thoughts are left as they are: what another model thinks is not passed on.

use crate::limit::budget::{COPIES, Room};
use crate::money::Usage;
use crate::provider::ProviderError;
use crate::receipt::AttemptOutcome;
use crate::stage::attempt::seam::{Joint, Seam};
use crate::wire::answer::{Chunk, Places};
use crate::wire::piece::Piece;
use std::borrow::Cow;

/// Text for which room is taken at a time; the first is the stream's own.
const STEP_BYTES: usize = 16 << 10;
/// The longest text that is kept to be gone on with.
const MAX_BYTES: usize = 256 << 10;

/// What has passed to the client.
#[derive(Debug, Default)]
pub(crate) struct Passage {
    /// Why nobody can go on with it, once that is so.
    closed: Option<&'static str>,
    /// The number of the answer; not all providers count from 0.
    choice: Option<u64>,
    /// Its text.
    pub(crate) text: String,
    /// Bytes of text that there is room for.
    room_bytes: usize,
    /// What those before used that wrote a part of it, where another goes on.
    joins: Option<Usage>,
    /// Where that one joins it, until that is known.
    seam: Option<Seam>,
    /// Whether that one begins anew instead.
    is_anew: bool,
}

impl Passage {
    /// One that nobody may go on with.
    pub(crate) fn closed(why: &'static str) -> Self {
        Self { closed: Some(why), ..Self::default() }
    }

    /// From here on what comes is another model's, after those that used so much.
    pub(crate) fn join(&mut self, used: &Usage) {
        self.joins.get_or_insert_default().plus(used);
        self.is_anew = false;
        self.seam = has_words(&self.text).then(|| Seam::after(&self.text));
    }

    /// Whether several models have written it.
    pub(crate) fn is_joined(&self) -> bool {
        self.joins.is_some()
    }

    /// What all that wrote a part of it used, where the last one used so much.
    pub(crate) fn used(&self, last: Usage) -> Usage {
        let mut all = self.joins.unwrap_or_default();
        all.plus(&last);
        all
    }

    /// Takes an event on its way to the client: as it is, or as another model's, without what does not join.
    pub(crate) fn take<'c>(&mut self, chunk: &'c Chunk, room: &Room) -> Cow<'c, Chunk> {
        if !self.is_joined() {
            self.note(&chunk.pieces, room);
            return Cow::Borrowed(chunk);
        }
        let mut pieces = Vec::with_capacity(chunk.pieces.len());
        for piece in &chunk.pieces {
            self.add(piece, &mut pieces);
        }
        self.note(&pieces, room);
        let usage = chunk.usage.map(|used| self.used(used));
        let payload = chunk.payload.clone();
        // Of no door's format, so that it is written from its pieces.
        Cow::Owned(Chunk { format: "", payload, pieces, usage, places: Places::default() })
    }

    /// Why nobody can go on with it, if that is so.
    pub(crate) fn why_not(&self) -> Option<&'static str> {
        // Half of a surrogate pair: no text that a model is shown has it.
        let is_cut = self.text.ends_with(char::REPLACEMENT_CHARACTER);
        self.closed.or(is_cut.then_some("it was cut within a character"))
    }

    /// # Errors
    /// If what joins it is not what was asked for.
    pub(crate) fn check(&self) -> Result<(), ProviderError> {
        let why = "it began the answer anew, in other words";
        if self.is_anew { Err(ProviderError::retryable(AttemptOutcome::Malformed, why)) } else { Ok(()) }
    }

    fn note(&mut self, pieces: &[Piece], room: &Room) {
        if self.closed.is_some() {
            return;
        }
        for piece in pieces {
            self.choice = self.choice.or(Some(piece.choice()));
            match piece {
                Piece::Text { text, .. } => self.text.push_str(text),
                Piece::ToolCall { .. } => self.close("a call of a tool had begun"),
                Piece::Refusal { .. } => self.close("the model had refused"),
                Piece::Finish { .. } => self.close("its end had been told"),
                Piece::Begin { .. }
                | Piece::Thought { .. }
                | Piece::Signature { .. }
                | Piece::Logprobs { .. }
                | Piece::Native { .. } => {}
            }
        }
        if self.text.len() > MAX_BYTES {
            self.close("it was too long by then");
        }
        let step = self.text.len() / STEP_BYTES * STEP_BYTES;
        match room.grow_to(self.room_bytes, step * COPIES) {
            Ok(bytes) => self.room_bytes = bytes,
            Err(_) => self.close("there was no memory to keep it"),
        }
    }

    fn close(&mut self, why: &'static str) {
        self.closed = Some(why);
        if self.joins.is_none() {
            self.text = String::new();
        }
    }

    /// Adds what a piece of another model's comes to.
    fn add(&mut self, piece: &Piece, pieces: &mut Vec<Piece>) {
        let choice = self.choice.unwrap_or_else(|| piece.choice());
        let joins = match piece {
            Piece::Text { text, .. } => {
                let joint = match &mut self.seam {
                    Some(seam) => seam.add(&self.text, text),
                    None => Joint::Text(text.clone()),
                };
                return self.put(joint, choice, pieces);
            }
            Piece::Refusal { text, .. } => Piece::Refusal { choice, text: text.clone() },
            Piece::ToolCall { call, id, name, arguments, .. } => {
                let (call, id, name, arguments) = (*call, id.clone(), name.clone(), arguments.clone());
                Piece::ToolCall { choice, call, id, name, arguments }
            }
            Piece::Finish { why, .. } => Piece::Finish { choice, why: *why },
            Piece::Begin { .. }
            | Piece::Thought { .. }
            | Piece::Signature { .. }
            | Piece::Logprobs { .. }
            | Piece::Native { .. } => return,
        };
        if let Some(mut seam) = self.seam.take() {
            let joint = seam.end(&self.text);
            self.put(joint, choice, pieces);
        }
        if !self.is_anew {
            pieces.push(joins);
        }
    }

    fn put(&mut self, joint: Joint, choice: u64, pieces: &mut Vec<Piece>) {
        match joint {
            Joint::Open => return,
            _ if self.is_anew => {}
            Joint::Anew => self.is_anew = true,
            Joint::Text(text) if text.is_empty() => {}
            Joint::Text(text) => pieces.push(Piece::Text { choice, text }),
        }
        self.seam = None;
    }
}

/// Whether a text is one that a model can be shown as what it said.
pub(crate) fn has_words(text: &str) -> bool {
    !text.trim().is_empty()
}

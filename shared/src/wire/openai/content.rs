//! The content of a message: a text, or a list of parts, of which some are texts and some thoughts.
//!
//! A part can be three bytes and a piece is a hundred; so texts that follow one another are one piece, and only the first
//! [`MAX_THOUGHTS`] thoughts are told apart, and what is not understood is one piece (B2). It all passes on in this format.

use crate::wire::json::{Stopped, items, place, text_of};
use crate::wire::piece::Piece;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Most parts of thoughts in one message that are told apart.
const MAX_THOUGHTS: usize = 128;

/// A part; Mistral's thoughts are a list of parts themselves.
#[derive(Deserialize, Default)]
struct WirePart<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
}

/// Adds what a `content` says.
pub(super) fn add_content(pieces: &mut Vec<Piece>, bytes: &Bytes, choice: u64, content: &RawValue) {
    let mut parts = Parts { pieces, bytes, choice, thoughts: 0, has_native: false };
    match content.get().as_bytes().first() {
        Some(b'"') => parts.text(&text_of(content.get())),
        Some(b'[') => each(content, |part| parts.part(part)),
        Some(b'{') => parts.part(content),
        Some(b'n') => {}
        _ => parts.native(),
    }
}

/// Does something with each item of a list, which has been read as JSON before.
fn each<'a>(list: &'a RawValue, mut act: impl FnMut(&'a RawValue)) {
    let _: Result<usize, Stopped<()>> = items(list.get(), |_, item| {
        act(item);
        Ok(())
    });
}

/// The parts of one message on their way to pieces.
struct Parts<'p> {
    pieces: &'p mut Vec<Piece>,
    bytes: &'p Bytes,
    choice: u64,
    thoughts: usize,
    has_native: bool,
}

impl Parts<'_> {
    fn part(&mut self, part: &RawValue) {
        if part.get().starts_with('"') {
            return self.text(&text_of(part.get()));
        }
        let wire: WirePart<'_> = serde_json::from_str(part.get()).unwrap_or_default();
        let is_thought = wire.kind.is_some_and(|kind| kind.contains("think") || kind.contains("reason"));
        match (wire.thinking, wire.text) {
            (Some(thinking), _) if thinking.get().starts_with('[') => each(thinking, |inner| {
                let of_part = serde_json::from_str::<WirePart<'_>>(inner.get()).ok().and_then(|part| part.text);
                self.thought(of_part.unwrap_or(inner));
            }),
            (Some(thinking), _) => self.thought(thinking),
            (None, Some(text)) if is_thought => self.thought(text),
            (None, Some(text)) if text.get().starts_with('"') => self.text(&text_of(text.get())),
            _ => self.native(),
        }
    }

    fn text(&mut self, more: &str) {
        match self.pieces.last_mut() {
            _ if more.is_empty() => {}
            Some(Piece::Text { choice, text }) if *choice == self.choice => text.push_str(more),
            _ => self.pieces.push(Piece::Text { choice: self.choice, text: more.to_owned() }),
        }
    }

    fn thought(&mut self, text: &RawValue) {
        match text.get() {
            "null" | r#""""# => {}
            _ if self.thoughts == MAX_THOUGHTS => self.native(),
            _ => {
                self.thoughts += 1;
                self.pieces.push(Piece::Thought { choice: self.choice, text: place(self.bytes, text) });
            }
        }
    }

    fn native(&mut self) {
        if !std::mem::replace(&mut self.has_native, true) {
            self.pieces.push(Piece::Native { choice: self.choice });
        }
    }
}

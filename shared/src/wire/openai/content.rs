//! The content of a message: a text, or a list of parts, of which some are texts and some thoughts.
//!
//! A part can be three bytes and a piece is a hundred; so texts that follow one another are one piece, and only the first
//! [`MAX_THOUGHTS`] thoughts are told apart (B2). Whatever is not understood passes on in this format.

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
    match content.get().as_bytes().first() {
        Some(b'"') => add_text(pieces, choice, &text_of(content.get())),
        Some(b'[') => add_parts(pieces, bytes, choice, content),
        Some(b'{') => add_part(pieces, bytes, choice, content),
        Some(b'n') => {}
        _ => pieces.push(Piece::Native { choice }),
    }
}

fn add_parts(pieces: &mut Vec<Piece>, bytes: &Bytes, choice: u64, list: &RawValue) {
    // The list was read as JSON before, and no part is refused.
    let _: Result<usize, Stopped<()>> = items(list.get(), |_, part| {
        add_part(pieces, bytes, choice, part);
        Ok(())
    });
}

fn add_part(pieces: &mut Vec<Piece>, bytes: &Bytes, choice: u64, part: &RawValue) {
    if part.get().starts_with('"') {
        return add_text(pieces, choice, &text_of(part.get()));
    }
    let wire: WirePart<'_> = serde_json::from_str(part.get()).unwrap_or_default();
    let is_thought = wire.kind.is_some_and(|kind| kind.contains("think") || kind.contains("reason"));
    match (wire.thinking, wire.text) {
        (Some(thinking), _) if thinking.get().starts_with('[') => {
            let _: Result<usize, Stopped<()>> = items(thinking.get(), |_, inner| {
                let of_part = serde_json::from_str::<WirePart<'_>>(inner.get()).ok().and_then(|part| part.text);
                add_thought(pieces, bytes, choice, of_part.unwrap_or(inner));
                Ok(())
            });
        }
        (Some(thinking), _) => add_thought(pieces, bytes, choice, thinking),
        (None, Some(text)) if is_thought => add_thought(pieces, bytes, choice, text),
        (None, Some(text)) if text.get().starts_with('"') => add_text(pieces, choice, &text_of(text.get())),
        _ => add_native(pieces, choice),
    }
}

fn add_text(pieces: &mut Vec<Piece>, choice: u64, more: &str) {
    match pieces.last_mut() {
        _ if more.is_empty() => {}
        Some(Piece::Text { choice: before, text }) if *before == choice => text.push_str(more),
        _ => pieces.push(Piece::Text { choice, text: more.to_owned() }),
    }
}

fn add_thought(pieces: &mut Vec<Piece>, bytes: &Bytes, choice: u64, text: &RawValue) {
    let thoughts = pieces.iter().filter(|piece| matches!(piece, Piece::Thought { .. })).take(MAX_THOUGHTS).count();
    match text.get() {
        "null" | r#""""# => {}
        _ if thoughts == MAX_THOUGHTS => add_native(pieces, choice),
        _ => pieces.push(Piece::Thought { choice, text: place(bytes, text) }),
    }
}

fn add_native(pieces: &mut Vec<Piece>, choice: u64) {
    if !matches!(pieces.last(), Some(Piece::Native { .. })) {
        pieces.push(Piece::Native { choice });
    }
}

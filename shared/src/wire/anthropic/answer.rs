//! Reads a message, whole.
//!
//! One borrowed parse finds the pieces, the usage, and the place of the model's name. A block can be three bytes, and a piece
//! is a hundred; so texts that follow one another are one piece, only so many thoughts and calls are kept apart, and what no
//! other format has is one piece (B2). It all passes on in this format.

use super::usage::Told;
use crate::wire::answer::{Came, Chunk, Completion, Flaw, NotACompletion, Places};
use crate::wire::error_body::error_in;
use crate::wire::json::{items, place, text_of};
use crate::wire::piece::{Finish, Piece};
use crate::wire::pieces::{Pieces, is_there};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The format's name.
pub(crate) const NAME: &str = "anthropic-messages";
/// What a whole message is called that stands for a stream: no door's format, so that it is written anew.
const WHOLE: &str = "anthropic-messages-whole";

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// A block of a message, or what an event brings of one.
#[derive(Deserialize, Default)]
pub(super) struct WireBlock<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) signature: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) citations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) input: Option<&'a RawValue>,
}

/// Reads a whole message. One that does not say why it ended is not whole (A1).
///
/// # Errors
/// Says what the bytes are instead, and what came all the same.
pub fn completion(body: Bytes, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
    let json = std::str::from_utf8(&body).map_err(|_| Flaw::Malformed)?;
    let malformed = || NotACompletion { flaw: Flaw::Malformed, came: Came::of_part(&body) };
    let wire: Wire<'_> = match json.trim_ascii_start().starts_with('{') {
        true => serde_json::from_str(json).map_err(|_| malformed())?,
        false => return Err(malformed()),
    };
    let content = wire.content.filter(|content| content.get().starts_with('['));
    let mut told = Told::default();
    wire.usage.into_iter().for_each(|usage| told.add(usage));
    let mut pieces = Pieces::new(&body);
    if let Some(content) = content {
        let _ = items::<()>(content.get(), |_, block| {
            pieces.block(&serde_json::from_str(block.get()).unwrap_or_default());
            Ok(())
        });
    }
    let mut pieces = pieces.all;
    let flawed = |flaw, pieces: &[Piece]| Err(NotACompletion { flaw, came: Came::of(pieces, told.usage()) });
    if wire.error.is_some_and(is_there) || content.is_none() {
        return flawed(if error_in(&body).is_some() { Flaw::Error } else { Flaw::Malformed }, &pieces);
    }
    let Some(why) = wire.stop_reason.filter(|reason| is_there(reason)).map(|reason| finish_of(&text_of(reason.get())))
    else {
        return flawed(Flaw::Unfinished, &pieces);
    };
    if pieces.is_empty() {
        pieces.push(Piece::Begin { choice: 0 });
    }
    pieces.push(Piece::Finish { choice: 0, why });
    let places = Places { model: wire.model.map(|model| place(&body, model)), ..Places::default() };
    let usage = told.usage();
    Ok(Completion { format: NAME, body, pieces, usage, first_byte_ms, places })
}

/// A whole message as all that comes of a stream.
///
/// # Errors
/// As [`completion`].
pub fn as_stream(body: Bytes) -> Result<Vec<Chunk>, NotACompletion> {
    let Completion { body: payload, pieces, usage, .. } = completion(body, 0.0)?;
    Ok(vec![Chunk { format: WHOLE, payload, pieces, usage, places: Places::default() }])
}

impl Pieces<'_> {
    /// Adds a block of a whole message.
    fn block(&mut self, block: &WireBlock<'_>) {
        match block.kind.as_deref() {
            Some("text") => {
                self.text(block.text);
                if block.citations.is_some_and(is_there) {
                    self.native();
                }
            }
            Some("thinking") => {
                self.thought(block.thinking.filter(|text| is_there(text)));
                self.seal(block.signature);
            }
            Some("redacted_thinking") => self.seal(block.data),
            Some("tool_use") => self.next_call(block.id, block.name, block.input),
            _ => self.native(),
        }
    }
}

/// Why an answer ended. One that pauses goes on when it is sent back, which is no end that another format knows.
pub(super) fn finish_of(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "tool_use" => Finish::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "refusal" => Finish::Refusal,
        _ => Finish::Other,
    }
}

//! Reads a message as it streams: it begins, its blocks begin, grow and end, it is told why it ended, and ends.
//!
//! Only the last event is the end (A1): that which tells why the message ended comes before it, and may come more than once.

use super::answer::{NAME, WireBlock, finish_of};
use super::usage::Told;
use crate::wire::answer::{Came, Chunk, Flaw, NotACompletion, Places};
use crate::wire::json::{Count, place, text_of};
use crate::wire::piece::{Finish, Piece};
use crate::wire::pieces::{Pieces, is_there};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Most calls of tools in one stream that are kept apart.
const MAX_CALLS: usize = 1_024;

#[derive(Deserialize)]
struct WireEvent<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message: Option<WireMessage<'a>>,
    #[serde(default)]
    index: Count,
    #[serde(borrow, default)]
    content_block: Option<WireBlock<'a>>,
    #[serde(borrow, default)]
    delta: Option<WireDelta<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireDelta<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    signature: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
}

/// What an event's data say.
#[derive(Debug)]
pub enum Said {
    /// Something of the message.
    Chunk(Chunk),
    /// The end of it; without why it ended, it is not whole.
    Last(Option<Chunk>),
    /// Nothing but a sign of life.
    Nothing,
}

/// A message as it comes.
#[derive(Debug, Default)]
pub struct Message {
    told: Told,
    why: Option<Finish>,
    /// The places of the blocks that are calls of tools.
    calls: Vec<u64>,
}

impl Message {
    /// Reads the data of the stream's next event.
    ///
    /// # Errors
    /// Says what they are instead.
    pub fn read(&mut self, payload: Bytes) -> Result<Said, NotACompletion> {
        let json = std::str::from_utf8(&payload).map_err(|_| Flaw::Malformed)?;
        if !json.trim_ascii_start().starts_with('{') {
            return Err(Flaw::Malformed.into());
        }
        let event: WireEvent<'_> = serde_json::from_str(json).map_err(|_| Flaw::Malformed)?;
        let mut pieces = Pieces::new(&payload);
        let mut places = Places::default();
        let mut usage = event.usage;
        match event.kind.as_deref() {
            _ if event.error.is_some_and(is_there) => return Err(Flaw::Error.into()),
            None => return Err(Flaw::Malformed.into()),
            Some("error") => return Err(Flaw::Error.into()),
            Some("ping") => return Ok(Said::Nothing),
            Some("message_start") => {
                pieces.all.push(Piece::Begin { choice: 0 });
                if let Some(message) = event.message {
                    places.model = message.model.map(|model| place(&payload, model));
                    usage = usage.or(message.usage);
                }
            }
            Some("content_block_start") => {
                self.begin(&mut pieces, event.index, &event.content_block.unwrap_or_default());
            }
            Some("content_block_delta") => {
                if let Some(delta) = event.delta {
                    self.grow(&mut pieces, event.index, &delta);
                }
            }
            Some("message_delta") => {
                let reason = event.delta.and_then(|delta| delta.stop_reason).filter(|reason| is_there(reason));
                self.why = reason.map(|reason| finish_of(&text_of(reason.get()))).or(self.why);
            }
            Some("message_stop") => {
                let why = self.why.take();
                pieces.all.extend(why.map(|why| Piece::Finish { choice: 0, why }));
            }
            // The end of a block, and what is not known.
            Some(_) => {}
        }
        usage.into_iter().for_each(|usage| self.told.add(usage));
        let is_last = event.kind.as_deref() == Some("message_stop");
        let (pieces, usage) = (pieces.all, usage.and_then(|_| self.told.usage()));
        drop(event.kind);
        Ok(match is_last {
            true if pieces.is_empty() => Said::Last(None),
            true => Said::Last(Some(Chunk { format: NAME, payload, pieces, usage, places })),
            false => Said::Chunk(Chunk { format: NAME, payload, pieces, usage, places }),
        })
    }

    fn begin(&mut self, pieces: &mut Pieces<'_>, index: Count, block: &WireBlock<'_>) {
        match block.kind.as_deref() {
            Some("text") => pieces.text(block.text),
            // That the model thinks shows that it has begun, also where no word of it is told.
            Some("thinking") => pieces.thought(block.thinking),
            Some("redacted_thinking") => pieces.seal(block.data),
            Some("tool_use") if self.calls.len() < MAX_CALLS => {
                let call = self.calls.len() as u64;
                self.calls.push(index.0.unwrap_or(call));
                pieces.call(call, block.id, block.name, block.input.filter(|input| is_there(input)));
            }
            _ => pieces.native(),
        }
    }

    fn grow(&mut self, pieces: &mut Pieces<'_>, index: Count, delta: &WireDelta<'_>) {
        match delta.kind.as_deref() {
            Some("text_delta") => pieces.text(delta.text),
            Some("thinking_delta") => pieces.thought(delta.thinking),
            Some("signature_delta") => pieces.seal(delta.signature),
            Some("input_json_delta") => {
                let call = index.0.and_then(|index| self.calls.iter().rposition(|of| *of == index));
                match call {
                    Some(call) => pieces.call(call as u64, None, None, delta.partial_json),
                    None => pieces.native(),
                }
            }
            _ => pieces.native(),
        }
    }

    /// What came of it, as far as its provider tells.
    #[must_use]
    pub fn came(&self) -> Came {
        Came { usage: self.told.usage(), ..Came::default() }
    }
}

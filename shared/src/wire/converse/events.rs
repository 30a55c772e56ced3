//! Reads an answer as it streams: it begins, its blocks grow, it says why it ended, and last of all what it used.
//!
//! Why it ended is its end (A1), and what it used is none, wherever it stands. It comes after the end, so that nobody may
//! leave then; the two together are the last of a stream.

use super::NAME;
use super::answer::{WireBlock, WireCall, finish_of, within};
use super::usage::told;
use crate::wire::answer::{Came, Chunk, Flaw, NotACompletion, Places};
use crate::wire::json::{Count, text_of};
use crate::wire::piece::Piece;
use crate::wire::pieces::{Pieces, is_there};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Most calls of tools in one stream that are kept apart.
const MAX_CALLS: usize = 1_024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEvent<'a> {
    #[serde(default)]
    content_block_index: Count,
    #[serde(borrow, default)]
    start: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
}

/// What an event brings of the model's thoughts.
#[derive(Deserialize, Default)]
struct Thought<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

/// What an event says.
#[derive(Debug)]
pub enum Said {
    /// Something of the answer.
    Chunk(Chunk),
    /// The last of it.
    Last(Chunk),
}

/// An answer as it comes.
#[derive(Debug, Default)]
pub struct Message {
    /// The places of the blocks that are calls of tools.
    calls: Vec<u64>,
    /// Whether it has said why it ended.
    has_ended: bool,
    /// Whether the model made what is no answer.
    is_malformed: bool,
}

impl Message {
    /// Reads the stream's next event, of this name.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn read(&mut self, name: &str, payload: Bytes) -> Result<Said, NotACompletion> {
        let json = std::str::from_utf8(&payload).map_err(|_| Flaw::Malformed)?;
        let event: WireEvent<'_> = serde_json::from_str(json).map_err(|_| Flaw::Malformed)?;
        let mut pieces = Pieces::new(&payload);
        match name {
            "messageStart" => pieces.all.push(Piece::Begin { choice: 0 }),
            "contentBlockStart" => {
                if let Some(start) = event.start {
                    self.begin(&mut pieces, event.content_block_index, &within(start));
                }
            }
            "contentBlockDelta" => {
                if let Some(delta) = event.delta {
                    self.grow(&mut pieces, event.content_block_index, &within(delta));
                }
            }
            "messageStop" => {
                let reason = event.stop_reason.filter(|reason| is_there(reason)).ok_or(Flaw::Unfinished)?;
                self.has_ended = true;
                match finish_of(&text_of(reason.get())) {
                    Some(why) => pieces.all.push(Piece::Finish { choice: 0, why }),
                    None => self.is_malformed = true,
                }
            }
            // The end of a block, what it used, and what is not known.
            _ => {}
        }
        let (pieces, usage) = (pieces.all, told(event.usage, event.service_tier));
        let chunk = Chunk { format: NAME, payload, pieces, usage, places: Places::default() };
        match name {
            "metadata" if self.is_malformed => {
                Err(NotACompletion { flaw: Flaw::Malformed, came: Came { usage, ..Came::default() } })
            }
            "metadata" if self.has_ended => Ok(Said::Last(chunk)),
            _ => Ok(Said::Chunk(chunk)),
        }
    }

    fn begin(&mut self, pieces: &mut Pieces<'_>, index: Count, block: &WireBlock<'_>) {
        match block.tool_use {
            Some(call) if self.calls.len() < MAX_CALLS => {
                let number = self.calls.len() as u64;
                self.calls.push(index.0.unwrap_or(number));
                let WireCall { tool_use_id, name, .. } = within(call);
                pieces.call(number, tool_use_id, name, None);
            }
            _ => pieces.native(),
        }
    }

    fn grow(&self, pieces: &mut Pieces<'_>, index: Count, delta: &WireBlock<'_>) {
        match delta {
            WireBlock { text: Some(text), .. } => pieces.text(Some(text)),
            WireBlock { tool_use: Some(call), .. } => {
                let begun = index.0.and_then(|index| self.calls.iter().rposition(|of| *of == index));
                match begun {
                    Some(number) => pieces.call(number as u64, None, None, within::<WireCall<'_>>(call).input),
                    None => pieces.native(),
                }
            }
            WireBlock { reasoning_content: Some(thought), .. } => match within::<Thought<'_>>(thought).text {
                Some(text) => pieces.thought(Some(text)),
                None => pieces.native(),
            },
            _ => pieces.native(),
        }
    }
}

//! What passed on of a stream of this format, as far as more of the same answer can be written after it.
//!
//! An item that has ended is kept as it came, for the whole answer stands in the last event; of the one that is open its
//! beginning is. Its text is the pipeline's to keep. Nothing of it is read before another provider goes on.

use crate::wire::answer::Chunk;
use crate::wire::piece::Piece;
use crate::wire::responses::made::{Made, Reached};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;

/// What passed on.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// The last event.
    last: Bytes,
    /// The events that ended items.
    items: Vec<Bytes>,
    /// The event that began the item which is open.
    item: Option<Bytes>,
    /// Those that ended parts of it.
    parts: Vec<Bytes>,
    /// The bytes of text before the part that is open, if one is.
    part: Option<usize>,
    /// Whether the open part's text has been told as a whole.
    has_text: bool,
    text_bytes: usize,
    held_bytes: usize,
}

#[derive(Deserialize, Default)]
struct Event {
    #[serde(default)]
    sequence_number: Option<u64>,
    #[serde(default)]
    output_index: u64,
    #[serde(default)]
    item: Value,
    #[serde(default)]
    part: Value,
}

impl Event {
    fn of(payload: &Bytes) -> Self {
        serde_json::from_slice(payload).unwrap_or_default()
    }
}

impl Passed {
    /// Bytes that it keeps.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Notes an event that passes on.
    pub(super) fn note(&mut self, kind: &str, chunk: &Chunk) {
        match kind {
            "response.output_item.added" => {
                (self.item, self.part) = (Some(self.kept(&chunk.payload)), None);
                self.parts.clear();
            }
            "response.output_item.done" => {
                let item = self.kept(&chunk.payload);
                self.items.push(item);
                (self.item, self.part) = (None, None);
            }
            "response.content_part.added" => (self.part, self.has_text) = (Some(self.text_bytes), false),
            "response.output_text.done" => self.has_text = true,
            "response.content_part.done" => {
                let part = self.kept(&chunk.payload);
                self.parts.push(part);
                self.part = None;
            }
            _ => {}
        }
        self.text_bytes += chunk.pieces.iter().map(Piece::text_bytes).sum::<usize>();
        self.last = chunk.payload.clone();
    }

    /// A copy: an event itself would keep all that was read together with it.
    fn kept(&mut self, payload: &Bytes) -> Bytes {
        self.held_bytes += payload.len();
        Bytes::copy_from_slice(payload)
    }

    /// Has an answer of this text be made on from here; not where the text has been told as a whole.
    pub(super) fn leave(self, made: &mut Made, text: &str, out: &mut BytesMut) -> bool {
        if self.part.is_some() && self.has_text {
            return false;
        }
        if self.last.is_empty() {
            made.break_off(out);
            return true;
        }
        let items: Vec<Event> = self.items.iter().map(Event::of).collect();
        let item = self.item.as_ref().map(Event::of);
        let indices = items.iter().chain(&item).map(|event| event.output_index);
        made.reach(Reached {
            sequence: Event::of(&self.last).sequence_number.map(|number| number + 1),
            index: indices.max().map_or(0, |index| index + 1),
            items: items.into_iter().map(|event| (event.output_index, event.item)).collect(),
        });
        let Some(item) = item else { return true };
        let parts = self.parts.iter().map(|part| Event::of(part).part).collect();
        let text = self.part.map(|start| text.get(start..).unwrap_or_default());
        made.go_on_in(item.output_index, item.item, parts, text, out);
        true
    }
}

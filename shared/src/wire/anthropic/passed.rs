//! What passed on of a stream of this format, as far as more of the same message can be written after it. Nothing of it is read
//! before another provider goes on.

use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;

/// What passed on of a stream of this format.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) has_begun: bool,
    /// The event that opened the last block.
    opened: Bytes,
    pub(super) is_open: bool,
    /// Whether it was told why the message ended.
    pub(super) is_ended: bool,
}

impl Passed {
    /// Notes an event that passes on.
    pub(super) fn note(&mut self, kind: &str, payload: &[u8]) {
        match kind {
            "message_start" => self.has_begun = true,
            // It would keep all that was read together with it.
            "content_block_start" => (self.opened, self.is_open) = (Bytes::copy_from_slice(payload), true),
            "content_block_stop" => self.is_open = false,
            "message_delta" => self.is_ended = true,
            _ => {}
        }
    }

    /// The place of the last block, and whether it is a text.
    pub(super) fn last(&self) -> Option<(u64, bool)> {
        #[derive(Deserialize)]
        struct Opened<'a> {
            index: u64,
            #[serde(borrow)]
            content_block: Typed<'a>,
        }
        #[derive(Deserialize)]
        struct Typed<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
        }
        let opened: Opened<'_> = serde_json::from_slice(&self.opened).ok()?;
        Some((opened.index, opened.content_block.kind == "text"))
    }
}

//! The pieces of an answer, as the blocks or parts of its content are read one by one.
//!
//! A block can be three bytes, and a piece is a hundred; so texts that follow one another are one piece, only so many thoughts
//! and calls are kept apart, and what no other format has is one piece (B2).

use crate::wire::json::{place, text_of};
use crate::wire::piece::{Piece, Place};
use bytes::Bytes;
use serde_json::value::RawValue;

/// Most thoughts, and most calls of tools, that are kept apart in one answer.
const MAX_APART: u64 = 128;

/// What has been read so far.
pub(crate) struct Pieces<'b> {
    pub(crate) all: Vec<Piece>,
    /// To which of the `n` answers is added.
    pub(crate) choice: u64,
    /// How many calls of tools it has.
    pub(crate) calls: u64,
    bytes: &'b Bytes,
    thoughts: u64,
    has_native: bool,
}

impl<'b> Pieces<'b> {
    /// None, of the first answer in these bytes.
    pub(crate) fn new(bytes: &'b Bytes) -> Self {
        Self { all: Vec::new(), choice: 0, calls: 0, bytes, thoughts: 0, has_native: false }
    }

    pub(crate) fn text(&mut self, text: Option<&RawValue>) {
        let Some(text) = text.filter(|text| text.get().starts_with('"')).map(|text| text_of(text.get())) else {
            return;
        };
        let choice = self.choice;
        match self.all.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text { choice: of, text: before }) if *of == choice => before.push_str(&text),
            _ => self.all.push(Piece::Text { choice, text: text.into_owned() }),
        }
    }

    /// Adds a thought, which may be without words.
    pub(crate) fn thought(&mut self, text: Option<&RawValue>) {
        match text {
            Some(text) if self.thoughts < MAX_APART => {
                self.thoughts += 1;
                self.all.push(Piece::Thought { choice: self.choice, text: place(self.bytes, text) });
            }
            Some(_) => self.native(),
            None => {}
        }
    }

    /// Adds the next call, all of which has come.
    pub(crate) fn next_call(&mut self, id: Option<&RawValue>, name: Option<&RawValue>, arguments: Option<&RawValue>) {
        if self.calls >= MAX_APART {
            return self.native();
        }
        let call = self.calls;
        self.calls += 1;
        self.call(call, id, name, arguments);
    }

    pub(crate) fn call(
        &mut self,
        call: u64,
        id: Option<&RawValue>,
        name: Option<&RawValue>,
        arguments: Option<&RawValue>,
    ) {
        let of = |raw: Option<&RawValue>| -> Place {
            raw.filter(|raw| raw.get() != "null").map_or(0..0, |raw| place(self.bytes, raw))
        };
        let (id, name, arguments) = (of(id), of(name), of(arguments));
        self.all.push(Piece::ToolCall { choice: self.choice, call, id, name, arguments });
    }

    /// Adds how a call is signed.
    pub(crate) fn signature(&mut self, id: &RawValue, signature: &RawValue) {
        let (id, signature) = (place(self.bytes, id), place(self.bytes, signature));
        self.all.push(Piece::Signature { choice: self.choice, id, signature });
    }

    /// Adds what seals a thought, which its client sends back: that only its own format knows.
    pub(crate) fn seal(&mut self, seal: Option<&RawValue>) {
        let Some(seal) = seal.filter(|seal| is_there(seal)) else { return };
        self.all.push(Piece::Signature { choice: self.choice, id: place(self.bytes, seal), signature: 0..0 });
        self.native();
    }

    /// Adds that there is something which only its own format knows.
    pub(crate) fn native(&mut self) {
        if !std::mem::replace(&mut self.has_native, true) {
            self.all.push(Piece::Native { choice: self.choice });
        }
    }
}

/// Whether there is more than an empty value.
pub(crate) fn is_there(raw: &RawValue) -> bool {
    !matches!(raw.get(), "null" | "[]" | "{}" | r#""""# | "false" | "0")
}

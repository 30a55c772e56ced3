//! Which events of a stream, that cannot be read, are left out of its answer.
//!
//! What is left out is some text. Half of a call's arguments, or of some JSON, would be worse than an error; and a stream with
//! many of them is garbage.

use super::{Call, Chunk, Skipped};
use crate::wire::answer::Came;
use crate::wire::facts::AnswerFormat;
use memchr::memmem;

/// Most events of a stream that are left out.
const MOST: u32 = 3;
/// What an event with a part of a call has in it, in each format.
const OF_CALL: [&str; 5] = ["tool_calls", "function_call", "functionCall", "toolUse", "reasoningContent"];

/// What has been left out of a stream, and whether more may be.
#[derive(Default)]
pub(super) struct Skips {
    /// Whether the answer may have gaps: JSON with one is none.
    has_gaps: bool,
    /// Whether a call of a tool has begun.
    calls: bool,
    pub(super) so_far: Skipped,
}

impl Skips {
    pub(super) fn of(call: &Call<'_>) -> Self {
        let has_gaps = call.request.facts.answer_format == AnswerFormat::Text;
        Self { has_gaps, calls: false, so_far: Skipped::default() }
    }

    /// Learns what has come.
    pub(super) fn note(&mut self, chunk: &Chunk) {
        self.calls = self.calls || chunk.calls_tools();
    }

    /// Leaves an event out, if that may be, whose data cannot be read but seem to be text.
    pub(super) fn leave_out(&mut self, data: &[u8], came: Came) -> bool {
        let is_of_call = OF_CALL.iter().any(|word| memmem::find(data, word.as_bytes()).is_some());
        let may = self.has_gaps && !self.calls && !is_of_call && self.so_far.events < MOST;
        if may {
            self.so_far = Skipped { events: self.so_far.events + 1, came: self.so_far.came.plus(came) };
        }
        may
    }
}

//! Google's generateContent, in which its Gemini models are called. No door reads it.

pub mod answer;
mod config;
mod turns;
mod usage;
mod write;

use crate::wire::conversation::{Conversation, Untranslatable};
use crate::wire::format::{Overrides, Spoken, Written};
use answer::NAME;

/// Google's format.
#[derive(Debug)]
pub struct Gemini;

/// Google's format.
pub static GEMINI: Gemini = Gemini;

impl Spoken for Gemini {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signs_calls(&self) -> bool {
        true
    }

    fn write(&self, conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written, Untranslatable> {
        write::write(conversation, overrides)
    }
}

#[cfg(test)]
mod tests;

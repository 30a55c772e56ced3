//! Amazon Bedrock's Converse: what models on Bedrock speak that have neither OpenAI's nor Anthropic's format there.
//!
//! No door speaks it. A request is written from a conversation; an answer is one JSON object, or a stream of frames
//! ([`crate::wire::frames`]) each of which is named and holds JSON. The model's name stands in the address, and so does
//! whether the answer is to be streamed.

pub mod answer;
pub mod events;
mod turns;
mod usage;
mod write;

use crate::wire::conversation::{Conversation, Untranslatable};
use crate::wire::format::{Overrides, Spoken, Written};

/// The format's name.
pub(crate) const NAME: &str = "bedrock-converse";

/// Bedrock's format.
#[derive(Debug)]
pub struct Converse;

/// As all models take it.
pub static CONVERSE: Converse = Converse;

impl Spoken for Converse {
    fn name(&self) -> &'static str {
        NAME
    }

    fn write(&self, conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written, Untranslatable> {
        write::write(conversation, overrides)
    }
}

#[cfg(test)]
mod tests;

//! Anthropic's messages: what Claude's clients and coding agents speak.

pub mod answer;
mod blocks;
mod conversation;
pub mod error;
pub mod events;
mod extent;
mod paid;
mod passed;
mod request;
mod turns;
mod upstream;
mod usage;
mod write;
pub mod writer;

use crate::error::{Error, HttpError};
use crate::id::RequestId;
use crate::wire::body::Body;
use crate::wire::conversation::{Conversation, Untranslatable};
use crate::wire::facts::Facts;
use crate::wire::format::{FieldNames, Format, Overrides, Spoken, Written};
use crate::wire::writer::Writer;
use crate::wire::writing::turns;
use answer::NAME;
use bytes::Bytes;
use request::Purpose;
use std::borrow::Cow;

/// Anthropic's format.
#[derive(Debug)]
pub struct Messages {
    purpose: Purpose,
}

/// As an answer is asked for.
pub static MESSAGES: Messages = Messages { purpose: Purpose::Answer };
/// As the number of a request's tokens is asked for: without what only an answer needs.
pub static COUNT: Messages = Messages { purpose: Purpose::Count };

impl Spoken for Messages {
    fn name(&self) -> &'static str {
        NAME
    }

    fn splice(&self, body: &Body, overrides: &Overrides<'_>) -> Option<Bytes> {
        Some(upstream::splice(body, overrides, self.purpose))
    }

    fn write(&self, conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written, Untranslatable> {
        write::write(self.name(), conversation, overrides)
    }
}

impl Format for Messages {
    fn fields(&self) -> &'static FieldNames {
        &FieldNames {
            models: "models",
            messages: "messages",
            tools: "tools",
            answer_format: "output_config.format",
            logprobs: "logprobs",
            tool_choice: "tool_choice",
            effort: "output_config.effort",
            sampling: "temperature",
            stop: "stop_sequences",
            parallel_tools: "tool_choice.disable_parallel_tool_use",
        }
    }

    fn carried(&self) -> &'static [&'static str] {
        &["anthropic-version", "anthropic-beta"]
    }

    fn read(&self, body: Bytes) -> Result<(Body, Facts), Error> {
        request::read(body, self.purpose)
    }

    fn seals<'b>(&self, body: &'b Body) -> Vec<Cow<'b, str>> {
        upstream::seals(body)
    }

    fn conversation<'b>(&self, body: &'b Body) -> Result<Conversation<'b>, Untranslatable> {
        conversation::read(self.name(), body)
    }

    fn continued(&self, body: &Body, said: &str, ask: Option<&str>) -> Option<Bytes> {
        body.with_more("messages", &turns(said, ask))
    }

    fn writer(&self, request: RequestId) -> Box<dyn Writer> {
        Box::new(writer::MessagesWriter::new(request))
    }

    fn error(&self, http: &HttpError, request: Option<&str>) -> Bytes {
        error::envelope(http, request)
    }
}

#[cfg(test)]
mod tests;

//! OpenAI's chat completions: what most clients and providers speak.

pub mod answer;
mod calls;
mod content;
mod conversation;
pub mod error;
pub mod gather;
pub(crate) mod paid;
mod recast;
pub mod request;
mod upstream;
pub(crate) mod usage;
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

/// What a provider calls the bound on the answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxTokensField {
    /// `max_tokens`, which nearly every provider knows.
    MaxTokens,
    /// `max_completion_tokens`, which OpenAI's reasoning models insist on.
    MaxCompletionTokens,
}

impl MaxTokensField {
    /// The field's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// OpenAI's chat format.
#[derive(Debug)]
pub struct OpenAiChat {
    max_tokens_field: MaxTokensField,
}

/// As nearly every provider and client speaks it.
pub static CHAT: OpenAiChat = OpenAiChat { max_tokens_field: MaxTokensField::MaxTokens };
/// As OpenAI's reasoning models insist on.
static CHAT_OF_REASONING: OpenAiChat = OpenAiChat { max_tokens_field: MaxTokensField::MaxCompletionTokens };

impl OpenAiChat {
    /// The dialect that calls the bound on the output so.
    #[must_use]
    pub fn with(max_tokens_field: MaxTokensField) -> &'static Self {
        match max_tokens_field {
            MaxTokensField::MaxTokens => &CHAT,
            MaxTokensField::MaxCompletionTokens => &CHAT_OF_REASONING,
        }
    }
}

impl Spoken for OpenAiChat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn splice(&self, body: &Body, overrides: &Overrides<'_>) -> Option<Bytes> {
        Some(upstream::splice(body, overrides, self.max_tokens_field))
    }

    fn write(&self, conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written, Untranslatable> {
        write::write(self.name(), conversation, overrides, self.max_tokens_field)
    }
}

impl Format for OpenAiChat {
    fn fields(&self) -> &'static FieldNames {
        &FieldNames {
            models: "models",
            messages: "messages",
            tools: "tools",
            answer_format: "response_format",
            logprobs: "logprobs",
            tool_choice: "tool_choice",
            effort: "reasoning_effort",
            sampling: "temperature",
            stop: "stop",
            parallel_tools: "parallel_tool_calls",
        }
    }

    fn read(&self, body: Bytes) -> Result<(Body, Facts), Error> {
        request::read(body)
    }

    fn conversation<'b>(&self, body: &'b Body) -> Result<Conversation<'b>, Untranslatable> {
        conversation::read(self.name(), body)
    }

    fn continued(&self, body: &Body, said: &str, ask: Option<&str>) -> Option<Bytes> {
        body.with_more("messages", &turns(said, ask))
    }

    fn writer(&self, request: RequestId) -> Box<dyn Writer> {
        Box::new(writer::ChatWriter::new(request))
    }

    fn error(&self, http: &HttpError, request: Option<&str>) -> Bytes {
        error::envelope(http, request)
    }
}

#[cfg(test)]
mod tests;

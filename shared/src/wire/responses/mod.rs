//! OpenAI's Responses: a list of items in, a list of items out, and a stream that names every step.

pub mod answer;
mod conversation;
mod items;
mod made;
mod namespace;
mod paid;
mod passed;
mod request;
mod upstream;
mod usage;
mod write;
mod writer;

use crate::error::{Error, HttpError};
use crate::id::RequestId;
use crate::wire::body::Body;
use crate::wire::conversation::{Conversation, Untranslatable};
use crate::wire::facts::Facts;
use crate::wire::format::{FieldNames, Format, Overrides, Spoken, Written};
use crate::wire::openai::error::envelope;
use crate::wire::writer::Writer;
use crate::wire::writing::turns;
use answer::NAME;
use bytes::Bytes;
use serde_json::{Value, json};
use std::borrow::Cow;

/// OpenAI's Responses format.
#[derive(Debug)]
pub struct OpenAiResponses;

/// As OpenAI speaks it, and those who follow.
pub static RESPONSES: OpenAiResponses = OpenAiResponses;

impl Spoken for OpenAiResponses {
    fn name(&self) -> &'static str {
        NAME
    }

    fn splice(&self, body: &Body, overrides: &Overrides<'_>) -> Option<Bytes> {
        Some(upstream::splice(body, overrides))
    }

    fn write(&self, conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written, Untranslatable> {
        write::write(conversation, overrides)
    }
}

impl Format for OpenAiResponses {
    fn fields(&self) -> &'static FieldNames {
        &FieldNames {
            models: "models",
            messages: "input",
            tools: "tools",
            answer_format: "text.format",
            logprobs: "include",
            tool_choice: "tool_choice",
            effort: "reasoning.effort",
            sampling: "temperature",
            stop: "stop",
            parallel_tools: "parallel_tool_calls",
        }
    }

    fn read(&self, body: Bytes) -> Result<(Body, Facts), Error> {
        request::read(body)
    }

    fn asks_for_thoughts(&self, body: &Body) -> bool {
        upstream::asks_for_thoughts(body)
    }

    fn seals<'b>(&self, body: &'b Body) -> Vec<Cow<'b, str>> {
        upstream::seals(body)
    }

    fn conversation<'b>(&self, body: &'b Body) -> Result<Conversation<'b>, Untranslatable> {
        conversation::read(self.name(), body)
    }

    fn continued(&self, body: &Body, said: &str, ask: Option<&str>) -> Option<Bytes> {
        let turns = turns(said, ask);
        body.with_more("input", &turns).or_else(|| {
            let prompt: Value = serde_json::from_str(body.raw("input")?).ok()?;
            let all = [vec![json!({"role": "user", "content": prompt})], turns].concat();
            Some(body.with_value(&body.place("input")?, &Value::from(all).to_string()))
        })
    }

    fn writer(&self, request: RequestId) -> Box<dyn Writer> {
        Box::new(writer::ResponsesWriter::new(request))
    }

    fn error(&self, http: &HttpError, request: Option<&str>) -> Bytes {
        envelope(http, request)
    }
}

#[cfg(test)]
mod tests;

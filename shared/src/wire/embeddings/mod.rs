//! OpenAI's embeddings: texts in, a vector for each of them out.
//!
//! It is a format like the others, and so takes their way: it has limits, a hold, candidates, attempts and a receipt. What
//! sets it apart is in its [`Facts`]: they say what is to be embedded ([`Facts::inputs`]), so that only models that make
//! vectors are candidates, and only those that make the same ones. It means nothing in any other format. See ADR 37.

pub mod answer;
pub(crate) mod numbers;
mod request;
mod upstream;
mod writer;

use crate::error::{Error, HttpError};
use crate::id::RequestId;
use crate::wire::body::Body;
use crate::wire::conversation::{Conversation, Untranslatable};
use crate::wire::facts::Facts;
use crate::wire::format::{FieldNames, Format, Overrides, Spoken, Written};
use crate::wire::openai::error::envelope;
use crate::wire::writer::Writer;
use bytes::Bytes;
pub(crate) use upstream::{Abilities, body_for};

/// The format's name.
const NAME: &str = "openai-embeddings";

/// OpenAI's embeddings.
#[derive(Debug)]
pub struct OpenAiEmbeddings;

/// As OpenAI speaks it, and those who follow.
pub static EMBEDDINGS: OpenAiEmbeddings = OpenAiEmbeddings;

impl Spoken for OpenAiEmbeddings {
    fn name(&self) -> &'static str {
        NAME
    }

    fn splice(&self, body: &Body, overrides: &Overrides<'_>) -> Option<Bytes> {
        Some(body_for(body, overrides.model, &Abilities::default()))
    }

    fn write(&self, _: &Conversation<'_>, _: &Overrides<'_>) -> Result<Written, Untranslatable> {
        Err(Untranslatable::new("model", "makes vectors of texts and generates nothing"))
    }
}

impl Format for OpenAiEmbeddings {
    fn fields(&self) -> &'static FieldNames {
        &FieldNames {
            models: "models",
            messages: "input",
            tools: "tools",
            answer_format: "encoding_format",
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

    fn conversation<'b>(&self, _body: &'b Body) -> Result<Conversation<'b>, Untranslatable> {
        Err(Untranslatable::new("input", "is to be embedded, which no other format can say"))
    }

    fn writer(&self, request: RequestId) -> Box<dyn Writer> {
        Box::new(writer::VectorWriter::new(request))
    }

    fn error(&self, http: &HttpError, request: Option<&str>) -> Bytes {
        envelope(http, request)
    }
}

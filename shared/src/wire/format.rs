//! A wire format: how requests and answers are written by one family of clients and providers.
//!
//! A door reads and writes one ([`Format`]), a provider speaks one ([`Spoken`]). Where both are the same, the client's bytes
//! pass with a few fields replaced ([`Spoken::splice`]); else the request's meaning is read and written anew. A format is an
//! addition, also from outside of this crate: an implementation touches no stage, no decision and no other format.
//!
//! Formats are compared by their names, for one format may be spoken in several dialects (OpenAI's bound on the output
//! has two names), and what one dialect says is understood by another.

use crate::error::{Error, HttpError};
use crate::id::RequestId;
use crate::wire::body::Body;
use crate::wire::conversation::{Conversation, Makers, Untranslatable};
use crate::wire::facts::Facts;
use crate::wire::writer::Writer;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt::Debug;

/// What the gateway itself says in a request that goes to a provider, whatever the client said.
#[derive(Debug, Clone, Copy)]
pub struct Overrides<'a> {
    /// The provider's name for the model.
    pub model: &'a str,
    /// The most tokens that each answer may have (M1).
    pub max_output_tokens: u64,
    /// Whether the answer is to be streamed; a stream ends with its usage (M3).
    pub stream: bool,
    /// Whether to ask for log-probabilities that the client did not ask for.
    pub ask_logprobs: bool,
    /// Whether the model is one that thinks.
    pub thinks: bool,
    /// Whether it knows how much the client says it is to think; else nothing is said of it.
    pub knows_effort: bool,
    /// Whose the thoughts in the request are. Those of another model are left out.
    pub makers: Makers<'a>,
}

impl<'a> Overrides<'a> {
    /// That a model of this name, which thinks, is to answer whole, in no more tokens than these.
    #[must_use]
    pub const fn plain(model: &'a str, max_output_tokens: u64) -> Self {
        let (stream, ask_logprobs, thinks, knows_effort) = (false, false, true, true);
        Self { model, max_output_tokens, stream, ask_logprobs, thinks, knows_effort, makers: Makers::NONE }
    }
}

/// What a format calls the fields that an error may have to name.
#[derive(Debug, Clone, Copy)]
pub struct FieldNames {
    /// What lists further models.
    pub models: &'static str,
    /// The conversation.
    pub messages: &'static str,
    /// The tools.
    pub tools: &'static str,
    /// What kind of answer is wanted.
    pub answer_format: &'static str,
    /// What asks for log-probabilities.
    pub logprobs: &'static str,
    /// What orders the model to call a tool.
    pub tool_choice: &'static str,
    /// What says how much the model is to think.
    pub effort: &'static str,
    /// The first parameter of sampling.
    pub sampling: &'static str,
    /// Texts that end the answer.
    pub stop: &'static str,
    /// What says whether the model may call several tools at once.
    pub parallel_tools: &'static str,
}

impl FieldNames {
    /// What this format calls the field that those who write requests for providers know by its name in chat completions.
    #[must_use]
    pub fn of<'n>(&self, name: &'n str) -> &'n str {
        match name {
            "messages" => self.messages,
            "tools" => self.tools,
            "response_format" => self.answer_format,
            "logprobs" => self.logprobs,
            "tool_choice" => self.tool_choice,
            "reasoning_effort" => self.effort,
            "temperature" => self.sampling,
            "stop" => self.stop,
            "parallel_tool_calls" => self.parallel_tools,
            other => other,
        }
    }
}

/// A request that was translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// As the provider's format has it.
    pub body: Bytes,
    /// What of the client's request this format cannot say, in words for the receipt.
    pub left_out: Vec<String>,
}

/// How requests are written for providers.
pub trait Spoken: Debug + Send + Sync {
    /// Its name, by which formats are compared; kept in the keys of remembered answers, so it never changes.
    fn name(&self) -> &'static str;

    /// The request of a client that speaks this very format: its bytes with what the gateway says itself. `None` where no
    /// door reads this format.
    fn splice(&self, _body: &Body, _overrides: &Overrides<'_>) -> Option<Bytes> {
        None
    }

    /// Whether its models want something back with the calls that they made, which no client carries.
    fn signs_calls(&self) -> bool {
        false
    }

    /// A request of another format. Whether it can be written, and what is left out, must not depend on `overrides`.
    ///
    /// # Errors
    /// What this format cannot say, and what cannot be left out.
    fn write(&self, conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written, Untranslatable>;
}

/// How requests of clients are read, and answered.
pub trait Format: Spoken {
    /// What it calls the fields that an error may have to name.
    fn fields(&self) -> &'static FieldNames;

    /// Which of a client's headers go along to a provider that speaks this very format, for they change what it answers.
    fn carried(&self) -> &'static [&'static str] {
        &[]
    }

    /// Reads and checks a request.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] names the first field that is missing or not what it must be.
    fn read(&self, body: Bytes) -> Result<(Body, Facts), Error>;

    /// Whether a request in this format asks for thoughts, beside saying how much to think.
    fn asks_for_thoughts(&self, _body: &Body) -> bool {
        false
    }

    /// The texts with which the thoughts in a request are sealed, so that only the model which made them knows them again.
    fn seals<'b>(&self, _body: &'b Body) -> Vec<Cow<'b, str>> {
        Vec::new()
    }

    /// The meaning of a request that this format has read, for a provider that speaks another.
    ///
    /// # Errors
    /// What has no meaning outside of this format, and cannot be left out.
    fn conversation<'b>(&self, body: &'b Body) -> Result<Conversation<'b>, Untranslatable>;

    /// A request with the beginning of its answer at its end, for a model to go on with, and where it does not do so by
    /// itself, the user's word to. `None` where the format cannot say that.
    fn continued(&self, _body: &Body, _said: &str, _ask: Option<&str>) -> Option<Bytes> {
        None
    }

    /// Who writes the answer to this request for a client that speaks this format.
    fn writer(&self, request: RequestId) -> Box<dyn Writer>;

    /// An error, as a client that speaks this format reads it, with the request's id where there is one.
    fn error(&self, http: &HttpError, request: Option<&str>) -> Bytes;
}

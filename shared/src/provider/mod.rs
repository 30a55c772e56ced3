//! Providers: one call to one model, whole or streamed.
//!
//! What crosses this border is the provider's bytes, whose format they are in, and what they say in no format's words; who
//! writes for the client makes of it what that client reads. A provider reports a whole answer only when it saw
//! its end (A1). Timers are not its business, except for what nobody else sees, the connection and the answer's head: whoever
//! calls it bounds every await (A4).

mod answer;
pub mod anthropic;
pub mod azure;
pub mod bedrock;
mod body;
pub mod embeddings;
mod events;
mod frames;
pub mod gemini;
mod http;
pub mod keys;
pub(crate) mod mask;
pub mod openai;
mod reach;
pub(crate) mod refusal;
pub mod retry_after;
pub mod sign;
mod skips;
pub(crate) mod unknown;
mod vectors;

use crate::catalog::{Api, Model};
use crate::error::Objection;
use crate::id::RequestId;
use crate::limit::budget::{Full, Room};
use crate::receipt::{AttemptOutcome, Cause};
pub use crate::wire::answer::{Came, Chunk, Completion, NotACompletion};
use crate::wire::format::{Overrides, Spoken};
use crate::wire::openai::CHAT;
use crate::wire::request::Request;
use async_trait::async_trait;
use bytes::Bytes;

/// One call to one candidate.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The candidate.
    pub model: &'a Model,
    /// The client's request.
    pub request: &'a Request,
    /// The most tokens that each of the `n` answers may have; always sent.
    pub max_output_tokens: u64,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether to ask for log-probabilities that the client did not ask for.
    pub ask_logprobs: bool,
    /// The time, in Unix milliseconds.
    pub now_ms: u64,
    /// The request that it is made for, by which several calls for one are known.
    pub id: RequestId,
    /// The memory that its answer may take.
    pub room: &'a Room,
}

impl<'a> Call<'a> {
    /// What the gateway itself says in the request that goes upstream.
    #[must_use]
    pub fn overrides(&self) -> Overrides<'a> {
        Overrides {
            model: &self.model.provider_model,
            max_output_tokens: self.max_output_tokens,
            stream: self.stream,
            ask_logprobs: self.ask_logprobs,
            thinks: self.model.capabilities.reasoning,
            knows_effort: self.request.facts.effort_is_known(self.model.capabilities),
            makers: self.request.makers(&self.model.name),
        }
    }

    /// What goes upstream, in the provider's format.
    ///
    /// # Errors
    /// If the request cannot be said in it; such a model was no candidate.
    pub fn body_for(&self, format: &'static dyn Spoken) -> Result<Bytes, ProviderError> {
        self.request.body_for(format, &self.overrides()).map_err(|_| {
            let error = ProviderError::retryable(AttemptOutcome::Malformed, "its format cannot say this request");
            ProviderError { fault: Fault::CandidateDown, may_bill: false, ..error }
        })
    }
}

/// What came of a call.
pub enum Reply {
    /// A whole answer.
    Whole(Box<Completion>),
    /// The beginning of a streamed one.
    Stream(Box<dyn Chunks>),
}

/// The rest of a streamed answer.
#[async_trait]
pub trait Chunks: Send {
    /// The next chunks, as many as have come: none of them where what came is but a sign of life; `None` after the last one
    /// of a stream that came to an end. Whether all its answers had ended by then is for the caller to see (A1).
    ///
    /// # Errors
    /// If the stream was cut, or brought what is no chunk.
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError>;

    /// What has been left out so far, for it could not be read.
    fn skipped(&self) -> Skipped {
        Skipped::default()
    }
}

/// Events that could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many.
    pub events: u32,
    /// What they brought: it is billed.
    pub came: Came,
}

/// Whose fault a failure is, and so what may be done about it (A2).
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It may go better next time.
    Retryable,
    /// Too many requests; until when, in Unix milliseconds, if the provider says.
    RateLimited {
        /// When the provider may be called again.
        until_ms: Option<u64>,
    },
    /// The provider is busy, and may not be called before.
    Busy {
        /// Unix milliseconds.
        until_ms: u64,
    },
    /// Our key, our bill or our model id was refused, or this one request: three different ones show which.
    CandidateDown,
    /// The request is too long for this model; one with a larger window may take it.
    ContextOverflow(Box<Objection>),
    /// This provider cannot take this request, as by its size; another may.
    Unsuited(Box<Objection>),
    /// What the request says is against the provider's rules; another's may differ, where the tenant wants to try.
    Refused(Box<Objection>),
    /// The caller's own; never tried again, passed on as it came.
    CallerFault(Box<Objection>),
    /// Nobody's but ours: there is no memory for the answer. What was begun of it is billed.
    NoRoom,
}

/// A call that brought no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{outcome:?} ({detail})")]
pub struct ProviderError {
    /// What may be done about it.
    pub fault: Fault,
    /// The receipt's word for it.
    pub outcome: AttemptOutcome,
    /// The provider's status, if one came.
    pub status: Option<u16>,
    /// Whether the provider may bill the call, though nothing of an answer came.
    pub may_bill: bool,
    /// What came of an answer: it is billed.
    pub came: Box<Came>,
    /// Why the provider cannot be used, where that can be told.
    pub cause: Option<Cause>,
    /// For the operator: no key, no prompt, no text of the provider's (T3).
    pub detail: &'static str,
}

impl ProviderError {
    /// A failure that may go better next time.
    #[must_use]
    pub fn retryable(outcome: AttemptOutcome, detail: &'static str) -> Self {
        let may_bill = outcome == AttemptOutcome::Timeout;
        let (fault, came) = (Fault::Retryable, Box::default());
        Self { fault, outcome, status: None, may_bill, came, cause: None, detail }
    }

    /// A call that we ended ourselves: its provider may bill what it generated by then.
    #[must_use]
    pub fn ended(outcome: AttemptOutcome, detail: &'static str) -> Self {
        Self { may_bill: true, ..Self::retryable(outcome, detail) }
    }

    /// The same with the status of the provider's head, where the error has none of its own.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = self.status.or(Some(status));
        self
    }

    /// The status with which a caller is told what is wrong with the request. An error behind a good status needs another,
    /// and a window that is too small is to some a failure of the server, which clients would try again.
    #[must_use]
    pub(crate) fn status_to_tell(&self) -> u16 {
        match self.fault {
            Fault::ContextOverflow(_) => 400,
            _ => self.status.filter(|status| *status >= 400).unwrap_or(400),
        }
    }

    /// Whether the call is billed (M4).
    #[must_use]
    pub fn is_billed(&self) -> bool {
        self.may_bill || self.came.is_something()
    }

    /// The same with what came of an answer.
    #[must_use]
    pub fn with(mut self, came: Came) -> Self {
        *self.came = came;
        self
    }
}

impl From<Full> for ProviderError {
    fn from(_: Full) -> Self {
        let (fault, detail) = (Fault::NoRoom, "no memory is left for the answer");
        Self { fault, may_bill: true, ..Self::retryable(AttemptOutcome::Truncated, detail) }
    }
}

/// A key that its provider refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedKey {
    /// Its last four characters, if it is a long one (T3).
    pub last4: String,
    /// What the provider answered.
    pub status: u16,
}

/// A place where models are served.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The format that it speaks where a model is called so; the configuration lets no model be called as its provider
    /// cannot be.
    fn format(&self, _api: Api) -> &'static dyn Spoken {
        &CHAT
    }

    /// The keys that it has refused since this was last called.
    fn take_refused_keys(&self) -> Vec<RefusedKey> {
        Vec::new()
    }

    /// Counts the tokens of a request, for nothing; `None` where a provider does not.
    async fn count_tokens(&self, _call: Call<'_>) -> Option<Result<u64, ProviderError>> {
        None
    }

    /// Calls a model.
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError>;
}

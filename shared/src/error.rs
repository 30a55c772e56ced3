//! What a request can end in other than an answer, and how that is reported.
//!
//! Two messages: what the caller may know is made here; what the operator must know is logged where it is handled.
//! One function, [`Error::to_http`], turns an error into HTTP, by an exhaustive match: a new kind of error does not compile
//! until somebody has said what its caller gets. Nothing in it can hold a secret (T3) or another tenant's text (T1).

use crate::admin::Role;
use crate::limit::window::time_utc;
use crate::receipt::{Attempt, AttemptOutcome, Cause};
use crate::tenant::{Quota, RateKind, Whose};
use serde_json::{Value, json};

/// A request that is not answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The body, a header or the path is not what it must be.
    #[error("invalid request: {message}")]
    InvalidRequest {
        /// The field's path, if one is to blame.
        param: Option<String>,
        /// What is wrong with it.
        message: String,
    },
    /// The body has more bytes than allowed.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The body is not declared as JSON.
    #[error("not JSON")]
    UnsupportedMediaType,
    /// The body is in a coding of this name, which cannot be read.
    #[error("the content-encoding {0} is not supported")]
    UnsupportedCoding(String),
    /// No key, or none that is known; the text says which of the two.
    #[error("{0}")]
    InvalidApiKey(&'static str),
    /// The key's tenant is disabled.
    #[error("the tenant is disabled")]
    TenantDisabled,
    /// An admin's role is not enough for this.
    #[error("the role {} is needed, and this is {}", needed.name(), has.name())]
    RoleNeeded {
        /// The least role that may do it.
        needed: Role,
        /// The admin's.
        has: Role,
    },
    /// The tenant may not use this model.
    #[error("the model {0} is not allowed")]
    ModelNotAllowed(String),
    /// There is no such model, or none of its tier can do what the request needs.
    #[error("the model {model} does not exist")]
    ModelNotFound {
        /// The requested name.
        model: String,
        /// What was probably meant, or why it is not here, as a sentence.
        hint: Option<String>,
    },
    /// There is nothing here.
    #[error("not found")]
    NotFound,
    /// The tenant has no receipt of this id.
    #[error("no such receipt")]
    NoReceipt,
    /// There is no route at this path; the text is for the caller.
    #[error("{0}")]
    NoRoute(String),
    /// Not with this method; the text is for the caller.
    #[error("{0}")]
    MethodNotAllowed(String),
    /// What is to be made exists, or was changed meanwhile.
    #[error("conflict: {0}")]
    Conflict(&'static str),
    /// What is to be changed is not as whoever changes it has seen it.
    #[error("changed since it was read")]
    PreconditionFailed,
    /// A rate limit.
    #[error("rate limited")]
    RateLimited {
        /// Whose.
        whose: Whose,
        /// Which one.
        kind: RateKind,
        /// When to come again, in milliseconds.
        retry_after_ms: u64,
    },
    /// Too many requests in flight.
    #[error("too many requests in flight")]
    ConcurrencyLimited {
        /// In all, or with this key.
        whose: Whose,
        /// When to come again, in milliseconds.
        retry_after_ms: u64,
    },
    /// A quota has not enough left for what this request may need.
    #[error("quota {} exceeded", quota.limit_name())]
    QuotaExceeded {
        /// Whose.
        whose: Whose,
        /// Which one.
        quota: Quota,
        /// When the window ends, in Unix milliseconds.
        resets_at_ms: u64,
        /// How long until then, in milliseconds.
        resets_in_ms: u64,
    },
    /// The provider's own refusal of the caller's request, passed on as it came (A2).
    #[error("the provider refused the request with {status}")]
    Provider {
        /// The provider's status.
        status: u16,
        /// What it finds wrong.
        objection: Objection,
    },
    /// The request is longer than the window of any model that could serve it.
    #[error("about {tokens} tokens are more than a window of {window_tokens}")]
    ContextTooLong {
        /// How many it has, about.
        tokens: u64,
        /// How many the first such model takes.
        window_tokens: u64,
        /// What the request's format calls the conversation.
        field: &'static str,
    },
    /// Every candidate failed.
    #[error("all candidates failed")]
    AllCandidatesFailed {
        /// Every attempt, in order.
        attempts: Vec<Attempt>,
        /// When to come again, in milliseconds, if a provider said.
        retry_after_ms: Option<u64>,
    },
    /// The conversation is to be kept by who serves it, in Anthropic's way.
    #[error("threads are not kept")]
    NoThread,
    /// The client wanted a remembered answer or none.
    #[error("nothing is remembered")]
    NotCached,
    /// The store or the directory is down, and this request needs it.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// All memory for bodies and answers is in use, or this tenant's part of it.
    #[error("no memory is left for this request")]
    Overloaded,
    /// A change that could not be written, in words for its admin.
    #[error("not written: {why}")]
    NotWritten {
        /// What was not done, and what holds instead.
        message: String,
        /// For the operator.
        why: String,
    },
    /// A stream that its client did not read.
    #[error("the client does not read its stream")]
    NotRead,
    /// The client has gone, and nobody else has a use for its answer.
    #[error("the client has gone")]
    ClientGone,
    /// The store lost a window, and this tenant waits until nothing of it can be in flight.
    #[error("a window was lost and is closed")]
    Closed {
        /// When to come again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The idempotency key came with another body before.
    #[error("the idempotency key was used with another body")]
    IdempotencyMismatch,
    /// A request with this idempotency key has not ended.
    #[error("a request with this idempotency key is running")]
    IdempotencyInProgress,
    /// The deadline passed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// A bug of ours; the text is for the operator.
    #[error("internal: {0}")]
    Internal(String),
}

/// What a provider finds wrong with the caller's request, as far as it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objection {
    /// Its word for it.
    pub code: Option<String>,
    /// For the caller's eyes.
    pub message: Option<String>,
    /// The field that is to blame.
    pub param: Option<String>,
}

/// What kind of error a caller gets. Each format has its own word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The request is not what it must be.
    InvalidRequest,
    /// Nobody knows who asks.
    Authentication,
    /// The caller may not do this.
    Permission,
    /// Too many requests at a time.
    RequestRate,
    /// Too many tokens at a time.
    TokenRate,
    /// What may be used until a window ends is used up.
    Quota,
    /// The gateway, or what is behind it, cannot serve the request now.
    Server,
}

/// An error as HTTP, in no format's words.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpError {
    /// The HTTP status.
    pub status: u16,
    /// The contract's word for it.
    pub code: String,
    /// What kind of error it is.
    pub family: Family,
    /// For the caller's eyes.
    pub message: String,
    /// The field that is to blame.
    pub param: Option<String>,
    /// When to come again.
    pub retry_after_ms: Option<u64>,
    /// More that a program may want to read.
    pub details: Option<Value>,
    /// Whether a client should try again by itself, where the status alone would mislead it.
    pub should_retry: Option<bool>,
}

fn http(status: u16, code: &str, family: Family, message: impl Into<String>) -> HttpError {
    let (code, message) = (code.to_owned(), message.into());
    HttpError { status, code, family, message, param: None, retry_after_ms: None, details: None, should_retry: None }
}

impl HttpError {
    /// The same, with the field that is to blame.
    fn of(self, param: &str) -> Self {
        Self { param: Some(param.to_owned()), ..self }
    }

    /// The same, to be tried again after so long.
    fn after(self, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..self }
    }
}

/// What tells a limit of the key from one of its tenant.
fn of_key(whose: Whose) -> &'static str {
    match whose {
        Whose::Tenant => "",
        Whose::Key => " of this key",
    }
}

impl Error {
    /// An [`Error::InvalidRequest`] that names its field.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidRequest { param: Some(param.into()), message: message.into() }
    }

    /// Status, code and words for the caller: the one place where errors become HTTP.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table: an arm for each error")]
    pub fn to_http(&self) -> HttpError {
        use Family::{Authentication, InvalidRequest, Permission, Quota, RequestRate, Server, TokenRate};
        match self {
            Self::InvalidRequest { param, message } => {
                HttpError { param: param.clone(), ..http(400, "invalid_request", InvalidRequest, message) }
            }
            Self::TooLarge { limit_bytes } => {
                let message = format!("The body is larger than {limit_bytes} bytes.");
                http(413, "request_too_large", InvalidRequest, message)
            }
            Self::UnsupportedMediaType => {
                let message = "Send the body as content-type: application/json.";
                http(415, "unsupported_media_type", InvalidRequest, message)
            }
            Self::UnsupportedCoding(name) => {
                let message =
                    format!("The content-encoding `{name}` is not supported; send the body as gzip, or plain.");
                http(415, "unsupported_media_type", InvalidRequest, message).of("content-encoding")
            }
            Self::InvalidApiKey(why) => http(401, "invalid_api_key", Authentication, *why),
            Self::TenantDisabled => http(403, "tenant_disabled", Permission, "This tenant is disabled."),
            Self::RoleNeeded { needed, has } => {
                let message = format!("This needs the role {}; yours is {}.", needed.name(), has.name());
                http(403, "role_needed", Permission, message)
            }
            Self::ModelNotAllowed(model) => {
                let message = format!("This key may not use the model `{model}`.");
                http(403, "model_not_allowed", Permission, message).of("model")
            }
            Self::ModelNotFound { model, hint } => {
                let hint = hint.as_deref().unwrap_or("GET /v1/models lists those that do.");
                let message = format!("The model `{model}` does not exist here. {hint}");
                http(404, "model_not_found", InvalidRequest, message).of("model")
            }
            Self::NotFound => http(404, "not_found", InvalidRequest, "There is nothing here."),
            Self::NoReceipt => {
                let message = "There is no receipt of this id, or not yet: it is there when its answer has ended, and for 30 days.";
                http(404, "not_found", InvalidRequest, message)
            }
            Self::NoRoute(why) => http(404, "not_found", InvalidRequest, why),
            Self::MethodNotAllowed(why) => http(405, "method_not_allowed", InvalidRequest, why),
            Self::Conflict(why) => http(409, "conflict", InvalidRequest, *why),
            Self::PreconditionFailed => {
                let message = "It was changed since you read it, and nothing was done; read it again.";
                http(412, "precondition_failed", InvalidRequest, message).of("if-match")
            }
            Self::RateLimited { whose, kind, retry_after_ms } => {
                let (name, family) = match kind {
                    RateKind::Requests => ("requests_per_minute", RequestRate),
                    RateKind::Tokens => ("tokens_per_minute", TokenRate),
                };
                let of = of_key(*whose);
                let message = format!("The limit {name}{of} is reached; try again in {retry_after_ms} ms.");
                http(429, "rate_limited", family, message).after(*retry_after_ms)
            }
            Self::ConcurrencyLimited { whose, retry_after_ms } => {
                let message = match whose {
                    Whose::Tenant => "Too many requests are in flight.",
                    Whose::Key => {
                        "Too many requests with this key are in flight: its own limit concurrency is reached."
                    }
                };
                http(429, "concurrency_limited", RequestRate, message).after(*retry_after_ms)
            }
            Self::QuotaExceeded { whose, quota, resets_at_ms, resets_in_ms } => {
                let (name, resets_at) = (quota.limit_name(), time_utc(*resets_at_ms));
                let (of, owner) = (of_key(*whose), if *whose == Whose::Key { "key" } else { "tenant" });
                let message =
                    format!("The quota {name}{of} has not enough left for this request; it resets at {resets_at}.");
                HttpError {
                    should_retry: Some(false),
                    details: Some(json!({"quota": name, "of": owner, "resets_at_ms": resets_at_ms})),
                    ..http(429, "quota_exceeded", Quota, message).after(*resets_in_ms)
                }
            }
            Self::Provider { status, objection: Objection { code, message, param } } => {
                let message = message.as_deref().unwrap_or("The provider refused the request.");
                let code = code.as_deref().unwrap_or("invalid_request");
                HttpError { param: param.clone(), ..http(*status, code, InvalidRequest, message) }
            }
            Self::ContextTooLong { tokens, window_tokens, field } => {
                let message = format!("The request has about {tokens} tokens; the model's window is {window_tokens}.");
                http(400, "context_length_exceeded", InvalidRequest, message).of(field)
            }
            Self::AllCandidatesFailed { attempts, retry_after_ms } => HttpError {
                retry_after_ms: *retry_after_ms,
                should_retry: is_permanent(attempts).then_some(false),
                details: Some(attempts.iter().map(attempt_json).collect()),
                ..http(502, "all_candidates_failed", Server, "Every model that could have answered failed.")
            },
            // Anthropic's own words for it: its clients then send the whole conversation by themselves (ADR 35).
            Self::NoThread => {
                let message = "Conversations are not kept here; send all messages, without `thread`.";
                let details = Some(json!({"unsupported": ["thread"]}));
                HttpError { details, ..http(400, "thread_unsupported_request", InvalidRequest, message).of("thread") }
            }
            Self::NotCached => {
                let message = "Nothing is remembered for this request, and only-if-cached was asked.";
                HttpError { should_retry: Some(false), ..http(504, "not_cached", Server, message) }
            }
            Self::Unavailable(_) => {
                let message = "The gateway cannot check this request's limits now.";
                http(503, "store_unavailable", Server, message).after(1000)
            }
            Self::Overloaded => {
                let message = "The gateway has no memory left for this request now; try again.";
                http(503, "overloaded", Server, message).after(1000)
            }
            Self::NotWritten { message, .. } => http(503, "store_unavailable", Server, message).after(1000),
            Self::NotRead => {
                let message = "The stream was not read for too long and was given up.";
                http(408, "stream_not_read", InvalidRequest, message)
            }
            Self::ClientGone => {
                http(499, "client_gone", InvalidRequest, "The client left before its answer was there.")
            }
            Self::Closed { retry_after_ms } => {
                let message = "What this tenant has used today is being made certain; no request is served until then.";
                http(503, "store_unavailable", Server, message).after(*retry_after_ms)
            }
            Self::IdempotencyMismatch => {
                let message = "This idempotency key was used with another body; use a new one for a new request.";
                http(422, "idempotency_mismatch", InvalidRequest, message).of("idempotency-key")
            }
            Self::IdempotencyInProgress => {
                let message = "A request with this idempotency key is still running.";
                http(409, "idempotency_in_progress", InvalidRequest, message).of("idempotency-key").after(1000)
            }
            Self::DeadlineExceeded => {
                http(504, "deadline_exceeded", Server, "The answer did not come before the deadline.")
            }
            Self::Internal(_) => http(500, "internal", Server, "Something is wrong in the gateway itself."),
        }
    }

    /// The contract's word for it.
    #[must_use]
    pub fn code(&self) -> String {
        self.to_http().code
    }
}

/// Whether the same request would fail in the same way until an operator has done something: each provider refuses our key,
/// our bill or our model's name (A2). What timed out, was busy or broke may work when it is tried again.
fn is_permanent(attempts: &[Attempt]) -> bool {
    let mut candidates = attempts.iter().filter(|attempt| attempt.kind.is_for_answer()).peekable();
    use Cause::{Forbidden, NotFound, PaymentRequired, Unauthorized};
    let refuses_us = |attempt: &Attempt| {
        let cause = matches!(attempt.cause, Some(Unauthorized | PaymentRequired | Forbidden | NotFound));
        attempt.outcome == AttemptOutcome::HttpError && cause
    };
    candidates.peek().is_some() && candidates.all(refuses_us)
}

/// What a caller may know of an attempt: never a provider's text, which may speak of our key or our bill (A2).
fn attempt_json(attempt: &Attempt) -> Value {
    let class = serde_json::to_value::<AttemptOutcome>(attempt.outcome).unwrap_or(Value::Null);
    let mut json = json!({"model": attempt.model, "class": class, "status": attempt.status});
    if let Some(cause) = attempt.cause {
        json["cause"] = cause.as_str().into();
    }
    json
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::receipt::AttemptKind;

    fn attempt(kind: AttemptKind, outcome: AttemptOutcome, status: Option<u16>) -> Attempt {
        let cause = match status {
            Some(401) => Some(Cause::Unauthorized),
            Some(402) => Some(Cause::PaymentRequired),
            Some(403) => Some(Cause::Forbidden),
            Some(404) => Some(Cause::NotFound),
            _ => None,
        };
        Attempt { outcome, status, cause, ..Attempt::of("a/b".into(), kind, 1.0) }
    }

    #[test]
    fn clients_are_told_not_to_retry_where_every_failure_is_permanent_and_only_there() {
        use AttemptOutcome::{HttpError, Ok, RateLimited, Timeout};
        let refused = |status| attempt(AttemptKind::First, HttpError, Some(status));
        let table = [
            (vec![refused(401)], Some(false)),
            (vec![refused(402), refused(403), refused(404)], Some(false)),
            (vec![attempt(AttemptKind::Classifier, Ok, Some(200)), refused(401)], Some(false)),
            (vec![attempt(AttemptKind::Embedding, Timeout, None), refused(401)], Some(false)),
            (vec![attempt(AttemptKind::Classifier, HttpError, Some(401))], None),
            (vec![refused(401), refused(500)], None),
            (vec![refused(401), attempt(AttemptKind::Failover, RateLimited, Some(429))], None),
            (vec![refused(401), attempt(AttemptKind::Failover, Timeout, None)], None),
            (vec![], None),
        ];
        for (attempts, expected) in table {
            let http = Error::AllCandidatesFailed { attempts, retry_after_ms: None }.to_http();
            assert_eq!((http.status, http.should_retry), (502, expected), "{:?}", http.details);
        }
        assert_eq!(
            Error::NotCached.to_http().should_retry,
            Some(false),
            "what is not remembered is not remembered next"
        );
    }

    #[test]
    fn a_quota_says_when_it_resets_as_a_date() {
        let quota = Quota::DailyTokens;
        let exceeded =
            |whose| Error::QuotaExceeded { whose, quota, resets_at_ms: 1_763_769_600_000, resets_in_ms: 5 }.to_http();
        let http = exceeded(Whose::Tenant);
        assert!(http.message.ends_with("it resets at 2025-11-22T00:00:00Z."), "{}", http.message);
        assert_eq!(http.details.unwrap()["resets_at_ms"], 1_763_769_600_000_u64, "programs have the number");
        let http = exceeded(Whose::Key);
        assert!(http.message.starts_with("The quota daily_tokens of this key has not enough left"), "{}", http.message);
        assert_eq!(http.details.unwrap()["of"], "key");
    }
}

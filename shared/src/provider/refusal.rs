//! What an error means (A2): the one place where a provider's words and statuses become a [`ProviderError`].
//!
//! An error comes with its HTTP status, or inside an answer that began well; there its own code counts, or what its words
//! say. A status alone says too little: a window that is too small is a 400, a 413, a 422 or a 500, a rate may be a 413, and
//! a model's own failure a 400. So the words are looked at first.
//!
//! The words are those of the providers. What is told in none of them is judged by its status.

mod words;

use super::mask::Mask;
use super::{Fault, ProviderError};
use crate::error::Objection;
use crate::receipt::{AttemptOutcome, Cause};
use crate::wire::delay::delay_in;
use crate::wire::error_body::ErrorBody;
use words::Words;

/// No provider is waited for longer than this, whatever it says.
const MOST_WAIT_MS: u64 = 3_600_000;

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// The request is longer than the model's window.
    Window,
    /// The request is more than this provider takes at all.
    Size,
    /// Too many requests, or tokens, at a time.
    Rate,
    /// Our bill.
    Bill,
    /// Our key.
    Key,
    /// What our key may.
    Permission,
    /// Our model id.
    ModelId,
    /// The model made what it should not have.
    Model,
    /// The caller's request.
    Request,
    /// The provider.
    Server,
    /// Our request, in a way that nobody foresaw.
    Unknown,
}

/// What an error with this HTTP status means; `retry_at_ms` is when its headers ask to come again.
pub(crate) fn refused(
    http_status: u16,
    error: ErrorBody,
    retry_at_ms: Option<u64>,
    now_ms: u64,
    mask: &Mask,
) -> ProviderError {
    let status = error.status.unwrap_or(http_status);
    let told_at_ms = error.retry_after_ms.map(|after_ms| now_ms.saturating_add(after_ms)).or(error.retry_at_ms);
    let bounded = |at_ms: u64| (at_ms > now_ms).then(|| at_ms.min(now_ms.saturating_add(MOST_WAIT_MS)));
    let until_ms = retry_at_ms.or(told_at_ms).and_then(bounded);
    // What a sentence asks for may be the caller's own words: it counts only where a rate is exceeded.
    let asked_ms = error.message.as_deref().and_then(delay_in).map(|after_ms| now_ms.saturating_add(after_ms));
    let rate_until_ms = until_ms.or(asked_ms.and_then(bounded));
    let about = about(http_status, &error, rate_until_ms.is_some());
    let (fault, detail) = match about {
        About::Window => (Fault::ContextOverflow(Box::new(objection(error, mask))), "longer than the model's window"),
        About::Size => (Fault::Unsuited(Box::new(objection(error, mask))), "more than this provider takes"),
        About::Rate => (Fault::RateLimited { until_ms: rate_until_ms }, "rate limited"),
        About::Bill => (Fault::CandidateDown, "our bill, or an answer that it does not cover"),
        About::Key => (Fault::CandidateDown, "our key was refused"),
        About::Permission => (Fault::CandidateDown, "our key may not, or the request was moderated"),
        About::ModelId => (Fault::CandidateDown, "our model id, or nothing of it can serve the request"),
        About::Model => (Fault::Retryable, "the model failed at its answer"),
        About::Request => (Fault::CallerFault(Box::new(objection(error, mask))), "the provider refused the request"),
        About::Server => match until_ms {
            Some(until_ms) => (Fault::Busy { until_ms }, "the provider is busy"),
            None => (Fault::Retryable, "an error of the provider"),
        },
        About::Unknown => (Fault::CandidateDown, "our request was refused"),
    };
    let outcome = match about {
        About::Rate => AttemptOutcome::RateLimited,
        About::Bill if status == 429 => AttemptOutcome::RateLimited,
        _ => AttemptOutcome::HttpError,
    };
    let cause = match about {
        About::Key => Some(Cause::Unauthorized),
        About::Bill => Some(Cause::PaymentRequired),
        About::Permission => Some(Cause::Forbidden),
        About::ModelId => Some(Cause::NotFound),
        _ => None,
    };
    ProviderError { fault, status: Some(status), may_bill: false, cause, ..ProviderError::retryable(outcome, detail) }
}

/// What an error is about.
fn about(http_status: u16, error: &ErrorBody, says_when: bool) -> About {
    let words = Words::of(error);
    match error.status.unwrap_or(http_status) {
        401 => About::Key,
        402 => About::Bill,
        403 if words.name_a_rate() => of_rate(&words, says_when, false),
        403 => About::Permission,
        404 => About::ModelId,
        429 => of_rate(&words, says_when, true),
        413 if words.name_a_rate() || words.speak_of_a_rate() => of_rate(&words, says_when, false),
        400 | 413 | 422 if words.name_a_rate() => of_rate(&words, says_when, true),
        status @ (400 | 413 | 422) => {
            of_request(&words).unwrap_or(if status == 413 { About::Size } else { About::Request })
        }
        424 => About::Model,
        500 if words.name_a_window() => About::Window,
        408 | 409 | 425 | 498 | 499 | 500.. => About::Server,
        400.. => About::Unknown,
        _ => of_words(&words, says_when),
    }
}

/// What a refusal for a rate is about: it may be ours for good, or this request's alone.
fn of_rate(words: &Words, says_when: bool, is_rate: bool) -> About {
    match () {
        () if words.name_our_bill() => About::Bill,
        () if words.exceed_a_rate_alone() && !says_when => About::Size,
        () if is_rate || says_when => About::Rate,
        () => About::Size,
    }
}

/// What a refused request is about, if its words say.
fn of_request(words: &Words) -> Option<About> {
    match () {
        () if words.name_a_filter() => Some(About::Request),
        () if words.name_a_window() => Some(About::Window),
        () if words.name_a_model_that_failed() => Some(About::Model),
        () if words.name_our_bill() => Some(About::Bill),
        () if words.name_our_key() => Some(About::Key),
        () if words.name_our_permission() => Some(About::Permission),
        () if words.name_our_model_id() => Some(About::ModelId),
        () => None,
    }
}

/// What an error with a good status and no status of its own is about.
fn of_words(words: &Words, says_when: bool) -> About {
    match () {
        () if words.name_a_rate() => of_rate(words, says_when, true),
        () if words.name_a_provider_that_is_busy() => About::Server,
        () => of_request(words).unwrap_or(if words.name_a_bad_request() { About::Request } else { About::Server }),
    }
}

/// What the caller may read of an error.
fn objection(error: ErrorBody, mask: &Mask) -> Objection {
    let masked = |text: Option<String>| text.map(|text| mask.text(&text));
    Objection { code: masked(error.code.or(error.kind)), message: masked(error.message), param: masked(error.param) }
}

//! What an error means (A2): the one place where a provider's words and statuses become a [`ProviderError`].
//!
//! An error comes with its HTTP status, or inside an answer that began well; there its own code counts, or what its words
//! say. A status alone says too little: a window that is too small is a 400, a 413, a 422 or a 500, a rate may be a 413, and
//! a model's own failure a 400. So the words are looked at, codes before sentences (ADR 25); what is said in none of them is
//! judged by its status.

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
    /// What the caller's request says, which is against the provider's rules.
    Filter,
    /// The caller's request.
    Request,
    /// The provider.
    Server,
    /// Our request, in a way that nobody foresaw.
    Unknown,
}

/// The contract's code for a request that is longer than the model's window.
const TOO_LONG: &str = "context_length_exceeded";

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
        About::Window => {
            // What callers' programs look for, whatever the provider calls it.
            let objection = Objection { code: Some(TOO_LONG.to_owned()), ..objection(error, mask) };
            (Fault::ContextOverflow(Box::new(objection)), "longer than the model's window")
        }
        About::Size => (Fault::Unsuited(Box::new(objection(error, mask))), "more than this provider takes"),
        About::Rate => (Fault::RateLimited { until_ms: rate_until_ms }, "rate limited"),
        About::Bill => (Fault::CandidateDown, "our bill, or an answer that it does not cover"),
        About::Key => (Fault::CandidateDown, "our key was refused"),
        About::Permission => (Fault::CandidateDown, "our key may not, or the request was moderated"),
        About::ModelId => (Fault::CandidateDown, "our model id, or nothing of it can serve the request"),
        About::Model => (Fault::Retryable, "the model failed at its answer"),
        About::Filter => {
            (Fault::Refused(Box::new(objection(error, mask))), "the provider refused what the request says")
        }
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
        About::Filter => AttemptOutcome::Refused,
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
        403 if words.name_our_bill() => About::Bill,
        403 if words.name_a_rate() => About::Rate,
        403 => About::Permission,
        404 if words.name_a_stored_item() => About::Request,
        404 => About::ModelId,
        status @ (400 | 413 | 422) if words.name_a_rate() => of_rate(&words, says_when, status != 413),
        413 if words.speak_of_a_rate() => of_rate(&words, says_when, false),
        413 => of_request(&words).unwrap_or(About::Size),
        400 | 422 => of_request(&words).unwrap_or(About::Request),
        424 => About::Model,
        429 | 500.. if words.name_a_window() => About::Window,
        429 => of_rate(&words, says_when, true),
        408 | 409 | 425 | 498 | 499 | 500.. => About::Server,
        // A redirection is not followed: the address is wrong.
        300.. => About::Unknown,
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
        () if words.name_a_filter() => Some(About::Filter),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::error_body::{error_in, error_of};
    use std::collections::BTreeMap;

    const NOW: u64 = 1_763_769_600_000;

    fn read(row: &str) -> (&str, ProviderError, About) {
        let mut parts = row.splitn(3, ' ');
        let (about_word, status) = (parts.next().unwrap(), parts.next().unwrap().parse().unwrap());
        let body = parts.next().unwrap_or_default().as_bytes();
        let error = if status == 200 { error_in(body).unwrap() } else { error_of(body) };
        let is_about = about(status, &error, delay_in(error.message.as_deref().unwrap_or_default()).is_some());
        (about_word, refused(status, error, None, NOW, &Mask::default()), is_about)
    }

    #[test]
    fn what_an_error_is_about_is_told_from_its_siblings() {
        let rows: Vec<&str> =
            include_str!("refusal/rows.txt").lines().filter(|row| !row.is_empty() && !row.starts_with('#')).collect();
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        let mut wrong = Vec::new();
        for row in &rows {
            let (word, error, is_about) = read(row);
            if format!("{is_about:?}").to_lowercase() != word {
                wrong.push(format!("{is_about:?}: {row}"));
            }
            assert!(!error.may_bill && error.status.is_some(), "{row}");
            *count.entry(word).or_default() += 1;
        }
        let same = |pair: &&[&str]| read(pair[0]).2 == read(pair[1]).2;
        wrong.extend(rows.chunks(2).filter(same).map(|pair| format!("same as its sibling: {}", pair[0])));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        count.retain(|word, rows| *rows < 10 && *word != "unknown");
        assert_eq!(count, [].into(), "these have too few rows");
    }

    #[test]
    fn when_to_come_again_is_honoured_where_it_is_the_providers_to_say() {
        use AttemptOutcome::{HttpError, RateLimited};
        let limited = |after_ms: u64| (Fault::RateLimited { until_ms: Some(NOW + after_ms) }, RateLimited);
        let busy = |after_ms| (Fault::Busy { until_ms: NOW + after_ms }, HttpError);
        let (unsaid, failed) = ((Fault::RateLimited { until_ms: None }, RateLimited), (Fault::Retryable, HttpError));
        for (status, after_ms, body, want) in [
            (429, Some(3_000), "", limited(3_000)),
            (429, None, "", unsaid.clone()),
            (429, Some(0), "", unsaid),
            (429, None, "Please try again in 7.66s", limited(7_660)),
            (429, Some(3_000), "Please try again in 7.66s", limited(3_000)),
            (429, None, r#"{"error":{"details":[{"retryDelay":"45.8s"}]}}"#, limited(45_800)),
            (429, Some(9_000_000), "", limited(3_600_000)),
            (503, Some(30_000), "", busy(30_000)),
            (529, Some(30_000), r#"{"type":"error","error":{"type":"overloaded_error"}}"#, busy(30_000)),
            (500, Some(1_000), "", busy(1_000)),
            (408, Some(1_000), "", busy(1_000)),
            (503, None, r#"{"error":"Model is loading","estimated_time":20.5}"#, busy(20_500)),
            (503, Some(0), "", failed.clone()),
            (503, None, "", failed.clone()),
            // That may be the caller's own words.
            (503, None, "Please try again in 3600s", failed.clone()),
            (424, Some(30_000), "", failed),
            (401, Some(30_000), "", (Fault::CandidateDown, HttpError)),
        ] {
            let error = refused(status, error_of(body.as_bytes()), after_ms.map(|ms| NOW + ms), NOW, &Mask::default());
            assert_eq!((error.fault, error.outcome), want, "{status} {after_ms:?} {body}");
        }
    }

    #[test]
    fn the_caller_reads_what_is_its_own_without_what_is_ours() {
        let mask = Mask::of(["our-held-key".to_owned()]);
        let body = r#"{"error":{"message":"bad tools for our-held-key of org-abcdef123456","code":"sk-abcdefgh1234","param":"tools.0"}}"#;
        let error = refused(400, error_of(body.as_bytes()), None, NOW, &mask);
        let objection = Objection {
            code: Some("***".into()),
            message: Some("bad tools for *** of ***".into()),
            param: Some("tools.0".into()),
        };
        assert_eq!(error.fault, Fault::CallerFault(Box::new(objection)));
        let error =
            refused(200, error_in(br#"{"error":{"message":"no","type":"t","code":422}}"#).unwrap(), None, NOW, &mask);
        let objection = Objection { code: Some("t".into()), message: Some("no".into()), param: None };
        assert_eq!((error.status, error.fault), (Some(422), Fault::CallerFault(Box::new(objection))));
        // What has no status of its own has that of the head.
        let error = refused(200, error_in(br#"{"error":"no"}"#).unwrap(), None, NOW, &mask);
        assert_eq!((error.status, error.fault), (Some(200), Fault::Retryable));
    }
}

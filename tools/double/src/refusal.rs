//! Error answers, worded as providers word them: with things in them that no caller of a gateway may ever read.
//!
//! Invariant A2 divides refusals into the caller's own fault (told as the provider told it) and ours (never told). So the
//! first two kinds below carry plain text, and everything else carries [`LEAK`], which a test looks for (T3).

use crate::LEAK;
use crate::ask::Asked;
use crate::http::phrase;

/// How a refusal says when to come back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Retry {
    Unsaid,
    AfterSeconds(u64),
    /// As an HTTP date, this many seconds from now.
    AtDate(u64),
    AfterMs(u64),
}

/// An error answer: its status, its code, and when to come back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) retry: Retry,
}

impl Refusal {
    /// A refusal with the code that providers use for its status.
    pub(crate) fn of_status(status: u16) -> Self {
        let code = match status {
            401 => "invalid_api_key",
            402 => "insufficient_quota",
            403 => "permission_denied",
            404 => "model_not_found",
            413 => "request_too_large",
            429 => "rate_limit_exceeded",
            400..=499 => "invalid_request",
            529 => "overloaded",
            _ => "server_error",
        };
        Self { status, code, retry: Retry::Unsaid }
    }

    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    pub(crate) fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// The body, in the envelope of what was asked.
    pub(crate) fn body(&self, asked: Asked, prompt_tokens: u64) -> String {
        let message = match self.code {
            "context_length_exceeded" if asked == Asked::Messages => {
                format!("prompt is too long: {prompt_tokens} tokens > 4096 maximum")
            }
            "context_length_exceeded" if asked.is_gemini() => {
                format!("The input token count ({prompt_tokens}) exceeds the maximum number of tokens allowed (4096).")
            }
            "context_length_exceeded" if asked == Asked::Converse => {
                "Input is too long for requested model.".to_owned()
            }
            "context_length_exceeded" => format!(
                "This model's maximum context length is 4096 tokens. However, your messages resulted in {prompt_tokens} tokens. Please reduce the length of the messages."
            ),
            "content_policy_violation" => "Your request was rejected as a result of our safety system.".to_owned(),
            _ => format!(
                "{}: key {LEAK} of organization org-{LEAK}, node 10.4.2.17, in /srv/inference/worker.py line 112",
                phrase(self.status)
            ),
        };
        if asked == Asked::Converse {
            return format!(r#"{{"message":{}}}"#, crate::answer::quote(&message));
        }
        if asked == Asked::Messages {
            return message_envelope(&message, self.status, self.code);
        }
        if asked.is_gemini() {
            return content_envelope(&message, self.status, &self.details());
        }
        let kind = match self.status {
            401 => "authentication_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        envelope(&message, kind, self.code)
    }

    /// What Google says beside its message.
    fn details(&self) -> String {
        let quota = |period: &str| {
            format!(
                r#"{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaMetric":"generativelanguage.googleapis.com/generate_requests","quotaId":"GenerateRequestsPer{period}PerProjectPerModel"}}]}}"#
            )
        };
        let delay = |seconds: u64| {
            format!(r#"{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{seconds}s"}}"#)
        };
        match (self.code, self.retry) {
            ("insufficient_quota", _) => format!("{},{}", quota("Day"), delay(20)),
            (_, Retry::AfterSeconds(seconds)) => format!("{},{}", quota("Minute"), delay(seconds)),
            _ => String::new(),
        }
    }

    /// The `Retry-After` line, if any, with its line end.
    pub(crate) fn retry_header(&self) -> String {
        match self.retry {
            Retry::Unsaid => String::new(),
            Retry::AfterSeconds(seconds) => format!("Retry-After: {seconds}\r\n"),
            Retry::AtDate(seconds) => format!("Retry-After: {}\r\n", http_date(now_s() + seconds)),
            Retry::AfterMs(ms) => format!("retry-after-ms: {ms}\r\n"),
        }
    }
}

/// OpenAI's error envelope around a message.
pub(crate) fn envelope(message: &str, kind: &str, code: &str) -> String {
    let message = crate::answer::quote(message);
    format!(r#"{{"error":{{"message":{message},"type":"{kind}","param":null,"code":"{code}"}}}}"#)
}

/// Anthropic's error envelope around a message.
pub(crate) fn message_envelope(message: &str, status: u16, code: &str) -> String {
    let kind = match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let message = crate::answer::quote(message);
    // A month's limit on what may be spent is no rate.
    let details = match code {
        "insufficient_quota" => r#","details":{"error_code":"enforced_spend_limit_reached"}"#,
        _ => "",
    };
    format!(r#"{{"type":"error","error":{{"type":"{kind}","message":{message}{details}}},"request_id":"req_double"}}"#)
}

/// Google's error envelope around a message.
pub(crate) fn content_envelope(message: &str, status: u16, details: &str) -> String {
    let word = match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    };
    let message = match status {
        429 => "You exceeded your current quota, please check your plan and billing details.",
        _ => message,
    };
    let message = crate::answer::quote(message);
    format!(r#"{{"error":{{"code":{status},"message":{message},"status":"{word}","details":[{details}]}}}}"#)
}

/// What Google answers to a prompt that it blocks: 200, and no answer.
pub(crate) const BLOCKED: &str = r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":4,"totalTokenCount":4},"modelVersion":"m"}"#;

/// The only reading of the clock: a date in a header has to lie in the reader's future.
#[allow(clippy::disallowed_methods, reason = "the double stands outside of the program whose clock is injected")]
fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A Unix time as RFC 9110 writes it.
///
/// # Source
/// Days to civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn http_date(unix_s: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_standard() {
        for (unix_s, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(unix_s), expected);
        }
    }

    #[test]
    fn only_the_callers_own_faults_are_free_of_secrets() {
        let caller = Refusal::of_status(400);
        assert!(!caller.with_code("context_length_exceeded").body(Asked::Chat, 9).contains(LEAK));
        assert!(!caller.with_code("content_policy_violation").body(Asked::Chat, 9).contains(LEAK));
        for status in [400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503, 529] {
            assert!(Refusal::of_status(status).body(Asked::Chat, 9).contains(LEAK), "{status}");
        }
    }
}

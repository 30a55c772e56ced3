//! What goes back to the client: status, headers and body; whole, or event by event.

use crate::error::{Error, HttpError};
use crate::id::RequestId;
use crate::money::format_usd;
use crate::receipt::CacheStatus;
use crate::request::events::{Events, KEEP_ALIVE, Sender, events, pieces};
use crate::request::journal::Journal;
use crate::request::work::Work;
use crate::running::Deadline;
use crate::store::{RateRemaining, RateStatus};
use crate::wire::writer::{JSON, Writer};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// An answer to a client.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: AnswerBody,
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// All of it.
    Whole(Bytes),
    /// Server-sent events as they come; it ends when the sender is dropped, after everything is settled.
    Stream(Events),
}

impl Answer {
    /// An error, with its body.
    #[must_use]
    pub fn of_error(http: &HttpError, body: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        put(&mut headers, CONTENT_TYPE, JSON);
        error_headers(&mut headers, http);
        let status = StatusCode::from_u16(http.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers, body: AnswerBody::Whole(body) }
    }

    /// A JSON answer.
    #[must_use]
    pub fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        let mut headers = HeaderMap::new();
        put(&mut headers, CONTENT_TYPE, JSON);
        Self { status, headers, body: AnswerBody::Whole(Bytes::from(body.to_string())) }
    }
}

/// Where a request's answer goes: once as a whole, or once a head and then events. How it is written is the door's to say.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) writer: Box<dyn Writer>,
    head: Option<oneshot::Sender<Answer>>,
    events: Option<Sender>,
}

impl Reply {
    /// A reply, written so, and the end where its answer comes out.
    pub(crate) fn new(writer: Box<dyn Writer>) -> (Self, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        (Self { writer, head: Some(sender), events: None }, receiver)
    }

    /// Sends a whole answer.
    pub(crate) fn whole(&mut self, journal: &Journal, status: u16, body: Bytes) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = self.whole_headers(journal);
        self.send(Answer { status, headers, body: AnswerBody::Whole(body) });
    }

    /// The headers of a whole answer.
    pub(crate) fn whole_headers(&self, journal: &Journal) -> HeaderMap {
        final_headers(journal, self.writer.whole_type())
    }

    /// The headers of a stream that came to its end before it is sent.
    pub(crate) fn stream_headers(&self, journal: &Journal) -> HeaderMap {
        final_headers(journal, self.writer.stream_type())
    }

    /// What follows the last event of a stream that is whole: the final values of all that the headers could not know yet,
    /// and its end.
    pub(crate) fn stream_end(&self, journal: &Journal) -> Bytes {
        let mut values = serde_json::Map::new();
        for (name, value) in &headers(journal, HeaderTime::Final) {
            values.insert(name.as_str().to_owned(), value.to_str().unwrap_or_default().into());
        }
        self.writer.end(&serde_json::Value::Object(values).to_string())
    }

    /// Sends an error: as a whole answer, or as the last event of a stream that has begun (A5).
    pub(crate) fn error(&mut self, journal: &Journal, error: &Error) {
        let http = error.to_http();
        if self.events.is_some() {
            let end = self.writer.stream_error(&http);
            return self.last(end);
        }
        let body = self.writer.error(&http);
        let status = StatusCode::from_u16(http.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = self.whole_headers(journal);
        error_headers(&mut headers, &http);
        self.send(Answer { status, headers, body: AnswerBody::Whole(body) });
    }

    /// Begins a stream, if it has not begun.
    pub(crate) fn begin(&mut self, journal: &Journal) {
        if self.events.is_none() {
            self.begin_with(headers(journal, HeaderTime::FirstByte));
        }
    }

    fn begin_with(&mut self, mut headers: HeaderMap) {
        let (sender, receiver) = events(self.writer.keep_alive());
        put(&mut headers, CONTENT_TYPE, self.writer.stream_type());
        put(&mut headers, http::header::CACHE_CONTROL, "no-cache");
        // Asks nginx and its kin not to collect the events before passing them on.
        put(&mut headers, HeaderName::from_static("x-accel-buffering"), "no");
        self.events = Some(sender);
        self.send(Answer { status: StatusCode::OK, headers, body: AnswerBody::Stream(receiver) });
    }

    /// Waits for an answer to begin; a stream whose answer has not begun by then is begun without it.
    pub(crate) async fn begin_meanwhile<T>(&mut self, early: Option<EarlyHead>, answer: impl Future<Output = T>) -> T {
        let Some(early) = early else { return answer.await };
        let mut answer = std::pin::pin!(answer);
        match timeout_at(early.at, &mut answer).await {
            Ok(answered) => answered,
            Err(_) => {
                self.begin_with(early.headers());
                answer.await
            }
        }
    }

    /// Sends bytes of a stream; into the void, if the client has gone. It waits while the client does not read, but no
    /// longer than `patience` or the deadline: then the client counts as gone, and its stream ends with an error.
    pub(crate) async fn event(&mut self, journal: &Journal, bytes: Bytes, patience: Duration, deadline: &Deadline) {
        for piece in pieces(bytes) {
            let Some(events) = &self.events else { return };
            let Err(piece) = events.try_send(piece) else { continue };
            if !matches!(deadline.bound_by(Instant::now() + patience, events.send(piece)).await, Ok(Ok(()))) {
                self.give_up(journal, &Error::NotRead);
            }
        }
    }

    /// Ends a stream with an error while its request goes on. From now on the client counts as gone.
    pub(crate) fn give_up(&mut self, journal: &Journal, error: &Error) {
        self.error(journal, error);
        self.events = None;
    }

    /// Sends the end of a stream, which is short, and waits for nobody.
    pub(crate) fn last(&mut self, bytes: Bytes) {
        if let Some(events) = &self.events {
            events.send_last(bytes);
        }
    }

    /// Ends a stream that is whole.
    pub(crate) fn end(&mut self, journal: &Journal) {
        let end = self.stream_end(journal);
        self.last(end);
    }

    /// Whether a client waits for this reply still.
    pub(crate) fn client_is_there(&self) -> bool {
        match (&self.head, &self.events) {
            (Some(head), _) => !head.is_closed(),
            (None, Some(events)) => !events.is_closed(),
            (None, None) => false,
        }
    }

    /// Sends an answer, unless one was sent before.
    pub(crate) fn send(&mut self, answer: Answer) {
        if let Some(head) = self.head.take() {
            // Nobody waits any more: the client has gone, and what was done is settled all the same.
            let _ = head.send(answer);
        }
    }
}

/// After how long a stream begins whose answer does not: well before the 30 s after which an edge-optimised REST API gives a
/// silent one up, and late enough for nearly every error to be told by its status. See ADR 43.
const EARLY: Duration = Duration::from_secs(20);

/// The head of a stream of whose answer nothing is known.
#[derive(Debug)]
pub(crate) struct EarlyHead {
    at: Instant,
    id: RequestId,
    rates: RateStatus,
}

impl EarlyHead {
    /// That of a request; `None` if it asks for no stream, or has to end soon after: then a status says more.
    pub(crate) fn of(work: &Work<'_>) -> Option<Self> {
        let Work { journal, request, deadline, .. } = work;
        let at = journal.started + EARLY;
        let is_worth_it = request.facts.stream && !deadline.comes_by(at + KEEP_ALIVE);
        is_worth_it.then_some(Self { at, id: journal.receipt.id, rates: journal.rates })
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(24);
        put(&mut headers, HeaderName::from_static("x-request-id"), &self.id.to_string());
        rate_headers(&mut headers, self.rates);
        headers
    }
}

/// The headers of an answer that is whole.
fn final_headers(journal: &Journal, content_type: &str) -> HeaderMap {
    let mut headers = headers(journal, HeaderTime::Final);
    put(&mut headers, CONTENT_TYPE, content_type);
    headers
}

/// When headers are written: some values are known only at the end.
#[derive(PartialEq)]
enum HeaderTime {
    FirstByte,
    Final,
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Values are names of the configuration, numbers and words of ours; one that no header can carry is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn error_headers(headers: &mut HeaderMap, http: &HttpError) {
    if let Some(ms) = http.retry_after_ms {
        put(headers, http::header::RETRY_AFTER, &ms.div_ceil(1000).max(1).to_string());
    }
    if let Some(again) = http.should_retry {
        put(headers, HeaderName::from_static("x-should-retry"), if again { "true" } else { "false" });
    }
}

/// The contract's headers, as far as they are known.
fn headers(journal: &Journal, time: HeaderTime) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(24);
    let mut set = |name: &'static str, value: &str| put(&mut headers, HeaderName::from_static(name), value);
    set("x-request-id", &journal.receipt.id.to_string());
    if let Some(model) = &journal.receipt.model {
        set("x-gateway-model", model);
    }
    if let Some(tier) = &journal.receipt.tier {
        set("x-gateway-tier", tier);
    }
    if let Some(intent) = &journal.receipt.intent {
        set("x-gateway-intent", &intent.name);
        set("x-gateway-intent-confidence", &format!("{:.3}", intent.confidence));
        set("x-gateway-intent-source", intent.source.as_str());
    } else if !journal.receipt.requested_model.is_empty() {
        set("x-gateway-intent-source", "pinned");
    }
    set("x-gateway-cache", journal.receipt.cache.as_str());
    if let Some(age_ms) =
        journal.age_ms.filter(|_| matches!(journal.receipt.cache, CacheStatus::Hit | CacheStatus::HitSemantic))
    {
        set("age", &(age_ms / 1000).to_string());
    }
    if let Some(similar) = &journal.receipt.similar {
        set("x-gateway-cache-similarity", &format!("{:.3}", similar.similarity));
    }
    let truth = |yes: bool| if yes { "true" } else { "false" };
    set("x-gateway-attempts", &journal.receipt.attempts.len().to_string());
    set("x-gateway-failover", truth(journal.receipt.failed_over()));
    set("x-gateway-upgraded", truth(journal.receipt.upgraded));
    if time == HeaderTime::Final {
        set("x-gateway-cost-usd", &format_usd(journal.cost_nusd()));
        set("x-gateway-overhead-ms", &format!("{:.3}", journal.overhead_ms()));
    }
    if !journal.degraded.is_empty() {
        set("x-gateway-degraded", &journal.degraded.join(","));
    }
    rate_headers(&mut headers, journal.rates);
    headers
}

fn rate_headers(headers: &mut HeaderMap, RateStatus { requests, tokens }: RateStatus) {
    let mut set = |name: &'static str, value: &str| put(headers, HeaderName::from_static(name), value);
    let rates = [
        ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", requests),
        ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", tokens),
    ];
    for (limit, remaining, reset, standing) in rates {
        if let Some(RateRemaining { limit: units, remaining: left, reset_ms }) = standing {
            set(limit, &units.to_string());
            set(remaining, &left.to_string());
            set(reset, &span(reset_ms));
        }
    }
}

/// A span as OpenAI writes it: `6m0s`, `1.5s`, `20ms`.
fn span(ms: u64) -> String {
    let (hours, minutes, seconds, rest_ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    match (hours, minutes, seconds) {
        (0, 0, 0) => format!("{rest_ms}ms"),
        (0, 0, _) if rest_ms > 0 => format!("{seconds}.{rest_ms:03}s"),
        (0, 0, _) => format!("{seconds}s"),
        (0, _, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_are_written_as_openai_writes_them() {
        for (ms, text) in
            [(0, "0ms"), (20, "20ms"), (1500, "1.500s"), (2000, "2s"), (360_000, "6m0s"), (3_661_000, "1h1m1s")]
        {
            assert_eq!(span(ms), text);
        }
    }
}

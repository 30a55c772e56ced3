//! How providers are called over HTTP: connections, keys in turn, bodies within bounds, events of a stream.
//!
//! What is sent and what comes back is the formats' business. Address and keys come from the configuration alone (T4).
//! What an error means, and what of its text leaves this module, is decided in [`refusal`](super::refusal) (A2).

use super::mask::Mask;
use super::reach::{is_garbage, no_answer};
use super::refusal::refused;
use super::retry_after::{limit_resets, retry_after};
use super::{Call, Came, Chunk, Chunks, Fault, NotACompletion, ProviderError, Reply};
use crate::health::refusals::{Run, mark_of_request};
use crate::id::RequestId;
use crate::limit::budget::{COPIES, Room};
use crate::locking::lock;
use crate::receipt::{AttemptOutcome, Cause};
use crate::wire::answer::Flaw;
use crate::wire::error_body::{error_in, error_of};
use crate::wire::sse::{Kind, SseParser};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Most bytes of a whole answer.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// Most bytes of an error's body that are read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A key that was refused or used up is tried last for this long, while there are others.
const KEY_REST_MS: u64 = 60_000;

/// Where a provider is, and with which keys and connections it is called.
pub(super) struct Endpoint {
    url: Url,
    headers: HeaderMap,
    keys: Vec<Key>,
    next_key: AtomicUsize,
    tls: rustls::ClientConfig,
    /// What of an error's text no caller may read.
    pub(super) mask: Arc<Mask>,
    /// One connection pool per connect time-out, made when first needed: a cold start pays for none of them.
    clients: Mutex<HashMap<u64, Client>>,
}

struct Key {
    authorization: HeaderValue,
    rests_until_ms: AtomicU64,
    /// The latest requests that were refused with it, for what may be their own fault.
    refused: Mutex<Run>,
}

impl Key {
    /// Notes how a request ended; until when the key rests, if it is the key's doing.
    fn ended(&self, refusal: Option<&ProviderError>, request: RequestId, now_ms: u64) -> Option<u64> {
        let mut run = lock(&self.refused);
        let rest = Some(now_ms + KEY_REST_MS);
        match refusal {
            None => {
                *run = Run::default();
                None
            }
            Some(ProviderError { fault: Fault::RateLimited { until_ms }, .. }) => until_ms.or(rest),
            Some(ProviderError { cause: Some(Cause::Unauthorized), .. } | ProviderError { status: Some(429), .. }) => {
                rest
            }
            Some(_) => rest.filter(|_| run.is_third(mark_of_request(request))),
        }
    }
}

impl Endpoint {
    /// An endpoint that is called with these headers and one of these values of `authorization`; nothing is dialled yet.
    pub(super) fn new(url: Url, headers: HeaderMap, keys: Vec<HeaderValue>, tls: rustls::ClientConfig) -> Self {
        let secrets = keys.iter().chain(headers.iter().filter(|(name, _)| is_secret(name)).map(|(_, value)| value));
        let mask = Mask::of(
            secrets.filter_map(|value| value.to_str().ok()).map(|text| text.trim_start_matches("Bearer ").to_owned()),
        );
        let key = |mut authorization: HeaderValue| {
            authorization.set_sensitive(true);
            Key { authorization, rests_until_ms: AtomicU64::new(0), refused: Mutex::default() }
        };
        let keys = keys.into_iter().map(key).collect();
        Self { url, headers, keys, next_key: AtomicUsize::new(0), tls, mask: Arc::new(mask), clients: Mutex::default() }
    }

    fn client(&self, connect_ms: u64) -> Result<Client, ProviderError> {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&connect_ms) {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_millis(connect_ms))
            // Longer than most providers keep an idle connection, a pooled one is likely dead: above all after a thaw.
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
            .map_err(|_| ProviderError::retryable(AttemptOutcome::Reset, "no HTTP client"))?;
        clients.insert(connect_ms, client.clone());
        Ok(client)
    }

    /// The keys in turn, those that rest last.
    fn keys_in_turn(&self, now_ms: u64) -> Vec<Option<&Key>> {
        if self.keys.is_empty() {
            return vec![None];
        }
        let first = self.next_key.fetch_add(1, Ordering::Relaxed) % self.keys.len();
        let mut keys: Vec<&Key> = self.keys[first..].iter().chain(&self.keys[..first]).collect();
        keys.sort_by_key(|key| key.rests_until_ms.load(Ordering::Relaxed) > now_ms);
        keys.into_iter().map(Some).collect()
    }

    /// Sends a body with this key.
    async fn send(&self, client: &Client, key: Option<&Key>, body: Bytes) -> Result<Response, ProviderError> {
        let mut headers = self.headers.clone();
        if let Some(key) = key {
            headers.insert(http::header::AUTHORIZATION, key.authorization.clone());
        }
        client.post(self.url.clone()).headers(headers).body(body).send().await.map_err(|error| no_answer(&error))
    }

    /// Sends a body, with one key after the other while that may help; answers with the head of a good answer, and when the
    /// call was made that brought it.
    pub(super) async fn post(&self, call: &Call<'_>, body: Bytes) -> Result<(Body, Instant), ProviderError> {
        let client = self.client(call.model.timeouts.connect_ms)?;
        let keys = self.keys_in_turn(call.now_ms);
        let last = keys.len() - 1;
        for (i, key) in keys.into_iter().enumerate() {
            let begun = Instant::now();
            let response = self.send(&client, key, body.clone()).await?;
            if response.status().is_success() {
                key.and_then(|key| key.ended(None, call.id, call.now_ms));
                return Ok((Body::readable(response)?, begun));
            }
            let refusal = self.refusal(response, call.now_ms).await;
            // Another key may do better: this one is used up or refused, or seems so.
            use Cause::{Forbidden, PaymentRequired, Unauthorized};
            let other_key = matches!(refusal.fault, Fault::RateLimited { .. })
                || matches!(refusal.cause, Some(Unauthorized | PaymentRequired | Forbidden));
            if !other_key {
                return Err(refusal);
            }
            if let Some((key, until_ms)) =
                key.and_then(|key| Some((key, key.ended(Some(&refusal), call.id, call.now_ms)?)))
            {
                key.rests_until_ms.store(until_ms, Ordering::Relaxed);
            }
            if i == last {
                return Err(refusal);
            }
        }
        Err(ProviderError::retryable(AttemptOutcome::Reset, "no key"))
    }

    /// What an error status means.
    async fn refusal(&self, response: Response, now_ms: u64) -> ProviderError {
        let status = response.status().as_u16();
        // What remains of a limit is told with every answer: it is the reason only where a rate was exceeded.
        let resets_at_ms = || if status == 429 { limit_resets(response.headers(), now_ms) } else { None };
        let retry_at_ms = retry_after(response.headers(), now_ms).or_else(resets_at_ms);
        let body = whole_body(Body::of(response), MAX_ERROR_BYTES, 1000, None).await.unwrap_or_default();
        refused(status, error_of(&body), retry_at_ms, now_ms, &self.mask)
    }
}

/// Whether a header's value is not to be told: all but a few of those that are configured authenticate.
fn is_secret(name: &HeaderName) -> bool {
    ["key", "auth", "token", "secret", "cookie"].iter().any(|word| name.as_str().contains(word))
}

/// An answer's body, as it comes.
pub(super) struct Body {
    response: Response,
    /// What was read to see what kind of body it is.
    begun: Bytes,
}

impl Body {
    fn of(response: Response) -> Self {
        Self { response, begun: Bytes::new() }
    }

    /// The body of a good answer, in a coding that can be read: the HTTP client has taken gzip away.
    fn readable(response: Response) -> Result<Self, ProviderError> {
        match response.headers().get(http::header::CONTENT_ENCODING) {
            Some(coding) if ![&b"identity"[..], b"none", b""].contains(&coding.as_bytes()) => {
                let detail = "a content-encoding that was not asked for";
                Err(ProviderError { may_bill: true, ..ProviderError::retryable(AttemptOutcome::Malformed, detail) })
            }
            _ => Ok(Self::of(response)),
        }
    }

    /// The next bytes; none at the body's end, which must be the announced one (A1).
    async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        if !self.begun.is_empty() {
            return Ok(Some(std::mem::take(&mut self.begun)));
        }
        self.response.chunk().await.map_err(|error| ProviderError {
            // What is compressed and cannot be read may have been an answer.
            may_bill: is_garbage(&error),
            ..ProviderError::retryable(AttemptOutcome::Truncated, "the body was cut")
        })
    }

    /// Whether the body is JSON and no event stream. What it is called tells nothing: many call either by the other's name.
    pub(super) async fn is_json(&mut self) -> Result<bool, ProviderError> {
        let mut begun = BytesMut::new();
        while let Some(more) = self.next().await? {
            begun.extend_from_slice(&more);
            if begun.len() > MAX_BLANK_BYTES || !begun.trim_ascii_start().is_empty() {
                break;
            }
        }
        self.begun = begun.freeze();
        match self.begun.trim_ascii_start().first() {
            Some(b'<') => Err(ProviderError::retryable(AttemptOutcome::Malformed, "a web page")),
            first => Ok(matches!(first, Some(b'{' | b'['))),
        }
    }
}

/// The events of a streamed answer.
pub(super) fn stream(body: Body, events: Box<dyn Events>, call: &Call<'_>, mask: &Arc<Mask>) -> Reply {
    Reply::Stream(Box::new(SseChunks::new(body, events, call, mask.clone())))
}

/// Reads a whole answer's body. One that is cut may be billed for what came of it.
pub(super) async fn whole(body: Body, call: &Call<'_>) -> Result<Bytes, ProviderError> {
    whole_body(body, MAX_ANSWER_BYTES, call.model.timeouts.idle_ms, Some(call.room)).await
}

/// Reads a body to its end. One that may be long is given room as it comes.
async fn whole_body(
    mut body: Body,
    max_bytes: usize,
    idle_ms: u64,
    room: Option<&Room>,
) -> Result<Bytes, ProviderError> {
    let grow = |piece: &Bytes| room.map_or(Ok(()), |room| room.grow(piece.len() * COPIES));
    let idle = Duration::from_millis(idle_ms);
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    loop {
        let came = match timeout(idle, body.next()).await {
            Ok(came) => came,
            Err(_) => Err(ProviderError::retryable(AttemptOutcome::Timeout, "the body stalled")),
        };
        let piece = match came {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(if rest.is_empty() { first } else { rest.freeze() }),
            Err(error) => return Err(error.with(Came::of_part(if rest.is_empty() { &first } else { &rest }))),
        };
        grow(&piece)?;
        if first.is_empty() {
            first = piece;
            continue;
        }
        if rest.is_empty() {
            rest.extend_from_slice(&first);
            first = Bytes::from_static(b" ");
        }
        rest.extend_from_slice(&piece);
        if rest.len() > max_bytes {
            let error = ProviderError::retryable(AttemptOutcome::Malformed, "the body is too large");
            return Err(error.with(Came::of_part(&rest)));
        }
    }
}

/// What an event of a stream comes to.
pub(super) enum Event {
    /// Something of the answers.
    Chunk(Chunk),
    /// Nothing but a sign of life.
    Nothing,
    /// That the stream ends here.
    End,
}

/// Reads the events of one stream.
pub(super) trait Events: Send {
    /// What an event's data says.
    ///
    /// # Errors
    /// As for a whole answer.
    fn read(&mut self, data: Bytes) -> Result<Event, NotACompletion>;
}

/// The rest of a streamed answer.
struct SseChunks {
    body: Body,
    parser: SseParser,
    events: Box<dyn Events>,
    /// Whether the body has come to its end.
    has_all: bool,
    /// What the last bytes led to, told when the chunks before it have been handed out.
    end: Option<Result<(), ProviderError>>,
    /// When the call was made, in Unix milliseconds.
    now_ms: u64,
    mask: Arc<Mask>,
    room: Room,
    /// What of it this has taken: as much as the largest event so far needed.
    taken: usize,
}

/// Whether an event's data, which are no JSON, say nothing but that the stream lives.
fn is_sign_of_life(data: &[u8]) -> bool {
    matches!(data.trim_ascii(), b"" | b"ping" | b"keepalive" | b"keep-alive" | b"heartbeat")
}

/// Most bytes of blanks before a body, which some send to keep a connection alive.
const MAX_BLANK_BYTES: usize = 64 << 10;

/// What a stream's events may have without being given room of their own: a stream has that.
const SMALL_BYTES: usize = 64 << 10;

/// How long a connection whose stream has ended is waited for, so that it can be used again.
const DRAIN: Duration = Duration::from_millis(20);

impl SseChunks {
    fn new(body: Body, events: Box<dyn Events>, call: &Call<'_>, mask: Arc<Mask>) -> Self {
        let (parser, room) = (SseParser::default(), call.room.clone());
        Self { body, parser, events, has_all: false, end: None, now_ms: call.now_ms, mask, room, taken: 0 }
    }

    /// Takes every event that has come; `Some` if the stream has ended, well or not.
    fn take_events(&mut self, chunks: &mut Vec<Chunk>) -> Option<Result<(), ProviderError>> {
        loop {
            let event = match self.parser.next_event() {
                Ok(Some(event)) => event,
                // Whether every answer had ended before, the reader sees (A1).
                Ok(None) => return self.has_all.then_some(Ok(())),
                Err(_) => {
                    return Some(Err(ProviderError::retryable(AttemptOutcome::Malformed, "an event is too large")));
                }
            };
            let read = match event.kind {
                Kind::Ping => Ok(Event::Nothing),
                Kind::Error => Err(Flaw::Error.into()),
                Kind::Message if is_sign_of_life(&event.data) => Ok(Event::Nothing),
                Kind::Message => self.events.read(event.data.clone()),
            };
            if read.as_ref().is_err_and(|error| error.flaw == Flaw::Malformed)
                && let Some(apart) = self.line_by_line(&event.data)
            {
                chunks.extend(apart);
                continue;
            }
            match read {
                Ok(Event::Chunk(chunk)) => chunks.push(chunk),
                Ok(Event::Nothing) => {}
                Ok(Event::End) => return Some(Ok(())),
                Err(NotACompletion { flaw: Flaw::Malformed, came }) if self.has_all => {
                    let error = ProviderError::retryable(AttemptOutcome::Truncated, "the stream ended within an event");
                    return Some(Err(error.with(came)));
                }
                Err(error) => return Some(Err(unusable(error, &event.data, self.now_ms, &self.mask))),
            }
        }
    }

    /// Events between which the empty line is missing: each line of the data for itself, if every one is a chunk.
    fn line_by_line(&mut self, data: &Bytes) -> Option<Vec<Chunk>> {
        let chunk = |line: &[u8]| match self.events.read(data.slice_ref(line)) {
            Ok(Event::Chunk(chunk)) => Some(chunk),
            _ => None,
        };
        data.contains(&b'\n').then(|| data.split(|&byte| byte == b'\n').map(chunk).collect()).flatten()
    }
}

#[async_trait]
impl Chunks for SseChunks {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        let mut chunks = Vec::new();
        if self.end.is_none() {
            self.end = self.take_events(&mut chunks);
        }
        if self.end.is_none() && chunks.is_empty() {
            match self.body.next().await {
                Ok(Some(bytes)) => {
                    self.parser.feed(&bytes);
                    let needed = self.parser.held_bytes().saturating_sub(SMALL_BYTES) * COPIES;
                    self.taken = self.room.grow_to(self.taken, needed)?;
                }
                Ok(None) => {
                    self.parser.finish();
                    self.has_all = true;
                }
                Err(error) => self.end = Some(Err(error)),
            }
            if self.end.is_none() {
                self.end = self.take_events(&mut chunks);
            }
        }
        match &self.end {
            // Bytes without an event are a sign of life.
            None => Ok(Some(chunks)),
            Some(_) if !chunks.is_empty() => Ok(Some(chunks)),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(())) => {
                // A body read to its end leaves the connection fit for the next call.
                let _ = timeout(DRAIN, self.body.next()).await;
                Ok(None)
            }
        }
    }
}

/// Why bytes are no answer, as a failure of the call.
pub(super) fn unusable(error: NotACompletion, bytes: &[u8], now_ms: u64, mask: &Mask) -> ProviderError {
    let NotACompletion { flaw, came } = error;
    let error = match flaw {
        Flaw::Error => {
            let error = error_in(bytes).unwrap_or_else(|| error_of(bytes));
            refused(200, error, None, now_ms, mask)
        }
        Flaw::Unfinished => {
            ProviderError::retryable(AttemptOutcome::Truncated, "the answer does not say that it ended")
        }
        Flaw::Malformed => ProviderError::retryable(AttemptOutcome::Malformed, "not a chat completion"),
    };
    error.with(came)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_763_769_600_000;

    #[test]
    fn a_key_rests_for_what_is_its_own_fault_and_not_for_one_requests() {
        let refusal = |status, fault| ProviderError {
            fault,
            status: Some(status),
            cause: (status == 401).then_some(Cause::Unauthorized),
            ..ProviderError::retryable(AttemptOutcome::HttpError, "refused")
        };
        let rest = Some(NOW + KEY_REST_MS);
        let until = Some(NOW + 5);
        for (status, fault, after) in [
            (401, Fault::CandidateDown, [rest, rest, rest]),
            (429, Fault::CandidateDown, [rest, rest, rest]),
            (429, Fault::RateLimited { until_ms: until }, [until, until, until]),
            (429, Fault::RateLimited { until_ms: None }, [rest, rest, rest]),
            (402, Fault::CandidateDown, [None, None, rest]),
            (403, Fault::CandidateDown, [None, None, rest]),
        ] {
            let authorization = HeaderValue::from_static("Bearer k");
            let key = Key { authorization, rests_until_ms: AtomicU64::new(0), refused: Mutex::default() };
            let refused = refusal(status, fault);
            let requests = [(); 3].map(|()| RequestId::new(NOW));
            assert_eq!(requests.map(|request| key.ended(Some(&refused), request, NOW)), after, "{status}");
            // Tries of one request are one, and an answer begins the count anew.
            if after[0].is_none() {
                let again = [requests[0], requests[1], requests[1], requests[0]];
                assert_eq!(again.map(|request| key.ended(Some(&refused), request, NOW)), [None; 4], "{status}");
                key.ended(None, requests[2], NOW);
                assert_eq!(key.ended(Some(&refused), requests[2], NOW), None);
            }
        }
    }
}

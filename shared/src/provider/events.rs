//! The events of a streamed answer, as they come over HTTP.

use super::body::Body;
use super::mask::Mask;
use super::refusal::refused;
use super::skips::Skips;
use super::{Call, Chunk, Chunks, NotACompletion, ProviderError, Reply, Skipped};
use crate::limit::budget::{COPIES, Room};
use crate::receipt::AttemptOutcome;
use crate::wire::answer::Flaw;
use crate::wire::error_body::{error_in, error_of};
use crate::wire::sse::{Kind, SseParser};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::timeout;

/// The events of a streamed answer.
pub(super) fn stream(body: Body, events: Box<dyn Events>, call: &Call<'_>, mask: &Arc<Mask>) -> Reply {
    let (parser, now_ms, mask) = (SseParser::default(), call.now_ms, mask.clone());
    stream_of(body, Box::new(Sse { parser, events, has_all: false, skips: Skips::of(call), now_ms, mask }), call)
}

/// The same, however its events are framed.
pub(super) fn stream_of(body: Body, events: Box<dyn Framed>, call: &Call<'_>) -> Reply {
    Reply::Stream(Box::new(Coming { body, events, end: None, room: call.room.clone(), taken: 0 }))
}

/// What an event of a stream comes to.
pub(super) enum Event {
    /// Something of the answers.
    Chunk(Chunk),
    /// The last of them, with which the stream ends.
    Last(Chunk),
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

    /// Whether an event that cannot be read may be left out: what it says it is, is some text of the answer, and nothing on
    /// which other events build.
    fn may_skip(&self, data: &[u8]) -> bool;
}

/// Reads a stream's bytes, in whatever frames its events come.
pub(super) trait Framed: Send {
    /// Takes bytes.
    fn feed(&mut self, bytes: &[u8]);

    /// Learns that no more come.
    fn finish(&mut self);

    /// Bytes of an event that is not whole yet.
    fn held_bytes(&self) -> usize;

    /// Takes every event that has come; `Some` if the stream has ended, well or not.
    fn take(&mut self, chunks: &mut Vec<Chunk>) -> Option<Result<(), ProviderError>>;

    /// What has been left out so far.
    fn skipped(&self) -> Skipped;
}

/// The rest of a streamed answer.
struct Coming {
    body: Body,
    events: Box<dyn Framed>,
    /// What the last bytes led to, told when the chunks before it have been handed out.
    end: Option<Result<(), ProviderError>>,
    room: Room,
    /// What of it this has taken: as much as the largest event so far needed.
    taken: usize,
}

/// Server-sent events.
struct Sse {
    parser: SseParser,
    events: Box<dyn Events>,
    /// Whether the body has come to its end.
    has_all: bool,
    skips: Skips,
    /// When the call was made, in Unix milliseconds.
    now_ms: u64,
    mask: Arc<Mask>,
}

/// Whether an event's data, which are no JSON, say nothing but that the stream lives.
fn is_sign_of_life(data: &[u8]) -> bool {
    matches!(data.trim_ascii(), b"" | b"ping" | b"keepalive" | b"keep-alive" | b"heartbeat")
}

/// What a stream's events may have without being given room of their own: a stream has that.
const SMALL_BYTES: usize = 64 << 10;

/// Bytes that are enough to be handed on, though more may have come.
const AT_ONCE_BYTES: usize = 16 << 10;

/// How long a connection whose stream has ended is waited for, so that it can be used again.
const DRAIN: Duration = Duration::from_millis(20);

impl Framed for Sse {
    fn feed(&mut self, bytes: &[u8]) {
        self.parser.feed(bytes);
    }

    fn finish(&mut self) {
        self.parser.finish();
        self.has_all = true;
    }

    fn held_bytes(&self) -> usize {
        self.parser.held_bytes()
    }

    fn skipped(&self) -> Skipped {
        self.skips.so_far
    }

    fn take(&mut self, chunks: &mut Vec<Chunk>) -> Option<Result<(), ProviderError>> {
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
                Ok(Event::Chunk(chunk)) => {
                    self.skips.note(&chunk);
                    chunks.push(chunk);
                }
                Ok(Event::Last(chunk)) => {
                    chunks.push(chunk);
                    return Some(Ok(()));
                }
                Ok(Event::Nothing) => {}
                Ok(Event::End) => return Some(Ok(())),
                Err(NotACompletion { flaw: Flaw::Malformed, came }) if self.has_all => {
                    let error = ProviderError::retryable(AttemptOutcome::Truncated, "the stream ended within an event");
                    return Some(Err(error.with(came)));
                }
                Err(NotACompletion { flaw: Flaw::Malformed, came })
                    if self.events.may_skip(&event.data) && self.skips.leave_out(&event.data, came) => {}
                Err(error) => return Some(Err(unusable(error, &event.data, self.now_ms, &self.mask))),
            }
        }
    }
}

impl Sse {
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
impl Chunks for Coming {
    fn skipped(&self) -> Skipped {
        self.events.skipped()
    }

    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        let mut chunks = Vec::new();
        if self.end.is_none() {
            self.end = self.events.take(&mut chunks);
        }
        if self.end.is_none()
            && chunks.is_empty()
            && let Err(error) = self.read(&mut chunks).await
        {
            self.end = Some(Err(error));
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

impl Coming {
    /// Reads what comes next, and what came with it. A connection hands on one chunk of a chunked body each time that its task
    /// runs, however many it has read; to write each on for itself would cost several times what all of them cost together.
    async fn read(&mut self, chunks: &mut Vec<Chunk>) -> Result<(), ProviderError> {
        let (mut next, mut read) = (self.body.next().await, 0);
        loop {
            if let Some(bytes) = next? {
                self.events.feed(&bytes);
                let needed = self.events.held_bytes().saturating_sub(SMALL_BYTES) * COPIES;
                self.taken = self.room.grow_to(self.taken, needed)?;
                read += bytes.len();
            } else {
                self.events.finish();
            }
            self.end = self.events.take(chunks);
            if self.end.is_some() || read > AT_ONCE_BYTES {
                return Ok(());
            }
            after_the_others().await;
            let Some(more) = self.body.next().now_or_never() else { return Ok(()) };
            next = more;
        }
    }
}

/// Lets the tasks run that can. tokio's own `yield_now` asks the system for news as well, which costs more than is won.
async fn after_the_others() {
    let mut is_over = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::limit::budget::Budget;
    use crate::wire::openai::answer::Answers;
    use futures_util::stream::iter;
    use std::io;

    fn event(text: &str) -> Bytes {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n").into()
    }

    /// A stream whose body comes in these pieces, and then is cut.
    fn coming(pieces: Vec<Bytes>) -> Coming {
        let pieces = pieces.into_iter().map(Ok).chain([Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
        let body = Body::of(http::Response::new(reqwest::Body::wrap_stream(iter(pieces))).into());
        let (parser, events) = (SseParser::default(), Box::new(Answers::of(1)));
        let sse = Sse { parser, events, has_all: false, skips: Skips::default(), now_ms: 0, mask: Arc::default() };
        let room = Budget::new(1 << 20).room(&"acme".into());
        Coming { body, events: Box::new(sse), end: None, room, taken: 0 }
    }

    #[tokio::test]
    async fn what_has_come_is_handed_on_at_once_and_how_it_ended_after_it() {
        let half = event("two").split_to(9);
        let mut stream = coming(vec![event("one"), half.clone(), event("two").split_off(half.len()), event("three")]);
        assert_eq!(stream.next().await.unwrap().unwrap().len(), 3);
        assert_eq!(stream.next().await.unwrap_err().outcome, AttemptOutcome::Truncated);
    }

    #[tokio::test]
    async fn what_comes_without_a_pause_is_handed_on_all_the_same() {
        let mut stream = coming(vec![event(&"x".repeat(AT_ONCE_BYTES / 2)); 5]);
        for events in [2, 2, 1] {
            assert_eq!(stream.next().await.unwrap().unwrap().len(), events);
        }
        assert!(stream.next().await.is_err());
    }
}

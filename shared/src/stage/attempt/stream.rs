//! A streamed answer on its way to the client.
//!
//! Every event passes on as soon as it came; while the client does not read, the provider's stream waits, for as long as the
//! model may be silent. The task that reads the provider's stream owns it to its end: when the client
//! goes away it reads on, within the deadline, to the usage that the provider will bill (M4). A stream that is cut never ends
//! like one that is whole (A1): another model goes on with it, or it ends with an error event (A5,
//! [`recover`](crate::stage::recover)). One that goes silent is given up (A4).

use crate::catalog::Model;
use crate::error::Error;
use crate::estimate::usage_of;
use crate::limit::budget::{COPIES, Room};
use crate::provider::{Came, Chunk, Chunks, ProviderError, Skipped};
use crate::receipt::AttemptOutcome;
use crate::request::journal::Journal;
use crate::request::reply::Reply;
use crate::running::{Deadline, Waits};
use crate::stage::attempt::passage::Passage;
use crate::stage::recall::note_signatures;
use crate::steps;
use crate::wire::facts::Facts;
use crate::wire::piece::{Choice, Piece, choices};
use crate::wire::writer::Hide;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Most bytes of a stream, and most events.
pub(crate) const MAX_STREAM_BYTES: usize = 32 << 20;
pub(crate) const MAX_STREAM_EVENTS: usize = 1 << 20;

/// Room for what a writer keeps is taken in steps of this many bytes; the first is the stream's own.
const HOLD_BYTES: usize = 64 << 10;

/// A stream that has begun to answer.
pub(crate) struct StreamHead {
    /// What came so far.
    pub(crate) head: Vec<Chunk>,
    /// What is to come; `None` if the head is all.
    pub(crate) rest: Option<Box<dyn Chunks>>,
    /// What was left out, where the head is all.
    pub(crate) skipped: Skipped,
    /// When it was called.
    pub(crate) begun: Instant,
    /// The same, in Unix milliseconds.
    pub(crate) begun_at_ms: u64,
    /// Milliseconds to its first token.
    pub(crate) ttft_ms: f64,
    /// How much was left of the time that the whole attempt may take when it was opened.
    pub(crate) left: Duration,
}

/// Which of a stream's answers have begun, which have ended, and how (A1).
#[derive(Debug, Default)]
pub(crate) struct ChoiceTracker {
    /// The answers that have begun, by index, and whether each has ended.
    ended: BTreeMap<u64, bool>,
    /// Whether one of them ended by a bound or a filter.
    stopped_short: bool,
}

impl ChoiceTracker {
    pub(crate) fn take(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            steps::count(1);
            let ended = self.ended.entry(piece.choice()).or_default();
            if let Piece::Finish { why, .. } = piece
                && !*ended
            {
                *ended = true;
                self.stopped_short |= !why.is_complete();
            }
        }
    }

    /// Whether every answer that began has ended.
    pub(crate) fn whole(&self) -> bool {
        !self.ended.is_empty() && self.ended.values().all(|ended| *ended)
    }
}

/// What a stream came to.
#[derive(Debug, Default)]
pub(crate) struct StreamEnd {
    /// What came of it.
    pub(crate) came: Came,
    /// Whether all its answers ended well: not by a bound, not by a filter.
    pub(crate) stopped: bool,
    /// Why it is not whole, if it is not.
    pub(crate) error: Option<ProviderError>,
    /// The events as the client got them, if they were to be kept, and were not too large for it.
    pub(crate) kept: Option<BytesMut>,
    /// Whether there was no memory left for an answer that had to be kept.
    pub(crate) no_room: bool,
    /// Whether something of it could not be said in the client's format.
    pub(crate) leaves_out: bool,
    /// How calls of tools in it are signed, each by its id.
    pub(crate) signatures: Vec<(String, String)>,
    /// Whether it was still coming when the time of the whole attempt was over.
    pub(crate) ran_out: bool,
    /// How many events were left out, for they could not be read.
    pub(crate) skipped: u32,
}

/// Where a stream's events go.
pub(crate) enum Sink<'a> {
    /// To the client, and perhaps beside it.
    Client {
        reply: &'a mut Reply,
        journal: &'a Journal,
        facts: &'a Facts,
        room: &'a Room,
        hide: Hide,
        format: &'static str,
        keep: Keep,
        /// What is kept of the events before.
        kept: Option<BytesMut>,
        /// What the client has of the answer.
        passage: &'a mut Passage,
    },
    /// Nowhere: it is read for its usage.
    Nowhere,
}

impl Sink<'_> {
    /// Whether somebody has a use for events: a client that is there, or those who come after it.
    fn is_open(&self, ended: &StreamEnd) -> bool {
        match self {
            Self::Client { reply, .. } => reply.client_is_there() || ended.kept.is_some(),
            Self::Nowhere => false,
        }
    }

    /// Whether something of a chunk cannot be said in the client's format.
    fn leaves_out(&self, chunk: &Chunk) -> bool {
        matches!(self, Self::Client { format, hide, .. } if is_left_out(&chunk.pieces, chunk.format, format, *hide))
    }

    /// Writes events for whoever has a use for them: those of a chunk, or what remains to be said after the last one.
    fn write(&mut self, chunk: Option<&Chunk>, model: &Model, ended: &StreamEnd, out: &mut BytesMut) {
        if !self.is_open(ended) {
            return;
        }
        let Self::Client { reply, hide, room, passage, facts, .. } = self else { return };
        let Some(chunk) = chunk else {
            if ended.came.usage.is_none() && !hide.usage {
                reply.writer.estimated(passage.used(usage_of(facts, model, ended.came).0));
            }
            return reply.writer.rest(&model.name, *hide, out);
        };
        reply.writer.chunk(&passage.take(chunk, room), &model.name, *hide, out);
    }

    /// Takes room for what the writer keeps of the answer; `held` is what it has taken before.
    fn hold(&self, held: usize) -> Result<usize, ProviderError> {
        let Self::Client { reply, room, passage, .. } = self else { return Ok(held) };
        passage.check()?;
        let needed = reply.writer.held_bytes() / HOLD_BYTES * HOLD_BYTES * COPIES;
        Ok(room.grow_to(held, needed)?)
    }

    /// Keeps and sends events; answers how long the client took for them, and until when.
    async fn send(
        &mut self,
        out: BytesMut,
        ended: &mut StreamEnd,
        patience: Duration,
        deadline: &Deadline,
    ) -> (Duration, Instant) {
        let Self::Client { reply, journal, room, keep, .. } = self else { return (Duration::ZERO, Instant::now()) };
        if keep.add(&mut ended.kept, &out, room) {
            ended.no_room = true;
            reply.give_up(journal, &Error::Overloaded);
        }
        let from = Instant::now();
        reply.event(journal, out.freeze(), patience, deadline).await;
        let until = Instant::now();
        (until - from, until)
    }
}

/// Whether some of the pieces of an answer in the format `from` cannot be said in the format `to`.
pub(crate) fn is_left_out(pieces: &[Piece], from: &str, to: &str, hide: Hide) -> bool {
    from != to && pieces.iter().any(|piece| piece.is_left_out_elsewhere(!hide.logprobs))
}

/// Whether a stream's events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// They are not.
    No,
    /// For the cache, if they are no more bytes than these and there is memory for them.
    Wanted(usize),
    /// For those who come with the same idempotency key: without them the answer is not whole.
    Needed,
}

impl Keep {
    /// Where to begin.
    pub(crate) fn nothing_yet(self) -> Option<BytesMut> {
        (self != Self::No).then(BytesMut::new)
    }

    /// Keeps some more events; answers whether there was no room for what is needed.
    pub(crate) fn add(self, kept: &mut Option<BytesMut>, events: &[u8], room: &Room) -> bool {
        let Some(bytes) = kept else { return false };
        let max_bytes = if let Self::Wanted(max_bytes) = self { max_bytes } else { usize::MAX };
        if bytes.len() + events.len() <= max_bytes && room.grow(events.len() * COPIES).is_ok() {
            bytes.extend_from_slice(events);
            return false;
        }
        room.shrink(bytes.len() * COPIES);
        *kept = None;
        self == Self::Needed
    }
}

/// Reads an opened stream to its end.
pub(crate) async fn read_on(
    opened: StreamHead,
    model: &Model,
    deadline: &Deadline,
    mut sink: Sink<'_>,
) -> (StreamEnd, Duration) {
    let kept = if let Sink::Client { kept, .. } = &mut sink { kept.take() } else { None };
    let mut ended = StreamEnd { kept, ..StreamEnd::default() };
    let patience = Duration::from_millis(model.timeouts.idle_ms);
    let mut tracker = ChoiceTracker::default();
    let (mut bytes, mut events, mut held) = (0, 0, 0);
    let mut waited = Duration::ZERO;
    // The attempt's time is the provider's: what the client takes, and another attempt took meanwhile, is not counted.
    let mut ends = Instant::now() + opened.left;
    let mut came = opened.head;
    let (mut rest, mut waits) = (opened.rest, deadline.waits());
    loop {
        let mut out = BytesMut::new();
        for chunk in &came {
            ended.came = ended.came.plus(chunk.came());
            ended.leaves_out |= sink.leaves_out(chunk);
            tracker.take(&chunk.pieces);
            note_signatures(&mut ended.signatures, &chunk.pieces, &chunk.payload);
            (bytes, events) = (bytes + chunk.payload.len(), events + 1);
            sink.write(Some(chunk), model, &ended, &mut out);
        }
        let (taken, taken_at) = sink.send(out, &mut ended, patience, deadline).await;
        (waited, ends) = (waited + taken, ends + taken);
        match sink.hold(held) {
            Ok(now) => held = now,
            Err(error) => {
                ended.error = Some(error);
                break;
            }
        }
        if bytes > MAX_STREAM_BYTES || events > MAX_STREAM_EVENTS {
            ended.error = Some(ProviderError::retryable(AttemptOutcome::Malformed, "the stream is too large"));
            break;
        }
        let Some(chunks) = &mut rest else { break };
        let next = next_chunks(chunks.as_mut(), patience, taken_at, ends, &mut waits).await;
        waited += taken_at.elapsed();
        match next {
            Ok(Some(chunks)) => came = chunks,
            Ok(None) => break,
            Err(End { error, ran_out }) => {
                (ended.ran_out, ended.came, ended.error) = (ran_out, ended.came.plus(*error.came), Some(error));
                break;
            }
        }
    }
    let skipped = rest.as_ref().map_or(opened.skipped, |rest| rest.skipped());
    (ended.skipped, ended.came) = (skipped.events, ended.came.plus(skipped.came));
    if !tracker.whole() && ended.error.is_none() {
        ended.error =
            Some(ProviderError::retryable(AttemptOutcome::Truncated, "the stream ended without a finish reason"));
    }
    if ended.error.is_none() {
        let mut out = BytesMut::new();
        sink.write(None, model, &ended, &mut out);
        waited += sink.send(out, &mut ended, patience, deadline).await.0;
    }
    ended.stopped = tracker.whole() && !tracker.stopped_short;
    (ended, waited)
}

/// How a stream broke off.
struct End {
    error: ProviderError,
    /// Whether it was still coming when the time of the whole attempt was over.
    ran_out: bool,
}

/// The next chunks, from `now` on. Whatever the provider sends shows that it is alive, and is waited for anew.
async fn next_chunks(
    chunks: &mut dyn Chunks,
    idle: Duration,
    mut now: Instant,
    ends: Instant,
    waits: &mut Waits,
) -> Result<Option<Vec<Chunk>>, End> {
    loop {
        let idle_until = now + idle;
        match waits.bound_by(idle_until.min(ends), chunks.next()).await {
            Ok(Ok(Some(chunks))) if chunks.is_empty() => now = Instant::now(),
            Ok(Ok(came)) => return Ok(came),
            Ok(Err(error)) => return Err(End { error, ran_out: false }),
            Err(_) => {
                let error =
                    ProviderError::retryable(AttemptOutcome::Timeout, "the stream went silent, or took too long");
                return Err(End { error, ran_out: ends <= Instant::now().min(idle_until) });
            }
        }
    }
}

/// When a stream was called, and how long its first token took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) begun: Instant,
    pub(crate) begun_at_ms: u64,
    pub(crate) ttft_ms: f64,
}

impl StreamHead {
    /// When it was called, and how long its first token took.
    pub(crate) fn times(&self) -> Times {
        Times { begun: self.begun, begun_at_ms: self.begun_at_ms, ttft_ms: self.ttft_ms }
    }

    /// What it has answered so far, for the judge.
    pub(crate) fn answers(&self) -> Vec<Choice<'_>> {
        choices(self.head.iter().flat_map(|chunk| &chunk.pieces))
    }
}

/// A stream that nobody gets, and the attempt that it came from.
pub(crate) struct Drained {
    pub(crate) attempt: usize,
    pub(crate) model: Arc<Model>,
    pub(crate) times: Times,
    pub(crate) reading: JoinHandle<StreamEnd>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::piece::Finish;

    #[test]
    fn pieces_of_many_answers_are_tracked_in_a_step_each() {
        let pieces: Vec<Piece> = (0..1_280).map(|i| Piece::Text { choice: i % 128, text: "x".into() }).collect();
        let ends: Vec<Piece> = (0..128).map(|choice| Piece::Finish { choice, why: Finish::Stop }).collect();
        let mut tracker = ChoiceTracker::default();
        let ((), steps) = steps::of(u64::MAX, || tracker.take(&pieces));
        assert_eq!((steps, tracker.whole()), (1_280, false));
        tracker.take(&ends[1..]);
        assert!(!tracker.whole());
        tracker.take(&ends);
        assert!(tracker.whole() && !tracker.stopped_short);
        tracker.take(&[Piece::Finish { choice: 200, why: Finish::Length }]);
        assert!(tracker.whole() && tracker.stopped_short);
    }
}

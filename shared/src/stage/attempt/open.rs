//! The beginning of a stream, until it has shown enough of its answer to be the one.

use crate::limit::budget::Room;
use crate::provider::{Chunk, Chunks, ProviderError, Skipped};
use crate::receipt::AttemptOutcome;
use crate::stage::attempt::stream::{ChoiceTracker, MAX_STREAM_BYTES, MAX_STREAM_EVENTS, StreamHead};
use crate::wire::sse::MAX_EVENT_BYTES;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What a stream may send before it shows its answer: as many bytes as the largest event has, and so many events.
const HEAD_BYTES: usize = MAX_EVENT_BYTES;
const HEAD_EVENTS: usize = 4096;

/// Bytes of an answer to wait for, where it is waited for until its end.
pub(crate) const WHOLE: usize = usize::MAX;

/// How a stream is opened.
#[derive(Clone, Copy)]
pub(crate) struct OpenOptions {
    pub(crate) begun: Instant,
    pub(crate) begun_at_ms: u64,
    /// Bytes of its answer to wait for.
    pub(crate) bytes: usize,
    pub(crate) idle_ms: u64,
    /// Until when the first token is waited for (A4).
    pub(crate) patience: Instant,
    /// Until when the whole attempt may last.
    pub(crate) ends: Instant,
}

/// Reads a stream until it has shown `bytes` of its answer, or its end. A failure up to here is nobody's business but
/// ours: the client has seen nothing, and the next candidate begins anew.
///
/// What comes is kept in `head` until then, also for the bill should it fail, so it is bounded (B2): a stream that goes on
/// and on without a word is none.
pub(crate) async fn open(
    mut chunks: Box<dyn Chunks>,
    options: OpenOptions,
    room: &Room,
    head: &mut Vec<Chunk>,
) -> Result<StreamHead, ProviderError> {
    let mut head_bytes = 0;
    let mut ttft_ms = None;
    let mut bytes = 0;
    loop {
        let idle = Instant::now() + Duration::from_millis(options.idle_ms);
        let by = if ttft_ms.is_none() { options.patience } else { idle.min(options.ends) };
        let came = timeout_at(by, chunks.next()).await;
        let came = came.map_err(|_| ProviderError::retryable(AttemptOutcome::Timeout, "the stream went silent"))??;
        let left = options.ends.saturating_duration_since(Instant::now());
        let ttft = options.begun.elapsed().as_secs_f64() * 1000.0;
        let opened = |head: &mut Vec<Chunk>, rest, skipped, ttft_ms| StreamHead {
            head: std::mem::take(head),
            rest,
            skipped,
            begun: options.begun,
            begun_at_ms: options.begun_at_ms,
            ttft_ms,
            left,
        };
        let Some(came) = came else {
            let skipped = chunks.skipped();
            if skipped.events > 0 && ttft_ms.is_none() {
                let error = ProviderError::retryable(AttemptOutcome::Malformed, "nothing in it could be read");
                return Err(error.with(skipped.came));
            }
            let mut choices = ChoiceTracker::default();
            head.iter().for_each(|chunk| choices.take(&chunk.pieces));
            if !choices.whole() {
                return Err(ProviderError::retryable(
                    AttemptOutcome::Truncated,
                    "the stream ended without a finish reason",
                ));
            }
            return Ok(opened(head, None, skipped, ttft_ms.unwrap_or(ttft)));
        };
        for mut chunk in came {
            let weight = chunk.weight();
            room.grow(weight)?;
            head_bytes += weight;
            // It would keep all that was read together with it.
            chunk.payload = Bytes::copy_from_slice(&chunk.payload);
            if chunk.has_content() {
                ttft_ms = ttft_ms.or(Some(ttft));
                bytes += chunk.answer_bytes();
                // Neither thoughts nor a call of a tool are judged by their beginning, and neither is held back for it.
                bytes += if chunk.calls_tools() && options.bytes < WHOLE { options.bytes } else { 0 };
            }
            head.push(chunk);
        }
        if let Some(ttft_ms) = ttft_ms.filter(|_| bytes >= options.bytes) {
            return Ok(opened(head, Some(chunks), Skipped::default(), ttft_ms));
        }
        if let Some(why) = too_much(head_bytes, head.len(), options.bytes == WHOLE) {
            return Err(why);
        }
    }
}

/// Why so much is not read any further: it is no answer, or more than one.
fn too_much(bytes: usize, events: usize, waits_for_all: bool) -> Option<ProviderError> {
    let error = |detail| ProviderError::retryable(AttemptOutcome::Malformed, detail);
    if waits_for_all {
        let is_more = bytes > MAX_STREAM_BYTES || events > MAX_STREAM_EVENTS;
        return is_more.then(|| error("the stream is too large"));
    }
    let is_more = bytes > HEAD_BYTES || events > HEAD_EVENTS;
    // It may think without showing it.
    is_more.then(|| ProviderError { may_bill: true, ..error("the stream goes on without a word") })
}

//! Answers that stream in Amazon's frames: events, of which one is an answer's, and exceptions, which end it.

use super::events::{Framed, unusable};
use super::mask::Mask;
use super::refusal::refused;
use super::skips::Skips;
use super::{Chunk, NotACompletion, ProviderError, Skipped};
use crate::receipt::AttemptOutcome;
use crate::wire::answer::Flaw;
use crate::wire::converse::events::{Message, Said};
use crate::wire::error_body::error_of;
use crate::wire::frames::{Frame, FrameParser};
use memchr::memmem;
use std::sync::Arc;

/// The frames of one answer.
pub(super) struct Frames {
    parser: FrameParser,
    message: Message,
    /// Whether the body has come to its end.
    has_all: bool,
    /// When the call was made, in Unix milliseconds.
    now_ms: u64,
    mask: Arc<Mask>,
    skips: Skips,
}

impl Frames {
    pub(super) fn new(skips: Skips, now_ms: u64, mask: Arc<Mask>) -> Self {
        Self { parser: FrameParser::default(), message: Message::default(), has_all: false, now_ms, mask, skips }
    }

    /// Whether a frame that came as it was sent says, as far as can be told, some text.
    fn seems_text(frame: &Frame) -> bool {
        frame.name == "contentBlockDelta" && memmem::find(&frame.payload, b"\"text\"").is_some()
    }

    /// What an exception means, by its name; it comes with a good status.
    fn exception(&self, frame: &Frame) -> ProviderError {
        let status = match frame.name.as_str() {
            "validationException" => Some(400),
            "modelTimeoutException" => Some(408),
            "modelStreamErrorException" => Some(424),
            "throttlingException" => Some(429),
            "internalServerException" => Some(500),
            "serviceUnavailableException" => Some(503),
            _ => None,
        };
        let mut error = error_of(&frame.payload);
        error.kind = Some(frame.name.clone());
        error.status = status.or(error.status);
        refused(200, error, None, self.now_ms, &self.mask)
    }
}

impl Framed for Frames {
    fn feed(&mut self, bytes: &[u8]) {
        self.parser.feed(bytes);
    }

    fn finish(&mut self) {
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
            let frame = match self.parser.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) if self.has_all && self.parser.held_bytes() > 0 => {
                    let detail = "the stream ended within a frame";
                    return Some(Err(ProviderError::retryable(AttemptOutcome::Truncated, detail)));
                }
                // Whether the answer had ended before, the reader sees (A1).
                Ok(None) => return self.has_all.then_some(Ok(())),
                Err(_) => {
                    return Some(Err(ProviderError::retryable(AttemptOutcome::Malformed, "a frame that is none")));
                }
            };
            if frame.kind != "event" {
                return Some(Err(self.exception(&frame)));
            }
            match self.message.read(&frame.name, frame.payload.clone()) {
                Ok(Said::Chunk(chunk)) => {
                    self.skips.note(&chunk);
                    chunks.push(chunk);
                }
                Ok(Said::Last(chunk)) => {
                    chunks.push(chunk);
                    return Some(Ok(()));
                }
                Err(NotACompletion { flaw: Flaw::Malformed, came })
                    if Self::seems_text(&frame) && self.skips.leave_out(&frame.payload, came) => {}
                Err(error) => return Some(Err(unusable(error, &frame.payload, self.now_ms, &self.mask))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::provider::Fault;
    use crate::wire::frames::tests::exception;

    #[test]
    fn an_exception_in_a_stream_is_of_the_class_that_it_would_be_as_an_answer() {
        let of = |name: &str, payload: &str| {
            let mut frames = Frames::new(Skips::default(), 0, Arc::default());
            frames.feed(&exception(name, payload));
            let mut chunks = Vec::new();
            let ended = frames.take(&mut chunks).unwrap().unwrap_err();
            assert!(chunks.is_empty(), "{name}");
            ended
        };
        let said = r#"{"message":"The server had an error"}"#;
        for (name, status) in [
            ("internalServerException", Some(500)),
            ("serviceUnavailableException", Some(503)),
            ("modelTimeoutException", Some(408)),
            ("modelStreamErrorException", Some(424)),
        ] {
            let error = of(name, said);
            assert_eq!((&error.fault, error.status), (&Fault::Retryable, status), "{name}");
        }
        let limited = of("throttlingException", r#"{"message":"Too many tokens, please wait before trying again."}"#);
        assert_eq!(
            (limited.fault, limited.outcome),
            (Fault::RateLimited { until_ms: None }, AttemptOutcome::RateLimited)
        );
        let long = of("validationException", r#"{"message":"Input is too long for requested model."}"#);
        assert!(matches!(long.fault, Fault::ContextOverflow(_)), "{long:?}");
        assert!(matches!(of("validationException", said).fault, Fault::CallerFault(_)));
        // What nobody knows, and what is no JSON, is the provider's failure and never an end.
        assert_eq!(of("ofTomorrowException", "{}").fault, Fault::Retryable);
        assert_eq!(of("internalServerException", "\u{0}").fault, Fault::Retryable);
    }
}

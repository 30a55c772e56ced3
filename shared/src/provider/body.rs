//! An answer's body: what kind it is, and how much of it is read.

use super::reach::is_garbage;
use super::{Call, Came, ProviderError};
use crate::limit::budget::{COPIES, Room};
use crate::receipt::AttemptOutcome;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use reqwest::Response;
use std::time::Duration;
use tokio::time::timeout;

/// Most bytes of a whole answer.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// An answer's body, as it comes.
pub(super) struct Body {
    response: Response,
    /// What was read to see what kind of body it is.
    begun: Bytes,
}

impl Body {
    pub(super) fn of(mut response: Response) -> Self {
        // Its headers were read, and keep the whole buffer in which they came.
        *response.headers_mut() = HeaderMap::new();
        Self { response, begun: Bytes::new() }
    }

    /// The body of a good answer, in a coding that can be read: the HTTP client has taken gzip away.
    pub(super) fn readable(response: Response) -> Result<Self, ProviderError> {
        match response.headers().get(http::header::CONTENT_ENCODING) {
            Some(coding) if ![&b"identity"[..], b"none", b""].contains(&coding.as_bytes()) => {
                let detail = "a content-encoding that was not asked for";
                Err(ProviderError { may_bill: true, ..ProviderError::retryable(AttemptOutcome::Malformed, detail) })
            }
            _ => Ok(Self::of(response)),
        }
    }

    /// The next bytes; none at the body's end, which must be the announced one (A1).
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        if !self.begun.is_empty() {
            return Ok(Some(std::mem::take(&mut self.begun)));
        }
        self.response.chunk().await.map_err(|error| ProviderError {
            // What is compressed and cannot be read may have been an answer.
            may_bill: is_garbage(&error),
            ..ProviderError::retryable(AttemptOutcome::Truncated, "the body was cut")
        })
    }

    /// Whether the body is JSON and no event stream, as its first byte says that is no blank: many call either by the
    /// other's name. Blanks, which some send to keep a connection alive, are left out; each read is waited for this long.
    pub(super) async fn is_json(&mut self, patience_ms: u64) -> Result<bool, ProviderError> {
        while let Some(more) = within(patience_ms, self.next()).await? {
            let text = more.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&more).trim_ascii_start();
            let Some(&first) = text.first() else { continue };
            self.begun = more.slice_ref(text);
            return match first {
                b'<' => Err(ProviderError::retryable(AttemptOutcome::Malformed, "a web page")),
                first => Ok(matches!(first, b'{' | b'[')),
            };
        }
        Ok(false)
    }
}

/// What is read within this time (A4).
async fn within<T>(patience_ms: u64, read: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    let silent = |_| ProviderError::retryable(AttemptOutcome::Timeout, "the body stalled");
    timeout(Duration::from_millis(patience_ms), read).await.map_err(silent)?
}

/// Reads a whole answer's body. One that is cut may be billed for what came of it.
pub(super) async fn whole(body: Body, call: &Call<'_>) -> Result<Bytes, ProviderError> {
    whole_body(body, MAX_ANSWER_BYTES, call.model.timeouts.idle_ms, Some(call.room)).await
}

/// Reads a body to its end. One that may be long is given room as it comes.
pub(super) async fn whole_body(
    mut body: Body,
    max_bytes: usize,
    idle_ms: u64,
    room: Option<&Room>,
) -> Result<Bytes, ProviderError> {
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    loop {
        let piece = match within(idle_ms, body.next()).await {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(if rest.is_empty() { first } else { rest.freeze() }),
            Err(error) => return Err(error.with(Came::of_part(if rest.is_empty() { &first } else { &rest }))),
        };
        room.map_or(Ok(()), |room| room.grow(piece.len() * COPIES))?;
        // What comes at once is not copied.
        if first.is_empty() && rest.is_empty() {
            first = piece;
            continue;
        }
        rest.extend_from_slice(&std::mem::take(&mut first));
        rest.extend_from_slice(&piece);
        if rest.len() > max_bytes {
            let error = ProviderError::retryable(AttemptOutcome::Malformed, "the body is too large");
            return Err(error.with(Came::of_part(&rest)));
        }
    }
}

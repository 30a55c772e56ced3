//! Bodies: a client's JSON on its way in, bounded in bytes and time; a stream's events on their way out.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use gateway_core::error::Error;
use http_body::{Body as _, Frame};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a client may take to send its body.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads a body that should be JSON.
///
/// # Errors
/// 415 for another content type (a missing one is let pass), 413 past `most` bytes, 400 if it does not come.
pub(crate) async fn read_json(headers: &HeaderMap, body: Body, most: usize) -> Result<Bytes, Error> {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?"));
    let is_json = |kind: &str| {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json")
    };
    if !kind.is_none_or(is_json) {
        return Err(Error::UnsupportedMediaType);
    }
    let too_large = Error::TooLarge { limit_bytes: most };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large);
    }
    let incomplete = || Error::InvalidRequest { param: None, message: "The body did not come to its end.".into() };
    timeout(PATIENCE, collect(body, most)).await.map_err(|_| incomplete())?.map_err(|why| match why {
        Broken::TooLarge => too_large,
        Broken::Incomplete => incomplete(),
    })
}

enum Broken {
    TooLarge,
    Incomplete,
}

async fn collect(body: Body, most: usize) -> Result<Bytes, Broken> {
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let Ok(piece) = frame.map_err(|_| Broken::Incomplete)?.into_data() else { continue };
        if first.len() + rest.len() + piece.len() > most {
            return Err(Broken::TooLarge);
        }
        if first.is_empty() {
            first = piece;
        } else {
            rest.extend_from_slice(&piece);
        }
    }
    // Most bodies come in one piece, which is then not copied.
    Ok(if rest.is_empty() { first } else { [&first[..], &rest[..]].concat().into() })
}

/// A stream's events as an HTTP body. It never fails: a stream that breaks off says so in an event (A5).
pub(crate) struct EventBody(mpsc::UnboundedReceiver<Bytes>);

impl EventBody {
    pub(crate) fn new(events: mpsc::UnboundedReceiver<Bytes>) -> Self {
        Self(events)
    }
}

impl http_body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}

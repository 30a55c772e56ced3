//! Bodies: a client's JSON on its way in, bounded in bytes, time and the process's memory; a stream's events on their way
//! out. Nothing of a body is read before the core asks for it, which it does when it knows who sends it.

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::{Bytes, BytesMut};
use gateway_core::error::Error;
use gateway_core::limit::budget::{COPIES, Room};
use gateway_core::request::events::Events;
use gateway_core::request::incoming::RequestBody;
use gateway_host::coding::{PATIENCE, Unpacked, incomplete, is_gzip};
use http_body::{Body as _, Frame};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// How much of a body that nobody wants is taken all the same, and for how long: a client that is still sending when the
/// connection is closed under it reads no answer, only that the connection broke.
const DRAINED_BYTES: usize = 1 << 20;
const DRAINED_WITHIN: Duration = Duration::from_secs(1);

/// A body that should be JSON, on its way in.
pub(crate) struct JsonBody {
    kind: Option<HeaderValue>,
    announced: Option<usize>,
    is_gzip: Result<bool, Error>,
    max_bytes: usize,
    body: Arc<Mutex<Option<Body>>>,
}

/// What is left of a body when its request has been answered.
pub(crate) struct Unread {
    body: Arc<Mutex<Option<Body>>>,
    /// Whether taking the rest lets the client come to its answer: not where there is more than is taken, or where the
    /// client waits for a word before it sends its body at all.
    is_worth_it: bool,
}

impl JsonBody {
    /// A body of at most `most` bytes, of which nothing has been read, and where it can be had if nothing ever is.
    pub(crate) fn new(headers: &HeaderMap, body: Body, max_bytes: usize) -> (Self, Unread) {
        let body = Arc::new(Mutex::new(Some(body)));
        let length = headers.get(header::CONTENT_LENGTH);
        let announced: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let is_worth_it =
            announced.is_none_or(|length| length <= DRAINED_BYTES) && !headers.contains_key(header::EXPECT);
        let unread = Unread { body: body.clone(), is_worth_it };
        let (kind, is_gzip) = (headers.get(header::CONTENT_TYPE).cloned(), is_gzip(headers));
        (Self { kind, announced, is_gzip, max_bytes, body }, unread)
    }
}

#[async_trait]
impl RequestBody for JsonBody {
    /// 415 for another content type (a missing one is let pass) or coding, 413 past `most` bytes, 400 if it does not come or
    /// cannot be unpacked.
    async fn read(self: Box<Self>, room: &Room) -> Result<Bytes, Error> {
        let is_json = |kind: &HeaderValue| {
            let kind = kind.to_str().unwrap_or("?");
            let essence = kind.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json")
        };
        if !self.kind.as_ref().is_none_or(is_json) {
            return Err(Error::UnsupportedMediaType);
        }
        let is_gzip = self.is_gzip?;
        if self.announced.is_some_and(|length| length > self.max_bytes) {
            return Err(Error::TooLarge { limit_bytes: self.max_bytes });
        }
        let Some(mut body) = take(&self.body) else { return Err(incomplete()) };
        let reading = async {
            match is_gzip {
                true => unpack(&mut body, self.max_bytes, room).await,
                false => collect(&mut body, self.max_bytes, room).await,
            }
        };
        let read = timeout(PATIENCE, reading).await.unwrap_or_else(|_| Err(incomplete()));
        if read.is_err() {
            *self.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
        read
    }
}

impl Unread {
    /// Takes a bounded part of what is left, so that the client comes to read its answer; keeps none of it.
    pub(crate) async fn drain(self) {
        let Some(mut body) = take(&self.body).filter(|_| self.is_worth_it) else { return };
        let mut drained = 0;
        let _ = timeout(DRAINED_WITHIN, async {
            while let Some(Ok(frame)) = next(&mut body).await
                && drained < DRAINED_BYTES
            {
                drained += frame.data_ref().map_or(0, Bytes::len);
            }
        })
        .await;
    }
}

/// A body below this is copied; the buffers that connections are read into have twice as much.
const SMALL_BYTES: usize = 4096;

fn take(body: &Mutex<Option<Body>>) -> Option<Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner).take()
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, axum::Error>> {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

async fn collect(body: &mut Body, max_bytes: usize, room: &Room) -> Result<Bytes, Error> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = next(body).await {
        let Ok(piece) = frame.map_err(|_| incomplete())?.into_data() else { continue };
        if first.len() + rest.len() + piece.len() > max_bytes {
            return Err(Error::TooLarge { limit_bytes: max_bytes });
        }
        room.grow(piece.len() * COPIES)?;
        if first.is_empty() {
            first = piece;
        } else {
            rest.extend_from_slice(&piece);
        }
    }
    if !rest.is_empty() {
        return Ok([&first[..], &rest[..]].concat().into());
    }
    // Most bodies come in one piece, which is not copied unless it would keep a far larger buffer for as long as the request runs.
    Ok(if first.len() < SMALL_BYTES { Bytes::copy_from_slice(&first) } else { first })
}

/// The same of a gzip body: its bytes are counted as they are unpacked.
async fn unpack(body: &mut Body, max_bytes: usize, room: &Room) -> Result<Bytes, Error> {
    let mut unpacked = Unpacked::new(max_bytes);
    let mut came = 0;
    while let Some(frame) = next(body).await {
        let Ok(piece) = frame.map_err(|_| incomplete())?.into_data() else { continue };
        came += piece.len();
        if came > max_bytes {
            return Err(Error::TooLarge { limit_bytes: max_bytes });
        }
        let before = unpacked.len();
        unpacked.take(&piece)?;
        room.grow((unpacked.len() - before) * COPIES)?;
    }
    let before = unpacked.len();
    let bytes = unpacked.finish()?;
    room.grow((bytes.len() - before) * COPIES)?;
    Ok(bytes)
}

/// A stream's events as an HTTP body. It never fails: a stream that breaks off says so in an event (A5).
pub(crate) struct EventBody(Events);

impl EventBody {
    pub(crate) fn new(events: Events) -> Self {
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

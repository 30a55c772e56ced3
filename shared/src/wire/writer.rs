//! How answers are written for one client: the other side of its door.
//!
//! A writer has state, for what an event says depends on those before it: a role comes once, a format may open and close its
//! blocks. It is given whatever a provider sent. What is in the door's own format passes on as it came but for a few places;
//! all else is written from its pieces. The gateway's headers are no format's and stand elsewhere.
//!
//! Where it breaks off, another's may follow ([`resume`](Writer::resume)): what passes on leaves so much behind that the rest
//! can be written as if it came from there, and no event is read for that before it is needed.
//!
//! A stream is any number of [`chunk`](Writer::chunk)s, then [`rest`](Writer::rest) where the provider's was whole, and
//! [`end`](Writer::end) once it is settled. What the first two write may be remembered and sent again; then a new writer
//! writes the end.

use crate::error::HttpError;
use crate::money::Usage;
use crate::wire::answer::{Chunk, Completion};
use bytes::{Bytes, BytesMut};
use std::fmt::Debug;

/// The content type of JSON.
pub const JSON: &str = "application/json";
/// The content type of server-sent events.
pub const EVENTS: &str = "text/event-stream; charset=utf-8";

/// What a provider sends and the client did not ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hide {
    /// Log-probabilities.
    pub logprobs: bool,
    /// The usage of a stream.
    pub usage: bool,
}

/// Writes the answer to one request.
pub trait Writer: Send + Sync + Debug {
    /// The content type of whole answers.
    fn whole_type(&self) -> &'static str {
        JSON
    }

    /// The content type of streams.
    fn stream_type(&self) -> &'static str {
        EVENTS
    }

    /// A whole answer, of a model of this name.
    fn whole(&mut self, answer: &Completion, model: &str, hide: Hide) -> Bytes;

    /// Writes what an event of a provider's stream comes to: nothing, or some events.
    fn chunk(&mut self, chunk: &Chunk, model: &str, hide: Hide, out: &mut BytesMut);

    /// Takes what a stream is charged for, where its provider did not say what it used and the client wants to know.
    fn estimated(&mut self, _usage: Usage) {}

    /// Writes what remains to be said once a provider's stream has come to its end and was whole.
    fn rest(&mut self, model: &str, hide: Hide, out: &mut BytesMut);

    /// Has another provider's stream follow one that broke off after this text. What it brings is of no door's format, and is
    /// written as more of the same answer, with ids and places as the client has them; what cannot be gone on with is closed.
    /// Answers whether that can be: not where the end has begun to be told.
    fn resume(&mut self, _text: &str, _out: &mut BytesMut) -> bool {
        false
    }

    /// The items of a whole answer by their names, so that a later request can name them.
    fn items(&self) -> Vec<(String, Bytes)> {
        Vec::new()
    }

    /// Bytes of the answer that it keeps until the stream's end.
    fn held_bytes(&self) -> usize {
        0
    }

    /// The end of a stream that is whole. Before it come the final values of the gateway's headers, a JSON object, where no
    /// client of the format takes them for something else.
    fn end(&self, headers: &str) -> Bytes;

    /// A whole answer that is an error.
    fn error(&mut self, http: &HttpError) -> Bytes;

    /// The end of a stream that is not whole (A1, A5).
    fn stream_error(&mut self, http: &HttpError) -> Bytes;

    /// What shows that a silent stream is alive.
    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b": keep-alive\n\n")
    }
}

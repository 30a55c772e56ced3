//! Writes vectors for a client. They come whole; there is nothing to be streamed.

use crate::error::HttpError;
use crate::id::RequestId;
use crate::wire::answer::{Chunk, Completion};
use crate::wire::openai::error::envelope;
use crate::wire::writer::{Hide, Writer};
use bytes::{Bytes, BytesMut};

/// Writes the answer to one request.
#[derive(Debug)]
pub(super) struct VectorWriter {
    id: RequestId,
}

impl VectorWriter {
    pub(super) fn new(id: RequestId) -> Self {
        Self { id }
    }
}

impl Writer for VectorWriter {
    fn whole(&mut self, answer: &Completion, model: &str, _hide: Hide) -> Bytes {
        let mut out = Vec::with_capacity(answer.body.len() + model.len());
        answer.places.rewrite(&answer.body, model, false, &mut out);
        out.into()
    }

    fn chunk(&mut self, _chunk: &Chunk, _model: &str, _hide: Hide, _out: &mut BytesMut) {}

    fn rest(&mut self, _model: &str, _hide: Hide, _out: &mut BytesMut) {}

    fn end(&self, _headers: &str) -> Bytes {
        Bytes::new()
    }

    fn error(&mut self, http: &HttpError) -> Bytes {
        envelope(http, Some(&self.id.to_string()))
    }

    fn stream_error(&mut self, http: &HttpError) -> Bytes {
        self.error(http)
    }
}

//! Writes answers as OpenAI's Responses, whole or as the events of a stream.
//!
//! What a provider of this very format sent passes on byte for byte, but for the model's name and what the client did not
//! ask for; each event gets its name again. Anything else is made from its pieces ([`Made`]).
//!
//! The last event of a stream holds the whole answer, and is its end to every client. So it is written only once the
//! provider's stream is known to be whole (A1, A5). A stream that breaks off is told twice, for clients look for one or the
//! other: as an error, in which the documented fields stand at the top and the ones that OpenAI sends below `error`, and
//! then as an answer that has failed.

use crate::error::HttpError;
use crate::id::RequestId;
use crate::money::Usage;
use crate::wire::answer::{Chunk, Completion};
use crate::wire::json::{Stopped, items};
use crate::wire::openai::error::envelope;
use crate::wire::responses::answer::{NAME, kind_of, response_in};
use crate::wire::responses::made::{Made, put_event};
use crate::wire::responses::passed::Passed;
use crate::wire::writer::{Hide, Writer};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Most items of an answer that are kept for later requests.
const MAX_KEPT_ITEMS: usize = 64;
/// Longest item that is kept.
const MAX_KEPT_BYTES: usize = 256 << 10;

/// Writes the answer to one request.
#[derive(Debug)]
pub(super) struct ResponsesWriter {
    id: RequestId,
    made: Made,
    /// The model's name, once it is known.
    model: String,
    passed: Passed,
    /// The last event of a passing stream, until that is known to be whole.
    last: BytesMut,
    /// The whole answer, once it is known.
    answer: Option<Bytes>,
}

impl ResponsesWriter {
    /// Writes the answer to this request.
    pub(super) fn new(id: RequestId) -> Self {
        Self {
            id,
            made: Made::new(id, true),
            model: String::new(),
            passed: Passed::default(),
            last: BytesMut::new(),
            answer: None,
        }
    }

    /// Passes an event on.
    fn pass(&mut self, chunk: &Chunk, model: &str, hide: Hide, out: &mut BytesMut) {
        let mut data = BytesMut::with_capacity(chunk.payload.len() + model.len());
        chunk.places.rewrite(&chunk.payload, model, hide.logprobs, &mut data);
        // A line end inside the JSON would end the event's line early for the client; there it is only space.
        data.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
        let kind = kind_of(&chunk.payload).filter(|kind| is_plain(kind)).unwrap_or(Cow::Borrowed("message"));
        self.made.sequence += 1;
        if kind == "response.created" {
            self.made.name(id_in(&chunk.payload));
        }
        match &*kind {
            "response.completed" | "response.incomplete" => {
                self.answer = response_in(&chunk.payload);
                return put_event(&kind, &data, &mut self.last);
            }
            _ => self.passed.note(&kind, chunk),
        }
        put_event(&kind, &data, out);
    }
}

impl Writer for ResponsesWriter {
    fn whole(&mut self, answer: &Completion, model: &str, hide: Hide) -> Bytes {
        let whole: Bytes = if answer.format == NAME {
            let mut out = Vec::with_capacity(answer.body.len() + model.len());
            answer.places.rewrite(&answer.body, model, hide.logprobs, &mut out);
            out.into()
        } else {
            let (mut made, mut unused) = (Made::new(self.id, false), BytesMut::new());
            made.add(&answer.pieces, &answer.body, answer.usage, model, &mut unused);
            made.end(model, &mut unused).to_string().into()
        };
        self.answer = Some(whole.clone());
        whole
    }

    fn chunk(&mut self, chunk: &Chunk, model: &str, hide: Hide, out: &mut BytesMut) {
        if self.model != model {
            model.clone_into(&mut self.model);
        }
        if chunk.format == NAME {
            return self.pass(chunk, model, hide, out);
        }
        self.made.add(&chunk.pieces, &chunk.payload, chunk.usage, model, out);
    }

    fn estimated(&mut self, usage: Usage) {
        self.made.usage.get_or_insert(usage);
    }

    fn rest(&mut self, model: &str, _hide: Hide, out: &mut BytesMut) {
        out.extend_from_slice(&std::mem::take(&mut self.last));
        if self.made.has_begun() {
            self.answer = Some(self.made.end(model, out).to_string().into());
        }
    }

    fn resume(&mut self, text: &str, out: &mut BytesMut) -> bool {
        if !self.last.is_empty() {
            return false;
        }
        std::mem::take(&mut self.passed).leave(&mut self.made, text, out)
    }

    fn items(&self) -> Vec<(String, Bytes)> {
        self.answer.as_ref().map(items_of).unwrap_or_default()
    }

    fn held_bytes(&self) -> usize {
        self.made.held_bytes + self.passed.held_bytes() + self.last.len()
    }

    fn end(&self, headers: &str) -> Bytes {
        Bytes::from(format!(": gateway {headers}\n\n"))
    }

    fn error(&mut self, http: &HttpError) -> Bytes {
        envelope(http, Some(&self.id.to_string()))
    }

    fn stream_error(&mut self, http: &HttpError) -> Bytes {
        let mut out = BytesMut::new();
        let inner: Value = serde_json::from_slice(&envelope(http, None)).unwrap_or_default();
        let error = json!({"code": http.code, "message": http.message, "param": http.param, "error": inner["error"]});
        self.made.event("error", error, &mut out);
        let mut response = self.made.response(&self.model, "failed");
        response["error"] = json!({"code": http.code, "message": http.message});
        self.made.event("response.failed", json!({"response": response}), &mut out);
        out.freeze()
    }
}

/// The items of an answer that are not too many or too large to be kept.
fn items_of(answer: &Bytes) -> Vec<(String, Bytes)> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        output: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let mut kept = Vec::new();
    let Ok(Whole { output }) = serde_json::from_slice(answer) else { return kept };
    // What is no list has no items.
    let _: Result<usize, Stopped<()>> = items(output.get(), |i, item| {
        if i == MAX_KEPT_ITEMS {
            return Err(());
        }
        if let Ok(Named { id }) = serde_json::from_str(item.get())
            && item.get().len() <= MAX_KEPT_BYTES
        {
            kept.push((id, Bytes::copy_from_slice(item.get().as_bytes())));
        }
        Ok(())
    });
    kept
}

/// Whether a name can stand in an event's line.
fn is_plain(kind: &str) -> bool {
    !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// What an answer calls itself that stands in an event.
fn id_in(payload: &Bytes) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    serde_json::from_slice::<Named>(&response_in(payload)?).ok().map(|named| named.id)
}

#[cfg(test)]
mod tests;

//! What a client got.

use bytes::Bytes;
use gateway_core::request::events::Events;
use gateway_core::request::reply::{Answer, AnswerBody};
use http::HeaderMap;
use serde_json::Value;

/// Reads on in a stream until so many more events have come, of which several may come at once.
pub async fn read_on(stream: &mut Events, events: usize) {
    let mut came = 0;
    while came < events {
        let piece = stream.recv().await.expect("there is more to come");
        came += piece.windows(2).filter(|two| *two == b"\n\n").count();
    }
}

/// An answer that has been read to its end.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub async fn all_of(answer: Answer) -> Self {
        let body = match answer.body {
            AnswerBody::Whole(body) => body,
            AnswerBody::Stream(mut events) => {
                let mut body = Vec::new();
                while let Some(bytes) = events.recv().await {
                    body.extend_from_slice(&bytes);
                }
                body.into()
            }
        };
        Self { status: answer.status.as_u16(), headers: answer.headers, body }
    }

    /// A header; the empty text if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn is_stream(&self) -> bool {
        self.header("content-type").starts_with("text/event-stream")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of every event, `[DONE]` included.
    pub fn events(&self) -> Vec<&str> {
        let body = std::str::from_utf8(&self.body).unwrap();
        body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect()
    }

    /// The chunks of a stream.
    pub fn chunks(&self) -> Vec<Value> {
        let parse = |data: &&str| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
        self.events().iter().filter(|data| **data != "[DONE]").map(parse).collect()
    }

    /// Whether a stream ended as one that is whole.
    pub fn is_done(&self) -> bool {
        self.body.ends_with(b"data: [DONE]\n\n")
    }

    /// The values in the last comment of a stream.
    pub fn final_values(&self) -> Value {
        let body = std::str::from_utf8(&self.body).unwrap();
        let comment = body.split("\n\n").filter_map(|event| event.strip_prefix(": gateway ")).last();
        comment.map_or(Value::Null, |json| serde_json::from_str(json).unwrap())
    }

    /// What the first choice says, whole or streamed.
    pub fn text(&self) -> String {
        if !self.is_stream() {
            return self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        }
        let chunks = self.chunks();
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
    }

    /// The error's code: of the body, or of the event that ends a stream.
    pub fn error_code(&self) -> String {
        let error = if self.is_stream() { self.chunks().pop().unwrap_or_default() } else { self.json() };
        error["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the answer is an error, whichever way it is told.
    pub fn is_error(&self) -> bool {
        if self.is_stream() { !self.error_code().is_empty() && !self.is_done() } else { self.status >= 400 }
    }

    /// Whether these words occur anywhere in the answer: headers or body.
    pub fn contains(&self, words: &str) -> bool {
        let in_headers = self.headers.values().any(|value| String::from_utf8_lossy(value.as_bytes()).contains(words));
        in_headers || String::from_utf8_lossy(&self.body).contains(words)
    }
}

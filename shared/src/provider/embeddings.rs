//! The embedder of a provider: `/v1/embeddings` in OpenAI's form, which many servers speak.
//!
//! What is sent is the head and the tail of a text, as the table in process reads it: windows of embedding models are short,
//! and a long prompt must not fail for that. No format is asked for, since some servers refuse what they do not know; numbers
//! are read in both of OpenAI's. Whatever is not one vector of the promised length for each text is no answer.

use super::body::whole_body;
use super::http::Endpoint;
use super::keys::ProviderKey;
use super::openai::{UnusableSettings, endpoint};
use super::vectors::{ENVELOPE_BYTES, NUMBER_BYTES};
use super::{Came, ProviderError};
use crate::config::{EmbedderSettings, OpenAiSpec};
use crate::money::Usage;
use crate::receipt::AttemptOutcome;
use crate::routing::text::embedder::{EmbedCall, Embedded, Embedder};
use crate::routing::text::window;
use crate::wire::embeddings::numbers;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

/// An embedding model of a provider.
pub struct RemoteEmbedder {
    endpoint: Endpoint,
    settings: EmbedderSettings,
}

impl RemoteEmbedder {
    /// Makes the embedder; nothing is dialled yet.
    ///
    /// # Errors
    /// If the address or a key cannot be sent over HTTP.
    pub fn new(
        spec: &OpenAiSpec,
        keys: &[ProviderKey],
        tls: rustls::ClientConfig,
        settings: EmbedderSettings,
    ) -> Result<Self, UnusableSettings> {
        Ok(Self { endpoint: endpoint(spec, "/embeddings", keys, tls)?, settings })
    }

    /// What is answered about these texts, of which each says something.
    async fn ask(&self, texts: &[&str], call: EmbedCall<'_>) -> Result<Embedded, ProviderError> {
        let (model, dimensions) = (&self.settings.model, self.settings.dimensions);
        let inputs: Vec<String> = texts.iter().map(|text| shown(text)).collect();
        let body = Bytes::from(json!({"model": model.provider_model, "input": inputs}).to_string());
        let connect_ms = model.timeouts.connect_ms;
        let (answer, _) = self.endpoint.post_for(self.endpoint.url(), call.id, connect_ms, call.now_ms, body).await?;
        let max_bytes = texts.len() * dimensions * NUMBER_BYTES + ENVELOPE_BYTES;
        // What answered with 200 has worked for it, whatever comes of its answer.
        let billed = |error: ProviderError| ProviderError { may_bill: true, ..error.with_status(200) };
        let answer = whole_body(answer, max_bytes, model.timeouts.idle_ms, None).await.map_err(billed)?;
        read(&answer, texts.len(), dimensions)
    }
}

#[async_trait]
impl Embedder for RemoteEmbedder {
    fn dimensions(&self) -> usize {
        self.settings.dimensions
    }

    async fn embed(&self, call: EmbedCall<'_>) -> Result<Embedded, ProviderError> {
        // Many servers refuse a text that says nothing.
        let speaking: Vec<usize> = (0..call.texts.len()).filter(|&at| !call.texts[at].trim().is_empty()).collect();
        let mut embedded =
            Embedded { vectors: vec![vec![0.0; self.settings.dimensions]; call.texts.len()], usage: None };
        if !speaking.is_empty() {
            let texts: Vec<&str> = speaking.iter().map(|&at| call.texts[at]).collect();
            let answered = self.ask(&texts, call).await?;
            embedded.usage = answered.usage;
            speaking.into_iter().zip(answered.vectors).for_each(|(at, vector)| embedded.vectors[at] = vector);
        }
        Ok(embedded)
    }
}

/// What of a text is sent.
fn shown(text: &str) -> String {
    match window(text) {
        (head, "") => head.to_owned(),
        (head, tail) => format!("{head}\n{tail}"),
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    data: Vec<Item<'a>>,
    #[serde(default)]
    usage: Option<Used>,
}

#[derive(Deserialize)]
struct Item<'a> {
    /// Which text it is of; some servers leave it out and keep the order.
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct Used {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

/// The vectors of an answer in the order of the texts, each of unit length.
fn read(answer: &[u8], texts: usize, dimensions: usize) -> Result<Embedded, ProviderError> {
    let wrong = |detail, usage| {
        let error = ProviderError::retryable(AttemptOutcome::Malformed, detail).with(Came { usage, ..Came::default() });
        ProviderError { may_bill: true, ..error.with_status(200) }
    };
    let answer: Answer<'_> = serde_json::from_slice(answer).map_err(|_| wrong("an answer without vectors", None))?;
    let tokens = answer.usage.and_then(|used| used.prompt_tokens.or(used.total_tokens));
    let usage = tokens.map(|input_tokens| Usage { input_tokens, ..Usage::default() });
    let wrong = |detail| wrong(detail, usage);
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; texts];
    for (place, Item { index, embedding }) in answer.data.into_iter().enumerate() {
        let slot = vectors.get_mut(index.unwrap_or(place)).ok_or_else(|| wrong("more vectors than texts"))?;
        let vector = numbers::read(embedding.get()).ok_or_else(|| wrong("a vector in an unknown form"))?;
        if vector.len() != dimensions {
            return Err(wrong("vectors of another length than `embedder.dimensions`"));
        }
        *slot = Some(unit(vector).ok_or_else(|| wrong("a vector without a direction"))?);
    }
    let vectors = vectors.into_iter().collect::<Option<_>>().ok_or_else(|| wrong("fewer vectors than texts"))?;
    Ok(Embedded { vectors, usage })
}

/// The same direction, of unit length; nothing where there is none.
fn unit(mut vector: Vec<f32>) -> Option<Vec<f32>> {
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() || length == 0.0 {
        return None;
    }
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    Some(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(answer: &str, texts: usize) -> Vec<Vec<f32>> {
        read(answer.as_bytes(), texts, 2).unwrap().vectors
    }

    #[test]
    fn vectors_come_in_the_order_of_their_texts_and_of_unit_length() {
        let answer = r#"{"object":"list","data":[{"index":1,"embedding":[0,2]},{"index":0,"embedding":[3,4]}]}"#;
        assert_eq!(vectors(answer, 2), [vec![0.6, 0.8], vec![0.0, 1.0]]);
        let unnumbered = r#"{"data":[{"embedding":[3,4]},{"embedding":[0,1e30]}]}"#;
        assert_eq!(vectors(unnumbered, 2), [vec![0.6, 0.8], vec![0.0, 1.0]]);
    }

    #[test]
    fn packed_vectors_are_those_that_were_packed() {
        // 3.0 and -4.0.
        assert_eq!(vectors(r#"{"data":[{"embedding":"AABAQAAAgMA="}]}"#, 1), [[0.6, -0.8]]);
    }

    #[test]
    fn what_was_used_is_what_the_server_says() {
        let used = |usage: &str| {
            let answer = format!(r#"{{"data":[{{"embedding":[1,0]}}]{usage}}}"#);
            read(answer.as_bytes(), 1, 2).unwrap().usage.map(|usage| usage.input_tokens)
        };
        assert_eq!(used(r#","usage":{"prompt_tokens":7,"total_tokens":9}"#), Some(7));
        assert_eq!(used(r#","usage":{"total_tokens":9}"#), Some(9));
        assert_eq!([used(r#","usage":{}"#), used(r#","usage":null"#), used("")], [None; 3]);
    }

    #[test]
    fn an_answer_that_gives_no_vector_for_each_text_is_refused_and_billed() {
        for answer in [
            r#"{"data":[{"index":0,"embedding":[null,null]}]}"#,
            r#"{"data":[{"index":0,"embedding":[0,0]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1e300,1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[NaN,1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1,0,0]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0,"embedding":"AABAQAAAgM"}]}"#,
            r#"{"data":[{"index":0,"embedding":"AABAQAAAgMAA"}]}"#,
            r#"{"data":[{"index":0,"embedding":"AAB!QAAAgMA="}]}"#,
            // NaN and 1.
            r#"{"data":[{"index":0,"embedding":"AADAfwAAgD8="}]}"#,
            r#"{"data":[{"index":7,"embedding":[1,0]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1,0]},{"index":1,"embedding":[1,0]}]}"#,
            r#"{"data":[]}"#,
            r#"{"error":{"message":"no"}}"#,
            "<html>",
            "",
        ] {
            let error = read(answer.as_bytes(), 1, 2).unwrap_err();
            assert!(error.outcome == AttemptOutcome::Malformed && error.is_billed(), "{answer}");
        }
    }

    #[test]
    fn of_a_long_text_head_and_tail_are_sent() {
        let long = "a".repeat(100_000);
        assert_eq!(shown(&long).len(), 900 + 1 + 500);
        assert_eq!(shown("short"), "short");
    }
}

//! Providers that speak OpenAI's chat format: OpenAI, Groq, Together, OpenRouter, vLLM, Ollama and many others.

use super::body::{Body, whole};
use super::events::{Event, Events, stream, unusable};
use super::http::Endpoint;
use super::mask::Mask;
use super::{Call, Chunk, Chunks, NotACompletion, Provider, ProviderError, Reply};
use crate::apart::{ANSWERS, apart};
use crate::catalog::Api;
use crate::config::{OpenAiSpec, Secret};
use crate::wire::format::Format;
use crate::wire::openai::OpenAiChat;
use crate::wire::openai::answer::{Answers, as_stream, completion};
use crate::wire::openai::gather::gathered;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use reqwest::Url;
use std::sync::Arc;
use tokio::time::Instant;

/// The settings cannot be used; the text is for the operator and holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnusableSettings(String);

/// Who calls, for providers that turn away what does not say so; a configured header of this name takes its place.
const USER_AGENT: &str = concat!("ai-gateway/", env!("CARGO_PKG_VERSION"));

/// A provider that speaks OpenAI's wire format.
pub struct OpenAi {
    endpoint: Endpoint,
    format: &'static OpenAiChat,
}

impl OpenAi {
    /// Makes the provider; nothing is dialled yet.
    ///
    /// # Errors
    /// If the address or a key cannot be sent over HTTP.
    pub fn new(spec: &OpenAiSpec, keys: &[Secret], tls: rustls::ClientConfig) -> Result<Self, UnusableSettings> {
        Ok(Self {
            endpoint: endpoint(spec, "/chat/completions", keys, tls)?,
            format: OpenAiChat::with(spec.max_tokens_field),
        })
    }
}

/// Where a provider answers under this path, and how it is called there; nothing is dialled yet.
pub(super) fn endpoint(
    spec: &OpenAiSpec,
    path: &str,
    keys: &[Secret],
    tls: rustls::ClientConfig,
) -> Result<Endpoint, UnusableSettings> {
    let url =
        Url::parse(&format!("{}{path}", spec.base_url)).map_err(|e| UnusableSettings(format!("base_url: {e}")))?;
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    // Compressed events come late, in bursts; what is compressed all the same is read.
    headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in &spec.headers {
        headers.insert(name, value.clone());
    }
    let key = |secret: &Secret| {
        let value = HeaderValue::try_from(format!("Bearer {}", secret.expose()));
        value.map_err(|_| UnusableSettings("a key has characters that no header may have".into()))
    };
    let keys = keys.iter().map(key).collect::<Result<_, _>>()?;
    Ok(Endpoint::new(url, headers, keys, tls))
}

#[async_trait]
impl Provider for OpenAi {
    fn format(&self, _api: Api) -> &'static dyn Format {
        self.format
    }

    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let (body, begun) = self.endpoint.post(&call, call.body_for(self.format)?).await?;
        answer(body, begun, &call, &self.endpoint.mask).await.map_err(|error| error.with_status(200))
    }
}

/// Reads an answer, in whichever form it comes: a stream may come as a whole answer, and a whole answer as a stream (A7).
async fn answer(mut body: Body, begun: Instant, call: &Call<'_>, mask: &Arc<Mask>) -> Result<Reply, ProviderError> {
    let n = call.request.facts.n;
    let (timeouts, streamed) = (&call.model.timeouts, call.stream);
    let is_json = body.is_json(if streamed { timeouts.first_token_ms } else { timeouts.idle_ms }).await?;
    if streamed && !is_json {
        return Ok(stream(body, Box::new(Answers::of(n)), call, mask));
    }
    let first_byte_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let body = whole(body, call).await?;
    let bytes = body.clone();
    let read = apart(&ANSWERS, body.len(), move || match (streamed, is_json) {
        (true, _) => as_stream(body, n).map(|chunks| Reply::Stream(Box::new(AtOnce(Some(chunks))))),
        (false, true) => completion(body, n, first_byte_ms).map(|whole| Reply::Whole(Box::new(whole))),
        (false, false) => gathered(body, n, first_byte_ms).map(|whole| Reply::Whole(Box::new(whole))),
    });
    read.await.map_err(|error| unusable(error, &bytes, call.now_ms, mask))
}

/// A stream of which all has come.
struct AtOnce(Option<Vec<Chunk>>);

#[async_trait]
impl Chunks for AtOnce {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        Ok(self.0.take())
    }
}

impl Events for Answers {
    fn read(&mut self, data: Bytes) -> Result<Event, NotACompletion> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(Event::End);
        }
        Ok(Self::read(self, data)?.map_or(Event::Nothing, Event::Chunk))
    }
}

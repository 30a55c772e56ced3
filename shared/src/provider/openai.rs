//! Providers that speak OpenAI's formats: OpenAI, Groq, Together, OpenRouter, vLLM, Ollama and many others. Each model is
//! called in the one that the catalog names.

use super::answer::{Reading, answer};
use super::body::Body;
use super::events::{Event, Events, stream};
use super::http::{Endpoint, KeysIn};
use super::keys::ProviderKey;
use super::mask::Mask;
use super::vectors::embed;
use super::{Call, Chunk, Completion, NotACompletion, Provider, ProviderError, RefusedKey, Reply};
use crate::catalog::Api;
use crate::config::OpenAiSpec;
use crate::wire::embeddings::EMBEDDINGS;
use crate::wire::format::Spoken;
use crate::wire::openai::OpenAiChat;
use crate::wire::openai::answer::{Answers, as_stream, completion};
use crate::wire::openai::gather::gathered;
use crate::wire::responses::{self, RESPONSES};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use reqwest::Url;
use std::sync::Arc;

/// The settings cannot be used; the text is for the operator and holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnusableSettings(String);

/// Who calls, for providers that turn away what does not say so; a configured header of this name takes its place.
const USER_AGENT: &str = concat!("ai-gateway/", env!("CARGO_PKG_VERSION"));

/// A provider that speaks OpenAI's wire format.
pub struct OpenAi {
    /// Where chat completions are; the same keys and connections serve the others.
    endpoint: Endpoint,
    responses: Url,
    embeddings: Url,
    format: &'static OpenAiChat,
}

impl OpenAi {
    /// Makes the provider; nothing is dialled yet.
    ///
    /// # Errors
    /// If the address or a key cannot be sent over HTTP.
    pub fn new(spec: &OpenAiSpec, keys: &[ProviderKey], tls: rustls::ClientConfig) -> Result<Self, UnusableSettings> {
        Ok(Self {
            endpoint: endpoint(spec, "/chat/completions", keys, tls)?,
            responses: address(spec, "/responses")?,
            embeddings: address(spec, "/embeddings")?,
            format: OpenAiChat::with(spec.max_tokens_field),
        })
    }
}

/// Where a provider answers under this path, and how it is called there; nothing is dialled yet.
pub(super) fn endpoint(
    spec: &OpenAiSpec,
    path: &str,
    keys: &[ProviderKey],
    tls: rustls::ClientConfig,
) -> Result<Endpoint, UnusableSettings> {
    endpoint_at(address(spec, path)?, &spec.headers, (http::header::AUTHORIZATION, "Bearer ", keys), tls)
}

/// Where a provider answers, and how it is called there, with one of the keys in this header; nothing is dialled yet.
pub(super) fn endpoint_at(
    url: Url,
    more: &[(HeaderName, HeaderValue)],
    keys: KeysIn<'_>,
    tls: rustls::ClientConfig,
) -> Result<Endpoint, UnusableSettings> {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    // Compressed events come late, in bursts; what is compressed all the same is read.
    headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in more {
        headers.insert(name, value.clone());
    }
    Ok(Endpoint::new(url, headers, keys, tls))
}

fn address(spec: &OpenAiSpec, path: &str) -> Result<Url, UnusableSettings> {
    address_at(&spec.base_url, path)
}

/// Where a path is below an address of the configuration.
pub(super) fn address_at(base_url: &str, path: &str) -> Result<Url, UnusableSettings> {
    Url::parse(&format!("{base_url}{path}")).map_err(|e| UnusableSettings(format!("base_url: {e}")))
}

#[async_trait]
impl Provider for OpenAi {
    fn take_refused_keys(&self) -> Vec<RefusedKey> {
        self.endpoint.take_refused_keys()
    }

    fn format(&self, api: Api) -> &'static dyn Spoken {
        match api {
            Api::Responses => &RESPONSES,
            Api::Embeddings => &EMBEDDINGS,
            _ => self.format,
        }
    }

    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        if let Some(vectors) = &call.model.vectors {
            return embed(&self.endpoint, &self.embeddings, vectors, &call).await;
        }
        let body = call.body_for(self.format(call.model.api))?;
        let url = if call.model.api == Api::Responses { &self.responses } else { self.endpoint.url() };
        called(&self.endpoint, url, &call, body).await
    }
}

/// What a model answers that is called at this address.
pub(super) async fn called(
    endpoint: &Endpoint,
    url: &Url,
    call: &Call<'_>,
    request: Bytes,
) -> Result<Reply, ProviderError> {
    let (body, begun) = endpoint.post_to(url, call, request).await?;
    answer(body, begun, call, &endpoint.mask, reading(call.model.api)).await.map_err(|error| error.with_status(200))
}

/// How answers are read in the format that a model is called in, which is one of OpenAI's.
pub(super) fn reading(api: Api) -> &'static dyn Reading {
    if api == Api::Responses { &ReadingResponses } else { &ReadingChat }
}

/// How chat completions are read.
struct ReadingChat;

impl Reading for ReadingChat {
    fn stream(&self, body: Body, call: &Call<'_>, mask: &Arc<Mask>) -> Reply {
        stream(body, Box::new(Answers::of(call.request.facts.n)), call, mask)
    }

    fn whole(&self, body: Bytes, n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
        completion(body, n, first_byte_ms)
    }

    fn gathered(&self, body: Bytes, n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
        gathered(body, n, first_byte_ms)
    }

    fn as_stream(&self, body: Bytes, n: u64) -> Result<Vec<Chunk>, NotACompletion> {
        as_stream(body, n)
    }
}

impl Events for Answers {
    fn read(&mut self, data: Bytes) -> Result<Event, NotACompletion> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(Event::End);
        }
        Ok(Self::read(self, data)?.map_or(Event::Nothing, Event::Chunk))
    }

    fn may_skip(&self, data: &[u8]) -> bool {
        memmem::find(data, b"\"content\"").is_some()
    }
}

/// How Responses are read, of which there is one to a request.
struct ReadingResponses;

impl Reading for ReadingResponses {
    fn stream(&self, body: Body, call: &Call<'_>, mask: &Arc<Mask>) -> Reply {
        stream(body, Box::new(responses::answer::Answer::default()), call, mask)
    }

    fn whole(&self, body: Bytes, _n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
        responses::answer::completion(body, first_byte_ms)
    }

    fn gathered(&self, body: Bytes, _n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
        responses::answer::gathered(body, first_byte_ms)
    }

    fn as_stream(&self, body: Bytes, _n: u64) -> Result<Vec<Chunk>, NotACompletion> {
        responses::answer::as_stream(body)
    }
}

impl Events for responses::answer::Answer {
    fn read(&mut self, data: Bytes) -> Result<Event, NotACompletion> {
        // No part of the format, but some write it.
        if data.trim_ascii() == b"[DONE]" {
            return Ok(Event::End);
        }
        Self::read(self, data).map(Event::Chunk)
    }

    fn may_skip(&self, data: &[u8]) -> bool {
        memmem::find(data, b"response.output_text.delta").is_some()
    }
}

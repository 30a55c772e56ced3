//! Providers that speak OpenAI's chat format: OpenAI, Groq, Together, OpenRouter, vLLM, Ollama and many others.

use super::http::{Endpoint, Events, stream, whole};
use super::{Call, Chunk, NotACompletion, Provider, ProviderError, Reply};
use crate::apart::{ANSWERS, apart};
use crate::config::{OpenAiSpec, Secret};
use crate::receipt::AttemptOutcome;
use crate::wire::format::Format;
use crate::wire::openai::OpenAiChat;
use crate::wire::openai::answer::{Answers, completion};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use reqwest::Url;

/// The settings cannot be used; the text is for the operator and holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnusableSettings(String);

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
        let url = Url::parse(&format!("{}/chat/completions", spec.base_url))
            .map_err(|e| UnusableSettings(format!("base_url: {e}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(spec.headers.iter().cloned());
        let key = |secret: &Secret| {
            let value = HeaderValue::try_from(format!("Bearer {}", secret.expose()));
            value.map_err(|_| UnusableSettings("a key has characters that no header may have".into()))
        };
        let keys = keys.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { endpoint: Endpoint::new(url, headers, keys, tls), format: OpenAiChat::with(spec.max_tokens_field) })
    }
}

#[async_trait]
impl Provider for OpenAi {
    fn format(&self) -> &'static dyn Format {
        self.format
    }

    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let (response, begun) = self.endpoint.post(&call, call.body_for(self.format)?).await?;
        let status = response.status().as_u16();
        let answered = match call.stream {
            true => stream(response, Box::new(Answers::of(call.request.facts.n)), call.room),
            false => match whole(response, &call, begun).await {
                Ok((body, first_byte_ms)) => read(body, &call, first_byte_ms).await,
                Err(error) => Err(error),
            },
        };
        answered.map_err(|error| error.with_status(status))
    }
}

impl Events for Answers {
    fn read(&mut self, data: Bytes) -> Result<Option<Chunk>, NotACompletion> {
        if data.trim_ascii() == b"[DONE]" { Ok(None) } else { Self::read(self, data).map(Some) }
    }
}

/// Reads a whole answer.
async fn read(body: Bytes, call: &Call<'_>, first_byte_ms: f64) -> Result<Reply, ProviderError> {
    let n = call.request.facts.n;
    match apart(&ANSWERS, body.len(), move || completion(body, n, first_byte_ms)).await {
        Ok(completion) => Ok(Reply::Whole(Box::new(completion))),
        Err(NotACompletion::Error) => {
            Err(ProviderError::retryable(AttemptOutcome::HttpError, "an error object with a good status"))
        }
        Err(NotACompletion::Malformed) => {
            Err(ProviderError::retryable(AttemptOutcome::Malformed, "not a whole chat completion"))
        }
    }
}

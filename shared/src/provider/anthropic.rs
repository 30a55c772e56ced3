//! Providers that speak Anthropic's format: Anthropic itself, and those that offer it beside a format of their own.

use super::answer::{Reading, answer};
use super::body::{Body, whole};
use super::events::{Event, Events, stream};
use super::http::Endpoint;
use super::keys::ProviderKey;
use super::mask::Mask;
use super::openai::{UnusableSettings, address_at, endpoint_at};
use super::{Call, Chunk, Completion, NotACompletion, Provider, ProviderError, RefusedKey, Reply};
use crate::catalog::Api;
use crate::config::VendorSpec;
use crate::receipt::AttemptOutcome;
use crate::wire::answer::Flaw;
use crate::wire::anthropic::answer::{as_stream, completion};
use crate::wire::anthropic::events::{Message, Said};
use crate::wire::anthropic::{COUNT, MESSAGES};
use crate::wire::format::Spoken;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use reqwest::Url;
use serde::Deserialize;
use std::sync::Arc;

const KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// The version of the format, where neither client nor configuration says one.
const USUAL_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// A provider that speaks Anthropic's format.
pub struct Anthropic {
    /// Where messages are; the same keys and connections serve counts.
    endpoint: Endpoint,
    counts: Url,
    /// The features that the configuration asks for, to which a client's are added.
    betas: String,
}

impl Anthropic {
    /// Makes the provider; nothing is dialled yet.
    ///
    /// # Errors
    /// If the address or a key cannot be sent over HTTP.
    pub fn new(spec: &VendorSpec, keys: &[ProviderKey], tls: rustls::ClientConfig) -> Result<Self, UnusableSettings> {
        let mut headers = spec.headers.clone();
        let betas = with_version(&mut headers);
        // An address may say the version of the API, as those of other formats do.
        let base_url = spec.base_url.strip_suffix("/v1").unwrap_or(&spec.base_url);
        let endpoint = endpoint_at(address_at(base_url, "/v1/messages")?, &headers, (KEY, "", keys), tls)?;
        Ok(Self { endpoint, counts: address_at(base_url, "/v1/messages/count_tokens")?, betas })
    }
}

/// What of the client's headers goes along, its features after those that the configuration asks for. How its user is known
/// to Anthropic is no part of it: the key is ours.
pub(super) fn carried(call: &Call<'_>, betas: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in call.request.carried() {
        if *name != BETA.as_str() {
            headers.insert(HeaderName::from_static(name), value.clone());
            continue;
        }
        let asked = value.to_str().unwrap_or_default().split(',').map(str::trim);
        let asked = asked.filter(|beta| !beta.is_empty() && !beta.starts_with("oauth-"));
        let all: Vec<&str> = Some(betas).filter(|ours| !ours.is_empty()).into_iter().chain(asked).collect();
        headers.extend(HeaderValue::try_from(all.join(",")).ok().filter(|all| !all.is_empty()).map(|all| (BETA, all)));
    }
    headers
}

/// Says the version of the format, unless the configuration does; answers the features that it asks for.
pub(super) fn with_version(headers: &mut Vec<(HeaderName, HeaderValue)>) -> String {
    if !headers.iter().any(|(name, _)| *name == VERSION) {
        headers.push((VERSION, USUAL_VERSION));
    }
    let betas = headers.iter().find(|(name, _)| *name == BETA).and_then(|(_, value)| value.to_str().ok());
    betas.unwrap_or_default().to_owned()
}

#[async_trait]
impl Provider for Anthropic {
    fn take_refused_keys(&self) -> Vec<RefusedKey> {
        self.endpoint.take_refused_keys()
    }

    fn format(&self, _api: Api) -> &'static dyn Spoken {
        &MESSAGES
    }

    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let body = call.body_for(&MESSAGES)?;
        let (body, begun) =
            self.endpoint.post_with(self.endpoint.url(), &call, &carried(&call, &self.betas), body).await?;
        let answered = answer(body, begun, &call, &self.endpoint.mask, &ReadingMessages).await;
        answered.map_err(|error| error.with_status(200))
    }

    async fn count_tokens(&self, call: Call<'_>) -> Option<Result<u64, ProviderError>> {
        #[derive(Deserialize)]
        struct Counted {
            input_tokens: u64,
        }
        let counted = async {
            let body = call.body_for(&COUNT)?;
            let (body, _) = self.endpoint.post_with(&self.counts, &call, &carried(&call, &self.betas), body).await?;
            let malformed = |_| ProviderError::retryable(AttemptOutcome::Malformed, "no number of tokens");
            serde_json::from_slice(&whole(body, &call).await?).map_err(malformed)
        };
        Some(counted.await.map(|Counted { input_tokens }| input_tokens))
    }
}

/// How messages are read, of which there is one to a request.
pub(super) struct ReadingMessages;

impl Reading for ReadingMessages {
    fn stream(&self, body: Body, call: &Call<'_>, mask: &Arc<Mask>) -> Reply {
        stream(body, Box::new(Message::default()), call, mask)
    }

    fn whole(&self, body: Bytes, _n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
        completion(body, first_byte_ms)
    }

    fn gathered(&self, _body: Bytes, _n: u64, _first_byte_ms: f64) -> Result<Completion, NotACompletion> {
        Err(Flaw::Malformed.into())
    }

    fn as_stream(&self, body: Bytes, _n: u64) -> Result<Vec<Chunk>, NotACompletion> {
        as_stream(body)
    }
}

impl Events for Message {
    fn read(&mut self, data: Bytes) -> Result<Event, NotACompletion> {
        match Self::read(self, data)? {
            Said::Chunk(chunk) => Ok(Event::Chunk(chunk)),
            Said::Last(Some(chunk)) => Ok(Event::Last(chunk)),
            // It does not say why it ended.
            Said::Last(None) => Err(Flaw::Unfinished.into()),
            Said::Nothing => Ok(Event::Nothing),
        }
    }

    fn may_skip(&self, data: &[u8]) -> bool {
        memmem::find(data, b"text_delta").is_some()
    }
}

//! Google's Gemini models, called in its own format: the model and the kind of answer stand in the address.

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
use crate::wire::format::Spoken;
use crate::wire::gemini::GEMINI;
use crate::wire::gemini::answer::{Answers, as_stream, completion, gathered};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderName;
use memchr::memmem;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

const KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Google, or who serves its models under another address.
pub struct Gemini {
    /// Where the models are.
    endpoint: Endpoint,
}

impl Gemini {
    /// Makes the provider; nothing is dialled yet.
    ///
    /// # Errors
    /// If the address or a key cannot be sent over HTTP.
    pub fn new(spec: &VendorSpec, keys: &[ProviderKey], tls: rustls::ClientConfig) -> Result<Self, UnusableSettings> {
        let endpoint = endpoint_at(address_at(&spec.base_url, "/models")?, &spec.headers, (KEY, "", keys), tls)?;
        Ok(Self { endpoint })
    }

    /// Where this model does that.
    fn address(&self, model: &str, method: Method) -> Result<Url, ProviderError> {
        let mut url = self.endpoint.url().clone();
        let no_address = |()| ProviderError::retryable(AttemptOutcome::Reset, "no address");
        let method_name = match method {
            Method::Generate => "generateContent",
            Method::Stream => "streamGenerateContent",
            Method::Count => "countTokens",
        };
        // A name with a slash is one segment too, so that it leads nowhere else.
        url.path_segments_mut().map_err(no_address)?.push(&format!("{}:{method_name}", plain(model)));
        url.set_query((method == Method::Stream).then_some("alt=sse"));
        Ok(url)
    }
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    Generate,
    Stream,
    Count,
}

/// A model's name without what stands before all of them.
fn plain(model: &str) -> &str {
    model.strip_prefix("models/").unwrap_or(model)
}

/// A request for content as what is to be counted, which names its model once more.
fn to_count(model: &str, request: &[u8]) -> Bytes {
    let model = Value::from(format!("models/{}", plain(model)));
    let head = format!("{{\"generateContentRequest\":{{\"model\":{model},");
    [head.as_bytes(), request.strip_prefix(b"{").unwrap_or_default(), b"}"].concat().into()
}

#[async_trait]
impl Provider for Gemini {
    fn take_refused_keys(&self) -> Vec<RefusedKey> {
        self.endpoint.take_refused_keys()
    }

    fn format(&self, _api: Api) -> &'static dyn Spoken {
        &GEMINI
    }

    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let body = call.body_for(&GEMINI)?;
        let method = if call.stream { Method::Stream } else { Method::Generate };
        let url = self.address(&call.model.provider_model, method)?;
        let (body, begun) = self.endpoint.post_to(&url, &call, body).await?;
        let answered = answer(body, begun, &call, &self.endpoint.mask, &ReadingContent).await;
        answered.map_err(|error| error.with_status(200))
    }

    async fn count_tokens(&self, call: Call<'_>) -> Option<Result<u64, ProviderError>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Counted {
            total_tokens: u64,
        }
        let counted = async {
            let model = &call.model.provider_model;
            let body = to_count(model, &call.body_for(&GEMINI)?);
            let (body, _) = self.endpoint.post_to(&self.address(model, Method::Count)?, &call, body).await?;
            let malformed = |_| ProviderError::retryable(AttemptOutcome::Malformed, "no number of tokens");
            serde_json::from_slice(&whole(body, &call).await?).map_err(malformed)
        };
        Some(counted.await.map(|Counted { total_tokens }| total_tokens))
    }
}

/// How generated content is read.
struct ReadingContent;

impl Reading for ReadingContent {
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
        Ok(Self::read(self, data)?.map_or(Event::Nothing, Event::Chunk))
    }

    fn may_skip(&self, data: &[u8]) -> bool {
        memmem::find(data, b"\"text\"").is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tls::client_config;

    #[test]
    fn a_model_is_one_segment_of_its_address_whatever_its_name() {
        let base_url = "http://127.0.0.1:1/v1beta".to_owned();
        let spec = VendorSpec { base_url, api_keys: Vec::new(), headers: Vec::new() };
        let gemini = Gemini::new(&spec, &[], client_config().unwrap()).unwrap();
        for (model, method, path) in [
            ("gemini-3.8-flash", Method::Count, "/gemini-3.8-flash:countTokens"),
            ("gemini-3.8-flash", Method::Generate, "/gemini-3.8-flash:generateContent"),
            ("gemini-3.8-flash", Method::Stream, "/gemini-3.8-flash:streamGenerateContent?alt=sse"),
            ("models/gemini-3.8-flash", Method::Generate, "/gemini-3.8-flash:generateContent"),
            ("../../x?key=1#y", Method::Generate, "/..%2F..%2Fx%3Fkey=1%23y:generateContent"),
            ("a b\u{e9}%2f", Method::Generate, "/a%20b%C3%A9%252f:generateContent"),
        ] {
            let expected = format!("{}/models{path}", spec.base_url);
            assert_eq!(gemini.address(model, method).unwrap().as_str(), expected);
        }
    }
}

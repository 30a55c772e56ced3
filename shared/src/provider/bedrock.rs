//! Amazon Bedrock: four formats behind one address, with a key or with the signature of a role.
//!
//! Models are called in OpenAI's formats or Anthropic's where Bedrock has these for them, and the bytes pass; all the rest
//! converse (ADR 39). To converse, a model's name stands in the path, as one segment however many slashes and colons it has;
//! it is encoded here, for what is signed is what is sent.

use super::answer::{Reading, answer};
use super::anthropic::{ReadingMessages, carried, with_version};
use super::body::Body;
use super::events::stream_of;
use super::frames::Frames;
use super::http::Endpoint;
use super::keys::ProviderKey;
use super::mask::Mask;
use super::openai::{UnusableSettings, address_at, endpoint_at, reading};
use super::sign::Sign;
use super::skips::Skips;
use super::{Call, Chunk, Completion, NotACompletion, Provider, ProviderError, RefusedKey, Reply};
use crate::catalog::Api;
use crate::config::BedrockSpec;
use crate::receipt::AttemptOutcome;
use crate::wire::answer::Flaw;
use crate::wire::anthropic::MESSAGES;
use crate::wire::converse::CONVERSE;
use crate::wire::converse::answer::{as_stream, completion};
use crate::wire::format::Spoken;
use crate::wire::openai::{MaxTokensField, OpenAiChat};
use crate::wire::responses::RESPONSES;
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use reqwest::Url;
use std::fmt::Write as _;
use std::sync::Arc;

/// Bedrock in one region.
pub struct Bedrock {
    endpoint: Endpoint,
    messages: Url,
    chat: Url,
    responses: Url,
    /// Below which each model has an address of its own.
    models: String,
    /// The features of Anthropic's that the configuration asks for.
    betas: String,
}

impl Bedrock {
    /// Makes the provider; nothing is dialled yet. Without keys everything is signed.
    ///
    /// # Errors
    /// If the address or a key cannot be sent over HTTP.
    pub fn new(
        spec: &BedrockSpec,
        keys: &[ProviderKey],
        signer: Option<Arc<dyn Sign>>,
        tls: rustls::ClientConfig,
    ) -> Result<Self, UnusableSettings> {
        let mut headers = spec.headers.clone();
        let betas = with_version(&mut headers);
        let at = |path| address_at(&spec.base_url, path);
        let endpoint = endpoint_at(at("/")?, &headers, (AUTHORIZATION, "Bearer ", keys), tls)?.signed_by(signer);
        Ok(Self {
            endpoint,
            messages: at("/anthropic/v1/messages")?,
            chat: at("/openai/v1/chat/completions")?,
            responses: at("/openai/v1/responses")?,
            models: format!("{}/model/", spec.base_url),
            betas,
        })
    }

    /// Where a model is called, and how its answers are read.
    fn how(&self, call: &Call<'_>) -> Result<(Url, &'static dyn Reading), ProviderError> {
        Ok(match call.model.api {
            Api::Messages => (self.messages.clone(), &ReadingMessages),
            Api::Chat => (self.chat.clone(), reading(Api::Chat)),
            Api::Responses => (self.responses.clone(), reading(Api::Responses)),
            // The configuration lets no model be called otherwise.
            Api::Converse | Api::GenerateContent | Api::Embeddings => {
                let operation = if call.stream { "converse-stream" } else { "converse" };
                let url = format!("{}{}/{operation}", self.models, encoded(&call.model.provider_model));
                let no_address = |_| ProviderError::retryable(AttemptOutcome::HttpError, "no address of this model");
                (Url::parse(&url).map_err(no_address)?, &ReadingConverse)
            }
        })
    }
}

/// A text as one segment of a path: all but what no reader of addresses understands otherwise is encoded.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            // A text takes whatever is written.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
        encoded
    })
}

#[async_trait]
impl Provider for Bedrock {
    fn take_refused_keys(&self) -> Vec<RefusedKey> {
        self.endpoint.take_refused_keys()
    }

    fn format(&self, api: Api) -> &'static dyn Spoken {
        match api {
            Api::Messages => &MESSAGES,
            Api::Chat => OpenAiChat::with(MaxTokensField::MaxCompletionTokens),
            Api::Responses => &RESPONSES,
            Api::Converse | Api::GenerateContent | Api::Embeddings => &CONVERSE,
        }
    }

    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let request = call.body_for(self.format(call.model.api))?;
        let (url, reading) = self.how(&call)?;
        let more = if call.model.api == Api::Messages { carried(&call, &self.betas) } else { HeaderMap::new() };
        let (body, begun) = self.endpoint.post_with(&url, &call, &more, request).await?;
        answer(body, begun, &call, &self.endpoint.mask, reading).await.map_err(|error| error.with_status(200))
    }
}

/// How conversations are read, of which there is one to a request.
struct ReadingConverse;

impl Reading for ReadingConverse {
    fn stream(&self, body: Body, call: &Call<'_>, mask: &Arc<Mask>) -> Reply {
        stream_of(body, Box::new(Frames::new(Skips::of(call), call.now_ms, mask.clone())), call)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_is_one_segment_that_no_reader_of_addresses_changes() {
        for (name, segment) in [
            ("amazon.nova-pro-v1:0", "amazon.nova-pro-v1%3A0"),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0",
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0",
            ),
            ("../../x?y#z é", "..%2F..%2Fx%3Fy%23z%20%C3%A9"),
        ] {
            assert_eq!(encoded(name), segment);
            let url = Url::parse(&format!("https://h/model/{segment}/converse")).map(|url| url.path().to_owned());
            assert_eq!(url.ok(), Some(format!("/model/{segment}/converse")));
        }
    }
}

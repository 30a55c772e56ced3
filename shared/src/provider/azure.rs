//! Azure OpenAI: OpenAI's formats behind Azure's addresses, keys and names. A model is called by the name of its deployment.
//!
//! The addresses of today have no version and take the deployment's name as the model's. Those of before have the
//! deployment in the path of chat completions, and a version behind every path. What Azure adds to answers (verdicts of its
//! filters, in frames without choices and beside them) is read where OpenAI's answers are.

use super::http::Endpoint;
use super::keys::ProviderKey;
use super::openai::{UnusableSettings, address_at, called, endpoint_at};
use super::{Call, Provider, ProviderError, RefusedKey, Reply};
use crate::catalog::Api;
use crate::config::AzureSpec;
use crate::wire::format::Spoken;
use crate::wire::openai::OpenAiChat;
use crate::wire::responses::RESPONSES;
use async_trait::async_trait;
use http::HeaderName;
use reqwest::Url;

const KEY: HeaderName = HeaderName::from_static("api-key");

/// A resource of Azure OpenAI.
pub struct Azure {
    /// Where Responses are; the same keys and connections serve chat completions.
    endpoint: Endpoint,
    chat: ChatAt,
    format: &'static OpenAiChat,
}

/// Where chat completions are.
enum ChatAt {
    /// At one address.
    One(Url),
    /// Each deployment at its own, below this address.
    Deployments(Url),
}

impl Azure {
    /// Makes the provider; nothing is dialled yet.
    ///
    /// # Errors
    /// If the address or a key cannot be sent over HTTP.
    pub fn new(spec: &AzureSpec, keys: &[ProviderKey], tls: rustls::ClientConfig) -> Result<Self, UnusableSettings> {
        let (responses, chat) = match &spec.api_version {
            None => {
                let at = |path| address_at(&spec.base_url, path);
                (at("/openai/v1/responses")?, ChatAt::One(at("/openai/v1/chat/completions")?))
            }
            Some(version) => {
                let at = |path: &str| address_at(&spec.base_url, &format!("{path}?api-version={version}"));
                (at("/openai/responses")?, ChatAt::Deployments(at("/openai/deployments")?))
            }
        };
        let endpoint = endpoint_at(responses, &spec.headers, (KEY, "", keys), tls)?;
        Ok(Self { endpoint, chat, format: OpenAiChat::with(spec.max_tokens_field) })
    }

    /// Where a model is called.
    fn address(&self, call: &Call<'_>) -> Url {
        match &self.chat {
            _ if call.model.api == Api::Responses => self.endpoint.url().clone(),
            ChatAt::One(url) => url.clone(),
            ChatAt::Deployments(url) => {
                let mut url = url.clone();
                // An address of HTTP has segments; what stands in one is encoded.
                if let Ok(mut path) = url.path_segments_mut() {
                    path.extend([&*call.model.provider_model, "chat", "completions"]);
                }
                url
            }
        }
    }
}

#[async_trait]
impl Provider for Azure {
    fn take_refused_keys(&self) -> Vec<RefusedKey> {
        self.endpoint.take_refused_keys()
    }

    fn format(&self, api: Api) -> &'static dyn Spoken {
        match api {
            Api::Responses => &RESPONSES,
            _ => self.format,
        }
    }

    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let body = call.body_for(self.format(call.model.api))?;
        called(&self.endpoint, &self.address(&call), &call, body).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_deployment_is_one_segment_of_the_old_addresses_and_none_of_the_new() {
        let spec = |api_version: Option<&str>| AzureSpec {
            base_url: "https://acme.openai.azure.com".to_owned(),
            api_keys: Vec::new(),
            api_version: api_version.map(Into::into),
            max_tokens_field: crate::wire::openai::MaxTokensField::MaxCompletionTokens,
            headers: Vec::new(),
        };
        let rows = [
            (None, "https://acme.openai.azure.com/openai/v1/chat/completions", "/openai/v1/responses"),
            (
                Some("2024-10-21"),
                "https://acme.openai.azure.com/openai/deployments?api-version=2024-10-21",
                "/openai/responses?api-version=2024-10-21",
            ),
        ];
        for (version, chat, responses) in rows {
            let azure = Azure::new(&spec(version), &[], crate::tls::client_config().unwrap()).unwrap();
            let (ChatAt::One(url) | ChatAt::Deployments(url)) = &azure.chat;
            assert_eq!(url.as_str(), chat);
            assert!(azure.endpoint.url().as_str().ends_with(responses));
        }
    }
}

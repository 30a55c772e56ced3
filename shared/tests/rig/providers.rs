//! The providers of a scene, each called as its kind is.

use super::OUR_KEY;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use gateway_core::aws::Signer;
use gateway_core::config::{ApiKey, Config, EmbedderSettings, ProviderKind, Secret};
use gateway_core::gateway::builder::Builder;
use gateway_core::provider::Provider;
use gateway_core::provider::anthropic::Anthropic;
use gateway_core::provider::azure::Azure;
use gateway_core::provider::bedrock::Bedrock;
use gateway_core::provider::embeddings::RemoteEmbedder;
use gateway_core::provider::gemini::Gemini;
use gateway_core::provider::keys::{ProviderKey, SecretSource};
use gateway_core::provider::openai::OpenAi;
use gateway_core::provider::sign::Sign;
use gateway_core::tls::client_config;
use std::sync::Arc;
use upstream_double::KNOWN_KEY;

/// Credentials of the account that the double knows, with this secret.
pub fn credentials(secret: &str) -> SharedCredentialsProvider {
    let token = Some("token of a session".to_owned());
    SharedCredentialsProvider::new(Credentials::new(KNOWN_KEY.0, secret, token, None, "rig"))
}

/// A gateway's providers, and what embeds; these credentials sign what goes to Bedrock without a key.
pub fn served(
    builder: Builder,
    config: &Config,
    credentials: &SharedCredentialsProvider,
    secrets: Option<&Arc<dyn SecretSource>>,
) -> Builder {
    let ours: [ProviderKey; 1] = [Secret::new(OUR_KEY).unwrap().into()];
    let tls = || client_config().unwrap();
    config.providers.iter().fold(builder, |mut builder, provider| {
        let served: Arc<dyn Provider> = match &provider.kind {
            ProviderKind::Simulated => return builder,
            ProviderKind::Anthropic(spec) => Arc::new(Anthropic::new(spec, &ours, tls()).unwrap()),
            ProviderKind::Azure(spec) => Arc::new(Azure::new(spec, &ours, tls()).unwrap()),
            ProviderKind::Gemini(spec) => Arc::new(Gemini::new(spec, &ours, tls()).unwrap()),
            ProviderKind::Bedrock(spec) => {
                let keys: Vec<ProviderKey> = spec.api_keys.iter().map(|_| ours[0].clone()).collect();
                let signer = Signer::with(credentials.clone(), &spec.region, spec.service());
                let signer = keys.is_empty().then(|| Arc::new(signer) as Arc<dyn Sign>);
                Arc::new(Bedrock::new(spec, &keys, signer, tls()).unwrap())
            }
            ProviderKind::OpenAi(spec) => {
                let key = |key: &ApiKey| match key {
                    ApiKey::Known(secret) => secret.clone().into(),
                    ApiKey::Pending(reference) => ProviderKey::Kept(reference.clone(), secrets.unwrap().clone()),
                };
                let keys: Vec<_> = spec.api_keys.iter().map(key).collect();
                let of_provider = |settings: &EmbedderSettings| settings.model.provider == provider.name;
                if let Some(settings) = config.embedder.clone().filter(of_provider) {
                    builder = builder.embedder(Arc::new(RemoteEmbedder::new(spec, &keys, tls(), settings).unwrap()));
                }
                Arc::new(OpenAi::new(spec, &keys, tls()).unwrap())
            }
        };
        builder.provider(&provider.name, served)
    })
}

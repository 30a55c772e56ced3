//! What of a configuration changes what is answered, as a hash: the configuration's part of a remembered answer's key (T1).
//!
//! Which model answers, where it is served, and which answer is good enough. Prices, keys, limits, time-outs, retries and
//! the sizes of things change no answer, and leave what is remembered where it is.

use super::{AzureSpec, BedrockSpec, Config, EmbedderSettings, OpenAiSpec, ProviderKind, VendorSpec};
use crate::catalog::Model;
use sha2::{Digest, Sha256};

/// The hash.
pub(super) fn fingerprint(config: &Config) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    for provider in &config.providers {
        add(&provider.name);
        match &provider.kind {
            ProviderKind::Simulated => add("simulated"),
            ProviderKind::OpenAi(OpenAiSpec { base_url, headers, api_keys: _, max_tokens_field: _ })
            | ProviderKind::Anthropic(VendorSpec { base_url, headers, api_keys: _ })
            | ProviderKind::Gemini(VendorSpec { base_url, headers, api_keys: _ })
            | ProviderKind::Bedrock(BedrockSpec { base_url, headers, region: _, api_keys: _ })
            | ProviderKind::Azure(AzureSpec { base_url, headers, api_keys: _, api_version: _, max_tokens_field: _ }) => {
                add(base_url);
                headers.iter().for_each(|(name, value)| add(&format!("{name}: {:?}", value.as_bytes())));
            }
        }
    }
    for model in &config.catalog.models {
        let Model { name, provider, provider_model, api, capabilities, vectors, context_tokens, .. } = &**model;
        add(&format!("{name:?} {provider:?} {provider_model:?} {api:?} {capabilities:?} {vectors:?} {context_tokens}"));
        add(&format!("{} {}", model.max_output_tokens, model.default_max_output_tokens));
    }
    for tier in &config.catalog.tiers {
        let models: Vec<_> = tier.models.iter().map(|model| &model.name).collect();
        add(&format!("{:?} {models:?}", tier.name));
    }
    add(&format!("{:?}", config.catalog.aliases));
    add(&format!("{:?}", config.intents));
    add(&format!("{:?}", config.upgrade));
    let intent = &config.intent;
    add(&format!("{} {:?} {:?}", intent.ask_below, intent.classifier_tier, intent.default_intent));
    add(&format!("{:?}", intent.fitted));
    if let Some(EmbedderSettings { model, dimensions, timeout_ms: _, batch_texts: _ }) = &config.embedder {
        add(&format!("{:?} {:?} {dimensions}", model.provider, model.provider_model));
    }
    hash.finalize().into()
}

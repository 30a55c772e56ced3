//! `[providers.*]`: where models are served, and with which keys.
//!
//! Addresses, keys and extra headers come from here and from nowhere else (T4). A key is a reference, never the key
//! itself (T3), so what would carry one another way (user information in an address, an `authorization` header) is
//! refused as well.

mod azure;
mod bedrock;
mod reach;

pub use azure::AzureSpec;
pub use bedrock::BedrockSpec;
pub use reach::ApiKey;

use super::names::check_name;
use super::reader::{Section, Word};
use crate::catalog::Api;
use crate::wire::openai::MaxTokensField;
use http::{HeaderName, HeaderValue};
pub(super) use reach::secret;
use reach::{Unserved, api_keys, base_url, headers, max_tokens_field, when_missing_key};
use std::sync::Arc;

/// The name of the simulated provider where the file has no table for it.
pub(super) const SIMULATED: &str = "sim";

/// Where models are served.
#[derive(Debug, Clone)]
pub struct ProviderSpec {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The wire format that it speaks, and how it is reached.
    pub kind: ProviderKind,
    /// Whether its models leave the tiers as soon as another provider can serve.
    pub standby: bool,
}

/// The wire formats.
#[derive(Debug, Clone)]
pub enum ProviderKind {
    /// OpenAI's, which many providers speak.
    OpenAi(OpenAiSpec),
    /// Anthropic's messages.
    Anthropic(VendorSpec),
    /// Google's generateContent.
    Gemini(VendorSpec),
    /// OpenAI's, as Azure serves it.
    Azure(AzureSpec),
    /// Bedrock's own, and others'.
    Bedrock(BedrockSpec),
    /// The provider inside this process.
    Simulated,
}

impl ProviderKind {
    /// Its address; none of one inside this process.
    #[must_use]
    pub fn base_url(&self) -> Option<&str> {
        match self {
            Self::OpenAi(spec) => Some(&spec.base_url),
            Self::Anthropic(spec) | Self::Gemini(spec) => Some(&spec.base_url),
            Self::Azure(spec) => Some(&spec.base_url),
            Self::Bedrock(spec) => Some(&spec.base_url),
            Self::Simulated => None,
        }
    }

    /// Its keys, used in turn.
    #[must_use]
    pub fn api_keys(&self) -> &[ApiKey] {
        match self {
            Self::OpenAi(spec) => &spec.api_keys,
            Self::Anthropic(spec) | Self::Gemini(spec) => &spec.api_keys,
            Self::Azure(spec) => &spec.api_keys,
            Self::Bedrock(spec) => &spec.api_keys,
            Self::Simulated => &[],
        }
    }

    /// How its models can be called; the first is the usual one.
    pub(super) fn apis(&self) -> &'static [Api] {
        match self {
            Self::OpenAi(_) => &[Api::Chat, Api::Responses, Api::Embeddings],
            Self::Azure(_) => &[Api::Chat, Api::Responses],
            Self::Simulated => &[Api::Chat],
            Self::Anthropic(_) => &[Api::Messages],
            Self::Gemini(_) => &[Api::GenerateContent],
            Self::Bedrock(_) => &[Api::Converse, Api::Messages, Api::Chat, Api::Responses],
        }
    }
}

/// How a provider that speaks OpenAI's wire format is reached.
#[derive(Debug, Clone)]
pub struct OpenAiSpec {
    /// Its address, without a slash at the end: `https://api.groq.com/openai/v1`.
    pub base_url: String,
    /// Its keys, used in turn; none for a server that asks for none.
    pub api_keys: Vec<ApiKey>,
    /// What it calls the bound on the answer's tokens.
    pub max_tokens_field: MaxTokensField,
    /// Headers that go with every call. Marked sensitive, so that no log shows their values.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// How a provider is reached that speaks the format of one vendor.
#[derive(Debug, Clone)]
pub struct VendorSpec {
    /// Its address, without a slash at the end: `https://api.anthropic.com`. The vendor's own unless the file says another.
    pub base_url: String,
    /// Its keys, used in turn; none for a server that asks for none.
    pub api_keys: Vec<ApiKey>,
    /// Headers that go with every call. Marked sensitive, so that no log shows their values.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A table of `[providers.*]` in the light of the environment.
#[derive(Debug)]
pub(super) enum Availability {
    /// It can serve.
    Serves(ProviderSpec),
    /// It has no key and says `when_missing_key = "skip"`; why, for the operator.
    Skipped(String),
    /// It has a problem, which is reported.
    Broken,
}

/// Reads `[providers.*]` in the order of the file.
pub(super) fn read(root: &mut Section<'_, '_>, env: &dyn Fn(&str) -> Option<String>) -> Vec<(String, Availability)> {
    root.table("providers", |providers| {
        let mut simulated: Option<String> = None;
        let mut read = Vec::new();
        for name in providers.keys() {
            check_name(providers.problems, &name);
            let availability = providers.table(&name.text, |section| provider(section, &name, env));
            if let Availability::Serves(ProviderSpec { kind: ProviderKind::Simulated, .. }) = &availability {
                if let Some(first) = simulated.replace(name.text.clone()) {
                    let message = format!("only one provider can be simulated, and {first:?} is");
                    providers.problems.add(&name.place, message);
                }
            } else if name.text == SIMULATED {
                providers.problems.add(&name.place, "this name belongs to the simulated provider");
            }
            read.push((name.text, availability));
        }
        read
    })
}

fn provider(section: &mut Section<'_, '_>, name: &Word, env: &dyn Fn(&str) -> Option<String>) -> Availability {
    let kind = match section.required_word("kind") {
        Some(kind) if kind.text == "openai" => openai(section, &name.text, env),
        Some(kind) if kind.text == "anthropic" => {
            vendor(section, &name.text, env, ANTHROPIC_URL).map(ProviderKind::Anthropic)
        }
        Some(kind) if kind.text == "gemini" => vendor(section, &name.text, env, GEMINI_URL).map(ProviderKind::Gemini),
        Some(kind) if kind.text == "azure" => azure::read(section, &name.text, env).map(ProviderKind::Azure),
        Some(kind) if kind.text == "bedrock" => bedrock::read(section, &name.text, env).map(ProviderKind::Bedrock),
        Some(kind) if kind.text == "simulated" => Ok(ProviderKind::Simulated),
        kind => {
            if let Some(kind) = kind {
                let must = "must be \"openai\", \"anthropic\", \"gemini\", \"azure\", \"bedrock\" or \"simulated\"";
                section.problems.add(&kind.place, must);
            }
            section.ignore_rest();
            return Availability::Broken;
        }
    };
    let standby = section.flag("standby", false);
    match kind {
        Ok(kind) => Availability::Serves(ProviderSpec { name: name.text.as_str().into(), kind, standby }),
        Err(Unserved::Skipped(why)) => Availability::Skipped(why),
        Err(Unserved::Broken) => Availability::Broken,
    }
}

fn openai(
    section: &mut Section<'_, '_>,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<ProviderKind, Unserved> {
    let base_url = section.required_word("base_url").and_then(|word| base_url(section, &word));
    let when_missing = when_missing_key(section);
    let max_tokens_field = max_tokens_field(section, MaxTokensField::MaxTokens);
    let headers = section.table("headers", headers);
    let api_keys = api_keys(section, when_missing, env);
    match (base_url, api_keys) {
        (_, Err(missing)) => Err(Unserved::without(name, &missing)),
        (None, Ok(_)) => Err(Unserved::Broken),
        (Some(base_url), Ok(api_keys)) => {
            Ok(ProviderKind::OpenAi(OpenAiSpec { base_url, api_keys, max_tokens_field, headers }))
        }
    }
}

/// Where Anthropic itself serves its models.
const ANTHROPIC_URL: &str = "https://api.anthropic.com";
/// Where Google does.
const GEMINI_URL: &str = "https://generativelanguage.googleapis.com/v1beta";

fn vendor(
    section: &mut Section<'_, '_>,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    usual_url: &str,
) -> Result<VendorSpec, Unserved> {
    let base_url = match section.word("base_url") {
        Some(word) => base_url(section, &word),
        None => Some(usual_url.to_owned()),
    };
    let when_missing = when_missing_key(section);
    let headers = section.table("headers", headers);
    let api_keys = api_keys(section, when_missing, env);
    match (base_url, api_keys) {
        (_, Err(missing)) => Err(Unserved::without(name, &missing)),
        (None, Ok(_)) => Err(Unserved::Broken),
        (Some(base_url), Ok(api_keys)) => Ok(VendorSpec { base_url, api_keys, headers }),
    }
}

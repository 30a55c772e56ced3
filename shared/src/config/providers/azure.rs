//! `kind = "azure"`: OpenAI's formats, as Azure serves them under the names of deployments.

use super::reach::{ApiKey, Unserved, api_keys, base_url, headers, max_tokens_field, when_missing_key};
use crate::config::reader::Section;
use crate::wire::openai::MaxTokensField;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;

/// How a resource of Azure OpenAI is reached.
#[derive(Debug, Clone)]
pub struct AzureSpec {
    /// Its address, without a path of Azure's and without a slash at the end: `https://acme.openai.azure.com`.
    pub base_url: String,
    /// Its keys, used in turn.
    pub api_keys: Vec<ApiKey>,
    /// The version of the old addresses, which have a deployment's name in them; without one the addresses are the new
    /// ones, which have neither.
    pub api_version: Option<Arc<str>>,
    /// What it calls the bound on the answer's tokens.
    pub max_tokens_field: MaxTokensField,
    /// Headers that go with every call. Marked sensitive, so that no log shows their values.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Reads the table of such a provider.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<AzureSpec, Unserved> {
    let base_url = resource(section);
    let api_version = version(section);
    let when_missing = when_missing_key(section);
    let max_tokens_field = max_tokens_field(section, MaxTokensField::MaxCompletionTokens);
    let headers = section.table("headers", headers);
    match (base_url, api_keys(section, when_missing, env)) {
        (_, Err(missing)) => Err(Unserved::without(name, &missing)),
        (None, Ok(_)) => Err(Unserved::Broken),
        (Some(base_url), Ok(api_keys)) => Ok(AzureSpec { base_url, api_keys, api_version, max_tokens_field, headers }),
    }
}

/// The address: that of a `resource`, or a `base_url` of another cloud or network. People copy it with the path that the
/// portal shows.
fn resource(section: &mut Section<'_, '_>) -> Option<String> {
    let (resource, address) = (section.word("resource"), section.word("base_url"));
    match (resource, address) {
        (Some(resource), None) => {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            let is_name = !resource.text.is_empty() && resource.text.bytes().all(fits);
            if !is_name {
                section.problems.add(&resource.place, "must be a resource's name: letters, digits and hyphens");
            }
            is_name.then(|| format!("https://{}.openai.azure.com", resource.text))
        }
        (None, Some(address)) => {
            let url = base_url(section, &address)?;
            let url = url.strip_suffix("/v1").unwrap_or(&url);
            Some(url.strip_suffix("/openai").unwrap_or(url).to_owned())
        }
        (Some(resource), Some(_)) => {
            section.problems.add(&resource.place, "cannot stand beside base_url");
            None
        }
        (None, None) => {
            section.problems.add(&section.place, "needs a resource, or a base_url");
            None
        }
    }
}

/// The version, which stands in addresses. `v1` and `preview` are words for the new ones, where none is needed.
fn version(section: &mut Section<'_, '_>) -> Option<Arc<str>> {
    let version = section.word("api_version")?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !version.text.starts_with("20") || !version.text.bytes().all(fits) {
        let must = "must be a date such as \"2024-10-21\" or \"2025-04-01-preview\"; leave it out for the v1 addresses";
        section.problems.add(&version.place, must);
    }
    Some(version.text.into())
}

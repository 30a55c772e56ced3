//! `kind = "bedrock"`: Amazon Bedrock in one region.

use super::reach::{ApiKey, Unserved, WhenMissingKey, api_keys, base_url, headers, when_missing_key};
use crate::config::reader::Section;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;

/// With this set to `yes`, what has no key is signed: by a stack's functions, whose role may call models.
const ROLE: &str = "GATEWAY_BEDROCK_ROLE";

/// How Bedrock is reached.
#[derive(Debug, Clone)]
pub struct BedrockSpec {
    /// The region that requests are signed for.
    pub region: Arc<str>,
    /// Its address, without a slash at the end: `https://bedrock-runtime.us-east-1.amazonaws.com`.
    pub base_url: String,
    /// Its keys, used in turn; without any, what is sent is signed with the credentials that AWS's tools find.
    pub api_keys: Vec<ApiKey>,
    /// Headers that go with every call. Marked sensitive, so that no log shows their values.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl BedrockSpec {
    /// The service that requests are signed for, which the address says.
    #[must_use]
    pub fn service(&self) -> &'static str {
        let is_mantle = self.base_url.starts_with("https://bedrock-mantle.");
        if is_mantle { "bedrock-mantle" } else { "bedrock" }
    }
}

/// Reads the table of such a provider.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<BedrockSpec, Unserved> {
    let region = region(section, env);
    let address = section.word("base_url").map(|word| base_url(section, &word));
    let when_missing = when_missing_key(section);
    let headers = section.table("headers", headers);
    let api_keys = match api_keys(section, when_missing, env) {
        Err(_) if env(ROLE).is_some_and(|value| value == "yes") => Vec::new(),
        read => read.map_err(|missing| Unserved::without(name, &missing))?,
    };
    let Some(region) = region else {
        if when_missing == WhenMissingKey::Skip {
            return Err(Unserved::without(name, "AWS_REGION"));
        }
        section.problems.add(&section.place, "needs a region, for AWS_REGION is not set");
        return Err(Unserved::Broken);
    };
    let base_url = address
        .unwrap_or_else(|| Some(format!("https://bedrock-runtime.{region}.amazonaws.com")))
        .ok_or(Unserved::Broken)?;
    Ok(BedrockSpec { region, base_url, api_keys, headers })
}

/// The region: the one that the file names, or the one in which this runs.
fn region(section: &mut Section<'_, '_>, env: &dyn Fn(&str) -> Option<String>) -> Option<Arc<str>> {
    let is_name = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !text.is_empty() && text.bytes().all(fits)
    };
    match section.word("region") {
        Some(word) => {
            if !is_name(&word.text) {
                section.problems.add(&word.place, "must be a region such as \"us-east-1\"");
            }
            Some(word.text.into())
        }
        None => ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .into_iter()
            .find_map(env)
            .filter(|region| is_name(region))
            .map(Into::into),
    }
}

//! What the tables of all kinds of providers say alike: the address, the keys, and headers of their own.

use crate::config::reader::{Section, Word};
use crate::config::secret::{Secret, SecretRef};
use crate::wire::openai::MaxTokensField;
use http::{HeaderName, HeaderValue, Uri};

/// A provider's key, or where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// Known.
    Known(Secret),
    /// To be read where it is kept, when it is needed.
    Pending(SecretRef),
}

const NO_REFERENCE: &str =
    "must say where the key is kept (env:NAME, ssm:PATH or secretsmanager:NAME), never the key itself";

/// Why a provider cannot serve.
#[derive(Debug)]
pub(super) enum Unserved {
    /// It has no key and says `when_missing_key = "skip"`; why, for the operator.
    Skipped(String),
    /// It has a problem, which is reported.
    Broken,
}

impl Unserved {
    /// That the provider `name` is skipped for want of these variables.
    pub(super) fn without(name: &str, missing: &str) -> Self {
        Self::Skipped(format!("{name} is skipped, for {missing} is not set"))
    }
}

/// What to do about a provider whose key is not in the environment.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum WhenMissingKey {
    Refuse,
    Skip,
}

pub(super) fn max_tokens_field(section: &mut Section<'_, '_>, usual: MaxTokensField) -> MaxTokensField {
    let fields =
        [("max_tokens", MaxTokensField::MaxTokens), ("max_completion_tokens", MaxTokensField::MaxCompletionTokens)];
    section.choice("max_tokens_field", &fields, usual)
}

pub(super) fn when_missing_key(section: &mut Section<'_, '_>) -> WhenMissingKey {
    let words = [("refuse", WhenMissingKey::Refuse), ("skip", WhenMissingKey::Skip)];
    section.choice("when_missing_key", &words, WhenMissingKey::Refuse)
}

/// The keys, or which variables are not set of a provider that is to be skipped for it.
pub(super) fn api_keys(
    section: &mut Section<'_, '_>,
    when_missing: WhenMissingKey,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<ApiKey>, String> {
    let (mut api_keys, mut missing) = (Vec::new(), Vec::new());
    for (word, reference) in references(section) {
        let SecretRef::Env(variable) = reference else {
            api_keys.push(ApiKey::Pending(reference));
            continue;
        };
        match env(&variable).filter(|value| !value.trim().is_empty()) {
            None if when_missing == WhenMissingKey::Refuse => {
                section.problems.add(&word.place, format!("{variable} is not set in the environment"));
            }
            None => missing.push(variable),
            Some(value) => api_keys.extend(held(section, &word, &variable, &value)),
        }
    }
    if api_keys.is_empty() && !missing.is_empty() { Err(missing.join(" and ")) } else { Ok(api_keys) }
}

/// A secret that is no provider's key, by its reference under `key`, if the field is there.
pub(in crate::config) fn secret(
    section: &mut Section<'_, '_>,
    key: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<ApiKey> {
    let word = section.word(key)?;
    let Some(reference) = SecretRef::parse(&word.text) else {
        section.problems.add(&word.place, NO_REFERENCE);
        return None;
    };
    let SecretRef::Env(variable) = reference else { return Some(ApiKey::Pending(reference)) };
    let Some(value) = env(&variable).filter(|value| !value.trim().is_empty()) else {
        section.problems.add(&word.place, format!("{variable} is not set in the environment"));
        return None;
    };
    held(section, &word, &variable, &value)
}

/// What a variable holds: a key, or where it is, so that no key stands in the environment.
fn held(section: &Section<'_, '_>, word: &Word, variable: &str, value: &str) -> Option<ApiKey> {
    match (SecretRef::parse(value.trim()), Secret::new(value)) {
        (Some(kept @ (SecretRef::Ssm(_) | SecretRef::SecretsManager(_))), _) => Some(ApiKey::Pending(kept)),
        (_, Some(secret)) => Some(ApiKey::Known(secret)),
        (_, None) => {
            section.problems.add(&word.place, format!("what {variable} holds cannot be a key"));
            None
        }
    }
}

/// The references of `api_key` or `api_keys`. What is no reference may be a key and is not repeated.
fn references(section: &mut Section<'_, '_>) -> Vec<(Word, SecretRef)> {
    let one = section.word("api_key");
    let several = section.words("api_keys");
    if let (Some(one), Some(_)) = (&one, &several) {
        section.problems.add(&one.place, "cannot stand beside api_keys");
    }
    if let (None, Some([])) = (&one, several.as_deref()) {
        section.problems.add(&section.place, "api_keys cannot be empty");
    }
    let mut references = Vec::new();
    for word in one.into_iter().chain(several.into_iter().flatten()) {
        match SecretRef::parse(&word.text) {
            Some(reference) => references.push((word, reference)),
            None => section.problems.add(&word.place, NO_REFERENCE),
        }
    }
    references
}

/// The address without its last slash. Loopback and plain HTTP are allowed: whoever writes this file means them.
pub(super) fn base_url(section: &Section<'_, '_>, word: &Word) -> Option<String> {
    let uri: Option<Uri> = word.text.parse().ok();
    let fits = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && !word.text.contains(['@', '?', '#'])
    });
    if !fits {
        let message = "must be an http or https address without user, query or fragment";
        section.problems.add(&word.place, message);
    }
    fits.then(|| word.text.trim_end_matches('/').to_owned())
}

pub(super) fn headers(section: &mut Section<'_, '_>) -> Vec<(HeaderName, HeaderValue)> {
    /// Those that the gateway sets itself, and those that carry keys.
    const RESERVED: [&str; 13] = [
        "accept",
        "accept-encoding",
        "api-key",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "proxy-authorization",
        "transfer-encoding",
        "x-api-key",
        "x-goog-api-key",
    ];
    let mut headers = Vec::new();
    for key in section.keys() {
        let Some(value) = section.word(&key.text) else { continue };
        match (key.text.parse::<HeaderName>(), value.text.parse::<HeaderValue>()) {
            (Ok(name), _) if RESERVED.contains(&name.as_str()) => {
                section.problems.add(&key.place, "is set by the gateway");
            }
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.push((name, value));
            }
            (Err(_), _) => section.problems.add(&key.place, "is not the name of an HTTP header"),
            (_, Err(_)) => section.problems.add(&value.place, "is not the value of an HTTP header"),
        }
    }
    headers
}

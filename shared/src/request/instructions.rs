//! What a client says beside its body: its key, and how it wants the request handled.
//!
//! A header that cannot be understood is refused by its name, not ignored: a client that wrote `no-stroe` believes that
//! nothing is kept. No header can name a provider's address or key (T4).

use crate::error::Error;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// How the cache may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// As the tenant's settings say.
    #[default]
    Default,
    /// Neither read nor written.
    NoStore,
    /// Written, not read.
    NoCache,
    /// A remembered answer, or none at all.
    OnlyIfCached,
}

/// The client's instructions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instructions {
    /// How the cache may be used.
    pub cache: CacheUse,
    /// For how many seconds the answer may be remembered.
    pub cache_ttl_seconds: Option<u64>,
    /// `off`, `on`, or as the settings say: `on` allows it for a pinned model too.
    pub upgrade: Option<bool>,
    /// Kept on the receipt and in usage.
    pub tags: BTreeMap<String, String>,
    /// SHA-256 of the idempotency key.
    pub idempotency_key: Option<[u8; 32]>,
}

impl Instructions {
    /// Reads the headers of a request.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] names the header that cannot be understood.
    pub fn read(headers: &HeaderMap) -> Result<Self, Error> {
        let cache = match text(headers, "x-gateway-cache")? {
            None => CacheUse::Default,
            Some("no-store") => CacheUse::NoStore,
            Some("no-cache") => CacheUse::NoCache,
            Some("only-if-cached") => CacheUse::OnlyIfCached,
            Some(_) => return Err(invalid("x-gateway-cache", "must be no-store, no-cache or only-if-cached")),
        };
        let cache_ttl_seconds = match text(headers, "x-gateway-cache-ttl")? {
            None => None,
            Some(value) => match value.parse() {
                Ok(seconds @ 1..=2_592_000) => Some(seconds),
                _ => return Err(invalid("x-gateway-cache-ttl", "must be whole seconds from 1 to 2592000")),
            },
        };
        let upgrade = match text(headers, "x-gateway-upgrade")? {
            None => None,
            Some("on") => Some(true),
            Some("off") => Some(false),
            Some(_) => return Err(invalid("x-gateway-upgrade", "must be on or off")),
        };
        let tags = text(headers, "x-gateway-tags")?.map_or_else(|| Ok(BTreeMap::new()), tags)?;
        let idempotency_key = match text(headers, "idempotency-key")? {
            None => None,
            Some(key) if (1..=255).contains(&key.len()) => Some(Sha256::digest(key).into()),
            Some(_) => return Err(invalid("idempotency-key", "must have 1 to 255 characters")),
        };
        Ok(Self { cache, cache_ttl_seconds, upgrade, tags, idempotency_key })
    }
}

/// The key that a request comes with: `authorization: Bearer …` or `x-api-key: …`.
#[must_use]
pub fn key_of(headers: &HeaderMap) -> Option<&str> {
    let bearer = || {
        let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    };
    bearer().or_else(|| headers.get("x-api-key")?.to_str().ok().map(str::trim))
}

fn invalid(name: &str, must: &str) -> Error {
    Error::invalid(name, format!("The header {name} {must}."))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(|text| Some(text.trim())).map_err(|_| invalid(name, "must be visible ASCII"))
}

fn tags(value: &str) -> Result<BTreeMap<String, String>, Error> {
    let must = "must be up to 10 pairs k=v, separated by commas, each of at most 64 bytes";
    let mut tags = BTreeMap::new();
    for pair in value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| invalid("x-gateway-tags", must))?;
        let fits = |text: &str| text.len() <= 64;
        if name.is_empty() || !fits(name) || !fits(value) || tags.len() == 10 {
            return Err(invalid("x-gateway-tags", must));
        }
        tags.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_cannot_be_understood_is_refused_by_its_name() {
        for (name, value) in [
            ("x-gateway-cache", "no-stroe"),
            ("x-gateway-cache-ttl", "0"),
            ("x-gateway-cache-ttl", "1e9"),
            ("x-gateway-cache-ttl", "-5"),
            ("x-gateway-upgrade", "maybe"),
            ("idempotency-key", ""),
            ("idempotency-key", &"k".repeat(256)),
            ("x-gateway-tags", "novalue"),
            ("x-gateway-tags", "=v"),
            ("x-gateway-tags", "a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,i=9,j=10,k=11"),
        ] {
            match Instructions::read(&headers(&[(name, value)])) {
                Err(Error::InvalidRequest { param, .. }) => assert_eq!(param.as_deref(), Some(name)),
                other => unreachable!("{name}: {value} gave {other:?}"),
            }
        }
    }

    #[test]
    fn tags_are_read_as_pairs() {
        let read = Instructions::read(&headers(&[("x-gateway-tags", "team=search, env=prod")])).unwrap();
        assert_eq!(
            read.tags.into_iter().collect::<Vec<_>>(),
            [("env".into(), "prod".into()), ("team".into(), "search".into())]
        );
    }

    #[test]
    fn the_key_is_found_in_either_header() {
        for (pairs, key) in [
            (vec![("authorization", "Bearer k1")], Some("k1")),
            (vec![("authorization", "bearer  k1")], Some("k1")),
            (vec![("x-api-key", "k2")], Some("k2")),
            (vec![("authorization", "Basic x"), ("x-api-key", "k2")], Some("k2")),
            (vec![("authorization", "k1")], None),
            (vec![], None),
        ] {
            assert_eq!(key_of(&headers(&pairs)), key, "{pairs:?}");
        }
    }
}

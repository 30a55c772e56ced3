//! ETags, and `If-Match`: a change is made to what its admin has seen, or not at all (RFC 9110, 13.1.1).
//!
//! A tag is the version of the record, so it is strong, and a record that was made anew under an old id has none of the old
//! one's. A weak tag, which some proxies make of a strong one, never matches: it says that what was read may not be
//! what there is, byte by byte. What is no tag at all is refused, because it would never match, and nobody would know why.

use crate::guard::Failure;
use axum::extract::FromRequestParts;
use axum::response::Response;
use gateway_core::directory::DirectoryError;
use gateway_core::error::Error;
use http::header::{ETAG, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

/// What `If-Match` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// It is not there, or is `*`: whatever there is may be changed.
    Anything,
    /// One of these tags; those that can match.
    OneOf(Vec<String>),
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let wrong =
            || Error::invalid("if-match", "It must be an ETag as it was answered, with its quotes, several, or *.");
        Ok(Self::read(&parts.headers).ok_or_else(wrong)?)
    }
}

impl IfMatch {
    /// Reads the header, which may be there several times; `None` where it is none.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let fields = headers.get_all(IF_MATCH).iter().map(HeaderValue::to_str).collect::<Result<Vec<_>, _>>().ok()?;
        let (list, mut tags) = (fields.join(","), Vec::new());
        let mut rest = list.trim();
        if rest.is_empty() || rest == "*" {
            return (fields.is_empty() || rest == "*").then_some(Self::Anything);
        }
        while !rest.is_empty() {
            let (is_weak, tag) = rest.strip_prefix("W/").map_or((false, rest), |tag| (true, tag));
            let (tag, after) = tag.strip_prefix('"')?.split_once('"')?;
            tags.extend((!is_weak).then(|| tag.to_owned()));
            let after = after.trim_start();
            rest = if after.is_empty() { after } else { after.strip_prefix(',')?.trim_start_matches([',', ' ', '\t']) };
        }
        Some(Self::OneOf(tags))
    }

    /// Refuses a change of what is not as its admin has seen it.
    pub(crate) fn check(&self, version: u64) -> Result<(), Error> {
        match self {
            Self::OneOf(tags) if !tags.contains(&version.to_string()) => Err(Error::PreconditionFailed),
            Self::Anything | Self::OneOf(_) => Ok(()),
        }
    }

    /// The version that alone may be removed; [`not_removed`] tells what its refusal means.
    pub(crate) fn only(&self, version: u64) -> Option<u64> {
        (*self != Self::Anything).then_some(version)
    }
}

/// Why something was not removed; a conflict is that it was changed after it was [checked](IfMatch::check).
pub(crate) fn not_removed(error: DirectoryError, not_done: &str, holds: &str) -> Failure {
    match error {
        DirectoryError::Conflict => Error::PreconditionFailed.into(),
        error => Failure::said(error, not_done, holds),
    }
}

/// An answer with the ETag of what it shows.
pub(crate) fn tagged(mut answer: Response, version: u64) -> Response {
    answer.headers_mut().extend(HeaderValue::from_str(&format!("\"{version}\"")).ok().map(|tag| (ETAG, tag)));
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn if_match_is_read_as_its_rfc_has_it() {
        let tags = |tags: &[&str]| Some(IfMatch::OneOf(tags.iter().map(ToString::to_string).collect()));
        let table: [(&[&str], Option<IfMatch>); 19] = [
            (&[], Some(IfMatch::Anything)),
            (&["*"], Some(IfMatch::Anything)),
            (&[" * "], Some(IfMatch::Anything)),
            (&["\"7\""], tags(&["7"])),
            (&["\"7\", \"8\""], tags(&["7", "8"])),
            (&["\"7\",\"8\"", "\"9\""], tags(&["7", "8", "9"])),
            (&["\"7\" ,, \"8\" ,"], tags(&["7", "8"])),
            (&["\"a,b\", \"8\""], tags(&["a,b", "8"])),
            (&["W/\"7\""], tags(&[])),
            (&["W/\"7\", \"8\""], tags(&["8"])),
            (&["\"\""], tags(&[""])),
            (&[""], None),
            (&["7"], None),
            (&["w/\"7\""], None),
            (&["\"7"], None),
            (&["\"7\"\"8\""], None),
            (&["\"7\" \"8\""], None),
            (&["*, \"7\""], None),
            (&["'7'"], None),
        ];
        for (fields, expected) in table {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(IF_MATCH, HeaderValue::from_str(field).unwrap());
            }
            assert_eq!(IfMatch::read(&headers), expected, "{fields:?}");
        }
    }
}

//! Reading a request: names in the path, parameters of the query, fields of a body.
//!
//! An unknown name is refused, not ignored: an admin who wrote `?tenat=acme` would take everybody's
//! usage for one tenant's.

use crate::guard::Failure;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use gateway_core::error::Error;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The last instant that is taken for a time: the year 10000 begins after it.
pub(crate) const LAST_MS: u64 = 253_402_300_799_999;
/// Rows of a page, when nothing is said.
pub(crate) const ROWS: usize = 100;
/// The most rows of a page.
const MAX_ROWS: u64 = 1000;

/// The names in the path.
pub(crate) struct Names<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Names<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        // A name that is not UTF-8 is nobody's.
        let names = Path::<T>::from_request_parts(parts, state).await.map_err(|_| Error::NotFound)?;
        Ok(Self(names.0))
    }
}

/// Named values of which each is taken once, and none may be left.
pub(crate) struct Named<V>(BTreeMap<String, V>);

/// The parameters of the query.
pub(crate) type Params = Named<String>;

/// The fields of a body.
pub(crate) type Fields = Named<Value>;

impl<V> Named<V> {
    /// The value of this name.
    pub(crate) fn take(&mut self, name: &str) -> Option<V> {
        self.0.remove(name)
    }

    /// Refuses what was not taken.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        let unknown = |(name, _): (String, V)| Err(Error::invalid(name, "There is nothing of this name here."));
        self.0.pop_first().map_or(Ok(()), unknown)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let unreadable = Error::InvalidRequest { param: None, message: "The query cannot be read.".to_owned() };
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await.map_err(|_| unreadable)?;
        let mut params = BTreeMap::new();
        // A form sends its empty fields too; they say nothing.
        for (name, value) in pairs.0.into_iter().filter(|(_, value)| !value.is_empty()) {
            if params.insert(name.clone(), value).is_some() {
                return Err(Error::invalid(name, "Send it once.").into());
            }
        }
        Ok(Self(params))
    }
}

impl Params {
    /// Where a page begins.
    pub(crate) fn cursor(&mut self) -> Option<String> {
        self.take("cursor")
    }

    /// How many rows a page has at most, if that is said.
    pub(crate) fn limit(&mut self) -> Result<Option<usize>, Error> {
        let range = |rows: &u64| (1..=MAX_ROWS).contains(rows);
        let read = |text: String| {
            let rows = text.parse().ok().filter(range).and_then(|rows| usize::try_from(rows).ok());
            rows.ok_or_else(|| Error::invalid("limit", format!("It must be a number from 1 to {MAX_ROWS}.")))
        };
        self.take("limit").map(read).transpose()
    }
}

impl Fields {
    /// Whole milliseconds in `range`; the outer `None` is an absent field, the inner one `null` or `"default"`.
    pub(crate) fn ms(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<Option<Option<u64>>, Error> {
        let wrong = || {
            let (from, to) = (range.start(), range.end());
            Error::invalid(name, format!("It must be whole milliseconds from {from} to {to}, or null."))
        };
        match self.take(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(word)) if word == "default" => Ok(Some(None)),
            Some(value) => match value.as_u64() {
                Some(ms) if range.contains(&ms) => Ok(Some(Some(ms))),
                _ => Err(wrong()),
            },
        }
    }

    /// Whether this field is to be put back to its default; takes it if so.
    pub(crate) fn is_default(&mut self, name: &str) -> bool {
        let is_default = self.0.get(name).is_some_and(|value| value == "default");
        is_default && self.0.remove(name).is_some()
    }

    /// A time in Unix milliseconds; the outer `None` is an absent field, the inner one `null` or `"default"`.
    pub(crate) fn time(&mut self, name: &str) -> Result<Option<Option<u64>>, Error> {
        self.ms(name, 0..=LAST_MS)
    }

    /// A text of 1 to 200 bytes.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if (1..=200).contains(&text.len()) => Ok(Some(text)),
            Some(_) => Err(Error::invalid(name, "It must be a text of 1 to 200 bytes.")),
        }
    }
}

/// A body: JSON, or nothing at all.
pub(crate) struct JsonBody(Option<Value>);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let unread = |message: String| Error::InvalidRequest { param: None, message };
        let is_json = request.headers().get(CONTENT_TYPE).is_some_and(|value| {
            let essence = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
            essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
        });
        let (head, body) = request.into_parts();
        let bytes = gateway_host::coding::read(&head.headers, body, crate::MAX_BODY_BYTES).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        if !is_json {
            return Err(Error::UnsupportedMediaType.into());
        }
        let value =
            serde_json::from_slice(&bytes).map_err(|error| unread(format!("The body is not JSON: {error}.")))?;
        Ok(Self(Some(value)))
    }
}

impl JsonBody {
    /// The body, which must be there.
    pub(crate) fn required(self) -> Result<Value, Error> {
        let message = "A JSON object is needed as body.".to_owned();
        self.0.ok_or(Error::InvalidRequest { param: None, message })
    }

    /// The fields of the body; none where there is no body.
    pub(crate) fn fields(self) -> Result<Fields, Error> {
        match self.0 {
            None => Ok(Named(BTreeMap::new())),
            Some(Value::Object(fields)) => Ok(Named(fields.into_iter().collect())),
            Some(_) => {
                Err(Error::InvalidRequest { param: None, message: "The body must be a JSON object.".to_owned() })
            }
        }
    }
}

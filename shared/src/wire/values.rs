//! Values within a request whose meaning is read: each one, or which field is not what its format says.

use crate::wire::conversation::{Source, Untranslatable};
use crate::wire::json::{Fields, fields};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Most fields of an object within a body; of none are more than a dozen documented.
const MAX_INNER_FIELDS: usize = 64;

type Result<T> = std::result::Result<T, Untranslatable>;

/// What an address stands for: itself, or the data in it.
pub(crate) fn source(url: Cow<'_, str>) -> Source<'_> {
    fn data(url: &str) -> Option<(&str, &str)> {
        let (kind, base64) = url.strip_prefix("data:")?.split_once(',')?;
        Some((kind.strip_suffix(";base64")?, base64))
    }
    let found = match &url {
        Cow::Borrowed(url) => data(url).map(|(kind, base64)| (Cow::from(kind), Cow::from(base64))),
        Cow::Owned(url) => data(url).map(|(kind, base64)| (kind.to_owned().into(), base64.to_owned().into())),
    };
    match found {
        Some((media_type, base64)) => Source::Data { media_type, base64 },
        None => Source::Url(url),
    }
}

/// The fields of an object.
pub(crate) fn object<'b>(path: &str, raw: &'b RawValue) -> Result<Fields<'b>> {
    fields(raw.get(), MAX_INNER_FIELDS).map_err(|_| Untranslatable::new(path, "has something else than an object"))
}

/// The text of a string.
pub(crate) fn string<'b>(path: &str, raw: &'b RawValue) -> Result<Cow<'b, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    match serde_json::from_str::<Text<'_>>(raw.get()) {
        Ok(Text(text)) => Ok(text),
        Err(_) => Err(Untranslatable::new(path, "has something else than a string")),
    }
}

/// A value of a simple type.
pub(crate) fn typed<'b, T: Deserialize<'b>>(path: &str, raw: &'b RawValue) -> Result<T> {
    serde_json::from_str(raw.get()).map_err(|_| Untranslatable::new(path, "is of another type than documented"))
}

//! A request's body as it came, and where in it each top-level field stands.
//!
//! The bytes are kept as they are. What goes to a provider of the same format is these very bytes with a few fields
//! replaced, so that a field which the gateway does not know, and a number which a float would bend, reach the provider
//! untouched. A field given twice is refused: two readers of such a body could take different ones, and one of the two
//! readers is what decided the limits.

use crate::error::Error;
use crate::wire::json::{BadFields, Stopped, fields, items};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Deepest nesting of a body; deeper ones are refused before any recursive reader meets them.
const MAX_DEPTH: usize = 96;
/// Most top-level fields of a body; OpenAI documents some forty.
const MAX_FIELDS: usize = 256;

/// A place for one field's value in the body.
#[derive(Debug, Clone)]
struct Field {
    name: Box<str>,
    value: Range<usize>,
}

/// A request's bytes, and where its fields stand.
#[derive(Debug, Clone)]
pub struct Body {
    bytes: Bytes,
    fields: Vec<Field>,
}

impl Body {
    /// Reads a JSON object and hands each top-level field to `take`, in order.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] if it is no such object, is too deep, has too many fields or one twice; and what `take`
    /// refuses.
    pub fn json(bytes: Bytes, mut take: impl FnMut(&str, &RawValue) -> Result<(), Error>) -> Result<Self, Error> {
        let text = text(&bytes)?;
        check_depth(text)?;
        let pairs = fields(text, MAX_FIELDS).map_err(|bad| bad_object(text, bad))?;
        let mut places = Vec::with_capacity(pairs.len());
        for (name, value) in &pairs {
            let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
            places.push(Field { name: name.as_ref().into(), value: start..start + value.get().len() });
            take(name, value)?;
        }
        drop(pairs);
        Ok(Self { bytes, fields: places })
    }

    /// A body that is no JSON: one field without a name, which is all of it.
    #[must_use]
    pub fn opaque(bytes: Bytes) -> Self {
        let whole = Field { name: "".into(), value: 0..bytes.len() };
        Self { bytes, fields: vec![whole] }
    }

    /// All of it, as it came.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The value of a top-level field as it stands in the body.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|field| &*field.name == name)?;
        std::str::from_utf8(&self.bytes[field.value.clone()]).ok()
    }

    /// Where the value of a top-level field stands in the body.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        self.fields.iter().find(|field| &*field.name == name).map(|field| field.value.clone())
    }

    /// The body with these values at the end of the list in its top-level field `name`; `None` if there is none.
    #[must_use]
    pub fn with_more(&self, name: &str, more: &[Value]) -> Option<Bytes> {
        let place = self.place(name)?;
        let list = self.raw(name)?.trim_end().strip_suffix(']')?.trim_end();
        let mut all = list.to_owned();
        for value in more {
            all += if all.ends_with('[') { "" } else { "," };
            all += &value.to_string();
        }
        all.push(']');
        Some(self.with_value(&place, &all))
    }

    /// The body with this in place of what stands there.
    pub(crate) fn with_value(&self, place: &Range<usize>, value: &str) -> Bytes {
        [&self.bytes[..place.start], value.as_bytes(), &self.bytes[place.end..]].concat().into()
    }

    /// All top-level fields as they stand in the body, in order.
    pub fn raw_fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (&*field.name, &self.bytes[field.value.clone()]))
    }
}

impl Body {
    /// What of a value of [`Self::raw_fields`] stands before and after a place of the body; `None` if that is elsewhere.
    #[must_use]
    pub fn around<'a>(&self, value: &'a [u8], place: &Range<usize>) -> Option<[&'a [u8]; 2]> {
        let start = (value.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        let before = value.get(..place.start.checked_sub(start)?)?;
        Some([before, value.get(place.end.checked_sub(start)?..)?])
    }
}

/// The body as text that says something.
fn text(bytes: &Bytes) -> Result<&str, Error> {
    let refused = |message: String| Error::InvalidRequest { param: None, message };
    let text = std::str::from_utf8(bytes).map_err(|e| {
        refused(format!("The body is not UTF-8: the byte at {} is the first that does not fit.", e.valid_up_to()))
    })?;
    match text.trim_ascii().is_empty() {
        true => Err(refused("The body is empty; send a JSON object.".into())),
        false => Ok(text),
    }
}

fn bad_object(text: &str, bad: BadFields) -> Error {
    let message = match bad {
        BadFields::Twice(name) => return Error::invalid(name, "This field is given twice."),
        BadFields::NoObject(_) if !text.trim_ascii_start().starts_with('{') => {
            "The body is not a JSON object.".to_owned()
        }
        BadFields::NoObject(e) => format!("The body is not a JSON object: {e}."),
        BadFields::TooMany => format!("The body has more than {MAX_FIELDS} top-level fields."),
    };
    Error::InvalidRequest { param: None, message }
}

/// Hands each item of a list to `take`, until one is refused; answers how many there are.
pub(crate) fn each<'a>(
    name: &str,
    list: &'a RawValue,
    must: &str,
    take: impl FnMut(usize, &'a RawValue) -> Result<(), Error>,
) -> Result<usize, Error> {
    items(list.get(), take).map_err(|stopped| match stopped {
        Stopped::NoList => Error::invalid(name, format!("`{name}` {must}.")),
        Stopped::Refused(error) => error,
    })
}

/// Reads a field's value; `must` says in the error what it must be.
pub(crate) fn parse<'a, T: Deserialize<'a>>(name: &str, value: &'a RawValue, must: &str) -> Result<T, Error> {
    serde_json::from_str(value.get()).map_err(|_| Error::invalid(name, format!("`{name}` {must}.")))
}

/// As [`parse`], for a struct: serde would take a list of its fields' values for one.
pub(crate) fn parse_object<'a, T: Deserialize<'a>>(name: &str, value: &'a RawValue, must: &str) -> Result<T, Error> {
    if value.get().starts_with('{') {
        parse(name, value, must)
    } else {
        Err(Error::invalid(name, format!("`{name}` {must}.")))
    }
}

/// A model's name, as far as one can be sent back in a header.
pub(crate) fn name_of_model(path: &str, value: &RawValue) -> Result<Arc<str>, Error> {
    let name: Cow<'_, str> = parse(path, value, "must be a string")?;
    if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        return Err(Error::invalid(path, format!("`{path}` must be 1 to 256 bytes without control characters.")));
    }
    Ok(name.as_ref().into())
}

/// Most names in a list of models.
pub(crate) const MAX_MODELS: usize = 32;

/// The names that a list of models has.
pub(crate) fn names_of_models(name: &str, value: &RawValue) -> Result<Vec<Arc<str>>, Error> {
    let wrong = || Error::invalid(name, format!("`{name}` must list 1 to {MAX_MODELS} names."));
    let mut models = Vec::new();
    let listed = each(name, value, "must be a list of model names", |i, entry| {
        if i == MAX_MODELS {
            return Err(wrong());
        }
        models.push(name_of_model(&format!("{name}[{i}]"), entry)?);
        Ok(())
    })?;
    if listed == 0 { Err(wrong()) } else { Ok(models) }
}

/// An integer within these bounds.
pub(crate) fn integer(name: &str, value: &RawValue, min: u64, max: u64) -> Result<u64, Error> {
    let must = || format!("must be an integer from {min} to {max}");
    let number: u64 = parse(name, value, &must())?;
    if number < min || number > max {
        return Err(Error::invalid(name, format!("`{name}` {}.", must())));
    }
    Ok(number)
}

/// A number within these bounds.
pub(crate) fn number(name: &str, value: &RawValue, min: f64, max: f64) -> Result<f64, Error> {
    let must = || format!("must be a number from {min} to {max}");
    let number: f64 = parse(name, value, &must())?;
    if !(min..=max).contains(&number) {
        return Err(Error::invalid(name, format!("`{name}` {}.", must())));
    }
    Ok(number)
}

/// A serde message without the position, which would count from the field and not from the body.
pub(crate) fn short(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn check_depth(text: &str) -> Result<(), Error> {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    let message = format!("The body is nested deeper than {MAX_DEPTH} levels.");
                    return Err(Error::InvalidRequest { param: None, message });
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn is_read(body: String) -> bool {
        Body::json(body.into(), |_, _| Ok(())).is_ok()
    }

    #[test]
    fn depth_is_what_is_open_at_once_outside_of_texts() {
        let nested = |depth: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(is_read(nested(MAX_DEPTH)));
        assert!(!is_read(nested(MAX_DEPTH + 1)));
        assert!(is_read(format!(r#"{{"x":[{}[]]}}"#, "[],".repeat(MAX_DEPTH))), "side by side is not deep");
        assert!(is_read(format!(r#"{{"x":"\"{}"}}"#, "[".repeat(MAX_DEPTH + 1))), "a text is not deep");
        assert!(!is_read(format!(r#"{{"x":"\\","y":{}{}}}"#, "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH))));
    }

    #[test]
    fn a_body_has_so_many_fields_and_no_more() {
        let of = |count: usize| {
            let fields: Vec<String> = (0..count).map(|number| format!(r#""x{number}":{number}"#)).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert!(is_read(of(MAX_FIELDS)));
        assert!(!is_read(of(MAX_FIELDS + 1)));
    }

    #[test]
    fn a_models_name_can_be_sent_back_in_a_header() {
        for (name, is_good) in [
            ("auto".to_owned(), true),
            ("m".repeat(256), true),
            ("m".repeat(257), false),
            (String::new(), false),
            ("a\tb".to_owned(), false),
            ("\u{7f}".to_owned(), false),
        ] {
            let json = serde_json::to_string(&name).unwrap();
            let read = name_of_model("model", serde_json::from_str(&json).unwrap());
            assert_eq!(read.ok().as_deref(), is_good.then_some(name.as_str()), "{json}");
        }
    }
}

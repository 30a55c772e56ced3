//! JSON from outside, in pieces: the fields of an object and the items of a list, borrowed and unread.
//!
//! Nothing here makes a tree, for a byte of input can make a hundred of one; fields are counted while they are read, and
//! items are handed on one by one. What is done is linear in the input (B1), whatever stands in it. What is written stands
//! with the formats, but for a field that may be absent.

use crate::steps;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

/// An object's fields in their order.
pub(crate) type Fields<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// How much of a field's name stands in an error.
const SHOWN_CHARS: usize = 64;

/// Why an object's fields are not taken.
#[derive(Debug)]
pub(crate) enum BadFields {
    /// It is no JSON object; what serde says.
    NoObject(serde_json::Error),
    /// It has more fields than may be.
    TooMany,
    /// It has two fields of a name that begins so.
    Twice(String),
}

/// The fields of a JSON object, at most `most`; the first one too many ends the reading.
pub(crate) fn fields(text: &str, max_fields: usize) -> Result<Fields<'_>, BadFields> {
    struct Reader<'r> {
        max_fields: usize,
        bad: &'r mut Option<BadFields>,
    }
    impl<'de> Visitor<'de> for Reader<'_> {
        type Value = Fields<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
            let mut fields = Vec::with_capacity(8);
            while let Some(Name(name)) = map.next_key()? {
                steps::count(1);
                if fields.len() == self.max_fields {
                    *self.bad = Some(BadFields::TooMany);
                    return Err(A::Error::custom("too many fields"));
                }
                fields.push((name, map.next_value()?));
            }
            Ok(fields)
        }
    }
    let mut bad = None;
    let mut reader = serde_json::Deserializer::from_str(text);
    let read =
        reader.deserialize_map(Reader { max_fields, bad: &mut bad }).and_then(|fields| reader.end().map(|()| fields));
    let fields = read.map_err(|error| bad.unwrap_or(BadFields::NoObject(error)))?;
    let mut names = HashSet::with_capacity(fields.len());
    match fields.iter().find(|(name, _)| !names.insert(&**name)) {
        Some((name, _)) => Err(BadFields::Twice(name.chars().take(SHOWN_CHARS).collect())),
        None => Ok(fields),
    }
}

/// A field's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Why not every item of a list was taken.
#[derive(Debug)]
pub enum Stopped<E> {
    /// It is no list.
    NoList,
    /// `take` refused an item.
    Refused(E),
}

/// Hands each item of a JSON list to `take`, with its place in the list, until one is refused; answers how many there are.
pub fn items<'a, E>(
    list: &'a str,
    take: impl FnMut(usize, &'a RawValue) -> Result<(), E>,
) -> Result<usize, Stopped<E>> {
    struct Reader<'r, F, E> {
        take: F,
        refused: &'r mut Option<E>,
    }
    impl<'de, E, F: FnMut(usize, &'de RawValue) -> Result<(), E>> Visitor<'de> for Reader<'_, F, E> {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<usize, A::Error> {
            let mut taken = 0;
            while let Some(item) = seq.next_element()? {
                steps::count(1);
                if let Err(error) = (self.take)(taken, item) {
                    *self.refused = Some(error);
                    return Err(A::Error::custom("refused"));
                }
                taken += 1;
            }
            Ok(taken)
        }
    }
    let mut refused = None;
    let read = serde_json::Deserializer::from_str(list).deserialize_seq(Reader { take, refused: &mut refused });
    read.map_err(|_| refused.map_or(Stopped::NoList, Stopped::Refused))
}

/// Where a value stands in the bytes that it was read from.
pub(crate) fn place(bytes: &[u8], raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr() as usize - bytes.as_ptr() as usize;
    start..start + raw.get().len()
}

/// What a JSON value says: the text of a string, anything else as it is written.
///
/// Half of a surrogate pair, which providers send where they cut a text between the two, is U+FFFD.
pub(crate) fn text_of(json: &str) -> Cow<'_, str> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => Cow::Borrowed(text),
        Some(text) => Cow::Owned(serde_json::from_str(json).unwrap_or_else(|_| without_half_pairs(text))),
        None => Cow::Borrowed(json),
    }
}

/// The text of a string in which a `\u` stands for half of a surrogate pair.
fn without_half_pairs(escaped: &str) -> String {
    let unit = |at: usize| {
        let hex = escaped.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(hex, 16).ok()
    };
    let (mut whole, mut at) = (String::with_capacity(escaped.len() + 2), 0);
    whole.push('"');
    while let Some(next) = escaped[at..].chars().next() {
        let taken = match (unit(at), unit(at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                whole.push_str("\\ufffd");
                at += 6;
                continue;
            }
            // An escape is taken with what it escapes: `\\ud800` is no half of anything.
            _ if next == '\\' => 2,
            _ => next.len_utf8(),
        };
        whole.push_str(&escaped[at..at + taken]);
        at += taken;
    }
    whole.push('"');
    serde_json::from_str(&whole).unwrap_or_default()
}

/// A number of things, however it is written: an integer, one with a fraction of zero, digits in a string. Nothing else is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(d)?.get();
        let digits = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = |number: f64| (number >= 0.0 && number.fract() == 0.0 && number < 1e18).then_some(number as u64);
        Ok(Self(digits.parse().ok().or_else(|| digits.parse().ok().and_then(whole))))
    }
}

/// Writes a field of an object, if there is a value for it.
pub(crate) fn maybe<M: SerializeMap, T: Serialize>(map: &mut M, name: &str, value: Option<T>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

/// An object without this field; none where nothing is left.
pub(crate) fn without(object: &[u8], but: &str) -> Option<String> {
    let all = fields(std::str::from_utf8(object).ok()?, usize::MAX).ok()?;
    let kept = all.iter().filter(|(name, _)| name != but);
    let kept: Vec<String> =
        kept.map(|(name, value)| format!("{}:{}", serde_json::Value::from(&**name), value.get())).collect();
    (!kept.is_empty()).then(|| format!("{{{}}}", kept.join(",")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn halves_of_surrogate_pairs_are_replaced_and_nothing_else() {
        for (json, text) in [
            (r#""plain""#, "plain"),
            (r#""a\ud83d\ude00b""#, "a\u{1f600}b"),
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\ude00b""#, "\u{fffd}b"),
            (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
            (r#""\ud83d\ud83d\ude00\n""#, "\u{fffd}\u{1f600}\n"),
            (r#""\\ud83d \ud83d é""#, "\\ud83d \u{fffd} é"),
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("null", "null"),
        ] {
            assert_eq!(text_of(json), text, "{json}");
        }
    }

    #[test]
    fn a_count_is_read_however_it_is_written() {
        for (json, count) in [
            ("0", Some(0)),
            ("12", Some(12)),
            ("12.0", Some(12)),
            ("1.2e1", Some(12)),
            (r#""12""#, Some(12)),
            ("1.5", None),
            ("-1", None),
            ("1e300", None),
            ("null", None),
            (r#""""#, None),
            (r#""many""#, None),
            ("[1]", None),
            ("true", None),
        ] {
            assert_eq!(serde_json::from_str::<Count>(json).unwrap().0, count, "{json}");
        }
    }
}

//! JSON from outside, in pieces: the fields of an object and the items of a list, borrowed and unread.
//!
//! Nothing here makes a tree, for a byte of input can make a hundred of one; fields are counted while they are read, and
//! items are handed on one by one. What is done is linear in the input (B1), whatever stands in it.

use crate::steps;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

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

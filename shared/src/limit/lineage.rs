//! Under which name a key's own limits are counted.
//!
//! A key that is rotated has a successor, and both work for a while. Counted each by itself, they would have two days of
//! dollars where there is one; so all keys that were rotated into one another are counted as one, their lineage: a
//! number that follows from the id of the first of them. No other key of the tenant has it, as no id is used again.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Keys that were rotated into one another; 16 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lineage(u64);

impl Lineage {
    /// That of the keys of which the first had this id.
    #[must_use]
    pub fn of(first_key: &str) -> Self {
        let hash = Sha256::digest(first_key);
        Self(hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a lineage of keys")]
pub struct NotALineage;

impl FromStr for Lineage {
    type Err = NotALineage;

    fn from_str(text: &str) -> Result<Self, NotALineage> {
        let is_one = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = is_one.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or(NotALineage)
    }
}

impl TryFrom<String> for Lineage {
    type Error = NotALineage;

    fn try_from(text: String) -> Result<Self, NotALineage> {
        text.parse()
    }
}

impl From<Lineage> for String {
    fn from(lineage: Lineage) -> Self {
        lineage.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_lineage_is_read_as_it_is_written() {
        for id in ["demo", "key_01KB0000000000000000000000", ""] {
            let lineage = Lineage::of(id);
            assert_eq!(lineage.to_string().parse(), Ok(lineage));
            let json = serde_json::to_string(&lineage).unwrap();
            assert_eq!((json.len(), serde_json::from_str::<Lineage>(&json).unwrap()), (18, lineage));
        }
        assert_eq!(Lineage::of("demo").to_string(), "2a97516c354b6884", "it must never change");
        for text in ["", "2a97516c354b688", "2A97516C354B6884", "+a97516c354b6884", "2a97516c354b68840"] {
            assert_eq!(text.parse::<Lineage>(), Err(NotALineage), "{text}");
        }
    }
}

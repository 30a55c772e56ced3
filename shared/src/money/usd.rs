//! Money in JSON: a decimal string of US dollars with nine places.
//!
//! Numbers are refused on the way in, for a JSON number has gone, or will go, through somebody's float.

use crate::money::{format_usd, parse_usd};
use serde::{Deserialize, Deserializer, Serializer};
use std::borrow::Cow;

/// Writes nano-US-dollar.
///
/// # Errors
/// Whatever the serializer says.
pub fn serialize<S: Serializer>(nusd: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format_usd(*nusd))
}

/// Reads nano-US-dollar.
///
/// # Errors
/// If the text is not a decimal amount of at most nine places.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let text = <Cow<'de, str>>::deserialize(d)?;
    parse_usd(&text).map_err(serde::de::Error::custom)
}

/// The same for an amount that may be absent, as `null`.
pub mod option {
    use super::{Cow, Deserialize, Deserializer, Serializer, format_usd, parse_usd};

    /// Writes nano-US-dollar or `null`.
    ///
    /// # Errors
    /// Whatever the serializer says.
    #[allow(clippy::ref_option)]
    pub fn serialize<S: Serializer>(nusd: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match nusd {
            Some(nusd) => s.serialize_some(&format_usd(*nusd)),
            None => s.serialize_none(),
        }
    }

    /// Reads nano-US-dollar or `null`.
    ///
    /// # Errors
    /// If the text is not a decimal amount of at most nine places.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        let text = <Option<Cow<'de, str>>>::deserialize(d)?;
        text.map(|text| parse_usd(&text)).transpose().map_err(serde::de::Error::custom)
    }
}

//! The identity of a request: 48 bits of Unix milliseconds, then 80 random bits, written as 26 characters of Crockford's
//! base 32 (the ULID form).
//!
//! The time comes first, so that ids sort by age and the embedded ledger finds a receipt from its id with an index of a
//! few bytes per block instead of one entry per receipt. Everything that must happen once (M2) is keyed by this id.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Identifies one request, its hold and its receipt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u128);

impl RequestId {
    /// A new id for a request that came in at `now_ms`, with 80 bits from the system's CSPRNG.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        let mut random = [0; 16];
        fill(&mut random);
        Self((u128::from(now_ms) & 0xffff_ffff_ffff) << 80 | u128::from_le_bytes(random) >> 48)
    }

    /// The first id that a request of `now_ms` could have.
    #[must_use]
    pub fn first_of(now_ms: u64) -> Self {
        Self(u128::from(now_ms & 0xffff_ffff_ffff) << 80)
    }

    /// When the request came in, in Unix milliseconds.
    #[must_use]
    pub fn created_at_ms(self) -> u64 {
        u64::try_from(self.0 >> 80).unwrap_or(0)
    }

    /// 64 of the random bits: for draws that must be the same each time this request is looked at.
    #[must_use]
    pub fn draw(self) -> u64 {
        #[allow(clippy::cast_possible_truncation)]
        let low = self.0 as u64;
        low
    }
}

/// 64 bits from the system's CSPRNG.
#[must_use]
pub fn random_u64() -> u64 {
    let mut random = [0; 8];
    fill(&mut random);
    u64::from_le_bytes(random)
}

fn fill(random: &mut [u8]) {
    #[cfg(feature = "seeded")]
    if SEEDED.with_borrow_mut(|seeded| seeded.as_mut().map(|dice| dice.fill(random))).is_some() {
        return;
    }
    // The system's generator cannot fail once it is seeded; should it ever, zeros only make an id less random.
    let _ = getrandom::fill(random);
}

thread_local! {
    static DICE: RefCell<fastrand::Rng> = RefCell::new(fastrand::Rng::with_seed(random_u64()));
}

#[cfg(feature = "seeded")]
thread_local! {
    static SEEDED: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
}

/// Draws what this thread draws from now on from a seed, so that a simulation can be repeated. Ids and keys can be guessed
/// then: no server calls this.
#[cfg(feature = "seeded")]
pub fn seed(seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    DICE.set(dice.fork());
    SEEDED.set(Some(dice));
}

/// 64 random bits for what need only differ, such as waits; nobody must have reason to guess them. It takes no system call.
#[must_use]
pub fn jitter() -> u64 {
    DICE.with_borrow_mut(|dice| dice.u64(..))
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 26];
        for (place, byte) in text.iter_mut().rev().enumerate() {
            *byte = ALPHABET[usize::try_from(self.0 >> (5 * place) & 31).unwrap_or(0)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a request id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a request id")]
pub struct NotAnId;

impl FromStr for RequestId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != 26 || text.as_bytes()[0] > b'7' {
            return Err(NotAnId);
        }
        let digit = |byte: u8| ALPHABET.iter().position(|&a| a == byte.to_ascii_uppercase());
        let mut value = 0u128;
        for byte in text.bytes() {
            value = value << 5 | digit(byte).ok_or(NotAnId)? as u128;
        }
        Ok(Self(value))
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_survives_its_own_text_and_tells_its_time() {
        for now_ms in [0, 1, 1_763_820_000_123, (1 << 48) - 1] {
            let id = RequestId::new(now_ms);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.created_at_ms(), now_ms);
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones_as_text_too() {
        let (a, b) = (RequestId::new(1_000), RequestId::new(1_001));
        assert!(a < b && a.to_string() < b.to_string());
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "x", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01ARZ3NDEKTSV4RRFFQ69G5FA!", "01ARZ3NDEKTSV4RRFFQ69G5FÄ"]
        {
            assert_eq!(text.parse::<RequestId>(), Err(NotAnId), "{text}");
        }
    }
}

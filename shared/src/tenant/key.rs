//! API keys: how they are made, recognised and kept.
//!
//! A key is `gw_live_`, 30 base62 characters from the system's CSPRNG (178 bits) and six base62 characters of the CRC-32
//! of those 30. The checksum lets a scanner recognise a leaked key, and lets the gateway refuse a mistyped one without a
//! look-up. Only a keyed hash (HMAC-SHA-256) is stored: with 178 random bits a slow password hash would add nothing but
//! latency, and the key of the hash makes a stolen directory useless for testing guesses (T3). An admin's token is made the
//! same way and begins with `gw_admin_`, so that neither is ever taken for the other.

use crate::id::random_u64;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

const PREFIX: &str = "gw_live_";
const ADMIN_PREFIX: &str = "gw_admin_";
const RANDOM_CHARS: usize = 30;
const CHECKSUM_CHARS: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An API key or an admin's token in clear. Shown once, at its making; its `Debug` shows only the last four characters.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A new random key.
    #[must_use]
    pub fn generate() -> Self {
        Self::of(PREFIX, &random_base62(RANDOM_CHARS))
    }

    /// A new random token of an admin.
    #[must_use]
    pub fn generate_admin() -> Self {
        Self::of(ADMIN_PREFIX, &random_base62(RANDOM_CHARS))
    }

    fn of(prefix: &str, random: &str) -> Self {
        Self(format!("{prefix}{random}{}", checksum(random)))
    }

    /// The key that follows from a secret and a purpose: the same each time, and written down nowhere.
    #[must_use]
    pub fn derive(hasher: &KeyHasher, purpose: &str) -> Self {
        Self::derived(PREFIX, hasher, purpose)
    }

    /// An admin's token that follows from both in the same way.
    #[must_use]
    pub fn derive_admin(hasher: &KeyHasher, purpose: &str) -> Self {
        Self::derived(ADMIN_PREFIX, hasher, purpose)
    }

    fn derived(prefix: &str, hasher: &KeyHasher, purpose: &str) -> Self {
        let mut random = String::with_capacity(RANDOM_CHARS);
        for block in 0u32.. {
            let bytes = hasher.hash(&format!("{purpose}/{block}")).0;
            let fair = bytes.into_iter().filter(|byte| *byte < 248);
            let left = RANDOM_CHARS - random.len();
            random.extend(fair.take(left).map(|byte| char::from(BASE62[usize::from(byte % 62)])));
            if random.len() == RANDOM_CHARS {
                break;
            }
        }
        Self::of(prefix, &random)
    }

    /// Recognises a key by prefix, length, alphabet and checksum; no look-up.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::recognised(PREFIX, text)
    }

    /// Recognises an admin's token in the same way.
    #[must_use]
    pub fn parse_admin(text: &str) -> Option<Self> {
        Self::recognised(ADMIN_PREFIX, text)
    }

    fn recognised(prefix: &str, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(prefix)?;
        if rest.len() != RANDOM_CHARS + CHECKSUM_CHARS || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let (random, sum) = rest.split_at(RANDOM_CHARS);
        (checksum(random) == sum).then(|| Self(text.to_owned()))
    }

    /// The key itself: for the one answer that shows it, and for hashing.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What may be shown of a key later: what it begins with, and four characters more.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0[..self.0.len() - RANDOM_CHARS - CHECKSUM_CHARS + 4]
    }

    /// What may be shown of a key later: its last four characters.
    #[must_use]
    pub fn last4(&self) -> &str {
        &self.0[self.0.len() - 4..]
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…{}", self.last4())
    }
}

/// So many random characters, all of them equally likely.
pub(crate) fn random_base62(chars: usize) -> String {
    let mut random = String::with_capacity(chars);
    while random.len() < chars {
        // Bytes past the largest multiple of 62 are thrown away, so that every character is equally likely.
        let fair = random_u64().to_le_bytes().into_iter().filter(|byte| *byte < 248);
        let left = chars - random.len();
        random.extend(fair.take(left).map(|byte| char::from(BASE62[usize::from(byte % 62)])));
    }
    random
}

fn checksum(random: &str) -> String {
    let mut rest = crc32fast::hash(random.as_bytes());
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

/// The keyed hash of a secret: what the directory stores and looks up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Lower-case hexadecimal, 64 characters.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

/// A hash in lower-case hexadecimal, 64 characters.
pub(crate) fn hex(hash: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [[0; 2]; 32];
    for (digits, byte) in text.iter_mut().zip(hash) {
        *digits = [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)]);
    }
    String::from_utf8_lossy(text.as_flattened()).into_owned()
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({}…)", &self.hex()[..8])
    }
}

/// Hashes keys with the installation's secret.
#[derive(Clone)]
pub struct KeyHasher(Hmac<Sha256>);

impl KeyHasher {
    /// A hasher keyed with `secret`, which must be the same wherever the same directory is used.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        // HMAC takes a key of any length; the error type exists for other MACs.
        Self(<Hmac<Sha256> as Mac>::new_from_slice(secret).unwrap_or_else(|_| unreachable!()))
    }

    /// The keyed hash of `secret_text`.
    #[must_use]
    pub fn hash(&self, secret_text: &str) -> KeyHash {
        let mut mac = self.0.clone();
        mac.update(secret_text.as_bytes());
        KeyHash(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(***)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_new_key_has_the_form_of_the_contract_and_is_recognised() {
        for _ in 0..200 {
            let key = ApiKey::generate();
            assert_eq!(key.reveal().len(), 8 + 30 + 6);
            assert!(key.reveal().starts_with("gw_live_"));
            assert_eq!(ApiKey::parse(key.reveal()), Some(key));
        }
    }

    #[test]
    fn an_admins_token_is_no_key_and_a_key_is_no_admins_token() {
        let (token, key) = (ApiKey::generate_admin(), ApiKey::generate());
        assert_eq!((token.reveal().len(), token.prefix().len()), (9 + 30 + 6, 9 + 4));
        assert_eq!((ApiKey::parse_admin(token.reveal()), ApiKey::parse(token.reveal())), (Some(token.clone()), None));
        assert_eq!(ApiKey::parse_admin(key.reveal()), None);
        assert_eq!(ApiKey::parse_admin(&token.reveal().replace("gw_admin_", "gw_live_")), None);
    }

    #[test]
    fn a_derived_key_is_a_key_and_follows_from_secret_and_purpose() {
        let hasher = KeyHasher::new(b"one");
        let key = ApiKey::derive(&hasher, "demo");
        assert_eq!(ApiKey::parse(key.reveal()), Some(key.clone()));
        assert_eq!(ApiKey::derive(&hasher, "demo"), key);
        assert_ne!(ApiKey::derive(&hasher, "other"), key);
        assert_ne!(ApiKey::derive(&KeyHasher::new(b"two"), "demo"), key);
    }

    #[test]
    fn any_one_changed_character_is_noticed_without_a_lookup() {
        let key = ApiKey::generate();
        for at in 8..key.reveal().len() {
            let mut text = key.reveal().as_bytes().to_vec();
            text[at] = if text[at] == b'a' { b'b' } else { b'a' };
            assert_eq!(ApiKey::parse(std::str::from_utf8(&text).unwrap()), None, "changed at {at}");
        }
    }

    #[test]
    fn debug_shows_no_more_than_four_characters_of_a_key() {
        let key = ApiKey::generate();
        assert!(!format!("{key:?}").contains(&key.reveal()[8..20]));
    }

    #[test]
    fn the_hash_depends_on_the_installations_secret() {
        let key = ApiKey::generate();
        let (one, two) = (KeyHasher::new(b"one"), KeyHasher::new(b"two"));
        assert_eq!(one.hash(key.reveal()), one.hash(key.reveal()));
        assert_ne!(one.hash(key.reveal()), two.hash(key.reveal()));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}") {
            let _ = ApiKey::parse(&text);
            let _ = ApiKey::parse(&format!("gw_live_{text}"));
        }
    }
}

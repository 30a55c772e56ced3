//! The bootstrap owner: whoever knows the token that the process was started with.
//!
//! Only a keyed hash of the token is kept (T3), and hashes are compared in constant time, so that neither a memory dump
//! nor the time of an answer tells a part of it. Named admins with roles stand beside the owner and do not replace it: it
//! makes the first of them, and the next after the last one is gone.

use gateway_core::tenant::key::{KeyHash, KeyHasher};
use subtle::ConstantTimeEq;

/// Shorter than this, a token can be guessed.
const LEAST_CHARS: usize = 32;

/// The owner's token, as a keyed hash.
#[derive(Debug, Clone)]
pub struct OwnerToken(KeyHash);

/// The token cannot be one; the text does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an owner token has at least {LEAST_CHARS} visible ASCII characters and no space")]
pub struct UnfitToken;

impl OwnerToken {
    /// The owner's token, hashed with the gateway's own hasher.
    ///
    /// # Errors
    /// [`UnfitToken`] for one that is too short, or that no `authorization` header could carry.
    pub fn new(token: &str, hasher: &KeyHasher) -> Result<Self, UnfitToken> {
        if token.len() < LEAST_CHARS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UnfitToken);
        }
        Ok(Self(hasher.hash(token)))
    }

    /// Whether this is it.
    pub(crate) fn is(&self, token: &str, hasher: &KeyHasher) -> bool {
        hasher.hash(token).0.ct_eq(&self.0.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyHasher, OwnerToken, UnfitToken};

    #[test]
    fn a_token_that_is_short_or_fits_no_header_is_refused() {
        let hasher = KeyHasher::new(b"secret");
        let refused = |token: &str| OwnerToken::new(token, &hasher).err();
        assert_eq!(refused(&"t".repeat(32)), None);
        for token in ["", &"t".repeat(31), &"t ".repeat(16), &"ä".repeat(32), &"t\n".repeat(32)] {
            assert_eq!(refused(token), Some(UnfitToken), "{token:?}");
        }
    }
}

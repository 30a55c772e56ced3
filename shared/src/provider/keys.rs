//! A provider's key, which may be kept elsewhere: it is read when it is first needed, and again when it may have changed.
//!
//! Not at the start, so that a secret that cannot be read takes its own provider away and nothing else, and a cold start
//! waits for none that is not needed. It is read again after ten minutes, and when the provider refuses it, so that it can
//! be changed without a deployment. Who comes while it is read for the first time waits for that one reading; later ones
//! use the old key meanwhile, and go on with it where it cannot be read again. What could not be read is left alone for a
//! moment, for many requests may want it. See ADR 38.

use super::mask::Mask;
use super::{Fault, ProviderError};
use crate::config::{Secret, SecretRef};
use crate::locking::lock;
use crate::receipt::{AttemptOutcome, Cause};
use async_trait::async_trait;
use http::HeaderValue;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;

/// How long a key is used before it is read again.
const FRESH_MS: u64 = 600_000;
/// After a reading, whatever came of it, there is none for this long because a key was refused or could not be read.
const PAUSE_MS: u64 = 10_000;
/// How long a reading may take.
const READ_WITHIN: Duration = Duration::from_secs(3);

/// A secret could not be read; why, for the operator, without anything of the secret (T3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unread(pub String);

/// Where secrets are kept.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// Reads a secret; `now_ms` is Unix milliseconds.
    ///
    /// # Errors
    /// Why it cannot be read, or is none.
    async fn read(&self, reference: &SecretRef, now_ms: u64) -> Result<Secret, Unread>;
}

/// A provider's key.
#[derive(Clone)]
pub enum ProviderKey {
    /// Known.
    Known(Secret),
    /// Kept there.
    Kept(SecretRef, Arc<dyn SecretSource>),
}

impl From<Secret> for ProviderKey {
    fn from(secret: Secret) -> Self {
        Self::Known(secret)
    }
}

/// A key as it goes into a header.
pub(super) struct KeyValue {
    /// What stands before it.
    scheme: &'static str,
    known: Mutex<Option<HeaderValue>>,
    kept: Option<Kept>,
}

/// Where a key is kept, and when it was read.
struct Kept {
    reference: SecretRef,
    source: Arc<dyn SecretSource>,
    /// One reading at a time.
    reading: tokio::sync::Mutex<()>,
    read_at_ms: AtomicU64,
    /// When the last reading began.
    tried_at_ms: AtomicU64,
}

impl KeyValue {
    /// The key in a header behind this scheme.
    pub(super) fn new(key: &ProviderKey, scheme: &'static str, mask: &Mask) -> Self {
        match key {
            ProviderKey::Known(secret) => {
                let value = Mutex::new(header(scheme, secret, mask));
                Self { scheme, known: value, kept: None }
            }
            ProviderKey::Kept(reference, source) => {
                let (reading, read_at_ms, tried_at_ms) = Default::default();
                let (reference, source) = (reference.clone(), source.clone());
                let kept = Kept { reference, source, reading, read_at_ms, tried_at_ms };
                Self { scheme, known: Mutex::default(), kept: Some(kept) }
            }
        }
    }

    /// The key as it is now; read, if that is due.
    pub(super) async fn now(&self, now_ms: u64, mask: &Mask) -> Option<HeaderValue> {
        let Some(kept) = &self.kept else { return self.known() };
        let is_fresh = || kept.is_within(&kept.read_at_ms, FRESH_MS, now_ms);
        let is_tried = || kept.is_within(&kept.tried_at_ms, PAUSE_MS, now_ms);
        match self.known() {
            Some(known) if is_fresh() || is_tried() => Some(known),
            Some(old) => match kept.reading.try_lock() {
                Ok(_turn) => self.read(kept, now_ms, mask).await.or(Some(old)),
                Err(_) => Some(old),
            },
            None => {
                let _turn = kept.reading.lock().await;
                match self.known() {
                    None if !is_tried() => self.read(kept, now_ms, mask).await,
                    known => known,
                }
            }
        }
    }

    /// Another key in place of one that was refused, if there is one by now.
    pub(super) async fn in_place_of(&self, refused: &HeaderValue, now_ms: u64, mask: &Mask) -> Option<HeaderValue> {
        let kept = self.kept.as_ref()?;
        let _turn = kept.reading.lock().await;
        let is_other = |value: &HeaderValue| value != refused;
        match self.known() {
            Some(known) if is_other(&known) => Some(known),
            _ if kept.is_within(&kept.tried_at_ms, PAUSE_MS, now_ms) => None,
            _ => self.read(kept, now_ms, mask).await.filter(is_other),
        }
    }

    /// The last four characters of a key that is long enough to keep the rest to itself.
    pub(super) fn last4(&self) -> String {
        let known = self.known();
        let key = known.as_ref().and_then(|known| known.to_str().ok()?.strip_prefix(self.scheme)).unwrap_or_default();
        if key.len() < 16 { "****".to_owned() } else { key[key.len() - 4..].to_owned() }
    }

    fn known(&self) -> Option<HeaderValue> {
        lock(&self.known).clone()
    }

    async fn read(&self, kept: &Kept, now_ms: u64, mask: &Mask) -> Option<HeaderValue> {
        kept.tried_at_ms.store(now_ms, Ordering::Relaxed);
        let read = timeout(READ_WITHIN, kept.source.read(&kept.reference, now_ms)).await;
        match read.unwrap_or_else(|_| Err(Unread("no answer in time".into()))) {
            Ok(secret) => {
                let value = header(self.scheme, &secret, mask);
                lock(&self.known).clone_from(&value);
                kept.read_at_ms.store(now_ms, Ordering::Relaxed);
                value
            }
            Err(why) => {
                tracing::warn!(kept = %kept.reference, %why, "a provider's key cannot be read");
                None
            }
        }
    }
}

impl Kept {
    /// Whether that was so lately; a clock that was set back does not keep it so.
    fn is_within(&self, at_ms: &AtomicU64, span_ms: u64, now_ms: u64) -> bool {
        crate::clock::is_within(span_ms, at_ms.load(Ordering::Relaxed), now_ms)
    }
}

/// A secret in a header, and never more in a text.
fn header(scheme: &str, secret: &Secret, mask: &Mask) -> Option<HeaderValue> {
    mask.learn(secret.expose());
    let mut value = HeaderValue::try_from(format!("{scheme}{}", secret.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// That a key is not to be had: nothing was sent.
pub(super) fn without_key() -> ProviderError {
    let detail = "its key cannot be read where it is kept";
    let error = ProviderError::retryable(AttemptOutcome::Reset, detail);
    ProviderError { fault: Fault::CandidateDown, cause: Some(Cause::KeyUnread), ..error }
}

#[cfg(test)]
mod tests;

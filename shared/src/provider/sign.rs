//! Who signs requests, for providers that want that in place of a key.

use async_trait::async_trait;
use http::HeaderMap;

/// A request that could not be signed; why, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsigned(pub &'static str);

/// Signs requests.
#[async_trait]
pub trait Sign: Send + Sync {
    /// The headers by which a `POST` of this body to this address is known as ours; `now_ms` is Unix milliseconds.
    ///
    /// # Errors
    /// If there is nothing to sign with.
    async fn sign(&self, url: &str, body: &[u8], now_ms: u64) -> Result<HeaderMap, Unsigned>;
}

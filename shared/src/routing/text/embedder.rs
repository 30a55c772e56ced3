//! Texts to unit vectors: the border.
//!
//! It is asynchronous and fallible because one of its implementations is: a remote `/v1/embeddings` call waits, fails and
//! costs money. Vectors of two embedders are never compared: whatever compares them has embedded all of its texts by one.

use crate::id::RequestId;
use crate::money::Usage;
use crate::provider::ProviderError;

/// Texts to embed.
#[derive(Debug, Clone, Copy)]
pub struct EmbedCall<'a> {
    /// Of any length and content.
    pub texts: &'a [&'a str],
    /// The time, in Unix milliseconds.
    pub now_ms: u64,
    /// The request that it is made for.
    pub id: RequestId,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// One of each text, in their order.
    ///
    /// # Shape
    /// `[texts][dimensions]`, each of unit length; all zero where a text says nothing (empty, white space).
    pub vectors: Vec<Vec<f32>>,
    /// What it used, if a provider says.
    pub usage: Option<Usage>,
}

/// Turns texts into points on the unit sphere, those of one meaning near each other.
#[async_trait::async_trait]
pub trait Embedder: Send + Sync {
    /// The length of every vector of this embedder.
    fn dimensions(&self) -> usize;

    /// Embeds texts. Whoever calls it bounds the wait (A4) and accounts for it (M4).
    ///
    /// # Errors
    /// If the embedder is remote and did not answer with a vector for each text.
    async fn embed(&self, call: EmbedCall<'_>) -> Result<Embedded, ProviderError>;
}

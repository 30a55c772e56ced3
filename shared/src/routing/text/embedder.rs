//! Text to a unit vector: the border.
//!
//! It is asynchronous and fallible because one of its implementations is: a remote `/v1/embeddings` call waits and fails.
//! It has one method because what compares vectors needs one.

/// Why a text has no vector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The embedder could not be called or did not answer; worth another try later.
    #[error("the embedder is unavailable: {0}")]
    Unavailable(String),
    /// The embedder answered with a vector of another length than it says it has.
    #[error("the embedder answered with {got} dimensions instead of {expected}")]
    Shape {
        /// The length that [`Embedder::dimensions`] promises.
        expected: usize,
        /// The length that came.
        got: usize,
    },
}

/// Turns a text into a point on the unit sphere, texts of one meaning near each other.
#[async_trait::async_trait]
pub trait Embedder: Send + Sync {
    /// The length of every vector of this embedder.
    fn dimensions(&self) -> usize;

    /// Embeds one text of any length and content.
    ///
    /// # Shape
    /// `[dimensions]`, of unit length; all zero where the text says nothing (empty, white space).
    ///
    /// # Errors
    /// [`EmbedError::Unavailable`] where the embedder is remote and did not answer.
    async fn embed(&self, text: &str) -> Result<Vec<f32>, EmbedError>;
}

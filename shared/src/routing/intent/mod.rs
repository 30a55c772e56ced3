//! What a request is about: text to a vector, and a vector to the intent whose utterances lie nearest.

pub mod embedder;
pub mod nearest;

pub use embedder::{EmbedError, Embedder, HashedNgrams};
pub use nearest::{Detection, IntentIndex};

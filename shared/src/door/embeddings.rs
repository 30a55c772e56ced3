//! `POST /v1/embeddings`: texts in, a vector for each of them out, in OpenAI's format.

use crate::gateway::Gateway;
use crate::request::incoming::Incoming;
use crate::request::reply::Answer;
use crate::wire::embeddings::EMBEDDINGS;
use std::sync::Arc;

impl Gateway {
    /// Serves vectors.
    pub async fn embeddings(self: &Arc<Self>, incoming: Incoming) -> Answer {
        self.serve(&EMBEDDINGS, incoming).await
    }
}

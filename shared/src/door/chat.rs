//! `POST /v1/chat/completions`.

use crate::gateway::Gateway;
use crate::pipeline;
use crate::request::incoming::Incoming;
use crate::request::reply::Answer;
use std::sync::Arc;

impl Gateway {
    /// Serves a chat completion.
    pub async fn chat(self: &Arc<Self>, incoming: Incoming) -> Answer {
        pipeline::run(self, incoming).await
    }
}

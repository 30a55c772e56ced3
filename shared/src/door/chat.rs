//! `POST /v1/chat/completions`: OpenAI's chat format in and out.

use crate::gateway::Gateway;
use crate::request::incoming::Incoming;
use crate::request::reply::Answer;
use crate::wire::openai::CHAT;
use std::sync::Arc;

impl Gateway {
    /// Serves a chat completion.
    pub async fn chat(self: &Arc<Self>, incoming: Incoming) -> Answer {
        self.serve(&CHAT, incoming).await
    }
}

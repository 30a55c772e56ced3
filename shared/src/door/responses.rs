//! `POST /v1/responses`: OpenAI's Responses in and out.

use crate::gateway::Gateway;
use crate::request::incoming::Incoming;
use crate::request::reply::Answer;
use crate::wire::responses::RESPONSES;
use std::sync::Arc;

impl Gateway {
    /// Serves a response.
    pub async fn responses(self: &Arc<Self>, incoming: Incoming) -> Answer {
        self.serve(&RESPONSES, incoming).await
    }
}

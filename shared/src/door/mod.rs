//! The doors: one file for each endpoint that clients speak to.

mod chat;
mod feedback;
mod models;
mod ready;
mod receipts;
mod responses;
mod route;

use crate::directory::authenticate::Caller;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::pipeline;
use crate::request::incoming::Incoming;
use crate::request::instructions::key_of;
use crate::request::reply::Answer;
use crate::wire::format::Format;
use crate::wire::openai::CHAT;
use http::HeaderMap;
use std::sync::Arc;

impl Gateway {
    /// Serves a request at a door of this format, which may be one that this crate does not know.
    pub async fn serve(self: &Arc<Self>, format: &'static dyn Format, incoming: Incoming) -> Answer {
        pipeline::run(self, format, incoming).await
    }

    /// The tenant that sends these headers.
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        self.authenticator.authenticate(key_of(headers), self.clock.now_ms()).await
    }
}

/// An error outside of any request's way to a model. The gateway's own endpoints lie beside OpenAI's and speak as they do.
#[must_use]
pub fn refusal(error: &Error, request_id: Option<&str>) -> Answer {
    let http = error.to_http();
    Answer::of_error(&http, CHAT.error(&http, request_id))
}

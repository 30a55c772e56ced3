//! The doors: one file for each endpoint that clients speak to.

mod chat;
mod embeddings;
mod feedback;
mod messages;
mod models;
mod ready;
mod receipts;
mod responses;
mod route;
mod status;

use crate::directory::authenticate::Caller;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::pipeline;
use crate::request::incoming::Incoming;
use crate::request::instructions::key_of;
use crate::request::reply::Answer;
use crate::wire::anthropic::MESSAGES;
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

/// The format in which whoever sends these headers to this path reads what is none of a model's answers.
#[must_use]
pub fn dialect(path: &str, headers: &HeaderMap) -> &'static dyn Format {
    let is_anthropics = path.split('/').any(|part| part == "messages") || headers.contains_key("anthropic-version");
    if is_anthropics { &MESSAGES } else { &CHAT }
}

/// An error outside of any request's way to a model. The gateway's own endpoints lie beside OpenAI's and speak as they do.
#[must_use]
pub fn refusal(error: &Error, request_id: Option<&str>) -> Answer {
    refusal_in(&CHAT, error, request_id)
}

/// The same in a client's own format.
#[must_use]
pub fn refusal_in(format: &dyn Format, error: &Error, request_id: Option<&str>) -> Answer {
    let http = error.to_http();
    Answer::of_error(&http, format.error(&http, request_id))
}

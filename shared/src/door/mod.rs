//! The doors: one file for each endpoint that clients speak to.

mod chat;
mod models;
mod ready;
mod receipts;
mod route;

use crate::directory::authenticate::Caller;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::request::instructions::key_of;
use http::HeaderMap;

impl Gateway {
    /// The tenant that sends these headers.
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        self.authenticator.authenticate(key_of(headers), self.clock.now_ms()).await
    }
}

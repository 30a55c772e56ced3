//! `POST /v1/messages` and `POST /v1/messages/count_tokens`: Anthropic's format in and out.

use crate::apart::{BODIES, apart};
use crate::catalog::Model;
use crate::error::Error;
use crate::estimate::told_tokens;
use crate::gateway::Gateway;
use crate::id::RequestId;
use crate::limit::budget::{REQUEST_BYTES, Room};
use crate::provider::{Call, Fault};
use crate::request::incoming::Incoming;
use crate::request::reply::Answer;
use crate::routing::decide::decide;
use crate::stage::admit::rate::admit_call;
use crate::wire::anthropic::{COUNT, MESSAGES};
use crate::wire::request::Request;
use http::{HeaderName, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Where this format's clients look for a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

impl Gateway {
    /// Serves a message.
    pub async fn messages(self: &Arc<Self>, incoming: Incoming) -> Answer {
        let mut answer = self.serve(&MESSAGES, incoming).await;
        let id = answer.headers.get("x-request-id").cloned();
        answer.headers.extend(id.map(|id| (REQUEST_ID, id)));
        answer
    }

    /// Counts the tokens of a request for a message: as the provider does that it would go to, if that counts any, else by an
    /// estimate. It takes one from the rate of requests and nothing from the quotas.
    ///
    /// # Errors
    /// As for a message, but for what only an answer needs; and what the provider finds wrong with the request.
    pub async fn count_tokens(&self, incoming: Incoming) -> Result<Answer, Error> {
        let mut caller = self.caller(&incoming.headers).await?;
        admit_call(self, &mut caller).await?;
        let room = self.budget.room(&caller.tenant.uid);
        room.grow(REQUEST_BYTES)?;
        let body = incoming.body.read(&room).await?;
        let mut request = apart(&BODIES, body.len(), move || Request::read(&COUNT, body)).await?;
        request.carry(&incoming.headers)?;
        let decision = decide(&self.config, &self.intents, &caller, &request)?;
        let counted = match decision.candidates.first() {
            Some(model) => self.counted(model, &request, &room).await?,
            None => None,
        };
        let input_tokens = counted.unwrap_or_else(|| told_tokens(&request.facts));
        Ok(Answer::json(StatusCode::OK, &json!({"input_tokens": input_tokens})))
    }

    /// What the provider counts; none if it does not, or not now.
    async fn counted(&self, model: &Model, request: &Request, room: &Room) -> Result<Option<u64>, Error> {
        let now_ms = self.clock.now_ms();
        let (id, patience) = (RequestId::new(now_ms), Duration::from_millis(model.timeouts.idle_ms));
        let call = Call { model, request, max_output_tokens: 1, stream: false, ask_logprobs: false, now_ms, id, room };
        match timeout(patience, self.provider(model).count_tokens(call)).await {
            Ok(Some(Ok(tokens))) => Ok(Some(tokens)),
            Ok(Some(Err(error))) => {
                let status = error.status_to_tell();
                match error.fault {
                    Fault::CallerFault(objection) | Fault::Refused(objection) => {
                        Err(Error::Provider { status, objection: *objection })
                    }
                    _ => Ok(None),
                }
            }
            Ok(None) | Err(_) => Ok(None),
        }
    }
}

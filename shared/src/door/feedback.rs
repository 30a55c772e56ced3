//! `POST /v1/receipts/{id}/feedback`: what a tenant says of one of its answers.

use crate::error::Error;
use crate::feedback::{Feedback, InvalidFeedback, MAX_BODY_BYTES};
use crate::gateway::Gateway;
use crate::id::RequestId;
use crate::limit::budget::REQUEST_BYTES;
use crate::request::incoming::Incoming;
use crate::request::reply::Answer;
use crate::stage::admit::rate::admit_call;
use http::StatusCode;
use serde_json::json;

impl Gateway {
    /// `POST /v1/receipts/{id}/feedback`: keeps what is said of one of this tenant's receipts (T1), in place of what was said
    /// before. It takes one from the rate of requests and nothing from the quotas.
    ///
    /// # Errors
    /// 400 that names the field, 401 and 403 as for any request, 404 for a receipt that is not this tenant's or not there
    /// yet, 413 for too long a body, 429 beyond the rate, 503 while the ledger is down: then it is not kept.
    pub async fn feedback(&self, incoming: Incoming, id: &str) -> Result<Answer, Error> {
        let mut caller = self.caller(&incoming.headers).await?;
        admit_call(self, &mut caller).await?;
        let uid = caller.tenant.uid.clone();
        let room = self.budget.room(&uid);
        room.grow(REQUEST_BYTES)?;
        let body = incoming.body.read(&room).await?;
        if body.len() > MAX_BODY_BYTES {
            return Err(Error::TooLarge { limit_bytes: MAX_BODY_BYTES });
        }
        let now_ms = self.clock.now_ms();
        let feedback = Feedback::read(&body, now_ms)?;
        let id: RequestId = id.parse().map_err(|_| Error::NoReceipt)?;
        match self.ledger.keep_feedback(&uid, id, &feedback, now_ms).await {
            Ok(true) => Ok(Answer::json(StatusCode::OK, &json!({"id": id, "feedback": feedback}))),
            Ok(false) => Err(Error::NoReceipt),
            Err(error) => Err(Error::Unavailable(error.to_string())),
        }
    }
}

impl From<InvalidFeedback> for Error {
    fn from(InvalidFeedback { field: param, message }: InvalidFeedback) -> Self {
        Self::InvalidRequest { param, message }
    }
}

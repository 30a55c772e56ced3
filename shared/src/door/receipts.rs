//! `GET /v1/receipts/{id}`: what one request did.

use crate::error::Error;
use crate::gateway::Gateway;
use crate::id::RequestId;
use crate::request::reply::Answer;
use http::{HeaderMap, StatusCode};

impl Gateway {
    /// `GET /v1/receipts/{id}`: what one of this tenant's requests did (T1).
    ///
    /// # Errors
    /// 401 and 403 as for any request, 404 for a receipt that is not this tenant's, 503 while the ledger is down.
    pub async fn receipt(&self, headers: &HeaderMap, id: &str) -> Result<Answer, Error> {
        let caller = self.caller(headers).await?;
        let id: RequestId = id.parse().map_err(|_| Error::NoReceipt)?;
        let found = self.ledger.receipt(&caller.tenant.uid, id, self.clock.now_ms()).await;
        let receipt = found.map_err(|e| Error::Unavailable(e.to_string()))?.ok_or(Error::NoReceipt)?;
        Ok(Answer::json(StatusCode::OK, &serde_json::to_value(receipt).unwrap_or_default()))
    }
}

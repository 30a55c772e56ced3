//! `/admin/receipts/{receipt}?tenant=`: what one request did. The tenant must be named: a receipt is found under the tenant
//! whose it is and no other (T1), for the operator as for the tenant itself.

use crate::Plane;
use crate::ask::{Names, Params};
use crate::guard::{Outcome, reply};
use axum::extract::State;
use gateway_core::error::Error;
use gateway_core::id::RequestId;
use http::StatusCode;
use std::sync::Arc;

/// `GET /admin/receipts/{receipt}`
pub(crate) async fn show(State(plane): State<Arc<Plane>>, Names(id): Names<String>, mut params: Params) -> Outcome {
    let tenant =
        params.take("tenant").ok_or_else(|| Error::invalid("tenant", "Say whose receipt it is: `?tenant=…`."))?;
    params.finish()?;
    let id: RequestId = id.parse().map_err(|_| Error::NotFound)?;
    let (uid, now_ms) = (plane.uid_of(&tenant).await?, plane.gateway.clock.now_ms());
    let receipt = plane.gateway.ledger.receipt(&uid, id, now_ms).await?.ok_or(Error::NotFound)?;
    let receipt = serde_json::to_value(receipt).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(reply(StatusCode::OK, &receipt))
}

//! `/admin/receipts/{receipt}?tenant=`: what one request did. The tenant must be named: a receipt is found under the tenant
//! whose it is and no other (T1), for the operator as for the tenant itself.
//!
//! `/admin/receipts?tenant=` has those of one tenant, newest first; without a tenant it goes through those of all, for who
//! wants to add up what no total has. Each page is what one read of the backend brings, and may be empty though more follow.

use crate::Plane;
use crate::ask::{Names, Params};
use crate::guard::{Outcome, reply};
use crate::metrics::span;
use axum::extract::State;
use gateway_core::clock::DAY_MS;
use gateway_core::error::Error;
use gateway_core::id::RequestId;
use gateway_core::ledger::ReceiptQuery;
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;

/// For how long receipts are shown.
const KEPT_MS: u64 = 30 * DAY_MS;

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

/// `GET /admin/receipts`
pub(crate) async fn list(State(plane): State<Arc<Plane>>, mut params: Params) -> Outcome {
    let now_ms = plane.gateway.clock.now_ms();
    let created_ms = span(&mut params)?;
    let (tenant, cursor) = (params.take("tenant"), params.cursor());
    params.finish()?;
    let created_ms = now_ms.saturating_sub(KEPT_MS).max(*created_ms.start())..=*created_ms.end();
    let tenant = match tenant {
        Some(name) => Some(plane.uid_of(&name).await?),
        None => None,
    };
    let query = ReceiptQuery { tenant, created_ms };
    let page = plane.gateway.ledger.receipts(&query, cursor.as_deref()).await?;
    let rows = serde_json::to_value(page.data).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(reply(StatusCode::OK, &json!({"data": rows, "next": page.next})))
}

//! `/admin/audit`: who changed what, newest first. The entries are written by the directory, each in one transaction with
//! its change; here they are only read.

use crate::Plane;
use crate::ask::{Params, ROWS};
use crate::guard::{Outcome, reply};
use axum::extract::State;
use gateway_core::directory::DirectoryError;
use gateway_core::error::Error;
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;

/// `GET /admin/audit`
pub(crate) async fn list(State(plane): State<Arc<Plane>>, mut params: Params) -> Outcome {
    let (cursor, limit) = (params.cursor(), params.limit()?.unwrap_or(ROWS));
    params.finish()?;
    let page = plane.gateway.directory.audit(cursor.as_deref(), limit).await;
    let page = page.map_err(|error| match error {
        DirectoryError::Missing => Error::invalid("cursor", "It must be the `next` of an earlier answer.").into(),
        other => crate::guard::Failure::from(other),
    })?;
    Ok(reply(StatusCode::OK, &json!({"data": page.data, "next": page.next})))
}

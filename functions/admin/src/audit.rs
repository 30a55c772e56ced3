//! `/admin/audit`: who changed what, newest first. The entries are written by the directory, each in one transaction with
//! its change; here they are only read: all, or those of an admin (`who`), a kind of change (`what`: `key`, `key.revoke`), a
//! thing (`subject`: a tenant with its keys, or one key) and a time (`from`, `to`).

use crate::Plane;
use crate::ask::{Params, ROWS};
use crate::guard::{Outcome, reply};
use crate::metrics::span;
use crate::pages::some;
use axum::extract::State;
use gateway_core::directory::{AuditEntry, DirectoryError};
use gateway_core::error::Error;
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;

/// `GET /admin/audit`
pub(crate) async fn list(State(plane): State<Arc<Plane>>, mut params: Params) -> Outcome {
    let (cursor, limit) = (params.cursor(), params.limit()?.unwrap_or(ROWS));
    let [who, what, subject] = ["who", "what", "subject"].map(|name| params.take(name));
    let at_ms = span(&mut params)?;
    params.finish()?;
    let is_within = |wanted: &Option<String>, text: &str, mark: char| {
        let is_of = |wanted: &String| {
            text.strip_prefix(&**wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(mark))
        };
        wanted.as_ref().is_none_or(is_of)
    };
    let keep = |entry: &AuditEntry| {
        who.as_ref().is_none_or(|who| *who == entry.who)
            && is_within(&what, &entry.what, '.')
            && is_within(&subject, &entry.subject, '/')
            && at_ms.contains(&entry.at_ms)
    };
    let page =
        some(&*plane.gateway.directory, |all, cursor, limit| all.audit(cursor, limit), cursor, limit, keep).await;
    let page = page.map_err(|error| match error {
        DirectoryError::Missing => Error::invalid("cursor", "It must be the `next` of an earlier answer.").into(),
        other => crate::guard::Failure::from(other),
    })?;
    Ok(reply(StatusCode::OK, &json!({"data": page.data, "next": page.next})))
}

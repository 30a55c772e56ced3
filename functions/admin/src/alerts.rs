//! `/admin/alerts`: what operators were told of, and whether they can be.

use crate::Plane;
use crate::ask::Params;
use crate::guard::{Outcome, reply};
use axum::extract::State;
use gateway_core::alerts::delivery::Posted;
use gateway_core::error::Error;
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a receiver may take.
const WITHIN: Duration = Duration::from_secs(10);

/// `GET /admin/alerts`: the latest, newest first.
pub(crate) async fn list(State(plane): State<Arc<Plane>>, params: Params) -> Outcome {
    params.finish()?;
    let alerts = plane.gateway.ledger.alerts().await?;
    let data: Vec<Value> = alerts.iter().map(Posted::to_json).collect();
    Ok(reply(StatusCode::OK, &json!({"data": data, "next": null})))
}

/// `POST /admin/alerts/test`: tries the configuration's destinations, or a `tenant`'s, once, and answers what they said.
pub(crate) async fn test(State(plane): State<Arc<Plane>>, mut params: Params) -> Outcome {
    let id = params.take("tenant");
    params.finish()?;
    let tenant = match id {
        Some(id) => Some(plane.resolved(&plane.record(&id).await?)?),
        None => None,
    };
    let tested = plane.gateway.test_alerts(tenant.as_ref(), WITHIN).await;
    if tested.deliveries.is_empty() {
        return Err(Error::invalid("alerts", "The configuration names nobody who is told: see [alerts].").into());
    }
    Ok(reply(StatusCode::OK, &tested.to_json()))
}

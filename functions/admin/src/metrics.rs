//! `/admin/metrics`: what this process has seen, of every model in the catalog and of those beside it that were called.

use crate::Plane;
use crate::guard::{Outcome, reply};
use crate::quota::DEGRADED;
use axum::extract::State;
use http::StatusCode;
use std::sync::Arc;

/// `GET /admin/metrics`
pub(crate) async fn show(State(plane): State<Arc<Plane>>) -> Outcome {
    let gateway = &plane.gateway;
    let mut names: Vec<Arc<str>> = gateway.config.catalog.models.iter().map(|model| model.name.clone()).collect();
    // A client may name a simulated model that no list has.
    let seen = gateway.metrics.models().into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>();
    names.extend(seen);
    let health = plane.health(&names).await;
    let mut answer = reply(StatusCode::OK, &gateway.metrics.told(&names, &health.models, &gateway.config.health));
    answer.headers_mut().extend(health.is_down.then_some(DEGRADED));
    Ok(answer)
}

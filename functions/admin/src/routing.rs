//! `/admin/route`: what would be decided about a prompt of a tenant's; `/admin/replay`: what its receipts say of the dial.

use crate::Plane;
use crate::ask::{JsonBody, Params};
use crate::guard::{Outcome, reply};
use crate::metrics::instant;
use axum::extract::State;
use gateway_core::clock::DAY_MS;
use gateway_core::error::Error;
use gateway_core::ledger::ReceiptQuery;
use gateway_core::routing::replay::{Replay, usual_dials};
use http::StatusCode;
use std::sync::Arc;

/// Since when receipts are replayed, where it is not said.
const REPLAYED_MS: u64 = 7 * DAY_MS;
/// Pages of receipts that one call reads: some ten thousand receipts, so that it ends within a function's time.
const PAGES: usize = 16;

/// `POST /admin/route?tenant=`: nothing is dispatched, and nothing counted.
pub(crate) async fn decide(State(plane): State<Arc<Plane>>, mut params: Params, body: JsonBody) -> Outcome {
    let id = params.take("tenant").ok_or_else(|| Error::invalid("tenant", "Say whose request: `?tenant=…`."))?;
    params.finish()?;
    let tenant = plane.resolved(&plane.record(&id).await?)?;
    let request = body.required()?.to_string();
    Ok(reply(StatusCode::OK, &plane.gateway.would_route(tenant, request.into()).await?))
}

/// `GET /admin/replay`: each setting of the dial over the receipts of a time, and whether those were all of it.
pub(crate) async fn replay(State(plane): State<Arc<Plane>>, mut params: Params) -> Outcome {
    let now_ms = plane.gateway.clock.now_ms();
    let from_ms = instant(&mut params, "from")?.map_or(now_ms.saturating_sub(REPLAYED_MS), |(from_ms, _)| from_ms);
    let name = params.take("tenant");
    params.finish()?;
    let tenant = match name {
        Some(name) => Some(plane.uid_of(&name).await?),
        None => None,
    };
    let query = ReceiptQuery { tenant, created_ms: from_ms..=u64::MAX };
    let mut replay = Replay::new(&plane.gateway.config.catalog, &usual_dials());
    let mut cursor = None;
    for _ in 0..PAGES {
        let page = plane.gateway.ledger.receipts(&query, cursor.as_deref()).await?;
        page.data.iter().for_each(|receipt| replay.add(receipt));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let mut told = replay.to_json();
    told["from_ms"] = from_ms.into();
    told["is_all"] = cursor.is_none().into();
    Ok(reply(StatusCode::OK, &told))
}

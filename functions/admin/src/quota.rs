//! `/admin/tenants/{tenant}/usage`: what a tenant has used and holds in its windows now.
//!
//! The store has the live figures, holds included. A window that it does not have was lost or never used; the ledger
//! then says what was used (M5), and nothing is held. So it does while the store is down, and a header says so.

use crate::Plane;
use crate::ask::Names;
use crate::guard::{Failure, Outcome, reply};
use axum::extract::State;
use gateway_core::limit::window::Window;
use gateway_core::money::{Amounts, format_usd};
use gateway_core::store::{StoreError, WindowUse};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// The header that says which backends were down.
pub(crate) const DEGRADED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-gateway-degraded"), HeaderValue::from_static("store"));

fn counted(used: u64, held: u64, limit: Option<u64>) -> Value {
    json!({"used": used, "held": held, "limit": limit})
}

fn money(used: u64, held: u64, limit: Option<u64>) -> Value {
    json!({"used": format_usd(used), "held": format_usd(held), "limit": limit.map(format_usd)})
}

fn span(window: &Window) -> Value {
    json!({"starts_at_ms": window.starts_at_ms, "resets_at_ms": window.resets_at_ms})
}

impl Plane {
    /// What a window used and holds, from what the store knows of it.
    async fn known(&self, tenant: &str, window: &Window, live: Option<WindowUse>) -> Result<WindowUse, Failure> {
        match live {
            Some(live) => Ok(live),
            None => {
                let used = self.gateway.ledger.totals(tenant, window).await?.used;
                Ok(WindowUse { used, held: Amounts::default() })
            }
        }
    }
}

/// `GET /admin/tenants/{tenant}/usage`
pub(crate) async fn show(State(plane): State<Arc<Plane>>, Names(id): Names<String>) -> Outcome {
    let tenant = plane.resolved(&plane.record(&id).await?)?;
    let (uid, settings) = (&tenant.uid, &tenant.settings);
    let now_ms = plane.gateway.clock.now_ms();
    let windows = [Window::day(now_ms, settings.window_anchor_ms), Window::month(now_ms)];
    let live = plane.gateway.store.counters().usage(uid, &windows, now_ms).await;
    let is_down = live.as_ref().is_err_and(|StoreError(why)| {
        tracing::warn!(why, "the live windows are not to be had; the ledger's are shown");
        true
    });
    plane.gateway.record_expired_holds(uid).await;
    let live = live.unwrap_or_default();
    let live_of = |place: usize| live.get(place).copied().flatten();
    let [day, month] =
        [plane.known(uid, &windows[0], live_of(0)).await?, plane.known(uid, &windows[1], live_of(1)).await?];
    let limits = &settings.limits;
    let mut answer = reply(
        StatusCode::OK,
        &json!({
            "window": span(&windows[0]),
            "requests": counted(day.used.requests, day.held.requests, limits.daily_requests),
            "tokens": counted(day.used.tokens, day.held.tokens, limits.daily_tokens),
            "cost_usd": money(day.used.cost_nusd, day.held.cost_nusd, limits.daily_cost_nusd),
            "month": {
                "window": span(&windows[1]),
                "cost_usd": money(month.used.cost_nusd, month.held.cost_nusd, limits.monthly_cost_nusd),
            },
        }),
    );
    answer.headers_mut().extend(is_down.then_some(DEGRADED));
    Ok(answer)
}

//! `/admin/tenants/{tenant}/usage` and `…/keys/{key}/usage`: what a tenant, or one of its keys, has used and holds in its windows
//! now.
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
use gateway_core::tenant::{Limits, Tenant};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// The header that says which backends were down.
pub(crate) const DEGRADED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-gateway-degraded"), HeaderValue::from_static("store"));

/// A unit of a window; `null` where that is not counted.
fn counted(of: Option<WindowUse>, unit: impl Fn(Amounts) -> u64, limit: Option<u64>) -> Value {
    json!({"used": of.map(|of| unit(of.used)), "held": of.map(|of| unit(of.held)), "limit": limit})
}

fn money(of: Option<WindowUse>, limit: Option<u64>) -> Value {
    let usd = |amounts: Amounts| format_usd(amounts.cost_nusd);
    json!({"used": of.map(|of| usd(of.used)), "held": of.map(|of| usd(of.held)), "limit": limit.map(format_usd)})
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
    /// What is used and held of a day and a month, as far as they are counted, with these limits.
    async fn usage(&self, uid: &str, windows: [Window; 2], are_counted: [bool; 2], limits: &Limits) -> Outcome {
        let live = self.gateway.store.counters().usage(uid, &windows, self.gateway.clock.now_ms()).await;
        let is_down = live.as_ref().is_err_and(|StoreError(why)| {
            tracing::warn!(why, "the live windows are not to be had; the ledger's are shown");
            true
        });
        self.gateway.record_expired_holds(uid).await;
        let (live, mut known) = (live.unwrap_or_default(), [None; 2]);
        for (place, known) in known.iter_mut().enumerate().filter(|(place, _)| are_counted[*place]) {
            *known = Some(self.known(uid, &windows[place], live.get(place).copied().flatten()).await?);
        }
        let [day, month] = known;
        let mut answer = reply(
            StatusCode::OK,
            &json!({
                "window": span(&windows[0]),
                "requests": counted(day, |amounts| amounts.requests, limits.daily_requests),
                "tokens": counted(day, |amounts| amounts.tokens, limits.daily_tokens),
                "cost_usd": money(day, limits.daily_cost_nusd),
                "month": {"window": span(&windows[1]), "cost_usd": money(month, limits.monthly_cost_nusd)},
            }),
        );
        answer.headers_mut().extend(is_down.then_some(DEGRADED));
        Ok(answer)
    }
}

/// The day and the month that a tenant is in.
fn windows(tenant: &Tenant, now_ms: u64) -> [Window; 2] {
    [Window::day(now_ms, tenant.settings.window_anchor_ms), Window::month(now_ms)]
}

/// `GET /admin/tenants/{tenant}/usage`
pub(crate) async fn show(State(plane): State<Arc<Plane>>, Names(id): Names<String>) -> Outcome {
    let tenant = plane.resolved(&plane.record(&id).await?)?;
    let windows = windows(&tenant, plane.gateway.clock.now_ms());
    plane.usage(&tenant.uid, windows, [true; 2], &tenant.settings.limits).await
}

/// `GET /admin/tenants/{tenant}/keys/{key}/usage`: of the key, and of those that were rotated into it. What it uses is counted
/// apart only while it has a limit of its own.
pub(crate) async fn show_key(State(plane): State<Arc<Plane>>, Names((id, key)): Names<(String, String)>) -> Outcome {
    let tenant = plane.resolved(&plane.record(&id).await?)?;
    let key = plane.key(&id, &key).await?;
    let (lineage, limits) = (key.lineage(), key.limits.unwrap_or_default());
    let windows = windows(&tenant, plane.gateway.clock.now_ms()).map(|window| window.of_key(lineage));
    plane.usage(&tenant.uid, windows, limits.windows(), &limits).await
}

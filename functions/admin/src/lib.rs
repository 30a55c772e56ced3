//! The control plane: tenants, their keys, what they used, and how the gateway does.
//!
//! One noun per file. Every handler is a short ladder: read the request, look up what it is about, change the
//! directory, inform the store. `guard` stands around all of them, so that nothing here answers a caller without a
//! token, and so that errors become HTTP in one place. Two things hold for every change: it is in the audit log,
//! because the directory takes no change without an entry, and it is effective with the next request (T2), because the
//! store gets the tenant's new version (`change`).

mod admins;
mod alerts;
mod ask;
mod audit;
mod caller;
mod change;
mod csv;
mod dashboard;
mod data;
mod guard;
mod idempotency;
mod keys;
mod metrics;
mod models;
mod names;
mod openmetrics;
mod owner;
mod pages;
mod precondition;
mod quota;
mod receipts;
mod routing;
mod tenants;
mod usage;

pub use owner::{OwnerToken, UnfitToken};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, delete, get, post};
use gateway_core::gateway::Gateway;
use gateway_host::openapi;
use gateway_host::routes::Routes;
use std::sync::Arc;

/// No setting of a tenant comes near this.
const MAX_BODY_BYTES: usize = 1 << 20;

/// What there is, for those who ask for something else.
const ROUTES: Routes = Routes(&[
    ("GET, HEAD", "/admin/"),
    ("GET, HEAD, POST", "/admin/tenants"),
    ("DELETE, GET, HEAD, PATCH", "/admin/tenants/{tenant}"),
    ("DELETE", "/admin/tenants/{tenant}/cache"),
    ("DELETE", "/admin/tenants/{tenant}/data"),
    ("GET, HEAD", "/admin/tenants/{tenant}/usage"),
    ("GET, HEAD, POST", "/admin/tenants/{tenant}/keys"),
    ("DELETE, GET, HEAD, PATCH", "/admin/tenants/{tenant}/keys/{key}"),
    ("POST", "/admin/tenants/{tenant}/keys/{key}/rotate"),
    ("GET, HEAD", "/admin/tenants/{tenant}/keys/{key}/usage"),
    ("GET, HEAD, POST", "/admin/admins"),
    ("DELETE, GET, HEAD, PATCH", "/admin/admins/{admin}"),
    ("POST", "/admin/admins/{admin}/rotate"),
    ("GET, HEAD", "/admin/me"),
    ("GET, HEAD", "/admin/usage"),
    ("GET, HEAD", "/admin/metrics"),
    ("GET, HEAD", "/metrics"),
    ("GET, HEAD", "/admin/models"),
    ("GET, HEAD", "/admin/receipts"),
    ("GET, HEAD", "/admin/receipts/{receipt}"),
    ("GET, HEAD", "/admin/audit"),
    ("POST", "/admin/route"),
    ("GET, HEAD", "/admin/alerts"),
    ("POST", "/admin/alerts/test"),
    ("GET, HEAD", "/admin/replay"),
]);

/// What every handler works on.
struct Plane {
    gateway: Arc<Gateway>,
    owner: OwnerToken,
}

/// The control plane, to be merged with the data plane's router: everything at and under `/admin`, whatever is not there
/// included, `/metrics`, and no fallback.
pub fn router(gateway: Arc<Gateway>, owner: OwnerToken) -> Router {
    guarded(routes(), gateway, owner)
}

/// The control plane in a process of its own, which answers every path. The description of the planes needs no token.
pub fn standalone(gateway: Arc<Gateway>, owner: OwnerToken) -> Router {
    let open = Router::new().route("/openapi.yaml", get(openapi::show));
    guarded(routes().fallback(guard::nothing_here), gateway, owner).merge(open)
}

fn routes() -> Router<Arc<Plane>> {
    Router::new()
        .route("/admin/tenants", get(tenants::list).post(tenants::create))
        .route("/admin/tenants/{tenant}", get(tenants::show).patch(tenants::update).delete(tenants::delete))
        .route("/admin/tenants/{tenant}/cache", delete(tenants::purge_cache))
        .route("/admin/tenants/{tenant}/data", delete(data::erase))
        .route("/admin/tenants/{tenant}/usage", get(quota::show))
        .route("/admin/tenants/{tenant}/keys", get(keys::list).post(keys::create))
        .route("/admin/tenants/{tenant}/keys/{key}", get(keys::show).patch(keys::update).delete(keys::revoke))
        .route("/admin/tenants/{tenant}/keys/{key}/rotate", post(keys::rotate))
        .route("/admin/tenants/{tenant}/keys/{key}/usage", get(quota::show_key))
        .route("/admin/admins", get(admins::list).post(admins::create))
        .route("/admin/admins/{admin}", get(admins::show).patch(admins::update).delete(admins::delete))
        .route("/admin/admins/{admin}/rotate", post(admins::rotate))
        .route("/admin/me", get(admins::me))
        .route("/admin/usage", get(usage::list))
        .route("/admin/metrics", get(metrics::show))
        .route("/metrics", get(metrics::scrape))
        .route("/admin/models", get(models::list))
        .route("/admin/receipts", get(receipts::list))
        .route("/admin/receipts/{receipt}", get(receipts::show))
        .route("/admin/audit", get(audit::list))
        .route("/admin/route", post(routing::decide))
        .route("/admin/alerts", get(alerts::list))
        .route("/admin/alerts/test", post(alerts::test))
        .route("/admin/replay", get(routing::replay))
        .route("/admin/{*rest}", any(guard::nothing_here))
}

fn guarded(routes: Router<Arc<Plane>>, gateway: Arc<Gateway>, owner: OwnerToken) -> Router {
    let plane = Arc::new(Plane { gateway, owner });
    routes
        .method_not_allowed_fallback(guard::not_so)
        .layer(from_fn_with_state(plane.clone(), guard::guard))
        .with_state(plane)
        .merge(dashboard::routes())
}

#[cfg(test)]
mod tests {
    use super::{ROUTES, openapi};
    use std::collections::BTreeSet;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let is_here = |path: &str| path.starts_with("/admin") || path == "/metrics";
        let described: BTreeSet<_> = openapi::operations()
            .filter(|(_, path)| is_here(path))
            .map(|(method, path)| format!("{method} {path}"))
            .collect();
        let routes = ROUTES.0.iter().flat_map(|(methods, path)| {
            let methods = methods.split(", ").filter(|method| *method != "HEAD");
            methods.map(move |method| format!("{method} {path}"))
        });
        assert_eq!(described, routes.collect::<BTreeSet<_>>());
    }
}

//! Who makes a request, and what they may.
//!
//! A named admin is read from the directory with every request and kept nowhere: one who is deleted, demoted, rotated or past
//! the expiry is so with the next request, in every process. The bootstrap owner is in no directory, so there is always an owner,
//! and nobody can lock everybody out. What may be done follows from method and route alone; a route that changes something
//! is closed to viewers though nobody thought of it here.

use crate::Plane;
use crate::guard::Failure;
use crate::idempotency::Seed;
use axum::extract::{FromRequestParts, MatchedPath};
use gateway_core::admin::{AdminRecord, Role};
use gateway_core::error::Error;
use gateway_core::tenant::key::ApiKey;
use gateway_host::client::ClientAddress;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use std::net::IpAddr;
use std::sync::Arc;

/// The id and name of whoever has the token that the process was started with.
const BOOTSTRAP: &str = "bootstrap";
const NO_TOKEN: Error = Error::InvalidApiKey("Send an admin's token as `authorization: Bearer …`.");

/// Who makes a request, and from where. A handler that takes it runs after the guard.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) id: Arc<str>,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) expires_at_ms: Option<u64>,
    pub(crate) from: Option<IpAddr>,
    /// Where the request may be sent again.
    pub(crate) seed: Option<Seed>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let unguarded = || Error::Internal("a handler without a guard".to_owned());
        Ok(parts.extensions.get().cloned().ok_or_else(unguarded)?)
    }
}

impl Plane {
    /// Whoever makes this request, if their role is enough for it.
    pub(crate) async fn admitted(&self, request: &Parts) -> Result<Caller, Failure> {
        let caller = self.caller(request).await?;
        let needed = needed(&request.method, request.extensions.get());
        if caller.role < needed {
            return Err(Error::RoleNeeded { needed, has: caller.role }.into());
        }
        Ok(caller)
    }

    async fn caller(&self, request: &Parts) -> Result<Caller, Failure> {
        let from = request.extensions.get().map(|&ClientAddress(address)| address);
        let token = bearer(&request.headers).ok_or(NO_TOKEN)?;
        if self.owner.is(token, &self.gateway.hasher) {
            let (id, name) = (BOOTSTRAP.into(), BOOTSTRAP.to_owned());
            return Ok(Caller { id, name, role: Role::Owner, expires_at_ms: None, from, seed: None });
        }
        let token = ApiKey::parse_admin(token).ok_or(NO_TOKEN)?;
        let found = self.gateway.directory.find_admin(&self.gateway.hasher.hash(token.reveal())).await;
        let unread = |error| Failure::said(error, "Your token was NOT checked", "nothing was done");
        let AdminRecord { id, name, role, expires_at_ms, .. } = found.map_err(unread)?.ok_or(NO_TOKEN)?;
        if expires_at_ms.is_some_and(|at_ms| at_ms <= self.gateway.clock.now_ms()) {
            return Err(Error::InvalidApiKey("This token has expired; an owner can rotate it.").into());
        }
        Ok(Caller { id, name, role, expires_at_ms, from, seed: None })
    }
}

/// The least role that may ask this.
fn needed(method: &Method, route: Option<&MatchedPath>) -> Role {
    let route = route.map(MatchedPath::as_str).unwrap_or_default();
    match *method {
        Method::GET | Method::HEAD => Role::Viewer,
        // It says what would be decided, and does nothing.
        Method::POST if route == "/admin/route" => Role::Viewer,
        _ if route.starts_with("/admin/admins") => Role::Owner,
        _ => Role::Operator,
    }
}

/// The token of `authorization: Bearer TOKEN`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

//! `idempotency-key` on what makes something: sent again, it is done once and answered the same.
//!
//! The key is claimed in the ledger, as the data plane's are, for one admin and 24 hours. A secret that was made is not kept with
//! the answer (T3): where there is an idempotency key the secret is derived from the gateway's own and the claim's random name,
//! and derived again for who asks again. If the process dies in between, the claim ends after half a minute, and who
//! asks again may find that it was done: a tenant that exists (409), or a key that nobody has seen.

use crate::Plane;
use crate::caller::Caller;
use crate::guard::{Failure, reply};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gateway_core::error::Error;
use gateway_core::id::RequestId;
use gateway_core::ledger::{Begun, IdempotencyKey};
use gateway_core::tenant::key::ApiKey;
use http::header::ETAG;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// By when a request has ended: longer than Lambda lets it run.
const LEASE_MS: u64 = 30_000;
/// The fields of answers that show a secret.
const SECRETS: [&str; 2] = ["key", "token"];

/// What is kept of an answer.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    etag: Option<String>,
    body: Value,
}

/// What an admin's request makes its secrets of, if it may be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Seed(RequestId);

impl Plane {
    /// A key of the data plane, which is the same when its request is sent again.
    pub(crate) fn secret(&self, by: &Caller) -> ApiKey {
        by.seed.as_ref().map_or_else(ApiKey::generate, |seed| ApiKey::derive(&self.gateway.hasher, &seed.purpose()))
    }

    /// An admin's token, in the same way.
    pub(crate) fn admin_secret(&self, by: &Caller) -> ApiKey {
        let derived = |seed: &Seed| ApiKey::derive_admin(&self.gateway.hasher, &seed.purpose());
        by.seed.as_ref().map_or_else(ApiKey::generate_admin, derived)
    }

    /// Runs a request, or answers it as it was answered before.
    pub(crate) async fn once(
        &self,
        id: RequestId,
        mut caller: Caller,
        mut parts: Parts,
        body: Body,
        next: Next,
    ) -> Response {
        let claim = match claimed(&parts, &caller, |text| self.gateway.hasher.hash(text).0) {
            Ok(claim) => claim,
            Err(error) => return Failure(error).into_response(),
        };
        let Some(key) = claim else { return run(parts, caller, body, next).await };
        let Ok(body) = to_bytes(body, crate::MAX_BODY_BYTES).await else {
            return Failure(Error::TooLarge { limit_bytes: crate::MAX_BODY_BYTES }).into_response();
        };
        let asked = format!("{} {}\n{}", parts.method, parts.uri, String::from_utf8_lossy(&body));
        let (ledger, now_ms) = (&self.gateway.ledger, self.gateway.clock.now_ms());
        let hash = self.gateway.hasher.hash(&asked).0;
        match ledger.begin(&key, hash, id, now_ms + LEASE_MS, now_ms).await {
            Ok(Begun::Fresh) => {}
            Ok(Begun::Running) => return Failure(Error::IdempotencyInProgress).into_response(),
            Ok(Begun::Mismatch) => return Failure(Error::IdempotencyMismatch).into_response(),
            Ok(Begun::Done(kept)) => return self.again(&kept).unwrap_or_else(|error| Failure(error).into_response()),
            Err(error) => return Failure(unkept(error.to_string())).into_response(),
        }
        caller.seed = Some(Seed(id));
        parts.headers.remove(HEADER);
        let (head, body) = run(parts, caller, Body::from(body), next).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let is_done = head.status.is_success() && head.extensions.get::<Failure>().is_none();
        let kept = is_done.then(|| kept(id, &head, &body)).flatten();
        if let Err(error) = ledger.finish(&key, id, kept, self.gateway.clock.now_ms()).await {
            tracing::error!(request = %id, %error, "an idempotency key stays claimed until its lease ends");
        }
        Response::from_parts(head, body.into())
    }

    fn again(&self, kept: &[u8]) -> Result<Response, Error> {
        let broken = || Error::Internal("an answer kept under an idempotency key cannot be read".to_owned());
        let (seed, kept): (RequestId, Kept) = serde_json::from_slice(kept).map_err(|_| broken())?;
        let Kept { status, etag, mut body } = kept;
        let (hasher, purpose) = (&self.gateway.hasher, Seed(seed).purpose());
        if let Some(key) = body.get_mut("key") {
            *key = ApiKey::derive(hasher, &purpose).reveal().into();
        }
        if let Some(token) = body.get_mut("token") {
            *token = ApiKey::derive_admin(hasher, &purpose).reveal().into();
        }
        let mut answer = reply(StatusCode::from_u16(status).map_err(|_| broken())?, &body);
        let etag = etag.and_then(|etag| HeaderValue::try_from(etag).ok());
        answer.headers_mut().extend(etag.map(|etag| (ETAG, etag)));
        answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(answer)
    }
}

impl Seed {
    fn purpose(&self) -> String {
        format!("made once by {}", self.0)
    }
}

fn unkept(why: String) -> Error {
    let message = "The idempotency key cannot be kept now, and nothing was done. Try again, or without one.";
    Error::NotWritten { message: message.to_owned(), why }
}

/// The claim of a request that makes something and has an idempotency key.
fn claimed(parts: &Parts, by: &Caller, hash: impl Fn(&str) -> [u8; 32]) -> Result<Option<IdempotencyKey>, Error> {
    let Some(key) = parts.headers.get(HEADER).filter(|_| parts.method == Method::POST) else { return Ok(None) };
    match key.to_str() {
        // No tenant's uid begins so.
        Ok(key) if (1..=255).contains(&key.len()) => {
            Ok(Some(IdempotencyKey { tenant: format!("~{}", by.id).into(), hash: hash(key) }))
        }
        _ => Err(Error::invalid("idempotency-key", "It must be 1 to 255 visible ASCII characters.")),
    }
}

async fn run(mut parts: Parts, caller: Caller, body: Body, next: Next) -> Response {
    parts.extensions.insert(caller);
    next.run(Request::from_parts(parts, body)).await
}

/// An answer, without its secret.
fn kept(seed: RequestId, head: &http::response::Parts, body: &[u8]) -> Option<Bytes> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    for secret in SECRETS {
        if let Some(secret) = body.get_mut(secret) {
            *secret = Value::Null;
        }
    }
    let etag = head.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    let kept = Kept { status: head.status.as_u16(), etag, body };
    serde_json::to_vec(&(seed, kept)).ok().map(Bytes::from)
}

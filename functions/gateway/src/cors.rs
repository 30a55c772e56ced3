//! Cross-origin requests: which web pages' scripts may ask the data plane (`[server] cors_origins`).
//!
//! A key in a web page is everybody's key, so this is off unless an operator says otherwise, and then for the data plane
//! alone. Keys travel in headers and never in cookies; that is why no answer allows credentials, and `*` is no danger of
//! its own. What is allowed of request headers is what is asked for: SDKs send many of their own.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

/// The headers of answers that a script may read: those of the contract.
const EXPOSED: &str = "x-request-id, x-gateway-model, x-gateway-tier, x-gateway-intent, x-gateway-intent-confidence, \
    x-gateway-intent-source, x-gateway-cache, x-gateway-cache-similarity, age, x-gateway-attempts, x-gateway-failover, \
    x-gateway-upgraded, x-gateway-cost-usd, x-gateway-overhead-ms, x-gateway-degraded, x-ratelimit-limit-requests, \
    x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, \
    x-ratelimit-reset-tokens, retry-after, x-should-retry, idempotent-replayed";
/// For how long a browser need not ask again: two hours, the most that any of them takes.
const MAX_AGE_SECONDS: &str = "7200";

/// Who may ask.
pub(crate) struct Origins {
    any: bool,
    listed: Vec<String>,
}

impl Origins {
    /// Those of the configuration; `None` if there is none.
    pub(crate) fn of(listed: &[String]) -> Option<Arc<Self>> {
        let any = listed.iter().any(|origin| origin == "*");
        (!listed.is_empty()).then(|| Arc::new(Self { any, listed: listed.to_vec() }))
    }

    /// The headers for a page of `origin`, if it may call.
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        let origin = origin?;
        if self.any {
            return Some(HeaderValue::from_static("*"));
        }
        self.listed.iter().any(|listed| listed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }
}

/// Answers a browser's question whether it may ask, and tells it with every answer what its script may see.
pub(crate) async fn cors(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    let allowed = origins.allowed(request.headers().get(ORIGIN));
    let is_question =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match is_question && allowed.is_some() {
        true => permission(request.headers()),
        false => next.run(request).await,
    };
    let headers = response.headers_mut();
    if !origins.any {
        // Even an answer to nobody's page: a cache must not give it to somebody's.
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    if let Some(allowed) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    response
}

/// The answer to such a question.
fn permission(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_SECONDS));
    headers.append(VARY, HeaderValue::from_static("access-control-request-headers"));
    response
}

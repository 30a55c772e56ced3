//! The data plane over HTTP: `/v1/*`, `/health` and `/ready`; and the description of both planes.
//!
//! Turns HTTP into calls of the core and its answers back; nothing is decided here.

mod body;
mod cors;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use body::{EventBody, JsonBody, Unread};
use cors::{Origins, cors};
use gateway_core::door;
use gateway_core::error::Error;
use gateway_core::feedback::MAX_BODY_BYTES;
use gateway_core::gateway::Gateway;
use gateway_core::id::RequestId;
use gateway_core::request::incoming::Incoming;
use gateway_core::request::reply::{Answer, AnswerBody};
use gateway_core::wire::format::Format;
use gateway_core::wire::openai::CHAT;
use gateway_host::lambda::InvocationDeadline;
use gateway_host::openapi;
use gateway_host::routes::Routes;
use std::sync::Arc;
use std::time::Duration;
use tower_service::Service;

/// What there is, for those who ask for something else.
const ROUTES: Routes = Routes(&[
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/embeddings"),
    ("GET, HEAD", "/v1/models"),
    ("GET, HEAD", "/v1/models/{*id}"),
    ("GET, HEAD", "/v1/status"),
    ("POST", "/v1/route"),
    ("GET, HEAD", "/v1/receipts/{id}"),
    ("POST", "/v1/receipts/{id}/feedback"),
    ("GET, HEAD", "/health"),
    ("GET, HEAD", "/ready"),
    ("GET, HEAD", "/openapi.yaml"),
]);

/// The data plane of `gateway`.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let routes: Router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/responses", post(responses))
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/status", get(status))
        .route("/v1/route", post(route))
        .route("/v1/receipts/{id}", get(receipt))
        .route("/v1/receipts/{id}/feedback", post(feedback))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/openapi.yaml", get(openapi::show))
        .method_not_allowed_fallback(not_so)
        .with_state(gateway.clone());
    let origins = Origins::of(&gateway.config.server.cors_origins);
    let there = There { gateway, routes: routes.clone() };
    let router = routes.with_state(()).fallback(not_here).with_state(there);
    match origins {
        Some(origins) => router.layer(from_fn_with_state(origins, cors)),
        None => router,
    }
}

/// What there is.
#[derive(Clone)]
struct There {
    gateway: Arc<Gateway>,
    routes: Router,
}

async fn chat(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (call, unread) = call(&gateway, request);
    let answer = gateway.chat(call).await;
    unread.drain().await;
    response(answer)
}

async fn responses(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (call, unread) = call(&gateway, request);
    let answer = gateway.responses(call).await;
    unread.drain().await;
    response(answer)
}

async fn messages(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (call, unread) = call(&gateway, request);
    let answer = gateway.messages(call).await;
    unread.drain().await;
    response(answer)
}

async fn embeddings(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (call, unread) = call(&gateway, request);
    let answer = gateway.embeddings(call).await;
    unread.drain().await;
    response(answer)
}

async fn count_tokens(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let dialect = dialect(&request);
    let (call, unread) = call(&gateway, request);
    let answer = gateway.count_tokens(call).await;
    unread.drain().await;
    without_receipt(&gateway, dialect, answer)
}

async fn route(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (call, unread) = call(&gateway, request);
    let answer = gateway.route(call).await;
    unread.drain().await;
    response(answer)
}

async fn models(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    without_receipt(&gateway, door::dialect("", &headers), gateway.models(&headers).await)
}

async fn model(State(gateway): State<Arc<Gateway>>, id: Id, headers: HeaderMap) -> Response {
    without_receipt(&gateway, door::dialect("", &headers), gateway.model(&headers, &text(id)).await)
}

async fn status(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    without_receipt(&gateway, door::dialect("", &headers), gateway.status(&headers).await)
}

async fn receipt(State(gateway): State<Arc<Gateway>>, id: Id, headers: HeaderMap) -> Response {
    without_receipt(&gateway, &CHAT, gateway.receipt(&headers, &text(id)).await)
}

async fn feedback(State(gateway): State<Arc<Gateway>>, id: Id, request: Request) -> Response {
    let (call, unread) = call_within(&gateway, request, MAX_BODY_BYTES);
    let answer = gateway.feedback(call, &text(id)).await;
    unread.drain().await;
    without_receipt(&gateway, &CHAT, answer)
}

/// The end of a path, if it is text at all.
type Id = Result<Path<String>, PathRejection>;

/// What is no text names nothing, as the empty one does.
fn text(id: Id) -> String {
    id.map_or_else(|_| String::new(), |Path(id)| id.trim_end_matches('/').to_owned())
}

async fn health(method: Method) -> Response {
    let body = if method == Method::HEAD { "" } else { r#"{"status":"ok"}"# };
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    response(gateway.ready().await)
}

async fn not_so(State(gateway): State<Arc<Gateway>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    refusal(&gateway, door::dialect(uri.path(), &headers), ROUTES.not_so(method.as_str(), uri.path()))
}

/// A path that is no route's: it goes where it was meant to, if that is clear.
async fn not_here(State(mut there): State<There>, mut request: Request) -> Response {
    let (method, uri, dialect) = (request.method().clone(), request.uri().clone(), dialect(&request));
    let meant = ROUTES.meant(uri.path()).map(|path| match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    });
    match meant.and_then(|target| target.parse().ok()) {
        Some(target) => {
            *request.uri_mut() = target;
            match there.routes.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
        None => refusal(&there.gateway, dialect, ROUTES.no_route(method.as_str(), uri.path())),
    }
}

/// The format in which whoever sends a request reads errors.
fn dialect(request: &Request) -> &'static dyn Format {
    door::dialect(request.uri().path(), request.headers())
}

/// A request as the core wants it, and what is left of its body if the core does not.
fn call(gateway: &Gateway, request: Request) -> (Incoming, Unread) {
    let max_bytes = usize::try_from(gateway.config.server.max_body_bytes).unwrap_or(usize::MAX);
    call_within(gateway, request, max_bytes)
}

/// The same of a request whose body has at most so many bytes.
fn call_within(gateway: &Gateway, request: Request, max_bytes: usize) -> (Incoming, Unread) {
    let (head, body) = request.into_parts();
    let now_ms = gateway.clock.now_ms();
    let time_left = head
        .extensions
        .get::<InvocationDeadline>()
        .map(|deadline| Duration::from_millis(deadline.at_ms.saturating_sub(now_ms)));
    let (body, unread) = JsonBody::new(&head.headers, body, max_bytes);
    (Incoming { headers: head.headers, body: Box::new(body), time_left }, unread)
}

/// An answer that leaves no receipt. It has an id all the same, as every answer has.
fn without_receipt(gateway: &Gateway, dialect: &dyn Format, answer: Result<Answer, Error>) -> Response {
    let id = RequestId::new(gateway.clock.now_ms()).to_string();
    let mut answer = answer.unwrap_or_else(|error| door::refusal_in(dialect, &error, Some(&id)));
    // The other name is the one that Anthropic's clients look for.
    for name in ["x-request-id", "request-id"] {
        answer.headers.extend(HeaderValue::from_str(&id).ok().map(|id| (HeaderName::from_static(name), id)));
    }
    response(answer)
}

/// A refusal without a call of the core.
fn refusal(gateway: &Gateway, dialect: &dyn Format, error: Error) -> Response {
    without_receipt(gateway, dialect, Err(error))
}

/// An answer of the core as HTTP.
fn response(answer: Answer) -> Response {
    let body = match answer.body {
        AnswerBody::Whole(bytes) => Body::from(bytes),
        AnswerBody::Stream(events) => Body::new(EventBody::new(events)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

#[cfg(test)]
mod tests {
    use super::ROUTES;
    use gateway_host::openapi;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let is_here = |path: &str| !path.starts_with("/admin") && path != "/metrics";
        let described: BTreeSet<_> = openapi::operations()
            .filter(|(_, path)| is_here(path))
            .map(|(method, path)| format!("{method} {path}"))
            .collect();
        let routes = ROUTES.0.iter().flat_map(|(methods, path)| {
            let methods = methods.split(", ").filter(|method| *method != "HEAD");
            methods.map(|method| format!("{method} {}", path.replace("{*", "{")))
        });
        assert_eq!(described, routes.collect::<BTreeSet<_>>());
    }

    #[test]
    fn a_path_of_each_route_is_known_for_what_it_is() {
        for (methods, route) in ROUTES.0 {
            let path = route.replace("{*id}", "sim/cheap").replace("{id}", "01M81WX4SEGFDJSTMT013762SF");
            assert_eq!(ROUTES.meant(&path), None, "{path} is right already");
            assert_eq!(ROUTES.meant(&format!("/{path}")).as_deref(), Some(path.as_str()));
            assert!(ROUTES.not_so("BREW", &path).to_http().message.ends_with(&format!(" takes {methods}.")));
        }
    }
}

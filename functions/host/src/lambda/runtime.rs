//! The loop: take an invocation, answer it, take the next.
//!
//! It is ours, on AWS's own client, because `lambda_runtime` offers no way to switch Nagle's algorithm off: its streamed
//! answers, which leave in several small writes, wait 40 ms each for a delayed acknowledgement.
//!
//! Lambda freezes the process once it has the last byte and the next invocation is polled for. So the next one is
//! polled for only when the router's body has ended, even if nobody reads it any more: at a body's end the request is
//! settled.
//!
//! A fault in answering one invocation is logged and ends nothing. A panic becomes a 500, or breaks off what already
//! streams.

use super::answer;
use super::event::{self, Call};
use super::{InvocationDeadline, ResponseMode};
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use gateway_core::clock::{Clock, SystemClock};
use gateway_core::door;
use gateway_core::wire::format::Format;
use http::{HeaderMap, Method, Request, Response, StatusCode, header, request, response};
use http_body_util::BodyExt;
use hyper_util::client::legacy::connect::HttpConnector;
use lambda_runtime_api_client::body::{Body as ApiBody, sender::Sender};
use lambda_runtime_api_client::{BoxError, PooledClient, build_request};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use tower_service::Service;

/// A process that cannot reach the Runtime API this many times in a row is of no use; Lambda will start another.
const MAX_FAILURES_IN_A_ROW: u32 = 3;

/// Answers invocations that the Runtime API at `runtime_api` (`host:port`) hands out, one after the other, by `router`,
/// until `shutdown` resolves; an invocation that runs then is finished first. `after` runs after each answer's last byte, before
/// the next invocation is asked for: its client waits for it no more, and whoever comes next gets another instance.
///
/// # Errors
/// `runtime_api` is no address, or does not answer.
pub async fn serve(
    runtime_api: &str,
    router: Router,
    mode: ResponseMode,
    after: impl AsyncFn(),
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let api = RuntimeApi::at(runtime_api)?;
    let mut shutdown = pin!(shutdown);
    let mut failures = 0;
    loop {
        let next = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            next = api.next() => next,
        };
        match next {
            Ok(invocation) => {
                failures = 0;
                if let Err(error) = answer_one(&api, &router, mode, &invocation, SystemClock.now_ms()).await {
                    tracing::error!(%error, invocation = invocation.id, "an answer could not be handed to Lambda");
                }
                after().await;
            }
            Err(error) => {
                tracing::warn!(%error, "no invocation could be taken from Lambda");
                failures += 1;
                if failures == MAX_FAILURES_IN_A_ROW {
                    return Err(anyhow::Error::from_boxed(error).context("the Lambda Runtime API does not answer"));
                }
            }
        }
    }
}

async fn answer_one(
    api: &RuntimeApi,
    router: &Router,
    mode: ResponseMode,
    invocation: &Invocation,
    now_ms: u64,
) -> Result<(), BoxError> {
    let call = match event::parse(&invocation.event) {
        Ok(call) => call,
        Err(error) => return api.fail(&invocation.id, &error.to_string()).await,
    };
    let deadline = call.deadline(invocation.deadline_ms, mode, now_ms);
    let Call { request, transport, .. } = call;
    let dialect = request.as_ref().map_or_else(
        |_| door::dialect("", &HeaderMap::new()),
        |request| door::dialect(request.uri().path(), request.headers()),
    );
    let answer = match request {
        Ok(request) => route(router.clone(), request, deadline, dialect).await,
        Err(error) => answer::refusal(&error, dialect, now_ms),
    };
    if transport.streams(mode) {
        let (head, body) = answer.into_parts();
        api.stream(&invocation.id, answer::prelude(head.status, &head.headers, transport), body).await
    } else {
        api.respond(&invocation.id, answer::document(answer, transport, dialect).await).await
    }
}

async fn route(
    mut router: Router,
    mut request: Request<Body>,
    deadline: Option<InvocationDeadline>,
    dialect: &dyn Format,
) -> Response<Body> {
    if let Some(deadline) = deadline {
        request.extensions_mut().insert(deadline);
    }
    match AssertUnwindSafe(router.call(request)).catch_unwind().await {
        Ok(Ok(answer)) => answer,
        Ok(Err(never)) => match never {},
        Err(_) => answer::internal_error(dialect),
    }
}

/// One request to the function, as the Runtime API hands it out.
struct Invocation {
    id: String,
    deadline_ms: Option<u64>,
    event: Bytes,
}

impl Invocation {
    fn new(headers: &HeaderMap, event: Bytes) -> Result<Self, BoxError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Self {
            id: text("lambda-runtime-aws-request-id").ok_or("an invocation without an id")?.to_owned(),
            deadline_ms: text("lambda-runtime-deadline-ms").and_then(|ms| ms.parse().ok()),
            event,
        })
    }
}

/// The Runtime API, version 2018-06-01.
pub(super) struct RuntimeApi {
    client: PooledClient,
}

impl RuntimeApi {
    /// The one at `host:port`.
    pub(super) fn at(address: &str) -> anyhow::Result<Self> {
        let base: http::Uri = format!("http://{}", address.trim_start_matches("http://")).parse()?;
        Ok(Self { client: PooledClient::builder().with_connector(connector()).with_endpoint(base).build() })
    }

    /// Waits, for as long as it takes, for the next invocation; an emulator may say "none yet" instead.
    async fn next(&self) -> Result<Invocation, BoxError> {
        loop {
            let request = build_request().uri("/2018-06-01/runtime/invocation/next").body(ApiBody::empty())?;
            let (head, event) = self.call(request).await?;
            if head.status != StatusCode::NO_CONTENT {
                return Invocation::new(&head.headers, event);
            }
        }
    }

    async fn respond(&self, id: &str, document: Vec<u8>) -> Result<(), BoxError> {
        let request = post(&format!("invocation/{id}/response")).header(header::CONTENT_TYPE, "application/json");
        self.call(request.body(document.into())?).await.map(drop)
    }

    /// Hands over `prelude` and then `body`, each piece as it comes; returns when the body has ended and Lambda has it.
    async fn stream(&self, id: &str, prelude: Bytes, body: Body) -> Result<(), BoxError> {
        let (mut sender, pieces) = ApiBody::channel();
        let request = post(&format!("invocation/{id}/response"))
            .header(header::CONTENT_TYPE, "application/vnd.awslambda.http-integration-response")
            .header("lambda-runtime-function-response-mode", "streaming")
            .body(pieces)?;
        let pumped = async move {
            match AssertUnwindSafe(pump(&mut sender, prelude, body)).catch_unwind().await {
                Ok(Ok(())) => {}
                broken => {
                    tracing::error!(error = ?broken.ok(), "a streamed answer broke off");
                    sender.abort();
                }
            }
        };
        tokio::join!(self.call(request), pumped).0.map(drop)
    }

    async fn fail(&self, id: &str, message: &str) -> Result<(), BoxError> {
        self.report(&format!("invocation/{id}/error"), "Runtime.InvalidEvent", message).await
    }

    /// Says that the process could not start.
    pub(super) async fn fail_init(&self, message: &str) -> Result<(), BoxError> {
        self.report("init/error", "Runtime.InitError", message).await
    }

    async fn report(&self, path: &str, kind: &str, message: &str) -> Result<(), BoxError> {
        tracing::error!(message, "reported to Lambda");
        let body = serde_json::json!({"errorType": kind, "errorMessage": message, "stackTrace": []}).to_string();
        self.call(post(path).header("lambda-runtime-function-error-type", kind).body(body.into())?).await.map(drop)
    }

    async fn call(&self, request: Request<ApiBody>) -> Result<(response::Parts, Bytes), BoxError> {
        let (head, body) = self.client.call(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        if !head.status.is_success() {
            return Err(format!("the Runtime API answered {}: {}", head.status, String::from_utf8_lossy(&body)).into());
        }
        Ok((head, body))
    }
}

fn post(path: &str) -> request::Builder {
    build_request().method(Method::POST).uri(format!("/2018-06-01/runtime/{path}"))
}

/// Without Nagle's algorithm: a small write leaves at once, whatever was acknowledged.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

/// Passes the body on to its end, also when nobody takes it any more. Prelude and delimiter are a chunk each, as AWS's own
/// runtimes send them: `cargo lambda watch` relies on that.
async fn pump(sender: &mut Sender, prelude: Bytes, mut body: Body) -> Result<(), axum::Error> {
    let mut is_taken = sender.send_data(prelude).await.is_ok() && sender.send_data(answer::DELIMITER).await.is_ok();
    while let Some(frame) = body.frame().await {
        if let (true, Ok(data)) = (is_taken, frame?.into_data()) {
            is_taken = sender.send_data(data).await.is_ok();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn small_writes_to_the_runtime_api_do_not_wait_for_acknowledgements() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let connection = connector().call(address.parse().unwrap()).await.unwrap();
        assert!(connection.inner().nodelay().unwrap());
    }
}

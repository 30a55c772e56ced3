//! The Lambda host, driven by a double of the Runtime API with a small router behind it.

use super::runtime_double::{Answer, Moment, RuntimeDouble, Taking, split_prelude};
use axum::body::Body;
use axum::extract::Extension;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use gateway_host::lambda::{InvocationDeadline, ResponseMode, serve};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events");

/// Every file in `events/`: the request in it, and whether its transport can stream.
const ALL: [(&str, &str, bool); 15] = [
    ("rest-health", "GET /health", true),
    ("rest-models", "GET /v1/models", true),
    ("rest-chat", "POST /v1/chat/completions", true),
    ("rest-chat-stream", "POST /v1/chat/completions", true),
    ("rest-base64", "POST /v1/chat/completions", true),
    ("rest-stage-named-v1", "GET /v1/models", true),
    ("http-api-health", "GET /health", false),
    ("http-api-chat", "POST /v1/chat/completions", false),
    ("http-api-chat-stream", "POST /v1/chat/completions", false),
    ("http-api-stage-route", "POST /v1/route", false),
    ("function-url-models", "GET /v1/models", true),
    ("function-url-chat", "POST /v1/chat/completions", true),
    ("function-url-chat-stream", "POST /v1/chat/completions", true),
    ("admin-create-tenant", "POST /admin/tenants", true),
    ("admin-metrics", "GET /admin/metrics", true),
];

pub(super) fn event(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(EVENTS).join(format!("{name}.json"))).unwrap()
}

fn has_body(name: &str) -> Option<Value> {
    let event: Value = serde_json::from_slice(&event(name)).unwrap();
    let text = event["body"].as_str()?;
    // The one base64 body asks the hard question.
    if event["isBase64Encoded"] == true { Some(json!({"model": "auto"})) } else { serde_json::from_str(text).ok() }
}

/// What a handler saw, as JSON, or as a stream of two events if the request asks for one.
async fn echo(request: axum::extract::Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let saw = json!({"route": format!("{} {}", head.method, head.uri), "asked": asked,
        "authorization": head.headers.get("authorization").map(|key| key.to_str().unwrap())});
    if asked["stream"] == true { sse(format!("data: {saw}\n\ndata: [DONE]\n\n")) } else { Json(saw).into_response() }
}

fn sse(body: impl Into<Body>) -> Response {
    ([("content-type", "text/event-stream")], body.into()).into_response()
}

pub(super) fn echo_router() -> Router {
    Router::new()
        .route("/health", get(echo))
        .route("/v1/models", get(echo))
        .route("/v1/chat/completions", post(echo))
        .route("/v1/route", post(echo))
        .route("/admin/tenants", post(echo))
        .route("/admin/metrics", get(echo))
}

/// A stream whose every event after the first waits for a permit.
fn gated(gate: Arc<Semaphore>, events: &'static [&'static str]) -> Body {
    Body::from_stream(futures_util::stream::unfold(0, move |place| {
        let gate = Arc::clone(&gate);
        async move {
            let event = events.get(place)?;
            if place > 0 {
                gate.acquire().await.unwrap().forget();
            }
            Some((Ok::<_, Infallible>(Bytes::from_static(event.as_bytes())), place + 1))
        }
    }))
}

struct Host {
    lambda: RuntimeDouble,
    ended: JoinHandle<anyhow::Result<()>>,
    stop: tokio::sync::oneshot::Sender<()>,
}

async fn host(router: Router, mode: ResponseMode) -> Host {
    let lambda = RuntimeDouble::start().await;
    let address = lambda.address();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let ended = tokio::spawn(async move {
        serve(&address, router, mode, async || {}, async {
            stopped.await.ok();
        })
        .await
    });
    Host { lambda, ended, stop }
}

/// A fault must fail a test, not hang it.
pub(super) async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs")
}

fn document(answer: &Answer) -> Value {
    assert!(answer.is_complete);
    assert_eq!(answer.headers.get("lambda-runtime-function-response-mode"), None);
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn every_event_reaches_its_route_and_is_answered_in_the_form_of_its_transport() {
    let mut files: Vec<_> =
        std::fs::read_dir(EVENTS).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let mut listed = ALL.map(|(name, ..)| format!("{name}.json"));
    files.sort();
    listed.sort();
    assert_eq!(files, listed, "each event is listed here, and nothing else");

    within(async {
        for mode in [ResponseMode::Buffered, ResponseMode::Auto, ResponseMode::Streamed] {
            let host = host(echo_router(), mode).await;
            for (name, route, can_stream) in ALL {
                let answer = host.lambda.invoke(event(name)).answer().await;
                let streams = mode == ResponseMode::Streamed || (mode == ResponseMode::Auto && can_stream);
                let (status, content_type, body) = if streams {
                    assert_eq!(answer.headers["lambda-runtime-function-response-mode"], "streaming", "{name} {mode:?}");
                    assert_eq!(answer.headers["content-type"], "application/vnd.awslambda.http-integration-response");
                    assert_eq!(answer.headers["transfer-encoding"], "chunked");
                    assert!(answer.is_complete);
                    let (prelude, body) = answer.streamed().unwrap();
                    let prelude: Value = serde_json::from_str(prelude).unwrap();
                    let body = String::from_utf8(body.to_vec()).unwrap();
                    (prelude["statusCode"].clone(), prelude["headers"]["content-type"].clone(), body)
                } else {
                    let document = document(&answer);
                    let body = document["body"].as_str().unwrap().to_owned();
                    (document["statusCode"].clone(), document["headers"]["content-type"].clone(), body)
                };
                let asked = has_body(name);
                let is_sse = asked.as_ref().is_some_and(|asked| asked["stream"] == true);
                assert_eq!(status, 200, "{name} {mode:?}: {body}");
                assert_eq!(
                    content_type,
                    if is_sse { "text/event-stream" } else { "application/json" },
                    "{name} {mode:?}"
                );
                let saw = body
                    .strip_prefix("data: ")
                    .and_then(|body| body.strip_suffix("\n\ndata: [DONE]\n\n"))
                    .unwrap_or(&body);
                let saw: Value = serde_json::from_str(saw).unwrap();
                assert_eq!(saw["route"], route, "{name} {mode:?}");
                assert_eq!(
                    saw["asked"]["model"],
                    asked.map_or(Value::Null, |asked| asked["model"].clone()),
                    "{name} {mode:?}"
                );
                assert_eq!(saw["authorization"].is_string(), !name.ends_with("health"), "{name} {mode:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_base64_body_arrives_as_it_was_sent() {
    within(async {
        let host = host(echo_router(), ResponseMode::Buffered).await;
        let answer = document(&host.lambda.invoke(event("rest-base64")).answer().await);
        assert!(answer["body"].as_str().unwrap().contains("über WebSockets, für 10 Mio. Nutzer"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn each_event_of_a_stream_leaves_before_the_next_is_made() {
    within(async {
        let gate = Arc::new(Semaphore::new(0));
        let body = Arc::clone(&gate);
        let router = Router::new()
            .fallback(|| async move { sse(gated(body, &["data: 1\n\n", "data: 2\n\n", "data: [DONE]\n\n"])) });
        let host = host(router, ResponseMode::Auto).await;
        let mut invocation = host.lambda.invoke(event("function-url-chat-stream"));

        let begun = invocation.until("data: 1\n\n").await;
        let (prelude, first) = split_prelude(&begun).unwrap();
        assert_eq!(prelude, r#"{"statusCode":200,"headers":{"content-type":"text/event-stream"},"cookies":[]}"#);
        assert_eq!(first, b"data: 1\n\n");

        gate.add_permits(1);
        assert_eq!(invocation.until("data: 2\n\n").await, b"data: 2\n\n");
        gate.add_permits(1);
        assert_eq!(invocation.chunk().await.unwrap(), b"data: [DONE]\n\n");
        assert_eq!(invocation.chunk().await, None);
    })
    .await;
}

#[tokio::test]
async fn the_next_invocation_is_asked_for_only_after_the_last_byte() {
    within(async {
        let host = host(echo_router(), ResponseMode::Auto).await;
        for name in ["rest-chat-stream", "http-api-chat", "function-url-chat-stream"] {
            host.lambda.invoke(event(name)).answer().await;
        }
        let expected: Vec<_> = (1..=3)
            .flat_map(|number| {
                [Moment::Polled, Moment::Invoked(number), Moment::Answering(number), Moment::Answered(number)]
            })
            .collect();
        assert_eq!(host.lambda.moments()[..12], expected);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_nobody_takes_any_more_is_still_read_to_its_end_before_the_next_poll() {
    within(async {
        let gate = Arc::new(Semaphore::new(0));
        let (body, settled) = (Arc::clone(&gate), Arc::new(Semaphore::new(0)));
        let at_the_end = Arc::clone(&settled);
        let router = Router::new()
            .route(
                "/v1/chat/completions",
                post(move || async move {
                    use futures_util::StreamExt;
                    let stream = gated(body, &["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"]).into_data_stream();
                    let end = futures_util::stream::once(async move {
                        at_the_end.add_permits(1);
                        Ok(Bytes::new())
                    });
                    sse(Body::from_stream(stream.chain(end)))
                }),
            )
            .fallback(echo);
        let host = host(router, ResponseMode::Auto).await;
        let gone = host.lambda.invoke_with(event("rest-chat-stream"), u64::MAX, Taking::HangingUp).answer().await;
        assert!(!gone.is_complete);
        let after = host.lambda.invoke(event("rest-models"));
        assert_eq!(host.lambda.moments().iter().filter(|&&moment| moment == Moment::Polled).count(), 1);
        gate.add_permits(2);
        assert!(after.answer().await.is_complete);
        assert_eq!(settled.available_permits(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_lambda_does_not_take_ends_nothing() {
    within(async {
        for mode in [ResponseMode::Buffered, ResponseMode::Auto] {
            let host = host(echo_router(), mode).await;
            for taking in [Taking::Refusing(413), Taking::Refusing(500), Taking::HangingUp, Taking::Whole] {
                let answer = host.lambda.invoke_with(event("rest-chat-stream"), u64::MAX, taking).answer().await;
                assert_eq!(answer.is_complete, taking != Taking::HangingUp);
            }
            assert!(!host.ended.is_finished());
        }
    })
    .await;
}

#[tokio::test]
async fn a_runtime_api_that_hangs_up_is_asked_again_and_given_up_in_the_end() {
    within(async {
        let host = host(echo_router(), ResponseMode::Buffered).await;
        host.lambda.invoke(event("rest-health")).answer().await;
        host.lambda.hang_up_on_polls(2);
        host.lambda.invoke(event("rest-health")).answer().await;
        host.lambda.invoke(event("rest-health")).answer().await;
        host.lambda.hang_up_on_polls(usize::MAX);
        // For the poll that may be open by now.
        let _invocation = host.lambda.invoke(event("rest-health"));
        let error = host.ended.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("Runtime API"), "{error:#}");
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for address in ["", "http://", "a b", ":9001:"] {
        let served = serve(address, echo_router(), ResponseMode::Auto, async || {}, std::future::pending()).await;
        assert!(served.is_err(), "{address}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_may_take_a_day() {
    let host = host(echo_router(), ResponseMode::Buffered).await;
    while host.lambda.moments().is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(86_400)).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.lambda.moments(), [Moment::Polled]);
    assert!(host.lambda.invoke(event("rest-health")).answer().await.is_complete);
}

#[tokio::test]
async fn a_shutdown_finishes_the_invocation_that_runs() {
    within(async {
        let gate = Arc::new(Semaphore::new(0));
        let body = Arc::clone(&gate);
        let router = Router::new().fallback(|| async move { sse(gated(body, &["data: 1\n\n", "data: [DONE]\n\n"])) });
        let host = host(router, ResponseMode::Auto).await;
        let mut invocation = host.lambda.invoke(event("rest-chat-stream"));
        invocation.until("data: 1\n\n").await;
        host.stop.send(()).unwrap();
        gate.add_permits(1);
        let rest = invocation.answer().await;
        assert!(rest.is_complete && rest.body == b"data: [DONE]\n\n");
        host.ended.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_where_the_build_unwinds() {
    async fn bug() {
        panic!("a bug");
    }
    within(async {
        let host = host(Router::new().route("/health", get(bug)).fallback(echo), ResponseMode::Buffered).await;
        let answer = document(&host.lambda.invoke(event("rest-health")).answer().await);
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!((&answer["statusCode"], &body["error"]["code"]), (&json!(500), &json!("internal")));
        assert!(!answer.to_string().contains("a bug"));
        assert_eq!(document(&host.lambda.invoke(event("rest-models")).answer().await)["statusCode"], 200);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_breaks_is_never_ended_as_if_it_were_whole() {
    within(async {
        let broken = || async { sse(Body::from_stream(futures_util::stream::iter([Ok("data: 1\n\n"), Err("reset")]))) };
        let bug = || async {
            sse(Body::from_stream(futures_util::stream::unfold(0, |place| async move {
                assert_eq!(place, 0, "a bug");
                Some((Ok::<_, Infallible>("data: 1\n\n"), place + 1))
            })))
        };
        let host = host(Router::new().route("/v1/models", get(bug)).fallback(broken), ResponseMode::Auto).await;
        for name in ["rest-chat-stream", "rest-models", "function-url-chat-stream"] {
            let answer = host.lambda.invoke(event(name)).answer().await;
            assert!(!answer.is_complete, "{name}");
            assert!(!String::from_utf8_lossy(&answer.body).contains("reset"), "the fault's text stays inside");
        }
        assert!(!host.ended.is_finished());
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_no_request_is_reported_as_such() {
    within(async {
        let host = host(echo_router(), ResponseMode::Auto).await;
        for event in ["{}", "[]", "not json", r#"{"Records":[{"eventSource":"aws:sqs"}]}"#] {
            let answer = host.lambda.invoke(event).answer().await;
            assert!(answer.path.ends_with("/error"), "{}", answer.path);
            assert_eq!(answer.headers["lambda-runtime-function-error-type"], "Runtime.InvalidEvent");
            let body_json: Value = serde_json::from_slice(&answer.body).unwrap();
            assert!(body_json["errorMessage"].as_str().unwrap().contains("API Gateway"), "{body_json}");
        }
        assert_eq!(document(&host.lambda.invoke(event("http-api-health")).answer().await)["statusCode"], 200);
    })
    .await;
}

#[tokio::test]
async fn a_request_knows_when_its_invocation_ends() {
    async fn deadline(Extension(deadline): Extension<InvocationDeadline>) -> String {
        deadline.at_ms.to_string()
    }
    within(async {
        let host = host(Router::new().fallback(deadline), ResponseMode::Auto).await;
        let streamed = host.lambda.invoke_with(event("rest-chat"), 4_102_444_800_000, Taking::Whole).answer().await;
        assert_eq!(streamed.streamed().unwrap().1, b"4102444800000");
        // Buffered, the transport's limit is nearer than Lambda's.
        let buffered =
            document(&host.lambda.invoke_with(event("http-api-chat"), 4_102_444_800_000, Taking::Whole).answer().await);
        assert!(buffered["body"].as_str().unwrap().parse::<u64>().unwrap() < 4_102_444_800_000);
    })
    .await;
}

#[tokio::test]
async fn a_header_that_http_does_not_know_is_told_to_the_caller_in_the_form_of_the_transport() {
    within(async {
        for mode in [ResponseMode::Buffered, ResponseMode::Auto] {
            let host = host(echo_router(), mode).await;
            let mut odd: Value = serde_json::from_slice(&event("rest-models")).unwrap();
            odd["multiValueHeaders"]["x-odd"] = json!(["secret\u{0}"]);
            let answer = host.lambda.invoke(serde_json::to_vec(&odd).unwrap()).answer().await;
            assert!(!answer.headers.contains_key("lambda-runtime-function-error-type"));
            let (head, body) = match mode {
                ResponseMode::Buffered => (document(&answer), document(&answer)["body"].as_str().unwrap().to_owned()),
                _ => {
                    let (prelude, body) = answer.streamed().unwrap();
                    (serde_json::from_str(prelude).unwrap(), String::from_utf8(body.to_vec()).unwrap())
                }
            };
            let body_json: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((&head["statusCode"], &body_json["error"]["param"]), (&json!(400), &json!("x-odd")), "{body}");
            assert_eq!(head["headers"]["x-request-id"], body_json["request_id"]);
            assert!(!body.contains("secret"));
        }
    })
    .await;
}

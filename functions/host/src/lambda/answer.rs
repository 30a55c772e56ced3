//! From an answer to what Lambda takes: one JSON document, or a prelude with the body behind it.
//!
//! The document is limited to 6 MB after escaping. What is larger was computed and paid for and still cannot leave, be it a
//! whole answer or the events of a stream that this transport collects, so the caller gets `502 answer_too_large` in its own
//! format, which says what to do: a 502 because neither the request nor the model is at fault. It says also not to try again,
//! as the vendors' libraries do after a 502: each time would be computed and paid for, and be too large.

use super::event::Transport;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use gateway_core::error::{Error, Family, HttpError};
use gateway_core::id::RequestId;
use gateway_core::request::reply::{Answer, AnswerBody};
use gateway_core::wire::format::Format;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What Lambda takes as one document.
pub(super) const LIMIT_BYTES: usize = 6 * 1024 * 1024;

/// What ends a prelude.
pub(super) const DELIMITER: Bytes = Bytes::from_static(&[0; 8]);

/// Status and headers, as API Gateway and Function URLs read them before a body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    status_code: u16,
    headers: BTreeMap<String, String>,
    /// `cargo lambda watch` refuses a document of the second shape without it, even an empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: Option<BTreeMap<String, Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(flatten)]
    head: Head,
    body: Cow<'a, str>,
    is_base64_encoded: bool,
}

impl Head {
    /// The first shape knows repeated headers; the second joins them and takes cookies apart.
    fn new(status: StatusCode, headers: &HeaderMap, transport: Transport) -> Self {
        let (mut single, mut repeated, mut cookies) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for name in headers.keys().filter(|name| !is_for_the_transport(name)) {
            let mut values: Vec<String> = headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .collect();
            if transport.is_v1() && values.len() > 1 {
                repeated.insert(name.to_string(), values);
            } else if !transport.is_v1() && name == header::SET_COOKIE {
                cookies.append(&mut values);
            } else {
                single.insert(name.to_string(), values.join(", "));
            }
        }
        Self {
            status_code: status.as_u16(),
            headers: single,
            multi_value_headers: Some(repeated),
            cookies: (!transport.is_v1()).then_some(cookies),
        }
    }
}

/// Headers about one connection; the transport writes its own.
fn is_for_the_transport(name: &header::HeaderName) -> bool {
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(name)
}

/// What stands before a streamed body, [`DELIMITER`] between the two. Every reader of preludes knows `cookies`, not every
/// one repeated headers.
pub(super) fn prelude(status: StatusCode, headers: &HeaderMap, transport: Transport) -> Bytes {
    let mut head = Head::new(status, headers, transport);
    head.cookies.get_or_insert_default();
    head.multi_value_headers = head.multi_value_headers.filter(|repeated| !repeated.is_empty());
    to_json(&head).into()
}

/// The whole answer as one document; what cannot be carried becomes an error in this format.
pub(super) async fn document(answer: Response<Body>, transport: Transport, dialect: &dyn Format) -> Vec<u8> {
    let (mut head, body) = answer.into_parts();
    let http = match collect(body).await {
        Ok(Some(body)) => {
            let document = write(head.status, &head.headers, &body, transport);
            if document.len() <= LIMIT_BYTES {
                return document;
            }
            too_large()
        }
        Ok(None) => too_large(),
        Err(error) => {
            tracing::error!(%error, "the body of an answer broke off");
            Error::Internal(error.to_string()).to_http()
        }
    };
    let id = head.headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let error = Answer::of_error(&http, dialect.error(&http, id));
    head.headers.remove(header::CONTENT_ENCODING);
    head.headers.extend(error.headers);
    let AnswerBody::Whole(body) = error.body else { return Vec::new() };
    write(error.status, &head.headers, &body, transport)
}

fn write(status: StatusCode, headers: &HeaderMap, body: &[u8], transport: Transport) -> Vec<u8> {
    let (body, is_base64_encoded) = match std::str::from_utf8(body) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => (Cow::Owned(STANDARD.encode(body)), true),
    };
    to_json(&Document { head: Head::new(status, headers, transport), body, is_base64_encoded })
}

/// The answer of a handler that panicked.
pub(super) fn internal_error(dialect: &dyn Format) -> Response<Body> {
    told(&Error::Internal("a handler panicked".into()).to_http(), dialect, None)
}

/// The answer to a request that is none for the router.
pub(super) fn refusal(error: &Error, dialect: &dyn Format, now_ms: u64) -> Response<Body> {
    told(&error.to_http(), dialect, Some(&RequestId::new(now_ms).to_string()))
}

/// An error as an answer.
fn told(http: &HttpError, dialect: &dyn Format, id: Option<&str>) -> Response<Body> {
    let error = Answer::of_error(http, dialect.error(http, id));
    let body = if let AnswerBody::Whole(body) = error.body { Body::from(body) } else { Body::empty() };
    let mut answer = Response::new(body);
    (*answer.status_mut(), *answer.headers_mut()) = (error.status, error.headers);
    let id = id.and_then(|id| HeaderValue::from_str(id).ok());
    answer.headers_mut().extend(id.map(|id| (HeaderName::from_static("x-request-id"), id)));
    answer
}

/// The body, or nothing if it is too large. Also that one is read to its end, for there the request is settled.
async fn collect(mut body: Body) -> Result<Option<Bytes>, axum::Error> {
    let (mut kept, mut fits) = (BytesMut::new(), true);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        fits = fits && kept.len() + data.len() <= LIMIT_BYTES;
        if fits {
            kept.extend_from_slice(&data);
        }
    }
    Ok(fits.then(|| kept.freeze()))
}

fn too_large() -> HttpError {
    HttpError {
        status: 502,
        code: "answer_too_large".into(),
        family: Family::Server,
        message: format!(
            "The answer was made, and is larger than the {LIMIT_BYTES} bytes that this endpoint can carry. \
             Ask for less output, or use an endpoint that streams."
        ),
        param: None,
        retry_after_ms: None,
        details: None,
        should_retry: Some(false),
    }
}

/// Maps with text for keys, text, numbers and booleans: serializing these cannot fail.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use gateway_core::door::dialect;
    use serde_json::{Value, json};

    const CHAT: &str = "/v1/chat/completions";

    fn answer(body: impl Into<Body>) -> Response<Body> {
        Response::builder()
            .header("content-type", "application/json")
            .header("content-length", "5")
            .header("x-request-id", "r-1")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("vary", "origin")
            .header("vary", "accept")
            .body(body.into())
            .unwrap()
    }

    async fn read(answer: Response<Body>, transport: Transport) -> Value {
        read_at(CHAT, answer, transport).await
    }

    async fn read_at(path: &str, answer: Response<Body>, transport: Transport) -> Value {
        serde_json::from_slice(&document(answer, transport, dialect(path, &HeaderMap::new())).await).unwrap()
    }

    #[tokio::test]
    async fn each_shape_has_its_way_with_repeated_headers() {
        assert_eq!(
            read(answer("{}"), Transport::Rest).await,
            json!({"statusCode": 200, "headers": {"content-type": "application/json", "x-request-id": "r-1"},
                "multiValueHeaders": {"set-cookie": ["a=1", "b=2"], "vary": ["origin", "accept"]},
                "body": "{}", "isBase64Encoded": false})
        );
        assert_eq!(
            read(answer("{}"), Transport::HttpApi).await,
            json!({"statusCode": 200, "headers": {"content-type": "application/json", "x-request-id": "r-1", "vary": "origin, accept"},
                "multiValueHeaders": {}, "cookies": ["a=1", "b=2"], "body": "{}", "isBase64Encoded": false})
        );
    }

    #[test]
    fn a_prelude_has_what_every_reader_of_preludes_knows() {
        let answer = answer("ignored");
        for (transport, expected) in [
            (
                Transport::FunctionUrl,
                r#"{"statusCode":200,"headers":{"content-type":"application/json","vary":"origin, accept","x-request-id":"r-1"},"cookies":["a=1","b=2"]}"#,
            ),
            (
                Transport::Rest,
                r#"{"statusCode":200,"headers":{"content-type":"application/json","x-request-id":"r-1"},"multiValueHeaders":{"set-cookie":["a=1","b=2"],"vary":["origin","accept"]},"cookies":[]}"#,
            ),
        ] {
            let prelude = prelude(answer.status(), answer.headers(), transport);
            assert_eq!(prelude, expected);
        }
    }

    #[tokio::test]
    async fn what_is_not_text_is_base64() {
        let binary = read(answer(vec![0xff, 0x00]), Transport::Rest).await;
        assert_eq!((&binary["body"], &binary["isBase64Encoded"]), (&json!("/wA="), &json!(true)));
        let text = read(answer("né\0"), Transport::Rest).await;
        assert_eq!((&text["body"], &text["isBase64Encoded"]), (&json!("né\0"), &json!(false)));
    }

    #[tokio::test]
    async fn an_answer_that_lambda_cannot_carry_is_a_clear_error() {
        // As it stands; only after escaping; only as base64.
        for body in [vec![b'a'; LIMIT_BYTES + 1], vec![b'"'; LIMIT_BYTES / 2 + 1], vec![0xff; LIMIT_BYTES * 3 / 4 + 1]]
        {
            let reply = read(answer(body), Transport::HttpApi).await;
            let error: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
            assert_eq!((&reply["statusCode"], &error["error"]["code"]), (&json!(502), &json!("answer_too_large")));
            assert_eq!((&error["request_id"], &reply["headers"]["x-request-id"]), (&json!("r-1"), &json!("r-1")));
            assert_eq!(reply["headers"]["content-type"], "application/json");
            assert_eq!(reply["headers"]["x-should-retry"], "false", "it would be paid for again");
        }
        let just = read(answer(vec![b'a'; LIMIT_BYTES - 1024]), Transport::HttpApi).await;
        assert_eq!((&just["statusCode"], just["body"].as_str().unwrap().len()), (&json!(200), LIMIT_BYTES - 1024));
    }

    #[tokio::test]
    async fn a_collected_stream_that_is_too_large_is_an_error_in_its_doors_format() {
        for (path, kind) in [("/v1/messages", json!("error")), ("/v1/responses", json!(null)), (CHAT, json!(null))] {
            let event = Bytes::from(format!("data: {}\n\n", "a".repeat(1 << 20)));
            let events = std::iter::repeat_n(event, 7).map(Ok::<_, std::io::Error>);
            let mut stream = answer(Body::from_stream(futures_util::stream::iter(events)));
            stream.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream; charset=utf-8"));
            let reply = read_at(path, stream, Transport::Rest).await;
            let error: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
            assert_eq!((&reply["statusCode"], &error["type"]), (&json!(502), &kind), "{path}: {error}");
            assert!(error["error"]["message"].as_str().unwrap().starts_with("The answer was made"), "{path}: {error}");
            assert_eq!(reply["headers"]["content-type"], "application/json");
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_never_told_as_complete() {
        let broken =
            Body::from_stream(futures_util::stream::iter([Ok("{\"half\":"), Err(std::io::Error::other("reset"))]));
        let reply = read(answer(broken), Transport::Rest).await;
        assert_eq!(reply["statusCode"], 500);
        assert!(!reply.to_string().contains("half") && !reply.to_string().contains("reset"), "{reply}");
    }
}

//! From an event to a request.
//!
//! Three services send two shapes: REST APIs the first, HTTP APIs either, Function URLs the second. The shapes are
//! `lambda_http`'s, the conversion is ours, because theirs (1.3.2) puts the stage into the path, keeps only the last of a
//! repeated header, and unwraps: `x-forwarded-proto: a b` from a client ends the process.
//!
//! Whatever a client can put into a request is the client's to hear of, as a 400 in the form of its transport. Only an
//! event that is no HTTP request at all fails the invocation, and no word of it says what a header held (T3).

use super::{InvocationDeadline, ResponseMode};
use crate::client::ClientAddress;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_core::error::Error;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use lambda_http::aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayV2httpRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::net::IpAddr;

/// What brought the request, and so what can take its answer back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// API Gateway's REST API.
    Rest,
    /// API Gateway's HTTP API, payload format 1.0: a REST API's shape.
    HttpApiV1,
    /// API Gateway's HTTP API, payload format 2.0.
    HttpApi,
    /// Lambda's own Function URL: an HTTP API's shape.
    FunctionUrl,
}

impl Transport {
    /// Whether its answers stream. An HTTP API cannot: it would pass the prelude on to the client.
    pub(super) fn streams(self, mode: ResponseMode) -> bool {
        match mode {
            ResponseMode::Buffered => false,
            ResponseMode::Auto => matches!(self, Self::Rest | Self::FunctionUrl),
            ResponseMode::Streamed => true,
        }
    }

    /// Whether it speaks the first of the two shapes.
    pub(super) fn is_v1(self) -> bool {
        matches!(self, Self::Rest | Self::HttpApiV1)
    }

    /// How long it waits for a whole answer, in milliseconds; a stream may go on for as long as Lambda lets it.
    fn patience_ms(self) -> Option<u64> {
        match self {
            Self::Rest => Some(29_000),
            Self::HttpApiV1 | Self::HttpApi => Some(30_000),
            Self::FunctionUrl => None,
        }
    }
}

/// A request, and what came with it.
#[derive(Debug)]
pub(super) struct Call {
    /// The request, as the router wants it: an origin-form path without stage or base path; or what is wrong with it.
    pub(super) request: Result<Request<Body>, Error>,
    /// What brought it.
    pub(super) transport: Transport,
    /// When the transport received it, in Unix milliseconds.
    pub(super) received_ms: u64,
}

impl Call {
    /// The least of Lambda's deadline and the transport's patience, which began when the transport got the request and
    /// so includes a cold start. An event from long ago or from the future is a sample, not a request: for it the
    /// patience begins now. Nor does Lambda hand out what is too late already: `cargo lambda watch` says 1970.
    pub(super) fn deadline(
        &self,
        lambda_ms: Option<u64>,
        mode: ResponseMode,
        now_ms: u64,
    ) -> Option<InvocationDeadline> {
        let patience_ms = self.transport.patience_ms().filter(|_| !self.transport.streams(mode));
        let transport_ms = patience_ms.map(|patience| {
            let age_ms = now_ms.checked_sub(self.received_ms).filter(|&age| age < patience).unwrap_or(0);
            now_ms + patience - age_ms
        });
        let lambda_ms = lambda_ms.filter(|&at_ms| at_ms > now_ms);
        lambda_ms.into_iter().chain(transport_ms).min().map(|at_ms| InvocationDeadline { at_ms })
    }
}

/// The event is not one of an HTTP request. It names the place where that shows, and not what stands there.
#[derive(Debug, thiserror::Error)]
#[error("not an event of API Gateway or of a Function URL: see line {line}, column {column}")]
pub(super) struct NotHttp {
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for NotHttp {
    fn from(error: serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}

/// Reads an event.
pub(super) fn parse(event: &[u8]) -> Result<Call, NotHttp> {
    #[derive(Deserialize)]
    struct Version {
        version: Option<String>,
    }
    match serde_json::from_slice::<Version>(event)?.version.as_deref() {
        Some("2.0") => from_v2(event),
        Some(_) => from_v1(event, Transport::HttpApiV1),
        None => from_v1(event, Transport::Rest),
    }
}

/// An event of a type that has no place for headers which HTTP does not know: where there are some, all headers are taken
/// out first and answered beside the rest, or the name of the first that cannot be one.
type Typed<T> = (T, Option<Result<[HeaderMap; 2], Error>>);

fn typed<T: DeserializeOwned>(event: &[u8]) -> Result<Typed<T>, NotHttp> {
    let refused = match serde_json::from_slice(event) {
        Ok(read) => return Ok((read, None)),
        Err(error) => NotHttp::from(error),
    };
    let mut event: Value = serde_json::from_slice(event)?;
    let mut taken =
        ["headers", "multiValueHeaders"].map(|name| event.get_mut(name).map(Value::take).unwrap_or_default());
    let read = T::deserialize(event).map_err(|_| refused)?;
    let [single, multi] = &mut taken;
    let headers = headers(single.take()).and_then(|single| Ok([single, headers(multi.take())?]));
    Ok((read, Some(headers)))
}

/// Headers with whatever bytes HTTP lets stand in them, which is more than visible ASCII.
fn headers(map: Value) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let Value::Object(map) = map else { return Ok(headers) };
    for (name, values) in map {
        let odd = || {
            let name: String = name.chars().take(64).collect::<String>().escape_debug().to_string();
            Error::invalid(name.clone(), format!("The header `{name}` has characters that no header may have."))
        };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| odd())?;
        let values = match values {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in &values {
            let value =
                value.as_str().and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok()).ok_or_else(odd)?;
            headers.append(&header, value);
        }
    }
    Ok(headers)
}

fn from_v1(event: &[u8], transport: Transport) -> Result<Call, NotHttp> {
    let (event, read) = typed::<ApiGatewayProxyRequest>(event)?;
    let context = event.request_context;
    let path = event.path.unwrap_or_default();
    let many = event.multi_value_query_string_parameters;
    let query = if many.is_empty() { event.query_string_parameters } else { many }.to_query_string();
    // AWS sends every header in both maps, the repeated ones whole only in this one; a hand-written event may have one.
    let whole = |[single, multi]: [HeaderMap; 2]| if multi.is_empty() { single } else { multi };
    let headers = read.unwrap_or(Ok([event.headers, event.multi_value_headers])).map(whole);
    let parameter = |name: &str| event.path_parameters.get(name).map(String::as_str);
    let path = below_base(&path, event.resource.as_deref(), parameter)
        .unwrap_or_else(|| without_stage(&path, context.stage.as_deref(), context.path.as_deref()));
    Ok(Call {
        request: headers.and_then(|headers| {
            let body = body(event.body, event.is_base64_encoded)?;
            request(event.http_method, target(path, &query)?, headers, body, context.identity.source_ip)
        }),
        transport,
        received_ms: u64::try_from(context.request_time_epoch).unwrap_or(0),
    })
}

fn from_v2(event: &[u8]) -> Result<Call, NotHttp> {
    let (event, read) = typed::<ApiGatewayV2httpRequest>(event)?;
    let context = event.request_context;
    let is_function_url = context.domain_name.as_deref().is_some_and(|domain| domain.contains(".lambda-url."));
    let path = event.raw_path.unwrap_or_default();
    let query = event.raw_query_string.unwrap_or_default();
    let mut headers = read.unwrap_or(Ok([event.headers, HeaderMap::new()])).map(|[single, _]| single);
    if let Some(cookies) = event.cookies.and_then(|cookies| HeaderValue::from_str(&cookies.join("; ")).ok())
        && let Ok(headers) = &mut headers
    {
        headers.insert(header::COOKIE, cookies);
    }
    // `ANY /{proxy+}`; `$default` says nothing of the path.
    let template = event.route_key.as_deref().and_then(|key| key.split_once(' ')).map(|(_, template)| template);
    let parameter = |name: &str| event.path_parameters.get(name).map(String::as_str);
    let path =
        below_base(&path, template, parameter).unwrap_or_else(|| without_stage(&path, context.stage.as_deref(), None));
    Ok(Call {
        request: headers.and_then(|headers| {
            let body = body(event.body, event.is_base64_encoded)?;
            request(context.http.method, target(path, &query)?, headers, body, context.http.source_ip)
        }),
        transport: if is_function_url { Transport::FunctionUrl } else { Transport::HttpApi },
        received_ms: u64::try_from(context.time_epoch).unwrap_or(0),
    })
}

fn request(
    method: Method,
    target: Uri,
    headers: HeaderMap,
    body: Body,
    from: Option<String>,
) -> Result<Request<Body>, Error> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    if let Some(address) = from.and_then(|from| from.parse::<IpAddr>().ok()) {
        request.extensions_mut().insert(ClientAddress::from(address));
    }
    Ok(request)
}

fn body(text: Option<String>, is_base64: bool) -> Result<Body, Error> {
    let text = text.unwrap_or_default();
    if !is_base64 {
        return Ok(Body::from(text));
    }
    let broken = |_| invalid("The body is declared as base64 and is not.");
    STANDARD.decode(text).map(Body::from).map_err(broken)
}

fn invalid(message: &str) -> Error {
    Error::InvalidRequest { param: None, message: message.to_owned() }
}

/// The end of the path that the API's own route stands for, such as `/{proxy+}`. A domain of one's own may put a base path
/// before it, and the stage or not, depending on how they are mapped; the route's parameters show what is left.
fn below_base<'a, 'p>(
    path: &'a str,
    template: Option<&str>,
    parameter: impl Fn(&str) -> Option<&'p str>,
) -> Option<&'a str> {
    let parts = |text: &str| text.split('/').filter(|part| !part.is_empty()).count();
    let mut left = 0;
    for part in template.filter(|template| template.starts_with('/'))?.split('/').filter(|part| !part.is_empty()) {
        let greedy = part.strip_prefix('{').and_then(|part| part.strip_suffix("+}"));
        left += match greedy {
            Some(name) => parts(parameter(name)?),
            None => 1,
        };
    }
    let mut start = path.trim_end_matches('/').len();
    for _ in 0..left {
        start = path[..start].trim_end_matches('/').rfind('/')?;
    }
    Some(&path[start..])
}

/// The path as the router knows it, where the API's route does not show it. An HTTP API leads its path with the stage,
/// unless that is `$default`; a REST API does not, and shows so by a second path that has it. Only where nothing is
/// shown would a stage that is named as a route is (`v1`) be taken for that route.
fn without_stage<'a>(path: &'a str, stage: Option<&str>, path_with_stage: Option<&str>) -> &'a str {
    let rest_after_stage = |path: &'a str| {
        let rest = path.strip_prefix('/')?.strip_prefix(stage?)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    };
    let is_without =
        path_with_stage.is_some_and(|with| with.strip_suffix(path).is_some_and(|lead| lead.strip_prefix('/') == stage));
    if is_without { path } else { rest_after_stage(path).unwrap_or(path) }
}

/// API Gateway decodes some of what it passes on; what may not stand in a request line is encoded again.
/// Slashes that a base URL has too many of (`https://host//v1`) are one.
fn target(path: &str, query: &str) -> Result<Uri, Error> {
    let mut target = String::with_capacity(path.len() + query.len() + 2);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        target.push('/');
        push_encoded(&mut target, part, b"?");
    }
    if path.ends_with('/') || target.is_empty() {
        target.push('/');
    }
    if !query.is_empty() {
        target.push('?');
        push_encoded(&mut target, query, b"");
    }
    target.parse().map_err(|_| invalid("The path and the query are too long for a request."))
}

fn push_encoded(target: &mut String, text: &str, more: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text.as_bytes() {
        if byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte) && !more.contains(&byte) {
            target.push(char::from(byte));
        } else {
            target.extend([
                '%',
                char::from(DIGITS[usize::from(byte >> 4)]),
                char::from(DIGITS[usize::from(byte & 15)]),
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn rest(changes: &Value) -> Value {
        let mut event = json!({"httpMethod": "GET", "path": "/v1/models", "requestContext": {"httpMethod": "GET", "stage": "prod"}});
        merge(&mut event, changes);
        event
    }

    fn v2(changes: &Value) -> Value {
        let mut event = json!({"version": "2.0", "rawPath": "/v1/models", "headers": {},
            "requestContext": {"stage": "$default", "http": {"method": "GET"}}});
        merge(&mut event, changes);
        event
    }

    fn merge(into: &mut Value, changes: &Value) {
        for (name, change) in changes.as_object().unwrap() {
            if change.is_object() && into[name].is_object() {
                merge(&mut into[name], change);
            } else {
                into[name] = change.clone();
            }
        }
    }

    fn read(event: &Value) -> Call {
        parse(&serde_json::to_vec(event).unwrap()).unwrap()
    }

    #[test]
    fn the_client_is_who_the_gateway_saw_and_not_who_a_header_says() {
        let forged = json!({"x-forwarded-for": "198.51.100.9", "forwarded": "for=198.51.100.9"});
        for (address, seen) in
            [("203.0.113.17", "203.0.113.17"), ("2001:db8::7", "2001:db8::7"), ("::ffff:10.0.0.7", "10.0.0.7")]
        {
            let of_rest = rest(&json!({"headers": forged, "requestContext": {"identity": {"sourceIp": address}}}));
            let http = v2(&json!({"headers": forged, "requestContext": {"http": {"sourceIp": address}}}));
            for event in [of_rest, http] {
                let request = read(&event).request.unwrap();
                let client = request.extensions().get::<ClientAddress>().copied();
                assert_eq!(client, Some(ClientAddress(seen.parse().unwrap())), "{event}");
            }
        }
        for address in [json!("test-invoke-source-ip"), Value::Null] {
            let of_rest = rest(&json!({"headers": forged, "requestContext": {"identity": {"sourceIp": address}}}));
            assert_eq!(read(&of_rest).request.unwrap().extensions().get::<ClientAddress>(), None, "{address}");
        }
    }

    #[test]
    fn the_stage_is_not_part_of_the_path_whatever_its_name() {
        let table = [
            // path, stage, the second path of a REST event, what the router sees
            ("/v1/models", "prod", Some("/prod/v1/models"), "/v1/models"),
            ("/v1/models", "v1", Some("/v1/v1/models"), "/v1/models"),
            ("/prod/v1/models", "prod", Some("/prod/v1/models"), "/v1/models"),
            ("/v1/models", "prod", Some("/v1/models"), "/v1/models"),
            ("/prod/v1/models", "prod", None, "/v1/models"),
            ("/v1/v1/models", "v1", None, "/v1/models"),
            ("/v1/models", "$default", None, "/v1/models"),
            ("/production/v1/models", "prod", None, "/production/v1/models"),
            ("/prod", "prod", None, ""),
            ("/", "prod", Some("/prod/"), "/"),
            ("", "prod", None, ""),
        ];
        for (path, stage, with_stage, expected) in table {
            assert_eq!(without_stage(path, Some(stage), with_stage), expected, "{path} {stage} {with_stage:?}");
        }
        assert_eq!(without_stage("/v1/models", None, None), "/v1/models");
    }

    #[test]
    fn a_target_is_encoded_only_where_it_must_be() {
        let table = [
            ("/v1/models", "", "/v1/models"),
            ("", "", "/"),
            ("/v1/receipts/a b?", "x=1&y=%20z", "/v1/receipts/a%20b%3F?x=1&y=%20z"),
            ("/v1/é", "q={\"a\": \u{7f}}", "/v1/%C3%A9?q=%7B%22a%22:%20%7F%7D"),
            ("v1", "a=b?c", "/v1?a=b?c"),
            ("//v1//models/", "", "/v1/models/"),
        ];
        for (path, query, expected) in table {
            assert_eq!(target(path, query).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn each_kind_of_event_is_told_apart() {
        let url = json!({"requestContext": {"domainName": "abc.lambda-url.eu-west-1.on.aws"}});
        assert_eq!(read(&rest(&json!({}))).transport, Transport::Rest);
        assert_eq!(read(&rest(&json!({"version": "1.0"}))).transport, Transport::HttpApiV1);
        assert_eq!(read(&v2(&json!({}))).transport, Transport::HttpApi);
        assert_eq!(read(&v2(&url)).transport, Transport::FunctionUrl);
    }

    #[test]
    fn what_streams_depends_on_the_mode_and_on_what_can() {
        use ResponseMode::{Auto, Buffered, Streamed};
        for (transport, auto) in [
            (Transport::Rest, true),
            (Transport::FunctionUrl, true),
            (Transport::HttpApi, false),
            (Transport::HttpApiV1, false),
        ] {
            assert_eq!(
                [Buffered, Auto, Streamed].map(|mode| transport.streams(mode)),
                [false, auto, true],
                "{transport:?}"
            );
        }
    }

    #[test]
    fn the_deadline_is_the_least_of_lambdas_and_the_transports() {
        const NOW_MS: u64 = 1_763_820_000_000;
        let table = [
            // transport, received, mode, Lambda's deadline, ours; all but the first from now on
            (Transport::Rest, NOW_MS, ResponseMode::Buffered, Some(60_000), Some(29_000)),
            (Transport::Rest, NOW_MS - 4_000, ResponseMode::Buffered, Some(60_000), Some(25_000)),
            (Transport::Rest, NOW_MS, ResponseMode::Buffered, Some(10_000), Some(10_000)),
            (Transport::Rest, NOW_MS, ResponseMode::Auto, Some(60_000), Some(60_000)),
            (Transport::HttpApi, NOW_MS, ResponseMode::Auto, Some(60_000), Some(30_000)),
            (Transport::HttpApiV1, NOW_MS, ResponseMode::Auto, None, Some(30_000)),
            (Transport::FunctionUrl, NOW_MS, ResponseMode::Buffered, Some(60_000), Some(60_000)),
            (Transport::FunctionUrl, NOW_MS, ResponseMode::Buffered, None, None),
            // none of Lambda's: already over
            (Transport::FunctionUrl, NOW_MS, ResponseMode::Auto, Some(0), None),
            (Transport::HttpApi, NOW_MS, ResponseMode::Auto, Some(0), Some(30_000)),
            // samples from long ago and from the future
            (Transport::Rest, 1_583_348_638_390, ResponseMode::Buffered, Some(60_000), Some(29_000)),
            (Transport::Rest, NOW_MS + 1, ResponseMode::Buffered, Some(60_000), Some(29_000)),
        ];
        for (transport, received_ms, mode, lambda, expected) in table {
            let call = Call { request: Ok(Request::new(Body::empty())), transport, received_ms };
            let deadline = call.deadline(lambda.map(|ms| NOW_MS + ms), mode, NOW_MS);
            assert_eq!(deadline.map(|d| d.at_ms - NOW_MS), expected, "{transport:?} {received_ms} {mode:?}");
        }
    }

    #[test]
    fn repeated_headers_and_parameters_all_arrive() {
        let call = read(&rest(&json!({
            "headers": {"x-tag": "b", "accept": "*/*"}, "multiValueHeaders": {"x-tag": ["a", "b"], "accept": ["*/*"]},
            "queryStringParameters": {"tag": "b c"}, "multiValueQueryStringParameters": {"tag": ["a&", "b c"]},
        })));
        let tags: Vec<_> = call.request.as_ref().unwrap().headers().get_all("x-tag").iter().collect();
        assert_eq!(tags, ["a", "b"]);
        assert_eq!(call.request.as_ref().unwrap().uri().query(), Some("tag=a%26&tag=b+c"));

        let one_of_each = read(&rest(&json!({"headers": {"x-tag": "b"}, "queryStringParameters": {"tag": "b"}})));
        assert_eq!(one_of_each.request.as_ref().unwrap().headers()["x-tag"], "b");
        assert_eq!(one_of_each.request.as_ref().unwrap().uri().query(), Some("tag=b"));

        let cookies = read(&v2(&json!({"cookies": ["a=1", "b=2"], "rawQueryString": "x=1&x=2"})));
        assert_eq!(cookies.request.as_ref().unwrap().headers()["cookie"], "a=1; b=2");
        assert_eq!(cookies.request.as_ref().unwrap().uri().query(), Some("x=1&x=2"));
    }

    #[test]
    fn what_a_client_can_put_into_an_event_never_ends_the_process() {
        for header in [json!({"x-forwarded-proto": "a b"}), json!({"host": "a b:c"}), json!({"host": ""})] {
            assert_eq!(
                read(&rest(&json!({"headers": header, "path": "/a b/é?#"}))).request.unwrap().uri().path(),
                "/a%20b/%C3%A9%3F%23"
            );
            assert_eq!(
                read(&v2(&json!({"headers": header, "rawQueryString": "\u{1}"}))).request.unwrap().uri().query(),
                Some("%01")
            );
        }
    }

    #[test]
    fn what_is_no_request_of_http_fails_the_invocation_and_tells_none_of_it() {
        for event in [
            json!({}),
            json!([1]),
            json!({"Records": [{"eventSource": "aws:sqs"}]}),
            json!({"version": "2.0", "rawPath": "/"}),
            rest(&json!({"httpMethod": "a secret"})),
            rest(&json!({"headers": {"x-a": "a secret\u{0}"}, "requestContext": "a secret"})),
        ] {
            let error = parse(&serde_json::to_vec(&event).unwrap()).unwrap_err().to_string();
            assert!(error.starts_with("not an event of API Gateway") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn odd_bytes_in_headers_are_the_callers_fault_by_name_and_never_by_value() {
        let odd = [
            (json!({"authorization": "Bearer secret\u{0}"}), "authorization"),
            (json!({"x-a": "secret\r\nx-b: 1"}), "x-a"),
            (json!({"x-a": 5}), "x-a"),
            (json!({"x-a": ["fine", "secret\u{7f}"]}), "x-a"),
            (json!({"x a\n": "secret"}), "x a\\n"),
            (json!({"": "secret"}), ""),
        ];
        for (headers, name) in odd {
            let many = json!({"headers": {"x-fine": "1"}, "multiValueHeaders": headers});
            let events = [rest(&json!({"headers": headers})), rest(&many), v2(&json!({"headers": headers}))];
            for event in events {
                let http = read(&event).request.unwrap_err().to_http();
                assert_eq!((http.status, http.param.as_deref()), (400, Some(name)), "{event}");
                assert!(!http.message.contains("secret"), "{}", http.message);
            }
        }
    }

    #[test]
    fn what_http_lets_stand_in_a_header_arrives() {
        for event in [
            rest(
                &json!({"headers": {"x-title": "café"}, "multiValueHeaders": {"x-title": ["café"], "x-tag": ["a", "b"]}}),
            ),
            v2(&json!({"headers": {"x-title": "café", "x-tag": "a, b"}, "cookies": ["a=1"]})),
        ] {
            let request = read(&event).request.unwrap();
            assert_eq!(request.headers()["x-title"].as_bytes(), "café".as_bytes());
            assert!(request.headers().contains_key("x-tag"));
        }
    }

    #[test]
    fn a_body_or_target_that_cannot_be_is_the_callers_fault() {
        for (changes, reason) in [
            (json!({"body": "%%%", "isBase64Encoded": true}), "The body is declared as base64"),
            (json!({"path": format!("/{}", "x".repeat(70_000))}), "The path and the query are too long"),
        ] {
            let http = read(&rest(&changes)).request.unwrap_err().to_http();
            assert_eq!(http.status, 400);
            assert!(http.message.starts_with(reason), "{}", http.message);
        }
    }

    #[test]
    fn a_base_path_of_a_domain_of_ones_own_is_not_part_of_the_path() {
        let proxy = |rest: &str| json!({"proxy": rest});
        // The forms that AWS was seen to send: without a mapping, and with one that names base path, stage, both, neither.
        for (path, stage, with_stage) in [
            ("/v1/models", "live", "/live/v1/models"),
            ("/live/v1/models", "live", "/live/v1/models"),
            ("/llm/v1/models", "live", "/llm/v1/models"),
            ("/llm/live/v1/models", "live", "/llm/live/v1/models"),
            ("/v1/v1/models", "v1", "/v1/v1/models"),
            ("/v1/models", "v1", "/v1/v1/models"),
            ("//v1/models", "live", "/live//v1/models"),
            ("/llm//v1/models", "live", "/llm//v1/models"),
        ] {
            let given = json!({"path": path, "resource": "/{proxy+}", "pathParameters": proxy("v1/models"),
                "requestContext": {"stage": stage, "path": with_stage}});
            assert_eq!(read(&rest(&given)).request.unwrap().uri().path(), "/v1/models", "{path}");
        }
        let models = proxy("sim/cheap");
        for (template, parameters, path, expected) in [
            ("/v1/models/{proxy+}", &models, "/llm/v1/models/sim/cheap", "/v1/models/sim/cheap"),
            ("/v1/receipts/{id}", &json!({"id": "r%2F1"}), "/llm/v1/receipts/r%2F1", "/v1/receipts/r%2F1"),
            ("/v1/chat/completions", &json!(null), "/llm/v1/chat/completions/", "/v1/chat/completions/"),
            ("/{proxy+}", &proxy("v1/models/a b"), "/llm/v1/models/a b", "/v1/models/a%20b"),
            ("/", &json!(null), "/llm", "/"),
            // What does not fit together is left alone.
            ("/{proxy+}", &json!({}), "/v1/models", "/v1/models"),
            ("/{proxy+}", &proxy("a/b/c/d"), "/v1/models", "/v1/models"),
        ] {
            let v1 = json!({"path": path, "resource": template, "pathParameters": parameters});
            assert_eq!(read(&rest(&v1)).request.unwrap().uri().path(), expected, "{template} {path}");
            let v2_changes =
                json!({"rawPath": path, "routeKey": format!("ANY {template}"), "pathParameters": parameters});
            assert_eq!(read(&v2(&v2_changes)).request.unwrap().uri().path(), expected, "{template} {path}");
        }
        let default =
            json!({"rawPath": "/live//v1/models", "routeKey": "$default", "requestContext": {"stage": "live"}});
        assert_eq!(read(&v2(&default)).request.unwrap().uri().path(), "/v1/models");
    }
}

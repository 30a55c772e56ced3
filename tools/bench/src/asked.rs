//! What is asked: one question, with and without each of the stages that are compared.

use crate::load::Request;
use crate::stage::{Gateway, Stage};
use serde_json::json;
use std::net::SocketAddr;

const NO_STORE: &str = "x-gateway-cache: no-store\r\n";
const BYPASS: Option<(&str, &str)> = Some(("x-gateway-cache", "bypass"));

/// Plainly a translation, so that `auto` need not ask a classifier, whose call would be measured with it.
const QUESTION: &str = "Translate into French: the harbour was quiet in the morning, two boats came in with the tide, and \
    nobody asked where they had been. The nets were mended by noon, and the children had the quay for themselves.";

/// The requests, each made once.
pub(crate) struct Asked {
    /// Of the double, past the gateway.
    pub(crate) direct: Request,
    pub(crate) direct_stream: Request,
    /// Of a pinned model, the cache left out.
    pub(crate) whole: Request,
    pub(crate) stream: Request,
    /// 5 ms between two events, as a model takes.
    pub(crate) paced_stream: Request,
    /// The same, remembered.
    pub(crate) hit: Request,
    /// Both of the gateway whose store is Redis.
    pub(crate) redis_whole: Request,
    pub(crate) redis_hit: Request,
    /// The same of the first gateway, but it has to find out which tier is to answer.
    pub(crate) auto: Request,
}

impl Asked {
    pub(crate) fn of(stage: &Stage) -> Self {
        let gateway = |headers: &str, model, mode| of_gateway(&stage.gateway, headers, model, mode);
        let hit = |gateway| Request {
            shows: Some(("x-gateway-cache", "hit")),
            calls_double: false,
            ..of_gateway(gateway, "", "double/ok", Mode::Whole)
        };
        Self {
            direct: chat(stage.double_address, "", "ok", Mode::Whole),
            direct_stream: chat(stage.double_address, "", "ok", Mode::Stream),
            whole: whole(&stage.gateway),
            stream: Request { shows: BYPASS, ..gateway(NO_STORE, "double/ok", Mode::Stream) },
            paced_stream: Request { shows: BYPASS, ..gateway(NO_STORE, "double/paced", Mode::Stream) },
            hit: hit(&stage.gateway),
            redis_whole: whole(&stage.redis_gateway),
            redis_hit: hit(&stage.redis_gateway),
            auto: Request {
                shows: Some(("x-gateway-intent-source", "embedding")),
                ..gateway(NO_STORE, "auto", Mode::Whole)
            },
        }
    }
}

/// What a gateway is asked for a whole answer.
pub(crate) fn whole(gateway: &Gateway) -> Request {
    Request { shows: BYPASS, ..of_gateway(gateway, NO_STORE, "double/ok", Mode::Whole) }
}

/// A kind of request whose instructions are counted.
pub(crate) struct Counted {
    pub(crate) name: &'static str,
    pub(crate) request: Request,
    /// The kind that it is set beside, by its place, and what that is called.
    pub(crate) beside: (usize, &'static str),
}

/// The kinds of requests whose instructions are counted. A translated one goes to a provider of another format.
pub(crate) fn counted(gateway: &Gateway) -> Vec<Counted> {
    const WHOLE: (usize, &str) = (0, "a whole answer");
    const STREAM: (usize, &str) = (1, "a stream");
    [
        ("instructions of a whole answer", NO_STORE, "double/ok", Mode::Whole, WHOLE),
        ("instructions of a stream", NO_STORE, "double/ok", Mode::Stream, WHOLE),
        ("instructions of a cache hit", "", "double/ok", Mode::Whole, WHOLE),
        ("instructions of a request for `auto`", NO_STORE, "auto", Mode::Whole, WHOLE),
        ("instructions of a whole answer from Anthropic's format", NO_STORE, "claude/ok", Mode::Whole, WHOLE),
        ("instructions of a stream from Anthropic's format", NO_STORE, "claude/ok", Mode::Stream, STREAM),
        ("instructions of a whole answer from Gemini's format", NO_STORE, "gemini/ok", Mode::Whole, WHOLE),
        ("instructions of a stream from Gemini's format", NO_STORE, "gemini/ok", Mode::Stream, STREAM),
    ]
    .map(|(name, headers, model, mode, beside)| {
        let request = of_gateway(gateway, headers, model, mode);
        Counted { name, request, beside }
    })
    .into()
}

/// The receipt of a request.
pub(crate) fn receipt(gateway: &Gateway, id: &str) -> Request {
    let Gateway { address, key, .. } = gateway;
    let head = format!("GET /v1/receipts/{id} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\r\n");
    Request { to: *address, bytes: head.into_bytes().into(), shows: None, ends_with: "}", calls_double: false }
}

/// A stream of four hundred words, of the double or of what passes it on; a pause before each event if it is paced.
pub(crate) fn long_stream_of_double(to: SocketAddr, paced: bool) -> Request {
    chat(to, "", &long_id(paced), Mode::Long)
}

/// The double's name of the model that answers so.
pub(crate) fn long_id(paced: bool) -> String {
    format!("{}say:{}", if paced { "drip-5+" } else { "" }, "word ".repeat(400).trim_end())
}

/// The same of a gateway.
pub(crate) fn long_stream(gateway: &Gateway, paced: bool) -> Request {
    let model = if paced { "double/long-paced" } else { "double/long" };
    Request { shows: BYPASS, ..of_gateway(gateway, NO_STORE, model, Mode::Long) }
}

/// A stream of some seconds.
pub(crate) fn slow_stream(gateway: &Gateway) -> Request {
    Request { shows: BYPASS, ..of_gateway(gateway, NO_STORE, "double/slow", Mode::Stream) }
}

fn of_gateway(gateway: &Gateway, headers: &str, model: &str, mode: Mode) -> Request {
    chat(gateway.address, &format!("authorization: Bearer {}\r\n{headers}", gateway.key), model, mode)
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Whole,
    Stream,
    /// A stream of many more tokens.
    Long,
}

fn chat(to: SocketAddr, headers: &str, model: &str, mode: Mode) -> Request {
    let mut body = json!({"model": model, "temperature": 0.2, "max_tokens": if mode == Mode::Long { 1_000 } else { 128 }, "messages": [
        {"role": "system", "content": "You are a careful translator. Answer with the translation and nothing else."},
        {"role": "user", "content": QUESTION},
    ]});
    if mode != Mode::Whole {
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
    }
    let body = body.to_string();
    let length = body.len();
    let bytes = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {to}\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let ends_with = if mode == Mode::Whole { "}" } else { "data: [DONE]\n\n" };
    Request { to, bytes: bytes.into_bytes().into(), shows: None, ends_with, calls_double: true }
}

//! Errors in any dress: where the reason stands, and where an `error` is none.

use super::parts::{
    MESSAGE, NOTHING, NULL, STOP, USAGE, answer_of, choice, chunk_of, done, error, event, finish, json, refused, role,
    sse, text, told,
};
use super::{Form, Kind, REASON, Sent};
use crate::LEAK;

fn form(name: &str) -> Form {
    Form::named(Kind::Errors, name)
}

pub(super) fn forms() -> Vec<Form> {
    let dressed = DRESSES.iter().map(|(name, body)| form(name).either(refused(400, &body.replace("REASON", REASON))));
    let gzip = form("error-gzip").either(refused(400, &invalid(REASON)).gzip());
    let plain = form("error-plain").either(refused(400, REASON).headers(&[("content-type", "text/plain")]));
    let event = form("error-as-event").either(refused(400, &event(&invalid(REASON))).headers(EVENTS));
    let html =
        form("error-html").either(refused(400, "<html><h1>Bad Request</h1>").headers(&[("content-type", "text/html")]));
    let empty = form("error-empty").either(refused(400, ""));
    let secret = format!(
        "{REASON}; asked with {LEAK} of org-{LEAK} by arn:aws:iam::123456789012:user/ops at ops.openai.azure.com"
    );
    let secret = form("error-with-secrets").either(refused(400, &invalid(&secret)));
    let in_200 = in_200().into_iter();
    let none = NONE.iter().flat_map(|(name, error)| beside(name, error).and_cut());
    let real = [beside("error-beside-choices", r#"{"message":"The node is gone.","code":500}"#)];
    dressed.chain([gzip, plain, event, html, empty, secret]).chain(in_200).chain(none).chain(real).collect()
}

const EVENTS: &[(&str, &str)] = &[("content-type", "text/event-stream")];

fn invalid(message: &str) -> String {
    error(message, "invalid_request_error", r#""bad_value""#)
}

/// Errors of status 400, each in its own dress.
const DRESSES: [(&str, &str); 16] = [
    (
        "error-openai",
        r#"{"error":{"message":"REASON","type":"invalid_request_error","param":"top_k","code":"bad_value"}}"#,
    ),
    ("error-number-as-code", r#"{"error":{"message":"REASON","type":"BadRequestError","param":null,"code":400}}"#),
    (
        "error-digits-as-code",
        r#"{"error":{"message":"REASON","type":"bad_request_error","http_code":"400","code":"400"}}"#,
    ),
    ("error-text", r#"{"error":"REASON"}"#),
    ("error-text-and-prose", r#"{"code":"Client specified an invalid argument","error":"REASON"}"#),
    ("error-text-and-type", r#"{"error":"REASON","error_type":"validation"}"#),
    ("error-flat", r#"{"object":"error","message":"REASON","type":"BadRequestError","param":null,"code":400}"#),
    ("error-typed", r#"{"type":"error","error":{"type":"invalid_request_error","message":"REASON"}}"#),
    ("error-message", r#"{"message":"REASON","data":null}"#),
    ("error-aws", r#"{"Message":"REASON"}"#),
    ("error-detail", r#"{"detail":"REASON"}"#),
    ("error-detail-list", r#"{"detail":[{"loc":["body","top_k"],"msg":"REASON","type":"value_error"}]}"#),
    (
        "error-detail-in-message",
        r#"{"object":"error","message":{"detail":[{"type":"int","loc":["body","top_k"],"msg":"REASON"}]}}"#,
    ),
    ("error-list", r#"[{"error":{"code":400,"message":"REASON","status":"INVALID_ARGUMENT"}}]"#),
    ("errors", r#"{"errors":[{"message":"REASON"}]}"#),
    ("error-in-text", r#"{"error":{"message":"{\"error\":{\"message\":\"REASON\",\"code\":400}}","code":400}}"#),
];

/// Errors behind a good status, before anything was generated: whole, and as the first event.
fn in_200() -> Vec<Form> {
    let table = [
        ("in-200-rate", error("Slow down.", "rate_limit_error", "429")),
        ("in-200-rate-in-digits", error("Exceeded token rate limit.", "", r#""429""#)),
        ("in-200-server", error("The node is gone.", "server_error", NULL)),
        (
            "in-200-text",
            r#"{"code":"The service is currently unavailable","error":"Timed out waiting for first token"}"#.to_owned(),
        ),
        ("in-200-key", error("Invalid API key.", "authentication_error", r#""invalid_api_key""#)),
        ("in-200-invalid", invalid(REASON)),
        (
            "in-200-overflow",
            error(
                "This model's maximum context length is 4096 tokens.",
                "invalid_request_error",
                r#""context_length_exceeded""#,
            ),
        ),
        (
            "in-200-flat",
            r#"{"object":"error","message":"The node is gone.","type":"InternalServerError","code":500}"#.to_owned(),
        ),
        (
            "in-200-groq",
            r#"{"choices":[],"x_groq":{"error":{"message":"over capacity","type":"internal_server_error"}}}"#
                .to_owned(),
        ),
        ("in-200-named", error("Overloaded.", "overloaded_error", NULL)),
    ];
    let lines = [
        ("in-200-error-field", format!("error: {}\n\n", error("The node is gone.", "server_error", NULL))),
        ("in-200-bare-line", format!("{}\n\n", error("The node is gone.", "server_error", NULL))),
        ("in-200-event-of-text", "event: error\ndata: The node is gone\n\n".to_owned()),
    ];
    let lines = lines.map(|(name, line)| form(name).streamed(sse(&[line, done()]).bill(NOTHING)));
    let form = |(name, body): (&str, String)| {
        let named = if name == "in-200-named" { "event: error\n" } else { "" };
        form(name)
            .whole(json(body.clone()).bill(NOTHING))
            .streamed(sse(&[format!("{named}{}", event(&body)), done()]).bill(NOTHING))
    };
    table.into_iter().map(form).chain(lines).collect()
}

/// What stands in `error` and is none.
const NONE: [(&str, &str); 5] = [
    ("error-null", "null"),
    ("error-false", "false"),
    ("error-no-text", r#""""#),
    ("error-object-empty", "{}"),
    ("error-fields-null", r#"{"message":null,"type":"","code":0,"param":null}"#),
];

/// A good answer that has such an `error`, in the event with its reason.
fn beside(name: &str, error: &str) -> Form {
    let more = format!(r#","error":{error}"#);
    let last = event(&chunk_of(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, &more));
    form(name)
        .whole(json(answer_of(&choice(0, MESSAGE, STOP), &format!(r#","usage":{USAGE}{more}"#))))
        .streamed(of_words(&[last, finish(STOP), told(), done()]))
}

fn of_words(rest: &[String]) -> Sent {
    sse(&[&[role(), text("Forty two "), text("it is.")][..], rest].concat())
}

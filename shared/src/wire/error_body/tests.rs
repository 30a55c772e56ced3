//! Errors in every dress that is known, and answers that are none.

#![allow(clippy::unwrap_used)]
use super::*;

/// Status, code, kind, message, param, delay.
type Row<'a> = (Option<u16>, Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<u64>);

fn row(body: &ErrorBody) -> Row<'_> {
    let (code, kind) = (body.code.as_deref(), body.kind.as_deref());
    (body.status, code, kind, body.message.as_deref(), body.param.as_deref(), body.retry_after_ms)
}

const M: Option<&str> = Some("no");

const DRESSES: &[(&str, Row<'static>)] = &[
    (
        r#"{"error":{"message":"no","type":"t","param":"p","code":"c"}}"#,
        (None, Some("c"), Some("t"), M, Some("p"), None),
    ),
    (r#"{"error":{"message":"no","type":"t","param":null,"code":null}}"#, (None, None, Some("t"), M, None, None)),
    (r#"{"error":{"message":"no","code":429}}"#, (Some(429), None, None, M, None, None)),
    (r#"{"error":{"message":"no","code":"429"}}"#, (Some(429), None, None, M, None, None)),
    (r#"{"error":{"message":"no","code":1301}}"#, (None, Some("1301"), None, M, None, None)),
    (r#"{"error":"no"}"#, (None, None, None, M, None, None)),
    (r#"{"error":"no","error_type":"validation"}"#, (None, None, Some("validation"), M, None, None)),
    (r#"{"code":"some words","error":"no"}"#, (None, Some("some words"), None, M, None, None)),
    (r#"{"error":["no","nor this"],"warnings":[]}"#, (None, None, None, M, None, None)),
    (r#"{"error":true,"message":"no"}"#, (None, None, None, M, None, None)),
    (r#"{"errors":[{"code":5007,"message":"no"}],"success":false}"#, (None, Some("5007"), None, M, None, None)),
    (
        r#"[{"error":{"code":503,"message":"no","status":"UNAVAILABLE"}}]"#,
        (Some(503), None, Some("UNAVAILABLE"), M, None, None),
    ),
    (
        r#"{"type":"error","error":{"type":"overloaded_error","message":"no"}}"#,
        (None, None, Some("overloaded_error"), M, None, None),
    ),
    (
        r#"{"object":"error","message":"no","type":"BadRequestError","param":null,"code":400}"#,
        (Some(400), None, Some("BadRequestError"), M, None, None),
    ),
    (
        r#"{"object":"error","message":{"detail":[{"type":"missing","loc":["body","messages",0],"msg":"no"}]},"type":"t"}"#,
        (None, None, Some("t"), M, Some("messages.0"), None),
    ),
    (r#"{"message":"no"}"#, (None, None, None, M, None, None)),
    (r#"{"Message":"no","__type":"com.x#Denied"}"#, (None, None, Some("com.x#Denied"), M, None, None)),
    (r#"{"detail":"no"}"#, (None, None, None, M, None, None)),
    (
        r#"{"detail":[{"loc":["body","top_p"],"msg":"no","type":"less_than"}]}"#,
        (None, None, None, M, Some("top_p"), None),
    ),
    (r#"{"detail":{"error":{"message":"no","code":"c"}}}"#, (None, Some("c"), None, M, None, None)),
    (r#"{"title":"T","status":402,"detail":"no"}"#, (Some(402), None, None, M, None, None)),
    (
        r#"{"error":{"message":"Provider returned error","code":502,"metadata":{"raw":"{\"error\":{\"message\":\"no\",\"code\":\"c\"}}"}}}"#,
        (Some(502), Some("c"), None, M, None, None),
    ),
    (r#"{"error":{"message":"no","metadata":{"raw":"other"}}}"#, (None, None, None, M, None, None)),
    (
        r#"{"type":"response.failed","sequence_number":2,"response":{"status":"failed","error":{"code":"c","message":"no"}}}"#,
        (None, Some("c"), Some("response.failed"), M, None, None),
    ),
    (r#"{"type":"error","code":"c","message":"no","param":null}"#, (None, Some("c"), None, M, None, None)),
    (r#"{"error":"{\"error\":{\"message\":\"no\"}}"}"#, (None, None, None, M, None, None)),
    (
        r#"{"error":{"code":429,"message":"no","details":[{"x":1},{"retryDelay":"34.07s"}]}}"#,
        (Some(429), None, None, M, None, Some(34_070)),
    ),
    (r#"{"error":{"message":"no","retry_after":2}}"#, (None, None, None, M, None, Some(2_000))),
    (
        r#"{"error":{"message":"no","metadata":{"headers":{"Retry-After":"3"}}}}"#,
        (None, None, None, M, None, Some(3_000)),
    ),
    ("no", (None, None, None, M, None, None)),
    ("data: {\"error\":\"no\"}\n\n", (None, None, None, M, None, None)),
    ("event: error\ndata: {\"error\":\"no\"}\n\n", (None, None, None, M, None, None)),
    ("\u{feff}{\"error\":\"no\"}", (None, None, None, M, None, None)),
    (r#"{"error":{"message":"","code":"c"}}"#, (None, Some("c"), None, None, None, None)),
    (r#"{"error":{}}"#, (None, None, None, None, None, None)),
    (r#"{"error":null,"choices":[]}"#, (None, None, None, None, None, None)),
    ("<html><body>502</body></html>", (None, None, None, None, None, None)),
    ("", (None, None, None, None, None, None)),
];

#[test]
fn an_error_is_read_in_any_dress() {
    for (body, want) in DRESSES {
        assert_eq!(row(&error_of(body.as_bytes())), *want, "{body}");
    }
}

#[test]
fn an_answer_is_no_error_and_an_error_beside_choices_is_one() {
    for body in [
        r#"{"choices":[{"delta":{"content":"x"}}]}"#,
        r#"{"choices":[{"delta":{}}],"error":null}"#,
        r#"{"choices":[{"delta":{}}],"error":false,"errors":[]}"#,
        r#"{"choices":[{"delta":{}}],"error":""}"#,
        r#"{"choices":[{"delta":{}}],"error":{}}"#,
        r#"{"choices":[{"delta":{}}],"error":{"message":"","code":0,"type":null}}"#,
        r#"{"choices":[{"delta":{}}],"message":"hello","detail":"more"}"#,
        r#"{"choices":[{"delta":{},"error":null}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":5}}"#,
        r#"{"choices":[],"x_groq":{"id":"req_1","usage":{}}}"#,
        r#"{"type":"ping"}"#,
        r#"{"object":"chat.completion.chunk"}"#,
        r#"{"choices":[{"delta":{}}],"base_resp":{"status_code":0,"status_msg":"success"}}"#,
        r#"{"choices":[],"base_resp":{"status_code":0,"status_msg":""}}"#,
        "{}",
        "[]",
        "5",
        "plain words",
        "",
    ] {
        assert_eq!(error_in(body.as_bytes()), None, "{body}");
    }
    for body in [
        r#"{"error":"no"}"#,
        r#"{"choices":[{"delta":{}}],"error":{"message":"no"}}"#,
        r#"{"choices":[{"delta":{}}],"error":{"message":"","code":502}}"#,
        r#"{"choices":[],"x_groq":{"error":"no"}}"#,
        r#"{"choices":[{"index":0,"error":{"code":502,"message":"no"}}]}"#,
        r#"{"choices":[],"message":"no"}"#,
        r#"{"detail":"no"}"#,
        r#"{"choices":null,"usage":{"total_tokens":0},"base_resp":{"status_code":1008,"status_msg":"no"}}"#,
        r#"{"errors":["no"]}"#,
        r#"[{"error":{"message":"no"}}]"#,
        r#"{"object":"error","message":"no"}"#,
        r#"{"type":"error","message":"no"}"#,
    ] {
        assert!(error_in(body.as_bytes()).is_some(), "{body}");
    }
}

#[test]
fn what_is_deep_or_large_makes_no_tree() {
    let deep = format!(
        r#"{{"x":{}1{},"error":{}1{}}}"#,
        "[".repeat(9_000),
        "]".repeat(9_000),
        "[".repeat(200),
        "]".repeat(200)
    );
    assert_eq!(error_in(deep.as_bytes()), None, "that is nothing that anybody sends");
    let large = format!(r#"{{"choices":[{{}}],"error":{{"message":"{}"}}}}"#, "x".repeat(MOST_BYTES));
    assert_eq!(error_in(large.as_bytes()), Some(ErrorBody::default()));
    let long = format!(r#"{{"error":"{}"}}"#, "é".repeat(10_000));
    assert_eq!(error_of(long.as_bytes()).message.unwrap().chars().count(), MOST_CHARS);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), text in ".{0,60}") {
        let _ = (error_in(&bytes), error_of(&bytes));
        let _ = (error_in(text.as_bytes()), error_of(format!(r#"{{"error":{text}}}"#).as_bytes()));
    }
}

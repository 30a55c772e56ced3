//! Failures and what they cost: what was generated before the end came is billed, and nothing else.

use super::parts::{
    BILL, MESSAGE, NOTHING, NULL, STOP, answer, answer_with, bill, chunk_of, done, error, event, json, refused, role,
    said, sse, text, told, told_as,
};
use super::{End, Form, Kind, Sent};

fn form(name: &str) -> Form {
    Form::named(Kind::Failures, name)
}

pub(super) fn forms() -> Vec<Form> {
    let gone = || event(&error("The node is gone.", "server_error", NULL));
    let half = || [role(), text("Forty two it")].concat();
    let of = |rest: &str| sse(&[half().as_str(), rest]).bill(bill(9, 0, 3, 0));
    let nothing = |events: &[String]| sse(events).bill(NOTHING);
    let nowhere = |end| Sent { status: 0, ..json("") }.bill(NOTHING).end(end);
    vec![
        form("error-first").streamed(nothing(&[gone(), done()])),
        form("error-after-role").streamed(nothing(&[role(), gone()])),
        form("error-after-text").streamed(of(&gone())),
        form("error-after-text-and-done").streamed(of(&format!("{}{}", gone(), done()))),
        form("error-after-usage").streamed(of(&format!("{}{}", told(), gone())).bill(BILL)),
        form("error-with-usage").streamed(of(&error_with_usage()).bill(BILL)),
        form("error-and-zero-usage").streamed(of(&format!(
            "{}{}",
            told_as(r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#),
            gone()
        ))),
        form("rate-after-text").streamed(of(&event(&error("Slow down.", "rate_limit_error", "429")))),
        form("html-page").either(Sent::good("text/html", "<html><title>Just a moment</title></html>", NOTHING)),
        form("empty-body").either(json("").bill(NOTHING)),
        form("empty-events").either(Sent::good("text/event-stream", "", NOTHING)),
        form("done-only").streamed(nothing(&[done()])),
        form("role-only").streamed(nothing(&[role()])),
        form("role-only-cut").streamed(nothing(&[role()]).end(End::Cut)),
        form("role-and-done").streamed(nothing(&[role(), done()])),
        form("role-and-prompt").streamed(
            nothing(&[role(), told_as(r#"{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}"#)]),
        ),
        form("thoughts-only").streamed(
            sse(&[role(), said(r#"{"reasoning_content":"What is it that is asked?"}"#, NULL)]).bill(bill(9, 0, 6, 6)),
        ),
        form("cut-in-arguments").streamed(
            sse(&[said(
                r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"count","arguments":"{\"to\": 42, \"by\": "}}]}"#,
                NULL,
            )])
            .end(End::Cut)
            .bill(bill(9, 0, 6, 0)),
        ),
        form("cut-in-text").streamed(of("").end(End::Cut)),
        form("usage-and-half").streamed(sse(&[told(), half()]).end(End::Cut)),
        form("cut-whole").whole(Sent { left_out: 40, ..answer(MESSAGE, STOP) }.end(End::Cut)),
        form("half-json").whole(Sent { left_out: 40, ..answer(MESSAGE, STOP) }),
        form("head-only").either(json("").bill(NOTHING).end(End::Reset)),
        form("no-head").either(nowhere(End::Reset)),
        form("closed-at-once").either(nowhere(End::Cut)),
        form("server-error-text").either(refused(500, "Internal Server Error").headers(&[("content-type", "text/plain")])),
        form("unavailable-html").either(refused(503, "<html>Unavailable</html>").headers(&[("content-type", "text/html")])),
        form("unfinished-with-usage").whole(answer(MESSAGE, NULL)).streamed(of(&told()).bill(BILL)),
        form("unfinished-with-prompt").whole(answer_with(
            r#"{"role":"assistant","content":""}"#,
            NULL,
            r#"{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}"#,
        ).bill(NOTHING)),
    ]
}

/// An event with an error that tells the usage, too.
fn error_with_usage() -> String {
    event(&chunk_of(
        "",
        &format!(r#","error":{{"message":"The node is gone.","code":502}},"usage":{}"#, super::parts::USAGE),
    ))
}

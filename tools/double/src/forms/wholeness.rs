//! Whole or cut: which finish reasons are an end.

use super::parts::{
    BILL, MESSAGE, NULL, STOP, USAGE, answer, answer_of, answer_with, bill, choice, chunk_of, done, event, finish,
    json, role, said, sse, stream, text, told,
};
use super::{End, Form, Kind};

fn form(name: &str) -> Form {
    Form::named(Kind::WholeOrCut, name)
}

pub(super) fn forms() -> Vec<Form> {
    let mut forms = vec![
        form("finish-false").streamed(pending("false", STOP)),
        form("finish-false-cut").whole(answer(MESSAGE, "false")).streamed(pending("false", "false")),
        form("finish-empty").streamed(pending(r#""""#, STOP)),
        form("finish-empty-cut").whole(answer(MESSAGE, r#""""#)).streamed(pending(r#""""#, r#""""#)),
        form("finish-missing").streamed(sse(&[without_reason(), finish(STOP), told(), done()])),
        form("finish-missing-cut")
            .whole(json(answer_of(&format!(r#"{{"index":0,"message":{MESSAGE}}}"#), &format!(r#","usage":{USAGE}"#))))
            .streamed(sse(&[without_reason(), done()])),
        form("finish-on-every-chunk").streamed(sse(&every())),
        form("finish-on-every-chunk-cut").streamed(sse(&every()[..2]).end(End::Reset)),
        form("finish-with-text").streamed(sse(&[
            role(),
            text("Forty two "),
            said(r#"{"content":"it is."}"#, STOP),
            finish(STOP),
            told(),
            done(),
        ])),
        form("finish-with-text-cut").streamed(sse(&[role(), text("Forty two "), text("it is."), done()])),
        form("tool-finish-empty").streamed(tool(&finish(r#""tool_calls""#))),
        form("tool-finish-empty-cut").whole(answer(&tool_message(), r#""""#)).streamed(tool("")),
        form("two-choices").n(2).whole(two(STOP)).streamed(two_streamed(&of_second("{}", STOP))),
        form("two-choices-cut").n(2).whole(two(NULL)).streamed(two_streamed("")),
        form("done-without-finish").streamed(sse(&[role(), text("Forty two "), text("it is."), done()])),
        form("usage-without-finish").whole(answer(MESSAGE, NULL)).streamed(sse(&[
            role(),
            text("Forty two "),
            text("it is."),
            told(),
        ])),
        form("silent-end").streamed(sse(&[role(), text("Forty two "), text("it is.")])),
        form("silent-end-in-tool").streamed(sse(&[role(), tool_begins(NULL)])),
    ];
    for (name, reason) in ENDS {
        let body = |sent: super::Sent| {
            let text = String::from_utf8_lossy(&sent.body).replace(r#""finish_reason":"stop""#, &reason_of(reason));
            super::Sent { body: text.into(), ..sent }
        };
        forms.extend(form(name).whole(answer(MESSAGE, STOP)).streamed(stream()).each(body).and_cut());
    }
    for (name, reason) in FAILURES {
        let whole = answer_with(
            r#"{"role":"assistant","content":"Forty two it"}"#,
            reason,
            r#"{"prompt_tokens":null,"completion_tokens":null,"total_tokens":0}"#,
        );
        let half = [role(), text("Forty two it"), finish(reason), done()];
        forms.push(form(name).whole(whole).streamed(sse(&half)).each(|sent| sent.bill(bill(9, 0, 3, 0))));
    }
    forms
}

/// Words that are an end.
const ENDS: [(&str, &str); 9] = [
    ("finish-eos", "eos"),
    ("finish-end-turn", "end_turn"),
    ("finish-upper", "STOP"),
    ("finish-max-tokens", "MAX_TOKENS"),
    ("finish-model-length", "model_length"),
    ("finish-content-filtered", "content_filtered"),
    ("finish-refusal", "refusal"),
    ("finish-tool-call", "tool_call"),
    ("finish-unknown", "dreaming"),
];

/// Words by which a provider says that it has failed.
const FAILURES: [(&str, &str); 4] = [
    ("finish-error", r#""error""#),
    ("finish-insufficient", r#""insufficient_system_resource""#),
    ("finish-abort", r#""abort""#),
    ("finish-cancelled", r#""cancelled""#),
];

fn reason_of(word: &str) -> String {
    format!(r#""finish_reason":"{word}""#)
}

/// A stream with `open` in place of a reason until the last chunk, and no usage.
fn pending(open: &str, last: &str) -> super::Sent {
    let text = |text: &str| said(&format!(r#"{{"role":"assistant","content":"{text}"}}"#), open);
    sse(&[text("Forty two "), text("it is."), finish(last), done()]).bill(BILL)
}

fn without_reason() -> String {
    event(&chunk_of(r#"{"index":0,"delta":{"role":"assistant","content":"Forty two it is."}}"#, ""))
}

fn every() -> [String; 4] {
    let text = |text: &str| said(&format!(r#"{{"content":"{text}"}}"#), STOP);
    [text("Forty two "), text("it is."), told(), done()]
}

fn tool_message() -> String {
    let call = r#"{"id":"c1","type":"function","function":{"name":"count","arguments":"{\"to\":42}"}}"#;
    format!(r#"{{"role":"assistant","content":null,"tool_calls":[{call}]}}"#)
}

fn tool_begins(finish: &str) -> String {
    said(
        r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"count","arguments":"{\"to\":"}}]}"#,
        finish,
    )
}

/// A call of a tool whose pieces have an empty reason.
fn tool(end: &str) -> super::Sent {
    let rest = said(r#"{"tool_calls":[{"index":0,"function":{"arguments":"42}"}}]}"#, r#""""#);
    sse(&[role(), tool_begins(r#""""#), rest, end.to_owned(), done()])
}

fn two(second: &str) -> super::Sent {
    let choices = format!("{},{}", choice(0, MESSAGE, STOP), choice(1, MESSAGE, second));
    json(answer_of(&choices, r#","usage":{"prompt_tokens":9,"completion_tokens":8,"total_tokens":17}"#))
        .bill(bill(9, 0, 8, 0))
}

fn of_second(delta: &str, finish: &str) -> String {
    event(&chunk_of(&format!(r#"{{"index":1,"delta":{delta},"finish_reason":{finish}}}"#), ""))
}

fn two_streamed(end: &str) -> super::Sent {
    let words = r#"{"role":"assistant","content":"Forty two it is."}"#;
    sse(&[said(words, NULL), of_second(words, NULL), finish(STOP), end.to_owned(), done()]).bill(bill(9, 0, 8, 0))
}

//! Framing: media types, codings, characters and lines.

use super::parts::{
    BILL, MESSAGE, NOTHING, STOP, USAGE, answer, answer_of, bill, choice, chunk, done, event, finish, json, role, said,
    spoken, sse, stream, text, told,
};
use super::{Form, Kind, Sent};

const UTF8: &[(&str, &str)] = &[("content-type", "text/event-stream")];

fn form(name: &str) -> Form {
    Form::named(Kind::Framing, name)
}

pub(super) fn forms() -> Vec<Form> {
    [heads(), bodies(), lines()].into_iter().flatten().flat_map(Form::and_cut).chain(broken_ones()).collect()
}

/// A good answer, in either way.
fn plain(name: &str) -> Form {
    form(name).whole(answer(MESSAGE, STOP)).streamed(stream())
}

/// Media types and codings.
fn heads() -> Vec<Form> {
    let headed = |name: &str, whole: &'static str, streamed: &'static str| {
        let named = form(name).whole(answer(MESSAGE, STOP).headers(&[("Content-Type", whole)]));
        named.streamed(stream().headers(&[("Content-Type", streamed)]))
    };
    vec![
        headed("type-in-capitals", "Application/JSON", "Text/Event-Stream"),
        headed("type-with-parameters", "application/json; charset=utf-8; x=y", "text/event-stream;charset=UTF-8"),
        headed("type-wrong", "text/plain", "text/html; charset=utf-8"),
        headed("type-swapped", "text/event-stream", "application/json"),
        plain("type-missing").each(|sent| sent.headers(&[])),
        plain("gzip").each(Sent::gzip),
        plain("coding-identity").each(|sent| with_coding(sent, "identity")),
    ]
}

/// Bodies that are not quite what was asked for.
fn bodies() -> Vec<Form> {
    vec![
        form("json-for-stream").streamed(answer(MESSAGE, STOP)),
        form("json-for-stream-typed").streamed(answer(MESSAGE, STOP).headers(UTF8)),
        form("json-with-thoughts-for-stream").streamed(answer(THOUGHT, r#""length""#)),
        form("json-with-tool-for-stream").streamed(answer(TOOL, r#""tool_calls""#)),
        form("json-of-two-for-stream").n(2).streamed(json(answer_of(
            &format!("{},{}", choice(0, MESSAGE, STOP), choice(1, MESSAGE, STOP)),
            &format!(r#","usage":{USAGE}"#),
        ))),
        form("blanks-before").whole(answer(MESSAGE, STOP)).each(|sent| prefixed(&sent, b"\n         \n\n         \n")),
        form("characters-broken")
            .whole(answer(MESSAGE, STOP))
            .streamed(spoken(&[text("Forty two "), text("it is.")]))
            .each(broken),
        form("line-separators")
            .whole(answer(SEPARATED, STOP))
            .streamed(spoken(&[text("Forty\u{2028}two "), text("it\u{85}is.")])),
        form("events-for-whole").whole(stream()),
        form("tool-events-for-whole").whole(sse(&[
            role(),
            said(TOOL_BEGINS, "null"),
            said(TOOL_ENDS, TOOLS),
            told(),
            done(),
        ])),
        form("not-a-number")
            .whole(json(numbered("message", MESSAGE)))
            .streamed(spoken(&[event(&numbered("delta", MESSAGE))])),
        form("tail")
            .whole(answer(MESSAGE, STOP))
            .each(|sent| Sent { body: [&sent.body[..], b"\n\ndata: [DONE]\n\n"].concat(), ..sent }),
    ]
}

/// Lines.
fn lines() -> Vec<Form> {
    let lines = |name: &str, end: &str| form(name).streamed(relined(&stream(), end));
    vec![
        lines("crlf", "\r\n"),
        lines("cr", "\r"),
        form("mixed-line-ends").streamed(mixed()),
        form("no-space").streamed(replaced(&stream(), "data: ", "data:")),
        form("many-data-lines").streamed(replaced(&stream(), r#","choices""#, ",\ndata: \"choices\"")),
        form("no-blank-line-between")
            .streamed(spoken(&[format!("{}{}", text("Forty two ").trim_end(), "\n"), text("it is.")])),
        form("data-on-next-line").streamed(replaced(&stream(), "data: {", "data:\n {")),
        form("byte-order-mark").streamed(prefixed(&stream(), "\u{feff}".as_bytes())),
    ]
}

/// What cannot be read.
fn broken_ones() -> Vec<Form> {
    vec![
        plain("gzip-short").each(|sent| Sent { left_out: 30, ..sent.gzip() }),
        plain("gzip-none").each(|sent| undecodable(sent, "gzip")),
        plain("coding-br").each(|sent| undecodable(sent, "br")),
        form("html").either(Sent::good(
            "text/html",
            "<!doctype html><title>502</title><h1>No node is left</h1>",
            NOTHING,
        )),
        form("html-as-json").either(json("\n<html>One moment, please</html>").bill(NOTHING)),
        form("plain-text").either(Sent::good("text/plain", "upstream connect error", NOTHING)),
        form("json-broken-for-stream").streamed(json(&answer(MESSAGE, STOP).body[..150])),
        form("two-in-one").streamed(spoken(&[
            text("Forty two "),
            event(&format!(r#"{{"id":"x","object":"chat.completion.cdata: {}"#, chunk(r#"{"content":"it"}"#, "null"))),
        ])),
        form("keep-alive-in-event").streamed(sse(&[
            role(),
            text("Forty two "),
            "data: {\"id\":\"x\",\"choices\":[{\"ind: keepalive\n\nex\":0}]}\n\n".to_owned(),
            finish(STOP),
            told(),
            done(),
        ])),
    ]
}

const THOUGHT: &str = r#"{"role":"assistant","reasoning_content":"What is it?","content":"Forty two it"}"#;
const TOOL: &str = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"count","arguments":"{\"to\":42}"}}]}"#;
const TOOLS: &str = r#""tool_calls""#;
const TOOL_BEGINS: &str =
    r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"count","arguments":"{\"to\":"}}]}"#;
const TOOL_ENDS: &str = r#"{"tool_calls":[{"index":0,"function":{"arguments":"42}"}}]}"#;
const SEPARATED: &str = "{\"role\":\"assistant\",\"content\":\"Forty\u{2028}two it\u{85}is.\"}";

fn with_coding(mut sent: Sent, coding: &'static str) -> Sent {
    sent.headers.push(("content-encoding", coding));
    sent
}

/// A body that its coding does not decode. What was generated cannot be told from it, and only the prompt is billed here.
fn undecodable(sent: Sent, coding: &'static str) -> Sent {
    with_coding(sent, coding).bill(bill(9, 0, 0, 0))
}

fn prefixed(sent: &Sent, before: &[u8]) -> Sent {
    Sent { body: [before, &sent.body].concat(), ..sent.clone() }
}

fn replaced(sent: &Sent, from: &str, to: &str) -> Sent {
    Sent { body: super::replace(&sent.body, from.as_bytes(), to.as_bytes()), ..sent.clone() }
}

/// The same with bytes in the text that are no UTF-8.
fn broken(sent: Sent) -> Sent {
    Sent { body: super::replace(&sent.body, b"two", b"t\xffw\xe2\x82o"), ..sent }
}

/// The same with other line ends.
fn relined(sent: &Sent, end: &str) -> Sent {
    replaced(sent, "\n", end)
}

/// An answer, or a chunk of one, with a log-probability that is no number.
fn numbered(name: &str, message: &str) -> String {
    let finish = if name == "message" { STOP } else { "null" };
    let choice = format!(
        r#"{{"index":0,"{name}":{message},"logprobs":{{"content":[{{"token":"x","logprob":NaN}}]}},"finish_reason":{finish}}}"#
    );
    answer_of(&choice, if name == "message" { TELLS } else { "" })
}

const TELLS: &str = r#","usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}"#;

fn mixed() -> Sent {
    let first = said(r#"{"content":"Forty two "}"#, "null").replace("\n\n", "\n\r\n");
    let second = said(r#"{"content":"it is."}"#, "null").replace("\n\n", "\r\n\n");
    sse(&[role().replace('\n', "\r"), first, second, finish(STOP).replace('\n', "\r\n"), told(), done()]).bill(BILL)
}

//! Events that bring no choice: usage, filter results, pings, comments, nothing.

use super::parts::{
    BILL, NOTHING, STOP, USAGE, bill, chunk_of, done, error, event, finish, json, role, sse, text, told,
};
use super::{End, Form, Kind, Sent};

fn form(name: &str) -> Form {
    Form::named(Kind::NoChoices, name)
}

pub(super) fn forms() -> Vec<Form> {
    let usage_only = |choices: &str| {
        event(&format!(r#"{{"object":"chat.completion.chunk","model":"MODEL",{choices}"usage":{USAGE}}}"#))
    };
    let tolerated = [
        ("filter-first", with(FILTER, "")),
        ("filter-between", with("", &format!("{FILTER}{FILTER}"))),
        ("choices-empty", with("", &event(&chunk_of("", r#","usage":null"#)))),
        ("choices-missing", ends_with(&usage_only(""))),
        ("choices-null", ends_with(&usage_only(r#""choices":null,"#))),
        ("choices-null-without-usage", with("", &event(r#"{"choices":null,"usage":null}"#))),
        ("ping-object", with(&event(r#"{"type":"ping"}"#), &event(r#"{"type":"ping"}"#))),
        ("ping-event", with("event: ping\ndata: {\"type\":\"ping\"}\n\n", "event: ping\ndata: {}\n\n")),
        ("ping-date", with("event: ping\ndata: 2023-02-20 08:40:33.556053\n\n", "event: ping\ndata: ping\n\n")),
        ("object-empty", with(&event("{}"), &event("{}"))),
        ("data-empty", with("data:\n\n", "data: \n\ndata:   \n\n")),
        ("data-null", with(&event("null"), &event("null"))),
        ("comments", with(": OPENROUTER PROCESSING\n\n", ":\n\n: keep-alive\n\n")),
        ("comments-in-event", with("", ": x-cost=0.1\nevent: message\nid: 3\nretry: 1000\n: more\n")),
        ("ping-as-data", with("data: ping\n\n", "data: ping\n\n")),
        ("retry-alone", with("retry: 1000\n\n", "id: 4\n\n")),
    ];
    let tolerated = tolerated.into_iter().flat_map(|(name, streamed)| form(name).streamed(streamed).and_cut());
    // A comment every so often, for longer than a stream may be silent, and not as long as a first token may take.
    let slow = with(&": waiting\n\n".repeat(6), "");
    let slow = form("comments-slow").streamed(Sent { pause_ms: 150, ..slow });
    let usage =
        |output: u64| format!(r#"{{"prompt_tokens":9,"completion_tokens":{output},"total_tokens":{}}}"#, 9 + output);
    let whole = |choices: &str, output| {
        json(format!(r#"{{"id":"x","object":"chat.completion","model":"MODEL",{choices}"usage":{}}}"#, usage(output)))
    };
    let broken = [
        form("comments-only").streamed(sse(&[": waiting\n\n", ": waiting\n\n"]).bill(NOTHING)),
        form("comments-for-ever").streamed(Sent { end: End::Stall, ..sse(&[": waiting\n\n"]) }.bill(bill(9, 0, 0, 0))),
        form("date-without-ping").streamed(with("", "data: 2023-02-20 08:40:33.556053\n\n")),
        form("error-without-choices").streamed(with("", &event(&error("The node is gone.", "server_error", "null")))),
        form("pings-only").streamed(sse(&[event(r#"{"type":"ping"}"#), done()]).bill(NOTHING)),
        form("answer-without-choices").whole(whole("", 4)),
        form("answer-with-null").whole(whole(r#""choices":null,"#, 4)),
        form("answer-with-none").whole(whole(r#""choices":[],"#, 0).bill(NOTHING)),
        form("usage-only").streamed(sse(&[role(), told(), done()])),
    ];
    tolerated.chain(slow.and_cut()).chain(broken).collect()
}

/// What a filter says of the prompt.
const FILTER: &str = "data: {\"id\":\"\",\"choices\":[],\"created\":0,\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n";

/// A good stream with something before it, and something in its middle.
fn with(before: &str, between: &str) -> Sent {
    let (role, begin, rest) = (role(), text("Forty two "), text("it is."));
    sse(&[before, &role, &begin, between, &rest, &finish(STOP), &told(), &done()])
}

/// A stream whose usage stands in this event.
fn ends_with(usage: &str) -> Sent {
    sse(&[&role(), &text("Forty two "), &text("it is."), &finish(STOP), usage, &done()]).bill(BILL)
}

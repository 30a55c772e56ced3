//! Content: what stands in messages and deltas.

use super::parts::{
    BILL, NULL, STOP, USAGE, answer, answer_of, chunk_of, done, event, finish, json, role, said, spoken, sse, text,
    told,
};
use super::{Form, Kind, Sent};

fn form(name: &str) -> Form {
    Form::named(Kind::Content, name)
}

pub(super) fn forms() -> Vec<Form> {
    [texts(), odd(), tools()].into_iter().flatten().flat_map(Form::and_cut).chain(broken()).collect()
}

/// Texts and thoughts.
fn texts() -> Vec<Form> {
    vec![
        form("parts").whole(answer(&format!(r#"{{"role":"assistant","content":[{THINKING},{TEXT}]}}"#), STOP)).streamed(
            spoken(&[
                said(&format!(r#"{{"content":[{THINKING}]}}"#), NULL),
                said(&format!(r#"{{"content":[{TEXT}]}}"#), NULL),
            ]),
        ),
        form("parts-of-other-types")
            .whole(answer(&format!(r#"{{"role":"assistant","content":[{AUDIO},{TEXT}]}}"#), STOP))
            .streamed(spoken(&[said(&format!(r#"{{"content":[{AUDIO},{TEXT}]}}"#), NULL)])),
        form("surrogate-halves").streamed(spoken(&[text(r"Forty two \ud83d"), text(r"\ude00 it is.")])),
        form("surrogate-half-at-end")
            .whole(answer(r#"{"role":"assistant","content":"Forty two it is \ud83d"}"#, STOP))
            .streamed(spoken(&[text("Forty two "), text(r"it is \ud83d")])),
        form("thoughts")
            .whole(answer(r#"{"role":"assistant","reasoning":"What is it?","content":"Forty two."}"#, STOP))
            .streamed(spoken(&[
                said(r#"{"reasoning":"What is it?","reasoning_details":[{"type":"reasoning.text","text":"What is it?"}]}"#, NULL),
                text("Forty two."),
            ])),
    ]
}

/// Fields that are missing, null, or of another type.
fn odd() -> Vec<Form> {
    vec![
        form("odd-types").whole(odd_types(&format!(r#""message":{MESSAGE_ODD},"logprobs":null,"stop_reason":13"#))).streamed(
            spoken(&[event(
                r#"{"id":7,"object":"","created":1746709563.492141,"model":"MODEL","choices":[{"index":0,"delta":{"role":"","content":"Forty two it is.","reasoning_content":""},"finish_reason":null,"matched_stop":null}],"usage":null}"#,
            )]),
        ),
        form("inner-error").whole(odd_types(&format!(r#""message":{MESSAGE_ODD},"content_filter_result":{INNER}"#))).streamed(
            spoken(&[event(&choice(&format!(
                r#""finish_reason":null,"delta":{{"content":"Forty two it is."}},"content_filter_result":{INNER}"#
            )))]),
        ),
        form("filter-on-choice").streamed(spoken(&[
            text("Forty two it is."),
            event(&choice(
                r#""finish_reason":null,"content_filter_offsets":{"check_offset":44},"content_filter_results":{"hate":{"filtered":false}}"#,
            )),
        ])),
        form("delta-null").streamed(with_end(&event(&choice(r#""delta":null,"finish_reason":"stop""#)))),
        form("delta-missing").streamed(with_end(&event(&choice(r#""finish_reason":"stop""#)))),
        form("delta-fields-null").streamed(spoken(&[
            said(r#"{"role":null,"content":"Forty two ","tool_calls":null,"refusal":null,"reasoning":null}"#, NULL),
            said(r#"{"role":null,"content":"it is.","tool_calls":[],"function_call":null}"#, NULL),
        ])),
        form("message-for-delta").streamed(spoken(&[event(&choice(
            r#""message":{"role":"assistant","content":"Forty two it is."},"finish_reason":null"#,
        ))])),
        form("text-for-delta").streamed(spoken(&[event(&choice(r#""text":"Forty two it is.","finish_reason":null"#))])),
    ]
}

/// Calls of tools.
fn tools() -> Vec<Form> {
    let calls = |calls: &str| format!(r#"{{"role":"assistant","content":null,"tool_calls":[{calls}]}}"#);
    vec![
        form("content-null").whole(answer(&calls(CALL), TOOLS)).streamed(called(&[
            said(r#"{"role":"assistant","content":null}"#, NULL),
            said(&format!(r#"{{"content":null,"tool_calls":[{CALL}]}}"#), NULL),
        ])),
        form("content-missing")
            .whole(answer(&format!(r#"{{"role":"assistant","tool_calls":[{CALL}]}}"#), TOOLS))
            .streamed(called(&[
                said(r#"{"role":"assistant"}"#, NULL),
                said(&format!(r#"{{"tool_calls":[{CALL}]}}"#), NULL),
            ])),
        form("tools-without-index").whole(answer(&calls(&format!("{CALL},{SECOND}")), TOOLS)).streamed(called(&[
            said(&format!(r#"{{"tool_calls":[{CALL}]}}"#), NULL),
            said(&format!(r#"{{"tool_calls":[{SECOND}]}}"#), NULL),
        ])),
        form("tools-without-id")
            .whole(answer(
                &calls(r#"{"type":"function","function":{"name":"count","arguments":"{\"to\":42}"}}"#),
                TOOLS,
            ))
            .streamed(called(&[
                said(r#"{"tool_calls":[{"index":0,"function":{"name":"count","arguments":"{\"to\":"}}]}"#, NULL),
                said(r#"{"tool_calls":[{"index":0,"id":null,"function":{"name":null,"arguments":"42}"}}]}"#, NULL),
            ])),
        form("tools-at-one-index").streamed(called(&[
            said(
                r#"{"tool_calls":[{"index":0,"id":"c1","function":{"name":"count","arguments":"{\"to\":42}"}}]}"#,
                NULL,
            ),
            said(
                r#"{"tool_calls":[{"index":0,"id":"c2","function":{"name":"count","arguments":"{\"to\":43}"}}]}"#,
                NULL,
            ),
        ])),
        form("tools-with-object")
            .whole(answer(&calls(r#"{"type":"function","function":{"name":"count","arguments":{"to":42}}}"#), TOOLS))
            .streamed(called(&[said(
                r#"{"tool_calls":[{"index":0,"id":"c1","function":{"name":"count","arguments":{"to":42}}}]}"#,
                NULL,
            )])),
    ]
}

/// What cannot be read.
fn broken() -> [Form; 2] {
    [
        form("surrogate-broken")
            .whole(json(r#"{"model":"MODEL","choices":[{"index":0,"message":{"role":"assistant","content":"Forty two it is \ud83"#))
            .streamed(sse(&[
                role(),
                text("Forty two it is "),
                event(r#"{"model":"MODEL","choices":[{"index":0,"delta":{"content":"\ud83"#),
                finish(STOP),
                done(),
            ])),
        form("choice-is-text").whole(json(answer_of(r#""Forty two it is.""#, ""))).streamed(sse(&[
            role(),
            text("Forty two it is."),
            event(&chunk_of(r#""Forty""#, "")),
            finish(STOP),
            done(),
        ])),
    ]
}

const THINKING: &str = r#"{"type":"thinking","thinking":[{"type":"text","text":"What is it?"}]}"#;
const TEXT: &str = r#"{"type":"text","text":"Forty two it is."}"#;
const AUDIO: &str = r#"{"type":"output_audio","data":"QUJD"}"#;
const MESSAGE_ODD: &str =
    r#"{"role":"assistant","content":"Forty two it is.","tool_calls":[],"reasoning_content":null}"#;
const INNER: &str = r#"{"error":{"code":"content_filter_error","message":"The contents are not filtered"}}"#;
const TOOLS: &str = r#""tool_calls""#;
const CALL: &str = r#"{"id":"c1","type":"function","function":{"name":"count","arguments":"{\"to\":42}"}}"#;
const SECOND: &str = r#"{"id":"c2","type":"function","function":{"name":"count","arguments":"{\"to\":43}"}}"#;

/// A chunk whose choice has these fields.
fn choice(fields: &str) -> String {
    chunk_of(&format!(r#"{{"index":0,{fields}}}"#), "")
}

/// The four words, and this event in place of the one with the reason.
fn with_end(end: &str) -> Sent {
    sse(&[role(), text("Forty two "), text("it is."), end.to_owned(), told(), done()])
}

/// These events before the end of a call of a tool.
fn called(events: &[String]) -> Sent {
    let end = [finish(TOOLS), told(), done()];
    sse(&[events, &end[..]].concat()).bill(BILL)
}

fn odd_types(fields: &str) -> Sent {
    json(format!(
        r#"{{"id":null,"object":"","created":1746709563.492141,"model":"MODEL","choices":[{{"index":0,{fields},"finish_reason":"stop"}}],"usage":{USAGE}}}"#
    ))
}

#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::steps;
use crate::wire::piece::{Choice, Place, choices, said};
use proptest::prelude::*;
use serde_json::{Value, json};

const MESSAGE: &str = r#"{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"On\nce.","annotations":[],"logprobs":[{"token":"a","logprob":-0.5}]}]}"#;
const CALL: &str = r#"{"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":"{\"q\":1}","status":"completed"}"#;
const THOUGHT: &str = r#"{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"Hm."}]}"#;

fn whole_of(status: &str, items: &[&str]) -> String {
    format!(
        r#"{{"id":"resp_1","object":"response","status":"{status}","error":null,"incomplete_details":{{"reason":"max_output_tokens"}},"model":"m-1","output":[{}],"usage":{{"input_tokens":9,"output_tokens":4}}}}"#,
        items.join(",")
    )
}

/// What pieces of a payload say, in few words.
fn told(pieces: &[Piece], payload: &[u8]) -> Vec<String> {
    let of = |place: &Place| said(payload, place).into_owned();
    let word = |piece: &Piece| match piece {
        Piece::Begin { .. } => "begin".to_owned(),
        Piece::Text { text, .. } => format!("text {text}"),
        Piece::Refusal { text, .. } => format!("refusal {text}"),
        Piece::Thought { text, .. } => format!("thought {}", of(text)),
        Piece::ToolCall { call, id, name, arguments, .. } => {
            format!("call {call} {} {} {}", of(id), of(name), of(arguments))
        }
        Piece::Logprobs { logprobs, .. } => format!("logprobs {}", logprobs.tokens()),
        Piece::Finish { why, .. } => format!("{why:?}"),
        Piece::Native { .. } => "native".to_owned(),
        Piece::Signature { id, .. } => format!("sealed {}", of(id)),
    };
    pieces.iter().map(word).collect()
}

fn read_whole(body: &str) -> Result<Vec<String>, Flaw> {
    let answer = completion(Bytes::copy_from_slice(body.as_bytes()), 1.0).map_err(|error| error.flaw)?;
    Ok(told(&answer.pieces, &answer.body))
}

/// What the events of a stream say, one behind the other.
fn read_stream(events: &[Value]) -> Result<Vec<String>, Flaw> {
    let mut answer = Answer::default();
    let mut all = Vec::new();
    for event in events {
        let chunk = answer.read(event.to_string().into()).map_err(|error| error.flaw)?;
        all.extend(told(&chunk.pieces, &chunk.payload).into_iter().filter(|word| word != "begin"));
    }
    Ok(all)
}

#[test]
fn a_whole_answer_is_its_items_in_their_order() {
    for (status, items, expected) in [
        ("completed", &[MESSAGE][..], &["logprobs 1", "text On\nce.", "Stop"][..]),
        ("completed", &[THOUGHT, CALL], &["thought Hm.", "call 0 call_1 f ", "call 0   {\"q\":1}", "ToolCalls"]),
        ("incomplete", &[MESSAGE], &["logprobs 1", "text On\nce.", "Length"]),
        ("completed", &[], &["Stop"]),
        ("completed", &[MESSAGE, MESSAGE], &["logprobs 1", "text On\nce.On\nce.", "Stop"]),
        (
            "completed",
            &[r#"{"type":"web_search_call","id":"ws","status":"completed"}"#, r#"{"type":"new_thing"}"#, "5"],
            &["native", "Stop"],
        ),
        (
            "completed",
            &[r#"{"type":"message","content":[{"type":"refusal","refusal":"No."}]}"#],
            &["refusal No.", "Stop"],
        ),
        (
            "completed",
            &[r#"{"type":"reasoning","summary":[],"encrypted_content":"gAA"}"#],
            &["native", "sealed gAA", "Stop"],
        ),
    ] {
        assert_eq!(read_whole(&whole_of(status, items)).unwrap(), expected, "{status} {items:?}");
    }
    let body = Bytes::from(whole_of("completed", &[MESSAGE]));
    let answer = completion(body.clone(), 1.0).unwrap();
    assert_eq!(&answer.body[answer.places.model.clone().unwrap()], br#""m-1""#);
    assert_eq!(answer.usage.unwrap().input_tokens, 9);
}

#[test]
fn what_is_no_whole_answer_is_told_from_one() {
    for (body, flaw) in [
        (whole_of("in_progress", &[MESSAGE]), Flaw::Unfinished),
        (whole_of("queued", &[]), Flaw::Unfinished),
        (whole_of("failed", &[MESSAGE]), Flaw::Error),
        (whole_of("cancelled", &[]), Flaw::Error),
        (r#"{"error":{"message":"no","code":"server_error"}}"#.to_owned(), Flaw::Error),
        (r#"{"status":"completed"}"#.to_owned(), Flaw::Malformed),
        (r#"{"status":"completed","output":"text"}"#.to_owned(), Flaw::Malformed),
        (r#"{"choices":[{"message":{"content":"x"}}]}"#.to_owned(), Flaw::Malformed),
        ("{".to_owned(), Flaw::Malformed),
        ("plain text".to_owned(), Flaw::Malformed),
    ] {
        assert_eq!(read_whole(&body).unwrap_err(), flaw, "{body}");
    }
    let failed = completion(whole_of("failed", &[MESSAGE]).into(), 1.0).unwrap_err();
    assert_eq!((failed.came.answer_bytes, failed.came.usage.map(|usage| usage.output_tokens)), (6, Some(4)));
}

fn response(status: &str, items: &[&str]) -> Value {
    json!({"type": format!("response.{status}"), "response": serde_json::from_str::<Value>(&whole_of(status, items)).unwrap()})
}

fn delta(kind: &str, item: u64, delta: &str) -> Value {
    json!({"type": format!("response.{kind}"), "output_index": item, "content_index": 0, "item_id": "x", "delta": delta})
}

fn item(kind: &str, index: u64, item: &str) -> Value {
    json!({"type": format!("response.output_item.{kind}"), "output_index": index, "item": serde_json::from_str::<Value>(item).unwrap()})
}

#[test]
fn a_text_is_told_once_however_often_a_stream_tells_it() {
    let text_done =
        json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "On\nce."});
    for (what, events, expected) in [
        (
            "every event",
            vec![
                response("created", &[]),
                item("added", 0, r#"{"type":"message","content":[]}"#),
                json!({"type": "response.content_part.added", "output_index": 0, "part": {"type": "output_text", "text": ""}}),
                delta("output_text.delta", 0, "On\n"),
                delta("output_text.delta", 0, "ce."),
                text_done.clone(),
                json!({"type": "response.content_part.done", "output_index": 0, "part": {"type": "output_text", "text": "On\nce."}}),
                item("done", 0, MESSAGE),
                response("completed", &[MESSAGE]),
            ],
            &["text On\n", "text ce.", "logprobs 1", "Stop"][..],
        ),
        (
            "no deltas",
            vec![response("created", &[]), text_done, response("completed", &[MESSAGE])],
            &["text On\nce.", "logprobs 1", "Stop"],
        ),
        (
            "only the end",
            vec![response("created", &[]), response("completed", &[MESSAGE])],
            &["logprobs 1", "text On\nce.", "Stop"],
        ),
        (
            "an end that leaves out what came before the text",
            vec![item("done", 0, THOUGHT), item("done", 1, MESSAGE), response("completed", &[MESSAGE])],
            &["thought Hm.", "logprobs 1", "text On\nce.", "Stop"],
        ),
        (
            "two texts of one id",
            vec![item("done", 0, MESSAGE), item("done", 1, MESSAGE), response("completed", &[MESSAGE, MESSAGE])],
            &["logprobs 1", "text On\nce.", "text On\nce.", "Stop"],
        ),
        (
            "a text that is cut",
            vec![delta("output_text.delta", 0, "On"), item("done", 0, MESSAGE), response("incomplete", &[MESSAGE])],
            &["text On", "logprobs 1", "text \nce.", "Length"],
        ),
        (
            "thoughts and their summary",
            vec![
                json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Hm."}),
                json!({"type": "response.reasoning_summary_text.done", "output_index": 0, "summary_index": 0, "text": "Hm."}),
                item("done", 0, THOUGHT),
                delta("refusal.delta", 1, "No."),
                response("completed", &[]),
            ],
            &["thought Hm.", "refusal No.", "Stop"],
        ),
    ] {
        assert_eq!(read_stream(&events).unwrap(), expected, "{what}");
    }
}

#[test]
fn what_nobody_knows_passes_on() {
    let events = [
        json!({"type": "response.web_search_call.searching", "output_index": 0}),
        json!({"type": "keepalive"}),
        json!({"type": "response.brand_new"}),
        response("completed", &[]),
    ];
    assert_eq!(read_stream(&events).unwrap(), ["native", "native", "Stop"]);
}

#[test]
fn a_call_is_told_once_however_often_a_stream_tells_it() {
    let begun_call = r#"{"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":""}"#;
    let arguments_done =
        json!({"type": "response.function_call_arguments.done", "output_index": 1, "arguments": "{\"q\":1}"});
    let call = ["call 0 call_1 f ", "call 0   {\"q\":1}", "ToolCalls"];
    for (what, events, expected) in [
        (
            "a call, from its head to the end",
            vec![
                item("added", 1, begun_call),
                delta("function_call_arguments.delta", 1, "{\"q\":1}"),
                arguments_done.clone(),
                item("done", 1, CALL),
                response("completed", &[THOUGHT, CALL]),
            ],
            &["call 0 call_1 f ", "call 0   {\"q\":1}", "thought Hm.", "ToolCalls"][..],
        ),
        (
            "a call without deltas",
            vec![item("added", 1, begun_call), arguments_done.clone(), response("completed", &[])],
            &call,
        ),
        ("a call that only its item tells", vec![item("done", 1, CALL), response("completed", &[])], &call),
        ("a call that only the end tells", vec![item("added", 0, begun_call), response("completed", &[CALL])], &call),
        (
            "an end that leaves out what came before the call",
            vec![item("done", 0, THOUGHT), item("done", 1, CALL), response("completed", &[CALL])],
            &["thought Hm.", "call 0 call_1 f ", "call 0   {\"q\":1}", "ToolCalls"],
        ),
    ] {
        assert_eq!(read_stream(&events).unwrap(), expected, "{what}");
    }
}

#[test]
fn two_calls_at_once_stay_apart() {
    let head = |call: &str| format!(r#"{{"type":"function_call","call_id":"{call}","name":"f","arguments":""}}"#);
    let events = [
        item("added", 3, &head("a")),
        item("added", 5, &head("b")),
        delta("function_call_arguments.delta", 5, "B"),
        delta("function_call_arguments.delta", 3, "A"),
        response("completed", &[]),
    ];
    assert_eq!(read_stream(&events).unwrap(), ["call 0 a f ", "call 1 b f ", "call 1   B", "call 0   A", "ToolCalls"]);
}

#[test]
fn a_stream_that_fails_says_so() {
    for (events, flaw) in [
        (
            vec![
                delta("output_text.delta", 0, "On"),
                json!({"type": "error", "code": "server_error", "message": "no"}),
            ],
            Flaw::Error,
        ),
        (vec![json!({"type": "error", "error": {"code": "rate_limit_exceeded"}, "sequence_number": 2})], Flaw::Error),
        (vec![response("failed", &[MESSAGE])], Flaw::Error),
        (vec![json!({"error": {"message": "no"}})], Flaw::Error),
        (vec![json!({"choices": []})], Flaw::Malformed),
        (vec![json!([1])], Flaw::Malformed),
        (vec![json!({"type": "response.completed"})], Flaw::Malformed),
        (
            // Half of the arguments came, and the end has them all.
            vec![
                item("added", 0, r#"{"type":"function_call","call_id":"c","name":"f","arguments":""}"#),
                delta("function_call_arguments.delta", 0, "{\"q\""),
                item("done", 0, CALL),
            ],
            Flaw::Malformed,
        ),
    ] {
        assert_eq!(read_stream(&events).unwrap_err(), flaw, "{events:?}");
    }
}

#[test]
fn each_form_is_read_where_the_other_was_asked_for() {
    let streamed = as_stream(whole_of("completed", &[MESSAGE, CALL]).into()).unwrap();
    let pieces: Vec<&Piece> = streamed.iter().flat_map(|chunk| &chunk.pieces).collect();
    let read = choices(pieces.iter().copied());
    assert!(matches!(&read[..], [Choice { calls_tools: true, finish: Some(Finish::ToolCalls), .. }]), "{read:?}");
    let events = |events: &[Value]| -> Bytes {
        events.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect::<String>().into()
    };
    let all = [response("created", &[]), delta("output_text.delta", 0, "On\n"), response("completed", &[MESSAGE])];
    let answer = gathered(events(&all), 1.0).unwrap();
    assert_eq!((answer.format, answer.first_text().as_str()), (NAME, "On\nce."));
    assert_eq!(gathered(events(&all[..2]), 1.0).unwrap_err().flaw, Flaw::Unfinished);
    assert_eq!(gathered(events(&[response("failed", &[])]), 1.0).unwrap_err().flaw, Flaw::Error);
    assert_eq!(gathered(Bytes::from_static(b"nothing"), 1.0).unwrap_err().flaw, Flaw::Malformed);
}

#[test]
fn an_event_is_named_by_its_type() {
    for (payload, kind) in [
        (r#"{"type":"response.created","x":1}"#, Some("response.created")),
        (r#"{ "x":1, "type" : "response.created"}"#, Some("response.created")),
        (r#"{"type":"a\u0062"}"#, Some("ab")),
        (r#"{"x":1}"#, None),
        ("5", None),
    ] {
        assert_eq!(kind_of(payload.as_bytes()).as_deref(), kind, "{payload}");
    }
}

#[test]
fn items_without_end_are_few_in_memory_and_a_step_each() {
    let read = |count: usize| {
        let body = format!(r#"{{"status":"completed","output":[{}{{}}]}}"#, "{},".repeat(count - 1));
        steps::of(u64::MAX, || completion(body.into(), 1.0).unwrap().pieces.len())
    };
    let ((few, few_steps), (many, many_steps)) = (read(2_000), read(4_000));
    assert_eq!((few, many), (2, 2));
    assert!(many_steps <= 2 * few_steps, "{few_steps} {many_steps}");
    let mut answer = Answer::default();
    for index in 0..3_000 {
        answer.read(delta("output_text.delta", index, "x").to_string().into()).unwrap();
    }
}

proptest! {
    #[test]
    fn what_is_cut_never_ends_well(cut in 0_usize..2_000) {
        let body = whole_of("completed", &[THOUGHT, MESSAGE, CALL]);
        let cut = cut.min(body.len() - 1);
        prop_assert!(read_whole(&body[..cut]).is_err());
        let events = [response("created", &[]), item("done", 0, MESSAGE), response("completed", &[MESSAGE])];
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let end = stream.trim_end().len();
        prop_assert!(gathered(Bytes::copy_from_slice(&stream.as_bytes()[..cut.min(end - 1)]), 1.0).is_err());
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
        let _ = completion(bytes.clone().into(), 1.0);
        let _ = Answer::default().read(bytes.into());
        for name in ["type", "item", "delta", "response", "output_index", "part", "logprobs"] {
            let mut event = json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": text}});
            event[name] = text.clone().into();
            let _ = Answer::default().read(event.to_string().into());
        }
    }
}

#![allow(clippy::unwrap_used)]
use super::*;
use crate::error::Error;
use crate::wire::answer::Places;
use crate::wire::openai::answer::{Answers, chunk, completion};
use crate::wire::piece::choices;

const WHOLE: &str = r#"{"id":"x","model":"gpt-4o-mini","x_cost":1.10,"choices":[{"index":0,"message":{"role":"assistant","content":"Hi.","refusal":null},
    "logprobs":{"content":[{"token":"Hi","logprob":-0.5},{"token":".","logprob":-1.5}]},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}"#;

const USAGE: Usage = Usage {
    input_tokens: 9,
    cached_input_tokens: 4,
    cache_write_tokens: 2,
    cache_write_1h_tokens: 1,
    output_tokens: 2,
    reasoning_tokens: 1,
    service_tier: None,
    reported_cost_nusd: None,
};

const ALL: Hide = Hide { logprobs: false, usage: false };

fn writer() -> ChatWriter {
    ChatWriter::new("01KB0QR3M00000000000000000".parse().unwrap())
}

/// What a provider of another format sent: a thought, two calls of tools, and their ends.
const FOREIGN: &[u8] = br#"{"t":"So \"x\"","i":"c1","f":"look","a":{"q":1},"g":"see"}"#;

fn foreign() -> Vec<Piece> {
    vec![
        Piece::Thought { choice: 0, text: 5..15 },
        Piece::Text { choice: 0, text: "On \"it\".".into() },
        Piece::ToolCall { choice: 0, call: 0, id: 20..24, name: 29..35, arguments: 40..47 },
        Piece::ToolCall { choice: 0, call: 1, id: 0..0, name: 52..57, arguments: 40..47 },
        Piece::Native { choice: 0 },
        Piece::Finish { choice: 0, why: Finish::ToolCalls },
        Piece::Refusal { choice: 1, text: "No.".into() },
        Piece::Finish { choice: 1, why: Finish::Refusal },
    ]
}

fn foreign_chunk(pieces: Vec<Piece>, usage: Option<Usage>) -> Chunk {
    Chunk { format: "foreign", payload: Bytes::from_static(FOREIGN), pieces, usage, places: Places::default() }
}

/// Each piece in an event of its own, then the end.
fn foreign_stream(hide: Hide) -> Vec<Value> {
    let (mut writer, mut out) = (writer(), BytesMut::new());
    for piece in foreign() {
        writer.chunk(&foreign_chunk(vec![piece], None), "a/b", hide, &mut out);
    }
    writer.chunk(&foreign_chunk(Vec::new(), Some(USAGE)), "a/b", hide, &mut out);
    writer.rest("a/b", hide, &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    text.split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

#[test]
fn only_the_model_and_what_the_client_did_not_ask_for_are_rewritten() {
    let answer = completion(Bytes::from_static(WHOLE.as_bytes()), 1, 1.0).unwrap();
    assert_eq!(writer().whole(&answer, "a/b", ALL), WHOLE.replace("gpt-4o-mini", "a/b"));
    let hidden = WHOLE
        .replace("gpt-4o-mini", "a/b")
        .replace(r#"{"content":[{"token":"Hi","logprob":-0.5},{"token":".","logprob":-1.5}]}"#, "null");
    assert_eq!(writer().whole(&answer, "a/b", Hide { logprobs: true, usage: false }), hidden);
}

#[test]
fn log_probabilities_are_hidden_on_either_side_of_the_model() {
    let wire = r#"{"choices":[{"delta":{},"logprobs":{"content":[]}}],"model":"m","x":1}"#;
    let chunk = chunk(Bytes::from_static(wire.as_bytes()), 1).unwrap().unwrap();
    let mut out = BytesMut::new();
    writer().chunk(&chunk, "a/b", Hide { logprobs: true, usage: false }, &mut out);
    assert_eq!(out, "data: {\"choices\":[{\"delta\":{},\"logprobs\":null}],\"model\":\"a/b\",\"x\":1}\n\n");
}

#[test]
fn an_event_of_several_lines_leaves_as_one() {
    let chunk = chunk(Bytes::from_static(b"{\r\"choices\":\n[]}"), 1).unwrap().unwrap();
    let mut out = BytesMut::new();
    writer().chunk(&chunk, "m", ALL, &mut out);
    assert_eq!(out, "data: { \"choices\": []}\n\n");
}

#[test]
fn the_usage_of_a_stream_is_for_who_asked_for_it() {
    let usage = chunk(Bytes::from_static(br#"{"choices":[],"usage":{"prompt_tokens":1}}"#), 1).unwrap().unwrap();
    for (hide, events) in [(ALL, 1), (Hide { usage: true, ..ALL }, 0)] {
        let mut out = BytesMut::new();
        writer().chunk(&usage, "m", hide, &mut out);
        writer().rest("m", hide, &mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 2 * events, "{hide:?}");
    }
    let last = |hide| foreign_stream(hide).pop().unwrap();
    assert_eq!(last(ALL)["usage"]["total_tokens"], 11);
    assert_eq!(last(Hide { usage: true, ..ALL })["choices"][0]["finish_reason"], "content_filter");
}

#[test]
fn an_answer_of_another_format_is_written_from_its_pieces() {
    let answer = Completion {
        format: "foreign",
        body: Bytes::from_static(FOREIGN),
        pieces: foreign(),
        usage: Some(USAGE),
        first_byte_ms: 1.0,
        places: Places::default(),
    };
    let whole: Value = serde_json::from_slice(&writer().whole(&answer, "a/b", ALL)).unwrap();
    let expected = json!({
        "id": "chatcmpl-01KB0QR3M00000000000000000", "object": "chat.completion", "created": writer().id.created_at_ms() / 1000, "model": "a/b",
        "choices": [
            {"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "On \"it\".", "refusal": null, "reasoning_content": "So \"x\"", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"q\":1}"}},
                    {"id": "call_01KB0QR3M00000000000000000_0_1", "type": "function", "function": {"name": "see", "arguments": "{\"q\":1}"}},
                ]}},
            {"index": 1, "logprobs": null, "finish_reason": "content_filter", "message": {"role": "assistant", "content": null, "refusal": "No."}},
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 1}},
    });
    assert_eq!(whole, expected);
}

#[test]
fn a_stream_of_another_format_is_written_from_its_pieces() {
    let events = foreign_stream(ALL);
    let deltas: Vec<&Value> = events.iter().map(|event| &event["choices"][0]["delta"]).collect();
    let made = "call_01KB0QR3M00000000000000000_0_1";
    let role = json!({"role": "assistant", "content": ""});
    let call = |call: u64, id: &str, name: &str| {
        let function = json!({"name": name, "arguments": "{\"q\":1}"});
        json!({"tool_calls": [{"index": call, "id": id, "type": "function", "function": function}]})
    };
    let expected = [
        role.clone(),
        json!({"reasoning_content": "So \"x\""}),
        json!({"content": "On \"it\"."}),
        call(0, "c1", "look"),
        call(1, made, "see"),
        json!({}),
        role,
        json!({"refusal": "No."}),
        json!({}),
        Value::Null,
    ];
    assert_eq!(deltas, expected.iter().collect::<Vec<_>>());
    assert_eq!(
        (&events[5]["choices"][0]["finish_reason"], &events[9]["usage"]["prompt_tokens"]),
        (&json!("tool_calls"), &json!(9))
    );
    for event in &events {
        assert_eq!((&event["object"], &event["model"]), (&json!("chat.completion.chunk"), &json!("a/b")));
    }
}

#[test]
fn more_of_a_call_that_has_begun_has_no_second_head() {
    let more = || vec![Piece::ToolCall { choice: 0, call: 0, id: 20..24, name: 29..35, arguments: 5..15 }];
    let (mut writer, mut out) = (writer(), BytesMut::new());
    writer.chunk(&foreign_chunk(more(), None), "m", ALL, &mut out);
    out.clear();
    writer.chunk(&foreign_chunk(more(), None), "m", ALL, &mut out);
    let event: Value = serde_json::from_slice(&out[6..]).unwrap();
    let expected = json!([{"index": 0, "function": {"arguments": "So \"x\""}}]);
    assert_eq!(event["choices"][0]["delta"]["tool_calls"], expected);
}

#[test]
fn what_is_written_from_pieces_is_read_as_these_pieces() {
    let mut answers = Answers::of(2);
    let read: Vec<Piece> = foreign_stream(ALL)
        .iter()
        .flat_map(|event| answers.read(event.to_string().into()).unwrap().unwrap().pieces)
        .collect();
    let (read, sent) = (choices(&read), foreign());
    assert_eq!(read[0], choices(&sent)[0]);
    // The format has no word for a refusal that ended an answer; that the model refused is said all the same.
    assert_eq!((read[1].refused, read[1].finish), (true, Some(Finish::Filter)));
}

#[test]
fn an_error_is_told_in_the_envelope_and_ends_a_stream_as_an_event() {
    let http = Error::Provider { status: 400, objection: Default::default() }.to_http();
    let whole = r#"{"error":{"code":"invalid_request","message":"The provider refused the request.","param":null,"type":"invalid_request_error"},"request_id":"01KB0QR3M00000000000000000"}"#;
    assert_eq!(writer().error(&http), whole);
    assert_eq!(writer().stream_error(&http), format!("data: {whole}\n\n"));
    assert_eq!(writer().end("{}"), ": gateway {}\n\ndata: [DONE]\n\n");
}

#[test]
fn usage_that_stood_in_an_event_without_choices_is_told_at_the_end_to_those_who_asked() {
    let read = |json: &'static str| chunk(Bytes::from_static(json.as_bytes()), 1).unwrap().unwrap();
    let alone = read(r#"{"usage":{"prompt_tokens":9,"completion_tokens":2}}"#);
    let passes = read(r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#);
    for (events, hide, told) in [
        (&[&alone][..], ALL, 1),
        (&[&alone, &alone], ALL, 1),
        (&[&alone, &passes], ALL, 1),
        (&[&alone], Hide { usage: true, ..ALL }, 0),
        (&[], ALL, 0),
    ] {
        let (mut writer, mut out) = (writer(), BytesMut::new());
        events.iter().for_each(|event| writer.chunk(event, "m", hide, &mut out));
        writer.rest("m", hide, &mut out);
        let out = String::from_utf8(out.to_vec()).unwrap();
        assert_eq!(out.matches(r#""prompt_tokens":9"#).count(), told, "{out}");
        assert_eq!(out.matches(r#""choices":[]"#).count(), told, "{out}");
    }
}

#[test]
fn every_end_has_a_word_and_the_usage_is_kept_until_it_is_told() {
    for (why, word) in [
        (Finish::Stop, "stop"),
        (Finish::Other, "stop"),
        (Finish::ToolCalls, "tool_calls"),
        (Finish::Length, "length"),
        (Finish::Filter, "content_filter"),
        (Finish::Refusal, "content_filter"),
    ] {
        let (mut writer, mut out) = (writer(), BytesMut::new());
        writer.chunk(&foreign_chunk(Vec::new(), Some(USAGE)), "a/b", ALL, &mut out);
        writer.chunk(&foreign_chunk(vec![Piece::Finish { choice: 0, why }], None), "a/b", ALL, &mut out);
        writer.rest("a/b", ALL, &mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(text.contains(&format!(r#""finish_reason":"{word}""#)), "{text}");
        assert!(text.contains(r#""total_tokens":11"#), "{text}");
    }
}

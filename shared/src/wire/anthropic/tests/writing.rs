use super::*;
use crate::error::Error;
use crate::tenant::Whose;
use crate::wire::answer::{Completion, Places};
use crate::wire::anthropic::answer::{as_stream, completion};
use crate::wire::anthropic::writer::MessagesWriter;
use crate::wire::openai::answer::Answers;
use crate::wire::piece::{Finish, Piece};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

/// What a provider of another format sent: a thought, a text, and two calls of tools of which the first goes on.
const FOREIGN: &[u8] = br#"{"t":"So \"x\"","i":"c1","f":"look","a":"{\"q\"","b":":1}","g":"see","c":"{\"r\":2}"}"#;

fn foreign() -> Vec<Piece> {
    let at = |text: &str| {
        let wire = std::str::from_utf8(FOREIGN).unwrap();
        let begin = wire.find(&format!("\"{text}\":")).unwrap() + 4;
        let value: &serde_json::value::RawValue =
            serde_json::Deserializer::from_str(&wire[begin..]).into_iter().next().unwrap().unwrap();
        begin..begin + value.get().len()
    };
    let call = |call, id, name, arguments| Piece::ToolCall { choice: 1, call, id, name, arguments };
    vec![
        Piece::Begin { choice: 1 },
        Piece::Thought { choice: 1, text: at("t") },
        Piece::Text { choice: 1, text: "On ".into() },
        Piece::Text { choice: 1, text: "it.".into() },
        call(0, at("i"), at("f"), at("a")),
        // It begins before the first is complete.
        call(1, 0..0, at("g"), 0..0),
        call(0, 0..0, 0..0, at("b")),
        call(1, 0..0, 0..0, at("c")),
        Piece::Finish { choice: 1, why: Finish::ToolCalls },
        Piece::Text { choice: 2, text: "another answer".into() },
    ]
}

const FOREIGN_USAGE: Usage = Usage {
    input_tokens: 9,
    cached_input_tokens: 4,
    cache_write_tokens: 2,
    cache_write_1h_tokens: 1,
    output_tokens: 2,
    reasoning_tokens: 1,
    service_tier: None,
    reported_cost_nusd: None,
};

fn foreign_content() -> Value {
    json!([
        {"type": "thinking", "thinking": "So \"x\"", "signature": ""},
        {"type": "text", "text": "On it."},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"q": 1}},
        {"type": "tool_use", "id": "toolu_01KB0QR3M00000000000000000_1", "name": "see", "input": {"r": 2}},
    ])
}

#[test]
fn an_answer_of_another_format_is_written_from_its_pieces() {
    let usage = json!({"input_tokens": 2, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 2,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1},
        "output_tokens_details": {"thinking_tokens": 1}});
    let expected = json!({"id": "msg_01KB0QR3M00000000000000000", "type": "message", "role": "assistant", "model": "a/b",
        "content": foreign_content(), "stop_reason": "tool_use", "stop_sequence": null, "usage": usage});
    let places = Places::default();
    let answer = Completion {
        format: "foreign",
        body: Bytes::from_static(FOREIGN),
        pieces: foreign(),
        usage: Some(FOREIGN_USAGE),
        first_byte_ms: 1.0,
        places,
    };
    let whole: Value = serde_json::from_slice(&MessagesWriter::new(id()).whole(&answer, "a/b", ALL)).unwrap();
    assert_eq!(whole, expected);
    let chunk = |pieces, usage| Chunk {
        format: "foreign",
        payload: Bytes::from_static(FOREIGN),
        pieces,
        usage,
        places: Places::default(),
    };
    let mut chunks: Vec<Chunk> = foreign().into_iter().map(|piece| chunk(vec![piece], None)).collect();
    chunks.push(chunk(Vec::new(), Some(FOREIGN_USAGE)));
    assert_eq!(accumulated(&written(&mut MessagesWriter::new(id()), &chunks, "a/b")), expected);
}

#[test]
fn a_call_streams_as_it_comes_and_one_that_is_complete_makes_room_for_the_next() {
    let chunk = |json: &str| {
        let mut answers = Answers::of(1);
        answers.read(format!(r#"{{"choices":[{{"index":0,"delta":{json}}}]}}"#).into()).unwrap().unwrap()
    };
    let call = |index: u64, id: &str, arguments: &str| {
        let head = if id.is_empty() { String::new() } else { format!(r#""id":"{id}","#) };
        let name = if id.is_empty() { "" } else { r#""name":"f","# };
        chunk(&format!(
            r#"{{"tool_calls":[{{"index":{index},{head}"function":{{{name}"arguments":{}}}}}]}}"#,
            Value::from(arguments)
        ))
    };
    let mut writer = MessagesWriter::new(id());
    let mut kinds = |chunk: &Chunk| {
        let mut out = BytesMut::new();
        writer.chunk(chunk, "m", ALL, &mut out);
        let out = String::from_utf8(out.to_vec()).unwrap();
        events(&out)
            .iter()
            .map(|event| event["type"].as_str().unwrap().trim_start_matches("content_block_").to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(kinds(&chunk(r#"{"role":"assistant","content":"a"}"#)), "message_start start delta");
    assert_eq!(kinds(&call(0, "c1", "")), "stop start", "the text is closed before the call is opened");
    assert_eq!(kinds(&call(0, "", r#"{"a":"}"#)), "delta");
    assert_eq!(kinds(&call(0, "", r#""}"#)), "delta");
    let mut second = call(0, "c2", "{}");
    for piece in &mut second.pieces {
        if let Piece::ToolCall { call, .. } = piece {
            *call = 1;
        }
    }
    assert_eq!(kinds(&second), "stop start delta");
    // router-for-me/CLIProxyAPI#3748: its name comes late, and it was lost.
    let late = r#"{"tool_calls":[{"index":2,"id":"c3","function":{"name":"","arguments":"{"}}]}"#;
    assert_eq!(kinds(&chunk(late)), "");
}

#[test]
fn a_call_whose_name_comes_late_or_never_is_told_all_the_same() {
    let mut answers = Answers::of(1);
    let mut chunk =
        |json: &str| answers.read(format!(r#"{{"choices":[{{"index":0,{json}}}]}}"#).into()).unwrap().unwrap();
    let call = |index: u64, id: &str, name: &str, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"tool_calls": [{"index": index, "id": id, "function": function}]}).to_string()
    };
    let chunks = [
        chunk(&format!(r#""delta":{}"#, call(0, "c1", "", "{\"a\""))),
        chunk(&format!(r#""delta":{}"#, call(0, "c1", "f", ":1}"))),
        chunk(&format!(r#""delta":{}"#, call(1, "c2", "", "{}"))),
        chunk(r#""delta":{},"finish_reason":"tool_calls""#),
    ];
    let message = accumulated(&written(&mut MessagesWriter::new(id()), &chunks, "m"));
    let tool = |id: &str, name: &str, input: Value| json!({"type": "tool_use", "id": id, "name": name, "input": input});
    assert_eq!(message["content"], json!([tool("c1", "f", json!({"a": 1})), tool("c2", "", json!({}))]));
}

#[test]
fn what_is_refused_and_what_is_no_json_is_told_as_it_is() {
    let whole = |choice: &str| -> Value {
        let body = format!(r#"{{"choices":[{{"index":0,{choice}}}]}}"#);
        let answer = crate::wire::openai::answer::completion(body.into(), 1, 1.0).unwrap();
        serde_json::from_slice(&MessagesWriter::new(id()).whole(&answer, "m", ALL)).unwrap()
    };
    let refused = whole(r#""message":{"content":null,"refusal":"No."},"finish_reason":"stop""#);
    assert_eq!(
        (&refused["content"], &refused["stop_reason"]),
        (&json!([{"type": "text", "text": "No."}]), &json!("refusal"))
    );
    let cut = whole(
        r#""message":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"a"}}]},"finish_reason":"length""#,
    );
    assert_eq!((&cut["content"][0]["input"], &cut["stop_reason"]), (&json!("{\"a"), &json!("max_tokens")));
    let empty = whole(r#""message":{"content":""},"finish_reason":"stop""#);
    assert_eq!((&empty["content"], &empty["stop_reason"]), (&json!([]), &json!("end_turn")));
}

#[test]
fn a_whole_message_may_stand_for_a_stream() {
    let chunks = as_stream(WHOLE.into()).unwrap();
    let message = accumulated(&written(&mut MessagesWriter::new(id()), &chunks, "a/b"));
    assert_eq!(message["content"][1], json!({"type": "text", "text": "On it."}));
    assert_eq!(message["content"][2]["input"], json!({"b": 1.10, "a": "x"}));
    assert_eq!(
        (&message["stop_reason"], &message["usage"]["cache_read_input_tokens"]),
        (&json!("tool_use"), &json!(4))
    );
}

#[test]
fn an_error_has_the_type_that_its_status_has_and_the_contracts_code_beside() {
    for (error, kind) in [
        (Error::invalid("n", "no"), "invalid_request_error"),
        (Error::TooLarge { limit_bytes: 1 }, "request_too_large"),
        (Error::InvalidApiKey("no"), "authentication_error"),
        (Error::TenantDisabled, "permission_error"),
        (Error::ModelNotFound { model: "m".into(), hint: None }, "not_found_error"),
        (Error::ConcurrencyLimited { whose: Whose::Tenant, retry_after_ms: 1 }, "rate_limit_error"),
        (Error::Overloaded, "overloaded_error"),
        (Error::DeadlineExceeded, "timeout_error"),
        (Error::AllCandidatesFailed { attempts: vec![], retry_after_ms: None }, "api_error"),
        (Error::Internal("x".into()), "api_error"),
    ] {
        let http = error.to_http();
        let read: Value = serde_json::from_slice(&MessagesWriter::new(id()).error(&http)).unwrap();
        assert_eq!((&read["type"], &read["error"]["type"]), (&json!("error"), &json!(kind)), "{read}");
        assert_eq!(
            (&read["error"]["details"]["error_code"], &read["request_id"]),
            (&json!(http.code), &json!(id().to_string()))
        );
    }
    let end = MessagesWriter::new(id()).stream_error(&Error::DeadlineExceeded.to_http());
    let end = std::str::from_utf8(&end).unwrap();
    assert_eq!(events(end)[0]["error"]["type"], "timeout_error");
    assert!(!end.contains("message_stop"));
}

proptest! {
    #[test]
    fn no_event_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,30}") {
        let mut message = Message::default();
        let _ = message.read(bytes.clone().into());
        let _ = completion(bytes.into(), 1.0);
        for kind in ["message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop"] {
            let event = json!({"type": kind, "index": 1, "message": {"usage": text}, "content_block": {"type": text}, "delta": {"type": "text_delta", "text": text}});
            let _ = message.read(event.to_string().into());
        }
    }

    #[test]
    fn a_stream_of_any_pieces_keeps_to_the_grammar(
        steps in prop::collection::vec((0_u64..5, "[a-z\"\\\\{}]{0,6}"), 0..12),
    ) {
        let mut chunks = Vec::new();
        let chunk = |text: &str, piece: &dyn Fn(std::ops::Range<usize>) -> Piece| {
            let payload = Bytes::from(Value::from(text).to_string());
            let at = 0..payload.len();
            Chunk { format: "foreign", payload, pieces: vec![piece(at)], usage: None, places: Places::default() }
        };
        for (kind, text) in &steps {
            chunks.push(chunk(text, &|at| match kind {
                0 => Piece::Text { choice: 0, text: text.clone() },
                1 => Piece::Thought { choice: 0, text: at },
                2 => Piece::Refusal { choice: 0, text: text.clone() },
                // Arguments are JSON once they are complete.
                call => Piece::ToolCall { choice: 0, call: *call, id: 0..0, name: at, arguments: 0..0 },
            }));
        }
        chunks.push(chunk("", &|_| Piece::Finish { choice: 0, why: Finish::Stop }));
        let message = accumulated(&written(&mut MessagesWriter::new(id()), &chunks, "m"));
        let said = |kind: u64| steps.iter().filter(|(of, _)| *of == kind).map(|(_, text)| text.as_str()).collect::<String>();
        let blocks = message["content"].as_array().unwrap();
        let all = |name: &str| blocks.iter().filter_map(|block| block[name].as_str()).collect::<String>();
        let texts: String = steps.iter().filter(|(of, _)| *of == 0 || *of == 2).map(|(_, text)| text.as_str()).collect();
        prop_assert_eq!((all("text"), all("thinking")), (texts, said(1)));
    }
}

use crate::error::Error;
use crate::id::RequestId;
use crate::money::{ServiceTier, Usage};
use crate::wire::answer::{Chunk, Completion, Flaw, NotACompletion, Places};
use crate::wire::anthropic::answer::{as_stream, completion};
use crate::wire::anthropic::events::{Message, Said};
use crate::wire::anthropic::writer::MessagesWriter;
use crate::wire::openai::answer::Answers;
use crate::wire::openai::writer::ChatWriter;
use crate::wire::piece::{Finish, Piece, choices};
use crate::wire::sse::{Kind, SseParser};
use crate::wire::writer::{Hide, Writer};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

const WHOLE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[
    {"type":"thinking","thinking":"Hm.","signature":"c2ln"},
    {"type":"text","text":"On it.","citations":[{"type":"char_location"}]},
    {"type":"tool_use","id":"toolu_1","name":"look","input":{"b": 1.10,"a":"x"}},
    {"type":"tool_use","id":"toolu_2","name":"see","input":{}},
    {"type":"something_new","x":1}],
    "stop_reason":"tool_use","stop_sequence":null,
    "usage":{"input_tokens":9,"cache_creation_input_tokens":5,"cache_read_input_tokens":4,"output_tokens":7,
        "cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":2},
        "output_tokens_details":{"thinking_tokens":2},"service_tier":"standard"}}"#;

/// As the documentation shows it: the model thinks without showing it, speaks, and calls two tools.
const STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude-x","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"cache_read_input_tokens":4,"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":2},"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: ping
data: {"type": "ping"}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"On "}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"it."}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"look","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"b\": 1.10"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":",\"a\":\"x\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_2","name":"see","input":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: new_event
data: {"type":"new_event","x":[1.10]}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":7,"output_tokens_details":{"thinking_tokens":2}}}

event: message_stop
data: {"type":"message_stop"}

"#;

const USAGE: Usage = Usage {
    input_tokens: 18,
    cached_input_tokens: 4,
    cache_write_tokens: 3,
    cache_write_1h_tokens: 2,
    output_tokens: 7,
    reasoning_tokens: 2,
    service_tier: None,
    reported_cost_nusd: None,
};
const ALL: Hide = Hide { logprobs: false, usage: false };

fn id() -> RequestId {
    "01KB0QR3M00000000000000000".parse().unwrap()
}

/// Whether the end came, and the chunks before it.
fn read(wire: &[u8]) -> Result<(Vec<Chunk>, bool), NotACompletion> {
    let (mut parser, mut message, mut chunks) = (SseParser::default(), Message::default(), Vec::new());
    parser.feed(wire);
    while let Some(event) = parser.next_event().unwrap() {
        match event.kind {
            Kind::Ping => continue,
            Kind::Error => return Err(Flaw::Error.into()),
            Kind::Message => {}
        }
        match message.read(event.data)? {
            Said::Chunk(chunk) => chunks.push(chunk),
            Said::Last(chunk) => {
                chunks.extend(chunk);
                return Ok((chunks, true));
            }
            Said::Nothing => {}
        }
    }
    Ok((chunks, false))
}

fn written(writer: &mut dyn Writer, chunks: &[Chunk], model: &str) -> String {
    let mut out = BytesMut::new();
    chunks.iter().for_each(|chunk| writer.chunk(chunk, model, ALL, &mut out));
    writer.rest(model, ALL, &mut out);
    String::from_utf8(out.to_vec()).unwrap() + std::str::from_utf8(&writer.end("{}")).unwrap()
}

fn without_comments(stream: &str) -> String {
    stream.split_inclusive("\n\n").filter(|event| !event.starts_with(':')).collect()
}

/// The events of a stream by their names, each of which is its data's type.
fn events(stream: &str) -> Vec<Value> {
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
        data
    };
    without_comments(stream).split_terminator("\n\n").map(event).collect()
}

/// Puts a stream together as the official client does, and holds it to the format's grammar.
fn accumulated(stream: &str) -> Value {
    let (mut message, mut open, mut ended, mut inputs) = (Value::Null, None, false, Vec::<String>::new());
    for event in events(stream) {
        assert!(!ended, "nothing follows the end");
        let index = event["index"].as_u64();
        match event["type"].as_str().unwrap() {
            "message_start" => {
                assert!(message.is_null());
                message = event["message"].clone();
            }
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(inputs.len() as u64)));
                open = index;
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                assert_eq!(open, index);
                let place = usize::try_from(index.unwrap()).unwrap();
                let (block, delta) = (&mut message["content"][place], &event["delta"]);
                let add = |to: &mut Value, more: &Value| {
                    *to = (to.as_str().unwrap().to_owned() + more.as_str().unwrap()).into()
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => add(&mut block["text"], &delta["text"]),
                    "thinking_delta" => add(&mut block["thinking"], &delta["thinking"]),
                    "input_json_delta" => {
                        assert_eq!(block["type"], "tool_use");
                        inputs[place].push_str(delta["partial_json"].as_str().unwrap());
                    }
                    _ => {}
                }
            }
            "content_block_stop" => {
                assert_eq!(open.take(), index);
                let place = usize::try_from(index.unwrap()).unwrap();
                if !inputs[place].is_empty() {
                    message["content"][place]["input"] = serde_json::from_str(&inputs[place]).unwrap();
                }
            }
            "message_delta" => {
                assert_eq!(open, None);
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["usage"] = event["usage"].clone();
            }
            "message_stop" => ended = true,
            _ => {}
        }
    }
    assert!(ended, "{stream}");
    message
}

#[test]
fn a_whole_message_says_what_it_says() {
    let answer = completion(WHOLE.into(), 1.0).unwrap();
    assert_eq!(answer.usage, Some(Usage { service_tier: Some(ServiceTier::Standard), ..USAGE }));
    let said: Vec<_> = answer
        .pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text { text, .. } => text.clone(),
            Piece::Thought { text, .. } => answer.said(text).into_owned(),
            Piece::ToolCall { call, id, name, arguments, .. } => {
                format!("{call} {} {} {}", answer.said(id), answer.said(name), answer.said(arguments))
            }
            piece => format!("{piece:?}"),
        })
        .collect();
    let expected = [
        "Hm.",
        "Native { choice: 0 }",
        "On it.",
        r#"0 toolu_1 look {"b": 1.10,"a":"x"}"#,
        "1 toolu_2 see {}",
        "Finish { choice: 0, why: ToolCalls }",
    ];
    assert_eq!(said, expected);
    let mut writer = MessagesWriter::new(id());
    assert_eq!(writer.whole(&answer, "a/b", ALL), WHOLE.replace("claude-x", "a/b"));
}

#[test]
fn why_a_message_ended_is_known_and_one_that_does_not_say_is_not_whole() {
    for (reason, why) in [
        ("end_turn", Finish::Stop),
        ("stop_sequence", Finish::Stop),
        ("tool_use", Finish::ToolCalls),
        ("max_tokens", Finish::Length),
        ("model_context_window_exceeded", Finish::Length),
        ("refusal", Finish::Refusal),
        ("pause_turn", Finish::Other),
        ("of another day", Finish::Other),
    ] {
        let body = format!(r#"{{"type":"message","content":[],"stop_reason":"{reason}"}}"#);
        let answer = completion(body.into(), 1.0).unwrap();
        assert_eq!(answer.pieces, [Piece::Begin { choice: 0 }, Piece::Finish { choice: 0, why }]);
    }
    for (body, flaw) in [
        (r#"{"type":"message","content":[{"type":"text","text":"a"}],"stop_reason":null}"#, Flaw::Unfinished),
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Flaw::Error),
        (r#"{"type":"message"}"#, Flaw::Malformed),
        (r#"{"type":"message","content":"#, Flaw::Malformed),
        ("[]", Flaw::Malformed),
        ("hello", Flaw::Malformed),
    ] {
        assert_eq!(completion(body.into(), 1.0).unwrap_err().flaw, flaw, "{body}");
    }
}

#[test]
fn a_stream_of_this_format_passes_byte_for_byte_but_for_the_models_name() {
    let (chunks, ended) = read(STREAM.as_bytes()).unwrap();
    assert!(ended);
    let out = without_comments(&written(&mut MessagesWriter::new(id()), &chunks, "a/b"));
    let pings = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    assert_eq!(out, STREAM.replace("claude-x", "a/b").replace(pings, ""));
    let text: String = choices(chunks.iter().flat_map(|chunk| &chunk.pieces))[0].text.clone().into();
    assert_eq!(text, "On it.");
    let used = chunks.iter().fold(None, |used, chunk| Usage::both(used, chunk.usage));
    assert_eq!(used, Some(USAGE));
}

#[test]
fn a_stream_reaches_a_chat_client_in_its_words() {
    let (chunks, _) = read(STREAM.as_bytes()).unwrap();
    let out = written(&mut ChatWriter::new(id()), &chunks, "a/b");
    let mut answers = Answers::of(1);
    let events =
        out.split_terminator("\n\n").filter_map(|event| event.strip_prefix("data: {")).map(|rest| format!("{{{rest}"));
    let read: Vec<Chunk> = events.map(|event| answers.read(event.into()).unwrap().unwrap()).collect();
    let mut calls = vec![String::new(); 2];
    for chunk in &read {
        for piece in &chunk.pieces {
            if let Piece::ToolCall { call, arguments, .. } = piece {
                calls[usize::try_from(*call).unwrap()].push_str(&chunk.said(arguments));
            }
        }
    }
    assert_eq!(calls, [r#"{"b": 1.10,"a":"x"}"#, "{}"], "a call without arguments has an empty object");
    let choice = &choices(read.iter().flat_map(|chunk| &chunk.pieces))[0];
    assert_eq!((&*choice.text, choice.finish), ("On it.", Some(Finish::ToolCalls)));
    let told = Usage { cache_write_tokens: 5, cache_write_1h_tokens: 0, ..USAGE };
    assert_eq!(read.last().unwrap().usage, Some(told), "this format has one figure for what was written");
}

/// envoyproxy/ai-gateway#2239, #2290 and maximhq/bifrost#5355: what is told twice counts once, and what is told at either
/// end counts.
#[test]
fn usage_is_the_last_word_of_each_figure() {
    let used = |start: &str, delta: &str| {
        let mut message = Message::default();
        let start = format!(r#"{{"type":"message_start","message":{{"usage":{start}}}}}"#);
        let delta = format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{delta}}}"#);
        let mut used = None;
        for event in [start, delta] {
            let Said::Chunk(chunk) = message.read(event.into()).unwrap() else { panic!("no chunk") };
            used = Usage::both(used, chunk.usage);
        }
        let usage = used.unwrap();
        (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)
    };
    let cached = r#"{"input_tokens":9,"cache_read_input_tokens":5,"cache_creation_input_tokens":2,"output_tokens":1}"#;
    for (start, delta, expected) in [
        (cached, r#"{"output_tokens":16}"#, (16, 5, 16)),
        (
            cached,
            r#"{"input_tokens":9,"cache_read_input_tokens":5,"cache_creation_input_tokens":2,"output_tokens":16}"#,
            (16, 5, 16),
        ),
        (
            cached,
            r#"{"input_tokens":0,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":16}"#,
            (16, 5, 16),
        ),
        (
            r#"{"input_tokens":0,"output_tokens":0}"#,
            r#"{"input_tokens":4522,"cache_creation_input_tokens":4511,"output_tokens":5}"#,
            (9033, 0, 5),
        ),
        (
            r#"{"input_tokens":8834,"output_tokens":0}"#,
            r#"{"input_tokens":18,"cache_read_input_tokens":8831,"output_tokens":426}"#,
            (8849, 8831, 426),
        ),
        (
            r#"{"input_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":6}}"#,
            r#"{"output_tokens":1}"#,
            (13, 0, 1),
        ),
        (r#"{"input_tokens":"7","output_tokens":null}"#, r#"{"output_tokens":2.0}"#, (7, 0, 2)),
    ] {
        assert_eq!(used(start, delta), expected, "{start} {delta}");
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_never_whole() {
    for cut in 0..STREAM.len() {
        let (chunks, ended) = read(&STREAM.as_bytes()[..cut]).unwrap_or_default();
        let has_finish =
            chunks.iter().flat_map(|chunk| &chunk.pieces).any(|piece| matches!(piece, Piece::Finish { .. }));
        // The last line ends what it ends; the empty one after it is what the parser waits for.
        assert!(!ended && !has_finish, "cut at {cut}");
    }
    for cut in 0..WHOLE.len() {
        assert!(completion(Bytes::copy_from_slice(&WHOLE.as_bytes()[..cut]), 1.0).is_err(), "cut at {cut}");
    }
    let unexplained = STREAM.replace(r#""stop_reason":"tool_use""#, r#""stop_reason":null"#);
    let (chunks, ended) = read(unexplained.as_bytes()).unwrap();
    assert!(ended && choices(chunks.iter().flat_map(|chunk| &chunk.pieces))[0].finish.is_none());
}

#[test]
fn errors_in_a_stream_are_seen_whatever_they_are_called() {
    for event in [
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        r#"{"error":{"message":"no"}}"#,
        r#"{"type":"error"}"#,
    ] {
        assert_eq!(Message::default().read(event.into()).unwrap_err().flaw, Flaw::Error, "{event}");
    }
    for event in ["", "[]", "{", r#"{"x":1}"#, "[DONE]", "\"a\""] {
        assert_eq!(Message::default().read(event.into()).unwrap_err().flaw, Flaw::Malformed, "{event}");
    }
}

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
        (Error::ConcurrencyLimited { retry_after_ms: 1 }, "rate_limit_error"),
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

use super::*;
use crate::money::ServiceTier;
use crate::wire::anthropic::answer::completion;
use crate::wire::anthropic::writer::MessagesWriter;
use crate::wire::openai::answer::Answers;
use crate::wire::openai::writer::ChatWriter;
use crate::wire::piece::{Finish, Piece, choices};
use bytes::Bytes;

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
            Piece::Signature { id, .. } => format!("sealed {}", answer.said(id)),
            piece => format!("{piece:?}"),
        })
        .collect();
    let expected = [
        "Hm.",
        "sealed c2ln",
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

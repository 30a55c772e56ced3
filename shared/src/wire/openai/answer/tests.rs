//! How answers are read in whatever form they come.

#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

const WHOLE: &str = r#"{"id":"x","model":"gpt-4o-mini","x_cost":1.10,"choices":[{"index":0,"message":{"role":"assistant","content":"Hi.","refusal":null},
    "logprobs":{"content":[{"token":"Hi","logprob":-0.5},{"token":".","logprob":-1.5}]},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}"#;

fn event(json: &str) -> Chunk {
    chunk(Bytes::copy_from_slice(json.as_bytes()), 1).unwrap().unwrap()
}

#[test]
fn the_facts_of_a_whole_answer_are_read() {
    let answer = completion(Bytes::from_static(WHOLE.as_bytes()), 1, 1.0).unwrap();
    let usage =
        Usage { input_tokens: 9, cached_input_tokens: 4, output_tokens: 2, reasoning_tokens: 1, ..Usage::default() };
    assert_eq!(answer.usage, Some(usage));
    let pieces = [
        Piece::Text { choice: 0, text: "Hi.".into() },
        Piece::Logprobs { choice: 0, logprobs: TokenLogprobs::of([-0.5, -1.5]) },
        Piece::Finish { choice: 0, why: Finish::Stop },
    ];
    assert_eq!(answer.pieces, pieces);
}

#[test]
fn the_service_tier_of_an_answer_and_of_an_event_is_read_with_its_usage() {
    for (word, expected) in [
        (r#""flex""#, Some(ServiceTier::Flex)),
        (r#""default""#, Some(ServiceTier::Standard)),
        (r#""auto""#, None),
        ("null", None),
        ("5", None),
        (r#"{"a":"flex"}"#, None),
    ] {
        let whole = WHOLE.replacen('{', &format!(r#"{{"service_tier":{word},"#), 1);
        let usage = completion(Bytes::from(whole), 1, 1.0).unwrap().usage.unwrap();
        assert_eq!(usage.service_tier, expected, "{word}");
        let event =
            format!(r#"{{"service_tier":{word},"choices":[],"usage":{{"prompt_tokens":9,"completion_tokens":2}}}}"#);
        let usage = chunk(Bytes::from(event), 1).unwrap().unwrap().usage.unwrap();
        assert_eq!(usage.service_tier, expected, "{word}");
    }
}

#[test]
fn what_is_not_whole_is_no_answer() {
    for (body, why) in [
        ("", Flaw::Malformed),
        ("<html>", Flaw::Malformed),
        ("{}", Flaw::Malformed),
        ("null", Flaw::Malformed),
        (r#"{"choices":[]}"#, Flaw::Malformed),
        (r#"{"choices":null}"#, Flaw::Malformed),
        (r#"{"choices":[{"message":{"content":"x"}}]}"#, Flaw::Unfinished),
        (r#"{"choices":[{"message":{"content":"x"},"finish_reason":""}]}"#, Flaw::Unfinished),
        (r#"{"choices":[{"message":{"content":"x"},"finish_reason":false}]}"#, Flaw::Unfinished),
        (r#"{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}"#, Flaw::Error),
        (r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]"#, Flaw::Malformed),
        (r#"{"error":{"message":"no"}}"#, Flaw::Error),
    ] {
        let flaw = completion(Bytes::from_static(body.as_bytes()), 1, 0.0).err().map(|error| error.flaw);
        assert_eq!(flaw, Some(why), "{body}");
    }
}

#[test]
fn absurd_usage_is_not_believed() {
    for usage in
        ["{}", r#"{"prompt_tokens":-1}"#, r#"{"prompt_tokens":1e30}"#, r#"{"prompt_tokens":99999999999999}"#, "5"]
    {
        let body = format!(r#"{{"choices":[],"usage":{usage}}}"#);
        assert_eq!(event(&body).usage, None, "{body}");
    }
}

#[test]
fn every_word_for_an_end_is_known_and_an_empty_error_is_none() {
    for (word, why) in [
        ("stop", Finish::Stop),
        ("tool_calls", Finish::ToolCalls),
        ("function_call", Finish::ToolCalls),
        ("length", Finish::Length),
        ("content_filter", Finish::Filter),
        ("tired", Finish::Other),
    ] {
        for error in ["null", "[]"] {
            let body = format!(r#"{{"error":{error},"choices":[{{"index":0,"finish_reason":"{word}"}}]}}"#);
            let answer = completion(body.into(), 1, 0.0).unwrap();
            assert_eq!(answer.pieces, [Piece::Finish { choice: 0, why }], "{word}");
        }
    }
}

#[test]
fn thoughts_are_a_first_token_whatever_their_name_and_form() {
    for (delta, content) in [
        (r#"{"content":"","reasoning":"We"}"#, true),
        (r#"{"reasoning_content":"We","content":null}"#, true),
        (r#"{"reasoning":{"text":"We"}}"#, true),
        (r#"{"reasoning":"We","reasoning_content":""}"#, true),
        (r#"{"role":"assistant","content":"","reasoning":null}"#, false),
        (r#"{"reasoning_content":""}"#, false),
        (r#"{"reasoning_content":5}"#, false),
    ] {
        let chunk = event(&format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#));
        assert_eq!(chunk.has_content(), content, "{delta}");
    }
}

#[test]
fn calls_of_tools_are_told_apart_and_odd_ones_are_calls_all_the_same() {
    let calls =
        r#"{"tool_calls":[{"index":2,"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\""}}]}"#;
    let old = r#"{"function_call":{"name":"f","arguments":"{}"}}"#;
    for (delta, expected) in [
        (calls, vec![(2, "c", "f", "{\"a\"")]),
        (
            r#"{"tool_calls":[{"function":{"arguments":":1}"}},{}]}"#,
            vec![(u64::MAX, "", "", ":1}"), (u64::MAX - 1, "", "", "")],
        ),
        (r#"{"tool_calls":[5,{"id":null,"function":null}]}"#, vec![(u64::MAX, "", "", ""), (u64::MAX - 1, "", "", "")]),
        (r#"{"tool_calls":{"x":5}}"#, vec![(0, "", "", "")]),
        (r#"{"tool_calls":[],"function_call":null}"#, vec![]),
        (old, vec![(0, "", "f", "{}")]),
    ] {
        let chunk = event(&format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#));
        let calls = chunk.pieces.iter().filter_map(|piece| match piece {
            Piece::ToolCall { call, id, name, arguments, .. } => {
                Some((*call, chunk.said(id), chunk.said(name), chunk.said(arguments)))
            }
            _ => None,
        });
        let expected: Vec<_> =
            expected.into_iter().map(|(call, id, name, said)| (call, id.into(), name.into(), said.into())).collect();
        assert_eq!(calls.collect::<Vec<_>>(), expected, "{delta}");
        assert_eq!(chunk.calls_tools(), !expected.is_empty(), "{delta}");
    }
    let many = format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{}{{}}]}}}}]}}"#, "{},".repeat(5_000));
    let many = event(&many);
    assert_eq!((many.pieces.len(), many.pieces.last()), (MAX_TOOL_CALLS + 1, Some(&Piece::Native { choice: 0 })));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
        let _ = completion(Bytes::from(bytes), 1, 0.0);
        let _ = chunk(Bytes::from(format!(r#"{{"choices":[{text}],"usage":{text}}}"#)), 1);
    }
}

fn text(json: &str) -> String {
    let answer = completion(Bytes::copy_from_slice(json.as_bytes()), 1, 0.0).unwrap();
    answer.first_text()
}

/// A whole answer with these fields in its choice.
fn whole(fields: &str) -> String {
    format!(r#"{{"choices":[{{{fields},"finish_reason":"stop"}}]}}"#)
}

#[test]
fn what_is_odd_but_readable_is_read() {
    for (fields, said) in [
        (r#""message":{"content":"a\ud83d\ude00"}"#, "a\u{1f600}"),
        (r#""message":{"content":"a\ud83d"}"#, "a\u{fffd}"),
        (r#""message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, "ab"),
        (
            r#""message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm"}]},{"type":"text","text":"a"}]}"#,
            "a",
        ),
        (r#""message":{"content":[{"type":"reasoning","text":"Hm"},"a",{"type":"reference","ids":[1]}]}"#, "a"),
        (r#""message":{"content":{"type":"text","text":"a"}}"#, "a"),
        (r#""message":{"content":5}"#, ""),
        (r#""message":{"content":null,"refusal":null,"tool_calls":null}"#, ""),
        (r#""message":null"#, ""),
        (r#""message":[]"#, ""),
        (r#""message":{},"index":null"#, ""),
        (r#""delta":{"content":"a"},"index":"0""#, "a"),
        (r#""text":"a","index":0.0"#, "a"),
        (r#""message":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":NaN}]}"#, "a"),
        (r#""message":{"content":"NaN \" Infinity"},"logprobs":-Infinity"#, "NaN \" Infinity"),
    ] {
        assert_eq!(text(&whole(fields)), said, "{fields}");
    }
    assert_eq!(text(&format!("\u{feff} \n{}\n\ndata: [DONE]\n\n", whole(r#""text":"a""#))), "a");
    let broken =
        [br#"{"choices":[{"message":{"content":"a"#, &[0xf0, 0x9f][..], br#""},"finish_reason":"stop"}]}"#].concat();
    assert_eq!(completion(broken.into(), 1, 0.0).unwrap().first_text(), "a\u{fffd}");
}

#[test]
fn thoughts_stand_apart_from_the_text_in_every_form() {
    for (delta, thoughts) in [
        (
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"H"},{"type":"text","text":"m"}]}]}"#,
            "Hm",
        ),
        (r#"{"content":[{"type":"thinking","thinking":"Hm"}]}"#, "Hm"),
        (r#"{"content":[{"type":"reasoning","text":"Hm"}]}"#, "Hm"),
        (r#"{"reasoning":"Hm","reasoning_content":"Hm","content":null}"#, "Hm"),
        (r#"{"content":[{"type":"text","text":"Hm"}]}"#, ""),
    ] {
        let chunk = event(&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#));
        let thought = |piece: &Piece| match piece {
            Piece::Thought { text, .. } => Some(chunk.said(text).into_owned()),
            _ => None,
        };
        assert_eq!(chunk.pieces.iter().filter_map(thought).collect::<String>(), thoughts, "{delta}");
        assert_eq!(chunk.answer_bytes(), 2, "{delta}");
    }
    let part = r#"{"type":"thinking","thinking":"x"},"#;
    let many = event(&format!(r#"{{"choices":[{{"delta":{{"content":[{}"y"]}}}}]}}"#, part.repeat(1_000)));
    assert_eq!(many.pieces.len(), 130, "128 thoughts, what is native, and the text");
}

#[test]
fn an_end_is_told_by_any_word_and_by_nothing_else() {
    for (reason, why) in [
        (r#""stop""#, Some(Finish::Stop)),
        (r#""eos""#, Some(Finish::Stop)),
        (r#""end_turn""#, Some(Finish::Stop)),
        (r#""tool_use""#, Some(Finish::ToolCalls)),
        (r#""MAX_TOKENS""#, Some(Finish::Length)),
        (r#""SAFETY""#, Some(Finish::Filter)),
        (r#""never_heard_of""#, Some(Finish::Other)),
        (r#"{"type":"stop"}"#, Some(Finish::Other)),
        (r#""""#, None),
        ("null", None),
        ("false", None),
    ] {
        for field in ["finish_reason", "finishReason"] {
            let chunk = event(&format!(r#"{{"choices":[{{"delta":null,"{field}":{reason}}}]}}"#));
            let told = chunk
                .pieces
                .iter()
                .find_map(|piece| if let Piece::Finish { why, .. } = piece { Some(*why) } else { None });
            assert_eq!(told, why, "{field}: {reason}");
        }
    }
}

#[test]
fn an_event_without_choices_passes_with_an_empty_list_and_else_only_its_usage_is_kept() {
    let read = |json: &str| chunk(Bytes::copy_from_slice(json.as_bytes()), 1).map_err(|error| error.flaw);
    for json in
        ["", " ", "null", r#""""#, "{}", r#"{"type":"ping"}"#, r#"{"choices":null}"#, r#"{"object":"x","usage":null}"#]
    {
        assert!(read(json).unwrap().is_none(), "{json}");
    }
    for json in [
        r#"{"choices":[]}"#,
        r#"{"choices":[],"prompt_filter_results":[{}],"error":null}"#,
        r#"{"choices":[],"error":{}}"#,
    ] {
        let chunk = read(json).unwrap().unwrap();
        assert_eq!((&*chunk.payload, chunk.pieces.len(), chunk.usage), (json.as_bytes(), 0, None));
    }
    let usage = Some(Usage { input_tokens: 9, output_tokens: 2, ..Usage::default() });
    for (json, passes) in [
        (r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#, true),
        (r#"{"usage":{"prompt_tokens":9,"completion_tokens":2}}"#, false),
        (r#"{"choices":null,"x_groq":{"usage":{"prompt_tokens":9,"completion_tokens":2}}}"#, false),
        (r#"{"choices":[{"delta":{},"usage":{"prompt_tokens":9,"completion_tokens":2}}]}"#, true),
        (
            r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":9},"x_groq":{"usage":{"completion_tokens":2}}}"#,
            true,
        ),
    ] {
        let chunk = read(json).unwrap().unwrap();
        assert_eq!((chunk.usage, !chunk.payload.is_empty()), (usage, passes), "{json}");
    }
    for (json, flaw) in [
        ("ping", Flaw::Malformed),
        ("[]", Flaw::Malformed),
        ("{\"choices\":[]}\n{\"choices\":[]}", Flaw::Malformed),
        ("5", Flaw::Malformed),
        (r#"{"choices":[{"delta":{"content":"a"}}"#, Flaw::Malformed),
        (r#"{"choices":[{"delta":{"content":"\ud83"}}]}"#, Flaw::Malformed),
        (r#"{"choices":[],"x_groq":{"error":"stopped"}}"#, Flaw::Error),
        (r#"{"choices":[{"delta":{},"error":{"message":"no"}}]}"#, Flaw::Error),
        (
            r#"{"choices":[{"delta":{},"finish_reason":"stop","native_finish_reason":"insufficient_system_resource"}]}"#,
            Flaw::Error,
        ),
    ] {
        assert_eq!(read(json).unwrap_err(), flaw, "{json}");
    }
}

#[test]
fn an_event_in_the_form_of_a_whole_answer_is_made_an_event() {
    let whole = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"a","x":1.10}}]}"#;
    let event = event(whole);
    assert_eq!(
        event.payload,
        r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a","x":1.10}}]}"#
    );
    assert_eq!(event.pieces, [Piece::Text { choice: 0, text: "a".into() }]);
    let both = chunk(r#"{"choices":[{"delta":null,"message":{"content":"a"}}]}"#.into(), 1).unwrap().unwrap();
    assert_eq!(both.payload, r#"{"choices":[{"delta":{"content":"a"}}]}"#);
}

#[test]
fn a_choice_of_an_event_has_a_delta_whatever_came() {
    for (choice, told) in [
        (r#"{"index":0,"finish_reason":"stop"}"#, r#"{"index":0,"finish_reason":"stop","delta":{}}"#),
        (r#"{"delta":null,"index":0}"#, r#"{"index":0,"delta":{}}"#),
        (r#"{"message":null,"text":null,"f":[1.10]}"#, r#"{"f":[1.10],"delta":{}}"#),
        (r#"{"index":0,"text":"a\n"}"#, r#"{"index":0,"delta":{"content":"a\n"}}"#),
        (r#"{"text":"a","delta":{"content":"b"}}"#, r#"{"text":"a","delta":{"content":"b"}}"#),
        ("{}", r#"{"delta":{}}"#),
    ] {
        assert_eq!(event(&format!(r#"{{"choices":[{choice}]}}"#)).payload, format!(r#"{{"choices":[{told}]}}"#));
    }
    let two = chunk(r#"{"choices":[{"delta":{"tool_calls":[{}]}},{}]}"#.into(), 2).unwrap().unwrap();
    assert_eq!(two.payload, r#"{"choices":[{"delta":{"tool_calls":[{}]}},{"delta":{}}]}"#);
    let billed = event(r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#);
    assert_eq!(billed.usage.unwrap().total_tokens(), 11, "what stands beside it is not lost");
    assert!(billed.payload.ends_with(br#""usage":{"prompt_tokens":9,"completion_tokens":2}}"#));
}

#[test]
fn a_whole_answer_is_told_as_a_stream_field_by_field() {
    let whole = r#"{"id":"x","object":"chat.completion","x_cost":1.10,"choices":[{"index":0,"message":{"role":"assistant","content":null,
        "tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"index":7,"id":"b"}]},"finish_reason":"tool_calls"}],
        "usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
    let events = as_stream(whole.into(), 1).unwrap();
    let said: Vec<&str> = events.iter().map(|event| std::str::from_utf8(&event.payload).unwrap()).collect();
    assert_eq!(
        said,
        [
            r#"{"id":"x","object":"chat.completion.chunk","x_cost":1.10,"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"index":7,"id":"b"}]},"finish_reason":"tool_calls"}]}"#,
            r#"{"id":"x","object":"chat.completion.chunk","x_cost":1.10,"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
        ]
    );
    assert!(as_stream(Bytes::from_static(br#"{"choices":[{"message":{"content":"a"}}]}"#), 1).is_err(), "it is cut");
}

use super::*;
use crate::money::Usage;
use crate::steps;
use crate::wire::answer::{Came, Flaw};
use crate::wire::anthropic::MESSAGES;
use crate::wire::format::Format;
use crate::wire::gemini::answer::{as_stream, completion, gathered};
use crate::wire::openai::CHAT;
use crate::wire::piece::{Finish, Piece, choices};
use crate::wire::responses::RESPONSES;
use crate::wire::writer::Hide;
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

const USAGE: Usage = Usage {
    input_tokens: 18,
    cached_input_tokens: 4,
    cache_write_tokens: 0,
    cache_write_1h_tokens: 0,
    output_tokens: 12,
    reasoning_tokens: 5,
    service_tier: None,
    reported_cost_nusd: None,
};

/// What the pieces of a chunk say, in words.
fn said(chunk: &Chunk) -> Vec<String> {
    let word = |piece: &Piece| match piece {
        Piece::Text { text, .. } => text.clone(),
        Piece::Thought { text, .. } => format!("({})", chunk.said(text)),
        Piece::ToolCall { call, id, name, arguments, .. } => {
            format!("{call} {} {} {}", chunk.said(id), chunk.said(name), chunk.said(arguments))
        }
        Piece::Signature { id, signature, .. } => format!("{} is signed {}", chunk.said(id), chunk.said(signature)),
        piece => format!("{piece:?}"),
    };
    chunk.pieces.iter().map(word).collect()
}

/// envoyproxy/ai-gateway#2399, BerriAI/litellm#21577: the call has no end, and the end in the event behind it no call.
#[test]
fn a_stream_says_what_it_says_and_calls_tools_though_it_just_stops() {
    let chunks = read(STREAM.as_bytes()).unwrap();
    let all: Vec<String> = chunks.iter().flat_map(said).collect();
    let expected = [
        "Begin { choice: 0 }",
        "(So \"x\")",
        "On ",
        "it.",
        r#"0 g1 look {"b": 1.10,"a":"x"}"#,
        "g1 is signed c2ln",
        "1  see ",
        "Finish { choice: 0, why: ToolCalls }",
    ];
    assert_eq!(all, expected);
    let used = chunks.iter().fold(None, |used, chunk| Usage::both(used, chunk.usage));
    assert_eq!(used, Some(USAGE));
    // The same, as a list of events and as a stream that nobody asked for.
    for whole in [completion(as_list(STREAM).into(), 1, 1.0), gathered(STREAM.into(), 1, 1.0)] {
        let whole = whole.unwrap();
        let choice = &choices(&whole.pieces)[0];
        assert_eq!((&*choice.text, choice.finish, whole.usage), ("On it.", Some(Finish::ToolCalls), Some(USAGE)));
    }
    assert_eq!(as_stream(as_list(STREAM).into(), 1).unwrap()[0].usage, Some(USAGE));
}

#[test]
fn every_door_can_say_it() {
    let chunks = read(STREAM.as_bytes()).unwrap();
    let written = |door: &dyn Format| {
        let mut writer = door.writer(id());
        let (hide, mut out) = (Hide::default(), BytesMut::new());
        chunks.iter().for_each(|chunk| writer.chunk(chunk, "a/b", hide, &mut out));
        writer.rest("a/b", hide, &mut out);
        let whole = completion(as_list(STREAM).into(), 1, 1.0).unwrap();
        (
            String::from_utf8(out.to_vec()).unwrap(),
            serde_json::from_slice::<Value>(&writer.whole(&whole, "a/b", hide)).unwrap(),
        )
    };
    let (chat, whole) = written(&CHAT);
    assert!(
        chat.contains(r#""finish_reason":"tool_calls""#) && chat.contains(r#""reasoning_content":"So \"x\"""#),
        "{chat}"
    );
    let message = &whole["choices"][0]["message"];
    let call = |place: usize| &message["tool_calls"][place];
    assert_eq!((&call(0)["id"], &call(0)["function"]["arguments"]), (&json!("g1"), &json!(r#"{"b": 1.10,"a":"x"}"#)));
    assert_eq!((&call(1)["function"]["name"], &call(1)["function"]["arguments"]), (&json!("see"), &json!("{}")));
    assert!(call(1)["id"].as_str().unwrap().len() > 10, "an id is made where there is none");
    assert_eq!(whole["usage"]["completion_tokens_details"]["reasoning_tokens"], 5);
    let (messages, whole) = written(&MESSAGES);
    assert!(messages.contains(r#""stop_reason":"tool_use""#), "{messages}");
    assert_eq!((&whole["content"][2]["id"], &whole["content"][3]["input"]), (&json!("g1"), &json!({})));
    let (events, whole) = written(&RESPONSES);
    assert!(events.contains("response.function_call_arguments.done"), "{events}");
    let kinds: Vec<&str> =
        whole["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
}

#[test]
fn why_an_answer_ended_is_known_and_what_failed_is_no_end() {
    let whole = |reason: &str, part: &str| {
        let body = format!(r#"{{"candidates":[{{"content":{{"parts":[{part}]}},"finishReason":{reason}}}]}}"#);
        completion(body.into(), 1, 1.0).map(|whole| choices(&whole.pieces)[0].finish).map_err(|error| error.flaw)
    };
    let call = r#"{"functionCall":{"name":"f","args":{}}}"#;
    for (reason, part, expected) in [
        ("STOP", r#"{"text":"a"}"#, Ok(Finish::Stop)),
        ("STOP", call, Ok(Finish::ToolCalls)),
        // NousResearch/hermes-agent#43478: a call that was cut is not to be run.
        ("MAX_TOKENS", call, Ok(Finish::Length)),
        ("SAFETY", "", Ok(Finish::Filter)),
        ("RECITATION", r#"{"text":"a"}"#, Ok(Finish::Filter)),
        ("SPII", "", Ok(Finish::Filter)),
        ("OF_ANOTHER_DAY", r#"{"text":"a"}"#, Ok(Finish::Other)),
        // NousResearch/hermes-agent#83886: it is a failure, also where a call stands beside it.
        ("MALFORMED_FUNCTION_CALL", call, Err(Flaw::Malformed)),
        ("UNEXPECTED_TOOL_CALL", "", Err(Flaw::Malformed)),
        ("OTHER", "", Err(Flaw::Malformed)),
        ("FINISH_REASON_UNSPECIFIED", r#"{"text":"a"}"#, Err(Flaw::Unfinished)),
    ] {
        assert_eq!(whole(&format!("{reason:?}"), part), expected.map(Some), "{reason}");
    }
    assert_eq!(whole("null", r#"{"text":"a"}"#), Err(Flaw::Unfinished));
    // neuron-core/neuron-ai#447, RightNow-AI/openfang#788, vercel/ai#5039: contents without parts.
    for content in ["{}", "null", r#"{"role":"model"}"#, r#"{"parts":null}"#, r#"{"parts":{}}"#, "[]", "5"] {
        let body = format!(r#"{{"candidates":[{{"content":{content},"finishReason":"STOP"}}]}}"#);
        let whole = completion(body.into(), 1, 1.0).unwrap();
        assert_eq!(whole.pieces, [Piece::Begin { choice: 0 }, Piece::Finish { choice: 0, why: Finish::Stop }]);
    }
}

#[test]
fn what_is_no_answer_is_said_to_be_none() {
    for (body, flaw) in [
        (r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}"#, Flaw::Error),
        (r#"[{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}}]"#, Flaw::Error),
        (r#"{"candidates":[],"promptFeedback":{"blockReason":"OTHER"}}"#, Flaw::Error),
        (r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#, Flaw::Error),
        (r#"[{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}]"#, Flaw::Error),
        (r#"{"promptFeedback":{"safetyRatings":[]}}"#, Flaw::Malformed),
        (r#"{"candidates":[5]}"#, Flaw::Malformed),
        (r#"{"candidates":{}}"#, Flaw::Malformed),
        (r#"{"candidates":[[null]]}"#, Flaw::Malformed),
        (r#"{"choices":[]}"#, Flaw::Malformed),
        ("{}", Flaw::Malformed),
        ("[]", Flaw::Malformed),
        ("[[]]", Flaw::Malformed),
        ("", Flaw::Malformed),
        ("[", Flaw::Malformed),
        ("hello", Flaw::Malformed),
        ("null", Flaw::Malformed),
    ] {
        assert_eq!(completion(body.into(), 1, 1.0).unwrap_err().flaw, flaw, "{body}");
    }
    let two = r#"{"candidates":[{"index":0,"finishReason":"STOP"},{"index":1,"finishReason":"STOP"}]}"#;
    assert_eq!(completion(two.into(), 1, 1.0).unwrap_err().flaw, Flaw::Malformed, "more than were asked for");
    assert_eq!(choices(&completion(two.into(), 2, 1.0).unwrap().pieces).len(), 2);
    let one_cut = two.replacen(r#""finishReason":"STOP""#, r#""x":1"#, 1);
    assert_eq!(completion(one_cut.into(), 2, 1.0).unwrap_err().flaw, Flaw::Unfinished);
    // What came before an error is billed.
    let failed = format!("{},{}]", as_list(STREAM).trim_end_matches(']'), r#"{"error":{"code":500}}"#);
    let error = completion(failed.into(), 1, 1.0).unwrap_err();
    assert_eq!((error.flaw, error.came.usage), (Flaw::Error, Some(USAGE)));
}

#[test]
fn how_likely_the_tokens_were_is_read() {
    let body = r#"{"candidates":[{"content":{"parts":[{"text":"a b"}]},"finishReason":"STOP","avgLogprobs":-0.2,
        "logprobsResult":{"topCandidates":[],"chosenCandidates":[{"token":"a","tokenId":1,"logProbability":-0.25},{"token":" b","logProbability":-0.75}]}}]}"#;
    let whole = completion(body.into(), 1, 1.0).unwrap();
    let logprobs = choices(&whole.pieces)[0].logprobs.unwrap();
    assert_eq!((logprobs.tokens(), logprobs.mean()), (2, -0.5));
}

#[test]
fn only_what_no_other_format_has_is_left_out_elsewhere() {
    for (part, is_left_out) in [
        (r#"{"text":"a"}"#, false),
        (r#"{"text":"","thoughtSignature":"c2ln"}"#, false),
        (r#"{"thoughtSignature":"c2ln"}"#, false),
        (r#"{"inlineData":{"mimeType":"image/png","data":"aGk="}}"#, true),
        (r#"{"executableCode":{"language":"PYTHON","code":"1"}}"#, true),
        ("5", true),
    ] {
        let body = format!(r#"{{"candidates":[{{"content":{{"parts":[{part}]}},"finishReason":"STOP"}}]}}"#);
        let whole = completion(body.into(), 1, 1.0).unwrap();
        let is_native = whole.pieces.iter().any(|piece| matches!(piece, Piece::Native { .. }));
        assert_eq!(is_native, is_left_out, "{part}");
    }
}

#[test]
fn an_answer_that_is_cut_anywhere_is_never_whole() {
    let finishes = |chunks: &[Chunk]| {
        chunks.iter().flat_map(|chunk| &chunk.pieces).any(|piece| matches!(piece, Piece::Finish { .. }))
    };
    for cut in 0..STREAM.len() - 2 {
        assert!(!finishes(&read(&STREAM.as_bytes()[..cut]).unwrap_or_default()), "cut at {cut}");
        assert!(gathered(Bytes::copy_from_slice(&STREAM.as_bytes()[..cut]), 1, 1.0).is_err(), "cut at {cut}");
    }
    let list = as_list(STREAM);
    for cut in 0..list.len() {
        assert!(completion(Bytes::copy_from_slice(&list.as_bytes()[..cut]), 1, 1.0).is_err(), "cut at {cut}");
    }
}

#[test]
fn parts_are_read_in_a_step_each_and_few_are_kept_apart() {
    let steps_for = |parts: usize, part: &str| {
        let body = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{}]}},"finishReason":"STOP"}}]}}"#,
            vec![part; parts].join(",")
        );
        let (whole, steps) = steps::of(u64::MAX, || completion(body.into(), 1, 1.0).unwrap());
        assert!(whole.pieces.len() < 140, "{}", whole.pieces.len());
        steps
    };
    for part in [r#"{"text":"a"}"#, r#"{"text":"a","thought":true}"#, r#"{"functionCall":{"name":"f"}}"#, "{}", "5"] {
        let (few, many) = (steps_for(1_000, part), steps_for(2_000, part));
        assert!(many <= 2 * few, "{part}: {few} {many}");
    }
}

#[test]
fn what_came_of_part_of_an_answer_is_billed() {
    let cut = &as_list(STREAM)[..700];
    let error = completion(Bytes::copy_from_slice(cut.as_bytes()), 1, 1.0).unwrap_err();
    assert!(error.came.is_something() && error.came != Came::default(), "{error:?}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in 0..STREAM.len(),
        with in "[\\[\\]{}\",:0-9a-z\\\\]{0,6}",
    ) {
        let _ = completion(bytes.clone().into(), 1, 1.0);
        let _ = gathered(bytes.clone().into(), 1, 1.0);
        let _ = Answers::of(1).read(bytes.into());
        let at = STREAM.floor_char_boundary(at);
        let bent = format!("{}{with}{}", &STREAM[..at], &STREAM[at..]);
        let _ = read(bent.as_bytes());
        let _ = completion(as_list(&bent).into(), 1, 1.0);
    }
}

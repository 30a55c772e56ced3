//! Answers, whole and as events: what they say, why they ended, and what they used.

use crate::money::{ServiceTier, Usage};
use crate::wire::answer::{Chunk, Flaw, NotACompletion};
use crate::wire::converse::answer::{as_stream, completion};
use crate::wire::converse::events::{Message, Said};
use crate::wire::piece::{Finish, Piece, said};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

fn whole(content: &Value, reason: &str, usage: &Value) -> Bytes {
    let message = json!({"role": "assistant", "content": content});
    json!({"output": {"message": message}, "stopReason": reason, "usage": usage}).to_string().into()
}

fn finish(pieces: &[Piece]) -> Option<Finish> {
    pieces.iter().find_map(|piece| if let Piece::Finish { why, .. } = piece { Some(*why) } else { None })
}

#[test]
fn an_answer_says_texts_thoughts_and_calls() {
    let content = json!([
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "AAAA"}},
        {"text": "Hel"}, {"text": "lo"},
        {"citationsContent": {"content": [{"text": " there"}], "citations": [{}]}},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": [1, 2]}}},
        {"image": {"format": "png"}},
    ]);
    let body = whole(&content, "tool_use", &json!({"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}));
    let read = completion(body.clone(), 1.0).unwrap();
    assert_eq!((read.first_text().as_str(), finish(&read.pieces)), ("Hello there", Some(Finish::ToolCalls)));
    let call = read.pieces.iter().find_map(|piece| match piece {
        Piece::ToolCall { id, name, arguments, .. } => {
            Some([id, name, arguments].map(|place| read.said(place).into_owned()))
        }
        _ => None,
    });
    assert_eq!(call.unwrap(), ["t1", "f", r#"{"a":[1,2]}"#]);
    let thought = read.pieces.iter().find_map(|piece| match piece {
        Piece::Thought { text, .. } => Some(read.said(text).into_owned()),
        _ => None,
    });
    assert_eq!(thought.as_deref(), Some("hm"));
    assert_eq!(read.pieces.iter().filter(|piece| matches!(piece, Piece::Native { .. })).count(), 1);
    let [chunk] = &as_stream(body).unwrap()[..] else { panic!("one chunk") };
    assert_eq!((&chunk.pieces, chunk.usage), (&read.pieces, read.usage));
}

#[test]
fn why_an_answer_ended_is_told_from_its_siblings() {
    for (reason, why) in [
        ("end_turn", Some(Finish::Stop)),
        ("stop_sequence", Some(Finish::Stop)),
        ("tool_use", Some(Finish::ToolCalls)),
        ("max_tokens", Some(Finish::Length)),
        ("model_context_window_exceeded", Some(Finish::Length)),
        ("guardrail_intervened", Some(Finish::Filter)),
        ("content_filtered", Some(Finish::Filter)),
        ("malformed_model_output", None),
        ("malformed_tool_use", None),
        ("of_tomorrow", Some(Finish::Other)),
    ] {
        let usage = json!({"inputTokens": 3, "outputTokens": 4});
        let read = completion(whole(&json!([{"text": "x"}]), reason, &usage), 1.0);
        let mut message = Message::default();
        message.read("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"x"}}"#.into()).unwrap();
        let stopped = message.read("messageStop", json!({"stopReason": reason}).to_string().into());
        let Ok(Said::Chunk(stopped)) = stopped else { panic!("{stopped:?}") };
        assert_eq!(finish(&stopped.pieces), why, "{reason}");
        let last = message.read("metadata", json!({"usage": usage}).to_string().into());
        match why {
            Some(_) => {
                assert_eq!(finish(&read.unwrap().pieces), why, "{reason}");
                assert!(matches!(last, Ok(Said::Last(Chunk { usage: Some(_), .. }))));
            }
            // What it made is billed all the same.
            None => {
                for NotACompletion { flaw, came } in [read.unwrap_err(), last.unwrap_err()] {
                    assert_eq!((flaw, came.usage.unwrap().output_tokens), (Flaw::Malformed, 4), "{reason}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_answer_says_what_it_is() {
    let text = json!([{"text": "x"}]);
    for (body, flaw) in [
        (json!({"message": "Too many requests"}).to_string(), Flaw::Error),
        (json!({"output": {"message": {"content": text}}}).to_string(), Flaw::Unfinished),
        (json!({"output": {"message": {"content": text}}, "stopReason": null}).to_string(), Flaw::Unfinished),
        (json!({"output": {}, "stopReason": "end_turn"}).to_string(), Flaw::Malformed),
        (json!({"choices": []}).to_string(), Flaw::Malformed),
        ("{}".into(), Flaw::Malformed),
        ("<html>".into(), Flaw::Malformed),
    ] {
        assert_eq!(completion(body.clone().into(), 1.0).unwrap_err().flaw, flaw, "{body}");
    }
    let empty = completion(whole(&json!([]), "end_turn", &json!({})), 1.0).unwrap();
    assert_eq!((finish(&empty.pieces), empty.usage), (Some(Finish::Stop), None));
}

/// Twenty blocks of usage, and what they are in everybody's words: input with what was read and written, what was read, what
/// was written for five minutes and for an hour, and output.
#[test]
fn what_was_used_is_told_in_everybodys_words() {
    let of = |input, output, read, written| json!({"inputTokens": input, "outputTokens": output, "cacheReadInputTokens": read, "cacheWriteInputTokens": written});
    let with = |mut usage: Value, details: Value| {
        usage["cacheDetails"] = details;
        usage
    };
    let big = 1_u64 << 41;
    for (usage, expected) in [
        (of(10, 5, 0, 0), [10, 0, 0, 0, 5]),
        (json!({"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}), [10, 0, 0, 0, 5]),
        (of(10, 5, 7, 0), [17, 7, 0, 0, 5]),
        (of(10, 5, 0, 9), [19, 0, 9, 0, 5]),
        (of(10, 5, 7, 9), [26, 7, 9, 0, 5]),
        (of(0, 5, 7, 0), [7, 7, 0, 0, 5]),
        (of(0, 1, 0, 0), [0, 0, 0, 0, 1]),
        (of(3, 0, 0, 0), [3, 0, 0, 0, 0]),
        (with(of(10, 5, 0, 9), json!([{"ttl": "5m", "inputTokens": 9}])), [19, 0, 9, 0, 5]),
        (with(of(10, 5, 0, 9), json!([{"ttl": "1h", "inputTokens": 9}])), [19, 0, 0, 9, 5]),
        (
            with(of(10, 5, 0, 9), json!([{"ttl": "5m", "inputTokens": 4}, {"ttl": "1h", "inputTokens": 5}])),
            [19, 0, 4, 5, 5],
        ),
        (with(of(10, 5, 2, 9), json!([{"ttl": "1h", "inputTokens": 5}])), [21, 2, 4, 5, 5]),
        (with(of(10, 5, 0, 0), json!([{"ttl": "1h", "inputTokens": 5}])), [15, 0, 0, 5, 5]),
        (with(of(10, 5, 0, 9), json!([{"ttl": "2d", "inputTokens": 5}])), [19, 0, 9, 0, 5]),
        (with(of(10, 5, 0, 9), json!("none")), [19, 0, 9, 0, 5]),
        (with(of(10, 5, 0, 9), json!(null)), [19, 0, 9, 0, 5]),
        (json!({"inputTokens": "10", "outputTokens": 5.0}), [10, 0, 0, 0, 5]),
        (json!({"inputTokens": -1, "outputTokens": 5}), [0, 0, 0, 0, 5]),
        (json!({"inputTokens": big, "outputTokens": 5}), [0, 0, 0, 0, 5]),
        (json!({"outputTokens": 5, "cacheReadInputTokens": null}), [0, 0, 0, 0, 5]),
    ] {
        let told = completion(whole(&json!([{"text": "x"}]), "end_turn", &usage), 1.0).unwrap().usage.unwrap();
        let found = [
            told.input_tokens,
            told.cached_input_tokens,
            told.cache_write_tokens,
            told.cache_write_1h_tokens,
            told.output_tokens,
        ];
        assert_eq!(found, expected, "{usage}");
    }
    let flex = json!({"usage": of(1, 1, 0, 0), "serviceTier": {"type": "flex"}}).to_string();
    let Ok(Said::Chunk(chunk)) = Message::default().read("metadata", flex.into()) else { panic!("it is no end") };
    assert_eq!(chunk.usage.unwrap().service_tier, Some(ServiceTier::Flex));
}

/// What twenty blocks of usage cost at a price of each kind, counted by hand in nano-dollars.
#[test]
fn what_was_used_costs_what_is_counted_by_hand() {
    use crate::config::Config;
    let text = "[providers.aws]\nkind = 'bedrock'\nregion = 'us-east-1'\n[models.'aws/m']\nprovider = 'aws'\nusd_per_million = \
        { input = 0.80, cached_input = 0.40, cache_write = 1, cache_write_1h = 1.6, output = 3.20, service_tiers = { flex = 0.5 } }\n\
        [tiers]\ncheap = ['aws/m']\n";
    let config = Config::load(text, "gateway.toml", &|_| None).unwrap();
    let model = config.catalog.models.iter().find(|model| &*model.name == "aws/m").unwrap();
    for (input, output, read, short, hour, flex, nusd) in [
        (1_000, 100, 0, 0, 0, false, 800_000 + 320_000),
        (0, 100, 0, 0, 0, false, 320_000),
        (1_000, 0, 0, 0, 0, false, 800_000),
        (1, 1, 0, 0, 0, false, 800 + 3_200),
        (1_000, 100, 500, 0, 0, false, 800_000 + 200_000 + 320_000),
        (0, 100, 500, 0, 0, false, 200_000 + 320_000),
        (1_000, 100, 0, 400, 0, false, 800_000 + 400_000 + 320_000),
        (1_000, 100, 0, 0, 400, false, 800_000 + 640_000 + 320_000),
        (1_000, 100, 0, 300, 100, false, 800_000 + 300_000 + 160_000 + 320_000),
        (1_000, 100, 500, 300, 100, false, 800_000 + 200_000 + 300_000 + 160_000 + 320_000),
        (0, 0, 1, 1, 1, false, 400 + 1_000 + 1_600),
        (7, 13, 3, 2, 1, false, 5_600 + 41_600 + 1_200 + 2_000 + 1_600),
        (300_000, 5_000, 0, 0, 0, false, 240_000_000 + 16_000_000),
        (12_345, 678, 9_000, 0, 0, false, 9_876_000 + 2_169_600 + 3_600_000),
        (1_000, 100, 0, 0, 0, true, 400_000 + 160_000),
        (1_000, 100, 500, 0, 0, true, 400_000 + 100_000 + 160_000),
        (1_000, 100, 500, 300, 100, true, 400_000 + 100_000 + 150_000 + 80_000 + 160_000),
        (1, 1, 0, 0, 0, true, 400 + 1_600),
        (0, 1, 1, 0, 0, true, 200 + 1_600),
        (999_999, 1, 0, 0, 0, false, 799_999_200 + 3_200),
    ] {
        let usage = json!({
            "inputTokens": input, "outputTokens": output, "cacheReadInputTokens": read, "cacheWriteInputTokens": short + hour,
            "cacheDetails": [{"ttl": "5m", "inputTokens": short}, {"ttl": "1h", "inputTokens": hour}],
        });
        let tier = if flex { json!({"type": "flex"}) } else { Value::Null };
        let metadata = json!({"usage": usage, "serviceTier": tier}).to_string();
        let Ok(Said::Chunk(Chunk { usage: Some(told), .. })) = Message::default().read("metadata", metadata.into())
        else {
            panic!("{usage}")
        };
        assert_eq!(cost(&model.price, &told), nusd, "{usage}");
    }
}

fn cost(price: &crate::money::Price, usage: &Usage) -> u64 {
    price.cost_nusd(usage, 1_763_820_000_000)
}

/// A stream of every kind of event.
fn events() -> Vec<(&'static str, String)> {
    let delta = |index: u8, delta: Value| {
        ("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta, "p": "ab"}).to_string())
    };
    let stop = |index: u8| ("contentBlockStop", json!({"contentBlockIndex": index}).to_string());
    vec![
        ("messageStart", r#"{"role":"assistant"}"#.into()),
        delta(0, json!({"reasoningContent": {"text": "hm"}})),
        delta(0, json!({"reasoningContent": {"signature": "s"}})),
        stop(0),
        delta(1, json!({"text": "Hel"})),
        delta(1, json!({"text": "lo \u{1F642}"})),
        stop(1),
        (
            "contentBlockStart",
            json!({"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}}).to_string(),
        ),
        delta(2, json!({"toolUse": {"input": "{\"a\":"}})),
        (
            "contentBlockStart",
            json!({"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "t2", "name": "g"}}}).to_string(),
        ),
        delta(3, json!({"toolUse": {"input": ""}})),
        delta(2, json!({"toolUse": {"input": " 1}"}})),
        stop(2),
        ("of_tomorrow", "{}".into()),
        ("messageStop", json!({"stopReason": "tool_use"}).to_string()),
        ("metadata", json!({"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}).to_string()),
    ]
}

#[test]
fn a_stream_is_read_event_by_event() {
    let mut message = Message::default();
    let (mut text, mut thoughts, mut calls, mut ended) =
        (String::new(), String::new(), [const { String::new() }; 2], false);
    for (name, json) in events() {
        let payload = Bytes::from(json);
        let read = message.read(name, payload.clone()).unwrap();
        let (Said::Chunk(chunk) | Said::Last(chunk)) = &read;
        assert_eq!(matches!(read, Said::Last(_)), name == "metadata");
        for piece in &chunk.pieces {
            match piece {
                Piece::Text { text: more, .. } => text.push_str(more),
                Piece::Thought { text, .. } => thoughts.push_str(&said(&payload, text)),
                Piece::ToolCall { call, arguments, .. } => {
                    calls[usize::try_from(*call).unwrap()].push_str(&said(&payload, arguments));
                }
                Piece::Finish { why, .. } => {
                    ended = true;
                    assert_eq!(*why, Finish::ToolCalls);
                }
                _ => {}
            }
        }
    }
    assert_eq!((text.as_str(), thoughts.as_str(), ended), ("Hello \u{1F642}", "hm", true));
    assert_eq!(calls, [r#"{"a": 1}"#, ""]);
}

proptest! {
    #[test]
    fn no_event_cut_anywhere_panics_or_ends_well(place in 0_usize..16, cut in 0_usize..120, name in 0_usize..16) {
        let (_, json) = &events()[place];
        let mut cut = cut.min(json.len());
        while !json.is_char_boundary(cut) {
            cut -= 1;
        }
        let read = Message::default().read(events()[name].0, Bytes::copy_from_slice(&json.as_bytes()[..cut]));
        if cut < json.len() {
            prop_assert!(read.is_err());
        }
    }

    #[test]
    fn no_answer_cut_anywhere_panics_or_ends_well(cut in 0_usize..200) {
        let body = whole(&json!([{"text": "x\u{1F642}"}]), "end_turn", &json!({"inputTokens": 1, "outputTokens": 2}));
        let cut = cut.min(body.len() - 1);
        prop_assert!(completion(body.slice(..cut), 1.0).is_err());
    }
}

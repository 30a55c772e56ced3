//! What bytes from outside cost, counted in steps and allocated bytes (B1, B2): twice the input costs twice as much at most,
//! where the square would be four times; and no shape of input takes a multiple of its size in memory.

use allocation_counter::measure;
use bytes::Bytes;
use gateway_core::id::RequestId;
use gateway_core::provider::{Came, Chunk, NotACompletion};
use gateway_core::request::instructions::Instructions;
use gateway_core::steps;
use gateway_core::tenant::{TenantRecord, TenantSettings};
use gateway_core::wire::answer::Flaw;
use gateway_core::wire::anthropic::MESSAGES;
use gateway_core::wire::anthropic::answer::completion as message;
use gateway_core::wire::anthropic::events::{Message, Said};
use gateway_core::wire::anthropic::writer::MessagesWriter;
use gateway_core::wire::openai::CHAT;
use gateway_core::wire::openai::answer::{Answers, as_stream, chunk, completion};
use gateway_core::wire::openai::gather::gathered;
use gateway_core::wire::openai::writer::ChatWriter;
use gateway_core::wire::request::Request;
use gateway_core::wire::schema::{MAX_STEPS, Schema};
use gateway_core::wire::sse::SseParser;
use gateway_core::wire::writer::{Hide, Writer};
use http::{HeaderMap, HeaderValue};
use serde_json::json;

/// Puts what there is a lot of into its place.
type Around = fn(&str) -> String;

/// What some work cost.
#[derive(Debug, Clone, Copy)]
struct Cost {
    input_bytes: u64,
    steps: u64,
    allocated_bytes: u64,
    peak_bytes: u64,
}

fn cost(input: Bytes, work: &impl Fn(&Bytes)) -> Cost {
    let mut taken = 0;
    let memory = measure(|| taken = steps::of(u64::MAX, || work(&input)).1);
    let (allocated_bytes, peak_bytes) = (memory.bytes_total, memory.bytes_max);
    Cost { input_bytes: input.len() as u64, steps: taken, allocated_bytes, peak_bytes }
}

/// The cost of twice the input is at most twice, and some slack for buffers that grow by doubling; answers it.
fn no_more_than_doubles(what: &str, input: impl Fn(usize) -> Bytes, work: impl Fn(&Bytes)) -> Cost {
    let (one, two) = (cost(input(4_000), &work), cost(input(8_000), &work));
    assert!(two.input_bytes * 10 > one.input_bytes * 17, "{what}: {one:?} {two:?}");
    assert!(two.steps <= 2 * one.steps + 100, "{what}: {one:?} {two:?}");
    assert!(two.allocated_bytes <= 5 * one.allocated_bytes / 2 + 4_096, "{what}: {one:?} {two:?}");
    two
}

fn body(fields: &str) -> String {
    format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"x"}}],{fields}}}"#)
}

fn list(item: &str, count: usize) -> String {
    let items: Vec<&str> = std::iter::repeat_n(item, count).collect();
    format!("[{}]", items.join(","))
}

fn parse(body: &Bytes) {
    let _ = Request::read(&CHAT, body.clone());
}

#[test]
fn a_request_costs_what_its_bytes_cost_whatever_stands_in_it() {
    let message = r#"{"role":"user","content":"hello"}"#;
    let shapes: [(&str, Around, &str); 9] = [
        ("messages", |list| format!(r#"{{"model":"auto","messages":{list}}}"#), message),
        ("no messages", |list| format!(r#"{{"model":"auto","messages":{list}}}"#), "0"),
        (
            "parts",
            |list| format!(r#"{{"model":"auto","messages":[{{"role":"user","content":{list}}}]}}"#),
            r#"{"type":"text","text":"a"}"#,
        ),
        ("no parts", |list| format!(r#"{{"model":"auto","messages":[{{"role":"tool","content":{list}}}]}}"#), "0"),
        ("tools", |list| body(&format!(r#""tools":{list}"#)), r#"{"type":"function"}"#),
        ("stop", |list| body(&format!(r#""stop":{list}"#)), "\"a\""),
        ("models", |list| body(&format!(r#""models":{list}"#)), "\"a\""),
        (
            "schema",
            |list| {
                body(&format!(
                    r#""response_format":{{"type":"json_schema","json_schema":{{"schema":{{"enum":{list}}}}}}}"#
                ))
            },
            "{}",
        ),
        ("escapes", |list| body(&format!(r#""user":"{}""#, "\\u0061".repeat(list.len() / 4))), "0"),
    ];
    for (what, around, item) in shapes {
        let cost = no_more_than_doubles(what, |size| around(&list(item, size)).into(), parse);
        assert!(cost.peak_bytes <= 2 * cost.input_bytes + 4_096, "{what}: {cost:?}");
    }
}

#[test]
fn the_257th_top_level_field_ends_the_reading() {
    let with = |count: usize| {
        let fields: Vec<String> = (2..count).map(|i| format!(r#""f{i}":0"#)).collect();
        Bytes::from(body(&fields.join(",")))
    };
    assert!(Request::read(&CHAT, with(256)).is_ok());
    let http = Request::read(&CHAT, with(257)).unwrap_err().to_http();
    assert_eq!((http.status, http.code, http.param.as_deref()), (400, "invalid_request".into(), None));
    assert!(http.message.contains("256 top-level fields"), "{}", http.message);
    let cost = cost(with(120_000), &parse);
    assert!(cost.steps < 1_000 && cost.allocated_bytes < 64 << 10, "{cost:?}");
}

#[test]
fn names_of_fields_are_told_apart_without_comparing_each_with_each() {
    let names = |length: usize| {
        let fields: Vec<String> = (0..250).map(|i| format!(r#""{}{i:03}":0"#, "x".repeat(length))).collect();
        Bytes::from(body(&fields.join(",")))
    };
    let cost = no_more_than_doubles("long names", |size| names(size / 10), parse);
    assert!(cost.steps < 1_000, "each name is looked at once: {cost:?}");
}

#[test]
fn more_answers_than_were_asked_for_end_the_reading() {
    for (choices, n, fine) in [(1, 1, true), (2, 1, false), (128, 128, true), (129, 128, false)] {
        let whole = format!(r#"{{"choices":{}}}"#, list(r#"{"finish_reason":"stop"}"#, choices));
        assert_eq!(completion(whole.clone().into(), n, 0.0).is_ok(), fine, "{choices} of {n}");
        assert_eq!(chunk(whole.into(), n).is_ok(), fine, "{choices} of {n}");
    }
    // 12 MB took 1.7 GB.
    let whole = Bytes::from(format!(r#"{{"choices":{}}}"#, list("{}", 4 << 20)));
    for n in [1, 128] {
        let cost = cost(whole.clone(), &|whole: &Bytes| {
            assert!(completion(whole.clone(), n, 0.0).is_err());
            assert!(chunk(whole.clone(), n).is_err());
        });
        assert!(cost.allocated_bytes < 256 << 10 && cost.steps < 300, "{cost:?}");
    }
}

#[test]
fn a_stream_has_no_more_answers_than_were_asked_for_however_they_are_numbered() {
    let event = |index: u64| Bytes::from(format!(r#"{{"choices":[{{"index":{index},"delta":{{"content":"x"}}}}]}}"#));
    // Some providers count from 1.
    for (n, indices, fine) in [
        (1, vec![0, 0, 0], true),
        (1, vec![1, 1], true),
        (1, vec![0, 1], false),
        (2, vec![0, 1, 0, u64::MAX], false),
        (3, vec![2, 1, 0, 2], true),
    ] {
        let mut answers = Answers::of(n);
        let read: Result<Vec<Option<Chunk>>, NotACompletion> =
            indices.iter().map(|index| answers.read(event(*index))).collect();
        let came = Came { answer_bytes: 1, ..Came::default() };
        let flawed = NotACompletion { flaw: Flaw::Malformed, came };
        assert_eq!(read.err(), (!fine).then_some(flawed), "{indices:?} of {n}");
    }
}

#[test]
fn an_answer_costs_what_its_bytes_cost() {
    let token = r#"{"token":"a","logprob":-0.5}"#;
    let content: Around = |list| format!(r#""message":{{"content":{list}}}"#);
    let shapes: [(&str, Around, &str); 6] = [
        ("texts and what nobody knows", content, r#""a",5"#),
        ("thoughts", content, r#"{"thinking":"x"}"#),
        ("thoughts of thoughts", |list| format!(r#""message":{{"content":[{{"thinking":{list}}}]}}"#), r#""x""#),
        ("logprobs", |list| format!(r#""logprobs":{{"content":{list}}}"#), token),
        ("tool calls", |list| format!(r#""message":{{"tool_calls":{list}}}"#), "{}"),
        ("text", |list| format!(r#""message":{{"content":"{}"}}"#, "\\u0061".repeat(list.len())), "0"),
    ];
    for (what, around, item) in shapes {
        let whole =
            |size| format!(r#"{{"choices":[{{"finish_reason":"stop",{}}}]}}"#, around(&list(item, size))).into();
        let cost = no_more_than_doubles(what, whole, |whole| {
            let answer = completion(whole.clone(), 1, 0.0).unwrap();
            let _ = ChatWriter::new(RequestId::new(0)).whole(&answer, "a/b", Hide { logprobs: true, usage: false });
        });
        assert!(cost.peak_bytes <= 3 * cost.input_bytes + 4_096, "{what}: {cost:?}");
    }
}

#[test]
fn a_message_costs_what_its_bytes_cost_asked_for_and_answered() {
    let ask = |content: &str| format!(r#"{{"model":"auto","max_tokens":1,"messages":{content}}}"#);
    let shapes: [(&str, Around, &str); 5] = [
        ("messages", |list| list.to_owned(), r#"{"role":"user","content":"hello"}"#),
        ("no messages", |list| list.to_owned(), "0"),
        ("blocks", |list| format!(r#"[{{"role":"user","content":{list}}}]"#), r#"{"type":"text","text":"a"}"#),
        (
            "what tools say",
            |list| format!(r#"[{{"role":"user","content":[{{"type":"tool_result","content":{list}}}]}}]"#),
            r#"{"type":"text","text":"a"}"#,
        ),
        ("no blocks", |list| format!(r#"[{{"role":"user","content":{list}}}]"#), "{}"),
    ];
    for (what, around, item) in shapes {
        let input = |size| ask(&around(&list(item, size))).into();
        let cost = no_more_than_doubles(what, input, |body| drop(Request::read(&MESSAGES, body.clone())));
        assert!(cost.peak_bytes <= 2 * cost.input_bytes + 4_096, "{what}: {cost:?}");
    }
    for (what, item) in [
        ("texts", r#"{"type":"text","text":"a"}"#),
        ("nothing", "{}"),
        ("thoughts", r#"{"type":"thinking","thinking":"a","signature":"b"}"#),
        ("calls", r#"{"type":"tool_use","id":"a","name":"b","input":{}}"#),
    ] {
        let whole = |size| format!(r#"{{"stop_reason":"end_turn","content":{}}}"#, list(item, size)).into();
        let cost = no_more_than_doubles(what, whole, |whole| {
            let answer = message(whole.clone(), 0.0).unwrap();
            let _ = MessagesWriter::new(RequestId::new(0)).whole(&answer, "a/b", Hide::default());
            let _ = ChatWriter::new(RequestId::new(0)).whole(&answer, "a/b", Hide::default());
        });
        assert!(cost.peak_bytes <= 4 * cost.input_bytes + 65_536, "{what}: {cost:?}");
    }
    let start = r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use"}}"#;
    no_more_than_doubles(
        "a stream of calls",
        |size| start.repeat(size / start.len()).into(),
        |wire| {
            let (mut stream, mut writer, mut out) =
                (Message::default(), ChatWriter::new(RequestId::new(0)), bytes::BytesMut::new());
            for event in wire.chunks_exact(start.len()) {
                let Ok(Said::Chunk(chunk)) = stream.read(Bytes::copy_from_slice(event)) else { continue };
                writer.chunk(&chunk, "a/b", Hide::default(), &mut out);
            }
        },
    );
}

/// Feeds in pieces of `size` and takes what comes.
fn feed(wire: &Bytes, size: usize) -> Vec<Bytes> {
    let (mut parser, mut events) = (SseParser::default(), Vec::new());
    for piece in wire.chunks(size) {
        parser.feed(piece);
        while let Ok(Some(event)) = parser.next_event() {
            events.push(event.data);
        }
    }
    events
}

#[test]
fn an_answer_in_another_form_than_was_asked_for_costs_what_its_bytes_cost() {
    let call = r#"{"function":{"name":"f"}}"#;
    let message =
        |list: &str| format!(r#"{{"choices":[{{"finish_reason":"stop","message":{{"tool_calls":{list}}}}}]}}"#);
    let cost = no_more_than_doubles(
        "as a stream",
        |size| message(&list(call, size)).into(),
        |whole| {
            assert_eq!(as_stream(whole.clone(), 1).unwrap().len(), 1);
        },
    );
    assert!(cost.peak_bytes <= 4 * cost.input_bytes + 65_536, "{cost:?}");
    let event = r#"data: {"choices":[{"delta":{"content":"x"}}]}"#;
    let end = r#"data: {"choices":[{"finish_reason":"stop"}]}"#;
    let cost = no_more_than_doubles(
        "as a whole answer",
        |size| format!("{}{end}", format!("{event}\n\n").repeat(size / event.len())).into(),
        |stream| assert_eq!(gathered(stream.clone(), 1, 1.0).unwrap().pieces.len(), 2),
    );
    assert!(cost.peak_bytes <= 4 * cost.input_bytes + 65_536, "{cost:?}");
    // What cannot be mended is given up in one look.
    no_more_than_doubles(
        "nearly JSON",
        |size| format!("{{\"a\":[{}", "NaN,".repeat(size / 4)).into(),
        |nearly| {
            assert!(completion(nearly.clone(), 1, 0.0).is_err());
        },
    );
}

#[test]
fn a_stream_costs_what_its_bytes_cost_however_it_is_cut() {
    for (what, before, again, piece) in [
        ("one long line, byte by byte", "data: ", "x", 1),
        ("an event of many lines", "", "data: x\n", 3),
        ("an event of many empty lines", "", "data\n", 1 << 20),
        ("comments", "", ": x\n", 7),
        ("many events", "", "data: x\n\n", 100),
    ] {
        let wire = |size| format!("{before}{}\n\n", again.repeat(size)).into();
        let cost = no_more_than_doubles(what, wire, |wire| drop(feed(wire, piece)));
        assert!(cost.steps <= cost.input_bytes + 100, "each byte is searched once, {what}: {cost:?}");
    }
}

#[test]
fn an_event_keeps_nothing_in_memory_but_itself() {
    let comment = format!(": {}\ndata: x\n\n", "x".repeat(1 << 20));
    let wire = Bytes::from(comment.repeat(8));
    let mut events = Vec::new();
    let memory = measure(|| events = feed(&wire, 16 << 10));
    assert_eq!(events.len(), 8);
    assert!(memory.bytes_current < 8 << 10, "{memory:?}");
}

#[test]
fn a_schema_that_forks_without_end_is_given_up() {
    let forks = r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}]}"##;
    let (fits, taken) = steps::of(2 * MAX_STEPS as u64, || Schema::read(forks).fits("5"));
    assert!(fits, "what cannot be checked counts as fitting");
    assert!(taken >= MAX_STEPS as u64, "{taken}");
    // Its budget is for all the texts of an answer together.
    let mut schema = Schema::read(forks);
    let (_, taken) =
        steps::of(2 * MAX_STEPS as u64, || (0..128).map(|_| schema.fits("5")).filter(|fits| *fits).count());
    assert!(taken < MAX_STEPS as u64 + 1_000, "{taken}");
}

#[test]
fn no_schema_takes_more_steps_than_there_are() {
    let names = |count: usize| (0..count).map(|i| format!("\"n{i}\"")).collect::<Vec<_>>().join(",");
    let pairs = |count: usize| (0..count).map(|i| format!("\"n{i}\":0")).collect::<Vec<_>>().join(",");
    let long = "y".repeat(50_000);
    for (schema, text) in [
        (format!(r#"{{"items":{{"enum":[{}]}}}}"#, names(20_000)), list("\"no\"", 50_000)),
        (format!(r#"{{"items":{{"enum":{}}}}}"#, list(&list("0", 1_000), 100)), list(&list("0", 999), 100)),
        (format!(r#"{{"items":{{"const":{}}}}}"#, list("0", 100_000)), list(&list("0", 100), 1_000)),
        (format!(r#"{{"items":{{"required":[{}]}}}}"#, names(20_000)), format!("[{{{}}}]", pairs(20_000))),
        (format!(r#"{{"items":{{"type":{}}}}}"#, list("\"object\"", 20_000)), list("0", 100_000)),
        (format!(r#"{{"items":{{"anyOf":{}}}}}"#, list("false", 30_000)), list("0", 100_000)),
        (format!(r#"{{"items":{{"enum":["{long}a","{long}b","{long}c"]}}}}"#), format!("[\"{long}a\",\"{long}b\"]")),
        (format!(r##"{{"items":{{"$ref":"#/{long}"}},"{long}":{{}}}}"##), list("0", 100_000)),
    ] {
        let (_, taken) = steps::of(u64::MAX, || Schema::read(&schema).fits(&text));
        assert!(taken < MAX_STEPS as u64 + 50_000, "{taken}: {}", &schema[..80]);
    }
}

#[test]
fn a_schema_or_an_answer_that_is_too_long_for_a_tree_is_not_made_one() {
    let objects = list(r#"{"a":0}"#, 1 << 20);
    for (schema, text) in [("{\"type\":\"array\"}", &*objects), (&*objects, "5")] {
        let mut fits = false;
        let memory = measure(|| fits = Schema::read(schema).fits(text));
        assert!(fits && memory.bytes_max < 64 << 10, "{memory:?}");
    }
    assert!(!Schema::read("true").fits(&objects[1..]), "that it is JSON is seen all the same");
}

#[test]
fn tags_cost_what_their_bytes_cost() {
    let headers = |size: usize| "a=1,".repeat(size).into();
    no_more_than_doubles("tags", headers, |value: &Bytes| {
        let mut headers = HeaderMap::new();
        headers.insert("x-gateway-tags", HeaderValue::from_maybe_shared(value.clone()).unwrap());
        let _ = Instructions::read(&headers);
    });
}

#[test]
fn a_tenants_body_costs_what_its_bytes_cost() {
    let settings: TenantSettings = serde_json::from_value(json!({
        "enabled": true, "limits": {"requests_per_minute": 600, "tokens_per_minute": null, "concurrency": null,
            "daily_requests": null, "daily_tokens": null, "daily_cost_usd": null, "monthly_cost_usd": null},
        "window_anchor_ms": 0, "allowed_models": ["*"],
        "cache": {"enabled": true, "ttl_seconds": 300, "semantic": false, "any_temperature": false},
        "upgrade": {"enabled": true, "stream_holdback_bytes": 0}, "quality": 0.5, "outage_share": 0.1,
        "strict": false, "ledger_required": false, "allow_paid_extras": false, "failover_on_refusal": false,
        "drop_unknown_effort": true, "hedge": false, "on_broken_stream": "continue",
        "alerts": {"enabled": true, "webhook": null, "thresholds": [50, 80, 100]}
    }))
    .unwrap();
    let create = |body: &Bytes| {
        let body = serde_json::from_slice(body).unwrap();
        assert!(TenantRecord::create(body, &settings, 7).is_err());
    };
    // A long name above many fields: the path of each is not made.
    let nested = |size: usize| {
        let fields: Vec<String> = (0..size).map(|i| format!("\"n{i}\":0")).collect();
        format!(r#"{{"id":"a","{}":{{{}}}}}"#, "x".repeat(size * 5), fields.join(",")).into()
    };
    no_more_than_doubles("a long name above many", nested, create);
    no_more_than_doubles(
        "many models",
        |size| json!({"id": "a", "allowed_models": vec!["x"; size]}).to_string().into(),
        create,
    );
}

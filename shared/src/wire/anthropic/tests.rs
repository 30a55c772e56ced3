#![allow(clippy::unwrap_used, clippy::panic)]
mod requests;
mod streams;
mod writing;

use crate::id::RequestId;
use crate::money::Usage;
use crate::wire::answer::{Chunk, Flaw, NotACompletion};
use crate::wire::anthropic::events::{Message, Said};
use crate::wire::sse::{Kind, SseParser};
use crate::wire::writer::{Hide, Writer};
use bytes::BytesMut;
use serde_json::Value;

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

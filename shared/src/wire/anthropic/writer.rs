//! Writes answers as Anthropic's messages, whole or event by event.
//!
//! What a provider of this very format sent passes on byte for byte, but for the model's name. Anything else is written from
//! its pieces. Then one block is open at a time, as the format has it, and each is closed before the next is opened; why the
//! message ended and what it used are told once, when both are known. The last event is the end of the stream, and so not
//! this writer's to say before the stream is settled.
//!
//! Other formats may begin a call of a tool before the last one is complete, or before they name it. Such a call waits until
//! that is so, or the message has ended.

use super::answer::NAME;
use super::error::envelope;
use super::extent::Extent;
use super::passed::Passed;
use crate::error::HttpError;
use crate::id::RequestId;
use crate::money::Usage;
use crate::wire::answer::{Chunk, Completion};
use crate::wire::json::text_of;
use crate::wire::piece::{Finish, Piece};
use crate::wire::writer::{Hide, Writer};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Writes the answer to one request.
#[derive(Debug)]
pub struct MessagesWriter {
    id: RequestId,
    /// Which of the provider's answers it is; not all count from 0.
    choice: Option<u64>,
    /// How many blocks there are, the open one included.
    blocks: u64,
    open: Option<Open>,
    /// The calls that wait for the open one to be complete, or for the end.
    waiting: BTreeMap<u64, Called>,
    refused: bool,
    why: Option<Finish>,
    usage: Option<Usage>,
    passed: Passed,
}

/// The block that is open.
#[derive(Debug)]
enum Open {
    Text,
    Thought,
    Call(u64, Extent),
}

/// The event of a block that grows. There are many, so that none is made into a tree first.
#[derive(Serialize)]
struct Grown<'a> {
    index: u64,
    delta: Delta<'a>,
}

/// By what it grows.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "input_json_delta")]
    Arguments { partial_json: &'a str },
}

impl MessagesWriter {
    /// Writes the answer to this request.
    #[must_use]
    pub fn new(id: RequestId) -> Self {
        Self {
            id,
            choice: None,
            blocks: 0,
            open: None,
            waiting: BTreeMap::new(),
            refused: false,
            why: None,
            usage: None,
            passed: Passed::default(),
        }
    }
}

impl Writer for MessagesWriter {
    fn whole(&mut self, answer: &Completion, model: &str, _hide: Hide) -> Bytes {
        if answer.format == NAME {
            let mut out = Vec::with_capacity(answer.body.len() + model.len());
            answer.places.rewrite(&answer.body, model, false, &mut out);
            return out.into();
        }
        let first = answer.pieces.first().map(Piece::choice);
        let (mut blocks, mut refused, mut why) = (Blocks::default(), false, None);
        for piece in answer.pieces.iter().filter(|piece| Some(piece.choice()) == first) {
            blocks.add(piece, answer);
            refused |= matches!(piece, Piece::Refusal { .. });
            why = if let Piece::Finish { why, .. } = piece { Some(*why) } else { why };
        }
        let content = blocks.all.iter().map(|block| block.wire(self.id)).collect();
        let stop_reason = why.map(|why| stop_reason(why, refused));
        let message = WireMessage { content, stop_reason, ..self.message(model, answer.usage.unwrap_or_default()) };
        // What it is made of is text, numbers and what was read as JSON before.
        serde_json::to_vec(&message).unwrap_or_default().into()
    }

    fn chunk(&mut self, chunk: &Chunk, model: &str, _hide: Hide, out: &mut BytesMut) {
        if chunk.format == NAME {
            // What ends the stream is said once it is settled.
            if !chunk.pieces.iter().any(|piece| matches!(piece, Piece::Finish { .. })) {
                let kind = kind_of(&chunk.payload);
                self.passed.note(&kind, &chunk.payload);
                put_native(&kind, chunk, model, out);
            }
            return;
        }
        self.usage = Usage::both(self.usage, chunk.usage);
        for piece in &chunk.pieces {
            if self.choice.is_none() {
                let message = self.message(model, self.usage.unwrap_or_default());
                put_event("message_start", &json!({"message": message}), out);
                self.choice = Some(piece.choice());
            }
            if self.choice == Some(piece.choice()) {
                self.piece(piece, chunk, out);
            }
        }
    }

    fn estimated(&mut self, usage: Usage) {
        self.usage.get_or_insert(usage);
    }

    fn rest(&mut self, _model: &str, _hide: Hide, out: &mut BytesMut) {
        if self.choice.is_none() {
            return;
        }
        self.end_calls(out);
        let reason = stop_reason(self.why.unwrap_or(Finish::Other), self.refused);
        let delta = json!({"stop_reason": reason, "stop_sequence": null});
        let usage = usage_json(self.usage.unwrap_or_default());
        put_event("message_delta", &json!({"delta": delta, "usage": usage}), out);
    }

    fn resume(&mut self, _text: &str, out: &mut BytesMut) -> bool {
        let Passed { has_begun, is_open, is_ended, .. } = self.passed;
        if has_begun {
            self.choice = Some(0);
        }
        if let Some((index, is_text)) = self.passed.last() {
            self.blocks = index + 1;
            self.open = is_open.then_some(if is_text { Open::Text } else { Open::Thought });
        }
        self.passed = Passed::default();
        // A text goes on in its block, and nothing else does.
        if !matches!(self.open, Some(Open::Text)) {
            self.close(out);
        }
        self.usage = None;
        !is_ended
    }

    fn held_bytes(&self) -> usize {
        self.waiting.values().map(|called| called.id.len() + called.name.len() + called.arguments.len()).sum()
    }

    fn end(&self, headers: &str) -> Bytes {
        Bytes::from(format!(": gateway {headers}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"))
    }

    fn error(&mut self, http: &HttpError) -> Bytes {
        envelope(http, Some(&self.id.to_string()))
    }

    fn stream_error(&mut self, http: &HttpError) -> Bytes {
        [b"event: error\ndata: ", &self.error(http)[..], b"\n\n"].concat().into()
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n")
    }
}

impl MessagesWriter {
    /// A message of which nothing has been said.
    fn message<'a>(&self, model: &'a str, usage: Usage) -> WireMessage<'a> {
        WireMessage {
            id: format!("msg_{}", self.id),
            kind: "message",
            role: "assistant",
            model,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: usage_json(usage),
        }
    }

    /// Writes the events that a piece comes to.
    fn piece(&mut self, piece: &Piece, chunk: &Chunk, out: &mut BytesMut) {
        match piece {
            Piece::Begin { .. } | Piece::Signature { .. } | Piece::Logprobs { .. } | Piece::Native { .. } => {}
            Piece::Text { text, .. } => self.text(text, out),
            Piece::Refusal { text, .. } => {
                self.refused = true;
                self.text(text, out);
            }
            Piece::Thought { text, .. } => {
                if !matches!(self.open, Some(Open::Thought)) {
                    self.open(Open::Thought, &json!({"type": "thinking", "thinking": "", "signature": ""}), out);
                }
                let thought = chunk.said(text);
                if !thought.is_empty() {
                    self.delta(Delta::Thinking { thinking: &thought }, out);
                }
            }
            Piece::ToolCall { call, id, name, arguments, .. } => {
                let mut called = self.waiting.remove(call).unwrap_or_default();
                called.add(&chunk.said(id), &chunk.said(name), &chunk.said(arguments));
                self.call(*call, called, out);
            }
            Piece::Finish { why, .. } => {
                self.end_calls(out);
                self.close(out);
                self.why = Some(*why);
            }
        }
    }

    fn text(&mut self, text: &str, out: &mut BytesMut) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.open, Some(Open::Text)) {
            self.open(Open::Text, &json!({"type": "text", "text": ""}), out);
        }
        self.delta(Delta::Text { text }, out);
    }

    /// Writes what is said of a call now: it opens a block, goes on with the open one, or waits.
    fn call(&mut self, call: u64, called: Called, out: &mut BytesMut) {
        match &mut self.open {
            Some(Open::Call(open, extent)) if *open == call => {
                extent.take(&called.arguments);
                self.arguments(&called.arguments, out);
            }
            Some(Open::Call(_, extent)) if !extent.is_whole() => drop(self.waiting.insert(call, called)),
            // Its name may come later, and stands where the block is opened.
            _ if called.name.is_empty() => drop(self.waiting.insert(call, called)),
            _ => self.begin_call(call, &called, out),
        }
    }

    fn begin_call(&mut self, call: u64, Called { id, name, arguments }: &Called, out: &mut BytesMut) {
        let id = call_id(self.id, call, id);
        let mut extent = Extent::default();
        extent.take(arguments);
        let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        self.open(Open::Call(call, extent), &block, out);
        self.arguments(arguments, out);
    }

    fn arguments(&self, arguments: &str, out: &mut BytesMut) {
        if !arguments.is_empty() {
            self.delta(Delta::Arguments { partial_json: arguments }, out);
        }
    }

    /// Writes the calls that waited.
    fn end_calls(&mut self, out: &mut BytesMut) {
        for (call, called) in std::mem::take(&mut self.waiting) {
            self.begin_call(call, &called, out);
        }
    }

    fn open(&mut self, open: Open, block: &Value, out: &mut BytesMut) {
        self.close(out);
        self.open = Some(open);
        put_event("content_block_start", &json!({"index": self.blocks, "content_block": block}), out);
        self.blocks += 1;
    }

    fn delta(&self, delta: Delta<'_>, out: &mut BytesMut) {
        put_event("content_block_delta", &Grown { index: self.blocks.saturating_sub(1), delta }, out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            put_event("content_block_stop", &json!({"index": self.blocks.saturating_sub(1)}), out);
        }
    }
}

/// A call of a tool, as far as it has come.
#[derive(Debug, Default)]
struct Called {
    id: String,
    name: String,
    arguments: String,
}

impl Called {
    /// Takes more of it. Some say its id and its name again with each part.
    fn add(&mut self, id: &str, name: &str, arguments: &str) {
        for (known, said) in [(&mut self.id, id), (&mut self.name, name)] {
            if known.is_empty() {
                known.push_str(said);
            }
        }
        self.arguments.push_str(arguments);
    }
}

/// The blocks of a whole message, as they are put together from its pieces.
#[derive(Default)]
struct Blocks {
    all: Vec<Block>,
    /// Where in the list each call is.
    calls: BTreeMap<u64, usize>,
}

enum Block {
    Text(String),
    Thought(String),
    Call(u64, Called),
}

impl Blocks {
    fn add(&mut self, piece: &Piece, answer: &Completion) {
        match piece {
            Piece::Begin { .. }
            | Piece::Signature { .. }
            | Piece::Logprobs { .. }
            | Piece::Native { .. }
            | Piece::Finish { .. } => {}
            Piece::Text { text, .. } | Piece::Refusal { text, .. } => match self.all.last_mut() {
                _ if text.is_empty() => {}
                Some(Block::Text(before)) => before.push_str(text),
                _ => self.all.push(Block::Text(text.clone())),
            },
            Piece::Thought { text, .. } => match self.all.last_mut() {
                Some(Block::Thought(before)) => before.push_str(&answer.said(text)),
                _ => self.all.push(Block::Thought(answer.said(text).into_owned())),
            },
            Piece::ToolCall { call, id, name, arguments, .. } => {
                let next = self.all.len();
                let at = *self.calls.entry(*call).or_insert(next);
                if at == next {
                    self.all.push(Block::Call(*call, Called::default()));
                }
                if let Some(Block::Call(_, called)) = self.all.get_mut(at) {
                    called.add(&answer.said(id), &answer.said(name), &answer.said(arguments));
                }
            }
        }
    }
}

impl Block {
    fn wire(&self, request: RequestId) -> WireBlock<'_> {
        match self {
            Self::Text(text) => WireBlock::Text { text },
            Self::Thought(thinking) => WireBlock::Thinking { thinking, signature: "" },
            Self::Call(call, Called { id, name, arguments }) => {
                // What is no JSON was cut, or is the model's mistake: it is told as it is, and no tool takes it.
                let input = match arguments.trim_ascii() {
                    "" => Input::Nothing {},
                    text => serde_json::from_str(text).map_or(Input::Broken(text), Input::Json),
                };
                WireBlock::ToolUse { id: call_id(request, *call, id), name, input }
            }
        }
    }
}

#[derive(Serialize)]
struct WireMessage<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<WireBlock<'a>>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'static str>,
    usage: Value,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireBlock<'a> {
    Text { text: &'a str },
    Thinking { thinking: &'a str, signature: &'static str },
    ToolUse { id: Cow<'a, str>, name: &'a str, input: Input<'a> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Input<'a> {
    /// As the model wrote it, in its order.
    Json(&'a RawValue),
    Broken(&'a str),
    Nothing {},
}

/// The provider's id of a call of a tool, or one of the gateway's: a client names it when it sends what the tool said.
fn call_id(request: RequestId, call: u64, given: &str) -> Cow<'_, str> {
    if given.is_empty() { format!("toolu_{request}_{call}").into() } else { given.into() }
}

fn stop_reason(why: Finish, refused: bool) -> &'static str {
    match why {
        _ if refused => "refusal",
        // The format has no word for something else.
        Finish::Stop | Finish::Other => "end_turn",
        Finish::ToolCalls => "tool_use",
        Finish::Length => "max_tokens",
        Finish::Filter | Finish::Refusal => "refusal",
    }
}

/// The figures as this format tells them: the tokens of the cache beside the others.
fn usage_json(usage: Usage) -> Value {
    let written = usage.cache_write_tokens.saturating_add(usage.cache_write_1h_tokens);
    let of_cache = usage.cached_input_tokens.saturating_add(written);
    json!({
        "input_tokens": usage.input_tokens.saturating_sub(of_cache),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    })
}

fn put_event(kind: &str, event: &impl Serialize, out: &mut BytesMut) {
    let rest = serde_json::to_string(event).unwrap_or_default();
    let rest = rest.strip_prefix('{').filter(|rest| *rest != "}").unwrap_or("}");
    let comma = if rest == "}" { "" } else { "," };
    out.put_slice(format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{comma}{rest}\n\n").as_bytes());
}

/// Writes an event of this format as it came, with its name before it.
fn put_native(kind: &str, chunk: &Chunk, model: &str, out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\ndata: ");
    let begin = out.len();
    chunk.places.rewrite(&chunk.payload, model, false, out);
    // A line end inside the JSON would end the event's line early for the client; there it is only space.
    out[begin..].iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
    out.put_slice(b"\n\n");
}

/// What an event calls itself: nearly always first of all.
fn kind_of(payload: &[u8]) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow, rename = "type")]
        kind: &'a RawValue,
    }
    let text = std::str::from_utf8(payload).unwrap_or_default();
    let first = text.strip_prefix(r#"{"type":""#).and_then(|rest| rest.split_once('"')).map(|(kind, _)| kind);
    let plain = first.filter(|kind| kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    plain.map(Cow::Borrowed).unwrap_or_else(|| {
        let read: Option<Event<'_>> = serde_json::from_str(text).ok();
        let kind = read.map(|event| text_of(event.kind.get())).unwrap_or_default();
        // A line end would end the name's line.
        kind.chars().filter(|c| !c.is_control()).collect::<String>().into()
    })
}

//! An answer that came in another format, made into this one's items, and into the events that tell how they come.
//!
//! Official clients put an answer together from its events and give up where one is missing: an item begins before its parts
//! do, a part before its text, and each is told as a whole when it ends. At any time one message or thought is open, and any
//! number of calls, for those may come in turns. The whole answer stands in the last event, so it is kept until then.

use crate::id::RequestId;
use crate::money::Usage;
use crate::wire::openai::writer::call_id;
use crate::wire::piece::{Finish, Piece, said};
use crate::wire::responses::namespace::parted;
use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An answer in the making.
#[derive(Debug)]
pub(super) struct Made {
    /// Which of the provider's answers this is: the first one that came, for not all count from 0.
    choice: Option<u64>,
    id: RequestId,
    /// Whether events are wanted, and not only the answer.
    is_streamed: bool,
    has_begun: bool,
    /// The number of the next event.
    pub(super) sequence: u64,
    /// The place of the next item.
    index: u64,
    open: Option<Open>,
    calls: BTreeMap<u64, Call>,
    /// The items that have ended, by their places.
    items: BTreeMap<u64, Value>,
    finish: Option<Finish>,
    pub(super) usage: Option<Usage>,
    /// Bytes of all that was said and called.
    pub(super) held_bytes: usize,
    /// What a stream that passed on calls its answer.
    name: Option<String>,
}

/// How far a stream came that passed on.
pub(super) struct Reached {
    /// The number of the next event, if its events are numbered.
    pub(super) sequence: Option<u64>,
    /// The place of the next item.
    pub(super) index: u64,
    /// The items that have ended, by their places.
    pub(super) items: BTreeMap<u64, Value>,
}

/// A message or a thought that has not ended.
#[derive(Debug)]
struct Open {
    index: u64,
    /// What a stream that passed on calls it.
    name: Option<String>,
    kind: Kind,
    /// What of it has ended.
    parts: Vec<Value>,
    /// The text of its last part.
    text: String,
}

/// A call that has not ended.
#[derive(Debug)]
struct Call {
    index: u64,
    id: String,
    name: String,
    arguments: String,
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    Thought,
}

impl Kind {
    fn is_message(self) -> bool {
        self != Self::Thought
    }

    /// A part of this kind.
    fn part(self, text: &str) -> Value {
        match self {
            Self::Text => json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []}),
            Self::Refusal => json!({"type": "refusal", "refusal": text}),
            Self::Thought => json!({"type": "summary_text", "text": text}),
        }
    }

    /// What the events of its text are called, and what that of its end calls the text.
    fn events(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Text => ("response.output_text.delta", "response.output_text.done", "text"),
            Self::Refusal => ("response.refusal.delta", "response.refusal.done", "refusal"),
            Self::Thought => ("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done", "text"),
        }
    }

    /// What the events of its part are called, and what they call the part's place.
    fn part_events(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Thought => {
                ("response.reasoning_summary_part.added", "response.reasoning_summary_part.done", "summary_index")
            }
            _ => ("response.content_part.added", "response.content_part.done", "content_index"),
        }
    }
}

impl Open {
    fn item_id(&self, id: RequestId) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let kind = if self.kind.is_message() { "msg" } else { "rs" };
        format!("{kind}_{id}_{}", self.index)
    }

    fn item(&self, id: RequestId, status: &str) -> Value {
        let id = self.item_id(id);
        match self.kind {
            Kind::Thought => json!({"id": id, "type": "reasoning", "summary": self.parts}),
            _ => json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": self.parts}),
        }
    }

    /// Where the open part stands, as its events say it.
    fn place(&self, id: RequestId) -> Value {
        let (.., place) = self.kind.part_events();
        json!({"item_id": self.item_id(id), "output_index": self.index, place: self.parts.len()})
    }
}

impl Call {
    fn item_id(&self, id: RequestId) -> String {
        format!("fc_{id}_{}", self.index)
    }

    fn item(&self, id: RequestId, status: &str) -> Value {
        let (namespace, name) = parted(&self.name);
        let mut item = json!({"id": self.item_id(id), "type": "function_call", "call_id": self.id, "name": name,
            "arguments": self.arguments, "status": status});
        if let Some(namespace) = namespace {
            item["namespace"] = namespace.into();
        }
        item
    }
}

impl Made {
    /// Nothing yet, of the answer to this request.
    pub(super) fn new(id: RequestId, is_streamed: bool) -> Self {
        Self {
            id,
            is_streamed,
            has_begun: false,
            sequence: 0,
            index: 0,
            open: None,
            calls: BTreeMap::new(),
            items: BTreeMap::new(),
            finish: None,
            usage: None,
            held_bytes: 0,
            choice: None,
            name: None,
        }
    }

    /// Names the answer as the stream does that passes on.
    pub(super) fn name(&mut self, name: Option<String>) {
        self.name = name;
    }

    /// Goes on from where a stream came that passed on.
    pub(super) fn reach(&mut self, Reached { sequence, index, items }: Reached) {
        (self.has_begun, self.index, self.items) = (true, index, items);
        self.sequence = sequence.unwrap_or(self.sequence);
    }

    /// Goes on within this item, which has these parts, and this text in another one that is open. What is no message ends.
    pub(super) fn go_on_in(
        &mut self,
        index: u64,
        item: Value,
        parts: Vec<Value>,
        text: Option<&str>,
        out: &mut BytesMut,
    ) {
        if item["type"] != "message" {
            // Half a thought is none: it ends as it began, and is no part of the answer.
            return self.item_event("response.output_item.done", index, item, out);
        }
        let name = item["id"].as_str().map(str::to_owned);
        let said = text.unwrap_or_default();
        let open = Open { index, name, kind: Kind::Text, parts, text: said.to_owned() };
        self.held_bytes += said.len();
        if text.is_none() {
            self.part_event(Kind::Text.part_events().0, &open, out);
        }
        self.open = Some(open);
    }

    /// Ends a thought that broke off.
    pub(super) fn break_off(&mut self, out: &mut BytesMut) {
        let open = self.open.take();
        self.usage = None;
        match open {
            Some(open) if open.kind == Kind::Thought => self.end_item(Some(open), "incomplete", out),
            open => self.open = open,
        }
    }

    /// Whether something was told.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Adds what these pieces of a payload say. This format has one answer: what is of others is left out.
    pub(super) fn add(
        &mut self,
        pieces: &[Piece],
        payload: &[u8],
        usage: Option<Usage>,
        model: &str,
        out: &mut BytesMut,
    ) {
        self.usage = Usage::both(self.usage, usage);
        if !std::mem::replace(&mut self.has_begun, true) && self.is_streamed {
            let response = self.response(model, "in_progress");
            self.event("response.created", json!({"response": response}), out);
            self.event("response.in_progress", json!({"response": response}), out);
        }
        for piece in pieces {
            if *self.choice.get_or_insert(piece.choice()) != piece.choice() {
                continue;
            }
            match piece {
                Piece::Begin { .. } | Piece::Signature { .. } | Piece::Logprobs { .. } | Piece::Native { .. } => {}
                Piece::Text { text, .. } => self.say(Kind::Text, text, out),
                Piece::Refusal { text, .. } => self.say(Kind::Refusal, text, out),
                Piece::Thought { text, .. } => self.say(Kind::Thought, &said(payload, text), out),
                Piece::ToolCall { call, id, name, arguments, .. } => {
                    self.call(*call, &said(payload, id), &said(payload, name), &said(payload, arguments), out);
                }
                Piece::Finish { why, .. } => self.finish = Some(*why),
            }
        }
    }

    /// Adds to a text, which may be another than the one before.
    fn say(&mut self, kind: Kind, text: &str, out: &mut BytesMut) {
        if text.is_empty() {
            return;
        }
        let mut open = match self.open.take() {
            Some(open) if open.kind == kind => open,
            before => self.begin(before, kind, out),
        };
        open.text.push_str(text);
        self.held_bytes += text.len();
        if self.is_streamed {
            let mut event = open.place(self.id);
            event["delta"] = text.into();
            if kind == Kind::Text {
                event["logprobs"] = json!([]);
            }
            self.event(kind.events().0, event, out);
        }
        self.open = Some(open);
    }

    /// Begins a text after what was before: in the same message, or in an item of its own.
    fn begin(&mut self, before: Option<Open>, kind: Kind, out: &mut BytesMut) -> Open {
        let open = match before {
            Some(mut open) if open.kind.is_message() && kind.is_message() => {
                self.end_part(&mut open, out);
                open.kind = kind;
                open
            }
            before => {
                self.end_item(before, "completed", out);
                let open = Open { index: self.next_index(), name: None, kind, parts: Vec::new(), text: String::new() };
                let item = open.item(self.id, "in_progress");
                self.item_event("response.output_item.added", open.index, item, out);
                open
            }
        };
        self.part_event(kind.part_events().0, &open, out);
        open
    }

    /// Ends the open part.
    fn end_part(&mut self, open: &mut Open, out: &mut BytesMut) {
        let (_, done, text) = open.kind.events();
        if self.is_streamed {
            let mut event = open.place(self.id);
            event[text] = open.text.as_str().into();
            if open.kind == Kind::Text {
                event["logprobs"] = json!([]);
            }
            self.event(done, event, out);
        }
        self.part_event(open.kind.part_events().1, open, out);
        open.parts.push(open.kind.part(&std::mem::take(&mut open.text)));
    }

    /// Ends the open item, if there is one.
    fn end_item(&mut self, open: Option<Open>, status: &str, out: &mut BytesMut) {
        let Some(mut open) = open else { return };
        self.end_part(&mut open, out);
        let item = open.item(self.id, status);
        self.item_event("response.output_item.done", open.index, item.clone(), out);
        self.items.insert(open.index, item);
    }

    fn call(&mut self, call: u64, id: &str, name: &str, arguments: &str, out: &mut BytesMut) {
        if !self.calls.contains_key(&call) {
            let open = self.open.take();
            self.end_item(open, "completed", out);
            let (index, id) = (self.next_index(), call_id(self.id, 0, call, id));
            let begun = Call { index, id, name: name.to_owned(), arguments: String::new() };
            self.item_event("response.output_item.added", index, begun.item(self.id, "in_progress"), out);
            self.calls.insert(call, begun);
        }
        let Some(known) = self.calls.get_mut(&call).filter(|_| !arguments.is_empty()) else { return };
        known.arguments.push_str(arguments);
        self.held_bytes += arguments.len();
        let event = json!({"item_id": known.item_id(self.id), "output_index": known.index, "delta": arguments});
        self.event("response.function_call_arguments.delta", event, out);
    }

    /// Ends all that is open, and tells the whole answer.
    pub(super) fn end(&mut self, model: &str, out: &mut BytesMut) -> Value {
        let (status, reason) = match self.finish {
            Some(Finish::Length) => ("incomplete", Some("max_output_tokens")),
            Some(Finish::Filter | Finish::Refusal) => ("incomplete", Some("content_filter")),
            _ => ("completed", None),
        };
        let open = self.open.take();
        self.end_item(open, status, out);
        for call in std::mem::take(&mut self.calls).into_values() {
            let event = json!({"item_id": call.item_id(self.id), "output_index": call.index, "name": parted(&call.name).1,
                "arguments": call.arguments});
            self.event("response.function_call_arguments.done", event, out);
            let item = call.item(self.id, status);
            self.item_event("response.output_item.done", call.index, item.clone(), out);
            self.items.insert(call.index, item);
        }
        let mut response = self.response(model, status);
        if let Some(reason) = reason {
            response["incomplete_details"] = json!({"reason": reason});
        }
        response["output"] = std::mem::take(&mut self.items).into_values().collect();
        response["usage"] = self.usage.map_or(Value::Null, usage_json);
        if self.is_streamed {
            self.event(&format!("response.{status}"), json!({"response": response}), out);
        }
        response
    }

    /// The answer without its items, as this gateway can tell it: what the client asked for it knows itself.
    pub(super) fn response(&self, model: &str, status: &str) -> Value {
        json!({
            "id": self.name.clone().unwrap_or_else(|| format!("resp_{}", self.id)),
            "object": "response",
            "created_at": self.id.created_at_ms() / 1000,
            "status": status,
            "model": model,
            "output": [],
            "error": null,
            "incomplete_details": null,
            "instructions": null,
            "metadata": {},
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "store": false,
            "temperature": null,
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "usage": null,
        })
    }

    fn next_index(&mut self) -> u64 {
        self.index += 1;
        self.index - 1
    }

    fn part_event(&mut self, kind: &str, open: &Open, out: &mut BytesMut) {
        let mut event = open.place(self.id);
        event["part"] = open.kind.part(&open.text);
        self.event(kind, event, out);
    }

    fn item_event(&mut self, kind: &str, index: u64, item: Value, out: &mut BytesMut) {
        self.event(kind, json!({"output_index": index, "item": item}), out);
    }

    /// Writes an event with its number, where events are wanted.
    pub(super) fn event(&mut self, kind: &str, mut event: Value, out: &mut BytesMut) {
        if !self.is_streamed {
            return;
        }
        event["type"] = kind.into();
        event["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        put_event(kind, event.to_string().as_bytes(), out);
    }
}

/// Writes an event.
pub(super) fn put_event(kind: &str, data: &[u8], out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\ndata: ");
    out.put_slice(data);
    out.put_slice(b"\n\n");
}

fn usage_json(usage: Usage) -> Value {
    let written = usage.cache_write_tokens.saturating_add(usage.cache_write_1h_tokens);
    json!({
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": written},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens(),
    })
}

//! Writes answers as OpenAI's chat completions, whole or in chunks.
//!
//! What a provider of this very format sent passes on byte for byte, but for the model's name and what the client did not
//! ask for. Anything else is written from its pieces: then the ids and the time are the gateway's own, each answer begins
//! with its role, and the usage comes last and in a chunk of its own, if it was requested.

use crate::error::HttpError;
use crate::id::RequestId;
use crate::money::Usage;
use crate::wire::answer::{Chunk, Completion};
use crate::wire::openai::answer::NAME;
use crate::wire::openai::error::envelope;
use crate::wire::openai::request::MAX_ANSWERS;
use crate::wire::piece::{Finish, Piece};
use crate::wire::writer::{Hide, Writer};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The arguments of a call that has none.
const NO_ARGUMENTS: &str = "{}";

/// Writes the answer to one request.
#[derive(Debug)]
pub struct ChatWriter {
    id: RequestId,
    /// The answers that have had their role.
    begun: BTreeSet<u64>,
    /// The calls of tools that have had their head, by answer and call, and whether they have had arguments.
    called: BTreeMap<(u64, u64), bool>,
    /// What the answers used, where it is still to be told: it came in another format, or in an event that does not pass on.
    usage: Option<Usage>,
    /// The first event that passed on.
    first: Bytes,
    /// What a stream of the provider's calls its answer, where another goes on with it.
    passing: Option<Name>,
}

/// What an answer is called, and when it was made, as its events say it.
#[derive(Debug, Clone, Deserialize)]
struct Name {
    id: Value,
    #[serde(default)]
    created: Value,
}

/// An event that is written from pieces. There are many, so that none is made into a tree first.
#[derive(Serialize)]
struct Event<'a> {
    id: &'a Value,
    object: &'static str,
    created: &'a Value,
    model: &'a str,
    choices: &'a [EventChoice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

#[derive(Serialize)]
struct EventChoice<'a> {
    index: u64,
    delta: Delta<'a>,
    logprobs: (),
    finish_reason: Option<&'static str>,
}

/// What an event adds to an answer.
#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[Value; 1]>,
}

impl ChatWriter {
    /// Writes the answer to this request.
    #[must_use]
    pub fn new(id: RequestId) -> Self {
        Self { id, begun: BTreeSet::new(), called: BTreeMap::new(), usage: None, first: Bytes::new(), passing: None }
    }
}

impl Writer for ChatWriter {
    fn whole(&mut self, answer: &Completion, model: &str, hide: Hide) -> Bytes {
        if answer.format == NAME {
            let mut out = Vec::with_capacity(answer.body.len() + model.len());
            answer.places.rewrite(&answer.body, model, hide.logprobs, &mut out);
            return out.into();
        }
        let mut messages = BTreeMap::<u64, Message>::new();
        for piece in &answer.pieces {
            messages.entry(piece.choice()).or_default().add(piece, answer);
        }
        let choices: Vec<Value> = messages.into_iter().map(|(index, message)| message.choice(index, self.id)).collect();
        let Name { id, created } = self.name();
        let usage = answer.usage.map(usage_json);
        let object = "chat.completion";
        json!({"id": id, "object": object, "created": created, "model": model, "choices": choices, "usage": usage})
            .to_string()
            .into()
    }

    fn chunk(&mut self, chunk: &Chunk, model: &str, hide: Hide, out: &mut BytesMut) {
        if chunk.format != NAME {
            self.usage = Usage::both(self.usage, chunk.usage);
            for piece in &chunk.pieces {
                self.piece(piece, chunk, model, out);
            }
            return;
        }
        if chunk.payload.is_empty() {
            self.usage = Usage::both(self.usage, chunk.usage);
            return;
        }
        if chunk.usage.is_some() {
            self.usage = None;
        }
        if self.first.is_empty() {
            // It would keep all that was read together with it.
            self.first = Bytes::copy_from_slice(&chunk.payload);
        }
        if hide.usage && (chunk.is_usage_only() || chunk.pieces.is_empty() && tells_usage(chunk)) {
            return;
        }
        out.put_slice(b"data: ");
        let begin = out.len();
        chunk.places.rewrite(&chunk.payload, model, hide.logprobs, out);
        // A line end inside the JSON would end the event's line early for the client; there it is only space. The format
        // has three: our own parser does not end a line at a lone CR, a client may.
        for byte in &mut out[begin..] {
            // Written always, so that many are done at once.
            *byte = if matches!(*byte, b'\r' | b'\n') { b' ' } else { *byte };
        }
        out.put_slice(b"\n\n");
    }

    fn estimated(&mut self, usage: Usage) {
        self.usage.get_or_insert(usage);
    }

    fn rest(&mut self, model: &str, hide: Hide, out: &mut BytesMut) {
        if let Some(used) = self.usage.take().filter(|_| !hide.usage) {
            self.event(&[], Some(usage_json(used)), model, out);
        }
    }

    fn resume(&mut self, _text: &str, _out: &mut BytesMut) -> bool {
        if !self.first.is_empty() {
            self.passing = serde_json::from_slice(&self.first).ok();
            // Whatever came first, a role was in it.
            self.begun.extend(0..MAX_ANSWERS);
        }
        self.usage = None;
        true
    }

    fn end(&self, headers: &str) -> Bytes {
        Bytes::from(format!(": gateway {headers}\n\ndata: [DONE]\n\n"))
    }

    fn error(&mut self, http: &HttpError) -> Bytes {
        envelope(http, Some(&self.id.to_string()))
    }

    fn stream_error(&mut self, http: &HttpError) -> Bytes {
        [b"data: ", &self.error(http)[..], b"\n\n"].concat().into()
    }
}

/// Whether a chunk without choices has a usage, be it one that says nothing: a client that has not asked for usage counts on
/// choices in every chunk.
fn tells_usage(chunk: &Chunk) -> bool {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow, default)]
        usage: Option<&'a RawValue>,
    }
    let told = serde_json::from_slice::<Told<'_>>(&chunk.payload).ok().and_then(|told| told.usage);
    told.is_some_and(|usage| usage.get().starts_with('{'))
}

impl ChatWriter {
    fn name(&self) -> Name {
        let own =
            || Name { id: format!("chatcmpl-{}", self.id).into(), created: (self.id.created_at_ms() / 1000).into() };
        self.passing.clone().unwrap_or_else(own)
    }

    fn event(&self, choices: &[EventChoice<'_>], usage: Option<Value>, model: &str, out: &mut BytesMut) {
        let Name { id, created } = &self.name();
        out.put_slice(b"data: ");
        let event = Event { id, object: "chat.completion.chunk", created, model, choices, usage };
        // Memory takes whatever is written.
        let _ = serde_json::to_writer(out.writer(), &event);
        out.put_slice(b"\n\n");
    }

    /// Writes the events that a piece comes to.
    fn piece(&mut self, piece: &Piece, chunk: &Chunk, model: &str, out: &mut BytesMut) {
        let choice = piece.choice();
        let begins = self.begun.insert(choice);
        let tool = match piece {
            Piece::ToolCall { call, id, name, arguments, .. } => {
                let begins = !self.called.contains_key(&(choice, *call));
                let arguments = chunk.said(arguments);
                *self.called.entry((choice, *call)).or_default() |= !arguments.is_empty();
                let function = json!({"arguments": arguments});
                let mut tool = json!({"index": call, "function": function});
                if begins {
                    tool["id"] = call_id(self.id, choice, *call, &chunk.said(id)).into();
                    tool["type"] = "function".into();
                    tool["function"]["name"] = chunk.said(name).into();
                }
                tool
            }
            _ => Value::Null,
        };
        let without_arguments = match piece {
            Piece::Finish { .. } => self.without_arguments(choice),
            _ => Vec::new(),
        };
        let mut event = |delta, finish_reason| {
            self.event(&[EventChoice { index: choice, delta, logprobs: (), finish_reason }], None, model, out);
        };
        if begins {
            event(Delta { role: Some("assistant"), content: Some(""), ..Delta::default() }, None);
        }
        match piece {
            Piece::Begin { .. } | Piece::Signature { .. } | Piece::Logprobs { .. } | Piece::Native { .. } => {}
            Piece::Text { text, .. } => event(Delta { content: Some(text), ..Delta::default() }, None),
            Piece::Refusal { text, .. } => event(Delta { refusal: Some(text), ..Delta::default() }, None),
            Piece::Thought { text, .. } => {
                event(Delta { reasoning_content: Some(&chunk.said(text)), ..Delta::default() }, None);
            }
            Piece::ToolCall { .. } => event(Delta { tool_calls: Some([tool]), ..Delta::default() }, None),
            Piece::Finish { why, .. } => {
                for call in without_arguments {
                    let tool = json!({"index": call, "function": {"arguments": NO_ARGUMENTS}});
                    event(Delta { tool_calls: Some([tool]), ..Delta::default() }, None);
                }
                event(Delta::default(), Some(reason(*why)));
            }
        }
    }

    /// The calls of an answer that say nothing of their arguments, as other formats may where there are none. Here they are
    /// JSON all the same.
    fn without_arguments(&mut self, choice: u64) -> Vec<u64> {
        let of_choice = self.called.range_mut((choice, 0)..=(choice, u64::MAX));
        of_choice.filter_map(|((_, call), has)| (!std::mem::replace(has, true)).then_some(*call)).collect()
    }
}

/// One of the whole answers, as its pieces are put together.
#[derive(Default)]
struct Message {
    text: Option<String>,
    refusal: Option<String>,
    thoughts: Option<String>,
    calls: BTreeMap<u64, Called>,
    finish: Option<Finish>,
}

/// A call of a tool in it.
#[derive(Default)]
struct Called {
    id: String,
    name: String,
    arguments: String,
}

impl Message {
    fn add(&mut self, piece: &Piece, answer: &Completion) {
        match piece {
            Piece::Begin { .. } | Piece::Signature { .. } | Piece::Logprobs { .. } | Piece::Native { .. } => {}
            Piece::Text { text, .. } => self.text.get_or_insert_default().push_str(text),
            Piece::Refusal { text, .. } => self.refusal.get_or_insert_default().push_str(text),
            Piece::Thought { text, .. } => self.thoughts.get_or_insert_default().push_str(&answer.said(text)),
            Piece::ToolCall { call, id, name, arguments, .. } => {
                let called = self.calls.entry(*call).or_default();
                called.id.push_str(&answer.said(id));
                called.name.push_str(&answer.said(name));
                called.arguments.push_str(&answer.said(arguments));
            }
            Piece::Finish { why, .. } => self.finish = Some(*why),
        }
    }

    fn choice(self, index: u64, request: RequestId) -> Value {
        let mut message = json!({"role": "assistant", "content": self.text, "refusal": self.refusal});
        if let Some(thoughts) = self.thoughts {
            message["reasoning_content"] = thoughts.into();
        }
        if !self.calls.is_empty() {
            let call = |(call, Called { id, name, arguments })| {
                let arguments = if arguments.is_empty() { NO_ARGUMENTS } else { &arguments };
                let function = json!({"name": name, "arguments": arguments});
                json!({"id": call_id(request, index, call, &id), "type": "function", "function": function})
            };
            message["tool_calls"] = self.calls.into_iter().map(call).collect();
        }
        json!({"index": index, "message": message, "logprobs": null, "finish_reason": self.finish.map(reason)})
    }
}

/// The provider's id of a call of a tool, or one of the gateway's: a client names it when it sends what the tool said.
pub(crate) fn call_id(request: RequestId, choice: u64, call: u64, given: &str) -> String {
    if given.is_empty() { format!("call_{request}_{choice}_{call}") } else { given.to_owned() }
}

fn reason(finish: Finish) -> &'static str {
    match finish {
        // The format has no word for something else.
        Finish::Stop | Finish::Other => "stop",
        Finish::ToolCalls => "tool_calls",
        Finish::Length => "length",
        Finish::Filter | Finish::Refusal => "content_filter",
    }
}

fn usage_json(usage: Usage) -> Value {
    let mut prompt = json!({"cached_tokens": usage.cached_input_tokens});
    let written = usage.cache_write_tokens.saturating_add(usage.cache_write_1h_tokens);
    if written > 0 {
        prompt["cache_write_tokens"] = written.into();
    }
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens(),
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    })
}

#[cfg(test)]
mod tests;

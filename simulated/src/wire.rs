//! A simulated answer as OpenAI writes it, whole or in chunks.

use super::answer::Answer;
use gateway_core::provider::Call;
use serde_json::{Value, json};

/// The body of a whole answer.
pub(super) fn whole(call: &Call<'_>, answer: &Answer) -> Value {
    let text = answer.tokens.concat();
    let call_id = id(call);
    let choices = (0..usize::try_from(call.request.facts.n).unwrap_or_default()).map(|index| {
        let mut message = json!({"role": "assistant", "content": null, "refusal": null});
        match &answer.function {
            Some(name) => {
                let function = json!({"name": name, "arguments": text});
                message["tool_calls"] =
                    json!([{"id": tool_call_id(&call_id, index), "type": "function", "function": function}]);
            }
            None => message["content"] = Value::from(text.as_str()),
        }
        let logprobs = logprobs(with_top(call), answer, 0..answer.tokens.len());
        json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.finish})
    });
    let choices: Vec<Value> = choices.collect();
    let mut whole = envelope(call, "chat.completion", choices);
    whole["usage"] = usage(answer);
    whole
}

/// The data of the events of a streamed answer: for each choice its role, its words and its end, and then the usage. They
/// are made one at a time, for each takes thousands of bytes.
pub(super) struct Events {
    answer: Answer,
    /// What all of them have in common.
    empty: Value,
    call_id: String,
    with_top: bool,
    next: usize,
    /// How many there are, the usage included.
    all: usize,
    /// How many of them come.
    end: usize,
}

impl Events {
    pub(super) fn of(call: &Call<'_>, answer: Answer) -> Self {
        let n = usize::try_from(call.request.facts.n).unwrap_or(usize::MAX);
        let all = n.saturating_mul(answer.tokens.len() + 2).saturating_add(1);
        let empty = envelope(call, "chat.completion.chunk", vec![]);
        Self { empty, call_id: id(call), with_top: with_top(call), next: 0, all, end: all, answer }
    }

    /// Only the first half of them.
    pub(super) fn cut(self) -> Self {
        Self { end: self.all / 2, ..self }
    }

    /// What the answer `index` gets when `i` events of it have been: its delta, log-probabilities and finish reason.
    fn piece(&self, index: usize, i: usize) -> (Value, Value, Option<&str>) {
        let answer = &self.answer;
        match (i.checked_sub(1), &answer.function) {
            (None, Some(name)) => {
                let function = json!({"name": name, "arguments": ""});
                let id = tool_call_id(&self.call_id, index);
                let tool = json!({"index": 0, "id": id, "type": "function", "function": function});
                (json!({"role": "assistant", "content": null, "tool_calls": [tool]}), Value::Null, None)
            }
            (None, None) => (json!({"role": "assistant", "content": "", "refusal": null}), Value::Null, None),
            (Some(i), _) if i == answer.tokens.len() => (json!({}), Value::Null, Some(answer.finish)),
            (Some(i), function) => {
                let token = &answer.tokens[i];
                let delta = match function {
                    Some(_) => json!({"tool_calls": [{"index": 0, "function": {"arguments": token}}]}),
                    None => json!({"content": token}),
                };
                (delta, logprobs(self.with_top, answer, i..i + 1), None)
            }
        }
    }
}

impl Iterator for Events {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let place = self.next;
        if place >= self.end {
            return None;
        }
        self.next += 1;
        let mut chunk = self.empty.clone();
        let each = self.answer.tokens.len() + 2;
        let (index, i) = (place / each, place % each);
        if place + 1 == self.all {
            chunk["usage"] = usage(&self.answer);
        } else {
            let (delta, logprobs, finish) = self.piece(index, i);
            chunk["choices"] = json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]);
        }
        Some(chunk)
    }
}

fn envelope(call: &Call<'_>, object: &str, choices: Vec<Value>) -> Value {
    json!({
        "id": format!("chatcmpl-sim-{}", id(call)),
        "object": object,
        "created": call.now_ms / 1000,
        "model": &*call.model.provider_model,
        "choices": choices,
    })
}

fn tool_call_id(call_id: &str, index: usize) -> String {
    format!("call_sim_{call_id}_{index}")
}

/// The same for the same request at the same time.
fn id(call: &Call<'_>) -> String {
    let conversation = call.request.body().raw("messages").unwrap_or_default();
    format!("{:08x}{:x}", crc32fast::hash(conversation.as_bytes()), call.now_ms)
}

fn with_top(call: &Call<'_>) -> bool {
    call.request.body().raw("top_logprobs").is_some_and(|most| !matches!(most, "0" | "null"))
}

fn logprobs(with_top: bool, answer: &Answer, range: std::ops::Range<usize>) -> Value {
    let Some(in_turn) = answer.logprobs else { return Value::Null };
    let content = range.map(|i| {
        let (token, logprob) = (&answer.tokens[i], in_turn[i % in_turn.len()]);
        let mut entry = json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
        entry["top_logprobs"] = if with_top { json!([entry]) } else { json!([]) };
        entry
    });
    let content: Vec<Value> = content.collect();
    json!({"content": content, "refusal": null})
}

fn usage(answer: &Answer) -> Value {
    let usage = &answer.usage;
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens(),
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    })
}

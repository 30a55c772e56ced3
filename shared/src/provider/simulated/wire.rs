//! A simulated answer as OpenAI writes it, whole or in chunks.

use super::answer::Answer;
use crate::provider::Call;
use serde_json::{Value, json};

/// The body of a whole answer.
pub(super) fn whole(call: &Call<'_>, answer: &Answer) -> Value {
    let text = answer.tokens.concat();
    let choices = (0..call.request.n).map(|index| {
        let mut message = json!({"role": "assistant", "content": null, "refusal": null});
        match &answer.function {
            Some(name) => {
                let function = json!({"name": name, "arguments": text});
                message["tool_calls"] =
                    json!([{"id": tool_call_id(call, index), "type": "function", "function": function}]);
            }
            None => message["content"] = Value::from(text.as_str()),
        }
        let logprobs = logprobs(call, answer, 0..answer.tokens.len());
        json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.finish})
    });
    let choices: Vec<Value> = choices.collect();
    let mut whole = envelope(call, "chat.completion", choices);
    whole["usage"] = usage(answer);
    whole
}

/// The data of the events of a streamed answer: for each choice its role, its words and its end, and then the usage.
pub(super) fn chunks(call: &Call<'_>, answer: &Answer) -> Vec<Value> {
    let empty = envelope(call, "chat.completion.chunk", vec![]);
    let mut chunks = Vec::new();
    for index in 0..call.request.n {
        let mut add = |delta: Value, logprobs: Value, finish: Option<&str>| {
            let choice = json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish});
            let mut chunk = empty.clone();
            chunk["choices"] = json!([choice]);
            chunks.push(chunk);
        };
        match &answer.function {
            Some(name) => {
                let function = json!({"name": name, "arguments": ""});
                let tool =
                    json!({"index": 0, "id": tool_call_id(call, index), "type": "function", "function": function});
                add(json!({"role": "assistant", "content": null, "tool_calls": [tool]}), Value::Null, None);
            }
            None => add(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null, None),
        }
        for (i, token) in answer.tokens.iter().enumerate() {
            let delta = match &answer.function {
                Some(_) => json!({"tool_calls": [{"index": 0, "function": {"arguments": token}}]}),
                None => json!({"content": token}),
            };
            add(delta, logprobs(call, answer, i..i + 1), None);
        }
        add(json!({}), Value::Null, Some(answer.finish));
    }
    let mut last = empty;
    last["usage"] = usage(answer);
    chunks.push(last);
    chunks
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

fn tool_call_id(call: &Call<'_>, index: u64) -> String {
    format!("call_sim_{}_{index}", id(call))
}

/// The same for the same request at the same time.
fn id(call: &Call<'_>) -> String {
    let conversation = call.request.raw("messages").unwrap_or_default();
    format!("{:08x}{:x}", crc32fast::hash(conversation.as_bytes()), call.now_ms)
}

fn logprobs(call: &Call<'_>, answer: &Answer, range: std::ops::Range<usize>) -> Value {
    let Some(in_turn) = answer.logprobs else { return Value::Null };
    let with_top = call.request.raw("top_logprobs").is_some_and(|most| !matches!(most, "0" | "null"));
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

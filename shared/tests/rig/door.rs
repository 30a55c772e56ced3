//! What the clients of the doors that answer send and read.

use super::{Got, Rig, boxed, with_key};
use gateway_core::request::incoming::Incoming;
use gateway_core::request::reply::Answer;
use serde_json::{Value, json};

/// The doors that answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Chat,
    Responses,
    Messages,
}

pub const DOORS: [Door; 3] = [Door::Chat, Door::Responses, Door::Messages];

impl Door {
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    /// The field that lists what was said.
    pub fn list(self) -> &'static str {
        if self == Self::Responses { "input" } else { "messages" }
    }

    /// A request with these fields: a question, unless they say something else.
    pub fn request(self, model: &str, fields: Value) -> Value {
        let mut body = json!({"model": model});
        body[self.list()] = json!([{"role": "user", "content": "What is an interface?"}]);
        if self == Self::Messages {
            body["max_tokens"] = 200.into();
        }
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    }

    /// Sends such a request, past the cache.
    pub async fn ask(self, rig: &Rig, model: &str, fields: Value) -> Got {
        self.send(rig, self.request(model, fields)).await
    }

    /// Sends a request past the cache.
    pub async fn send(self, rig: &Rig, body: Value) -> Got {
        self.send_as(rig, &rig.key, "no-store", body).await
    }

    /// The same with another key, and another word for the cache.
    pub async fn send_as(self, rig: &Rig, key: &str, cache: &str, body: Value) -> Got {
        Got::all_of(self.begin(rig, key, cache, body).await).await
    }

    /// The same, of whose answer only the head is taken.
    pub async fn begin(self, rig: &Rig, key: &str, cache: &str, body: Value) -> Answer {
        let headers = with_key(key, &[("x-gateway-cache", cache)]);
        let incoming = Incoming { headers, body: boxed(body.to_string()), time_left: None };
        match self {
            Self::Chat => rig.gateway.chat(incoming).await,
            Self::Responses => rig.gateway.responses(incoming).await,
            Self::Messages => rig.gateway.messages(incoming).await,
        }
    }

    /// The `tools` of a request: this one, whose arguments fit the schema.
    pub fn tools(self, name: &str, schema: &Value) -> Value {
        match self {
            Self::Chat => json!([{"type": "function", "function": {"name": name, "parameters": schema}}]),
            Self::Responses => json!([{"type": "function", "name": name, "parameters": schema}]),
            Self::Messages => json!([{"name": name, "input_schema": schema}]),
        }
    }

    /// What a client says after a call of this tool: the call again, without anything that only its provider knows, and what
    /// the tool said.
    pub fn after_call(self, name: &str, id: &str, arguments: &Value, result: &str) -> Vec<Value> {
        match self {
            Self::Chat => {
                let function = json!({"name": name, "arguments": arguments.to_string()});
                let calls = json!([{"id": id, "type": "function", "function": function}]);
                vec![
                    json!({"role": "assistant", "content": null, "tool_calls": calls}),
                    json!({"role": "tool", "tool_call_id": id, "content": result}),
                ]
            }
            Self::Responses => vec![
                json!({"type": "function_call", "call_id": id, "name": name, "arguments": arguments.to_string()}),
                json!({"type": "function_call_output", "call_id": id, "output": result}),
            ],
            Self::Messages => {
                let call = json!([{"type": "tool_use", "id": id, "name": name, "input": arguments}]);
                let answer = json!([{"type": "tool_result", "tool_use_id": id, "content": result}]);
                vec![json!({"role": "assistant", "content": call}), json!({"role": "user", "content": answer})]
            }
        }
    }

    /// What a client reads in an answer.
    pub fn read(self, got: &Got) -> Heard {
        if got.is_stream() { self.read_stream(got) } else { self.read_whole(&got.json()) }
    }

    fn read_whole(self, answer: &Value) -> Heard {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut heard = Heard { is_over: true, ..Heard::default() };
        match self {
            Self::Chat => {
                let choice = &answer["choices"][0];
                let message = &choice["message"];
                heard.text = text(&message["content"]);
                heard.thought = text(&message["reasoning_content"]);
                let call = &message["tool_calls"][0]["function"];
                if call.is_object() {
                    heard.call = format!("{} {}", text(&call["name"]), text(&call["arguments"]));
                    heard.call_id = text(&message["tool_calls"][0]["id"]);
                }
                heard.finish = text(&choice["finish_reason"]);
                heard.cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
                heard.answers = answer["choices"].as_array().map_or(0, Vec::len);
                heard.logprobs = choice["logprobs"]["content"].is_array();
            }
            Self::Responses => {
                for item in answer["output"].as_array().into_iter().flatten() {
                    match item["type"].as_str() {
                        Some("message") => {
                            heard.text += &text(&item["content"][0]["text"]);
                            heard.logprobs |=
                                item["content"][0]["logprobs"].as_array().is_some_and(|list| !list.is_empty());
                        }
                        Some("reasoning") => {
                            heard.thought += &text(&item["summary"][0]["text"]);
                            heard.thought += &text(&item["content"][0]["text"]);
                        }
                        Some("function_call") => {
                            heard.call = format!("{} {}", text(&item["name"]), text(&item["arguments"]));
                            heard.call_id = text(&item["call_id"]);
                        }
                        _ => {}
                    }
                }
                let reason = text(&answer["incomplete_details"]["reason"]);
                heard.finish = if reason.is_empty() { text(&answer["status"]) } else { reason };
                heard.cached = answer["usage"]["input_tokens_details"]["cached_tokens"].as_u64();
            }
            Self::Messages => {
                for block in answer["content"].as_array().into_iter().flatten() {
                    match block["type"].as_str() {
                        Some("text") => heard.text += &text(&block["text"]),
                        Some("thinking") => heard.thought += &text(&block["thinking"]),
                        Some("tool_use") => {
                            heard.call = format!("{} {}", text(&block["name"]), block["input"]);
                            heard.call_id = text(&block["id"]);
                        }
                        _ => {}
                    }
                }
                heard.finish = text(&answer["stop_reason"]);
                heard.cached = answer["usage"]["cache_read_input_tokens"].as_u64();
            }
        }
        heard.answers = heard.answers.max(1);
        heard
    }

    /// A stream is put together as the official clients do: from its parts, and not from a summary at its end.
    fn read_stream(self, got: &Got) -> Heard {
        let body = std::str::from_utf8(&got.body).unwrap();
        let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut heard = Heard { answers: 1, ..Heard::default() };
        for event in &events {
            match self {
                Self::Chat => {
                    let choice = &event["choices"][0];
                    heard.text += &text(&choice["delta"]["content"]);
                    heard.thought += &text(&choice["delta"]["reasoning_content"]);
                    let call = &choice["delta"]["tool_calls"][0]["function"];
                    let name = text(&call["name"]);
                    heard.call += &if name.is_empty() { name } else { name + " " };
                    heard.call += &text(&call["arguments"]);
                    heard.finish += &text(&choice["finish_reason"]);
                }
                Self::Responses => match event["type"].as_str() {
                    Some("response.output_text.delta") => heard.text += &text(&event["delta"]),
                    Some("response.reasoning_summary_text.delta" | "response.reasoning_text.delta") => {
                        heard.thought += &text(&event["delta"]);
                    }
                    Some("response.output_item.added") if event["item"]["type"] == "function_call" => {
                        heard.call = format!("{} ", text(&event["item"]["name"]));
                    }
                    Some("response.function_call_arguments.delta") => heard.call += &text(&event["delta"]),
                    Some("response.completed") => heard.finish = "completed".into(),
                    Some("response.incomplete") => {
                        heard.finish = text(&event["response"]["incomplete_details"]["reason"]);
                    }
                    _ => {}
                },
                Self::Messages => match event["type"].as_str() {
                    Some("content_block_start") if event["content_block"]["type"] == "tool_use" => {
                        heard.call = format!("{} ", text(&event["content_block"]["name"]));
                    }
                    Some("content_block_delta") => {
                        heard.text += &text(&event["delta"]["text"]);
                        heard.thought += &text(&event["delta"]["thinking"]);
                        heard.call += &text(&event["delta"]["partial_json"]);
                    }
                    Some("message_delta") => heard.finish += &text(&event["delta"]["stop_reason"]),
                    _ => {}
                },
            }
        }
        let last = events.last().map(|event| text(&event["type"])).unwrap_or_default();
        heard.is_over = match self {
            Self::Chat => got.is_done(),
            Self::Responses => matches!(&*last, "response.completed" | "response.incomplete"),
            Self::Messages => last == "message_stop",
        };
        let error = events.iter().find(|event| {
            event["error"].is_object() || matches!(event["type"].as_str(), Some("error" | "response.failed"))
        });
        heard.is_error = error.is_some();
        heard
    }
}

/// What a client reads in an answer.
#[derive(Debug, Default)]
pub struct Heard {
    pub text: String,
    pub thought: String,
    pub call: String,
    /// By which its result is known, in a whole answer.
    pub call_id: String,
    pub finish: String,
    pub cached: Option<u64>,
    pub answers: usize,
    pub logprobs: bool,
    /// Whether a stream ended as one that is whole.
    pub is_over: bool,
    /// Whether it brought an error.
    pub is_error: bool,
}

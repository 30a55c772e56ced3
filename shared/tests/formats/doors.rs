//! What a client of each door sends and reads, for one and the same meaning.

use crate::rig::{Got, Rig, with_key};
use bytes::Bytes;
use gateway_core::request::incoming::Incoming;
use serde_json::{Value, json};

/// The doors that answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Chat,
    Responses,
    Messages,
}

pub const DOORS: [Door; 3] = [Door::Chat, Door::Responses, Door::Messages];

/// What is asked for, in no format's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Text,
    System,
    Image,
    Document,
    Tools,
    ForcedTool,
    ToolResult,
    Schema,
    Effort,
    Sampling,
    Stop,
    User,
    CacheMark,
    Logprobs,
    Several,
}

/// What a tool is called.
const TOOL: &str = "get_weather";
/// What stands before all turns.
const SYSTEM: &str = "Be brief-7.";

impl Door {
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    pub async fn send(self, rig: &Rig, body: &Value) -> Got {
        let body = Box::new(Bytes::from(body.to_string()));
        let headers = with_key(&rig.key, &[("x-gateway-cache", "no-store")]);
        let incoming = Incoming { headers, body, time_left: None };
        Got::all_of(match self {
            Self::Chat => rig.gateway.chat(incoming).await,
            Self::Responses => rig.gateway.responses(incoming).await,
            Self::Messages => rig.gateway.messages(incoming).await,
        })
        .await
    }

    /// The request of a client that wishes for this; none if this door's format has no word for it.
    pub fn request(self, wish: Wish, model: &str, stream: bool) -> Option<Value> {
        let mut body = json!({"model": model});
        if stream {
            body["stream"] = true.into();
        }
        if self == Self::Messages {
            body["max_tokens"] = 200.into();
        }
        body[if self == Self::Responses { "input" } else { "messages" }] = self.turns(wish).into();
        body.as_object_mut().unwrap().extend(self.fields(wish)?.as_object().unwrap().clone());
        Some(body)
    }

    /// What is said.
    fn turns(self, wish: Wish) -> Vec<Value> {
        let user = |content: Value| json!({"role": "user", "content": content});
        let question = user("What is an interface?".into());
        match wish {
            Wish::System if self == Self::Chat => vec![json!({"role": "system", "content": SYSTEM}), question],
            Wish::Image => vec![user(json!([self.image()]))],
            Wish::Document => {
                let kind = if self == Self::Responses { "input_text" } else { "text" };
                vec![user(json!([self.document(), {"type": kind, "text": "Sum it up."}]))]
            }
            Wish::ToolResult => [vec![question], self.after_a_call()].concat(),
            _ => vec![question],
        }
    }

    fn image(self) -> Value {
        let url = "data:image/png;base64,aW1hZ2U=";
        match self {
            Self::Chat => json!({"type": "image_url", "image_url": {"url": url}}),
            Self::Responses => json!({"type": "input_image", "image_url": url}),
            Self::Messages => {
                json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aW1hZ2U="}})
            }
        }
    }

    fn document(self) -> Value {
        let data = "data:application/pdf;base64,cGFnZXM=";
        match self {
            Self::Chat => json!({"type": "file", "file": {"filename": "a.pdf", "file_data": data}}),
            Self::Responses => json!({"type": "input_file", "filename": "a.pdf", "file_data": data}),
            Self::Messages => {
                let source = json!({"type": "base64", "media_type": "application/pdf", "data": "cGFnZXM="});
                json!({"type": "document", "title": "a.pdf", "source": source})
            }
        }
    }

    fn tools(self) -> Value {
        let schema = schema();
        match self {
            Self::Chat => json!([{"type": "function", "function": {"name": TOOL, "parameters": schema}}]),
            Self::Responses => json!([{"type": "function", "name": TOOL, "parameters": schema}]),
            Self::Messages => json!([{"name": TOOL, "input_schema": schema}]),
        }
    }

    /// The fields beside what is said; none if this door's format has no word for it.
    fn fields(self, wish: Wish) -> Option<Value> {
        use Door::{Chat, Messages, Responses};
        Some(match (wish, self) {
            (Wish::Text | Wish::Image | Wish::Document, _) | (Wish::System, Chat) => json!({}),
            (Wish::System, Responses) => json!({"instructions": SYSTEM}),
            (Wish::System, Messages) => json!({"system": SYSTEM}),
            (Wish::Tools | Wish::ToolResult, _) => json!({"tools": self.tools()}),
            (Wish::ForcedTool, Chat) => {
                json!({"tools": self.tools(), "tool_choice": {"type": "function", "function": {"name": TOOL}}})
            }
            (Wish::ForcedTool, Responses) => {
                json!({"tools": self.tools(), "tool_choice": {"type": "function", "name": TOOL}})
            }
            (Wish::ForcedTool, Messages) => {
                json!({"tools": self.tools(), "tool_choice": {"type": "tool", "name": TOOL}})
            }
            (Wish::Schema, Chat) => {
                let schema = json!({"name": "x", "strict": true, "schema": schema()});
                json!({"response_format": {"type": "json_schema", "json_schema": schema}})
            }
            (Wish::Schema, Responses) => {
                json!({"text": {"format": {"type": "json_schema", "name": "x", "strict": true, "schema": schema()}}})
            }
            (Wish::Schema, Messages) => {
                json!({"output_config": {"format": {"type": "json_schema", "schema": schema()}}})
            }
            (Wish::Effort, Chat) => json!({"reasoning_effort": "low"}),
            (Wish::Effort, Responses) => json!({"reasoning": {"effort": "low"}}),
            (Wish::Effort, Messages) => json!({"output_config": {"effort": "low"}}),
            (Wish::Sampling, _) => json!({"temperature": 0.125, "top_p": 0.875}),
            (Wish::Stop, Chat) => json!({"stop": ["HALT"]}),
            (Wish::Stop, Messages) => json!({"stop_sequences": ["HALT"]}),
            (Wish::User, Messages) => json!({"metadata": {"user_id": "user-7"}}),
            (Wish::User, _) => json!({"user": "user-7"}),
            (Wish::CacheMark, Messages) => {
                json!({"system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]})
            }
            (Wish::CacheMark, _) => json!({"prompt_cache_key": "key-7"}),
            (Wish::Logprobs, Chat) => json!({"logprobs": true}),
            (Wish::Logprobs, Responses) => json!({"include": ["message.output_text.logprobs"]}),
            (Wish::Several, Chat) => json!({"n": 2}),
            (Wish::Stop, Responses) | (Wish::Several, Responses | Messages) | (Wish::Logprobs, Messages) => {
                return None;
            }
        })
    }

    /// The model has called a tool, and its result is there.
    fn after_a_call(self) -> Vec<Value> {
        let arguments = json!({"zebra": "Paris-7"});
        match self {
            Self::Chat => {
                let function = json!({"name": TOOL, "arguments": arguments.to_string()});
                let calls = json!([{"id": "call_7", "type": "function", "function": function}]);
                vec![
                    json!({"role": "assistant", "content": null, "tool_calls": calls}),
                    json!({"role": "tool", "tool_call_id": "call_7", "content": "sunny-7"}),
                ]
            }
            Self::Responses => vec![
                json!({"type": "function_call", "call_id": "call_7", "name": TOOL, "arguments": arguments.to_string()}),
                json!({"type": "function_call_output", "call_id": "call_7", "output": "sunny-7"}),
            ],
            Self::Messages => vec![
                json!({"role": "assistant",
                    "content": [{"type": "tool_use", "id": "call_7", "name": TOOL, "input": arguments}]}),
                json!({"role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "call_7", "content": "sunny-7"}]}),
            ],
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
                        Some("tool_use") => heard.call = format!("{} {}", text(&block["name"]), block["input"]),
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

    /// The path of the field to blame, as an error tells it.
    pub fn blamed(self, got: &Got) -> String {
        let error = &got.json()["error"];
        if let Some(param) = error["param"].as_str() {
            return param.to_owned();
        }
        // Anthropic's envelope has no place for it: the message begins with it.
        let message = error["message"].as_str().unwrap_or_default();
        message.split('`').nth(1).unwrap_or(message).to_owned()
    }

    /// The words for why an answer ended: said, tools called, cut by length, refused.
    pub fn ends(self) -> [&'static str; 4] {
        match self {
            Self::Chat => ["stop", "tool_calls", "length", "content_filter"],
            Self::Responses => ["completed", "completed", "max_output_tokens", "content_filter"],
            Self::Messages => ["end_turn", "tool_use", "max_tokens", "refusal"],
        }
    }
}

/// A schema that strict providers take.
fn schema() -> Value {
    json!({"type": "object", "properties": {"zebra": {"type": "string"}}, "required": ["zebra"],
        "additionalProperties": false})
}

/// What a client reads in an answer.
#[derive(Debug, Default)]
pub struct Heard {
    pub text: String,
    pub thought: String,
    pub call: String,
    pub finish: String,
    pub cached: Option<u64>,
    pub answers: usize,
    pub logprobs: bool,
    /// Whether a stream ended as one that is whole.
    pub is_over: bool,
    /// Whether it brought an error.
    pub is_error: bool,
}

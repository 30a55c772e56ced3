//! What a client of each door sends and reads, for one and the same meaning.

use crate::rig::{Door, Got};
use serde_json::{Value, json};

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
    /// The request of a client that wishes for this; none if this door's format has no word for it.
    pub fn wishing(self, wish: Wish, model: &str, stream: bool) -> Option<Value> {
        let mut fields = self.fields(wish)?;
        fields[self.list()] = self.turns(wish).into();
        if stream {
            fields["stream"] = true.into();
        }
        Some(self.request(model, fields))
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
            Wish::ToolResult => {
                [vec![question], self.after_call(TOOL, "call_7", &json!({"zebra": "Paris-7"}), "sunny-7")].concat()
            }
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

    /// The fields beside what is said; none if this door's format has no word for it.
    fn fields(self, wish: Wish) -> Option<Value> {
        use Door::{Chat, Messages, Responses};
        Some(match (wish, self) {
            (Wish::Text | Wish::Image | Wish::Document, _) | (Wish::System, Chat) => json!({}),
            (Wish::System, Responses) => json!({"instructions": SYSTEM}),
            (Wish::System, Messages) => json!({"system": SYSTEM}),
            (Wish::Tools | Wish::ToolResult, _) => json!({"tools": self.tools(TOOL, &schema())}),
            (Wish::ForcedTool, Chat) => {
                json!({"tools": self.tools(TOOL, &schema()), "tool_choice": {"type": "function", "function": {"name": TOOL}}})
            }
            (Wish::ForcedTool, Responses) => {
                json!({"tools": self.tools(TOOL, &schema()), "tool_choice": {"type": "function", "name": TOOL}})
            }
            (Wish::ForcedTool, Messages) => {
                json!({"tools": self.tools(TOOL, &schema()), "tool_choice": {"type": "tool", "name": TOOL}})
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

//! A conversation, written as a chat request.
//!
//! What this format has no word for is left out, and named; what would change the meaning if it were left out is refused.

use super::MaxTokensField;
use crate::wire::conversation::{
    Conversation, Effort, Json, Part, Role, Shape, Source, Tool, ToolChoice, Turn, Untranslatable,
};
use crate::wire::format::{Overrides, Written};
use crate::wire::json::maybe;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Writes a conversation for a provider that calls the bound on the output so; `format` is this format's name.
pub(super) fn write(
    format: &'static str,
    conversation: &Conversation<'_>,
    overrides: &Overrides<'_>,
    max_tokens_field: MaxTokensField,
) -> Result<Written, Untranslatable> {
    let mut writer = Writer { is_ours: conversation.format == format, messages: Vec::new(), left_out: BTreeSet::new() };
    writer.system(None, &conversation.system)?;
    for turn in &conversation.turns {
        writer.turn(turn)?;
    }
    let mut tools = Vec::with_capacity(conversation.tools.len());
    for tool in &conversation.tools {
        tools.push(writer.tool(tool)?);
    }
    let tool_choice = conversation.tool_choice.as_ref().map(|choice| writer.tool_choice(choice)).transpose()?;
    writer.leave_out_what_only_others_have(conversation);
    let Writer { is_ours, messages, left_out } = writer;
    let chat = Chat { conversation, overrides, max_tokens_field, is_ours, messages, tools, tool_choice };
    let body = serde_json::to_vec(&chat).map_err(|_| Untranslatable::new("body", "cannot be written"))?;
    Ok(Written { body: body.into(), left_out: left_out.into_iter().map(Cow::into_owned).collect() })
}

/// What has been written so far.
struct Writer<'a> {
    /// Whether it was read from this format, so that what only this format has can be written back.
    is_ours: bool,
    messages: Vec<Message<'a>>,
    left_out: BTreeSet<Cow<'static, str>>,
}

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

impl<'a> Writer<'a> {
    fn turn(&mut self, turn: &'a Turn<'a>) -> Result<()> {
        let name = turn.name.as_deref();
        match turn.role {
            Role::System => self.system(name, &turn.parts)?,
            Role::User => self.user(name, &turn.parts)?,
            Role::Assistant => {
                let message = self.assistant(name, &turn.parts)?;
                // What only thought has said nothing here, and providers refuse a message without anything.
                self.messages.extend(Some(message).filter(Message::says_something));
            }
        }
        Ok(())
    }

    fn system(&mut self, name: Option<&'a str>, parts: &'a [Part<'a>]) -> Result<()> {
        let content = self.content(parts)?;
        self.messages.extend(content.map(|content| Message { name, content: Some(content), ..Message::of("system") }));
        Ok(())
    }

    /// A user's turn is one message, and one more for each tool's result in it; those come first, for they must follow the
    /// call.
    fn user(&mut self, name: Option<&'a str>, parts: &'a [Part<'a>]) -> Result<()> {
        let mut said: Vec<&Part<'_>> = Vec::new();
        let mut results = false;
        for part in parts {
            let Part::ToolResult { id, parts, is_error } = part else {
                said.push(part);
                continue;
            };
            results = true;
            if *is_error {
                self.left_out.insert("whether a tool failed".into());
            }
            // A tool's message takes texts alone; the user shows the rest.
            let (texts, shown): (Vec<_>, Vec<_>) = parts.iter().partition(|part| matches!(part, Part::Text(_)));
            said.extend(shown);
            let content = self.content(texts)?.or(Some(Content::Text("")));
            self.messages.push(Message { name, tool_call_id: Some(id), content, ..Message::of("tool") });
        }
        if !results || !said.is_empty() {
            let content = self.content(said)?.or(Some(Content::Parts(Vec::new())));
            self.messages.push(Message { name, content, ..Message::of("user") });
        }
        Ok(())
    }

    fn assistant(&mut self, name: Option<&'a str>, parts: &'a [Part<'a>]) -> Result<Message<'a>> {
        let mut message = Message { name, ..Message::of("assistant") };
        let mut said = Vec::new();
        for part in parts {
            match part {
                Part::Thought { text, signature } => {
                    // Thoughts are one model's; another provider refuses them or bills them as input.
                    if signature.is_some() || !self.is_ours {
                        self.left_out.insert(THOUGHTS.into());
                    } else {
                        message.reasoning_content = Some(text);
                    }
                }
                Part::ToolCall { id, name, arguments } => {
                    let function = Called { name, arguments };
                    message.tool_calls.push(ToolCall { id, kind: "function", function });
                }
                part => said.push(part),
            }
        }
        message.content = self.content(said)?;
        Ok(message)
    }

    /// The content of a message: a lone text, or a list of parts; none if nothing was said.
    fn content(&mut self, parts: impl IntoIterator<Item = &'a Part<'a>>) -> Result<Option<Content<'a>>> {
        let mut written = Vec::new();
        for part in parts {
            written.extend(self.part(part)?);
        }
        Ok(match written.as_slice() {
            [] => None,
            [WirePart::Known(Known::Text { text })] => Some(Content::Text(text)),
            _ => Some(Content::Parts(written)),
        })
    }

    fn part(&mut self, part: &'a Part<'a>) -> Result<Option<WirePart<'a>>> {
        let known = match part {
            Part::Text(text) => Known::Text { text },
            Part::Refusal(refusal) if self.is_ours => Known::Refusal { refusal },
            Part::Refusal(text) => Known::Text { text },
            Part::Image { source, detail } => {
                let image_url = Image { url: address("an image", source)?, detail: detail.as_deref() };
                Known::ImageUrl { image_url }
            }
            Part::File { source, name } => {
                let (file_id, file_data) = match source {
                    Source::Id(id) if self.is_ours => (Some(&**id), None),
                    source => (None, Some(address("a file", source)?)),
                };
                Known::File { file: File { file_id, file_data, filename: name.as_deref() } }
            }
            Part::Native(raw) if self.is_ours => return Ok(Some(WirePart::Native(*raw))),
            Part::Native(_) => {
                self.left_out.insert("a part that only its own format has".into());
                return Ok(None);
            }
            Part::Thought { .. } => {
                self.left_out.insert(THOUGHTS.into());
                return Ok(None);
            }
            Part::ToolCall { .. } | Part::ToolResult { .. } => {
                return Err(Untranslatable::new("messages", "has a tool call or result in the wrong turn"));
            }
        };
        Ok(Some(WirePart::Known(known)))
    }

    fn tool(&self, tool: &'a Tool<'a>) -> Result<WireTool<'a>> {
        match tool {
            Tool::Function { name, description, parameters, strict } => {
                let function =
                    Function { name, description: description.as_deref(), parameters: *parameters, strict: *strict };
                Ok(WireTool::Function { kind: "function", function })
            }
            Tool::Native(raw) if self.is_ours => Ok(WireTool::Native(*raw)),
            Tool::Native(_) => Err(Untranslatable::new("tools", "has a tool that only its own format has")),
        }
    }

    fn tool_choice(&self, choice: &'a ToolChoice<'a>) -> Result<WireChoice<'a>> {
        match choice {
            ToolChoice::Auto => Ok(WireChoice::Word("auto")),
            ToolChoice::None => Ok(WireChoice::Word("none")),
            ToolChoice::Required => Ok(WireChoice::Word("required")),
            ToolChoice::Function(name) => Ok(WireChoice::Named { kind: "function", function: Name { name } }),
            ToolChoice::Native(raw) if self.is_ours => Ok(WireChoice::Native(*raw)),
            ToolChoice::Native(_) => Err(Untranslatable::new("tool_choice", "is one that only its own format has")),
        }
    }

    fn leave_out_what_only_others_have(&mut self, conversation: &Conversation<'_>) {
        self.left_out.extend(conversation.unread.iter().map(|path| format!("`{path}`").into()));
        if self.is_ours {
            return;
        }
        self.left_out.extend(conversation.rest.iter().map(|(name, _)| format!("`{name}`").into()));
        if conversation.sampling.top_k.is_some() {
            self.left_out.insert("`top_k`".into());
        }
    }
}

const THOUGHTS: &str = "the model's thoughts";

/// The address of a picture or file, which may be the thing itself.
fn address<'a>(what: &str, source: &'a Source<'a>) -> Result<Cow<'a, str>> {
    match source {
        Source::Url(url) => Ok(Cow::Borrowed(url)),
        Source::Data { media_type, base64 } => Ok(format!("data:{media_type};base64,{base64}").into()),
        Source::Id(_) => Err(Untranslatable::new("messages", format!("has {what} that only its provider has"))),
    }
}

/// The whole request; its fields stand in this order.
struct Chat<'a> {
    conversation: &'a Conversation<'a>,
    overrides: &'a Overrides<'a>,
    max_tokens_field: MaxTokensField,
    is_ours: bool,
    messages: Vec<Message<'a>>,
    tools: Vec<WireTool<'a>>,
    tool_choice: Option<WireChoice<'a>>,
}

impl Serialize for Chat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { conversation, overrides, .. } = self;
        let sampling = &conversation.sampling;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", overrides.model)?;
        map.serialize_entry("messages", &self.messages)?;
        maybe(&mut map, "tools", Some(&self.tools).filter(|tools| !tools.is_empty()))?;
        maybe(&mut map, "tool_choice", self.tool_choice.as_ref())?;
        maybe(&mut map, "parallel_tool_calls", conversation.parallel_tools)?;
        maybe(&mut map, "n", sampling.n)?;
        maybe(&mut map, "temperature", sampling.temperature)?;
        maybe(&mut map, "top_p", sampling.top_p)?;
        maybe(&mut map, "top_k", sampling.top_k.filter(|_| self.is_ours))?;
        maybe(&mut map, "seed", sampling.seed)?;
        maybe(&mut map, "presence_penalty", sampling.presence_penalty)?;
        maybe(&mut map, "frequency_penalty", sampling.frequency_penalty)?;
        maybe(&mut map, "stop", Some(&sampling.stop).filter(|stop| !stop.is_empty()))?;
        maybe(&mut map, "logprobs", (sampling.logprobs || overrides.ask_logprobs).then_some(true))?;
        maybe(&mut map, "top_logprobs", sampling.top_logprobs)?;
        maybe(&mut map, "response_format", shape(&conversation.shape))?;
        maybe(&mut map, "reasoning_effort", conversation.effort.map(Effort::as_str))?;
        maybe(&mut map, "user", conversation.user.as_deref())?;
        for (name, value) in conversation.rest.iter().filter(|_| self.is_ours) {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry(self.max_tokens_field.as_str(), &overrides.max_output_tokens)?;
        if overrides.stream {
            map.serialize_entry("stream", &true)?;
            map.serialize_entry("stream_options", &StreamOptions { include_usage: true })?;
        }
        map.end()
    }
}

fn shape<'a>(shape: &'a Shape<'a>) -> Option<ResponseFormat<'a>> {
    match shape {
        Shape::Text => None,
        Shape::JsonObject => Some(ResponseFormat::JsonObject),
        Shape::JsonSchema { name, description, schema, strict } => {
            // The name is required here, and not everywhere.
            let (name, description) = (name.as_deref().unwrap_or("answer"), description.as_deref());
            let json_schema = JsonSchema { name, description, schema: *schema, strict: *strict };
            Some(ResponseFormat::JsonSchema { json_schema })
        }
    }
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

impl Message<'_> {
    fn of(role: &'static str) -> Self {
        Self { role, name: None, tool_call_id: None, reasoning_content: None, content: None, tool_calls: Vec::new() }
    }

    fn says_something(&self) -> bool {
        self.content.is_some() || self.reasoning_content.is_some() || !self.tool_calls.is_empty()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum WirePart<'a> {
    Known(Known<'a>),
    Native(Json<'a>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Known<'a> {
    Text { text: &'a str },
    Refusal { refusal: &'a str },
    ImageUrl { image_url: Image<'a> },
    File { file: File<'a> },
}

#[derive(Serialize)]
struct Image<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Called<'a>,
}

#[derive(Serialize)]
struct Called<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireTool<'a> {
    Function {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Function<'a>,
    },
    Native(Json<'a>),
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireChoice<'a> {
    Word(&'static str),
    Named {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Name<'a>,
    },
    Native(Json<'a>),
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: JsonSchema<'a> },
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

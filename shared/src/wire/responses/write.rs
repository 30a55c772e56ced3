//! A conversation, written as a Responses request that stores nothing.
//!
//! What this format has no word for is left out, and named; what would change the meaning if it were left out is refused.
//! Both of OpenAI's formats have some fields in common, which pass from one to the other as they are.

use super::request::LOGPROBS;
use crate::wire::conversation::{
    Conversation, Json, Part, Role, Shape, Source, Tool, ToolChoice, Turn, Untranslatable,
};
use crate::wire::format::{Overrides, Written};
use crate::wire::json::maybe;
use crate::wire::openai::answer::NAME as CHAT;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Writes a conversation.
pub(super) fn write(conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written> {
    let mut writer = Writer::default();
    let instructions = match conversation.system.as_slice() {
        [] => None,
        [Part::Text(text)] => Some(&**text),
        parts => {
            writer.message("system", parts)?;
            None
        }
    };
    for turn in &conversation.turns {
        writer.turn(turn)?;
    }
    let tools = conversation.tools.iter().map(tool).collect::<Result<Vec<_>>>()?;
    let tool_choice = conversation.tool_choice.as_ref().map(tool_choice).transpose()?;
    writer.check_sampling(conversation)?;
    writer.leave_out_what_only_others_have(conversation);
    let Writer { input, left_out } = writer;
    let request = Request { conversation, overrides, instructions, input, tools, tool_choice };
    let body = serde_json::to_vec(&request).map_err(|_| Untranslatable::new("body", "cannot be written"))?;
    Ok(Written { body: body.into(), left_out: left_out.into_iter().map(Cow::into_owned).collect() })
}

/// What has been written so far.
#[derive(Default)]
struct Writer<'a> {
    input: Vec<Item<'a>>,
    left_out: BTreeSet<Cow<'static, str>>,
}

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

/// Fields that both of OpenAI's formats have, with the same meaning.
const SHARED: [&str; 7] = [
    "metadata",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
];

/// Whether a field of the request's own format is this format's, too.
fn is_shared(conversation: &Conversation<'_>, name: &str) -> bool {
    conversation.format == CHAT && SHARED.contains(&name)
}

/// How long the answer is to be: a field of its own in chat requests.
fn verbosity<'a>(conversation: &'a Conversation<'_>) -> Option<&'a RawValue> {
    let mut rest = conversation.rest.iter().filter(|_| conversation.format == CHAT);
    rest.find(|(name, _)| name == "verbosity").map(|(_, value)| value.0)
}

impl<'a> Writer<'a> {
    fn turn(&mut self, turn: &'a Turn<'a>) -> Result<()> {
        if turn.name.is_some() {
            self.left_out.insert("what a speaker is called".into());
        }
        match turn.role {
            Role::System => self.message("system", &turn.parts),
            Role::User => self.user(&turn.parts),
            Role::Assistant => self.assistant(&turn.parts),
        }
    }

    fn message(&mut self, role: &'static str, parts: impl IntoIterator<Item = &'a Part<'a>>) -> Result<()> {
        let mut content = Vec::new();
        for part in parts {
            content.push(if role == "assistant" { said(part)? } else { shown(part)? });
        }
        self.input.push(Item::Message { role, content });
        Ok(())
    }

    /// A user's turn is one message, after what tools answered: that must follow the call.
    fn user(&mut self, parts: &'a [Part<'a>]) -> Result<()> {
        let mut rest: Vec<&Part<'_>> = Vec::new();
        for part in parts {
            let Part::ToolResult { id, parts, is_error } = part else {
                rest.push(part);
                continue;
            };
            if *is_error {
                self.left_out.insert("whether a tool failed".into());
            }
            let output = match parts.as_slice() {
                [] => Output::Text(""),
                [Part::Text(text)] => Output::Text(text),
                parts => Output::Parts(parts.iter().map(shown).collect::<Result<_>>()?),
            };
            self.input.push(Item::FunctionCallOutput { call_id: id, output });
        }
        if !rest.is_empty() || parts.is_empty() {
            self.message("user", rest)?;
        }
        Ok(())
    }

    /// What a model said stays in its order with what it called.
    fn assistant(&mut self, parts: &'a [Part<'a>]) -> Result<()> {
        let mut spoken: Vec<&Part<'_>> = Vec::new();
        for part in parts {
            match part {
                Part::ToolCall { id, name, arguments } => {
                    if !spoken.is_empty() {
                        self.message("assistant", std::mem::take(&mut spoken))?;
                    }
                    self.input.push(Item::FunctionCall { call_id: id, name, arguments });
                }
                // Thoughts are one model's, and only in its own format does it know them again.
                Part::Thought { .. } => drop(self.left_out.insert("the model's thoughts".into())),
                Part::Native(_) => drop(self.left_out.insert("a part that only its own format has".into())),
                part => spoken.push(part),
            }
        }
        if !spoken.is_empty() {
            self.message("assistant", spoken)?;
        }
        Ok(())
    }

    fn check_sampling(&mut self, conversation: &Conversation<'_>) -> Result<()> {
        let sampling = &conversation.sampling;
        if sampling.n.is_some_and(|n| n > 1) {
            return Err(Untranslatable::new("n", "asks for more than the one answer that this format has"));
        }
        if !sampling.stop.is_empty() {
            return Err(Untranslatable::new("stop", "has no word in this format"));
        }
        let unsaid = [
            ("`top_k`", sampling.top_k),
            ("`seed`", sampling.seed),
            ("`presence_penalty`", sampling.presence_penalty),
            ("`frequency_penalty`", sampling.frequency_penalty),
        ];
        self.left_out.extend(unsaid.into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name.into()));
        Ok(())
    }

    fn leave_out_what_only_others_have(&mut self, conversation: &Conversation<'_>) {
        self.left_out.extend(conversation.unread.iter().map(|path| format!("`{path}`").into()));
        let is_said = |name: &str| is_shared(conversation, name) || conversation.format == CHAT && name == "verbosity";
        let unsaid = conversation.rest.iter().filter(|(name, _)| !is_said(name));
        self.left_out.extend(unsaid.map(|(name, _)| format!("`{name}`").into()));
    }
}

/// A part as the user, the author or a tool shows it.
fn shown<'a>(part: &'a Part<'a>) -> Result<WirePart<'a>> {
    match part {
        Part::Text(text) | Part::Refusal(text) => Ok(WirePart::InputText { text }),
        Part::Image { source, detail } => {
            let image_url = match source {
                Source::Id(_) => return Err(only_its_provider("an image")),
                source => address(source),
            };
            Ok(WirePart::InputImage { image_url, detail: detail.as_deref().unwrap_or("auto") })
        }
        Part::File { source, name } => {
            let filename = name.as_deref();
            match source {
                Source::Id(_) => Err(only_its_provider("a file")),
                Source::Url(_) => {
                    Ok(WirePart::InputFile { filename, file_url: Some(address(source)), file_data: None })
                }
                Source::Data { .. } => {
                    // A name is required beside the data.
                    let filename = filename.or(Some("file"));
                    Ok(WirePart::InputFile { filename, file_url: None, file_data: Some(address(source)) })
                }
            }
        }
        Part::Native(_) => Err(Untranslatable::new("messages.content", "has a part that only its own format has")),
        Part::Thought { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => {
            Err(Untranslatable::new("messages", "has a thought, a tool call or a result in the wrong turn"))
        }
    }
}

/// A part as the model said it.
fn said<'a>(part: &'a Part<'a>) -> Result<WirePart<'a>> {
    match part {
        Part::Text(text) => Ok(WirePart::OutputText { text }),
        Part::Refusal(refusal) => Ok(WirePart::Refusal { refusal }),
        _ => Err(Untranslatable::new("messages", "has a part of the model's that no text is")),
    }
}

fn only_its_provider(what: &str) -> Untranslatable {
    Untranslatable::new("messages", format!("has {what} that only its provider has"))
}

/// The address of a picture or file, which may be the thing itself.
fn address<'a>(source: &'a Source<'a>) -> Cow<'a, str> {
    match source {
        Source::Url(text) | Source::Id(text) => Cow::Borrowed(text),
        Source::Data { media_type, base64 } => format!("data:{media_type};base64,{base64}").into(),
    }
}

fn tool<'a>(tool: &'a Tool<'a>) -> Result<WireTool<'a>> {
    match tool {
        Tool::Function { name, description, parameters, strict } => Ok(WireTool {
            kind: "function",
            name,
            description: description.as_deref(),
            parameters: *parameters,
            // Here a function is strict unless it says that it is not.
            strict: strict.unwrap_or(false),
        }),
        Tool::Native(_) => Err(Untranslatable::new("tools", "has a tool that only its own format has")),
    }
}

fn tool_choice<'a>(choice: &'a ToolChoice<'a>) -> Result<WireChoice<'a>> {
    match choice {
        ToolChoice::Auto => Ok(WireChoice::Word("auto")),
        ToolChoice::None => Ok(WireChoice::Word("none")),
        ToolChoice::Required => Ok(WireChoice::Word("required")),
        ToolChoice::Function(name) => Ok(WireChoice::Named { kind: "function", name }),
        ToolChoice::Native(_) => Err(Untranslatable::new("tool_choice", "is one that only its own format has")),
    }
}

/// The whole request; its fields stand in this order.
struct Request<'a> {
    conversation: &'a Conversation<'a>,
    overrides: &'a Overrides<'a>,
    instructions: Option<&'a str>,
    input: Vec<Item<'a>>,
    tools: Vec<WireTool<'a>>,
    tool_choice: Option<WireChoice<'a>>,
}

impl Serialize for Request<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { conversation, overrides, .. } = self;
        let sampling = &conversation.sampling;
        let wants_logprobs = sampling.logprobs || overrides.ask_logprobs;
        let text = Text { format: shape(&conversation.shape), verbosity: verbosity(conversation) };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", overrides.model)?;
        maybe(&mut map, "instructions", self.instructions)?;
        map.serialize_entry("input", &self.input)?;
        maybe(&mut map, "tools", Some(&self.tools).filter(|tools| !tools.is_empty()))?;
        maybe(&mut map, "tool_choice", self.tool_choice.as_ref())?;
        maybe(&mut map, "parallel_tool_calls", conversation.parallel_tools)?;
        maybe(&mut map, "temperature", sampling.temperature)?;
        maybe(&mut map, "top_p", sampling.top_p)?;
        maybe(&mut map, "top_logprobs", sampling.top_logprobs)?;
        maybe(&mut map, "include", wants_logprobs.then_some([LOGPROBS]))?;
        maybe(&mut map, "text", Some(text).filter(|text| text.format.is_some() || text.verbosity.is_some()))?;
        maybe(&mut map, "reasoning", conversation.effort.map(|effort| Reasoning { effort: effort.as_str() }))?;
        maybe(&mut map, "user", conversation.user.as_deref())?;
        for (name, value) in conversation.rest.iter().filter(|(name, _)| is_shared(conversation, name)) {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("max_output_tokens", &overrides.max_output_tokens)?;
        map.serialize_entry("store", &false)?;
        if overrides.stream {
            map.serialize_entry("stream", &true)?;
        }
        map.end()
    }
}

fn shape<'a>(shape: &'a Shape<'a>) -> Option<TextFormat<'a>> {
    match shape {
        Shape::Text => None,
        Shape::JsonObject => Some(TextFormat::JsonObject),
        Shape::JsonSchema { name, description, schema, strict } => Some(TextFormat::JsonSchema {
            // The name is required here, and not everywhere.
            name: name.as_deref().unwrap_or("answer"),
            description: description.as_deref(),
            schema: *schema,
            strict: *strict,
        }),
    }
}

#[derive(Serialize)]
struct Reasoning {
    effort: &'static str,
}

#[derive(Serialize)]
struct Text<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<TextFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum TextFormat<'a> {
    JsonObject,
    JsonSchema {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        schema: Option<Json<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item<'a> {
    Message { role: &'static str, content: Vec<WirePart<'a>> },
    FunctionCall { call_id: &'a str, name: &'a str, arguments: &'a str },
    FunctionCallOutput { call_id: &'a str, output: Output<'a> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Text(&'a str),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    InputText {
        text: &'a str,
    },
    InputImage {
        image_url: Cow<'a, str>,
        detail: &'a str,
    },
    InputFile {
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<Cow<'a, str>>,
    },
    OutputText {
        text: &'a str,
    },
    Refusal {
        refusal: &'a str,
    },
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    /// Required, be it null.
    parameters: Option<Json<'a>>,
    strict: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireChoice<'a> {
    Word(&'static str),
    Named {
        #[serde(rename = "type")]
        kind: &'static str,
        name: &'a str,
    },
}

//! A conversation, written as a request for a message.
//!
//! What this format has no word for is left out, and named; what would change the meaning if it were left out is refused.

use super::turns::{Block, Turns, texts};
use crate::wire::conversation::{Conversation, Effort, Json, Shape, Tool, ToolChoice, Untranslatable};
use crate::wire::format::{Overrides, Written};
use crate::wire::json::maybe;
use crate::wire::writing::{LeftOut, Message, Schema, check_sampling, note_rest, note_sampling};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

/// Writes a conversation; `format` is this format's name.
pub(super) fn write(
    format: &'static str,
    conversation: &Conversation<'_>,
    overrides: &Overrides<'_>,
) -> Result<Written> {
    let is_ours = conversation.format == format;
    let (messages, system, mut left_out) = Turns::written(conversation, is_ours)?;
    let tools = conversation.tools.iter().map(|tool| self::tool(tool, is_ours)).collect::<Result<Vec<_>>>()?;
    let tool_choice = tool_choice(conversation, is_ours)?;
    check_sampling(&conversation.sampling)?;
    note_left_out(conversation, is_ours, &mut left_out);
    let output_config = output_config(conversation)?;
    let request = Request { conversation, overrides, is_ours, system, messages, tools, tool_choice, output_config };
    let body = serde_json::to_vec(&request).map_err(|_| Untranslatable::new("body", "cannot be written"))?;
    Ok(Written { body: body.into(), left_out: left_out.into_iter().map(Cow::into_owned).collect() })
}

fn note_left_out(conversation: &Conversation<'_>, is_ours: bool, left_out: &mut LeftOut) {
    note_sampling(conversation, left_out);
    if conversation.effort == Some(Effort::None) {
        left_out.insert("that nothing is to be thought".into());
    }
    if !is_ours {
        note_rest(conversation, left_out);
    }
}

fn tool<'a>(tool: &'a Tool<'a>, is_ours: bool) -> Result<WireTool<'a>> {
    match tool {
        Tool::Function { name, description, parameters, strict } => {
            let input_schema = parameters.as_ref().map_or(Schema::Empty, Schema::of);
            let (description, strict) = (description.as_deref(), strict.filter(|strict| *strict));
            Ok(WireTool::Function { name, description, input_schema, strict })
        }
        Tool::Native(raw) if is_ours => Ok(WireTool::Native(*raw)),
        Tool::Native(_) => Err(Untranslatable::new("tools", "has a tool that only its own format has")),
    }
}

/// Whether a tool is to be called; said only where there are tools.
fn tool_choice<'a>(conversation: &'a Conversation<'a>, is_ours: bool) -> Result<Option<WireChoice<'a>>> {
    if conversation.tools.is_empty() {
        return Ok(None);
    }
    let one_at_a_time = (conversation.parallel_tools == Some(false)).then_some(true);
    let word = |kind| WireChoice::Known { kind, name: None, disable_parallel_tool_use: one_at_a_time };
    Ok(Some(match &conversation.tool_choice {
        None if one_at_a_time.is_none() => return Ok(None),
        None | Some(ToolChoice::Auto) => word("auto"),
        Some(ToolChoice::Required) => word("any"),
        Some(ToolChoice::None) => WireChoice::Known { kind: "none", name: None, disable_parallel_tool_use: None },
        Some(ToolChoice::Function(name)) => {
            WireChoice::Known { kind: "tool", name: Some(name), disable_parallel_tool_use: one_at_a_time }
        }
        Some(ToolChoice::Native(raw)) if is_ours => WireChoice::Native(*raw),
        Some(ToolChoice::Native(_)) => {
            return Err(Untranslatable::new("tool_choice", "is one that only its own format has"));
        }
    }))
}

fn output_config<'a>(conversation: &'a Conversation<'a>) -> Result<OutputConfig<'a>> {
    let format = match &conversation.shape {
        Shape::Text => None,
        Shape::JsonSchema { schema: Some(schema), .. } => Some(Format { kind: "json_schema", schema: *schema }),
        Shape::JsonObject | Shape::JsonSchema { .. } => {
            return Err(Untranslatable::new("response_format", "asks for JSON without a schema"));
        }
    };
    let effort = match conversation.effort {
        None | Some(Effort::None) => None,
        Some(Effort::Minimal) => Some(Effort::Low.as_str()),
        Some(effort) => Some(effort.as_str()),
    };
    Ok(OutputConfig { effort, format })
}

/// Who asks, as what names nobody: addresses and telephone numbers are refused.
fn opaque(user: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_opaque = user.len() <= 256 && user.bytes().all(is_plain) && !user.bytes().all(|byte| byte.is_ascii_digit());
    match is_opaque {
        true => user.into(),
        false => Sha256::digest(user).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
}

/// The whole request; its fields stand in this order.
struct Request<'a> {
    conversation: &'a Conversation<'a>,
    overrides: &'a Overrides<'a>,
    is_ours: bool,
    system: Vec<Block<'a>>,
    messages: Vec<Message<Block<'a>>>,
    tools: Vec<WireTool<'a>>,
    tool_choice: Option<WireChoice<'a>>,
    output_config: OutputConfig<'a>,
}

impl Serialize for Request<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { conversation, overrides, output_config, .. } = self;
        let sampling = &conversation.sampling;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", overrides.model)?;
        maybe(&mut map, "tools", Some(&self.tools).filter(|tools| !tools.is_empty()))?;
        maybe(&mut map, "tool_choice", self.tool_choice.as_ref())?;
        maybe(&mut map, "system", texts(&self.system))?;
        map.serialize_entry("messages", &self.messages)?;
        maybe(&mut map, "temperature", sampling.temperature)?;
        maybe(&mut map, "top_p", sampling.top_p)?;
        maybe(&mut map, "top_k", sampling.top_k)?;
        maybe(&mut map, "stop_sequences", Some(&sampling.stop).filter(|stop| !stop.is_empty()))?;
        let says_output = output_config.effort.is_some() || output_config.format.is_some();
        maybe(&mut map, "output_config", Some(output_config).filter(|_| says_output))?;
        maybe(&mut map, "metadata", conversation.user.as_deref().map(|user| Metadata { user_id: opaque(user) }))?;
        for (name, value) in conversation.rest.iter().filter(|_| self.is_ours) {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("max_tokens", &overrides.max_output_tokens)?;
        maybe(&mut map, "stream", overrides.stream.then_some(true))?;
        map.end()
    }
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: Cow<'a, str>,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: Json<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireTool<'a> {
    Function {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: Schema<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
    Native(Json<'a>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireChoice<'a> {
    Known {
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        disable_parallel_tool_use: Option<bool>,
    },
    Native(Json<'a>),
}

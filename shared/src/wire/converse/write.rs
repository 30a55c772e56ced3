//! A conversation, written as a request to converse.
//!
//! What this format has no word for is left out, and named; what would change the meaning if it were left out is refused.

use super::turns::{Block, Turns, plain_name};
use crate::wire::conversation::{Conversation, Effort, Json, Shape, Tool, ToolChoice, Untranslatable};
use crate::wire::format::{Overrides, Written};
use crate::wire::writing::{LeftOut, Message, Schema, check_sampling, note_rest, note_sampling};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeSet;

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

/// Writes a conversation.
pub(super) fn write(conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written> {
    let Turns { system, messages, tools_used, mut left_out, .. } = Turns::written(conversation)?;
    check_sampling(&conversation.sampling)?;
    let tool_config = tool_config(conversation, &tools_used, &mut left_out)?;
    note_left_out(conversation, &mut left_out);
    let sampling = &conversation.sampling;
    let inference_config = InferenceConfig {
        max_tokens: overrides.max_output_tokens,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        stop_sequences: &sampling.stop,
    };
    let output_config = output_config(conversation)?;
    let request = Request { system, messages, tool_config, inference_config, output_config };
    let body = serde_json::to_vec(&request).map_err(|_| Untranslatable::new("body", "cannot be written"))?;
    Ok(Written { body: body.into(), left_out: left_out.into_iter().map(Cow::into_owned).collect() })
}

fn note_left_out(conversation: &Conversation<'_>, left_out: &mut LeftOut) {
    note_sampling(conversation, left_out);
    note_rest(conversation, left_out);
    let unknown = [
        ("`top_k`", conversation.sampling.top_k.is_some()),
        ("which of the client's users asks", conversation.user.is_some()),
        ("that nothing is to be thought", conversation.effort == Some(Effort::None)),
        ("that tools are called one at a time", conversation.parallel_tools == Some(false)),
    ];
    left_out.extend(unknown.into_iter().filter(|(_, is_said)| *is_said).map(|(name, _)| Cow::from(name)));
}

/// What may be called. Where tools were called before they must be named, whether or not they may be called again, and
/// there is no word for the order to call none.
fn tool_config<'a>(
    conversation: &'a Conversation<'a>,
    used: &BTreeSet<&'a str>,
    left_out: &mut LeftOut,
) -> Result<Option<ToolConfig<'a>>> {
    let calls_none = conversation.tool_choice == Some(ToolChoice::None);
    if used.is_empty() && (calls_none || conversation.tools.is_empty()) {
        return Ok(None);
    }
    if calls_none {
        return Err(Untranslatable::new("tool_choice", "is none, which cannot be said once tools were called"));
    }
    let mut tools = conversation.tools.iter().map(tool).collect::<Result<Vec<_>>>()?;
    if tools.is_empty() {
        left_out.insert("that the tools which were called are there no more".into());
        let gone = |name: &&'a str| WireTool::ToolSpec {
            name,
            description: None,
            input_schema: InputSchema { json: Schema::Empty },
            strict: None,
        };
        tools.extend(used.iter().map(gone));
        return Ok(Some(ToolConfig { tools, tool_choice: None }));
    }
    let tool_choice = match &conversation.tool_choice {
        None | Some(ToolChoice::Auto | ToolChoice::None) => None,
        Some(ToolChoice::Required) => Some(WireChoice::Any {}),
        Some(ToolChoice::Function(name)) => Some(WireChoice::Tool { name }),
        Some(ToolChoice::Native(_)) => {
            return Err(Untranslatable::new("tool_choice", "is one that only its own format has"));
        }
    };
    Ok(Some(ToolConfig { tools, tool_choice }))
}

fn tool<'a>(tool: &'a Tool<'a>) -> Result<WireTool<'a>> {
    let Tool::Function { name, description, parameters, strict } = tool else {
        return Err(Untranslatable::new("tools", "has a tool that only its own format has"));
    };
    Ok(WireTool::ToolSpec {
        name: plain_name(name).ok_or_else(|| Untranslatable::new("tools", "has a name that is too long or odd"))?,
        // The format refuses an empty one.
        description: description.as_deref().filter(|text| !text.trim().is_empty()),
        input_schema: InputSchema { json: parameters.as_ref().map_or(Schema::Empty, Schema::of) },
        strict: strict.filter(|strict| *strict),
    })
}

fn output_config<'a>(conversation: &'a Conversation<'a>) -> Result<Option<OutputConfig<'a>>> {
    let text_format = match &conversation.shape {
        Shape::Text => None,
        Shape::JsonSchema { name, description, schema: Some(schema), .. } => Some(TextFormat::of(JsonSchema {
            schema: schema.0.get(),
            name: name.as_deref(),
            description: description.as_deref(),
        })),
        Shape::JsonObject | Shape::JsonSchema { .. } => {
            return Err(Untranslatable::new("response_format", "asks for JSON without a schema"));
        }
    };
    let effort = match conversation.effort {
        None | Some(Effort::None) => None,
        Some(Effort::Minimal) => Some(Effort::Low.as_str()),
        Some(effort) => Some(effort.as_str()),
    };
    let says_any = text_format.is_some() || effort.is_some();
    Ok(says_any.then_some(OutputConfig { text_format, effort }))
}

/// The whole request; its fields stand in this order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Message<Block<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    inference_config: InferenceConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InferenceConfig<'a> {
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Json<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [Cow<'a, str>],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum WireTool<'a> {
    ToolSpec {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: InputSchema<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

#[derive(Serialize)]
struct InputSchema<'a> {
    json: Schema<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum WireChoice<'a> {
    Any {},
    Tool { name: &'a str },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text_format: Option<TextFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
}

#[derive(Serialize)]
struct TextFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    structure: Structure<'a>,
}

impl<'a> TextFormat<'a> {
    fn of(json_schema: JsonSchema<'a>) -> Self {
        Self { kind: "json_schema", structure: Structure { json_schema } }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Structure<'a> {
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    /// JSON within a text.
    schema: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

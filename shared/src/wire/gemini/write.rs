//! A conversation, written as a request to generate content.
//!
//! What this format has no word for is left out, and named; what would change the meaning if it were left out is refused. The
//! model, and whether to stream, stand in the address.

use super::config::{GenerationConfig, config};
use super::turns::{Content, LeftOut, Turns, WirePart};
use crate::wire::conversation::{Conversation, Json, Tool, ToolChoice, Untranslatable};
use crate::wire::format::{Overrides, Written};
use serde::Serialize;
use std::borrow::Cow;

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

/// Writes a conversation.
pub(super) fn write(conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written> {
    let Turns { contents, system, mut left_out, .. } = Turns::written(conversation, overrides.model)?;
    let function_declarations = conversation.tools.iter().map(declaration).collect::<Result<Vec<_>>>()?;
    let function_calling_config = calling(conversation, &mut left_out)?;
    let generation_config = config(conversation, overrides, &mut left_out)?;
    note_left_out(conversation, &mut left_out);
    let request = Request {
        system_instruction: (!system.is_empty()).then_some(System { parts: system }),
        contents,
        tools: (!function_declarations.is_empty()).then_some([Tools { function_declarations }]),
        tool_config: function_calling_config.map(|function_calling_config| ToolConfig { function_calling_config }),
        generation_config,
    };
    let body = serde_json::to_vec(&request).map_err(|_| Untranslatable::new("body", "cannot be written"))?;
    Ok(Written { body: body.into(), left_out: left_out.into_iter().map(Cow::into_owned).collect() })
}

fn note_left_out(conversation: &Conversation<'_>, left_out: &mut LeftOut) {
    left_out.extend(conversation.unread.iter().map(|path| format!("`{path}`").into()));
    left_out.extend(conversation.rest.iter().map(|(name, _)| format!("`{name}`").into()));
    left_out.extend(conversation.user.is_some().then_some("which of the client's users asks".into()));
}

fn declaration<'a>(tool: &'a Tool<'a>) -> Result<Declaration<'a>> {
    match tool {
        Tool::Function { name, description, parameters, .. } => {
            Ok(Declaration { name, description: description.as_deref(), parameters_json_schema: *parameters })
        }
        Tool::Native(_) => Err(Untranslatable::new("tools", "has a tool that only its own format has")),
    }
}

/// Whether a tool is to be called; said only where there are tools.
fn calling<'a>(conversation: &'a Conversation<'a>, left_out: &mut LeftOut) -> Result<Option<Calling<'a>>> {
    if conversation.tools.is_empty() {
        return Ok(None);
    }
    let is_strict = |tool: &Tool<'_>| matches!(tool, Tool::Function { strict: Some(true), .. });
    let mode = |mode| Calling { mode, allowed_function_names: None };
    let calling = match &conversation.tool_choice {
        // The arguments fit the schema, whether a tool is called or not.
        None | Some(ToolChoice::Auto) if conversation.tools.iter().any(is_strict) => Some(mode("VALIDATED")),
        None => None,
        Some(ToolChoice::Auto) => Some(mode("AUTO")),
        Some(ToolChoice::None) => Some(mode("NONE")),
        Some(ToolChoice::Required) => Some(mode("ANY")),
        Some(ToolChoice::Function(name)) => Some(Calling { mode: "ANY", allowed_function_names: Some([name]) }),
        Some(ToolChoice::Native(_)) => {
            return Err(Untranslatable::new("tool_choice", "is one that only its own format has"));
        }
    };
    if conversation.parallel_tools == Some(false) {
        match &conversation.tool_choice {
            Some(ToolChoice::None) => {}
            // It is called once, as a rule.
            Some(ToolChoice::Function(_)) => drop(left_out.insert("that one tool is called at a time".into())),
            _ => return Err(Untranslatable::new("parallel_tool_calls", "cannot be enforced")),
        }
    }
    Ok(calling)
}

/// The whole request; its fields stand in this order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<System<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tools<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    generation_config: GenerationConfig<'a>,
}

#[derive(Serialize)]
struct System<'a> {
    parts: Vec<WirePart<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<'a> {
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<Json<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    function_calling_config: Calling<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Calling<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_function_names: Option<[&'a str; 1]>,
}

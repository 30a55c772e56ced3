//! A request for a message, read for its meaning.

use super::blocks::{Blocks, is_json_object};
use crate::wire::body::Body;
use crate::wire::context::is_stamp;
use crate::wire::conversation::{
    Conversation, Effort, Json, Part, Role, Shape, Tool, ToolChoice, Turn, Untranslatable,
};
use crate::wire::json::fields;
use crate::wire::values::{object, string, typed};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// The longest name of a user that every format takes.
const MAX_USER_CHARS: usize = 64;

/// Reads the meaning of a body that [`super::request::read`] has checked.
pub(super) fn read<'b>(format: &'static str, body: &'b Body) -> Result<Conversation<'b>> {
    let text = std::str::from_utf8(body.bytes()).unwrap_or_default();
    let top = fields(text, usize::MAX).map_err(|_| Untranslatable::new("body", "is no JSON object"))?;
    let mut reader = Reader::default();
    reader.read.format = format;
    for (name, value) in top {
        if value.get() != "null" {
            reader.field(name, value)?;
        }
    }
    let Reader { mut read, blocks } = reader;
    read.unread = blocks.unread;
    Ok(read)
}

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

/// What has been read so far.
#[derive(Default)]
struct Reader<'b> {
    read: Conversation<'b>,
    blocks: Blocks,
}

impl<'b> Reader<'b> {
    fn field(&mut self, name: Cow<'b, str>, value: &'b RawValue) -> Result<()> {
        let (path, json) = (&*name, Json(value));
        let sampling = &mut self.read.sampling;
        match path {
            // Said by the gateway itself, whatever the client said.
            "model" | "models" | "stream" => {}
            "max_tokens" if typed::<u64>(path, value)? == 0 => {
                return Err(Untranslatable::new(path, "is 0, which only its own providers take"));
            }
            "max_tokens" => {}
            "system" => self.system(value)?,
            "messages" => self.blocks.each(path, value, |blocks, message| {
                let turn = self::message(blocks, message)?;
                self.read.turns.push(turn);
                Ok(())
            })?,
            "tools" => self.blocks.each(path, value, |blocks, tool| {
                let tool = self::tool(blocks, tool)?;
                self.read.tools.push(tool);
                Ok(())
            })?,
            "tool_choice" => self.tool_choice(value)?,
            "temperature" => sampling.temperature = Some(json),
            "top_p" => sampling.top_p = Some(json),
            "top_k" => sampling.top_k = Some(json),
            "stop_sequences" => self.blocks.each(path, value, |_, stop| {
                sampling.stop.push(string("stop_sequences", stop)?);
                Ok(())
            })?,
            "thinking" => self.thinking(name, value)?,
            "output_config" => self.output_config(value)?,
            "output_format" => self.shape(name, value),
            "metadata" => self.metadata(value)?,
            // What they name is read by the model, and is with the provider alone.
            "mcp_servers" | "container" if value.get() != "[]" => {
                return Err(Untranslatable::new(path, "is known to its own providers alone"));
            }
            _ => self.read.rest.push((name, json)),
        }
        Ok(())
    }

    fn system(&mut self, value: &'b RawValue) -> Result<()> {
        let parts = self.blocks.content("system", value)?;
        // A stamp is another in each request, so that no prompt cache would ever know the rest again.
        self.read.system =
            parts.into_iter().filter(|part| !matches!(part, Part::Text(text) if is_stamp(text))).collect();
        Ok(())
    }

    fn tool_choice(&mut self, value: &'b RawValue) -> Result<()> {
        let (mut kind, mut tool) = (Cow::default(), None);
        for (name, value) in object("tool_choice", value)? {
            match &*name {
                "type" => kind = string("tool_choice.type", value)?,
                "name" => tool = Some(string("tool_choice.name", value)?),
                "disable_parallel_tool_use" => {
                    self.read.parallel_tools = Some(!typed::<bool>("tool_choice", value)?);
                }
                _ => self.blocks.unread.note("tool_choice", &name),
            }
        }
        self.read.tool_choice = Some(match (&*kind, tool) {
            ("auto", _) => ToolChoice::Auto,
            ("none", _) => ToolChoice::None,
            ("any", _) => ToolChoice::Required,
            ("tool", Some(tool)) => ToolChoice::Function(tool),
            _ => ToolChoice::Native(Json(value)),
        });
        Ok(())
    }

    /// How many tokens may be thought is how much is to be thought. That nothing is to be thought is what models without
    /// thoughts do anyway, and they would refuse to be told; how else thoughts come is said by this format alone.
    fn thinking(&mut self, name: Cow<'b, str>, value: &'b RawValue) -> Result<()> {
        #[derive(Deserialize)]
        struct Thinking {
            budget_tokens: u64,
        }
        match typed::<Thinking>("thinking", value) {
            Ok(Thinking { budget_tokens }) => {
                let effort = match budget_tokens {
                    0..4_096 => Effort::Low,
                    4_096..16_384 => Effort::Medium,
                    _ => Effort::High,
                };
                self.read.effort.get_or_insert(effort);
            }
            Err(_) => self.read.rest.push((name, Json(value))),
        }
        Ok(())
    }

    fn output_config(&mut self, value: &'b RawValue) -> Result<()> {
        for (name, value) in object("output_config", value)? {
            match &*name {
                _ if value.get() == "null" => {}
                "format" => self.shape("output_config.format".into(), value),
                "effort" => match Effort::named(&string("output_config.effort", value)?) {
                    Some(effort) => self.read.effort = Some(effort),
                    None => self.blocks.unread.note("output_config", &name),
                },
                _ => self.blocks.unread.note("output_config", &name),
            }
        }
        Ok(())
    }

    fn shape(&mut self, path: Cow<'b, str>, value: &'b RawValue) {
        #[derive(Deserialize)]
        struct Format<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
            #[serde(borrow, default)]
            schema: Option<&'a RawValue>,
        }
        match serde_json::from_str::<Format<'_>>(value.get()) {
            Ok(format) if format.kind == "json_schema" => {
                let schema = format.schema.map(Json);
                // This format holds every answer to its schema.
                self.read.shape = Shape::JsonSchema { name: None, description: None, schema, strict: Some(true) };
            }
            _ => self.read.rest.push((path, Json(value))),
        }
    }

    fn metadata(&mut self, value: &'b RawValue) -> Result<()> {
        for (name, value) in object("metadata", value)? {
            match &*name {
                _ if value.get() == "null" => {}
                "user_id" => self.read.user = Some(short_user(string("metadata.user_id", value)?)),
                _ => self.blocks.unread.note("metadata", &name),
            }
        }
        Ok(())
    }
}

/// Who asks, in no more letters than every format takes: coding agents name their machine, account and session in one.
fn short_user(user: Cow<'_, str>) -> Cow<'_, str> {
    if user.chars().count() <= MAX_USER_CHARS {
        return user;
    }
    Sha256::digest(user.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn message<'b>(blocks: &mut Blocks, raw: &'b RawValue) -> Result<Turn<'b>> {
    let (mut role, mut parts) = (Cow::default(), Vec::new());
    for (name, value) in object("messages", raw)? {
        match &*name {
            "role" => role = string("messages.role", value)?,
            "content" => parts = blocks.content("messages.content", value)?,
            _ => blocks.unread.note("messages", &name),
        }
    }
    let role = match &*role {
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => Role::User,
    };
    Ok(Turn { role, name: None, parts })
}

fn tool<'b>(blocks: &mut Blocks, raw: &'b RawValue) -> Result<Tool<'b>> {
    let (mut function, mut description, mut parameters, mut strict) = (None, None, None, None);
    for (name, value) in object("tools", raw)? {
        match &*name {
            _ if value.get() == "null" => {}
            "type" if value.get() == "\"custom\"" => {}
            "type" => return Ok(Tool::Native(Json(raw))),
            "name" => function = Some(string("tools.name", value)?),
            "description" => description = Some(string("tools.description", value)?),
            "input_schema" if is_json_object(value) => parameters = Some(Json(value)),
            "strict" => strict = Some(typed("tools.strict", value)?),
            _ => blocks.unread.note("tools", &name),
        }
    }
    let name = function.ok_or_else(|| Untranslatable::new("tools", "has a tool without `name`"))?;
    Ok(Tool::Function { name, description, parameters, strict })
}

//! A Responses request, read into what the gateway needs to know of it; what providers would refuse later is refused here.
//!
//! Items of every kind pass, known or not: what is read of them is what decides, limits and bills. What a request names and
//! does not carry (a stored answer, a file, a prompt) is known to one provider only, and is more input than can be counted
//! here: such a request is bound to the one model that it names, and is a paid extra (M1). Items that are only named may be
//! known to the gateway itself, which then reads the request again with them in it.

use crate::error::Error;
use crate::money::ServiceTier;
use crate::wire::body::{Body, each, integer, name_of_model, names_of_models, number, parse, parse_object};
use crate::wire::facts::{AnswerFormat, Efforts, Facts};
use crate::wire::json::{place, text_of};
use crate::wire::reading::{Reader, add_part, complete, fits, note_turn, object, text_of_user, wrong};
use crate::wire::responses::paid;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Longest name of an item.
const MAX_ID_BYTES: usize = 256;

/// What asks for the log-probabilities of an answer's tokens.
pub(super) const LOGPROBS: &str = "message.output_text.logprobs";

/// Reads and checks a body.
///
/// # Errors
/// [`Error::InvalidRequest`] names the first field that is missing or not what it must be.
pub(super) fn read(bytes: Bytes) -> Result<(Body, Facts), Error> {
    // An answer ends with its usage, whoever asked.
    let facts = Facts { body_bytes: bytes.len(), include_usage: true, keeps_items: true, ..Facts::default() };
    let mut reader = ResponsesReader { facts, bytes: bytes.clone(), has_stored_input: false };
    let body = Body::json(bytes, |name, value| reader.field(name, value))?;
    // The instructions come before all items, wherever in the body they stand.
    if let Some(instructions) = body.place("instructions").filter(|place| body.bytes()[place.start] == b'"') {
        reader.facts.context.system = Some(instructions);
    }
    let is_asked = reader.facts.messages > 0 || reader.has_stored_input;
    let facts = complete(reader.facts, is_asked, "input", "Send an `input`: a text, or a list of at least one item.")?;
    Ok((body, facts))
}

/// What has been read so far.
struct ResponsesReader {
    facts: Facts,
    /// The body, for the places of what is read.
    bytes: Bytes,
    /// Whether there is input that the provider has stored, so that none need come along.
    has_stored_input: bool,
}

impl Reader for ResponsesReader {
    const KNOWN: &'static [&'static str] = &paid::KNOWN;

    fn facts(&mut self) -> &mut Facts {
        &mut self.facts
    }

    fn changes_price(name: &str, value: &RawValue) -> bool {
        paid::changes_price(name, value)
    }

    fn known(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        match name {
            "model" => self.facts.model = name_of_model("model", value)?,
            "models" => self.facts.models = names_of_models(name, value)?,
            "input" => self.read_input(value)?,
            "instructions" => check_text(name, value)?,
            "stream" => self.facts.stream = parse(name, value, "must be true or false")?,
            "max_output_tokens" => self.facts.max_output_tokens = Some(integer(name, value, 1, 100_000_000)?),
            "temperature" => {
                self.facts.temperature = Some(number(name, value, 0.0, 2.0)?);
                self.facts.needs.sampling = true;
            }
            "top_p" => {
                number(name, value, 0.0, 1.0)?;
                self.facts.needs.sampling = true;
            }
            "top_logprobs" => self.facts.needs.logprobs |= integer(name, value, 0, 20)? > 0,
            "include" => self.read_include(value)?,
            "max_tool_calls" => drop(integer(name, value, 1, 1_000_000)?),
            "parallel_tool_calls" => drop(parse::<bool>(name, value, "must be true or false")?),
            "store" => self.facts.keeps_items = parse(name, value, "must be true or false")?,
            "user" | "safety_identifier" | "prompt_cache_key" | "truncation" => check_text(name, value)?,
            "reasoning" | "metadata" | "stream_options" if !value.get().starts_with('{') => {
                return Err(Error::invalid(name, format!("`{name}` must be an object.")));
            }
            "reasoning" => self.read_effort(value),
            "tool_choice" => self.facts.needs.forced_tools = is_forced(value),
            "service_tier" => self.facts.service_tier = ServiceTier::parse(&text_of(value.get())),
            "tools" => self.read_tools(name, value)?,
            "text" => self.facts.answer_format = answer_format(value)?,
            "previous_response_id" => {
                check_text(name, value)?;
                self.stored_input(name);
            }
            "conversation" | "prompt" => self.stored_input(name),
            "background" => refuse_background(parse(name, value, "must be true or false")?)?,
            _ => {}
        }
        Ok(())
    }
}

impl ResponsesReader {
    /// Notes how much a model is to think, where the request says.
    fn read_effort(&mut self, value: &RawValue) {
        #[derive(Deserialize)]
        struct Reasoning<'a> {
            #[serde(borrow, default)]
            effort: Option<&'a RawValue>,
        }
        let reasoning = serde_json::from_str::<Reasoning<'_>>(value.get()).ok();
        if let Some(effort) = reasoning.and_then(|reasoning| reasoning.effort).filter(|raw| raw.get() != "null") {
            self.facts.needs.reasoning = true;
            self.facts.needs.efforts = Efforts::named(&text_of(effort.get()));
        }
    }

    /// Notes input that one provider has stored.
    fn stored_input(&mut self, path: &str) {
        self.has_stored_input = true;
        self.bind(path);
    }

    /// Notes what only one provider knows, and what is more than can be counted here.
    fn bind(&mut self, path: &str) {
        self.facts.note_provider_bound(path);
        self.facts.note_paid_extra(path);
    }

    fn read_include(&mut self, value: &RawValue) -> Result<(), Error> {
        each("include", value, "must be a list of texts", |i, entry| {
            let path = format!("include[{i}]");
            let wanted: Cow<'_, str> = parse(&path, entry, "must be a string")?;
            self.facts.needs.logprobs |= wanted == LOGPROBS;
            Ok(())
        })?;
        Ok(())
    }

    fn read_tools(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        let tools = each(name, value, "must be a list of objects", |i, tool| {
            let path = || format!("{name}[{i}]");
            let tool: WireTool<'_> = object(path, tool, "a tool")?;
            let kind = tool.kind.ok_or_else(|| wrong(&path(), ".type", "must be a string"))?;
            if !paid::is_clients_tool(&kind, tool.execution.as_deref()) {
                self.bind(&(path() + ".type"));
            }
            Ok(())
        })?;
        self.facts.needs.tools |= tools > 0;
        Ok(())
    }

    fn read_input(&mut self, value: &RawValue) -> Result<(), Error> {
        if !value.get().starts_with('"') {
            self.facts.messages =
                each("input", value, "must be a text or a list of items", |i, raw| self.item(i, raw))?;
            return Ok(());
        }
        let text = text_of_user("input", value)?;
        self.facts.messages = usize::from(!text.is_empty());
        note_turn(&mut self.facts, &self.bytes, "user", value, text);
        Ok(())
    }

    fn item(&mut self, i: usize, raw: &RawValue) -> Result<(), Error> {
        let path = || format!("input[{i}]");
        let item: WireItem<'_> = object(path, raw, "an item")?;
        let wrong = |field: &str, must: &str| wrong(&path(), field, must);
        let kind = match (item.kind.as_deref(), &item.role) {
            (Some(kind), _) => kind,
            (None, Some(_)) => "message",
            (None, None) if item.id.is_some() => "item_reference",
            (None, None) => return Err(wrong(".type", "must be a string")),
        };
        self.facts.is_after_tool = kind.ends_with("_output");
        // Tools may come in the middle of a conversation, too.
        if let Some(tools) = item.tools.filter(|tools| tools.get() != "null") {
            self.read_tools(&format!("{}.tools", path()), tools)?;
        }
        match kind {
            "message" => return self.message(&path(), item),
            "item_reference" => {
                self.bind(&path());
                let id: Option<Box<str>> = item.id.and_then(|id| serde_json::from_str(id.get()).ok());
                let id =
                    id.filter(|id| id.len() <= MAX_ID_BYTES).ok_or_else(|| wrong(".id", "must be a short string"))?;
                self.facts.references.push((id, place(&self.bytes, raw)));
            }
            "function_call" => {
                for (field, value) in [(".call_id", item.call_id), (".name", item.name), (".arguments", item.arguments)]
                {
                    if !value.is_some_and(|value| value.get().starts_with('"')) {
                        return Err(wrong(field, "must be a string"));
                    }
                }
            }
            "function_call_output" => {
                if !item.call_id.is_some_and(|id| id.get().starts_with('"')) {
                    return Err(wrong(".call_id", "must be a string"));
                }
                match item.output {
                    Some(output) if output.get().starts_with('[') => {
                        self.read_parts(&format!("{}.output", path()), output, &mut String::new())?;
                    }
                    Some(output) if output.get().starts_with('"') => {}
                    _ => return Err(wrong(".output", "must be a string or a list of parts")),
                }
            }
            _ => {}
        }
        self.facts.context.is_answered |=
            kind.ends_with("_call") || matches!(kind, "reasoning" | "item_reference" | "compaction");
        Ok(())
    }

    fn message(&mut self, path: &str, item: WireItem<'_>) -> Result<(), Error> {
        let role = item.role.as_deref().unwrap_or("");
        if !matches!(role, "system" | "developer" | "user" | "assistant") {
            return Err(wrong(path, ".role", "must be system, developer, user or assistant"));
        }
        let in_content = format!("{path}.content");
        let mut text = String::new();
        match item.content {
            Some(content) if content.get().starts_with('"') => {
                if role == "user" {
                    text = text_of_user(&in_content, content)?;
                }
            }
            Some(content) if content.get().starts_with('[') => self.read_parts(&in_content, content, &mut text)?,
            _ => return Err(wrong(&in_content, "", "must be a string or a list of parts")),
        }
        self.facts.context.is_answered |= role == "assistant";
        if let Some(content) = item.content {
            note_turn(&mut self.facts, &self.bytes, role, content, text);
        }
        Ok(())
    }

    fn read_parts(&mut self, path: &str, content: &RawValue, text: &mut String) -> Result<(), Error> {
        each(path, content, "must be a list of parts", |i, raw| {
            let path = || format!("{path}[{i}]");
            let part: WirePart<'_> = object(path, raw, "a part")?;
            match part.kind.as_deref() {
                Some("input_text" | "output_text") => {
                    let piece = part.text.ok_or_else(|| wrong(&path(), ".text", "must be a string"))?;
                    add_part(text, &piece);
                }
                Some("input_image") => {
                    self.facts.images += 1;
                    self.facts.image_bytes += part.image_url.map_or(0, |url| url.get().len());
                }
                Some("input_file") => self.facts.needs.documents = true,
                Some(_) => {}
                None => return Err(wrong(&path(), ".type", "must be a string")),
            }
            if part.file_id.is_some_and(|id| id.get() != "null") {
                self.bind(&(path() + ".file_id"));
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Whether a `tool_choice` orders a call: it is `required`, names a tool, or some of which one is required.
fn is_forced(value: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(borrow, default, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        mode: Cow<'a, str>,
    }
    match serde_json::from_str::<Choice<'_>>(value.get()) {
        Ok(choice) if choice.kind == "allowed_tools" => choice.mode == "required",
        Ok(choice) => !choice.kind.is_empty(),
        Err(_) => text_of(value.get()) == "required",
    }
}

#[derive(Deserialize)]
struct WireItem<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    call_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireTool<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    execution: Option<Cow<'a, str>>,
}

fn refuse_background(is_wanted: bool) -> Result<(), Error> {
    let why = "An answer is settled when it comes, and none is kept to be fetched later; send it without `background`.";
    if is_wanted { Err(Error::invalid("background", why)) } else { Ok(()) }
}

fn check_text(name: &str, value: &RawValue) -> Result<(), Error> {
    parse::<Cow<'_, str>>(name, value, "must be a string").map(drop)
}

fn answer_format(value: &RawValue) -> Result<AnswerFormat, Error> {
    #[derive(Deserialize)]
    struct Text<'a> {
        #[serde(borrow, default)]
        format: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        schema: Option<&'a RawValue>,
    }
    let text: Text<'_> = parse_object("text", value, "must be an object")?;
    let Some(format) = text.format.filter(|format| format.get() != "null") else { return Ok(AnswerFormat::Text) };
    let format: Format<'_> = parse_object("text.format", format, "must be an object with a `type`")?;
    match &*format.kind {
        "json_object" => Ok(AnswerFormat::JsonObject),
        "json_schema" => {
            let schema = format.schema.filter(|schema| schema.get().starts_with('{')).ok_or_else(|| {
                Error::invalid("text.format.schema", "`text.format.schema` must be an object with this type.")
            })?;
            Ok(fits(schema.get()))
        }
        _ => Ok(AnswerFormat::Text),
    }
}

#[cfg(test)]
mod tests;

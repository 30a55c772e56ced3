//! A request for a message, read into what the gateway needs to know of it; what providers would refuse later is refused
//! here.

use crate::error::Error;
use crate::money::{CacheWrite, ServiceTier};
use crate::wire::anthropic::paid;
use crate::wire::body::{Body, each, integer, name_of_model, names_of_models, number, parse, parse_object};
use crate::wire::facts::{AnswerFormat, Efforts, Facts};
use crate::wire::json::{place, text_of};
use crate::wire::reading::{Reader, add_part, complete, fits, note_turn, object, text_of_user, wrong};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An answer, whose tokens must be bounded.
    Answer,
    /// The number of tokens that it has itself.
    Count,
}

/// Reads and checks a body.
///
/// # Errors
/// [`Error::InvalidRequest`] names the first field that is missing or not what it must be.
pub(super) fn read(bytes: Bytes, purpose: Purpose) -> Result<(Body, Facts), Error> {
    // A stream of this format always tells its usage.
    let facts = Facts { body_bytes: bytes.len(), include_usage: true, ..Facts::default() };
    let mut reader = MessagesReader { facts, bytes: bytes.clone() };
    let body = Body::json(bytes, |name, value| reader.field(name, value))?;
    let is_asked = reader.facts.messages > 0;
    let facts = complete(reader.facts, is_asked, "messages", "Send at least one message.")?;
    if facts.max_output_tokens.is_none() && purpose == Purpose::Answer {
        return Err(Error::invalid("max_tokens", "`max_tokens` is required: how long may the answer be?"));
    }
    Ok((body, facts))
}

/// What has been read so far.
struct MessagesReader {
    facts: Facts,
    /// The body, for the places of what is read.
    bytes: Bytes,
}

impl Reader for MessagesReader {
    const KNOWN: &'static [&'static str] = &paid::KNOWN;

    fn facts(&mut self) -> &mut Facts {
        &mut self.facts
    }

    fn changes_price(name: &str, value: &RawValue) -> bool {
        paid::changes_price(name, value)
    }

    fn known(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        match name {
            "model" => self.facts.model = name_of_model(name, value)?,
            "models" => self.facts.models = names_of_models(name, value)?,
            "messages" => self.read_messages(value)?,
            "system" => self.read_system(value)?,
            "stream" => self.facts.stream = parse(name, value, "must be true or false")?,
            // None at all fills the provider's cache, and answers nothing.
            "max_tokens" => self.facts.max_output_tokens = Some(integer(name, value, 0, 100_000_000)?),
            "temperature" => {
                self.facts.temperature = Some(number(name, value, 0.0, 1.0)?);
                self.facts.needs.sampling = true;
            }
            "top_p" => {
                number(name, value, 0.0, 1.0)?;
                self.facts.needs.sampling = true;
            }
            "top_k" => {
                integer(name, value, 0, u64::from(u32::MAX))?;
                self.facts.needs.sampling = true;
            }
            "stop_sequences" => {
                let must = "must be a list of strings";
                let stops = each(name, value, must, |i, stop| {
                    parse::<Cow<'_, str>>(&format!("{name}[{i}]"), stop, "must be a string").map(drop)
                })?;
                self.facts.has_stops = stops > 0;
            }
            "tools" => self.read_tools(value)?,
            "tool_choice" | "thinking" => self.read_kind(name, value)?,
            "metadata" => {
                let wire: Metadata<'_> = parse_object(name, value, "must be an object with `user_id`: a string")?;
                self.facts.context.key = wire.user_id.map(|id| place(&self.bytes, id));
            }
            "output_config" => self.read_output_config(name, value)?,
            "output_format" => self.facts.answer_format = answer_format(name, value)?,
            "cache_control" => self.note_cache(Some(value)),
            "speed" if text_of(value.get()) == "fast" => self.facts.service_tier = Some(ServiceTier::Fast),
            "service_tier" => {
                let asked = ServiceTier::parse(&text_of(value.get()));
                self.facts.service_tier = self.facts.service_tier.or(asked);
            }
            "container" => self.facts.note_provider_bound(name),
            "thread" => return Err(Error::NoThread),
            _ => {}
        }
        Ok(())
    }
}

impl MessagesReader {
    /// Reads `tool_choice` or `thinking`, of which the kind matters.
    fn read_kind(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        let wire: Typed<'_> = parse_object(name, value, "must be an object with a `type`")?;
        let kind = wire.kind.ok_or_else(|| wrong(name, ".type", "must be a string"))?;
        self.facts.needs.forced_tools |= name == "tool_choice" && matches!(&*kind, "any" | "tool");
        self.facts.needs.reasoning |= name == "thinking" && kind != "disabled";
        Ok(())
    }

    fn read_output_config(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        let config: OutputConfig<'_> = parse_object(name, value, "must be an object, with each field once")?;
        if let Some(format) = config.format.filter(|format| format.get() != "null") {
            self.facts.answer_format = answer_format("output_config.format", format)?;
        }
        if let Some(effort) = config.effort.filter(|effort| effort.get() != "null") {
            self.facts.needs.reasoning = true;
            self.facts.needs.efforts = Efforts::named(&text_of(effort.get()));
        }
        Ok(())
    }

    /// Takes what a mark asks to be written into the provider's cache.
    fn note_cache(&mut self, mark: Option<&RawValue>) {
        let Some(mark) = mark.filter(|mark| mark.get() != "null") else { return };
        #[derive(Deserialize)]
        struct Mark<'a> {
            #[serde(borrow, default)]
            ttl: Option<Cow<'a, str>>,
        }
        let asked = match serde_json::from_str::<Mark<'_>>(mark.get()) {
            Ok(Mark { ttl }) if ttl.as_deref().is_none_or(|ttl| ttl == "5m") => CacheWrite::Usual,
            // What is not known counts as the dearer.
            _ => CacheWrite::Hour,
        };
        self.facts.cache_write = self.facts.cache_write.max(asked);
    }

    fn read_system(&mut self, value: &RawValue) -> Result<(), Error> {
        match value.get().as_bytes().first() {
            Some(b'"') => drop(text_of_user("system", value)?),
            Some(b'[') => drop(self.read_blocks("system", value, &mut String::new())?),
            _ => return Err(Error::invalid("system", "`system` must be a string or a list of text blocks.")),
        }
        self.facts.context.system = Some(place(&self.bytes, value));
        Ok(())
    }

    fn read_tools(&mut self, value: &RawValue) -> Result<(), Error> {
        let tools = each("tools", value, "must be a list of objects", |i, raw| {
            let path = || format!("tools[{i}]");
            if !raw.get().starts_with('{') {
                return Err(Error::invalid(path(), format!("`{}` must be an object.", path())));
            }
            let tool: Typed<'_> = serde_json::from_str(raw.get()).map_err(|_| {
                Error::invalid(path() + ".type", format!("`{}.type` must be a string, given once.", path()))
            })?;
            self.note_cache(tool.cache_control);
            if tool.kind.is_some_and(|kind| paid::tool_changes_price(&kind)) {
                self.facts.note_paid_extra(&(path() + ".type"));
            }
            Ok(())
        })?;
        self.facts.needs.tools |= tools > 0;
        Ok(())
    }

    fn read_messages(&mut self, value: &RawValue) -> Result<(), Error> {
        self.facts.messages = each("messages", value, "must be a list of messages", |i, raw| {
            let path = || format!("messages[{i}]");
            let message: WireMessage<'_> = object(path, raw, "a message")?;
            let role = message.role.as_deref().unwrap_or("");
            if !matches!(role, "user" | "assistant" | "system") {
                return Err(wrong(&path(), ".role", "must be user, assistant or system"));
            }
            let content = message.content.unwrap_or(RawValue::NULL);
            let place_of = || path() + ".content";
            let (mut text, mut last) = (String::new(), Last::Text);
            match content.get().as_bytes().first() {
                Some(b'"') => text = text_of_user(&place_of(), content)?,
                Some(b'[') => last = self.read_blocks(&place_of(), content, &mut text)?,
                _ => return Err(wrong(&place_of(), "", "must be a string or a list of blocks")),
            }
            self.facts.is_after_tool = last == Last::ToolResult;
            // What ends in a call of a tool that runs at the provider only goes on.
            self.facts.needs.prefill = role == "assistant" && last == Last::Text;
            self.facts.context.is_answered |= role == "assistant";
            if role == "user" {
                note_turn(&mut self.facts, &self.bytes, role, content, text);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Reads blocks, whose texts are added to `text`; answers what the last one is.
    fn read_blocks(&mut self, path: &str, content: &RawValue, text: &mut String) -> Result<Last, Error> {
        let mut last = Last::Other;
        each(path, content, "must be a list of blocks", |i, raw| {
            let path = || format!("{path}[{i}]");
            let refused = |field: &str, must: &str| wrong(&path(), field, must);
            let block: WireBlock<'_> = object(path, raw, "a block")?;
            last = Last::Other;
            self.note_cache(block.cache_control);
            if block.source.is_some_and(is_stored) || block.kind.as_deref() == Some("container_upload") {
                self.facts.note_provider_bound(&path());
            }
            match block.kind.as_deref() {
                None => return Err(refused(".type", "must be a string")),
                Some("text") => {
                    let more = block.text.ok_or_else(|| refused(".text", "must be a string"))?;
                    add_part(text, &more);
                    last = Last::Text;
                }
                Some("image") => {
                    let source = block.source.filter(|source| source.get().starts_with('{'));
                    let source = source.ok_or_else(|| refused(".source", "must be an object"))?;
                    self.facts.images += 1;
                    self.facts.image_bytes += source.get().len();
                }
                Some("document") => self.facts.needs.documents = true,
                Some("tool_result") => {
                    last = Last::ToolResult;
                    match block.content.map(RawValue::get) {
                        Some(list) if list.starts_with('[') => {
                            let (path, content) = (path() + ".content", block.content.unwrap_or(raw));
                            self.read_blocks(&path, content, &mut String::new())?;
                        }
                        Some(text) if text.starts_with('"') || text == "null" => {}
                        None => {}
                        Some(_) => return Err(refused(".content", "must be a string or a list of blocks")),
                    }
                }
                Some(_) => {}
            }
            Ok(())
        })?;
        Ok(last)
    }
}

/// Whether a source is a file that its provider has. What is here is long, and is not read again.
fn is_stored(source: &RawValue) -> bool {
    const LONGEST: usize = 512;
    let kind =
        |source: &str| serde_json::from_str::<Typed<'_>>(source).ok().and_then(|source| Some(source.kind? == "file"));
    source.get().len() <= LONGEST && source.get().starts_with('{') && kind(source.get()) == Some(true)
}

/// What the last block of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Text,
    ToolResult,
    Other,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireBlock<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    user_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow, default)]
    format: Option<&'a RawValue>,
    #[serde(borrow, default)]
    effort: Option<&'a RawValue>,
}

fn answer_format(name: &str, value: &RawValue) -> Result<AnswerFormat, Error> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        schema: Option<&'a RawValue>,
    }
    let format: Format<'_> = parse_object(name, value, "must be an object with a `type`")?;
    if format.kind != "json_schema" {
        return Ok(AnswerFormat::Text);
    }
    let path = format!("{name}.schema");
    let schema = format.schema.map(RawValue::get).filter(|schema| schema.starts_with('{'));
    let schema = schema.ok_or_else(|| Error::invalid(path.clone(), format!("`{path}` must be an object.")))?;
    Ok(fits(schema))
}

#[cfg(test)]
mod tests;

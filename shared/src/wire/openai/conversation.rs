//! A chat request, read for its meaning.
//!
//! The older words are read as the newer ones: a function is a tool, and a `function_call`, which has no id, gets the
//! number of its place, by which the `function` message that answers it is known.

use crate::wire::body::Body;
use crate::wire::conversation::{
    Conversation, Effort, Json, MAX_ITEMS, Part, Role, Shape, Source, Tool, ToolChoice, Turn, Untranslatable,
};
use crate::wire::json::{Stopped, fields, items};
use crate::wire::values::{object, source, string, typed};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

/// Reads the meaning of a body that [`super::request::read`] has checked.
pub(super) fn read<'b>(format: &'static str, body: &'b Body) -> Result<Conversation<'b>, Untranslatable> {
    let text = std::str::from_utf8(body.bytes()).unwrap_or_default();
    let top = fields(text, usize::MAX).map_err(|_| Untranslatable::new("body", "is no JSON object"))?;
    let mut reader = Reader::default();
    reader.read.format = format;
    for (name, value) in top {
        if value.get() != "null" {
            reader.field(name, value)?;
        }
    }
    Ok(reader.read)
}

/// What has been read so far.
#[derive(Default)]
struct Reader<'b> {
    read: Conversation<'b>,
    /// How many turns, parts and tools there are.
    items: usize,
    /// How many calls without an id there were, and the latest by each name.
    calls: usize,
    latest_call: HashMap<Cow<'b, str>, String>,
}

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

impl<'b> Reader<'b> {
    fn field(&mut self, name: Cow<'b, str>, value: &'b RawValue) -> Result<()> {
        let (path, json) = (&*name, Json(value));
        let sampling = &mut self.read.sampling;
        match path {
            // Said by the gateway itself, whatever the client said.
            "model" | "models" | "stream" | "stream_options" | "max_tokens" | "max_completion_tokens" => {}
            "messages" => self.each(path, value, Self::message)?,
            "n" => sampling.n = Some(typed(path, value)?),
            "temperature" => sampling.temperature = Some(json),
            "top_p" => sampling.top_p = Some(json),
            "top_k" => sampling.top_k = Some(json),
            "seed" => sampling.seed = Some(json),
            "presence_penalty" => sampling.presence_penalty = Some(json),
            "frequency_penalty" => sampling.frequency_penalty = Some(json),
            "logprobs" => sampling.logprobs = typed(path, value)?,
            "top_logprobs" => sampling.top_logprobs = Some(typed(path, value)?),
            "stop" if value.get().starts_with('"') => sampling.stop.push(string(path, value)?),
            "stop" => self.each("stop", value, |reader, stop| {
                reader.read.sampling.stop.push(string("stop", stop)?);
                Ok(())
            })?,
            "tools" => self.each(path, value, Self::tool)?,
            "functions" => self.each(path, value, |reader, function| reader.function("functions", function))?,
            "tool_choice" => self.read.tool_choice = Some(tool_choice(value)),
            "function_call" => self.read.tool_choice = Some(function_choice(value)),
            "parallel_tool_calls" => self.read.parallel_tools = Some(typed(path, value)?),
            "user" => self.read.user = Some(string(path, value)?),
            "response_format" => match shape(value) {
                Some(shape) => self.read.shape = shape,
                None => self.read.rest.push((name, json)),
            },
            "reasoning_effort" => match string(path, value).ok().and_then(|word| Effort::named(&word)) {
                Some(effort) => self.read.effort = Some(effort),
                None => self.read.rest.push((name, json)),
            },
            _ => self.read.rest.push((name, json)),
        }
        Ok(())
    }

    /// Hands on each item of a list, as many as a conversation may have.
    fn each(
        &mut self,
        path: &str,
        list: &'b RawValue,
        mut take: impl FnMut(&mut Self, &'b RawValue) -> Result<()>,
    ) -> Result<()> {
        let read = items(list.get(), |_, item| {
            self.items += 1;
            if self.items > MAX_ITEMS {
                return Err(Untranslatable::new(path, "has too many items to be translated"));
            }
            take(self, item)
        });
        read.map(drop).map_err(|stopped| match stopped {
            Stopped::NoList => Untranslatable::new(path, "is no list"),
            Stopped::Refused(why) => why,
        })
    }

    fn message(&mut self, raw: &'b RawValue) -> Result<()> {
        let mut message = Message::default();
        for (name, value) in object("messages", raw)? {
            match &*name {
                _ if value.get() == "null" => {}
                "role" => message.role = string("messages.role", value)?,
                "name" => message.name = Some(string("messages.name", value)?),
                "content" => message.content = Some(value),
                "refusal" => message.refusal = Some(string("messages.refusal", value)?),
                "tool_calls" => message.tool_calls = Some(value),
                "tool_call_id" => message.tool_call_id = Some(string("messages.tool_call_id", value)?),
                "function_call" => message.function_call = Some(value),
                // Two words for one thing; where both are there they say the same.
                "reasoning_content" | "reasoning" => match string("messages.reasoning", value) {
                    Ok(text) => message.thought = Some(text),
                    Err(_) => self.read.unread.note("messages", &name),
                },
                _ => self.read.unread.note("messages", &name),
            }
        }
        let mut parts = Vec::new();
        if message.role == "assistant" {
            parts.extend(message.thought.map(|text| Part::Thought { text, signature: None }));
        } else if message.thought.is_some() {
            self.read.unread.note("messages", "reasoning");
        }
        match message.content {
            Some(content) if content.get().starts_with('[') => {
                self.each("messages.content", content, |reader, part| {
                    parts.push(reader.part(part)?);
                    Ok(())
                })?;
            }
            Some(content) => parts.push(Part::Text(string("messages.content", content)?)),
            None => {}
        }
        parts.extend(message.refusal.map(Part::Refusal));
        if let Some(calls) = message.tool_calls {
            self.each("messages.tool_calls", calls, |reader, call| {
                parts.push(reader.tool_call(call)?);
                Ok(())
            })?;
        }
        if let Some(call) = message.function_call {
            let (name, arguments) = self.called("messages.function_call", call)?;
            let id = format!("call_{}", self.calls);
            self.calls += 1;
            self.latest_call.insert(name.clone(), id.clone());
            parts.push(Part::ToolCall { id: id.into(), name, arguments });
        }
        self.say(&message.role, message.name, message.tool_call_id, parts)
    }

    /// Adds what was said to what was said before.
    fn say(
        &mut self,
        role: &str,
        name: Option<Cow<'b, str>>,
        tool_call_id: Option<Cow<'b, str>>,
        parts: Vec<Part<'b>>,
    ) -> Result<()> {
        let turn = match role {
            "system" | "developer" if self.read.turns.is_empty() => {
                self.read.system.extend(parts);
                if name.is_some() {
                    self.read.unread.note("messages", "name");
                }
                return Ok(());
            }
            "system" | "developer" => Turn { role: Role::System, name, parts },
            "assistant" => Turn { role: Role::Assistant, name, parts },
            "tool" => {
                let id = tool_call_id.ok_or_else(|| Untranslatable::new("messages.tool_call_id", "is missing"))?;
                let parts = vec![Part::ToolResult { id, parts, is_error: false }];
                Turn { role: Role::User, name, parts }
            }
            "function" => {
                let called = name.and_then(|name| self.latest_call.get(&name).cloned());
                let id =
                    called.ok_or_else(|| Untranslatable::new("messages.name", "names no function that was called"))?;
                let parts = vec![Part::ToolResult { id: id.into(), parts, is_error: false }];
                Turn { role: Role::User, name: None, parts }
            }
            _ => Turn { role: Role::User, name, parts },
        };
        self.read.turns.push(turn);
        Ok(())
    }

    fn part(&mut self, raw: &'b RawValue) -> Result<Part<'b>> {
        const PATH: &str = "messages.content";
        let all = object(PATH, raw)?;
        let value = |wanted: &str| all.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let kind = value("type").and_then(|kind| string(PATH, kind).ok()).unwrap_or_default();
        let (part, known) = match &*kind {
            "text" => (Part::Text(string("messages.content.text", value("text").unwrap_or(raw))?), "text"),
            "refusal" => {
                (Part::Refusal(string("messages.content.refusal", value("refusal").unwrap_or(raw))?), "refusal")
            }
            "image_url" => (self.image(value("image_url").unwrap_or(raw))?, "image_url"),
            "file" => (self.file(value("file").unwrap_or(raw))?, "file"),
            _ => return Ok(Part::Native(Json(raw))),
        };
        for (name, _) in all.iter().filter(|(name, _)| name != "type" && name != known) {
            self.read.unread.note(PATH, name);
        }
        Ok(part)
    }

    fn image(&mut self, raw: &'b RawValue) -> Result<Part<'b>> {
        let path = "messages.content.image_url";
        let (mut url, mut detail) = (None, None);
        for (name, value) in object(path, raw)? {
            match &*name {
                "url" => url = Some(string(path, value)?),
                "detail" if value.get() != "null" => detail = Some(string(path, value)?),
                _ => self.read.unread.note(path, &name),
            }
        }
        let url = url.ok_or_else(|| Untranslatable::new(path, "has no `url`"))?;
        Ok(Part::Image { source: source(url), detail })
    }

    fn file(&mut self, raw: &'b RawValue) -> Result<Part<'b>> {
        let path = "messages.content.file";
        let (mut found, mut name) = (None, None);
        for (field, value) in object(path, raw)? {
            match &*field {
                "file_data" => found = Some(source(string(path, value)?)),
                "file_id" => found = Some(Source::Id(string(path, value)?)),
                "filename" => name = Some(string(path, value)?),
                _ => self.read.unread.note(path, &field),
            }
        }
        let source = found.ok_or_else(|| Untranslatable::new(path, "has neither `file_data` nor `file_id`"))?;
        Ok(Part::File { source, name })
    }

    fn tool_call(&mut self, raw: &'b RawValue) -> Result<Part<'b>> {
        let path = "messages.tool_calls";
        let (mut id, mut called) = (None, None);
        for (name, value) in object(path, raw)? {
            match &*name {
                "id" => id = Some(string(path, value)?),
                "type" => {}
                "function" => called = Some(self.called(path, value)?),
                "custom" => return Err(Untranslatable::new(path, "has a call of a tool that is no function")),
                _ => self.read.unread.note(path, &name),
            }
        }
        match (id, called) {
            (Some(id), Some((name, arguments))) => Ok(Part::ToolCall { id, name, arguments }),
            _ => Err(Untranslatable::new(path, "has a call without `id` or `function`")),
        }
    }

    /// The name and the arguments of a call.
    fn called(&mut self, path: &str, raw: &'b RawValue) -> Result<(Cow<'b, str>, Cow<'b, str>)> {
        let (mut function, mut arguments) = (None, Cow::default());
        for (name, value) in object(path, raw)? {
            match &*name {
                "name" => function = Some(string(path, value)?),
                "arguments" => arguments = string(path, value)?,
                _ => self.read.unread.note(path, &name),
            }
        }
        let name = function.ok_or_else(|| Untranslatable::new(path, "has a call without `name`"))?;
        Ok((name, arguments))
    }

    fn tool(&mut self, raw: &'b RawValue) -> Result<()> {
        let all = object("tools", raw)?;
        let Some((_, function)) = all.iter().find(|(name, _)| name == "function") else {
            self.read.tools.push(Tool::Native(Json(raw)));
            return Ok(());
        };
        for (name, _) in all.iter().filter(|(name, _)| name != "type" && name != "function") {
            self.read.unread.note("tools", name);
        }
        self.function("tools.function", function)
    }

    fn function(&mut self, path: &str, raw: &'b RawValue) -> Result<()> {
        let (mut function, mut description, mut parameters, mut strict) = (None, None, None, None);
        for (name, value) in object(path, raw)? {
            match &*name {
                _ if value.get() == "null" => {}
                "name" => function = Some(string(path, value)?),
                "description" => description = Some(string(path, value)?),
                "parameters" => parameters = Some(Json(value)),
                "strict" => strict = Some(typed(path, value)?),
                _ => self.read.unread.note(path, &name),
            }
        }
        let name = function.ok_or_else(|| Untranslatable::new(path, "has a function without `name`"))?;
        self.read.tools.push(Tool::Function { name, description, parameters, strict });
        Ok(())
    }
}

/// What one message has.
#[derive(Default)]
struct Message<'b> {
    role: Cow<'b, str>,
    name: Option<Cow<'b, str>>,
    content: Option<&'b RawValue>,
    refusal: Option<Cow<'b, str>>,
    thought: Option<Cow<'b, str>>,
    tool_calls: Option<&'b RawValue>,
    tool_call_id: Option<Cow<'b, str>>,
    function_call: Option<&'b RawValue>,
}

fn tool_choice(value: &RawValue) -> ToolChoice<'_> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        function: Function<'a>,
    }
    #[derive(Deserialize)]
    struct Function<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    match value.get() {
        r#""auto""# => ToolChoice::Auto,
        r#""none""# => ToolChoice::None,
        r#""required""# => ToolChoice::Required,
        text => match serde_json::from_str::<Named<'_>>(text) {
            Ok(named) => ToolChoice::Function(named.function.name),
            Err(_) => ToolChoice::Native(Json(value)),
        },
    }
}

fn function_choice(value: &RawValue) -> ToolChoice<'_> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    match serde_json::from_str::<Named<'_>>(value.get()) {
        Ok(named) => ToolChoice::Function(named.name),
        Err(_) => tool_choice(value),
    }
}

/// What kind of answer is wanted, if every format has that kind.
fn shape(value: &RawValue) -> Option<Shape<'_>> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        json_schema: Option<Schema<'a>>,
    }
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(borrow, default)]
        name: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        description: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        schema: Option<&'a RawValue>,
        #[serde(default)]
        strict: Option<bool>,
    }
    let format: Format<'_> = serde_json::from_str(value.get()).ok()?;
    match (&*format.kind, format.json_schema) {
        ("text", _) => Some(Shape::Text),
        ("json_object", _) => Some(Shape::JsonObject),
        ("json_schema", Some(Schema { name, description, schema, strict })) => {
            Some(Shape::JsonSchema { name, description, schema: schema.map(Json), strict })
        }
        _ => None,
    }
}

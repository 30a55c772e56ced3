//! A Responses request, read for its meaning.
//!
//! Its items are one flat list; here what a model said and called between two turns of others is one turn, and so is what
//! several tools answered. What a model thought is a thought with its signature. What only the provider's own tools did is
//! left to this format, and what stands for something that is stored elsewhere cannot be said in another.

use crate::wire::body::Body;
use crate::wire::conversation::{
    Conversation, Effort, Json, MAX_ITEMS, Part, Role, Shape, Source, Tool, ToolChoice, Turn, Untranslatable,
};
use crate::wire::json::{Fields, Stopped, fields, items};
use crate::wire::responses::namespace::joined;
use crate::wire::responses::request::LOGPROBS;
use crate::wire::values::{object, source, string, typed};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Reads the meaning of a body that [`super::request::read`] has checked.
pub(super) fn read<'b>(format: &'static str, body: &'b Body) -> Result<Conversation<'b>> {
    let text = std::str::from_utf8(body.bytes()).unwrap_or_default();
    let top = fields(text, usize::MAX).map_err(|_| Untranslatable::new("body", "is no JSON object"))?;
    let mut reader = Reader::default();
    reader.read.format = format;
    // The instructions come before all items, wherever in the body they stand.
    for (_, value) in top.iter().filter(|(name, value)| name == "instructions" && value.get() != "null") {
        reader.read.system.push(Part::Text(string("instructions", value)?));
    }
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
}

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

impl<'b> Reader<'b> {
    fn field(&mut self, name: Cow<'b, str>, value: &'b RawValue) -> Result<()> {
        let (path, json) = (&*name, Json(value));
        match path {
            // Said by the gateway itself, whatever the client said; or read before.
            "model" | "models" | "stream" | "max_output_tokens" | "store" | "instructions" | "background" => {}
            "input" if value.get().starts_with('"') => {
                let parts = vec![Part::Text(string(path, value)?)];
                self.read.turns.push(Turn { role: Role::User, name: None, parts });
            }
            "input" => self.each(path, value, Self::item)?,
            "temperature" => self.read.sampling.temperature = Some(json),
            "top_p" => self.read.sampling.top_p = Some(json),
            "top_logprobs" => {
                let top: u64 = typed(path, value)?;
                self.read.sampling.logprobs |= top > 0;
                self.read.sampling.top_logprobs = Some(top).filter(|top| *top > 0);
            }
            "include" => self.each(path, value, |reader, entry| {
                match &*string("include", entry)? {
                    LOGPROBS => reader.read.sampling.logprobs = true,
                    // What it asks for is the thoughts as only their own provider reads them.
                    "reasoning.encrypted_content" => {}
                    _ => reader.read.unread.note("include", entry.get().trim_matches('"')),
                }
                Ok(())
            })?,
            "tools" => self.each(path, value, Self::tool)?,
            "tool_choice" => self.read.tool_choice = Some(tool_choice(value)),
            "parallel_tool_calls" => self.read.parallel_tools = Some(typed(path, value)?),
            "user" => self.read.user = Some(string(path, value)?),
            "reasoning" => self.reasoning(value)?,
            "text" => self.text(value)?,
            "previous_response_id" | "conversation" | "prompt" => {
                return Err(Untranslatable::new(path, "names what only the provider that stored it has"));
            }
            "moderation" => return Err(Untranslatable::new(path, "is a service of one provider")),
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

    fn reasoning(&mut self, value: &'b RawValue) -> Result<()> {
        for (name, value) in object("reasoning", value)? {
            match &*name {
                _ if value.get() == "null" => {}
                "effort" => match string("reasoning.effort", value).ok().and_then(|word| Effort::named(&word)) {
                    Some(effort) => self.read.effort = Some(effort),
                    None => self.read.unread.note("reasoning", &name),
                },
                _ => self.read.unread.note("reasoning", &name),
            }
        }
        Ok(())
    }

    fn text(&mut self, value: &'b RawValue) -> Result<()> {
        for (name, value) in object("text", value)? {
            match (&*name, value.get()) {
                (_, "null") => {}
                ("format", _) => match shape(value) {
                    Some(shape) => self.read.shape = shape,
                    None => return Err(Untranslatable::new("text.format", "is one that only its own format has")),
                },
                _ => self.read.unread.note("text", &name),
            }
        }
        Ok(())
    }

    fn item(&mut self, raw: &'b RawValue) -> Result<()> {
        let all = object("input", raw)?;
        let item = Item(&all, "input");
        let kind = item.kind()?;
        match &*kind {
            "message" => self.message(&item),
            "reasoning" => {
                let thought = self.thought(&item)?;
                self.say(Role::Assistant, thought);
                Ok(())
            }
            "function_call" => {
                let namespace = item.get("namespace").map(|_| item.string("namespace")).transpose()?;
                let (id, name) = (item.string("call_id")?, joined(namespace.as_deref(), item.string("name")?));
                let arguments = item.string("arguments")?;
                self.note_others(&item, &["type", "id", "call_id", "namespace", "name", "arguments", "status"]);
                self.say(Role::Assistant, vec![Part::ToolCall { id, name, arguments }]);
                Ok(())
            }
            "function_call_output" => {
                let id = item.string("call_id")?;
                let parts = match item.get("output") {
                    Some(output) => self.content("input.output", output)?,
                    None => Vec::new(),
                };
                self.note_others(&item, &["type", "id", "call_id", "output", "status"]);
                self.say(Role::User, vec![Part::ToolResult { id, parts, is_error: false }]);
                Ok(())
            }
            "additional_tools" => match item.get("tools") {
                Some(tools) => self.each("input.tools", tools, Self::tool),
                None => Ok(()),
            },
            // What the provider's own tools did, of which the model has told in its answer.
            "web_search_call"
            | "file_search_call"
            | "code_interpreter_call"
            | "image_generation_call"
            | "mcp_list_tools" => {
                self.say(Role::Assistant, vec![Part::Native(Json(raw))]);
                Ok(())
            }
            other => {
                let shown: String = other.chars().take(64).collect();
                Err(Untranslatable::new("input", format!("has an item `{shown}` that only its own format has")))
            }
        }
    }

    fn message(&mut self, item: &Item<'_, 'b>) -> Result<()> {
        let role = item.string("role")?;
        let parts = match item.get("content") {
            Some(content) => self.content("input.content", content)?,
            None => Vec::new(),
        };
        self.note_others(item, &["type", "id", "role", "content", "status"]);
        match &*role {
            "system" | "developer" if self.read.turns.is_empty() => self.read.system.extend(parts),
            "system" | "developer" => self.read.turns.push(Turn { role: Role::System, name: None, parts }),
            "assistant" => self.say(Role::Assistant, parts),
            _ => self.read.turns.push(Turn { role: Role::User, name: None, parts }),
        }
        Ok(())
    }

    /// Adds what a model said, or a tool answered, to the turn that is of the same kind; or begins one.
    fn say(&mut self, role: Role, parts: Vec<Part<'b>>) {
        let continues = |turn: &Turn<'_>| {
            turn.role == role && (role == Role::Assistant || matches!(turn.parts.last(), Some(Part::ToolResult { .. })))
        };
        match self.read.turns.last_mut() {
            Some(turn) if continues(turn) => turn.parts.extend(parts),
            _ => self.read.turns.push(Turn { role, name: None, parts }),
        }
    }

    /// What a model thought: its own words, or the summary of them, each text a part; the signature goes with the first.
    fn thought(&mut self, item: &Item<'_, 'b>) -> Result<Vec<Part<'b>>> {
        let (mut texts, mut signature) = (Vec::new(), None);
        for field in ["content", "summary"] {
            let Some(list) = item.get(field).filter(|_| texts.is_empty()) else { continue };
            self.each("input.summary", list, |_, part| {
                let all = object("input.summary", part)?;
                texts.push(Item(&all, "input.summary").string("text")?);
                Ok(())
            })?;
        }
        if item.get("encrypted_content").is_some() {
            signature = Some(item.string("encrypted_content")?);
        }
        if texts.is_empty() {
            texts.push(Cow::default());
        }
        Ok(texts.into_iter().map(|text| Part::Thought { text, signature: signature.take() }).collect())
    }

    /// The parts of a message, or of what a tool answered.
    fn content(&mut self, path: &str, content: &'b RawValue) -> Result<Vec<Part<'b>>> {
        if content.get().starts_with('"') {
            return Ok(vec![Part::Text(string(path, content)?)]);
        }
        let mut parts = Vec::new();
        self.each(path, content, |reader, raw| {
            parts.push(reader.part(path, raw)?);
            Ok(())
        })?;
        Ok(parts)
    }

    fn part(&mut self, path: &str, raw: &'b RawValue) -> Result<Part<'b>> {
        let all = object(path, raw)?;
        let part = Item(&all, path);
        let (read, known): (_, &[&str]) = match &*part.string("type")? {
            "input_text" | "output_text" | "text" => {
                (Part::Text(part.string("text")?), &["text", "annotations", "logprobs"])
            }
            "refusal" => (Part::Refusal(part.string("refusal")?), &["refusal"]),
            "input_image" => {
                let detail = part.get("detail").map(|_| part.string("detail")).transpose()?;
                (Part::Image { source: part.source(&["image_url"])?, detail }, &["image_url", "file_id", "detail"])
            }
            "input_file" => {
                let name = part.get("filename").map(|_| part.string("filename")).transpose()?;
                let known = &["file_data", "file_url", "file_id", "filename"];
                (Part::File { source: part.source(&["file_data", "file_url"])?, name }, known)
            }
            other => {
                let shown: String = other.chars().take(64).collect();
                return Err(Untranslatable::new(path, format!("has a part `{shown}` that only its own format has")));
            }
        };
        for (name, _) in
            all.iter().filter(|(name, value)| name != "type" && value.get() != "null" && !known.contains(&&**name))
        {
            self.read.unread.note(path, name);
        }
        Ok(read)
    }

    fn note_others(&mut self, item: &Item<'_, 'b>, known: &[&str]) {
        for (name, value) in item.0 {
            if value.get() != "null" && !known.contains(&&**name) {
                self.read.unread.note("input", name);
            }
        }
    }

    fn tool(&mut self, raw: &'b RawValue) -> Result<()> {
        self.tool_of(None, raw)
    }

    /// A tool, which may be one of a namespace.
    fn tool_of(&mut self, namespace: Option<&str>, raw: &'b RawValue) -> Result<()> {
        let all = object("tools", raw)?;
        let tool = Item(&all, "tools");
        match (&*tool.string("type")?, tool.get("tools")) {
            ("function", _) => self.function(joined(namespace, tool.string("name")?), &all),
            ("namespace", Some(tools)) if namespace.is_none() => {
                let name = tool.string("name")?;
                self.each("tools.tools", tools, |reader, raw| reader.tool_of(Some(&name), raw))
            }
            _ => {
                self.read.tools.push(Tool::Native(Json(raw)));
                Ok(())
            }
        }
    }

    fn function(&mut self, name: Cow<'b, str>, all: &Fields<'b>) -> Result<()> {
        let (mut description, mut parameters, mut strict) = (None, None, None);
        for (field, value) in all.iter().filter(|(_, value)| value.get() != "null") {
            match &**field {
                "type" | "name" => {}
                "description" => description = Some(string("tools.description", value)?),
                "parameters" => parameters = Some(Json(value)),
                "strict" => strict = Some(typed("tools.strict", value)?),
                _ => self.read.unread.note("tools", field),
            }
        }
        self.read.tools.push(Tool::Function { name, description, parameters, strict });
        Ok(())
    }
}

/// The fields of an item or a part, and where it stands.
struct Item<'f, 'b>(&'f Fields<'b>, &'f str);

impl<'b> Item<'_, 'b> {
    /// A field that is there and not null.
    fn get(&self, name: &str) -> Option<&'b RawValue> {
        let found = self.0.iter().find(|(field, _)| field == name).map(|(_, value)| *value);
        found.filter(|value| value.get() != "null")
    }

    fn string(&self, name: &'static str) -> Result<Cow<'b, str>> {
        let path = format!("{}.{name}", self.1);
        let value = self.get(name).ok_or_else(|| Untranslatable::new(&path, "is missing"))?;
        string(&path, value)
    }

    /// What kind of item it is, as some need not say.
    fn kind(&self) -> Result<Cow<'b, str>> {
        match self.get("type") {
            None if self.get("role").is_some() => Ok("message".into()),
            None => Ok("item_reference".into()),
            Some(_) => self.string("type"),
        }
    }

    /// Where a picture or document is: at the first of these fields that is there, or with its provider.
    fn source(&self, fields: &[&'static str]) -> Result<Source<'b>> {
        if self.get("file_id").is_some() {
            return Ok(Source::Id(self.string("file_id")?));
        }
        let field = fields.iter().find(|field| self.get(field).is_some());
        let field = field.ok_or_else(|| Untranslatable::new(self.1, "has a picture or file that is nowhere"))?;
        Ok(source(self.string(field)?))
    }
}

fn tool_choice(value: &RawValue) -> ToolChoice<'_> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    match value.get() {
        r#""auto""# => ToolChoice::Auto,
        r#""none""# => ToolChoice::None,
        r#""required""# => ToolChoice::Required,
        text => match serde_json::from_str::<Named<'_>>(text) {
            Ok(named) if named.kind == "function" => ToolChoice::Function(named.name),
            _ => ToolChoice::Native(Json(value)),
        },
    }
}

/// What kind of answer is wanted, if every format has that kind.
fn shape(value: &RawValue) -> Option<Shape<'_>> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        name: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        description: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        schema: Option<&'a RawValue>,
        #[serde(default)]
        strict: Option<bool>,
    }
    let Format { kind, name, description, schema, strict } = serde_json::from_str(value.get()).ok()?;
    match &*kind {
        "text" => Some(Shape::Text),
        "json_object" => Some(Shape::JsonObject),
        "json_schema" => Some(Shape::JsonSchema { name, description, schema: schema.map(Json), strict }),
        _ => None,
    }
}

//! The blocks of which a message's content is made, read for their meaning.

use crate::wire::conversation::{Json, MAX_ITEMS, Part, Source, Unread, Untranslatable};
use crate::wire::json::{Fields, Stopped, items};
use crate::wire::values::{object, string, typed};
use serde_json::value::RawValue;
use std::borrow::Cow;

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

/// What is kept while blocks are read.
#[derive(Default)]
pub(super) struct Blocks {
    /// How many turns, blocks and tools there are.
    items: usize,
    /// Fields that nobody has read.
    pub(super) unread: Unread,
}

impl Blocks {
    /// Hands on each item of a list, as many as a conversation may have.
    pub(super) fn each<'b>(
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

    /// What a string or a list of blocks says.
    pub(super) fn content<'b>(&mut self, path: &str, content: &'b RawValue) -> Result<Vec<Part<'b>>> {
        if content.get().starts_with('"') {
            return Ok(vec![Part::Text(string(path, content)?)]);
        }
        let mut parts = Vec::new();
        self.each(path, content, |blocks, block| blocks.block(path, block, &mut parts))?;
        Ok(parts)
    }

    fn block<'b>(&mut self, path: &str, raw: &'b RawValue, parts: &mut Vec<Part<'b>>) -> Result<()> {
        let block = Block { path, fields: object(path, raw)? };
        let kind = block.text("type")?;
        let known: &[&str] = match &*kind {
            "text" => {
                parts.push(Part::Text(block.text("text")?));
                &["text"]
            }
            "image" => {
                parts.push(Part::Image { source: self.source(path, &block)?, detail: None });
                &["source"]
            }
            "document" => return self.document(path, &block, parts),
            "search_result" => {
                // What was found is to be read, wherever it was found.
                let head = format!("{}\n{}", block.text("title")?, block.text("source")?);
                parts.push(Part::Text(head.into()));
                parts.extend(self.content(path, block.required("content")?)?);
                &["title", "source", "content"]
            }
            "thinking" => {
                let signature = block.value("signature").map(|raw| string(path, raw)).transpose()?;
                let signature = signature.filter(|signature| !signature.is_empty());
                parts.push(Part::Thought { text: block.text("thinking")?, signature });
                &["thinking", "signature"]
            }
            "tool_use" => {
                let (id, name) = (block.text("id")?, block.text("name")?);
                let input = block.required("input")?;
                if !is_json_object(input) {
                    return Err(Untranslatable::new(path, "has a call whose `input` is no object"));
                }
                parts.push(Part::ToolCall { id, name, arguments: input.get().into() });
                &["id", "name", "input"]
            }
            "tool_result" => {
                let content = block.value("content").filter(|content| content.get() != "null");
                let inner = content.map(|content| self.content(path, content)).transpose()?.unwrap_or_default();
                let is_error = block.value("is_error").map(|raw| typed(path, raw)).transpose()?.unwrap_or_default();
                parts.push(Part::ToolResult { id: block.text("tool_use_id")?, parts: inner, is_error });
                &["tool_use_id", "content", "is_error"]
            }
            _ => {
                parts.push(Part::Native(Json(raw)));
                return Ok(());
            }
        };
        self.note_rest(path, &block, known);
        Ok(())
    }

    fn note_rest(&mut self, path: &str, block: &Block<'_, '_>, known: &[&str]) {
        for (name, value) in &block.fields {
            if name != "type" && !known.contains(&&**name) && value.get() != "null" {
                self.unread.note(path, name);
            }
        }
    }

    fn source<'b>(&mut self, path: &str, block: &Block<'_, 'b>) -> Result<Source<'b>> {
        let raw = block.required("source")?;
        let source = Block { path, fields: object(path, raw)? };
        match &*source.text("type")? {
            "base64" => Ok(Source::Data { media_type: source.text("media_type")?, base64: source.text("data")? }),
            "url" => Ok(Source::Url(source.text("url")?)),
            "file" => Ok(Source::Id(source.text("file_id")?)),
            _ => Err(Untranslatable::new(path, "has a source of an unknown type")),
        }
    }

    /// A document that is text, or made of blocks, is what it says.
    fn document<'b>(&mut self, path: &str, block: &Block<'_, 'b>, parts: &mut Vec<Part<'b>>) -> Result<()> {
        let raw = block.required("source")?;
        let source = Block { path, fields: object(path, raw)? };
        let name = block.value("title").filter(|title| title.get() != "null");
        let name = name.map(|title| string(path, title)).transpose()?;
        let kind = source.text("type")?;
        if !matches!(&*kind, "text" | "content") {
            parts.push(Part::File { source: self.source(path, block)?, name });
        } else {
            parts.extend(name.map(Part::Text));
            match &*kind {
                "text" => parts.push(Part::Text(source.text("data")?)),
                _ => parts.extend(self.content(path, source.required("content")?)?),
            }
        }
        self.note_rest(path, block, &["source", "title"]);
        Ok(())
    }
}

/// The fields of a block.
struct Block<'p, 'b> {
    path: &'p str,
    fields: Fields<'b>,
}

impl<'b> Block<'_, 'b> {
    fn value(&self, wanted: &str) -> Option<&'b RawValue> {
        self.fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value)
    }

    fn required(&self, wanted: &str) -> Result<&'b RawValue> {
        let missing = || Untranslatable::new(self.path, format!("has a block without `{wanted}`"));
        self.value(wanted).ok_or_else(missing)
    }

    fn text(&self, wanted: &str) -> Result<Cow<'b, str>> {
        string(&format!("{}.{wanted}", self.path), self.required(wanted)?)
    }
}

/// Whether a value is an object, as its first byte says.
pub(super) fn is_json_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

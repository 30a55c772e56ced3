//! The turns of a conversation, written as messages.
//!
//! The format wants the two sides to speak in turns, the user first, no text that is blank, and the results of tools before
//! all else in the message that follows the calls. So what one side says in a row is one message, and blank texts are left
//! out. The system speaks once, before the conversation; what it says later is said there too.

use crate::wire::conversation::{Conversation, Part, Role, Source, Turn, Untranslatable};
use crate::wire::writing::{Input, LeftOut, Message, input};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeSet;

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

/// Longest name of a tool, and longest id of a call.
const MAX_NAME_BYTES: usize = 64;
/// Longest name of a document that is kept.
const MAX_TITLE_CHARS: usize = 150;

/// What has been written so far.
pub(super) struct Turns<'a> {
    pub(super) messages: Vec<Message<Block<'a>>>,
    pub(super) system: Vec<Block<'a>>,
    /// The tools that were called.
    pub(super) tools_used: BTreeSet<&'a str>,
    pub(super) left_out: LeftOut,
    /// How many documents there are, and the name of the first.
    documents: usize,
    first_title: String,
}

impl<'a> Turns<'a> {
    /// Writes all that was said.
    pub(super) fn written(conversation: &'a Conversation<'a>) -> Result<Self> {
        let mut turns = Self {
            messages: Vec::new(),
            system: Vec::new(),
            tools_used: BTreeSet::new(),
            left_out: LeftOut::new(),
            documents: 0,
            first_title: String::new(),
        };
        turns.system = turns.blocks(&conversation.system)?;
        conversation.turns.iter().try_for_each(|turn| turns.turn(turn))?;
        if turns.messages.is_empty() {
            // There is nobody to answer but the system.
            let system = std::mem::take(&mut turns.system);
            turns.message("user").add(system, Block::is_result);
        }
        turns.check(conversation)?;
        Ok(turns)
    }

    fn check(&self, conversation: &Conversation<'_>) -> Result<()> {
        let no = |why: &str| Err(Untranslatable::new("messages", why));
        if self.system.iter().any(|block| !matches!(block, Block::Text(_))) {
            return no("has something of the system's that is no text");
        }
        for message in &self.messages {
            let has_document = message.blocks().any(|block| matches!(block, Block::Document { .. }));
            if message.blocks().next().is_none() {
                return no("has a message in which nothing is said");
            }
            if has_document && !message.blocks().any(|block| matches!(block, Block::Text(_))) {
                return no("has a file with no text beside it");
            }
        }
        match (self.messages.first(), self.messages.last()) {
            (Some(first), _) if first.role == "assistant" => no("begins with the assistant"),
            (_, Some(last)) if last.role == "assistant" && !conversation.goes_on => {
                no("ends with the assistant, whose words would be gone on with")
            }
            _ => Ok(()),
        }
    }

    fn turn(&mut self, turn: &'a Turn<'a>) -> Result<()> {
        if turn.name.is_some() {
            self.left_out.insert("what one of several speakers is called".into());
        }
        let blocks = self.blocks(&turn.parts)?;
        let role = match turn.role {
            Role::System => {
                if !self.messages.is_empty() {
                    self.left_out.insert("where in the conversation the system speaks".into());
                }
                self.system.extend(blocks);
                return Ok(());
            }
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        // An assistant that said nothing is no turn.
        if !(blocks.is_empty() && role == "assistant") {
            self.message(role).add(blocks, Block::is_result);
        }
        Ok(())
    }

    /// The message in which this side speaks now.
    fn message(&mut self, role: &'static str) -> &mut Message<Block<'a>> {
        if self.messages.last().is_none_or(|last| last.role != role) {
            self.messages.push(Message::of(role));
        }
        let last = self.messages.len() - 1;
        &mut self.messages[last]
    }

    fn blocks(&mut self, parts: &'a [Part<'a>]) -> Result<Vec<Block<'a>>> {
        let mut blocks = Vec::with_capacity(parts.len());
        for part in parts {
            blocks.extend(self.block(part)?);
        }
        Ok(blocks)
    }

    fn block(&mut self, part: &'a Part<'a>) -> Result<Option<Block<'a>>> {
        Ok(Some(match part {
            Part::Text(text) | Part::Refusal(text) if text.trim().is_empty() => return Ok(None),
            Part::Text(text) | Part::Refusal(text) => Block::Text(text),
            Part::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.left_out.insert("how closely an image is to be looked at".into());
                }
                let (media_type, bytes) = data(source, "an image")?;
                Block::Image { format: image_format(media_type)?, source: Bytes { bytes } }
            }
            Part::File { source, name } => {
                let (media_type, bytes) = data(source, "a file")?;
                let format = document_format(media_type)?;
                Block::Document { format, name: self.title(name.as_deref()), source: Bytes { bytes } }
            }
            Part::ToolCall { id, name, arguments } => {
                let odd = || Untranslatable::new("messages", "has a call of a tool whose name is too long or odd");
                let name = plain_name(name).ok_or_else(odd)?;
                self.tools_used.insert(name);
                Block::ToolUse { tool_use_id: plain_id(id), name, input: input(arguments)? }
            }
            Part::ToolResult { id, parts, is_error } => {
                let mut content = self.blocks(parts)?;
                if content.is_empty() {
                    // A failure must say something, and an empty object says nothing.
                    content.push(Block::Json(Input::Nothing {}));
                }
                Block::ToolResult { tool_use_id: plain_id(id), content, status: is_error.then_some("error") }
            }
            Part::Thought { .. } => {
                self.left_out.insert("the model's thoughts".into());
                return Ok(None);
            }
            Part::Native(_) => {
                self.left_out.insert("a part that only its own format has".into());
                return Ok(None);
            }
        }))
    }

    /// A document's name in the letters that the format takes, and one that no other has: all but the first are numbered.
    fn title(&mut self, name: Option<&str>) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' };
        let plain: String = name.unwrap_or_default().chars().take(MAX_TITLE_CHARS).map(plain).collect();
        let words: Vec<&str> = plain.split_ascii_whitespace().collect();
        let mut title = if words.is_empty() { "document".to_owned() } else { words.join(" ") };
        self.documents += 1;
        if self.documents == 1 {
            self.first_title.clone_from(&title);
            return title;
        }
        let number = format!(" ({})", self.documents);
        title.push_str(&number);
        if title == self.first_title {
            title.push_str(&number);
        }
        title
    }
}

/// Data that is here; the format fetches none.
fn data<'a>(source: &'a Source<'a>, what: &str) -> Result<(&'a str, &'a str)> {
    match source {
        Source::Data { media_type, base64 } => Ok((media_type, base64)),
        Source::Url(_) => {
            Err(Untranslatable::new("messages", format!("has {what} at an address, which is not fetched")))
        }
        Source::Id(_) => Err(Untranslatable::new("messages", format!("has {what} that only its provider has"))),
    }
}

fn image_format(media_type: &str) -> Result<&'static str> {
    Ok(match media_type {
        "image/png" => "png",
        "image/jpeg" | "image/jpg" => "jpeg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        _ => return Err(Untranslatable::new("messages", "has an image that is neither PNG, JPEG, GIF nor WebP")),
    })
}

fn document_format(media_type: &str) -> Result<&'static str> {
    let kind = media_type.split(';').next().unwrap_or_default().trim();
    Ok(match kind {
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "text/html" => "html",
        "text/markdown" => "md",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        kind if kind.starts_with("text/") => "txt",
        _ => return Err(Untranslatable::new("messages", "has a file of a type that cannot be sent")),
    })
}

fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

/// A tool's name, if the format takes it.
pub(super) fn plain_name(name: &str) -> Option<&str> {
    is_plain(name).then_some(name)
}

/// An id that the format takes: itself, or a hash of it.
fn plain_id(id: &str) -> Cow<'_, str> {
    match is_plain(id) {
        true => id.into(),
        false => Sha256::digest(id).iter().take(24).map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
}

/// A piece of what is said.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Block<'a> {
    Text(&'a str),
    Image {
        format: &'static str,
        source: Bytes<'a>,
    },
    Document {
        format: &'static str,
        name: String,
        source: Bytes<'a>,
    },
    ToolUse {
        tool_use_id: Cow<'a, str>,
        name: &'a str,
        input: Input<'a>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'static str>,
    },
    Json(Input<'a>),
}

impl Block<'_> {
    fn is_result(&self) -> bool {
        matches!(self, Self::ToolResult { .. })
    }
}

/// Data in base64.
#[derive(Serialize)]
pub(super) struct Bytes<'a> {
    bytes: &'a str,
}

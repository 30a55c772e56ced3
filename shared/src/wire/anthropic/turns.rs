//! The turns of a conversation, written as messages.
//!
//! The format wants the two sides to speak in turns, the user first, and the results of tools to stand before all else in the
//! message that follows the calls. So what one side says in a row is one message, and results go to its front. The system
//! speaks once, before the conversation; what it says later is said there too, for most models take it nowhere else.

use crate::wire::conversation::{Conversation, Json, Part, Role, Source, Turn, Untranslatable};
use crate::wire::writing::{Input, LeftOut, Message, input};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::borrow::Cow;

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

/// What has been written so far.
pub(super) struct Turns<'a> {
    /// Whether it was read from this format, so that what only this format has can be written back.
    is_ours: bool,
    messages: Vec<Message<Block<'a>>>,
    system: Vec<Block<'a>>,
    left_out: LeftOut,
}

impl<'a> Turns<'a> {
    /// Writes all that was said: the messages, what the system says, and what is left out.
    pub(super) fn written(
        conversation: &'a Conversation<'a>,
        is_ours: bool,
    ) -> Result<(Vec<Message<Block<'a>>>, Vec<Block<'a>>, LeftOut)> {
        let mut turns = Self { is_ours, messages: Vec::new(), system: Vec::new(), left_out: LeftOut::new() };
        turns.system = turns.blocks(&conversation.system)?;
        conversation.turns.iter().try_for_each(|turn| turns.turn(turn))?;
        let Self { mut messages, mut system, left_out, .. } = turns;
        if messages.is_empty() {
            // There is nobody to answer but the system.
            messages.push(Message::of("user"));
            messages.iter_mut().for_each(|message| message.add(std::mem::take(&mut system), Block::is_result));
        }
        if messages.iter().any(|message| message.blocks().next().is_none()) {
            return Err(Untranslatable::new("messages", "has a message in which nothing is said"));
        }
        if !is_ours && messages.first().is_some_and(|message| message.role == "assistant") {
            return Err(Untranslatable::new("messages", "begins with the assistant"));
        }
        if !is_ours && !conversation.goes_on && messages.last().is_some_and(|message| message.role == "assistant") {
            return Err(Untranslatable::new("messages", "ends with the assistant, whose words would be gone on with"));
        }
        Ok((messages, system, left_out))
    }

    fn turn(&mut self, turn: &'a Turn<'a>) -> Result<()> {
        if turn.name.is_some() {
            self.left_out.insert("what one of several speakers is called".into());
        }
        let blocks = self.blocks(&turn.parts)?;
        let role = match turn.role {
            Role::System if self.is_ours => "system",
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
        match self.messages.last_mut() {
            Some(last) if last.role == role => last.add(blocks, Block::is_result),
            // An assistant that said nothing is no turn.
            _ if blocks.is_empty() && role == "assistant" => {}
            _ => {
                let mut message = Message::of(role);
                message.add(blocks, Block::is_result);
                self.messages.push(message);
            }
        }
        Ok(())
    }

    fn blocks(&mut self, parts: &'a [Part<'a>]) -> Result<Vec<Block<'a>>> {
        let mut blocks = Vec::with_capacity(parts.len());
        for part in parts {
            blocks.extend(self.block(part)?);
        }
        Ok(blocks)
    }

    fn block(&mut self, part: &'a Part<'a>) -> Result<Option<Block<'a>>> {
        let known = match part {
            // The format refuses an empty text.
            Part::Text(text) | Part::Refusal(text) if text.is_empty() => return Ok(None),
            Part::Text(text) | Part::Refusal(text) => Known::Text { text: Cow::Borrowed(text) },
            Part::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.left_out.insert("how closely an image is to be looked at".into());
                }
                Known::Image { source: self.source("an image", source)? }
            }
            Part::File { source, name } => Known::Document { source: self.document(source)?, title: name.as_deref() },
            Part::ToolCall { id, name, arguments } => {
                Known::ToolUse { id: plain_id(id), name, input: input(arguments)? }
            }
            Part::ToolResult { id, parts, is_error } => Known::ToolResult {
                tool_use_id: plain_id(id),
                content: self.blocks(parts)?,
                is_error: is_error.then_some(true),
            },
            Part::Thought { text, signature: Some(signature) } if self.is_ours => {
                Known::Thinking { thinking: text, signature }
            }
            Part::Thought { .. } => {
                self.left_out.insert("the model's thoughts".into());
                return Ok(None);
            }
            Part::Native(raw) if self.is_ours => return Ok(Some(Block::Native(*raw))),
            Part::Native(_) => {
                self.left_out.insert("a part that only its own format has".into());
                return Ok(None);
            }
        };
        Ok(Some(Block::Known(known)))
    }

    fn source(&self, what: &str, source: &'a Source<'a>) -> Result<WireSource<'a>> {
        match source {
            Source::Url(url) => Ok(WireSource::Url { url }),
            Source::Data { media_type, base64 } => Ok(WireSource::Base64 { media_type, data: base64 }),
            Source::Id(file_id) if self.is_ours => Ok(WireSource::File { file_id }),
            Source::Id(_) => Err(Untranslatable::new("messages", format!("has {what} that only its provider has"))),
        }
    }

    fn document(&self, source: &'a Source<'a>) -> Result<WireSource<'a>> {
        match source {
            Source::Data { media_type, base64 } if media_type.starts_with("text/") => {
                let text = STANDARD.decode(&**base64).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let data = text.ok_or_else(|| Untranslatable::new("messages", "has a file of text that is none"))?;
                Ok(WireSource::Text { media_type: "text/plain", data })
            }
            Source::Data { media_type, .. } if media_type != "application/pdf" => {
                Err(Untranslatable::new("messages", "has a file that is neither PDF nor text"))
            }
            source => self.source("a file", source),
        }
    }
}

/// An id in the letters that the format takes.
fn plain_id(id: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match id {
        "" => "_".into(),
        id if id.chars().all(is_plain) => id.into(),
        id => id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect::<String>().into(),
    }
}

/// What blocks of text say, as the system's words are written; none if there are none.
pub(super) fn texts<'a, 's>(blocks: &'s [Block<'a>]) -> Option<Texts<'s, 'a>> {
    match blocks {
        [] => None,
        [Block::Known(Known::Text { text })] => Some(Texts::One(text)),
        blocks => Some(Texts::Several(blocks)),
    }
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Texts<'s, 'a> {
    One(&'s str),
    Several(&'s [Block<'a>]),
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Block<'a> {
    Known(Known<'a>),
    Native(Json<'a>),
}

impl Block<'_> {
    fn is_result(&self) -> bool {
        matches!(self, Self::Known(Known::ToolResult { .. }))
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Known<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: WireSource<'a>,
    },
    Document {
        source: WireSource<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Input<'a>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum WireSource<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
    File { file_id: &'a str },
    Text { media_type: &'static str, data: String },
}

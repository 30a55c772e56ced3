//! The turns of a conversation, written as contents.
//!
//! The two sides speak in turns, so what one side says in a row is one content. The results of tools stand first in theirs, in
//! the order of the calls that they answer, and name the function, which other formats leave to the call.
//!
//! A model that thinks signs its calls, the first of those that it makes at once, and refuses the calls of the current turn
//! without. A call that it has not signed, or whose signature nobody kept, says so by a word of the documentation; see ADR 36.

use crate::wire::conversation::{Conversation, Part, Role, Source, Turn, Untranslatable};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

/// What is left out, in words for the receipt.
pub(super) type LeftOut = BTreeSet<Cow<'static, str>>;

/// Stands where a call has no signature that can be sent.
pub(super) const UNSIGNED: &str = "skip_thought_signature_validator";

/// Whether a model is of those before the third generation, which think by a number of tokens and sign nothing.
pub(super) fn is_old(model: &str) -> bool {
    let model = model.rsplit_once('/').map_or(model, |(_, name)| name);
    model.starts_with("gemini-2") || model.starts_with("gemini-1")
}

/// What has been written so far.
#[derive(Default)]
pub(super) struct Turns<'a> {
    pub(super) contents: Vec<Content<'a>>,
    pub(super) system: Vec<WirePart<'a>>,
    pub(super) left_out: LeftOut,
    /// The calls by their ids: each one's place among all, and its function. Some clients use an id again in a later turn; then
    /// a result answers the latest.
    calls: HashMap<&'a str, (usize, &'a str)>,
    count: usize,
}

impl<'a> Turns<'a> {
    /// Writes all that was said, for this model.
    pub(super) fn written(conversation: &'a Conversation<'a>, model: &str) -> Result<Self> {
        let mut turns = Self::default();
        turns.system = turns.parts(&conversation.system)?;
        conversation.turns.iter().try_for_each(|turn| turns.turn(turn))?;
        if turns.contents.is_empty() {
            // There is nobody to answer but the system.
            turns.contents.push(Content { role: "user", parts: std::mem::take(&mut turns.system) });
        }
        if turns.system.iter().any(|part| !matches!(part.said, Said::Text(_))) {
            return Err(Untranslatable::new("messages", "has a system that says more than text"));
        }
        turns.check(conversation)?;
        for content in &mut turns.contents {
            content.parts.sort_by_key(|part| part.order);
        }
        if !is_old(model) {
            let ours = conversation.signatures.iter().filter(|signature| signature.model == model);
            turns.sign(&ours.map(|signature| (&*signature.call, &*signature.text)).collect());
        }
        Ok(turns)
    }

    fn check(&self, conversation: &Conversation<'_>) -> Result<()> {
        let wrong = |why: &str| Err(Untranslatable::new("messages", why));
        let is_models = |content: Option<&Content<'_>>| content.is_some_and(|content| content.role == "model");
        if self.contents.iter().any(|content| content.parts.is_empty()) {
            return wrong("has a message in which nothing is said");
        }
        if is_models(self.contents.first()) {
            return wrong("begins with the assistant");
        }
        if is_models(self.contents.last()) && !conversation.goes_on {
            return wrong("ends with the assistant, whose words would be gone on with");
        }
        Ok(())
    }

    fn turn(&mut self, turn: &'a Turn<'a>) -> Result<()> {
        if turn.name.is_some() {
            self.left_out.insert("what one of several speakers is called".into());
        }
        let parts = self.parts(&turn.parts)?;
        let role = match turn.role {
            Role::System => {
                if !self.contents.is_empty() {
                    self.left_out.insert("where in the conversation the system speaks".into());
                }
                self.system.extend(parts);
                return Ok(());
            }
            Role::User => "user",
            Role::Assistant => "model",
        };
        match self.contents.last_mut() {
            Some(last) if last.role == role => last.parts.extend(parts),
            // A model that said nothing is no turn.
            _ if parts.is_empty() && role == "model" => {}
            _ => self.contents.push(Content { role, parts }),
        }
        Ok(())
    }

    fn parts(&mut self, parts: &'a [Part<'a>]) -> Result<Vec<WirePart<'a>>> {
        let mut written = Vec::with_capacity(parts.len());
        for part in parts {
            self.part(part, &mut written)?;
        }
        Ok(written)
    }

    fn part(&mut self, part: &'a Part<'a>, written: &mut Vec<WirePart<'a>>) -> Result<()> {
        let mut order = usize::MAX;
        let said = match part {
            Part::Text(text) | Part::Refusal(text) if text.is_empty() => return Ok(()),
            Part::Text(text) | Part::Refusal(text) => Said::Text(text),
            Part::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.left_out.insert("how closely an image is to be looked at".into());
                }
                data(source, "an image", &["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"])?
            }
            Part::File { source, name } => {
                if name.is_some() {
                    self.left_out.insert("what a file is called".into());
                }
                data(source, "a file", &["application/pdf", "text/"])?
            }
            Part::ToolCall { id, name, arguments } => {
                self.calls.insert(id, (self.count, name));
                self.count += 1;
                Said::FunctionCall { id, name, args: args(arguments)? }
            }
            Part::ToolResult { id, parts, is_error } => {
                let unknown = || Untranslatable::new("messages", "has a result of a tool that was not called");
                let (place, name) = *self.calls.get(&**id).ok_or_else(unknown)?;
                order = place;
                let (texts, shown): (Vec<_>, Vec<_>) = parts.iter().partition(|part| matches!(part, Part::Text(_)));
                for part in shown {
                    self.part(part, written)?;
                }
                let text = |part: &&'a Part<'a>| if let Part::Text(text) = part { Some(&**text) } else { None };
                let text = texts.iter().filter_map(text).collect::<Vec<_>>().join("\n");
                let response = if *is_error { Response::Error(text) } else { Response::Output(text) };
                Said::FunctionResponse { id, name, response }
            }
            Part::Thought { .. } => {
                self.left_out.insert("the model's thoughts".into());
                return Ok(());
            }
            Part::Native(_) => {
                self.left_out.insert("a part that only its own format has".into());
                return Ok(());
            }
        };
        written.push(WirePart { said, thought_signature: None, order });
        Ok(())
    }

    /// Signs the calls of the current turn, of the contents behind the last one in which only the user speaks: as they were
    /// signed, where that is known, and else the first of each content.
    fn sign(&mut self, known: &HashMap<&'a str, &'a str>) {
        let is_answer = |part: &WirePart<'_>| matches!(part.said, Said::FunctionResponse { .. });
        let is_asked = |content: &Content<'_>| content.role == "user" && !content.parts.iter().any(is_answer);
        let begins = self.contents.iter().rposition(is_asked).unwrap_or(0);
        for content in &mut self.contents[begins..] {
            let mut otherwise = Some(UNSIGNED);
            for part in &mut content.parts {
                if let Said::FunctionCall { id, .. } = part.said {
                    part.thought_signature = known.get(id).copied().or(otherwise);
                    otherwise = None;
                }
            }
        }
    }
}

/// A picture or document, which must be of one of these kinds.
fn data<'a>(source: &'a Source<'a>, what: &str, kinds: &[&str]) -> Result<Said<'a>> {
    let wrong = |why: &str| Err(Untranslatable::new("messages", format!("has {what} {why}")));
    match source {
        Source::Url(file_uri) if file_uri.starts_with("https://") => {
            Ok(Said::FileData { mime_type: kind_of(file_uri), file_uri })
        }
        Source::Url(_) => wrong("at an address that is not https"),
        Source::Data { media_type, base64 } if kinds.iter().any(|kind| media_type.starts_with(kind)) => {
            Ok(Said::InlineData { mime_type: media_type, data: base64 })
        }
        Source::Data { .. } => wrong("of a kind that Gemini does not read"),
        Source::Id(_) => wrong("that only its provider has"),
    }
}

/// What stands at an address, as far as its end says.
fn kind_of(address: &str) -> Option<&'static str> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let (_, end) = path.rsplit_once('.')?;
    Some(match &*end.to_ascii_lowercase() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        _ => return None,
    })
}

/// The arguments of a call, which are an object here; many send nothing where there are none.
fn args(arguments: &str) -> Result<Args<'_>> {
    let arguments = arguments.trim_ascii();
    match serde_json::from_str::<&RawValue>(arguments) {
        _ if arguments.is_empty() => Ok(Args::Nothing {}),
        Ok(raw) if raw.get().starts_with('{') => Ok(Args::Json(raw)),
        _ => Err(Untranslatable::new("messages", "has a tool call whose arguments are no JSON object")),
    }
}

/// What one side says.
#[derive(Serialize)]
pub(super) struct Content<'a> {
    role: &'static str,
    parts: Vec<WirePart<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WirePart<'a> {
    #[serde(flatten)]
    said: Said<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<&'a str>,
    /// Where it stands among the parts of its content.
    #[serde(skip)]
    order: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Said<'a> {
    Text(&'a str),
    InlineData {
        mime_type: &'a str,
        data: &'a str,
    },
    FileData {
        #[serde(skip_serializing_if = "Option::is_none")]
        mime_type: Option<&'static str>,
        file_uri: &'a str,
    },
    FunctionCall {
        id: &'a str,
        name: &'a str,
        args: Args<'a>,
    },
    FunctionResponse {
        id: &'a str,
        name: &'a str,
        response: Response,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Args<'a> {
    Json(&'a RawValue),
    Nothing {},
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Response {
    Output(String),
    Error(String),
}

//! The meaning of a request, in no format's words; made only where a request is translated from one format into another.
//!
//! Every leaf borrows from the body, so that a translation costs one more parse and one write. What only one format has is
//! kept beside the meaning ([`Part::Native`], [`Tool::Native`], [`Conversation::rest`]): a writer of another format leaves
//! it out and says so, or says that the request cannot be translated. Sampling parameters stand here as they were
//! written, for a float would bend them.

use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// Most turns, parts and tools of a conversation that is translated: what is read takes some 100 bytes for each.
pub const MAX_ITEMS: usize = 65_536;
/// Most names of fields that are remembered as unread.
const MAX_UNREAD: usize = 16;

/// A JSON value as it stands in a body.
#[derive(Clone, Copy, Serialize)]
#[serde(transparent)]
pub struct Json<'b>(pub &'b RawValue);

impl PartialEq for Json<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

/// What a request means.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation<'b> {
    /// The name of the format that it was read from, whose native parts and `rest` these are.
    pub format: &'static str,
    /// What stands before the first turn.
    pub system: Vec<Part<'b>>,
    /// What was said, in order.
    pub turns: Vec<Turn<'b>>,
    /// What the model may call.
    pub tools: Vec<Tool<'b>>,
    /// Whether it has to, if the client says.
    pub tool_choice: Option<ToolChoice<'b>>,
    /// Whether it may call several at once, if the client says.
    pub parallel_tools: Option<bool>,
    /// How the answer is drawn.
    pub sampling: Sampling<'b>,
    /// What kind of answer is wanted.
    pub shape: Shape<'b>,
    /// How much the model is to think, if the client says.
    pub effort: Option<Effort>,
    /// Which of the client's users asks.
    pub user: Option<Cow<'b, str>>,
    /// Top-level fields that only this request's format has.
    pub rest: Vec<(Cow<'b, str>, Json<'b>)>,
    /// Fields further down that nobody has read, by their paths without places.
    pub unread: Unread,
    /// What models have said of the calls that they made, as far as it is known still.
    pub signatures: &'b [Signature],
    /// Whether the model's last words are the beginning of its answer, with which it goes on.
    pub goes_on: bool,
}

/// What a model wants back with a call that it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The call's id.
    pub call: String,
    /// The model that made it, by its provider's name for it. To any other it means nothing.
    pub model: String,
    /// What goes back.
    pub text: String,
}

/// Whose the sealed thoughts in a request are, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub struct Makers<'a> {
    /// The model that the request is for, by its name in the catalog.
    pub model: &'a str,
    /// What each thought is known by ([`thought_id`]), and the model that made it; sorted.
    pub known: &'a [(String, String)],
}

impl Makers<'_> {
    /// Nothing is known.
    pub const NONE: Makers<'static> = Makers { model: "", known: &[] };

    /// Whether another model made the thought that is sealed with this text. Its provider would refuse the request for it.
    #[must_use]
    pub fn are_others(&self, seal: &str) -> bool {
        let maker = |id: String| self.known.binary_search_by(|(known, _)| known.cmp(&id)).ok();
        !self.known.is_empty() && maker(thought_id(seal)).is_some_and(|place| self.known[place].1 != self.model)
    }

    /// Whether another model made one of them.
    #[must_use]
    pub fn have_others(&self) -> bool {
        self.known.iter().any(|(_, maker)| maker != self.model)
    }
}

/// What a thought is known by that is sealed with this text: Anthropic's signature, OpenAI's encrypted content.
#[must_use]
pub fn thought_id(seal: &str) -> String {
    format!("thought {:x}", Sha256::digest(seal))
}

/// One side's turn to speak.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn<'b> {
    /// Whose.
    pub role: Role,
    /// What one of several speakers of the same role is called.
    pub name: Option<Cow<'b, str>>,
    /// What was said.
    pub parts: Vec<Part<'b>>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The application's author, in the middle of the conversation.
    System,
    /// The user, and the tools' results.
    User,
    /// The model.
    Assistant,
}

/// A piece of what was said.
#[derive(Debug, Clone, PartialEq)]
pub enum Part<'b> {
    /// Text.
    Text(Cow<'b, str>),
    /// A picture.
    Image {
        /// Where it is.
        source: Source<'b>,
        /// How closely it is to be looked at, in the client's word.
        detail: Option<Cow<'b, str>>,
    },
    /// A document.
    File {
        /// Where it is.
        source: Source<'b>,
        /// What it is called.
        name: Option<Cow<'b, str>>,
    },
    /// The model calls a tool.
    ToolCall {
        /// By which its result is known.
        id: Cow<'b, str>,
        /// The tool.
        name: Cow<'b, str>,
        /// JSON text, as far as the model wrote any.
        arguments: Cow<'b, str>,
    },
    /// What a tool answered.
    ToolResult {
        /// Which call it answers.
        id: Cow<'b, str>,
        /// The answer.
        parts: Vec<Part<'b>>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// What the model thought before it answered.
    Thought {
        /// In words, as far as the provider has them.
        text: Cow<'b, str>,
        /// By which its provider knows it again.
        signature: Option<Cow<'b, str>>,
    },
    /// The model refused, in these words.
    Refusal(Cow<'b, str>),
    /// What only its own format knows.
    Native(Json<'b>),
}

/// Where a picture or document is.
#[derive(Debug, Clone, PartialEq)]
pub enum Source<'b> {
    /// At this address.
    Url(Cow<'b, str>),
    /// Here.
    Data {
        /// What it is, such as `image/png`.
        media_type: Cow<'b, str>,
        /// It, in base64.
        base64: Cow<'b, str>,
    },
    /// With its provider, under this id.
    Id(Cow<'b, str>),
}

/// What a model may call.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool<'b> {
    /// A function of the client's.
    Function {
        /// Its name.
        name: Cow<'b, str>,
        /// What it is for.
        description: Option<Cow<'b, str>>,
        /// The JSON schema of its arguments.
        parameters: Option<Json<'b>>,
        /// Whether the arguments must fit the schema.
        strict: Option<bool>,
    },
    /// What only its own format knows.
    Native(Json<'b>),
}

/// Whether a tool is to be called.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolChoice<'b> {
    /// As the model likes.
    Auto,
    /// None.
    None,
    /// One at least.
    Required,
    /// This one.
    Function(Cow<'b, str>),
    /// What only its own format knows.
    Native(Json<'b>),
}

/// How an answer is drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling<'b> {
    /// How many answers.
    pub n: Option<u64>,
    /// A number.
    pub temperature: Option<Json<'b>>,
    /// A number.
    pub top_p: Option<Json<'b>>,
    /// An integer.
    pub top_k: Option<Json<'b>>,
    /// An integer.
    pub seed: Option<Json<'b>>,
    /// A number.
    pub presence_penalty: Option<Json<'b>>,
    /// A number.
    pub frequency_penalty: Option<Json<'b>>,
    /// Texts that end the answer.
    pub stop: Vec<Cow<'b, str>>,
    /// Whether the log-probabilities of its tokens are wanted.
    pub logprobs: bool,
    /// Of how many other tokens too.
    pub top_logprobs: Option<u64>,
}

/// What kind of answer is wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Shape<'b> {
    /// Any text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// What it is called.
        name: Option<Cow<'b, str>>,
        /// What it is for.
        description: Option<Cow<'b, str>>,
        /// The schema.
        schema: Option<Json<'b>>,
        /// Whether the answer must fit it.
        strict: Option<bool>,
    },
}

/// How much a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as it can.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Very much.
    VeryHigh,
    /// As much as it can.
    Max,
}

impl Effort {
    /// All of them, with the word that most formats have for each.
    const WORDS: [(Self, &'static str); 7] = [
        (Self::None, "none"),
        (Self::Minimal, "minimal"),
        (Self::Low, "low"),
        (Self::Medium, "medium"),
        (Self::High, "high"),
        (Self::VeryHigh, "xhigh"),
        (Self::Max, "max"),
    ];

    /// The effort that this word names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find_map(|(effort, known)| (known == word).then_some(effort))
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::WORDS.into_iter().find_map(|(effort, word)| (effort == self).then_some(word)).unwrap_or_default()
    }
}

/// Fields that nobody has read: few names, however often each came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread(BTreeSet<String>);

impl Unread {
    /// Notes a field of what stands at `path`.
    pub fn note(&mut self, path: &str, field: &str) {
        if self.0.len() < MAX_UNREAD {
            let shown: String = field.chars().take(64).collect();
            self.0.insert(format!("{path}.{shown}"));
        }
    }

    /// Their paths.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// A request that another format cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct Untranslatable {
    /// The path of the field that is to blame.
    pub field: String,
    /// Why, as the rest of a sentence that begins with the field.
    pub why: String,
}

impl Untranslatable {
    /// That `field` cannot be translated.
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

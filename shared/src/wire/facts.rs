//! What the gateway needs to know of a request, in no format's words.
//!
//! The pipeline decides, estimates, limits, judges and bills by this and by nothing else of a request: a format is read
//! into it once, when the request comes, and no stage ever asks which format that was.

use crate::money::{CacheWrite, ServiceTier};
use crate::wire::context::ContextPlaces;
use crate::wire::conversation::Effort;
use std::ops::Range;
use std::sync::Arc;

/// What a model can do, or what a request needs of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Calls functions.
    pub tools: bool,
    /// Takes the order to call one.
    pub forced_tools: bool,
    /// Holds its answer to a JSON schema.
    pub json_schema: bool,
    /// Reads images.
    pub vision: bool,
    /// Reads documents.
    pub documents: bool,
    /// Can be told how much to think.
    pub reasoning: bool,
    /// How much it can be told to think.
    pub efforts: Efforts,
    /// Takes parameters of sampling, such as a temperature.
    pub sampling: bool,
    /// Reports the log probability of each token.
    pub logprobs: bool,
    /// Goes on from the beginning of an answer; what the continuation of a cut stream needs.
    pub prefill: bool,
}

impl Capabilities {
    /// Everything, as the simulated models can.
    pub const ALL: Self = Self {
        tools: true,
        forced_tools: true,
        json_schema: true,
        vision: true,
        documents: true,
        reasoning: true,
        efforts: Efforts::ALL,
        sampling: true,
        logprobs: true,
        prefill: true,
    };

    /// Each by its name in the configuration, with whether it is there.
    #[must_use]
    pub fn named(self) -> [(&'static str, bool); 9] {
        [
            ("tools", self.tools),
            ("forced_tools", self.forced_tools),
            ("json_schema", self.json_schema),
            ("vision", self.vision),
            ("documents", self.documents),
            ("reasoning", self.reasoning),
            ("sampling", self.sampling),
            ("logprobs", self.logprobs),
            ("prefill", self.prefill),
        ]
    }

    /// The first capability in `needed` that is missing here, by its name in the configuration.
    #[must_use]
    pub fn lacks(self, needed: Self) -> Option<&'static str> {
        let missing = self.named().into_iter().zip(needed.named()).find(|((_, has), (_, needs))| *needs && !has);
        let efforts = (!self.efforts.has(needed.efforts)).then_some("efforts");
        missing.map(|((name, _), _)| name).or(efforts)
    }
}

/// A set of words for how much a model is to think.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Efforts(u8);

impl Efforts {
    /// Every word.
    pub const ALL: Self = Self(u8::MAX);

    /// All of these.
    #[must_use]
    pub fn has(self, these: Self) -> bool {
        self.0 & these.0 == these.0
    }

    /// What a request needs that says this word: it alone. A word that nobody knows is left to the provider.
    #[must_use]
    pub fn named(word: &str) -> Self {
        Effort::named(word).map_or(Self::default(), |effort| Self::default().and(effort))
    }

    /// Those and this.
    #[must_use]
    pub fn and(self, effort: Effort) -> Self {
        Self(self.0 | 1 << effort as u8)
    }
}

/// What kind of answer the client wants.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerFormat {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that fits this schema, as it stands in the body: a tree of it would be many times its size, and is made only
    /// where an answer is judged.
    JsonSchema(Arc<str>),
}

/// What is to be embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inputs {
    /// How many texts.
    pub count: usize,
    /// How many tokens they have together, where the client sends tokens and no text.
    pub tokens: Option<u64>,
    /// How many of these the longest has; 0 where texts are sent.
    pub longest_tokens: u64,
}

/// What the pipeline knows of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// `auto`, a tier, a catalog name or an alias; empty where only `models` names any.
    pub model: Arc<str>,
    /// Further names, in order of preference.
    pub models: Vec<Arc<str>>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a stream is to end with its usage.
    pub include_usage: bool,
    /// How many answers are wanted.
    pub n: u64,
    /// The most tokens that one answer may have, if the client says.
    pub max_output_tokens: Option<u64>,
    /// Whether the client has set words that end an answer, before its model would.
    pub has_stops: bool,
    /// The sampling temperature, if the client says.
    pub temperature: Option<f64>,
    /// What it asks its provider to write into the cache of prompts.
    pub cache_write: CacheWrite,
    /// The service tier that it asks for.
    pub service_tier: Option<ServiceTier>,
    /// What a model must be able to do to serve it.
    pub needs: Capabilities,
    /// The path of the first field that changes what the provider bills at, if there is one; see
    /// [`crate::tenant::TenantSettings`].
    pub paid_extra: Option<Box<str>>,
    /// The path of the first field that names what one provider has stored or runs, if there is one: such a request goes to
    /// the one model that it names, and its answer is remembered for nobody.
    pub provider_bound: Option<Box<str>>,
    /// Items that are named and not carried: each one's name, and where in the body it should stand.
    pub references: Vec<(Box<str>, Range<usize>)>,
    /// Whether a later request may name the items of the answer.
    pub keeps_items: bool,
    /// What kind of answer is wanted.
    pub answer_format: AnswerFormat,
    /// What is to be embedded, where vectors are wanted and nothing is to be generated.
    pub inputs: Option<Inputs>,
    /// How many messages there are.
    pub messages: usize,
    /// Whether the last of them is a tool's result: then there may be nothing left to say.
    pub is_after_tool: bool,
    /// How many images there are.
    pub images: usize,
    /// Bytes of the images that stand in the body itself.
    pub image_bytes: usize,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// The text of the last message of the user that has one.
    pub prompt: String,
    /// Where it and the conversation before it stand in the body; [`crate::wire::request::Request::context`] reads that.
    pub context: ContextPlaces,
}

impl Facts {
    /// Notes a field that changes what the provider bills at.
    pub(crate) fn note_paid_extra(&mut self, path: &str) {
        self.paid_extra.get_or_insert_with(|| path.into());
    }

    /// Whether a model that can do this knows how much it is to think, as far as the request says.
    #[must_use]
    pub fn effort_is_known(&self, capabilities: Capabilities) -> bool {
        let Capabilities { reasoning, efforts, .. } = self.needs;
        capabilities.lacks(Capabilities { reasoning, efforts, ..Capabilities::default() }).is_none()
    }

    /// Notes what one provider alone has, and no model of another may be asked for.
    pub(crate) fn note_provider_bound(&mut self, path: &str) {
        self.provider_bound.get_or_insert_with(|| path.into());
    }
}

impl Default for Facts {
    /// What is known of a request that says nothing yet: one answer, of any text.
    fn default() -> Self {
        Self {
            model: "".into(),
            models: Vec::new(),
            stream: false,
            include_usage: false,
            n: 1,
            max_output_tokens: None,
            has_stops: false,
            temperature: None,
            cache_write: CacheWrite::Unasked,
            service_tier: None,
            needs: Capabilities::default(),
            paid_extra: None,
            provider_bound: None,
            references: Vec::new(),
            keeps_items: false,
            answer_format: AnswerFormat::Text,
            inputs: None,
            messages: 0,
            is_after_tool: false,
            images: 0,
            image_bytes: 0,
            body_bytes: 0,
            prompt: String::new(),
            context: ContextPlaces::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_that_is_missing_is_named() {
        let none = Capabilities::default();
        for (needed, name) in [
            (Capabilities { tools: true, ..none }, "tools"),
            (Capabilities { json_schema: true, ..none }, "json_schema"),
            (Capabilities { forced_tools: true, ..none }, "forced_tools"),
            (Capabilities { vision: true, ..none }, "vision"),
            (Capabilities { documents: true, ..none }, "documents"),
            (Capabilities { reasoning: true, ..none }, "reasoning"),
            (Capabilities { efforts: Efforts::default().and(Effort::Low), ..none }, "efforts"),
            (Capabilities { sampling: true, ..none }, "sampling"),
            (Capabilities { logprobs: true, ..none }, "logprobs"),
            (Capabilities { prefill: true, ..none }, "prefill"),
        ] {
            assert_eq!((none.lacks(needed), needed.lacks(needed)), (Some(name), None));
        }
    }

    #[test]
    fn an_effort_is_lacked_unless_it_is_listed() {
        let of = |efforts: &[Effort]| efforts.iter().fold(Efforts::default(), |set, effort| set.and(*effort));
        let some = of(&[Effort::Low, Effort::High]);
        assert!(some.has(of(&[Effort::High])) && some.has(Efforts::default()) && Efforts::ALL.has(some));
        assert!(!some.has(of(&[Effort::Medium])) && !some.has(of(&[Effort::Low, Effort::Max])));
    }
}

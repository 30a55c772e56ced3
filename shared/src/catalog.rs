//! What can answer: models, the tiers that list them, and the names under which a client may ask for either.
//!
//! Every name a client can send is one entry of one map, so a name means one thing (the configuration refuses
//! collisions) and resolving is one look-up. Models sit behind `Arc`: a candidate list is made for each request and
//! must not copy them. The simulated provider's names are the exception: `sim/slow-2000` and its like are too many to
//! list, so they are parsed when they are used, within bounds. No name panics; an unknown one is `None` (a 404).
//!
//! No request field reaches a provider's address or key through this file (T4): a model only names its provider.

pub mod audit;

use crate::money::{Price, RatesNusdPerMillion};
pub use crate::wire::facts::{Capabilities, Efforts};
use crate::wire::format::Spoken;
use std::collections::HashMap;
use std::sync::Arc;

/// The name that lets the gateway choose.
pub const AUTO: &str = "auto";

/// What the names of the simulated provider's models begin with.
pub const SIMULATED_PREFIX: &str = "sim/";

/// How long one attempt may wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect_ms: u64,
    /// From sending the request to the head of a streamed answer; `None` is as long as for its first token.
    pub head_ms: Option<u64>,
    /// From sending the request to the answer's first token.
    pub first_token_ms: u64,
    /// Between two pieces of a stream (A4).
    pub idle_ms: u64,
    /// For the whole attempt.
    pub total_ms: u64,
}

/// The wire format in which a model is called; a provider may have more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// Google's generateContent.
    GenerateContent,
    /// OpenAI's embeddings: such a model makes vectors and generates nothing.
    Embeddings,
    /// Bedrock's Converse.
    Converse,
}

impl Api {
    /// All of them, with the configuration's word for each.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("chat", Self::Chat),
        ("responses", Self::Responses),
        ("messages", Self::Messages),
        ("generate_content", Self::GenerateContent),
        ("converse", Self::Converse),
        ("embeddings", Self::Embeddings),
    ];

    /// The configuration's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::WORDS.into_iter().find_map(|(word, api)| (api == self).then_some(word)).unwrap_or_default()
    }
}

/// One model that a provider serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The name that clients use, such as `groq/llama-3.3-70b`.
    pub name: Arc<str>,
    /// The provider that serves it, by its name in the configuration.
    pub provider: Arc<str>,
    /// The name that the provider knows.
    pub provider_model: Arc<str>,
    /// The format in which it is called.
    pub api: Api,
    /// What it charges.
    pub price: Price,
    /// The window that input and output share.
    pub context_tokens: u64,
    /// The longest answer that a request may allow.
    pub max_output_tokens: u64,
    /// The longest answer when the client sets no bound; what the hold is made for.
    pub default_max_output_tokens: u64,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The vectors that it makes, where that is what it does.
    pub vectors: Option<Vectors>,
    /// How long an attempt at it may take.
    pub timeouts: Timeouts,
    /// Where all this was read.
    pub origin: Origin,
}

/// The vectors that a model makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vectors {
    /// What they are called: those of the same name and length can be compared, whoever made them (ADR 37).
    pub name: Arc<str>,
    /// How long they are, unless a request asks for shorter ones.
    pub dimensions: u64,
    /// Whether a text may be sent as tokens of OpenAI's tokenizer.
    pub takes_tokens: bool,
    /// Whether they may be asked for in base64.
    pub gives_base64: bool,
}

impl Vectors {
    /// Whether vectors of both can be compared.
    #[must_use]
    pub fn are_like(&self, other: &Self) -> bool {
        self.name == other.name && self.dimensions == other.dimensions
    }
}

/// Where the figures of a model come from, and until when they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Who says so.
    pub source: Option<Arc<str>>,
    /// When that was written or checked: the beginning of a day, in Unix milliseconds.
    pub as_of_ms: Option<u64>,
    /// From when on its provider no longer serves it.
    pub retires_ms: Option<u64>,
}

/// An ordered list of models that are fit for one class of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Its name, such as `cheap`.
    pub name: Arc<str>,
    /// Its place among the tiers: 0 is the cheapest, and each next one is stronger.
    pub strength: usize,
    /// Its models in the configured order; never empty.
    pub models: Vec<Arc<Model>>,
}

/// What a requested name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The gateway chooses the tier.
    Auto,
    /// The models of a tier.
    Tier(Arc<Tier>),
    /// This model only.
    Model(Arc<Model>),
}

/// What a simulated model does, as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// `cheap`: answers as a small model would.
    Cheap,
    /// `reasoning`: answers as a large model would, and thinks first.
    Reasoning,
    /// `fail-N`: N percent of the calls answer 500.
    Fail {
        /// 0 to 100.
        percent: u8,
    },
    /// `slow-N`: the first token takes N milliseconds.
    Slow {
        /// 0 to 600 000.
        first_token_ms: u64,
    },
    /// `unsure`: an answer that should be upgraded.
    Unsure,
    /// `429`: every call is rate limited.
    RateLimited,
    /// `cut`: the answer ends before it is complete.
    Cut,
    /// `stall`: the answer begins and goes silent.
    Stall,
}

impl Behaviour {
    /// Reads a simulated model's name without its `sim/`; `None` where no such model exists.
    ///
    /// A number has one spelling (`fail-50`, not `fail-050`), so that one behaviour is one model in statistics.
    pub fn parse(name: &str) -> Option<Self> {
        let number = |prefix: &str, max: u64| {
            let digits = name.strip_prefix(prefix)?;
            let value: u64 = digits.parse().ok()?;
            (value <= max && value.to_string() == digits).then_some(value)
        };
        match name {
            "cheap" => Some(Self::Cheap),
            "reasoning" => Some(Self::Reasoning),
            "unsure" => Some(Self::Unsure),
            "429" => Some(Self::RateLimited),
            "cut" => Some(Self::Cut),
            "stall" => Some(Self::Stall),
            _ => {
                let percent = number("fail-", 100).and_then(|percent| u8::try_from(percent).ok());
                let first_token_ms = number("slow-", 600_000);
                percent
                    .map(|percent| Self::Fail { percent })
                    .or(first_token_ms.map(|first_token_ms| Self::Slow { first_token_ms }))
            }
        }
    }

    /// Prices that differ between the two tiers and are never zero, so that a demonstration shows real sums.
    fn price(self) -> RatesNusdPerMillion {
        match self {
            Self::Reasoning => RatesNusdPerMillion {
                cached_input: 500_000_000,
                ..RatesNusdPerMillion::of(2_000_000_000, 8_000_000_000)
            },
            Self::Cheap
            | Self::Fail { .. }
            | Self::Slow { .. }
            | Self::Unsure
            | Self::RateLimited
            | Self::Cut
            | Self::Stall => {
                RatesNusdPerMillion { cached_input: 50_000_000, ..RatesNusdPerMillion::of(100_000_000, 400_000_000) }
            }
        }
    }
}

/// The provider of the `sim/…` models.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// Its name in the configuration.
    pub provider: Arc<str>,
    /// The timeouts of its models.
    pub timeouts: Timeouts,
}

impl Simulated {
    /// The model of a name such as `sim/slow-2000`, if there is one.
    pub fn model(&self, name: &str) -> Option<Model> {
        let provider_model = name.strip_prefix(SIMULATED_PREFIX)?;
        let behaviour = Behaviour::parse(provider_model)?;
        Some(Model {
            name: name.into(),
            provider: self.provider.clone(),
            provider_model: provider_model.into(),
            api: Api::Chat,
            price: behaviour.price().into(),
            context_tokens: 131_072,
            max_output_tokens: 16_384,
            default_max_output_tokens: 4_096,
            capabilities: Capabilities::ALL,
            vectors: None,
            timeouts: self.timeouts,
            origin: Origin::default(),
        })
    }
}

/// Every model, tier and alias that a client may name.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The models in the order of the file, then the simulated ones that a tier or an alias names.
    pub models: Vec<Arc<Model>>,
    /// The tiers, cheapest first.
    pub tiers: Vec<Arc<Tier>>,
    /// The other names, each with the name that it stands for.
    pub aliases: Vec<(Arc<str>, Arc<str>)>,
    /// Models and aliases of the configuration whose provider has no key here, each with that provider.
    pub unserved: Vec<(Arc<str>, Arc<str>)>,
    by_name: HashMap<Arc<str>, Target>,
    simulated: Option<Simulated>,
    /// The format that each provider speaks where a model is called so.
    formats: Vec<(Arc<str>, Api, &'static dyn Spoken)>,
}

impl Catalog {
    /// Notes which format each provider speaks where a model is called so.
    pub fn note_formats(&mut self, formats: impl Iterator<Item = (Arc<str>, Api, &'static dyn Spoken)>) {
        self.formats = formats.collect();
    }

    /// The format in which a model's provider is called for it, if there is such a provider.
    #[must_use]
    pub fn format_of(&self, model: &Model) -> Option<&'static dyn Spoken> {
        let mut formats = self.formats.iter();
        formats.find(|(provider, api, _)| *provider == model.provider && *api == model.api).map(|(.., format)| *format)
    }

    /// Builds the catalog; `tiers` are ordered from the cheapest to the strongest, each with its models.
    ///
    /// Of two things with the same name the first counts, in the order tiers, models, aliases; an alias of something
    /// that is not here is unknown. The configuration lets neither through.
    pub fn new(
        models: Vec<Arc<Model>>,
        tiers: Vec<(Arc<str>, Vec<Arc<Model>>)>,
        aliases: Vec<(Arc<str>, Arc<str>)>,
        simulated: Option<Simulated>,
    ) -> Self {
        let tiers: Vec<Arc<Tier>> = tiers
            .into_iter()
            .enumerate()
            .map(|(strength, (name, models))| Arc::new(Tier { name, strength, models }))
            .collect();
        let mut by_name = HashMap::from([(Arc::from(AUTO), Target::Auto)]);
        for tier in &tiers {
            by_name.entry(tier.name.clone()).or_insert_with(|| Target::Tier(tier.clone()));
        }
        for model in &models {
            by_name.entry(model.name.clone()).or_insert_with(|| Target::Model(model.clone()));
        }
        for (name, stands_for) in &aliases {
            if let Some(target) = by_name.get(stands_for).cloned() {
                by_name.entry(name.clone()).or_insert(target);
            }
        }
        Self { models, tiers, aliases, unserved: Vec::new(), by_name, simulated, formats: Vec::new() }
    }

    /// Every name that a client may use, but for those that the simulated provider makes up.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let tiers = self.tiers.iter().map(|tier| &*tier.name);
        let models = self.models.iter().map(|model| &*model.name);
        [AUTO].into_iter().chain(tiers).chain(models).chain(self.aliases.iter().map(|(name, _)| &**name))
    }

    /// What a requested name stands for; `None` for a name that nobody gave.
    pub fn resolve(&self, name: &str) -> Option<Target> {
        let simulated = || Some(Target::Model(Arc::new(self.simulated.as_ref()?.model(name)?)));
        self.by_name.get(name).cloned().or_else(simulated)
    }

    /// A model that makes vectors, and after it all others that make the same.
    #[must_use]
    pub fn with_its_like(&self, model: &Arc<Model>) -> Vec<Arc<Model>> {
        let is_like = |other: &&Arc<Model>| {
            let both = model.vectors.as_ref().zip(other.vectors.as_ref());
            other.name != model.name && both.is_some_and(|(own, others)| own.are_like(others))
        };
        std::iter::once(model).chain(self.models.iter().filter(is_like)).cloned().collect()
    }

    /// The tier of this name.
    pub fn tier(&self, name: &str) -> Option<&Arc<Tier>> {
        self.tiers.iter().find(|tier| &*tier.name == name)
    }

    /// The next stronger tier; where an answer of `tier` that will not do is upgraded to.
    pub fn stronger_than(&self, tier: &Tier) -> Option<&Arc<Tier>> {
        self.tiers.get(tier.strength + 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::money::Usage;
    use proptest::prelude::*;

    const TIMEOUTS: Timeouts = Timeouts { connect_ms: 1, head_ms: None, first_token_ms: 2, idle_ms: 3, total_ms: 4 };

    fn simulated() -> Simulated {
        Simulated { provider: "sim".into(), timeouts: TIMEOUTS }
    }

    fn catalog(simulated_provider: Option<Simulated>) -> Catalog {
        let model = |name: &str| {
            let model = simulated().model("sim/cheap").unwrap();
            Arc::new(Model { name: name.into(), ..model })
        };
        let (small, large) = (model("a/small"), model("a/large"));
        Catalog::new(
            vec![small.clone(), large.clone()],
            vec![("cheap".into(), vec![small]), ("reasoning".into(), vec![large.clone()])],
            vec![
                ("gpt-4".into(), "a/large".into()),
                ("small".into(), "cheap".into()),
                ("broken".into(), "nowhere".into()),
            ],
            simulated_provider,
        )
    }

    fn resolved(catalog: &Catalog, name: &str) -> String {
        match catalog.resolve(name) {
            None => "unknown".to_owned(),
            Some(Target::Auto) => "auto".to_owned(),
            Some(Target::Tier(tier)) => format!("tier {}", tier.name),
            Some(Target::Model(model)) => format!("model {}", model.name),
        }
    }

    #[test]
    fn a_name_is_auto_a_tier_a_model_an_alias_or_unknown() {
        let catalog = catalog(Some(simulated()));
        for (name, expected) in [
            ("auto", "auto"),
            ("cheap", "tier cheap"),
            ("reasoning", "tier reasoning"),
            ("a/small", "model a/small"),
            ("gpt-4", "model a/large"),
            ("small", "tier cheap"),
            ("broken", "unknown"),
            ("sim/slow-2000", "model sim/slow-2000"),
            ("", "unknown"),
            ("AUTO", "unknown"),
            ("a/smal", "unknown"),
            ("sim/", "unknown"),
            ("sim/nonsense", "unknown"),
        ] {
            assert_eq!(resolved(&catalog, name), expected, "{name:?}");
        }
    }

    #[test]
    fn simulated_names_are_unknown_where_no_simulated_provider_is_configured() {
        assert_eq!(resolved(&catalog(None), "sim/cheap"), "unknown");
    }

    #[test]
    fn each_tier_but_the_last_has_a_stronger_one() {
        let catalog = catalog(None);
        let cheap = catalog.tier("cheap").unwrap();
        let reasoning = catalog.stronger_than(cheap).unwrap();
        assert_eq!(&*reasoning.name, "reasoning");
        assert_eq!(catalog.stronger_than(reasoning), None);
    }

    #[test]
    fn a_simulated_model_does_what_its_name_says() {
        for (name, expected) in [
            ("cheap", Some(Behaviour::Cheap)),
            ("reasoning", Some(Behaviour::Reasoning)),
            ("fail-0", Some(Behaviour::Fail { percent: 0 })),
            ("fail-50", Some(Behaviour::Fail { percent: 50 })),
            ("fail-100", Some(Behaviour::Fail { percent: 100 })),
            ("fail-101", None),
            ("fail-050", None),
            ("fail-+5", None),
            ("fail--5", None),
            ("fail-", None),
            ("fail-99999999999999999999999", None),
            ("slow-2000", Some(Behaviour::Slow { first_token_ms: 2_000 })),
            ("slow-600000", Some(Behaviour::Slow { first_token_ms: 600_000 })),
            ("slow-600001", None),
            ("unsure", Some(Behaviour::Unsure)),
            ("429", Some(Behaviour::RateLimited)),
            ("cut", Some(Behaviour::Cut)),
            ("stall", Some(Behaviour::Stall)),
            ("Stall", None),
        ] {
            assert_eq!(Behaviour::parse(name), expected, "{name:?}");
        }
    }

    #[test]
    fn every_simulated_model_costs_something_and_reasoning_costs_more() {
        let usage = Usage { input_tokens: 1, output_tokens: 1, ..Usage::default() };
        let cost = |name: &str| simulated().model(name).unwrap().price.cost_nusd(&usage, 0);
        for name in ["sim/cheap", "sim/fail-50", "sim/slow-1", "sim/unsure", "sim/429", "sim/cut", "sim/stall"] {
            assert_eq!(cost(name), 100 + 400, "{name}");
        }
        assert_eq!(cost("sim/reasoning"), 2_000 + 8_000);
    }

    #[test]
    fn the_first_missing_capability_is_named() {
        let none = Capabilities::default();
        let images_and_tools = Capabilities { vision: true, tools: true, ..none };
        assert_eq!(Capabilities::ALL.lacks(images_and_tools), None);
        assert_eq!(none.lacks(none), None);
        assert_eq!(none.lacks(images_and_tools), Some("tools"));
        assert_eq!(Capabilities { tools: true, ..none }.lacks(images_and_tools), Some("vision"));
    }

    proptest! {
        #[test]
        fn no_name_panics(name in ".*", tail in "(fail|slow)-[0-9+-]{0,25}") {
            let catalog = catalog(Some(simulated()));
            let _ = catalog.resolve(&name);
            let _ = catalog.resolve(&format!("sim/{tail}"));
        }
    }
}

//! The intents that requests are sorted by: those that ship, which were learnt, and a team's own, known by their utterances.

use crate::config::{IntentSpec, shipped_utterances};
use crate::routing::head::{self, Features, Reading};
use crate::routing::orders::Orders;
use crate::routing::own::{OwnIntents, Seen};
use crate::routing::text::embedder::{EmbedError, Embedder};
use crate::wire::context::Context;
use crate::wire::request::Request;
use std::sync::Arc;

/// A turn that is longer speaks for itself.
const SHORT_BYTES: usize = 120;

/// Knows the intents.
pub struct Intents {
    pub(crate) specs: Vec<IntentSpec>,
    /// Of each, what the head calls it; `None` for a team's own.
    learnt: Vec<Option<usize>>,
    /// The team's own, each with its place among all.
    own: Option<(OwnIntents, Vec<usize>)>,
    /// What embeds for the team's own, if not the table in process.
    embedder: Option<Arc<dyn Embedder>>,
    /// Knows the names of the intents and of their tiers.
    pub(crate) orders: Orders,
}

/// What is found in a prompt.
#[derive(Debug, Clone)]
pub struct Found {
    /// The probability of each intent, in configured order; they sum to 1.
    pub scores: Vec<f32>,
    /// See [`Reading::hardness`].
    pub hardness: f32,
    /// See [`Reading::is_exam`].
    pub is_exam: bool,
    /// Whether its language is known, or a team's own utterances are in it.
    pub is_known: bool,
    /// The probability that it is of any intent that is configured.
    pub belongs: f32,
}

impl Found {
    /// Takes as much from what was said before as this says too little: "and now in Rust?" is about what it follows.
    fn follow(&mut self, before: &Self) {
        let share = 1.0 - self.scores.iter().copied().fold(0.0, f32::max);
        let mix = |now: f32, then: f32| (1.0 - share) * now + share * then;
        self.scores.iter_mut().zip(&before.scores).for_each(|(now, then)| *now = mix(*now, *then));
        self.hardness = mix(self.hardness, before.hardness);
    }
}

impl Intents {
    /// Learns the intents that have utterances; an embedder other than the table in process is asked for their vectors.
    ///
    /// # Errors
    /// Whatever the embedder says, and [`EmbedError::Shape`] where a vector has not the promised length.
    pub async fn learn(specs: &[IntentSpec], embedder: Option<Arc<dyn Embedder>>) -> Result<Self, EmbedError> {
        let learnt =
            specs.iter().map(|spec| head::names().position(|name| name == &*spec.name && spec.examples.is_empty()));
        let orders = Orders::about(specs.iter().flat_map(|spec| [&spec.name, &spec.tier]));
        let mut intents = Self { specs: specs.to_vec(), learnt: learnt.collect(), own: None, embedder, orders };
        let places: Vec<usize> = (0..specs.len()).filter(|place| intents.learnt[*place].is_none()).collect();
        if places.is_empty() {
            return Ok(intents);
        }
        let mut utterances = Vec::new();
        for (own, place) in places.iter().enumerate() {
            for example in &specs[*place].examples {
                utterances.push((own, intents.see(&Features::of(example), example).await?));
            }
        }
        let mut others = Vec::new();
        let is_own = |name: &str| places.iter().any(|place| &*specs[*place].name == name);
        for (_, utterance) in shipped_utterances().iter().filter(|(name, _)| !is_own(name)) {
            others.push(intents.see(&Features::of(utterance), utterance).await?);
        }
        intents.own = Some((OwnIntents::learn(places.len(), &utterances, &others), places));
        Ok(intents)
    }

    /// The intents' names, in configured order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.specs.iter().map(|spec| &spec.name)
    }

    /// The intent of this name, and its tier's name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&IntentSpec> {
        self.specs.iter().find(|spec| &*spec.name == name)
    }

    /// What a request is about: its last turn, and where that is short, what it follows.
    ///
    /// # Errors
    /// Whatever the embedder of a team's own intents says.
    pub async fn read(&self, prompt: &str, request: &Request) -> Result<Found, EmbedError> {
        let mut found = self.read_text(prompt).await?;
        if prompt.len() <= SHORT_BYTES && request.facts.messages > 1 {
            let Context { system, first, previous } = request.context();
            if let Some(before) = [previous, first, system].iter().find(|said| !said.trim().is_empty()) {
                found.follow(&self.read_text(before).await?);
            }
        }
        Ok(found)
    }

    /// What a text is about.
    ///
    /// # Errors
    /// Whatever the embedder of a team's own intents says.
    pub async fn read_text(&self, prompt: &str) -> Result<Found, EmbedError> {
        let features = Features::of(prompt);
        let Reading { intents, hardness, is_exam, is_known } = head::read(&features);
        let of_head = |place: &Option<usize>| place.map_or(0.0, |lane| intents[lane]);
        let mut scores: Vec<f32> = self.learnt.iter().map(of_head).collect();
        let mut found = Found { scores: Vec::new(), hardness, is_exam, is_known, belongs: 1.0 };
        if let Some((own, places)) = &self.own {
            let reading = own.read(&self.see(&features, prompt).await?);
            // What is left to those that ship; where none of them is configured, a request is of the team's own or of none.
            let left = scores.iter().sum::<f32>();
            let is_beside = self.learnt.iter().any(Option::is_some);
            let belongs = if is_beside { reading.belongs } else { 1.0 };
            scores.iter_mut().for_each(|score| *score *= (1.0 - belongs) / left.max(f32::MIN_POSITIVE));
            places.iter().zip(&reading.scores).for_each(|(place, score)| scores[*place] = belongs * score);
            // A team may speak to the gateway in any language.
            found.is_known |= reading.belongs >= 0.5;
            found.belongs = if is_beside { 1.0 } else { reading.belongs };
        } else {
            let total = scores.iter().sum::<f32>().max(f32::MIN_POSITIVE);
            scores.iter_mut().for_each(|score| *score /= total);
        }
        Ok(Found { scores, ..found })
    }

    /// A text as a team's own intents see it.
    async fn see(&self, features: &Features, text: &str) -> Result<Seen, EmbedError> {
        let vector = match &self.embedder {
            None => features.embedding.to_vec(),
            Some(embedder) => {
                let vector = embedder.embed(text).await?;
                if vector.len() != embedder.dimensions() {
                    return Err(EmbedError::Shape { expected: embedder.dimensions(), got: vector.len() });
                }
                vector
            }
        };
        Ok(Seen { vector, grams: features.grams.clone() })
    }
}

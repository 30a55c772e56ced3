//! The intents that requests are sorted by: those that ship, which were learnt, and a team's own, known by their utterances.

use crate::config::{IntentSpec, shipped_utterances};
use crate::routing::head::{self, Features, Reading};
use crate::routing::orders::Orders;
use crate::routing::own::{OwnIntents, OwnReading, Seen};
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
    /// The team's own as the table in process sees them, each with its place among all.
    own: Option<(OwnIntents, Vec<usize>)>,
    /// Knows the names of the intents and of their tiers.
    pub(crate) orders: Orders,
}

/// The texts of a request that are read to decide about it.
pub(crate) struct Texts<'a> {
    /// The last turn.
    prompt: &'a str,
    /// Where that is short, what it follows.
    before: Option<String>,
    /// The last turn without the orders about routing that stand in it.
    without_orders: Option<String>,
}

impl Texts<'_> {
    /// All of them, in the order in which readings of them are given.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        [Some(self.prompt), self.before.as_deref(), self.without_orders.as_deref()].into_iter().flatten()
    }
}

/// What another embedder than the table says of a team's own intents, for each of a request's [`Texts`].
pub(crate) type Readings = Arc<[OwnReading]>;

/// What a team's own intents are learnt from.
pub(crate) struct Utterances {
    /// How many own intents there are.
    intents: usize,
    /// Each with the number of its own intent.
    own: Vec<(usize, String)>,
    /// Of the shipped intents that are not replaced: they stand for everything else.
    others: Vec<String>,
}

impl Utterances {
    fn of(specs: &[IntentSpec], places: &[usize]) -> Self {
        let examples = places
            .iter()
            .enumerate()
            .flat_map(|(own, place)| specs[*place].examples.iter().map(move |example| (own, example.clone())));
        let is_own = |name: &str| places.iter().any(|place| &*specs[*place].name == name);
        let others = shipped_utterances().into_iter().filter(|(name, _)| !is_own(name)).map(|(_, text)| text);
        Self { intents: places.len(), own: examples.collect(), others: others.collect() }
    }

    /// All of them: the own ones, then the others.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.own.iter().map(|(_, text)| text).chain(&self.others).map(String::as_str)
    }

    /// Learns the own intents from the vectors of all of them, in that order.
    pub(crate) fn learn(&self, vectors: impl Iterator<Item = Vec<f32>>) -> OwnIntents {
        let mut seen: Vec<Seen> =
            self.texts().zip(vectors).map(|(text, vector)| Seen { vector, grams: Features::of(text).grams }).collect();
        let others = seen.split_off(self.own.len().min(seen.len()));
        let own: Vec<(usize, Seen)> = self.own.iter().map(|(intent, _)| *intent).zip(seen).collect();
        OwnIntents::learn(self.intents, &own, &others)
    }
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
    /// Learns the intents that have utterances, by the table in process.
    #[must_use]
    pub fn learn(specs: &[IntentSpec]) -> Self {
        let learnt =
            specs.iter().map(|spec| head::names().position(|name| name == &*spec.name && spec.examples.is_empty()));
        let orders = Orders::about(specs.iter().flat_map(|spec| [&spec.name, &spec.tier]));
        let mut intents = Self { specs: specs.to_vec(), learnt: learnt.collect(), own: None, orders };
        intents.own = intents.utterances().map(|utterances| {
            let by_table = utterances.learn(utterances.texts().map(|text| Features::of(text).embedding.to_vec()));
            (by_table, intents.own_places().collect())
        });
        intents
    }

    /// The places of a team's own intents among all.
    fn own_places(&self) -> impl Iterator<Item = usize> {
        (0..self.specs.len()).filter(|place| self.learnt[*place].is_none())
    }

    /// What a team's own intents are learnt from; `None` where there are none.
    pub(crate) fn utterances(&self) -> Option<Utterances> {
        let places: Vec<usize> = self.own_places().collect();
        (!places.is_empty()).then(|| Utterances::of(&self.specs, &places))
    }

    /// Whether a team has intents of its own.
    pub(crate) fn has_own(&self) -> bool {
        self.own.is_some()
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

    /// What of a request is read.
    pub(crate) fn texts<'a>(&self, request: &'a Request) -> Texts<'a> {
        let prompt = &request.facts.prompt;
        let is_short = prompt.len() <= SHORT_BYTES && request.facts.messages > 1;
        let before = is_short.then(|| {
            let Context { system, first, previous } = request.context();
            [previous, first, system].into_iter().find(|said| !said.trim().is_empty())
        });
        Texts { prompt, before: before.flatten(), without_orders: self.orders.without(prompt) }
    }

    /// What a request is about: its last turn, and where that is short, what it follows. Beside it, the same without the
    /// orders about routing in it. `readings` of a team's own intents, where there are any, take the place of the table's.
    pub(crate) fn read(&self, texts: &Texts<'_>, readings: Option<&Readings>) -> (Found, Option<Found>) {
        let mut readings = readings.into_iter().flat_map(|readings| readings.iter());
        let mut read = |text: &str| self.read_text(text, readings.next());
        let mut found = read(texts.prompt);
        if let Some(before) = &texts.before {
            found.follow(&read(before));
        }
        (found, texts.without_orders.as_deref().map(read))
    }

    /// What a text is about.
    fn read_text(&self, text: &str, by_embedder: Option<&OwnReading>) -> Found {
        let features = Features::of(text);
        let Reading { intents, hardness, is_exam, is_known } = head::read(&features);
        let of_head = |place: &Option<usize>| place.map_or(0.0, |lane| intents[lane]);
        let mut scores: Vec<f32> = self.learnt.iter().map(of_head).collect();
        let mut found = Found { scores: Vec::new(), hardness, is_exam, is_known, belongs: 1.0 };
        if let Some((own, places)) = &self.own {
            let by_table = || own.read(&Seen { vector: features.embedding.to_vec(), grams: features.grams.clone() });
            let reading = by_embedder.cloned().unwrap_or_else(by_table);
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
        Found { scores, ..found }
    }
}

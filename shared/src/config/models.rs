//! `[models.*]`, `[tiers]` and `[aliases]`: what becomes the catalog, but for the model that `[embedder]` names.
//!
//! Names are checked against everything that the file lists; only then are models taken out whose provider cannot serve
//! here (no key, or on standby). A typing error is thus found on every machine, not only on the one with all the keys.

use super::embedder::{self, EmbedderSettings};
use super::model::model;
use super::names::Names;
use super::providers::{Availability, ProviderKind, ProviderSpec, SIMULATED};
use super::reader::{Problems, Section, Word};
use super::shipped;
use crate::catalog::{AUTO, Catalog, Model, SIMULATED_PREFIX, Simulated, Timeouts};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the tables make.
pub(super) struct Read {
    /// The catalog.
    pub(super) catalog: Catalog,
    /// The providers that can serve.
    pub(super) providers: Vec<ProviderSpec>,
    /// Why each of the others cannot.
    pub(super) skipped: Vec<String>,
    /// The model that embeds, where one is to.
    pub(super) embedder: Option<EmbedderSettings>,
    /// Every name of a model, tier or alias, whether it can serve or not.
    pub(super) names: Names,
}

/// Reads the catalog, in the light of which providers can serve.
pub(super) fn read(root: &mut Section<'_, '_>, providers: Vec<(String, Availability)>, timeouts: Timeouts) -> Read {
    let mut names = Names::default();
    let mut listed = models(root, &providers, timeouts, &mut names);
    let tiers = tiers(root, &mut names);
    let aliases = aliases(root, &mut names);
    let named: Vec<&Word> =
        tiers.iter().flat_map(|(_, models)| models).chain(aliases.iter().map(|(_, of)| of)).collect();
    let shipped = shipped::read(root, &named, &providers, timeouts, &mut names);
    listed.extend(shipped.models);
    for word in tiers.iter().flat_map(|(_, models)| models) {
        let named = listed.iter().find(|(name, _)| *name == word.text).and_then(|(_, model)| model.as_ref());
        if named.is_some_and(|model| model.vectors.is_some()) {
            let message =
                format!("{:?} makes vectors, which no tier's answers are; clients name it, or an alias", word.text);
            root.problems.add(&word.place, message);
        }
    }
    let others = tiers.iter().flat_map(|(_, models)| models).chain(aliases.iter().map(|(_, stands_for)| stands_for));
    let mut without_embedder = Vec::new();
    let embedder = embedder::read(root, &mut listed, others, &providers, &mut without_embedder);

    let names_simulated = |word: &Word| word.text.starts_with(SIMULATED_PREFIX);
    let simulated_is_implied = tiers.iter().any(|(_, models)| models.iter().any(names_simulated))
        || aliases.iter().any(|(_, stands_for)| names_simulated(stands_for));
    let shelf = Shelf::new(listed, providers, timeouts, simulated_is_implied);

    let (aliases, lost): (Vec<_>, Vec<_>) =
        aliases.into_iter().partition(|alias| shelf.keeps(alias, &tiers, root.problems));
    let tiers: Vec<_> = tiers
        .iter()
        .map(|(name, words)| (Arc::from(name.text.as_str()), shelf.serving_in(name, words, root.problems)))
        .collect();

    // Simulated models are in no table; those that a tier or an alias names belong to the list all the same.
    let mut models: Vec<Arc<Model>> = shelf.listed.iter().filter_map(|(_, model)| model.clone()).collect();
    models.retain(|model| shelf.provider(model).is_some());
    let aliased = aliases.iter().filter_map(|(_, stands_for)| shelf.find(&stands_for.text).flatten());
    for model in tiers.iter().flat_map(|(_, models)| models.clone()).chain(aliased) {
        if !models.iter().any(|listed| listed.name == model.name) {
            models.push(model);
        }
    }
    let aliases = aliases.into_iter().map(|(name, stands_for)| (name.text.into(), stands_for.text.into()));
    let is_served = |(_, of): &(Arc<str>, Arc<str>)| models.iter().any(|model| model.name == *of);
    let aliases = aliases.chain(shipped.aliases.into_iter().filter(is_served)).collect();
    let unserved = shelf.unserved(&lost).into_iter().chain(shipped.unserved).collect();
    let served = |simulated: &Simulated| shelf.serving.iter().any(|spec| spec.name == simulated.provider);
    let simulated = shelf.simulated.clone().filter(served);
    let mut catalog = Catalog::new(models, tiers, aliases, simulated);
    catalog.unserved = unserved;
    let skipped = shelf.skipped.into_values().chain(without_embedder).collect();
    Read { catalog, providers: shelf.serving, skipped, embedder, names }
}

/// Every model that the file lists, and which of them can serve.
struct Shelf {
    /// In the order of the file. `None` for a model with a problem, which is reported.
    listed: Vec<(String, Option<Arc<Model>>)>,
    serving: Vec<ProviderSpec>,
    /// The providers that were skipped, each with the reason.
    skipped: BTreeMap<String, String>,
    /// Makes up models, so that their names are no typing errors; they can serve if its provider does.
    simulated: Option<Simulated>,
}

impl Shelf {
    fn new(
        listed: Vec<(String, Option<Arc<Model>>)>,
        providers: Vec<(String, Availability)>,
        timeouts: Timeouts,
        simulated_is_implied: bool,
    ) -> Self {
        let (mut serving, mut skipped) = (Vec::new(), BTreeMap::new());
        for (name, availability) in providers {
            match availability {
                Availability::Serves(spec) => serving.push(spec),
                Availability::Skipped(why) => drop(skipped.insert(name, why)),
                Availability::Broken => {}
            }
        }
        let is_simulated = |spec: &&ProviderSpec| matches!(spec.kind, ProviderKind::Simulated);
        if simulated_is_implied && !serving.iter().any(|spec| is_simulated(&spec)) {
            serving.push(ProviderSpec { name: SIMULATED.into(), kind: ProviderKind::Simulated, standby: false });
        }
        let simulated =
            serving.iter().find(is_simulated).map(|spec| Simulated { provider: spec.name.clone(), timeouts });
        // What makes answers up stands in for those that do not, and only while there are none of them.
        if serving.iter().any(|spec| !spec.standby) {
            serving.retain(|spec| !(is_simulated(&spec) && spec.standby));
        }
        Self { listed, serving, skipped, simulated }
    }

    /// The model of this name: `None` if there is none, `Some(None)` if its problem is reported elsewhere.
    fn find(&self, name: &str) -> Option<Option<Arc<Model>>> {
        let listed = self.listed.iter().find(|(listed, _)| listed == name).map(|(_, model)| model.clone());
        listed.or_else(|| Some(Some(Arc::new(self.simulated.as_ref()?.model(name)?))))
    }

    /// What the file lists and cannot be served here: models, and the aliases that are lost with them.
    fn unserved(&self, lost: &[(Word, Word)]) -> Vec<(Arc<str>, Arc<str>)> {
        let without = |model: Arc<Model>| self.skipped.contains_key(&*model.provider).then(|| model.provider.clone());
        let listed = self.listed.iter().filter_map(|(name, model)| Some((name.as_str(), without(model.clone()?)?)));
        let lost = lost.iter().filter_map(|(name, of)| Some((name.text.as_str(), without(self.find(&of.text)??)?)));
        listed.chain(lost).map(|(name, provider)| (name.into(), provider)).collect()
    }

    fn provider(&self, model: &Model) -> Option<&ProviderSpec> {
        self.serving.iter().find(|spec| spec.name == model.provider)
    }

    /// The models of one tier that can serve. A tier of which none can is refused.
    fn serving_in(&self, tier: &Word, words: &[Word], problems: &Problems) -> Vec<Arc<Model>> {
        let (mut serving, mut reasons) = (Vec::new(), Vec::new());
        for word in words {
            match self.find(&word.text) {
                None => problems.add(&word.place, format!("no model is named {:?}", word.text)),
                Some(None) => {}
                Some(Some(model)) => match self.why_not_in_tiers(&model) {
                    None => serving.push(model),
                    Some(reason) => reasons.push(reason),
                },
            }
        }
        if !words.is_empty() && reasons.len() == words.len() {
            reasons.dedup();
            problems.add(&tier.place, format!("none of its models can serve: {}", reasons.join("; ")));
        }
        serving
    }

    /// Whether an alias stays: one of a model that cannot serve here is as unknown as the model.
    fn keeps(&self, (_, stands_for): &(Word, Word), tiers: &[(Word, Vec<Word>)], problems: &Problems) -> bool {
        if stands_for.text == AUTO || tiers.iter().any(|(tier, _)| tier.text == stands_for.text) {
            return true;
        }
        let model = self.find(&stands_for.text);
        if model.is_none() {
            problems.add(&stands_for.place, format!("no model or tier is named {:?}", stands_for.text));
        }
        model.flatten().is_some_and(|model| self.provider(&model).is_some())
    }

    fn why_not_in_tiers(&self, model: &Model) -> Option<String> {
        match self.provider(model) {
            None if self.simulated.as_ref().is_some_and(|simulated| simulated.provider == model.provider) => {
                Some(format!("{} is on standby", model.provider))
            }
            None => self.skipped.get(&*model.provider).cloned(),
            Some(spec) if spec.standby && self.serving.iter().any(|spec| !spec.standby) => {
                Some(format!("{} is on standby", spec.name))
            }
            Some(_) => None,
        }
    }
}

fn tiers(root: &mut Section<'_, '_>, names: &mut Names) -> Vec<(Word, Vec<Word>)> {
    if !root.require("tiers") {
        return Vec::new();
    }
    root.table("tiers", |section| {
        let keys = section.keys();
        if keys.is_empty() {
            section.problems.add(&section.place, "there must be at least one tier");
        }
        let mut tiers: Vec<(Word, Vec<Word>)> = Vec::new();
        for name in keys {
            names.claim(section.problems, &name);
            let words = section.words(&name.text);
            if words.as_ref().is_some_and(Vec::is_empty) {
                section.problems.add(&name.place, "a tier cannot be empty");
            }
            let words = words.unwrap_or_default();
            for (index, word) in words.iter().enumerate() {
                if words[..index].iter().any(|earlier| earlier.text == word.text) {
                    section.problems.add(&word.place, format!("{:?} is listed twice", word.text));
                }
            }
            tiers.push((name, words));
        }
        tiers
    })
}

fn aliases(root: &mut Section<'_, '_>, names: &mut Names) -> Vec<(Word, Word)> {
    root.table("aliases", |section| {
        let mut aliases = Vec::new();
        for name in section.keys() {
            names.claim(section.problems, &name);
            aliases.extend(section.word(&name.text).map(|stands_for| (name, stands_for)));
        }
        aliases
    })
}

fn models(
    root: &mut Section<'_, '_>,
    providers: &[(String, Availability)],
    timeouts: Timeouts,
    names: &mut Names,
) -> Vec<(String, Option<Arc<Model>>)> {
    root.table("models", |section| {
        let mut models = Vec::new();
        for name in section.keys() {
            names.claim(section.problems, &name);
            let model = section.table(&name.text, |section| model(section, &name.text, providers, timeouts));
            models.push((name.text, model.map(Arc::new)));
        }
        models
    })
}

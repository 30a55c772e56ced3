//! `[intents.*]`: what requests are about, and which tier serves each kind.

use super::names::check_name;
use super::reader::{Problems, Section, Word};
use crate::catalog::Catalog;
use crate::routing::head;
use std::sync::Arc;

/// Utterances of the intents that a file without `[intents]` gets.
const UTTERANCES: &str = include_str!("../../../assets/intents.toml");

/// The intent whose answers nobody checks, unless the file says otherwise.
const GREETING: &str = "greeting";

/// One thing that requests are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentSpec {
    /// Its name, as headers and receipts show it.
    pub name: Arc<str>,
    /// The name of the tier that serves it.
    pub tier: Arc<str>,
    /// What users say when they mean it; none for an intent that ships, which was learnt from many more.
    pub examples: Vec<String>,
    /// Whether a cheap answer to it may be replaced for what it says: nobody checks the answer to a greeting.
    pub upgrade: bool,
}

/// Reads `[intents.*]` in the order of the file; each comes with the word that names its tier.
pub(super) fn read(root: &mut Section<'_, '_>) -> Vec<(IntentSpec, Word)> {
    root.table("intents", |section| {
        let mut intents = Vec::new();
        for name in section.keys() {
            check_name(section.problems, &name);
            intents.extend(section.table(&name.text, |section| {
                let tier = section.required_word("tier");
                let is_learnt = head::names().any(|known| known == name.text);
                if !is_learnt && !section.require("examples") {
                    return None;
                }
                let examples = section.words("examples");
                if examples.as_ref().is_some_and(Vec::is_empty) {
                    section.problems.add(&section.place, "examples cannot be empty");
                }
                let examples = examples.into_iter().flatten().map(|word| word.text).collect();
                let upgrade = section.flag("upgrade", name.text != GREETING);
                let tier = tier?;
                let (name, tier_name) = (name.text.as_str().into(), tier.text.as_str().into());
                let spec = IntentSpec { name, tier: tier_name, examples, upgrade };
                Some((spec, tier))
            }));
        }
        intents
    })
}

/// The file's intents, each of whose tiers must exist.
pub(super) fn checked(own: Vec<(IntentSpec, Word)>, problems: &Problems, catalog: &Catalog) -> Vec<IntentSpec> {
    let check = |(spec, tier): (IntentSpec, Word)| {
        if catalog.tier(&spec.tier).is_none() {
            problems.add(&tier.place, format!("no tier is named {:?}", tier.text));
        }
        spec
    };
    own.into_iter().map(check).collect()
}

/// Every utterance of the shipped intents, with its intent: what a team's own are told from.
///
/// Read only where there are such, for there are hundreds. Empty if the compiled-in file cannot be read, which a test
/// excludes.
pub fn shipped_utterances() -> Vec<(String, String)> {
    let specs = super::read_file(UTTERANCES, "intents.toml", read).unwrap_or_default();
    let of = |(spec, _): (IntentSpec, Word)| {
        let name = spec.name.to_string();
        spec.examples.into_iter().map(move |utterance| (name.clone(), utterance))
    };
    specs.into_iter().flat_map(of).collect()
}

/// The shipped intents, for a file that has none or wants them beside its own.
///
/// They are served by the tiers `cheap` and `reasoning`. In a file that calls its tiers otherwise, `cheap` is the cheapest and
/// the other the strongest: work that was meant for a strong model is not quietly given to a weak one.
pub(super) fn shipped(catalog: &Catalog) -> Vec<IntentSpec> {
    let fit = |(place, name): (usize, &str)| {
        let (tier, other) = match head::is_strong(place) {
            false => ("cheap", catalog.tiers.first()),
            true => ("reasoning", catalog.tiers.last()),
        };
        let tier = catalog.tier(tier).or(other)?.name.clone();
        Some(IntentSpec { name: name.into(), tier, examples: Vec::new(), upgrade: name != GREETING })
    };
    head::names().enumerate().filter_map(fit).collect()
}

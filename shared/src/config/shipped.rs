//! `assets/catalog.toml`: models that a configuration may name without a table of its own.
//!
//! A start pays for what it uses: the file is cut at the headers of its tables, which costs next to nothing, and only the
//! tables of models that are to serve are parsed. That each of them can be read, a test sees to.

use super::model::model;
use super::names::Names;
use super::providers::Availability;
use super::reader::{Section, Word, read_file};
use super::settings;
use crate::catalog::{Model, Timeouts};
use std::sync::Arc;

const CATALOG: &str = include_str!("../../../assets/catalog.toml");
const FILE: &str = "catalog.toml";
/// What a table begins with, and behind its name.
const HEADER: (&str, &str) = ("\n[models.\"", "\"]\n");
/// Providers whose models are their own, so that a client may call them without the provider's name in front.
const VENDORS: [&str; 8] = ["openai", "anthropic", "gemini", "deepseek", "mistral", "xai", "moonshot", "zai"];

/// A table of the catalog.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: &'static str,
    fields: &'static str,
}

fn entries() -> impl Iterator<Item = Entry> {
    CATALOG.split(HEADER.0).skip(1).filter_map(|table| {
        let (name, fields) = table.split_once(HEADER.1)?;
        Some(Entry { name, fields })
    })
}

impl Entry {
    fn provider(self) -> &'static str {
        self.name.split_once('/').map_or(self.name, |(provider, _)| provider)
    }

    /// The name without its provider, where the provider is who made the model.
    fn plain_name(self) -> Option<&'static str> {
        let (provider, plain) = self.name.split_once('/')?;
        VENDORS.contains(&provider).then_some(plain)
    }

    fn read(self, providers: &[(String, Availability)], timeouts: Timeouts) -> Result<Option<Model>, Vec<String>> {
        read_file(self.fields, FILE, |section| model(section, self.name, providers, timeouts))
    }
}

/// Every model of the catalog, as if each of its providers were configured.
///
/// # Errors
/// The problems of the catalog; it has none.
pub fn shipped_models() -> Result<Vec<Arc<Model>>, Vec<String>> {
    let read = |entry: Entry| {
        let as_if = [(entry.provider().to_owned(), Availability::Skipped(String::new()))];
        Ok(entry.read(&as_if, settings::TIMEOUTS)?.map(Arc::new))
    };
    entries().filter_map(|entry| read(entry).transpose()).collect()
}

/// What the catalog adds to a file.
#[derive(Default)]
pub(super) struct Added {
    /// Models, each with its name.
    pub(super) models: Vec<(String, Option<Arc<Model>>)>,
    /// Plain names, each with the name that it stands for.
    pub(super) aliases: Vec<(Arc<str>, Arc<str>)>,
    /// Names that have no key here, each with the provider.
    pub(super) unserved: Vec<(Arc<str>, Arc<str>)>,
}

/// Takes from the catalog the models that tiers and aliases name and the file does not list, and with `[catalog] shipped =
/// "all"` every one whose provider the file has.
pub(super) fn read(
    root: &mut Section<'_, '_>,
    named: &[&Word],
    providers: &[(String, Availability)],
    timeouts: Timeouts,
    names: &mut Names,
) -> Added {
    let all = root.table("catalog", |section| section.choice("shipped", &[("all", true), ("named", false)], false));
    let mut added = Added::default();
    for entry in entries() {
        let word = named.iter().find(|word| word.text == entry.name);
        let provider =
            providers.iter().find(|(name, _)| name == entry.provider()).map(|(_, availability)| availability);
        let (Some(provider), true) = (provider, all || word.is_some()) else { continue };
        if !names.take(entry.name) {
            continue;
        }
        let plain = entry.plain_name().filter(|plain| all && names.take(plain));
        let pair = |name: &str, with: &str| (Arc::from(name), Arc::from(with));
        if word.is_none() && matches!(provider, Availability::Skipped(_)) {
            let without_key = [Some(entry.name), plain].into_iter().flatten();
            added.unserved.extend(without_key.map(|name| pair(name, entry.provider())));
            continue;
        }
        match (entry.read(providers, timeouts), word) {
            (Ok(model), _) => {
                added.models.push((entry.name.to_owned(), model.map(Arc::new)));
                added.aliases.extend(plain.map(|plain| pair(plain, entry.name)));
            }
            // Its format is not one that this provider is called in.
            (Err(_), None) => {}
            (Err(problems), Some(word)) => {
                added.models.push((entry.name.to_owned(), None));
                problems.iter().for_each(|problem| root.problems.add(&word.place, problem));
            }
        }
    }
    added
}

#[cfg(test)]
mod tests;

//! Which tags have a row of their own.
//!
//! A client writes what it likes into `x-gateway-tags`; one that puts its request's id there would make a row with every
//! request. So a tenant's key has so many values a day, those that came first, and what comes after them counts under `…`:
//! the sums stay whole, and a key that is misused takes no room from another. A tenant has so many keys a day, and what
//! comes after them has no row; its requests are those without the key.

use super::WhoseUid;
use crate::receipt::Receipt;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How many values of a key a tenant has on a day, beside [`REST`].
pub const TAG_VALUES: usize = 256;
/// How many keys a tenant has on a day.
pub const TAG_KEYS: usize = 16;
/// All further values of a key. No client can send it: its tags are ASCII.
pub const REST: &str = "…";

/// How many tenants' days are remembered.
const DAYS: usize = 10_000;

/// A tag's key and its value.
pub(super) type Tag = (Arc<str>, Arc<str>);

/// The tags of a tenant's day that have rows: each key's values.
#[derive(Debug, Default)]
pub(super) struct OfDay(BTreeMap<Arc<str>, BTreeSet<Arc<str>>>);

impl OfDay {
    /// Takes note of a tag that has rows.
    pub(super) fn insert(&mut self, key: &Arc<str>, value: &Arc<str>) {
        self.0.entry(key.clone()).or_default().insert(value.clone());
    }

    /// The tag under which one of a request's is counted.
    fn named(&mut self, key: &str, value: &str) -> Option<Tag> {
        // An empty value is as none.
        if value.is_empty() || (!self.0.contains_key(key) && self.0.len() == TAG_KEYS) {
            return None;
        }
        let key = self.0.get_key_value(key).map_or_else(|| key.into(), |(known, _)| known.clone());
        let values = self.0.entry(key.clone()).or_default();
        let value = if values.len() < TAG_VALUES || values.contains(value) { value } else { REST };
        let named = values.get(value).cloned().unwrap_or_else(|| value.into());
        values.insert(named.clone());
        Some((key, named))
    }
}

/// The tags that have rows, by day and by the tenant's uid.
#[derive(Debug, Default)]
pub(super) struct Tags(HashMap<(Arc<str>, Arc<str>), OfDay>);

impl Tags {
    /// The tags under which a receipt of this day is counted. `known` are those of its tenant's day that have rows, as far
    /// as that is to be found where nothing is remembered.
    pub(super) fn of(&mut self, day: &Arc<str>, receipt: &Receipt, known: impl FnOnce() -> OfDay) -> Vec<Tag> {
        if receipt.tags.is_empty() {
            return Vec::new();
        }
        if self.0.len() == DAYS {
            self.0.clear();
        }
        let of_day = self.0.entry((day.clone(), receipt.uid().clone())).or_insert_with(known);
        receipt.tags.iter().filter_map(|(key, value)| of_day.named(key, value)).collect()
    }

    /// Forgets the tags of tenants.
    pub(super) fn erase(&mut self, whose: &WhoseUid) {
        self.0.retain(|(_, uid), _| !whose(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::contract::{MIDNIGHT_MS, receipt};

    fn tagged<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Receipt {
        let tags = tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Receipt { tags, ..receipt("acme", MIDNIGHT_MS) }
    }

    #[test]
    fn a_key_that_is_misused_takes_no_room_from_another() {
        let (mut tags, day) = (Tags::default(), "2025-11-22".into());
        let mut named = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let named = tags.of(&day, &tagged(pairs.iter().copied()), OfDay::default);
            named.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        };
        for n in 0..2 * TAG_VALUES {
            let id = n.to_string();
            let shown = if n < TAG_VALUES { &id } else { REST };
            assert_eq!(named(&[("id", &id)]), [("id".to_owned(), shown.to_owned())]);
        }
        let own = [("id".to_owned(), "7".to_owned()), ("team".to_owned(), "red".to_owned())];
        assert_eq!(named(&[("id", "7"), ("team", "red"), ("none", "")]), own, "those that came first keep their rows");
        for n in 2..2 * TAG_KEYS {
            assert_eq!(named(&[(&format!("k{n}"), "v")]).len(), usize::from(n < TAG_KEYS));
        }
        assert_eq!(named(&[("team", "blue"), ("k99", "v")]), [("team".to_owned(), "blue".to_owned())]);
    }
}

//! What the receipts add up to by tag: one sum for each of a receipt's tags, beside the one that all receipts are in.
//!
//! It is kept as the others are, by the hour for as long as they and then by the day, and only has counts. How many tags
//! have a sum is bounded ([`Tags`](crate::ledger::tags::Tags)).

use super::texts::Texts;
use crate::ledger::tags::{OfDay, Tag};
use crate::ledger::usage::{Place, UsageSums};
use crate::ledger::{Counts, TagQuery, WhoseUid};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a sum is of, in the order in which sums are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    day: Arc<str>,
    /// Its uid.
    tenant: Arc<str>,
    key: Arc<str>,
    value: Arc<str>,
    model: Arc<str>,
    /// The hour of the day; `None` for all of it.
    hour: Option<u8>,
}

/// Sums by tag.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tagged(BTreeMap<Key, Counts>);

impl Tagged {
    /// Adds a receipt's counts to the sum of one of its tags.
    pub(super) fn add(&mut self, place: Place<'_>, (key, value): Tag, counts: Counts) {
        let Place { day, hour, tenant, model } = place;
        self.add_to(Key { day: day.clone(), tenant: tenant.clone(), key, value, model: model.clone(), hour }, counts);
    }

    fn add_to(&mut self, key: Key, counts: Counts) {
        let sum = self.0.entry(key).or_default();
        *sum = sum.plus(counts);
    }

    pub(super) fn absorb(&mut self, other: Self) {
        other.0.into_iter().for_each(|(key, counts)| self.add_to(key, counts));
    }

    /// Drops what is `whose`; answers how many sums that was.
    pub(super) fn erase(&mut self, whose: &WhoseUid) -> u64 {
        let before = self.0.len();
        self.0.retain(|key, _| !whose(&key.tenant));
        (before - self.0.len()) as u64
    }

    /// Drops what is from before `first_day`, and adds up the hours of what is from before `first_day_of_hours`.
    pub(super) fn forget(&mut self, first_day: &Arc<str>, first_day_of_hours: &str) {
        self.0 = self.0.split_off(&Key { day: first_day.clone(), ..Key::default() });
        let is_old_hour = |key: &&Key| key.hour.is_some() && *key.day < *first_day_of_hours;
        for key in self.0.keys().filter(is_old_hour).cloned().collect::<Vec<_>>() {
            if let Some(counts) = self.0.remove(&key) {
                self.add_to(Key { hour: None, ..key }, counts);
            }
        }
    }

    /// Takes note of the tags of a tenant's day.
    pub(super) fn note_known(&self, day: &Arc<str>, tenant: &Arc<str>, known: &mut OfDay) {
        let first = Key { day: day.clone(), tenant: tenant.clone(), ..Key::default() };
        let of_day = self.0.range(&first..).take_while(|(key, _)| key.day == *day && key.tenant == *tenant);
        of_day.for_each(|(key, _)| known.insert(&key.key, &key.value));
    }

    /// Adds those with the key of a tag.
    pub(super) fn add_up(&self, tag: &TagQuery, first_day: &str, last_day: &str, sums: &mut UsageSums<'_>) {
        let first = Key { day: first_day.into(), ..Key::default() };
        let found = self.0.range(&first..).take_while(|(key, _)| *key.day <= *last_day);
        for (Key { day, tenant, value, model, hour, .. }, counts) in found.filter(|(key, _)| *key.key == *tag.key) {
            sums.add_tagged(Place { day, hour: *hour, tenant, model }, value, *counts);
        }
    }
}

impl Serialize for Tagged {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(&self.0)
    }
}

impl<'de> Deserialize<'de> for Tagged {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut texts = Texts::default();
        let sums = Vec::<(Key, Counts)>::deserialize(d)?.into_iter().map(|(key, counts)| {
            let [day, tenant, tag, value, model] =
                [key.day, key.tenant, key.key, key.value, key.model].map(|text| texts.once(text));
            (Key { day, tenant, key: tag, value, model, hour: key.hour }, counts)
        });
        Ok(Self(sums.collect()))
    }
}

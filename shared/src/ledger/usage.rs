//! Usage rows: what the receipts add up to for whoever pays, by day, hour, tenant, model and the value of a tag.
//!
//! A request may have ten tags. Rows of all of them, added up, would count it ten times; so rows are by the values of one key,
//! of which a request has one at most. What no row of that key has is the rest, a row with an empty tag: whatever is asked
//! for, each request is in one row, and the rows add up to the whole.

use super::Counts;
use crate::clock::{DAY_MS, HOUR_MS};
use crate::limit::window::{beginning_of, day_utc};
use crate::money::usd;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What rows can be told apart by, in the order in which they are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The UTC day of the receipts' arrival.
    Day,
    /// The hour of it.
    Hour,
    /// The tenant.
    Tenant,
    /// The model that answered.
    Model,
    /// The value of the query's tag.
    Tag,
}

/// What some requests have in common, and what they add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// The UTC day, `YYYY-MM-DD`.
    pub day: Arc<str>,
    /// The hour, `YYYY-MM-DDTHH:00Z`, or the day where its hours are not kept apart.
    pub hour: Arc<str>,
    /// The tenant's uid.
    pub tenant: Arc<str>,
    /// The model that answered; empty where none did.
    pub model: Arc<str>,
    /// The tag's value; empty where the requests have none, and `…` where its values were too many.
    pub tag: Arc<str>,
    /// Requests.
    pub requests: u64,
    /// Those of them that a remembered answer served.
    pub cache_hits: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Their cost.
    #[serde(rename = "cost_usd", with = "usd")]
    pub cost_nusd: u64,
}

/// What a row's requests have in common, by [`Column`]; empty where rows are not told apart by it.
type Group = [Arc<str>; 5];

impl UsageRow {
    fn of_group([day, hour, tenant, model, tag]: Group, counts: Counts) -> Self {
        Self {
            day,
            hour,
            tenant,
            model,
            tag,
            requests: counts.requests,
            cache_hits: counts.cache_hits,
            input_tokens: counts.input_tokens,
            output_tokens: counts.output_tokens,
            cost_nusd: counts.cost_nusd,
        }
    }

    pub(super) fn of(day: &str, tenant: Arc<str>, model: Arc<str>, counts: Counts) -> Self {
        Self::of_group([day.into(), Arc::default(), tenant, model, Arc::default()], counts)
    }

    /// What its requests have in common, by [`Column`]. Rows are sorted by it.
    #[must_use]
    pub fn group(&self) -> [&str; 5] {
        [&self.day, &self.hour, &self.tenant, &self.model, &self.tag]
    }

    /// The cursor of the page of [`Ledger::usage`](super::Ledger::usage) that begins after this row.
    #[must_use]
    pub fn cursor(&self) -> String {
        format!("{}/{}/{}", self.day, self.tenant, self.model)
    }
}

/// A key of `x-gateway-tags`, by whose values requests are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagQuery {
    /// The key.
    pub key: String,
    /// Only the requests with this value; with an empty one, only those without the key.
    pub value: Option<String>,
}

/// A query for usage rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// Only requests that came in from then on, in Unix milliseconds: the beginning of a day, or of an hour that the ledger
    /// keeps apart.
    pub from_ms: u64,
    /// Only those from before then, likewise.
    pub to_ms: u64,
    /// Only the tenant of this uid.
    pub tenant: Option<String>,
    /// Only this model.
    pub model: Option<String>,
    /// Only these, told apart by it or not; not heeded where rows are by day, tenant and model.
    pub tag: Option<TagQuery>,
}

/// The end of the year 9999, after which days are no texts in order.
const END_MS: u64 = 253_402_300_800_000;

impl Default for UsageQuery {
    fn default() -> Self {
        Self { from_ms: 0, to_ms: END_MS, tenant: None, model: None, tag: None }
    }
}

impl UsageQuery {
    /// Whether the rows of this tenant's uid and of this model are among them.
    pub(super) fn is_of(&self, tenant: &str, model: &str) -> bool {
        self.tenant.as_deref().is_none_or(|of| of == tenant) && self.model.as_deref().is_none_or(|of| of == model)
    }

    /// The first and the last day of which rows may be among them.
    pub(super) fn days(&self) -> [String; 2] {
        [self.from_ms, self.to_ms.saturating_sub(1)].map(|at_ms| day_utc(at_ms.min(END_MS - 1)))
    }
}

/// Where receipts are counted: an hour or a day, a tenant and the model that answered.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) day: &'a Arc<str>,
    /// The hour of the day; `None` for all of it.
    pub(super) hour: Option<u8>,
    pub(super) tenant: &'a Arc<str>,
    pub(super) model: &'a Arc<str>,
}

/// Adds up what a query asks for, by what it is to be told apart. Where the tag's rows and all rows are not of one instant,
/// the tag's are read first: the rest is then never less than nothing, and the sum is the whole.
pub(super) struct UsageSums<'a> {
    query: &'a UsageQuery,
    by: &'a BTreeSet<Column>,
    /// Of all requests, whatever their tags.
    all: BTreeMap<Group, Counts>,
    /// Of those that have the tag, by its value.
    tagged: BTreeMap<Group, Counts>,
    /// The day of the last ones and when it begins: rows of a day come together.
    begins: (Arc<str>, Option<u64>),
}

impl<'a> UsageSums<'a> {
    pub(super) fn new(query: &'a UsageQuery, by: &'a BTreeSet<Column>) -> Self {
        Self { query, by, all: BTreeMap::new(), tagged: BTreeMap::new(), begins: Default::default() }
    }

    /// Adds requests, if they are of the query.
    pub(super) fn add(&mut self, place: Place<'_>, counts: Counts) {
        if self.has(place) {
            let sum = self.all.entry(self.group(place, &Arc::default())).or_default();
            *sum = sum.plus(counts);
        }
    }

    /// Adds requests with this value of the query's tag, if they are of the query. They are to be added without it as well.
    pub(super) fn add_tagged(&mut self, place: Place<'_>, value: &Arc<str>, counts: Counts) {
        if self.has(place) {
            let sum = self.tagged.entry(self.group(place, value)).or_default();
            *sum = sum.plus(counts);
        }
    }

    fn has(&mut self, Place { day, hour, tenant, model }: Place<'_>) -> bool {
        if self.begins.0 != *day {
            self.begins = (day.clone(), beginning_of(day));
        }
        let Some(day_ms) = self.begins.1 else { return false };
        let from_ms = day_ms + hour.map_or(0, u64::from) * HOUR_MS;
        let to_ms = from_ms + hour.map_or(DAY_MS, |_| HOUR_MS);
        self.query.from_ms <= from_ms && to_ms <= self.query.to_ms && self.query.is_of(tenant, model)
    }

    fn group(&self, Place { day, hour, tenant, model }: Place<'_>, tag: &Arc<str>) -> Group {
        let kept = |column, value: &Arc<str>| if self.by.contains(&column) { value.clone() } else { Arc::default() };
        let hour = match hour {
            _ if !self.by.contains(&Column::Hour) => Arc::default(),
            Some(hour) => format!("{day}T{hour:02}:00Z").into(),
            None => day.clone(),
        };
        [kept(Column::Day, day), hour, kept(Column::Tenant, tenant), kept(Column::Model, model), tag.clone()]
    }

    /// The rows, in order.
    pub(super) fn into_rows(self) -> Vec<UsageRow> {
        let Self { query, by, all: mut rows, tagged, .. } = self;
        for (group, counts) in tagged {
            let [day, hour, tenant, model, _] = group.clone();
            if let Some(rest) = rows.get_mut(&[day, hour, tenant, model, Arc::default()]) {
                *rest = rest.minus(counts);
            }
            rows.insert(group, counts);
        }
        let value = query.tag.as_ref().and_then(|tag| tag.value.as_deref());
        rows.retain(|group, counts| counts.requests > 0 && value.is_none_or(|value| *group[4] == *value));
        let shown = |[day, hour, tenant, model, tag]: Group| {
            [day, hour, tenant, model, if by.contains(&Column::Tag) { tag } else { Arc::default() }]
        };
        rows.into_iter().map(|(group, counts)| UsageRow::of_group(shown(group), counts)).collect()
    }
}

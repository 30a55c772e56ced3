//! What the receipts add up to: per tenant and window for admission (M5), per hour, tenant and model for people, and by
//! tag (`tagged.rs`).
//!
//! The sums are kept in two parts, `base` and `fresh`, and everything read is the sum of both. A checkpoint needs all of
//! them at one instant, and writing them takes long; so the little that is fresh is added to the base, the base is
//! shared with the writer as it is, and what comes meanwhile is fresh again. No request waits for a checkpoint, and
//! nothing is ever copied whole.
//!
//! Hours are kept for eight days and then added up to days: for ever they would be most of the memory and of every
//! checkpoint.

use super::tagged::Tagged;
use super::texts::Texts;
use crate::clock::{DAY_MS, HOUR_MS};
use crate::directory::Page;
use crate::ledger::tags::{OfDay, Tags};
use crate::ledger::usage::{Place, UsageSums};
use crate::ledger::{Column, Counts, Figures, Period, Tally, UsageQuery, UsageRow, WhoseUid};
use crate::limit::window::{Window, beginning_of, day_utc};
use crate::money::Charged;
use crate::receipt::Receipt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// For how long a window's totals are kept after its end; nothing asks for them then.
const KEEP_WINDOWS_MS: u64 = 40 * DAY_MS;
/// For how long hours are kept apart.
pub(super) const KEEP_HOURS_MS: u64 = 8 * DAY_MS;
/// For how long usage rows are kept.
const KEEP_ROWS_MS: u64 = 400 * DAY_MS;

/// Day, tenant (its uid), model and hour of the day; `None` for all of a day. In the order in which usage is listed.
type RowKey = (Arc<str>, Arc<str>, Arc<str>, Option<u8>);

/// Day, tenant and model.
type DayKey = (Arc<str>, Arc<str>, Arc<str>);

/// Sums over some of the receipts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    /// By uid; a tenant has a few dozen windows, the newest last, so that a list is quicker than a map.
    windows: HashMap<Arc<str>, Vec<(Window, Charged)>>,
    #[serde(rename = "tallies", default, serialize_with = "rows_as_list", deserialize_with = "rows_from_list")]
    rows: BTreeMap<RowKey, Tally>,
    #[serde(default)]
    tagged: Tagged,
    /// What checkpoints had in place of tallies up to version 0.1: counts by day, tenant and model.
    #[serde(rename = "rows", default, skip_serializing)]
    days: Vec<(DayKey, Counts)>,
}

impl Sums {
    fn add_to_window(&mut self, tenant: &Arc<str>, window: Window, charged: Charged) {
        if !self.windows.contains_key(tenant) {
            self.windows.insert(tenant.clone(), Vec::new());
        }
        let Some(windows) = self.windows.get_mut(tenant) else { return };
        match windows.iter_mut().rev().find(|(known, _)| *known == window) {
            Some((_, sum)) => *sum = sum.plus(charged),
            None => windows.push((window, charged)),
        }
    }

    fn absorb(&mut self, other: Self) {
        for (tenant, windows) in other.windows {
            for (window, charged) in windows {
                self.add_to_window(&tenant, window, charged);
            }
        }
        for (key, tally) in other.rows {
            self.rows.entry(key).or_default().absorb(&tally);
        }
        self.tagged.absorb(other.tagged);
    }

    fn window(&self, tenant: &str, window: &Window) -> Charged {
        let windows = self.windows.get(tenant).into_iter().flatten();
        windows.rev().find(|(known, _)| known == window).map_or_else(Charged::default, |(_, sum)| *sum)
    }

    /// Drops what is `whose`; answers how many usage rows and windows that was.
    fn erase(&mut self, whose: &WhoseUid) -> (u64, u64) {
        let mut windows = 0;
        self.windows.retain(|uid, of| {
            windows += if whose(uid) { of.len() as u64 } else { 0 };
            !whose(uid)
        });
        let before = self.rows.len();
        self.rows.retain(|(_, uid, ..), _| !whose(uid));
        let rows = (before - self.rows.len()) as u64 + self.tagged.erase(whose);
        (rows, windows)
    }

    /// Drops what is too old to be read at `now_ms`.
    fn forget(&mut self, now_ms: u64) {
        for windows in self.windows.values_mut() {
            windows.retain(|(window, _)| window.resets_at_ms.saturating_add(KEEP_WINDOWS_MS) > now_ms);
        }
        self.windows.retain(|_, windows| !windows.is_empty());
        let first_day: Arc<str> = day_utc(now_ms.saturating_sub(KEEP_ROWS_MS)).into();
        self.rows = self.rows.split_off(&(first_day.clone(), Arc::default(), Arc::default(), None));
        let first_day_of_hours = day_utc(now_ms.saturating_sub(KEEP_HOURS_MS));
        let is_old_hour = |(day, _, _, hour): &&RowKey| hour.is_some() && **day < *first_day_of_hours;
        for key in self.rows.keys().filter(is_old_hour).cloned().collect::<Vec<_>>() {
            if let Some(tally) = self.rows.remove(&key) {
                let (day, tenant, model, _) = key;
                self.rows.entry((day, tenant, model, None)).or_default().absorb(&tally);
            }
        }
        self.tagged.forget(&first_day, &first_day_of_hours);
    }
}

/// The sums over all receipts.
#[derive(Debug, Default)]
pub(super) struct Totals {
    base: Arc<Sums>,
    fresh: Sums,
    tags: Tags,
    /// The day of the last receipt, as a number and as text, so that a row costs no formatting.
    day: (u64, Arc<str>),
}

impl Totals {
    /// Begins with the sums of a checkpoint.
    pub(super) fn from_sums(mut base: Arc<Sums>) -> Self {
        if let Some(base) = Arc::get_mut(&mut base) {
            for ((day, tenant, model), counts) in std::mem::take(&mut base.days) {
                base.rows.entry((day, tenant, model, None)).or_default().absorb(&Tally { counts, ..Tally::default() });
            }
        }
        Self { base, ..Self::default() }
    }

    /// Counts a receipt.
    pub(super) fn add(&mut self, receipt: &Receipt) {
        let (tenant, charged) = (receipt.uid(), receipt.charged());
        for window in &receipt.windows {
            self.fresh.add_to_window(tenant, *window, charged);
        }
        let day = self.day_of(receipt.created_at_ms).clone();
        let model = receipt.model.clone().unwrap_or_default();
        let hour = u8::try_from(receipt.created_at_ms % DAY_MS / HOUR_MS).ok();
        let known = || {
            let mut known = OfDay::default();
            [&*self.base, &self.fresh].iter().for_each(|part| part.tagged.note_known(&day, tenant, &mut known));
            known
        };
        for tag in self.tags.of(&day, receipt, known) {
            self.fresh.tagged.add(Place { day: &day, hour, tenant, model: &model }, tag, Counts::of(receipt));
        }
        self.fresh.rows.entry((day, tenant.clone(), model, hour)).or_default().count(receipt);
    }

    /// The UTC day of a receipt.
    pub(super) fn day_of(&mut self, created_at_ms: u64) -> &Arc<str> {
        let day = created_at_ms / DAY_MS;
        if self.day.0 != day || self.day.1.is_empty() {
            self.day = (day, day_utc(created_at_ms).into());
        }
        &self.day.1
    }

    /// What a tenant has used in a window.
    pub(super) fn window(&self, tenant: &str, window: &Window) -> Charged {
        self.base.window(tenant, window).plus(self.fresh.window(tenant, window))
    }

    /// All sums as they are now, less what is too old at `forget_at_ms`; `None` while an earlier answer is still in use.
    pub(super) fn snapshot(&mut self, forget_at_ms: Option<u64>) -> Option<Arc<Sums>> {
        let base = Arc::get_mut(&mut self.base)?;
        base.absorb(std::mem::take(&mut self.fresh));
        if let Some(now_ms) = forget_at_ms {
            base.forget(now_ms);
        }
        Some(self.base.clone())
    }

    /// Drops what is `whose`; answers how many usage rows and windows that was. Whoever has an earlier answer keeps it,
    /// which is the one time that all is copied.
    pub(super) fn erase(&mut self, whose: &WhoseUid) -> (u64, u64) {
        let base = Arc::make_mut(&mut self.base);
        base.absorb(std::mem::take(&mut self.fresh));
        self.tags.erase(whose);
        base.erase(whose)
    }

    /// The usage rows as they are now, to be read at leisure.
    pub(super) fn rows(&self) -> Rows {
        Rows { base: self.base.clone(), fresh: self.fresh.rows.clone(), tagged: self.fresh.tagged.clone() }
    }
}

/// The usage rows of one instant.
pub(super) struct Rows {
    base: Arc<Sums>,
    fresh: BTreeMap<RowKey, Tally>,
    /// What of the fresh is by tag.
    tagged: Tagged,
}

impl Rows {
    /// Those of the query, in order, at most `limit` and at least one, from after `cursor`.
    pub(super) fn page(&self, query: &UsageQuery, cursor: Option<&str>, limit: usize) -> Page<UsageRow> {
        let [first, last] = query.days();
        let start = start_of(&first, cursor);
        let limit = limit.max(1);
        // The first rows of the union are among the first of either part; one more shows whether there is a next page.
        let mut rows = BTreeMap::<[&Arc<str>; 3], Counts>::new();
        for part in [&self.base.rows, &self.fresh] {
            let mut seen = None;
            let mut count = 0;
            let found = part
                .range((start.clone(), Bound::Unbounded))
                .take_while(|((day, ..), _)| **day <= *last)
                .filter(|((_, tenant, model, _), _)| query.is_of(tenant, model));
            for ((day, tenant, model, _), tally) in found {
                let key = [day, tenant, model];
                if seen.replace(key) != Some(key) {
                    count += 1;
                }
                if count > limit.saturating_add(1) {
                    break;
                }
                let sum = rows.entry(key).or_default();
                *sum = sum.plus(tally.counts);
            }
        }
        let row = |([day, tenant, model], counts): ([&Arc<str>; 3], Counts)| {
            UsageRow::of(day, tenant.clone(), model.clone(), counts)
        };
        Page::cut(rows.into_iter().map(row), limit, UsageRow::cursor)
    }

    /// What those of a query add up to.
    pub(super) fn by(&self, query: &UsageQuery, by: &BTreeSet<Column>) -> Vec<UsageRow> {
        let [first, last] = query.days();
        let mut sums = UsageSums::new(query, by);
        if let Some(tag) = &query.tag {
            [&self.base.tagged, &self.tagged].iter().for_each(|part| part.add_up(tag, &first, &last, &mut sums));
        }
        let first: RowKey = (first.into(), Arc::default(), Arc::default(), None);
        for part in [&self.base.rows, &self.fresh] {
            let found = part.range(&first..).take_while(|((day, ..), _)| **day <= *last);
            for ((day, tenant, model, hour), tally) in found {
                sums.add(Place { day, hour: *hour, tenant, model }, tally.counts);
            }
        }
        sums.into_rows()
    }

    /// What those of a period add up to.
    pub(super) fn figures(&self, period: &Period) -> Figures {
        let mut figures = Figures::default();
        let (first, last) = (day_utc(period.from_ms), day_utc(period.to_ms.saturating_sub(1)));
        let first: RowKey = (first.into(), Arc::default(), Arc::default(), None);
        // Rows of a day stand together, so that its beginning is reckoned once.
        let mut day_ms = (None, None);
        for part in [&self.base.rows, &self.fresh] {
            let found = part.range(&first..).take_while(|((day, ..), _)| **day <= *last);
            for ((day, tenant, _, hour), tally) in found {
                if day_ms.0 != Some(day) {
                    day_ms = (Some(day), beginning_of(day));
                }
                let Some(day_ms) = day_ms.1 else { continue };
                let at_ms = day_ms + hour.map_or(0, u64::from) * HOUR_MS;
                if period.has(at_ms, at_ms + hour.map_or(DAY_MS, |_| HOUR_MS)) {
                    figures.add(period, at_ms, tenant, tally);
                }
            }
        }
        figures
    }
}

/// Where a page begins: after the cursor, `day/tenant/model` of the last row that was seen, and not before the first day.
fn start_of(from: &str, cursor: Option<&str>) -> Bound<RowKey> {
    let mut parts = cursor.unwrap_or_default().splitn(3, '/').map(Arc::<str>::from);
    let mut part = || parts.next().unwrap_or_default();
    // After all hours of the row.
    let seen = (part(), part(), part(), Some(u8::MAX));
    if &*seen.0 >= from && cursor.is_some() {
        Bound::Excluded(seen)
    } else {
        Bound::Included((from.into(), Arc::default(), Arc::default(), None))
    }
}

fn rows_as_list<S: Serializer>(rows: &BTreeMap<RowKey, Tally>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(rows)
}

fn rows_from_list<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<RowKey, Tally>, D::Error> {
    let mut texts = Texts::default();
    let rows = Vec::<(RowKey, Tally)>::deserialize(d)?;
    let row = |((day, tenant, model, hour), tally): (RowKey, Tally)| {
        let models = tally.models.into_iter().map(|(model, calls)| (texts.once(model), calls)).collect();
        ((texts.once(day), texts.once(tenant), texts.once(model), hour), Tally { models, ..tally })
    };
    Ok(rows.into_iter().map(row).collect())
}

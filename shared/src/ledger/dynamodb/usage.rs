//! Usage rows, read day by day: the sums of a day's 16 parts, each of which is in order.

use super::receipts::{DAYS, SHARDS, tag_partition, usage_partition};
use super::row::{Place, tally};
use super::tag_row::TagPlace;
use crate::clock::{DAY_MS, HOUR_MS};
use crate::directory::Page;
use crate::dynamodb::{Fault, Item, Span, Table, text_of};
use crate::ledger::usage::{self, UsageSums};
use crate::ledger::{Column, Counts, Figures, Period, TagQuery, UsageQuery, UsageRow};
use crate::limit::window::{beginning_of, day_utc};
use crate::locking::lock;
use futures_util::future::try_join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

/// How many days are read at once where all are wanted.
const DAYS_AT_ONCE: usize = 4;

/// Tenant and model.
type Names = (Arc<str>, Arc<str>);

/// The first `limit` rows of the query, from after `cursor`: `day/tenant/model` of the last row that was seen.
pub(super) async fn page(
    table: &Table,
    query: &UsageQuery,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<UsageRow>, Fault> {
    let mut seen = cursor.unwrap_or_default().splitn(3, '/');
    let mut seen = || seen.next().unwrap_or_default();
    let (seen_day, seen_names) = (seen(), (seen().into(), seen().into()));
    let [first, last] = query.days();
    let mut data = Vec::new();
    for day in days(table, seen_day.max(&first), &last).await? {
        let after = (day == seen_day).then_some(&seen_names);
        data.extend(rows_of(table, &day, query, after, limit + 1 - data.len()).await?);
        if data.len() > limit {
            break;
        }
    }
    Ok(Page::cut(data, limit, UsageRow::cursor))
}

/// What the rows of a query add up to.
pub(super) async fn by(table: &Table, query: &UsageQuery, by: &BTreeSet<Column>) -> Result<Vec<UsageRow>, Fault> {
    let [first, last] = query.days();
    let days: Vec<Arc<str>> = days(table, &first, &last).await?.into_iter().map(Arc::from).collect();
    let sums = Mutex::new(UsageSums::new(query, by));
    for some in days.chunks(DAYS_AT_ONCE) {
        let sums = &sums;
        let parts = || some.iter().flat_map(|day| (0..SHARDS).map(move |shard| (day, shard)));
        if let Some(TagQuery { key, .. }) = &query.tag {
            let tagged = parts().map(|(day, shard)| {
                each_of(table, query, tag_partition(day, shard, key), move |item| {
                    let (TagPlace { tenant, hour, model, value }, counts) = TagPlace::read(item)?;
                    let place = usage::Place { day, hour: Some(hour), tenant: &tenant, model: &model };
                    lock(sums).add_tagged(place, &value, counts);
                    Ok(())
                })
            });
            try_join_all(tagged).await?;
        }
        let all = parts().map(|(day, shard)| {
            each_of(table, query, usage_partition(day, shard), move |item| {
                let row = place_of(item)?;
                let place = usage::Place { day, hour: row.hour, tenant: &row.tenant, model: &row.model };
                lock(sums).add(place, tally(&row, item).counts);
                Ok(())
            })
        });
        try_join_all(all).await?;
    }
    Ok(sums.into_inner().unwrap_or_else(PoisonError::into_inner).into_rows())
}

/// Shows `each` the items of a partition, of the query's tenant where it has one.
async fn each_of(
    table: &Table,
    query: &UsageQuery,
    pk: String,
    mut each: impl FnMut(&Item) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let [from, to] = keys_of(query);
    let span = Span { pk: &pk, from: &from, to: &to, newest_first: false };
    table.visit(span, usize::MAX, |item| each(&item).map(|()| ControlFlow::Continue(()))).await
}

/// The first and the last key of a partition that may be of the query's tenant.
fn keys_of(query: &UsageQuery) -> [String; 2] {
    match &query.tenant {
        Some(tenant) => [format!("{tenant}#"), format!("{tenant}#{}", Span::LAST)],
        None => [Span::FIRST.to_owned(), Span::LAST.to_owned()],
    }
}

/// What the rows of a period add up to.
pub(super) async fn figures(table: &Table, period: &Period) -> Result<Figures, Fault> {
    let (first, last) = (day_utc(period.from_ms), day_utc(period.to_ms.saturating_sub(1)));
    let mut figures = Figures::default();
    for some in days(table, &first, &last).await?.chunks(DAYS_AT_ONCE) {
        let parts = some.iter().flat_map(|day| (0..SHARDS).map(move |shard| figures_of(table, day, shard, period)));
        try_join_all(parts).await?.into_iter().for_each(|part| figures.absorb(part));
    }
    Ok(figures)
}

/// Those of the days from `from` to `to` that have usage.
pub(super) async fn days(table: &Table, from: &str, to: &str) -> Result<Vec<String>, Fault> {
    let days = table.query(Span { from: from.max(Span::FIRST), to, ..Span::all(DAYS) }, usize::MAX, |_| true).await?;
    days.iter().map(|day| text_of(day, "sk").map(str::to_owned)).collect()
}

/// What one part of a day adds to the figures of a period.
async fn figures_of(table: &Table, day: &str, shard: u64, period: &Period) -> Result<Figures, Fault> {
    let mut figures = Figures::default();
    let day_ms = beginning_of(day).ok_or_else(|| Fault(format!("{day} is listed as a day that has usage")))?;
    let each = |item: Item| {
        let place = place_of(&item)?;
        let at_ms = day_ms + place.hour.map_or(0, u64::from) * HOUR_MS;
        if period.has(at_ms, at_ms + if place.hour.is_some() { HOUR_MS } else { DAY_MS }) {
            figures.add(period, at_ms, &place.tenant, &tally(&place, &item));
        }
        Ok(ControlFlow::Continue(()))
    };
    table.visit(Span::all(&usage_partition(day, shard)), usize::MAX, each).await?;
    Ok(figures)
}

/// The first `count` rows of a day of the query, from after one.
async fn rows_of(
    table: &Table,
    day: &str,
    query: &UsageQuery,
    after: Option<&Names>,
    count: usize,
) -> Result<Vec<UsageRow>, Fault> {
    // The first rows of the union are among the first of each part.
    let parts = try_join_all((0..SHARDS).map(|shard| part_of(table, day, shard, query, after, count))).await?;
    let mut rows = BTreeMap::<Names, Counts>::new();
    for (names, counts) in parts.into_iter().flatten() {
        let sum = rows.entry(names).or_default();
        *sum = sum.plus(counts);
    }
    let row = |((tenant, model), counts)| UsageRow::of(day, tenant, model, counts);
    Ok(rows.into_iter().take(count).map(row).collect())
}

/// The first `count` rows of one part of a day, each the sum of its hours.
async fn part_of(
    table: &Table,
    day: &str,
    shard: u64,
    query: &UsageQuery,
    after: Option<&Names>,
    count: usize,
) -> Result<BTreeMap<Names, Counts>, Fault> {
    let [first, to] = keys_of(query);
    let after_key = after.map(|(tenant, model)| format!("{tenant}#{model}")).unwrap_or_default();
    let pk = usage_partition(day, shard);
    let span = Span { pk: &pk, from: after_key.as_str().max(&first), to: &to, newest_first: false };
    let mut rows = BTreeMap::<Names, Counts>::new();
    let each = |item: Item| {
        let place = place_of(&item)?;
        let counts = tally(&place, &item).counts;
        let names = (place.tenant, place.model);
        if Some(&names) == after || !query.is_of(&names.0, &names.1) {
            return Ok(ControlFlow::Continue(()));
        }
        // All hours of a row stand together, so that with the first one of another row those before are whole.
        if rows.len() == count && !rows.contains_key(&names) {
            return Ok(ControlFlow::Break(()));
        }
        let sum = rows.entry(names).or_default();
        *sum = sum.plus(counts);
        Ok(ControlFlow::Continue(()))
    };
    table.visit(span, count.saturating_mul(24).saturating_add(1), each).await?;
    Ok(rows)
}

/// Which row an item is.
fn place_of(item: &Item) -> Result<Place, Fault> {
    let key = text_of(item, "sk")?;
    Place::read(key).ok_or_else(|| Fault(format!("a usage row has no tenant: {key}")))
}

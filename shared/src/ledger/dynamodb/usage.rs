//! Usage rows, read day by day: the sums of a day's 16 parts, each of which is in order.

use super::receipts::{DAYS, SHARDS, usage_partition, usage_place};
use crate::directory::Page;
use crate::dynamodb::{Fault, Item, Span, Table, number_of, text_of};
use crate::ledger::{UsageQuery, UsageRow};
use futures_util::future::try_join_all;
use std::collections::BTreeMap;

/// The first `limit` rows that are asked for, from after `cursor`: `day/tenant/model` of the last row that was seen.
pub(super) async fn page(
    table: &Table,
    query: &UsageQuery,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<UsageRow>, Fault> {
    let mut seen = cursor.unwrap_or_default().splitn(3, '/');
    let mut seen = || seen.next().unwrap_or_default();
    let (seen_day, seen_place) = (seen(), usage_place(seen(), seen()));
    let from = seen_day.max(query.from.as_deref().unwrap_or_default()).max(Span::FIRST);
    let to = query.to.as_deref().unwrap_or(Span::LAST);
    let days = table.query(Span { from, to, ..Span::all(DAYS) }, usize::MAX, |_| true).await?;

    let mut data = Vec::new();
    for day in &days {
        let day = text_of(day, "sk")?;
        let after = (day == seen_day).then_some(&*seen_place);
        data.extend(rows_of(table, day, query, after, limit + 1 - data.len()).await?);
        if data.len() > limit {
            break;
        }
    }
    let more = data.len() > limit;
    data.truncate(limit);
    let next = data.last().filter(|_| more).map(|row| format!("{}/{}/{}", row.day, row.tenant, row.model));
    Ok(Page { data, next })
}

/// The first `count` rows of a day that are asked for, from after a place.
async fn rows_of(
    table: &Table,
    day: &str,
    query: &UsageQuery,
    after: Option<&str>,
    count: usize,
) -> Result<Vec<UsageRow>, Fault> {
    let tenant = query.tenant.as_deref();
    let first = tenant.map_or(Span::FIRST.to_owned(), |tenant| usage_place(tenant, ""));
    let to = tenant.map_or(Span::LAST.to_owned(), |tenant| usage_place(tenant, Span::LAST));
    let (from, to) = (after.unwrap_or_default().max(&first), &*to);
    let is_asked_for = &|item: &Item| {
        text_of(item, "sk").is_ok_and(|place| Some(place) != after)
            && query.model.as_deref().is_none_or(|asked| names(item).is_ok_and(|(_, model)| model == asked))
    };
    // The first rows of the union are among the first of each part.
    let parts = try_join_all((0..SHARDS).map(|shard| async move {
        let pk = usage_partition(day, shard);
        table.query(Span { pk: &pk, from, to, newest_first: false }, count, is_asked_for).await
    }))
    .await?;
    let mut rows = BTreeMap::<(&str, &str), UsageRow>::new();
    for item in parts.iter().flatten() {
        let (tenant, model) = names(item)?;
        let row = rows.entry((tenant, model)).or_insert_with(|| UsageRow {
            day: day.to_owned(),
            tenant: tenant.into(),
            model: model.into(),
            requests: 0,
            cache_hits: 0,
            input_tokens: 0,
            output_tokens: 0,
            cost_nusd: 0,
        });
        for (sum, name) in [
            (&mut row.requests, "requests"),
            (&mut row.cache_hits, "cache_hits"),
            (&mut row.input_tokens, "input_tokens"),
            (&mut row.output_tokens, "output_tokens"),
            (&mut row.cost_nusd, "cost_nusd"),
        ] {
            *sum = sum.saturating_add(number_of(item, name));
        }
    }
    Ok(rows.into_values().take(count).collect())
}

/// The tenant and the model of a row.
fn names(item: &Item) -> Result<(&str, &str), Fault> {
    let place = text_of(item, "sk")?;
    place.split_once('#').ok_or_else(|| Fault(format!("a usage row has no tenant: {place}")))
}

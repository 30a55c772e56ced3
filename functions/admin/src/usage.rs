//! `/admin/usage`: what was used, by day, tenant and model; as pages of JSON, or as CSV for a spreadsheet.
//!
//! The rows are the ledger's. Grouping adds them up here, over all pages of the ledger: an operator asks for it now and
//! then, and a border that every backend must implement is dearer than a slow answer. CSV without a `limit` has every row,
//! because a sheet cannot say that it was cut.

use crate::Plane;
use crate::ask::{Params, ROWS};
use crate::csv::csv;
use crate::guard::{Failure, Outcome, reply};
use crate::names::Names;
use axum::extract::State;
use gateway_core::directory::Page;
use gateway_core::error::Error;
use gateway_core::ledger::{UsageQuery, UsageRow};
use gateway_core::limit::window::day_utc;
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What rows can be grouped by, in the order in which they are sorted.
const GROUPS: [&str; 3] = ["day", "tenant", "model"];
/// What rows count.
const COUNTS: [&str; 5] = ["requests", "cache_hits", "input_tokens", "output_tokens", "cost_usd"];
/// Rows that are read from the ledger at once, where all are read.
const LEDGER_ROWS: usize = 1000;

/// Which of [`GROUPS`] the rows are grouped by.
type Grouping = [bool; 3];

/// `GET /admin/usage`
pub(crate) async fn list(State(plane): State<Arc<Plane>>, mut params: Params) -> Outcome {
    let (from, to) = (day(&mut params, "from")?, day(&mut params, "to")?);
    if from.is_some() && to.is_some() && from > to {
        return Err(Error::invalid("from", "It must not be after `to`.").into());
    }
    let (tenant, model) = (params.take("tenant"), params.take("model"));
    let by = grouping(&mut params)?;
    let is_csv = match params.take("format").as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(_) => return Err(Error::invalid("format", "It must be json or csv.").into()),
    };
    let (cursor, limit) = (params.cursor(), params.limit()?);
    params.finish()?;
    let limit = if is_csv { limit } else { limit.or(Some(ROWS)) };
    let tenant = match tenant {
        Some(asked) => Some(plane.uid_of(&asked).await?.to_string()),
        None => None,
    };
    let query = UsageQuery { from, to, tenant, model };
    let page = plane.rows(&query, by, cursor.as_deref(), limit).await?;
    let columns: Vec<&str> =
        GROUPS.into_iter().zip(by).filter_map(|(name, is_shown)| is_shown.then_some(name)).chain(COUNTS).collect();
    let names = plane.names().await?;
    let rows: Vec<Value> = page.data.iter().map(|row| row_json(row, &columns, &names)).collect();
    Ok(if is_csv {
        csv(&columns, &rows, page.next.as_deref())
    } else {
        reply(StatusCode::OK, &json!({"data": rows, "next": page.next}))
    })
}

/// A UTC day, written as such or as any instant of it in Unix milliseconds.
fn day(params: &mut Params, name: &str) -> Result<Option<String>, Error> {
    let read = |text: String| {
        let two = |place: usize| text.get(place..place + 2).and_then(|digits| digits.parse::<u8>().ok()).unwrap_or(0);
        let is_form = text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
        match text.parse::<u64>() {
            Ok(ms) if ms < 253_402_300_800_000 => Ok(day_utc(ms)),
            _ if text.len() == 10 && is_form && (1..=12).contains(&two(5)) && (1..=31).contains(&two(8)) => Ok(text),
            _ => Err(Error::invalid(name, "It must be a UTC day as YYYY-MM-DD, or Unix milliseconds.")),
        }
    };
    params.take(name).map(read).transpose()
}

/// What the rows are grouped by: everything by default.
fn grouping(params: &mut Params) -> Result<Grouping, Error> {
    let Some(list) = params.take("group_by") else { return Ok([true; 3]) };
    let mut by = [false; 3];
    for word in list.split(',') {
        let place = GROUPS.iter().position(|name| *name == word.trim());
        let unknown = || Error::invalid("group_by", "It must be day, tenant, model, or several of them with commas.");
        by[place.ok_or_else(unknown)?] = true;
    }
    Ok(by)
}

impl Plane {
    /// Rows from after `cursor`; all of them where there is no `limit`.
    async fn rows(
        &self,
        query: &UsageQuery,
        by: Grouping,
        cursor: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Page<UsageRow>, Failure> {
        let ledger = &self.gateway.ledger;
        match limit {
            Some(limit) if by == [true; 3] => Ok(ledger.usage(query, cursor, limit).await?),
            _ => {
                let mut sums = BTreeMap::<[Arc<str>; 3], UsageRow>::new();
                let mut after = None;
                loop {
                    let page = ledger.usage(query, after.as_deref(), LEDGER_ROWS).await?;
                    page.data.into_iter().for_each(|row| add(&mut sums, row, by));
                    after = page.next;
                    if after.is_none() {
                        return Ok(cut(sums, cursor, limit));
                    }
                }
            }
        }
    }
}

/// Adds a row to that of its group.
fn add(sums: &mut BTreeMap<[Arc<str>; 3], UsageRow>, row: UsageRow, by: Grouping) {
    let kept = |is_grouped: bool, value: &str| if is_grouped { Arc::from(value) } else { Arc::default() };
    let group: [Arc<str>; 3] = [kept(by[0], &row.day), kept(by[1], &row.tenant), kept(by[2], &row.model)];
    let [day, tenant, model] = group.clone();
    let none = UsageRow {
        day: day.to_string(),
        tenant,
        model,
        requests: 0,
        cache_hits: 0,
        input_tokens: 0,
        output_tokens: 0,
        cost_nusd: 0,
    };
    let sum = sums.entry(group).or_insert(none);
    sum.requests = sum.requests.saturating_add(row.requests);
    sum.cache_hits = sum.cache_hits.saturating_add(row.cache_hits);
    sum.input_tokens = sum.input_tokens.saturating_add(row.input_tokens);
    sum.output_tokens = sum.output_tokens.saturating_add(row.output_tokens);
    sum.cost_nusd = sum.cost_nusd.saturating_add(row.cost_nusd);
}

/// The page of `sums` that begins after `cursor`, which is the last group that was seen, as `day/tenant/model`.
fn cut(sums: BTreeMap<[Arc<str>; 3], UsageRow>, cursor: Option<&str>, limit: Option<usize>) -> Page<UsageRow> {
    let seen = cursor.map(|cursor| {
        let mut parts = cursor.splitn(3, '/').map(Arc::<str>::from);
        [(); 3].map(|()| parts.next().unwrap_or_default())
    });
    let rows = sums.into_iter().filter(|(group, _)| seen.as_ref().is_none_or(|seen| group > seen));
    Page::cut(rows.map(|(_, row)| row), limit.unwrap_or(usize::MAX), UsageRow::cursor)
}

/// A row as it is shown, with these columns only.
fn row_json(row: &UsageRow, columns: &[&str], names: &Names) -> Value {
    let tenant = names.of(&row.tenant);
    let mut row = serde_json::to_value(UsageRow { tenant, ..row.clone() }).unwrap_or_default();
    if let Some(row) = row.as_object_mut() {
        row.retain(|name, _| columns.contains(&name.as_str()));
    }
    row
}

//! `/admin/usage`: what was used, by day, hour, tenant, model and the values of a tag; as pages of JSON, or as CSV for a
//! spreadsheet.
//!
//! The rows are the ledger's, and of any list the sum is that of the receipts: a request is in one row. So rows are by one
//! tag at a time, and a filter by another one than that is refused; requests without it are a row as well. All times are
//! UTC, and a day is never widened to what is a day elsewhere.
//!
//! CSV without a `limit` has every row, because a sheet cannot say that it was cut.

use crate::Plane;
use crate::ask::{LAST_MS, Params, ROWS};
use crate::csv::csv;
use crate::guard::{Failure, Outcome, reply};
use crate::metrics::instant;
use crate::names::Names;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::clock::{DAY_MS, HOUR_MS};
use gateway_core::directory::Page;
use gateway_core::error::Error;
use gateway_core::ledger::{Column, TagQuery, UsageQuery, UsageRow};
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What rows can be told apart by, and the name of its column.
const COLUMNS: [(Column, &str); 5] = [
    (Column::Day, "day"),
    (Column::Hour, "hour"),
    (Column::Tenant, "tenant"),
    (Column::Model, "model"),
    (Column::Tag, "tag"),
];
/// What rows count.
const COUNTS: [&str; 5] = ["requests", "cache_hits", "input_tokens", "output_tokens", "cost_usd"];
/// What rows are told apart by where nothing is said: as the ledger pages through them.
const PLAIN: [Column; 3] = [Column::Day, Column::Tenant, Column::Model];
/// How far back hours go where no `from` is given.
const HOURS_MS: u64 = 7 * DAY_MS;

/// What the last row of a page was.
type Seen = [String; 5];

/// `GET /admin/usage`
pub(crate) async fn list(State(plane): State<Arc<Plane>>, mut params: Params) -> Outcome {
    let (by, key) = grouping(&mut params)?;
    let tag = tag(&mut params, key)?;
    let gateway = &plane.gateway;
    let keeps_hours_ms = by.contains(&Column::Hour).then(|| gateway.ledger.keeps_hours_ms());
    let (from_ms, to_ms) = span(&mut params, gateway.clock.now_ms(), keeps_hours_ms)?;
    let (tenant, model) = (params.take("tenant"), params.take("model"));
    let is_csv = match params.take("format").as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(_) => return Err(Error::invalid("format", "It must be json or csv.").into()),
    };
    let (seen, limit) = (params.cursor().map(seen).transpose()?, params.limit()?);
    params.finish()?;
    let limit = if is_csv { limit } else { limit.or(Some(ROWS)) };
    let tenant = match tenant {
        Some(asked) => Some(plane.uid_of(&asked).await?.to_string()),
        None => None,
    };
    let query = UsageQuery { from_ms, to_ms, tenant, model, tag };
    let page = plane.rows(&query, &by, seen, limit).await?;
    let shown = COLUMNS.iter().filter_map(|(column, name)| by.contains(column).then_some(*name));
    let columns: Vec<&str> = shown.chain(COUNTS).collect();
    let names = plane.names().await?;
    let rows: Vec<Value> = page.data.iter().map(|row| row_json(row, &columns, &names)).collect();
    Ok(if is_csv {
        csv(&columns, &rows, page.next.as_deref())
    } else {
        reply(StatusCode::OK, &json!({"data": rows, "next": page.next}))
    })
}

/// What the rows are told apart by, and the key of the tag that may be among it.
fn grouping(params: &mut Params) -> Result<(BTreeSet<Column>, Option<String>), Error> {
    let Some(list) = params.take("group_by") else { return Ok((PLAIN.into(), None)) };
    let (mut by, mut tag) = (BTreeSet::new(), None::<&str>);
    for word in list.split(',').map(str::trim) {
        if let Some(key) = word.strip_prefix("tag:").filter(|key| !key.is_empty()) {
            if tag.replace(key).is_some_and(|other| other != key) {
                let message = "It takes one tag: a request that has two would be in two rows.";
                return Err(Error::invalid("group_by", message));
            }
            by.insert(Column::Tag);
        } else {
            let named = COLUMNS.iter().find(|(column, name)| *name == word && *column != Column::Tag);
            let message = "It must be day, hour, tenant, model, tag:KEY, or several of them with commas.";
            by.insert(named.ok_or_else(|| Error::invalid("group_by", message))?.0);
        }
    }
    Ok((by, tag.map(str::to_owned)))
}

/// The tag that rows are told apart by, or that requests must have: `tag=KEY=VALUE`, as in their header.
fn tag(params: &mut Params, by: Option<String>) -> Result<Option<TagQuery>, Error> {
    let Some(asked) = params.take("tag") else { return Ok(by.map(|key| TagQuery { key, value: None })) };
    let Some((key, value)) = asked.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return Err(Error::invalid("tag", "It must be KEY=VALUE, as in x-gateway-tags; KEY= is those without it."));
    };
    if by.is_some_and(|by| by != key) {
        let message =
            "It must be of the key in `group_by`: requests are counted by each of their tags, not by two at once.";
        return Err(Error::invalid("tag", message));
    }
    Ok(Some(TagQuery { key: key.to_owned(), value: Some(value.to_owned()) }))
}

/// From when on, and up to when. An instant is taken for its day, and for its hour where rows are by hour.
fn span(params: &mut Params, now_ms: u64, keeps_hours_ms: Option<u64>) -> Result<(u64, u64), Error> {
    let (from, to) = (instant(params, "from")?, instant(params, "to")?);
    let unit_ms = keeps_hours_ms.map_or(DAY_MS, |_| HOUR_MS);
    let last_ms = to.map_or(if keeps_hours_ms.is_some() { now_ms } else { LAST_MS }, |(to_ms, _)| to_ms);
    // A day is meant to its end.
    let to_unit_ms = to.map_or(DAY_MS, |(_, of_ms)| of_ms.max(unit_ms));
    let to_ms = last_ms / to_unit_ms * to_unit_ms + to_unit_ms;
    let default_ms =
        keeps_hours_ms.map_or(0, |keeps_ms| last_ms.saturating_sub(HOURS_MS.min(keeps_ms)) / DAY_MS * DAY_MS);
    let from_ms = from.map_or(default_ms, |(from_ms, _)| from_ms / unit_ms * unit_ms);
    if let Some(keeps_ms) = keeps_hours_ms
        && from_ms < now_ms.saturating_sub(keeps_ms) / DAY_MS * DAY_MS
    {
        let days = keeps_ms / DAY_MS;
        return Err(Error::invalid("from", format!("Hours are kept for {days} days; ask for `group_by=day`.")));
    }
    if from_ms >= to_ms {
        return Err(Error::invalid("from", "It must not be after `to`."));
    }
    Ok((from_ms, to_ms))
}

/// Reads a cursor: what the last row of a page was, in a form that needs no escapes, whatever a client's tags are.
fn seen(cursor: String) -> Result<Seen, Error> {
    let read = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|json| serde_json::from_slice(&json).ok());
    read.ok_or_else(|| Error::invalid("cursor", "It must be the `next` of an earlier answer."))
}

fn cursor_of(row: &UsageRow) -> String {
    URL_SAFE_NO_PAD.encode(json!(row.group()).to_string())
}

impl Plane {
    /// Rows from after the one that was seen; all of them where there is no `limit`.
    async fn rows(
        &self,
        query: &UsageQuery,
        by: &BTreeSet<Column>,
        seen: Option<Seen>,
        limit: Option<usize>,
    ) -> Result<Page<UsageRow>, Failure> {
        let ledger = &self.gateway.ledger;
        if let Some(limit) = limit
            && *by == PLAIN.into()
            && query.tag.is_none()
        {
            let after = seen.map(|[day, _, tenant, model, _]| format!("{day}/{tenant}/{model}"));
            let page = ledger.usage(query, after.as_deref(), limit).await?;
            let next = page.next.and_then(|_| page.data.last().map(cursor_of));
            return Ok(Page { next, ..page });
        }
        let rows = ledger.usage_by(query, by).await?;
        let after = rows
            .into_iter()
            .filter(|row| seen.as_ref().is_none_or(|seen| row.group() > seen.each_ref().map(|text| &**text)));
        Ok(Page::cut(after, limit.unwrap_or(usize::MAX), cursor_of))
    }
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

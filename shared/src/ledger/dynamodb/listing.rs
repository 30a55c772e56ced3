//! A tenant's receipts, newest first.
//!
//! They lie by day, each day in some partitions, in the order of their ids, which begin with their time. A page reads the
//! last ones of each partition of a day, and goes on with the day before until it is full.

use super::receipts::{PARTS, kept, receipt_partition};
use super::usage::days;
use crate::clock::DAY_MS;
use crate::directory::Page;
use crate::dynamodb::{Fault, Span, Table};
use crate::id::RequestId;
use crate::ledger::{LedgerError, ReceiptQuery};
use crate::limit::window::{beginning_of, day_utc};
use crate::receipt::Receipt;
use futures_util::future::try_join_all;

/// Receipts of a page, and the days that it looks through for them.
const ROWS: usize = 50;
const LOOKED_THROUGH: usize = 8;
/// The end of the year 9999, after which days are no texts in order.
const LAST_MS: u64 = 253_402_300_799_999;

/// One page of the receipts of the tenant of this uid: those from before `cursor`, an id.
pub(super) async fn page(
    table: &Table,
    uid: &str,
    query: &ReceiptQuery,
    cursor: Option<&str>,
) -> Result<Page<Receipt>, LedgerError> {
    let before = match cursor {
        Some(id) => id.parse().map_err(|_| LedgerError::UnknownCursor)?,
        None => RequestId::first_of(LAST_MS),
    };
    let from = RequestId::first_of(*query.created_ms.start());
    let to = before.min(RequestId::first_of(query.created_ms.end().saturating_add(1).min(LAST_MS)));
    let days = days(table, &day_utc(from.created_at_ms()), &day_utc(to.created_at_ms())).await?;
    let mut data = Vec::new();
    for (place, day) in days.iter().rev().enumerate() {
        if place == LOOKED_THROUGH {
            let next_day_ms = beginning_of(day).unwrap_or(0) + DAY_MS;
            return Ok(Page { data, next: Some(RequestId::first_of(next_day_ms).to_string()) });
        }
        let parts = (0..PARTS).map(|part| last(table, receipt_partition(uid, day, part), from, to));
        let mut of_day = try_join_all(parts).await?.concat();
        of_day.sort_unstable_by_key(|receipt| std::cmp::Reverse(receipt.id));
        data.extend(of_day);
        if data.len() > ROWS {
            data.truncate(ROWS);
            let next = data.last().map(|receipt: &Receipt| receipt.id.to_string());
            return Ok(Page { data, next });
        }
    }
    Ok(Page { data, next: None })
}

/// The last receipts of a partition from `from` on and before `to`, more of them than a page has.
async fn last(table: &Table, partition: String, from: RequestId, to: RequestId) -> Result<Vec<Receipt>, Fault> {
    let (from, to) = (from.to_string(), to.to_string());
    let span = Span { pk: &partition, from: &from, to: &to, newest_first: true };
    let items = table.query(span, ROWS + 1, |item| item.get("sk").is_none_or(|id| id.as_s() != Ok(&to))).await?;
    items.iter().map(kept).collect()
}

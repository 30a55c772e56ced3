//! What reads the whole table: erasing what is kept of a tenant, and going through the receipts of all.
//!
//! Nothing lists all that is kept of one tenant, for a list would cost every request a write unit. So an erasure reads the
//! whole table, page by page, and takes out what is the tenant's, and so does whoever wants the receipts of all: slow,
//! dear, and rare. Both go on where the call before stopped.

use super::receipts::kept;
use crate::directory::Page;
use crate::dynamodb::{Change, Key, Table, text_of};
use crate::ledger::{Erased, LedgerError, ReceiptQuery, WhoseUid};
use crate::receipt::Receipt;
use futures_util::future::try_join_all;
use std::time::Duration;
use tokio::time::Instant;

/// For how long one call goes on: what a function behind a gateway has, less what is needed to answer.
const ERASING: Duration = Duration::from_secs(10);
/// How many items are removed at once.
const AT_ONCE: usize = 25;

/// Erases from after `cursor`, as long as there is time.
pub(super) async fn erase(table: &Table, whose: &WhoseUid, cursor: Option<&str>) -> Result<Erased, LedgerError> {
    let mut after = cursor.map(read).transpose()?;
    let (mut erased, until) = (Erased::default(), Instant::now() + ERASING);
    loop {
        let (items, next) = table.scan(after.as_ref(), "pk, sk").await?;
        let mut theirs = Vec::new();
        for item in &items {
            let key = Key::new(text_of(item, "pk")?, text_of(item, "sk")?);
            if uid_of(&key).is_some_and(|uid| whose(uid)) {
                match key.pk.split('#').next() {
                    Some("RECEIPT") => erased.receipts += 1,
                    Some("USAGE" | "TAGS") => erased.usage_rows += 1,
                    _ => erased.others += 1,
                }
                theirs.push(key);
            }
        }
        for some in theirs.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|key| table.write(Change::delete(key.clone())))).await?;
        }
        let Some(next) = next else { return Ok(erased) };
        if Instant::now() >= until {
            erased.next = cursor_of(&next);
            return Ok(erased);
        }
        after = Some(next);
    }
}

/// One page of the receipts of a query: what of the next megabyte of the table is such.
pub(super) async fn receipts(
    table: &Table,
    query: &ReceiptQuery,
    cursor: Option<&str>,
) -> Result<Page<Receipt>, LedgerError> {
    let after = cursor.map(read).transpose()?;
    let (items, next) = table.scan(after.as_ref(), "pk, sk, json, feedback").await?;
    let mut data = Vec::new();
    for item in &items {
        if text_of(item, "pk")?.starts_with("RECEIPT#") {
            data.extend(Some(kept(item)?).filter(|receipt| query.is_of(receipt)));
        }
    }
    Ok(Page { data, next: next.as_ref().and_then(cursor_of) })
}

fn read(cursor: &str) -> Result<Key, LedgerError> {
    let read = serde_json::from_str::<(String, String)>(cursor);
    read.map(|(pk, sk)| Key::new(pk, sk)).map_err(|_| LedgerError::UnknownCursor)
}

fn cursor_of(key: &Key) -> Option<String> {
    serde_json::to_string(&(&key.pk, &key.sk)).ok()
}

/// The uid under which an item of the ledger is kept; `None` for what is no tenant's, and for the directory's.
fn uid_of(key: &Key) -> Option<&str> {
    let mut parts = key.pk.split('#');
    match parts.next()? {
        "RECEIPT" | "TOTALS" | "GRANT" | "OPENED" | "IDEMPOTENCY" | "ANSWER" | "ALERTED" => parts.next(),
        "USAGE" | "TAGS" => key.sk.split('#').next(),
        "ALERTS" => key.sk.split('#').nth(1).filter(|uid| !uid.is_empty()),
        _ => None,
    }
}

//! Erasing what is kept of a tenant.
//!
//! Receipts lie each in a partition of its own, so that no tenant is a hot one; nothing lists those of one tenant, for a
//! list would cost every request a write unit. So an erasure reads the whole table, page by page, and takes out what is the
//! tenant's: slow, dear, and rare. It goes on where the call before it stopped.

use crate::dynamodb::{Change, Fault, Key, Table, text_of};
use crate::ledger::{Erased, WhoseUid};
use futures_util::future::try_join_all;
use std::time::Duration;
use tokio::time::Instant;

/// For how long one call goes on: what a function behind a gateway has, less what is needed to answer.
const ERASING: Duration = Duration::from_secs(10);
/// How many items are removed at once.
const AT_ONCE: usize = 25;

/// Erases from after `cursor`, as long as there is time.
pub(super) async fn erase(table: &Table, whose: &WhoseUid, cursor: Option<&str>) -> Result<Erased, Fault> {
    let unreadable = || Fault("the cursor is none of an earlier answer's".to_owned());
    let read = |cursor| serde_json::from_str::<(String, String)>(cursor).map_err(|_| unreadable());
    let mut after = cursor.map(read).transpose()?.map(|(pk, sk)| Key::new(pk, sk));
    let (mut erased, until) = (Erased::default(), Instant::now() + ERASING);
    loop {
        let (items, next) = table.scan(after.as_ref()).await?;
        let mut theirs = Vec::new();
        for item in &items {
            let key = Key::new(text_of(item, "pk")?, text_of(item, "sk")?);
            if uid_of(&key).is_some_and(|uid| whose(uid)) {
                match key.pk.split('#').next() {
                    Some("RECEIPT") => erased.receipts += 1,
                    Some("USAGE") => erased.usage_rows += 1,
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
            erased.next = serde_json::to_string(&(&next.pk, &next.sk)).ok();
            return Ok(erased);
        }
        after = Some(next);
    }
}

/// The uid under which an item of the ledger is kept; `None` for what is no tenant's, and for the directory's.
fn uid_of(key: &Key) -> Option<&str> {
    let mut parts = key.pk.split('#');
    match parts.next()? {
        "RECEIPT" | "TOTALS" | "GRANT" | "OPENED" | "IDEMPOTENCY" | "ANSWER" => parts.next(),
        "USAGE" => key.sk.split('#').next(),
        _ => None,
    }
}

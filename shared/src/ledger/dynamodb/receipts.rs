//! Receipts as items, and what they add to the sums.

use super::row::{self, Place};
use super::tag_row::{self, TagPlace};
use super::{DAY_MS, KEEP_ROWS_MS};
use crate::dynamodb::{Change, EXPIRES, Fault, Item, Key, json, number, number_of, record_of, seconds};
use crate::feedback::Feedback;
use crate::id::RequestId;
use crate::ledger::tags::Tag;
use crate::ledger::{Counts, Tally};
use crate::limit::window::{Window, day_utc};
use crate::money::{Amounts, Charged};
use crate::receipt::Receipt;
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::BTreeMap;

/// Over how many items each sum is spread. All are read, so that it may grow with the table in use, and never shrink.
pub(super) const SHARDS: u64 = 16;

/// Into how many partitions the receipts of a tenant's day go: 2,000 a second of up to 2 KB. A receipt is found by it.
pub(super) const PARTS: u64 = 8;

/// After what time DynamoDB may delete a receipt, and a window's totals after its end.
const DELETE_RECEIPTS_MS: u64 = 31 * DAY_MS;
const DELETE_WINDOWS_MS: u64 = 40 * DAY_MS;

/// What a receipt takes at most, in bytes of JSON: an item has 400 KB, and a transaction of 25 hits 4 MB.
const RECEIPT_BYTES: usize = 100_000;
/// How many attempts such a receipt keeps.
const ATTEMPTS: usize = 150;

/// The partition of one part of a tenant's receipts of a day; in it, the order is that of their ids.
pub(super) fn receipt_partition(uid: &str, day: &str, part: u64) -> String {
    format!("RECEIPT#{uid}#{day}#{part}")
}

pub(super) fn receipt_key(uid: &str, id: RequestId) -> Key {
    Key::new(receipt_partition(uid, &day_utc(id.created_at_ms()), id.draw() % PARTS), id.to_string())
}

pub(super) fn totals_key(uid: &str, window: &Window, shard: u64) -> Key {
    Key::alone(format!("TOTALS#{uid}#{}#{shard:02}", window.key()))
}

/// The partition of one part of a day's usage; in it, the order is that of tenants, models and hours.
pub(super) fn usage_partition(day: &str, shard: u64) -> String {
    format!("USAGE#{day}#{shard:02}")
}

/// The partition of one part of a day's usage by the values of one tag.
pub(super) fn tag_partition(day: &str, shard: u64, key: &str) -> String {
    format!("TAGS#{day}#{shard:02}#{key}")
}

/// The partition of the days that have usage.
pub(super) const DAYS: &str = "DAYS";

/// Lists a day among those that have usage.
pub(super) fn list_day(day: &str) -> Change {
    Change::put(Key::new(DAYS, day), [])
}

/// What stands in an item of a window's totals, by attribute: of all receipts, and of those admitted without the store.
const USED: [&str; 3] = ["requests", "tokens", "cost_nusd"];
const OUTAGE: [&str; 3] = ["outage_requests", "outage_tokens", "outage_cost_nusd"];

/// The totals in one item.
pub(super) fn charged(item: &Item) -> Charged {
    let amounts = |names: [&str; 3]| {
        let [requests, tokens, cost_nusd] = names.map(|name| number_of(item, name));
        Amounts { requests, tokens, cost_nusd }
    };
    Charged { used: amounts(USED), outage: amounts(OUTAGE) }
}

/// What is added to one item's attributes, and when that may be deleted.
#[derive(Default)]
struct Sum {
    expires_ms: u64,
    added: BTreeMap<String, u128>,
}

impl Sum {
    fn add(&mut self, names: [&str; 3], amounts: Amounts) {
        for (name, value) in names.into_iter().zip([amounts.requests, amounts.tokens, amounts.cost_nusd]) {
            *self.added.entry(name.to_owned()).or_default() += u128::from(value);
        }
    }

    fn into_change(self, key: Key) -> Change {
        let terms: Vec<String> = self.added.keys().map(|name| format!("{name} :{name}")).collect();
        let change = Change::update(key, format!("SET {EXPIRES} = :{EXPIRES} ADD {}", terms.join(", ")))
            .with(&format!(":{EXPIRES}"), seconds(self.expires_ms));
        self.added.into_iter().fold(change, |change, (name, value)| change.with(&format!(":{name}"), number(value)))
    }
}

/// A receipt, and the tags that it is counted under.
pub(super) type Tagged<'a> = (&'a Receipt, &'a [Tag]);

/// The changes that record receipts: first theirs, in order, each on condition that it is not there, then their sums'.
/// The sums lie on a shard that depends on the first receipt and on how often it was tried.
pub(super) fn changes(receipts: &[Tagged<'_>], tries: u32) -> Result<Vec<Change>, Fault> {
    let Some((first, _)) = receipts.first() else { return Ok(Vec::new()) };
    let shard = first.id.draw().wrapping_add(u64::from(tries)) % SHARDS;
    let mut all = Vec::new();
    let (mut sums, mut rows) = (BTreeMap::<Key, Sum>::new(), BTreeMap::<(String, Place), (u64, Tally)>::new());
    let mut by_tag = BTreeMap::<Key, (u64, Counts)>::new();
    for (receipt, tags) in receipts {
        let attributes =
            [("json", stored(receipt)?), (EXPIRES, seconds(receipt.created_at_ms.saturating_add(DELETE_RECEIPTS_MS)))];
        let key = receipt_key(receipt.uid(), receipt.id);
        all.push(Change::put(key, attributes).only_if("attribute_not_exists(pk)"));
        let Charged { used, outage } = receipt.charged();
        for window in &receipt.windows {
            let sum = sums.entry(totals_key(receipt.uid(), window, shard)).or_default();
            sum.expires_ms = window.resets_at_ms.saturating_add(DELETE_WINDOWS_MS);
            sum.add(USED, used);
            if receipt.outage {
                sum.add(OUTAGE, outage);
            }
        }
        let (day, row_expires_ms) =
            (day_utc(receipt.created_at_ms), receipt.created_at_ms.saturating_add(KEEP_ROWS_MS));
        let (expires_ms, tally) = rows.entry((usage_partition(&day, shard), Place::of(receipt))).or_default();
        *expires_ms = row_expires_ms;
        tally.count(receipt);
        for (key, value) in *tags {
            let key = Key::new(tag_partition(&day, shard, key), TagPlace::of(receipt, value).sort_key());
            let (expires_ms, counts) = by_tag.entry(key).or_default();
            *expires_ms = row_expires_ms;
            *counts = counts.plus(Counts::of(receipt));
        }
    }
    for ((partition, place), (expires_ms, tally)) in rows {
        let key = Key::new(partition, place.sort_key());
        sums.insert(key, Sum { expires_ms, added: row::terms(&place, &tally) });
    }
    for (key, (expires_ms, counts)) in by_tag {
        sums.insert(key, Sum { expires_ms, added: tag_row::terms(counts) });
    }
    all.extend(sums.into_iter().map(|(key, sum)| sum.into_change(key)));
    Ok(all)
}

/// The change that keeps what is said of a receipt, if that is there: an attribute of its item, so that it is read, erased and
/// forgotten with it.
pub(super) fn say(uid: &str, id: RequestId, feedback: &Feedback) -> Result<Change, Fault> {
    let change = Change::update(receipt_key(uid, id), "SET feedback = :feedback").only_if("attribute_exists(pk)");
    Ok(change.with(":feedback", json(feedback)?))
}

/// The receipt in an item, with what was said of it.
pub(super) fn kept(item: &Item) -> Result<Receipt, Fault> {
    let receipt: Receipt = record_of(item, "json")?;
    let feedback = item.contains_key("feedback").then(|| record_of(item, "feedback")).transpose()?;
    Ok(Receipt { feedback: feedback.or(receipt.feedback), ..receipt })
}

/// A receipt as it is kept. One that is too large keeps what was paid, and loses words.
fn stored(receipt: &Receipt) -> Result<AttributeValue, Fault> {
    let whole = json(receipt)?;
    if whole.as_s().is_ok_and(|text| text.len() <= RECEIPT_BYTES) {
        return Ok(whole);
    }
    let mut attempts = receipt.attempts.clone();
    attempts.truncate(ATTEMPTS);
    json(&Receipt {
        requested_model: receipt.requested_model.chars().take(200).collect::<String>().into(),
        reasons: vec!["the receipt was too large for the ledger: its reasons are in the log only".to_owned()],
        attempts,
        ..receipt.clone()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::transactions;
    use super::*;
    use crate::ledger::contract::{MIDNIGHT_MS, receipt};

    /// A receipt that is counted under its tags, whatever these are.
    fn changes_of(receipts: &[Receipt]) -> Vec<Change> {
        let tags: Vec<Vec<Tag>> = receipts
            .iter()
            .map(|receipt| {
                receipt.tags.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
            })
            .collect();
        changes(&receipts.iter().zip(tags.iter().map(Vec::as_slice)).collect::<Vec<_>>(), 0).unwrap()
    }

    #[test]
    fn a_receipt_is_four_changes_and_one_for_each_tag_and_hits_share_their_sums() {
        let untagged = |uid: &str, n| Receipt { tags: BTreeMap::new(), ..receipt(uid, MIDNIGHT_MS + n) };
        assert_eq!(changes_of(&[untagged("acme", 0)]).len(), 4, "the receipt, the day, the month, the hour's row");
        let ten: BTreeMap<_, _> = (0..10).map(|n| (format!("key {n}"), "value".to_owned())).collect();
        let tagged = |uid: &str, n| Receipt { tags: ten.clone(), ..receipt(uid, MIDNIGHT_MS + n) };
        assert_eq!(changes_of(&[tagged("acme", 0)]).len(), 4 + 10);
        let bytes = stored(&receipt("acme", MIDNIGHT_MS)).unwrap().as_s().unwrap().len();
        assert!(bytes < 1900, "{bytes} bytes of JSON no longer fit two write units");
        let many: Vec<_> = (0..25).map(|n| tagged("acme", n)).collect();
        assert_eq!(changes_of(&many).len(), 25 + 3 + 10);
        let apart: Vec<_> = (0..25).map(|n| untagged(&format!("t{n}"), n)).collect();
        assert_eq!(changes_of(&apart).len(), 100, "as many as fit a transaction");
        // Whatever hits wait, no transaction of theirs is too large.
        let mixed: Vec<_> = (0..100)
            .map(|n| if n % 3 == 0 { tagged(&format!("t{n}"), n) } else { untagged(&format!("t{n}"), n) })
            .collect();
        let all: Vec<_> = transactions(&mixed).collect();
        assert!(all.iter().all(|some| changes_of(some).len() <= 100), "{:?}", all.iter().map(|some| some.len()));
        assert_eq!((all.concat().len(), all.len()), (100, 9));
    }

    #[test]
    fn a_receipt_too_large_for_an_item_loses_words_and_no_money() {
        let large = Receipt {
            requested_model: "m".repeat(500_000).into(),
            reasons: vec!["reason ".repeat(100_000)],
            attempts: vec![receipt("acme", MIDNIGHT_MS).attempts[0].clone(); 1000],
            ..receipt("acme", MIDNIGHT_MS)
        };
        let kept = stored(&large).unwrap().as_s().unwrap().clone();
        assert!(kept.len() <= RECEIPT_BYTES, "{} bytes", kept.len());
        let kept: Receipt = serde_json::from_str(&kept).unwrap();
        assert_eq!((kept.cost_nusd, kept.usage, kept.windows), (large.cost_nusd, large.usage, large.windows));
        assert_eq!(kept.attempts.len(), ATTEMPTS);
    }
}

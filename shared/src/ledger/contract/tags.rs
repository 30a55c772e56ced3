//! Usage by day, hour, tenant, model and tag: whatever is asked for, it is the fold over the receipts.

use super::figures::Draws;
use super::{DAY_MS, HOUR_MS, MIDNIGHT_MS, Shared, receipt, record};
use crate::id::RequestId;
use crate::ledger::{Column, REST, ReceiptQuery, TAG_VALUES, TagQuery, UsageQuery, UsageRow};
use crate::limit::window::day_utc;
use crate::receipt::{CacheStatus, Receipt};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};

const COLUMNS: [Column; 5] = [Column::Day, Column::Hour, Column::Tenant, Column::Model, Column::Tag];
const TENANTS: [&str; 4] = ["acme", "acme~2", "zeta", "nobody"];
const MODELS: [&str; 3] = ["", "groq/llama-3.3-70b", "a"];
const KEYS: [&str; 4] = ["team", "user", "odd / key#1", "absent"];
const VALUES: [&str; 7] = ["", "red", "blue", "=1+1", "a/b#c\t7", "…", "Red"];

/// What rows count: requests, hits, tokens of prompts and answers, nano-dollars.
type Counted = [u64; 5];

impl Draws {
    fn tagged(&mut self) -> Receipt {
        let drawn = self.receipt();
        // Nothing of it is known where the process was lost.
        let is_lost = drawn.is_of_expired_hold();
        let keys = if is_lost { 0 } else { self.below(4) };
        let tags = (0..keys).map(|_| (self.one_of(&KEYS[..3]).to_owned(), self.one_of(&VALUES).to_owned())).collect();
        Receipt { tags, ..drawn }
    }

    fn query(&mut self) -> (UsageQuery, BTreeSet<Column>) {
        let mut by: BTreeSet<Column> = COLUMNS.into_iter().filter(|_| self.below(2) == 0).collect();
        let value = (self.below(2) == 0).then(|| self.one_of(&VALUES).to_owned());
        let tag = (self.below(4) > 0).then(|| TagQuery { key: self.one_of(&KEYS).to_owned(), value: value.clone() });
        if tag.is_none() {
            by.remove(&Column::Tag);
        } else if value.is_none() {
            by.insert(Column::Tag);
        }
        let unit_ms = self.one_of(&[HOUR_MS, DAY_MS]);
        let (first, last) = (self.below(4 * DAY_MS) / unit_ms, self.below(4 * DAY_MS) / unit_ms);
        let is_of_all_times = self.below(2) == 0;
        let query = UsageQuery {
            from_ms: if is_of_all_times { 0 } else { MIDNIGHT_MS + first.min(last) * unit_ms },
            to_ms: if is_of_all_times { u64::MAX } else { MIDNIGHT_MS + first.max(last) * unit_ms },
            tenant: (self.below(3) == 0).then(|| self.one_of(&TENANTS).to_owned()),
            model: (self.below(3) == 0).then(|| self.one_of(&MODELS).to_owned()),
            tag,
        };
        (query, by)
    }
}

/// What the receipts add up to, reckoned from the words of the contract alone.
fn fold(receipts: &[Receipt], query: &UsageQuery, by: &BTreeSet<Column>) -> BTreeMap<[String; 5], Counted> {
    let mut rows = BTreeMap::<_, Counted>::new();
    for receipt in receipts {
        let tag = query.tag.as_ref().and_then(|tag| receipt.tags.get(&tag.key)).cloned().unwrap_or_default();
        let (day, model) = (day_utc(receipt.created_at_ms), receipt.model.as_deref().unwrap_or_default());
        let is_of = (query.from_ms..query.to_ms).contains(&receipt.created_at_ms)
            && query.tenant.as_ref().is_none_or(|tenant| **tenant == **receipt.uid())
            && query.model.as_ref().is_none_or(|asked| asked == model)
            && query.tag.as_ref().and_then(|tag| tag.value.as_ref()).is_none_or(|value| *value == tag);
        if is_of {
            let hour = format!("{day}T{:02}:00Z", receipt.created_at_ms % DAY_MS / HOUR_MS);
            let mut group = [day, hour, receipt.uid().to_string(), model.to_owned(), tag];
            for (column, value) in COLUMNS.iter().zip(&mut group) {
                if !by.contains(column) {
                    value.clear();
                }
            }
            let is_hit = matches!(receipt.cache, CacheStatus::Hit | CacheStatus::HitSemantic);
            let usage = &receipt.usage;
            let counted = [1, u64::from(is_hit), usage.input_tokens, usage.output_tokens, receipt.cost_nusd];
            let sum = rows.entry(group).or_default();
            sum.iter_mut().zip(counted).for_each(|(sum, counted)| *sum += counted);
        }
    }
    rows
}

fn counted(rows: Vec<UsageRow>) -> BTreeMap<[String; 5], Counted> {
    let count = rows.len();
    let all: BTreeMap<_, _> = rows
        .into_iter()
        .map(|row| {
            let counted = [row.requests, row.cache_hits, row.input_tokens, row.output_tokens, row.cost_nusd];
            (row.group().map(str::to_owned), counted)
        })
        .collect();
    assert_eq!(all.len(), count, "no group has two rows");
    all
}

async fn receipts(ledger: &Shared) -> Vec<Receipt> {
    let query = ReceiptQuery { tenant: None, created_ms: 0..=u64::MAX };
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = ledger.receipts(&query, cursor.as_deref()).await.unwrap();
        all.extend(page.data);
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

/// Records random receipts of three days: out of order, some of them again, and some ids again with other amounts and tags,
/// as where a lost hold was charged before its receipt came. The same `seed` makes the same.
pub async fn record_random(ledger: &Shared, seed: u64, count: usize) {
    let mut draws = Draws(seed);
    let mut sent: Vec<Receipt> = (0..count).map(|_| draws.tagged()).collect();
    for place in (0..count).step_by(7) {
        let again = Receipt { id: sent[place].id, ..draws.tagged() };
        let again = Receipt {
            created_at_ms: sent[place].created_at_ms,
            tenant: sent[place].tenant.clone(),
            tenant_uid: sent[place].tenant_uid.clone(),
            ..again
        };
        sent.extend([sent[place].clone(), again]);
    }
    sent.sort_by_key(|receipt| receipt.id.draw());
    for some in sent.chunks(10) {
        join_all(some.iter().map(async |receipt| match receipt.cache {
            CacheStatus::Hit | CacheStatus::HitSemantic => ledger.note_hit(receipt).expect("a hit is noted"),
            _ => record(ledger, receipt).await,
        }))
        .await;
    }
    ledger.flush().await.unwrap();
}

/// Compares `count` random queries of usage with the receipts that the ledger has; answers how many that are.
pub async fn check_usage(ledger: &Shared, seed: u64, count: usize) -> usize {
    let (receipts, mut draws) = (receipts(ledger).await, Draws(seed));
    for _ in 0..count {
        let (query, by) = draws.query();
        let rows = ledger.usage_by(&query, &by).await.unwrap();
        assert!(rows.is_sorted_by_key(UsageRow::group), "in order, by {by:?}");
        assert_eq!(counted(rows), fold(&receipts, &query, &by), "{query:?} by {by:?}");
    }
    receipts.len()
}

pub async fn usage_is_the_fold_over_the_receipts_however_it_is_told_apart(ledger: Shared) {
    record_random(&ledger, 0x2545_f491_4f6c_dd1d, 210).await;
    assert_eq!(check_usage(&ledger, 0x9e37_79b9_7f4a_7c15, 60).await, 210);
}

pub async fn a_request_with_several_tags_is_in_one_row(ledger: Shared) {
    let tags = |text: &str| {
        text.split_terminator(',')
            .filter_map(|tag| tag.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    for text in ["team=red,env=prod,user=ann", "team=red,env=dev", "team=blue", "env=prod,team=", ""] {
        record(&ledger, &Receipt { tags: tags(text), ..receipt("acme", MIDNIGHT_MS) }).await;
    }
    for (key, expected) in [
        ("team", vec![("", 2), ("blue", 1), ("red", 2)]),
        ("env", vec![("", 2), ("dev", 1), ("prod", 2)]),
        ("user", vec![("", 4), ("ann", 1)]),
        ("Team", vec![("", 5)]),
    ] {
        let query = UsageQuery { tag: Some(TagQuery { key: key.to_owned(), value: None }), ..UsageQuery::default() };
        let rows = ledger.usage_by(&query, &[Column::Tag].into()).await.unwrap();
        assert_eq!(rows.iter().map(|row| (&*row.tag, row.requests)).collect::<Vec<_>>(), expected, "by {key}");
    }
}

pub async fn values_without_end_take_no_room_and_the_sum_stays(ledger: Shared) {
    let more = 40;
    for n in 0..TAG_VALUES + more {
        let tags =
            [("id".to_owned(), RequestId::new(n as u64).to_string()), ("team".to_owned(), "red".to_owned())].into();
        record(&ledger, &Receipt { tags, ..receipt("acme", MIDNIGHT_MS) }).await;
    }
    let rows = async |key: &str| {
        let query = UsageQuery { tag: Some(TagQuery { key: key.to_owned(), value: None }), ..UsageQuery::default() };
        ledger.usage_by(&query, &[Column::Tag].into()).await.unwrap()
    };
    let ids = rows("id").await;
    assert_eq!((ids.len(), ids.iter().map(|row| row.requests).sum()), (TAG_VALUES + 1, (TAG_VALUES + more) as u64));
    assert_eq!(ids.iter().find(|row| &*row.tag == REST).map(|row| row.requests), Some(more as u64));
    assert_eq!(rows("team").await.iter().map(|row| (&*row.tag, row.requests)).collect::<Vec<_>>(), [("red", 296)]);
}

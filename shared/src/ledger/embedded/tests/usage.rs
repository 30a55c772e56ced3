//! Usage is the fold over the receipts through restarts, crashes and checkpoints, and beside what earlier versions left.

use super::*;
use crate::ledger::contract::tags::{check_usage, record_random};
use crate::ledger::{TAG_VALUES, TagQuery};
use std::collections::BTreeMap;

#[tokio::test]
async fn usage_is_the_fold_over_the_receipts_through_restarts_and_crashes() {
    let (mut folder, mut count) = (TestFolder::new(), 0);
    for round in 1..=8 {
        let ledger = EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, SMALL).unwrap();
        let shared: Arc<dyn Ledger> = Arc::new(ledger);
        record_random(&shared, 0x51ed_270b + round, 60).await;
        count += 60;
        assert_eq!(check_usage(&shared, round, 20).await, count);
        if round % 2 == 0 {
            folder = as_after_a_crash(&folder);
        }
        drop(shared);
        let again: Arc<dyn Ledger> = Arc::new(EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, SMALL).unwrap());
        assert_eq!(check_usage(&again, round, 20).await, count, "after a restart");
    }
}

/// Rows by the tag that every receipt of the contract has, as hour, value and requests.
async fn by_hour_and_team(ledger: &EmbeddedLedger) -> Vec<(String, String, u64)> {
    let query = UsageQuery { tag: Some(TagQuery { key: "team".to_owned(), value: None }), ..UsageQuery::default() };
    let rows = ledger.usage_by(&query, &[Column::Hour, Column::Tag].into()).await.unwrap();
    rows.iter().map(|row| (row.hour.to_string(), row.tag.to_string(), row.requests)).collect()
}

fn row(hour: &str, team: &str, requests: u64) -> (String, String, u64) {
    (hour.to_owned(), team.to_owned(), requests)
}

#[tokio::test]
async fn hours_by_tag_become_days_with_the_others() {
    let folder = TestFolder::new();
    let ledger = open(&folder);
    let untagged = Receipt { tags: BTreeMap::new(), ..receipt("acme", MIDNIGHT_MS + HOUR_MS) };
    for receipt in [receipt("acme", MIDNIGHT_MS), receipt("acme", MIDNIGHT_MS + 5 * HOUR_MS), untagged] {
        ledger.record(&receipt).await.unwrap();
    }
    let hours = [row("2025-11-22T00:00Z", "a", 1), row("2025-11-22T01:00Z", "", 1), row("2025-11-22T05:00Z", "a", 1)];
    assert_eq!(by_hour_and_team(&ledger).await, hours);
    drop(ledger);
    drop(EmbeddedLedger::open(&folder, MIDNIGHT_MS + 9 * DAY_MS).unwrap());
    let ledger = EmbeddedLedger::open(&folder, MIDNIGHT_MS + 9 * DAY_MS).unwrap();
    ledger.record(&receipt("acme", MIDNIGHT_MS + 9 * DAY_MS)).await.unwrap();
    let days = [row("2025-11-22", "", 1), row("2025-11-22", "a", 2), row("2025-12-01T00:00Z", "a", 1)];
    assert_eq!(by_hour_and_team(&ledger).await, days);
    drop(ledger);
    let years = 401 * DAY_MS;
    drop(EmbeddedLedger::open(&folder, MIDNIGHT_MS + years).unwrap());
    let ledger = EmbeddedLedger::open(&folder, MIDNIGHT_MS + years).unwrap();
    assert_eq!(by_hour_and_team(&ledger).await, [row("2025-12-01", "a", 1)], "and go after 400 days");
}

/// What was written before receipts were counted by tag.
#[tokio::test]
async fn what_was_counted_before_there_were_tags_has_an_empty_one() {
    let folder = TestFolder::new();
    let ledger = open(&folder);
    ledger.record(&receipt("acme", MIDNIGHT_MS)).await.unwrap();
    drop(ledger);
    let path = path_of(&folder, "checkpoint");
    let mut checkpoint: Value = serde_json::from_slice(segment::unframe(&fs::read(&path).unwrap()).unwrap()).unwrap();
    assert!(checkpoint["sums"].as_object_mut().unwrap().remove("tagged").is_some());
    fs::write(&path, segment::frame(&checkpoint).unwrap()).unwrap();
    let ledger = open(&folder);
    ledger.record(&receipt("acme", MIDNIGHT_MS + 1)).await.unwrap();
    assert_eq!(by_hour_and_team(&ledger).await, [row("2025-11-22T00:00Z", "", 1), row("2025-11-22T00:00Z", "a", 1)]);
}

#[tokio::test]
async fn the_bound_of_values_holds_over_a_restart() {
    let folder = TestFolder::new();
    let tagged = |n: usize| {
        let tags = [("team".to_owned(), n.to_string())].into();
        Receipt { tags, ..receipt("acme", MIDNIGHT_MS) }
    };
    for n in 0..TAG_VALUES + 20 {
        if n % 50 == 0 {
            drop(open(&folder));
        }
        open(&folder).record(&tagged(n)).await.unwrap();
    }
    let ledger = open(&folder);
    ledger.record(&tagged(0)).await.unwrap();
    let rows = by_hour_and_team(&ledger).await;
    assert_eq!(rows.len(), TAG_VALUES + 1);
    assert_eq!((rows[0].2, rows[TAG_VALUES].clone()), (2, row("2025-11-22T00:00Z", "…", 20)));
}

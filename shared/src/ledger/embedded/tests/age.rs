//! What becomes of segments, hours and checkpoints with time.

use super::*;

#[tokio::test]
async fn segments_end_with_the_day_and_at_their_size() {
    let folder = TestFolder::new();
    let ledger = EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, SMALL).unwrap();
    for n in 0..100 {
        ledger.record(&receipt("acme", MIDNIGHT_MS + n)).await.unwrap();
    }
    ledger.record(&receipt("acme", MIDNIGHT_MS + DAY_MS)).await.unwrap();
    // A request of the day before that ends now belongs to the day before and stands in the log of today.
    ledger.record(&receipt("acme", MIDNIGHT_MS + DAY_MS - 1)).await.unwrap();
    drop(ledger);
    let names = segments(&folder);
    assert_eq!(names[..2], ["2025-11-22.0000.log", "2025-11-22.0001.log"]);
    assert_eq!(names.last().unwrap(), "2025-11-23.0000.log");
    let ledger = EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, SMALL).unwrap();
    assert_eq!(ledger.totals("acme", &Window::day(MIDNIGHT_MS, 0)).await.unwrap().used, times(101));
    // The clock went back; the log does not.
    ledger.record(&receipt("acme", MIDNIGHT_MS)).await.unwrap();
    assert_eq!(segments(&folder), names);
}

#[tokio::test]
async fn old_segments_are_deleted_and_their_sums_stay() {
    let folder = TestFolder::new();
    let ledger = open(&folder);
    let old = receipt("acme", MIDNIGHT_MS);
    ledger.record(&old).await.unwrap();
    for day in 1..=32 {
        ledger.record(&receipt("acme", MIDNIGHT_MS + day * DAY_MS)).await.unwrap();
    }
    drop(ledger);
    assert_eq!(segments(&folder).len(), 33, "none is too old on the day that has ended, the 32nd");

    let ledger = EmbeddedLedger::open(&folder, MIDNIGHT_MS + 32 * DAY_MS).unwrap();
    assert_eq!(ledger.totals("acme", &old.windows[0]).await.unwrap().used, ONE, "a window outlives its receipts");
    assert_eq!(ledger.usage(&UsageQuery::default(), None, 99).await.unwrap().data.len(), 33);
    drop(ledger);
    assert_eq!(segments(&folder)[0], "2025-11-23.0000.log", "the first one went at the start");

    let ledger = EmbeddedLedger::open(&folder, MIDNIGHT_MS + 32 * DAY_MS).unwrap();
    for day in 33..=35 {
        ledger.record(&receipt("acme", MIDNIGHT_MS + day * DAY_MS)).await.unwrap();
    }
    drop(ledger);
    assert_eq!(segments(&folder)[0], "2025-11-25.0000.log", "the others went as days ended");

    let late_ms = MIDNIGHT_MS + 402 * DAY_MS;
    drop(EmbeddedLedger::open(&folder, late_ms).unwrap());
    let ledger = EmbeddedLedger::open(&folder, late_ms).unwrap();
    assert_eq!(ledger.totals("acme", &old.windows[0]).await.unwrap().used, times(0), "a window long past is dropped");
    let rows = ledger.usage(&UsageQuery::default(), None, 99).await.unwrap().data;
    assert_eq!(&*rows[0].day, "2025-11-24", "usage rows stay for 400 days");
    assert_eq!(rows.len(), 34);
}

#[tokio::test]
async fn hours_become_days_after_eight_days_and_nothing_is_lost() {
    let folder = TestFolder::new();
    let ledger = open(&folder);
    for hour in [0, 5, 23, 24, 9 * 24] {
        ledger.record(&receipt("acme", MIDNIGHT_MS + hour * HOUR_MS)).await.unwrap();
    }
    let all = Period { from_ms: MIDNIGHT_MS, to_ms: MIDNIGHT_MS + 10 * DAY_MS, step_ms: None };
    let by_hour = Period { step_ms: Some(HOUR_MS), ..all };
    let before = ledger.figures(&by_hour).await.unwrap();
    let usage = ledger.usage(&UsageQuery::default(), None, 99).await.unwrap();
    assert_eq!(before.steps.len(), 5);
    drop(ledger);
    // Old ones go when a ledger is opened, once the log is at the disk.
    let ledger = EmbeddedLedger::open(&folder, MIDNIGHT_MS + 9 * DAY_MS).unwrap();
    ledger.record(&receipt("acme", MIDNIGHT_MS + 9 * DAY_MS)).await.unwrap();
    drop(ledger);
    let ledger = EmbeddedLedger::open(&folder, MIDNIGHT_MS + 9 * DAY_MS).unwrap();
    let after = ledger.figures(&by_hour).await.unwrap();
    let hours = after.steps.iter().map(|(at, tally)| ((at - MIDNIGHT_MS) / HOUR_MS, tally.counts.requests));
    assert_eq!(hours.collect::<Vec<_>>(), [(0, 3), (24, 1), (9 * 24, 2)], "one day of three, and two that keep hours");
    let mut expected = before.whole;
    expected.count(&receipt("acme", MIDNIGHT_MS));
    assert_eq!(after.whole, expected);
    assert_eq!(ledger.usage(&UsageQuery::default(), None, 99).await.unwrap().data[..2], usage.data[..2]);
    let part = Period { from_ms: MIDNIGHT_MS + HOUR_MS, ..all };
    assert_eq!(ledger.figures(&part).await.unwrap().whole.counts.requests, 3, "a day is in a period as a whole or not");
}

/// What version 0.1.0 wrote: rows of a day, with five counts.
#[tokio::test]
async fn a_checkpoint_of_before_there_were_hours_is_read() {
    let folder = TestFolder::new();
    let ledger = open(&folder);
    ledger.record(&receipt("acme", MIDNIGHT_MS)).await.unwrap();
    drop(ledger);
    let path = path_of(&folder, "checkpoint");
    let line = fs::read(&path).unwrap();
    let mut checkpoint: serde_json::Value = serde_json::from_slice(segment::unframe(&line).unwrap()).unwrap();
    let sums = checkpoint["sums"].as_object_mut().unwrap();
    assert!(sums.remove("tallies").is_some());
    let counts =
        serde_json::json!({"requests": 7, "cache_hits": 2, "input_tokens": 63, "output_tokens": 84, "cost_nusd": 5});
    sums.insert("rows".to_owned(), serde_json::json!([[["2025-11-22", "acme", "groq/llama-3.3-70b"], counts]]));
    fs::write(&path, segment::frame(&checkpoint).unwrap()).unwrap();

    let ledger = open(&folder);
    ledger.record(&receipt("acme", MIDNIGHT_MS + HOUR_MS)).await.unwrap();
    let rows = ledger.usage(&UsageQuery::default(), None, 99).await.unwrap().data;
    assert_eq!(rows.iter().map(|row| (row.requests, row.cache_hits)).collect::<Vec<_>>(), [(8, 2)]);
    drop(ledger);
    let day = Period { from_ms: MIDNIGHT_MS, to_ms: MIDNIGHT_MS + DAY_MS, step_ms: None };
    let counts = open(&folder).figures(&day).await.unwrap().whole.counts;
    assert_eq!((counts.requests, counts.input_tokens, counts.cost_nusd), (8, 72, 5 + ONE.cost_nusd));
}

#[tokio::test]
async fn a_corrupt_checkpoint_does_not_lose_the_sums_of_deleted_segments() {
    let folder = TestFolder::new();
    let old = receipt("acme", MIDNIGHT_MS);
    open(&folder).record(&old).await.unwrap();
    let later_ms = MIDNIGHT_MS + 33 * DAY_MS;
    drop(EmbeddedLedger::open(&folder, later_ms).unwrap());
    assert!(!segments(&folder).contains(&"2025-11-22.0000.log".to_owned()), "the segment is deleted");
    corrupt(&path_of(&folder, "checkpoint"), 100);
    let ledger = EmbeddedLedger::open(&folder, later_ms).unwrap();
    assert_eq!(ledger.totals("acme", &old.windows[0]).await.unwrap().used, ONE, "the previous checkpoint has its sum");
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_deletes_nothing() {
    let folder = TestFolder::new();
    let (now, jumped) = (receipt("acme", MIDNIGHT_MS), receipt("acme", MIDNIGHT_MS + 4000 * DAY_MS));
    let ledger = open(&folder);
    for receipt in [&now, &jumped, &receipt("acme", MIDNIGHT_MS + DAY_MS)] {
        ledger.record(receipt).await.unwrap();
    }
    drop(ledger);
    let ledger = EmbeddedLedger::open(&folder, MIDNIGHT_MS + DAY_MS).unwrap();
    assert_eq!(ledger.receipt("acme", now.id, MIDNIGHT_MS).await.unwrap(), Some(now.clone()));
    assert_eq!(ledger.totals("acme", &now.windows[1]).await.unwrap().used, times(2));
}

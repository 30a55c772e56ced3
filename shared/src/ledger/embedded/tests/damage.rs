//! Logs and checkpoints of which bytes are wrong or missing.

use super::*;
use std::fs::OpenOptions;

/// Two receipts that a checkpoint counts and one that came after it; the last line's place in the only segment.
async fn three_receipts() -> (TestFolder, Vec<Receipt>, std::ops::Range<usize>) {
    let folder = TestFolder::new();
    let mut sent: Vec<_> = (0..3).map(|n| receipt("acme", MIDNIGHT_MS + n)).collect();
    // A short line, as it is tried byte by byte.
    sent[2] = Receipt { attempts: vec![], reasons: vec![], tags: [].into(), intent: None, ..sent[2].clone() };
    let ledger = open(&folder);
    ledger.record(&sent[0]).await.unwrap();
    ledger.record(&sent[1]).await.unwrap();
    drop(ledger);
    let path = path_of(&folder, &segments(&folder)[0]);
    let start = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    let ledger = open(&folder);
    ledger.record(&sent[2]).await.unwrap();
    let end = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    (as_after_a_crash(&folder), sent, start..end)
}

/// Opens what is left, and sees that it holds `expected`, takes another receipt and holds that as well.
async fn assert_holds(folder: &Path, expected: &[Receipt], why: &str) {
    let more = receipt("acme", MIDNIGHT_MS);
    for round in 0..2 {
        let ledger = open(folder);
        for receipt in expected {
            let found = ledger.receipt("acme", receipt.id, MIDNIGHT_MS).await.unwrap();
            assert_eq!(found.as_ref(), Some(receipt), "{why}, round {round}");
        }
        let total = ledger.totals("acme", &Window::day(MIDNIGHT_MS, 0)).await.unwrap().used;
        assert_eq!(total, times(expected.len() as u64 + u64::from(round > 0)), "{why}, round {round}");
        ledger.record(&more).await.unwrap();
    }
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_off() {
    let (folder, sent, line) = three_receipts().await;
    for cut in line.clone() {
        let folder = as_after_a_crash(&folder);
        let file = OpenOptions::new().write(true).open(path_of(&folder, &segments(&folder)[0])).unwrap();
        file.set_len(cut as u64).unwrap();
        assert_holds(&folder, &sent[..2], &format!("cut at {}", cut - line.start)).await;
        assert_eq!(lines_on_disk(&folder).len(), 3);
    }
    assert_holds(&folder, &sent, "not cut").await;
}

#[tokio::test]
async fn a_tail_with_any_wrong_byte_is_cut_off() {
    let (folder, sent, line) = three_receipts().await;
    for at in line.clone() {
        let folder = as_after_a_crash(&folder);
        corrupt(&path_of(&folder, &segments(&folder)[0]), at);
        assert_holds(&folder, &sent[..2], &format!("wrong at {}", at - line.start)).await;
    }
}

#[tokio::test]
async fn a_corrupt_line_in_the_middle_costs_itself_only() {
    let (folder, sent, line) = three_receipts().await;
    for name in ["checkpoint", "checkpoint.previous"] {
        let _ = fs::remove_file(path_of(&folder, name));
    }
    corrupt(&path_of(&folder, &segments(&folder)[0]), line.start - 100);
    assert_holds(&folder, &[sent[0].clone(), sent[2].clone()], "the second of three lines is wrong").await;
}

#[tokio::test]
async fn a_line_of_another_version_is_neither_counted_nor_cut_off() {
    let (folder, sent, _) = three_receipts().await;
    let path = path_of(&folder, &segments(&folder)[0]);
    let strange = segment::frame(&serde_json::json!({"id": "of the future"})).unwrap();
    fs::write(&path, [fs::read(&path).unwrap(), strange.clone()].concat()).unwrap();
    assert_holds(&folder, &sent, "a line that cannot be understood").await;
    let log = fs::read(&path).unwrap();
    assert!(log.windows(strange.len()).any(|bytes| bytes == strange), "it stays for those who understand it");
}

#[tokio::test]
async fn a_checkpoint_that_is_corrupt_or_missing_changes_no_sum() {
    let folder = TestFolder::new();
    let sent: Vec<_> = (0..300).map(|n| receipt("acme", MIDNIGHT_MS + n * HOUR_MS / 8)).collect();
    for part in sent.chunks(60) {
        let ledger = EmbeddedLedger::open_with(&folder, part[0].created_at_ms, SMALL).unwrap();
        for receipt in part {
            ledger.record(receipt).await.unwrap();
        }
    }
    type Damage = dyn Fn(&Path);
    let damages: [(&str, &Damage); 5] = [
        ("none", &|_| ()),
        ("current corrupt", &|ledger| corrupt(&ledger.join("checkpoint"), 500)),
        ("current cut", &|ledger| fs::write(ledger.join("checkpoint"), "0000").unwrap()),
        ("current missing", &|ledger| fs::remove_file(ledger.join("checkpoint")).unwrap()),
        ("both corrupt", &|ledger| {
            corrupt(&ledger.join("checkpoint"), 500);
            corrupt(&ledger.join("checkpoint.previous"), 500);
        }),
    ];
    for (name, damage) in damages {
        let folder = as_after_a_crash(&folder);
        damage(&folder.join("ledger"));
        for round in 0..2 {
            let ledger = EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, SMALL).unwrap();
            let total = ledger.totals("acme", &Window::month(MIDNIGHT_MS)).await.unwrap().used;
            assert_eq!(total, times(300), "{name}, round {round}");
            let total = ledger.totals("acme", &Window::day(MIDNIGHT_MS, 0)).await.unwrap().used;
            assert_eq!(total, times(192), "{name}, round {round}");
            for receipt in sent.iter().step_by(7) {
                let found = ledger.receipt("acme", receipt.id, MIDNIGHT_MS).await.unwrap();
                assert_eq!(found.as_ref(), Some(receipt), "{name}, round {round}");
            }
        }
    }
}

#[tokio::test]
async fn a_log_that_lost_what_a_checkpoint_counts_goes_on_in_a_new_segment() {
    let (folder, sent, line) = three_receipts().await;
    let path = path_of(&folder, &segments(&folder)[0]);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(line.start as u64 - 100).unwrap();
    for round in 0..3 {
        let ledger = open(&folder);
        let found = ledger.receipt("acme", sent[0].id, MIDNIGHT_MS).await.unwrap();
        assert_eq!(found.as_ref(), Some(&sent[0]));
        // The sum is never less than it was, though the second receipt is gone.
        let total = ledger.totals("acme", &Window::day(MIDNIGHT_MS, 0)).await.unwrap().used;
        assert_eq!(total, times(2 + round));
        ledger.record(&receipt("acme", MIDNIGHT_MS + 10 + round)).await.unwrap();
    }
    assert_eq!(segments(&folder), ["2025-11-22.0000.log", "2025-11-22.0001.log"]);
}

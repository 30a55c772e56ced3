#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod age;
mod damage;
mod faults;
mod usage;

use super::crash::{self, TestFolder};
use super::*;
use crate::feedback::{Rating, Verdict};
use crate::ledger::contract::{DAY_MS, HOUR_MS, MIDNIGHT_MS, ONE, receipt, times};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use std::collections::HashSet;

/// Small enough for segments, checkpoints and generations to change all the time.
const SMALL: Bounds =
    Bounds { segment_bytes: 64 << 10, checkpoint_bytes: 20 << 10, recent_ids: 32, sync: File::sync_data };

fn open(folder: &Path) -> EmbeddedLedger {
    EmbeddedLedger::open(folder, MIDNIGHT_MS).unwrap()
}

/// What is on the disk now, as a crash of the process would leave it.
fn as_after_a_crash(folder: &Path) -> TestFolder {
    let copy = TestFolder::new();
    fs::create_dir(copy.join("ledger")).unwrap();
    // Checkpoints first: what is copied of the log is then at least what they count.
    for is_log in [false, true] {
        for entry in fs::read_dir(folder.join("ledger")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".log") == is_log {
                // One that is renamed meanwhile may be missing, as it may be after a crash.
                let copied = fs::copy(path_of(folder, &name), path_of(&copy, &name));
                assert!(copied.is_ok() || !is_log, "{copied:?}");
            }
        }
    }
    copy
}

fn segments(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("ledger")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

fn path_of(folder: &Path, segment: &str) -> PathBuf {
    folder.join("ledger").join(segment)
}

fn corrupt(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Every line of the log, read without any of the code under test.
fn lines_on_disk(folder: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for name in segments(folder) {
        let text = fs::read_to_string(path_of(folder, &name)).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{name} ends with a whole line");
        for line in text.lines() {
            let (sum, json) = line.split_once(' ').unwrap();
            assert_eq!(sum, format!("{:08x}", crc32fast::hash(json.as_bytes())));
            lines.push(serde_json::from_str(json).unwrap());
        }
    }
    lines
}

crate::ledger_contract!(
    of_small_files(folder = TestFolder::new()),
    EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, SMALL).unwrap()
);

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = TestFolder::new();
    let sent: Vec<_> = (0..50).map(|n| receipt("acme", MIDNIGHT_MS + n * HOUR_MS)).collect();
    let ledger = open(&folder);
    for receipt in &sent {
        ledger.record(receipt).await.unwrap();
    }
    let query = UsageQuery::default();
    let (usage, crashed) = (ledger.usage(&query, None, 9).await.unwrap(), as_after_a_crash(&folder));
    drop(ledger);
    assert_eq!(segments(&folder), ["2025-11-22.0000.log", "2025-11-23.0000.log", "2025-11-24.0000.log"]);
    for folder in [folder, crashed] {
        let ledger = open(&folder);
        for receipt in &sent {
            let found = ledger.receipt("acme", receipt.id, MIDNIGHT_MS).await.unwrap();
            assert_eq!(found.as_ref(), Some(receipt));
            ledger.record(receipt).await.unwrap();
        }
        for (window, n) in [(sent[0].windows[0], 24), (sent[49].windows[0], 2), (sent[0].windows[1], 50)] {
            assert_eq!(ledger.totals("acme", &window).await.unwrap().used, times(n));
        }
        assert_eq!(ledger.usage(&query, None, 9).await.unwrap(), usage);
    }
}

/// Ids of all ages, sent in any order, again and again, with restarts and crashes in between.
#[test]
fn each_id_counts_once() {
    // A case takes a quarter of a second: 24 by default, and a few hundred of the many thousands that `make torture` asks for.
    let cases = (ProptestConfig::default().cases / 64).max(24);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let steps = proptest::collection::vec((0..400usize, 0..60u8), 1..600);
    let counts_once = |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let all: Vec<_> = (0..400u64).map(|n| receipt("acme", MIDNIGHT_MS + n * 7919 % 400 * 60_000)).collect();
        let mut folder = TestFolder::new();
        let bounds = Bounds { recent_ids: 8, ..SMALL };
        let mut ledger = Some(EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, bounds).unwrap());
        let mut sent = HashSet::new();
        for (which, what) in steps {
            match what {
                0 => ledger = None,
                1 => {
                    folder = {
                        let copy = as_after_a_crash(&folder);
                        ledger = None;
                        copy
                    };
                }
                _ => {
                    runtime.block_on(ledger.as_ref().unwrap().record(&all[which])).unwrap();
                    sent.insert(which);
                }
            }
            if ledger.is_none() {
                ledger = Some(EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, bounds).unwrap());
            }
        }
        let ledger = ledger.unwrap();
        let total = runtime.block_on(ledger.totals("acme", &Window::month(MIDNIGHT_MS))).unwrap().used;
        prop_assert_eq!(total, times(sent.len() as u64));
        prop_assert_eq!(lines_on_disk(&folder).len(), sent.len());
        Ok(())
    };
    TestRunner::new(config).run(&steps, counts_once).unwrap();
}

#[tokio::test]
async fn what_is_erased_is_in_no_file_and_does_not_come_back() {
    let folder = TestFolder::new();
    let mut ledger = open(&folder);
    let (gone, kept) = (receipt("gone~1", MIDNIGHT_MS), receipt("kept", MIDNIGHT_MS));
    for receipt in [&gone, &kept, &receipt("gone~1", MIDNIGHT_MS + DAY_MS)] {
        ledger.record(receipt).await.unwrap();
    }
    let erased = ledger.erase(Arc::new(|uid: &str| uid == "gone~1"), None).await.unwrap();
    assert_eq!((erased.receipts, erased.usage_rows), (2, 4));
    for _ in 0..2 {
        for entry in fs::read_dir(folder.join("ledger")).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(4).any(|bytes| bytes == b"gone"), "{} has it", path.display());
        }
        drop(ledger);
        ledger = open(&folder);
        // A replay finds its id.
        ledger.record(&gone).await.unwrap();
        assert_eq!(ledger.receipt("gone~1", gone.id, MIDNIGHT_MS).await.unwrap(), None);
        assert_eq!(ledger.totals("gone~1", &gone.windows[0]).await.unwrap().used, times(0));
        assert_eq!(ledger.receipt("kept", kept.id, MIDNIGHT_MS).await.unwrap(), Some(kept.clone()));
        assert_eq!(ledger.totals("kept", &kept.windows[0]).await.unwrap().used, ONE);
    }
    // Without a checkpoint the sums are those of what is left.
    drop(ledger);
    fs::remove_file(path_of(&folder, "checkpoint")).unwrap();
    fs::remove_file(path_of(&folder, "checkpoint.previous")).unwrap();
    let ledger = open(&folder);
    assert_eq!(ledger.usage(&UsageQuery::default(), None, 9).await.unwrap().data.len(), 1);
}

#[tokio::test]
async fn what_was_said_outlives_a_crash_and_goes_with_its_tenant_or_its_receipt() {
    let folder = TestFolder::new();
    let ledger = open(&folder);
    let [gone, kept, old] = ["gone~1", "kept", "kept"].map(|uid| receipt(uid, MIDNIGHT_MS));
    for receipt in [&gone, &kept, &old] {
        ledger.record(receipt).await.unwrap();
    }
    assert_eq!(ledger.receipt("kept", kept.id, MIDNIGHT_MS).await.unwrap(), Some(kept.clone()));
    assert!(!folder.join("ledger/feedback.redb").exists(), "who only asks makes no file");
    let bad = Feedback { verdict: Verdict::Rating(Rating::Bad), comment: None, created_at_ms: MIDNIGHT_MS };
    for receipt in [&gone, &kept, &old] {
        assert!(ledger.keep_feedback(receipt.uid(), receipt.id, &bad, MIDNIGHT_MS).await.unwrap());
    }
    let copy = as_after_a_crash(&folder);
    let ledger = open(&copy);
    let said =
        async |uid: &str, id| ledger.receipt(uid, id, MIDNIGHT_MS).await.unwrap().and_then(|found| found.feedback);
    assert_eq!(said("gone~1", gone.id).await, Some(bad.clone()));
    let erased = ledger.erase(Arc::new(|uid: &str| uid == "gone~1"), None).await.unwrap();
    assert_eq!((erased.receipts, erased.others), (1, 1 + gone.windows.len() as u64), "its word, and its totals");
    assert_eq!((said("kept", kept.id).await, said("gone~1", gone.id).await), (Some(bad.clone()), None));
    // Words on receipts that are no longer there go with those that come later.
    let later = receipt("kept", MIDNIGHT_MS + 40 * DAY_MS);
    ledger.record(&later).await.unwrap();
    assert!(ledger.keep_feedback("kept", later.id, &bad, MIDNIGHT_MS + 40 * DAY_MS).await.unwrap());
    assert_eq!(said("kept", kept.id).await, None);
}

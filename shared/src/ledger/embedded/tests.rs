#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::crash::{self, TestFolder};
use super::*;
use crate::ledger::contract::{self, DAY_MS, HOUR_MS, MIDNIGHT_MS, ONE, receipt, times};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fs::OpenOptions;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

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

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_ledger_keeps_the_contract() {
    let (root, count) = (TestFolder::new(), std::cell::Cell::new(0));
    let next = || root.join(count.replace(count.get() + 1).to_string());
    contract::suite(async || open(&next())).await;
    contract::suite(async || EmbeddedLedger::open_with(&next(), MIDNIGHT_MS, SMALL).unwrap()).await;
}

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

#[test]
fn no_two_ledgers_share_a_folder() {
    let folder = TestFolder::new();
    let first = open(&folder);
    let refused = EmbeddedLedger::open(&folder, MIDNIGHT_MS).err().expect("the second one is refused").to_string();
    assert!(refused.contains("is another gateway running on this folder?"), "{refused}");
    drop(first);
    open(&folder);
}

/// Not a test of its own: what the next one runs in a process that is killed.
#[tokio::test]
async fn child_that_records_until_it_is_killed() {
    let Some((folder, round)) = crash::child() else { return };
    let started_ms = MIDNIGHT_MS + round * 20 * HOUR_MS;
    let ledger = EmbeddedLedger::open_with(&folder, started_ms, SMALL).unwrap();
    for n in 0.. {
        let receipt = receipt(["acme", "zeta"][n as usize % 2], started_ms + n * 30_000);
        ledger.record(&receipt).await.unwrap();
        crash::acknowledge(&receipt.id.to_string());
    }
}

#[tokio::test]
async fn no_acknowledged_receipt_is_lost_or_counted_twice_by_kill_9() {
    let folder = TestFolder::new();
    let test = concat!(module_path!(), "::child_that_records_until_it_is_killed");
    let mut acknowledged = Vec::new();
    for round in 0..20 {
        // Some rounds end within the first lines, some after several segments and checkpoints.
        let count = usize::try_from(1 + round * 37 % 400).unwrap();
        acknowledged.extend(crash::run(&[], test, &folder, round, Some(count)));
        drop(EmbeddedLedger::open_with(&folder, MIDNIGHT_MS + round * 20 * HOUR_MS, SMALL).unwrap());

        let (mut sums, mut ids) = (BTreeMap::<_, Amounts>::new(), HashSet::new());
        for line in lines_on_disk(&folder) {
            assert!(ids.insert(line["id"].as_str().unwrap().to_owned()), "{} is in the log twice", line["id"]);
            for window in line["windows"].as_array().unwrap() {
                let window: Window = serde_json::from_value(window.clone()).unwrap();
                let sum = sums.entry((line["tenant"].as_str().unwrap().to_owned(), window)).or_default();
                *sum = sum.plus(ONE);
            }
        }
        let ledger = EmbeddedLedger::open_with(&folder, MIDNIGHT_MS + round * 20 * HOUR_MS, SMALL).unwrap();
        for ((tenant, window), sum) in &sums {
            assert_eq!(ledger.totals(tenant, window).await.unwrap().used, *sum, "round {round}, {tenant}, {window:?}");
        }
        let lost: Vec<_> = acknowledged.iter().filter(|id| !ids.contains(*id)).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
    }
    let ledger = EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, SMALL).unwrap();
    for id in &acknowledged {
        let id: RequestId = id.parse().unwrap();
        let found = ledger.shared.find(id).unwrap().expect("an acknowledged receipt is found");
        ledger.record(&found).await.unwrap();
        assert_eq!(found.id, id);
    }
    drop(ledger);
    let ids: HashSet<_> = lines_on_disk(&folder).iter().map(|line| line["id"].to_string()).collect();
    assert_eq!(ids.len(), lines_on_disk(&folder).len(), "what is sent again after a crash counts once");
}

/// Not a test of its own: what the next one runs where no file may grow past a limit.
#[tokio::test]
async fn child_that_records_until_the_disk_is_full() {
    let Some((folder, _)) = crash::child() else { return };
    let ledger = open(&folder);
    let mut refused = 0;
    for n in 0..200 {
        let mut receipt = receipt("acme", MIDNIGHT_MS + n);
        // Lines of many lengths, so that short ones still fit after long ones did not.
        receipt.reasons = vec!["because".to_owned(); usize::try_from(n * 7 % 40).unwrap()];
        match ledger.record(&receipt).await {
            Ok(()) => crash::acknowledge(&receipt.id.to_string()),
            Err(LedgerError::Disk(_)) => {
                refused += 1;
                ledger.ping().await.expect_err("what cannot be written is down");
                ledger.probe().await.expect_err("a probe writes");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 50, "only {refused} were refused");
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_spoils_no_line() {
    let folder = TestFolder::new();
    let test = concat!(module_path!(), "::child_that_records_until_the_disk_is_full");
    // Writes past the limit come back short, then with EFBIG, as on a full disk they do with ENOSPC.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""];
    let acknowledged = crash::run(&limited, test, &folder, 0, None);
    let ids = |folder: &Path| -> Vec<_> {
        lines_on_disk(folder).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
    };
    assert!(acknowledged.len() > 10);
    assert_eq!(ids(&folder), acknowledged, "the log holds what was acknowledged, and nothing else");
    let ledger = open(&folder);
    ledger.record(&receipt("acme", MIDNIGHT_MS)).await.unwrap();
    let total = ledger.totals("acme", &Window::day(MIDNIGHT_MS, 0)).await.unwrap().used;
    assert_eq!(total.requests, acknowledged.len() as u64 + 1);
}

/// Whether the next sync fails, in tests of that; each has its thread, and its ledger's thread has none.
static SYNC_FAILS: AtomicBool = AtomicBool::new(false);

#[tokio::test(flavor = "multi_thread")]
async fn after_a_sync_that_failed_nothing_is_taken_until_what_it_lost_is_written_again_and_synced() {
    static SYNCED: AtomicU64 = AtomicU64::new(0);
    fn sync(file: &File) -> io::Result<()> {
        if SYNC_FAILS.load(SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        SYNCED.fetch_add(1, SeqCst);
        file.sync_data()
    }
    let folder = TestFolder::new();
    let ledger = EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, Bounds { sync, ..Bounds::default() }).unwrap();
    SYNC_FAILS.store(true, SeqCst);
    let [first, second, third] = [0, 1, 2].map(|n| receipt("acme", MIDNIGHT_MS + n));
    ledger.record(&first).await.unwrap();
    ledger.shared.sync();
    let refused = ledger.record(&second).await;
    assert!(matches!(&refused, Err(LedgerError::Disk(fault)) if fault.words == "the disk fails"), "{refused:?}");
    assert!(ledger.ping().await.is_err());
    ledger.probe().await.expect_err("it cannot be synced still");
    assert_eq!(ledger.shared.lock().totals.window("acme", &Window::day(MIDNIGHT_MS, 0)).used, ONE);

    // The kernel may have dropped the page: what is on the disk is then what it was.
    let path = path_of(&folder, &segments(&folder)[0]);
    let written = fs::read(&path).unwrap();
    SYNC_FAILS.store(false, SeqCst);
    ledger.probe().await.unwrap();
    assert!(SYNCED.load(SeqCst) > 0);
    assert_eq!(fs::read(&path).unwrap(), written, "the same bytes, at the same place");
    ledger.ping().await.unwrap();
    ledger.record(&second).await.unwrap();
    drop(ledger);
    let ledger = open(&folder);
    ledger.record(&third).await.unwrap();
    assert_eq!(ledger.totals("acme", &Window::day(MIDNIGHT_MS, 0)).await.unwrap().used, times(3));

    // One whose line cannot be read back is told, and goes on with the next start.
    SYNC_FAILS.store(true, SeqCst);
    drop(ledger);
    let ledger = EmbeddedLedger::open_with(&folder, MIDNIGHT_MS, Bounds { sync, ..Bounds::default() }).unwrap();
    let start = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    ledger.record(&receipt("acme", MIDNIGHT_MS + 3)).await.unwrap();
    ledger.shared.sync();
    corrupt(&path, start + 20);
    SYNC_FAILS.store(false, SeqCst);
    let refused = ledger.probe().await.unwrap_err().to_string();
    assert!(refused.contains("cannot be read back"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_or_a_segment_that_was_deleted_is_seen_and_nothing_more_is_written_to_it() {
    for moved in ["ledger", "ledger/2025-11-22.0000.log"] {
        let folder = TestFolder::new();
        let ledger = open(&folder);
        let [first, second] = [0, 1].map(|n| receipt("acme", MIDNIGHT_MS + n));
        ledger.record(&first).await.unwrap();
        ledger.ping().await.unwrap();
        fs::rename(folder.join(moved), folder.join("aside")).unwrap();
        let pinged = ledger.ping().await.unwrap_err().to_string();
        assert!(pinged.contains("deleted or replaced"), "{moved}: {pinged}");
        assert!(ledger.record(&second).await.is_err(), "{moved}");
        assert!(ledger.probe().await.is_err(), "{moved}");
        assert!(!folder.join(moved).exists(), "nothing is made in its place: it may be a volume that comes back");
        fs::rename(folder.join("aside"), folder.join(moved)).unwrap();
        ledger.probe().await.unwrap();
        ledger.record(&second).await.unwrap();
        drop(ledger);
        assert_eq!(open(&folder).totals("acme", &first.windows[0]).await.unwrap().used, times(2), "{moved}");
    }
}

#[test]
fn receipts_that_went_to_a_deleted_file_are_told_to_be_replayed() {
    let folder = TestFolder::new();
    // Nobody but the test brings anything to the disk.
    let ledger = open(&folder);
    let _alone = ledger.shared.syncing.lock().unwrap();
    fs::remove_dir_all(folder.join("ledger")).unwrap();
    let lost = receipt("acme", MIDNIGHT_MS);
    ledger.shared.append(&lost).unwrap();
    let work = ledger.shared.lock().take_work();
    let fault = work.stretches[0].sync(File::sync_data).unwrap_err();
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), || work.stretches[0].tell(&fault));
    let told = told.0.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    assert_eq!(serde_json::from_str::<Receipt>(&told[0]).unwrap(), lost);
}

/// Collects the receipts that are logged.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Told {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "receipt"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Receipts<'a>(&'a mut Vec<String>);
        impl tracing::field::Visit for Receipts<'_> {
            fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
                if field.name() == "receipt" {
                    self.0.push(value.to_owned());
                }
            }
            fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
        }
        event.record(&mut Receipts(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_a_full_disk_refuses_is_made_when_there_is_room_again() {
    let folder = TestFolder::new();
    let ledger = open(&folder);
    let key = IdempotencyKey { tenant: "acme".into(), hash: [7; 32] };
    let begin =
        async |n: u64| ledger.begin(&key, [1; 32], RequestId::new(MIDNIGHT_MS + n), u64::MAX, MIDNIGHT_MS).await;
    let request = RequestId::new(MIDNIGHT_MS);
    assert_eq!(ledger.begin(&key, [1; 32], request, u64::MAX, MIDNIGHT_MS).await.unwrap(), Begun::Fresh);
    let refuse = async |code| ledger.claims.lock().await.claims.as_ref().unwrap().refuse_writes(code);
    refuse(Some(28)).await;
    for _ in 0..2 {
        let refused = ledger.finish(&key, request, Some("answer".into()), MIDNIGHT_MS).await;
        assert!(matches!(&refused, Err(LedgerError::Disk(fault)) if fault.words == "the disk is full"), "{refused:?}");
        assert_eq!(begin(1).await.unwrap(), Begun::Running, "what is known of claims can be read");
        assert!(ledger.ping().await.is_err() && ledger.probe().await.is_err());
    }
    refuse(None).await;
    ledger.finish(&key, request, Some("answer".into()), MIDNIGHT_MS).await.unwrap();
    ledger.ping().await.unwrap();
    assert_eq!(begin(2).await.unwrap(), Begun::Done("answer".into()));
}

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
    assert_eq!(rows[0].day, "2025-11-24", "usage rows stay for 400 days");
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
    for receipt in [&now, &jumped, &contract::receipt("acme", MIDNIGHT_MS + DAY_MS)] {
        ledger.record(receipt).await.unwrap();
    }
    drop(ledger);
    let ledger = EmbeddedLedger::open(&folder, MIDNIGHT_MS + DAY_MS).unwrap();
    assert_eq!(ledger.receipt("acme", now.id, MIDNIGHT_MS).await.unwrap(), Some(now.clone()));
    assert_eq!(ledger.totals("acme", &now.windows[1]).await.unwrap().used, times(2));
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
    assert_eq!((erased.receipts, erased.usage_rows), (2, 2));
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

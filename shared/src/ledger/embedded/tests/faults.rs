//! Killed processes, full disks, failed syncs, deleted files.

use super::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

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

    // One whose line cannot be read back is reported, and goes on with the next start.
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
    let logged = Logged::default();
    tracing::subscriber::with_default(logged.clone(), || work.stretches[0].log_receipts(&fault));
    let logged = logged.0.lock().unwrap().clone();
    assert_eq!(logged.len(), 1);
    assert_eq!(serde_json::from_str::<Receipt>(&logged[0]).unwrap(), lost);
}

/// Collects the receipts that are logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Logged {
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

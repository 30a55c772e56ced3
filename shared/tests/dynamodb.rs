//! The DynamoDB directory and ledger: what their contracts do not ask, and what DynamoDB does to them on a bad day.

mod rows;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use gateway_core::directory::contract::{entry, hash, key, tenant};
use gateway_core::directory::dynamodb::DynamoDirectory;
use gateway_core::directory::{Directory, DirectoryError};
use gateway_core::dynamodb::Table;
use gateway_core::id::RequestId;
use gateway_core::ledger::contract::{MIDNIGHT_MS, ONE, receipt, times};
use gateway_core::ledger::dynamodb::DynamoLedger;
use gateway_core::ledger::{Begun, Claims, IdempotencyKey, Ledger, LedgerError, Period, UsageQuery};
use gateway_core::limit::window::Window;
use gateway_core::receipt::{CacheStatus, Receipt};
use std::collections::BTreeMap;
use std::sync::Arc;
use test_servers::dynamodb::DynamoDbLocal;
use test_servers::front::{Fate, Front};
use tokio::task::JoinSet;

/// Another client of the same table, behind a front.
struct Rig {
    server: &'static DynamoDbLocal,
    front: Front,
    name: String,
}

impl Rig {
    async fn new() -> Self {
        let server = DynamoDbLocal::shared().await.unwrap();
        let front = Front::start(server.address()).await.unwrap();
        let rig = Self { server, front, name: RequestId::new(0).to_string() };
        rig.table().await.create().await.unwrap();
        rig.front.asked();
        rig
    }

    /// A client of its own, as another process has.
    async fn table(&self) -> Table {
        Table::at_emulator(&self.front.url(), &self.name).await.unwrap()
    }

    async fn ledger(&self) -> DynamoLedger {
        DynamoLedger::new(self.table().await)
    }

    async fn directory(&self) -> DynamoDirectory {
        DynamoDirectory::new(self.table().await)
    }

    /// How many requests `work` makes, and of what kind.
    async fn cost<T>(&self, work: impl Future<Output = T>) -> BTreeMap<String, usize> {
        self.front.asked();
        work.await;
        self.front.asked()
    }

    /// The SDK's own client, before the emulator itself.
    async fn raw(&self) -> aws_sdk_dynamodb::Client {
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest());
        let nobody = aws_sdk_dynamodb::config::Credentials::new("emulator", "emulator", None, None, "emulator");
        let config = config.endpoint_url(self.server.url()).credentials_provider(nobody);
        let config = config.region(aws_config::Region::from_static("us-east-1"));
        let http = gateway_core::aws::http_client().unwrap();
        aws_sdk_dynamodb::Client::new(&config.http_client(http).load().await)
    }

    /// Everything that is in the table, as it is.
    async fn items(&self) -> Vec<(String, String)> {
        let client = self.raw().await;
        let items = client.scan().table_name(&self.name).consistent_read(true).send().await.unwrap().items.unwrap();
        let text = |value: &AttributeValue| value.as_s().unwrap().clone();
        items.iter().map(|item| (text(&item["pk"]), text(&item["sk"]))).collect()
    }
}

fn counted(parts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    parts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn idempotency_key() -> IdempotencyKey {
    IdempotencyKey { tenant: "acme".into(), hash: [3; 32] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_takes_as_many_round_trips_as_the_documentation_says() {
    let rig = Rig::new().await;
    let (ledger, directory) = (rig.ledger().await, rig.directory().await);
    let (day, sent) = (Window::day(MIDNIGHT_MS, 0), receipt("acme", MIDNIGHT_MS));
    let first = rig.cost(ledger.record(&sent)).await;
    assert_eq!(first, counted(&[("PutItem", 1), ("TransactWriteItems", 1)]), "a process's first of a day");
    let next = receipt("acme", MIDNIGHT_MS);
    assert_eq!(rig.cost(ledger.record(&next)).await, counted(&[("TransactWriteItems", 1)]), "record");
    assert_eq!(rig.cost(ledger.record(&next)).await, counted(&[("TransactWriteItems", 1)]), "record, sent again");
    assert_eq!(rig.cost(async { ledger.note_hit(&sent).unwrap() }).await, counted(&[]), "note_hit");
    assert_eq!(rig.cost(ledger.totals("acme", &day)).await["BatchGetItem"], 1, "totals");
    assert_eq!(rig.cost(ledger.receipt("acme", sent.id, MIDNIGHT_MS)).await, counted(&[("GetItem", 1)]), "receipt");
    assert_eq!(rig.cost(ledger.grant("acme", &day, ONE, times(9))).await, counted(&[("UpdateItem", 1)]), "grant");
    assert_eq!(rig.cost(ledger.grant("acme", &day, times(9), ONE)).await, counted(&[]), "a grant that can never be");
    assert_eq!(rig.cost(ledger.open_window("acme", &day)).await, counted(&[("PutItem", 1)]), "open_window");
    let (claimed, tenant, key) = (idempotency_key(), tenant("acme"), key("acme", "a"));
    let begun = ledger.begin(&claimed, [1; 32], sent.id, MIDNIGHT_MS + 9, MIDNIGHT_MS);
    assert_eq!(rig.cost(begun).await, counted(&[("PutItem", 1)]), "begin");
    let ended = ledger.finish(&claimed, sent.id, Some("answer".into()), MIDNIGHT_MS);
    assert_eq!(rig.cost(ended).await, counted(&[("UpdateItem", 1)]), "finish");
    let replayed = ledger.begin(&claimed, [1; 32], next.id, MIDNIGHT_MS + 9, MIDNIGHT_MS);
    assert_eq!(rig.cost(replayed).await, counted(&[("PutItem", 1)]), "begin, answered");

    let made = directory.create_tenant(&tenant, entry("tenant.create", "acme"));
    assert_eq!(rig.cost(made).await, counted(&[("TransactWriteItems", 1)]), "create_tenant");
    let made = directory.create_key(&key, entry("key.create", "acme/a"));
    assert_eq!(rig.cost(made).await, counted(&[("BatchGetItem", 1), ("TransactWriteItems", 1)]), "create_key");
    assert_eq!(rig.cost(directory.find_key(&hash("acme", "a"))).await, counted(&[("GetItem", 2)]), "find_key");
    assert_eq!(rig.cost(directory.find_key(&hash("acme", "b"))).await, counted(&[("GetItem", 1)]), "an unknown key");
    assert_eq!(rig.cost(directory.keys("acme")).await, counted(&[("Query", 1)]), "keys");
    assert_eq!(rig.cost(directory.tenants(None, 9)).await, counted(&[("Query", 1), ("BatchGetItem", 1)]), "tenants");
    assert_eq!(rig.cost(directory.audit(None, 9)).await, counted(&[("Query", 1)]), "audit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_500_receipts_sent_by_20_processes_at_once_each_counts_once() {
    let server = DynamoDbLocal::shared().await.unwrap();
    let name = RequestId::new(0).to_string();
    let client = async || DynamoLedger::new(Table::at_emulator(&server.url(), &name).await.unwrap());
    Table::at_emulator(&server.url(), &name).await.unwrap().create().await.unwrap();
    let mut sent: Vec<Receipt> = (0..500).map(|n| receipt("acme", MIDNIGHT_MS + n)).collect();
    for (n, receipt) in (0..).zip(&mut sent) {
        receipt.cost_nusd = n * n;
        receipt.outage = n % 7 == 0;
    }
    let sent = Arc::new(sent);
    let mut processes = JoinSet::new();
    for process in 0..20 {
        let (ledger, sent) = (client().await, sent.clone());
        processes.spawn(async move {
            // Its own 25, and some of others', which their senders send as well.
            let own = sent.iter().skip(process).step_by(20);
            let others = sent.iter().filter(|receipt| receipt.id.draw() % 20 == process as u64);
            let mut left: Vec<&Receipt> = own.chain(others).collect();
            let mut replayed = 0;
            // What the emulator was too slow for is replayed, as it would be from the log.
            for _ in 0..10 {
                let mut failed = Vec::new();
                for some in left.chunks(2) {
                    let done = join_all(some.iter().map(|receipt| ledger.record(receipt))).await;
                    failed.extend(some.iter().zip(done).filter(|(_, done)| done.is_err()).map(|(receipt, _)| *receipt));
                }
                replayed += failed.len();
                left = failed;
            }
            assert!(left.is_empty(), "{} are not recorded after ten replays", left.len());
            replayed
        });
    }
    println!("{} replayed", processes.join_all().await.iter().sum::<usize>());
    let reader = client().await;
    for window in sent[0].windows.iter() {
        let sum = sent.iter().map(Receipt::charged).fold(Default::default(), gateway_core::money::Charged::plus);
        assert_eq!(reader.totals("acme", window).await.unwrap(), sum, "in {window:?}");
    }
    let rows = reader.usage(&UsageQuery::default(), None, 9).await.unwrap().data;
    let cost_nusd: u64 = sent.iter().map(|receipt| receipt.cost_nusd).sum();
    assert_eq!((rows.len(), rows[0].requests, rows[0].cost_nusd), (1, 500, cost_nusd));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dynamodb_refuses_for_now_is_tried_again() {
    let rig = Rig::new().await;
    let ledger = rig.ledger().await;
    let codes = ["ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"];
    let mut fates = codes.map(Fate::error).to_vec();
    let reasons = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
    fates.extend(reasons.map(|reason| Fate::cancelled(reason, 4)));
    fates.extend([Fate::Refuse(500, "{}".into()), Fate::Refuse(503, String::new()), Fate::Cut]);
    for (n, fate) in (1..).zip(fates) {
        let (scripted, mut calls) = (fate.clone(), 0);
        rig.front.script(move |operation| {
            calls += usize::from(operation == "TransactWriteItems");
            if operation == "TransactWriteItems" && calls <= 2 { scripted.clone() } else { Fate::Pass }
        });
        let recorded = ledger.record(&receipt("acme", MIDNIGHT_MS)).await;
        assert!(recorded.is_ok(), "{fate:?}: {recorded:?}");
        let total = ledger.totals("acme", &Window::day(MIDNIGHT_MS, 0)).await.unwrap();
        assert_eq!(total.used, times(n), "after {fate:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dynamodb_keeps_refusing_ends_in_time_with_its_reason() {
    let rig = Rig::new().await;
    let (ledger, directory) = (rig.ledger().await, rig.directory().await);
    for (fate, reason) in [
        (Fate::error("ThrottlingException"), "ThrottlingException"),
        (Fate::error("AccessDeniedException"), "AccessDeniedException"),
        (Fate::cancelled("TransactionConflict", 4), ""),
        (Fate::cancelled("ValidationError", 4), "TransactionCanceledException"),
        (Fate::Cut, ""),
        (Fate::Stall, ""),
    ] {
        let scripted = fate.clone();
        rig.front.script(move |_| scripted.clone());
        let Err(LedgerError::Unavailable(text)) = ledger.record(&receipt("acme", MIDNIGHT_MS)).await else {
            panic!("{fate:?} is no success");
        };
        assert!(text.starts_with("DynamoDB: ") && text.contains(reason), "{fate:?}: {text}");
        assert!(
            matches!(directory.find_key(&hash("a", "b")).await, Err(DirectoryError::Unavailable(_)))
                || reason.is_empty()
        );
        rig.front.script(|_| Fate::Pass);
    }
    assert_eq!(
        ledger.totals("acme", &Window::day(MIDNIGHT_MS, 0)).await.unwrap().used,
        times(0),
        "nothing was recorded"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_and_whose_answer_was_lost_is_done_once() {
    let rig = Rig::new().await;
    let (ledger, directory) = (rig.ledger().await, rig.directory().await);
    let lose_the_first = || {
        let mut answered = 0;
        rig.front.script(move |_| {
            answered += 1;
            if answered == 1 { Fate::LoseAnswer } else { Fate::Pass }
        });
    };
    let day = Window::day(MIDNIGHT_MS, 0);
    // So that the day is listed, and the first request is the transaction.
    ledger.record(&receipt("acme", MIDNIGHT_MS)).await.unwrap();
    lose_the_first();
    ledger.record(&receipt("acme", MIDNIGHT_MS)).await.unwrap();
    assert_eq!(ledger.totals("acme", &day).await.unwrap().used, times(2));
    lose_the_first();
    directory.create_tenant(&tenant("acme"), entry("tenant.create", "acme")).await.unwrap();
    lose_the_first();
    assert!(ledger.open_window("acme", &day).await.unwrap(), "it was the first");
    lose_the_first();
    let id = RequestId::new(MIDNIGHT_MS);
    let begun = ledger.begin(&idempotency_key(), [1; 32], id, MIDNIGHT_MS + 9, MIDNIGHT_MS).await.unwrap();
    assert_eq!(begun, Begun::Fresh, "it is its own");
    lose_the_first();
    ledger.finish(&idempotency_key(), id, Some("answer".into()), MIDNIGHT_MS).await.unwrap();
    let begun = ledger.begin(&idempotency_key(), [1; 32], id, MIDNIGHT_MS + 9, MIDNIGHT_MS).await.unwrap();
    assert_eq!(begun, Begun::Done(Bytes::from_static(b"answer")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_that_cannot_be_written_wait_and_count_once() {
    let rig = Rig::new().await;
    let ledger = rig.ledger().await;
    let hit = || Receipt { cache: CacheStatus::Hit, ..receipt("acme", MIDNIGHT_MS) };
    let hits: Vec<_> = (0..60).map(|_| hit()).collect();
    // One of them is recorded already, as by a replay.
    rig.ledger().await.record(&hits[7]).await.unwrap();
    hits.iter().chain(&hits[..5]).for_each(|hit| ledger.note_hit(hit).unwrap());
    rig.front.script(|_| Fate::error("AccessDeniedException"));
    ledger.record(&receipt("acme", MIDNIGHT_MS)).await.unwrap_err();
    rig.front.script(|_| Fate::Pass);
    rig.front.asked();
    ledger.record(&receipt("acme", MIDNIGHT_MS)).await.unwrap();
    let transactions = rig.front.asked()["TransactWriteItems"];
    assert_eq!(transactions, 1 + 3 + 1, "the receipt, 60 hits by 25, and once more without the one that was there");
    assert_eq!(ledger.totals("acme", &Window::day(MIDNIGHT_MS, 0)).await.unwrap().used, times(61));
    let rows = ledger.usage(&UsageQuery::default(), None, 9).await.unwrap().data;
    assert_eq!((rows[0].requests, rows[0].cache_hits), (61, 60));
    for hit in &hits {
        assert!(ledger.receipt("acme", hit.id, MIDNIGHT_MS).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_whose_writing_nobody_waits_for_any_more_are_written_later() {
    let rig = Rig::new().await;
    let ledger = rig.ledger().await;
    (0..30)
        .for_each(|_| ledger.note_hit(&Receipt { cache: CacheStatus::Hit, ..receipt("acme", MIDNIGHT_MS) }).unwrap());
    // Begun, and dropped before it can end.
    assert!(ledger.flush().now_or_never().is_none());
    ledger.flush().await.unwrap();
    assert_eq!(ledger.figures(&DAY).await.unwrap().whole.counts.requests, 30);
}

const DAY: Period = Period { from_ms: MIDNIGHT_MS, to_ms: MIDNIGHT_MS + 86_400_000, step_ms: None };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_are_in_every_process_s_figures_once_they_are_flushed() {
    let rig = Rig::new().await;
    let (ledger, other) = (rig.ledger().await, rig.ledger().await);
    let requests = async |ledger: &DynamoLedger| ledger.figures(&DAY).await.unwrap().whole.counts.requests;
    let hit = || ledger.note_hit(&Receipt { cache: CacheStatus::Hit, ..receipt("acme", MIDNIGHT_MS) }).unwrap();
    (0..260).for_each(|_| hit());
    assert_eq!(requests(&other).await, 0, "they wait");
    rig.front.script(|_| Fate::error("AccessDeniedException"));
    assert!(ledger.flush().await.is_err());
    rig.front.script(|_| Fate::Pass);
    ledger.flush().await.unwrap();
    assert_eq!(requests(&other).await, 260);
    hit();
    assert_eq!((requests(&ledger).await, requests(&other).await), (261, 261), "the asked process writes its own first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_of_a_tenant_works_once_its_removal_began_however_it_is_interrupted() {
    let rig = Rig::new().await;
    let directory = rig.directory().await;
    directory.create_tenant(&tenant("other"), entry("tenant.create", "other")).await.unwrap();
    directory.create_key(&key("other", "a"), entry("key.create", "other/a")).await.unwrap();
    for passing in [0, 1, 2, 9, 40] {
        directory.create_tenant(&tenant("acme"), entry("tenant.create", "acme")).await.unwrap();
        let ids: Vec<String> = (0..20).map(|n| format!("k{n:02}")).collect();
        for id in &ids {
            directory.create_key(&key("acme", id), entry("key.create", id)).await.unwrap();
        }
        // As if the process had been killed after so many requests.
        let mut passed = 0;
        rig.front.script(move |_| {
            passed += 1;
            if passed <= passing { Fate::Pass } else { Fate::error("AccessDeniedException") }
        });
        let removed = directory.delete_tenant("acme", None, entry("tenant.delete", "acme")).await;
        rig.front.script(|_| Fate::Pass);
        assert_eq!(removed.is_ok(), passing > 0, "after {passing} requests");
        if removed.is_err() {
            assert_eq!(directory.keys("acme").await.unwrap().len(), 20, "nothing was done");
            directory.delete_tenant("acme", None, entry("tenant.delete", "acme")).await.unwrap();
            continue;
        }
        for id in &ids {
            assert_eq!(directory.find_key(&hash("acme", id)).await.unwrap(), None, "{id} after {passing} requests");
        }
        // A later tenant of that id has none of them, whatever is left.
        directory.create_tenant(&tenant("acme"), entry("tenant.create", "acme")).await.unwrap();
        assert_eq!(directory.keys("acme").await.unwrap(), []);
        assert_eq!(directory.find_key(&hash("acme", "k07")).await.unwrap(), None);
        let new = gateway_core::directory::KeyRecord { hash: hash("acme", "new").hex(), ..key("acme", "k19") };
        directory.create_key(&new, entry("key.create", "acme/k19")).await.unwrap();
        directory.delete_tenant("acme", None, entry("tenant.delete", "acme")).await.unwrap();
        let again = directory.delete_tenant("acme", None, entry("tenant.delete", "acme")).await;
        assert!(matches!(again, Err(DirectoryError::Missing)), "{again:?}");
        let left = rig.items().await.into_iter().filter(|(pk, _)| pk == "TENANT#acme").count();
        assert_eq!(left, 0, "what was left is swept up");
    }
    assert!(directory.find_key(&hash("other", "a")).await.unwrap().is_some(), "the others' keys still work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_one_process_revoked_is_found_by_none() {
    let rig = Rig::new().await;
    let (admin, other) = (rig.directory().await, rig.directory().await);
    admin.create_tenant(&tenant("acme"), entry("tenant.create", "acme")).await.unwrap();
    for round in 0..10 {
        admin.create_key(&key("acme", "a"), entry("key.create", "acme/a")).await.unwrap();
        assert!(other.find_key(&hash("acme", "a")).await.unwrap().is_some(), "round {round}");
        admin.delete_key("acme", "a", None, entry("key.revoke", "acme/a")).await.unwrap();
        assert_eq!(other.find_key(&hash("acme", "a")).await.unwrap(), None, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_parts_were_written_in_part_is_nobodys() {
    let rig = Rig::new().await;
    let ledger = rig.ledger().await;
    let answer = Bytes::from(vec![b'x'; 3 << 20]);
    let ids = [1, 2].map(|n| RequestId::new(MIDNIGHT_MS + n));
    let begin =
        async |id, now_ms| ledger.begin(&idempotency_key(), [1; 32], id, now_ms + 60_000, now_ms).await.unwrap();
    assert_eq!(begin(ids[0], MIDNIGHT_MS).await, Begun::Fresh);
    let mut passed = 0;
    rig.front.script(move |_| {
        passed += 1;
        if passed <= 5 { Fate::Pass } else { Fate::error("AccessDeniedException") }
    });
    ledger.finish(&idempotency_key(), ids[0], Some(answer.clone()), MIDNIGHT_MS).await.unwrap_err();
    rig.front.script(|_| Fate::Pass);
    assert_eq!(begin(ids[1], MIDNIGHT_MS + 1).await, Begun::Running);
    assert_eq!(begin(ids[1], MIDNIGHT_MS + 60_000).await, Begun::Fresh);
    ledger.finish(&idempotency_key(), ids[1], Some(answer.clone()), MIDNIGHT_MS).await.unwrap();
    assert!(begin(ids[0], MIDNIGHT_MS + 60_001).await == Begun::Done(answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_may_only_be_read_answers_a_ping_and_no_probe() {
    let rig = Rig::new().await;
    let ledger = rig.ledger().await;
    rig.front.script(|operation| match operation {
        "GetItem" | "BatchGetItem" | "Query" => Fate::Pass,
        _ => Fate::error("AccessDeniedException"),
    });
    ledger.ping().await.expect("it can be read");
    ledger.record(&receipt("acme", MIDNIGHT_MS)).await.expect_err("and not be written");
    let refused = ledger.probe().await.unwrap_err().to_string();
    assert!(refused.contains("AccessDeniedException"), "{refused}");
    rig.front.script(|_| Fate::Pass);
    assert_eq!(rig.cost(async { ledger.probe().await.unwrap() }).await, counted(&[("PutItem", 1)]), "probe");
    let usage = ledger.usage(&UsageQuery::default(), None, 9).await.unwrap();
    assert!(usage.data.is_empty(), "a probe counts nothing");
}

//! Usage rows in the table: those of before, those without room, and those that many processes write.

use super::{DAY, Rig};
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use gateway_core::ledger::contract::tags::{check_usage, record_random};
use gateway_core::ledger::contract::{MIDNIGHT_MS, ONE, receipt};
use gateway_core::ledger::{Calls, Column, Ledger, Period, TagQuery, UsageQuery};
use gateway_core::receipt::{Attempt, AttemptKind, Receipt};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_more_models_than_a_row_has_room_for_are_counted_together() {
    let rig = Rig::new().await;
    let ledger = rig.ledger().await;
    let call = |n: u32| {
        let model = format!("provider-of-many/model-{n:02}").into();
        Attempt::of(model, AttemptKind::Failover, f64::from(n))
    };
    let many = Receipt { attempts: (0..20).map(call).collect(), ..receipt("acme", MIDNIGHT_MS) };
    ledger.record(&many).await.unwrap();
    let models = ledger.figures(&DAY).await.unwrap().whole.models;
    assert!(models.len() > 4 && models.contains_key("…"), "{models:?}");
    let sum = |of: fn(&Calls) -> u64| models.values().map(of).sum::<u64>();
    assert_eq!((sum(|calls| calls.requests), sum(|calls| calls.latency_us)), (20, 190_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_before_there_were_hours_count_with_those_of_now() {
    let rig = Rig::new().await;
    let ledger = rig.ledger().await;
    ledger.record(&receipt("acme", MIDNIGHT_MS)).await.unwrap();
    let mut old = rig.raw().await.put_item().table_name(&rig.name);
    for (name, text) in [("pk", "USAGE#2025-11-22#03"), ("sk", "acme#groq/llama-3.3-70b")] {
        old = old.item(name, AttributeValue::S(text.to_owned()));
    }
    for (name, count) in
        [("requests", 7), ("cache_hits", 2), ("input_tokens", 63), ("output_tokens", 84), ("cost_nusd", 5)]
    {
        old = old.item(name, AttributeValue::N(count.to_string()));
    }
    old.send().await.unwrap();
    let rows = ledger.usage(&UsageQuery::default(), None, 9).await.unwrap().data;
    assert_eq!(rows.iter().map(|row| (row.requests, row.cache_hits)).collect::<Vec<_>>(), [(8, 2)]);
    let by_hour = Period { step_ms: Some(3_600_000), ..DAY };
    let figures = ledger.figures(&by_hour).await.unwrap();
    assert_eq!((figures.whole.counts.input_tokens, figures.steps[&MIDNIGHT_MS].counts.requests), (72, 8));
    let query = UsageQuery { tag: Some(TagQuery { key: "team".to_owned(), value: None }), ..UsageQuery::default() };
    let rows = ledger.usage_by(&query, &[Column::Hour, Column::Tag].into()).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (&*row.hour, &*row.tag, row.requests, row.cost_nusd)).collect();
    assert_eq!(rows, [("2025-11-22", "", 7, 5), ("2025-11-22T00:00Z", "a", 1, ONE.cost_nusd)], "of before: no tags");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_of_several_processes_is_the_fold_over_their_receipts() {
    let rig = Rig::new().await;
    let processes: Vec<Arc<dyn Ledger>> =
        join_all((0..3).map(|_| rig.ledger())).await.into_iter().map(|ledger| Arc::new(ledger) as _).collect();
    join_all((1..).zip(&processes).map(|(seed, ledger)| record_random(ledger, seed, 60))).await;
    let reader: Arc<dyn Ledger> = Arc::new(rig.ledger().await);
    assert_eq!(check_usage(&reader, 7, 30).await, 180);
}

//! DynamoDB breaks under load: requests succeed, their receipts are in the log, and the books agree when it is back and
//! the log was replayed (M6).

use crate::Scenario;
use crate::stage::{Kind, Rig, Stage};
use crate::store::{play, play_on, setup, unharmed};
use crate::verdict::{Allowed, Played};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use test_servers::front::Fate;
use test_servers::link::Manner;
use tokio::time::sleep;

/// How many changes the transaction of a receipt has.
const CHANGES: usize = 4;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let short = |name, expected, play| Scenario { name, expected, is_long: false, play };
    let long = |name, expected, play| Scenario { name, expected, is_long: true, play };
    vec![
        short("DynamoDB: +50 ms each way", "slower", |rig| {
            Box::pin(play(rig, Kind::Redis, 6, unharmed, async |stage| {
                manner(stage, Manner::Delay(Duration::from_millis(50)), 3).await
            }))
        }),
        short("DynamoDB: out for 2 s", "served degraded; receipts are replayed from the log", |rig| {
            Box::pin(play(rig, Kind::Redis, 6, without_a_ledger, async |stage| manner(stage, Manner::Refuse, 2).await))
        }),
        short(
            "DynamoDB: throttles one write in four for 3 s, then each for 2 s",
            "served, slower; degraded while each is refused: those receipts are replayed from the log",
            |rig| Box::pin(refused(rig, without_a_ledger, throttled)),
        ),
        short(
            "DynamoDB: one write in four conflicts for 3 s, then each for 2 s",
            "served, slower: writes are sent again until they are done",
            |rig| Box::pin(refused(rig, unharmed, in_conflict)),
        ),
        long(
            "DynamoDB: silent for 10 s",
            "served degraded, slower at first; receipts are replayed from the log",
            |rig| {
                Box::pin(play(rig, Kind::Redis, 16, without_a_ledger, async |stage| {
                    manner(stage, Manner::Swallow, 10).await
                }))
            },
        ),
    ]
}

fn without_a_ledger(limit: u64) -> Allowed {
    Allowed { degraded: 1, ..unharmed(limit) }
}

async fn manner(stage: &Stage, manner: Manner, seconds: u64) -> Result<()> {
    let link = stage.ledger_link.as_ref().context("a link to the ledger")?;
    link.set(manner);
    sleep(Duration::from_secs(seconds)).await;
    link.set(Manner::Pass);
    Ok(())
}

/// What DynamoDB says of a write that is too much for a table, a partition or an account.
fn throttled(operation: &str, number: usize) -> Fate {
    let codes = ["ProvisionedThroughputExceededException", "ThrottlingException"];
    match (operation, number % 3) {
        ("TransactWriteItems", 2) => Fate::cancelled("ThrottlingError", CHANGES),
        (_, place) => Fate::error(codes[place % codes.len()]),
    }
}

/// What it says of a write whose item is in another transaction.
fn in_conflict(operation: &str, _: usize) -> Fate {
    match operation {
        "TransactWriteItems" => Fate::cancelled("TransactionConflict", CHANGES),
        _ => Fate::error("TransactionConflictException"),
    }
}

/// A share of the writes is refused, and then all of them: what is not done by a call that is sent again is left to the log.
async fn refused(rig: &Rig, allowed: fn(u64) -> Allowed, refusal: fn(&str, usize) -> Fate) -> Result<Played> {
    let count = Arc::new(AtomicUsize::new(0));
    let refusals = count.clone();
    let mut played = play_on(rig, setup(Kind::Redis).fronted(), 6, allowed, async |stage| {
        let front = stage.ledger_front.as_ref().context("a front of the ledger")?;
        for (seconds, one_in) in [(3, 4), (2, 1)] {
            let (refusals, mut writes) = (refusals.clone(), 0);
            front.script(move |operation| {
                let is_write =
                    ["Put", "Update", "Delete", "TransactWrite"].iter().any(|kind| operation.starts_with(kind));
                writes += usize::from(is_write);
                if !is_write || writes % one_in != 0 {
                    return Fate::Pass;
                }
                refusal(operation, refusals.fetch_add(1, Ordering::Relaxed))
            });
            sleep(Duration::from_secs(seconds)).await;
        }
        front.script(|_| Fate::Pass);
        Ok(())
    })
    .await?;
    let refused = count.load(Ordering::Relaxed);
    played.notes.push(format!("{refused} writes refused"));
    played.problems.extend((refused == 0).then(|| "nothing was refused".to_owned()));
    Ok(played)
}

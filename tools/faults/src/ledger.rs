//! DynamoDB breaks under load: requests succeed, their receipts are in the log, and the books agree when it is back and
//! the log was replayed (M6).

use crate::Scenario;
use crate::stage::{Kind, Stage};
use crate::store::{play, unharmed};
use crate::verdict::Allowed;
use anyhow::{Context, Result};
use std::time::Duration;
use test_servers::link::Manner;
use tokio::time::sleep;

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

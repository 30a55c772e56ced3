//! Gateways are killed and frozen (M2, M6).
//!
//! Where a process dies is decided by the provider's script: it stalls at a named point of its answer, and the process is
//! killed when the client has everything up to there. Before and after the call it is decided by what the servers have heard:
//! the process reaches them by ways of its own, which fall silent in time. The hold then ends by its lease, a minute after
//! the deadline, and is charged in full as an estimate, unless the ledger has the receipt. What was settled before the last
//! byte stays as it was.

use crate::Scenario;
use crate::http::{leave_after, send};
use crate::load::{Load, Seen};
use crate::stage::{Kind, Rig, Setup, Stage, until};
use crate::store::play;
use crate::verdict::{Allowed, Played};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use test_servers::front::Fate;
use test_servers::link::Manner;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Where the provider stops, and how many events the client has by then. Two words make five events: the role, each
/// word, the finish reason and the usage; then comes `[DONE]`.
const POINTS: [(&str, usize); 5] =
    [("stall-head", 0), ("stall-2@word", 2), ("stall-3@words", 3), ("stall-4@finish", 3), ("stall-9@done", 3)];
const WORDS: u64 = 2;
/// What DynamoDB is asked for with a receipt.
const WRITE: &str = "TransactWriteItems";
/// A provider that takes so long that the ways to the servers can be cut meanwhile.
const SLOW: &str = "slow-300";

/// What the servers have heard of a request when its process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// The store holds for it, and the process does not know: nothing is dispatched.
    Admission,
    /// The provider has sent its last byte, of which neither store nor ledger have heard.
    LastByte,
    /// The ledger has the receipt, and the store no settlement.
    Receipt,
    /// The store has the settlement, and the ledger no receipt.
    Settlement,
}

const WITHOUT_SETTLEMENT: [Heard; 3] = [Heard::Admission, Heard::LastByte, Heard::Receipt];

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "gateway: kill -9 between hold and settlement, 5 times at each point, Redis",
            expected: "each hold ends by its lease and is charged in full, as an estimate",
            is_long: false,
            play: |rig| Box::pin(killed_at_points(rig, 5)),
        },
        Scenario {
            name: "gateway: kill -9 between hold and settlement, 100 times at each point, Redis",
            expected: "each hold ends by its lease and is charged in full, as an estimate",
            is_long: true,
            play: |rig| Box::pin(killed_at_points(rig, 100)),
        },
        Scenario {
            name: "gateway: kill -9 before dispatch, after the last byte, and after the receipt, 3 times at each point",
            expected: "each hold ends by its lease, and is an estimate where the ledger has no receipt",
            is_long: false,
            play: |rig| Box::pin(killed_when_heard(rig, &WITHOUT_SETTLEMENT, 3)),
        },
        Scenario {
            name: "gateway: kill -9 before dispatch, after the last byte, and after the receipt, 20 times at each point",
            expected: "each hold ends by its lease, and is an estimate where the ledger has no receipt",
            is_long: true,
            play: |rig| Box::pin(killed_when_heard(rig, &WITHOUT_SETTLEMENT, 20)),
        },
        Scenario {
            name: "gateway: kill -9 between settlement and receipt, 3 times, receipts are logged",
            expected: "the receipts are in the log, and replayed from there: the books are equal",
            is_long: false,
            play: |rig| Box::pin(killed_when_heard(rig, &[Heard::Settlement], 3)),
        },
        Scenario {
            name: "gateway: one of four is killed and started again every 400 ms",
            expected: "its clients see a broken connection; no request above the limit",
            is_long: false,
            play: |rig| Box::pin(killed_under_load(rig)),
        },
        Scenario {
            name: "gateway: frozen after the last byte of each answer, thawed later",
            expected: "everything was settled before that byte",
            is_long: false,
            play: |rig| Box::pin(frozen_after_the_last_byte(rig)),
        },
    ]
}

fn stream_of(model: &str) -> Load {
    Load { model: model.to_owned(), requests: 1, every: Duration::ZERO, stream: true, max_tokens: WORDS, bounds: 1 }
}

async fn killed_at_points(rig: &Rig, times: usize) -> Result<Played> {
    let models = POINTS.map(|(model, _)| model);
    let mut stage = Stage::set(rig, &Setup::new(Kind::Redis, 2, &[&models[..], &["ok"]].concat())).await?;
    let mut seen = Seen::default();
    for round in 0..times {
        let before = stage.double.counts().total.calls;
        let to = stage.gateways[0].address;
        let mut clients = JoinSet::new();
        for (place, (model, events)) in POINTS.into_iter().enumerate() {
            let bytes = stage.chat(&stream_of(model), round + place);
            clients.spawn(async move {
                if events > 0 { leave_after(to, &bytes, events).await } else { send(to, &bytes).await.map(drop) }
            });
        }
        let double = &stage.double;
        let all = before + POINTS.len() as u64;
        until("all points are reached", async || Ok(double.counts().total.calls == all)).await?;
        // All but the one that waits for a first byte have seen what there is to see.
        for _ in 1..POINTS.len() {
            clients.join_next().await.context("a client")???;
        }
        stage.gateways[0].kill().await?;
        stage.gateways[0] = stage.gateway(0).await?;
        seen.requests += POINTS.len() as u64;
        seen.others += POINTS.len() as u64;
    }
    let allowed = Allowed { killed: true, others: u64::MAX, ..Allowed::nothing(u64::MAX / 2) };
    Ok(Played::new(stage, stream_of("ok"), seen, allowed))
}

async fn killed_when_heard(rig: &Rig, points: &[Heard], times: usize) -> Result<Played> {
    let logs_receipts = points.contains(&Heard::Settlement);
    let setup = Setup { logs_receipts, ..Setup::new(Kind::Redis, 2, &[SLOW, "ok"]).with_a_victim() };
    let mut stage = Stage::set(rig, &setup).await?;
    let mut seen = Seen::default();
    for round in 0..times {
        for point in points {
            kill_when(&mut stage, *point, round).await.with_context(|| format!("{point:?}, round {round}"))?;
            seen.requests += 1;
            seen.others += 1;
        }
    }
    let allowed = Allowed { killed: true, others: u64::MAX, ..Allowed::nothing(u64::MAX / 2) };
    Ok(Played::new(stage, stream_of("ok"), seen, allowed))
}

/// Sends a request to the first gateway, kills that when the servers have heard so much of it, and starts it again.
async fn kill_when(stage: &mut Stage, point: Heard, round: usize) -> Result<()> {
    let bytes = stage.chat(&stream_of(SLOW), round);
    let to = stage.gateways[0].address;
    let victim = stage.victim.as_ref().context("a victim")?;
    let table = stage.table.as_ref().context("a table")?;
    let calls = || stage.double.counts().of(SLOW).calls;
    let (holds_before, calls_before, receipts_before) = (stage.holds().await?, calls(), table.receipts().await?.len());
    if point == Heard::Admission {
        victim.store.set(Manner::SwallowReplies);
    }
    if [Heard::LastByte, Heard::Settlement].contains(&point) {
        victim.ledger.script(|operation| if operation == WRITE { Fate::Stall } else { Fate::Pass });
    }
    victim.ledger.asked();
    let mut client = JoinSet::new();
    client.spawn(async move { send(to, &bytes).await });
    // The process waits for 250 ms, and then goes on without the store.
    let mut own = None;
    until("the store holds for it", async || {
        own = stage.holds().await?.difference(&holds_before).next().cloned();
        Ok(own.is_some())
    })
    .await?;
    if point != Heard::Admission {
        until("the provider is asked", async || Ok(calls() > calls_before)).await?;
    }
    match point {
        Heard::Admission => {}
        Heard::LastByte => {
            victim.store.set(Manner::Swallow);
            until("the receipt is sent", async || Ok(victim.ledger.asked().contains_key(WRITE))).await?;
        }
        Heard::Receipt => {
            victim.store.set(Manner::Swallow);
            until("the receipt is there", async || Ok(table.receipts().await?.len() > receipts_before)).await?;
        }
        Heard::Settlement => {
            let own = own.context("a hold")?;
            until("it is settled", async || Ok(!stage.holds().await?.contains(&own))).await?;
        }
    }
    stage.gateways[0].kill().await?;
    let victim = stage.victim.as_ref().context("a victim")?;
    victim.store.set(Manner::Pass);
    victim.ledger.script(|_| Fate::Pass);
    let is_called = stage.double.counts().of(SLOW).calls > calls_before;
    ensure!(is_called == (point != Heard::Admission), "it was killed too late");
    stage.gateways[0] = stage.gateway(0).await?;
    stage.greet(&stage.gateways[0]).await
}

async fn killed_under_load(rig: &Rig) -> Result<Played> {
    let allowed = |limit| Allowed {
        killed: true,
        // Whoever asks the one that is being started is not served.
        others: u64::MAX,
        served: limit / 2,
        ..Allowed::nothing(limit)
    };
    play(rig, Kind::Redis, 6, allowed, async |stage| {
        for round in 0..8 {
            let place = round % stage.gateways.len();
            stage.gateways[place].kill().await?;
            sleep(Duration::from_millis(400)).await;
            stage.gateways[place] = stage.gateway(place).await?;
        }
        Ok(())
    })
    .await
}

async fn frozen_after_the_last_byte(rig: &Rig) -> Result<Played> {
    let stage = Stage::set(rig, &Setup::new(Kind::Redis, 2, &["ok"])).await?;
    let load = stream_of("ok");
    let mut seen = Seen::default();
    let mut problems = Vec::new();
    for round in 0..10 {
        let answer = send(stage.gateways[0].address, &stage.chat(&load, round)).await?;
        stage.gateways[0].signal("STOP")?;
        seen.requests += 1;
        seen.served += u64::from(answer.status == 200);
        // The other gateway tells what the books say while this one is frozen.
        let books = stage.books().await;
        stage.gateways[0].signal("CONT")?;
        let books = books?;
        let wrong = books.wrong(false).or_else(|| books.store_differs(0));
        if wrong.is_some() || books.held.requests > 0 {
            problems.push(format!("round {round}: {} held, {wrong:?}", books.held.requests));
        }
    }
    let mut played = Played::new(stage, load, seen, Allowed { served: 10, ..Allowed::nothing(u64::MAX / 2) });
    played.problems = problems;
    Ok(played)
}

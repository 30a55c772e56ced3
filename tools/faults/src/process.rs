//! Gateways are killed and frozen (M2, M6).
//!
//! Where a process dies is decided by the provider's script: it stalls at a named point of its answer, and the process is
//! killed when the client has everything up to there. The hold then ends by its lease, a minute after the deadline, and is
//! charged in full as an estimate. What was settled before the last byte stays as it was.

use crate::Scenario;
use crate::http::{leave_after, send};
use crate::load::{Load, Seen};
use crate::stage::{Kind, Rig, Setup, Stage, until};
use crate::store::play;
use crate::verdict::{Allowed, Played};
use anyhow::{Context, Result};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Where the provider stops, and how many events the client has by then. Two words make five events: the role, each
/// word, the finish reason and the usage; then comes `[DONE]`.
const POINTS: [(&str, usize); 5] =
    [("stall-head", 0), ("stall-2@word", 2), ("stall-3@words", 3), ("stall-4@finish", 3), ("stall-9@done", 3)];
const WORDS: u64 = 2;

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
    Load { model: model.to_owned(), requests: 1, every: Duration::ZERO, stream: true, max_tokens: WORDS }
}

async fn killed_at_points(rig: &Rig, times: usize) -> Result<Played> {
    let models = POINTS.map(|(model, _)| model);
    let mut stage = Stage::set(rig, &Setup::new(Kind::Redis, 2, &[&models[..], &["ok"]].concat())).await?;
    let mut seen = Seen::default();
    for _ in 0..times {
        let before = stage.double.counts().total.calls;
        let to = stage.gateways[0].address;
        let mut clients = JoinSet::new();
        for (model, events) in POINTS {
            let bytes = stage.chat(&stream_of(model));
            clients.spawn(async move {
                if events > 0 { leave_after(to, &bytes, events).await } else { send(to, &bytes).await.map(drop) }
            });
        }
        let double = &stage.double;
        let all = before + POINTS.len() as u64;
        until("all points are reached", || double.counts().total.calls == all).await?;
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
    let bytes = stage.chat(&load);
    let mut seen = Seen::default();
    let mut problems = Vec::new();
    for round in 0..10 {
        let answer = send(stage.gateways[0].address, &bytes).await?;
        stage.gateways[0].signal("STOP")?;
        seen.requests += 1;
        seen.served += u64::from(answer.status == 200);
        // The other gateway tells what the books say while this one is frozen.
        let books = stage.books().await;
        stage.gateways[0].signal("CONT")?;
        let books = books?;
        let wrong = books.wrong(false);
        if wrong.is_some() || books.held_requests > 0 {
            problems.push(format!("round {round}: {} held, {wrong:?}", books.held_requests));
        }
    }
    let mut played = Played::new(stage, load, seen, Allowed { served: 10, ..Allowed::nothing(u64::MAX / 2) });
    played.problems = problems;
    Ok(played)
}

//! Gateways are ended as systemd and Kubernetes end them, and started again: SIGTERM, wait, start, under load and with
//! clients that have just left. Nothing is killed, so nothing may be an estimate, and all books agree (M6, B3).

use crate::Scenario;
use crate::http::leave_after;
use crate::load::Load;
use crate::stage::{Kind, Rig, Setup, Stage};
use crate::verdict::{Allowed, Played};
use anyhow::Result;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

const TIMES: usize = 20;
const MODEL: &str = "slow-50";
const PER_SECOND: u32 = 40;
const SECONDS: u32 = 25;
/// What it is between two restarts.
const PAUSE: Duration = Duration::from_millis(300);
/// A stream of 30 words that takes a while; clients leave after its first event.
const LEFT: &str = "drip-5@left";
const LEAVING: usize = 3;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "gateway: restarted 20 times under load, one process without servers",
            expected: "its clients see a broken connection; nothing is lost, and nothing is an estimate",
            is_long: false,
            play: |rig| Box::pin(restarted(rig, Kind::Memory, 1)),
        },
        Scenario {
            name: "gateway: each of two restarted 10 times under load, Redis",
            expected: "its clients see a broken connection; nothing is lost, and nothing is an estimate",
            is_long: true,
            play: |rig| Box::pin(restarted(rig, Kind::Redis, 2)),
        },
    ]
}

async fn restarted(rig: &Rig, store: Kind, gateways: usize) -> Result<Played> {
    let mut stage = Stage::set(rig, &Setup::new(store, gateways, &[MODEL, LEFT])).await?;
    let requests = PER_SECOND * SECONDS;
    let every = Duration::from_secs(1) / PER_SECOND;
    let load = Load { model: MODEL.to_owned(), requests, every, stream: false, max_tokens: 30, bounds: 7 };
    let mut drained = 0;
    let seen = stage
        .play(&load, async |stage: &mut Stage| {
            for round in 0..TIMES {
                let place = round % stage.gateways.len();
                drained += leave(stage, place).await?;
                stage.gateways[place].end().await?;
                stage.gateways[place] = stage.gateway(place).await?;
                sleep(PAUSE).await;
            }
            Ok(())
        })
        .await?;
    // Whoever asks the one that is being started is not served.
    let allowed = Allowed { others: u64::MAX, served: u64::from(requests) / 4, ..Allowed::nothing(u64::MAX / 2) };
    let mut played = Played::new(stage, load, seen, allowed);
    let calls = played.stage.double.counts().of(LEFT).calls;
    played.problems.extend((calls != drained).then(|| format!("{drained} clients left, {calls} calls")));
    played.notes.push(format!("{drained} clients had just left"));
    Ok(played)
}

/// Some clients begin a stream and leave; answers how many.
async fn leave(stage: &Stage, place: usize) -> Result<u64> {
    let load =
        Load { model: LEFT.to_owned(), requests: 1, every: Duration::ZERO, stream: true, max_tokens: 30, bounds: 7 };
    let to = stage.gateways[place].address;
    let mut clients = JoinSet::new();
    for turn in 0..LEAVING {
        let bytes = stage.chat(&load, turn);
        clients.spawn(async move { leave_after(to, &bytes, 1).await });
    }
    while let Some(left) = clients.join_next().await {
        left??;
    }
    Ok(LEAVING as u64)
}

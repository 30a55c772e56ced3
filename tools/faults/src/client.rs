//! Clients that leave: what the provider bills is settled all the same, and nothing stays held (M4, M6).

use crate::Scenario;
use crate::http::{leave_after, send};
use crate::load::{Load, Seen};
use crate::stage::{Kind, Rig, Setup, Stage, until};
use crate::verdict::{Allowed, Played};
use anyhow::Result;
use std::time::Duration;
use tokio::task::JoinSet;

const MODEL: &str = "drip-5";
/// Events after which clients leave: the first, one in the middle, and the last word.
const LEAVE_AFTER: [usize; 3] = [1, 10, 30];
/// The provider takes its time before the first byte, for those that leave as soon as it is asked.
const SILENT: &str = "slow-100";
const EACH: usize = 10;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "clients leave after chunk 0, 1, 10 and the last",
            expected: "billed and settled as if they had stayed",
            is_long: false,
            play: |rig| Box::pin(leave(rig, Kind::Redis)),
        },
        Scenario {
            name: "clients leave after chunk 0, 1, 10 and the last, one process without servers",
            expected: "billed and settled as if they had stayed",
            is_long: false,
            play: |rig| Box::pin(leave(rig, Kind::Memory)),
        },
    ]
}

async fn leave(rig: &Rig, store: Kind) -> Result<Played> {
    let stage = Stage::set(rig, &Setup::new(store, 1, &[MODEL, SILENT])).await?;
    let load =
        Load { model: MODEL.to_owned(), requests: 1, every: Duration::ZERO, stream: true, max_tokens: 30, bounds: 1 };
    let to = stage.addresses()[0];
    let mut waiting = JoinSet::new();
    for place in 0..EACH {
        let silent = stage.chat(&Load { model: SILENT.to_owned(), ..load.clone() }, place);
        waiting.spawn(async move { send(to, &silent).await });
    }
    until("the provider is asked", async || Ok(stage.double.counts().of(SILENT).calls == EACH as u64)).await?;
    waiting.shutdown().await;
    let mut clients = JoinSet::new();
    for (place, events) in LEAVE_AFTER.into_iter().cycle().take(LEAVE_AFTER.len() * EACH).enumerate() {
        let bytes = stage.chat(&load, place);
        clients.spawn(async move { leave_after(to, &bytes, events).await });
    }
    let mut seen = Seen { requests: EACH as u64, ..Seen::default() };
    while let Some(left) = clients.join_next().await {
        left??;
        seen.requests += 1;
    }
    let all = (LEAVE_AFTER.len() + 1) as u64 * EACH as u64;
    let calls = stage.double.counts().total.calls;
    let mut played = Played::new(stage, load, seen, Allowed::nothing(u64::MAX / 2));
    played.problems.extend((calls != all).then(|| format!("{calls} of {all} reached the provider")));
    Ok(played)
}

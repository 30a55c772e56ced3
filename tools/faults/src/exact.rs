//! Many requests at once against a limit: exactly what fits is served, whatever the number of processes (M1).
//!
//! All are sent in one instant, and the provider takes so long that nobody has its answer before the last of the others is
//! refused: whatever could be served too much would be. The processes are warm, as a fleet's are: by a request that counts
//! nothing ([`Stage::enter`]) each has connected to its servers and read the tenant and its key.

use crate::Scenario;
use crate::load::{Load, Seen, send_all};
use crate::stage::{Kind, Rig, Setup, Stage};
use crate::verdict::{Allowed, Played};
use anyhow::Result;
use serde_json::json;
use std::time::Duration;

const PROCESSES: usize = 20;
const REQUESTS: u32 = 500;
const LIMIT: u64 = 100;
const SLOW: &str = "slow-2500";
/// Tokens of an answer, at the most; what they cost is what is held.
const TOKENS: u64 = 20;
const OUTPUT_NUSD: u64 = 2_000;
/// What is held for an answer: its tokens' price, and what rounding may add.
const HOLD_NUSD: u64 = TOKENS * OUTPUT_NUSD + 2;
const ROUNDS: usize = 20;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "500 at once, limit 100, 20 processes, Redis",
            expected: "exactly 100 served, 400 refused",
            is_long: false,
            play: |rig| Box::pin(at_once(rig, Kind::Redis, 1)),
        },
        Scenario {
            name: "the same 20 times over, Redis",
            expected: "exactly 100 served, 400 refused, each time",
            is_long: true,
            play: |rig| Box::pin(at_once(rig, Kind::Redis, ROUNDS)),
        },
        Scenario {
            name: "the same 20 times over, cluster",
            expected: "exactly 100 served, 400 refused, each time",
            is_long: true,
            play: |rig| Box::pin(at_once(rig, Kind::Cluster, ROUNDS)),
        },
        Scenario {
            name: "cost limit, answers cost what is held, Redis",
            expected: "exactly the 100 that fit are served",
            is_long: false,
            play: |rig| Box::pin(dear(rig, Kind::Redis)),
        },
        Scenario {
            name: "cost limit, answers cost what is held, cluster",
            expected: "exactly the 100 that fit are served",
            is_long: true,
            play: |rig| Box::pin(dear(rig, Kind::Cluster)),
        },
        Scenario {
            name: "cost limit, answers cost less than is held, Redis",
            expected: "never over; serial requests then come within one hold of the limit",
            is_long: false,
            play: |rig| Box::pin(cheap(rig, Kind::Redis)),
        },
        Scenario {
            name: "cost limit, answers cost less than is held, cluster",
            expected: "never over; serial requests then come within one hold of the limit",
            is_long: true,
            play: |rig| Box::pin(cheap(rig, Kind::Cluster)),
        },
    ]
}

fn all_at_once(model: &str) -> Load {
    Load {
        model: model.to_owned(),
        requests: REQUESTS,
        every: Duration::ZERO,
        stream: false,
        max_tokens: TOKENS,
        bounds: 1,
    }
}

/// What is wrong if not exactly what fits was served, all of it at the same time.
fn wrong(seen: &Seen) -> Option<String> {
    let is_exact = (seen.served, seen.quota) == (LIMIT, u64::from(REQUESTS) - LIMIT);
    let is_at_once = seen.first_served_ms.is_some_and(|first_ms| seen.last_refused_ms < first_ms);
    (!is_exact || !is_at_once).then(|| format!("{} served, {} refused; {}", seen.served, seen.quota, times(seen)))
}

fn times(seen: &Seen) -> String {
    let first_ms = seen.first_served_ms.unwrap_or_default();
    format!("the last was refused after {:.0} ms, the first served after {first_ms:.0} ms", seen.last_refused_ms)
}

async fn at_once(rig: &Rig, store: Kind, rounds: usize) -> Result<Played> {
    let setup = Setup::new(store, PROCESSES, &[SLOW]).limited(json!({"daily_requests": LIMIT}));
    let mut stage = Stage::set(rig, &setup).await?;
    let load = all_at_once(SLOW);
    let mut seen = Seen::default();
    let mut problems = Vec::new();
    for round in 1..=rounds as u64 {
        if round > 1 {
            stage.enter(&format!("acme-{round}"), &setup.limits).await?;
        }
        let once = send_all(&stage.addresses(), &stage.key, &load).await;
        let calls = stage.double.counts().total.calls;
        problems.extend(wrong(&once).map(|wrong| format!("round {round}: {wrong}")));
        problems.extend((calls != LIMIT * round).then(|| format!("round {round}: {calls} calls")));
        seen.add(once);
    }
    let limit = LIMIT * rounds as u64;
    let note = times(&seen);
    let mut played = Played::new(stage, load, seen, Allowed { served: limit, ..Allowed::nothing(limit) });
    played.problems = problems;
    played.notes.push(note);
    Ok(played)
}

/// A tenant whose daily cost is that of 100 holds; input is free.
async fn limited_by_cost(rig: &Rig, store: Kind, models: &[&'static str]) -> Result<Stage> {
    let nusd = LIMIT * HOLD_NUSD;
    let limits = json!({"daily_cost_usd": format!("{}.{:09}", nusd / 1_000_000_000, nusd % 1_000_000_000)});
    Stage::set(rig, &Setup::new(store, PROCESSES, models).limited(limits)).await
}

async fn dear(rig: &Rig, store: Kind) -> Result<Played> {
    let model = "slow-2500@free";
    let stage = limited_by_cost(rig, store, &[model]).await?;
    let load = all_at_once(model);
    let seen = send_all(&stage.addresses(), &stage.key, &load).await;
    let (problems, notes) = (wrong(&seen).into_iter().collect(), vec![times(&seen)]);
    let mut played = Played::new(stage, load, seen, Allowed::nothing(LIMIT));
    (played.problems, played.notes) = (problems, notes);
    Ok(played)
}

async fn cheap(rig: &Rig, store: Kind) -> Result<Played> {
    // Nine of the twenty tokens that are held.
    let stage = limited_by_cost(rig, store, &["slow-2500+refusal@free", "refusal@free"]).await?;
    let load = all_at_once("slow-2500+refusal@free");
    let mut seen = send_all(&stage.addresses(), &stage.key, &load).await;
    let at_once = seen.served;
    let mut problems: Vec<String> = wrong(&seen).into_iter().collect();
    let one = Load { model: "refusal@free".to_owned(), requests: 1, ..load.clone() };
    loop {
        let next = send_all(&stage.addresses()[..1], &stage.key, &one).await;
        let is_last = next.served == 0;
        seen.add(next);
        if is_last {
            break;
        }
    }
    let limit_nusd = LIMIT * HOLD_NUSD;
    let spent = stage.double.counts().total.output_tokens * OUTPUT_NUSD;
    let left = limit_nusd.saturating_sub(spent);
    if spent > limit_nusd || left >= HOLD_NUSD {
        problems.push(format!("{spent} of {limit_nusd} nusd spent"));
    }
    let mut played = Played::new(stage, load, seen, Allowed { served: at_once, ..Allowed::nothing(u64::MAX / 2) });
    played.problems = problems;
    played.notes = vec![format!("{at_once} served at once, {left} nusd left in the end")];
    Ok(played)
}

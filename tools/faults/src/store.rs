//! The store breaks under load (M1, M2, M5, and the outage policy).
//!
//! The load asks for more than the tenant's limit, so that a request too many would show. While the store is down the
//! tenant goes on within a tenth of its limit; beyond that clients are told 503. What a lost store adds is at most what
//! was in flight.

use crate::Scenario;
use crate::load::Load;
use crate::stage::{Kind, Rig, Setup, Stage};
use crate::verdict::{Allowed, Played};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::time::Duration;
use test_servers::link::Manner;
use tokio::time::{Instant, sleep};

/// A provider takes this long, so that requests are in flight whenever something breaks.
const MODEL: &str = "slow-50";
const PER_SECOND: u32 = 40;
/// What is in flight at one instant: a provider's 50 ms and as much for the rest, at twice the mean.
pub(crate) const IN_FLIGHT: u64 = 8;
const GATEWAYS: usize = 4;

/// How long a load lasts.
const SHORT_S: u32 = 6;
const LONG_S: u32 = 16;

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn scenarios() -> Vec<Scenario> {
    let short = |name, expected, play| Scenario { name, expected, is_long: false, play };
    let long = |name, expected, play| Scenario { name, expected, is_long: true, play };
    vec![
        short("Redis: nothing is broken", "all within the limit served", |rig| {
            Box::pin(play(rig, Kind::Redis, SHORT_S, unharmed, async |_| Ok(())))
        }),
        short(
            "Redis: kill -9, empty restart after 1 s",
            "served degraded to 10 % of the limit, then 503; rebuilt",
            |rig| {
                Box::pin(play(rig, Kind::Redis, SHORT_S, lost, async |stage| {
                    stage.redis()?.kill()?;
                    sleep(Duration::from_secs(1)).await;
                    stage.redis()?.restart().await
                }))
            },
        ),
        short("Redis: SIGSTOP for 1 s", "served late, or degraded, then 503 until it is thawed", |rig| {
            Box::pin(play(rig, Kind::Redis, SHORT_S, briefly_down, async |stage| freeze(stage, 1).await))
        }),
        long("Redis: SIGSTOP for 10 s", "served degraded, then 503 until it is thawed", |rig| {
            Box::pin(play(rig, Kind::Redis, LONG_S, down, async |stage| freeze(stage, 10).await))
        }),
        short("Redis: CLIENT PAUSE 1500 WRITE", "served degraded, then 503 until it goes on", |rig| {
            Box::pin(play(rig, Kind::Redis, SHORT_S, down, async |stage| {
                stage.redis()?.ask(&["CLIENT", "PAUSE", "1500", "WRITE"]).await.map(drop)
            }))
        }),
        short("Redis: SCRIPT FLUSH every 100 ms", "nothing to be seen", |rig| {
            Box::pin(play(rig, Kind::Redis, SHORT_S, unharmed, async |stage| {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(3) {
                    stage.redis()?.ask(&["SCRIPT", "FLUSH"]).await?;
                    sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            }))
        }),
        short("Redis: full, noeviction, for 2 s", "served degraded, then 503; what is in flight is settled", |rig| {
            Box::pin(play(rig, Kind::Redis, SHORT_S, down, async |stage| {
                for settings in [["maxmemory-policy", "noeviction"], ["maxmemory", "1"], ["maxmemory", "0"]] {
                    let reply = stage.redis()?.ask(&["CONFIG", "SET", settings[0], settings[1]]).await?;
                    ensure!(reply == "OK", "{reply}");
                    let pause = if settings[1] == "1" { Duration::from_secs(2) } else { Duration::ZERO };
                    sleep(pause).await;
                }
                Ok(())
            }))
        }),
        long("Redis: full, volatile-lru, others write on", "served; a window that is evicted is rebuilt", |rig| {
            Box::pin(play(rig, Kind::Redis, LONG_S, evicted, async |stage| {
                let redis = stage.redis()?;
                redis.ask(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]).await?;
                redis.ask(&["CONFIG", "SET", "maxmemory", "4mb"]).await?;
                let begun = Instant::now();
                let junk = "x".repeat(100_000);
                for number in 0.. {
                    if begun.elapsed() > Duration::from_secs(8) {
                        break;
                    }
                    redis.ask(&["SET", &format!("junk:{number}"), &junk, "EX", "60"]).await?;
                }
                Ok(())
            }))
        }),
        short("Redis: +5 ms each way", "slower", |rig| Box::pin(delayed(rig, 5, unharmed))),
        short("Redis: +50 ms each way", "slower", |rig| Box::pin(delayed(rig, 50, unharmed))),
        long("Redis: +500 ms each way", "as if it were down: served degraded, then 503", |rig| {
            Box::pin(delayed(rig, 500, down))
        }),
        short("Redis: half open for 2 s", "served degraded, then 503 until it answers", |rig| {
            Box::pin(play(rig, Kind::Redis, SHORT_S, down, async |stage| {
                manner(stage, Manner::Swallow, Duration::from_secs(2)).await
            }))
        }),
        short("Redis: reset in mid-reply, for 1 s", "sent again, or served degraded", |rig| {
            Box::pin(play(rig, Kind::Redis, SHORT_S, down, async |stage| {
                manner(stage, Manner::ResetAfter(40), Duration::from_secs(1)).await
            }))
        }),
        long("cluster: nothing is broken", "all within the limit served", |rig| {
            Box::pin(play(rig, Kind::Cluster, SHORT_S, unharmed, async |_| Ok(())))
        }),
        long(
            "cluster: the tenant's primary is killed",
            "served degraded, then 503, until its replica takes over",
            |rig| {
                Box::pin(play(rig, Kind::Cluster, LONG_S, lost, async |stage| {
                    let tag = stage.tag.clone();
                    let cluster = stage.cluster.as_mut().context("a cluster")?;
                    let place = cluster.primary_of(&tag).await?;
                    cluster.nodes_mut()[place].kill()
                }))
            },
        ),
        long("cluster: the tenant's slot is moved", "nothing to be seen", |rig| {
            Box::pin(play(rig, Kind::Cluster, LONG_S, unharmed, async |stage| move_slot(stage).await))
        }),
    ]
}

/// What a load of [`play`] is played on.
pub(crate) fn setup(store: Kind) -> Setup {
    Setup::new(store, GATEWAYS, &[MODEL])
}

/// Plays a load of so many seconds, and the fault from its second second on.
pub(crate) async fn play(
    rig: &Rig,
    store: Kind,
    seconds: u32,
    allowed: fn(u64) -> Allowed,
    fault: impl AsyncFnOnce(&mut Stage) -> Result<()>,
) -> Result<Played> {
    play_on(rig, setup(store), seconds, allowed, fault).await
}

/// The same on a stage that was set otherwise.
pub(crate) async fn play_on(
    rig: &Rig,
    setup: Setup,
    seconds: u32,
    allowed: fn(u64) -> Allowed,
    fault: impl AsyncFnOnce(&mut Stage) -> Result<()>,
) -> Result<Played> {
    let requests = PER_SECOND * seconds;
    let limit = u64::from(requests) * 7 / 10;
    let mut stage = Stage::set(rig, &setup.limited(json!({"daily_requests": limit}))).await?;
    let every = Duration::from_secs(1) / PER_SECOND;
    let load = Load { model: MODEL.to_owned(), requests, every, stream: false, max_tokens: 30, bounds: 7 };
    let seen = stage
        .play(&load, async |stage: &mut Stage| {
            sleep(Duration::from_secs(1)).await;
            fault(stage).await
        })
        .await?;
    Ok(Played::new(stage, load, seen, allowed(limit)))
}

/// No client sees anything but the limit.
pub(crate) fn unharmed(limit: u64) -> Allowed {
    Allowed { served: limit, ..Allowed::nothing(limit) }
}

/// The store is down for a while, and comes back as it was.
fn down(limit: u64) -> Allowed {
    Allowed { unavailable: u64::MAX, served: limit / 2, degraded: 1, ..Allowed::nothing(limit) }
}

/// The store is away for so short a time that a call sent again may still reach it.
fn briefly_down(limit: u64) -> Allowed {
    Allowed { degraded: 0, ..down(limit) }
}

/// The store is down for a while, and comes back empty, or without its latest writes.
fn lost(limit: u64) -> Allowed {
    Allowed { overspend: IN_FLIGHT, ..down(limit) }
}

/// The window may be evicted any number of times.
fn evicted(limit: u64) -> Allowed {
    Allowed { overspend: IN_FLIGHT, degraded: 0, unavailable: 0, ..down(limit) }
}

async fn freeze(stage: &mut Stage, seconds: u64) -> Result<()> {
    stage.redis()?.signal("STOP").await?;
    sleep(Duration::from_secs(seconds)).await;
    stage.redis()?.signal("CONT").await
}

async fn manner(stage: &Stage, manner: Manner, time: Duration) -> Result<()> {
    let link = stage.store_link.as_ref().context("a link to the store")?;
    link.set(manner);
    sleep(time).await;
    link.set(Manner::Pass);
    Ok(())
}

async fn delayed(rig: &Rig, ms: u64, allowed: fn(u64) -> Allowed) -> Result<Played> {
    play(rig, Kind::Redis, SHORT_S, allowed, async |stage| {
        manner(stage, Manner::Delay(Duration::from_millis(ms)), Duration::from_secs(3)).await
    })
    .await
}

/// Moves the slot of the tenant's keys from its primary to another one, as an operator would.
async fn move_slot(stage: &mut Stage) -> Result<()> {
    let tag = stage.tag.clone();
    let cluster = stage.cluster.as_ref().context("a cluster")?;
    let slot = cluster.ask(&["CLUSTER", "KEYSLOT", &tag]).await?;
    let from = cluster.primary_of(&tag).await?;
    let to = (from + 1) % 3;
    let (source, target) = (&cluster.nodes()[from], &cluster.nodes()[to]);
    let (source_id, target_id) = (source.ask(&["CLUSTER", "MYID"]).await?, target.ask(&["CLUSTER", "MYID"]).await?);
    target.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]).await?;
    source.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]).await?;
    let port = target.port().to_string();
    loop {
        let keys = source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]).await?;
        if keys.is_empty() {
            break;
        }
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.lines());
        let reply = source.ask(&migrate).await?;
        ensure!(reply == "OK" || reply == "NOKEY", "{reply}");
    }
    for node in [target, source].into_iter().chain(cluster.nodes()) {
        // Replicas do not take it, and need not.
        let _ = node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]).await?;
    }
    let now = cluster.primary_of(&tag).await?;
    ensure!(now == to, "the slot is at {now}");
    Ok(())
}

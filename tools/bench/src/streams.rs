//! Streams, beside those that nginx passes on from the same double in the same run.
//!
//! nginx is a plain reverse proxy here, which sends each byte on as it comes and does nothing else: what it takes for an event is
//! about what the kernel takes. The gateway reads, counts and writes each event, and settles each request; that is in its
//! figure, spread over the four hundred events of an answer of usual length. One worker each, on the same core in turn.

use crate::asked;
use crate::figures::{Figure, percentile};
use crate::load::{Amount, Request};
use crate::machine::{Spent, Watch, memory_mib};
use crate::stage::Stage;
use std::time::Duration;
use tokio::time::sleep;

/// One stream after another, as fast as they come.
const ONE: Amount = Amount { connections: 1, max_requests: usize::MAX, time: Duration::from_secs(2) };
/// A hundred at once, with 5 ms between two events of each.
const MANY: Amount = Amount { connections: 100, max_requests: 1, time: Duration::from_secs(5) };
/// Rounds, in each of which all have their turn.
const ROUNDS: usize = 15;
/// Streams that are open at once while memory is looked at, and when that is.
const OPEN: Amount = Amount { connections: 1_000, max_requests: 1, time: Duration::from_secs(5) };
const LOOK: Duration = Duration::from_millis(2_500);

/// A turn: what was seen of the streams, and what they took of the process between the load and the double.
struct Turn {
    cpu_s: f64,
    events: u64,
    first_byte_ms: f64,
    foreign_cores: f64,
}

async fn turn(stage: &Stage, request: &Request, amount: Amount, pid: u32) -> anyhow::Result<Turn> {
    let watch = Watch::begin([pid, stage.double_pid()])?;
    let seen = stage.measure(request, amount).await?;
    let Spent { cpu_s: [cpu_s, _], foreign_cores, .. } = watch.end()?;
    let first_byte_ms = percentile(&seen.first_byte_ms, 50);
    Ok(Turn { cpu_s, events: seen.events, first_byte_ms, foreign_cores })
}

/// CPU for each event, and the time that is added to the first one, with one stream and with a hundred. The machine's speed
/// changes by half from one minute to the next, and with a hundred streams an event takes half as much again in some turns as in
/// others, by how the streams meet: so there are many turns, one after the other. CPU is that of all together, time the median.
pub(crate) async fn measure(stage: &Stage) -> anyhow::Result<Vec<Figure>> {
    let Some(nginx) = stage.nginx().await? else {
        return Ok(vec![Figure::missing("streams beside nginx", "run `tools/install/system nginx`")]);
    };
    let (of_nginx, of_gateway) = (nginx.process.id(), stage.gateway.process.id());
    let mut figures = Vec::new();
    for (name, amount, paced) in [("1 stream", ONE, false), ("100 streams", MANY, true)] {
        let of_double = |to| asked::long_stream_of_double(to, paced);
        let mut rounds = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            rounds.push([
                turn(stage, &of_double(stage.double_address), amount, of_nginx).await?,
                turn(stage, &of_double(nginx.address), amount, of_nginx).await?,
                turn(stage, &asked::long_stream(&stage.gateway, paced), amount, of_gateway).await?,
            ]);
        }
        let median = |of: &dyn Fn(&[Turn; 3]) -> f64| percentile(&rounds.iter().map(of).collect::<Vec<_>>(), 50);
        let cpu_us = |which: usize| {
            let turns = || rounds.iter().map(|round| &round[which]);
            turns().map(|turn| turn.cpu_s).sum::<f64>() * 1e6 / turns().map(|turn| turn.events).sum::<u64>() as f64
        };
        for (which, who, target) in [(1, "nginx", ""), (2, "gateway", "≤ 1.5 times nginx's")] {
            let foreign_cores = median(&|round| round[which].foreign_cores);
            let row = |what, value: f64, unit| {
                Figure::new(format!("{name}, {what}, {who}"), value, unit).foreign(foreign_cores)
            };
            let cpu = row("CPU per event", cpu_us(which), "µs");
            figures.push(cpu.ratio(cpu_us(which) / cpu_us(1), "nginx's").target(target));
            let added_ms = median(&|round| round[which].first_byte_ms - round[0].first_byte_ms);
            let times_direct = median(&|round| round[which].first_byte_ms / round[0].first_byte_ms);
            figures.push(row("first byte, added p50", added_ms, "ms").ratio(times_direct, "direct"));
        }
    }
    Ok(figures)
}

/// Memory of a gateway for each of a thousand streams that are open at once.
pub(crate) async fn memory(stage: &Stage) -> anyhow::Result<Figure> {
    let gateway = stage.another_gateway("streams")?;
    let request = asked::slow_stream(&gateway);
    stage.measure(&request, Amount { connections: 1, ..OPEN }).await?;
    let rss_mib = || memory_mib(gateway.process.id(), "VmRSS");
    let before_mib = rss_mib()?;
    let (seen, open_mib) = tokio::join!(stage.measure(&request, OPEN), async {
        sleep(LOOK).await;
        rss_mib()
    });
    seen?;
    let kib = (open_mib? - before_mib) * 1024.0 / OPEN.connections as f64;
    Ok(Figure::new("memory of an open stream, of 1,000", kib, "KiB").ratio(kib / 64.0, "the target").target("≤ 64 KiB"))
}

//! The measurements, in the order in which they run.

use crate::asked::{Asked, receipt, whole};
use crate::cold;
use crate::figures::{Figure, percentile};
use crate::load::{self, Amount, Request, Seen};
use crate::machine::{Spent, Watch, memory_mib};
use crate::stage::Stage;
use anyhow::Context;
use std::path::Path;
use std::time::Duration;

const WARM_UP: Amount = Amount { connections: 16, max_requests: usize::MAX, time: Duration::from_secs(2) };
/// One connection: passes in which each kind of request has its turn, and of how many one is calm.
const PASSES_OF_ONE: usize = 240;
const ONE_IS_CALM_OF: usize = 10;
/// A turn. The first requests find a fresh connection and a process that has slept: they do not count.
const ONE: Amount = Amount { connections: 1, max_requests: 55, time: Duration::from_secs(1) };
const FIRST: usize = 5;
const SIXTEEN: Amount = Amount { connections: 16, max_requests: usize::MAX, time: Duration::from_secs(3) };
const STREAMS: Amount = Amount { connections: 32, max_requests: 10, time: Duration::from_secs(5) };
/// Passes of a load; the one that was disturbed least is reported.
const PASSES: usize = 3;

/// Warms up, and fills the caches for the hits.
pub(crate) async fn warm_up(stage: &Stage, asked: &Asked) -> anyhow::Result<()> {
    for (hit, whole) in [(&asked.hit, &asked.whole), (&asked.redis_hit, &asked.redis_whole)] {
        load::once(&Request { shows: None, ..hit.clone() }).await?;
        stage.measure(whole, WARM_UP).await?;
    }
    Ok(())
}

/// What was seen of each kind of request, one at a time.
struct InTurn<const N: usize> {
    /// Of a pass each, the calmest first.
    passes: Vec<[Seen; N]>,
    /// Of the calm ones together.
    calm: [Seen; N],
    /// In all passes: one of them is too short for it.
    foreign_cores: f64,
}

/// Asks each kind of request in its turn, in many short passes. A neighbour on the same processor, which is no foreign core,
/// slows the machine by half, for a second or for minutes: the tenth of the passes counts as calm in which a request for
/// `auto`, that nothing else is told of, was answered fastest. It goes to the gateway with the memory store. So the choice
/// makes what that adds rather smaller, and what Redis adds to it rather larger.
async fn in_turn<const N: usize>(stage: &Stage, asked: &Asked, kinds: [&Request; N]) -> anyhow::Result<InTurn<N>> {
    let turn = async |kind| {
        let mut seen = stage.measure(kind, ONE).await?;
        for times in [&mut seen.total_ms, &mut seen.first_byte_ms] {
            times.drain(..FIRST.min(times.len()));
        }
        anyhow::Ok(seen)
    };
    let watch = Watch::begin(stage.watched())?;
    let mut paced = Vec::with_capacity(PASSES_OF_ONE);
    for pass in 0..PASSES_OF_ONE {
        let pace_ms = p50(&turn(&asked.auto).await?);
        let mut seen = std::array::from_fn(|_| Seen::default());
        // There and back, so that none always follows the same.
        for kind in (0..N).map(|kind| if pass % 2 == 0 { kind } else { N - 1 - kind }) {
            seen[kind] = turn(kinds[kind]).await?;
        }
        paced.push((pace_ms, seen));
    }
    let foreign_cores = watch.end()?.foreign_cores;
    paced.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let passes: Vec<[Seen; N]> = paced.into_iter().map(|(_, seen)| seen).collect();
    let mut calm = std::array::from_fn(|_| Seen::default());
    for pass in &passes[..PASSES_OF_ONE / ONE_IS_CALM_OF] {
        for (calm, seen) in calm.iter_mut().zip(pass) {
            Seen::add(calm, seen.clone());
        }
    }
    Ok(InTurn { passes, calm, foreign_cores })
}

fn p50(seen: &Seen) -> f64 {
    percentile(&seen.total_ms, 50)
}

/// Latency: each kind of request, one at a time, all on one core; then some with the load on a core of its own.
pub(crate) async fn one_connection(stage: &Stage, asked: &Asked) -> anyhow::Result<Vec<Figure>> {
    const OVER_MEMORY: &str = "whole answer, Redis store over memory store";
    const MEMORY: &str = "the memory store";
    stage.gather()?;
    let kinds = [
        &asked.direct,
        &asked.whole,
        &asked.redis_whole,
        &asked.hit,
        &asked.redis_hit,
        &asked.auto,
        &asked.direct_stream,
        &asked.stream,
    ];
    let InTurn { passes, calm, foreign_cores } = in_turn(stage, asked, kinds).await?;
    let [direct, whole, redis_whole, hit, redis_hit, auto, direct_stream, stream] = &calm;
    let row = |name, value| Figure::new(name, value, "ms").foreign(foreign_cores);
    let mut figures = Vec::new();
    for percent in [50, 99] {
        let of = |values: &[f64]| percentile(values, percent);
        let (base, pinned) = (of(&direct.total_ms), of(&whole.total_ms));
        let (redis, hit, redis_hit) = (of(&redis_whole.total_ms), of(&hit.total_ms), of(&redis_hit.total_ms));
        let (first, last) = (of(&direct_stream.first_byte_ms), of(&direct_stream.total_ms));
        let added = |name: &str, with: f64, without: f64, beside: f64, is| {
            row(format!("{name}, added p{percent}"), with - without).ratio(with / beside, is)
        };
        let target = |target| if percent == 50 { target } else { "" };
        figures.extend([
            row(format!("direct to the double, p{percent}"), base),
            added("whole answer", pinned, base, base, "direct").target(target("≤ 0.3 ms")),
            added("cache hit", hit, base, pinned, "a whole answer"),
            added(OVER_MEMORY, redis, pinned, pinned, MEMORY).target(target("≤ 0.2 ms")),
            added("cache hit, Redis store over memory store", redis_hit, hit, hit, MEMORY),
            added("model `auto`", of(&auto.total_ms), base, pinned, "a pinned model"),
            added("stream, first byte", of(&stream.first_byte_ms), first, first, "direct"),
            added("stream, last byte", of(&stream.total_ms), last, last, "direct"),
        ]);
    }
    let of_passes = |of: fn(f64, f64) -> f64| {
        let each: Vec<f64> =
            passes.iter().map(|[_, whole, redis_whole, ..]| of(p50(redis_whole), p50(whole))).collect();
        percentile(&each, 50)
    };
    let all = row(format!("{OVER_MEMORY}, added p50, calm or not"), of_passes(|redis, memory| redis - memory));
    figures.push(all.ratio(of_passes(|redis, memory| redis / memory), MEMORY));
    if stage.part()? {
        let kinds = [&asked.direct, &asked.whole, &asked.redis_whole];
        let InTurn { calm, foreign_cores, .. } = in_turn(stage, asked, kinds).await?;
        let [base, whole, redis_whole] = calm.each_ref().map(p50);
        let added = |name, with, without, is| {
            let name = format!("load on another core: {name}, added p50");
            Figure::new(name, with - without, "ms").ratio(with / without, is).foreign(foreign_cores)
        };
        figures.extend([added("whole answer", whole, base, "direct"), added(OVER_MEMORY, redis_whole, whole, MEMORY)]);
    }
    Ok(figures)
}

struct Pass {
    seen: Seen,
    spent: Spent<4>,
}

impl Pass {
    async fn run(stage: &Stage, request: &Request, amount: Amount) -> anyhow::Result<Self> {
        let watch = Watch::begin(stage.watched())?;
        let seen = stage.measure(request, amount).await?;
        Ok(Self { seen, spent: watch.end()? })
    }

    fn requests(&self) -> f64 {
        self.seen.requests as f64
    }

    fn requests_per_s(&self) -> f64 {
        self.requests() / self.spent.wall_s
    }

    /// Of the gateway that was asked; the other one idled.
    fn gateway_s(&self) -> f64 {
        let [gateway, redis_gateway, ..] = self.spent.cpu_s;
        gateway + redis_gateway
    }

    fn double_s(&self) -> f64 {
        let [_, _, double, _] = self.spent.cpu_s;
        double
    }

    fn cpu_us_per_request(&self) -> f64 {
        self.gateway_s() * 1e6 / self.requests()
    }

    fn redis_us_per_request(&self) -> f64 {
        let [.., redis] = self.spent.cpu_s;
        redis * 1e6 / self.requests()
    }
}

/// The least disturbed of several passes.
async fn calmest(stage: &Stage, request: &Request, amount: Amount) -> anyhow::Result<Pass> {
    let mut passes = Vec::with_capacity(PASSES);
    for _ in 0..PASSES {
        passes.push(Pass::run(stage, request, amount).await?);
    }
    let calmest = passes.into_iter().min_by(|a, b| a.spent.foreign_cores.total_cmp(&b.spent.foreign_cores));
    calmest.context("not one pass")
}

/// Throughput and CPU. The double's own CPU, spent on the same requests in the same seconds, is the yardstick that makes
/// figures of different machines comparable.
pub(crate) async fn many_connections(stage: &Stage, asked: &Asked) -> anyhow::Result<Vec<Figure>> {
    let direct = calmest(stage, &asked.direct, SIXTEEN).await?;
    let whole = calmest(stage, &asked.whole, SIXTEEN).await?;
    let redis_whole = calmest(stage, &asked.redis_whole, SIXTEEN).await?;
    let auto = calmest(stage, &asked.auto, SIXTEEN).await?;
    let hit = calmest(stage, &asked.hit, SIXTEEN).await?;
    let redis_hit = calmest(stage, &asked.redis_hit, SIXTEEN).await?;
    let streams = calmest(stage, &asked.paced_stream, STREAMS).await?;

    let rate = |name: &str, pass: &Pass| {
        let figure = Figure::new(format!("{name}, 16 connections"), pass.requests_per_s(), "requests/s");
        figure.foreign(pass.spent.foreign_cores)
    };
    let rate_beside_direct =
        |name: &str, pass: &Pass| rate(name, pass).ratio(pass.requests_per_s() / direct.requests_per_s(), "direct");
    let cpu = |name: &str, pass: &Pass| {
        let figure = Figure::new(format!("{name}, CPU per request"), pass.cpu_us_per_request(), "µs");
        figure.foreign(pass.spent.foreign_cores)
    };
    let redis_cpu = |name: &str, pass: &Pass| {
        let us = pass.redis_us_per_request();
        Figure::new(format!("{name}, CPU of Redis per request"), us, "µs")
            .ratio(us / pass.cpu_us_per_request(), "the gateway's")
            .foreign(pass.spent.foreign_cores)
    };
    let whole_us = whole.cpu_us_per_request();
    let event_us = streams.gateway_s() * 1e6 / streams.seen.events as f64;
    Ok(vec![
        rate("direct to the double", &direct),
        rate_beside_direct("whole answer", &whole),
        cpu("whole answer", &whole)
            .ratio(whole.gateway_s() / whole.double_s(), "the double's own")
            .target("≤ 150 µs, aim 90"),
        Figure::new("whole answer, one core's worth", 1e6 / whole_us, "requests/s")
            .ratio(1e6 / whole_us / whole.requests_per_s(), "the rate above")
            .foreign(whole.spent.foreign_cores),
        cpu("whole answer, Redis store", &redis_whole)
            .ratio(redis_whole.cpu_us_per_request() / whole_us, "the memory store"),
        redis_cpu("whole answer", &redis_whole),
        rate_beside_direct("model `auto`", &auto),
        cpu("model `auto`", &auto).ratio(auto.cpu_us_per_request() / whole_us, "a pinned model"),
        rate_beside_direct("cache hit", &hit),
        cpu("cache hit", &hit).ratio(hit.cpu_us_per_request() / whole_us, "a whole answer"),
        cpu("cache hit, Redis store", &redis_hit)
            .ratio(redis_hit.cpu_us_per_request() / hit.cpu_us_per_request(), "the memory store"),
        redis_cpu("cache hit", &redis_hit),
        Figure::new("32 streams, an event each 5 ms, CPU per event", event_us, "µs")
            .ratio(event_us / whole_us, "a whole answer")
            .foreign(streams.spent.foreign_cores),
    ])
}

/// What a ledger keeps of a request: it decides what DynamoDB charges for writing it.
pub(crate) async fn receipt_bytes(stage: &Stage, asked: &Asked) -> anyhow::Result<Figure> {
    let answer = load::once(&asked.auto).await?;
    let id = answer.header("x-request-id").context("an answer without an id")?;
    let bytes = load::once(&receipt(&stage.gateway, id)).await?.body().len() as f64;
    Ok(Figure::new("receipt of a request for `auto`", bytes, "bytes").ratio(bytes / 1024.0, "1 KiB"))
}

/// Memory of the gateway, after all of the above.
pub(crate) fn memory(stage: &Stage, idle_mib: f64) -> anyhow::Result<[Figure; 2]> {
    let of = |name: &str, field| {
        let mib = memory_mib(stage.gateway.process.id(), field)?;
        anyhow::Ok(Figure::new(name, mib, "MiB").ratio(mib / idle_mib, "before the first request"))
    };
    Ok([
        of("memory, at its height", "VmHWM")?.target("≤ 60 MiB"),
        of("memory, after the run", "VmRSS")?.target("≤ 60 MiB"),
    ])
}

/// From the start of a process to its first answer.
pub(crate) async fn starts(stage: &Stage) -> anyhow::Result<[Figure; 3]> {
    let watch = Watch::begin(stage.watched())?;
    let starts = cold::measure(stage, whole).await?;
    let foreign = watch.end()?.foreign_cores;
    let local = percentile(&starts.local_answer_ms, 50);
    let row = |name: &str, p50: f64| Figure::new(format!("{name}, p50"), p50, "ms").foreign(foreign);
    let (poll, answer) = (percentile(&starts.function_poll_ms, 50), percentile(&starts.function_answer_ms, 50));
    Ok([
        row("local binary, start to first answer", local),
        row("Lambda binary, start to first poll", poll).ratio(poll / local, "the local binary's first answer"),
        row("Lambda binary, start to first answer", answer).ratio(answer / local, "the local binary's"),
    ])
}

/// The zips of the functions, if they were made.
pub(crate) fn zips(target: &Path) -> [Figure; 2] {
    ["gateway", "admin"].map(|function| {
        let name = format!("zip of the {function} function");
        let zip = target.join("lambda").join(function).join("bootstrap.zip");
        let Ok(zip) = std::fs::metadata(zip) else { return Figure::missing(name, "run `make package`") };
        let mb = zip.len() as f64 / 1e6;
        Figure::new(name, mb, "MB").ratio(mb / 12.0, "the target").target("≤ 12 MB")
    })
}

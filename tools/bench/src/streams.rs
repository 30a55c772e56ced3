//! Streams, beside those that nginx passes on from the same double in the same run.
//!
//! nginx is a plain reverse proxy here, which sends each byte on as it comes and does nothing else: what it takes for an event is
//! about what the kernel takes. The gateway reads, counts and writes each event, and settles each request; that is in its
//! figure, spread over the four hundred events of an answer of usual length. One worker each, on the same core in turn.

use crate::asked;
use crate::figures::{Figure, percentile};
use crate::load::{Amount, Request, Seen};
use crate::machine::{Spent, Watch, memory_mib};
use crate::stage::Stage;
use std::time::Duration;
use tokio::time::sleep;

/// One stream after another, as fast as they come.
const ONE: Amount = Amount { connections: 1, max_requests: usize::MAX, time: Duration::from_secs(4) };
/// A hundred at once, with 5 ms between two events of each.
const MANY: Amount = Amount { connections: 100, max_requests: 2, time: Duration::from_secs(5) };
/// Passes, of which the least disturbed counts.
const PASSES: usize = 3;
/// Streams that are open at once while memory is looked at, and when that is.
const OPEN: Amount = Amount { connections: 1_000, max_requests: 1, time: Duration::from_secs(5) };
const LOOK: Duration = Duration::from_millis(2_500);

/// What a load took of the process between it and the double.
struct Pass {
    seen: Seen,
    spent: Spent<2>,
}

impl Pass {
    fn cpu_us_per_event(&self) -> f64 {
        self.spent.cpu_s[0] * 1e6 / self.seen.events as f64
    }

    fn first_byte_ms(&self) -> f64 {
        percentile(&self.seen.first_byte_ms, 50)
    }
}

async fn calmest(stage: &Stage, request: &Request, amount: Amount, pid: u32) -> anyhow::Result<Pass> {
    let mut passes = Vec::with_capacity(PASSES);
    for _ in 0..PASSES {
        let watch = Watch::begin([pid, stage.double_pid()])?;
        let seen = stage.measure(request, amount).await?;
        passes.push(Pass { seen, spent: watch.end()? });
    }
    let calmest = passes.into_iter().min_by(|a, b| a.spent.foreign_cores.total_cmp(&b.spent.foreign_cores));
    calmest.ok_or_else(|| anyhow::anyhow!("not one pass"))
}

/// CPU for each event and the time that is added to the first one, with one stream and with a hundred.
pub(crate) async fn measure(stage: &Stage) -> anyhow::Result<Vec<Figure>> {
    let Some(nginx) = stage.nginx().await? else {
        return Ok(vec![Figure::missing("streams beside nginx", "run `tools/install/system nginx`")]);
    };
    let (of_nginx, of_gateway) = (nginx.process.id(), stage.gateway.process.id());
    let mut figures = Vec::new();
    for (name, amount, paced) in [("1 stream", ONE, false), ("100 streams", MANY, true)] {
        let of_double = |to| asked::long_stream_of_double(to, paced);
        let direct = calmest(stage, &of_double(stage.double_address), amount, of_nginx).await?;
        let passed = calmest(stage, &of_double(nginx.address), amount, of_nginx).await?;
        let served = calmest(stage, &asked::long_stream(&stage.gateway, paced), amount, of_gateway).await?;
        for (who, pass, target) in [("nginx", &passed, ""), ("gateway", &served, "≤ 1.5 times nginx's")] {
            let row = |what, value, unit| {
                Figure::new(format!("{name}, {what}, {who}"), value, unit).foreign(pass.spent.foreign_cores)
            };
            let (us, first_ms, direct_ms) = (pass.cpu_us_per_event(), pass.first_byte_ms(), direct.first_byte_ms());
            figures
                .push(row("CPU per event", us, "µs").ratio(us / passed.cpu_us_per_event(), "nginx's").target(target));
            figures
                .push(row("first byte, added p50", first_ms - direct_ms, "ms").ratio(first_ms / direct_ms, "direct"));
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

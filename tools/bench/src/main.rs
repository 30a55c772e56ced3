//! `make bench`: what the gateway costs, as one table and as `target/bench.json`.
//!
//! Everything runs on loopback: a load on its connections, the gateway with every stage of a request in force and limits
//! that nobody reaches, and the upstream double as its provider. With many requests in flight the gateway has one core, with
//! the Redis of a second gateway, and the load and the double share another; one at a time, all have the one. Each figure
//! has its counterpart without the gateway, or without the stage in question, from the same seconds, and counts only if
//! every request was answered and the double counted the same number of them: anything else ends the run with an error.
//! Then comes Redis by itself (`admissions.rs`), on the core that was the gateways', and last what a request takes in
//! instructions (`counted.rs`), which is all that `bench instructions` measures, as `bench decision` and `bench streams` do of those alone. The whole takes three to four minutes; five
//! are the limit.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod admissions;
mod asked;
mod cold;
mod counted;
mod decision;
mod figures;
mod load;
mod machine;
mod measure;
mod stage;
mod streams;
mod wire;

use anyhow::{Context, bail};
use asked::Asked;
use machine::{Cores, memory_mib};
use serde_json::json;
use stage::Stage;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

const MOST: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> anyhow::Result<()> {
    let target = stage::target_folder()?;
    let cores = Cores::take();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Whatever ends the run, what it started ends with it.
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = timeout(MOST, run(&target, cores.as_ref())) => done.context("the run took too long")?,
            _ = terminate.recv() => bail!("terminated"),
            _ = ctrl_c() => bail!("interrupted"),
        }
    })
}

async fn run(target: &Path, cores: Option<&Cores>) -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("decision") {
        println!("{}", figures::table(&decision::measure(None)));
        return Ok(());
    }
    let stage = Stage::set(target, cores).await?;
    match std::env::args().nth(1).as_deref() {
        Some("instructions") => {
            println!("{}", figures::table(&counted::measure(&stage).await?));
            return Ok(());
        }
        Some("streams") => {
            let mut figures = streams::measure(&stage).await?;
            figures.push(streams::memory(&stage).await?);
            println!("{}", figures::table(&figures));
            return Ok(());
        }
        _ => {}
    }
    let asked = Asked::of(&stage);
    let idle_mib = memory_mib(stage.gateway.process.id(), "VmRSS")?;
    measure::warm_up(&stage, &asked).await?;
    let mut figures = measure::one_connection(&stage, &asked).await?;
    figures.extend(measure::many_connections(&stage, &asked).await?);
    figures
        .extend(decision::measure(figures.iter().find_map(|figure| figure.value_of("whole answer, CPU per request"))));
    figures.extend(measure::memory(&stage, idle_mib)?);
    figures.extend(streams::measure(&stage).await?);
    figures.push(streams::memory(&stage).await?);
    figures.push(measure::receipt_bytes(&stage, &asked).await?);
    figures.extend(measure::starts(&stage).await?);
    figures.extend(measure::zips(target));
    let (of_redis, redis_version) = admissions::measure(cores).await?;
    figures.extend(of_redis);
    figures.extend(counted::measure(&stage).await?);

    let circumstances = json!({"processor": machine::processor(), "gateway_core": cores.map(|cores| &cores.gateway),
        "load_core": cores.map(|cores| &cores.load), "redis": redis_version,
        "requests": stage.requests(), "errors": 0});
    let path = target.join("bench.json");
    std::fs::write(&path, format!("{:#}\n", figures::json(&figures, circumstances)))?;
    println!("{}", figures::table(&figures));
    let bound =
        cores.map_or("No core is anybody's own: there is no `taskset`, or no second core.".to_owned(), |cores| {
            let Cores { gateway, load } = cores;
            format!("The gateways and Redis had core {gateway}, load and double core {load}, or {gateway} for one connection.")
        });
    println!(
        "{}, Redis {redis_version}. {bound} {} requests, no errors, the double's count equal.",
        machine::processor(),
        stage.requests()
    );
    println!(
        "Latency is of the calmest tenth of many short passes; its foreign cores are of all.\n\
         \"Foreign cores\" is CPU that none of these used: above 0.15, believe the ratio sooner than the value.\n\
         Also written to {}.",
        path.display()
    );
    Ok(())
}

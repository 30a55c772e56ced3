//! Instructions: what a request takes of the gateway, counted by callgrind, so that neighbours and clocks have no say in it.
//!
//! It is the figure to compare two builds by: it differs by less than one in a hundred from run to run. What the kernel does
//! for the gateway is not in it. One request at a time, on a gateway of its own; where there is no valgrind, the rows say so.

use crate::asked::{self, Counted};
use crate::figures::Figure;
use crate::load::{self, Amount};
use crate::stage::Stage;
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Requests before those that are counted, which fill caches and pools.
const WARM_UP: usize = 50;
const COUNTED: usize = 200;
const DATA: &str = "counted";

/// Thousands of instructions of each kind of request.
pub(crate) async fn measure(stage: &Stage) -> anyhow::Result<Vec<Figure>> {
    let is_there = Command::new("callgrind_control").arg("--version").stdout(Stdio::null()).status();
    if is_there.is_err() {
        return Ok(vec![Figure::missing("instructions of a request", "install valgrind")]);
    }
    let gateway =
        stage.gateway_under(&["valgrind", "-q", "--tool=callgrind", "--callgrind-out-file=callgrind.out"], DATA)?;
    let pid = gateway.process.id();
    let mut per_request = Vec::new();
    let mut figures = Vec::new();
    for Counted { name, request, beside: (place, what) } in asked::counted(&gateway) {
        let amount = |max_requests| Amount { connections: 1, max_requests, time: Duration::from_secs(60) };
        load::send(&request, amount(WARM_UP)).await?;
        control("--zero", pid)?;
        let seen = load::send(&request, amount(COUNTED)).await?;
        ensure!(seen.errors == 0, "{} requests failed under callgrind: {:?}", seen.errors, seen.first_error);
        let dump = stage.folder().join(format!("callgrind.out.{}", figures.len() + 1));
        control("--dump", pid)?;
        let counted = total(&dump)? / seen.requests as f64;
        per_request.push(counted);
        figures.push(Figure::new(name, counted / 1e3, "thousand").ratio(counted / per_request[place], what));
    }
    Ok(figures)
}

fn control(what: &str, pid: u32) -> anyhow::Result<()> {
    let output = Command::new("callgrind_control").args([what, &pid.to_string()]).output()?;
    ensure!(output.status.success(), "callgrind_control {what}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The sum of all instructions in a dump.
fn total(dump: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(dump).with_context(|| format!("callgrind left no {}", dump.display()))?;
    let line = text.lines().rev().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    Ok(line.context("a dump without its sum")?.trim().parse()?)
}

//! What the machine spent: CPU and memory of processes, and the CPU that none of ours used.
//!
//! All of it from `/proc`, in ticks of 10 ms, so a figure wants seconds of measurement. CPU that is neither the gateway's,
//! nor the double's, nor the bench's is foreign: stolen time and the kernel's work for others included. Where it is above
//! about 0.15 cores, latency and even CPU per request are inflated, and the figure says more about the neighbours.

use anyhow::Context;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Ticks a second in `/proc`: 100 on every Linux that Rust's standard library runs on, whatever the kernel's own rate.
const TICKS_PER_S: f64 = 100.0;

/// Which cores are whose.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cores {
    pub(crate) gateway: String,
    pub(crate) load: String,
}

impl Cores {
    /// Binds this process, and so the children that it will start, to the load's core. `None`, and nothing is bound,
    /// where there are not two cores or no `taskset`.
    pub(crate) fn take() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let [gateway, load] = first_two(field(&status, "Cpus_allowed_list")?)?;
        let bound = Command::new("taskset")
            .args(["-a", "-cp", &load, &std::process::id().to_string()])
            .stdout(Stdio::null())
            .status();
        bound.is_ok_and(|status| status.success()).then_some(Self { gateway, load })
    }
}

/// The first two cores of a list such as `0-3,8`.
fn first_two(list: &str) -> Option<[String; 2]> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    });
    let mut cores = ranges.flatten().map(|core| core.to_string());
    Some([cores.next()?, cores.next()?])
}

/// What is to be told apart from the rest of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    pub(crate) gateway: u32,
    pub(crate) double: u32,
}

/// A measurement that runs.
pub(crate) struct Watch {
    watched: Watched,
    begun: Instant,
    at_begin: [f64; 4],
}

/// What was spent in a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) wall_s: f64,
    pub(crate) gateway_s: f64,
    pub(crate) double_s: f64,
    /// Cores that others kept busy, on average.
    pub(crate) foreign_cores: f64,
}

impl Watch {
    pub(crate) fn begin(watched: Watched) -> anyhow::Result<Self> {
        Ok(Self { watched, begun: Instant::now(), at_begin: seconds(watched)? })
    }

    pub(crate) fn end(self) -> anyhow::Result<Spent> {
        let wall_s = self.begun.elapsed().as_secs_f64();
        let at_end = seconds(self.watched)?;
        let [busy, own, gateway_s, double_s] = std::array::from_fn(|which| at_end[which] - self.at_begin[which]);
        let foreign_cores = ((busy - own - gateway_s - double_s) / wall_s).max(0.0);
        Ok(Spent { wall_s, gateway_s, double_s, foreign_cores })
    }
}

/// CPU seconds so far: of the machine, of this process, of the gateway, of the double.
fn seconds(watched: Watched) -> anyhow::Result<[f64; 4]> {
    Ok([busy_s()?, cpu_s(std::process::id())?, cpu_s(watched.gateway)?, cpu_s(watched.double)?])
}

/// User and system time of a process so far, and of its children that have ended; the gateway starts none.
fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("{path}: has the process ended?"))?;
    // The name, in parentheses, may hold blanks: what counts stands behind it.
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = behind_name.split_whitespace().skip(11).take(4).map(|ticks| ticks.parse::<f64>().unwrap_or_default());
    Ok(ticks.sum::<f64>() / TICKS_PER_S)
}

/// Busy time of all cores so far, whoever used it: user, nice, system, interrupts and what the host stole.
fn busy_s() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let ticks: Vec<f64> = all.map(|ticks| ticks.parse().unwrap_or_default()).collect();
    let waiting: f64 = ticks.iter().skip(3).take(2).sum();
    Ok((ticks.iter().sum::<f64>() - waiting) / TICKS_PER_S)
}

/// Memory of a process in MiB: `VmRSS` now, or `VmHWM` at its height.
pub(crate) fn memory_mib(pid: u32, which: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = field(&status, which).and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("no {which} in the status of process {pid}"))? / 1024.0)
}

/// The processor's name.
pub(crate) fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    field(&info, "model name").unwrap_or("unknown processor").to_owned()
}

/// The value in a line such as `VmRSS:   1234 kB`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_cores_are_found_in_any_list() {
        for (list, cores) in
            [("\t0-1", Some(["0", "1"])), ("2,5-7", Some(["2", "5"])), ("3-9", Some(["3", "4"])), ("0", None)]
        {
            assert_eq!(first_two(list), cores.map(|cores| cores.map(str::to_owned)), "{list}");
        }
    }
}

//! What the machine spent: CPU and memory of processes, and the CPU that none of ours used.
//!
//! All of it from `/proc`, in ticks of 10 ms, so a figure wants seconds of measurement. CPU that is neither the bench's nor
//! that of the processes it watches is foreign: stolen time and the kernel's work for others included. Where it is above
//! about 0.15 cores, latency and even CPU per request are inflated, and the figure says more about the neighbours.

use anyhow::Context;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Ticks a second in `/proc`: 100 on every Linux that Rust's standard library runs on, whatever the kernel's own rate.
const TICKS_PER_S: f64 = 100.0;

/// Which cores are whose, while many requests are in flight.
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
        bind(&load, std::process::id()).then_some(Self { gateway, load })
    }
}

/// Binds a process to a core; whether that was to be had.
pub(crate) fn bind(core: &str, pid: u32) -> bool {
    let bound = Command::new("taskset").args(["-a", "-cp", core, &pid.to_string()]).stdout(Stdio::null()).status();
    bound.is_ok_and(|status| status.success())
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

/// A measurement that runs. The processes that it watches are told apart from the rest of the machine.
pub(crate) struct Watch<const N: usize> {
    watched: [u32; N],
    begun: Instant,
    cpu_s: [f64; N],
    own_s: f64,
    busy_s: f64,
}

/// What was spent in a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent<const N: usize> {
    pub(crate) wall_s: f64,
    /// By each watched process.
    pub(crate) cpu_s: [f64; N],
    /// Cores that others kept busy, on average.
    pub(crate) foreign_cores: f64,
}

impl<const N: usize> Watch<N> {
    pub(crate) fn begin(watched: [u32; N]) -> anyhow::Result<Self> {
        let cpu_s = each_cpu_s(&watched)?;
        Ok(Self { watched, begun: Instant::now(), cpu_s, own_s: cpu_s_of(std::process::id())?, busy_s: busy_s()? })
    }

    pub(crate) fn end(self) -> anyhow::Result<Spent<N>> {
        let wall_s = self.begun.elapsed().as_secs_f64();
        let at_end = each_cpu_s(&self.watched)?;
        let cpu_s: [f64; N] = std::array::from_fn(|which| at_end[which] - self.cpu_s[which]);
        let ours = cpu_s.iter().sum::<f64>() + cpu_s_of(std::process::id())? - self.own_s;
        let foreign_cores = ((busy_s()? - self.busy_s - ours) / wall_s).max(0.0);
        Ok(Spent { wall_s, cpu_s, foreign_cores })
    }
}

fn each_cpu_s<const N: usize>(pids: &[u32; N]) -> anyhow::Result<[f64; N]> {
    let mut cpu_s = [0.0; N];
    for (cpu_s, pid) in cpu_s.iter_mut().zip(pids) {
        *cpu_s = cpu_s_of(*pid)?;
    }
    Ok(cpu_s)
}

/// User and system time of a process so far, and of its children that have ended.
fn cpu_s_of(pid: u32) -> anyhow::Result<f64> {
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

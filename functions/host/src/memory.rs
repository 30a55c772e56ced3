//! How much memory there is for bodies and answers in flight: a quarter of what this process may use.
//!
//! The least of what says something counts: the function's size under Lambda, the limit of the control group of a container,
//! the machine's own memory. The rest of the quarter's whole is for code, caches, connections and the system, and not for
//! what has been freed: see [`give_back_at_once`].

use libmimalloc_sys::{mi_option_set, mi_option_t};
use std::fs::read_to_string;
use std::path::Path;

/// The part of the memory that bodies and answers may take.
const PART: u64 = 4;
/// Taken where nothing says how much there is.
const UNKNOWN_BYTES: u64 = 1 << 30;

/// `mi_option_purge_delay` of mimalloc's header, which the crate does not name.
const PURGE_DELAY: mi_option_t = 15;

/// Has the allocator give freed pages back to the system at once. By default it keeps them for a second, in which hostile
/// callers can have the whole budget read and freed several times over: the process came to twice its budget. Small requests
/// free no whole pages, and cost the same.
#[expect(unsafe_code, reason = "an option of mimalloc, which its crate offers as a foreign function only")]
pub(crate) fn give_back_at_once() {
    // SAFETY: it stores one number, and may be called at any time.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}

/// The bytes for bodies and answers in flight.
pub(crate) fn for_bodies_bytes() -> u64 {
    let lambda = crate::environment::variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
    let read = |path: &str| read_to_string(path).ok();
    part(lambda.as_deref(), &read)
}

fn part(lambda_mb: Option<&str>, read: &dyn Fn(&str) -> Option<String>) -> u64 {
    let bytes = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let function = lambda_mb.and_then(|mb| mb.trim().parse::<u64>().ok()).map(|mb| mb << 20);
    // Without a limit the second version says `max`, and the first a number beyond any machine's. A container sees its own
    // group at the root, a service of systemd in a folder below it; a limit of any group above holds as well.
    let own = read("/proc/self/cgroup")
        .and_then(|text| Some(text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned()));
    let groups = Path::new(own.as_deref().unwrap_or("/")).ancestors();
    let limit = |group: &Path| bytes(&format!("/sys/fs/cgroup{}/memory.max", group.to_str()?.trim_end_matches('/')));
    let group = groups.filter_map(limit).min().or_else(|| bytes("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    let machine = read("/proc/meminfo").and_then(|text| {
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb << 10)
    });
    [function, group, machine].into_iter().flatten().min().unwrap_or(UNKNOWN_BYTES) / PART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "see `give_back_at_once`")]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: it reads one number.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1_000, "its default; no other option has it");
        give_back_at_once();
        assert_eq!(delay(), 0);
    }

    #[test]
    fn the_least_of_what_there_is_counts() {
        const MACHINE: (&str, &str) = ("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree:  1 kB\n");
        const V2: &str = "/sys/fs/cgroup/memory.max";
        const UNIT: &str = "/sys/fs/cgroup/system.slice/x.service/memory.max";
        const V1: &str = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        for (lambda, files, quarter) in [
            (None, vec![MACHINE], 2 << 30),
            (None, vec![MACHINE, (V2, "max\n")], 2 << 30),
            (None, vec![MACHINE, (V2, "536870912\n")], 128 << 20),
            (None, vec![MACHINE, (V1, "9223372036854771712\n")], 2 << 30),
            (None, vec![MACHINE, (V1, "268435456\n")], 64 << 20),
            (None, vec![("/proc/self/cgroup", "0::/system.slice/x.service\n"), (UNIT, "1048576\n")], 256 << 10),
            (None, vec![("/proc/self/cgroup", "0::/system.slice/x.service\n"), (UNIT, "max\n"), (V2, "4096")], 1024),
            (Some("512"), vec![MACHINE], 128 << 20),
            (Some("?"), vec![], 256 << 20),
        ] {
            let read = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
            assert_eq!(part(lambda, &read), quarter, "{lambda:?} {files:?}");
        }
    }
}

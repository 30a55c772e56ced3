//! For tests: folders of their own, and processes that are killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

const FOLDER: &str = "GATEWAY_TEST_FOLDER";
const ROUND: &str = "GATEWAY_TEST_ROUND";

/// An empty folder, removed at the end.
pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gateway-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Deref for TestFolder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// In a child process: the folder to work in, and the number of the round.
pub(crate) fn child() -> Option<(PathBuf, u64)> {
    let folder = env::var_os(FOLDER)?;
    Some((folder.into(), env::var(ROUND).unwrap().parse().unwrap()))
}

/// In a child process: reports to the parent that something is done and can be relied upon.
pub(crate) fn acknowledge(what: &str) {
    // A line of its own, whatever the test harness has printed before.
    writeln!(std::io::stdout(), "\nack {what}").unwrap();
}

/// Runs one test of this binary in a process of its own, until it has acknowledged `count` things; kills it then, or, if
/// `count` is `None`, waits for its end; answers everything that it has acknowledged.
///
/// `wrapper` is a command that runs the arguments that follow it; empty for none.
pub(crate) fn run(wrapper: &[&str], test: &str, folder: &Path, round: u64, count: Option<usize>) -> Vec<String> {
    let binary = env::current_exe().unwrap();
    let words = wrapper.iter().map(|word| (*word).into()).chain([binary.into_os_string()]).collect::<Vec<_>>();
    // The name of a test does not begin with the crate.
    let (_, test) = test.split_once("::").unwrap();
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut done = Vec::new();
    let mut line = String::new();
    while count.is_none_or(|count| done.len() < count) && lines.read_line(&mut line).unwrap() > 0 {
        done.extend(acknowledged(&line));
        line.clear();
    }
    if let Some(count) = count {
        assert_eq!(done.len(), count, "the process ended before it was killed");
        // SIGKILL.
        child.kill().unwrap();
    }
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    done.extend(rest.split_inclusive('\n').filter_map(acknowledged));
    let status = child.wait().unwrap();
    assert_eq!(status.success(), count.is_none(), "{status}");
    done
}

fn acknowledged(line: &str) -> Option<String> {
    line.strip_suffix('\n')?.strip_prefix("ack ").map(str::to_owned)
}

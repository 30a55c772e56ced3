//! Servers that all tests of a process share, each started by the first test that asks for it.
//!
//! Nobody knows which test is the last, and what a `static` holds is never dropped. So a shell waits for the end of its
//! standard input, which comes with the end of this process, however that ends; then it kills the servers.

use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What the shell does with a folder, or `""`, and process ids.
const SCRIPT: &str = r#"read -r _; folders=$1; shift; kill -9 "$@"; [ -z "$folders" ] || rm -rf $folders"#;

/// Kills `pids` and removes `folders`, whose names hold no space, when the shell that is returned loses its input.
fn watch(pids: &[u32], folders: &[&Path]) -> Result<Child> {
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Command::new("sh")
        .args(["-c", SCRIPT, "sh", &folders.join(" ")])
        .args(pids.iter().map(u32::to_string))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("sh cannot be started")
}

/// Kills `pids` and removes `folders` when this process ends.
pub(crate) fn end_with_this_process(pids: &[u32], folders: &[&Path]) -> Result<()> {
    // Dropped, it would lose its input at once.
    std::mem::forget(watch(pids, folders)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn what_is_shared_runs_while_the_process_does_and_then_ends() {
        let folder = std::env::temp_dir().join(format!("gateway-shared-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut servers = [0; 2].map(|_| Command::new("sleep").arg("600").spawn().unwrap());
        let mut shell = watch(&servers.each_ref().map(Child::id), &[&folder]).unwrap();
        for server in &mut servers {
            assert_eq!(server.try_wait().unwrap(), None);
        }
        // As the end of this process does.
        drop(shell.stdin.take());
        for server in &mut servers {
            assert_eq!(server.wait().unwrap().signal(), Some(9));
        }
        shell.wait().unwrap();
        assert!(!folder.exists());
    }
}

//! Gateways: the real program, many processes of it, each killed when the value that stands for it is dropped.

use crate::http::{Answer, request, send};
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

/// How long a gateway may take to start on a busy machine.
const START: Duration = Duration::from_secs(30);
/// The owner's token, the same for all.
const OWNER: &str = "faults-owner-token-0123456789abcdefghij";

/// Builds the program as it is deployed, once, and says where it is. A debug build takes ten times as long for everything,
/// and what is to be seen is what becomes of a fault, not of two cores.
pub(crate) fn program() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = &*built {
        return Ok(program.clone());
    }
    let program = match std::env::var_os("FAULTS_GATEWAY") {
        Some(named) => named.into(),
        None => build()?,
    };
    Ok(built.insert(program).clone())
}

/// Cargo does nothing if there is nothing to build.
fn build() -> Result<PathBuf> {
    // This program, or a test in `deps`, lies in a folder of cargo's.
    let own = std::env::current_exe()?;
    let folder = own.ancestors().find(|folder| folder.ends_with("debug") || folder.ends_with("release"));
    let target = folder.and_then(Path::parent).context("this program lies in no target folder")?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells this program of its own package would have build scripts run again, and all that depends on them.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    build.args(["build", "--release", "--locked", "--quiet", "-p", "ai-gateway", "--target-dir"]).arg(target);
    ensure!(build.status()?.success(), "the gateway cannot be built");
    Ok(target.join("release/ai-gateway"))
}

/// The program with these variables, and no others.
fn command(folder: &Path, variables: &[(String, String)]) -> Result<tokio::process::Command> {
    let mut command = tokio::process::Command::new(program()?);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GATEWAY_ADMIN_TOKEN", OWNER)
        .env("GATEWAY_HASH_SECRET", "faults-hash-secret-0123456789abcdefghij")
        .env("DOUBLE_API_KEY", "sk-faults")
        .envs(variables.iter().cloned())
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// Runs the program with arguments, to its end.
pub(crate) async fn run(folder: &Path, variables: &[(String, String)], arguments: &[&str]) -> Result<()> {
    let output = command(folder, variables)?.args(arguments).output();
    let output = timeout(START, output).await.context("the program does not end")??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Gateway {
    /// Starts one at this address with these variables, and no others; what it logs goes to a file.
    pub(crate) async fn start(
        folder: &Path,
        address: SocketAddr,
        variables: &[(String, String)],
        log: &str,
    ) -> Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join(log))?;
        let mut child = command(folder, variables)?
            .env("GATEWAY_ADDR", address.to_string())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("the gateway cannot be started")?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let address = timeout(START, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.trim().strip_prefix("base URL") {
                    let host = url.trim().trim_start_matches("http://").trim_end_matches("/v1");
                    return Ok(host.parse::<SocketAddr>()?);
                }
            }
            anyhow::bail!("the gateway ended at its start; see its log in {}", folder.display())
        });
        let address = address.await.context("the gateway does not start")??;
        Ok(Self { address, child })
    }

    /// Asks the admin plane.
    pub(crate) async fn admin(&self, line: &str, body: &str) -> Result<Answer> {
        timeout(START, send(self.address, &request(line, OWNER, body)))
            .await
            .context("the admin plane does not answer")?
    }

    /// The most memory that it has had (`VmHWM` of Linux).
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().context("it has ended")?))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        Ok(peak.context("its memory")?.parse::<u64>()? << 10)
    }

    /// Sends a signal: `"STOP"` freezes it, `"CONT"` thaws it.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().context("it has ended")?.to_string();
        ensure!(Command::new("kill").args([&format!("-{name}"), &id]).status()?.success(), "kill -{name} failed");
        Ok(())
    }

    /// Ends it as an operator does, and waits until it has ended; it must have ended well.
    pub(crate) async fn end(&mut self) -> Result<()> {
        self.signal("TERM")?;
        let status = timeout(START, self.child.wait()).await.context("the gateway does not end")??;
        ensure!(status.success(), "the gateway ended with {status}");
        Ok(())
    }

    /// Kills it with no time to say anything.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

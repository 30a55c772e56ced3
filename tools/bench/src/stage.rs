//! The processes of a run: the double, two gateways that differ in their store, Redis, and the folder with all that they write.
//!
//! Each is a child of this process with an environment of its own making, so that no provider's key and no setting of the
//! user's shell changes a figure, and each is ended by its own id when the run ends, however it does.

use crate::asked;
use crate::load::{self, Amount, Request, Seen};
use crate::machine::{Cores, bind};
use crate::wire::Wire;
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use test_servers::redis::Redis;
use tokio::time::sleep;

/// Every limit is in force and none is reached.
const CONFIG: &str = r#"
[providers.double]
kind = "openai"
base_url = "BASE_URL"
api_key = "env:DOUBLE_API_KEY"

[providers.claude]
kind = "anthropic"
base_url = "BASE_URL"
api_key = "env:DOUBLE_API_KEY"

[providers.gemini]
kind = "gemini"
base_url = "BASE_URLbeta"
api_key = "env:DOUBLE_API_KEY"

[models."double/ok"]
provider = "double"
usd_per_million = { input = 0.15, output = 0.60 }

[models."double/paced"]
provider = "double"
id = "drip-5"
usd_per_million = { input = 0.15, output = 0.60 }

[models."claude/ok"]
provider = "claude"
id = "ok"
usd_per_million = { input = 0.15, output = 0.60 }

[models."gemini/ok"]
provider = "gemini"
id = "ok"
usd_per_million = { input = 0.15, output = 0.60 }

[models."double/slow"]
provider = "double"
id = "drip-100"
usd_per_million = { input = 0.15, output = 0.60 }

[models."double/long"]
provider = "double"
id = "LONG_ID"
usd_per_million = { input = 0.15, output = 0.60 }

[models."double/long-paced"]
provider = "double"
id = "PACED_ID"
usd_per_million = { input = 0.15, output = 0.60 }

[models."double/strong"]
provider = "double"
id = "ok@strong"
usd_per_million = { input = 2.50, output = 10.00 }

[tiers]
cheap = ["double/ok"]
reasoning = ["double/strong"]

[tenant_defaults.limits]
requests_per_minute = 1000000000
tokens_per_minute = 1000000000
concurrency = 1000000000
daily_requests = 1000000000000
daily_tokens = 1000000000000
daily_cost_usd = "1000000000"
monthly_cost_usd = "1000000000"

[tenant_defaults.cache]
ttl_seconds = 3600
"#;

/// A reverse proxy of one process, which passes on what comes as it comes.
const NGINX: &str = r#"
daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path client;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000;
    upstream double { server DOUBLE; keepalive 128; keepalive_requests 1000000; }
    server {
        listen LISTEN;
        location / {
            proxy_pass http://double;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }
    }
}
"#;

fn config(base_url: &str) -> String {
    let config = CONFIG.replace("BASE_URL", base_url);
    config.replace("LONG_ID", &asked::long_id(false)).replace("PACED_ID", &asked::long_id(true))
}

/// Where programs are built, `target` or what stands for it: this program lies in there, too.
pub(crate) fn target_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(2).context("this program lies in no target folder")?.to_owned())
}

/// A child process, ended when this is dropped.
pub(crate) struct Process {
    child: Child,
    /// Kept open: the double ends when it is closed.
    _stdin: Option<ChildStdin>,
    /// Kept open after it was read from: a process that prints to a closed pipe ends.
    stdout: Option<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}; `make bench` builds it", command.get_program().display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Self { child, _stdin: stdin, stdout })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What follows `label` in the first line that it prints and `label` stands in.
    fn printed(&mut self, label: &str) -> anyhow::Result<String> {
        let lines = self.stdout.as_mut().context("its output is not read")?.lines();
        for line in lines {
            if let Some((_, rest)) = line?.split_once(label) {
                return Ok(rest.trim().to_owned());
            }
        }
        bail!("a process ended without a word of {label:?}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that goes when the run ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway that serves.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
}

/// A reverse proxy that listens.
pub(crate) struct Proxy {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

/// All that runs, in the order in which it is to end.
pub(crate) struct Stage {
    /// Its store is its memory.
    pub(crate) gateway: Gateway,
    /// Like the first, on the same core, but its store is Redis.
    pub(crate) redis_gateway: Gateway,
    /// On the gateways' core.
    redis: Redis,
    double: Process,
    cores: Option<Cores>,
    pub(crate) double_address: SocketAddr,
    programs: PathBuf,
    folder: Folder,
    requests: Cell<u64>,
}

impl Stage {
    pub(crate) async fn set(target: &Path, cores: Option<&Cores>) -> anyhow::Result<Self> {
        let programs = target.join("release");
        let folder = Folder(std::env::temp_dir().join(format!("ai-gateway-bench-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0)?;
        let mut double = Process::start(Command::new(programs.join("upstream-double")).stdout(Stdio::piped()))?;
        let base_url = double.printed("")?;
        std::fs::write(folder.0.join("gateway.toml"), config(&base_url))?;
        let redis = Redis::start(&[]).await.context("`tools/install/system` installs Redis")?;
        if let Some(cores) = cores {
            ensure!(bind(&cores.gateway, redis.pid()), "Redis cannot be bound to a core");
        }
        let started = |store: &str, data| {
            let mut command = match cores {
                Some(cores) => {
                    let mut command = Command::new("taskset");
                    command.args(["-c", &cores.gateway]).arg(programs.join("ai-gateway"));
                    command
                }
                None => Command::new(programs.join("ai-gateway")),
            };
            serve(settled(&mut command, &folder.0, data).env("GATEWAY_STORE", store))
        };
        let (gateway, redis_gateway) = (started("memory", "measured")?, started(&redis.url(), "redis")?);
        let double_address = address(&base_url)?;
        let (cores, requests) = (cores.cloned(), Cell::new(0));
        Ok(Self { gateway, redis_gateway, redis, double, cores, double_address, programs, folder, requests })
    }

    /// Takes the load and the double to the gateways' core, if it was bound to one: with one connection only one process has
    /// work at a time, and to wake another core that sleeps takes longer, on a virtual machine, than what is to be measured.
    pub(crate) fn gather(&self) -> anyhow::Result<()> {
        self.cores.as_ref().map_or(Ok(()), |cores| self.move_load(&cores.gateway))
    }

    /// Takes them back to their own; whether they have one.
    pub(crate) fn part(&self) -> anyhow::Result<bool> {
        let Some(cores) = &self.cores else { return Ok(false) };
        self.move_load(&cores.load).map(|()| true)
    }

    fn move_load(&self, core: &str) -> anyhow::Result<()> {
        for pid in [std::process::id(), self.double.id()] {
            ensure!(bind(core, pid), "process {pid} cannot be bound to core {core}");
        }
        Ok(())
    }

    /// The processes to watch: the two gateways, the double, Redis.
    pub(crate) fn watched(&self) -> [u32; 4] {
        [self.gateway.process.id(), self.redis_gateway.process.id(), self.double.id(), self.redis.pid()]
    }

    /// How many requests were measured so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Starts another gateway in one process, on the load's core and a data folder of this name.
    pub(crate) fn another_gateway(&self, data: &str) -> anyhow::Result<Gateway> {
        serve(settled(&mut Command::new(self.programs.join("ai-gateway")), &self.folder.0, data))
    }

    /// Starts another gateway under a program that watches it, which writes into the run's folder.
    pub(crate) fn gateway_under(&self, watcher: &[&str], data: &str) -> anyhow::Result<Gateway> {
        let mut command = Command::new(watcher[0]);
        command.args(&watcher[1..]).arg(self.programs.join("ai-gateway")).current_dir(&self.folder.0);
        serve(settled(&mut command, &self.folder.0, data))
    }

    /// Starts nginx on the gateways' core, in front of the double; `None` where there is none.
    pub(crate) async fn nginx(&self) -> anyhow::Result<Option<Proxy>> {
        let is_there = Command::new("nginx").arg("-v").stderr(Stdio::null()).status();
        if is_there.is_err() {
            return Ok(None);
        }
        // nginx cannot be told to take any port that is free.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let conf = NGINX.replace("DOUBLE", &self.double_address.to_string()).replace("LISTEN", &address.to_string());
        std::fs::write(self.folder.0.join("nginx.conf"), conf)?;
        let mut command = Command::new(if self.cores.is_some() { "taskset" } else { "nginx" });
        if let Some(cores) = &self.cores {
            command.args(["-c", &cores.gateway, "nginx"]);
        }
        command.arg("-p").arg(&self.folder.0).args(["-c", "nginx.conf"]).stderr(Stdio::null());
        let process = Process::start(&mut command)?;
        for _ in 0..100 {
            if Wire::connect(address).await.is_ok() {
                return Ok(Some(Proxy { process, address }));
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("nginx does not listen")
    }

    pub(crate) fn double_pid(&self) -> u32 {
        self.double.id()
    }

    /// Where the run writes.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Starts the function, as Lambda would, on the load's core and a data folder of this name.
    pub(crate) fn function(&self, data: &str, runtime_api: SocketAddr) -> anyhow::Result<Process> {
        let mut command = Command::new(self.programs.join("gateway"));
        settled(&mut command, &self.folder.0, data).env("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string());
        Process::start(command.stdout(Stdio::null()))
    }

    /// Sends a load, and makes sure that each request was answered, and paid for by exactly the calls that it should cost.
    pub(crate) async fn measure(&self, request: &Request, amount: Amount) -> anyhow::Result<Seen> {
        load::once(&self.ask_double("POST /reset")).await?;
        let seen = load::send(request, amount).await?;
        if let Some(first) = &seen.first_error {
            bail!("{} of {} requests failed; the first: {first}", seen.errors, seen.requests);
        }
        let counts: Value = serde_json::from_slice(load::once(&self.ask_double("GET /counts")).await?.body())?;
        let (calls, completed) = (&counts["total"]["calls"], &counts["total"]["completed"]);
        let expected = if request.calls_double { seen.requests } else { 0 };
        ensure!(
            *calls == expected && *completed == expected,
            "{expected} calls should have reached the double; it counted {calls}, and completed {completed}"
        );
        self.requests.set(self.requests.get() + seen.requests);
        Ok(seen)
    }

    fn ask_double(&self, what: &str) -> Request {
        let bytes = format!("{what} HTTP/1.1\r\nhost: double\r\ncontent-length: 0\r\n\r\n").into_bytes().into();
        Request { to: self.double_address, bytes, shows: None, ends_with: "}", calls_double: false }
    }
}

/// Gives a gateway the environment that it is measured in.
fn settled<'a>(command: &'a mut Command, folder: &Path, data: &str) -> &'a mut Command {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GATEWAY_ADDR", "127.0.0.1:0")
        .env("GATEWAY_CONFIG", folder.join("gateway.toml"))
        .env("GATEWAY_DIRECTORY", format!("file:{}", folder.join(data).display()))
        .env("GATEWAY_STORE", "memory")
        .env("DOUBLE_API_KEY", "sk-bench")
        .stdout(Stdio::piped())
}

fn serve(command: &mut Command) -> anyhow::Result<Gateway> {
    let mut process = Process::start(command)?;
    let address = address(&process.printed("base URL")?)?;
    let key = process.printed("API key")?;
    Ok(Gateway { process, address, key })
}

/// The address in `http://127.0.0.1:8080/v1`.
fn address(base_url: &str) -> anyhow::Result<SocketAddr> {
    let host = base_url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    host.parse().with_context(|| format!("{base_url:?} is no base URL"))
}

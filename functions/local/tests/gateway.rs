//! The program as its users start it: a process of its own in a folder of its own, of which nothing is known but what it
//! prints. Dropped, the process is killed and the folder removed.

use super::wire::{Answer, Client};
use serde_json::Value;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What is taken for a hang. Nothing here takes a hundredth of it.
const HANG: Duration = Duration::from_secs(60);

/// Bounds what must not hang.
pub(crate) async fn within<T>(what: &str, doing: impl Future<Output = T>) -> T {
    timeout(HANG, doing).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

/// A data folder.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Arc<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("ai-gateway-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Arc::new(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it; answers its path.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The bytes of all files in it, with their paths.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut folders, mut files) = (vec![self.0.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    files.push((path.clone(), std::fs::read(path).unwrap()))
                }
            }
        }
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a gateway is to be started.
pub(crate) struct Setup {
    program: PathBuf,
    pub(crate) folder: Arc<Folder>,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    log: Option<OwnedFd>,
    /// How many files it may open, where that is said.
    files: Option<u32>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::again(&Folder::new())
    }

    /// In a folder that was used before.
    pub(crate) fn again(folder: &Arc<Folder>) -> Self {
        let data = format!("file:{}", folder.path().join("data").display());
        let program = env!("CARGO_BIN_EXE_ai-gateway").into();
        Self { program, folder: folder.clone(), arguments: Vec::new(), variables: Vec::new(), log: None, files: None }
            .with("GATEWAY_ADDR", "127.0.0.1:0")
            .with("GATEWAY_DIRECTORY", &data)
    }

    /// With a variable of the environment.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With at most so many open files.
    pub(crate) fn with_files(self, files: u32) -> Self {
        Self { files: Some(files), ..self }
    }

    /// With a configuration file of this text.
    pub(crate) fn configured(self, text: &str) -> Self {
        let path = self.folder.file("gateway.toml", text);
        self.with("GATEWAY_CONFIG", &path)
    }

    /// With arguments on the command line.
    pub(crate) fn called(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self
    }

    /// With its log there, to be read by nobody here.
    pub(crate) fn logging_to(mut self, log: impl Into<OwnedFd>) -> Self {
        self.log = Some(log.into());
        self
    }

    fn spawn(&self) -> Child {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = match self.files {
            None => Command::new(&self.program),
            Some(files) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")]).arg(&self.program);
                shell
            }
        };
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", path)
            .envs(self.variables.iter().cloned())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.log.as_ref().map_or_else(Stdio::piped, |log| log.try_clone().unwrap().into()))
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Starts it and waits until it has printed its last line.
    pub(crate) async fn start(self) -> Gateway {
        self.start_until("curl ").await
    }

    /// Starts one that has no demo key to show.
    pub(crate) async fn start_without_key(self) -> Gateway {
        self.start_until("  admin token").await
    }

    /// Starts the control plane alone, which was built beside the whole program; `cargo test` of the workspace does.
    pub(crate) async fn start_admin(mut self) -> Gateway {
        self.program.set_file_name("admin");
        assert!(self.program.is_file(), "there is no {}; build the workspace", self.program.display());
        self.start_until("listening on ").await
    }

    async fn start_until(self, last: &str) -> Gateway {
        let mut child = self.spawn();
        let errors = child.stderr.take();
        let (said, log) = watch::channel(String::new());
        let errors = tokio::spawn(async move {
            let mut lines = errors.map(BufReader::new);
            let mut line = Vec::new();
            while let Some(lines) = &mut lines
                && lines.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0)
            {
                let line = std::mem::take(&mut line);
                said.send_modify(|log| log.push_str(str::from_utf8(&line).expect("a log in UTF-8")));
            }
            said.borrow().clone()
        });
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        while !greeting.lines().any(|line| line.starts_with(last)) {
            if within("the start", output.read_line(&mut greeting)).await.unwrap() == 0 {
                panic!("no start:\n{greeting}{}", errors.await.unwrap());
            }
        }
        let word_after = |label: &str| {
            let line = greeting.lines().find(|line| line.trim_start().starts_with(label));
            line.and_then(|line| line.split_whitespace().last()).unwrap_or_default().to_owned()
        };
        let address = word_after("base URL") + &word_after("listening on");
        let address = address.trim_start_matches("http://").trim_end_matches("/v1").parse().unwrap();
        Gateway {
            address,
            key: word_after("API key"),
            admin_token: word_after("admin token"),
            greeting,
            folder: self.folder,
            child,
            output,
            log,
            errors,
        }
    }

    /// Starts it and kills it as soon as this file or folder is there; its folder is left.
    pub(crate) async fn kill_once_there_is(self, file: &str) -> Arc<Folder> {
        let path = self.folder.path().join(file);
        let mut child = self.spawn();
        within("the start", async {
            while !path.exists() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        child.kill().await.unwrap();
        self.folder
    }

    /// Runs it to its end: how it ended, what it printed, what it complained of.
    pub(crate) async fn run(self) -> (ExitStatus, String, String) {
        let done = within("the program's end", self.spawn().wait_with_output()).await.unwrap();
        (done.status, String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    }

    /// Runs it, which must fail; what it complains of.
    pub(crate) async fn complaint(self) -> String {
        let (status, output, errors) = self.run().await;
        assert_eq!(status.code(), Some(1), "{output}{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        errors
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    /// The demo tenant's key, empty if it has none.
    pub(crate) key: String,
    /// The owner's.
    pub(crate) admin_token: String,
    /// What it printed at the start.
    pub(crate) greeting: String,
    pub(crate) folder: Arc<Folder>,
    child: Child,
    output: BufReader<ChildStdout>,
    /// Its log so far, and all of it at its end.
    log: watch::Receiver<String>,
    errors: JoinHandle<String>,
}

impl Gateway {
    /// One with the compiled-in configuration.
    pub(crate) async fn start() -> Self {
        Setup::new().start().await
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Sends one request, byte for byte, on a connection of its own.
    pub(crate) async fn send(&self, request: &[u8]) -> Answer {
        let mut client = self.connect().await;
        client.send(request).await;
        client.answer().await
    }

    /// Sends a chat request as the demo tenant.
    pub(crate) async fn chat(&self, body: &str) -> Answer {
        self.chat_with(&[], body.as_bytes()).await
    }

    /// Sends a chat request with further headers.
    pub(crate) async fn chat_with(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(&self.chat_request(headers, body)).await
    }

    /// The bytes of a chat request of the demo tenant.
    pub(crate) fn chat_request(&self, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let bearer = format!("Bearer {}", self.key);
        let mut all = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        super::wire::request("POST /v1/chat/completions", &all, body)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        self.send(&super::wire::request(&format!("GET {path}"), &[("authorization", &bearer)], b"")).await
    }

    /// Asks the admin plane.
    pub(crate) async fn admin(&self, line: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.admin_token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.send(&super::wire::request(line, &headers, body.as_bytes())).await
    }

    /// What the demo tenant has used and holds today.
    pub(crate) async fn usage(&self) -> Value {
        let answer = self.admin("GET /admin/tenants/demo/usage", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The receipt of a request that is settled or about to be.
    pub(crate) async fn receipt(&self, id: &str) -> Value {
        within("the settlement", async {
            loop {
                let answer = self.get(&format!("/v1/receipts/{id}")).await;
                if answer.status == 200 {
                    return answer.json();
                }
            }
        })
        .await
    }

    /// From now on no file of its may be written; or, again, any.
    pub(crate) fn may_write(&self, may: bool) {
        let id = self.child.id().expect("it still runs").to_string();
        let limit = if may { "--fsize=unlimited:unlimited" } else { "--fsize=0:unlimited" };
        assert!(std::process::Command::new("prlimit").args(["--pid", &id, limit]).status().unwrap().success());
    }

    /// Sends it a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().expect("it still runs").to_string();
        assert!(std::process::Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Waits until its log has these words.
    pub(crate) async fn logged(&mut self, words: &str) {
        within("the log", self.log.wait_for(|log| log.contains(words))).await.unwrap();
    }

    /// Waits for its end: how it ended, what it printed since the start, and its log.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String, String) {
        let status = within("the program's end", self.child.wait()).await.unwrap();
        let mut output = String::new();
        self.output.read_to_string(&mut output).await.unwrap();
        (status, output, self.errors.await.unwrap())
    }

    /// Kills it with no time to say anything; its folder is left.
    pub(crate) async fn kill(self) -> Arc<Folder> {
        self.signal("KILL");
        self.was_killed().await
    }

    /// Waits until the kill that was sent has come.
    pub(crate) async fn was_killed(self) -> Arc<Folder> {
        let folder = self.folder.clone();
        assert_eq!(self.ended().await.0.code(), None, "killed, not ended");
        folder
    }
}

/// A configuration with these models of a provider at `base_url`, named `double/…`, beside the simulated ones.
pub(crate) fn config(base_url: &str, models: &[&str], more: &str) -> String {
    let mut text = format!(
        "[providers.double]\nkind = \"openai\"\nbase_url = \"{base_url}\"\napi_key = \"env:DOUBLE_API_KEY\"\n\
         [tiers]\ncheap = [\"sim/cheap\"]\nreasoning = [\"sim/reasoning\"]\n{more}\n"
    );
    for model in models {
        text += &format!(
            "[models.\"double/{model}\"]\nprovider = \"double\"\nusd_per_million = {{ input = 1, output = 2 }}\n\
             capabilities = [\"tools\", \"json_schema\", \"vision\", \"documents\", \"reasoning\", \"logprobs\"]\n"
        );
    }
    text
}

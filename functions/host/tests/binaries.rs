//! The two functions as they are deployed: the real binaries, each in a process of its own under a double of the Runtime
//! API, driven by the files in `events/`.
//!
//! A data folder belongs to one process at a time, so the processes of a test come one after the other, and each finds
//! what those before it wrote. Nothing sleeps: what a test waits for is an answer or the end of a process.

mod books;
mod feedback;
mod streams;

use super::runtime_double::{Answer, Moment, RuntimeDouble};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events");
const OWNER_TOKEN: &str = "the-owner-token-of-a-test-that-is-long-enough";
/// What can stream, streams.
const AUTO: (&str, &str) = ("GATEWAY_RESPONSE_MODE", "auto");

/// A fault must fail a test, not hang it.
async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), test).await.expect("the test hangs")
}

/// `gateway` or `admin`: the one that `GATEWAY_BIN` or `ADMIN_BIN` names, else the one that was built last beside this test.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let candidates = match std::env::var_os(format!("{}_BIN", name.to_uppercase())) {
        Some(named) => vec![PathBuf::from(named)],
        None => ["release", "debug"].map(|profile| target.join(profile).join(name)).into(),
    };
    let built = |path: &&PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    let newest = candidates.iter().filter(|path| path.is_file()).max_by_key(built).cloned();
    newest.unwrap_or_else(|| panic!("there is no binary at any of {candidates:?}; `make test` builds it"))
}

/// A data folder, and what the processes that had it wrote to their log. Dropped, it is removed.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("binaries-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// One with a tenant in it, and the tenant's key.
    async fn with_tenant() -> (Self, String) {
        let folder = Self::new();
        let admin = folder.start("admin", &[]).await;
        assert_eq!(admin.ask(&event("admin-create-tenant", "")).await.status, 201);
        let key = admin.ask(&new_key()).await.json()["key"].as_str().unwrap().to_owned();
        admin.stop().await;
        (folder, key)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn log(&self, name: &str) -> File {
        File::options().create(true).append(true).open(self.0.join(name)).unwrap()
    }

    /// Starts a binary as Lambda does, which says where its Runtime API is, with what a deployer set beside that.
    async fn start(&self, name: &str, settings: &[(&str, &str)]) -> Function {
        let lambda = RuntimeDouble::start().await;
        let child = Command::new(binary(name))
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", lambda.address())
            .env("GATEWAY_DIRECTORY", format!("file:{}", self.0.join("data").display()))
            .env("GATEWAY_ADMIN_TOKEN", OWNER_TOKEN)
            .envs(settings.iter().copied())
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .stdout(self.log("stdout"))
            .stderr(self.log("stderr"))
            .spawn()
            .unwrap();
        Function { lambda, child, streams: settings.contains(&AUTO) }
    }

    /// Reads the log of all processes; answers its entries for receipts. None of `secrets` may stand in it (T3).
    fn receipts_in_log(&self, secrets: &[&str]) -> Vec<Value> {
        assert_eq!(fs::read_to_string(self.0.join("stderr")).unwrap(), "");
        let log = fs::read_to_string(self.0.join("stdout")).unwrap();
        for secret in secrets {
            assert!(!log.contains(secret), "`{secret}` is in the log:\n{log}");
        }
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a log in JSON"));
        lines.filter(|line| line["target"] == "receipt").collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process, under a Runtime API of its own. Dropped, it is killed.
struct Function {
    lambda: RuntimeDouble,
    child: Child,
    /// Whether what can stream, streams.
    streams: bool,
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Function {
    /// Hands it an event and reads the answer as the sender of such an event does.
    async fn ask(&self, event: &Value) -> Reply {
        let answer = self.lambda.invoke(event.to_string()).answer().await;
        if self.streams && can_stream(event) { Reply::streamed(&answer) } else { Reply::whole(&answer) }
    }

    fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    async fn ended(&mut self) -> ExitStatus {
        let mut a_child_ended = signal(SignalKind::child()).unwrap();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            a_child_ended.recv().await;
        }
    }

    /// Ends it as Lambda does, once it waits for an invocation.
    async fn stop(mut self) {
        self.terminate();
        let status = self.ended().await;
        assert!(status.success(), "{status}");
        let moments = self.lambda.moments();
        let answered = moments.iter().filter(|moment| matches!(moment, Moment::Answered(_))).count();
        let one_by_one: Vec<_> = (1..=answered)
            .flat_map(|n| [Moment::Polled, Moment::Invoked(n), Moment::Answering(n), Moment::Answered(n)])
            .collect();
        assert_eq!(moments[..4 * answered], one_by_one, "each poll follows the last byte of the answer before it");
    }
}

/// An answer as its client gets it.
#[derive(Debug)]
struct Reply {
    status: u64,
    headers: Value,
    body: String,
}

impl Reply {
    /// From one JSON document. `multiValueHeaders` must be there even if empty, or `cargo lambda watch` refuses it.
    fn whole(answer: &Answer) -> Self {
        assert!(answer.is_complete && answer.path.ends_with("/response"), "{answer:?}");
        assert_eq!(answer.headers.get("lambda-runtime-function-response-mode"), None);
        assert_eq!(answer.headers["content-type"], "application/json");
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(document["multiValueHeaders"].is_object() && document["isBase64Encoded"] == false, "{document}");
        Self::new(&document, document["body"].as_str().unwrap())
    }

    /// From a prelude, eight NULs and a body.
    fn streamed(answer: &Answer) -> Self {
        assert!(answer.is_complete && answer.path.ends_with("/response"), "{answer:?}");
        assert_eq!(answer.headers["lambda-runtime-function-response-mode"], "streaming");
        assert_eq!(answer.headers["content-type"], "application/vnd.awslambda.http-integration-response");
        assert_eq!(answer.headers["transfer-encoding"], "chunked");
        let (prelude, body) = answer.streamed().expect("a prelude and eight NULs");
        Self::new(&serde_json::from_str(prelude).unwrap(), std::str::from_utf8(body).unwrap())
    }

    fn new(head: &Value, body: &str) -> Self {
        let status = head["statusCode"].as_u64().unwrap();
        Self { status, headers: head["headers"].clone(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.headers))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The events of a stream: the chunks, and the final headers, which come between the last chunk and `[DONE]`.
    fn events(&self) -> (Vec<Value>, Value) {
        assert!(self.header("content-type").starts_with("text/event-stream"));
        let mut events: Vec<_> = self.body.strip_suffix("\n\n").unwrap().split("\n\n").collect();
        assert_eq!(events.pop(), Some("data: [DONE]"));
        let last = events.pop().unwrap().strip_prefix(": gateway ").expect("the final headers");
        let chunks = events.iter().map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap());
        (chunks.collect(), serde_json::from_str(last).unwrap())
    }
}

/// A file of `events/`, with what has to be put into it.
fn event(name: &str, key: &str) -> Value {
    let text = fs::read_to_string(Path::new(EVENTS).join(format!("{name}.json"))).unwrap();
    let text = text.replace("gw_live_REPLACE_WITH_A_KEY", key).replace("REPLACE_WITH_THE_ADMIN_TOKEN", OWNER_TOKEN);
    serde_json::from_str(&text).unwrap()
}

/// The names of all files in `events/` that are for the data plane.
fn data_plane_events() -> Vec<String> {
    let files = fs::read_dir(EVENTS).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = files.map(|file| file.strip_suffix(".json").unwrap().to_owned()).collect();
    names.retain(|name| !name.starts_with("admin-"));
    names.sort();
    names
}

/// A REST API's event, for another path.
fn at(path: &str, mut event: Value) -> Value {
    event["path"] = json!(path);
    event["pathParameters"]["proxy"] = json!(path[1..]);
    event["requestContext"]["path"] = json!(format!("/prod{path}"));
    event
}

fn with_body(body: &str, mut event: Value) -> Value {
    event["body"] = json!(body);
    event
}

fn new_key() -> Value {
    with_body(r#"{"name":"ci"}"#, at("/admin/tenants/acme/keys", event("admin-create-tenant", "")))
}

/// Whether the sender of such an event can take a stream: a REST API or a Function URL.
fn can_stream(event: &Value) -> bool {
    let domain = event["requestContext"]["domainName"].as_str().unwrap();
    event["httpMethod"].is_string() || domain.contains(".lambda-url.")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The same request, its body in this coding.
fn coded(coding: &str, body: &[u8], mut event: Value) -> Value {
    event["headers"]["Content-Encoding"] = json!(coding);
    event["multiValueHeaders"]["Content-Encoding"] = json!([coding]);
    event["body"] = json!(STANDARD.encode(body));
    event["isBase64Encoded"] = json!(true);
    event
}

#[tokio::test]
async fn a_gzip_body_is_read_within_the_limit_and_other_codings_are_told() {
    within(async {
        let (folder, key) = Folder::with_tenant().await;
        let gateway = folder.start("gateway", &[]).await;
        let chat = event("rest-chat", &key);
        let body = gzip(chat["body"].as_str().unwrap().as_bytes());
        let reply = gateway.ask(&coded("gzip", &body, chat.clone())).await;
        assert_eq!((reply.status, reply.header("x-gateway-model")), (200, "sim/cheap"), "{reply:?}");
        let bomb = gzip(&vec![b' '; 100 << 20]);
        for (coding, body, status) in [("gzip", &bomb, 413), ("gzip", &body[..30].to_vec(), 400), ("br", &body, 415)] {
            assert_eq!(gateway.ask(&coded(coding, body, chat.clone())).await.status, status, "{coding}");
        }
        gateway.stop().await;
        let admin = folder.start("admin", &[]).await;
        let create = coded("gzip", &gzip(br#"{"id":"other"}"#), event("admin-create-tenant", ""));
        assert_eq!(admin.ask(&create).await.status, 201);
        admin.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_process_that_cannot_start_tells_lambda_why_and_ends_in_failure() {
    within(async {
        let folder = Folder::new();
        let broken = folder.file("broken.toml", "[tiers]\ncheap = [\"nowhere/nothing\"]\n");
        for (variable, value, reply) in [
            ("GATEWAY_CONFIG", "absent.toml", "absent.toml"),
            ("GATEWAY_CONFIG", &broken, "tiers.cheap"),
            ("GATEWAY_ADMIN_TOKEN", "hunter2", "GATEWAY_ADMIN_TOKEN"),
            ("GATEWAY_STORE", "bogus://:hunter2@cache", "GATEWAY_STORE"),
            ("GATEWAY_RESPONSE_MODE", "sometimes", "GATEWAY_RESPONSE_MODE"),
            ("GATEWAY_LOG", "info=loud=very", "GATEWAY_LOG"),
        ] {
            for name in ["gateway", "admin"] {
                let mut function = folder.start(name, &[(variable, value)]).await;
                assert_eq!(function.ended().await.code(), Some(1), "{name} with {variable}={value}");
                let posted = function.lambda.failed_starts();
                assert_eq!(posted.len(), 1, "{name} with {variable}={value}: {posted:?}");
                let error: Value = serde_json::from_str(&posted[0]).unwrap();
                assert_eq!(error["errorType"], "Runtime.InitError");
                let message = error["errorMessage"].as_str().unwrap();
                assert!(message.contains(reply) && !message.contains("hunter2"), "{message}");
                assert_eq!(function.lambda.moments(), [], "it asks for no invocation");
            }
        }
        for log in ["stdout", "stderr"] {
            assert!(!fs::read_to_string(folder.0.join(log)).unwrap().contains("hunter2"));
        }
    })
    .await;
}

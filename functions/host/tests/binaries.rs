//! The two functions as they are deployed: the real binaries, each in a process of its own under a double of the Runtime
//! API, driven by the files in `events/`.
//!
//! A data folder belongs to one process at a time, so the processes of a test come one after the other, and each finds
//! what those before it wrote. Nothing sleeps: what a test waits for is an answer or the end of a process.

use super::runtime_double::{Answer, Moment, RuntimeDouble, Taking};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events");
const OWNER_TOKEN: &str = "the-owner-token-of-a-test-that-is-long-enough";
/// What can stream, streams.
const AUTO: (&str, &str) = ("GATEWAY_RESPONSE_MODE", "auto");
const FAR_FUTURE_MS: u64 = 4_102_444_800_000;

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
    async fn ask(&self, event: &Value) -> Told {
        let answer = self.lambda.invoke(event.to_string()).answer().await;
        if self.streams && can_stream(event) { Told::streamed(&answer) } else { Told::whole(&answer) }
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
struct Told {
    status: u64,
    headers: Value,
    body: String,
}

impl Told {
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

fn nusd(usd: &Value) -> u64 {
    let (whole, billionths) = usd.as_str().unwrap().split_once('.').unwrap();
    assert_eq!(billionths.len(), 9);
    format!("{whole}{billionths}").parse().unwrap()
}

/// What some requests came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bill {
    requests: u64,
    hits: u64,
    tokens: u64,
    cost_nusd: u64,
}

impl Bill {
    /// Adds an answer with these headers; `whole` is what has its `usage`. A hit costs no tokens (M7).
    fn add(&mut self, headers: &Value, whole: &Value) {
        let is_hit = headers["x-gateway-cache"] == "hit";
        self.requests += 1;
        self.hits += u64::from(is_hit);
        self.tokens += if is_hit { 0 } else { whole["usage"]["total_tokens"].as_u64().unwrap() };
        self.cost_nusd += nusd(&headers["x-gateway-cost-usd"]);
    }

    /// What the ledger says, of all days.
    async fn in_the_books(admin: &Function) -> Self {
        let usage = admin.ask(&at("/admin/usage", event("admin-metrics", ""))).await.json();
        let mut bill = Self::default();
        for row in usage["data"].as_array().unwrap() {
            let count = |name: &str| row[name].as_u64().unwrap();
            bill.requests += count("requests");
            bill.hits += count("cache_hits");
            bill.tokens += count("input_tokens") + count("output_tokens");
            bill.cost_nusd += nusd(&row["cost_usd"]);
        }
        bill
    }
}

/// Drives one life of the gateway through every event and a few bad requests; answers the ids of what has a receipt.
async fn drive(gateway: &Function, key: &str, bill: &mut Bill) -> Vec<String> {
    let (mut ids, mut asked) = (Vec::new(), HashSet::new());
    for name in data_plane_events() {
        let event = event(&name, key);
        let told = gateway.ask(&event).await;
        assert_eq!(told.status, 200, "{name}: {told:?}");
        match name.as_str() {
            "rest-health" | "http-api-health" => assert_eq!(told.json(), json!({"status": "ok"})),
            "rest-models" | "rest-stage-named-v1" | "function-url-models" => {
                let models = told.json()["data"].as_array().unwrap().clone();
                for expected in ["auto", "cheap", "reasoning", "sim/cheap"] {
                    assert!(models.iter().any(|model| model["id"] == expected), "{name}: no {expected}");
                }
            }
            "http-api-stage-route" => {
                let decision = told.json();
                assert_eq!(decision["intent"]["name"], "architecture_review");
                assert_eq!(
                    (&decision["tier"], &decision["candidates"][0]["model"]),
                    (&json!("reasoning"), &json!("sim/reasoning"))
                );
            }
            "rest-chat"
            | "rest-chat-stream"
            | "rest-base64"
            | "http-api-chat"
            | "http-api-chat-stream"
            | "function-url-chat"
            | "function-url-chat-stream" => {
                let is_hard = name == "rest-base64";
                let (tier, intent) =
                    if is_hard { ("reasoning", "architecture_review") } else { ("cheap", "simple_question") };
                // Which transport brought a question does not matter to its answer's being remembered.
                let cache = if asked.insert(event["body"].to_string()) { "miss" } else { "hit" };
                for (header, expected) in [
                    ("x-gateway-tier", tier),
                    ("x-gateway-model", &format!("sim/{tier}")),
                    ("x-gateway-intent", intent),
                    ("x-gateway-intent-source", "embedding"),
                    ("x-gateway-cache", cache),
                    ("x-gateway-attempts", if cache == "hit" { "0" } else { "1" }),
                    ("x-gateway-failover", "false"),
                    ("x-gateway-upgraded", "false"),
                    ("x-ratelimit-limit-requests", "600"),
                ] {
                    assert_eq!(told.header(header), expected, "{name}: {header}");
                }
                let text = if name.ends_with("stream") {
                    let (chunks, last) = told.events();
                    for (header, value) in told.headers.as_object().unwrap() {
                        let is_final = header.starts_with("x-gateway-") || header == "x-request-id";
                        assert!(!is_final || last[header] == *value, "{name}: {header} in {last}");
                    }
                    bill.add(&last, chunks.last().unwrap());
                    let delta = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
                    chunks.iter().filter_map(delta).collect()
                } else {
                    let answer = told.json();
                    assert_eq!(answer["model"], told.headers["x-gateway-model"]);
                    bill.add(&told.headers, &answer);
                    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
                };
                let topic = if is_hard { "scalable chat system" } else { "What is an API" };
                assert!(text.contains(topic), "{name}: {text}");
                ids.push(told.header("x-request-id").to_owned());
            }
            new => panic!("nothing is expected of events/{new}.json"),
        }
    }
    let mut no_key = event("rest-chat", key);
    for headers in ["headers", "multiValueHeaders"] {
        no_key[headers].as_object_mut().unwrap().remove("Authorization").unwrap();
    }
    for (bad, status, code) in [
        (no_key, 401, "invalid_api_key"),
        (event("function-url-chat", "gw_live_x"), 401, "invalid_api_key"),
        (at("/v1/nothing", event("rest-models", key)), 404, "not_found"),
        (at("/v1/models", event("rest-chat", key)), 405, "method_not_allowed"),
        (with_body("{", event("rest-chat-stream", key)), 400, "invalid_request"),
        (with_body("{", event("http-api-chat", key)), 400, "invalid_request"),
    ] {
        let told = gateway.ask(&bad).await;
        let body = told.json();
        assert_eq!((told.status, &body["error"]["code"]), (status, &json!(code)), "{body}");
        assert_eq!(body["request_id"], told.headers["x-request-id"]);
    }
    ids
}

#[tokio::test]
async fn both_functions_answer_every_event_and_what_one_life_wrote_the_next_one_reads() {
    within(async {
        let folder = Folder::new();

        let admin = folder.start("admin", &[AUTO]).await;
        let tenant = admin.ask(&event("admin-create-tenant", "")).await;
        assert_eq!((tenant.status, &tenant.json()["limits"]["daily_requests"]), (201, &json!(1000)), "{tenant:?}");
        let made = admin.ask(&new_key()).await;
        assert_eq!(made.status, 201, "{made:?}");
        let key = made.json()["key"].as_str().unwrap().to_owned();
        let metrics = admin.ask(&event("admin-metrics", "")).await.json();
        assert_eq!(
            (&metrics["requests_total"], &metrics["models"]["sim/cheap"]["breaker"]),
            (&json!(0), &json!("closed"))
        );
        let stranger = admin.ask(&event("rest-models", &key)).await;
        assert_eq!(stranger.status, 401, "a tenant's key opens nothing here: {stranger:?}");
        admin.stop().await;

        let mut bill = Bill::default();
        let gateway = folder.start("gateway", &[AUTO]).await;
        let ids = drive(&gateway, &key, &mut bill).await;
        gateway.stop().await;

        // The mode that nobody set is `buffered`: now the same events are answered whole, streams too.
        let gateway = folder.start("gateway", &[]).await;
        for id in &ids {
            let told = gateway.ask(&at(&format!("/v1/receipts/{id}"), event("rest-models", &key))).await;
            let receipt = told.json();
            assert_eq!(
                (told.status, &receipt["id"], &receipt["tenant"]),
                (200, &json!(id), &json!("acme")),
                "{receipt}"
            );
        }
        drive(&gateway, &key, &mut bill).await;
        gateway.stop().await;

        let admin = folder.start("admin", &[]).await;
        assert_eq!(Bill::in_the_books(&admin).await, bill, "what clients were told is what the books say");
        admin.stop().await;
        assert_eq!((bill.requests, bill.hits), (14, 8));

        let secrets = [key.as_str(), OWNER_TOKEN, "What is an API", "scalable chat system"];
        assert_eq!(folder.receipts_in_log(&secrets).len(), 14);
    })
    .await;
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
        let gzip = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let (folder, key) = Folder::with_tenant().await;
        let gateway = folder.start("gateway", &[]).await;
        let chat = event("rest-chat", &key);
        let body = gzip(chat["body"].as_str().unwrap().as_bytes());
        let told = gateway.ask(&coded("gzip", &body, chat.clone())).await;
        assert_eq!((told.status, told.header("x-gateway-model")), (200, "sim/cheap"), "{told:?}");
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

/// What the upstream says, one event for each permit. The first is longer than what the gateway holds back to judge it.
const SAID: [&str; 5] = [
    r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"The first half of an answer, which is long enough for a judge, "}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"and the other half."}}]}"#,
    r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":11,"total_tokens":18}}"#,
    "[DONE]",
];

/// Starts an upstream, and a gateway whose only model it serves.
async fn with_upstream(folder: &Folder) -> (Function, Arc<Semaphore>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = format!(
        "[providers.upstream]\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\n\
         [models.\"upstream/gated\"]\nprovider = \"upstream\"\nusd_per_million = {{ input = 1, output = 2 }}\n\
         [tiers]\ncheap = [\"upstream/gated\"]\n",
        listener.local_addr().unwrap()
    );
    let gate = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&gate);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak(BufReader::new(stream), Arc::clone(&permits)));
        }
    });
    let config = folder.file("gateway.toml", &config);
    (folder.start("gateway", &[AUTO, ("GATEWAY_CONFIG", &config)]).await, gate)
}

async fn speak(mut stream: BufReader<TcpStream>, permits: Arc<Semaphore>) -> std::io::Result<()> {
    let (mut line, mut length) = (String::new(), 0);
    while stream.read_line(&mut line).await? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    stream.read_exact(&mut vec![0; length]).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n").await?;
    for event in SAID {
        permits.acquire().await.unwrap().forget();
        stream.write_all(format!("data: {event}\n\n").as_bytes()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_event_of_a_stream_leaves_before_the_next_arrives_and_a_shutdown_lets_the_stream_end() {
    within(async {
        let (folder, key) = Folder::with_tenant().await;
        let (mut gateway, gate) = with_upstream(&folder).await;
        let mut invocation = gateway.lambda.invoke(event("function-url-chat-stream", &key).to_string());
        gate.add_permits(1);
        assert!(invocation.chunk().await.unwrap().starts_with(b"{\"statusCode\":200,"));
        assert_eq!(invocation.chunk().await.unwrap(), [0; 8]);
        invocation.until("The first half").await;
        gateway.terminate();
        gate.add_permits(1);
        invocation.until("and the other half").await;
        assert_eq!(gateway.lambda.moments(), [Moment::Polled, Moment::Invoked(1), Moment::Answering(1)]);
        gate.add_permits(SAID.len());

        let rest = invocation.answer().await;
        let rest_text = String::from_utf8_lossy(&rest.body);
        assert!(rest.is_complete && rest_text.ends_with("\n\ndata: [DONE]\n\n"), "{rest_text}");
        assert!(rest_text.contains(r#""x-gateway-cost-usd":"0.000029000""#), "{rest_text}");
        assert!(gateway.ended().await.success());
        assert_eq!(gateway.lambda.moments().len(), 4, "a process that is to end asks for nothing more");
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_lambda_stopped_taking_is_read_to_its_end_and_settled_in_full() {
    within(async {
        let (folder, key) = Folder::with_tenant().await;
        let (gateway, gate) = with_upstream(&folder).await;
        let event_text = event("rest-chat-stream", &key).to_string();
        let mut invocation = gateway.lambda.invoke_with(event_text, FAR_FUTURE_MS, Taking::HangingUp);
        gate.add_permits(1);
        let prelude: Value = serde_json::from_slice(&invocation.chunk().await.unwrap()).unwrap();
        let id = prelude["headers"]["x-request-id"].as_str().unwrap();
        assert_eq!(invocation.chunk().await, None);
        gate.add_permits(SAID.len());

        let receipt = gateway.ask(&at(&format!("/v1/receipts/{id}"), event("rest-models", &key))).await.json();
        assert_eq!((&receipt["usage"]["input_tokens"], &receipt["usage"]["output_tokens"]), (&json!(7), &json!(11)));
        assert_eq!((&receipt["cost_usd"], &receipt["estimated"]), (&json!("0.000029000"), &json!(false)));
        gateway.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_process_that_cannot_start_tells_lambda_why_and_ends_in_failure() {
    within(async {
        let folder = Folder::new();
        let broken = folder.file("broken.toml", "[tiers]\ncheap = [\"nowhere/nothing\"]\n");
        for (variable, value, told) in [
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
                assert!(message.contains(told) && !message.contains("hunter2"), "{message}");
                assert_eq!(function.lambda.moments(), [], "it asks for no invocation");
            }
        }
        for log in ["stdout", "stderr"] {
            assert!(!fs::read_to_string(folder.0.join(log)).unwrap().contains("hunter2"));
        }
    })
    .await;
}

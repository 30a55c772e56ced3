//! `kill -9` at any instant: whatever a client was told is in the books when the gateway is back.

use super::gateway::{Gateway, Setup, config, within};
use gateway_core::config::{Config, SHIPPED};
use gateway_core::directory::embedded::EmbeddedDirectory;
use gateway_core::directory::{AuditEntry, Directory};
use gateway_core::tenant::TenantRecord;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use upstream_double::Double;

const ROUNDS: usize = 20;
const LIMITS: &str = "[tenant_defaults.limits]\nrequests_per_minute = \"none\"\ntokens_per_minute = \"none\"\n\
                      daily_requests = \"none\"\ndaily_tokens = \"none\"\ndaily_cost_usd = \"none\"\n";

/// What clients were told, and how many requests they have sent.
#[derive(Default)]
struct Seen {
    /// The tokens of each acknowledged request, by its id.
    acknowledged: Mutex<BTreeMap<String, u64>>,
    sent: Mutex<u64>,
    news: Notify,
}

/// Asks again and again until the connection breaks; writes down what is acknowledged, a stream only when it is done.
async fn ask_until_it_breaks(gateway: Arc<Gateway>, model: &'static str, stream: bool, seen: Arc<Seen>) {
    let body = json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "What is an API?"}],
        "stream_options": stream.then(|| json!({"include_usage": true}))});
    let request = gateway.chat_request(&[("x-gateway-cache", "no-store")], body.to_string().as_bytes());
    let mut client = gateway.connect().await;
    loop {
        *seen.sent.lock().unwrap() += 1;
        client.send(&request).await;
        let Some(head) = client.head().await else { return };
        assert_eq!(head.status, 200);
        let mut body = Vec::new();
        if stream {
            loop {
                match client.chunk().await {
                    None => return,
                    Some(chunk) if chunk.is_empty() => break,
                    Some(chunk) => body.extend_from_slice(&chunk),
                }
            }
        } else {
            let length = head.header("content-length").unwrap().parse().unwrap();
            let Some(whole) = client.take(length).await else { return };
            body = whole;
        }
        let text = String::from_utf8(body).unwrap();
        let tokens = text.rsplit_once(r#""total_tokens":"#).unwrap().1;
        let tokens = tokens.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
        seen.acknowledged.lock().unwrap().insert(head.id(), tokens);
        seen.news.notify_one();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_request_outlives_kill_9_between_requests_and_during_streams() {
    let double = Double::start().await;
    let text = config(&double.base_url(), &["ok", "drip-1", "stall"], LIMITS);
    let start = |setup: Setup| setup.configured(&text).with("DOUBLE_API_KEY", "sk-x").start();
    let seen = Arc::new(Seen::default());
    let mut gateway = start(Setup::new()).await;
    let key = gateway.key.clone();
    for round in 0..ROUNDS {
        let shared = Arc::new(gateway);
        let mut clients = JoinSet::new();
        for (model, stream) in
            [("sim/cheap", false), ("double/ok", true), ("double/drip-1", true), ("double/stall", true)]
        {
            clients.spawn(ask_until_it_breaks(shared.clone(), model, stream, seen.clone()));
        }
        // Each round another number of answers, so that the kill comes at other instants of other requests.
        let enough = seen.acknowledged.lock().unwrap().len() + 1 + 3 * (round % 7);
        within("answers", async {
            while seen.acknowledged.lock().unwrap().len() < enough {
                seen.news.notified().await;
            }
        })
        .await;
        shared.signal("KILL");
        within("the end of all connections", async {
            while clients.join_next().await.transpose().unwrap().is_some() {}
        })
        .await;
        let folder = Arc::try_unwrap(shared).ok().expect("the only owner").was_killed().await;
        gateway = start(Setup::again(&folder)).await;
        assert_eq!(gateway.key, key, "the folder is the same");
    }
    let acknowledged = seen.acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() >= ROUNDS);
    for (id, tokens) in &acknowledged {
        let answer = gateway.get(&format!("/v1/receipts/{id}")).await;
        assert_eq!(answer.status, 200, "the acknowledged request {id} is lost");
        let usage = &answer.json()["usage"];
        assert_eq!(usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap(), *tokens);
    }
    let (requests, tokens) = totals(&gateway).await;
    let (sent, least_tokens) = (*seen.sent.lock().unwrap(), acknowledged.values().sum::<u64>());
    assert!((acknowledged.len() as u64..=sent).contains(&requests), "{requests} of {sent}");
    assert!(tokens >= least_tokens, "{tokens} < {least_tokens}");
    let usage = gateway.usage().await;
    assert_eq!((usage["requests"]["used"].as_u64(), usage["tokens"]["used"].as_u64()), (Some(requests), Some(tokens)));
}

#[tokio::test]
async fn a_first_start_that_is_killed_at_any_stage_leaves_a_folder_that_starts() {
    for stage in
        ["", "data", "data/hash-secret", "data/admin-token", "data/directory.redb", "data/ledger", "data/ledger/lock"]
    {
        for _ in 0..3 {
            let setup = Setup::new();
            let folder = setup.kill_once_there_is(stage).await;
            let gateway = Setup::again(&folder).start().await;
            assert_eq!(gateway.get("/v1/models").await.status, 200, "killed when there was {stage}");
        }
    }
}

#[tokio::test]
async fn a_first_start_that_is_killed_between_its_tenant_and_the_key_is_gone_on_with() {
    let setup = Setup::new();
    let defaults = Config::load(SHIPPED, "gateway.toml", &|_| None).unwrap().tenant_defaults;
    let tenant = TenantRecord::create(json!({"id": "demo", "name": "Demo"}), &defaults, 1_763_820_000_000).unwrap();
    let (who, what, subject) = ("the first start".into(), "tenant.create".into(), "demo".into());
    let entry = AuditEntry { at_ms: 1, who, from: None, what, subject, before: Value::Null, after: Value::Null };
    let directory = EmbeddedDirectory::open(&setup.folder.path().join("data")).unwrap();
    directory.create_tenant(&tenant, entry).await.unwrap();
    drop(directory);
    let gateway = setup.start().await;
    assert_eq!(gateway.get("/v1/models").await.status, 200);
}

/// Requests and tokens over all days and models.
async fn totals(gateway: &Gateway) -> (u64, u64) {
    let answer = gateway.admin("GET /admin/usage", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rows = answer.json()["data"].as_array().cloned().unwrap();
    let sum = |name: &str| rows.iter().map(|row: &Value| row[name].as_u64().unwrap()).sum::<u64>();
    (sum("requests"), sum("input_tokens") + sum("output_tokens"))
}

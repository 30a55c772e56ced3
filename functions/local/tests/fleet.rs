//! Several processes, one truth: Redis and DynamoDB behind the real program, and the log that makes up for a ledger.

use super::gateway::{Folder, Gateway, Setup};
use serde_json::json;
use test_servers::dynamodb::DynamoDbLocal;
use test_servers::redis::Redis;

const TOKEN: &str = "the-owner's-token-of-a-fleet-in-a-test";

pub(crate) struct Fleet {
    redis: Redis,
    ledger: DynamoDbLocal,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let (redis, ledger) = tokio::join!(Redis::start(&[]), DynamoDbLocal::start());
        Self { redis: redis.unwrap(), ledger: ledger.unwrap() }
    }

    /// A process of it, to be started.
    pub(crate) fn setup(&self) -> Setup {
        Setup::new()
            .with("GATEWAY_STORE", &self.redis.url())
            .with("GATEWAY_DIRECTORY", "dynamodb:gateway")
            .with("AWS_ENDPOINT_URL_DYNAMODB", &self.ledger.url())
            .with("AWS_REGION", "eu-central-1")
            .with("AWS_ACCESS_KEY_ID", "emulator")
            .with("AWS_SECRET_ACCESS_KEY", "emulator")
            .with("GATEWAY_HASH_SECRET", "the-hash-secret-of-a-fleet-in-a-test")
            .with("GATEWAY_ADMIN_TOKEN", TOKEN)
    }

    /// The process, with the token that it was started with and does not print.
    pub(crate) fn owned(mut gateway: Gateway) -> Gateway {
        TOKEN.clone_into(&mut gateway.admin_token);
        gateway
    }

    async fn gateway(&self) -> Gateway {
        Self::owned(self.setup().start_without_key().await)
    }
}

fn ask() -> Vec<u8> {
    json!({"model": "cheap", "messages": [{"role": "user", "content": "hello"}]}).to_string().into_bytes()
}

async fn status(gateway: &Gateway) -> u16 {
    gateway.chat_with(&[("x-gateway-cache", "no-store")], &ask()).await.status
}

#[tokio::test]
async fn what_one_process_changes_all_others_go_by_with_their_next_request() {
    let fleet = Fleet::start().await;
    let (one, mut other) = (fleet.gateway().await, fleet.gateway().await);
    assert_eq!(one.admin("POST /admin/tenants", r#"{"id":"acme"}"#).await.status, 201);
    let made = one.admin("POST /admin/tenants/acme/keys", r#"{"name":"ci"}"#).await.json();
    other.key = made["key"].as_str().unwrap().to_owned();
    assert_eq!(status(&other).await, 200);

    assert_eq!(one.admin("PATCH /admin/tenants/acme", r#"{"limits":{"daily_requests":2}}"#).await.status, 200);
    assert_eq!([status(&other).await, status(&other).await], [200, 429]);
    assert_eq!(one.admin("PATCH /admin/tenants/acme", r#"{"enabled":false}"#).await.status, 200);
    assert_eq!(status(&other).await, 403);
    let back = r#"{"enabled":true,"limits":{"daily_requests":100}}"#;
    assert_eq!(one.admin("PATCH /admin/tenants/acme", back).await.status, 200);
    assert_eq!(status(&other).await, 200);
    let key = format!("DELETE /admin/tenants/acme/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(one.admin(&key, "").await.status, 204);
    assert_eq!(status(&other).await, 401);

    let usage = one.admin("GET /admin/tenants/acme/usage", "").await.json();
    assert_eq!((&usage["requests"]["used"], &usage["requests"]["held"]), (&json!(3), &json!(0)));
    let ready = other.get("/ready").await.json();
    assert_eq!((&ready["store"]["kind"], &ready["store"]["state"]), (&json!("redis"), &json!("ok")), "{ready}");
}

#[tokio::test]
async fn a_flushed_store_is_rebuilt_and_a_killed_one_leaves_the_outage_share() {
    let mut fleet = Fleet::start().await;
    let mut gateway = fleet.gateway().await;
    let tenant = r#"{"id":"acme","limits":{"daily_requests":30},"outage_share":0.1}"#;
    assert_eq!(gateway.admin("POST /admin/tenants", tenant).await.status, 201);
    let made = gateway.admin("POST /admin/tenants/acme/keys", r#"{"name":"ci"}"#).await.json();
    gateway.key = made["key"].as_str().unwrap().to_owned();
    let used = async |gateway: &Gateway| {
        gateway.admin("GET /admin/tenants/acme/usage", "").await.json()["requests"]["used"].clone()
    };
    for _ in 0..5 {
        assert_eq!(status(&gateway).await, 200);
    }
    fleet.redis.ask(&["FLUSHALL"]).await.unwrap();
    assert_eq!(status(&gateway).await, 200);
    assert_eq!(used(&gateway).await, json!(6));

    fleet.redis.kill().unwrap();
    let mut seen = Vec::new();
    for _ in 0..6 {
        let answer = gateway.chat_with(&[("x-gateway-cache", "no-store")], &ask()).await;
        seen.push(answer.status);
    }
    assert_eq!(seen, [200, 200, 200, 503, 503, 503], "a tenth of thirty");
    let ready = gateway.get("/ready").await;
    assert_eq!((ready.status, &ready.json()["store"]["state"]), (200, &json!("down")));
    fleet.redis.restart().await.unwrap();
    // The store is left alone for a second after it failed; how long that takes is nobody's promise.
    super::gateway::within("the store's return", async { while status(&gateway).await != 200 {} }).await;
    assert_eq!(used(&gateway).await, json!(10));
}

#[tokio::test]
async fn receipts_in_the_log_are_written_once_however_often_they_are_replayed() {
    let gateway = Setup::new().with("GATEWAY_LOG", "receipt=info").start().await;
    for _ in 0..3 {
        assert_eq!(status(&gateway).await, 200);
    }
    let expected = gateway.usage().await;
    gateway.signal("TERM");
    let kept = gateway.folder.clone();
    let (_, _, log) = gateway.ended().await;
    // The ledger is lost and the directory is not: receipts are a tenant's own, and one made anew would not see them.
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    for file in ["data/directory.redb", "data/hash-secret", "data/admin-token"] {
        folder.file(file, std::fs::read(kept.path().join(file)).unwrap());
    }
    let log = folder.file("gateway.log", log);
    for _ in 0..2 {
        let (status, output, errors) = Setup::again(&folder).called(&["replay", &log]).run().await;
        assert!(status.success(), "{errors}");
        assert!(output.starts_with("3 receipts "), "{output}");
    }
    // A disk that filled up has torn a line, in the middle of a character: the others count all the same.
    let mut torn = b"x ERROR receipt: lost receipt={\"id\":\"\xc3\n".to_vec();
    torn.extend_from_slice(&std::fs::read(&log).unwrap());
    let torn = folder.file("torn.log", torn);
    let (status, output, errors) = Setup::again(&folder).called(&["replay", &torn]).run().await;
    assert!(!status.success() && output.starts_with("3 receipts "), "{output}{errors}");
    assert!(errors.contains("line 1: ") && errors.contains("1 lines"), "{errors}");
    let again = Setup::again(&folder).start().await;
    assert_eq!(again.usage().await, expected);
}

#[tokio::test]
async fn a_table_needs_its_secrets_from_the_environment_and_no_address_is_repeated() {
    let table = || Setup::new().with("GATEWAY_DIRECTORY", "dynamodb:gateway").with("AWS_REGION", "eu-central-1");
    assert!(table().complaint().await.contains("GATEWAY_HASH_SECRET"));
    for (name, value) in [
        ("GATEWAY_STORE", "redis://:hunter2@nowhere:bad-port"),
        ("GATEWAY_STORE", "memcached://:hunter2@nowhere"),
        ("GATEWAY_DIRECTORY", "postgres://:hunter2@nowhere"),
        ("GATEWAY_DIRECTORY", "dynamodb:"),
    ] {
        let complaint = Setup::new().with(name, value).complaint().await;
        assert!(complaint.contains(name) && !complaint.contains("hunter2"), "{complaint}");
    }
}

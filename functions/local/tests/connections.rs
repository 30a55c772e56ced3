//! Connections that are not meant well: their number, and how long each of them may wait.

use super::bad_input::GOOD;
use super::gateway::{Gateway, Setup, config, within};
use super::wire::{Client, request};
use serde_json::{Value, json};

/// A gateway with this in `[server]`, and a provider that nobody calls.
fn with_server(settings: &str) -> Setup {
    let text = config("http://127.0.0.1:9/v1", &[], &format!("[server]\n{settings}\n"));
    Setup::new().configured(&text).with("DOUBLE_API_KEY", "sk-x")
}

async fn many(gateway: &Gateway, count: usize, bytes: &[u8]) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = gateway.connect().await;
        client.send(bytes).await;
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn more_connections_than_files_keep_nobody_out_and_are_told() {
    let gateway = Setup::new().with_files(256).start().await;
    assert_eq!(gateway.get("/ready").await.json()["connections"]["state"], "ok");
    let silent = many(&gateway, 300, b"").await;
    for _ in 0..3 {
        assert_eq!(gateway.chat(GOOD).await.status, 200);
    }
    let half = many(&gateway, 300, b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n").await;
    assert_eq!(gateway.chat(GOOD).await.status, 200);
    let length = "content-length: 99\r\n\r\n{";
    let bearer = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", gateway.key);
    let bodies = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n{bearer}{length}");
    let bodies = many(&gateway, 300, bodies.as_bytes()).await;
    assert_eq!(gateway.chat(GOOD).await.status, 200);
    let ready = gateway.get("/ready").await;
    let connections = &ready.json()["connections"];
    assert_eq!((ready.status, &connections["state"], &connections["limit"]), (200, &json!("degraded"), &json!(96)));
    assert!(connections["open"].as_u64().unwrap() <= 96, "{connections}");
    drop((silent, half, bodies));
    gateway.signal("TERM");
    let (status, _, log) = gateway.ended().await;
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("the limit of connections is reached").count(), 1, "{log}");
}

#[tokio::test]
async fn the_number_of_connections_can_be_set_but_not_above_what_may_be_opened() {
    let gateway = with_server("max_connections = 7").start().await;
    assert_eq!(gateway.get("/ready").await.json()["connections"], json!({"state": "ok", "open": 1, "limit": 7}));
    let gateway = with_server("max_connections = 500").with_files(256).start().await;
    assert_eq!(gateway.get("/ready").await.json()["connections"]["limit"], 96);
    gateway.signal("TERM");
    let (_, _, log) = gateway.ended().await;
    assert!(log.contains("may open too few files"), "{log}");
}

#[tokio::test]
async fn half_a_head_and_a_connection_that_rests_have_each_their_own_time() {
    // With the other time out of reach, the end of the connection has one cause.
    let gateway = with_server("header_timeout_ms = 50\nidle_timeout_ms = 900000").start().await;
    for bytes in [&b""[..], b"GET /health HTTP/1.1\r\nhost: a\r\n"] {
        let mut client = gateway.connect().await;
        client.send(bytes).await;
        assert!(client.head().await.is_none() && client.is_closed().await);
    }
    let gateway = with_server("header_timeout_ms = 900000\nidle_timeout_ms = 50").start().await;
    let mut client = gateway.connect().await;
    let health = request("GET /health", &[], b"");
    client.send(&health).await;
    assert_eq!(client.answer().await.status, 200);
    within("the end of a connection that rests", client.is_closed()).await;
}

/// Makes a tenant over a connection on which these lines of `x-forwarded-for` come; the audit log says from where.
async fn seen_from(gateway: &Gateway, tenant: &str, lines: &[&str]) -> Value {
    let bearer = format!("Bearer {}", gateway.admin_token);
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    headers.extend(lines.iter().map(|line| ("x-forwarded-for", *line)));
    let body = json!({"id": tenant}).to_string();
    let made = gateway.send(&request("POST /admin/tenants", &headers, body.as_bytes())).await;
    assert_eq!(made.status, 201, "{}", made.text());
    gateway.admin("GET /admin/audit?limit=1", "").await.json()["data"][0]["from"].clone()
}

#[tokio::test]
async fn the_audit_log_believes_the_proxies_that_are_trusted_and_no_client() {
    let gateway = with_server("trusted_proxies = ['127.0.0.1', '10.0.0.0/8']").start().await;
    for (tenant, lines, from) in [
        ("a", &[][..], "127.0.0.1"),
        ("b", &["203.0.113.7"], "203.0.113.7"),
        ("c", &["198.51.100.1, 203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        ("d", &["203.0.113.7, unknown"], "127.0.0.1"),
    ] {
        assert_eq!(seen_from(&gateway, tenant, lines).await, from, "{lines:?}");
    }
    let alone = with_server("").start().await;
    assert_eq!(seen_from(&alone, "a", &["203.0.113.7"]).await, "127.0.0.1");
}

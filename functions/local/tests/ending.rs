//! The end of the process: what was begun is brought to its end, or to an estimate, and nothing else holds it up.

use super::bad_input::GOOD;
use super::gateway::{Gateway, Setup, config, within};
use super::upstream::{Call, Upstream};
use super::wire::{Client, request};
use serde_json::json;
use tokio::net::TcpStream;
use upstream_double::Double;

fn setup(base_url: &str, models: &[&str], drain_ms: u64) -> (String, Setup) {
    let text = config(base_url, models, &format!("[server]\ndrain_ms = {drain_ms}\n"));
    (text.clone(), Setup::new().configured(&text).with("DOUBLE_API_KEY", "sk-x"))
}

fn again(gateway: &Gateway, text: &str) -> Setup {
    Setup::again(&gateway.folder).configured(text).with("DOUBLE_API_KEY", "sk-x")
}

/// A stream that has brought its first word; its client, its provider's end, and its id.
async fn begun(gateway: &Gateway, upstream: &Upstream) -> (Client, Call, String) {
    let mut client = gateway.connect().await;
    let body = json!({"model": "double/slow", "stream": true, "messages": [{"role": "user", "content": "hello"}]});
    client.send(&gateway.chat_request(&[], body.to_string().as_bytes())).await;
    let mut call = upstream.call().await;
    call.begin().await;
    call.say("one").await;
    let id = client.head().await.unwrap().id();
    assert!(!client.chunk().await.unwrap().is_empty());
    (client, call, id)
}

/// Tells it to end, and waits until it has heard.
async fn told_to_end(gateway: &Gateway) {
    let mut idle = gateway.connect().await;
    idle.send(&request("GET /health", &[], b"")).await;
    assert_eq!(idle.answer().await.status, 200);
    gateway.signal("TERM");
    within("the end of a connection that serves nobody", idle.is_closed()).await;
}

#[tokio::test]
async fn a_request_whose_client_has_left_is_waited_for_and_charged_exactly() {
    let upstream = Upstream::start().await;
    let (text, setup) = setup(&upstream.base_url(), &["slow"], 900_000);
    // On an address of its own: a port that is given up may be another test's in the next moment.
    let mut gateway = setup.with("GATEWAY_ADDR", "127.0.0.77:0").start().await;
    let (mut client, mut call, id) = begun(&gateway, &upstream).await;
    client.end().await;
    within("the end of the connection", client.is_closed()).await;
    told_to_end(&gateway).await;
    gateway.logged("waits for 1 requests").await;
    assert!(TcpStream::connect(gateway.address).await.is_err(), "nobody else is let in");
    call.say(" and so on").await;
    call.finish(1000, 600).await;
    let again = again(&gateway, &text);
    let (status, _, log) = gateway.ended().await;
    assert!(status.success(), "{log}");
    let gateway = again.start().await;
    let receipt = gateway.receipt(&id).await;
    assert_eq!((&receipt["cost_usd"], &receipt["estimated"]), (&json!("0.002200000"), &json!(false)), "{receipt}");
    assert_eq!(gateway.usage().await["tokens"], json!({"used": 1600, "held": 0, "limit": 1_000_000}));
}

#[tokio::test]
async fn what_takes_longer_than_the_drain_time_is_charged_by_an_estimate() {
    for client_leaves in [true, false] {
        let upstream = Upstream::start().await;
        let (text, setup) = setup(&upstream.base_url(), &["slow"], 50);
        let gateway = setup.start().await;
        let (mut client, _call, id) = begun(&gateway, &upstream).await;
        if client_leaves {
            client.end().await;
            within("the end of the connection", client.is_closed()).await;
        }
        gateway.signal("TERM");
        let mut rest = String::new();
        while let Some(chunk) = client.chunk().await.filter(|chunk| !chunk.is_empty()) {
            rest += std::str::from_utf8(&chunk).unwrap();
        }
        assert!(client_leaves || (rest.contains("deadline_exceeded") && !rest.contains("[DONE]")), "{rest}");
        let again = again(&gateway, &text);
        let (status, _, log) = gateway.ended().await;
        assert!(status.success() && log.contains("settled as an estimate"), "{log}");
        let gateway = again.start().await;
        let receipt = gateway.receipt(&id).await;
        assert!(receipt["estimated"] == true && receipt["usage"]["output_tokens"] != 0, "{receipt}");
        assert_eq!(gateway.usage().await["requests"], json!({"used": 1, "held": 0, "limit": 1000}));
    }
}

#[tokio::test]
async fn half_sent_heads_and_clients_that_do_not_read_hold_nothing_up() {
    let double = Double::start().await;
    let (_, setup) = setup(&double.base_url(), &["giant-24"], 900_000);
    let gateway = setup.start().await;
    let mut clients = Vec::new();
    for bytes in [&b""[..], b"P", b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"] {
        let mut client = gateway.connect().await;
        client.send(bytes).await;
        clients.push(client);
    }
    let mut deaf = gateway.connect().await;
    let body = json!({"model": "double/giant-24", "messages": [{"role": "user", "content": "hello"}]});
    deaf.send(&gateway.chat_request(&[], body.to_string().as_bytes())).await;
    within("its settlement", async { while gateway.usage().await["requests"]["used"] != json!(1) {} }).await;
    told_to_end(&gateway).await;
    let (status, _, log) = gateway.ended().await;
    assert!(status.success(), "{log}");
    drop((clients, deaf));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_says_so_by_its_status() {
    for second in ["TERM", "INT"] {
        let upstream = Upstream::start().await;
        let (_, setup) = setup(&upstream.base_url(), &["slow"], 900_000);
        let gateway = setup.start().await;
        let begun = begun(&gateway, &upstream).await;
        told_to_end(&gateway).await;
        gateway.signal(second);
        let (status, _, log) = gateway.ended().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("second signal") && log.contains("not settled: 1"), "{log}");
        drop(begun);
    }
}

#[tokio::test]
async fn a_terminal_that_closes_is_no_reason_to_end() {
    let gateway = Gateway::start().await;
    for _ in 0..3 {
        gateway.signal("HUP");
        assert_eq!(gateway.chat(GOOD).await.status, 200);
    }
    gateway.signal("TERM");
    let (status, _, log) = gateway.ended().await;
    assert!(status.success() && log.contains("SIGHUP"), "{log}");
}

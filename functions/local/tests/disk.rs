//! What a disk and a log may do to the program: nobody is refused who need not be, nothing is said to be well that is not,
//! and when the disk is well again so is the gateway, without a restart.

use super::gateway::{Gateway, Setup, within};
use serde_json::{Value, json};
use std::fs::{self, File};

fn ask() -> String {
    json!({"model": "cheap", "messages": [{"role": "user", "content": "hello"}]}).to_string()
}

const FRESH: (&str, &str) = ("x-gateway-cache", "no-store");

/// Status and message of a chat request.
async fn chat(gateway: &Gateway, headers: &[(&str, &str)]) -> (u16, String) {
    let answer = gateway.chat_with(&[&[FRESH], headers].concat(), ask().as_bytes()).await;
    (answer.status, answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned())
}

async fn ready(gateway: &Gateway) -> (u16, Value) {
    let answer = gateway.get("/ready").await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_log_that_cannot_be_written_fails_no_request_and_is_told() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (_, closed) = std::io::pipe().unwrap();
    for log in [full.into(), std::os::fd::OwnedFd::from(closed)] {
        let gateway = Setup::new().with("GATEWAY_LOG", "info").logging_to(log).start().await;
        for _ in 0..3 {
            assert_eq!(chat(&gateway, &[]).await.0, 200);
        }
        let (status, ready) = ready(&gateway).await;
        assert_eq!((status, &ready["log"]["state"]), (200, &json!("degraded")), "{ready}");
        let metrics = gateway.admin("GET /admin/metrics", "").await.json()["process"].clone();
        assert!(metrics["log_lines_lost_total"].as_u64() >= Some(3), "{metrics}");
        assert_eq!(metrics["receipts_lost_total"], 0, "the ledger has them");
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_no_request_up() {
    let (unread, log) = std::io::pipe().unwrap();
    let gateway = Setup::new().with("GATEWAY_LOG", "info").logging_to(log).start().await;
    // Twice what a pipe holds.
    for _ in 0..150 {
        assert_eq!(chat(&gateway, &[]).await.0, 200);
    }
    drop(unread);
}

#[tokio::test]
async fn on_a_full_disk_requests_are_served_changes_are_refused_by_name_and_all_is_well_again_with_the_disk() {
    let (_, closed) = std::io::pipe().unwrap();
    let gateway = Setup::new().logging_to(closed).start().await;
    let strict = r#"{"id":"strict","ledger_required":true}"#;
    assert_eq!(gateway.admin("POST /admin/tenants", strict).await.status, 201);
    let key = gateway.admin("POST /admin/tenants/strict/keys", r#"{"name":"ci"}"#).await.json();
    let (id, bearer) = (key["id"].as_str().unwrap(), format!("Bearer {}", key["key"].as_str().unwrap()));
    let revoke = format!("DELETE /admin/tenants/strict/keys/{id}");
    let as_strict = [("authorization", bearer.as_str()), ("content-type", "application/json"), FRESH];
    let as_strict = super::wire::request("POST /v1/chat/completions", &as_strict, ask().as_bytes());
    assert_eq!(chat(&gateway, &[("idempotency-key", "first")]).await.0, 200);
    assert_eq!(gateway.send(&as_strict).await.status, 200);

    for second in ["second", "third"] {
        gateway.may_write(false);
        assert_eq!(chat(&gateway, &[]).await.0, 200, "who does not require the ledger is served");
        let refused = gateway.send(&as_strict).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        for _ in 0..2 {
            let refused = gateway.admin(&revoke, "").await;
            let message = &refused.json()["error"]["message"];
            assert_eq!(refused.status, 503);
            assert_eq!(message, "The key was NOT revoked: a file may not grow any further; it still works.");
            let refused = gateway.admin("PATCH /admin/tenants/demo", r#"{"name":"Other"}"#).await;
            assert_eq!(refused.json()["error"]["message"], "Nothing was changed: a file may not grow any further.");
            let (status, message) = chat(&gateway, &[("idempotency-key", second)]).await;
            assert!(status == 503 && message.contains("idempotency key cannot be kept"), "{status} {message}");
            assert_eq!(
                chat(&gateway, &[("idempotency-key", "first")]).await.0,
                200,
                "an answer that was given is known"
            );
            let (status, ready) = ready(&gateway).await;
            let words = |state: &str| json!({"state": state, "error": "a file may not grow any further"});
            assert_eq!((status, &ready["ready"]), (200, &json!(true)));
            assert_eq!((&ready["directory"], &ready["ledger"]), (&words("degraded"), &words("down")));
            assert!(ready["log"]["receipts_lost"].as_u64() > Some(0), "{ready}");
            let faults = &gateway.admin("GET /admin/metrics", "").await.json()["process"]["faults"];
            assert_eq!(faults["directory"], "a file may not grow any further", "{faults}");
        }
        assert_eq!(gateway.admin("GET /admin/tenants/demo", "").await.json()["name"], "Demo");

        gateway.may_write(true);
        let ok = json!({"state": "ok"});
        within("the gateway is well again", async {
            loop {
                let (_, ready) = ready(&gateway).await;
                if [&ready["directory"], &ready["ledger"]] == [&ok, &ok] {
                    break;
                }
            }
        })
        .await;
        assert_eq!(gateway.send(&as_strict).await.status, 200);
        assert_eq!(chat(&gateway, &[("idempotency-key", second)]).await.0, 200);
    }
    assert_eq!(gateway.admin(&revoke, "").await.status, 204);
    assert_eq!(gateway.send(&as_strict).await.status, 401);
    let folder = gateway.kill().await;
    let gateway = Setup::again(&folder).start().await;
    assert_eq!(gateway.send(&as_strict).await.status, 401, "and is, after a restart");
}

#[tokio::test]
async fn a_ledger_that_was_deleted_under_the_process_is_seen() {
    let gateway = Gateway::start().await;
    assert_eq!(chat(&gateway, &[]).await.0, 200);
    assert_eq!(ready(&gateway).await.1["ledger"], json!({"state": "ok"}));
    assert_eq!(gateway.admin("PATCH /admin/tenants/demo", r#"{"ledger_required":true}"#).await.status, 200);
    assert_eq!(chat(&gateway, &[]).await.0, 200);
    fs::remove_dir_all(gateway.folder.path().join("data/ledger")).unwrap();
    let ready = ready(&gateway).await.1;
    assert_eq!(ready["ledger"], json!({"state": "down", "error": "a file was deleted or replaced under the process"}));
    let (status, message) = chat(&gateway, &[]).await;
    assert!(status == 503 && message.contains("cannot be recorded"), "{status} {message}");
}

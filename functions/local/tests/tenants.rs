//! Tenants from outside: made, limited, kept apart and shut out over real HTTP.

use super::bad_input::{GOOD, is_refused};
use super::gateway::{Gateway, Setup, config};
use super::wire::{Answer, request};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;
use upstream_double::Double;

/// Makes a tenant with these limits; its key and the key's id.
async fn tenant(gateway: &Gateway, id: &str, limits: Value) -> (String, String) {
    let made = gateway.admin("POST /admin/tenants", &json!({"id": id, "limits": limits}).to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let key = gateway.admin(&format!("POST /admin/tenants/{id}/keys"), r#"{"name":"test"}"#).await;
    assert_eq!(key.status, 201, "{}", key.text());
    let text = |name: &str| key.json()[name].as_str().unwrap().to_owned();
    (text("key"), text("id"))
}

async fn ask(gateway: &Gateway, key: &str, line: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    gateway.send(&request(line, &[("authorization", &bearer), ("x-gateway-cache", "no-store")], body.as_bytes())).await
}

#[tokio::test]
async fn of_200_requests_at_once_a_quota_of_50_serves_50_and_the_books_are_the_providers() {
    let double = Double::start().await;
    let text = config(&double.base_url(), &["ok"], "");
    let gateway = Arc::new(Setup::new().configured(&text).with("DOUBLE_API_KEY", "sk-x").start().await);
    let limits =
        json!({"daily_requests": 50, "requests_per_minute": null, "tokens_per_minute": null, "concurrency": null});
    let (key, _) = tenant(&gateway, "acme", limits).await;
    let body = json!({"model": "double/ok", "messages": [{"role": "user", "content": "hello"}]});
    let mut asking = JoinSet::new();
    for place in 0..200 {
        let (gateway, key, mut body) = (gateway.clone(), key.clone(), body.clone());
        body["stream"] = Value::from(place % 2 == 0);
        asking.spawn(async move { ask(&gateway, &key, "POST /v1/chat/completions", &body.to_string()).await });
    }
    let mut served = 0;
    for answer in asking.join_all().await {
        if answer.status == 200 {
            served += 1;
        } else {
            is_refused("past the quota", &answer, 429, "quota_exceeded", None);
            assert_eq!(answer.head.header("x-should-retry"), Some("false"));
        }
    }
    let billed = double.counts().total;
    assert_eq!((served, billed.calls), (50, 50));
    let usage = gateway.admin("GET /admin/tenants/acme/usage", "").await.json();
    assert_eq!(usage["requests"], json!({"used": 50, "held": 0, "limit": 50}));
    assert_eq!(usage["tokens"]["used"], json!(billed.input_tokens + billed.output_tokens));
    // 1 and 2 US dollars for a million tokens are 1,000 and 2,000 nano-dollars for each.
    let nusd = billed.input_tokens * 1000 + billed.output_tokens * 2000;
    assert_eq!(usage["cost_usd"]["used"], format!("{}.{:09}", nusd / 1_000_000_000, nusd % 1_000_000_000));
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let gateway = Gateway::start().await;
    let (acme, _) = tenant(&gateway, "acme", json!({})).await;
    let (globex, _) = tenant(&gateway, "globex", json!({})).await;
    let id = ask(&gateway, &acme, "POST /v1/chat/completions", GOOD).await.head.id();
    assert_eq!(ask(&gateway, &acme, &format!("GET /v1/receipts/{id}"), "").await.status, 200);
    is_refused(
        "another's receipt",
        &ask(&gateway, &globex, &format!("GET /v1/receipts/{id}"), "").await,
        404,
        "not_found",
        None,
    );
    // The same question of another tenant is not answered from what the first one asked.
    for (key, cache) in [(&acme, "miss"), (&acme, "hit"), (&globex, "miss")] {
        let bearer = format!("Bearer {key}");
        let answer =
            gateway.send(&request("POST /v1/chat/completions", &[("authorization", &bearer)], GOOD.as_bytes())).await;
        assert_eq!(answer.head.header("x-gateway-cache"), Some(cache));
    }
    let usage = gateway.admin("GET /admin/tenants/globex/usage", "").await.json();
    assert_eq!(usage["requests"]["used"], 1);
}

#[tokio::test]
async fn a_revoked_key_stops_with_its_next_request_and_a_tenants_key_opens_no_admin_door() {
    let gateway = Gateway::start().await;
    let (key, id) = tenant(&gateway, "acme", json!({})).await;
    assert_eq!(ask(&gateway, &key, "POST /v1/chat/completions", GOOD).await.status, 200);
    for line in [
        "GET /admin/tenants",
        "POST /admin/tenants",
        "GET /admin/metrics",
        "DELETE /admin/tenants/acme",
        "GET /admin/nothing",
    ] {
        is_refused(line, &ask(&gateway, &key, line, "").await, 401, "invalid_api_key", None);
    }
    assert_eq!(gateway.admin(&format!("DELETE /admin/tenants/acme/keys/{id}"), "").await.status, 204);
    for line in ["POST /v1/chat/completions", "POST /v1/route", "GET /v1/models"] {
        is_refused(line, &ask(&gateway, &key, line, GOOD).await, 401, "invalid_api_key", None);
    }
}

#[tokio::test]
async fn what_is_anothers_is_not_found_by_any_way() {
    let gateway = Gateway::start().await;
    let mut tenants = Vec::new();
    for id in ["one", "two", "on", "one.two"] {
        let (key, key_id) = tenant(&gateway, id, json!({})).await;
        let answer = ask(&gateway, &key, "POST /v1/chat/completions", GOOD).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        tenants.push((id, key, key_id, answer.head.id()));
    }
    for (id, key, _, _) in &tenants {
        for (other, _, its_key, its_receipt) in tenants.iter().filter(|(other, ..)| other != id) {
            let receipt = format!("/v1/receipts/{its_receipt}");
            for (line, body) in
                [(format!("GET {receipt}"), ""), (format!("POST {receipt}/feedback"), r#"{"rating":"bad"}"#)]
            {
                assert_eq!(ask(&gateway, key, &line, body).await.status, 404, "{line} of {other} as {id}");
            }
            let keys = format!("/admin/tenants/{id}/keys/{its_key}");
            for (line, body) in [
                (format!("GET /admin/receipts/{its_receipt}?tenant={id}"), ""),
                (format!("GET {keys}"), ""),
                (format!("PATCH {keys}"), r#"{"expires_at_ms":5}"#),
                (format!("POST {keys}/rotate"), "{}"),
                (format!("DELETE {keys}"), ""),
            ] {
                assert_eq!(gateway.admin(&line, body).await.status, 404, "{line} of {other}");
            }
        }
    }
    for (id, key, _, receipt) in &tenants {
        let seen = ask(&gateway, key, &format!("GET /v1/receipts/{receipt}"), "").await;
        assert_eq!((seen.status, &seen.json()["feedback"]), (200, &Value::Null), "{id} has what it had");
        assert_eq!(gateway.admin(&format!("GET /admin/tenants/{id}/keys"), "").await.json()["data"][1], Value::Null);
    }
}

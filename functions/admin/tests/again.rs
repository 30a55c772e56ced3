//! A tenant's id that is used again: whoever has it now sees, gets and pays for nothing of whoever had it before (T5).

use crate::house::{House, Seen};
use bytes::Bytes;
use gateway_core::directory::AuditEntry;
use gateway_core::request::incoming::Incoming;
use gateway_core::request::reply::AnswerBody;
use gateway_core::tenant::TenantRecord;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

const BODY: &str = r#"{"model":"sim/cheap","messages":[{"role":"user","content":"What is an API?"}],"max_tokens":20}"#;

/// Asks for the same completion each time, under one idempotency key.
async fn ask(house: &House, key: &str) -> Seen {
    let mut headers = bearer(key);
    headers.insert("idempotency-key", HeaderValue::from_static("order-1"));
    let answer = house.gateway.chat(Incoming { headers, body: Box::new(Bytes::from(BODY)), time_left: None }).await;
    let AnswerBody::Whole(bytes) = answer.body else { panic!("a stream") };
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let body = serde_json::from_str(&text).unwrap();
    Seen { status: answer.status.as_u16(), headers: answer.headers, text, body }
}

fn bearer(key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    headers
}

async fn may_read(house: &House, key: &str, receipt: &str) -> bool {
    house.gateway.receipt(&bearer(key), receipt).await.is_ok_and(|answer| answer.status == StatusCode::OK)
}

/// Tenant and requests of each usage row, as the plane answers `query`.
async fn rows(house: &House, query: &str) -> Vec<(String, u64)> {
    let body = house.get(&format!("/admin/usage?{query}")).await.body;
    let row = |row: &Value| (row["tenant"].as_str().unwrap().to_owned(), row["requests"].as_u64().unwrap());
    body["data"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn an_id_that_is_used_again_begins_with_nothing_of_the_tenant_before() {
    let house = House::new().await;
    let old = house.tenant("acme", json!({})).await["uid"].as_str().unwrap().to_owned();
    let old_key = house.key("acme").await.key;
    let first = ask(&house, &old_key).await;
    let receipt = first.header("x-request-id").to_owned();
    assert!(may_read(&house, &old_key, &receipt).await);
    assert_eq!(ask(&house, &old_key).await.header("idempotent-replayed"), "true", "the tenant itself gets it again");

    assert_eq!(house.ask("DELETE", "/admin/tenants/acme", None).await.status, 204);
    let new = house.acme().await.key;
    assert!(!may_read(&house, &new, &receipt).await, "an old receipt is another tenant's");
    assert_eq!(house.get(&format!("/admin/receipts/{receipt}?tenant=acme")).await.status, 404);
    assert_eq!(house.get(&format!("/admin/receipts/{receipt}?tenant={old}")).await.body["tenant"], "acme");
    assert_eq!(house.get("/admin/tenants/acme/usage").await.body["requests"]["used"], 0, "usage begins at zero");
    assert_eq!(rows(&house, "tenant=acme").await, []);
    let again = ask(&house, &new).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, ""), "no old answer is replayed");
    assert_eq!(again.header("x-gateway-cache"), "miss", "nor remembered");
    assert_eq!(house.get("/admin/tenants/acme/usage").await.body["requests"]["used"], 1);
    // What the two did is told apart: a deleted tenant's is shown under its uid.
    assert_eq!(rows(&house, "tenant=acme").await, [("acme".to_owned(), 1)]);
    assert_eq!(rows(&house, &format!("tenant={old}")).await, [(old.clone(), 1)]);
    let mut both = rows(&house, "").await;
    both.sort_unstable();
    assert_eq!(both, [("acme".to_owned(), 1), (old.clone(), 1)]);
    assert_eq!(rows(&house, "group_by=tenant").await.len(), 2);
    assert!(house.get("/admin/audit").await.text.contains(&old), "the audit log tells the uid of the deleted one");
}

#[tokio::test]
async fn a_tenant_from_before_there_were_uids_keeps_what_is_its_own_and_leaves_it_to_nobody() {
    let house = House::new().await;
    let made = house.tenant("model", json!({})).await;
    assert_ne!(made["uid"], "model");
    let record = json!({"id": "acme", "name": "Acme", "created_at_ms": 1, "version": 1, "set": {}});
    let record: TenantRecord = serde_json::from_value(record).unwrap();
    let (who, what, subject) = ("owner".to_owned(), "tenant.create".to_owned(), "acme".to_owned());
    let entry = AuditEntry { at_ms: 1, who, from: None, what, subject, before: Value::Null, after: Value::Null };
    house.gateway.directory.create_tenant(&record, entry).await.unwrap();
    let key = house.key("acme").await.key;
    let receipt = ask(&house, &key).await.header("x-request-id").to_owned();
    assert!(may_read(&house, &key, &receipt).await);
    assert_eq!(house.get(&format!("/admin/receipts/{receipt}?tenant=acme")).await.body["tenant_uid"], Value::Null);
    assert_eq!(rows(&house, "tenant=acme").await, [("acme".to_owned(), 1)]);

    assert_eq!(house.ask("DELETE", "/admin/tenants/acme", None).await.status, 204);
    let new = house.acme().await.key;
    assert!(!may_read(&house, &new, &receipt).await);
    assert_eq!(ask(&house, &new).await.header("idempotent-replayed"), "");
    assert_eq!(rows(&house, "tenant=acme").await, [("acme".to_owned(), 1)], "its own alone");
    assert_eq!(rows(&house, "tenant=acme~").await, [("acme~".to_owned(), 1)], "the one without a uid of its own");
    assert_eq!(rows(&house, "").await, [("acme~".to_owned(), 1), ("acme".to_owned(), 1)]);
}

#[tokio::test]
async fn what_is_kept_of_a_tenant_is_erased_when_it_is_served_no_more() {
    let house = House::new().await;
    let uid = house.tenant("acme", json!({})).await["uid"].as_str().unwrap().to_owned();
    let (key, path) = (house.key("acme").await.key, "/admin/tenants/acme/data");
    house.tenant("other", json!({})).await;
    let other = house.key("other").await.key;
    let (its, theirs) = (ask(&house, &key).await, ask(&house, &other).await);
    let refused = house.ask("DELETE", path, None).await;
    assert_eq!(refused.error(), (409, "conflict", None), "while it is served: {}", refused.text);
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"enabled": false}))).await;
    let erased = house.ask("DELETE", path, None).await;
    assert_eq!((erased.status, &erased.body["next"]), (200, &Value::Null), "{}", erased.text);
    assert_eq!((&erased.body["erased"]["receipts"], &erased.body["erased"]["usage_rows"]), (&json!(1), &json!(1)));
    assert_eq!(house.audit().await[0], "tenant.erase acme");

    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"enabled": true}))).await;
    assert!(!may_read(&house, &key, its.header("x-request-id")).await);
    assert!(may_read(&house, &other, theirs.header("x-request-id")).await, "another's stays");
    assert_eq!(rows(&house, "").await, [("other".to_owned(), 1)]);
    assert_eq!(house.get("/admin/tenants/acme/usage").await.body["requests"]["used"], 0);
    let again = ask(&house, &key).await;
    assert_eq!((again.header("idempotent-replayed"), again.header("x-gateway-cache")), ("", "miss"));
    assert_eq!(ask(&house, &other).await.header("idempotent-replayed"), "true");

    // One that was deleted is named by its uid, or by its id while nobody else has it.
    for name in [uid.as_str(), "acme"] {
        assert_eq!(house.ask("DELETE", "/admin/tenants/acme", None).await.status, 204);
        let erased = house.ask("DELETE", &format!("/admin/tenants/{name}/data"), None).await;
        assert_eq!(erased.body["erased"]["receipts"], 1, "by {name}: {}", erased.text);
        assert_eq!(rows(&house, "").await, [("other".to_owned(), 1)]);
        let key = house.acme().await.key;
        ask(&house, &key).await;
    }
    let erased = house.ask("DELETE", &format!("/admin/tenants/{uid}/data"), None).await;
    assert_eq!(erased.body["erased"]["receipts"], 0, "the present tenant is another: {}", erased.text);
}

//! ETags and `If-Match`: nobody's change is lost to somebody who had not seen it.

use crate::house::{House, Seen, request};
use gateway_core::directory::dynamodb::DynamoDirectory;
use gateway_core::dynamodb::Table;
use gateway_core::id::RequestId;
use serde_json::{Value, json};
use std::sync::Arc;
use test_servers::dynamodb::DynamoDbLocal;

async fn ask_if(house: &House, tag: &str, method: &str, path: &str, body: Option<Value>) -> Seen {
    let mut request = request(method, path, body);
    request.headers_mut().insert("if-match", tag.parse().unwrap());
    house.send(request).await
}

/// A tenant, a key of it, and an admin; and a change of each.
async fn things(house: &House) -> [(String, Value); 3] {
    let key = house.acme().await.id;
    let made = house.ask("POST", "/admin/admins", Some(json!({"name": "Ann", "role": "viewer"}))).await;
    assert_eq!(made.header("etag"), "\"1\"");
    let admin = made.body["id"].as_str().unwrap().to_owned();
    [
        ("/admin/tenants/acme".to_owned(), json!({"name": "changed"})),
        (format!("/admin/tenants/acme/keys/{key}"), json!({"expires_at_ms": null})),
        (format!("/admin/admins/{admin}"), json!({"name": "changed"})),
    ]
}

#[tokio::test]
async fn what_was_changed_since_it_was_read_is_neither_changed_nor_deleted() {
    let house = House::new().await;
    for (path, change) in things(&house).await {
        let read = house.get(&path).await;
        let (seen, body) = (read.header("etag").to_owned(), read.body);
        assert!(seen.starts_with('"') && seen.ends_with('"') && seen.len() > 2, "{path}: {seen}");
        assert_eq!(house.get(&path).await.header("etag"), seen, "{path}: it stays while nothing changes");
        let changed = ask_if(&house, &seen, "PATCH", &path, Some(change.clone())).await;
        assert_eq!(changed.status, 200, "{path}: {}", changed.text);
        let now = changed.header("etag").to_owned();
        assert_ne!(now, seen, "{path}");
        assert_eq!(house.get(&path).await.header("etag"), now, "{path}: the change tells the new one");
        let (before, audit) = (house.get(&path).await.body, house.audit().await);
        for stale in [&seen, &format!("W/{now}"), &format!("{seen}, W/{now}"), "\"\"", "\"0\"", "\"x\""] {
            for (method, body) in [("PATCH", Some(change.clone())), ("DELETE", None)] {
                let refused = ask_if(&house, stale, method, &path, body).await;
                assert_eq!(
                    refused.error(),
                    (412, "precondition_failed", Some("if-match")),
                    "{method} {path} if {stale}"
                );
            }
        }
        for unread in ["x", &now[1..], "*, *", &now.replace('"', "'")] {
            let refused = ask_if(&house, unread, "DELETE", &path, None).await;
            assert_eq!(refused.error(), (400, "invalid_request", Some("if-match")), "{path} if {unread}");
        }
        assert_eq!((house.get(&path).await.body, house.audit().await), (before, audit), "{path}: nothing was done");
        assert_ne!(body, Value::Null);
        let several = format!("{seen}, {now}");
        let changed = ask_if(&house, &several, "PATCH", &path, Some(change.clone())).await;
        assert_eq!(changed.status, 200, "{path}: one of several is enough");
        assert_eq!(ask_if(&house, "*", "PATCH", &path, Some(change.clone())).await.status, 200, "{path}");
        assert_eq!(house.ask("PATCH", &path, Some(change)).await.status, 200, "{path}: without it, as ever");
    }
    for path in ["/admin/tenants/nobody", "/admin/tenants/acme/keys/none", "/admin/admins/nobody"] {
        assert_eq!(
            ask_if(&house, "*", "DELETE", path, None).await.status,
            404,
            "{path}: what is not there is not there"
        );
    }
}

#[tokio::test]
async fn a_thing_is_deleted_as_it_was_read() {
    let house = House::new().await;
    for (path, _) in things(&house).await.iter().rev() {
        let tag = house.get(path).await.header("etag").to_owned();
        assert_eq!(ask_if(&house, &tag, "DELETE", path, None).await.status, 204, "{path}");
        assert_eq!(house.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_tenant_is_the_same_after_its_keys_changed_and_another_after_it_was_made_anew() {
    let house = House::new().await;
    let made = house.acme().await;
    let tag = house.get("/admin/tenants/acme").await.header("etag").to_owned();
    house.key("acme").await;
    house.ask("PATCH", &format!("/admin/tenants/acme/keys/{}", made.id), Some(json!({"expires_at_ms": null}))).await;
    assert_eq!(house.get("/admin/tenants/acme").await.header("etag"), tag);
    let patched = ask_if(&house, &tag, "PATCH", "/admin/tenants/acme", Some(json!({"quality": 0.7}))).await;
    assert_eq!(patched.status, 200, "{}", patched.text);
    house.ask("DELETE", "/admin/tenants/acme", None).await;
    house.clock.advance(1000);
    house.acme().await;
    for old in [tag.as_str(), patched.header("etag")] {
        assert_eq!(ask_if(&house, old, "PATCH", "/admin/tenants/acme", Some(json!({}))).await.status, 412);
    }
}

/// How many edits two operators make at once.
const EDITS: usize = 1000;

/// Counts one of a tenant's limits up, from what was read to one more, until it is accepted.
async fn count_up(house: &House) {
    loop {
        let read = house.get("/admin/tenants/acme").await;
        let next = read.body["limits"]["daily_requests"].as_u64().unwrap() + 1;
        let body = json!({"limits": {"daily_requests": next}});
        let changed = ask_if(house, read.header("etag"), "PATCH", "/admin/tenants/acme", Some(body)).await;
        match changed.status {
            200 => return,
            412 | 409 => {}
            other => panic!("{other} {}", changed.text),
        }
    }
}

/// Two operators count the same number up; each also sets a field of its own, without `If-Match`.
async fn two_operators(house: House) {
    house.tenant("acme", json!({"limits": {"daily_requests": 0}})).await;
    let house = Arc::new(house);
    let operators = ["daily_tokens", "concurrency"].map(|own| {
        let house = house.clone();
        async move {
            for n in 1..=EDITS / 4 {
                count_up(&house).await;
                loop {
                    let body = json!({"limits": {own: n}});
                    match house.ask("PATCH", "/admin/tenants/acme", Some(body)).await.status {
                        200 => break,
                        409 => {}
                        other => panic!("{other}"),
                    }
                }
            }
        }
    });
    let mut running = tokio::task::JoinSet::new();
    operators.into_iter().for_each(|operator| drop(running.spawn(operator)));
    running.join_all().await;
    let limits = &house.get("/admin/tenants/acme").await.body["limits"];
    assert_eq!(limits["daily_requests"], EDITS / 2, "each count is there");
    assert_eq!((&limits["daily_tokens"], &limits["concurrency"]), (&json!(EDITS / 4), &json!(EDITS / 4)));
    let (mut entries, mut cursor) = (0, String::new());
    loop {
        let page = house.get(&format!("/admin/audit?limit=1000&cursor={cursor}")).await.body;
        entries += page["data"].as_array().unwrap().len();
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(entries, EDITS + 1, "an entry of each change and of nothing else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_lose_none_of_a_thousand_edits_on_disk() {
    two_operators(House::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_lose_none_of_a_thousand_edits_in_dynamodb() {
    let url = DynamoDbLocal::shared().await.unwrap().url();
    let table = Table::at_emulator(&url, &RequestId::new(0).to_string()).await.unwrap();
    // The emulator's first call may take longer than a call is given.
    let mut made = table.create().await;
    for _ in 0..5 {
        if made.is_err() {
            made = table.create().await;
        }
    }
    made.unwrap();
    two_operators(House::built(|builder| builder, |_| Arc::new(DynamoDirectory::new(table))).await).await;
}

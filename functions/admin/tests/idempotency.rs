//! `idempotency-key`: what is sent again is done once and answered the same.

use crate::house::{DAY_MS, House, Seen, files, request_as};
use crate::house::{HOUR_MS, TOKEN};
use serde_json::{Value, json};
use std::fs;

async fn post(house: &House, token: &str, key: &str, path: &str, body: Option<Value>) -> Seen {
    let mut request = request_as(token, "POST", path, body);
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    house.send(request).await
}

#[tokio::test]
async fn what_is_made_is_made_once_and_answered_the_same() {
    let house = House::new().await;
    let made = house.acme().await;
    let admin = house.ask("POST", "/admin/admins", Some(json!({"name": "Bob", "role": "viewer"}))).await.body;
    let admin = admin["id"].as_str().unwrap();
    for (n, (path, body)) in [
        ("/admin/tenants".to_owned(), Some(json!({"id": "new"}))),
        ("/admin/tenants/acme/keys".to_owned(), Some(json!({"name": "ci"}))),
        ("/admin/tenants/acme/keys".to_owned(), None),
        (format!("/admin/tenants/acme/keys/{}/rotate", made.id), None),
        ("/admin/admins".to_owned(), Some(json!({"name": "Ann", "role": "viewer"}))),
        (format!("/admin/admins/{admin}/rotate"), None),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("deploy-{n}");
        let first = post(&house, TOKEN, &key, &path, body.clone()).await;
        assert_eq!((first.status, first.header("idempotent-replayed")), (201, ""), "{path}: {}", first.text);
        let audit = house.audit().await;
        house.clock.advance(HOUR_MS);
        let again = post(&house, TOKEN, &key, &path, body.clone()).await;
        assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"), "{path}: {}", again.text);
        assert_eq!((&again.body, again.header("etag")), (&first.body, first.header("etag")), "{path}");
        assert_ne!(again.header("x-request-id"), first.header("x-request-id"), "{path}");
        assert_eq!(house.audit().await, audit, "{path}: nothing was done");
        if let Some(key) = first.body["key"].as_str() {
            assert_eq!(house.chat(key, "sim/cheap", &path).await.status, 200, "{path}: the key works");
        }
        if let Some(token) = first.body["token"].as_str() {
            assert_eq!(house.send(request_as(token, "GET", "/admin/me", None)).await.status, 200, "{path}");
        }
        let other = post(&house, TOKEN, &key, &path, Some(json!({"name": "other"}))).await;
        assert_eq!(other.error(), (422, "idempotency_mismatch", Some("idempotency-key")), "{path}");
        let elsewhere = post(&house, TOKEN, &key, "/admin/tenants/other/keys", body).await;
        assert_eq!(elsewhere.status, 422, "{path}: the same body for something else");
    }
}

#[tokio::test]
async fn a_key_is_one_admins_own_and_is_forgotten_after_a_day() {
    let house = House::new().await;
    house.acme().await;
    let made = house.ask("POST", "/admin/admins", Some(json!({"name": "Ann", "role": "operator"}))).await.body;
    let ann = made["token"].as_str().unwrap();
    let path = "/admin/tenants/acme/keys";
    let first = post(&house, TOKEN, "k", path, None).await.body;
    let hers = post(&house, ann, "k", path, None).await;
    assert_eq!((hers.status, hers.header("idempotent-replayed")), (201, ""));
    assert_ne!(hers.body["key"], first["key"]);
    house.clock.advance(DAY_MS + 1);
    let later = post(&house, TOKEN, "k", path, None).await;
    assert_eq!((later.status, later.header("idempotent-replayed")), (201, ""));
    assert_ne!(later.body["key"], first["key"], "another secret, for the first may be revoked by now");
}

#[tokio::test]
async fn what_was_refused_can_be_sent_again_and_a_revoked_key_stays_revoked() {
    let house = House::new().await;
    house.acme().await;
    let path = "/admin/tenants/acme/keys";
    let refused = post(&house, TOKEN, "a", path, Some(json!({"nme": "ci"}))).await;
    assert_eq!(refused.error(), (400, "invalid_request", Some("nme")));
    let made = post(&house, TOKEN, "a", path, Some(json!({"name": "ci"}))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let (id, key) = (made.body["id"].as_str().unwrap(), made.body["key"].as_str().unwrap());
    assert_eq!(house.ask("DELETE", &format!("{path}/{id}"), None).await.status, 204);
    let again = post(&house, TOKEN, "a", path, Some(json!({"name": "ci"}))).await;
    assert_eq!(again.body["key"], key, "it says what was done");
    assert_eq!(house.chat(key, "sim/cheap", "hi").await.status, 401, "and does nothing");
    for wrong in ["", &"k".repeat(256)] {
        let refused = post(&house, TOKEN, wrong, path, None).await;
        assert_eq!(refused.error(), (400, "invalid_request", Some("idempotency-key")), "{} characters", wrong.len());
    }
}

#[tokio::test]
async fn a_secret_that_can_be_answered_again_is_kept_nowhere() {
    let house = House::new().await;
    house.acme().await;
    let made = post(&house, TOKEN, "k", "/admin/tenants/acme/keys", None).await.body;
    let admin = post(&house, TOKEN, "l", "/admin/admins", Some(json!({"name": "Ann", "role": "owner"}))).await.body;
    for secret in [&made["key"].as_str().unwrap()[12..40], &admin["token"].as_str().unwrap()[13..41]] {
        for file in files(&house.folder) {
            let bytes = fs::read(&file).unwrap();
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{}", file.display());
        }
    }
}

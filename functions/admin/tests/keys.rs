//! Keys: shown once, revoked at once, rotated with grace.

use crate::house::{DAY_MS, HOUR_MS, House, KEPT_MS, NOON_MS, fields, files};
use serde_json::{Value, json};
use std::fs;

#[tokio::test]
async fn a_key_is_answered_as_the_contract_shows_it_and_works() {
    let house = House::new().await;
    house.tenant("acme", json!({})).await;
    let body = json!({"name": "ci", "expires_at_ms": null});
    let made = house.ask("POST", "/admin/tenants/acme/keys", Some(body)).await;
    assert_eq!(made.status, 201);
    assert_eq!(fields(&made.body), ["created_at_ms", "expires_at_ms", "id", "key", "last4", "prefix"]);
    let key = made.body["key"].as_str().unwrap();
    assert_eq!(
        (key.len(), made.body["prefix"].as_str(), made.body["last4"].as_str()),
        (44, key.get(..12), key.get(40..))
    );
    assert_eq!((&made.body["created_at_ms"], &made.body["expires_at_ms"]), (&json!(NOON_MS), &json!(null)));
    let answer = house.chat(key, "sim/cheap", "hello").await;
    assert_eq!(answer.status, 200, "{}", answer.text);

    let id = &made.body["id"];
    let expected = json!({"id": id, "name": "ci", "prefix": key[..12], "last4": key[40..], "created_at_ms": NOON_MS, "expires_at_ms": null,
        "allowed_models": null, "limits": null});
    let list = house.get("/admin/tenants/acme/keys").await;
    assert_eq!((list.status, list.body), (200, json!({"data": [expected], "next": null})));
}

#[tokio::test]
async fn a_key_needs_no_body_and_is_then_named_by_its_id() {
    let house = House::new().await;
    house.tenant("acme", json!({})).await;
    let made = house.ask("POST", "/admin/tenants/acme/keys", None).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let list = house.get("/admin/tenants/acme/keys").await.body;
    assert_eq!(list["data"][0]["name"], made.body["id"]);
}

#[tokio::test]
async fn a_revoked_key_stops_with_the_next_request_and_others_go_on() {
    let house = House::new().await;
    let (one, two) = (house.acme().await, house.key("acme").await);
    for made in [&one, &two] {
        assert_eq!(house.chat(&made.key, "sim/cheap", "before").await.status, 200);
    }
    let path = format!("/admin/tenants/acme/keys/{}", one.id);
    let revoked = house.ask("DELETE", &path, None).await;
    assert_eq!((revoked.status, revoked.text.as_str()), (204, ""));
    assert_eq!(house.chat(&one.key, "sim/cheap", "after").await.error(), (401, "invalid_api_key", None));
    assert_eq!(house.chat(&two.key, "sim/cheap", "after").await.status, 200);
    assert_eq!(house.ask("DELETE", &path, None).await.status, 404);
    assert_eq!(house.get("/admin/tenants/acme/keys").await.body["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_tenants_key_is_not_revoked_through_another_tenant() {
    let house = House::new().await;
    let acme = house.acme().await;
    house.tenant("other", json!({})).await;
    for (method, path, body) in [
        ("DELETE", format!("/admin/tenants/other/keys/{}", acme.id), None),
        ("PATCH", format!("/admin/tenants/other/keys/{}", acme.id), Some(json!({"expires_at_ms": 5}))),
        ("POST", format!("/admin/tenants/other/keys/{}/rotate", acme.id), None),
    ] {
        assert_eq!(house.ask(method, &path, body).await.status, 404, "{method} {path}");
    }
    assert_eq!(house.chat(&acme.key, "sim/cheap", "hello").await.status, 200);
}

#[tokio::test]
async fn an_expiry_can_be_set_brought_forward_and_taken_away() {
    let house = House::new().await;
    let made = house.acme().await;
    let path = format!("/admin/tenants/acme/keys/{}", made.id);
    let patch = async |body: Value| house.ask("PATCH", &path, Some(body)).await;
    let status = async |text: &str| house.chat(&made.key, "sim/cheap", text).await.status;
    assert_eq!(status("1").await, 200);
    let seen = patch(json!({"expires_at_ms": NOON_MS + HOUR_MS})).await;
    assert_eq!((seen.status, &seen.body["expires_at_ms"]), (200, &json!(NOON_MS + HOUR_MS)));
    assert_eq!(
        fields(&seen.body),
        ["allowed_models", "created_at_ms", "expires_at_ms", "id", "last4", "limits", "name", "prefix"]
    );
    assert_eq!(status("2").await, 200);
    house.clock.advance(HOUR_MS - 1);
    assert_eq!(status("3").await, 200);
    house.clock.advance(1);
    assert_eq!(status("4").await, 401);
    patch(json!({"expires_at_ms": null})).await;
    house.clock.advance(KEPT_MS);
    assert_eq!(status("5").await, 200);
    patch(json!({"expires_at_ms": 1})).await;
    assert_eq!(status("6").await, 401);
    assert_eq!(patch(json!({"expires_at_ms": "default"})).await.body["expires_at_ms"], Value::Null);
    house.clock.advance(KEPT_MS);
    assert_eq!(status("7").await, 200);
}

#[tokio::test]
async fn a_rotated_key_goes_on_for_its_grace_and_no_longer() {
    for (body, grace_ms) in [
        (None, DAY_MS),
        (Some(json!({})), DAY_MS),
        (Some(json!({"grace_ms": null})), DAY_MS),
        (Some(json!({"grace_ms": 60_000})), 60_000),
        (Some(json!({"grace_ms": 0})), 0),
    ] {
        let house = House::new().await;
        let old = house.acme().await;
        assert_eq!(house.chat(&old.key, "sim/cheap", "before").await.status, 200);
        let rotated = house.ask("POST", &format!("/admin/tenants/acme/keys/{}/rotate", old.id), body.clone()).await;
        assert_eq!(rotated.status, 201, "{}", rotated.text);
        assert_eq!(fields(&rotated.body), ["created_at_ms", "expires_at_ms", "id", "key", "last4", "prefix"]);
        assert_eq!(rotated.body["expires_at_ms"], Value::Null);
        let new = rotated.body["key"].as_str().unwrap();
        let status = async |key: &str, text: &str| house.chat(key, "sim/cheap", text).await.status;
        assert_eq!(status(new, "new").await, 200, "{body:?}");
        if grace_ms > 0 {
            house.clock.advance(grace_ms - 1);
            assert_eq!(status(&old.key, "in grace").await, 200, "{body:?}");
            house.clock.advance(1);
        }
        assert_eq!(status(&old.key, "after").await, 401, "{body:?}");
        assert_eq!(status(new, "after").await, 200, "{body:?}");
        let list = house.get("/admin/tenants/acme/keys").await.body;
        let row = |id: &str| list["data"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone();
        assert_eq!(row(&old.id)["expires_at_ms"], NOON_MS + grace_ms, "{body:?}");
        assert_eq!(row(rotated.body["id"].as_str().unwrap())["name"], "ci", "{body:?}");
    }
}

#[tokio::test]
async fn rotation_neither_lengthens_the_old_key_nor_makes_the_new_one_endless() {
    let house = House::new().await;
    let old = house.acme().await;
    let path = format!("/admin/tenants/acme/keys/{}", old.id);
    house.ask("PATCH", &path, Some(json!({"expires_at_ms": NOON_MS + HOUR_MS}))).await;
    let rotated = house.ask("POST", &format!("{path}/rotate"), None).await;
    assert_eq!(rotated.body["expires_at_ms"], NOON_MS + HOUR_MS);
    let list = house.get("/admin/tenants/acme/keys").await.body;
    let ends = |place: usize| list["data"][place]["expires_at_ms"].as_u64().unwrap();
    assert_eq!((ends(0), ends(1)), (NOON_MS + HOUR_MS, NOON_MS + HOUR_MS));
    let body = json!({"expires_at_ms": NOON_MS + DAY_MS});
    let said = house.ask("POST", &format!("{path}/rotate"), Some(body)).await;
    assert_eq!(said.body["expires_at_ms"], NOON_MS + DAY_MS);
    // What ends later than the grace ends with the grace.
    house.ask("PATCH", &path, Some(json!({"expires_at_ms": NOON_MS + DAY_MS}))).await;
    house.ask("POST", &format!("{path}/rotate"), Some(json!({"grace_ms": HOUR_MS}))).await;
    let list = house.get("/admin/tenants/acme/keys").await.body;
    let row = list["data"].as_array().unwrap().iter().find(|row| row["id"] == *old.id).unwrap();
    assert_eq!(row["expires_at_ms"], NOON_MS + HOUR_MS);
    house.clock.advance(HOUR_MS);
    assert_eq!(house.ask("POST", &format!("{path}/rotate"), None).await.error(), (409, "conflict", None));
}

#[tokio::test]
async fn a_key_is_shown_once_and_is_nowhere_after_that() {
    let house = House::new().await;
    let made = house.acme().await;
    let path = format!("/admin/tenants/acme/keys/{}", made.id);
    let rotated = house.ask("POST", &format!("{path}/rotate"), None).await.body["key"].as_str().unwrap().to_owned();
    let answer = house.chat(&rotated, "sim/cheap", "hello").await;
    let id = answer.header("x-request-id").to_owned();
    for path in [
        "/admin/tenants",
        "/admin/tenants/acme",
        "/admin/tenants/acme/keys",
        "/admin/tenants/acme/usage",
        "/admin/usage",
        "/admin/usage?format=csv",
        "/admin/metrics",
        "/admin/models",
        "/admin/audit",
        &format!("/admin/receipts/{id}?tenant=acme"),
    ] {
        assert_eq!(house.get(path).await.status, 200, "{path}");
    }
    house.ask("PATCH", &path, Some(json!({"expires_at_ms": null}))).await;
    house.ask("POST", "/admin/tenants/acme/keys", Some(json!({"key": made.key}))).await;
    house.ask("DELETE", &path, None).await;
    house.get("/admin/audit").await;

    let said = house.said.lock().unwrap();
    for key in [&made.key, &rotated] {
        // The characters between those that may be shown are the secret.
        let secret = &key[12..40];
        let shows_it =
            |seen: &&crate::house::Seen| seen.text.contains(secret) || format!("{:?}", seen.headers).contains(secret);
        assert_eq!(said.iter().filter(shows_it).count(), 1, "{key} is told once");
        let hash = house.gateway.hasher.hash(key).hex();
        assert!(said.iter().all(|seen| !seen.text.contains(&hash[..16])), "the hash of {key} is told");
        let files = files(&house.folder);
        assert!(files.len() >= 3, "{files:?}");
        for file in files {
            let bytes = fs::read(&file).unwrap();
            assert!(
                !bytes.windows(secret.len()).any(|part| part == secret.as_bytes()),
                "{key} is in {}",
                file.display()
            );
        }
    }
    let token = crate::house::TOKEN;
    assert!(said.iter().all(|seen| !seen.text.contains(token)));
}

#[tokio::test]
async fn a_second_rotation_keeps_the_keys_own_expiry_and_lengthens_no_grace() {
    let house = House::new().await;
    for own in [None, Some(NOON_MS + 10 * DAY_MS), Some(NOON_MS + HOUR_MS / 2)] {
        let id = house.tenant("acme", json!({})).await["id"].as_str().unwrap().to_owned();
        let body = json!({"name": "ci", "expires_at_ms": own});
        let old = house.ask("POST", &format!("/admin/tenants/{id}/keys"), Some(body)).await.body;
        let path = format!("/admin/tenants/acme/keys/{}", old["id"].as_str().unwrap());
        let rotate = async |grace_ms: u64| {
            let made = house.ask("POST", &format!("{path}/rotate"), Some(json!({"grace_ms": grace_ms}))).await;
            assert_eq!((made.status, &made.body["expires_at_ms"]), (201, &json!(own)), "the key's own expiry");
            let list = house.get("/admin/tenants/acme/keys").await.body;
            let row = list["data"].as_array().unwrap().iter().find(|row| row["id"] == old["id"]).unwrap();
            row["expires_at_ms"].as_u64().unwrap()
        };
        let ends = |at_ms: u64| own.unwrap_or(u64::MAX).min(at_ms);
        assert_eq!(rotate(HOUR_MS).await, ends(NOON_MS + HOUR_MS), "the grace");
        assert_eq!(rotate(2 * HOUR_MS).await, ends(NOON_MS + HOUR_MS), "a longer one makes it no longer");
        assert_eq!(rotate(HOUR_MS / 4).await, ends(NOON_MS + HOUR_MS / 4), "a shorter one shorter");
        // Who sets an expiry means it, grace or not.
        let set = house.ask("PATCH", &path, Some(json!({"expires_at_ms": null}))).await;
        assert_eq!(set.body["expires_at_ms"], json!(null));
        house.ask("DELETE", "/admin/tenants/acme", None).await;
    }
}

#[tokio::test]
async fn a_key_may_be_bound_to_some_of_its_tenants_models() {
    let house = House::new().await;
    house.tenant("acme", json!({"allowed_models": ["sim/*", "auto"]})).await;
    let make = async |models: Value| {
        house.ask("POST", "/admin/tenants/acme/keys", Some(json!({"allowed_models": models}))).await
    };
    for wider in ["*", "si*", "groq/x", "reasoning"] {
        let refused = make(json!(["sim/cheap", wider])).await;
        assert_eq!(refused.error(), (400, "invalid_request", Some("allowed_models")), "{wider}");
        assert!(refused.text.contains(&format!("`{wider}` is wider")), "{}", refused.text);
    }
    for odd in [json!("sim/cheap"), json!([7]), json!([""]), json!(["x".repeat(201)]), json!(vec!["sim/a"; 101])] {
        assert_eq!(make(odd.clone()).await.error().2, Some("allowed_models"), "{odd}");
    }
    let made = make(json!(["sim/ch*"])).await.body;
    let (path, key) =
        (format!("/admin/tenants/acme/keys/{}", made["id"].as_str().unwrap()), made["key"].as_str().unwrap());
    let status = async |model: &str| house.chat(key, model, model).await.error().0;
    let whole = house.key("acme").await.key;
    assert_eq!((status("sim/cheap").await, status("sim/reasoning").await, status("auto").await), (200, 403, 403));
    assert_eq!(house.chat(&whole, "sim/reasoning", "x").await.status, 200, "another key of the tenant");
    assert_eq!(house.get(&path).await.body["allowed_models"], json!(["sim/ch*"]));
    // Its successor is bound as it is, and a change of models leaves the expiry.
    let rotated = house.ask("POST", &format!("{path}/rotate"), None).await.body;
    assert_eq!(house.chat(rotated["key"].as_str().unwrap(), "sim/reasoning", "y").await.status, 403);
    let ends = house.get(&path).await.body["expires_at_ms"].clone();
    let patched = house.ask("PATCH", &path, Some(json!({"allowed_models": ["sim/reasoning"]}))).await;
    assert_eq!((patched.status, &patched.body["expires_at_ms"]), (200, &ends), "{}", patched.text);
    assert_eq!((status("sim/cheap").await, status("sim/reasoning").await), (403, 200), "at once");
    // When the tenant may less, the key may less.
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"allowed_models": ["sim/cheap"]}))).await;
    assert_eq!((status("sim/cheap").await, status("sim/reasoning").await), (403, 403));
    house.ask("PATCH", &path, Some(json!({"allowed_models": null}))).await;
    house.clock.advance(KEPT_MS);
    assert_eq!((status("sim/cheap").await, status("sim/reasoning").await), (200, 403));
    assert_eq!(house.ask("PATCH", &path, Some(json!({}))).await.error().2, Some("expires_at_ms"));
}

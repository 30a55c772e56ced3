//! Named admins: roles, tokens that end, and who did what from where.

use crate::house::{DAY_MS, HOUR_MS, House, NOON_MS, Seen, TOKEN, fields, files, request_as};
use axum::body::Body;
use gateway_host::client::ClientAddress;
use http::Request;
use serde_json::{Value, json};
use std::fs;
use std::net::IpAddr;

/// Makes an admin; answers the id and the token.
async fn admin(house: &House, role: &str) -> (String, String) {
    let made = house.ask("POST", "/admin/admins", Some(json!({"name": role, "role": role}))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

async fn ask_as(house: &House, token: &str, method: &str, path: &str, body: Option<Value>) -> Seen {
    house.send(request_as(token, method, path, body)).await
}

async fn status(house: &House, token: &str) -> u16 {
    ask_as(house, token, "GET", "/admin/me", None).await.status
}

#[tokio::test]
async fn an_admin_is_made_shown_changed_and_deleted() {
    let house = House::new().await;
    assert_eq!(house.get("/admin/admins").await.body, json!({"data": [], "next": null}));
    let made = house.ask("POST", "/admin/admins", Some(json!({"name": "Ann", "role": "operator"}))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let token = made.body["token"].as_str().unwrap();
    assert_eq!((token.len(), &token[..9]), (45, "gw_admin_"));
    let id = made.body["id"].as_str().unwrap();
    let expected = json!({"id": id, "name": "Ann", "role": "operator", "prefix": token[..13], "last4": token[41..],
        "created_at_ms": NOON_MS, "expires_at_ms": NOON_MS + 90 * DAY_MS});
    let path = format!("/admin/admins/{id}");
    assert_eq!(house.get(&path).await.body, expected);
    assert_eq!(house.get("/admin/admins").await.body, json!({"data": [expected], "next": null}));
    let me = ask_as(&house, token, "GET", "/admin/me", None).await.body;
    assert_eq!(me, json!({"id": id, "name": "Ann", "role": "operator", "expires_at_ms": NOON_MS + 90 * DAY_MS}));
    assert_eq!(house.get("/admin/me").await.body["id"], "bootstrap");
    let patch = json!({"name": "Anna", "role": "viewer", "expires_at_ms": null});
    let patched = house.ask("PATCH", &path, Some(patch)).await;
    assert_eq!((patched.status, &patched.body["name"], &patched.body["role"]), (200, &json!("Anna"), &json!("viewer")));
    assert_eq!(patched.body["expires_at_ms"], Value::Null);
    let patched = house.ask("PATCH", &path, Some(json!({"expires_at_ms": "default"}))).await;
    assert_eq!(patched.body["expires_at_ms"], NOON_MS + 90 * DAY_MS);
    assert_eq!(patched.body["role"], "viewer", "what is not said stays");
    assert_eq!(house.ask("DELETE", &path, None).await.status, 204);
    for (method, path) in
        [("GET", path.clone()), ("PATCH", path.clone()), ("DELETE", path.clone()), ("POST", path + "/rotate")]
    {
        assert_eq!(house.ask(method, &path, Some(json!({}))).await.status, 404, "{method} {path}");
    }
    // The bootstrap owner is in no directory, so nobody can lock everybody out.
    assert_eq!(house.ask("DELETE", "/admin/admins/bootstrap", None).await.status, 404);
    let audit = house.audit().await;
    let of_admins: Vec<&str> = audit.iter().filter_map(|entry| entry.split(' ').next()).collect();
    assert_eq!(of_admins, ["admin.delete", "admin.update", "admin.update", "admin.create"]);
}

#[tokio::test]
async fn what_does_not_fit_an_admin_is_refused_by_its_field() {
    let house = House::new().await;
    let (id, _) = admin(&house, "viewer").await;
    for (body, param) in [
        (json!({"role": "owner"}), "name"),
        (json!({"name": "", "role": "owner"}), "name"),
        (json!({"name": "Ann"}), "role"),
        (json!({"name": "Ann", "role": "Owner"}), "role"),
        (json!({"name": "Ann", "role": "root"}), "role"),
        (json!({"name": "Ann", "role": ["owner"]}), "role"),
        (json!({"name": "Ann", "role": "owner", "expires_at_ms": NOON_MS}), "expires_at_ms"),
        (json!({"name": "Ann", "role": "owner", "expires_at_ms": "soon"}), "expires_at_ms"),
        (json!({"name": "Ann", "role": "owner", "token": "gw_admin_mine"}), "token"),
        (json!({"name": "Ann", "role": "owner", "id": "bootstrap"}), "id"),
    ] {
        let refused = house.ask("POST", "/admin/admins", Some(body.clone())).await;
        assert_eq!(refused.error(), (400, "invalid_request", Some(param)), "{body}");
    }
    for (body, param) in [(json!({"role": null}), "role"), (json!({"hash": "x"}), "hash"), (json!({"name": 1}), "name")]
    {
        let refused = house.ask("PATCH", &format!("/admin/admins/{id}"), Some(body.clone())).await;
        assert_eq!(refused.error(), (400, "invalid_request", Some(param)), "{body}");
    }
    assert_eq!(house.audit().await.len(), 1);
}

#[tokio::test]
async fn who_is_deleted_demoted_rotated_or_expired_is_so_with_the_next_request() {
    let house = House::new().await;
    let change =
        async |token: &str| ask_as(&house, token, "POST", "/admin/tenants", Some(json!({"id": "x"}))).await.status;
    let (id, token) = admin(&house, "operator").await;
    let path = format!("/admin/admins/{id}");
    assert_eq!(change(&token).await, 201);
    house.ask("PATCH", &path, Some(json!({"role": "viewer"}))).await;
    assert_eq!((change(&token).await, status(&house, &token).await), (403, 200), "demoted");
    house.ask("PATCH", &path, Some(json!({"expires_at_ms": NOON_MS + HOUR_MS}))).await;
    let rotated = house.ask("POST", &format!("{path}/rotate"), None).await;
    assert_eq!(rotated.status, 201, "{}", rotated.text);
    let new = rotated.body["token"].as_str().unwrap();
    assert_eq!((status(&house, &token).await, status(&house, new).await), (401, 200), "rotated");
    assert_eq!((&rotated.body["role"], &rotated.body["expires_at_ms"]), (&json!("viewer"), &json!(NOON_MS + HOUR_MS)));
    house.clock.advance(HOUR_MS - 1);
    assert_eq!(status(&house, new).await, 200);
    house.clock.advance(1);
    assert_eq!(status(&house, new).await, 401, "expired");
    let refused = house.ask("POST", &format!("{path}/rotate"), None).await;
    assert_eq!(refused.error(), (400, "invalid_request", Some("expires_at_ms")), "a new token would be expired too");
    let rotated = house.ask("POST", &format!("{path}/rotate"), Some(json!({"expires_at_ms": "default"}))).await;
    let new = rotated.body["token"].as_str().unwrap();
    assert_eq!(status(&house, new).await, 200);
    assert_eq!(house.ask("DELETE", &path, None).await.status, 204);
    assert_eq!(status(&house, new).await, 401, "deleted");
    assert_eq!(status(&house, TOKEN).await, 200, "the bootstrap owner is always there");
}

/// Every route with every method that it has, the least role that may ask it, and the status that such a role gets.
const TABLE: &[(&str, &str, &str)] = &[
    ("GET", "/admin/tenants", "viewer"),
    ("HEAD", "/admin/tenants", "viewer"),
    ("POST", "/admin/tenants", "operator"),
    ("GET", "/admin/tenants/acme", "viewer"),
    ("PATCH", "/admin/tenants/acme", "operator"),
    ("DELETE", "/admin/tenants/acme", "operator"),
    ("DELETE", "/admin/tenants/acme/cache", "operator"),
    ("DELETE", "/admin/tenants/acme/data", "operator"),
    ("GET", "/admin/tenants/acme/usage", "viewer"),
    ("GET", "/admin/tenants/acme/keys", "viewer"),
    ("POST", "/admin/tenants/acme/keys", "operator"),
    ("GET", "/admin/tenants/acme/keys/KEY", "viewer"),
    ("PATCH", "/admin/tenants/acme/keys/KEY", "operator"),
    ("DELETE", "/admin/tenants/acme/keys/KEY", "operator"),
    ("POST", "/admin/tenants/acme/keys/KEY/rotate", "operator"),
    ("GET", "/admin/admins", "viewer"),
    ("HEAD", "/admin/admins", "viewer"),
    ("POST", "/admin/admins", "owner"),
    ("GET", "/admin/admins/ADMIN", "viewer"),
    ("PATCH", "/admin/admins/ADMIN", "owner"),
    ("DELETE", "/admin/admins/ADMIN", "owner"),
    ("POST", "/admin/admins/ADMIN/rotate", "owner"),
    ("GET", "/admin/me", "viewer"),
    ("POST", "/admin/route?tenant=acme", "viewer"),
    ("GET", "/admin/replay", "viewer"),
    ("GET", "/admin/alerts", "viewer"),
    ("POST", "/admin/alerts/test", "operator"),
    ("GET", "/admin/usage", "viewer"),
    ("GET", "/admin/usage?format=csv", "viewer"),
    ("GET", "/admin/metrics", "viewer"),
    ("GET", "/metrics", "viewer"),
    ("GET", "/admin/models", "viewer"),
    ("GET", "/admin/receipts", "viewer"),
    ("GET", "/admin/receipts/01ARZ3NDEKTSV4RRFFQ69G5FAV?tenant=acme", "viewer"),
    ("GET", "/admin/audit", "viewer"),
    ("GET", "/admin/nothing", "viewer"),
    // What changes something is closed to viewers, known or not.
    ("POST", "/admin/nothing", "operator"),
    ("PUT", "/admin/tenants", "operator"),
    ("OPTIONS", "/admin/tenants", "operator"),
];

#[tokio::test]
async fn every_route_and_method_asks_for_its_role() {
    const ROLES: [&str; 3] = ["viewer", "operator", "owner"];
    let rank = |role: &str| ROLES.iter().position(|known| *known == role).unwrap();
    for role in ROLES {
        for &(method, path, needed) in TABLE {
            let house = House::new().await;
            let made = house.acme().await;
            let ((id, _), (_, token)) = (admin(&house, "viewer").await, admin(&house, role).await);
            let path = path.replace("KEY", &made.id).replace("ADMIN", &id);
            let before = house.audit().await;
            let body = (!matches!(method, "GET" | "HEAD")).then(|| json!({"name": "x"}));
            let seen = ask_as(&house, &token, method, &path, body).await;
            let asked = format!("{method} {path} as {role}");
            if rank(role) >= rank(needed) {
                assert!(!matches!(seen.status, 401 | 403 | 500..), "{asked}: {} {}", seen.status, seen.text);
                continue;
            }
            assert_eq!(seen.error(), (403, "role_needed", None), "{asked}");
            let message = format!("This needs the role {needed}; yours is {role}.");
            assert_eq!(seen.body["error"]["message"], message, "{asked}");
            assert_eq!(house.audit().await, before, "{asked}: nothing was done");
        }
    }
}

#[tokio::test]
async fn every_field_asks_for_its_role() {
    const ROLES: [&str; 3] = ["viewer", "operator", "owner"];
    for (place, role) in ROLES.into_iter().enumerate() {
        let house = House::new().await;
        let (made, (id, _), (_, token)) =
            (house.acme().await, admin(&house, "viewer").await, admin(&house, role).await);
        let key = format!("/admin/tenants/acme/keys/{}", made.id);
        for (path, needed) in [("/admin/tenants/acme", 1), (&key, 1), (&format!("/admin/admins/{id}"), 2)] {
            let mut changed = 0;
            for (field, value) in house.get(path).await.body.as_object().unwrap() {
                let before = house.get(path).await;
                let seen = ask_as(&house, &token, "PATCH", path, Some(json!({field: value}))).await;
                let asked = format!("{field} of {path} as {role}: {} {}", seen.status, seen.text);
                if place >= needed {
                    // What cannot be changed is not a matter of the role.
                    assert!(matches!(seen.status, 200 | 400), "{asked}");
                    changed += u32::from(seen.status == 200);
                } else {
                    assert_eq!(seen.error(), (403, "role_needed", None), "{asked}");
                    let after = house.get(path).await;
                    assert_eq!((after.header("etag"), &after.body), (before.header("etag"), &before.body), "{asked}");
                }
            }
            assert!(place < needed || changed > 1, "{path} as {role}: {changed}");
        }
    }
}

#[tokio::test]
async fn no_way_of_writing_a_path_gets_around_a_role() {
    let house = House::new().await;
    let (id, operator) = admin(&house, "operator").await;
    for path in [
        "/admin/admins",
        "/admin//admins",
        "/admin/admins/",
        "/admin/%61dmins",
        "/admin/./admins",
        "/ADMIN/admins",
        "/admin/tenants/../admins",
        "/admin/admins?x=/admin/tenants",
    ] {
        let seen = ask_as(&house, &operator, "POST", path, Some(json!({"name": "Eve", "role": "owner"}))).await;
        assert!(matches!(seen.status, 403 | 404), "{path}: {}", seen.text);
    }
    let itself = format!("/admin/admins/{id}");
    assert_eq!(ask_as(&house, &operator, "PATCH", &itself, Some(json!({"role": "owner"}))).await.status, 403);
    let mut overridden = request_as(&operator, "POST", &itself, Some(json!({"role": "owner"})));
    overridden.headers_mut().insert("x-http-method-override", "PATCH".parse().unwrap());
    assert!(matches!(house.send(overridden).await.status, 403 | 405));
    assert_eq!(house.get("/admin/admins").await.body["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_audit_log_says_who_from_where_and_no_secret() {
    let house = House::new().await;
    let (id, token) = admin(&house, "operator").await;
    let mut asked = request_as(&token, "POST", "/admin/tenants", Some(json!({"id": "acme"})));
    asked.headers_mut().insert("x-forwarded-for", "198.51.100.9".parse().unwrap());
    asked.headers_mut().insert("forwarded", "for=198.51.100.9".parse().unwrap());
    asked.extensions_mut().insert(ClientAddress::from("::ffff:203.0.113.7".parse::<IpAddr>().unwrap()));
    assert_eq!(house.send(asked).await.status, 201);
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"enabled": false}))).await;
    house.ask("POST", &format!("/admin/admins/{id}/rotate"), None).await;
    let log = house.get("/admin/audit").await.body;
    let entry = |place: usize| &log["data"][place];
    assert_eq!((&entry(2)["who"], &entry(2)["from"]), (&json!(id), &json!("203.0.113.7")), "no header is believed");
    assert_eq!((&entry(1)["who"], &entry(1)["from"]), (&json!("bootstrap"), &Value::Null));
    assert_eq!((&entry(1)["before"]["enabled"], &entry(1)["after"]["enabled"]), (&json!(true), &json!(false)));
    let shown = ["created_at_ms", "expires_at_ms", "id", "last4", "name", "prefix", "role"];
    assert_eq!((entry(0)["what"].as_str(), fields(&entry(0)["after"])), (Some("admin.rotate"), shown.to_vec()));
}

#[tokio::test]
async fn a_token_is_shown_once_and_is_nowhere_after_that() {
    let house = House::new().await;
    let (id, token) = admin(&house, "owner").await;
    for path in ["/admin/admins", &format!("/admin/admins/{id}"), "/admin/me", "/admin/audit", "/admin/metrics"] {
        assert_eq!(ask_as(&house, &token, "GET", path, None).await.status, 200, "{path}");
    }
    let said = house.said.lock().unwrap();
    let (secret, hash) = (&token[13..41], house.gateway.hasher.hash(&token).hex());
    assert_eq!(said.iter().filter(|seen| seen.text.contains(secret)).count(), 1);
    assert!(said.iter().all(|seen| !seen.text.contains(&hash[..16])));
    for file in files(&house.folder) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{}", file.display());
    }
}

#[tokio::test]
async fn neither_planes_secret_opens_the_other() {
    let house = House::new().await;
    let (_, token) = admin(&house, "owner").await;
    house.acme().await;
    assert_eq!(house.chat(&token, "sim/cheap", "hello").await.status, 401);
    let mistyped = token.replace(&token[20..21], if &token[20..21] == "a" { "b" } else { "a" });
    for wrong in [&mistyped, &token[..44], &token.to_uppercase()] {
        let request = Request::builder().uri("/admin/me").header("authorization", format!("Bearer {wrong}"));
        assert_eq!(house.send(request.body(Body::empty()).unwrap()).await.error(), (401, "invalid_api_key", None));
    }
}

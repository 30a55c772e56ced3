//! What is refused, and by which name.

use crate::house::{House, NOON_MS, TOKEN, request};
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "mostly a table")]
async fn what_does_not_fit_is_refused_by_the_path_of_the_field_and_changes_nothing() {
    let house = House::new().await;
    let key = house.acme().await.id;
    let before = house.audit().await;
    let (tenants, tenant) = ("/admin/tenants", "/admin/tenants/acme");
    let (keys, key) = ("/admin/tenants/acme/keys", format!("/admin/tenants/acme/keys/{key}"));
    let rotate = format!("{key}/rotate");
    let long = "x".repeat(201);
    let table: Vec<(&str, &str, Value, Option<&str>)> = vec![
        ("POST", tenants, json!([]), None),
        ("POST", tenants, json!("acme"), None),
        ("POST", tenants, json!({}), Some("id")),
        ("POST", tenants, json!({"id": 7}), Some("id")),
        ("POST", tenants, json!({"id": ""}), Some("id")),
        ("POST", tenants, json!({"id": "a/b"}), Some("id")),
        ("POST", tenants, json!({"id": "ä"}), Some("id")),
        ("POST", tenants, json!({"id": "x".repeat(65)}), Some("id")),
        ("POST", tenants, json!({"id": "b", "name": 1}), Some("name")),
        ("POST", tenants, json!({"id": "b", "name": long}), Some("name")),
        ("POST", tenants, json!({"id": "b", "colour": "red"}), Some("colour")),
        ("POST", tenants, json!({"id": "b", "limits": null}), Some("limits")),
        ("POST", tenants, json!({"id": "b", "limits": {"weekly": 1}}), Some("limits.weekly")),
        ("POST", tenants, json!({"id": "b", "limits": {"daily_requests": -1}}), Some("limits.daily_requests")),
        ("POST", tenants, json!({"id": "b", "limits": {"daily_tokens": 1e99}}), Some("limits.daily_tokens")),
        ("POST", tenants, json!({"id": "b", "limits": {"daily_cost_usd": 5}}), Some("limits.daily_cost_usd")),
        ("POST", tenants, json!({"id": "b", "limits": {"daily_cost_usd": "5,00"}}), Some("limits.daily_cost_usd")),
        ("POST", tenants, json!({"id": "b", "limits": {"monthly_cost_usd": "1e3"}}), Some("limits.monthly_cost_usd")),
        ("POST", tenants, json!({"id": "b", "window_anchor_ms": -5}), Some("window_anchor_ms")),
        ("POST", tenants, json!({"id": "b", "allowed_models": "*"}), Some("allowed_models")),
        ("PATCH", tenant, json!([1]), None),
        ("PATCH", tenant, json!({"id": "other"}), Some("id")),
        ("PATCH", tenant, json!({"name": null}), Some("name")),
        ("PATCH", tenant, json!({"enabled": null}), Some("enabled")),
        ("PATCH", tenant, json!({"enabled": "no"}), Some("enabled")),
        ("PATCH", tenant, json!({"limits": {"concurrency": 0}}), Some("limits.concurrency")),
        ("PATCH", tenant, json!({"cache": {"ttl_seconds": 1.5}}), Some("cache.ttl_seconds")),
        ("PATCH", tenant, json!({"cache": {"colour": 1}}), Some("cache.colour")),
        ("PATCH", tenant, json!({"outage_share": 2}), Some("outage_share")),
        ("PATCH", tenant, json!({"quality": 1.01}), Some("quality")),
        ("POST", tenants, json!({"id": "b", "quality": "best"}), Some("quality")),
        ("POST", keys, json!([]), None),
        ("POST", keys, json!({"name": ""}), Some("name")),
        ("POST", keys, json!({"name": long}), Some("name")),
        ("POST", keys, json!({"name": 5}), Some("name")),
        ("POST", keys, json!({"expires_at_ms": "tomorrow"}), Some("expires_at_ms")),
        ("POST", keys, json!({"expires_at_ms": 1.5}), Some("expires_at_ms")),
        ("POST", keys, json!({"expires_at_ms": -1}), Some("expires_at_ms")),
        ("POST", keys, json!({"expires_at_ms": 1e30}), Some("expires_at_ms")),
        ("POST", keys, json!({"expires_at_ms": NOON_MS}), Some("expires_at_ms")),
        ("POST", keys, json!({"key": "gw_live_mine"}), Some("key")),
        ("PATCH", &key, json!({}), Some("expires_at_ms")),
        ("PATCH", &key, json!({"expires_at_ms": true}), Some("expires_at_ms")),
        ("PATCH", &key, json!({"expires_at_ms": null, "name": "new"}), Some("name")),
        ("POST", &rotate, json!({"grace_ms": -1}), Some("grace_ms")),
        ("POST", &rotate, json!({"grace_ms": "1h"}), Some("grace_ms")),
        ("POST", &rotate, json!({"grace_ms": 2_592_000_001_u64}), Some("grace_ms")),
        ("POST", &rotate, json!({"expires_at_ms": 5}), Some("expires_at_ms")),
        ("POST", &rotate, json!({"grace": 5}), Some("grace")),
    ];
    for (method, path, body, param) in table {
        let seen = house.ask(method, path, Some(body.clone())).await;
        assert_eq!(seen.error(), (400, "invalid_request", param), "{method} {path} {body}: {}", seen.text);
        assert!(!seen.body["error"]["message"].as_str().unwrap().is_empty(), "{method} {path} {body}");
    }
    assert_eq!(house.audit().await, before);
}

#[tokio::test]
async fn a_query_that_does_not_fit_is_refused_by_the_name_of_the_parameter() {
    let house = House::new().await;
    for (path, param) in [
        ("/admin/tenants?limit=0", "limit"),
        ("/admin/tenants?limit=1001", "limit"),
        ("/admin/tenants?limit=many", "limit"),
        ("/admin/tenants?limit=-1", "limit"),
        ("/admin/tenants?colour=red", "colour"),
        ("/admin/tenants?limit=1&limit=2", "limit"),
        ("/admin/audit?cursor=nonsense", "cursor"),
        ("/admin/audit?tenant=acme", "tenant"),
        ("/admin/usage?from=yesterday", "from"),
        ("/admin/usage?from=2025-13-01", "from"),
        ("/admin/usage?to=2025-11-32", "to"),
        ("/admin/usage?to=2025-1-1", "to"),
        ("/admin/usage?to=2025/11/01", "to"),
        ("/admin/usage?from=99999999999999999", "from"),
        ("/admin/usage?from=2025-11-02&to=2025-11-01", "from"),
        ("/admin/usage?group_by=week", "group_by"),
        ("/admin/usage?group_by=day,,model", "group_by"),
        ("/admin/usage?from=2025-02-29", "from"),
        ("/admin/usage?from=2025-11-22T14:00", "from"),
        ("/admin/usage?to=2025-11-22T14:00%2B02:00", "to"),
        ("/admin/usage?group_by=tag", "group_by"),
        ("/admin/usage?group_by=tag:", "group_by"),
        ("/admin/usage?group_by=tags:team", "group_by"),
        ("/admin/usage?group_by=tag:team,tag:env", "group_by"),
        ("/admin/usage?group_by=Day", "group_by"),
        ("/admin/usage?tag=team", "tag"),
        ("/admin/usage?tag=team:red", "tag"),
        ("/admin/usage?tag==red", "tag"),
        ("/admin/usage?tag=team=red&tag=team=blue", "tag"),
        ("/admin/usage?group_by=tag:team&tag=env=prod", "tag"),
        ("/admin/usage?group_by=hour&from=2025-11-13", "from"),
        ("/admin/usage?group_by=hour&to=2025-11-13", "from"),
        ("/admin/usage?group_by=hour&from=2025-11-22T14:00Z&to=2025-11-22T13:59Z", "from"),
        ("/admin/usage?cursor=nonsense", "cursor"),
        ("/admin/usage?group_by=day&cursor=W10", "cursor"),
        ("/admin/usage?format=xml", "format"),
        ("/admin/usage?tenat=acme", "tenat"),
        ("/admin/receipts?cursor=nonsense", "cursor"),
        ("/admin/receipts?from=yesterday", "from"),
        ("/admin/receipts?from=2025-11-22&to=2025-11-21", "from"),
        ("/admin/receipts?limit=5", "limit"),
        ("/admin/receipts/01ARZ3NDEKTSV4RRFFQ69G5FAV", "tenant"),
        ("/admin/receipts/01ARZ3NDEKTSV4RRFFQ69G5FAV?tenant=", "tenant"),
    ] {
        let seen = house.get(path).await;
        assert_eq!(seen.error(), (400, "invalid_request", Some(param)), "{path}: {}", seen.text);
    }
}

#[tokio::test]
async fn a_body_must_be_json_be_called_json_and_be_there() {
    let house = House::new().await;
    let send = async |kind: Option<&str>, body: &[u8]| {
        let request = Request::builder().method("POST").uri("/admin/tenants");
        let request = request.header("authorization", format!("Bearer {TOKEN}"));
        let request = kind.iter().fold(request, |request, kind| request.header("content-type", *kind));
        house.send(request.body(Body::from(body.to_vec())).unwrap()).await
    };
    let json = Some("application/json");
    for (kind, body, error) in [
        (None, &b"{\"id\":\"a\"}"[..], (415, "unsupported_media_type", None)),
        (Some("text/plain"), b"{\"id\":\"a\"}", (415, "unsupported_media_type", None)),
        (Some("application/x-www-form-urlencoded"), b"{\"id\":\"a\"}", (415, "unsupported_media_type", None)),
        (Some("application/jsonp"), b"{\"id\":\"a\"}", (415, "unsupported_media_type", None)),
        (json, b"", (400, "invalid_request", None)),
        (None, b"", (400, "invalid_request", None)),
        (json, b"{", (400, "invalid_request", None)),
        (json, b"{\"id\":\"a\"} {}", (400, "invalid_request", None)),
        (json, b"{'id':'a'}", (400, "invalid_request", None)),
        (json, b"{\"id\":\"\xff\"}", (400, "invalid_request", None)),
        (json, b"\0", (400, "invalid_request", None)),
        (json, "[".repeat(100_000).as_bytes(), (400, "invalid_request", None)),
    ] {
        let seen = send(kind, body).await;
        let start = String::from_utf8_lossy(&body[..body.len().min(30)]).into_owned();
        assert_eq!(seen.error(), error, "{kind:?} {start}: {}", seen.text);
    }
    let seen = send(json, b"{\"id\": acme}").await;
    let message = seen.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("line 1 column 8"), "{message}");
    for (id, kind) in
        ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"].iter().enumerate()
    {
        assert_eq!(send(Some(kind), format!("{{\"id\":\"t{id}\"}}").as_bytes()).await.status, 201, "{kind}");
    }
}

#[tokio::test]
async fn a_body_of_a_mebibyte_is_read_and_a_larger_one_is_not() {
    let house = House::new().await;
    let of_bytes = |bytes: usize| {
        let body = json!({"id": "a", "name": "x".repeat(bytes)});
        let over = body.to_string().len() - bytes;
        json!({"id": "a", "name": "x".repeat(bytes - over)})
    };
    assert_eq!(
        house.ask("POST", "/admin/tenants", Some(of_bytes(1 << 20))).await.error(),
        (400, "invalid_request", Some("name"))
    );
    assert_eq!(
        house.ask("POST", "/admin/tenants", Some(of_bytes((1 << 20) + 1))).await.error(),
        (413, "request_too_large", None)
    );
}

#[tokio::test]
async fn what_is_about_a_tenant_or_key_that_does_not_exist_is_404() {
    let house = House::new().await;
    house.acme().await;
    for (method, path, body) in [
        ("GET", "/admin/tenants/nobody", None),
        ("PATCH", "/admin/tenants/nobody", Some(json!({"name": "x"}))),
        ("DELETE", "/admin/tenants/nobody", None),
        ("DELETE", "/admin/tenants/nobody/cache", None),
        ("GET", "/admin/tenants/nobody/usage", None),
        ("GET", "/admin/tenants/nobody/keys", None),
        ("POST", "/admin/tenants/nobody/keys", Some(json!({"name": "x"}))),
        ("PATCH", "/admin/tenants/nobody/keys/k", Some(json!({"expires_at_ms": null}))),
        ("DELETE", "/admin/tenants/nobody/keys/k", None),
        ("POST", "/admin/tenants/nobody/keys/k/rotate", None),
        ("PATCH", "/admin/tenants/acme/keys/k", Some(json!({"expires_at_ms": null}))),
        ("DELETE", "/admin/tenants/acme/keys/k", None),
        ("POST", "/admin/tenants/acme/keys/k/rotate", None),
        ("GET", "/admin/receipts/01ARZ3NDEKTSV4RRFFQ69G5FAV?tenant=acme", None),
        ("GET", "/admin/receipts/no-id?tenant=acme", None),
    ] {
        assert_eq!(house.send(request(method, path, body)).await.error(), (404, "not_found", None), "{method} {path}");
    }
}

//! Tenants: made, shown, changed, removed; and that every change is effective with the next request.

use crate::house::{House, KEPT_MS, NOON_MS, fields};
use serde_json::json;

fn limits() -> serde_json::Value {
    json!({"requests_per_minute": 600, "tokens_per_minute": 200_000, "concurrency": 50, "daily_requests": 1000,
        "daily_tokens": 1_000_000, "daily_cost_usd": "5.000000000", "monthly_cost_usd": null})
}

#[tokio::test]
async fn a_tenant_is_shown_as_the_contract_shows_it() {
    let house = House::new().await;
    let made = house.ask("POST", "/admin/tenants", Some(json!({"id": "acme", "name": "Acme"}))).await;
    assert_eq!((made.status, made.header("content-type")), (201, "application/json"));
    let expected = json!({"id": "acme", "name": "Acme", "enabled": true, "limits": limits(), "window_anchor_ms": 0,
        "allowed_models": ["*"], "cache": {"enabled": true, "ttl_seconds": 300, "semantic": false, "any_temperature": false},
        "upgrade": {"enabled": true, "stream_holdback_bytes": 0}, "quality": 0.5, "outage_share": 0.1, "strict": false,
        "ledger_required": false,
        "allow_paid_extras": false, "failover_on_refusal": false, "drop_unknown_effort": true,
        "hedge": false, "on_broken_stream": "continue",
        "alerts": {"enabled": true, "webhook": null, "thresholds": [50, 80, 100]}});
    let mut expected = expected;
    expected["uid"] = made.body["uid"].clone();
    assert!(expected["uid"].as_str().unwrap().starts_with("acme~"), "{expected}");
    assert_eq!(made.body, expected);
    assert_eq!(house.get("/admin/tenants/acme").await.body, expected);
    assert_eq!(house.get("/admin/tenants").await.body, json!({"data": [expected], "next": null}));
}

#[tokio::test]
async fn the_contracts_own_example_is_taken() {
    let house = House::new().await;
    let example = json!({"id": "acme", "name": "Acme", "enabled": true,
        "limits": {"requests_per_minute": 600, "tokens_per_minute": 200_000, "concurrency": 50, "daily_requests": 1000,
            "daily_tokens": 1_000_000, "daily_cost_usd": "5.00", "monthly_cost_usd": null},
        "window_anchor_ms": 0, "allowed_models": ["*"],
        "cache": {"enabled": true, "ttl_seconds": 300, "semantic": false}, "upgrade": {"enabled": true}});
    let made = house.ask("POST", "/admin/tenants", Some(example)).await;
    assert_eq!((made.status, &made.body["limits"]), (201, &limits()));
}

#[tokio::test]
async fn what_a_tenant_is_shown_as_can_be_sent_back() {
    let house = House::new().await;
    let shown = house.tenant("acme", json!({"limits": {"daily_cost_usd": "0.000000001"}})).await;
    let again = house.ask("PATCH", "/admin/tenants/acme", Some(shown.clone())).await;
    assert_eq!((again.status, again.body), (200, shown));
}

#[tokio::test]
async fn a_tenant_that_exists_is_not_made_again() {
    let house = House::new().await;
    house.tenant("acme", json!({"name": "first"})).await;
    let again = house.ask("POST", "/admin/tenants", Some(json!({"id": "acme", "name": "second"}))).await;
    assert_eq!(again.error(), (409, "conflict", None));
    assert_eq!(house.get("/admin/tenants/acme").await.body["name"], "first");
}

#[tokio::test]
async fn absent_null_and_default_are_three_things() {
    let house = House::new().await;
    house.tenant("acme", json!({"limits": {"daily_requests": 3, "concurrency": null}})).await;
    let patch = async |body| house.ask("PATCH", "/admin/tenants/acme", Some(body)).await.body["limits"].clone();
    let shown = house.get("/admin/tenants/acme").await.body["limits"].clone();
    assert_eq!(
        (&shown["daily_requests"], &shown["concurrency"], &shown["daily_tokens"]),
        (&json!(3), &json!(null), &json!(1_000_000))
    );
    let shown = patch(json!({"limits": {"daily_requests": null, "daily_cost_usd": null}})).await;
    assert_eq!(
        (&shown["daily_requests"], &shown["daily_cost_usd"], &shown["concurrency"]),
        (&json!(null), &json!(null), &json!(null))
    );
    let shown = patch(json!({"limits": {"daily_requests": "default", "daily_cost_usd": "0.10"}})).await;
    assert_eq!((&shown["daily_requests"], &shown["daily_cost_usd"]), (&json!(1000), &json!("0.100000000")));
    assert_eq!(patch(json!({"limits": "default"})).await, limits());
}

#[tokio::test]
async fn pages_of_tenants_are_complete_and_in_order() {
    let house = House::new().await;
    let ids: Vec<String> = (0..7).map(|n| format!("t{n}")).collect();
    for id in ids.iter().rev() {
        house.tenant(id, json!({})).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for page in 0..3 {
        let body = house.get(&format!("/admin/tenants?limit=3&cursor={cursor}")).await.body;
        assert_eq!(fields(&body), ["data", "next"]);
        seen.extend(body["data"].as_array().unwrap().iter().map(|tenant| tenant["id"].as_str().unwrap().to_owned()));
        assert_eq!(body["next"].is_null(), page == 2);
        cursor = body["next"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn a_changed_limit_holds_for_the_next_request() {
    let house = House::new().await;
    let key = house.acme().await.key;
    assert_eq!(house.chat(&key, "sim/cheap", "one").await.status, 200);
    let patched = house.ask("PATCH", "/admin/tenants/acme", Some(json!({"limits": {"daily_requests": 1}}))).await;
    assert_eq!((patched.status, &patched.body["limits"]["daily_requests"]), (200, &json!(1)));
    assert_eq!(house.chat(&key, "sim/cheap", "two").await.error().1, "quota_exceeded");
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"limits": {"daily_requests": null}}))).await;
    assert_eq!(house.chat(&key, "sim/cheap", "three").await.status, 200);
}

#[tokio::test]
async fn a_disabled_tenant_is_refused_at_once() {
    let house = House::new().await;
    let key = house.acme().await.key;
    assert_eq!(house.chat(&key, "sim/cheap", "one").await.status, 200);
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"enabled": false}))).await;
    let refused = house.chat(&key, "sim/cheap", "two").await;
    assert_eq!(refused.error(), (403, "tenant_disabled", None));
}

#[tokio::test]
async fn a_removed_tenants_key_stops_at_once_and_stays_dead_when_the_tenant_is_made_again() {
    let house = House::new().await;
    let old = house.acme().await.key;
    assert_eq!(house.chat(&old, "sim/cheap", "one").await.status, 200);
    let deleted = house.ask("DELETE", "/admin/tenants/acme", None).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    assert_eq!(house.chat(&old, "sim/cheap", "two").await.error(), (401, "invalid_api_key", None));
    assert_eq!(house.get("/admin/tenants/acme").await.status, 404);
    assert_eq!(house.ask("DELETE", "/admin/tenants/acme", None).await.status, 404);
    // All of it in the same millisecond.
    let new = house.acme().await.key;
    assert_eq!(house.chat(&new, "sim/cheap", "three").await.status, 200);
    assert_eq!(house.chat(&old, "sim/cheap", "four").await.status, 401);
}

#[tokio::test]
async fn a_purged_cache_is_asked_in_vain() {
    let house = House::new().await;
    let key = house.acme().await.key;
    house.tenant("other", json!({})).await;
    let other = house.key("other").await.key;
    let cache =
        async |key: &str| house.chat(key, "sim/cheap", "What is an API?").await.header("x-gateway-cache").to_owned();
    assert_eq!((cache(&key).await, cache(&key).await), ("miss".to_owned(), "hit".to_owned()));
    assert_eq!((cache(&other).await, cache(&other).await), ("miss".to_owned(), "hit".to_owned()));
    let purged = house.ask("DELETE", "/admin/tenants/acme/cache", None).await;
    assert_eq!((purged.status, purged.text.as_str()), (204, ""));
    assert_eq!((cache(&key).await, cache(&key).await), ("miss".to_owned(), "hit".to_owned()));
    assert_eq!(cache(&other).await, "hit");
}

#[tokio::test]
async fn changed_models_hold_for_the_next_request() {
    let house = House::new().await;
    let key = house.acme().await.key;
    assert_eq!(house.chat(&key, "sim/cheap", "one").await.status, 200);
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"allowed_models": ["sim/reasoning"]}))).await;
    assert_eq!(house.chat(&key, "sim/cheap", "two").await.error(), (403, "model_not_allowed", Some("model")));
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"allowed_models": "default"}))).await;
    house.clock.advance(KEPT_MS);
    assert_eq!(house.chat(&key, "sim/cheap", "three").await.status, 200);
}

#[tokio::test]
async fn a_tenant_that_is_enabled_again_is_let_in_at_once() {
    let house = House::new().await;
    let key = house.acme().await.key;
    for (enabled, status) in [(false, 403), (true, 200), (false, 403)] {
        house.ask("PATCH", "/admin/tenants/acme", Some(json!({"enabled": enabled}))).await;
        assert_eq!(house.chat(&key, "sim/cheap", "hello").await.status, status, "enabled: {enabled}");
    }
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_with_what_was_before_and_after() {
    let house = House::new().await;
    let made = house.acme().await;
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"limits": {"daily_requests": 3}}))).await;
    let key = format!("/admin/tenants/acme/keys/{}", made.id);
    house.ask("PATCH", &key, Some(json!({"expires_at_ms": NOON_MS + 5}))).await;
    let rotated = house.ask("POST", &format!("{key}/rotate"), None).await.body["id"].as_str().unwrap().to_owned();
    house.ask("DELETE", &key, None).await;
    house.ask("DELETE", "/admin/tenants/acme/cache", None).await;
    house.ask("DELETE", "/admin/tenants/acme", None).await;
    let (old, new) = (&made.id, rotated);
    let expected = [
        "tenant.delete acme".to_owned(),
        "cache.purge acme".to_owned(),
        format!("key.revoke acme/{old}"),
        format!("key.update acme/{old}"),
        format!("key.rotate acme/{new}"),
        format!("key.update acme/{old}"),
        "tenant.update acme".to_owned(),
        format!("key.create acme/{old}"),
        "tenant.create acme".to_owned(),
    ];
    assert_eq!(house.audit().await, expected);
    let body = house.get("/admin/audit").await.body;
    let entries = body["data"].as_array().unwrap();
    for entry in entries {
        assert_eq!(fields(entry), ["after", "at_ms", "before", "subject", "what", "who"]);
        assert_eq!((&entry["who"], &entry["at_ms"]), (&json!("bootstrap"), &json!(NOON_MS)));
    }
    let update = &entries[6];
    assert_eq!(
        (&update["before"]["limits"]["daily_requests"], &update["after"]["limits"]["daily_requests"]),
        (&json!(1000), &json!(3))
    );
    assert_eq!((&entries[8]["before"], &entries[0]["after"]), (&json!(null), &json!(null)));
    assert_eq!(
        (&entries[5]["before"]["expires_at_ms"], &entries[5]["after"]["expires_at_ms"]),
        (&json!(null), &json!(NOON_MS + 5))
    );
    let page = house.get("/admin/audit?limit=2").await.body;
    assert_eq!(page["data"], json!(entries[..2]));
    let rest = house.get(&format!("/admin/audit?cursor={}", page["next"].as_str().unwrap())).await.body;
    assert_eq!((&rest["data"], &rest["next"]), (&json!(entries[2..]), &json!(null)));
}

#[tokio::test]
async fn what_changes_no_answer_leaves_the_cache_and_what_does_empties_it() {
    let house = House::new().await;
    let made = house.acme().await;
    let ask = async || house.chat(&made.key, "cheap", "What is an API?").await.header("x-gateway-cache").to_owned();
    assert_eq!([ask().await, ask().await], ["miss", "hit"]);
    let keys = "/admin/tenants/acme/keys";
    let other = house.key("acme").await.id;
    for (method, path, body) in [
        ("PATCH", "/admin/tenants/acme".to_owned(), json!({})),
        ("PATCH", "/admin/tenants/acme".to_owned(), json!({"name": "Acme & Sons"})),
        ("PATCH", "/admin/tenants/acme".to_owned(), json!({"limits": {"daily_requests": 900}, "outage_share": 0.2})),
        ("PATCH", "/admin/tenants/acme".to_owned(), json!({"cache": {"ttl_seconds": 600}, "strict": true})),
        ("POST", keys.to_owned(), json!({"name": "new"})),
        ("PATCH", format!("{keys}/{}", made.id), json!({"expires_at_ms": NOON_MS + 5})),
        ("POST", format!("{keys}/{other}/rotate"), json!({})),
        ("DELETE", format!("{keys}/{other}"), json!(null)),
    ] {
        let done = house.ask(method, &path, (!body.is_null()).then_some(body)).await;
        assert!(done.status < 300, "{method} {path}: {}", done.text);
        assert_eq!(ask().await, "hit", "after {method} {path}");
    }
    for body in [
        json!({"upgrade": {"enabled": false}}),
        json!({"allowed_models": ["sim/cheap", "cheap"]}),
        json!({"quality": 0.9}),
    ] {
        house.ask("PATCH", "/admin/tenants/acme", Some(body.clone())).await;
        assert_eq!([ask().await, ask().await], ["miss", "hit"], "after {body}");
    }
    // What is remembered serves nobody whose key is not good any more.
    house.ask("DELETE", &format!("{keys}/{}", made.id), None).await;
    assert_eq!(house.chat(&made.key, "cheap", "What is an API?").await.status, 401);
}

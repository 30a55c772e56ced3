//! What a key may use at most, within its tenant.

use crate::house::{DAY_MS, HOUR_MS, House, MONTH_MS, NOON_MS};
use serde_json::{Value, json};

/// A key of `acme` with these limits, by its path, and the key.
async fn limited(house: &House, limits: Value) -> (String, String) {
    let made = house.ask("POST", "/admin/tenants/acme/keys", Some(json!({"name": "ci", "limits": limits}))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
    (format!("/admin/tenants/acme/keys/{}", text("id")), text("key"))
}

fn only(name: &str, value: Value) -> Value {
    let mut limits = json!({"requests_per_minute": null, "tokens_per_minute": null, "concurrency": null, "daily_requests": null,
        "daily_tokens": null, "daily_cost_usd": null, "monthly_cost_usd": null});
    limits[name] = value;
    limits
}

#[tokio::test]
async fn a_key_of_so_many_requests_a_day_is_refused_after_them_and_its_tenant_is_not() {
    let house = House::new().await;
    let whole = house.acme().await;
    let (path, key) = limited(&house, json!({"daily_requests": 2, "requests_per_minute": 100})).await;
    for text in ["one", "two"] {
        let answer = house.chat(&key, "sim/cheap", text).await;
        assert_eq!((answer.status, answer.header("x-ratelimit-limit-requests")), (200, "100"), "{}", answer.text);
    }
    let refused = house.chat(&key, "sim/cheap", "three").await;
    assert_eq!(refused.error(), (429, "quota_exceeded", None));
    assert!(refused.text.contains("The quota daily_requests of this key has not enough left"), "{}", refused.text);
    assert_eq!((refused.header("retry-after"), refused.header("x-should-retry")), ("43200", "false"));
    let answer = house.chat(&whole.key, "sim/cheap", "three").await;
    assert_eq!((answer.status, answer.header("x-ratelimit-limit-requests")), (200, "600"), "{}", answer.text);
    let seen = house.get(&format!("{path}/usage")).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert_eq!(
        seen.body["window"],
        json!({"starts_at_ms": NOON_MS - 12 * HOUR_MS, "resets_at_ms": NOON_MS + 12 * HOUR_MS})
    );
    assert_eq!(seen.body["requests"], json!({"used": 2, "held": 0, "limit": 2}));
    assert!(seen.body["tokens"]["used"].as_u64().unwrap() > 0, "{}", seen.text);
    assert_eq!(seen.body["month"]["window"], json!({"starts_at_ms": MONTH_MS.0, "resets_at_ms": MONTH_MS.1}));
    assert_eq!(seen.body["month"]["cost_usd"], json!({"used": null, "held": null, "limit": null}), "it is not counted");
    assert_eq!(house.get("/admin/tenants/acme/usage").await.body["requests"]["used"], 3);
    house.clock.advance(12 * HOUR_MS);
    assert_eq!(house.chat(&key, "sim/cheap", "next day").await.status, 200);
    assert_eq!(house.get(&format!("{path}/usage")).await.body["requests"]["used"], 1);
}

#[tokio::test]
async fn limits_are_set_merged_taken_away_shown_and_in_the_audit_log() {
    let house = House::new().await;
    house.acme().await;
    let (path, _) = limited(&house, json!({"daily_cost_usd": "5", "concurrency": "default"})).await;
    let shown = house.get(&path).await;
    assert_eq!((shown.header("etag"), &shown.body["limits"]), ("\"1\"", &only("daily_cost_usd", json!("5.000000000"))));
    let patched = house.ask("PATCH", &path, Some(json!({"limits": {"concurrency": 4}}))).await;
    let mut both = only("daily_cost_usd", json!("5.000000000"));
    both["concurrency"] = json!(4);
    assert_eq!((patched.status, patched.header("etag"), &patched.body["limits"]), (200, "\"2\"", &both));
    let patched = house.ask("PATCH", &path, Some(json!({"limits": {"daily_cost_usd": null}}))).await;
    assert_eq!(patched.body["limits"], only("concurrency", json!(4)));
    let entry = &house.get("/admin/audit?what=key.update").await.body["data"][0];
    assert_eq!((&entry["before"]["limits"], &entry["after"]["limits"]), (&both, &only("concurrency", json!(4))));
    for none in [json!(null), json!("default"), json!({"concurrency": null})] {
        house.ask("PATCH", &path, Some(json!({"limits": {"concurrency": 4}}))).await;
        let patched = house.ask("PATCH", &path, Some(json!({"limits": none}))).await;
        assert_eq!((patched.status, &patched.body["limits"]), (200, &json!(null)), "{none}");
    }
    let listed = house.get("/admin/tenants/acme/keys").await.body;
    assert!(listed["data"].as_array().unwrap().iter().all(|key| key["limits"].is_null()), "{listed}");
}

#[tokio::test]
async fn a_limit_that_is_none_is_refused_by_its_path() {
    let house = House::new().await;
    house.acme().await;
    let (path, _) = limited(&house, json!({})).await;
    for (limits, param) in [
        (json!(5), "limits"),
        (json!([]), "limits"),
        (json!("none"), "limits"),
        (json!({"weekly": 5}), "limits.weekly"),
        (json!({"daily_cost_usd": 5}), "limits.daily_cost_usd"),
        (json!({"daily_cost_usd": "-1"}), "limits.daily_cost_usd"),
        (json!({"monthly_cost_usd": "much"}), "limits.monthly_cost_usd"),
        (json!({"daily_requests": -1}), "limits.daily_requests"),
        (json!({"daily_tokens": 1.5}), "limits.daily_tokens"),
        (json!({"concurrency": 0}), "limits.concurrency"),
        (json!({"requests_per_minute": 1_000_000_001}), "limits.requests_per_minute"),
        (json!({"tokens_per_minute": {"a": 1}}), "limits.tokens_per_minute.a"),
    ] {
        for (method, path) in [("POST", "/admin/tenants/acme/keys"), ("PATCH", &path)] {
            let refused = house.ask(method, path, Some(json!({"limits": limits}))).await;
            assert_eq!(refused.error(), (400, "invalid_request", Some(param)), "{method} {limits}: {}", refused.text);
        }
    }
    assert_eq!(house.get("/admin/tenants/acme/keys").await.body["data"].as_array().unwrap().len(), 2, "none was made");
}

#[tokio::test]
async fn a_limit_above_the_tenants_is_no_error_and_the_smaller_holds() {
    let house = House::new().await;
    house.tenant("acme", json!({"limits": {"daily_requests": 1}})).await;
    let (_, key) = limited(&house, json!({"daily_requests": 9})).await;
    assert_eq!(house.chat(&key, "sim/cheap", "one").await.status, 200);
    let refused = house.chat(&key, "sim/cheap", "two").await;
    assert!(refused.text.contains("The quota daily_requests has not enough left"), "{}", refused.text);
}

#[tokio::test]
async fn a_rotated_key_and_its_successors_share_one_budget() {
    let house = House::new().await;
    house.acme().await;
    let (path, first) = limited(&house, json!({"daily_requests": 3})).await;
    let rotate = async |path: &str| {
        let made = house.ask("POST", &format!("{path}/rotate"), None).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
        (format!("/admin/tenants/acme/keys/{}", text("id")), text("key"))
    };
    let (path_2, second) = rotate(&path).await;
    let (path_3, third) = rotate(&path_2).await;
    for (key, text) in [(&first, "one"), (&second, "two"), (&third, "three")] {
        assert_eq!(house.chat(key, "sim/cheap", text).await.status, 200);
    }
    for key in [&first, &second, &third] {
        assert_eq!(house.chat(key, "sim/cheap", "four").await.error().1, "quota_exceeded");
    }
    for path in [&path, &path_2, &path_3] {
        let seen = house.get(&format!("{path}/usage")).await.body;
        assert_eq!(seen["requests"], json!({"used": 3, "held": 0, "limit": 3}));
    }
    // It outlives the first key, and a limit that is raised is raised for the one key alone.
    house.ask("DELETE", &path, None).await;
    house.ask("PATCH", &path_3, Some(json!({"limits": {"daily_requests": 4}}))).await;
    assert_eq!(house.chat(&second, "sim/cheap", "four").await.error().1, "quota_exceeded");
    assert_eq!(house.chat(&third, "sim/cheap", "four").await.status, 200);
    assert_eq!(house.chat(&third, "sim/cheap", "five").await.error().1, "quota_exceeded");
}

#[tokio::test]
async fn a_limit_that_is_set_or_changed_holds_from_the_next_request_on() {
    let house = House::new().await;
    house.acme().await;
    let (path, key) = limited(&house, json!(null)).await;
    assert_eq!(house.chat(&key, "sim/cheap", "before").await.status, 200);
    let seen = house.get(&format!("{path}/usage")).await.body;
    assert_eq!(seen["requests"], json!({"used": null, "held": null, "limit": null}));
    house.ask("PATCH", &path, Some(json!({"limits": {"daily_requests": 1}}))).await;
    assert_eq!(house.chat(&key, "sim/cheap", "counted").await.status, 200, "what was before is not counted");
    assert_eq!(house.chat(&key, "sim/cheap", "refused").await.error().1, "quota_exceeded");
    house.ask("PATCH", &path, Some(json!({"limits": {"daily_requests": null, "requests_per_minute": 1}}))).await;
    assert_eq!(house.chat(&key, "sim/cheap", "by the minute").await.status, 200);
    for _ in 0..2 {
        let refused = house.chat(&key, "sim/cheap", "again").await;
        assert_eq!((refused.error().1, refused.header("retry-after")), ("rate_limited", "60"));
        assert!(refused.text.contains("The limit requests_per_minute of this key is reached"), "{}", refused.text);
    }
    house.ask("PATCH", &path, Some(json!({"limits": null}))).await;
    // For so long a process goes on refusing who is over a rate, without asking the store.
    house.clock.advance(1_000);
    assert_eq!(house.chat(&key, "sim/cheap", "free").await.status, 200);
}

#[tokio::test]
async fn the_use_of_a_key_is_nobodys_who_does_not_have_it_and_goes_with_its_tenant() {
    let house = House::new().await;
    house.acme().await;
    house.tenant("other", json!({})).await;
    let (path, key) = limited(&house, json!({"daily_requests": 1})).await;
    assert_eq!(house.chat(&key, "sim/cheap", "one").await.status, 200);
    assert_eq!(house.get(&format!("{}/usage", path.replace("acme", "other"))).await.status, 404);
    assert_eq!(house.get("/admin/tenants/acme/keys/key_of_nobody/usage").await.status, 404);
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"enabled": false}))).await;
    let erased = house.ask("DELETE", "/admin/tenants/acme/data", None).await;
    assert_eq!(erased.status, 200, "{}", erased.text);
    assert_eq!(house.get(&format!("{path}/usage")).await.body["requests"]["used"], 0);
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"enabled": true}))).await;
    house.clock.advance(DAY_MS / 24 / 60);
    assert_eq!(house.chat(&key, "sim/cheap", "anew").await.status, 200);
}

//! What is only told: metrics, the catalog, receipts.

use crate::house::{HOUR_MS, House, NOON_MS, fields};
use serde_json::{Value, json};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "the contract, field by field")]
async fn metrics_have_the_contracts_shape_and_count_what_was_served() {
    let house = House::new().await;
    let key = house.acme().await.key;
    for text in ["one", "one", "two"] {
        assert_eq!(house.chat(&key, "sim/cheap", text).await.status, 200);
    }
    // A model that no list has, and that always fails.
    assert_eq!(house.chat(&key, "sim/fail-100", "three").await.status, 502);
    let seen = house.get("/admin/metrics").await;
    assert_eq!(seen.status, 200);
    let body = &seen.body;
    for name in [
        "scope",
        "since_ms",
        "requests_total",
        "errors_total",
        "cache_hit_rate",
        "failover_rate",
        "upgrade_rate",
        "cost_usd",
        "latency_ms",
        "overhead_ms",
        "models",
        "tenants",
    ] {
        assert!(!body[name].is_null(), "{name} is missing");
    }
    assert_eq!(
        (&body["since_ms"], &body["requests_total"], &body["errors_total"]),
        (&json!(NOON_MS - 12 * HOUR_MS), &json!(4), &json!(1))
    );
    assert_eq!(body["cache_hit_rate"], 0.25);
    assert_eq!(
        (fields(&body["latency_ms"]), fields(&body["overhead_ms"])),
        (vec!["mean", "p50", "p95", "p99"], vec!["mean", "p50", "p95", "p99"])
    );
    let of_model = [
        "breaker",
        "cooldown_until_ms",
        "failures",
        "health",
        "latency_ms_mean",
        "latency_ms_stddev",
        "requests",
        "score_ms",
        "ttft_ms_mean",
    ];
    let names = fields(&body["models"]);
    assert_eq!(names, ["sim/cheap", "sim/fail-100", "sim/reasoning"]);
    for name in names {
        assert_eq!(fields(&body["models"][name]), of_model, "{name}");
        assert!(body["models"][name]["health"].as_u64().unwrap() <= 100, "{name}");
    }
    let count = |name: &str| {
        (body["models"][name]["requests"].as_u64().unwrap(), body["models"][name]["failures"].as_u64().unwrap())
    };
    assert_eq!((count("sim/cheap"), count("sim/reasoning")), ((2, 0), (0, 0)));
    let (calls, failures) = count("sim/fail-100");
    assert!(calls > 0 && calls == failures);
    let usage = house.get("/admin/tenants/acme/usage").await.body;
    assert_eq!(
        body["tenants"],
        json!({"acme": {"requests": 4, "tokens": usage["tokens"]["used"],
        "cost_usd": usage["cost_usd"]["used"], "cache_hits": 1}})
    );
}

#[tokio::test]
async fn the_catalog_tells_prices_as_text_and_how_each_model_does() {
    let house = House::new().await;
    let seen = house.get("/admin/models").await;
    assert_eq!((seen.status, fields(&seen.body), &seen.body["next"]), (200, vec!["data", "next"], &Value::Null));
    let cheap = json!({"name": "sim/cheap", "provider": "sim", "tiers": ["cheap"],
        "usd_per_million": {"input": "0.100000000", "cached_input": "0.050000000",
            "cache_write": "0.100000000", "cache_write_1h": "0.100000000", "output": "0.400000000", "reasoning": "0.400000000"},
        "capabilities": [
            "tools", "forced_tools", "json_schema", "vision", "documents", "reasoning", "sampling", "logprobs", "prefill"], "context_tokens": 131_072,
        "max_output_tokens": 16_384, "health": 98, "breaker": "closed", "cooldown_until_ms": null});
    let data = seen.body["data"].as_array().unwrap();
    let of = |name: &str| data.iter().find(|row| row["name"] == name).cloned().unwrap_or_default();
    assert_eq!(of("sim/cheap"), cheap);
    assert_eq!((&of("sim/reasoning")["tiers"], data.len()), (&json!(["reasoning"]), 2));
}

#[tokio::test]
async fn a_receipt_is_found_under_its_tenant_and_no_other() {
    let house = House::new().await;
    let key = house.acme().await.key;
    house.tenant("other", json!({})).await;
    let answer = house.chat(&key, "sim/cheap", "hello").await;
    let id = answer.header("x-request-id");
    let seen = house.get(&format!("/admin/receipts/{id}?tenant=acme")).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    for (name, value) in [
        ("id", json!(id)),
        ("tenant", json!("acme")),
        ("key_last4", json!(key[40..])),
        ("created_at_ms", json!(NOON_MS)),
        ("status", json!(200)),
        ("requested_model", json!("sim/cheap")),
        ("model", json!("sim/cheap")),
        ("cost_usd", json!(answer.header("x-gateway-cost-usd"))),
    ] {
        assert_eq!(seen.body[name], value, "{name}");
    }
    assert_eq!(seen.body["attempts"].as_array().unwrap().len(), 1);
    for tenant in ["other", "nobody"] {
        assert_eq!(
            house.get(&format!("/admin/receipts/{id}?tenant={tenant}")).await.error(),
            (404, "not_found", None),
            "{tenant}"
        );
    }
}

#[tokio::test]
async fn receipts_are_gone_through_by_tenant_and_time_with_what_was_said_of_them() {
    let house = House::new().await;
    let acme = house.acme().await.key;
    house.tenant("other", json!({})).await;
    let id = house.chat(&acme, "sim/cheap", "hello").await.header("x-request-id").to_owned();
    house.chat(&acme, "sim/cheap", "hello again").await;
    for (query, count) in [
        ("", 2),
        ("?tenant=acme", 2),
        ("?tenant=other", 0),
        ("?tenant=nobody", 0),
        ("?from=2025-11-22", 2),
        ("?from=2025-11-22&to=2025-11-22", 2),
        ("?to=2025-11-21", 0),
        (&format!("?from={NOON_MS}&to={NOON_MS}"), 2),
        (&format!("?from={}", NOON_MS + 1), 0),
    ] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let joint = if query.is_empty() { '?' } else { '&' };
            let page = house.get(&format!("/admin/receipts{query}{joint}cursor={cursor}")).await;
            assert_eq!(page.status, 200, "{}", page.text);
            found.extend(page.body["data"].as_array().unwrap().clone());
            match page.body["next"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(found.len(), count, "{query}");
        assert!(found.iter().all(|receipt| receipt["tenant"] == "acme"));
        assert_eq!(found.iter().any(|receipt| receipt["id"] == id.as_str()), count > 0);
    }
}

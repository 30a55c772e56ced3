//! Metrics: the fleet's figures of a period, by steps, from every process alike.

use crate::house::{DAY_MS, HOUR_MS, House, NOON_MS, fields};
use serde_json::{Value, json};

const MIDNIGHT_MS: u64 = NOON_MS - 12 * HOUR_MS;

fn total(body: &Value) -> u64 {
    body["requests_total"].as_u64().unwrap()
}

/// One request of acme's at noon, two an hour later, of which the second is a hit, and three the next day.
async fn busy() -> House {
    let house = House::new().await;
    let key = house.acme().await.key;
    for (text, wait_ms) in [("1", 0), ("2", HOUR_MS), ("2", 0), ("3", DAY_MS), ("4", 0), ("5", 0)] {
        house.clock.advance(wait_ms);
        assert_eq!(house.chat(&key, "sim/cheap", text).await.status, 200);
    }
    house
}

#[tokio::test]
async fn a_period_is_today_unless_another_is_asked_for() {
    let house = busy().await;
    let (noon, next) = (NOON_MS, NOON_MS + DAY_MS);
    for (query, from_ms, to_ms, requests) in [
        (String::new(), MIDNIGHT_MS + DAY_MS, MIDNIGHT_MS + 2 * DAY_MS, 3),
        ("?from=2025-11-22".into(), MIDNIGHT_MS, MIDNIGHT_MS + 2 * DAY_MS, 6),
        ("?to=2025-11-22".into(), MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS, 3),
        ("?from=2025-11-22&to=2025-11-22".into(), MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS, 3),
        ("?from=2025-11-01&to=2025-12-24".into(), MIDNIGHT_MS - 21 * DAY_MS, MIDNIGHT_MS + 33 * DAY_MS, 6),
        // An instant is taken for its hour, or for its day.
        (format!("?from={noon}&to={}", noon + 1), noon, noon + HOUR_MS, 1),
        (format!("?from={}&to={}", noon + HOUR_MS + 7, noon + HOUR_MS + 8), noon + HOUR_MS, noon + 2 * HOUR_MS, 2),
        (format!("?from={noon}&to={next}&step=day"), MIDNIGHT_MS, MIDNIGHT_MS + 2 * DAY_MS, 6),
        (format!("?from={}&to={next}", noon - 20 * DAY_MS), MIDNIGHT_MS - 20 * DAY_MS, MIDNIGHT_MS + 2 * DAY_MS, 6),
    ] {
        let seen = house.get(&format!("/admin/metrics{query}")).await;
        let body = &seen.body;
        assert_eq!((seen.status, &body["scope"]), (200, &json!("fleet")), "{query}: {}", seen.text);
        assert_eq!((&body["from"], &body["to"]), (&json!(from_ms), &json!(to_ms)), "{query}");
        assert_eq!((&body["since_ms"], total(body)), (&json!(from_ms), requests), "{query}");
        assert_eq!(body["series"].is_null(), !query.contains("step"), "{query}");
    }
}

#[tokio::test]
async fn steps_are_complete_and_add_up() {
    let house = busy().await;
    for (query, step_ms, count) in [
        ("step=hour&from=2025-11-22", HOUR_MS, 48),
        ("step=day&from=2025-11-20", DAY_MS, 4),
        ("step=hour", HOUR_MS, 24),
    ] {
        let body = house.get(&format!("/admin/metrics?{query}")).await.body;
        let series = body["series"].as_array().unwrap();
        assert_eq!(series.len(), count, "{query}");
        let from_ms = body["from"].as_u64().unwrap();
        for (step, n) in series.iter().zip(0..) {
            assert_eq!(step["from_ms"], from_ms + n * step_ms, "{query}");
            assert_eq!(fields(&step["latency_ms"]), ["mean", "p50", "p95", "p99"]);
        }
        assert_eq!(series.iter().map(total).sum::<u64>(), total(&body), "{query}");
        let hits: u64 = series.iter().map(|step| step["cache_hits_total"].as_u64().unwrap()).sum();
        assert_eq!(hits, body["cache_hits_total"].as_u64().unwrap(), "{query}");
        // The server's own names, in every step.
        let of_step: Vec<&str> = fields(&series[0]).into_iter().filter(|name| *name != "from_ms").collect();
        assert!(of_step.iter().all(|name| !body[*name].is_null()), "{of_step:?}");
    }
    let body = house.get("/admin/metrics?step=hour&from=2025-11-22&to=2025-11-22").await.body;
    let busy: Vec<_> = body["series"].as_array().unwrap().iter().map(total).collect();
    assert_eq!(busy[12..14], [1, 2], "at noon, and an hour after");
}

#[tokio::test]
async fn a_parameter_that_cannot_be_is_named() {
    let house = House::new().await;
    for (query, name) in [
        ("step=minute", "step"),
        ("step=3600", "step"),
        ("from=yesterday", "from"),
        ("from=2025-02-30", "from"),
        ("to=2025-11-22T00:00:00", "to"),
        ("to=-1", "to"),
        ("to=99999999999999999999", "to"),
        ("from=2025-11-23&to=2025-11-22", "from"),
        ("from=2025-11-23", "from"),
        ("from=2020-01-01", "from"),
        ("from=2020-01-01&step=day", "from"),
        ("from=2025-11-20&to=2026-11-22&step=hour", "step"),
        ("from=2025-11-01&step=hour", "from"),
        ("since=2025-11-22", "since"),
        ("from=2025-11-22&from=2025-11-22", "from"),
    ] {
        let seen = house.get(&format!("/admin/metrics?{query}")).await;
        assert_eq!(seen.error(), (400, "invalid_request", Some(name)), "{query}: {}", seen.text);
    }
    // What is just within the bounds.
    for query in ["from=2025-11-14&step=hour", "from=2023-02-27", "from=2023-02-27&to=2025-11-22&step=day"] {
        let seen = house.get(&format!("/admin/metrics?{query}")).await;
        assert_eq!(seen.status, 200, "{query}: {}", seen.text);
    }
}

#[tokio::test]
async fn a_deleted_tenant_is_in_the_totals_only() {
    let house = House::new().await;
    house.tenant("other", json!({})).await;
    let (acme, other) = (house.acme().await.key, house.key("other").await.key);
    for key in [&acme, &other] {
        assert_eq!(house.chat(key, "sim/cheap", "one").await.status, 200);
    }
    assert_eq!(fields(&house.get("/admin/metrics").await.body["tenants"]), ["acme", "other"]);
    assert_eq!(house.ask("DELETE", "/admin/tenants/acme", None).await.status, 204);
    let body = house.get("/admin/metrics").await.body;
    assert_eq!((fields(&body["tenants"]), total(&body)), (vec!["other"], 2));
}

#[tokio::test]
async fn what_is_refused_is_this_process_s_own_count() {
    let house = House::new().await;
    house.acme().await;
    assert_eq!(house.chat("gw_live_nobody", "sim/cheap", "one").await.status, 401);
    let body = house.get("/admin/metrics").await.body;
    let none = json!({"since_ms": NOON_MS, "refused_total": 1, "store_failures_total": 0, "ledger_failures_total": 0,
        "events_skipped_total": 0, "alerts_sent_total": 0, "alerts_failed_total": 0,
        "log_lines_lost_total": 0, "receipts_lost_total": 0, "faults": {}});
    assert_eq!((&body["process"], total(&body)), (&none, 0));
}

#[tokio::test]
async fn metrics_are_also_openmetrics_text_with_the_same_figures() {
    let house = busy().await;
    let (seen, json) = (house.get("/metrics").await, house.get("/admin/metrics").await.body);
    assert_eq!(
        (seen.status, seen.header("content-type")),
        (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(seen.text.ends_with("\n# EOF\n"));
    let value = |sample: &str| {
        let line = seen.text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {sample} in {}", seen.text)).to_owned()
    };
    for (sample, field) in [
        ("gateway_requests_total{scope=\"fleet\"}", "/requests_total"),
        ("gateway_input_tokens_total{scope=\"fleet\"}", "/input_tokens"),
        ("gateway_tenant_requests_total{scope=\"fleet\",tenant=\"acme\"}", "/tenants/acme/requests"),
        ("gateway_model_requests_total{scope=\"fleet\",model=\"sim/cheap\"}", "/models/sim~1cheap/requests"),
        ("gateway_model_health_percent{scope=\"fleet\",model=\"sim/cheap\"}", "/models/sim~1cheap/health"),
        ("gateway_process_refused_total{scope=\"process\"}", "/process/refused_total"),
    ] {
        assert_eq!(value(sample), json.pointer(field).unwrap().to_string(), "{sample}");
    }
    assert_eq!(value("gateway_cost_usd_total{scope=\"fleet\"}"), json["cost_usd"].as_str().unwrap());
    let breaker = "gateway_model_breaker{scope=\"fleet\",model=\"sim/cheap\",gateway_model_breaker=\"closed\"}";
    assert_eq!((value(breaker).as_str(), value("gateway_store_up{scope=\"process\"}").as_str()), ("1", "1"));
    assert_eq!(house.get("/metrics?from=2025-11-22").await.error(), (400, "invalid_request", Some("from")));
}

//! The live window: what is used, held, allowed, and when it ends.

use crate::house::{DAY_MS, HOUR_MS, House, MONTH_MS, NOON_MS};
use gateway_core::id::RequestId;
use gateway_core::limit::window::Window;
use gateway_core::money::Amounts;
use gateway_core::store::{Admission, QuotaAsk, Ticket, Verdict};
use serde_json::{Value, json};

const MIDNIGHT_MS: u64 = NOON_MS - 12 * HOUR_MS;

fn month(used: &str, limit: Value) -> Value {
    json!({"window": {"starts_at_ms": MONTH_MS.0, "resets_at_ms": MONTH_MS.1},
        "cost_usd": {"used": used, "held": "0.000000000", "limit": limit}})
}

#[tokio::test]
async fn a_fresh_tenant_has_used_nothing() {
    let house = House::new().await;
    house.tenant("acme", json!({"limits": {"daily_tokens": null, "monthly_cost_usd": "20"}})).await;
    let seen = house.get("/admin/tenants/acme/usage").await;
    let zero = "0.000000000";
    let expected = json!({"window": {"starts_at_ms": MIDNIGHT_MS, "resets_at_ms": MIDNIGHT_MS + DAY_MS},
        "requests": {"used": 0, "held": 0, "limit": 1000}, "tokens": {"used": 0, "held": 0, "limit": null},
        "cost_usd": {"used": zero, "held": zero, "limit": "5.000000000"}, "month": month(zero, json!("20.000000000"))});
    assert_eq!((seen.status, seen.body), (200, expected));
}

#[tokio::test]
async fn what_was_used_is_the_sum_of_the_receipts_with_or_without_a_limit_by_the_month() {
    for monthly in [json!(null), json!("20")] {
        let house = House::new().await;
        let key = house.acme().await.key;
        house.ask("PATCH", "/admin/tenants/acme", Some(json!({"limits": {"monthly_cost_usd": monthly}}))).await;
        let mut tokens = 0;
        for text in ["one", "two", "three"] {
            let answer = house.chat(&key, "sim/cheap", text).await;
            tokens += answer.body["usage"]["total_tokens"].as_u64().unwrap();
        }
        let rows = house.get("/admin/usage").await.body;
        let cost = rows["data"][0]["cost_usd"].as_str().unwrap();
        assert_ne!(cost, "0.000000000");
        let seen = house.get("/admin/tenants/acme/usage").await.body;
        assert_eq!(seen["requests"]["used"], 3);
        assert_eq!(seen["tokens"]["used"], tokens);
        assert_eq!(seen["cost_usd"]["used"], cost);
        assert_eq!(seen["month"]["cost_usd"]["used"], cost, "with a monthly limit of {monthly}");
    }
}

#[tokio::test]
async fn what_is_held_for_a_request_in_flight_is_told_apart() {
    let house = House::new().await;
    let uid = house.tenant("acme", json!({})).await["uid"].as_str().unwrap().to_owned();
    let counters = house.gateway.store.counters();
    let window = Window::day(NOON_MS, 0);
    let hold = Amounts { requests: 1, tokens: 70, cost_nusd: 900 };
    let ask = Admission {
        tenant: uid.as_str().into(),
        id: RequestId::new(NOON_MS),
        settings_version: NOON_MS,
        request_rate: None,
        token_rate: None,
        rate_tokens: 0,
        concurrency: None,
        key: None,
        quotas: vec![QuotaAsk { window, requests: None, tokens: None, cost_nusd: None }],
        hold,
        upper_bound_hold: hold,
        lease_until_ms: NOON_MS + HOUR_MS,
    };
    let Verdict::Stale { incarnation, .. } =
        counters.admit(&ask, &mut Ticket::new(ask.id), false, NOON_MS).await.unwrap()
    else {
        panic!()
    };
    let used = [(window, Amounts { requests: 2, tokens: 10, cost_nusd: 5 }.into())];
    assert!(counters.rebuild(&uid, Some(incarnation), NOON_MS, &used, NOON_MS).await.unwrap());
    let verdict = counters.admit(&ask, &mut Ticket::new(ask.id), false, NOON_MS).await.unwrap();
    assert!(matches!(verdict, Verdict::Admitted { .. }), "{verdict:?}");
    let seen = house.get("/admin/tenants/acme/usage").await.body;
    assert_eq!(seen["requests"], json!({"used": 2, "held": 1, "limit": 1000}));
    assert_eq!(seen["tokens"], json!({"used": 10, "held": 70, "limit": 1_000_000}));
    assert_eq!(seen["cost_usd"], json!({"used": "0.000000005", "held": "0.000000900", "limit": "5.000000000"}));
}

#[tokio::test]
async fn the_day_begins_where_the_anchor_says_and_counts_anew_after_it() {
    let house = House::new().await;
    house.tenant("acme", json!({"window_anchor_ms": NOON_MS - 30 * HOUR_MS, "limits": {"daily_requests": 1}})).await;
    let key = house.key("acme").await.key;
    let starts_at_ms = NOON_MS - 6 * HOUR_MS;
    assert_eq!(house.chat(&key, "sim/cheap", "one").await.status, 200);
    assert_eq!(house.chat(&key, "sim/cheap", "two").await.error().1, "quota_exceeded");
    let seen = house.get("/admin/tenants/acme/usage").await.body;
    assert_eq!(seen["window"], json!({"starts_at_ms": starts_at_ms, "resets_at_ms": starts_at_ms + DAY_MS}));
    assert_eq!(seen["requests"], json!({"used": 1, "held": 0, "limit": 1}));
    house.clock.advance(18 * HOUR_MS);
    let seen = house.get("/admin/tenants/acme/usage").await.body;
    assert_eq!(seen["window"]["starts_at_ms"], starts_at_ms + DAY_MS);
    assert_eq!(seen["requests"]["used"], 0);
    assert_eq!(house.chat(&key, "sim/cheap", "three").await.status, 200);
}

#[tokio::test]
async fn another_tenants_use_is_not_counted() {
    let house = House::new().await;
    let key = house.acme().await.key;
    house.tenant("other", json!({})).await;
    house.chat(&key, "sim/cheap", "hello").await;
    assert_eq!(house.get("/admin/tenants/other/usage").await.body["requests"]["used"], 0);
}

//! Prices on a request's way: one that nobody knows, and one that changes at midnight (M1).

use crate::afford::money;
use crate::rig::{NOW, Scene, ask, ask_with, scene, streamed};
use gateway_core::clock::DAY_MS;
use serde_json::{Value, json};

/// A model that costs something, `ok`, and before it one of which nobody knows what it costs.
fn one_unknown() -> Scene {
    scene().model_at("\"unknown\"", "ok@free", "").tier("cheap", &["ok@free", "ok"]).tier("reasoning", &["ok@strong"])
}

#[tokio::test]
async fn a_model_of_unknown_price_is_not_for_a_tenant_with_a_quota_of_cost() {
    for (limits, quota) in
        [(money("5"), "daily_cost_usd"), (json!({"daily_cost_usd": null, "monthly_cost_usd": "5"}), "monthly_cost_usd")]
    {
        let rig = one_unknown().limits(limits).build().await;
        let got = rig.fresh(ask("up/ok@free")).await;
        let message = got.json()["error"]["message"].to_string();
        assert_eq!(got.status, 400, "{message}");
        assert!(message.contains("`up/ok@free` is unknown") && message.contains(quota), "{message}");
        let got = rig.fresh(ask("cheap")).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "in a tier it is passed by");
        assert_eq!(rig.calls("ok@free"), 0);
    }
}

#[tokio::test]
async fn a_model_of_unknown_price_serves_the_others_and_their_receipts_say_it() {
    let rig = one_unknown().limits(json!({"daily_cost_usd": null, "monthly_cost_usd": null})).build().await;
    for body in [ask("up/ok@free"), streamed("up/ok@free")] {
        let got = rig.fresh(body).await;
        let receipt = rig.receipt(&got).await;
        assert_eq!((got.status, &receipt["cost_usd"]), (200, &json!("0.000000000")));
        let note = receipt["attempts"][0]["price_note"].to_string();
        assert!(note.contains("unknown"), "{receipt}");
    }
    let priced = rig.fresh(ask("up/ok")).await;
    assert_eq!(rig.receipt(&priced).await["attempts"][0]["price_note"], Value::Null);
}

#[tokio::test]
async fn a_price_that_rises_at_midnight_is_held_before_and_charged_from_then_on() {
    let price = "[{ until = 2025-11-23, input = 0, output = 1 }, { from = 2025-11-23, input = 0, output = 10 }]";
    let limits = json!({"daily_requests": null, "daily_tokens": null, "daily_cost_usd": "0.005"});
    let rig = scene().model_at(price, "ok", "").tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]);
    let rig = rig.limits(limits).build().await;
    let body = |max_tokens: u64| ask_with("up/ok", json!({"max_tokens": max_tokens}));
    let cost = async |got: &crate::rig::Got| {
        let receipt = rig.receipt(got).await;
        let tokens = receipt["usage"]["output_tokens"].as_u64().unwrap();
        let usd: f64 = receipt["cost_usd"].as_str().unwrap().parse().unwrap();
        (usd * 1e9).round() as u64 / tokens
    };
    let got = rig.fresh(body(1_000)).await;
    assert_eq!((got.status, cost(&got).await), (200, 1_000), "nano-dollars a token");

    // Two minutes to midnight: a thousand tokens may come to cost ten times as much, for which there is no room.
    let midnight = NOW - NOW % DAY_MS + DAY_MS;
    rig.clock.advance(midnight - NOW - 120_000);
    let refused = rig.fresh(body(1_000)).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "quota_exceeded"));
    let got = rig.fresh(body(100)).await;
    assert_eq!((got.status, cost(&got).await), (200, 1_000), "what counts is when it was answered");
    rig.clock.advance(120_000);
    let got = rig.fresh(body(100)).await;
    assert_eq!((got.status, cost(&got).await), (200, 10_000));
    assert_eq!(rig.counted().await, rig.totals().await);
}

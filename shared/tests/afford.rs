//! What a tenant can pay for: free models without money, what is left out of a request that has not enough left, and how
//! a failover is held for that costs more than was held (M1).

use crate::attempts::attempts;
use crate::rig::{NOW, Rig, Scene, ask, ask_with, scene, streamed, two_tiers};
use crate::unreliable::Unreliable;
use async_trait::async_trait;
use gateway_core::money::Amounts;
use gateway_core::provider::{Call, Provider, ProviderError, Reply};
use gateway_core::store::memory::MemoryCounters;
use serde_json::{Value, json};
use simulated_provider::Simulated;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

const FREE: &str = "{ input = 0, output = 0 }";

/// Two models, `ok` that costs money and `ok@free`; and a dear one.
fn paid_and_free() -> Scene {
    scene().model_at(FREE, "ok@free", "").tier("cheap", &["ok", "ok@free"]).tier("reasoning", &["ok@strong"])
}

pub fn money(usd: &str) -> Value {
    json!({"daily_requests": null, "daily_tokens": null, "daily_cost_usd": usd})
}

fn list(models: &[&str]) -> Value {
    let mut body = ask("auto");
    body.as_object_mut().unwrap().remove("model");
    body["models"] = json!(models);
    body
}

/// Seems to be about design, and not for sure.
fn unsure() -> Value {
    json!({"messages": [{"role": "user", "content": "some design, please"}]})
}

async fn reasons(rig: &Rig, got: &crate::rig::Got) -> String {
    rig.receipt(got).await["reasons"].to_string()
}

#[tokio::test]
async fn a_free_model_serves_a_tenant_without_money() {
    for limits in [money("0"), money("0.000000001"), json!({"monthly_cost_usd": "0", "daily_cost_usd": null})] {
        let rig = paid_and_free().limits(limits.clone()).build().await;
        for body in [ask("up/ok@free"), streamed("up/ok@free")] {
            let got = rig.fresh(body).await;
            assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@free"), "{limits}: {got:?}");
        }
        let got = rig.fresh(ask("up/ok")).await;
        assert_eq!((got.status, got.error_code().as_str()), (429, "quota_exceeded"), "{limits}");
        assert_eq!(rig.counted().await.cost_nusd, 0);
    }
}

#[tokio::test]
async fn a_free_model_serves_a_tenant_whose_money_is_used_up() {
    let rig = paid_and_free().limits(money("0.005")).build().await;
    let paid = || ask_with("up/ok", json!({"max_tokens": 100}));
    while rig.fresh(paid()).await.status == 200 {
        assert!(rig.counted().await.cost_nusd <= 5_000_000);
    }
    assert!(rig.counted().await.cost_nusd > 4_000_000, "it is used up");
    assert_eq!(rig.fresh(ask("up/ok@free")).await.status, 200);
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn of_several_candidates_those_that_fit_serve_and_the_receipt_says_what_was_left_out() {
    let rig = paid_and_free().limits(money("0")).build().await;
    for body in [list(&["up/ok", "up/ok@free"]), list(&["up/ok@strong", "up/ok", "up/ok@free"]), ask("cheap")] {
        let got = rig.fresh(body.clone()).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@free"), "{body}: {got:?}");
        assert_eq!((got.header("x-gateway-attempts"), got.header("x-gateway-failover")), ("1", "false"), "{body}");
        let reasons = reasons(&rig, &got).await;
        assert!(reasons.contains("up/ok is left out: daily_cost_usd has not enough left for it"), "{reasons}");
    }
    let got = rig.fresh(list(&["up/ok", "up/ok@strong"])).await;
    assert_eq!((got.status, got.error_code().as_str()), (429, "quota_exceeded"), "none of these fits");
    assert_eq!((rig.calls("ok"), rig.calls("ok@strong")), (0, 0));
}

#[tokio::test]
async fn where_money_is_left_for_some_the_dear_ones_alone_are_left_out() {
    let rig = paid_and_free().limits(money("0.02")).build().await;
    let got = rig.fresh(list(&["up/ok@strong", "up/ok", "up/ok@free"])).await;
    assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "{got:?}");
    let reasons = reasons(&rig, &got).await;
    assert!(reasons.contains("up/ok@strong is left out") && !reasons.contains("up/ok is left out"), "{reasons}");
}

#[tokio::test]
async fn a_classifier_that_cannot_be_paid_for_is_not_asked() {
    let scene = scene()
        .model_at(FREE, "ok@free", "")
        .tier("cheap", &["ok", "ok@free"])
        .tier("reasoning", &["ok@strong", "ok@free"])
        .table("[intent]\nask_below = 1");
    let rig = scene.limits(money("0")).build().await;
    let got = rig.fresh(ask_with("auto", unsure())).await;
    assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@free"), "{got:?}");
    let reasons = reasons(&rig, &got).await;
    assert!(reasons.contains("the classifier is not asked: daily_cost_usd has not enough left for it"), "{reasons}");
    assert_eq!(rig.calls("ok"), 0, "and it was not");
}

#[tokio::test]
async fn a_classifier_names_a_tier_of_which_the_models_that_fit_serve() {
    // The classifier is free and says what the prompt is about; of the tier that it names one model is free.
    let classifier = "say:{\"intent\": \"greeting\"}";
    let scene = scene()
        .model_at(FREE, classifier, "")
        .model_at(FREE, "ok@free", "")
        .tier("cheap", &["ok", "ok@free"])
        .tier("reasoning", &["ok@free"])
        .tier("asked", &[classifier])
        .table("[intent]\nask_below = 1\nclassifier_tier = \"asked\"\ndefault_intent = \"greeting\"");
    let rig = scene.limits(money("0")).build().await;
    let got = rig.fresh(ask_with("auto", unsure())).await;
    assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@free"), "{got:?}");
    assert_eq!(got.header("x-gateway-tier"), "cheap", "{got:?}");
    assert!(reasons(&rig, &got).await.contains("up/ok is left out"));
}

#[tokio::test]
async fn an_upgrade_goes_to_the_models_that_fit() {
    let scene = scene()
        .model_at(FREE, "hedge", "")
        .model_at(FREE, "say:Certainly so.", "")
        .tier("cheap", &["hedge"])
        .tier("reasoning", &["ok@strong", "say:Certainly so."]);
    let rig = scene.limits(money("0")).build().await;
    let got = rig.fresh(ask("cheap")).await;
    assert_eq!((got.status, got.text().as_str()), (200, "Certainly so."), "{got:?}");
    assert!(reasons(&rig, &got).await.contains("up/ok@strong is left out"));
}

/// A provider that does something when it is called the first time.
struct AtFirstCall(Simulated, AtomicBool, OnceLock<Box<dyn Fn() + Send + Sync>>);

#[async_trait]
impl Provider for AtFirstCall {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        if !self.1.swap(true, SeqCst)
            && let Some(act) = self.2.get()
        {
            act();
        }
        self.0.chat(call).await
    }
}

struct Night {
    rig: Rig,
    counters: Arc<Unreliable<MemoryCounters>>,
    provider: Arc<AtFirstCall>,
}

/// Of two models the first breaks off and is billed, so that the second needs more than was held.
async fn costly_failover(tenant: Value) -> Night {
    let counters = Arc::new(Unreliable::new(MemoryCounters::default()));
    let provider = Arc::new(AtFirstCall(Simulated::new(), AtomicBool::new(false), OnceLock::new()));
    let given = provider.clone();
    let scene = two_tiers(["sim/cut", "sim/cheap"], ["sim/reasoning"]).table("[retry]\nmax_per_candidate = 0");
    let scene = scene.tenant(tenant).counters(counters.clone());
    let rig = scene.with(|builder| builder.provider("sim", given)).build().await;
    Night { rig, counters, provider }
}

fn only_tokens(daily: u64) -> Value {
    json!({"daily_requests": null, "daily_cost_usd": null, "daily_tokens": daily})
}

const FAILED_OVER: [&str; 2] = ["sim/cut first truncated 200", "sim/cheap failover ok 200"];

#[tokio::test(start_paused = true)]
async fn a_failover_that_the_quota_has_no_room_for_is_not_made_and_the_receipt_says_exhausted() {
    let night = costly_failover(json!({"limits": only_tokens(4_200)})).await;
    let got = night.rig.fresh(ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"), "{got:?}");
    let reasons = reasons(&night.rig, &got).await;
    assert!(reasons.contains("the quota has not enough left for another attempt, of sim/cheap"), "{reasons}");
    assert_eq!(night.rig.counted().await, night.rig.totals().await);
}

#[tokio::test]
async fn a_failover_that_the_quota_has_no_room_for_goes_to_one_that_fits() {
    let scene = scene()
        .model_at(FREE, "ok@free", "")
        .tier("cheap", &["cut", "ok", "ok@free"])
        .tier("reasoning", &["ok@strong"])
        .table("[retry]\nmax_per_candidate = 0");
    // Enough for one call, not for one and what the first is billed.
    let rig = scene.limits(money("0.00339")).build().await;
    let got = rig.fresh(ask("cheap")).await;
    assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@free"), "{got:?}");
    assert!(reasons(&rig, &got).await.contains("not enough left for another attempt, of up/ok"));
}

#[tokio::test(start_paused = true)]
async fn with_the_store_down_a_failover_goes_on_within_the_outage_share() {
    for (share, goes_on) in [(json!(0.1), true), (json!(0.000_5), false), (json!(0), false)] {
        let night = costly_failover(json!({"outage_share": share, "limits": only_tokens(100_000)})).await;
        let counters = night.counters.clone();
        let _ = night.provider.2.set(Box::new(move || counters.set_down(true)));
        let got = night.rig.fresh(ask("cheap")).await;
        let receipt = night.rig.receipt(&got).await;
        let reasons = receipt["reasons"].to_string();
        if goes_on {
            assert_eq!((got.status, attempts(&receipt)), (200, FAILED_OVER.map(str::to_owned).to_vec()));
            assert!(reasons.contains("sim/cheap: held for within the outage share"), "{reasons}");
        } else {
            assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"), "share {share}");
            assert!(reasons.contains("the store is down, and nothing can be held for another attempt"), "{reasons}");
        }
        assert!(!reasons.contains("the quota"), "nobody knows what the quota has left: {reasons}");
        // What was used is owed, and charged once.
        night.counters.set_down(false);
        assert_eq!(night.rig.fresh(ask("sim/cheap")).await.status, 200);
        assert_eq!(night.rig.counted().await, night.rig.totals().await, "share {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_limit_a_failover_needs_no_grant_while_the_store_is_down() {
    let unlimited = json!({"daily_requests": null, "daily_cost_usd": null, "daily_tokens": null});
    let night = costly_failover(json!({"limits": unlimited})).await;
    let counters = night.counters.clone();
    let _ = night.provider.2.set(Box::new(move || counters.set_down(true)));
    assert_eq!(night.rig.fresh(ask("cheap")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_the_store_has_lost_is_no_exhausted_quota() {
    for (share, status) in [(json!(0.1), 200), (json!(0), 502)] {
        let night = costly_failover(json!({"outage_share": share, "limits": only_tokens(100_000)})).await;
        let clock = night.rig.clock.clone();
        // Past its lease the hold is gone.
        let _ = night.provider.2.set(Box::new(move || {
            clock.advance(400_000);
        }));
        let got = night.rig.fresh(ask("cheap")).await;
        assert_eq!(got.status, status, "{got:?}");
        let reasons = reasons(&night.rig, &got).await;
        assert!(!reasons.contains("the quota has not enough left"), "{reasons}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_admitted_without_the_store_fails_over_within_the_outage_share() {
    for (share, status) in [(json!(0.5), 200), (json!(0.042), 502)] {
        let night = costly_failover(json!({"outage_share": share, "limits": only_tokens(100_000)})).await;
        night.counters.set_down(true);
        let got = night.rig.fresh(ask("cheap")).await;
        assert_eq!(got.status, status, "{got:?}");
        night.counters.set_down(false);
        assert_eq!(night.rig.fresh(ask("sim/cheap")).await.status, 200);
        assert_eq!(night.rig.counted().await, night.rig.totals().await);
    }
}

#[tokio::test]
async fn without_the_store_the_candidate_serves_that_the_share_has_room_for() {
    let counters = Arc::new(Unreliable::new(MemoryCounters::default()));
    let rig = paid_and_free().limits(money("0")).counters(counters.clone()).build().await;
    counters.set_down(true);
    let got = rig.fresh(ask("cheap")).await;
    assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@free"), "{got:?}");
    assert!(reasons(&rig, &got).await.contains("up/ok is left out: the outage share has not enough left for it"));
    assert_eq!(rig.totals().await, Amounts { requests: 1, ..rig.billed() });
    assert_eq!(rig.clock_now(), NOW);
}

//! Conversations stay on their models, within what their turns need.

use crate::attempts::attempts;
use crate::rig::{Got, Rig, Scene, scene, two_tiers, with_key};
use crate::unreliable::Unreliable;
use futures_util::future::join_all;
use gateway_core::health::{Observation, Signal};
use gateway_core::request::incoming::Incoming;
use gateway_core::store::Composed;
use gateway_core::store::memory::MemoryCache;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

const EASY: &str = "hello there";
const HARD: &str = "design a distributed database";

/// The next turn of a conversation in which the user said all this.
fn turn(model: &str, said: &[&str]) -> Value {
    let mut messages = vec![json!({"role": "system", "content": "Be brief."})];
    for (n, text) in said.iter().enumerate() {
        if n > 0 {
            messages.push(json!({"role": "assistant", "content": "Well."}));
        }
        messages.push(json!({"role": "user", "content": text}));
    }
    json!({"model": model, "messages": messages})
}

/// Sends each turn of a conversation, and answers with the last one's calls and reasons.
async fn talk(rig: &Rig, model: &str, said: &[&str]) -> (Vec<String>, String) {
    let mut got = None;
    for turns in 1..=said.len() {
        got = Some(rig.fresh(turn(model, &said[..turns])).await);
    }
    told(rig, &got.unwrap()).await
}

async fn told(rig: &Rig, got: &Got) -> (Vec<String>, String) {
    assert_eq!(got.status, 200, "{got:?}");
    let receipt = rig.receipt(got).await;
    (attempts(&receipt), receipt["reasons"].to_string())
}

/// The first candidate always fails; whoever begins anew meets it first.
fn failing_first() -> Scene {
    let never_opens = "[breaker]\nconsecutive_failures = 1000\nleast_samples = 10000";
    two_tiers(["status-503", "ok@b"], ["ok@strong"]).table("[retry]\nmax_per_candidate = 0").table(never_opens)
}

const ANEW: [&str; 2] = ["up/status-503 first http_error 503", "up/ok@b failover ok 200"];
const STAYED: [&str; 1] = ["up/ok@b first ok 200"];

#[tokio::test]
async fn a_conversation_stays_on_the_model_that_answered_for_as_long_as_it_is_kept() {
    for model in ["auto", "cheap"] {
        let rig = failing_first().build().await;
        assert_eq!(talk(&rig, model, &[EASY]).await.0, ANEW);
        assert_eq!(talk(&rig, model, &[EASY]).await.0, ANEW, "a first turn that comes again is another conversation's");
        let second = turn(model, &[EASY, "good morning"]);
        let (calls, reasons) = told(&rig, &rig.fresh(second.clone()).await).await;
        assert_eq!(calls, STAYED);
        assert!(reasons.contains("the conversation stays on up/ok@b"), "{reasons}");
        rig.clock.advance(299_000);
        assert_eq!(told(&rig, &rig.fresh(second.clone()).await).await.0, STAYED, "it was used since");
        rig.clock.advance(300_000);
        assert_eq!(told(&rig, &rig.fresh(second).await).await.0, ANEW, "too long ago");
    }
    for table in ["[intent]\nask_below = 0\nsticky_seconds = 0"] {
        let rig = failing_first().table(table).build().await;
        assert_eq!(talk(&rig, "auto", &[EASY, EASY]).await.0, ANEW);
    }
}

#[tokio::test]
async fn another_conversation_tenant_or_choice_of_models_begins_anew() {
    let rig = failing_first().build().await;
    let other = rig.add_tenant("other", json!({})).await;
    talk(&rig, "auto", &[EASY]).await;
    let second = turn("auto", &[EASY, EASY]);
    for body in [turn("auto", &["hello, you", EASY]), turn("cheap", &[EASY, EASY])] {
        assert_eq!(told(&rig, &rig.fresh(body).await).await.0, ANEW);
    }
    for key in ["user", "prompt_cache_key"] {
        let mut body = second.clone();
        body[key] = "ann".into();
        assert_eq!(told(&rig, &rig.fresh(body.clone()).await).await.0, ANEW);
        assert_eq!(told(&rig, &rig.fresh(body).await).await.0, STAYED);
    }
    let got = rig.chat_as(&other, &[("x-gateway-cache", "no-store")], second.clone()).await;
    assert_eq!(got.header("x-gateway-attempts"), "2", "of another tenant nothing is known (T1)");
    let mut list = turn("up/status-503", &[EASY, EASY]);
    list["models"] = json!(["up/ok@b"]);
    for _ in 0..2 {
        assert_eq!(told(&rig, &rig.fresh(list.clone()).await).await.0, ANEW, "a list is the client's own order");
    }
    assert_eq!(told(&rig, &rig.fresh(second).await).await.0, STAYED);
}

#[tokio::test]
async fn a_harder_turn_goes_up_at_once_and_a_conversation_comes_down_when_the_task_has_changed() {
    let rig = two_tiers(["ok"], ["ok@strong"]).build().await;
    let said = [EASY, HARD, EASY, EASY, EASY, EASY];
    for (turns, model, reason) in [
        (1, "up/ok", ""),
        (2, "up/ok@strong", "the conversation leaves up/ok: this turn is for the tier reasoning"),
        (3, "up/ok@strong", "the conversation stays on up/ok@strong"),
        (4, "up/ok@strong", "the conversation stays on up/ok@strong"),
        (5, "up/ok", "the conversation leaves up/ok@strong: 3 turns in a row were for the tier cheap"),
        (6, "up/ok", "the conversation stays on up/ok"),
    ] {
        let got = rig.fresh(turn("auto", &said[..turns])).await;
        assert_eq!(got.header("x-gateway-model"), model, "turn {turns}");
        let receipt = rig.receipt(&got).await;
        assert!(receipt["reasons"].to_string().contains(reason), "turn {turns}: {receipt}");
        assert_eq!(receipt["intent"]["name"] == "design", turns == 2, "what it is about is told as it is: {receipt}");
        assert_eq!(rig.counted().await, rig.totals().await, "turn {turns}");
    }
    let at_once = "[intent]\nask_below = 0\nsticky_easier_turns = 0";
    let rig = two_tiers(["ok"], ["ok@strong"]).table(at_once).build().await;
    assert_eq!(talk(&rig, "auto", &[HARD, EASY]).await.0, ["up/ok first ok 200"]);
}

#[tokio::test]
async fn an_upgrade_moves_a_conversation() {
    let rig = two_tiers(["sim/unsure"], ["sim/reasoning"]).shipped_intents().build().await;
    let (calls, reasons) = talk(&rig, "auto", &["What is an API?", "What is a URL?"]).await;
    assert_eq!(calls, ["sim/reasoning first ok 200"], "{reasons}");
}

fn daily(cost_usd: &str) -> Value {
    json!({"limits": {"daily_cost_usd": cost_usd}})
}

/// A conversation that is on the reasoning tier.
async fn on_the_strong_tier() -> Rig {
    let rig = two_tiers(["ok"], ["ok@strong", "ok@stronger"]).build().await;
    assert_eq!(talk(&rig, "auto", &[HARD]).await.0, ["up/ok@strong first ok 200"]);
    rig
}

#[tokio::test]
async fn what_a_model_cannot_do_or_a_tenant_may_not_takes_a_conversation_away() {
    let seen = |signal| Observation { model: "up/ok@strong".into(), begun_at_ms: crate::rig::NOW, signal };
    let cooling = seen(Signal::CoolDown { until_ms: crate::rig::NOW + 60_000 });
    let mut failing = vec![seen(Signal::Failed); 20];
    failing.push(seen(Signal::Failed));
    for (observations, patch, now, why) in [
        (vec![cooling.clone()], json!({}), HARD, "cooling down until"),
        (vec![cooling], json!({}), EASY, "cooling down until"),
        (failing, json!({}), EASY, "breaker open until"),
        (vec![], json!({"allowed_models": ["auto", "up/ok", "up/ok@stronger"]}), EASY, "not allowed for this tenant"),
        // Of this 0.0006 are used, which leaves enough for the cheap tier.
        (vec![], daily("0.001"), EASY, "the quota has not enough left for its tier"),
    ] {
        let rig = on_the_strong_tier().await;
        rig.gateway.store.health().record(&observations, crate::rig::NOW).await.unwrap();
        rig.change_tenant("acme", patch).await;
        let mut body = turn("auto", &[HARD, now]);
        body["max_tokens"] = 100.into();
        let (calls, reasons) = told(&rig, &rig.fresh(body).await).await;
        let anew = if now == HARD { "up/ok@stronger" } else { "up/ok" };
        assert_eq!(calls, [format!("{anew} first ok 200")], "{reasons}");
        assert!(reasons.contains("the conversation leaves up/ok@strong: ") && reasons.contains(why), "{reasons}");
    }
}

#[tokio::test]
async fn a_hit_and_a_failed_turn_move_nothing() {
    let rig = failing_first().build().await;
    talk(&rig, "auto", &[EASY]).await;
    let second = turn("auto", &[EASY, EASY]);
    rig.chat(second.clone()).await;
    rig.clock.advance(200_000);
    assert_eq!(rig.chat(second.clone()).await.header("x-gateway-cache"), "hit");
    let signal = Signal::CoolDown { until_ms: rig.clock_now() + 50_000 };
    let cooling = Observation { model: "up/ok@b".into(), begun_at_ms: rig.clock_now(), signal };
    rig.gateway.store.health().record(&[cooling], rig.clock_now()).await.unwrap();
    assert_ne!(rig.fresh(second.clone()).await.status, 200, "all candidates are out");
    rig.clock.advance(99_000);
    assert_eq!(told(&rig, &rig.fresh(second).await).await.0, STAYED);
    rig.clock.advance(300_000);
    let third = turn("auto", &[EASY, EASY, EASY]);
    assert_eq!(told(&rig, &rig.fresh(third).await).await.0, ANEW, "it was not prolonged");
}

#[tokio::test]
async fn route_says_whether_a_conversation_stays() {
    let rig = on_the_strong_tier().await;
    let routed = async |body: Value| {
        let call = Incoming {
            headers: with_key(&rig.key, &[]),
            body: Box::new(bytes::Bytes::from(body.to_string())),
            time_left: None,
        };
        Got::all_of(rig.gateway.route(call).await).await.json()
    };
    for (said, tier, sticky) in
        [(&[HARD][..], "reasoning", false), (&[HARD, EASY][..], "reasoning", true), (&[EASY, EASY][..], "cheap", false)]
    {
        let shown = routed(turn("auto", said)).await;
        assert_eq!((shown["tier"].as_str(), shown["sticky"].as_bool()), (Some(tier), Some(sticky)), "{shown}");
    }
    let shown = routed(turn("auto", &[HARD, EASY])).await;
    assert_eq!(shown["candidates"][0]["reason"], "it has answered this conversation before");
}

#[tokio::test]
async fn a_turn_that_is_refused_moves_nothing() {
    let rig = on_the_strong_tier().await;
    let mut body = turn("auto", &[HARD, EASY]);
    body["max_tokens"] = 100.into();
    rig.change_tenant("acme", daily("0.0005")).await;
    let got = rig.fresh(body.clone()).await;
    assert_eq!((got.status, got.error_code().as_str()), (429, "quota_exceeded"), "more than that was used already");
    rig.change_tenant("acme", daily("1")).await;
    assert_eq!(told(&rig, &rig.fresh(body).await).await.0, ["up/ok@strong first ok 200"]);
}

#[tokio::test]
async fn each_of_several_choices_is_held_for_where_a_conversation_stays() {
    for (n, model) in [(1, "up/ok@strong"), (2, "up/ok")] {
        let rig = on_the_strong_tier().await;
        rig.change_tenant("acme", daily("0.003")).await;
        let mut body = turn("auto", &[HARD, EASY]);
        (body["max_tokens"], body["n"]) = (100.into(), n.into());
        let got = rig.fresh(body).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, model), "{n}: {got:?}");
        assert_eq!(got.json()["choices"].as_array().unwrap().len(), n, "{got:?}");
        assert_eq!(rig.counted().await, rig.totals().await);
    }
}

#[tokio::test]
async fn turns_of_one_conversation_at_once_find_it_where_it_was() {
    let rig = failing_first().build().await;
    talk(&rig, "auto", &[EASY]).await;
    let turns = (0..8).map(|n| rig.fresh(turn("auto", &[EASY, &format!("{EASY}, {n}")])));
    for got in join_all(turns).await {
        assert_eq!(told(&rig, &got).await.0, STAYED);
    }
    assert_eq!(told(&rig, &rig.fresh(turn("auto", &[EASY, EASY, EASY])).await).await.0, STAYED);
    // Where it went two ways it is where it was answered last.
    let rig = two_tiers(["ok"], ["ok@strong"]).build().await;
    talk(&rig, "auto", &[EASY]).await;
    join_all([EASY, HARD].map(|said| rig.fresh(turn("auto", &[EASY, said])))).await;
    let got = rig.fresh(turn("auto", &[EASY, HARD, EASY])).await;
    assert!(["up/ok", "up/ok@strong"].contains(&got.header("x-gateway-model")), "{got:?}");
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn a_repeated_turn_is_no_further_turn() {
    let rig = on_the_strong_tier().await;
    let send = async |key: &str, said: &[&str]| {
        let headers = [("idempotency-key", key), ("x-gateway-cache", "no-store")];
        let got = rig.chat_with(&headers, turn("auto", said)).await;
        (got.header("x-gateway-model").to_owned(), got.header("idempotent-replayed").to_owned())
    };
    let strong = || "up/ok@strong".to_owned();
    assert_eq!(send("2", &[HARD, EASY]).await, (strong(), String::new()));
    for _ in 0..3 {
        assert_eq!(send("2", &[HARD, EASY]).await, (strong(), "true".to_owned()));
    }
    assert_eq!(send("3", &[HARD, EASY, EASY]).await, (strong(), String::new()), "the second that is easier");
    rig.clock.advance(299_000);
    assert_eq!(send("2", &[HARD, EASY]).await, (strong(), "true".to_owned()));
    rig.clock.advance(1_000);
    assert_eq!(send("3b", &[HARD, EASY]).await, ("up/ok".to_owned(), String::new()), "it prolongs nothing either");
}

/// A process that remembers conversations where others do.
async fn sharing(scene: Scene, cache: &Arc<Unreliable<MemoryCache>>) -> Rig {
    let cache = cache.clone();
    scene.store(move |memory| Composed { cache, ..memory }).build().await
}

#[tokio::test]
async fn a_conversation_leaves_what_is_configured_no_more_and_what_cannot_be_read() {
    let cache = || Arc::new(Unreliable::new(MemoryCache::new(100, usize::MAX, usize::MAX)));
    let left_the_tier = || two_tiers(["ok"], ["ok@stronger"]).model("ok@strong", "");
    for (now, model, why) in [(HARD, "up/ok@stronger", "it is no candidate any more"), (EASY, "up/ok", "no candidate")]
    {
        for after in [two_tiers(["ok"], ["ok@stronger"]), left_the_tier()] {
            let shared = cache();
            let before = sharing(two_tiers(["ok"], ["ok@strong", "ok@stronger"]), &shared).await;
            assert_eq!(talk(&before, "auto", &[HARD]).await.0, ["up/ok@strong first ok 200"]);
            let (calls, reasons) = {
                let rig = sharing(after, &shared).await;
                told(&rig, &rig.fresh(turn("auto", &[HARD, now])).await).await
            };
            assert_eq!(calls, [format!("{model} first ok 200")], "{reasons}");
            assert!(reasons.contains("the conversation leaves up/ok@strong: ") && reasons.contains(why), "{reasons}");
        }
    }
    let shared = cache();
    let tiers = || scene().tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]);
    let before = sharing(tiers().tier("best", &["ok@best"]).table("[aliases]\nteam = \"best\""), &shared).await;
    assert_eq!(talk(&before, "team", &[EASY]).await.0, ["up/ok@best first ok 200"]);
    let after = sharing(tiers().table("[aliases]\nteam = \"cheap\""), &shared).await;
    let (calls, reasons) = told(&after, &after.fresh(turn("team", &[EASY, EASY])).await).await;
    assert_eq!(calls, ["up/ok first ok 200"]);
    assert!(reasons.contains("the conversation leaves up/ok@best: there is no tier best any more"), "{reasons}");

    let shared = cache();
    let rig = sharing(failing_first(), &shared).await;
    talk(&rig, "auto", &[EASY]).await;
    shared.garbled.store(true, SeqCst);
    assert_eq!(told(&rig, &rig.fresh(turn("auto", &[EASY, EASY])).await).await.0, ANEW, "it cannot be read");
    shared.garbled.store(false, SeqCst);
    assert_eq!(told(&rig, &rig.fresh(turn("auto", &[EASY, EASY])).await).await.0, STAYED);
    shared.set_down(true);
    assert_eq!(told(&rig, &rig.fresh(turn("auto", &[EASY, EASY])).await).await.0, ANEW, "it cannot be asked");
}

#[tokio::test]
async fn of_many_conversations_the_one_that_was_quiet_longest_is_forgotten() {
    let rig = failing_first().table("[intent]\nask_below = 0\nremember_entries = 2").build().await;
    let second = async |first| told(&rig, &rig.fresh(turn("auto", &[first, EASY])).await).await.0;
    for first in ["hello there, a", "hello there, b"] {
        talk(&rig, "auto", &[first]).await;
    }
    assert_eq!(second("hello there, a").await, STAYED);
    talk(&rig, "auto", &["hello there, c"]).await;
    assert_eq!(second("hello there, a").await, STAYED);
    assert_eq!(second("hello there, b").await, ANEW);
}

//! The semantic cache: a request is answered by the answer to an earlier one that asks the same, where all else is equal.

use crate::rig::{Got, Rig, Scene, ask_with, cheap};
use gateway_core::money::Amounts;
use serde_json::{Value, json};

const FIRST: &str = "How do I reset my password?";
const AGAIN: &str = "how can I reset my password";
const OTHER: &str = "How do I change my password?";

fn scene() -> Scene {
    cheap(["reasoning-5+say:Like this."]).tenant(json!({"cache": {"semantic": true}}))
}

fn says(prompt: &str) -> Value {
    with(prompt, json!({}))
}

fn with(prompt: &str, mut fields: Value) -> Value {
    fields["messages"] = json!([{"role": "user", "content": prompt}]);
    ask_with("cheap", fields)
}

async fn cache(rig: &Rig, body: Value) -> String {
    rig.chat(body).await.header("x-gateway-cache").to_owned()
}

fn similarity(got: &Got) -> &str {
    got.header("x-gateway-cache-similarity")
}

#[tokio::test]
async fn what_asks_the_same_is_answered_once_and_says_how_alike_it_is() {
    for stream in [false, true] {
        let rig = scene().build().await;
        let miss = rig.chat(with(FIRST, json!({"stream": stream}))).await;
        assert_eq!((miss.status, miss.header("x-gateway-cache"), similarity(&miss)), (200, "miss", ""));
        rig.clock.advance(7_000);
        let hit = rig.chat(with(AGAIN, json!({"stream": stream}))).await;
        assert_eq!((hit.status, hit.header("x-gateway-cache"), hit.header("age")), (200, "hit-semantic", "7"));
        assert_eq!((hit.text(), hit.is_stream(), hit.is_done()), (miss.text(), stream, miss.is_done()));
        assert_eq!((similarity(&hit), hit.header("x-gateway-attempts")), ("1.000", "0"));
        let receipt = rig.receipt(&hit).await;
        let first = miss.header("x-request-id");
        assert_eq!(receipt["similar"], json!({"similarity": 1.0, "id": first}), "{receipt}");
        assert_eq!((&receipt["cache"], &receipt["cost_usd"]), (&json!("hit-semantic"), &json!("0.000000000")));
        assert_eq!(cache(&rig, with(OTHER, json!({"stream": stream}))).await, "miss");
        assert_eq!(rig.double.counts().total.calls, 2);
        assert_eq!(rig.totals().await, Amounts { requests: 3, ..rig.billed() }, "a hit counts one request and no more");
        assert_eq!(rig.counted().await, rig.totals().await);
    }
}

#[tokio::test]
async fn it_is_off_unless_a_tenant_wants_it() {
    let rig = cheap(["ok"]).build().await;
    for prompt in [FIRST, AGAIN] {
        assert_eq!(cache(&rig, says(prompt)).await, "miss");
    }
    rig.change_tenant("acme", json!({"cache": {"semantic": true}})).await;
    assert_eq!(cache(&rig, says("How to reset my password?")).await, "miss", "nothing was noted before");
    assert_eq!(cache(&rig, says("Please tell me how to reset my password")).await, "hit-semantic");
    rig.change_tenant("acme", json!({"cache": {"semantic": false}})).await;
    assert_eq!(cache(&rig, says("Tell me how I can reset my password")).await, "miss");
}

#[tokio::test]
async fn all_else_must_be_equal() {
    let rig = scene().build().await;
    let said = |system: &str, prompt: &str| json!([{"role": "system", "content": system}, {"role": "user", "content": prompt}]);
    let talk = |answer: &str, prompt: &str| json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": answer}, {"role": "user", "content": prompt}]);
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let bodies: [&dyn Fn(&str) -> Value; 12] = [
        &says,
        &|prompt| with(prompt, json!({"temperature": 0})),
        &|prompt| with(prompt, json!({"seed": 1})),
        &|prompt| with(prompt, json!({"user": "a"})),
        &|prompt| with(prompt, json!({"user": "b"})),
        &|prompt| with(prompt, json!({"stream": true})),
        &|prompt| with(prompt, json!({"model": "auto"})),
        &|prompt| ask_with("cheap", json!({"messages": said("You are a bank.", prompt)})),
        &|prompt| ask_with("cheap", json!({"messages": said("You are a pirate.", prompt)})),
        &|prompt| ask_with("cheap", json!({"messages": talk("hello", prompt)})),
        &|prompt| ask_with("cheap", json!({"messages": talk("bye", prompt)})),
        &|prompt| {
            ask_with("cheap", json!({"messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}]}))
        },
    ];
    for body in bodies {
        assert_eq!(cache(&rig, body(FIRST)).await, "miss", "{}", body(FIRST));
    }
    for body in bodies {
        assert_eq!(cache(&rig, body(AGAIN)).await, "hit-semantic", "{}", body(AGAIN));
    }
    let exact_only: [&dyn Fn(&str) -> Value; 3] =
        [&|prompt| with(prompt, json!({"tools": tool})), &|prompt| with(prompt, json!({"n": 2})), &|prompt| {
            with(prompt, json!({"temperature": 1}))
        }];
    for body in exact_only {
        for prompt in [FIRST, AGAIN] {
            assert!(["miss", "bypass"].contains(&cache(&rig, body(prompt)).await.as_str()), "{}", body(prompt));
        }
    }
}

#[tokio::test]
async fn no_tenant_gets_anothers_answer_and_a_purge_takes_what_asks_the_same() {
    let rig = scene().build().await;
    let other = rig.add_tenant("acme2", json!({"cache": {"semantic": true}})).await;
    assert_eq!(cache(&rig, says(FIRST)).await, "miss");
    assert_eq!(rig.chat_as(&other, &[], says(AGAIN)).await.header("x-gateway-cache"), "miss");
    assert_eq!(cache(&rig, says(AGAIN)).await, "hit-semantic");
    rig.gateway.purge(&rig.uid().await).await.unwrap();
    assert_eq!(cache(&rig, says("how to reset my password")).await, "miss");
    assert_eq!(rig.chat_as(&other, &[], says(FIRST)).await.header("x-gateway-cache"), "hit-semantic");
}

#[tokio::test]
async fn the_clients_word_on_the_cache_is_kept() {
    let rig = scene().build().await;
    assert_eq!(cache(&rig, says(FIRST)).await, "miss");
    let asked = async |word, prompt| {
        let got = rig.chat_with(&[("x-gateway-cache", word)], says(prompt)).await;
        (got.status, got.header("x-gateway-cache").to_owned())
    };
    assert_eq!(asked("only-if-cached", AGAIN).await, (200, "hit-semantic".into()));
    assert_eq!(asked("only-if-cached", OTHER).await.0, 504);
    assert_eq!(asked("no-store", AGAIN).await, (200, "bypass".into()));
    assert_eq!(asked("no-cache", AGAIN).await, (200, "bypass".into()));
    assert_eq!(cache(&rig, says(AGAIN)).await, "hit", "that one was remembered for itself");
    rig.clock.advance(300_000);
    assert_eq!(cache(&rig, says("how to reset my password")).await, "miss", "its time is over");
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn a_hit_needs_no_room_but_for_one_request() {
    let body = with(FIRST, json!({"max_tokens": 60}));
    let hold = body.to_string().len() + 16 + 60;
    let limits = json!({"daily_requests": 3, "daily_tokens": hold, "concurrency": 1});
    let rig = scene().tenant(json!({"limits": limits, "cache": {"semantic": true}})).build().await;
    assert_eq!(cache(&rig, body).await, "miss");
    let again = |prompt| with(prompt, json!({"max_tokens": 60}));
    for prompt in [AGAIN, "Please tell me how to reset my password"] {
        assert_eq!(cache(&rig, again(prompt)).await, "hit-semantic");
    }
    let refused = rig.chat(again("How would I reset my password?")).await;
    assert_eq!((refused.status, &refused.json()["error"]["details"]["quota"]), (429, &json!("daily_requests")));
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn a_note_of_an_answer_that_is_gone_costs_a_look_and_no_more() {
    let rig = scene().table("[cache]\nmax_entries = 1").build().await;
    assert_eq!(cache(&rig, says(FIRST)).await, "miss");
    assert_eq!(cache(&rig, says(OTHER)).await, "miss", "the first answer makes room for it");
    assert_eq!(cache(&rig, says(AGAIN)).await, "miss");
    assert_eq!(cache(&rig, says("how to reset my password")).await, "hit-semantic");
    assert_eq!(rig.totals().await, Amounts { requests: 4, ..rig.billed() });
    assert_eq!(rig.counted().await, rig.totals().await, "nothing stays held");
}

//! The semantic cache: a request is answered by the answer to an earlier one that asks the same, where all else is equal.

use crate::rig::{Got, Rig, Scene, ask_with, boxed, cheap, with_key};
use crate::unreliable::Unreliable;
use bytes::Bytes;
use futures_util::future::join_all;
use gateway_core::error::{Error, HttpError};
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::id::RequestId;
use gateway_core::money::Amounts;
use gateway_core::request::incoming::Incoming;
use gateway_core::store::Composed;
use gateway_core::store::memory::MemoryCache;
use gateway_core::store::redis::RedisStore;
use gateway_core::wire::body::Body;
use gateway_core::wire::conversation::{Conversation, Untranslatable};
use gateway_core::wire::facts::Facts;
use gateway_core::wire::format::{FieldNames, Format, Overrides, Spoken, Written};
use gateway_core::wire::openai::CHAT;
use gateway_core::wire::writer::Writer;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use test_servers::redis::Redis;

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

#[tokio::test]
async fn what_differs_in_a_number_a_name_a_negation_or_an_order_is_asked_anew() {
    for (first, other) in [
        ("How far is a walk of 3 miles?", "How far is a walk of 5 miles?"),
        ("What is the capital of France?", "What is the capital of Germany?"),
        ("Is it safe to eat raw eggs?", "Is it not safe to eat raw eggs?"),
        ("Is it safe to eat raw eggs?", "Isn't it safe to eat raw eggs?"),
        ("How do I fly from Rome to Bonn?", "How do I fly from Bonn to Rome?"),
        ("How do I open a door?", "How do I close a door?"),
        ("Did Ann call Bob?", "Did Bob call Ann?"),
        ("Who won the cup in 2014?", "Who won the cup in 2018?"),
    ] {
        let rig = scene().build().await;
        assert_eq!(cache(&rig, says(first)).await, "miss");
        assert_eq!(cache(&rig, says(other)).await, "miss", "{first} | {other}");
        assert_eq!(cache(&rig, says(first.trim_end_matches('?'))).await, "hit-semantic", "{first}");
    }
}

/// The chat format at another door.
#[derive(Debug)]
struct OtherDoor;

impl Spoken for OtherDoor {
    fn name(&self) -> &'static str {
        "other"
    }

    fn splice(&self, body: &Body, overrides: &Overrides<'_>) -> Option<Bytes> {
        CHAT.splice(body, overrides)
    }

    fn write(&self, conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written, Untranslatable> {
        CHAT.write(conversation, overrides)
    }
}

impl Format for OtherDoor {
    fn fields(&self) -> &'static FieldNames {
        CHAT.fields()
    }

    fn read(&self, body: Bytes) -> Result<(Body, Facts), Error> {
        CHAT.read(body)
    }

    fn conversation<'b>(&self, body: &'b Body) -> Result<Conversation<'b>, Untranslatable> {
        CHAT.conversation(body)
    }

    fn writer(&self, request: RequestId) -> Box<dyn Writer> {
        CHAT.writer(request)
    }

    fn error(&self, http: &HttpError, request: Option<&str>) -> Bytes {
        CHAT.error(http, request)
    }
}

#[tokio::test]
async fn no_door_gets_anothers_answer() {
    let rig = scene().build().await;
    let other = async |prompt| {
        let headers = with_key(&rig.key, &[]);
        let incoming = Incoming { headers, body: boxed(says(prompt).to_string()), time_left: None };
        let got = Got::all_of(rig.gateway.serve(&OtherDoor, incoming).await).await;
        assert_eq!(got.status, 200, "{got:?}");
        got.header("x-gateway-cache").to_owned()
    };
    assert_eq!(cache(&rig, says(FIRST)).await, "miss");
    assert_eq!(other(AGAIN).await, "miss");
    assert_eq!(other("How to reset my password?").await, "hit-semantic");
    assert_eq!(cache(&rig, says(AGAIN)).await, "hit-semantic");
}

#[tokio::test]
async fn those_that_come_at_once_are_answered_and_counted_each() {
    let rig = scene().build().await;
    let openings = ["Please", "Hi", "Hello", "Thanks", "Hey", "Please tell me"];
    let at_once =
        || join_all(openings.map(|opening| rig.chat(says(&format!("{opening}, how do I reset my password?")))));
    for got in at_once().await {
        assert_eq!((got.status, got.text().as_str()), (200, "Like this."));
    }
    assert_eq!(rig.counted().await, rig.totals().await);
    let (calls, requests) = (rig.double.counts().total.calls, rig.totals().await.requests);
    assert_eq!(cache(&rig, says("How to reset my password?")).await, "hit-semantic");
    let asked = [AGAIN, "Please tell me how to reset my password", "How can I reset my password"];
    for got in join_all(asked.map(|prompt| rig.chat(says(prompt)))).await {
        assert_eq!((got.status, got.header("x-gateway-cache")), (200, "hit-semantic"), "{got:?}");
    }
    assert_eq!((rig.double.counts().total.calls, rig.totals().await.requests), (calls, requests + 4));
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn a_cache_that_is_down_or_says_what_cannot_be_read_is_a_miss() {
    let memory = Arc::new(Unreliable::new(MemoryCache::new(100, usize::MAX, usize::MAX)));
    let shared = memory.clone();
    let rig = scene().store(move |memory| Composed { cache: shared, ..memory }).build().await;
    memory.set_down(true);
    for prompt in [FIRST, AGAIN] {
        assert_eq!(cache(&rig, says(prompt)).await, "miss", "nothing could be noted");
    }
    memory.set_down(false);
    assert_eq!(cache(&rig, says(FIRST)).await, "miss");
    memory.set_down(true);
    assert_eq!(cache(&rig, says(AGAIN)).await, "miss");
    memory.set_down(false);
    memory.garbled.store(true, SeqCst);
    assert_eq!(cache(&rig, says("How to reset my password?")).await, "miss");
    memory.garbled.store(false, SeqCst);
    assert_eq!(cache(&rig, says("Please, how to reset my password?")).await, "hit-semantic");
    assert_eq!(rig.counted().await, rig.totals().await);
}

/// Does this to each key of a kind.
async fn damage(redis: &Redis, kind: &str, how: &str) {
    let script = format!("local n = 0 for _, k in ipairs(redis.call('KEYS', ARGV[1])) do {how} n = n + 1 end return n");
    let damaged = redis.ask(&["EVAL", &script, "0", &format!("*:{kind}:*")]).await.unwrap();
    assert_ne!(damaged, "0", "{kind}: {how}");
}

#[tokio::test]
async fn what_is_damaged_in_redis_is_a_miss_and_the_next_answer_is_found_again() {
    let redis = Redis::start(&[]).await.unwrap();
    let note = |change: &str| format!("local v = redis.call('LINDEX', k, 0) redis.call('LSET', k, 0, {change})");
    let answer = |change: &str| format!("local v = redis.call('GET', k) redis.call('SET', k, {change})");
    // What is at hand but cannot be read was counted as a hit when it was found.
    for (kind, how, counted) in [
        ("n", note("string.sub(v, 1, -2)"), 0),
        ("n", note("string.sub(v, 1, 40)"), 0),
        ("n", note("string.sub(v, 1, 31) .. string.rep('x', 600)"), 0),
        ("n", note("'x'"), 0),
        ("n", "redis.call('DEL', k) redis.call('SET', k, 'x')".to_owned(), 0),
        ("c", answer("string.sub(v, 1, 31) .. 'x'"), 1),
        ("c", answer("string.sub(v, 1, 31) .. '{}\\n{}'"), 1),
        ("c", answer("'x'"), 0),
    ] {
        assert_eq!(redis.ask(&["FLUSHALL"]).await.unwrap(), "OK");
        let store = RedisStore::new(&redis.url(), &HealthSettings::default(), &BreakerSettings::default(), 1 << 20);
        let store = Arc::new(store.unwrap());
        let rig = scene().with(move |builder| builder.store(store)).build().await;
        assert_eq!(cache(&rig, says(FIRST)).await, "miss");
        damage(&redis, kind, &how).await;
        let got = rig.chat(says(AGAIN)).await;
        assert_eq!((got.status, got.header("x-gateway-cache")), (200, "miss"), "{kind}: {how}: {got:?}");
        assert_eq!(got.header("x-gateway-degraded"), "", "{kind}: {how}");
        assert_eq!(cache(&rig, says(AGAIN)).await, "hit", "{kind}: {how}");
        let more = Amounts { requests: counted, ..Amounts::default() };
        assert_eq!(rig.counted().await, rig.totals().await.plus(more), "{kind}: {how}");
    }
}

//! Memory is one budget for all that is in flight, and nothing of a body is read before its sender is known.

use crate::rig::{Got, Rig, Scene, ask, ask_with, cheap, two_tiers, with_key};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use gateway_core::error::Error;
use gateway_core::limit::budget::{COPIES, REQUEST_BYTES, Room, STREAM_BYTES};
use gateway_core::provider::{Call, Chunk, Chunks, Provider, ProviderError, Reply};
use gateway_core::request::events::Events;
use gateway_core::request::incoming::{Incoming, RequestBody};
use gateway_core::request::reply::{Answer, AnswerBody};
use gateway_core::wire::openai::answer::{chunk, completion};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A body that comes in pieces, and counts those that are read.
struct Pieces {
    body: Bytes,
    read: Arc<AtomicUsize>,
    /// What its last byte waits for, and where it says that it does.
    last: Option<(Arc<AtomicUsize>, watch::Receiver<bool>)>,
}

#[async_trait]
impl RequestBody for Pieces {
    async fn read(self: Box<Self>, room: &Room) -> Result<Bytes, Error> {
        let grown = self.body.chunks(1000).try_for_each(|piece| {
            self.read.fetch_add(piece.len(), Relaxed);
            room.grow(piece.len() * COPIES)
        });
        grown?;
        if let Some((waiting, mut last)) = self.last {
            waiting.fetch_add(1, Relaxed);
            last.wait_for(|go| *go).await.unwrap();
        }
        Ok(self.body)
    }
}

/// How a door is called.
#[derive(Clone, Copy, Debug)]
enum Door {
    Chat,
    Route,
}

async fn send(rig: &Rig, door: Door, key: &str, body: impl RequestBody + 'static) -> Answer {
    let call = Incoming { headers: with_key(key, &[]), body: Box::new(body), time_left: None };
    match door {
        Door::Chat => rig.gateway.chat(call).await,
        Door::Route => rig.gateway.route(call).await,
    }
}

/// A body of about this many bytes.
fn body(bytes: usize) -> Bytes {
    ask_with("cheap", json!({"user": "x".repeat(bytes)})).to_string().into()
}

#[tokio::test]
async fn nothing_of_a_body_is_read_before_its_sender_is_known() {
    let rig = cheap(["ok"]).build().await;
    rig.add_tenant("off", json!({"enabled": false})).await;
    let off = rig.add_key("off", "k").await;
    let unknown = gateway_core::tenant::key::ApiKey::generate();
    for door in [Door::Chat, Door::Route] {
        for (key, status) in [("", 401), ("nonsense", 401), (unknown.reveal(), 401), (&off, 403), (&rig.key, 200)] {
            let read = Arc::new(AtomicUsize::new(0));
            let pieces = Pieces { body: body(100_000), read: read.clone(), last: None };
            let got = Got::all_of(send(&rig, door, key, pieces).await).await;
            assert_eq!(got.status, status, "{door:?}");
            assert_eq!(read.load(Relaxed) > 0, status == 200, "{door:?}: {} bytes were read", read.load(Relaxed));
        }
    }
}

#[tokio::test]
async fn bodies_beyond_the_budget_are_told_503_and_another_tenant_is_served_meanwhile() {
    const MOST: usize = 4 << 20;
    let rig = cheap(["ok"]).table(&format!("[server]\nmax_body_bytes = 100000\nmemory_bytes = {MOST}")).build().await;
    let other = rig.add_tenant("other", json!({})).await;
    let read = Arc::new(AtomicUsize::new(0));
    // All of them are there at once: each waits with its last byte for us.
    let (let_go, last) = watch::channel(false);
    let waiting = Arc::new(AtomicUsize::new(0));
    let refused = AtomicUsize::new(0);
    let all = join_all((0..100).map(|_| {
        let pieces = Pieces { body: body(60_000), read: read.clone(), last: Some((waiting.clone(), last.clone())) };
        async {
            let got = Got::all_of(send(&rig, Door::Chat, &rig.key, pieces).await).await;
            refused.fetch_add(1, Relaxed);
            got
        }
    }));
    let (got, quiet) = tokio::join!(all, async {
        while waiting.load(Relaxed) + refused.load(Relaxed) < 100 {
            tokio::task::yield_now().await;
        }
        let quiet = rig.chat_as(&other, &[], ask("cheap")).await;
        let held = rig.gateway.budget.taken().0;
        let_go.send(true).unwrap();
        (quiet.status, held)
    });
    assert_eq!(quiet.0, 200);
    assert!(quiet.1 > MOST / 3, "the hundred hold {} bytes", quiet.1);
    let (served, refused): (Vec<&Got>, Vec<&Got>) = got.iter().partition(|got| got.status == 200);
    assert!(served.len() >= 5 && refused.len() >= 50, "{} were served", served.len());
    for got in refused {
        assert_eq!((got.status, got.error_code().as_str(), got.header("retry-after")), (503, "overloaded", "1"));
        assert_eq!(got.header("x-should-retry"), "");
    }
    let counted = rig.counted().await;
    assert_eq!(counted.requests, served.len() as u64, "who was refused is not counted, and nothing is held");
    let (held, peak) = rig.gateway.budget.taken();
    drop(got);
    assert!(peak <= MOST && held < MOST / 100, "{held} bytes are held still, of {peak}");
    assert_eq!(rig.chat(ask("cheap")).await.status, 200, "and there is room again");
}

/// A provider whose streams and answers are as long as a test wants, and which counts what is asked of it.
#[derive(Clone, Default)]
struct Long {
    /// Events of a stream before its end.
    events: usize,
    /// Bytes of text in each, or in a whole answer.
    text_bytes: usize,
    /// What was asked for so far: events, and whole answers.
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Provider for Long {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        if call.stream {
            return Ok(Reply::Stream(Box::new(LongStream { long: self.clone(), sent: 0 })));
        }
        self.asked.fetch_add(1, Relaxed);
        let body = json!({"choices": [{"message": {"content": "x".repeat(self.text_bytes)}, "finish_reason": "stop"}]});
        call.room.grow(self.text_bytes * COPIES)?;
        Ok(Reply::Whole(Box::new(completion(body.to_string().into(), 1, 1.0).unwrap())))
    }
}

struct LongStream {
    long: Long,
    sent: usize,
}

#[async_trait]
impl Chunks for LongStream {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        self.sent += 1;
        self.long.asked.fetch_add(1, Relaxed);
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 500});
        let text = "x".repeat(self.long.text_bytes);
        let event = match self.sent.checked_sub(self.long.events) {
            None | Some(0) => json!({"choices": [{"index": 0, "delta": {"content": text}}]}),
            Some(1) => json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}),
            _ => return Ok(None),
        };
        Ok(Some(vec![chunk(event.to_string().into(), 1).unwrap().unwrap()]))
    }
}

async fn long(scene: Scene, events: usize, text_bytes: usize) -> (Rig, Arc<AtomicUsize>) {
    let provider = Long { events, text_bytes, asked: Arc::default() };
    let asked = provider.asked.clone();
    (scene.with(move |builder| builder.provider("sim", Arc::new(provider))).build().await, asked)
}

fn simulated() -> Scene {
    two_tiers(["sim/cheap"], ["sim/reasoning"])
}

fn stream() -> Value {
    ask_with("cheap", json!({"stream": true}))
}

/// Begins a stream; answers its request's id as well.
async fn begin(rig: &Rig, headers: &[(&'static str, &str)]) -> (Events, String) {
    let answer = rig.begin(&rig.key, headers, stream().to_string().into()).await;
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    match answer.body {
        AnswerBody::Stream(events) => (events, id),
        AnswerBody::Whole(body) => panic!("{body:?}"),
    }
}

/// What came of a request's only attempt.
async fn outcome(rig: &Rig, id: &str) -> Value {
    let answer = rig.gateway.receipt(&with_key(&rig.key, &[]), id).await;
    Got::all_of(answer.unwrap()).await.json()["attempts"][0]["outcome"].clone()
}

async fn rest(mut events: Events) -> String {
    let mut text = Vec::new();
    while let Some(piece) = events.recv().await {
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_waits_is_given_up_and_is_read_on_to_its_usage() {
    let (rig, asked) = long(simulated(), 1000, 10_000).await;
    let begun = Instant::now();
    let (events, id) = begin(&rig, &[("x-gateway-cache", "no-store")]).await;
    // Time passes only when nothing else can happen: then the provider has been asked for all that is held for the client.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let held = asked.load(Relaxed);
    assert!((5..=9).contains(&held), "{held} events of 10 kB are in memory");
    rig.recorded(1).await;
    assert_eq!(asked.load(Relaxed), 1002, "and then it is read to its usage");
    let idle = Duration::from_secs(10);
    assert!((idle..2 * idle).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let peak = rig.gateway.budget.taken().1;
    assert!(peak < REQUEST_BYTES + STREAM_BYTES + 50_000, "{peak} bytes for a stream of ten million");
    let text = rest(events).await;
    assert!(text.len() < 100_000 && text.contains("stream_not_read") && !text.contains("[DONE]"), "{}", text.len());
    assert_eq!(
        (rig.totals().await.tokens, rig.counted().await.tokens),
        (510, 510),
        "what the provider bills is charged"
    );
    assert_eq!(outcome(&rig, &id).await, "client_gone");
    assert_eq!(rig.gateway.budget.taken().0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_all_of_its_stream() {
    let (rig, _) = long(simulated(), 50, 40_000).await;
    let (mut events, id) = begin(&rig, &[]).await;
    let mut bytes = 0;
    while let Some(piece) = events.recv().await {
        bytes += piece.len();
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    assert!(bytes > 2_000_000);
    rig.recorded(1).await;
    assert_eq!(outcome(&rig, &id).await, "ok");
}

#[tokio::test]
async fn a_stream_without_a_word_is_given_up_after_a_bounded_head() {
    let (rig, asked) = long(simulated(), usize::MAX, 0).await;
    let got = rig.fresh(stream()).await;
    assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"));
    let asked = asked.load(Relaxed);
    assert!(asked < 3 * 4200, "{asked} events were read, of at most three calls");
    assert!(rig.gateway.budget.taken().1 < 4 << 20, "{:?}", rig.gateway.budget.taken());
    assert!(rig.totals().await.tokens > 0, "it may be billed");
}

#[tokio::test]
async fn an_answer_without_room_ends_with_what_is_billed_and_says_nothing_of_its_model() {
    let scene = simulated().table("[server]\nmax_body_bytes = 100000\nmemory_bytes = 1048576");
    let (rig, asked) = long(scene, 0, 400_000).await;
    let got = rig.fresh(ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str(), got.header("retry-after")), (503, "overloaded", "1"));
    assert_eq!(asked.load(Relaxed), 1, "nobody else is asked: there is no more room for another's answer");
    assert_eq!((rig.counted().await, rig.totals().await.requests), (rig.totals().await, 1));
    assert!(rig.totals().await.tokens > 0);
    let health = rig.gateway.store.health().snapshot(&["sim/cheap".into()], rig.clock_now()).await.unwrap();
    assert_eq!(health[0].measures.failure.weight, 0.0);
    drop(got);
    assert_eq!(rig.gateway.budget.taken().0, 0);
}

#[tokio::test]
async fn what_is_too_long_for_the_cache_is_not_kept_for_it() {
    let (rig, _) = long(simulated(), 300, 10_000).await;
    let got = rig.chat(stream()).await;
    assert!(got.is_done() && got.body.len() > 3_000_000);
    let peak = rig.gateway.budget.taken().1;
    assert!(
        peak < (COPIES << 20) + REQUEST_BYTES + STREAM_BYTES + 50_000,
        "{peak} bytes for an entry of at most a MiB"
    );
    assert_eq!(rig.chat(stream()).await.header("x-gateway-cache"), "miss");
}

#[tokio::test]
async fn an_answer_that_must_be_kept_and_has_no_room_ends_with_an_error_and_is_billed_exactly() {
    let scene = simulated().table("[server]\nmax_body_bytes = 100000\nmemory_bytes = 1048576");
    let (rig, asked) = long(scene, 100, 10_000).await;
    let headers = [("idempotency-key", "k"), ("x-gateway-cache", "no-store")];
    let got = rig.chat_with(&headers, stream()).await;
    assert_eq!((got.error_code().as_str(), got.is_done()), ("overloaded", false));
    assert_eq!((asked.load(Relaxed), rig.totals().await.tokens), (102, 510), "the provider is read to its usage");
    let again = rig.chat_with(&headers, stream()).await;
    assert_eq!((again.header("idempotent-replayed"), again.error_code().as_str()), ("", "overloaded"));
    assert_eq!(rig.counted().await.requests, 2);
}

#[tokio::test(start_paused = true)]
async fn a_remembered_stream_that_nobody_reads_is_given_up_as_well() {
    let (rig, _) = long(simulated(), 50, 10_000).await;
    assert!(rig.chat(stream()).await.is_done());
    let (events, _) = begin(&rig, &[]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let text = rest(events).await;
    assert!(text.len() < 100_000 && text.contains("stream_not_read"), "{}", text.len());
    assert_eq!(rig.gateway.budget.taken().0, 0);
}

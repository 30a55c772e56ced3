//! The hedge: a late first candidate, and a second one beside it.

use crate::rig::{Got, Rig, Scene, ask_with, cheap, streamed};
use async_trait::async_trait;
use gateway_core::provider::{Call, Chunk, Chunks, Provider, ProviderError, Reply};
use gateway_core::receipt::AttemptOutcome;
use gateway_core::wire::openai::answer::{chunk, completion};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const USUAL_MS: u64 = 300;
const FOR_EVER_MS: u64 = 3_600_000;

/// A provider of two models, `a` and `b`; of either it is set how long it takes, and whether it fails then.
#[derive(Default)]
struct Timed {
    ms: [AtomicU64; 2],
    fails: [AtomicU64; 2],
    calls: [AtomicU64; 2],
    /// Calls that were hung up on.
    hung_up: [AtomicU64; 2],
}

/// Notes a call that ends before its answer.
struct Noted<'a>(Option<&'a AtomicU64>);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0 {
            count.fetch_add(1, SeqCst);
        }
    }
}

#[async_trait]
impl Provider for Timed {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let model = usize::from(call.model.provider_model.ends_with('b'));
        self.calls[model].fetch_add(1, SeqCst);
        let mut noted = Noted(Some(&self.hung_up[model]));
        sleep(Duration::from_millis(self.ms[model].load(SeqCst))).await;
        noted.0 = None;
        if self.fails[model].load(SeqCst) > 0 {
            return Err(ProviderError {
                status: Some(501),
                ..ProviderError::retryable(AttemptOutcome::HttpError, "not implemented")
            });
        }
        if call.stream {
            return Ok(Reply::Stream(Box::new(Said(0))));
        }
        let body = r#"{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
        Ok(Reply::Whole(Box::new(completion(body.into(), 1, 1.0).unwrap())))
    }
}

/// A stream of two events.
struct Said(usize);

#[async_trait]
impl Chunks for Said {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        let events = [
            r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"yes"},"finish_reason":null}]}"#,
            r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#,
        ];
        let event = events.get(self.0);
        self.0 += 1;
        Ok(event.map(|event| chunk((*event).into(), 1).unwrap().into_iter().collect()))
    }
}

fn scene() -> Scene {
    cheap(["ok@a", "ok@b"]).tenant(json!({"hedge": true}))
}

/// A gateway that knows how long its first model usually takes.
async fn acquainted(scene: Scene) -> (Rig, Arc<Timed>) {
    let timed = Arc::new(Timed::default());
    timed.ms.iter().for_each(|ms| ms.store(USUAL_MS, SeqCst));
    let provider = timed.clone();
    let rig = scene.with(move |builder| builder.provider("up", provider)).build().await;
    for _ in 0..9 {
        assert_eq!(served_by(&rig.fresh(streamed("cheap")).await), "up/ok@a");
    }
    assert_eq!(timed.calls[1].load(SeqCst), 0, "what is in time is not hedged");
    (rig, timed)
}

fn served_by(got: &Got) -> String {
    let body = if got.is_stream() { got.chunks()[0].clone() } else { got.json() };
    body["model"].as_str().unwrap_or_else(|| panic!("{got:?}")).to_owned()
}

async fn attempts(rig: &Rig, got: &Got) -> Vec<Value> {
    rig.receipt(got).await["attempts"].as_array().unwrap().clone()
}

fn shown(attempts: &[Value]) -> Vec<String> {
    let text = |attempt: &Value, field: &str| attempt[field].as_str().unwrap().to_owned();
    attempts.iter().map(|of| ["model", "kind", "outcome"].map(|field| text(of, field)).join(" ")).collect()
}

/// Streamed, and whole with an answer of at most one token.
fn both_ways() -> [Value; 2] {
    [streamed("cheap"), ask_with("cheap", json!({"max_tokens": 1}))]
}

#[tokio::test(start_paused = true)]
async fn who_begins_first_answers_and_the_slower_is_hung_up_on_and_billed_as_an_estimate() {
    for body in both_ways() {
        let (rig, timed) = acquainted(scene()).await;
        timed.ms[0].store(FOR_EVER_MS, SeqCst);
        let begun = Instant::now();
        let got = rig.fresh(body).await;
        assert_eq!((served_by(&got).as_str(), got.header("x-gateway-attempts")), ("up/ok@b", "2"));
        assert!(begun.elapsed() < Duration::from_millis(3 * USUAL_MS), "{:?}", begun.elapsed());
        let attempts = attempts(&rig, &got).await;
        assert_eq!(shown(&attempts), ["up/ok@a first cancelled", "up/ok@b hedge ok"]);
        assert_eq!((&attempts[0]["estimated"], &attempts[1]["estimated"]), (&json!(true), &json!(false)));
        assert!(attempts[0]["usage"]["input_tokens"].as_u64() > Some(0), "{attempts:?}");
        assert_eq!(timed.hung_up[0].load(SeqCst), 1);
        assert_eq!(rig.counted().await, rig.totals().await);
        assert!(rig.receipt(&got).await["reasons"].to_string().contains("up/ok@a had not begun after"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_candidate_that_begins_while_the_second_is_called_wins() {
    for body in both_ways() {
        let (rig, timed) = acquainted(scene()).await;
        timed.ms[0].store(2 * USUAL_MS, SeqCst);
        timed.ms[1].store(FOR_EVER_MS, SeqCst);
        let got = rig.fresh(body).await;
        assert_eq!(served_by(&got), "up/ok@a");
        assert_eq!(shown(&attempts(&rig, &got).await), ["up/ok@a first ok", "up/ok@b hedge cancelled"]);
        assert_eq!(timed.hung_up[1].load(SeqCst), 1);
        assert_eq!(rig.counted().await, rig.totals().await);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_leaves_the_answer_to_the_other() {
    for (failing, first_ms, second_ms, outcomes) in [
        (0, 2 * USUAL_MS, 3 * USUAL_MS, ["up/ok@a first http_error", "up/ok@b hedge ok"]),
        (1, 3 * USUAL_MS, USUAL_MS, ["up/ok@a first ok", "up/ok@b hedge http_error"]),
    ] {
        let (rig, timed) = acquainted(scene()).await;
        timed.fails[failing].store(1, SeqCst);
        timed.ms[0].store(first_ms, SeqCst);
        timed.ms[1].store(second_ms, SeqCst);
        let got = rig.fresh(streamed("cheap")).await;
        assert_eq!(shown(&attempts(&rig, &got).await), outcomes);
        assert_eq!(timed.hung_up.iter().map(|hung_up| hung_up.load(SeqCst)).sum::<u64>(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn where_both_fail_neither_is_called_again() {
    let (rig, timed) = acquainted(scene()).await;
    timed.fails.iter().for_each(|fails| fails.store(1, SeqCst));
    timed.ms[0].store(2 * USUAL_MS, SeqCst);
    let got = rig.fresh(streamed("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"));
    assert_eq!(shown(&attempts(&rig, &got).await), ["up/ok@a first http_error", "up/ok@b hedge http_error"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_unless_the_tenant_wants_it_and_budget_and_quota_allow_it() {
    let without_budget = "[retry]\nbudget_percent = 0\nleast_retries = 0";
    // Nine calls of four tokens, one more call as it is held, and not another.
    let narrow = json!({"hedge": true, "limits": {"daily_tokens": 36 + 5_000}});
    for (what, scene) in [
        ("off", cheap(["ok@a", "ok@b"])),
        ("budget", scene().table(without_budget)),
        ("quota", scene().tenant(narrow)),
        ("no other", cheap(["ok@a"]).tenant(json!({"hedge": true}))),
    ] {
        let (rig, timed) = acquainted(scene).await;
        timed.ms[0].store(4 * USUAL_MS, SeqCst);
        let got = rig.fresh(streamed("cheap")).await;
        assert_eq!((served_by(&got).as_str(), timed.calls[1].load(SeqCst)), ("up/ok@a", 0), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn hedges_stay_within_the_budget_of_retries() {
    let (rig, timed) = acquainted(scene()).await;
    timed.ms[0].store(2 * USUAL_MS, SeqCst);
    timed.ms[1].store(FOR_EVER_MS, SeqCst);
    for requests in 10..=60 {
        // At this pace it becomes usual: the first ones alone are late.
        rig.fresh(streamed("cheap")).await;
        let hedges = timed.calls[1].load(SeqCst);
        assert!(hedges <= (requests / 5).max(3), "{hedges} hedges of {requests} requests");
    }
    assert!(timed.calls[1].load(SeqCst) > 0);
}

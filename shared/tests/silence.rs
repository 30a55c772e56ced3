//! A model that is silent for far longer than usual.

use crate::rig::{Got, Rig, cheap, streamed};
use async_trait::async_trait;
use gateway_core::provider::{Call, Chunk, Chunks, Provider, ProviderError, Reply};
use gateway_core::wire::openai::answer::chunk;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const USUAL_MS: u64 = 100;
/// Longer than any test waits, and than the gateway waits for a first token.
const FOR_EVER_MS: u64 = 3_600_000;

/// A provider whose first model is silent for so long before it answers.
struct Silent {
    first_ms: AtomicU64,
}

#[async_trait]
impl Provider for Silent {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let is_first = &*call.model.provider_model == "ok@a";
        sleep(Duration::from_millis(if is_first { self.first_ms.load(SeqCst) } else { USUAL_MS })).await;
        Ok(Reply::Stream(Box::new(Said { events: 0 })))
    }
}

/// A stream of two events.
struct Said {
    events: usize,
}

#[async_trait]
impl Chunks for Said {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        let events = [
            r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"yes"},"finish_reason":null}]}"#,
            r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#,
        ];
        let event = events.get(self.events);
        self.events += 1;
        Ok(event.map(|event| chunk((*event).into(), 1).unwrap().into_iter().collect()))
    }
}

/// A gateway that knows how long its first model usually takes.
async fn acquainted() -> (Rig, Arc<Silent>) {
    let silent = Arc::new(Silent { first_ms: AtomicU64::new(USUAL_MS) });
    let provider = silent.clone();
    let rig = cheap(["ok@a", "ok@b"]).with(move |builder| builder.provider("up", provider)).build().await;
    for _ in 0..9 {
        assert_eq!(served_by(&ask(&rig).await), "up/ok@a");
    }
    (rig, silent)
}

async fn ask(rig: &Rig) -> Got {
    rig.fresh(streamed("cheap")).await
}

fn served_by(got: &Got) -> String {
    got.chunks()[0]["model"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_in_vain_for_a_model_fail_over_together() {
    let (rig, silent) = acquainted().await;
    silent.first_ms.store(FOR_EVER_MS, SeqCst);
    let begun = Instant::now();
    let (a, b, c) = tokio::join!(ask(&rig), ask(&rig), ask(&rig));
    assert_eq!([a, b, c].map(|got| served_by(&got)), ["up/ok@b"; 3]);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(served_by(&ask(&rig).await), "up/ok@b");
    assert!(begun.elapsed() < Duration::from_secs(1), "the next one does not wait: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_request_that_is_slow_by_itself_is_waited_for() {
    let (rig, silent) = acquainted().await;
    silent.first_ms.store(20_000, SeqCst);
    assert_eq!(served_by(&ask(&rig).await), "up/ok@a");
    silent.first_ms.store(USUAL_MS, SeqCst);
    assert_eq!(served_by(&ask(&rig).await), "up/ok@a", "nor is its model left");
}

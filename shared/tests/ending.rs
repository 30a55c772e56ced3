//! A process that ends: its requests are waited for, and those that cannot be waited for are settled as estimates (B3).

use crate::rig::{Rig, ask, cheap, name_of, read_on, streamed};
use gateway_core::receipt::{AttemptOutcome, Receipt};
use gateway_core::request::reply::{Answer, AnswerBody};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A gateway with two models in a tier, of which the first does this.
async fn rig(behaviour: &str) -> Rig {
    cheap([behaviour, "ok@next"]).build().await
}

/// Begins a request; its answer once the double has been called.
async fn begun(rig: &Rig, behaviour: &str, body: &Value) -> Option<Answer> {
    let asking = rig.begin(&rig.key, &[], body.to_string().into());
    let called = async {
        while rig.calls(behaviour) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { biased; answer = asking => Some(answer), () = called => None }
}

/// The end of the process: no request runs after it.
async fn ended(rig: &Rig) {
    timeout(Duration::from_secs(60), rig.gateway.running.none()).await.expect("a request does not end");
}

/// The only receipt.
async fn receipt(rig: &Rig) -> Receipt {
    let total = rig.totals().await;
    assert_eq!((total.requests, rig.counted().await), (1, total), "ledger and store agree");
    rig.ledger.last_receipt.lock().unwrap().clone().expect("a receipt")
}

#[tokio::test]
async fn a_request_whose_client_has_left_is_counted_until_it_is_settled() {
    let rig = rig("slow-40").await;
    assert!(begun(&rig, "slow-40", &ask(&name_of("slow-40"))).await.is_none(), "it left before its answer");
    assert_eq!(rig.gateway.running.count(), 1);
    ended(&rig).await;
    let receipt = receipt(&rig).await;
    assert_eq!((receipt.estimated, receipt.usage.total_tokens()), (false, rig.billed().tokens), "{receipt:?}");
}

#[tokio::test]
async fn a_request_that_is_not_waited_for_any_longer_is_settled_as_an_estimate() {
    for (behaviour, stream) in [("stall-head", false), ("stall-head", true), ("stall-3", true)] {
        for client_waits in [true, false] {
            let rig = rig(behaviour).await;
            let model = name_of(behaviour);
            let body = if stream { streamed(&model) } else { ask(&model) };
            let case = format!("{behaviour} {stream} {client_waits}");
            let stopping = async {
                while rig.calls(behaviour) == 0 || rig.gateway.running.count() == 0 {
                    tokio::task::yield_now().await;
                }
                rig.gateway.running.stop();
            };
            if client_waits {
                let (got, ()) = tokio::join!(rig.chat(body), stopping);
                assert_eq!(got.error_code(), "deadline_exceeded", "{case}: {got:?}");
            } else {
                let answer = begun(&rig, behaviour, &body).await;
                drop(answer);
                stopping.await;
            }
            ended(&rig).await;
            let receipt = receipt(&rig).await;
            assert!(receipt.estimated && receipt.usage.input_tokens > 0, "{case}: {receipt:?}");
            assert_eq!(receipt.attempts.len(), 1, "{case}: nothing more is started");
            assert_eq!(receipt.attempts[0].outcome, AttemptOutcome::Timeout, "{case}");
            assert_eq!(rig.calls("ok@next"), 0, "{case}");
        }
    }
}

#[tokio::test]
async fn what_a_stream_brought_before_the_end_is_in_the_estimate() {
    let rig = rig("stall-8").await;
    let answer = rig.begin(&rig.key, &[], streamed(&name_of("stall-8")).to_string().into()).await;
    let AnswerBody::Stream(mut events) = answer.body else { panic!("a stream") };
    read_on(&mut events, 4).await;
    rig.gateway.running.stop();
    ended(&rig).await;
    let receipt = receipt(&rig).await;
    assert!(receipt.estimated && receipt.usage.output_tokens > 1, "{receipt:?}");
}

#[tokio::test]
async fn no_wait_before_a_retry_outlasts_the_end() {
    let rig = cheap(["429-after-9"]).build().await;
    assert!(begun(&rig, "429-after-9", &ask("cheap")).await.is_none());
    rig.gateway.running.stop();
    ended(&rig).await;
    assert_eq!((rig.calls("429-after-9"), rig.gateway.running.count()), (1, 0));
    assert_eq!(rig.counted().await.cost_nusd, 0, "it was refused, and is not billed");
}

#[tokio::test]
async fn health_does_not_suffer_from_the_end_of_a_process() {
    let rig = rig("stall-head").await;
    let model: [Arc<str>; 1] = [name_of("stall-head").into()];
    assert!(begun(&rig, "stall-head", &ask(&model[0])).await.is_none());
    rig.gateway.running.stop();
    ended(&rig).await;
    let health = rig.gateway.store.health().snapshot(&model, rig.clock_now()).await.unwrap();
    assert_eq!(health[0].measures.failure.weight, 0.0, "{health:?}");
}

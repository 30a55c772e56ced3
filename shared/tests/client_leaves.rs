//! The client leaves: who is read on, who is hung up on, and what is free at once.

use crate::rig::{Rig, Scene, ask, cheap, name_of, read_on, streamed, two_tiers};
use gateway_core::receipt::{AttemptOutcome, Receipt};
use gateway_core::request::reply::AnswerBody;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const CANCEL: &str = "on_client_gone = \"cancel\"";

/// Waits until something holds, and not for ever.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), waiting).await.expect("it comes to hold");
}

/// Sends a request, and leaves once its model is called and so many events of a stream are read.
async fn leaves(rig: &Rig, headers: &[(&'static str, &str)], model: &str, body: Value, events: usize) {
    let asking = async {
        let answer = rig.begin(&rig.key, headers, body.to_string().into()).await;
        let AnswerBody::Stream(mut stream) = answer.body else { panic!("a whole answer came") };
        read_on(&mut stream, events).await;
    };
    let called = async {
        until(|| rig.calls(model) > 0).await;
        if events > 0 {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! { biased; () = asking => (), () = called => () }
}

async fn receipt(rig: &Rig) -> Receipt {
    rig.recorded(1).await;
    rig.ledger.last_receipt.lock().unwrap().clone().expect("a receipt")
}

fn alone(model: &str, fields: &str) -> Scene {
    cheap(["ok"]).model(model, fields)
}

#[tokio::test]
async fn a_call_is_ended_where_its_provider_stops_and_what_it_may_bill_is_an_estimate() {
    for (model, events) in [("drip-40", 3), ("ttft-60000", 0), ("stall-head", 0), ("stall-5", 2)] {
        let rig = alone(model, CANCEL).build().await;
        leaves(&rig, &[], model, streamed(&name_of(model)), events).await;
        let receipt = receipt(&rig).await;
        until(|| rig.double.counts().of(model).left == 1).await;
        assert_eq!(rig.double.counts().of(model).completed, 0, "{model}");
        let attempt = &receipt.attempts[0];
        assert_eq!((receipt.status, attempt.outcome, receipt.estimated), (499, AttemptOutcome::ClientGone, true));
        assert!(attempt.usage.input_tokens > 0 && attempt.cost_nusd > 0, "{model}: {attempt:?}");
        assert_eq!(attempt.usage.output_tokens > 0, events > 1, "{model}: {attempt:?}");
        assert_eq!(rig.counted().await, rig.totals().await, "{model}");
    }
}

#[tokio::test]
async fn a_whole_answer_is_ended_as_well() {
    for model in ["slow-60000", "drip-1000"] {
        let rig = alone(model, CANCEL).build().await;
        leaves(&rig, &[], model, ask(&name_of(model)), 0).await;
        let receipt = receipt(&rig).await;
        until(|| rig.double.counts().of(model).left == 1).await;
        assert_eq!((receipt.attempts[0].outcome, receipt.estimated), (AttemptOutcome::ClientGone, true), "{model}");
        assert!(receipt.cost_nusd > 0, "{model}");
    }
}

#[tokio::test]
async fn a_call_is_read_on_unless_its_model_says_otherwise_or_its_answer_is_kept() {
    let key: &[(&str, &str)] = &[("idempotency-key", "k")];
    for (fields, headers) in [("", &[][..]), ("on_client_gone = \"drain\"", &[]), (CANCEL, key)] {
        for body in [streamed("up/drip-1"), ask("up/drip-1")] {
            let rig = alone("drip-1", fields).build().await;
            let events = if body["stream"].is_null() { 0 } else { 2 };
            leaves(&rig, headers, "drip-1", body, events).await;
            let receipt = receipt(&rig).await;
            assert_eq!((receipt.status, receipt.estimated), (200, false), "{fields} {headers:?}");
            assert_eq!(receipt.usage.total_tokens(), rig.billed().tokens, "{fields} {headers:?}");
            assert_eq!(rig.double.counts().of("drip-1").left, 0, "{fields} {headers:?}");
        }
    }
}

#[tokio::test]
async fn its_place_in_flight_is_free_at_once_while_the_provider_is_read_on() {
    for (model, events) in [("stall-5", 2), ("stall-head", 0)] {
        let rig = alone(model, "").limits(json!({"concurrency": 1})).build().await;
        leaves(&rig, &[], model, streamed(&name_of(model)), events).await;
        // It is free once its task has seen that the client is gone, and long before the silence is over.
        let served = async { while rig.fresh(ask("cheap")).await.status != 200 {} };
        timeout(Duration::from_secs(5), served).await.expect("the place is free");
        rig.recorded(1).await;
        assert_eq!(rig.totals().await.requests, 1, "the first one is running still");
    }
}

#[tokio::test]
async fn nobody_is_called_for_nobody() {
    let failing = "slow-30+status-500";
    let rig = cheap([failing, "ok"]).build().await;
    leaves(&rig, &[], failing, ask("cheap"), 0).await;
    let receipt = receipt(&rig).await;
    assert_eq!((receipt.status, rig.calls(failing), rig.calls("ok")), (499, 1, 0), "{receipt:?}");
}

#[tokio::test]
async fn nothing_is_upgraded_for_nobody() {
    let (weak, strong) = ("slow-30+hedge", "reasoning-3");
    for (headers, upgrades) in [(&[][..], 0), (&[("idempotency-key", "k")], 1)] {
        let rig = two_tiers([weak], [strong]).build().await;
        leaves(&rig, headers, weak, ask("cheap"), 0).await;
        assert_eq!(receipt(&rig).await.attempts.len(), 1 + upgrades, "{headers:?}");
        assert_eq!(rig.calls(strong), upgrades as u64, "{headers:?}: who comes again gets the better one");
    }
}

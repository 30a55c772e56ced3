//! Idempotency keys: the same body, the same answer, one charge.

use crate::rig::{Got, Rig, ask, ask_with, cheap};
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn send(rig: &Rig, key: &str, body: Value) -> Got {
    rig.chat_with(&[("idempotency-key", key), ("x-gateway-cache", "no-store")], body).await
}

#[tokio::test]
async fn the_same_request_sent_again_gets_the_same_answer_and_is_charged_once() {
    let rig = cheap(["ok"]).build().await;
    for (key, body) in [("whole", ask("cheap")), ("stream", ask_with("cheap", json!({"stream": true})))] {
        let calls = rig.calls("ok");
        let first = send(&rig, key, body.clone()).await;
        assert_eq!((first.status, first.header("idempotent-replayed")), (200, ""));
        let before = rig.totals().await;
        for _ in 0..2 {
            let again = send(&rig, key, body.clone()).await;
            assert_eq!((again.status, again.header("idempotent-replayed")), (200, "true"), "{key}");
            for name in ["x-request-id", "content-type", "x-gateway-model"] {
                assert_eq!(again.header(name), first.header(name), "{key}: {name}");
            }
            assert_eq!((again.is_stream(), again.text()), (first.is_stream(), first.text()), "{key}");
            assert!(!again.is_stream() || again.is_done());
        }
        assert_eq!((rig.totals().await, rig.calls("ok")), (before, calls + 1), "{key}");
        assert_eq!(rig.counted().await, before);
    }
}

#[tokio::test]
async fn a_remembered_answer_is_kept_under_its_key_as_well() {
    let rig = cheap(["ok"]).build().await;
    let first = rig.chat(ask("cheap")).await;
    let hit = rig.chat_with(&[("idempotency-key", "k")], ask("cheap")).await;
    assert_eq!(hit.header("x-gateway-cache"), "hit");
    rig.clock.advance(3_600_000);
    let again = rig.chat_with(&[("idempotency-key", "k")], ask("cheap")).await;
    assert_eq!((again.header("idempotent-replayed"), again.text()), ("true", first.text()));
    assert_eq!(rig.totals().await.requests, 2);
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused_and_another_tenants_key_is_another() {
    let rig = cheap(["ok"]).build().await;
    let other = rig.add_tenant("other", json!({})).await;
    assert_eq!(send(&rig, "k", ask("cheap")).await.status, 200);
    let got = send(&rig, "k", ask("auto")).await;
    assert_eq!((got.status, got.error_code().as_str()), (422, "idempotency_mismatch"));
    assert_eq!(got.json()["error"]["param"], json!("idempotency-key"));
    let got = rig.chat_as(&other, &[("idempotency-key", "k")], ask("auto")).await;
    assert_eq!((got.status, got.header("idempotent-replayed")), (200, ""));
}

#[tokio::test]
async fn of_many_at_once_one_runs_and_the_others_are_told_to_wait() {
    let rig = cheap(["ok"]).build().await;
    let got = join_all((0..8).map(|_| send(&rig, "k", ask("cheap")))).await;
    let fresh = got.iter().filter(|got| got.status == 200 && got.header("idempotent-replayed").is_empty()).count();
    assert_eq!(fresh, 1);
    for got in got.iter().filter(|got| got.status != 200) {
        assert_eq!((got.status, got.error_code().as_str()), (409, "idempotency_in_progress"));
        assert_eq!(got.header("retry-after"), "1");
    }
    assert_eq!((rig.calls("ok"), rig.totals().await.requests), (1, 1));
}

#[tokio::test]
async fn what_failed_or_was_refused_may_be_tried_again_under_the_same_key() {
    let rig = cheap(["ok"]).limits(json!({"requests_per_minute": 1})).build().await;
    assert_eq!(send(&rig, "first", ask("cheap")).await.status, 200);
    assert_eq!(send(&rig, "second", ask("cheap")).await.status, 429);
    rig.clock.advance(60_000);
    assert_eq!(send(&rig, "second", ask("cheap")).await.status, 200);

    let rig = cheap(["status-500"]).build().await;
    for _ in 0..2 {
        let got = send(&rig, "k", ask("cheap")).await;
        assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"));
    }
    assert_eq!(rig.totals().await.requests, 2, "each of them counts");
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day_and_needs_the_ledger() {
    let rig = cheap(["ok"]).build().await;
    assert_eq!(send(&rig, "k", ask("cheap")).await.status, 200);
    rig.clock.advance(86_399_999);
    assert_eq!(send(&rig, "k", ask("cheap")).await.header("idempotent-replayed"), "true");
    rig.clock.advance(1);
    assert_eq!(send(&rig, "k", ask("cheap")).await.header("idempotent-replayed"), "");
    rig.ledger.set_down(true);
    let got = send(&rig, "new", ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str()), (503, "store_unavailable"));
    assert_eq!(rig.calls("ok"), 2);
}

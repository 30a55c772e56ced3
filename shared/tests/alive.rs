//! Streams of which nothing is to be said yet: what shows that they are alive, and when they begin.

use crate::rig::{DOORS, Door, Got, Rig, cheap, streamed, with_key};
use bytes::Bytes;
use gateway_core::request::incoming::Incoming;
use gateway_core::request::reply::AnswerBody;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
/// Models may think for a minute, and be silent for nearly one.
const PATIENT: &str = "[timeouts_ms]\nfirst_token = 60000\nidle = 55000";

/// What shows a client of a door that its stream is alive.
fn sign_of_life(door: Door) -> &'static str {
    if door == Door::Messages { "event: ping\ndata: {\"type\":\"ping\"}\n\n" } else { ": keep-alive\n\n" }
}

fn signs(door: Door, got: &Got) -> usize {
    String::from_utf8_lossy(&got.body).matches(sign_of_life(door)).count()
}

async fn ask(rig: &Rig, door: Door, model: &str) -> Got {
    door.ask(rig, model, json!({"stream": true})).await
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_after_twenty_seconds_though_its_answer_does_not() {
    let rig = cheap(["sim/slow-45000"]).table(PATIENT).build().await;
    for door in DOORS {
        let begun = Instant::now();
        let answer = door.begin(&rig, &rig.key, "no-store", door.request("cheap", json!({"stream": true}))).await;
        assert_eq!(begun.elapsed().as_secs(), 20);
        assert_eq!(
            (answer.status.as_u16(), answer.headers["content-type"].to_str().unwrap()),
            (200, "text/event-stream; charset=utf-8")
        );
        assert!(answer.headers.contains_key("x-request-id") && !answer.headers.contains_key("x-gateway-model"));
        let AnswerBody::Stream(mut events) = answer.body else { panic!("{door:?}: a stream was asked for") };
        for seconds in [30, 40] {
            assert_eq!(events.recv().await.unwrap(), sign_of_life(door), "{door:?}");
            assert_eq!(begun.elapsed().as_secs(), seconds);
        }
        assert_ne!(events.recv().await.unwrap(), sign_of_life(door));
        assert_eq!(begun.elapsed().as_secs(), 45);
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_before_that_has_its_status_and_what_fails_later_an_event() {
    let timeouts = "[timeouts_ms]\nfirst_token = 15000";
    let rig = cheap(["sim/slow-45000", "sim/slow-46000"]).table(timeouts).build().await;
    for door in DOORS {
        for (model, status, seconds) in [("sim/slow-45000", 502, 15), ("cheap", 200, 30)] {
            let begun = Instant::now();
            let got = ask(&rig, door, model).await;
            assert_eq!((got.status, begun.elapsed().as_secs()), (status, seconds), "{door:?}");
            assert!(got.contains("all_candidates_failed") && !got.is_done(), "{door:?}: {got:?}");
            assert_eq!(rig.receipt(&got).await["status"], 502);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_to_end_soon_after_begins_with_its_answer() {
    let rig = cheap(["sim/slow-45000"]).table(PATIENT).build().await;
    // API Gateway's patience with an answer that comes as a whole.
    let time_left = Some(29 * SECOND);
    let body = Box::new(Bytes::from(streamed("cheap").to_string()));
    let incoming = Incoming { headers: with_key(&rig.key, &[]), body, time_left };
    let got = Got::all_of(rig.gateway.chat(incoming).await).await;
    assert_eq!((got.status, got.error_code().as_str()), (504, "deadline_exceeded"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_shown_to_be_alive_at_every_door_and_ends_with_an_error() {
    let rig = cheap(["ok"]).table(PATIENT).build().await;
    for door in DOORS {
        let got = ask(&rig, door, "sim/stall").await;
        assert_eq!(signs(door, &got), 5, "{door:?}: every ten seconds");
        assert!(got.contains("all_candidates_failed"), "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_is_waited_for_in_silence() {
    let rig = cheap(["sim/slow-45000"]).table(PATIENT).build().await;
    let got = rig.chat(json!({"model": "cheap", "messages": [{"role": "user", "content": "hi"}]})).await;
    assert_eq!((got.status, got.is_stream()), (200, false));
}

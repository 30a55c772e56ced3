//! Memory is one budget for all that is in flight, and nothing of a body is read before its sender is known.

use crate::rig::{Got, Rig, ask, ask_with, cheap, with_key};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use gateway_core::answer::Answer;
use gateway_core::budget::{COPIES, Room};
use gateway_core::error::Error;
use gateway_core::pipeline::{ChatCall, RequestBody};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::watch;

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
    let call = ChatCall { headers: with_key(key, &[]), body: Box::new(body), time_left: None };
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
    let unknown = gateway_core::key::ApiKey::generate();
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

//! How often a request waits for the store, counted between it and the server.

use super::store_at;
use crate::rig::{Rig, ask, cheap, streamed};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use test_servers::redis::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long the line is: what is sent without waiting for an answer is sent within this time.
const LINE: Duration = Duration::from_millis(60);

/// A long line to a server. Whoever waits for an answer waits for the line; how often that was is counted.
struct Line {
    address: SocketAddr,
    waits: Arc<AtomicU64>,
    _connections: JoinSet<()>,
}

impl Line {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let waits = Arc::new(AtomicU64::new(0));
        let mut connections = JoinSet::new();
        let counted = waits.clone();
        connections.spawn(async move {
            let mut carried = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                carried.spawn(carry(client, server, counted.clone()));
            }
        });
        Self { address, waits, _connections: connections }
    }

    fn waits(&self) -> u64 {
        self.waits.swap(0, Ordering::Relaxed)
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, waits: Arc<AtomicU64>) {
    let (mut asked, mut answered, mut held) = ([0; 65_536], [0; 65_536], Vec::new());
    loop {
        // All that is asked before the first answer has travelled the line is one wait.
        let is_idle = held.is_empty();
        let travelled = async move {
            match is_idle {
                true => std::future::pending().await,
                false => tokio::time::sleep(LINE).await,
            }
        };
        tokio::pin!(travelled);
        loop {
            tokio::select! {
                read = client.read(&mut asked) => match read {
                    Ok(bytes) if bytes > 0 => server.write_all(&asked[..bytes]).await.unwrap(),
                    _ => return,
                },
                read = server.read(&mut answered) => match read {
                    Ok(bytes) if bytes > 0 => {
                        held.extend_from_slice(&answered[..bytes]);
                        if is_idle {
                            break;
                        }
                    }
                    _ => return,
                },
                () = &mut travelled => {
                    waits.fetch_add(1, Ordering::Relaxed);
                    client.write_all(&held).await.unwrap();
                    held.clear();
                    break;
                }
            }
        }
    }
}

async fn rig_over(line: &Line, limits: Value) -> Rig {
    let store = store_at(&format!("redis://{}", line.address));
    let scene = cheap(["reasoning-5+say:Remember this."]).limits(limits);
    scene.with(move |builder| builder.store(Arc::new(store))).build().await
}

fn about(subject: &str, mut body: Value) -> Value {
    body["messages"] = json!([{"role": "user", "content": format!("What is {subject}?")}]);
    body
}

#[tokio::test]
async fn a_miss_waits_twice_and_a_hit_and_a_refusal_once() {
    let redis = Redis::start(&[]).await.unwrap();
    let line = Line::to(redis.port()).await;
    let rig = rig_over(&line, json!({"requests_per_minute": 4})).await;
    let cached = async |body: Value| rig.chat(body).await.header("x-gateway-cache").to_owned();
    // The first request makes the connection, teaches the server its scripts, and brings it what it does not know.
    assert_eq!(cached(about("a port", ask("cheap"))).await, "miss");
    line.waits();
    assert_eq!(cached(about("a host", ask("cheap"))).await, "miss");
    assert_eq!(line.waits(), 2, "a miss");
    assert_eq!(cached(about("a host", ask("cheap"))).await, "hit");
    assert_eq!(line.waits(), 1, "a hit");
    assert_eq!(cached(about("a stream", streamed("cheap"))).await, "miss");
    assert_eq!(line.waits(), 2, "a streamed miss");
    assert_eq!(rig.chat(about("a limit", ask("cheap"))).await.status, 429);
    assert_eq!(line.waits(), 1, "a refusal");
}

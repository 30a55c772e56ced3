//! Open-loop load: requests come when their time has come, however slow the answers to those before them are, as those of
//! many clients do. A request's time is counted from then.
//!
//! Without time between them they come all at once: each client has its connection before the first of them sends, and
//! none looks for an answer before the last has sent.

use crate::http::{Answer, Connection, request, send};
use anyhow::Result;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// A client gives up after this.
const PATIENCE: Duration = Duration::from_secs(40);

/// What is asked for, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) model: String,
    pub(crate) requests: u32,
    /// Between two requests; zero sends all at once.
    pub(crate) every: Duration,
    pub(crate) stream: bool,
    /// The bound on the answer that the client asks for.
    pub(crate) max_tokens: u64,
    /// How many bounds there are, the one above the highest: requests take turns with them.
    pub(crate) bounds: u64,
}

/// How many lengths of prompts there are. What calls use differs, so that what one is charged too much hides nothing that
/// another is charged too little.
const PROMPTS: usize = 7;

impl Load {
    /// The body of the request in this place.
    pub(crate) fn body(&self, place: usize) -> String {
        let content = "What is an interface?".to_owned() + &" And what is none?".repeat(place % PROMPTS);
        let max_tokens = self.max_tokens - place as u64 % self.bounds;
        json!({"model": self.model, "stream": self.stream, "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": content}]})
        .to_string()
    }
}

/// What clients saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) served: u64,
    /// Those of the served that said that a backend was down.
    pub(crate) degraded: u64,
    pub(crate) quota: u64,
    pub(crate) unavailable: u64,
    /// What is none of these, a broken connection included.
    pub(crate) others: u64,
    pub(crate) first_other: Option<String>,
    pub(crate) latencies_ms: Vec<f64>,
    /// After what time the first was served, and the last told of its quota.
    pub(crate) first_served_ms: Option<f64>,
    pub(crate) last_refused_ms: f64,
}

impl Seen {
    /// The latency below which so many percent of the answers were.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.latencies_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.served += other.served;
        self.degraded += other.degraded;
        self.quota += other.quota;
        self.unavailable += other.unavailable;
        self.others += other.others;
        self.first_other = self.first_other.take().or(other.first_other);
        self.latencies_ms.extend(other.latencies_ms);
        self.first_served_ms = first(self.first_served_ms, other.first_served_ms);
        self.last_refused_ms = self.last_refused_ms.max(other.last_refused_ms);
    }
}

fn first(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::min)
}

/// Sends the load, to one gateway after another, and waits for its last answer.
pub(crate) async fn send_all(to: &[SocketAddr], key: &str, load: &Load) -> Seen {
    let begun = Instant::now();
    let together = load.every.is_zero().then(|| Arc::new(Barrier::new(load.requests as usize)));
    let mut running = JoinSet::new();
    for place in 0..load.requests {
        let at = begun + load.every * place;
        let (to, together) = (to[place as usize % to.len()], together.clone());
        let bytes = request("POST /v1/chat/completions", key, &load.body(place as usize));
        running.spawn(async move {
            let mut from = at;
            let asking = async {
                match together {
                    Some(all) => send_together(to, &bytes, &all, &mut from).await,
                    None => {
                        sleep_until(at).await;
                        send(to, &bytes).await
                    }
                }
            };
            let answer = timeout(PATIENCE, asking).await;
            (answer, from.elapsed().as_secs_f64() * 1e3)
        });
    }
    let mut seen = Seen { requests: u64::from(load.requests), ..Seen::default() };
    while let Some(Ok((answer, latency_ms))) = running.join_next().await {
        seen.latencies_ms.push(latency_ms);
        let other = match answer {
            Ok(Ok(answer)) => match answer.status {
                200 => {
                    seen.served += 1;
                    seen.first_served_ms = first(seen.first_served_ms, Some(latency_ms));
                    seen.degraded += u64::from(answer.header("x-gateway-degraded").is_some());
                    continue;
                }
                429 => {
                    seen.quota += 1;
                    seen.last_refused_ms = seen.last_refused_ms.max(latency_ms);
                    continue;
                }
                503 => {
                    seen.unavailable += 1;
                    continue;
                }
                status => format!("{status} {}", answer.body),
            },
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer".to_owned(),
        };
        seen.others += 1;
        seen.first_other.get_or_insert(other);
    }
    seen
}

/// Sends a request when all clients are connected, and looks for its answer when all have sent; `from` is when it is sent.
async fn send_together(to: SocketAddr, bytes: &[u8], all: &Barrier, from: &mut Instant) -> Result<Answer> {
    let connection = Connection::open(to).await;
    all.wait().await;
    *from = Instant::now();
    let sent = match connection {
        Ok(mut connection) => connection.send(bytes).await.map(|()| connection),
        Err(error) => Err(error),
    };
    all.wait().await;
    sent?.answer().await
}

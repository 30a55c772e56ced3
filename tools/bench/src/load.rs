//! Load: a request, sent over and over on a number of connections, each waiting for its answer.

use crate::wire::{Message, Wire};
use anyhow::Context;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Bytes to send, made once, and what an answer must show to count as one.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Arc<[u8]>,
    /// A response header and its value.
    pub(crate) shows: Option<(&'static str, &'static str)>,
    pub(crate) ends_with: &'static str,
    /// Whether answering takes a call of the double.
    pub(crate) calls_double: bool,
}

/// How much of it.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) connections: usize,
    /// Requests on each connection, at most.
    pub(crate) max_requests: usize,
    /// No request begins later than this.
    pub(crate) time: Duration,
}

/// What was seen. Requests in flight when time is up are waited for, so that both sides count the same.
#[derive(Default, Clone)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) events: u64,
    /// Milliseconds to the first byte of each answer's body, and to its last.
    pub(crate) first_byte_ms: Vec<f64>,
    pub(crate) total_ms: Vec<f64>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.events += other.events;
        self.first_byte_ms.extend(other.first_byte_ms);
        self.total_ms.extend(other.total_ms);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// Sends the load and waits for its last answer.
pub(crate) async fn send(request: &Request, amount: Amount) -> anyhow::Result<Seen> {
    let mut wires = Vec::with_capacity(amount.connections);
    for _ in 0..amount.connections {
        wires.push(Wire::connect(request.to).await.with_context(|| format!("cannot connect to {}", request.to))?);
    }
    let until = Instant::now() + amount.time;
    let mut running = JoinSet::new();
    for wire in wires {
        running.spawn(converse(wire, request.clone(), amount.max_requests, until));
    }
    let mut seen = Seen::default();
    while let Some(ended) = running.join_next().await {
        seen.add(ended?);
    }
    Ok(seen)
}

async fn converse(mut wire: Wire, request: Request, max_requests: usize, until: Instant) -> Seen {
    let mut seen = Seen::default();
    for _ in 0..max_requests {
        let begun = Instant::now();
        if begun >= until {
            break;
        }
        seen.requests += 1;
        match exchange(&mut wire, &request).await {
            Ok(Answer { first_byte, last_byte, events, fault }) => {
                seen.total_ms.push((last_byte - begun).as_secs_f64() * 1e3);
                seen.first_byte_ms.push((first_byte - begun).as_secs_f64() * 1e3);
                seen.events += events;
                seen.errors += u64::from(fault.is_some());
                seen.first_error = seen.first_error.take().or(fault);
            }
            Err(error) => {
                seen.errors += 1;
                seen.first_error = seen.first_error.take().or(Some(error.to_string()));
                break;
            }
        }
    }
    seen
}

struct Answer {
    first_byte: Instant,
    last_byte: Instant,
    events: u64,
    fault: Option<String>,
}

async fn exchange(wire: &mut Wire, request: &Request) -> io::Result<Answer> {
    wire.send(&request.bytes).await?;
    let (first_byte, answer) = wire.receive().await?;
    let last_byte = Instant::now();
    let is_right = answer.first_line().starts_with("HTTP/1.1 200 ")
        && request.shows.is_none_or(|(name, value)| answer.header(name) == Some(value))
        && answer.body().ends_with(request.ends_with.as_bytes());
    let fault = (!is_right).then(|| {
        let shown = request.shows.map(|(name, _)| format!("{name}: {:?}", answer.header(name)));
        let text = String::from_utf8_lossy(answer.body());
        format!("{} {} {text}", answer.first_line(), shown.unwrap_or_default())
    });
    let events = answer.body().split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"data:")).count() as u64;
    Ok(Answer { first_byte, last_byte, events, fault })
}

/// Sends one request on a connection of its own, and gives its answer.
pub(crate) async fn once(request: &Request) -> anyhow::Result<Message> {
    let mut wire = Wire::connect(request.to).await?;
    if let Some(fault) = exchange(&mut wire, request).await?.fault {
        anyhow::bail!("a request was not answered as it should be: {fault}");
    }
    Ok(wire.into_message())
}

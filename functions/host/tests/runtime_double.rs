//! Lambda's Runtime API on loopback, on raw TCP: what a function sends is seen as it arrives, chunk by chunk and in order.
//!
//! Needs tokio and nothing else, so that any crate's tests can take it in by `#[path = "…/runtime_double.rs"]`; point
//! `AWS_LAMBDA_RUNTIME_API`, or `gateway_host::lambda::serve`, at [`RuntimeDouble::address`]. Waits have no time limit: a
//! test wraps itself in one where a fault would make it hang.

#![allow(dead_code)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What happened, in order; the number is the invocation's, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The function asked for an invocation.
    Polled,
    /// It got one.
    Invoked(usize),
    /// The head of an answer arrived.
    Answering(usize),
    /// The last byte of an answer arrived, or its connection broke.
    Answered(usize),
}

/// How the double takes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// With `202`.
    Whole,
    /// Whole, but then with this status.
    Refusing(u16),
    /// It closes the connection after the first chunk, or at once if there are none.
    HangingUp,
}

/// An answer as it was sent, once it has ended.
#[derive(Debug)]
pub struct Answer {
    /// The path that it was posted to.
    pub path: String,
    /// Its headers, by lower-case name.
    pub headers: HashMap<String, String>,
    /// Its body, without the framing of chunks.
    pub body: Vec<u8>,
    /// Whether it ended as HTTP says, instead of breaking off.
    pub is_complete: bool,
}

impl Answer {
    /// The prelude and what stands behind its eight NULs.
    pub fn streamed(&self) -> Option<(&str, &[u8])> {
        split_prelude(&self.body)
    }
}

/// Splits at the first eight NULs.
pub fn split_prelude(body: &[u8]) -> Option<(&str, &[u8])> {
    let end = body.windows(8).position(|eight| eight == [0; 8])?;
    Some((std::str::from_utf8(&body[..end]).ok()?, &body[end + 8..]))
}

enum Piece {
    Head(String, HashMap<String, String>),
    Chunk(Vec<u8>),
    End { is_complete: bool },
}

struct Pending {
    event: Vec<u8>,
    deadline_ms: u64,
    taking: Taking,
    pieces: UnboundedSender<Piece>,
}

/// An invocation, seen from Lambda's side.
pub struct Invocation {
    pieces: UnboundedReceiver<Piece>,
}

impl Invocation {
    /// Waits for the answer's next piece of body; nothing once it has ended.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.pieces.recv().await? {
                Piece::Head(..) => {}
                Piece::Chunk(chunk) => return Some(chunk),
                Piece::End { .. } => return None,
            }
        }
    }

    /// Waits until the body so far contains `text`.
    pub async fn until(&mut self, text: &str) -> Vec<u8> {
        let mut body = Vec::new();
        while !body.windows(text.len()).any(|window| window == text.as_bytes()) {
            body.extend(self.chunk().await.expect("the answer ended too early"));
        }
        body
    }

    /// Waits for the whole answer.
    pub async fn answer(mut self) -> Answer {
        let mut answer = Answer { path: String::new(), headers: HashMap::new(), body: Vec::new(), is_complete: false };
        while let Some(piece) = self.pieces.recv().await {
            match piece {
                Piece::Head(path, headers) => (answer.path, answer.headers) = (path, headers),
                Piece::Chunk(chunk) => answer.body.extend(chunk),
                Piece::End { is_complete } => {
                    answer.is_complete = is_complete;
                    break;
                }
            }
        }
        answer
    }
}

/// The Runtime API.
pub struct RuntimeDouble {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    queue: UnboundedSender<(usize, Pending)>,
    queued: tokio::sync::Mutex<UnboundedReceiver<(usize, Pending)>>,
    running: Mutex<HashMap<usize, Pending>>,
    moments: Mutex<Vec<Moment>>,
    failed_starts: Mutex<Vec<String>>,
    invocations: AtomicUsize,
    hang_ups: AtomicUsize,
}

impl RuntimeDouble {
    /// Starts one; it lives as long as the test's runtime.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (queue, queued) = unbounded_channel();
        let state = Arc::new(State {
            queue,
            queued: tokio::sync::Mutex::new(queued),
            running: Mutex::default(),
            moments: Mutex::default(),
            failed_starts: Mutex::default(),
            invocations: AtomicUsize::new(0),
            hang_ups: AtomicUsize::new(0),
        });
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state }
    }

    /// For `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Hands out an event with a deadline far in the future.
    pub fn invoke(&self, event: impl Into<Vec<u8>>) -> Invocation {
        self.invoke_with(event, 4_102_444_800_000, Taking::Whole)
    }

    /// Hands out an event.
    pub fn invoke_with(&self, event: impl Into<Vec<u8>>, deadline_ms: u64, taking: Taking) -> Invocation {
        let (sender, pieces) = unbounded_channel();
        let number = self.state.invocations.fetch_add(1, Ordering::SeqCst) + 1;
        let pending = Pending { event: event.into(), deadline_ms, taking, pieces: sender };
        self.state.queue.send((number, pending)).unwrap();
        Invocation { pieces }
    }

    /// Closes the connection of each of the next `count` polls.
    pub fn hang_up_on_polls(&self, count: usize) {
        self.state.hang_ups.store(count, Ordering::SeqCst);
    }

    /// What happened so far.
    pub fn moments(&self) -> Vec<Moment> {
        self.state.moments.lock().unwrap().clone()
    }

    /// What was posted to `init/error`.
    pub fn failed_starts(&self) -> Vec<String> {
        self.state.failed_starts.lock().unwrap().clone()
    }
}

impl State {
    fn note(&self, moment: Moment) {
        self.moments.lock().unwrap().push(moment);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move { serve(BufReader::new(stream), &state).await });
    }
}

/// Serves one connection until it breaks, or is to be broken.
async fn serve(mut stream: BufReader<TcpStream>, state: &State) -> Option<()> {
    loop {
        let (target, headers) = head(&mut stream).await?;
        match target
            .strip_prefix("GET ")
            .map_or(target.strip_prefix("POST "), Some)?
            .strip_prefix("/2018-06-01/runtime/")?
        {
            "invocation/next" => next(&mut stream, state).await?,
            "init/error" => {
                let body = chunk(&mut stream, &headers).await??;
                state.failed_starts.lock().unwrap().push(String::from_utf8(body).ok()?);
                reply(&mut stream, 202, "", b"{}").await?;
            }
            answered => {
                let number = answered.strip_prefix("invocation/id-")?.split('/').next()?.parse().ok()?;
                let pending = state.running.lock().unwrap().remove(&number)?;
                state.note(Moment::Answering(number));
                let _ = pending.pieces.send(Piece::Head(answered.to_owned(), headers.clone()));
                let taken = take(&mut stream, &headers, &pending).await;
                state.note(Moment::Answered(number));
                let _ = pending.pieces.send(Piece::End { is_complete: taken.is_some() });
                taken?;
                let status = if let Taking::Refusing(status) = pending.taking { status } else { 202 };
                reply(&mut stream, status, "", b"{\"status\":\"\"}").await?;
            }
        }
    }
}

async fn next(stream: &mut BufReader<TcpStream>, state: &State) -> Option<()> {
    state.note(Moment::Polled);
    if state.hang_ups.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        return None;
    }
    let (number, pending) = state.queued.lock().await.recv().await?;
    let headers = format!(
        "content-type: application/json\r\nlambda-runtime-aws-request-id: id-{number}\r\nlambda-runtime-deadline-ms: {}\r\n\
         lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-west-1:123456789012:function:gateway\r\n\
         lambda-runtime-trace-id: Root=1-69219f5c-3f1a7d5b6c2e48d09a1b7c33;Sampled=0\r\n",
        pending.deadline_ms
    );
    let event = pending.event.clone();
    state.running.lock().unwrap().insert(number, pending);
    state.note(Moment::Invoked(number));
    reply(stream, 200, &headers, &event).await
}

/// Reads an answer's body; nothing if it broke off.
async fn take(stream: &mut BufReader<TcpStream>, headers: &HashMap<String, String>, pending: &Pending) -> Option<()> {
    while let Some(chunk) = chunk(stream, headers).await? {
        let _ = pending.pieces.send(Piece::Chunk(chunk));
        if pending.taking == Taking::HangingUp {
            return None;
        }
        if !headers.contains_key("transfer-encoding") {
            break;
        }
    }
    Some(())
}

/// The request line without its version, and the headers.
async fn head(stream: &mut BufReader<TcpStream>) -> Option<(String, HashMap<String, String>)> {
    let first = line(stream).await?;
    let mut headers = HashMap::new();
    loop {
        let line = line(stream).await?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    Some((first.strip_suffix(" HTTP/1.1")?.to_owned(), headers))
}

/// One chunk of a chunked body, or the whole of one whose length is told; `Some(None)` at the end.
async fn chunk(stream: &mut BufReader<TcpStream>, headers: &HashMap<String, String>) -> Option<Option<Vec<u8>>> {
    let Some(length) = headers.get("content-length") else {
        let size = usize::from_str_radix(&line(stream).await?, 16).ok()?;
        let mut chunk = vec![0; size];
        stream.read_exact(&mut chunk).await.ok()?;
        return line(stream).await?.is_empty().then_some((size > 0).then_some(chunk));
    };
    let mut body = vec![0; length.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Some(body))
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}

async fn reply(stream: &mut BufReader<TcpStream>, status: u16, headers: &str, body: &[u8]) -> Option<()> {
    let mut bytes = format!("HTTP/1.1 {status} -\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend(body);
    stream.write_all(&bytes).await.ok()
}

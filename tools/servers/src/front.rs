//! A front of a DynamoDB emulator that can be told to misbehave: it counts what is asked, and refuses, cuts, stalls or
//! loses answers.
//!
//! An emulator is never throttled, and has hardly a conflict. What DynamoDB would say then is said here, for one call or,
//! by a script that decides on each, for a share of a load.

use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// An emulator closes a connection that was idle for half a minute.
const REUSED_WITHIN: Duration = Duration::from_secs(5);

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is done and answered.
    Pass,
    /// It is not done, and answered with this status and body.
    Refuse(u16, String),
    /// It is not done, and the connection is closed.
    Cut,
    /// It is done, and the connection is closed.
    LoseAnswer,
    /// It is not done, and nothing is ever answered.
    Stall,
}

impl Fate {
    /// DynamoDB's own error of this code.
    #[must_use]
    pub fn error(code: &str) -> Self {
        Self::Refuse(400, format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"told to"}}"#))
    }

    /// A transaction that is cancelled for this reason, as its first of `changes` has it.
    #[must_use]
    pub fn cancelled(reason: &str, changes: usize) -> Self {
        let mut reasons = vec![format!(r#"{{"Code":"{reason}","Message":"told to"}}"#)];
        reasons.resize(changes, r#"{"Code":"None"}"#.to_owned());
        let name = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
        let reasons = reasons.join(",");
        Self::Refuse(400, format!(r#"{{"__type":"{name}","message":"told to","CancellationReasons":[{reasons}]}}"#))
    }
}

type Script = Box<dyn FnMut(&str) -> Fate + Send>;

/// A running front. Dropped, it closes its port and its connections.
pub struct Front {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _connections: JoinSet<()>,
}

struct State {
    script: Script,
    asked: BTreeMap<String, usize>,
}

impl fmt::Debug for Front {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Front").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Front {
    /// Starts one on a free port of loopback; everything passes until it is told otherwise.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(emulator: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { script: Box::new(|_| Fate::Pass), asked: BTreeMap::new() }));
        let mut connections = JoinSet::new();
        connections.spawn(listen(listener, emulator, state.clone()));
        Ok(Self { address, state, _connections: connections })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on `script` decides, by the name of the operation.
    pub fn script(&self, script: impl FnMut(&str) -> Fate + Send + 'static) {
        lock(&self.state).script = Box::new(script);
    }

    /// How often each operation was asked for since this was asked the last time. What the SDK sends again, as when the
    /// emulator is slow, was asked for once.
    pub fn asked(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut lock(&self.state).asked)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(listener: TcpListener, emulator: SocketAddr, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let state = state.clone();
        connections.spawn(async move {
            // However it ends, the client sees it.
            let _ = serve(client, emulator, &state).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Serves the requests of a connection until it is closed or cut.
async fn serve(client: TcpStream, emulator: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = BufStream::new(client);
    let mut emulator = Emulator { address: emulator, idle: None };
    loop {
        let request = Message::read(&mut client).await?;
        let operation = request.target.rsplit('.').next().unwrap_or_default();
        let fate = {
            let mut state = lock(state);
            if !request.is_repetition {
                *state.asked.entry(operation.to_owned()).or_default() += 1;
            }
            (state.script)(operation)
        };
        let answer = match fate {
            Fate::Pass => emulator.ask(&request).await?,
            Fate::Refuse(status, body) => format!(
                "HTTP/1.1 {status} told\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
            Fate::LoseAnswer => return emulator.ask(&request).await.map(drop),
            Fate::Cut => return Ok(()),
            Fate::Stall => std::future::pending().await,
        };
        client.write_all(&answer).await?;
        client.flush().await?;
    }
}

/// The emulator, as one client's connection reaches it.
struct Emulator {
    address: SocketAddr,
    /// The connection of the last request, and when that was answered.
    idle: Option<(BufStream<TcpStream>, Instant)>,
}

impl Emulator {
    async fn ask(&mut self, request: &Message) -> io::Result<Vec<u8>> {
        let mut stream = match self.idle.take() {
            Some((stream, since)) if since.elapsed() < REUSED_WITHIN => stream,
            _ => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                BufStream::new(stream)
            }
        };
        stream.write_all(&request.bytes).await?;
        stream.flush().await?;
        let answer = Message::read(&mut stream).await?;
        self.idle = Some((stream, Instant::now()));
        Ok(answer.bytes)
    }
}

/// A request or an answer, byte for byte.
struct Message {
    bytes: Vec<u8>,
    /// What a request asks for.
    target: String,
    /// Whether the SDK sends it again.
    is_repetition: bool,
}

impl Message {
    async fn read(stream: &mut BufStream<TcpStream>) -> io::Result<Self> {
        let (mut bytes, mut target, mut is_repetition, mut length) = (Vec::new(), String::new(), false, None);
        loop {
            let from = bytes.len();
            if stream.read_until(b'\n', &mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&bytes[from..]);
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line.trim_end().is_empty() {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse::<usize>().ok(),
                "amz-sdk-request" => is_repetition = !value.trim().starts_with("attempt=1;"),
                "x-amz-target" => value.trim().clone_into(&mut target),
                _ => {}
            }
        }
        // Neither the SDK nor the emulator sends a body in chunks.
        let length = length.ok_or(io::ErrorKind::InvalidData)?;
        let head = bytes.len();
        bytes.resize(head + length, 0);
        stream.read_exact(&mut bytes[head..]).await?;
        Ok(Self { bytes, target, is_repetition })
    }
}

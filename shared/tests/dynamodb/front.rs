//! A front of an emulator that can be told to misbehave: it counts what is asked, and refuses, cuts, stalls or loses answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
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
    pub fn error(code: &str) -> Self {
        Self::Refuse(400, format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"told to"}}"#))
    }

    /// A transaction that is cancelled for this reason, as its first of `changes` has it.
    pub fn cancelled(reason: &str, changes: usize) -> Self {
        let mut reasons = vec![format!(r#"{{"Code":"{reason}","Message":"told to"}}"#)];
        reasons.resize(changes, r#"{"Code":"None"}"#.to_owned());
        let name = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
        let reasons = reasons.join(",");
        Self::Refuse(400, format!(r#"{{"__type":"{name}","message":"told to","CancellationReasons":[{reasons}]}}"#))
    }
}

type Script = Box<dyn FnMut(&str) -> Fate + Send>;

/// The front. It ends when it is dropped.
pub struct Front {
    url: String,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

struct State {
    script: Script,
    asked: BTreeMap<String, usize>,
}

impl Front {
    /// Starts one before the emulator at `emulator`; everything passes until it is told otherwise.
    #[expect(clippy::disallowed_methods, reason = "it serves until the front is dropped")]
    pub async fn start(emulator: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { script: Box::new(|_| Fate::Pass), asked: BTreeMap::new() }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let client =
                reqwest::Client::builder().no_proxy().tls_backend_preconfigured(gateway_core::provider::tls().unwrap());
            let client = client.build().unwrap();
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, client.clone(), emulator.clone(), shared.clone()));
            }
        });
        Self { url, state, task: task.abort_handle() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on `script` decides, by the name of the operation.
    pub fn tell(&self, script: impl FnMut(&str) -> Fate + Send + 'static) {
        self.state.lock().unwrap().script = Box::new(script);
    }

    /// How often each operation was asked for since this was asked the last time.
    pub fn asked(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the requests of a connection until it is closed or cut.
async fn serve(stream: TcpStream, client: reqwest::Client, emulator: String, state: Arc<Mutex<State>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = BufStream::new(stream);
    loop {
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.to_owned())),
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        stream.read_exact(&mut body).await.ok()?;
        let operation = headers.get("x-amz-target")?.rsplit('.').next()?.to_owned();
        let fate = {
            let mut state = state.lock().unwrap();
            *state.asked.entry(operation.clone()).or_default() += 1;
            (state.script)(&operation)
        };
        let (status, answer) = match fate.clone() {
            Fate::Pass | Fate::LoseAnswer => {
                let mut request = client.post(&emulator).body(body);
                for name in ["x-amz-target", "content-type", "authorization", "x-amz-date"] {
                    request = request.header(name, headers.get(name)?);
                }
                let answer = request.send().await.ok()?;
                (answer.status().as_u16(), answer.bytes().await.ok()?)
            }
            Fate::Refuse(status, body) => (status, body.into()),
            Fate::Cut => return None,
            Fate::Stall => std::future::pending().await,
        };
        if fate == Fate::LoseAnswer {
            return None;
        }
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 {status} told\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), &answer].concat()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

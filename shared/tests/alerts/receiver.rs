//! A receiver of webhooks on loopback that misbehaves as it is told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with a request.
#[derive(Debug, Clone)]
pub enum Does {
    /// Answers with a status and these headers.
    Answers(u16, String),
    /// Never answers.
    Hangs,
    /// Answers with a status and goes on sending a body that has no end.
    TalksForEver(u16),
    /// Breaks the connection off.
    Breaks,
}

pub fn answers(status: u16) -> Does {
    Does::Answers(status, String::new())
}

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Heard {
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether it is signed with this key, computed from the specification's words alone.
    pub fn is_signed_with(&self, key: &[u8]) -> bool {
        let signed = format!("{}.{}.{}", self.headers["webhook-id"], self.headers["webhook-timestamp"], self.body);
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(signed.as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.headers["webhook-signature"].split(' ').any(|signature| signature == expected)
    }
}

pub struct Receiver {
    pub url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    /// One that does these in turn, and then answers 204.
    pub async fn start(script: impl IntoIterator<Item = Does>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let noted = heard.clone();
        #[allow(clippy::disallowed_methods)]
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, noted.clone(), script.clone()));
            }
        });
        Self { url, heard, serving }
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, heard: Arc<Mutex<Vec<Heard>>>, script: Arc<Mutex<VecDeque<Does>>>) {
    let Some(request) = read(&mut stream).await else { return };
    heard.lock().unwrap().push(request);
    let does = script.lock().unwrap().pop_front().unwrap_or_else(|| answers(204));
    match does {
        Does::Answers(status, headers) => {
            let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: 2\r\n{headers}\r\nno");
            let answer = if status == 204 { "HTTP/1.1 204 So\r\n\r\n".to_owned() } else { answer };
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Does::Hangs => std::future::pending().await,
        Does::TalksForEver(status) => {
            let _ = stream.write_all(format!("HTTP/1.1 {status} So\r\n\r\n").as_bytes()).await;
            while stream.write_all(&[b'a'; 65_536]).await.is_ok() {}
        }
        Does::Breaks => {}
    }
}

async fn read(stream: &mut TcpStream) -> Option<Heard> {
    let mut bytes = Vec::new();
    let head_bytes = loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_bytes].to_vec()).unwrap();
    let mut lines = head.lines();
    lines.next()?;
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    while bytes.len() < head_bytes + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[head_bytes..].to_vec()).unwrap();
    Some(Heard { headers, body })
}

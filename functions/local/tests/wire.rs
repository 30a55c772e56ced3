//! HTTP/1.1 by hand: requests byte for byte, also those that no HTTP library would send, and answers as they come.

use super::gateway::within;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request with a Host and a Content-Length; `line` is the method and the path.
pub(crate) fn request(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("{line} HTTP/1.1\r\nhost: gateway.example\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// A status line and headers.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The names of all headers, in small letters.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| name.as_str())
    }

    /// The id of the request, which every answer of the data plane's endpoints has.
    pub(crate) fn id(&self) -> String {
        self.header("x-request-id").unwrap_or_else(|| panic!("no x-request-id: {self:?}")).to_owned()
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?} {}", self.head, self.text()))
    }

    /// The text of the first choice.
    pub(crate) fn content(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }
}

/// A connection to a gateway.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    /// Sends bytes. A server may answer and close before it has read all of them, so an error is none here.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = within("sending", self.stream.write_all(bytes)).await;
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn end(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads more; false at the end of the connection.
    async fn fill(&mut self) -> bool {
        within("an answer", self.stream.read_buf(&mut self.buffer)).await.is_ok_and(|bytes| bytes > 0)
    }

    /// Whether the server closes the connection, whatever it sends before.
    pub(crate) async fn is_closed(&mut self) -> bool {
        while self.fill().await {}
        true
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return Some(line);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// So many bytes; `None` if the connection ends before.
    pub(crate) async fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < bytes {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.buffer.drain(..bytes).collect())
    }

    /// The head of an answer; `None` if the connection ends without one. Interim answers are passed over.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        loop {
            let status = self.line().await?.split(' ').nth(1)?.parse().unwrap();
            let mut headers = Vec::new();
            loop {
                let line = self.line().await?;
                let Some((name, value)) = line.split_once(':') else { break };
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            if status >= 200 {
                return Some(Head { status, headers });
            }
        }
    }

    /// The next chunk of a chunked body; empty at its end, `None` if the connection ends before.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line().await?, 16).unwrap();
        let chunk = self.take(length).await?;
        self.take(2).await?;
        Some(chunk)
    }

    /// A whole answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.head().await.expect("an answer");
        let mut body = Vec::new();
        match head.header("content-length") {
            Some(length) => body = self.take(length.parse().unwrap()).await.expect("a whole body"),
            None if head.header("transfer-encoding") == Some("chunked") => loop {
                let chunk = self.chunk().await.expect("a whole body");
                if chunk.is_empty() {
                    break;
                }
                body.extend_from_slice(&chunk);
            },
            None => {}
        }
        Answer { status: head.status, head, body }
    }
}

//! HTTP/1.1 on a bare socket, one request for each connection, so that a client can leave whenever a scenario says so.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The first value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body, which must be JSON and come with this status.
    pub(crate) fn json(&self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "{} {}", self.status, self.body);
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }
}

/// A request as bytes; its answer ends the connection.
pub(crate) fn request(line: &str, bearer: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{line} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {bearer}\r\ncontent-type: application/json\r\n\
         x-gateway-cache: no-store\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A connection for one request.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) async fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.0.write_all(request).await?)
    }

    /// The answer, read to its end.
    pub(crate) async fn answer(mut self) -> Result<Answer> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).await?;
        parse(&bytes)
    }
}

/// Sends a request and reads its answer to the end.
pub(crate) async fn send(to: SocketAddr, request: &[u8]) -> Result<Answer> {
    let mut connection = Connection::open(to).await?;
    connection.send(request).await?;
    connection.answer().await
}

/// Sends a request and leaves after so many events of its answer; with 0, as soon as it is sent.
pub(crate) async fn leave_after(to: SocketAddr, request: &[u8], events: usize) -> Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(request).await?;
    let mut bytes = Vec::new();
    while count(&bytes) < events {
        if stream.read_buf(&mut bytes).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// How many events there are in what came of a stream.
fn count(bytes: &[u8]) -> usize {
    bytes.windows(6).filter(|window| window == b"data: ").count()
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("the connection ended before an answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
    let whole = match answer.header("content-length") {
        Some(length) => length.parse() == Ok(body.len()),
        None => body.ends_with("0\r\n\r\n"),
    };
    ensure!(whole, "the connection ended within an answer");
    Ok(answer)
}

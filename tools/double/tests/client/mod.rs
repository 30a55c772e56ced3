//! A client that believes nothing: raw bytes in, raw bytes out, and how the connection ended.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use upstream_double::Double;

/// How an exchange ended, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ended {
    /// The answer was whole, by HTTP's rules.
    Whole,
    /// FIN before HTTP's end.
    Short,
    Reset,
}

#[derive(Debug)]
pub struct Answer {
    pub head: String,
    /// The body, without the chunked coding.
    pub body: Vec<u8>,
    /// The body by chunks, if it was chunked.
    pub chunks: Vec<Vec<u8>>,
    pub ended: Ended,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The events' data, by the rules of the EventSource standard.
    pub fn events(&self) -> Vec<String> {
        let text = self.text().replace("\r\n", "\n");
        let mut events = Vec::new();
        for block in text.split("\n\n") {
            let data: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("data:")).collect();
            let data: Vec<&str> = data.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
            if !data.is_empty() {
                events.push(data.join("\n"));
            }
        }
        events
    }

    /// The contents of all deltas, joined.
    pub fn content(&self) -> String {
        let events = self.events();
        let parsed = events.iter().filter_map(|event| serde_json::from_str::<serde_json::Value>(event).ok());
        parsed.filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
    }
}

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(double: &Double) -> Self {
        Self { stream: TcpStream::connect(double.address()).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn post(&mut self, body: &str) {
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send(format!("{head}{body}").as_bytes()).await;
    }

    async fn fill(&mut self) -> Result<(), Ended> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Ended::Short),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(Ended::Reset),
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads until `text` has come; what has come so far.
    pub async fn read_until(&mut self, text: &str) -> String {
        loop {
            let seen = String::from_utf8_lossy(&self.buffer).into_owned();
            if seen.contains(text) {
                return seen;
            }
            self.fill().await.unwrap();
        }
    }

    async fn take_line(&mut self) -> Result<String, Ended> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    async fn take(&mut self, length: usize, into: &mut Vec<u8>) -> Result<(), Ended> {
        let ended = loop {
            if self.buffer.len() >= length {
                break None;
            }
            if let Err(ended) = self.fill().await {
                break Some(ended);
            }
        };
        let length = length.min(self.buffer.len());
        into.extend(self.buffer.drain(..length));
        ended.map_or(Ok(()), Err)
    }

    /// Reads one answer, an interim one included.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = Answer { head: String::new(), body: Vec::new(), chunks: Vec::new(), ended: Ended::Whole };
        if let Err(ended) = self.read_into(&mut answer).await {
            answer.ended = ended;
        }
        answer
    }

    async fn read_into(&mut self, answer: &mut Answer) -> Result<(), Ended> {
        loop {
            let line = self.take_line().await?;
            if line.is_empty() {
                break;
            }
            answer.head.push_str(&line);
            answer.head.push('\n');
        }
        if let Some(length) = answer.head.lines().find_map(|line| line.strip_prefix("Content-Length: ")) {
            return self.take(length.parse().unwrap(), &mut answer.body).await;
        }
        if !answer.head.contains("Transfer-Encoding: chunked") {
            return Ok(());
        }
        loop {
            let size = usize::from_str_radix(&self.take_line().await?, 16).unwrap();
            let mut chunk = Vec::new();
            let taken = self.take(size, &mut chunk).await;
            answer.body.extend_from_slice(&chunk);
            answer.chunks.push(chunk);
            taken?;
            self.take_line().await?;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

/// One chat request on a connection of its own. `fields` are appended to the body's.
pub async fn chat(double: &Double, model: &str, fields: &str) -> Answer {
    let mut client = Client::connect(double).await;
    client.post(&body(model, fields)).await;
    client.answer().await
}

/// Three tokens by the double's rules: no text, one message.
pub fn body(model: &str, fields: &str) -> String {
    format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":""}}]{fields}}}"#)
}

pub const STREAM: &str = r#","stream":true,"stream_options":{"include_usage":true}"#;

/// One request for a message of this model, answered.
pub async fn message(double: &Double, model: &str, fields: &str) -> Answer {
    let mut client = Client::connect(double).await;
    let body =
        format!(r#"{{"model":"{model}","max_tokens":100,"messages":[{{"role":"user","content":"hello"}}]{fields}}}"#);
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: k\r\nanthropic-version: 2023-06-01\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send(format!("{head}{body}").as_bytes()).await;
    client.answer().await
}

//! HTTP/1.1 on a bare socket, no more of it than the bench needs.
//!
//! The load and the double share one core, so whatever a client library does here would lower the ceiling of every figure.
//! TCP_NODELAY is set on every socket: without it Nagle's algorithm, which waits for acknowledgements, would be measured.
//! The same reader serves both directions, for the bench is also a Runtime API that functions talk to.

use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection and the message that was last read from it.
pub(crate) struct Wire {
    stream: TcpStream,
    message: Message,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?)
    }

    pub(crate) fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, message: Message::default() })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The last message.
    pub(crate) fn into_message(self) -> Message {
        self.message
    }

    /// Reads the next message whole, and says when the first byte of its body came (its end, if it has no body).
    pub(crate) async fn receive(&mut self) -> io::Result<(Instant, &Message)> {
        self.message.clear();
        let mut first_byte = None;
        loop {
            if self.stream.read_buf(&mut self.message.raw).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let is_whole = self.message.parse()?;
            if first_byte.is_none() && self.message.has_body_begun() {
                first_byte = Some(Instant::now());
            }
            if is_whole {
                return Ok((first_byte.unwrap_or_else(Instant::now), &self.message));
            }
        }
    }
}

/// How a body ends.
#[derive(Default, Clone, Copy)]
enum Framing {
    #[default]
    Unknown,
    Length(usize),
    Chunked,
}

/// One message, as far as it came.
#[derive(Default)]
pub(crate) struct Message {
    raw: Vec<u8>,
    /// Bytes of the head, the empty line included.
    head: usize,
    framing: Framing,
    /// Where the next chunk begins in `raw`.
    at: usize,
    body: Vec<u8>,
}

impl Message {
    /// The request line or the status line.
    pub(crate) fn first_line(&self) -> &str {
        self.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body without the framing of chunks.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        std::str::from_utf8(&self.raw[..self.head]).unwrap_or_default().split("\r\n")
    }

    fn has_body_begun(&self) -> bool {
        self.head > 0 && self.raw.len() > self.head
    }

    fn clear(&mut self) {
        self.raw.clear();
        self.body.clear();
        (self.head, self.at, self.framing) = (0, 0, Framing::Unknown);
    }

    /// Reads on in what came; whether that is all of the message. Nothing may follow it: nobody here pipelines.
    fn parse(&mut self) -> io::Result<bool> {
        if self.head == 0 {
            let Some(end) = find(&self.raw, b"\r\n\r\n") else { return Ok(false) };
            (self.head, self.at) = (end + 4, end + 4);
            self.framing = match (self.header("transfer-encoding"), self.header("content-length")) {
                (Some("chunked"), _) => Framing::Chunked,
                (None, length) => Framing::Length(length.unwrap_or("0").parse().map_err(|_| malformed())?),
                _ => return Err(malformed()),
            };
        }
        let end = match self.framing {
            Framing::Length(length) if self.raw.len() < self.head + length => return Ok(false),
            Framing::Length(length) => {
                self.body.extend_from_slice(&self.raw[self.head..self.head + length]);
                self.head + length
            }
            Framing::Chunked | Framing::Unknown => match self.chunks()? {
                Some(end) => end,
                None => return Ok(false),
            },
        };
        if end == self.raw.len() { Ok(true) } else { Err(malformed()) }
    }

    /// Takes the chunks that are whole; where the body ends, once it has.
    fn chunks(&mut self) -> io::Result<Option<usize>> {
        loop {
            let Some(line) = find(&self.raw[self.at..], b"\r\n") else { return Ok(None) };
            let digits = std::str::from_utf8(&self.raw[self.at..self.at + line]).map_err(|_| malformed())?;
            let size = usize::from_str_radix(digits, 16).map_err(|_| malformed())?;
            let (begin, end) = (self.at + line + 2, self.at + line + 2 + size);
            if self.raw.len() < end + 2 {
                return Ok(None);
            }
            self.body.extend_from_slice(&self.raw[begin..end]);
            self.at = end + 2;
            if size == 0 {
                return Ok(Some(self.at));
            }
        }
    }
}

/// Where `needle` begins in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

fn malformed() -> Error {
    Error::new(ErrorKind::InvalidData, "no HTTP/1.1 message as the bench knows them")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_is_the_same_wherever_its_bytes_are_split() {
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\nb\r\n [DONE]\r\n\r\n\r\n0\r\n\r\n";
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        let empty = "GET /next HTTP/1.1\r\nhost: x\r\n\r\n";
        for (text, body) in [(chunked, "data: [DONE]\r\n\r\n"), (whole, "abc"), (empty, "")] {
            for split in 1..text.len() {
                let mut message = Message::default();
                message.raw.extend_from_slice(&text.as_bytes()[..split]);
                assert!(!message.parse().unwrap(), "{split} bytes of {text:?}");
                message.raw.extend_from_slice(&text.as_bytes()[split..]);
                assert!(message.parse().unwrap(), "{text:?} after {split} bytes");
                assert_eq!(message.body(), body.as_bytes());
            }
        }
    }

    #[test]
    fn what_follows_a_message_is_an_error() {
        let mut message = Message::default();
        message.raw.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcd");
        assert!(message.parse().is_err());
    }
}

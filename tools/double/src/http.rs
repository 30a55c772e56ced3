//! The receiving half of HTTP/1.1, by hand, because a well-behaved library could not be made to misbehave.
//!
//! Reading is kept strict enough that a gateway which sends nonsense is caught (both body framings, `Expect`,
//! keep-alive), and one thing is added that servers hide: whether the client is still there. A provider goes on billing
//! for a client that left, so leaving must be seen and counted (invariant M6: totals equal the provider's own).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest header line, and chunk-size line, that is read.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// Most header lines that are read.
const MAX_HEADERS: usize = 200;
/// Longest body that is read, and most that a client may send ahead while it is being answered.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// One request as it came, header names in lower case.
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path without its query.
    pub(crate) path: String,
    /// What stands behind the question mark.
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the client may send another request on this connection.
    pub(crate) keep_alive: bool,
}

/// Why no further request comes from a connection.
pub(crate) enum Unread {
    /// The client closed, or the socket broke.
    Closed,
    /// The client broke the protocol; it gets this status and the connection ends.
    Refused(u16),
}

impl From<io::Error> for Unread {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// The client closed its side, reset the connection, or sent more ahead than anyone should.
pub(crate) struct Left;

/// One connection, with what was read and not yet used.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of `buffer` is used up.
    at: usize,
}

impl Wire {
    /// Takes a connection; every write leaves at once, since a delayed segment would be measured as latency.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096), at: 0 })
    }

    /// Reads the next request with its whole body.
    pub(crate) async fn request(&mut self) -> Result<Request, Unread> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let first = self.line().await?;
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Err(Unread::Refused(400));
        };
        let mut keep_alive = version == "HTTP/1.1";
        let mut headers = Vec::with_capacity(12);
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or(Unread::Refused(400))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            if headers.len() > MAX_HEADERS {
                return Err(Unread::Refused(431));
            }
        }
        if let Some(value) = header(&headers, "connection") {
            keep_alive &= !value.eq_ignore_ascii_case("close");
        }
        if header(&headers, "expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.write(CONTINUE).await?;
        }
        let body = match (header(&headers, "transfer-encoding"), header(&headers, "content-length")) {
            // Two framings in one request are how requests are smuggled.
            (Some(_), Some(_)) => return Err(Unread::Refused(400)),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => self.chunked().await?,
            (Some(_), None) => return Err(Unread::Refused(501)),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| Unread::Refused(400))?;
                let mut body = Vec::new();
                self.take(length, &mut body).await?;
                body
            }
            (None, None) => Vec::new(),
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
        Ok(Request { method, path, query, headers, body, keep_alive })
    }

    async fn chunked(&mut self) -> Result<Vec<u8>, Unread> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| Unread::Refused(400))?;
            if size == 0 {
                while !self.line().await?.is_empty() {} // Trailers.
                return Ok(body);
            }
            self.take(size, &mut body).await?;
            if !self.line().await?.is_empty() {
                return Err(Unread::Refused(400));
            }
        }
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<String, Unread> {
        loop {
            if let Some(length) = self.buffer[self.at..].iter().position(|byte| *byte == b'\n') {
                let line = &self.buffer[self.at..self.at + length];
                let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
                self.at += length + 1;
                return Ok(line);
            }
            if self.buffer.len() - self.at > MAX_LINE_BYTES {
                return Err(Unread::Refused(431));
            }
            self.fill().await?;
        }
    }

    /// Moves the next `length` bytes to the end of `body`.
    async fn take(&mut self, length: usize, body: &mut Vec<u8>) -> Result<(), Unread> {
        if body.len().saturating_add(length) > MAX_BODY_BYTES {
            return Err(Unread::Refused(413));
        }
        while self.buffer.len() - self.at < length {
            self.fill().await?;
        }
        body.extend_from_slice(&self.buffer[self.at..self.at + length]);
        self.at += length;
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), Unread> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(Unread::Closed),
            _ => Ok(()),
        }
    }

    /// Writes all of `bytes`; an error means that the client has left.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Whether the client is known to have left, without waiting. One that only closed its sending half counts as gone, as
    /// with most servers.
    pub(crate) fn has_left(&mut self) -> bool {
        match self.stream.try_read_buf(&mut self.buffer) {
            Ok(0) => true,
            Ok(_) => self.buffer.len() > MAX_BODY_BYTES,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Waits until the client leaves. What it sends meanwhile is kept for the next request.
    pub(crate) async fn until_left(&mut self) -> Left {
        while self.buffer.len() <= MAX_BODY_BYTES && self.fill().await.is_ok() {}
        Left
    }

    /// Makes dropping this connection send RST in place of FIN.
    pub(crate) fn reset_on_drop(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }
}

/// The interim answer that lets a client go on to its body, or that merely surprises it.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The first value of a header, by its name in lower case.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The words that go with a status.
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        529 => "Site Is Overloaded",
        _ => "Unnamed",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn writes_leave_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(Wire::new(stream).unwrap().stream.nodelay().unwrap());
    }
}

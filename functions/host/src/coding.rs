//! Codings of a request's body: gzip, which some SDKs and proxies send, or none.
//!
//! A coded body is unpacked piece by piece as it comes, so that a small body that unpacks into a large one costs no more
//! memory than a large one, which is refused.

use axum::body::Body;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use gateway_core::error::Error;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt;
use std::io::{self, Write};
use std::time::Duration;
use tokio::time::timeout;

/// How long a client may take to send its body.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// What of a coding's name is repeated.
const SHOWN_BYTES: usize = 32;

/// The body did not come to its end.
#[must_use]
pub fn incomplete() -> Error {
    Error::InvalidRequest { param: None, message: "The body did not come to its end.".to_owned() }
}

/// Whether a body is gzip.
///
/// # Errors
/// 415 if it is anything else but plain, named.
pub fn is_gzip(headers: &HeaderMap) -> Result<bool, Error> {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let named: Vec<String> = values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect();
    match named.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(false),
        ["gzip" | "x-gzip"] => Ok(true),
        _ => {
            let shown = named
                .join(", ")
                .chars()
                .take(SHOWN_BYTES)
                .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
                .collect();
            Err(Error::UnsupportedCoding(shown))
        }
    }
}

/// A gzip body that is being unpacked.
pub struct Unpacked(MultiGzDecoder<Bounded>);

impl Unpacked {
    /// One that may unpack to at most so many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self(MultiGzDecoder::new(Bounded { bytes: Vec::new(), max_bytes, is_full: false }))
    }

    /// How many bytes there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.get_ref().bytes.len()
    }

    /// Whether there is none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in what came.
    ///
    /// # Errors
    /// 413 if it unpacks to more than there may be, 400 if it is no gzip.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), Error> {
        let taken = self.0.write_all(piece).and_then(|()| self.0.flush());
        taken.map_err(|_| self.wrong())
    }

    /// All of it.
    ///
    /// # Errors
    /// The same; 400 as well if it has no end.
    pub fn finish(mut self) -> Result<Bytes, Error> {
        match self.0.try_finish() {
            Ok(()) => Ok(std::mem::take(&mut self.0.get_mut().bytes).into()),
            Err(_) => Err(self.wrong()),
        }
    }

    fn wrong(&self) -> Error {
        let Bounded { max_bytes, is_full, .. } = *self.0.get_ref();
        if is_full {
            return Error::TooLarge { limit_bytes: max_bytes };
        }
        Error::invalid("content-encoding", "The body is not gzip, or not all of it.")
    }
}

/// Bytes up to a bound.
struct Bounded {
    bytes: Vec<u8>,
    max_bytes: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let needed = self.bytes.len() + more.len();
        if needed > self.max_bytes {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if needed > self.bytes.capacity() {
            let capacity = needed.max(2 * self.bytes.capacity()).min(self.max_bytes);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a body of at most `most` bytes, unpacked ones included.
///
/// # Errors
/// 415 for another coding than gzip, 413 past `most` bytes, 400 if it does not come or cannot be unpacked.
pub async fn read(headers: &HeaderMap, body: Body, max_bytes: usize) -> Result<Bytes, Error> {
    let too_large = Error::TooLarge { limit_bytes: max_bytes };
    let is_gzip = is_gzip(headers)?;
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max_bytes) {
        return Err(too_large);
    }
    let read =
        timeout(PATIENCE, http_body_util::Limited::new(body, max_bytes).collect()).await.map_err(|_| incomplete())?;
    let bytes = read.map_err(|error| match error.downcast_ref::<http_body_util::LengthLimitError>() {
        Some(_) => too_large,
        None => incomplete(),
    })?;
    let bytes = bytes.to_bytes();
    if !is_gzip {
        return Ok(bytes);
    }
    let mut unpacked = Unpacked::new(max_bytes);
    unpacked.take(&bytes)?;
    unpacked.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: &[u8], max_bytes: usize, piece: usize) -> Result<Bytes, Error> {
        let mut unpacked = Unpacked::new(max_bytes);
        for piece in bytes.chunks(piece) {
            unpacked.take(piece)?;
        }
        unpacked.finish()
    }

    #[test]
    fn gzip_is_unpacked_however_it_comes_in_one_member_or_several() {
        let (one, other) = (br#"{"model":"#.repeat(1000), b"and more".to_vec());
        let both = [gzip(&one), gzip(&other)].concat();
        for piece in [1, 7, 100_000] {
            assert_eq!(unpacked(&gzip(&one), one.len(), piece).unwrap(), one);
            assert_eq!(unpacked(&both, 100_000, piece).unwrap(), [&one[..], &other].concat());
        }
        assert_eq!(unpacked(&gzip(b""), 5, 100).unwrap(), "");
    }

    #[test]
    fn a_body_that_unpacks_into_more_than_there_may_be_costs_no_more_memory_than_that() {
        const MAX_BYTES: usize = 100_000;
        let bomb = gzip(&vec![0; 50_000_000]);
        assert!(bomb.len() < MAX_BYTES);
        let mut unpacked = Unpacked::new(MAX_BYTES);
        assert_eq!(unpacked.take(&bomb), Err(Error::TooLarge { limit_bytes: MAX_BYTES }));
        assert!(unpacked.0.get_ref().bytes.capacity() <= MAX_BYTES);
        let just = gzip(&vec![0; MAX_BYTES]);
        assert_eq!(super::tests::unpacked(&just, MAX_BYTES, 100).unwrap().len(), MAX_BYTES);
        assert_eq!(
            super::tests::unpacked(&just, MAX_BYTES - 1, 100),
            Err(Error::TooLarge { limit_bytes: MAX_BYTES - 1 })
        );
    }

    #[test]
    fn what_is_cut_or_no_gzip_at_all_is_told() {
        let whole = gzip(&b"some text that is long enough".repeat(9));
        let mut broken = whole.clone();
        let middle = broken.len() / 2;
        broken[middle] ^= 0x55;
        let mut wrong_sum = whole.clone();
        wrong_sum[whole.len() - 6] ^= 1;
        let with_more = [&whole[..], b"and more"].concat();
        for bytes in [b"" as &[u8], b"{}", &whole[..whole.len() - 1], &whole[..12], &broken, &wrong_sum, &with_more] {
            for piece in [1, 100_000] {
                let http = unpacked(bytes, 100_000, piece).unwrap_err().to_http();
                assert_eq!((http.status, http.param.as_deref()), (400, Some("content-encoding")), "{bytes:?}");
            }
        }
    }

    #[test]
    fn codings_are_known_by_their_names() {
        let outcome = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            is_gzip(&headers)
        };
        let other = |name: &str| Err(Error::UnsupportedCoding(name.to_owned()));
        for (values, expected) in [
            (&[][..], Ok(false)),
            (&["identity"], Ok(false)),
            (&[""], Ok(false)),
            (&["gzip"], Ok(true)),
            (&[" GZip "], Ok(true)),
            (&["x-gzip"], Ok(true)),
            (&["identity, gzip"], Ok(true)),
            (&["br"], other("br")),
            (&["deflate"], other("deflate")),
            (&["zstd"], other("zstd")),
            (&["gzip, gzip"], other("gzip, gzip")),
            (&["gzip", "br"], other("gzip, br")),
            (&["g\u{fc}zip"], other("g?zip")),
            (&[&"x".repeat(1000)], other(&"x".repeat(32))),
        ] {
            assert_eq!(outcome(values), expected, "{values:?}");
        }
    }
}

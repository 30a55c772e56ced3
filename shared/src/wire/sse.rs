//! Server-sent events, from bytes that come in any portions.
//!
//! The parser keeps to the WHATWG's event stream format as far as models' APIs use it: lines ended by LF or CRLF,
//! comments, several `data:` lines of one event, an event cut across reads at any byte. An event that was not ended by
//! an empty line was not sent (A1). What an event may weigh is bounded, so that an endless one cannot fill the memory.

use crate::steps;
use bytes::{Buf, Bytes, BytesMut};

/// Most bytes of one event.
pub const MAX_EVENT_BYTES: usize = 8 << 20;

/// An event or a line is larger than [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {MAX_EVENT_BYTES} bytes")]
pub struct TooLarge;

/// Takes bytes in, gives the `data` of events out.
#[derive(Debug, Default)]
pub struct SseParser {
    pending: BytesMut,
    /// How much of `pending` is known to hold no line end.
    searched: usize,
    /// The event that has begun. It owns its bytes: a slice of `pending` would keep the comments beside it in memory for
    /// as long as the event.
    data: Option<Vec<u8>>,
    begun: bool,
}

impl SseParser {
    /// Adds bytes as they came from the wire.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Bytes that are held for events which have not come to their end, or have not been taken.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.pending.len() + self.data.as_ref().map_or(0, |data| data.len())
    }

    /// The `data` of the next whole event, if it has come.
    ///
    /// # Errors
    /// If an event is larger than [`MAX_EVENT_BYTES`].
    pub fn next_event(&mut self) -> Result<Option<Bytes>, TooLarge> {
        loop {
            let Some(end) = self.pending[self.searched..].iter().position(|&byte| byte == b'\n') else {
                steps::count(self.pending.len() - self.searched);
                self.searched = self.pending.len();
                return if self.pending.len() > MAX_EVENT_BYTES { Err(TooLarge) } else { Ok(None) };
            };
            steps::count(end + 1);
            let end = self.searched + end;
            let mut line = &self.pending[..end];
            line = line.strip_suffix(b"\r").unwrap_or(line);
            if !self.begun {
                self.begun = true;
                line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            }
            let is_end = line.is_empty();
            if let Some(value) = value_of(line, b"data") {
                match &mut self.data {
                    None => self.data = Some(value.to_vec()),
                    Some(data) if data.len() + value.len() > MAX_EVENT_BYTES => return Err(TooLarge),
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                }
            }
            self.pending.advance(end + 1);
            self.searched = 0;
            if is_end && let Some(data) = self.data.take() {
                return Ok(Some(data.into()));
            }
        }
    }
}

/// What stands behind `name:` in a line of that field, less one space.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn all(parser: &mut SseParser) -> Vec<String> {
        std::iter::from_fn(|| parser.next_event().unwrap())
            .map(|data| String::from_utf8_lossy(&data).into_owned())
            .collect()
    }

    #[test]
    fn every_form_of_an_event_is_understood() {
        for (wire, events) in [
            ("data: a\n\n", vec!["a"]),
            ("data:a\n\n", vec!["a"]),
            ("data:  a\n\n", vec![" a"]),
            ("data: a\r\n\r\n", vec!["a"]),
            ("\u{feff}data: a\n\n", vec!["a"]),
            (": comment\n\ndata: a\n\n", vec!["a"]),
            ("event: x\nid: 1\ndata: a\nretry: 5\n\n", vec!["a"]),
            ("data: a\ndata: b\n\n", vec!["a\nb"]),
            ("data\n\n", vec![""]),
            ("database: a\n\n", vec![]),
            ("data: a\n\n\n\ndata: b\n\n", vec!["a", "b"]),
            ("data: a\n", vec![]),
            ("data: a", vec![]),
        ] {
            let mut parser = SseParser::default();
            parser.feed(wire.as_bytes());
            assert_eq!(all(&mut parser), events, "{wire:?}");
        }
    }

    #[test]
    fn an_endless_event_is_refused_before_it_fills_the_memory() {
        let mut parser = SseParser::default();
        parser.feed(b"data: ");
        let piece = vec![b'x'; 1 << 20];
        let refused = (0..20).find(|_| {
            parser.feed(&piece);
            parser.next_event().is_err()
        });
        // Eight pieces are the limit, and `data: ` is six bytes more.
        assert_eq!(refused, Some(7));
    }

    proptest! {
        #[test]
        fn where_the_wire_is_cut_makes_no_difference(
            texts in proptest::collection::vec("[^\r\n]{0,20}", 0..8), sizes in proptest::collection::vec(1usize..7, 1..40),
        ) {
            let wire: String = texts.iter().map(|text| format!("data: {text}\n\n")).collect();
            let (mut parser, mut rest, mut got) = (SseParser::default(), wire.as_bytes(), Vec::new());
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at((*size).min(rest.len()));
                parser.feed(now);
                got.extend(all(&mut parser));
                rest = later;
            }
            prop_assert_eq!(got, texts);
        }

        #[test]
        fn no_bytes_make_it_panic(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut parser = SseParser::default();
            parser.feed(&wire);
            while let Ok(Some(_)) = parser.next_event() {}
        }
    }
}

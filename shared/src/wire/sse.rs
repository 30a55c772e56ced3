//! Server-sent events, from bytes that come in any portions.
//!
//! The parser keeps to the WHATWG's event stream format as far as models' APIs use it: lines ended by LF, CRLF or CR,
//! comments, several `data:` lines of one event, the names of events, an event cut across reads at any byte. What the last
//! empty line is missing to is an event only where the stream is known to have ended ([`SseParser::finish`]). What an event
//! may weigh is bounded, so that an endless one cannot fill the memory.

use crate::steps;
use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr2, memmem};

/// Most bytes of one event.
pub const MAX_EVENT_BYTES: usize = 8 << 20;

/// An event or a line is larger than [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {MAX_EVENT_BYTES} bytes")]
pub struct TooLarge;

/// An event with data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What its name says of it.
    pub kind: Kind,
    /// Its `data`.
    pub data: Bytes,
}

/// What events are, as far as their names tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Whatever its data says.
    #[default]
    Message,
    /// A sign of life.
    Ping,
    /// An error.
    Error,
}

impl Kind {
    fn of(name: &[u8]) -> Self {
        match name {
            b"ping" | b"keepalive" | b"keep-alive" | b"heartbeat" => Self::Ping,
            b"error" => Self::Error,
            _ => Self::Message,
        }
    }
}

/// Takes bytes in, gives events out.
#[derive(Debug, Default)]
pub struct SseParser {
    pending: BytesMut,
    /// Whether the last line ended with a CR, to which a LF may yet come.
    after_cr: bool,
    /// What the event that has begun is.
    kind: Kind,
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

    /// Ends what has begun: the stream has come to its end, so that no more belongs to its last event.
    pub fn finish(&mut self) {
        self.feed(b"\n\n");
    }

    /// The next whole event, if it has come.
    ///
    /// # Errors
    /// If an event is larger than [`MAX_EVENT_BYTES`].
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLarge> {
        loop {
            if self.after_cr && !self.pending.is_empty() {
                self.after_cr = false;
                self.pending.advance(usize::from(self.pending[0] == b'\n'));
            }
            let Some(end) = memchr2(b'\n', b'\r', &self.pending[self.searched..]) else {
                steps::count(self.pending.len() - self.searched);
                self.searched = self.pending.len();
                return if self.pending.len() > MAX_EVENT_BYTES { Err(TooLarge) } else { Ok(None) };
            };
            steps::count(end + 1);
            let end = self.searched + end;
            self.after_cr = self.pending[end] == b'\r';
            let line = self.pending.split_to(end);
            self.pending.advance(1);
            self.searched = 0;
            let line = if self.begun { &line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) };
            self.begun = true;
            if line.is_empty() {
                let kind = std::mem::take(&mut self.kind);
                if let Some(data) = self.data.take() {
                    return Ok(Some(Event { kind, data: data.into() }));
                }
            } else {
                Self::line(&mut self.data, &mut self.kind, line)?;
            }
        }
    }

    fn line(data: &mut Option<Vec<u8>>, kind: &mut Kind, line: &[u8]) -> Result<(), TooLarge> {
        if let Some(value) = value_of(line, b"data") {
            match data {
                None => *data = Some(value.to_vec()),
                Some(data) if data.len() + value.len() > MAX_EVENT_BYTES => return Err(TooLarge),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            }
        } else if let Some(name) = value_of(line, b"event") {
            *kind = Kind::of(name);
        } else if let Some(error) = value_of(line, b"error") {
            // No field of the format: llama.cpp wrote its errors so.
            (*data, *kind) = (Some(error.to_vec()), Kind::Error);
        } else if line.trim_ascii_start().starts_with(b"{") {
            // No field either, but JSON on a line of its own: the data of an empty field, or an error without one.
            match data {
                Some(data) if data.is_empty() => data.extend_from_slice(line),
                None if memmem::find(line, b"\"error\"").is_some() => {
                    (*data, *kind) = (Some(line.to_vec()), Kind::Error)
                }
                _ => {}
            }
        }
        Ok(())
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
            .map(|event| String::from_utf8_lossy(&event.data).into_owned())
            .collect()
    }

    #[test]
    fn every_form_of_an_event_is_understood() {
        for (wire, events) in [
            ("data: a\n\n", vec!["a"]),
            ("data:a\n\n", vec!["a"]),
            ("data:  a\n\n", vec![" a"]),
            ("data: a\r\n\r\n", vec!["a"]),
            ("data: a\r\rdata: b\r\r", vec!["a", "b"]),
            ("data: a\rdata: b\n\ndata: c\r\n\r\n", vec!["a\nb", "c"]),
            ("\r\n\r\ndata: a\r\n\n", vec!["a"]),
            ("\u{feff}data: a\n\n", vec!["a"]),
            (": comment\n\ndata: a\n\n", vec!["a"]),
            ("event: x\nid: 1\ndata: a\nretry: 5\n\n", vec!["a"]),
            ("data: a\ndata: b\n\n", vec!["a\nb"]),
            ("data\n\n", vec![""]),
            ("database: a\n\n", vec![]),
            ("data: a\n\n\n\ndata: b\n\n", vec!["a", "b"]),
            ("data: a\n\n\u{feff}data: b\n\ndata: c\n\n", vec!["a", "c"]),
            ("data: a\n", vec![]),
            ("data: a", vec![]),
        ] {
            let mut parser = SseParser::default();
            parser.feed(wire.as_bytes());
            assert_eq!(all(&mut parser), events, "{wire:?}");
        }
    }

    #[test]
    fn an_end_ends_the_event_that_has_begun_and_names_tell_what_events_are() {
        let told = |wire: &str| {
            let mut parser = SseParser::default();
            parser.feed(wire.as_bytes());
            parser.finish();
            let events = std::iter::from_fn(|| parser.next_event().unwrap());
            events.map(|event| (event.kind, String::from_utf8(event.data.to_vec()).unwrap())).collect::<Vec<_>>()
        };
        for (wire, kind, data) in [
            ("data: a", Kind::Message, "a"),
            ("data: a\n", Kind::Message, "a"),
            ("data: a\r", Kind::Message, "a"),
            ("data: a\n\n", Kind::Message, "a"),
            ("event: ping\ndata: a", Kind::Ping, "a"),
            ("data: a\nevent: error\n\n", Kind::Error, "a"),
            ("event: error\n\ndata: a\n\n", Kind::Message, "a"),
            ("event: message\ndata: a\n\n", Kind::Message, "a"),
            ("error: {\"code\":400}\n\n", Kind::Error, "{\"code\":400}"),
            ("{\"error\":\"no\"}\n", Kind::Error, "{\"error\":\"no\"}"),
            ("data:\n {\"a\":1}\n\n", Kind::Message, " {\"a\":1}"),
        ] {
            assert_eq!(told(wire), [(kind, data.to_owned())], "{wire:?}");
        }
        for wire in ["", "\n", ": comment", "event: ping\n\n", "{\"a\":1}\n\n", "id: 1\nretry: 5\n\n"] {
            assert_eq!(told(wire), [], "{wire:?}");
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

    #[test]
    fn an_event_of_endless_lines_is_refused_before_it_fills_the_memory() {
        let mut parser = SseParser::default();
        let line = [b"data: ", &vec![b'x'; 1 << 20][..], b"\n"].concat();
        for held_mib in 1..=8 {
            parser.feed(&line);
            // With the eighth, seven line ends stand between them.
            assert_eq!(parser.next_event(), if held_mib < 8 { Ok(None) } else { Err(TooLarge) }, "{held_mib} MiB");
        }
    }

    #[test]
    fn what_is_held_for_an_event_is_told() {
        let mut parser = SseParser::default();
        for (wire, held_bytes) in [("data: abc\ndata:", 8), (" d\n", 5), ("\ndata: e\n", 1)] {
            parser.feed(wire.as_bytes());
            while parser.next_event().unwrap().is_some() {}
            assert_eq!(parser.held_bytes(), held_bytes, "{wire:?}");
        }
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

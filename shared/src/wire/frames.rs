//! Amazon's event stream: messages in binary frames, from bytes that come in any portions.
//!
//! A frame is its whole length, the length of its headers, a checksum of these two, headers, a payload, and a checksum of
//! all before. Both checksums are checked, the first before the length is believed: a byte that was lost makes nonsense of
//! all that follows, and nothing of it is to be taken for an answer (A1).
//!
//! # Source
//! The format as AWS documents it for `application/vnd.amazon.eventstream`.

use crate::steps;
use bytes::{Buf, Bytes, BytesMut};

/// Most bytes of one frame.
pub const MAX_FRAME_BYTES: usize = 8 << 20;
/// Two lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
/// A checksum.
const CRC_BYTES: usize = 4;

/// What cannot be a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// It is larger than [`MAX_FRAME_BYTES`].
    #[error("a frame of more than {MAX_FRAME_BYTES} bytes")]
    TooLarge,
    /// Its lengths, headers or checksums are wrong.
    #[error("no frame")]
    Broken,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What kind of message it is: `event`, `exception` or `error`.
    pub kind: String,
    /// Which event, exception or error.
    pub name: String,
    /// What it says.
    pub payload: Bytes,
}

/// Takes bytes in, gives frames out.
#[derive(Debug, Default)]
pub struct FrameParser {
    pending: BytesMut,
}

impl FrameParser {
    /// Takes bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Bytes of a frame that is not whole yet.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.pending.len()
    }

    /// The next frame, if all of it has come.
    ///
    /// # Errors
    /// What has come begins no frame; nothing that follows can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, BadFrame> {
        steps::count(1);
        let Some(prelude) = self.pending.first_chunk::<PRELUDE_BYTES>() else { return Ok(None) };
        let number = |at: usize| u32::from_be_bytes([prelude[at], prelude[at + 1], prelude[at + 2], prelude[at + 3]]);
        if crc32fast::hash(&prelude[..8]) != number(8) {
            return Err(BadFrame::Broken);
        }
        let as_size = |length: u32| usize::try_from(length).map_err(|_| BadFrame::TooLarge);
        let (whole, headers) = (as_size(number(0))?, as_size(number(4))?);
        if whole > MAX_FRAME_BYTES {
            return Err(BadFrame::TooLarge);
        }
        let payload_from = PRELUDE_BYTES.saturating_add(headers);
        let crc_from = whole.checked_sub(CRC_BYTES).filter(|from| payload_from <= *from).ok_or(BadFrame::Broken)?;
        if self.pending.len() < whole {
            return Ok(None);
        }
        let frame = self.pending.split_to(whole).freeze();
        steps::count(whole);
        if crc32fast::hash(&frame[..crc_from]) != frame.slice(crc_from..).get_u32() {
            return Err(BadFrame::Broken);
        }
        let mut found =
            Frame { kind: String::new(), name: String::new(), payload: frame.slice(payload_from..crc_from) };
        found.take_headers(&frame[PRELUDE_BYTES..payload_from]).ok_or(BadFrame::Broken)?;
        Ok(Some(found))
    }
}

impl Frame {
    /// Reads headers: a name with its length, a type, a value. None if they are cut or of no known type.
    fn take_headers(&mut self, mut rest: &[u8]) -> Option<()> {
        while !rest.is_empty() {
            steps::count(1);
            let name = long(&mut rest, 1)?;
            let value = match take(&mut rest, 1)?.first()? {
                0 | 1 => &[][..],
                2 => take(&mut rest, 1)?,
                3 => take(&mut rest, 2)?,
                4 => take(&mut rest, 4)?,
                5 | 8 => take(&mut rest, 8)?,
                6 | 7 => long(&mut rest, 2)?,
                9 => take(&mut rest, 16)?,
                _ => return None,
            };
            let value = || String::from_utf8_lossy(value).into_owned();
            match name {
                b":message-type" => self.kind = value(),
                b":event-type" | b":exception-type" | b":error-code" => self.name = value(),
                _ => {}
            }
        }
        Some(())
    }
}

/// Takes so many bytes.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

/// Takes bytes whose length stands before them, in one byte or two.
fn long<'a>(rest: &mut &'a [u8], length_bytes: usize) -> Option<&'a [u8]> {
    let length = take(rest, length_bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    take(rest, length)
}

#[cfg(test)]
pub(crate) mod tests;

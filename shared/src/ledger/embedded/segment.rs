//! A segment: one file of the log, and the index by which a receipt is found in it.
//!
//! A line is eight hexadecimal digits of CRC-32, a space, JSON and a newline, and is written by one `write`. Whatever a
//! crash or a bad disk leaves is thus distinguished from what was meant, line by line, and `less` shows the rest.
//!
//! A receipt that is erased is overwritten in its place, by a line as long that has its id and nothing else. So no place in
//! the log moves, a replay finds the id and does not bring the receipt back, and its bytes are gone from the file.
//!
//! No receipt has an entry in memory. A request id begins with its time ([`RequestId`]), so a block of about 256 KiB
//! needs only the earliest and the latest of its ids' times: some 90 bytes of index for each MiB of log. A look-up reads
//! the blocks that may hold the id, nearly always one, and parses the one line that begins with it.

use crate::id::RequestId;
use crate::ledger::WhoseUid;
use crate::receipt::Receipt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much of a segment one entry of the index stands for.
const BLOCK_BYTES: u64 = 256 << 10;

/// Where a line's JSON begins.
const JSON_AT: usize = 9;

/// Puts a value into the form of a line.
pub(super) fn frame(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(1024);
    line.extend_from_slice(b"00000000 ");
    serde_json::to_writer(&mut line, value)?;
    let sum = crc32fast::hash(&line[JSON_AT..]);
    write!(&mut line[..JSON_AT - 1], "{sum:08x}")?;
    line.push(b'\n');
    Ok(line)
}

/// The JSON of a line that is whole.
pub(super) fn unframe(line: &[u8]) -> Option<&[u8]> {
    let (sum, json) = line.strip_suffix(b"\n")?.split_at_checked(JSON_AT)?;
    let sum = std::str::from_utf8(sum.strip_suffix(b" ")?).ok()?;
    (u32::from_str_radix(sum, 16) == Ok(crc32fast::hash(json))).then_some(json)
}

/// Which segment: the UTC day on which it was begun, and its number within that day. Ordered by age.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Name {
    /// `YYYY-MM-DD`.
    pub(super) day: Arc<str>,
    pub(super) number: u32,
}

impl Name {
    /// Reads a file's name; `None` if it is not a segment's.
    pub(super) fn parse(file_name: &str) -> Option<Self> {
        let (day, number) = file_name.strip_suffix(".log")?.split_once('.')?;
        let name = Self { day: day.into(), number: number.parse().ok()? };
        (name.file_name() == file_name).then_some(name)
    }

    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(self.file_name())
    }

    pub(super) fn file_name(&self) -> String {
        format!("{}.{:04}.log", self.day, self.number)
    }
}

/// A stretch of whole lines, up to the next block, and the range of its ids' times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Block {
    at_bytes: u64,
    first_ms: u64,
    last_ms: u64,
}

/// One file of the log. Cheap to clone: the index is shared until it grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) name: Name,
    /// Where its last whole line ends.
    pub(super) end_bytes: u64,
    blocks: Arc<Vec<Block>>,
}

impl Segment {
    /// An empty one.
    pub(super) fn new(name: Name) -> Self {
        Self { name, end_bytes: 0, blocks: Arc::default() }
    }

    /// Takes note of a line at its end that is `length` bytes long and holds a receipt of this id.
    pub(super) fn note(&mut self, length: usize, id: RequestId) {
        let time_ms = id.created_at_ms();
        let blocks = Arc::make_mut(&mut self.blocks);
        match blocks.last_mut().filter(|block| self.end_bytes - block.at_bytes < BLOCK_BYTES) {
            Some(block) => {
                block.first_ms = block.first_ms.min(time_ms);
                block.last_ms = block.last_ms.max(time_ms);
            }
            None => blocks.push(Block { at_bytes: self.end_bytes, first_ms: time_ms, last_ms: time_ms }),
        }
        self.end_bytes += length as u64;
    }

    /// Reads on from where it is known to end, gives each receipt to `each`, and answers how many lines in between could
    /// not be read. What follows the last whole line is torn; it is not counted, and is not part of the segment.
    pub(super) fn read_on(&mut self, folder: &Path, mut each: impl FnMut(&Receipt)) -> io::Result<u64> {
        let mut file = File::open(self.name.path(folder))?;
        file.seek(SeekFrom::Start(self.end_bytes))?;
        let mut lines = BufReader::with_capacity(64 << 10, file);
        let (mut unread, mut broken, mut broken_bytes) = (0, 0, 0);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            if let Some(json) = unframe(&line) {
                unread += std::mem::take(&mut broken);
                self.end_bytes += std::mem::take(&mut broken_bytes);
                match serde_json::from_slice::<Receipt>(json) {
                    Ok(receipt) => {
                        self.note(line.len(), receipt.id);
                        each(&receipt);
                    }
                    Err(_) if let Ok(Erased { id, erased: true }) = serde_json::from_slice(json) => {
                        self.note(line.len(), id);
                    }
                    // Whole, yet not as this version writes it: not ours to cut off.
                    Err(_) => {
                        unread += 1;
                        self.end_bytes += line.len() as u64;
                    }
                }
            } else {
                broken += 1;
                broken_bytes += line.len() as u64;
            }
            line.clear();
        }
        Ok(unread)
    }

    /// Whether a receipt of this id may be in it.
    pub(super) fn may_hold(&self, id: RequestId) -> bool {
        self.blocks.iter().any(|block| block.may_hold(id))
    }

    /// Whether a request of this time may be in it.
    pub(super) fn may_hold_one_of(&self, created_ms: &RangeInclusive<u64>) -> bool {
        self.blocks.iter().any(|block| block.first_ms <= *created_ms.end() && block.last_ms >= *created_ms.start())
    }

    /// Where its blocks begin and end that may hold a request of this time, the last one first.
    pub(super) fn blocks_of(&self, created_ms: &RangeInclusive<u64>) -> impl Iterator<Item = Range<u64>> {
        let ends = self.blocks.iter().skip(1).map(|next| next.at_bytes).chain([self.end_bytes]);
        let may_hold =
            |(block, _): &(&Block, u64)| block.first_ms <= *created_ms.end() && block.last_ms >= *created_ms.start();
        let stretches: Vec<_> =
            self.blocks.iter().zip(ends).filter(may_hold).map(|(block, end)| block.at_bytes..end).collect();
        stretches.into_iter().rev()
    }

    /// Gives `each` the receipts of whole lines from `from_bytes` on, until `to_bytes` are passed or it ends; answers where
    /// it stopped.
    pub(super) fn visit(
        &self,
        folder: &Path,
        from_bytes: u64,
        to_bytes: u64,
        mut each: impl FnMut(Receipt),
    ) -> io::Result<u64> {
        let mut file = match File::open(self.name.path(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(self.end_bytes),
            file => file?,
        };
        file.seek(SeekFrom::Start(from_bytes))?;
        let mut lines = BufReader::with_capacity(64 << 10, file.take(self.end_bytes.saturating_sub(from_bytes)));
        let (mut at_bytes, mut line) = (from_bytes, Vec::new());
        while at_bytes < to_bytes && lines.read_until(b'\n', &mut line)? > 0 {
            at_bytes += line.len() as u64;
            unframe(&line).and_then(|json| serde_json::from_slice(json).ok()).into_iter().for_each(&mut each);
            line.clear();
        }
        Ok(at_bytes)
    }

    /// The latest time of an id in it.
    pub(super) fn last_ms(&self) -> u64 {
        self.blocks.iter().map(|block| block.last_ms).max().unwrap_or(0)
    }

    /// Finds the line of this id, as a receipt or as whatever else is wanted of it.
    pub(super) fn find<T: DeserializeOwned>(&self, folder: &Path, id: RequestId) -> io::Result<Option<T>> {
        let mut file = match File::open(self.name.path(folder)) {
            // Its receipts became too old while we were on the way.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        // The id is a receipt's first field.
        let beginning = format!("{{\"id\":\"{id}\"");
        let ends = self.blocks.iter().skip(1).map(|next| next.at_bytes).chain([self.end_bytes]);
        let mut bytes = Vec::new();
        for (block, end) in self.blocks.iter().zip(ends).filter(|(block, _)| block.may_hold(id)) {
            bytes.clear();
            file.seek(SeekFrom::Start(block.at_bytes))?;
            (&mut file).take(end - block.at_bytes).read_to_end(&mut bytes)?;
            let found = bytes
                .split_inclusive(|byte| *byte == b'\n')
                .filter(|line| line.get(JSON_AT..).is_some_and(|json| json.starts_with(beginning.as_bytes())))
                .find_map(|line| serde_json::from_slice(unframe(line)?).ok());
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

impl Segment {
    /// Overwrites the receipts that are `whose`, and brings that to the disk; answers how many they were.
    pub(super) fn erase(&self, folder: &Path, whose: &WhoseUid) -> io::Result<u64> {
        let file = match OpenOptions::new().read(true).write(true).open(self.name.path(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            file => file?,
        };
        let mut lines = BufReader::with_capacity(64 << 10, (&file).take(self.end_bytes));
        let (mut erased, mut at_bytes, mut line) = (0, 0, Vec::new());
        while lines.read_until(b'\n', &mut line)? > 0 {
            let kept = unframe(&line).and_then(|json| serde_json::from_slice::<Kept>(json).ok());
            if let Some(kept) = kept
                && whose(kept.tenant_uid.as_deref().unwrap_or(&kept.tenant))
            {
                file.write_all_at(&erased_line(kept.id, line.len()), at_bytes)?;
                erased += 1;
            }
            at_bytes += line.len() as u64;
            line.clear();
        }
        if erased > 0 {
            file.sync_data()?;
        }
        Ok(erased)
    }
}

/// Whose a receipt is.
#[derive(Deserialize)]
struct Kept {
    id: RequestId,
    tenant: String,
    tenant_uid: Option<String>,
}

/// What an erased receipt leaves: its id, so that it is not recorded again.
#[derive(Deserialize)]
struct Erased {
    id: RequestId,
    erased: bool,
}

/// The line of an erased receipt, `length` bytes long.
fn erased_line(id: RequestId, length: usize) -> Vec<u8> {
    let json = format!("{{\"id\":\"{id}\",\"erased\":true}}");
    let json = format!("{json:<width$}", width = length.saturating_sub(JSON_AT + 1));
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

impl Block {
    fn may_hold(&self, id: RequestId) -> bool {
        (self.first_ms..=self.last_ms).contains(&id.created_at_ms())
    }
}

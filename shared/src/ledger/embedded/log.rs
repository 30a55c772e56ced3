//! The log: its segments, the one that is written to, and what is known of them in memory.
//!
//! Everything here happens under one lock and ends with the page cache; what waits for the disk is handed out as
//! [`Work`] and done outside.

use super::checkpoint::{Checkpoint, sync_folder};
use super::recent::Recent;
use super::segment::{Name, Segment};
use super::totals::Totals;
use crate::id::RequestId;
use crate::receipt::Receipt;
use crate::window::day_utc;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// For how long a segment is kept after its day: as long as its receipts may be asked for, and a day more.
const KEEP_SEGMENTS_MS: u64 = 31 * 86_400_000;

/// How large things grow; tests make them small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// A segment that is longer than this is followed by another one of the same day.
    pub(super) segment_bytes: u64,
    /// After so much of log comes a checkpoint, unless checkpoints are large themselves.
    pub(super) checkpoint_bytes: u64,
    /// How many ids are remembered at least.
    pub(super) recent_ids: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { segment_bytes: 256 << 20, checkpoint_bytes: 16 << 20, recent_ids: 65_536 }
    }
}

/// The log and what it adds up to.
pub(super) struct Log {
    folder: PathBuf,
    bounds: Bounds,
    /// Oldest first.
    sealed: Vec<Segment>,
    active: Segment,
    file: Arc<File>,
    /// Whether half a line may stand after the end of the active segment.
    is_torn: bool,
    pub(super) totals: Totals,
    pub(super) recent: Recent,
    /// The day that is not over: when the ledger was opened, or when the first receipt of a newer day came in.
    today_ms: u64,
    /// Whether there is work for [`Log::take_work`].
    pub(super) has_work: bool,
    /// Whether the ledger is being dropped.
    pub(super) is_closing: bool,
    /// Why the last sync failed.
    pub(super) sync_error: Option<String>,
    unsynced: Vec<Arc<File>>,
    since_checkpoint_bytes: u64,
    last_checkpoint_bytes: u64,
    /// Set when what is too old at this time is to be dropped.
    forget_at_ms: Option<u64>,
}

/// What has to reach the disk, in this order.
pub(super) struct Work {
    /// Segments to sync; more than one when a new one was begun.
    pub(super) files: Vec<Arc<File>>,
    /// To be written once they are synced.
    pub(super) checkpoint: Option<Checkpoint>,
    /// Segments of earlier days are to be deleted once the checkpoint is written.
    pub(super) first_day: Option<String>,
}

impl Log {
    /// Opens the log in `folder`, which exists: reads the newest checkpoint and what came after it, and cuts off what a
    /// crash left half written.
    pub(super) fn open(folder: &Path, bounds: Bounds, now_ms: u64) -> io::Result<Self> {
        let Checkpoint { segments: known, sums } = Checkpoint::read(folder)?;
        let mut totals = Totals::from_sums(sums);
        let (mut sealed, mut unread, mut since_checkpoint_bytes) = (Vec::<Segment>::new(), 0, 0);
        for name in names(folder)? {
            let is_counted = known.last().is_some_and(|last| name < last.name);
            let mut segment = match known.iter().find(|segment| segment.name == name) {
                Some(segment) => segment.clone(),
                // Counted, yet no longer wanted: about to be deleted when the process ended.
                None if is_counted => continue,
                None => Segment::new(name),
            };
            if !is_counted {
                let from_bytes = segment.end_bytes;
                unread += segment.read_on(folder, |receipt| totals.add(receipt))?;
                since_checkpoint_bytes += segment.end_bytes - from_bytes;
            }
            sealed.push(segment);
        }
        if unread > 0 {
            tracing::warn!(lines = unread, folder = %folder.display(), "the ledger has corrupt lines; skipped");
        }
        let today = day_utc(now_ms);
        let length = sealed.last().map_or(Ok(0), |last| cut_torn_tail(folder, last))?;
        let active =
            sealed.pop_if(|last| *last.name.day >= *today && last.end_bytes == length && length < bounds.segment_bytes);
        let newest = sealed.iter().chain(known.last()).map(|segment| &segment.name).max();
        let active = active.unwrap_or_else(|| Segment::new(next_name(newest, &today)));
        let file = append_to(&active.name.path(folder))?;
        sync_folder(folder)?;
        let last_ms = sealed.iter().chain([&active]).map(Segment::last_ms).max().unwrap_or(0);
        let first_day = first_day_to_keep(now_ms);
        Ok(Self {
            folder: folder.to_owned(),
            bounds,
            has_work: since_checkpoint_bytes > 0 || sealed.iter().any(|segment| *segment.name.day < *first_day),
            sealed,
            active,
            file,
            is_torn: false,
            totals,
            recent: Recent::new(bounds.recent_ids, last_ms),
            today_ms: now_ms,
            is_closing: false,
            sync_error: None,
            unsynced: Vec::new(),
            since_checkpoint_bytes,
            last_checkpoint_bytes: 0,
            forget_at_ms: Some(now_ms),
        })
    }

    /// Appends a receipt as `line` and counts it.
    ///
    /// # Errors
    /// If the disk is full or broken; then nothing is counted and no half of a line stays.
    pub(super) fn append(&mut self, receipt: &Receipt, line: &[u8]) -> io::Result<()> {
        self.roll_if_due(receipt.created_at_ms)?;
        if self.is_torn {
            self.file.set_len(self.active.end_bytes)?;
            self.is_torn = false;
        }
        if let Err(error) = (&*self.file).write_all(line) {
            self.is_torn = self.file.set_len(self.active.end_bytes).is_err();
            return Err(error);
        }
        self.active.note(line.len(), receipt.id);
        self.totals.add(receipt);
        self.recent.insert(receipt.id);
        self.since_checkpoint_bytes += line.len() as u64;
        Ok(())
    }

    /// Begins a new segment with the first receipt of a newer day, and when the active one is long enough.
    fn roll_if_due(&mut self, created_at_ms: u64) -> io::Result<()> {
        let day = self.totals.day_of(created_at_ms).clone();
        let is_new_day = *day > *self.active.name.day;
        if !is_new_day && self.active.end_bytes < self.bounds.segment_bytes {
            return Ok(());
        }
        let name = next_name(Some(&self.active.name), &day);
        let file = append_to(&name.path(&self.folder))?;
        self.unsynced.push(std::mem::replace(&mut self.file, file));
        self.sealed.push(std::mem::replace(&mut self.active, Segment::new(name)));
        self.is_torn = false;
        if is_new_day {
            // What is too old is reckoned from the day that has ended, so that a clock that jumps ahead deletes nothing.
            self.forget_at_ms = Some(std::mem::replace(&mut self.today_ms, created_at_ms));
        }
        Ok(())
    }

    /// The segments that may hold a receipt of this id.
    pub(super) fn segments_for(&self, id: RequestId) -> Vec<Segment> {
        self.sealed.iter().chain([&self.active]).filter(|segment| segment.may_hold(id)).cloned().collect()
    }

    /// What has to reach the disk now.
    pub(super) fn take_work(&mut self) -> Work {
        self.has_work = false;
        let mut files = std::mem::take(&mut self.unsynced);
        let has_rolled = !files.is_empty();
        files.push(self.file.clone());
        // At least four times its own size of log lies between two checkpoints, whatever their size.
        let step_bytes = self.bounds.checkpoint_bytes.max(4 * self.last_checkpoint_bytes);
        let is_due = has_rolled
            || self.forget_at_ms.is_some()
            || self.since_checkpoint_bytes >= step_bytes
            || (self.is_closing && self.since_checkpoint_bytes > 0);
        let sums = if is_due { self.totals.snapshot(self.forget_at_ms) } else { None };
        let Some(sums) = sums else { return Work { files, checkpoint: None, first_day: None } };
        self.since_checkpoint_bytes = 0;
        let first_day = self.forget_at_ms.take().map(first_day_to_keep);
        if let Some(first_day) = &first_day {
            self.sealed.retain(|segment| *segment.name.day >= **first_day);
        }
        let segments = self.sealed.iter().chain([&self.active]).cloned().collect();
        Work { files, checkpoint: Some(Checkpoint { segments, sums }), first_day }
    }

    /// Takes note of a checkpoint that was written.
    pub(super) fn note_checkpoint(&mut self, bytes: u64) {
        self.last_checkpoint_bytes = bytes;
    }
}

/// Deletes the segments of days before `first_day`.
pub(super) fn delete_before(folder: &Path, first_day: &str) -> io::Result<()> {
    for name in names(folder)?.into_iter().filter(|name| *name.day < *first_day) {
        fs::remove_file(name.path(folder))?;
    }
    Ok(())
}

fn first_day_to_keep(now_ms: u64) -> String {
    day_utc(now_ms.saturating_sub(KEEP_SEGMENTS_MS))
}

/// The segments in `folder`, oldest first.
fn names(folder: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().to_str().and_then(Name::parse));
    }
    names.sort_unstable();
    Ok(names)
}

/// The name of the segment after `last`, begun on `day` or, should the clock have gone back, on the last one's day.
fn next_name(last: Option<&Name>, day: &str) -> Name {
    match last {
        Some(last) if *last.day >= *day => Name { day: last.day.clone(), number: last.number + 1 },
        _ => Name { day: day.into(), number: 0 },
    }
}

fn append_to(path: &Path) -> io::Result<Arc<File>> {
    Ok(Arc::new(OpenOptions::new().create(true).append(true).open(path)?))
}

/// Cuts off what follows the last whole line; answers the file's length, which is less than that line's end only if the
/// disk lost what it had said to be safe.
fn cut_torn_tail(folder: &Path, segment: &Segment) -> io::Result<u64> {
    let path = segment.name.path(folder);
    let file = OpenOptions::new().write(true).open(&path)?;
    let length = file.metadata()?.len();
    if length > segment.end_bytes {
        let bytes = length - segment.end_bytes;
        tracing::warn!(bytes, segment = %path.display(), "the ledger's last line is torn; cut off");
        file.set_len(segment.end_bytes)?;
    }
    Ok(length.min(segment.end_bytes))
}

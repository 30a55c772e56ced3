//! The log: its segments, the one that is written to, and what is known of them in memory.
//!
//! Everything here happens under one lock and ends with the page cache; what waits for the disk is handed out as
//! [`Work`] and done outside.

use super::checkpoint::{Checkpoint, sync_folder};
use super::recent::Recent;
use super::segment::{Name, Segment, unframe};
use super::totals::Totals;
use crate::disk::{DiskFault, check_in_place};
use crate::id::RequestId;
use crate::ledger::WhoseUid;
use crate::limit::window::day_utc;
use crate::receipt::Receipt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// For how long a segment is kept after its day: as long as its receipts may be read, and a day more.
const KEEP_SEGMENTS_MS: u64 = 31 * 86_400_000;

/// What a probe appends, and takes back: as much as a long receipt.
const PROBE_BYTES: usize = 16 << 10;

/// How large things grow; tests make them small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// A segment that is longer than this is followed by another one of the same day.
    pub(super) segment_bytes: u64,
    /// After so much of log comes a checkpoint, unless checkpoints are large themselves.
    pub(super) checkpoint_bytes: u64,
    /// How many ids are remembered at least.
    pub(super) recent_ids: usize,
    /// Brings a file's bytes to the disk; tests have it fail.
    pub(super) sync: fn(&File) -> io::Result<()>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { segment_bytes: 256 << 20, checkpoint_bytes: 16 << 20, recent_ids: 65_536, sync: File::sync_data }
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
    /// Up to where the active segment is on the disk.
    synced_bytes: u64,
    /// Whether a sync of what follows has failed. The kernel may then have dropped it and take the next sync for done: it
    /// is written once more before it is synced again.
    is_suspect: bool,
    pub(super) totals: Totals,
    pub(super) recent: Recent,
    /// The day that is not over: when the ledger was opened, or when the first receipt of a newer day came in.
    today_ms: u64,
    /// Whether there is work for [`Log::take_work`].
    pub(super) has_work: bool,
    /// Whether the ledger is being dropped.
    pub(super) is_closing: bool,
    /// Why the last append failed; the next one that works clears it.
    pub(super) append_fault: Option<DiskFault>,
    /// Why the last sync failed, or where the log has gone. Nothing is appended until it is on the disk again, and in place.
    pub(super) sync_fault: Option<DiskFault>,
    /// Why the last checkpoint could not be written. The log is whole without it; the next start only reads more.
    pub(super) checkpoint_fault: Option<DiskFault>,
    unsynced: Vec<Stretch>,
    since_checkpoint_bytes: u64,
    last_checkpoint_bytes: u64,
    /// Whether one is to be written though none is due.
    pub(super) wants_checkpoint: bool,
    /// Set when what is too old at this time is to be dropped.
    forget_at_ms: Option<u64>,
}

/// What has to reach the disk, in this order.
pub(super) struct Work {
    /// To be synced; more than one when a new segment was begun.
    pub(super) stretches: Vec<Stretch>,
    /// To be written once they are synced.
    pub(super) checkpoint: Option<Checkpoint>,
    /// Segments of days before this time are to be deleted once the checkpoint is written.
    pub(super) forget_at_ms: Option<u64>,
    /// How much of log the checkpoint stands for.
    since_checkpoint_bytes: u64,
}

/// A part of a segment that is not known to be on the disk.
pub(super) struct Stretch {
    file: Arc<File>,
    path: PathBuf,
    from_bytes: u64,
    to_bytes: u64,
    /// See [`Log::is_suspect`].
    is_suspect: bool,
}

impl Stretch {
    /// Brings it to the disk.
    pub(super) fn sync(&self, sync: fn(&File) -> io::Result<()>) -> Result<(), DiskFault> {
        check_in_place(&self.file, &self.path)?;
        if self.is_suspect {
            self.write_again()?;
        }
        Ok(sync(&self.file)?)
    }

    /// Makes its pages dirty once more, with the very bytes that they have, if those are what was written.
    fn write_again(&self) -> io::Result<()> {
        let bytes = self.read()?;
        if bytes.split_inclusive(|byte| *byte == b'\n').any(|line| unframe(line).is_none()) {
            return Err(io::Error::other("what was written last cannot be read back; start the gateway again"));
        }
        // Not the file that appends: on Linux it appends whatever the offset.
        File::options().write(true).open(&self.path)?.write_all_at(&bytes, self.from_bytes)
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.to_bytes - self.from_bytes).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, self.from_bytes)?;
        Ok(bytes)
    }

    /// Puts its receipts into the log of the process, once: a power cut, or the end of the process where the file is
    /// deleted, would take them along. Replayed, each counts once.
    pub(super) fn log_receipts(&self, fault: &DiskFault) {
        if self.is_suspect {
            return;
        }
        for line in self.read().unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let receipt = unframe(line).and_then(|json| std::str::from_utf8(json).ok());
            if let Some(receipt) = receipt {
                tracing::error!(target: "receipt", %fault, receipt, "may be lost with this process; `ai-gateway replay` writes it again");
            }
        }
    }
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
            file,
            is_torn: false,
            synced_bytes: active.end_bytes,
            active,
            is_suspect: false,
            totals,
            recent: Recent::new(bounds.recent_ids, last_ms),
            today_ms: now_ms,
            is_closing: false,
            append_fault: None,
            sync_fault: None,
            checkpoint_fault: None,
            unsynced: Vec::new(),
            since_checkpoint_bytes,
            last_checkpoint_bytes: 0,
            wants_checkpoint: false,
            forget_at_ms: Some(now_ms),
        })
    }

    /// Appends a receipt as `line` and counts it.
    ///
    /// # Errors
    /// If the disk is full or broken; then nothing is counted and no half of a line stays.
    pub(super) fn append(&mut self, receipt: &Receipt, line: &[u8]) -> Result<(), DiskFault> {
        if let Some(fault) = &self.sync_fault {
            return Err(fault.clone());
        }
        let written = self.roll_if_due(receipt.created_at_ms).and_then(|()| self.write(line));
        self.append_fault = written.as_ref().err().map(DiskFault::from);
        written?;
        self.active.note(line.len(), receipt.id);
        self.totals.add(receipt);
        self.recent.insert(receipt.id);
        self.since_checkpoint_bytes += line.len() as u64;
        Ok(())
    }

    /// Writes bytes after the last whole line; all of them or none.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.active.end_bytes)?;
            self.is_torn = false;
        }
        (&*self.file).write_all(bytes).inspect_err(|_| self.take_back())
    }

    /// Takes back what stands after the last whole line.
    fn take_back(&mut self) {
        self.is_torn = self.file.set_len(self.active.end_bytes).is_err();
    }

    /// Appends as much as a receipt takes, and takes it back: a crash in between leaves a torn line, which is cut off.
    pub(super) fn probe(&mut self) -> Result<(), DiskFault> {
        if let Some(fault) = &self.sync_fault {
            return Err(fault.clone());
        }
        let written = self.write(&[b' '; PROBE_BYTES]);
        self.append_fault = written.as_ref().err().map(DiskFault::from);
        written?;
        self.take_back();
        Ok(())
    }

    /// Fails with what is wrong with the log, as far as it is known without writing. Where it is no longer in place, nothing
    /// more is appended: it would not be found again.
    pub(super) fn check(&mut self) -> Result<(), DiskFault> {
        if let Err(fault) = check_in_place(&self.file, &self.active.name.path(&self.folder)) {
            self.sync_fault.get_or_insert(fault);
            self.has_work = true;
        }
        let faults = [&self.sync_fault, &self.append_fault, &self.checkpoint_fault];
        faults.into_iter().flatten().next().map_or(Ok(()), |fault| Err(fault.clone()))
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
        let sealed = self.unsynced_active();
        self.unsynced.push(sealed);
        self.file = file;
        self.sealed.push(std::mem::replace(&mut self.active, Segment::new(name)));
        (self.is_torn, self.synced_bytes, self.is_suspect) = (false, 0, false);
        if is_new_day {
            // What is too old is reckoned from the day that has ended, so that a clock that jumps ahead deletes nothing.
            self.forget_at_ms = Some(std::mem::replace(&mut self.today_ms, created_at_ms));
        }
        Ok(())
    }

    /// Drops the sums of tenants; answers how many usage rows and windows they were, and the segments that hold receipts now.
    pub(super) fn erase(&mut self, whose: &WhoseUid) -> (u64, u64, Vec<Segment>) {
        let (usage_rows, windows) = self.totals.erase(whose);
        (usage_rows, windows, self.segments())
    }

    /// All segments as they are now, oldest first.
    pub(super) fn segments(&self) -> Vec<Segment> {
        self.sealed.iter().chain([&self.active]).cloned().collect()
    }

    /// The segments that may hold a receipt of this id.
    pub(super) fn segments_for(&self, id: RequestId) -> Vec<Segment> {
        self.sealed.iter().chain([&self.active]).filter(|segment| segment.may_hold(id)).cloned().collect()
    }

    fn unsynced_active(&self) -> Stretch {
        Stretch {
            file: self.file.clone(),
            path: self.active.name.path(&self.folder),
            from_bytes: self.synced_bytes,
            to_bytes: self.active.end_bytes,
            is_suspect: self.is_suspect,
        }
    }

    /// What has to reach the disk now.
    pub(super) fn take_work(&mut self) -> Work {
        self.has_work = false;
        let mut stretches = std::mem::take(&mut self.unsynced);
        let has_rolled = !stretches.is_empty();
        stretches.push(self.unsynced_active());
        // At least four times its own size of log lies between two checkpoints, whatever their size.
        let step_bytes = self.bounds.checkpoint_bytes.max(4 * self.last_checkpoint_bytes);
        let is_due = has_rolled
            || self.forget_at_ms.is_some()
            || self.wants_checkpoint
            || self.since_checkpoint_bytes >= step_bytes
            || (self.is_closing && self.since_checkpoint_bytes > 0);
        let sums = if is_due { self.totals.snapshot(self.forget_at_ms) } else { None };
        let Some(sums) = sums else {
            return Work { stretches, checkpoint: None, forget_at_ms: None, since_checkpoint_bytes: 0 };
        };
        self.wants_checkpoint = false;
        let since_checkpoint_bytes = std::mem::take(&mut self.since_checkpoint_bytes);
        let forget_at_ms = self.forget_at_ms.take();
        if let Some(first_day) = forget_at_ms.map(first_day_to_keep) {
            self.sealed.retain(|segment| *segment.name.day >= *first_day);
        }
        let segments = self.sealed.iter().chain([&self.active]).cloned().collect();
        Work { stretches, checkpoint: Some(Checkpoint { segments, sums }), forget_at_ms, since_checkpoint_bytes }
    }

    /// Takes note of a stretch that is on the disk.
    pub(super) fn note_synced(&mut self, stretch: &Stretch) {
        if Arc::ptr_eq(&stretch.file, &self.file) {
            self.synced_bytes = stretch.to_bytes;
            self.is_suspect = false;
        }
    }

    /// Takes back what could not be brought to the disk, to be written again before it is synced again.
    pub(super) fn note_unsynced(
        &mut self,
        stretches: impl Iterator<Item = Stretch>,
        work: &mut Work,
        fault: DiskFault,
    ) {
        for stretch in stretches {
            stretch.log_receipts(&fault);
            if Arc::ptr_eq(&stretch.file, &self.file) {
                self.is_suspect = true;
            } else {
                self.unsynced.push(Stretch { is_suspect: true, ..stretch });
            }
        }
        self.sync_fault = Some(fault);
        self.put_off_checkpoint(work);
    }

    /// A checkpoint that could not be written is due still.
    pub(super) fn put_off_checkpoint(&mut self, work: &mut Work) {
        self.has_work = true;
        self.since_checkpoint_bytes += std::mem::take(&mut work.since_checkpoint_bytes);
        self.forget_at_ms = self.forget_at_ms.max(work.forget_at_ms.take());
    }

    /// Takes note of a checkpoint that was written.
    pub(super) fn note_checkpoint(&mut self, bytes: u64) {
        self.last_checkpoint_bytes = bytes;
    }
}

/// Deletes the segments that are too old at this time.
pub(super) fn delete_old(folder: &Path, now_ms: u64) -> io::Result<()> {
    let first_day = first_day_to_keep(now_ms);
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
    Ok(Arc::new(OpenOptions::new().create(true).append(true).read(true).open(path)?))
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

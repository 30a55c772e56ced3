//! The checkpoint: all sums and the index, as of one place in the log, so that a start reads only what came after it.
//!
//! It is written beside the old one and renamed, and the old one is kept as `checkpoint.previous`: at every instant one
//! of the two is whole. With neither, the sums are those of the segments that are still there, which is all of them but
//! for usage rows older than a month. What a checkpoint counts was synced before it is written; it never says more than
//! the log.

use super::segment::{Segment, frame, unframe};
use super::totals::Sums;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

const CURRENT: &str = "checkpoint";
const PREVIOUS: &str = "checkpoint.previous";
const NEXT: &str = "checkpoint.next";
const CORRUPT: &str = "checkpoint.corrupt";

/// The sums over all lines of `segments`, and of those before them that are deleted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Oldest first. The last one may have grown since.
    pub(super) segments: Vec<Segment>,
    pub(super) sums: Arc<Sums>,
}

impl Checkpoint {
    /// Reads the newest whole checkpoint in `folder`; an empty one if there is none.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        for path in [folder.join(CURRENT), folder.join(PREVIOUS)] {
            let line = match fs::read(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                line => line?,
            };
            if let Some(checkpoint) = unframe(&line).and_then(|json| serde_json::from_slice(json).ok()) {
                return Ok(checkpoint);
            }
            // Out of the way, so that it never becomes the previous one of a whole one.
            fs::rename(&path, folder.join(CORRUPT))?;
            tracing::error!(checkpoint = %path.display(), "a checkpoint of the ledger is corrupt; set aside");
        }
        Ok(Self::default())
    }

    /// Writes it to `folder` and to the disk; answers its size in bytes.
    pub(super) fn write(&self, folder: &Path) -> io::Result<u64> {
        let line = frame(self)?;
        let next = folder.join(NEXT);
        let mut file = File::create(&next)?;
        file.write_all(&line)?;
        file.sync_all()?;
        match fs::rename(folder.join(CURRENT), folder.join(PREVIOUS)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => fs::rename(next, folder.join(CURRENT))?,
        }
        sync_folder(folder)?;
        Ok(line.len() as u64)
    }
}

/// Makes what was made, renamed and removed in `folder` safe from a power cut.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

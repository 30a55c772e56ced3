//! What a disk does to those who rely on it: it fills up, becomes read-only, loses a folder, and is well again.
//!
//! The directory and the ledger on this machine share what they must know of that: what an error means in words that an
//! operator can act on, whether a file is still where it was opened, and a database that is opened again ([`database`]).

pub(crate) mod database;

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is wrong with a file. Its `Display` is for the operator; neither part of it names a path or holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}: {cause}")]
pub struct DiskFault {
    /// What is the matter, for `/ready` and for a refused change.
    pub words: &'static str,
    /// The system's own words.
    cause: String,
}

/// "Too many open files", of this process and of the machine: std has no kind for them.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

impl From<&io::Error> for DiskFault {
    fn from(error: &io::Error) -> Self {
        let words = match error.kind() {
            ErrorKind::StorageFull => "the disk is full",
            ErrorKind::QuotaExceeded => "the disk quota is used up",
            ErrorKind::FileTooLarge => "a file may not grow any further",
            ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
            ErrorKind::PermissionDenied => "a file may not be written",
            ErrorKind::NotFound => "a file or its folder is gone",
            _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => "no more files can be opened",
            _ => "the disk fails",
        };
        Self { words, cause: error.to_string() }
    }
}

impl From<io::Error> for DiskFault {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

/// Fails if `file` is no longer what `path` names: it, or its folder, was deleted, moved away or replaced, or the volume
/// is not mounted any more. What is written to it then would be lost with the process.
///
/// It is not made again. A path that is gone is most often a volume that will be back, or a backup that is being put in
/// place, and a new file would hide the one or spoil the other.
pub(crate) fn check_in_place(file: &File, path: &Path) -> Result<(), DiskFault> {
    let gone =
        |cause: &str| DiskFault { words: "a file was deleted or replaced under the process", cause: cause.into() };
    let there = match fs::metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(gone("put it back, or start the gateway again"));
        }
        there => there?,
    };
    let ours = file.metadata()?;
    if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) {
        Ok(())
    } else {
        Err(gone("another file has its name; start the gateway again"))
    }
}

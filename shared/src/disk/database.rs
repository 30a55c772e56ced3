//! A redb database that outlives what its disk does.
//!
//! After an I/O error redb refuses everything until it is opened again (`PreviousIo`), reads as well, for what it has in
//! memory may no longer be what the file says. So the database is opened again at once. Where even that needs a write that
//! the disk refuses, reads are served from a copy of the file in memory, which redb repairs there; each change tries the
//! file first, so that the first one after the disk is well again finds a database that works.
//!
//! The file is opened once and kept open: to open it again takes no further file descriptor, and can never make a new,
//! empty file where the old one was deleted.

use super::{DiskFault, check_in_place};
use crate::locking::lock;
use redb::backends::InMemoryBackend;
use redb::{
    CommitError, Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend, StorageError,
    TableDefinition, TransactionError, WriteTransaction,
};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What a probe writes: more than any change does, so that a probe that worked promises something.
const PROBE: TableDefinition<(), &[u8]> = TableDefinition::new("probe");
const PROBE_BYTES: usize = 64 << 10;

/// A database in a file.
pub(crate) struct FileDatabase {
    path: PathBuf,
    file: Arc<DiskFile>,
    cache_bytes: usize,
    opened: RwLock<Arc<Opened>>,
    /// Held while a change is made: there is one at a time.
    changing: Mutex<()>,
    /// Why the last change could not be written.
    fault: Mutex<Option<DiskFault>>,
}

/// The database as it was opened last.
struct Opened {
    database: Database,
    /// What the file has refused since; `None` for a copy in memory.
    turn: Option<Arc<Turn>>,
}

/// The file, for as many databases as are opened on it one after the other.
#[derive(Debug)]
pub(super) struct DiskFile {
    file: File,
    /// In tests: the error that each write meets.
    #[cfg(test)]
    pub(super) refusing: Mutex<Option<i32>>,
}

/// One database's use of the file. It ends with the first error: what that database still has in mind is then not written.
#[derive(Debug)]
struct Turn {
    file: Arc<DiskFile>,
    fault: Mutex<Option<DiskFault>>,
}

/// What redb is given; it keeps it to itself.
#[derive(Debug)]
struct Backend(Arc<Turn>);

impl FileDatabase {
    /// Opens the database at `path`; where there is none, `fill` makes its tables.
    ///
    /// # Errors
    /// If it cannot be made, read or repaired. A disk that is full does not keep one that is there from being read.
    pub(crate) fn open(
        path: &Path,
        cache_bytes: usize,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Self, redb::Error> {
        if !path.exists() {
            Self::make(path, cache_bytes, fill)?;
        }
        let file = File::options().read(true).write(true).open(path)?;
        let file = Arc::new(DiskFile {
            file,
            #[cfg(test)]
            refusing: Mutex::default(),
        });
        let (opened, fault) = match on_file(&file, cache_bytes) {
            Ok(opened) => (opened, None),
            Err((_, Some(fault))) => (on_copy(&file, cache_bytes)?, Some(fault)),
            Err((error, None)) => return Err(error.into()),
        };
        if let Some(fault) = &fault {
            tracing::error!(%fault, file = %path.display(), "the database can be read and not be changed");
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            cache_bytes,
            opened: RwLock::new(Arc::new(opened)),
            changing: Mutex::default(),
            fault: Mutex::new(fault),
        })
    }

    /// Makes a new file. One that a crash or a full disk left half made could never be opened: it gets its name when it is
    /// whole.
    fn make(
        path: &Path,
        cache_bytes: usize,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let new = path.with_extension("new");
        fs::remove_file(&new).or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
        let database = Database::builder().set_cache_size(cache_bytes).create(&new)?;
        let tables = database.begin_write()?;
        fill(&tables)?;
        tables.commit()?;
        drop(database);
        fs::rename(&new, path)?;
        // A new name is safe from a power cut only when its folder is on disk.
        File::open(path.parent().unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all())?;
        Ok(())
    }

    /// Reads, and reads again from a database opened anew if the first one met an error of the disk.
    pub(crate) fn read<T, E: From<TransactionError>>(
        &self,
        work: impl Fn(&ReadTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let opened = self.opened();
        let read = opened.read(&work);
        if read.is_ok() || opened.fault().is_none() {
            return read;
        }
        // A copy will do.
        let _ = self.open_again(&opened);
        self.opened().read(&work)
    }

    /// Makes a change: all of it or, if `work` or the disk fails, nothing.
    ///
    /// # Errors
    /// What `work` says, or the disk's fault. After a fault in the commit itself the change may yet be found done; a read
    /// tells.
    pub(crate) fn write<T, E>(&self, work: impl FnOnce(&WriteTransaction) -> Result<T, E>) -> Result<T, E>
    where
        E: From<TransactionError> + From<CommitError> + From<DiskFault>,
    {
        let _alone = lock(&self.changing);
        let written = self.write_alone(work);
        match &written {
            Ok(_) => self.note(None),
            Err((_, Some(fault))) => self.note(Some(fault.clone())),
            // Refused for a reason of its own: nothing is known of the disk.
            Err((_, None)) => {}
        }
        written.map_err(|(error, fault)| fault.map_or(error, E::from))
    }

    fn write_alone<T, E>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, E>,
    ) -> Result<T, (E, Option<DiskFault>)>
    where
        E: From<TransactionError> + From<CommitError> + From<DiskFault>,
    {
        let refused = |fault: DiskFault| (E::from(fault.clone()), Some(fault));
        check_in_place(&self.file.file, &self.path).map_err(refused)?;
        let mut opened = self.opened();
        if opened.is_copy() || opened.fault().is_some() {
            opened = self.open_again(&opened).map_err(refused)?;
        }
        opened.write(work).map_err(|error| {
            let fault = opened.fault();
            if fault.is_some() {
                // For those who read; whether it can be written again is the next change's to find out.
                let _ = self.open_again(&opened);
            }
            (error, fault)
        })
    }

    /// Notes how the last change went, and says so when it went otherwise than the one before it.
    fn note(&self, met: Option<DiskFault>) {
        let mut fault = lock(&self.fault);
        match &met {
            Some(met) if fault.as_ref() != Some(met) => {
                tracing::error!(fault = %met, file = %self.path.display(), "a change could not be written");
            }
            None if fault.is_some() => tracing::warn!(file = %self.path.display(), "changes are written again"),
            _ => {}
        }
        *fault = met;
    }

    /// What kept the last change from being written.
    pub(crate) fn fault(&self) -> Option<DiskFault> {
        lock(&self.fault).clone()
    }

    /// Whether changes can be made: where the last one could not, one is made now.
    pub(crate) fn probe(&self) -> Result<(), DiskFault> {
        check_in_place(&self.file.file, &self.path).inspect_err(|fault| self.note(Some(fault.clone())))?;
        if self.fault().is_none() {
            return Ok(());
        }
        let probe = |change: &WriteTransaction| -> Result<(), ProbeError> {
            change.open_table(PROBE)?.insert((), vec![0; PROBE_BYTES].as_slice())?;
            Ok(())
        };
        self.write(probe).map_err(|ProbeError(fault)| fault)
    }

    /// Whether what is read is a copy in memory.
    pub(crate) fn is_copy(&self) -> bool {
        self.opened().is_copy()
    }

    fn opened(&self) -> Arc<Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a database that works in the place of `broken`, unless somebody did; answers it, if it can be written.
    fn open_again(&self, broken: &Arc<Opened>) -> Result<Arc<Opened>, DiskFault> {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&opened, broken) {
            return Ok(opened.clone());
        }
        let fault = match on_file(&self.file, self.cache_bytes) {
            Ok(new) => {
                *opened = Arc::new(new);
                return Ok(opened.clone());
            }
            Err((error, fault)) => fault.unwrap_or_else(|| io::Error::other(error).into()),
        };
        // A copy is as good as the next one.
        if !broken.is_copy() {
            match on_copy(&self.file, self.cache_bytes) {
                Ok(copy) => *opened = Arc::new(copy),
                Err(error) => tracing::error!(%error, file = %self.path.display(), "the database cannot be read"),
            }
        }
        Err(fault)
    }
}

/// Any error of a probe, of which only the disk's is of interest.
struct ProbeError(DiskFault);

impl From<DiskFault> for ProbeError {
    fn from(fault: DiskFault) -> Self {
        Self(fault)
    }
}

macro_rules! probe_error {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for ProbeError {
            fn from(error: redb::$error) -> Self {
                Self(io::Error::other(error).into())
            }
        }
    )*};
}
probe_error!(TransactionError, TableError, StorageError, CommitError);

impl Opened {
    fn read<T, E: From<TransactionError>>(&self, work: impl Fn(&ReadTransaction) -> Result<T, E>) -> Result<T, E> {
        work(&self.database.begin_read()?)
    }

    fn write<T, E>(&self, work: impl FnOnce(&WriteTransaction) -> Result<T, E>) -> Result<T, E>
    where
        E: From<TransactionError> + From<CommitError>,
    {
        let change = self.database.begin_write()?;
        let done = work(&change)?;
        change.commit()?;
        Ok(done)
    }

    fn is_copy(&self) -> bool {
        self.turn.is_none()
    }

    /// What the disk refused it.
    fn fault(&self) -> Option<DiskFault> {
        self.turn.as_ref().and_then(|turn| lock(&turn.fault).clone())
    }
}

/// Opens the file; if it cannot be, says whether that was the disk.
fn on_file(file: &Arc<DiskFile>, cache_bytes: usize) -> Result<Opened, (DatabaseError, Option<DiskFault>)> {
    let turn = Arc::new(Turn { file: file.clone(), fault: Mutex::default() });
    let database = Database::builder().set_cache_size(cache_bytes).create_with_backend(Backend(turn.clone()));
    let fault = lock(&turn.fault).clone();
    match database {
        Ok(database) if fault.is_none() => Ok(Opened { database, turn: Some(turn) }),
        Ok(_) => Err((DatabaseError::Storage(StorageError::PreviousIo), fault)),
        Err(error) => Err((error, fault)),
    }
}

/// Opens a copy of the file in memory.
fn on_copy(file: &DiskFile, cache_bytes: usize) -> Result<Opened, DatabaseError> {
    let copied = (|| {
        let mut bytes = vec![0; usize::try_from(file.file.metadata()?.len()).unwrap_or(usize::MAX)];
        file.file.read_exact_at(&mut bytes, 0)?;
        let memory = InMemoryBackend::new();
        memory.set_len(bytes.len() as u64)?;
        StorageBackend::write(&memory, 0, &bytes)?;
        Ok(memory)
    })();
    let memory = copied.map_err(StorageError::Io)?;
    let database = Database::builder().set_cache_size(cache_bytes).create_with_backend(memory)?;
    Ok(Opened { database, turn: None })
}

impl Turn {
    fn take<T>(&self, work: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        if let Some(fault) = &*lock(&self.fault) {
            return Err(io::Error::other(fault.to_string()));
        }
        let done = work(&self.file.file);
        if let Err(error) = &done {
            lock(&self.fault).get_or_insert(error.into());
        }
        done
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.take(|file| Ok(file.metadata()?.len()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.take(|file| file.read_exact_at(out, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.take(|file| {
            self.0.file.may_write()?;
            file.set_len(len)
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.take(|file| {
            self.0.file.may_write()?;
            file.sync_data()
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.take(|file| {
            self.0.file.may_write()?;
            file.write_all_at(data, offset)
        })
    }
}

impl DiskFile {
    #[cfg(not(test))]
    fn may_write(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn may_write(&self) -> io::Result<()> {
        lock(&self.refusing).map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
    }
}

#[cfg(test)]
impl FileDatabase {
    /// Has the disk refuse writes with this error of the system from now on; `None` for no longer.
    pub(crate) fn refuse_writes(&self, code: Option<i32>) {
        *lock(&self.file.refusing) = code;
    }
}

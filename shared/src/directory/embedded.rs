//! The directory in one file of the machine it runs on, for a laptop or a single container.
//!
//! It is a redb database: B-trees in one file, copy-on-write, one writer at a time. Each change is one transaction that
//! holds the rows, the tenant's raised version (T2) and the audit entry, and is on disk (`fsync`) when the call returns,
//! so that neither `kill -9` nor a power cut leaves a change without its entry or an entry without its change. A file of
//! our own would need just this, and this is what is hard about such a file; the ledger next door needs none of it.
//!
//! Reads run inline in `async fn`: a few B-tree pages, nearly always in memory. Changes run inline too. They wait for
//! the disk, some milliseconds, and are as rare as an admin's clicks.

use super::{AuditEntry, Directory, DirectoryError, KeyRecord, Page};
use crate::admin::AdminRecord;
use crate::disk::DiskFault;
use crate::disk::database::FileDatabase;
use crate::tenant::TenantRecord;
use crate::tenant::key::KeyHash;
use async_trait::async_trait;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::ops::Bound;
use std::path::Path;

/// Tenants, as JSON, by their id.
const TENANTS: TableDefinition<&str, &[u8]> = TableDefinition::new("tenants");
/// Keys, as JSON, by their hash in hexadecimal.
const KEYS: TableDefinition<&str, &[u8]> = TableDefinition::new("keys_by_hash");
/// The hashes of keys, by tenant and key id.
const HASHES: TableDefinition<(&str, &str), &str> = TableDefinition::new("key_hashes");
/// Admins, as JSON, by their id.
const ADMINS: TableDefinition<&str, &[u8]> = TableDefinition::new("admins");
/// The ids of admins, by the hash of their token in hexadecimal.
const TOKENS: TableDefinition<&str, &str> = TableDefinition::new("admins_by_hash");
/// Audit entries, as JSON, by their number, counted from 0.
const AUDIT: TableDefinition<u64, &[u8]> = TableDefinition::new("audit");

/// What redb may remember of its file, in bytes. Its own default is 1 GiB, more than the whole gateway is to use.
const CACHE_BYTES: usize = 8 << 20;

/// A directory in the file `directory.redb` of a folder. No two processes have the same one open.
pub struct EmbeddedDirectory {
    database: FileDatabase,
    /// Held as long as the database is open, and before: while it is made.
    _lock: Lock,
}

/// The folder's lock. Closing the file is not enough where a process that was just forked holds it as well, until it execs.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

impl EmbeddedDirectory {
    /// Opens the directory in `folder`; makes both where they do not exist.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`] if another process has it open, or the file cannot be made, read or repaired.
    pub fn open(folder: &Path) -> Result<Self, DirectoryError> {
        let path = folder.join("directory.redb");
        let cannot = |error: String| DirectoryError::Unavailable(format!("cannot open {}: {error}", path.display()));
        fs::create_dir_all(folder).map_err(|error| cannot(error.to_string()))?;
        let lock = File::create(folder.join("directory.lock")).map_err(|error| cannot(error.to_string()))?;
        lock.try_lock().map_err(|_| {
            cannot("another process has it open; is another gateway running on this folder?".to_owned())
        })?;
        let tables = |change: &WriteTransaction| {
            change.open_table(TENANTS)?;
            change.open_table(KEYS)?;
            change.open_table(HASHES)?;
            change.open_table(ADMINS)?;
            change.open_table(TOKENS)?;
            change.open_table(AUDIT)?;
            Ok(())
        };
        let database = FileDatabase::open(&path, CACHE_BYTES, tables).map_err(|error| cannot(error.to_string()))?;
        Ok(Self { database, _lock: Lock(lock) })
    }

    fn read<T>(&self, work: impl Fn(&ReadTransaction) -> Result<T, DirectoryError>) -> Result<T, DirectoryError> {
        self.database.read(work)
    }

    /// Runs `work` and writes `audit` down, both or, if either fails, neither.
    fn change<T>(
        &self,
        audit: &AuditEntry,
        work: impl FnOnce(&WriteTransaction) -> Result<T, DirectoryError>,
    ) -> Result<T, DirectoryError> {
        let entry = json(audit)?;
        let mut made = None;
        let written = self.database.write(|change| {
            let done = work(change)?;
            let mut entries = change.open_table(AUDIT)?;
            let number = entries.last()?.map_or(0, |(last, _)| last.value() + 1);
            entries.insert(number, entry.as_slice())?;
            made = Some((done, number));
            Ok(())
        });
        match (written, made) {
            (Ok(()), Some((done, _))) => Ok(done),
            // The disk failed in the midst of the commit. What is read now says whether it is done.
            (Err(DirectoryError::Unwritten(fault)), Some((done, number))) => {
                let is_done = self.read(|read| {
                    Ok(read.open_table(AUDIT)?.get(number)?.is_some_and(|found| found.value() == entry.as_slice()))
                })?;
                match is_done {
                    false => Err(DirectoryError::Unwritten(fault)),
                    true if self.database.is_copy() => Err(DirectoryError::Unavailable(fault.to_string())),
                    true => Ok(done),
                }
            }
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(DirectoryError::Unavailable("a change was not made".to_owned())),
        }
    }
}

#[async_trait]
impl Directory for EmbeddedDirectory {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<(TenantRecord, KeyRecord)>, DirectoryError> {
        self.read(|read| {
            let Some(key) = record::<KeyRecord>(&read.open_table(KEYS)?, &hash.hex())? else { return Ok(None) };
            let tenant = record(&read.open_table(TENANTS)?, &key.tenant)?;
            Ok(tenant.map(|tenant| (tenant, key)))
        })
    }

    async fn tenant(&self, id: &str) -> Result<Option<TenantRecord>, DirectoryError> {
        self.read(|read| record(&read.open_table(TENANTS)?, id))
    }

    async fn tenants(&self, cursor: Option<&str>, limit: usize) -> Result<Page<TenantRecord>, DirectoryError> {
        self.read(|read| {
            let tenants = read.open_table(TENANTS)?;
            let rows = tenants.range::<&str>(after(cursor))?;
            page(rows.map(|row| parse(row?.1.value())), limit, |tenant: &TenantRecord| tenant.id.to_string())
        })
    }

    async fn create_tenant(&self, tenant: &TenantRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.change(&audit, |change| match stored_tenant(change, &tenant.id) {
            Ok(_) => Err(DirectoryError::Exists),
            Err(DirectoryError::Missing) => store_tenant(change, tenant),
            Err(error) => Err(error),
        })
    }

    async fn update_tenant(&self, tenant: &TenantRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.change(&audit, |change| {
            let stored = stored_tenant(change, &tenant.id)?;
            if stored.version.checked_add(1) != Some(tenant.version) || stored.uid() != tenant.uid() {
                return Err(DirectoryError::Conflict);
            }
            store_tenant(change, tenant)
        })
    }

    async fn delete_tenant(&self, id: &str, version: Option<u64>, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.change(&audit, |change| {
            let stored = stored_tenant(change, id)?;
            if version.is_some_and(|version| version != stored.version) {
                return Err(DirectoryError::Conflict);
            }
            change.open_table(TENANTS)?.remove(id)?;
            let (mut keys, mut hashes) = (change.open_table(KEYS)?, change.open_table(HASHES)?);
            for (key_id, hash) in hashes_of(&hashes, id)? {
                hashes.remove((id, key_id.as_str()))?;
                keys.remove(hash.as_str())?;
            }
            Ok(())
        })
    }

    async fn keys(&self, tenant: &str) -> Result<Vec<KeyRecord>, DirectoryError> {
        self.read(|read| {
            record::<TenantRecord>(&read.open_table(TENANTS)?, tenant)?.ok_or(DirectoryError::Missing)?;
            let keys = read.open_table(KEYS)?;
            let hashes = hashes_of(&read.open_table(HASHES)?, tenant)?;
            hashes.iter().map(|(_, hash)| record(&keys, hash)?.ok_or_else(|| dangling(hash))).collect()
        })
    }

    async fn create_key(&self, key: &KeyRecord, audit: AuditEntry) -> Result<u64, DirectoryError> {
        self.change(&audit, |change| {
            let version = raise_version(change, &key.tenant)?;
            let (mut keys, mut hashes) = (change.open_table(KEYS)?, change.open_table(HASHES)?);
            let name = (&*key.tenant, &*key.id);
            if hashes.get(name)?.is_some() || keys.get(key.hash.as_str())?.is_some() {
                return Err(DirectoryError::Exists);
            }
            hashes.insert(name, key.hash.as_str())?;
            keys.insert(key.hash.as_str(), json(key)?.as_slice())?;
            Ok(version)
        })
    }

    async fn update_key(&self, key: &KeyRecord, audit: AuditEntry) -> Result<u64, DirectoryError> {
        self.change(&audit, |change| {
            let raised = raise_version(change, &key.tenant)?;
            let (mut keys, hashes) = (change.open_table(KEYS)?, change.open_table(HASHES)?);
            let hash = hashes.get((&*key.tenant, &*key.id))?.ok_or(DirectoryError::Missing)?.value().to_owned();
            let stored: KeyRecord = record(&keys, &hash)?.ok_or_else(|| dangling(&hash))?;
            if !key.follows(&stored) {
                return Err(DirectoryError::Conflict);
            }
            keys.insert(hash.as_str(), json(key)?.as_slice())?;
            Ok(raised)
        })
    }

    async fn delete_key(
        &self,
        tenant: &str,
        id: &str,
        version: Option<u64>,
        audit: AuditEntry,
    ) -> Result<u64, DirectoryError> {
        self.change(&audit, |change| {
            let raised = raise_version(change, tenant)?;
            let (mut keys, mut hashes) = (change.open_table(KEYS)?, change.open_table(HASHES)?);
            let hash = hashes.remove((tenant, id))?.ok_or(DirectoryError::Missing)?.value().to_owned();
            let key: KeyRecord = record(&keys, &hash)?.ok_or_else(|| dangling(&hash))?;
            if version.is_some_and(|version| version != key.version) {
                return Err(DirectoryError::Conflict);
            }
            keys.remove(hash.as_str())?;
            Ok(raised)
        })
    }

    async fn find_admin(&self, hash: &KeyHash) -> Result<Option<AdminRecord>, DirectoryError> {
        self.read(|read| match read.open_table(TOKENS)?.get(hash.hex().as_str())? {
            Some(id) => record(&read.open_table(ADMINS)?, id.value()),
            None => Ok(None),
        })
    }

    async fn admin(&self, id: &str) -> Result<Option<AdminRecord>, DirectoryError> {
        self.read(|read| record(&read.open_table(ADMINS)?, id))
    }

    async fn admins(&self, cursor: Option<&str>, limit: usize) -> Result<Page<AdminRecord>, DirectoryError> {
        self.read(|read| {
            let admins = read.open_table(ADMINS)?;
            let rows = admins.range::<&str>(after(cursor))?;
            page(rows.map(|row| parse(row?.1.value())), limit, |admin: &AdminRecord| admin.id.to_string())
        })
    }

    async fn create_admin(&self, admin: &AdminRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.change(&audit, |change| {
            let (mut admins, mut tokens) = (change.open_table(ADMINS)?, change.open_table(TOKENS)?);
            if admins.get(&*admin.id)?.is_some() || tokens.get(admin.hash.as_str())?.is_some() {
                return Err(DirectoryError::Exists);
            }
            admins.insert(&*admin.id, json(admin)?.as_slice())?;
            tokens.insert(admin.hash.as_str(), &*admin.id)?;
            Ok(())
        })
    }

    async fn update_admin(&self, admin: &AdminRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.change(&audit, |change| {
            let (mut admins, mut tokens) = (change.open_table(ADMINS)?, change.open_table(TOKENS)?);
            let stored = record::<AdminRecord>(&admins, &admin.id)?.ok_or(DirectoryError::Missing)?;
            if stored.version.checked_add(1) != Some(admin.version) {
                return Err(DirectoryError::Conflict);
            }
            tokens.remove(stored.hash.as_str())?;
            tokens.insert(admin.hash.as_str(), &*admin.id)?;
            admins.insert(&*admin.id, json(admin)?.as_slice())?;
            Ok(())
        })
    }

    async fn delete_admin(&self, id: &str, version: u64, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.change(&audit, |change| {
            let mut admins = change.open_table(ADMINS)?;
            let stored = record::<AdminRecord>(&admins, id)?.ok_or(DirectoryError::Missing)?;
            if stored.version != version {
                return Err(DirectoryError::Conflict);
            }
            admins.remove(id)?;
            change.open_table(TOKENS)?.remove(stored.hash.as_str())?;
            Ok(())
        })
    }

    async fn note(&self, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.change(&audit, |_| Ok(()))
    }

    async fn audit(&self, cursor: Option<&str>, limit: usize) -> Result<Page<AuditEntry>, DirectoryError> {
        let before = match cursor {
            None => u64::MAX,
            Some(number) => number.parse().map_err(|_| DirectoryError::Missing)?,
        };
        self.read(|read| {
            let entries = read.open_table(AUDIT)?;
            let rows = entries.range(..before)?.rev().map(|row| {
                let (number, entry) = row?;
                Ok((number.value(), parse(entry.value())?))
            });
            let Page { data, next } = page(rows, limit, |(number, _): &(u64, AuditEntry)| number.to_string())?;
            Ok(Page { data: data.into_iter().map(|(_, entry)| entry).collect(), next })
        })
    }

    async fn ping(&self) -> Result<(), DirectoryError> {
        self.read(|read| read.open_table(TENANTS).map(drop).map_err(DirectoryError::from))?;
        self.database.probe().map_err(DirectoryError::Unwritten)
    }
}

fn stored_tenant(change: &WriteTransaction, id: &str) -> Result<TenantRecord, DirectoryError> {
    record(&change.open_table(TENANTS)?, id)?.ok_or(DirectoryError::Missing)
}

fn store_tenant(change: &WriteTransaction, tenant: &TenantRecord) -> Result<(), DirectoryError> {
    change.open_table(TENANTS)?.insert(&*tenant.id, json(tenant)?.as_slice())?;
    Ok(())
}

/// Raises a tenant's version by one, as each change of one of its keys does (T2), and answers it.
fn raise_version(change: &WriteTransaction, id: &str) -> Result<u64, DirectoryError> {
    let mut tenant = stored_tenant(change, id)?;
    tenant.version += 1;
    store_tenant(change, &tenant)?;
    Ok(tenant.version)
}

/// The ids and hashes of a tenant's keys, in the order of their ids.
fn hashes_of(
    hashes: &impl ReadableTable<(&'static str, &'static str), &'static str>,
    tenant: &str,
) -> Result<Vec<(String, String)>, DirectoryError> {
    let mut found = Vec::new();
    for row in hashes.range((tenant, "")..)? {
        let (name, hash) = row?;
        let (owner, id) = name.value();
        if owner != tenant {
            break;
        }
        found.push((id.to_owned(), hash.value().to_owned()));
    }
    Ok(found)
}

fn record<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<Option<T>, DirectoryError> {
    table.get(name)?.map(|stored| parse(stored.value())).transpose()
}

/// All rows after this one, or all.
fn after(cursor: Option<&str>) -> (Bound<&str>, Bound<&str>) {
    (cursor.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// The first `limit` of `rows`, at least one, and the name of the last of them if there are more.
fn page<T>(
    rows: impl Iterator<Item = Result<T, DirectoryError>>,
    limit: usize,
    name: impl Fn(&T) -> String,
) -> Result<Page<T>, DirectoryError> {
    let limit = limit.max(1);
    let rows = rows.take(limit.saturating_add(1)).collect::<Result<Vec<T>, _>>()?;
    Ok(Page::cut(rows, limit, name))
}

fn json(record: &impl Serialize) -> Result<Vec<u8>, DirectoryError> {
    serde_json::to_vec(record).map_err(|error| DirectoryError::Unavailable(error.to_string()))
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, DirectoryError> {
    let unreadable = |error| DirectoryError::Unavailable(format!("a record cannot be read: {error}"));
    serde_json::from_slice(json).map_err(unreadable)
}

fn dangling(hash: &str) -> DirectoryError {
    DirectoryError::Unavailable(format!("the key of hash {hash} is listed but not there"))
}

/// Each way in which redb fails means the same to the caller.
macro_rules! unavailable {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for DirectoryError {
            fn from(error: redb::$error) -> Self {
                Self::Unavailable(error.to_string())
            }
        }
    )*};
}
unavailable!(TransactionError, TableError, StorageError, CommitError);

impl From<DiskFault> for DirectoryError {
    fn from(fault: DiskFault) -> Self {
        Self::Unwritten(fault)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::directory::contract::{entry, hash, key, tenant};
    use crate::ledger::embedded::crash::{self, TestFolder};

    #[tokio::test]
    async fn everything_is_there_after_a_restart() {
        let folder = TestFolder::new();
        let directory = EmbeddedDirectory::open(&folder).unwrap();
        directory.create_tenant(&tenant("acme"), entry("tenant.create", "acme")).await.unwrap();
        directory.create_key(&key("acme", "ci"), entry("key.create", "acme/ci")).await.unwrap();
        drop(directory);
        let directory = EmbeddedDirectory::open(&folder).unwrap();
        let (owner, found) = directory.find_key(&hash("acme", "ci")).await.unwrap().unwrap();
        assert_eq!((owner.version, found), (2, key("acme", "ci")));
        assert_eq!(directory.audit(None, 9).await.unwrap().data.len(), 2);
    }

    #[test]
    fn no_two_directories_share_a_folder() {
        let folder = TestFolder::new();
        let first = EmbeddedDirectory::open(&folder).unwrap();
        let refused = EmbeddedDirectory::open(&folder).err().expect("the second one is refused").to_string();
        assert!(refused.contains("is another gateway running on this folder?"), "{refused}");
        drop(first);
        EmbeddedDirectory::open(&folder).unwrap();
    }

    #[test]
    fn a_file_that_is_no_directory_is_refused_and_left_alone() {
        let folder = TestFolder::new();
        let file = folder.join("directory.redb");
        fs::write(&file, "something else ".repeat(1000)).unwrap();
        let refused = EmbeddedDirectory::open(&folder).err().expect("it is refused").to_string();
        assert!(refused.contains("directory.redb"), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "something else ".repeat(1000));
    }

    /// Of the system: no space left on the device, a read-only file system, input/output error.
    const ENOSPC: i32 = 28;
    const EROFS: i32 = 30;
    const EIO: i32 = 5;

    #[tokio::test]
    async fn a_disk_that_refuses_writes_changes_nothing_is_told_and_needs_no_restart() {
        let folder = TestFolder::new();
        let directory = EmbeddedDirectory::open(&folder).unwrap();
        directory.create_tenant(&tenant("acme"), entry("tenant.create", "acme")).await.unwrap();
        directory.create_key(&key("acme", "old"), entry("key.create", "acme/old")).await.unwrap();
        for (code, words) in
            [(ENOSPC, "the disk is full"), (EROFS, "the file system is read-only"), (EIO, "the disk fails")]
        {
            directory.database.refuse_writes(Some(code));
            for _ in 0..3 {
                let refused = directory.delete_key("acme", "old", None, entry("key.revoke", "acme/old")).await;
                let Err(DirectoryError::Unwritten(fault)) = refused else { panic!("{refused:?}") };
                assert_eq!(fault.words, words);
                assert!(directory.find_key(&hash("acme", "old")).await.unwrap().is_some(), "it can be read, as it was");
                assert_eq!(directory.audit(None, 9).await.unwrap().data.len(), 2, "no entry without its change");
                let pinged = directory.ping().await;
                assert!(matches!(&pinged, Err(DirectoryError::Unwritten(fault)) if fault.words == words), "{pinged:?}");
            }
            directory.database.refuse_writes(None);
            directory.ping().await.expect("it is well as soon as the disk is");
        }
        directory.database.refuse_writes(Some(ENOSPC));
        assert!(directory.create_key(&key("acme", "new"), entry("key.create", "acme/new")).await.is_err());
        directory.database.refuse_writes(None);
        directory
            .delete_key("acme", "old", None, entry("key.revoke", "acme/old"))
            .await
            .expect("the first change works");
        drop(directory);
        let directory = EmbeddedDirectory::open(&folder).unwrap();
        assert!(directory.keys("acme").await.unwrap().is_empty());
        assert_eq!(directory.audit(None, 9).await.unwrap().data.len(), 3);
    }

    #[tokio::test]
    async fn a_file_that_was_deleted_or_replaced_is_read_and_never_changed() {
        let folder = TestFolder::new();
        let directory = EmbeddedDirectory::open(&folder).unwrap();
        directory.create_tenant(&tenant("acme"), entry("tenant.create", "acme")).await.unwrap();
        let (file, aside) = (folder.join("directory.redb"), folder.join("aside"));
        let is_refused = async || {
            let got = directory.create_key(&key("acme", "ci"), entry("key.create", "acme/ci")).await;
            assert!(matches!(&got, Err(DirectoryError::Unwritten(_))), "{got:?}");
            assert!(matches!(directory.ping().await, Err(DirectoryError::Unwritten(_))));
            assert!(directory.tenant("acme").await.unwrap().is_some());
        };
        fs::rename(&file, &aside).unwrap();
        is_refused().await;
        assert!(!file.exists(), "no empty one is made in its place");
        fs::write(&file, "a backup").unwrap();
        is_refused().await;
        assert_eq!(fs::read_to_string(&file).unwrap(), "a backup");
        fs::rename(&aside, &file).unwrap();
        directory.ping().await.unwrap();
        directory.create_key(&key("acme", "ci"), entry("key.create", "acme/ci")).await.unwrap();
    }

    /// Not a test of its own: what the next one runs in a process that is killed.
    #[tokio::test]
    async fn child_that_makes_keys_until_it_is_killed() {
        let Some((folder, round)) = crash::child() else { return };
        let directory = EmbeddedDirectory::open(&folder).unwrap();
        for n in 0.. {
            let id = format!("{round}-{n}");
            directory.create_key(&key("acme", &id), entry("key.create", &id)).await.unwrap();
            crash::acknowledge(&id);
        }
    }

    #[tokio::test]
    async fn kill_9_loses_no_acknowledged_change_and_parts_none_from_its_audit_entry() {
        let folder = TestFolder::new();
        let directory = EmbeddedDirectory::open(&folder).unwrap();
        directory.create_tenant(&tenant("acme"), entry("tenant.create", "acme")).await.unwrap();
        drop(directory);
        let test = concat!(module_path!(), "::child_that_makes_keys_until_it_is_killed");
        let mut acknowledged = Vec::new();
        for round in 0..8 {
            acknowledged.extend(crash::run(&[], test, &folder, round, Some(1 + usize::try_from(round).unwrap() * 3)));
            let directory = EmbeddedDirectory::open(&folder).unwrap();
            for id in &acknowledged {
                assert!(directory.find_key(&hash("acme", id)).await.unwrap().is_some(), "round {round} lost {id}");
            }
            let keys = directory.keys("acme").await.unwrap().len();
            let version = directory.tenant("acme").await.unwrap().unwrap().version;
            let entries = directory.audit(None, 10_000).await.unwrap().data.len();
            assert_eq!((version, entries), (keys as u64 + 1, keys + 1), "round {round}");
        }
    }
}

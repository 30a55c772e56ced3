//! The claims of the embedded ledger: one small database beside the log.
//!
//! A claim must be on disk before it is answered for, and most requests make none; so this is redb with its `fsync` for
//! each change, and runs where waiting for the disk keeps no request from being served.

use super::super::claims::{Begun, IdempotencyKey};
use super::super::{LedgerError, WhoseUid};
use super::outbox;
use super::rows::{json, parse};
use crate::disk::DiskFault;
use crate::disk::database::FileDatabase;
use crate::id::RequestId;
use crate::money::Amounts;
use bytes::Bytes;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What was granted, as JSON, by tenant and window.
const GRANTS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("grants");
/// The windows that were opened, by tenant and window.
const OPENED: TableDefinition<(&str, &str), ()> = TableDefinition::new("opened");
/// Idempotency keys, as JSON, by tenant and hash.
const KEYS: TableDefinition<(&str, &[u8; 32]), &[u8]> = TableDefinition::new("idempotency_keys");
/// What is answered under them, by the same.
const ANSWERS: TableDefinition<(&str, &[u8; 32]), &[u8]> = TableDefinition::new("idempotency_answers");

const CACHE_BYTES: usize = 4 << 20;
/// For how long a key is kept.
const KEEP_MS: u64 = 86_400_000;
/// How many keys one change looks at to find what is too old.
const FORGET_AT_ONCE: usize = 16;

/// An idempotency key that is taken.
#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    body: [u8; 32],
    request: RequestId,
    begun_at_ms: u64,
    lease_until_ms: u64,
    done: bool,
}

/// The claims in the file `claims.redb` of a folder.
pub(super) struct Claims {
    database: FileDatabase,
}

impl Claims {
    /// Opens them; makes the file where it does not exist.
    pub(super) fn open(folder: &Path) -> Result<Self, LedgerError> {
        let tables = |change: &WriteTransaction| {
            change.open_table(GRANTS)?;
            change.open_table(OPENED)?;
            change.open_table(KEYS)?;
            change.open_table(ANSWERS)?;
            outbox::open(change)
        };
        let cannot = |error: redb::Error| LedgerError::Unavailable(format!("claims.redb: {error}"));
        Ok(Self { database: FileDatabase::open(&folder.join("claims.redb"), CACHE_BYTES, tables).map_err(cannot)? })
    }

    pub(super) fn database(&self) -> &FileDatabase {
        &self.database
    }

    pub(super) fn grant(&self, tenant: &str, window: &str, more: Amounts, max: Amounts) -> Result<bool, LedgerError> {
        self.database.write(|change| {
            let mut grants = change.open_table(GRANTS)?;
            let taken: Amounts = match grants.get((tenant, window))? {
                Some(json) => parse(json.value())?,
                None => Amounts::default(),
            };
            let taken = taken.plus(more);
            let fits = taken.minus(max) == Amounts::default();
            if fits {
                grants.insert((tenant, window), json(&taken)?.as_slice())?;
            }
            Ok(fits)
        })
    }

    pub(super) fn open_window(&self, tenant: &str, window: &str) -> Result<bool, LedgerError> {
        self.database.write(|change| Ok(change.open_table(OPENED)?.insert((tenant, window), ())?.is_none()))
    }

    /// Removes all that is `whose`; answers how much that was.
    pub(super) fn erase(&self, whose: &WhoseUid) -> Result<u64, LedgerError> {
        self.database.write(|change| {
            let (mut grants, mut opened) = (change.open_table(GRANTS)?, change.open_table(OPENED)?);
            let (mut keys, mut answers) = (change.open_table(KEYS)?, change.open_table(ANSWERS)?);
            let count = |tables: [u64; 4]| tables.into_iter().sum::<u64>();
            let before = count([grants.len()?, opened.len()?, keys.len()?, answers.len()?]);
            grants.retain(|(uid, _), _| !whose(uid))?;
            opened.retain(|(uid, _), ()| !whose(uid))?;
            keys.retain(|(uid, _), _| !whose(uid))?;
            answers.retain(|(uid, _), _| !whose(uid))?;
            let erased = before - count([grants.len()?, opened.len()?, keys.len()?, answers.len()?]);
            Ok(erased + outbox::erase(change, whose)?)
        })
    }

    pub(super) fn begin(
        &self,
        key: &IdempotencyKey,
        body: [u8; 32],
        request: RequestId,
        lease_until_ms: u64,
        now_ms: u64,
    ) -> Result<Begun, LedgerError> {
        let place = (&*key.tenant, &key.hash);
        let known = |taken: &Taken| taken.begun_at_ms.saturating_add(KEEP_MS) > now_ms;
        let free = |taken: &Taken| !known(taken) || (!taken.done && taken.lease_until_ms <= now_ms);
        let begun_by = |taken: &Taken| -> Result<Option<Begun>, LedgerError> {
            Ok(match taken {
                taken if free(taken) => None,
                taken if taken.body != body => Some(Begun::Mismatch),
                taken if taken.done => self.answer(place)?.map(Begun::Done),
                taken if taken.request == request => Some(Begun::Fresh),
                _ => Some(Begun::Running),
            })
        };
        // Most calls for a taken key are answered without a change.
        let taken = self.database.read(|read| -> Result<Option<Taken>, LedgerError> {
            read.open_table(KEYS)?.get(place)?.map(|json| parse(json.value())).transpose()
        })?;
        if let Some(begun) = taken.as_ref().map(begun_by).transpose()?.flatten() {
            return Ok(begun);
        }
        self.database.write(|change| {
            let (mut keys, mut answers) = (change.open_table(KEYS)?, change.open_table(ANSWERS)?);
            if let Some(json) = keys.get(place)?
                && let Some(begun) = begun_by(&parse(json.value())?)?
            {
                return Ok(begun);
            }
            let taken = Taken { body, request, begun_at_ms: now_ms, lease_until_ms, done: false };
            keys.insert(place, json(&taken)?.as_slice())?;
            answers.remove(place)?;
            // Each that comes sweeps a few that are too old, from a place that depends on itself: all are met in time.
            let mut old: Vec<(String, [u8; 32])> = Vec::new();
            for row in keys.range(place..)?.take(FORGET_AT_ONCE) {
                let (at, json) = row?;
                if !known(&parse(json.value())?) {
                    old.push((at.value().0.to_owned(), *at.value().1));
                }
            }
            for (tenant, hash) in &old {
                keys.remove((tenant.as_str(), hash))?;
                answers.remove((tenant.as_str(), hash))?;
            }
            Ok(Begun::Fresh)
        })
    }

    /// What is answered under a key.
    fn answer(&self, place: (&str, &[u8; 32])) -> Result<Option<Bytes>, LedgerError> {
        self.database
            .read(|read| Ok(read.open_table(ANSWERS)?.get(place)?.map(|answer| Bytes::copy_from_slice(answer.value()))))
    }

    #[cfg(test)]
    pub(super) fn refuse_writes(&self, code: Option<i32>) {
        self.database.refuse_writes(code);
    }

    /// Whether claims can be written; see [`FileDatabase::probe`].
    pub(super) fn probe(&self) -> Result<(), DiskFault> {
        self.database.probe()
    }

    pub(super) fn finish(
        &self,
        key: &IdempotencyKey,
        request: RequestId,
        answer: Option<Bytes>,
    ) -> Result<(), LedgerError> {
        let place = (&*key.tenant, &key.hash);
        self.database.write(|change| {
            let (mut keys, mut answers) = (change.open_table(KEYS)?, change.open_table(ANSWERS)?);
            let taken: Option<Taken> = keys.get(place)?.map(|json| parse(json.value())).transpose()?;
            let Some(taken) = taken.filter(|taken| taken.request == request && !taken.done) else { return Ok(()) };
            match answer {
                Some(answer) => {
                    answers.insert(place, &*answer)?;
                    keys.insert(place, json(&Taken { done: true, ..taken })?.as_slice())?;
                }
                None => drop(keys.remove(place)?),
            }
            Ok(())
        })
    }
}

//! The claims of the embedded ledger: one small database beside the log.
//!
//! A claim must be on disk before it is answered for, and most requests make none; so this is redb with its `fsync` for
//! each change, and runs where waiting for the disk keeps no request from being served.

use super::super::LedgerError;
use super::super::claims::{Begun, IdempotencyKey};
use crate::id::RequestId;
use crate::receipt::Amounts;
use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
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
    database: Database,
}

impl Claims {
    /// Opens them; makes the file where it does not exist.
    pub(super) fn open(folder: &Path) -> Result<Self, LedgerError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(folder.join("claims.redb"))?;
        let tables = database.begin_write()?;
        tables.open_table(GRANTS)?;
        tables.open_table(OPENED)?;
        tables.open_table(KEYS)?;
        tables.open_table(ANSWERS)?;
        tables.commit()?;
        Ok(Self { database })
    }

    pub(super) fn grant(&self, tenant: &str, window: &str, more: Amounts, most: Amounts) -> Result<bool, LedgerError> {
        let change = self.database.begin_write()?;
        let fits = {
            let mut grants = change.open_table(GRANTS)?;
            let taken: Amounts = match grants.get((tenant, window))? {
                Some(json) => parse(json.value())?,
                None => Amounts::default(),
            };
            let taken = taken.plus(more);
            let fits = taken.minus(most) == Amounts::default();
            if fits {
                grants.insert((tenant, window), json(&taken)?.as_slice())?;
            }
            fits
        };
        change.commit()?;
        Ok(fits)
    }

    pub(super) fn open_window(&self, tenant: &str, window: &str) -> Result<bool, LedgerError> {
        let change = self.database.begin_write()?;
        let first = change.open_table(OPENED)?.insert((tenant, window), ())?.is_none();
        change.commit()?;
        Ok(first)
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
        let read = self.database.begin_read()?;
        let known = |taken: &Taken| taken.begun_at_ms.saturating_add(KEEP_MS) > now_ms;
        let free = |taken: &Taken| !known(taken) || (!taken.done && taken.lease_until_ms <= now_ms);
        let told = |taken: &Taken| -> Result<Option<Begun>, LedgerError> {
            Ok(match taken {
                taken if free(taken) => None,
                taken if taken.body != body => Some(Begun::Mismatch),
                taken if taken.done => {
                    let answers = self.database.begin_read()?.open_table(ANSWERS)?;
                    answers.get(place)?.map(|answer| Begun::Done(Bytes::copy_from_slice(answer.value())))
                }
                taken if taken.request == request => Some(Begun::Fresh),
                _ => Some(Begun::Running),
            })
        };
        // Most who ask about a taken key are told without a change.
        if let Some(json) = read.open_table(KEYS)?.get(place)?
            && let Some(begun) = told(&parse(json.value())?)?
        {
            return Ok(begun);
        }
        let change = self.database.begin_write()?;
        {
            let (mut keys, mut answers) = (change.open_table(KEYS)?, change.open_table(ANSWERS)?);
            if let Some(json) = keys.get(place)?
                && let Some(begun) = told(&parse(json.value())?)?
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
        }
        change.commit()?;
        Ok(Begun::Fresh)
    }

    pub(super) fn finish(
        &self,
        key: &IdempotencyKey,
        request: RequestId,
        answer: Option<Bytes>,
    ) -> Result<(), LedgerError> {
        let place = (&*key.tenant, &key.hash);
        let change = self.database.begin_write()?;
        {
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
        }
        change.commit()?;
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, LedgerError> {
    serde_json::to_vec(value).map_err(|error| LedgerError::Unavailable(error.to_string()))
}

fn parse<T: for<'a> Deserialize<'a>>(json: &[u8]) -> Result<T, LedgerError> {
    serde_json::from_slice(json).map_err(|error| LedgerError::Unavailable(format!("claims.redb: {error}")))
}

macro_rules! unavailable {
    ($($error:ident),+) => {$(
        impl From<redb::$error> for LedgerError {
            fn from(error: redb::$error) -> Self {
                Self::Unavailable(format!("claims.redb: {error}"))
            }
        }
    )+};
}

unavailable!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

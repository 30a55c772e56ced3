//! The rows of `claims.redb`: JSON, and what may go wrong with them.

use super::super::LedgerError;
use serde::{Deserialize, Serialize};

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, LedgerError> {
    serde_json::to_vec(value).map_err(|error| LedgerError::Unavailable(error.to_string()))
}

pub(super) fn parse<T: for<'a> Deserialize<'a>>(json: &[u8]) -> Result<T, LedgerError> {
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

unavailable!(TransactionError, TableError, StorageError, CommitError);

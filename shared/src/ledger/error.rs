//! Why a call of the ledger failed.

use crate::disk::DiskFault;

/// Why a call of the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The ledger cannot be reached, is full or is broken; the text is for the operator.
    #[error("the ledger is unavailable: {0}")]
    Unavailable(String),
    /// The disk does not take what is written.
    #[error("the ledger is unavailable: {0}")]
    Disk(#[from] DiskFault),
    /// A page was asked for by a cursor that no earlier page gave.
    #[error("the cursor is none of an earlier answer's")]
    UnknownCursor,
}

impl LedgerError {
    /// What is wrong, for `/ready`: nothing of it names an account, an address or a path.
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::Unavailable(_) | Self::UnknownCursor => "it does not do what it is asked",
            Self::Disk(fault) => fault.words,
        }
    }
}

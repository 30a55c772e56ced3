//! What the ledger grants once: the part of a quota that may be used without the store, the opening of a window, and the
//! right to answer under an idempotency key.
//!
//! Each is one conditional write, so that of many processes that ask at once the ledger says yes to those that it may.

use crate::id::RequestId;
use crate::ledger::error::LedgerError;
use crate::limit::window::Window;
use crate::money::Amounts;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// Whose idempotency key it is, and a hash of it: what clients put there may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The tenant's uid.
    pub tenant: Arc<str>,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
}

/// What is known of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: the request that asks has it now.
    Fresh,
    /// A request with the same body has it and has not ended.
    Running,
    /// It came with another body.
    Mismatch,
    /// It was answered; this is what [`Claims::finish`] was given.
    Done(Bytes),
}

/// Conditional writes beside the receipts.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Takes `more` out of what a tenant may use of a window without the store, if all that was taken then stays within
    /// `most`; answers whether it did. Taken is taken: nothing is ever given back.
    async fn grant(&self, tenant: &str, window: &Window, more: Amounts, max: Amounts) -> Result<bool, LedgerError>;

    /// Notes that a window is in use; answers whether this is the first time.
    async fn open_window(&self, tenant: &str, window: &Window) -> Result<bool, LedgerError>;

    /// Claims `key` for `request` until `lease_until_ms`, by when it has ended, if it is not taken. A claim whose lease
    /// has ended is free, and what is older than 24 hours is forgotten. Retried by the same request, it is
    /// [`Begun::Fresh`] again.
    async fn begin(
        &self,
        key: &IdempotencyKey,
        body: [u8; 32],
        request: RequestId,
        lease_until_ms: u64,
        now_ms: u64,
    ) -> Result<Begun, LedgerError>;

    /// Ends the claim of `request` with what is to be answered from now on, or, with `None`, as if it had never been. Who
    /// does not have the claim changes nothing.
    async fn finish(
        &self,
        key: &IdempotencyKey,
        request: RequestId,
        answer: Option<Bytes>,
        now_ms: u64,
    ) -> Result<(), LedgerError>;
}

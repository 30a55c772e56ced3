//! Writing what a ledger has only in this process: the receipts of cache hits, which may not wait for a write themselves.
//!
//! It is done once a second, so that every process shows the same metrics within a second of an answer. Where Lambda freezes
//! the process it goes on with the next invocation; a write that was frozen half-way is repeated, and counts once.

use crate::now_and_then;
use gateway_core::gateway::Gateway;
use std::sync::Arc;

/// Begins, for as long as there is the gateway.
pub(crate) fn begin(gateway: &Arc<Gateway>) {
    now_and_then::begin(gateway, |gateway| async move {
        if let Err(error) = gateway.ledger.flush().await {
            tracing::debug!(%error, "what waits for the ledger waits on");
        }
    });
}

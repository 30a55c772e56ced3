//! Writing what a ledger has only in this process: the receipts of cache hits, which may not wait for a write themselves.
//!
//! It is done once a second, so that every process shows the same metrics within a second of an answer. A task of its
//! own does it, and not the next request: there may be none for a long time. Where Lambda freezes the process it goes
//! on with the next invocation; a write that was frozen half-way is repeated, and counts once.

use gateway_core::gateway::Gateway;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(1);

/// Begins, for as long as there is the gateway.
pub(crate) fn begin(gateway: &Arc<Gateway>) {
    let gateway = Arc::downgrade(gateway);
    #[allow(clippy::disallowed_methods, reason = "what waits is no request's any more")]
    tokio::spawn(now_and_then(gateway));
}

async fn now_and_then(gateway: Weak<Gateway>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(gateway) = gateway.upgrade() else { return };
        if let Err(error) = gateway.ledger.flush().await {
            tracing::debug!(%error, "what waits for the ledger waits on");
        }
    }
}

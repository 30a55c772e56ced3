//! The end of a process: what was begun is brought to its end, or to an estimate (B3).

use crate::alerting;
use gateway_core::gateway::Gateway;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// How long requests that are not waited for any longer have to settle: as long as a store or ledger that does not answer
/// is waited for, and a little.
const SETTLING: Duration = Duration::from_secs(5);

/// Waits for connections, and for requests whose clients have left, for at most `drain`; has what runs then settled as an
/// estimate; sends what is pending for the store, and writes what waits for the ledger.
pub(crate) async fn end(gateway: &Gateway, open: usize, drain: Duration, mut connections: JoinSet<()>) {
    let by = Instant::now() + drain;
    let running = &gateway.running;
    if running.count() > 0 {
        tracing::warn!(
            requests = running.count(),
            connections = open,
            "ending: waits for {} requests, at most {} s; a second signal ends it at once",
            running.count(),
            drain.as_secs_f64()
        );
    }
    let mut all_have_ended = async || {
        while connections.join_next().await.is_some() {}
        running.none().await;
    };
    if timeout_at(by, all_have_ended()).await.is_err() {
        if running.count() > 0 {
            tracing::warn!(requests = running.count(), "ending: what still runs is settled as an estimate");
        }
        running.stop();
        let _ = timeout(SETTLING, all_have_ended()).await;
    }
    // Clients that still send their body, or do not read.
    connections.shutdown().await;
    if timeout(SETTLING, running.none()).await.is_err() {
        tracing::error!(requests = running.count(), "ending: not all that runs could be settled");
    }
    gateway.flush_pending().await;
    // The receipts of cache hits may be in this process alone.
    if !matches!(timeout(SETTLING, gateway.ledger.flush()).await, Ok(Ok(()))) {
        tracing::error!("ending: what waited for the ledger could not be written");
    }
    // Last, for Lambda may end the process before: what is not sent then is in the outbox.
    alerting::at_the_end(gateway).await;
}

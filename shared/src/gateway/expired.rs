//! Holds that expired: the processes that made them were lost, and what they may have been billed is charged in full
//! (M2).

use crate::gateway::Gateway;
use crate::limit::window::{Window, WindowKind};
use crate::money::Usage;
use crate::receipt::Receipt;
use crate::store::ExpiredHold;
use crate::tenant::{id_of, uid_apart};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// For how long one request goes on writing their receipts, and how many at once.
const RECORD_TIME: Duration = Duration::from_millis(500);
const BATCH_SIZE: usize = 32;

impl Gateway {
    /// Writes the receipts of holds that expired: their processes were lost, and what they may have been billed is
    /// charged in full (M2). Without them a rebuild would forget it.
    pub async fn record_expired_holds(&self, uid: &str) {
        let (expired, tenant) = (self.store.counters().take_expired(uid), id_of(uid));
        if expired.is_empty() {
            return;
        }
        // Those for which there is no time are handed out again in a minute.
        let by = Instant::now() + RECORD_TIME;
        let mut written = Vec::with_capacity(expired.len());
        for batch in expired.chunks(BATCH_SIZE) {
            let receipts: Vec<Receipt> = batch.iter().map(|hold| receipt_of(uid, hold, self.config.version)).collect();
            let recorded = timeout_at(by, join_all(receipts.iter().map(|receipt| self.record(receipt)))).await;
            let Ok(recorded) = recorded else { break };
            written.extend(batch.iter().zip(recorded).filter(|(_, done)| done.is_ok()).map(|(hold, _)| hold.clone()));
        }
        if written.is_empty() {
            return tracing::warn!(tenant, "expired holds are not in the ledger yet");
        }
        if let Err(error) = self.store.counters().acknowledge(uid, &written, self.clock.now_ms()).await {
            tracing::warn!(tenant, %error, "expired holds will be written again, to no effect");
        }
    }
}

/// The receipt of a request whose process was lost: all that was held for it, as an estimate (M2).
fn receipt_of(uid: &str, expired: &ExpiredHold, config_version: u64) -> Receipt {
    let mut windows = expired.windows.clone();
    if windows.iter().all(|window| window.kind != WindowKind::Month || window.key.is_some()) {
        windows.push(Window::month(expired.id.created_at_ms()));
    }
    Receipt {
        tenant: id_of(uid).into(),
        tenant_uid: uid_apart(&uid.into()),
        status: 500,
        config_version,
        // Which of its tokens were input is not known any more.
        usage: Usage { input_tokens: expired.held.tokens, ..Usage::default() },
        cost_nusd: expired.held.cost_nusd,
        estimated: true,
        reasons: vec!["its process was lost: all that was held for it is charged".to_owned()],
        windows,
        ..Receipt::begun(expired.id, expired.id.created_at_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RequestId;
    use crate::ledger::Tally;
    use crate::ledger::contract::{MIDNIGHT_MS, ONE, receipt};

    #[test]
    fn a_request_whose_process_was_lost_counts_and_took_no_known_time() {
        let mut tally = Tally::default();
        let expired = ExpiredHold { id: RequestId::new(MIDNIGHT_MS), held: ONE, windows: vec![] };
        tally.count(&receipt_of("acme", &expired, 1));
        tally.count(&receipt("acme", MIDNIGHT_MS));
        assert_eq!((tally.counts.requests, tally.counts.errors, tally.latency.count()), (2, 1, 1));
    }
}

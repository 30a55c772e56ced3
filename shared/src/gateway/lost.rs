//! Holds that expired: the processes that made them were lost, and what they may have been billed is charged in full (M2).

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
const WRITING: Duration = Duration::from_millis(500);
const AT_ONCE: usize = 32;

impl Gateway {
    /// Writes the receipts of holds that expired: their processes were lost, and what they may have been billed is
    /// charged in full (M2). Without them a rebuild would forget it.
    pub async fn record_expired_holds(&self, uid: &str) {
        let (lost, tenant) = (self.store.counters().take_expired(uid), id_of(uid));
        if lost.is_empty() {
            return;
        }
        // Those for which there is no time are told again in a minute.
        let by = Instant::now() + WRITING;
        let mut written = Vec::with_capacity(lost.len());
        for some in lost.chunks(AT_ONCE) {
            let receipts: Vec<Receipt> = some.iter().map(|hold| receipt_of(uid, hold, self.config.version)).collect();
            let recorded = timeout_at(by, join_all(receipts.iter().map(|receipt| self.record(receipt)))).await;
            let Ok(recorded) = recorded else { break };
            written.extend(some.iter().zip(recorded).filter(|(_, done)| done.is_ok()).map(|(hold, _)| hold.clone()));
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
fn receipt_of(uid: &str, lost: &ExpiredHold, config_version: u64) -> Receipt {
    let mut windows = lost.windows.clone();
    if windows.iter().all(|window| window.kind != WindowKind::Month) {
        windows.push(Window::month(lost.id.created_at_ms()));
    }
    Receipt {
        tenant: id_of(uid).into(),
        tenant_uid: uid_apart(&uid.into()),
        status: 500,
        config_version,
        // Which of its tokens were input is not known any more.
        usage: Usage { input_tokens: lost.held.tokens, ..Usage::default() },
        cost_nusd: lost.held.cost_nusd,
        estimated: true,
        reasons: vec!["its process was lost: all that was held for it is charged".to_owned()],
        windows,
        ..Receipt::begun(lost.id, lost.id.created_at_ms())
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
        let lost = ExpiredHold { id: RequestId::new(MIDNIGHT_MS), held: ONE, windows: vec![] };
        tally.count(&receipt_of("acme", &lost, 1));
        tally.count(&receipt("acme", MIDNIGHT_MS));
        assert_eq!((tally.counts.requests, tally.counts.errors, tally.latency.count()), (2, 1, 1));
    }
}

//! What this process keeps while the store is down, and what the store is sent when it is back.
//!
//! A call to the store that failed may have arrived. An admission is therefore taken back when the store is back, and
//! a settlement sent again: both are idempotent, in any order (M2). What could never be sent expires by its lease, and is
//! charged in full.

use crate::directory::authenticate::Caller;
use crate::limit::lineage::Lineage;
use crate::limit::window::Window;
use crate::locking::lock;
use crate::money::Amounts;
use crate::store::memory::MemoryCounters;
use crate::store::{Admission, Settlement, Store, Ticket};
use futures_util::future::join_all;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The version of all settings to this process's own counters: those of a caller are as new as its authentication, and two
/// keys of a tenant may have been read at different times.
pub(crate) const NO_VERSION: u64 = 0;
/// How many calls are kept for the store; what is more expires by its lease.
const PENDING_KEPT: usize = 10_000;
/// How many of them are sent at once.
const SENT_AT_ONCE: usize = 64;
/// For how long one request goes on sending them.
const FLUSHING: Duration = Duration::from_millis(250);

/// A call that may not have reached the store.
#[derive(Debug, Clone)]
pub(crate) enum Pending {
    /// What a request used.
    Settle(Settlement, Ticket),
    /// An admission of a request that goes on without it, or not at all.
    Release(Box<Admission>, Ticket),
}

/// What this process knows of an outage.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Rates, places in flight and the granted quotas, of this process alone.
    pub(crate) counters: MemoryCounters,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    granted: HashMap<(Arc<str>, Window), Amounts>,
    /// Tenants, and keys of theirs, whose windows lack what was admitted without the store.
    unreconciled: HashSet<(Arc<str>, Option<Lineage>)>,
    pending: Vec<Pending>,
}

/// Who has windows that a caller's requests are counted in.
fn owners_of(caller: &Caller) -> impl Iterator<Item = Option<Lineage>> {
    std::iter::once(None).chain(caller.lineage().map(Some))
}

impl Outage {
    /// Notes that the windows of a caller's tenant, and those of its key's own, lack something, or, with the answer, that they
    /// are about to be charged.
    pub(crate) fn mark_unreconciled(&self, caller: &Caller) {
        let owners = owners_of(caller).map(|key| (caller.tenant.uid.clone(), key));
        lock(&self.state).unreconciled.extend(owners);
    }

    /// Whose of these windows lack something, the tenant's (`None`) or the key's; from now on they do not, unless it is noted
    /// again.
    pub(crate) fn take_unreconciled(&self, caller: &Caller) -> Vec<Option<Lineage>> {
        let unreconciled = &mut lock(&self.state).unreconciled;
        if unreconciled.is_empty() {
            return Vec::new();
        }
        owners_of(caller).filter(|key| unreconciled.remove(&(caller.tenant.uid.clone(), *key))).collect()
    }

    /// Keeps a call for when the store is back.
    pub(crate) fn queue(&self, pending: Pending) {
        let kept = &mut lock(&self.state).pending;
        if kept.len() < PENDING_KEPT {
            kept.push(pending);
        }
    }

    /// What the ledger has granted this process of a window.
    pub(crate) fn granted(&self, tenant: &Arc<str>, window: Window) -> Amounts {
        lock(&self.state).granted.get(&(tenant.clone(), window)).copied().unwrap_or_default()
    }

    /// Adds to it.
    pub(crate) fn add_grant(&self, tenant: &Arc<str>, window: Window, more: Amounts, now_ms: u64) {
        let mut state = lock(&self.state);
        state.granted.retain(|(_, window), _| window.resets_at_ms > now_ms);
        let granted = state.granted.entry((tenant.clone(), window)).or_default();
        *granted = granted.plus(more);
    }

    /// Sends the store the pending calls of all tenants: some of them may not come to this process again before their leases
    /// end. What fails, or does not fit the time, stays pending.
    pub(crate) async fn flush_pending(&self, store: &dyn Store, now_ms: u64) {
        if lock(&self.state).pending.is_empty() || store.is_skipped() {
            return;
        }
        let mut pending = std::mem::take(&mut lock(&self.state).pending);
        let by = Instant::now() + FLUSHING;
        while !pending.is_empty() && Instant::now() < by {
            let rest = pending.split_off(pending.len().min(SENT_AT_ONCE));
            let sent = join_all(pending.iter().map(async |pending| match pending {
                Pending::Settle(settlement, ticket) => {
                    store.counters().settle(settlement, ticket, now_ms).await.map(drop)
                }
                Pending::Release(ask, ticket) => store.counters().release(ask, ticket, now_ms).await,
            }))
            .await;
            let is_down = sent.iter().any(Result::is_err);
            for (pending, _) in pending.into_iter().zip(sent).filter(|(_, sent)| sent.is_err()) {
                self.queue(pending);
            }
            pending = rest;
            if is_down {
                break;
            }
        }
        pending.into_iter().for_each(|pending| self.queue(pending));
    }
}

//! Counters in this process's memory.
//!
//! One mutex around plain maps: every operation is a few look-ups, so that a lock per tenant would cost more than it
//! saves. The code is written as the Redis scripts are, one function per atomic operation: check everything, then
//! take everything (M1). A hold that nobody settled before its lease ended is charged in full (M2), when the tenant is
//! next looked at.

mod invariants;
mod pace;

use crate::id::{RequestId, random_u64};
use crate::limit::lineage::Lineage;
use crate::limit::window::{Window, WindowKind};
use crate::locking::lock;
use crate::money::{Amounts, Charged};
use crate::store::{
    Admission, Counters, ExpiredHold, PaceLimits, QuotaAsk, RateStatus, Refusal, Settled, Settlement, StoreError,
    Ticket, Verdict, WindowUse,
};
use crate::tenant::Whose;
use async_trait::async_trait;
use pace::Pace;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

/// How many settled requests a tenant is remembered by, so that a settlement sent twice is charged once. In one process
/// a repetition follows at once; the bound keeps the memory of a busy tenant constant.
const SETTLED_KEPT: usize = 1024;

/// How long after an expired hold was handed out it is handed out again, unless it was acknowledged.
const HAND_OUT_AGAIN_MS: u64 = 60_000;

/// A past window is kept this long, for settlements that come late.
const WINDOW_KEPT_MS: u64 = 3_600_000;

/// The counters of all tenants.
#[derive(Debug, Default)]
pub struct MemoryCounters {
    tenants: Mutex<HashMap<Arc<str>, TenantCounters>>,
}

#[derive(Debug, Default)]
struct TenantCounters {
    /// Begun by the first admission.
    incarnation: Option<u64>,
    settings_version: Option<u64>,
    pace: Pace,
    /// Those of keys that have limits of their own.
    keys: HashMap<Lineage, Pace>,
    windows: HashMap<WindowId, Counted>,
    /// Until when windows that were lost are closed.
    closed: HashMap<WindowId, u64>,
    holds: HashMap<RequestId, Hold>,
    settled: HashSet<RequestId>,
    settled_order: VecDeque<RequestId>,
    /// Expired holds that the ledger has not recorded, and when they were last handed out.
    expired: Vec<(ExpiredHold, u64)>,
    /// The time as of the latest call.
    now_ms: u64,
    /// No lease ends before this, so that a sweep looks at all holds only when one may have.
    next_lease_ends_ms: u64,
}

/// A window and what is counted in it.
#[derive(Debug)]
struct Counted {
    window: Window,
    amounts: WindowUse,
    /// The part of what is used that was admitted without the store.
    outage: Amounts,
}

#[derive(Debug)]
struct Hold {
    amounts: Amounts,
    windows: Vec<Window>,
    lease_until_ms: u64,
    /// Whether it has a place in flight.
    has_place: bool,
    /// The keys among whose own places that is.
    key: Option<Lineage>,
}

type WindowId = (WindowKind, u64, Option<Lineage>);

fn id_of(window: &Window) -> WindowId {
    (window.kind, window.starts_at_ms, window.key)
}

impl TenantCounters {
    /// Charges every hold whose lease has ended, in full (M2).
    fn sweep(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if now_ms < self.next_lease_ends_ms || self.holds.is_empty() {
            return;
        }
        let ended: Vec<RequestId> =
            self.holds.iter().filter(|(_, hold)| hold.lease_until_ms <= now_ms).map(|(id, _)| *id).collect();
        for id in ended {
            let Some(hold) = self.holds.get(&id) else { continue };
            let held = hold.amounts;
            tracing::warn!(request = %id, tokens = held.tokens, cost_nusd = held.cost_nusd, "a hold expired and is charged in full");
            self.expired.push((ExpiredHold { id, held, windows: hold.windows.clone() }, 0));
            self.end(id, held);
        }
        self.next_lease_ends_ms = self.holds.values().map(|hold| hold.lease_until_ms).min().unwrap_or(0);
        let in_use: HashSet<_> = self.holds.values().flat_map(|hold| hold.windows.iter().map(id_of)).collect();
        self.windows.retain(|id, known| known.window.resets_at_ms + WINDOW_KEPT_MS > now_ms || in_use.contains(id));
        self.keys.retain(|_, pace| !pace.is_long_free(now_ms));
    }

    /// Replaces a hold by a charge; answers whether there was one.
    fn end(&mut self, id: RequestId, used: Amounts) -> bool {
        let Some(hold) = self.holds.remove(&id) else { return false };
        self.leave(&hold);
        for window in &hold.windows {
            if let Some(Counted { amounts, .. }) = self.windows.get_mut(&id_of(window)) {
                amounts.held = amounts.held.minus(hold.amounts);
                amounts.used = amounts.used.plus(used);
            }
        }
        self.remember_settled(id);
        true
    }

    /// Frees a hold's place in flight, if it has one.
    fn leave(&mut self, hold: &Hold) {
        if hold.has_place {
            self.pace.in_flight -= 1;
            if let Some(pace) = hold.key.and_then(|key| self.keys.get_mut(&key)) {
                pace.in_flight -= 1;
            }
        }
    }

    fn remember_settled(&mut self, id: RequestId) {
        self.settled.insert(id);
        self.settled_order.push_back(id);
        if self.settled_order.len() > SETTLED_KEPT
            && let Some(oldest) = self.settled_order.pop_front()
        {
            self.settled.remove(&oldest);
        }
    }

    fn rates(&self, ask: &Admission, now_ms: u64) -> RateStatus {
        let key = ask.key.map_or(Pace::default(), |(key, _)| self.pace_of(key));
        RateStatus::of(ask, self.pace.tats(), key.tats(), now_ms)
    }

    fn pace_of(&self, key: Lineage) -> Pace {
        self.keys.get(&key).copied().unwrap_or_default()
    }

    fn window_use(&self, window: &Window) -> WindowUse {
        self.windows.get(&id_of(window)).map_or(WindowUse::default(), |known| known.amounts)
    }

    /// The first quota that has less left than `more`.
    fn exhausted(&self, quotas: &[QuotaAsk], more: Amounts) -> Option<Refusal> {
        quotas.iter().find_map(|ask| {
            let quota = ask.exceeded(self.window_use(&ask.window), more)?;
            Some(Refusal::Quota { quota, window: ask.window })
        })
    }

    /// The calibrated hold, or the one that cannot be exceeded where less than ten times as much is left (M3).
    fn hold_for(&self, ask: &Admission) -> Amounts {
        let ample = ask.quotas.iter().all(|quota| {
            let WindowUse { used, held } = self.window_use(&quota.window);
            let taken = used.plus(held);
            let enough = |limit: Option<u64>, taken: u64, hold: u64| {
                limit.is_none_or(|limit| limit.saturating_sub(taken) >= hold.saturating_mul(10))
            };
            enough(quota.tokens, taken.tokens, ask.hold.tokens)
                && enough(quota.cost_nusd, taken.cost_nusd, ask.hold.cost_nusd)
        });
        if ample { ask.hold } else { ask.upper_bound_hold }
    }

    fn admit(&mut self, ask: &Admission, hit: bool, now_ms: u64) -> Verdict {
        if let Some(hold) = self.holds.get(&ask.id) {
            return Verdict::Admitted { held: hold.amounts, rates: self.rates(ask, now_ms) };
        }
        // A late repetition of an admission that is done with, or of a hit that is counted, takes nothing more.
        if self.settled.contains(&ask.id) {
            return Verdict::Admitted { held: Amounts::default(), rates: self.rates(ask, now_ms) };
        }
        let settings = self.settings_version != Some(ask.settings_version);
        let missing = |quota: &&QuotaAsk| !self.windows.contains_key(&id_of(&quota.window));
        let windows: Vec<Window> = ask.quotas.iter().filter(missing).map(|quota| quota.window).collect();
        let closed_until_ms = windows.iter().filter_map(|window| self.closed.get(&id_of(window))).max();
        if let Some(until_ms) = closed_until_ms.filter(|&&until_ms| until_ms > now_ms) {
            let refusal = Refusal::Closed { retry_after_ms: until_ms - now_ms };
            return Verdict::Refused { refusal, rates: self.rates(ask, now_ms) };
        }
        if settings || !windows.is_empty() {
            let incarnation = *self.incarnation.get_or_insert_with(random_u64);
            return Verdict::Stale { settings, windows, incarnation };
        }
        let held = if hit { Amounts { requests: 1, ..Amounts::default() } } else { self.hold_for(ask) };
        match self.check(ask, held, hit, now_ms) {
            Err(refusal) => {
                self.bring_back(ask, refusal, now_ms);
                Verdict::Refused { refusal, rates: self.rates(ask, now_ms) }
            }
            Ok((pace, key)) => {
                self.pace = pace;
                self.keys.extend(ask.key.map(|(lineage, _)| lineage).zip(key));
                self.take(ask, held, hit);
                self.assert_within(&ask.quotas, held);
                let held = if hit { Amounts::default() } else { held };
                Verdict::Admitted { held, rates: self.rates(ask, now_ms) }
            }
        }
    }

    /// Checks every limit; answers how the rates and places stand then, the tenant's and its key's own.
    fn check(&self, ask: &Admission, held: Amounts, hit: bool, now_ms: u64) -> Result<(Pace, Option<Pace>), Refusal> {
        let passed = |pace: Pace, limits: &PaceLimits, whose| match hit {
            true => pace.with_hit(whose, limits, now_ms),
            false => pace.with_request(whose, limits, ask.rate_tokens, now_ms),
        };
        let tenant = passed(self.pace, &ask.pace(), Whose::Tenant)?;
        let key = ask.key.map(|(key, limits)| passed(self.pace_of(key), &limits, Whose::Key)).transpose()?;
        match self.exhausted(&ask.quotas, held) {
            Some(refusal) => Err(refusal),
            None => Ok((tenant, key)),
        }
    }

    /// Nothing is taken by a refusal; but what a clock that was set back has left would be as far off at the next look.
    fn bring_back(&mut self, ask: &Admission, refusal: Refusal, now_ms: u64) {
        match (refusal, ask.key) {
            (Refusal::Rate { whose: Whose::Tenant, kind, .. }, _) => self.pace.bring_back(kind, &ask.pace(), now_ms),
            (Refusal::Rate { whose: Whose::Key, kind, .. }, Some((key, limits))) => {
                self.keys.entry(key).or_default().bring_back(kind, &limits, now_ms);
            }
            _ => {}
        }
    }

    fn take(&mut self, ask: &Admission, held: Amounts, hit: bool) {
        for quota in &ask.quotas {
            if let Some(Counted { amounts, .. }) = self.windows.get_mut(&id_of(&quota.window)) {
                let part = if hit { &mut amounts.used } else { &mut amounts.held };
                *part = part.plus(held);
            }
        }
        if hit {
            self.remember_settled(ask.id);
        } else {
            let windows = ask.quotas.iter().map(|quota| quota.window).collect();
            let earliest = if self.holds.is_empty() { u64::MAX } else { self.next_lease_ends_ms };
            self.next_lease_ends_ms = earliest.min(ask.lease_until_ms);
            let lease_until_ms = ask.lease_until_ms;
            let key = ask.key.map(|(key, _)| key);
            self.holds.insert(ask.id, Hold { amounts: held, windows, lease_until_ms, has_place: true, key });
        }
    }

    fn free_place(&mut self, id: RequestId) {
        if let Some(hold) = self.holds.remove(&id) {
            self.leave(&hold);
            self.holds.insert(id, Hold { has_place: false, ..hold });
        }
    }

    fn extend(&mut self, ask: &Admission, target: Amounts) -> bool {
        let Some(hold) = self.holds.get(&ask.id) else { return false };
        let more = target.minus(hold.amounts);
        if self.exhausted(&ask.quotas, more).is_some() {
            return false;
        }
        for quota in &ask.quotas {
            if let Some(Counted { amounts, .. }) = self.windows.get_mut(&id_of(&quota.window)) {
                amounts.held = amounts.held.plus(more);
            }
        }
        if let Some(hold) = self.holds.get_mut(&ask.id) {
            hold.amounts = hold.amounts.plus(more);
        }
        self.assert_within(&ask.quotas, more);
        true
    }

    fn settle(&mut self, settlement: &Settlement, now_ms: u64) -> Settled {
        if self.settled.contains(&settlement.id) {
            return Settled::Again;
        }
        self.pace.correct_tokens(settlement.token_rate, now_ms);
        if let Some((key, taken)) = settlement.key {
            self.keys.entry(key).or_default().correct_tokens(taken, now_ms);
        }
        if self.end(settlement.id, settlement.used) {
            return Settled::Done;
        }
        for window in settlement.windows.iter().filter(|_| !settlement.only_held) {
            if let Some(Counted { amounts, .. }) = self.windows.get_mut(&id_of(window)) {
                amounts.used = amounts.used.plus(settlement.used);
            }
        }
        self.remember_settled(settlement.id);
        Settled::WithoutHold
    }

    fn rebuild(&mut self, incarnation: Option<u64>, settings_version: u64, windows: &[(Window, Charged)]) -> bool {
        if self.incarnation.is_none() || incarnation.is_some() && incarnation != self.incarnation {
            return false;
        }
        self.settings_version = self.settings_version.max(Some(settings_version));
        for (window, charged) in windows {
            let id = id_of(window);
            if incarnation.is_none() && !self.windows.contains_key(&id) {
                continue;
            }
            self.closed.remove(&id);
            let fresh = WindowUse { used: charged.used, held: Amounts::default() };
            let fresh = Counted { window: *window, amounts: fresh, outage: charged.outage };
            let known = self.windows.entry(id).or_insert(fresh);
            known.amounts.used = known.amounts.used.plus(charged.outage.minus(known.outage));
            known.outage = known.outage.plus(charged.outage.minus(known.outage));
        }
        true
    }

    fn release(&mut self, ask: &Admission, now_ms: u64) {
        if !self.end(ask.id, Amounts::default()) {
            // Whether it was settled, or its admission is still on its way: it is done with.
            if !self.settled.contains(&ask.id) {
                self.remember_settled(ask.id);
            }
            return;
        }
        self.pace.give_back(&ask.pace(), ask.rate_tokens, now_ms);
        if let Some((key, limits)) = ask.key {
            self.keys.entry(key).or_default().give_back(&limits, ask.rate_tokens, now_ms);
        }
    }
}

impl MemoryCounters {
    fn with<T>(&self, tenant: &Arc<str>, now_ms: u64, act: impl FnOnce(&mut TenantCounters) -> T) -> T {
        let mut tenants = lock(&self.tenants);
        if !tenants.contains_key(tenant) {
            tenants.insert(tenant.clone(), TenantCounters::default());
        }
        let counters = tenants.entry(tenant.clone()).or_default();
        let before = counters.before();
        counters.sweep(now_ms);
        let result = act(counters);
        counters.assert_sound(&before);
        result
    }
}

#[async_trait]
impl Counters for MemoryCounters {
    async fn admit(
        &self,
        ask: &Admission,
        _ticket: &mut Ticket,
        hit: bool,
        now_ms: u64,
    ) -> Result<Verdict, StoreError> {
        Ok(self.with(&ask.tenant, now_ms, |counters| counters.admit(ask, hit, now_ms)))
    }

    async fn extend(&self, ask: &Admission, target: Amounts, now_ms: u64) -> Result<bool, StoreError> {
        Ok(self.with(&ask.tenant, now_ms, |counters| counters.extend(ask, target)))
    }

    async fn settle(&self, settlement: &Settlement, _ticket: &Ticket, now_ms: u64) -> Result<Settled, StoreError> {
        Ok(self.with(&settlement.tenant, now_ms, |counters| counters.settle(settlement, now_ms)))
    }

    async fn release(&self, ask: &Admission, _ticket: &Ticket, now_ms: u64) -> Result<(), StoreError> {
        self.with(&ask.tenant, now_ms, |counters| counters.release(ask, now_ms));
        Ok(())
    }

    async fn free_place(&self, ask: &Admission, now_ms: u64) -> Result<(), StoreError> {
        self.with(&ask.tenant, now_ms, |counters| counters.free_place(ask.id));
        Ok(())
    }

    async fn rebuild(
        &self,
        tenant: &str,
        incarnation: Option<u64>,
        settings_version: u64,
        windows: &[(Window, Charged)],
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        Ok(self.with(&Arc::from(tenant), now_ms, |counters| counters.rebuild(incarnation, settings_version, windows)))
    }

    async fn close(
        &self,
        tenant: &str,
        incarnation: u64,
        window: &Window,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.with(&Arc::from(tenant), now_ms, |counters| {
            if counters.incarnation == Some(incarnation) && !counters.windows.contains_key(&id_of(window)) {
                counters.closed.entry(id_of(window)).or_insert(until_ms);
            }
        });
        Ok(())
    }

    fn take_expired(&self, tenant: &str) -> Vec<ExpiredHold> {
        let mut tenants = lock(&self.tenants);
        let Some(counters) = tenants.get_mut(tenant) else { return Vec::new() };
        let now_ms = counters.now_ms;
        let due =
            counters.expired.iter_mut().filter(|(_, handed_out_at_ms)| handed_out_at_ms + HAND_OUT_AGAIN_MS <= now_ms);
        due.map(|(expired, handed_out_at_ms)| (expired.clone(), *handed_out_at_ms = now_ms).0).collect()
    }

    async fn acknowledge(&self, tenant: &str, expired: &[ExpiredHold], now_ms: u64) -> Result<(), StoreError> {
        self.with(&Arc::from(tenant), now_ms, |counters| {
            counters.expired.retain(|(kept, _)| expired.iter().all(|known| known.id != kept.id));
        });
        Ok(())
    }

    async fn forget(&self, tenant: &str) -> Result<(), StoreError> {
        lock(&self.tenants).remove(tenant);
        Ok(())
    }

    async fn usage(&self, tenant: &str, windows: &[Window], now_ms: u64) -> Result<Vec<Option<WindowUse>>, StoreError> {
        let known = lock(&self.tenants).contains_key(tenant);
        if !known {
            return Ok(vec![None; windows.len()]);
        }
        Ok(self.with(&Arc::from(tenant), now_ms, |counters| {
            windows.iter().map(|window| counters.windows.get(&id_of(window)).map(|known| known.amounts)).collect()
        }))
    }
}

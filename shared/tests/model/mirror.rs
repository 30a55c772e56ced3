//! The store in so many words: what it must have counted, request by request.

use super::{Entry, ZERO, over};
use gateway_core::limit::window::Window;
use gateway_core::money::Amounts;
use gateway_core::store::{Admission, Settled, Settlement, WindowUse};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What is used of a window.
#[derive(Default)]
pub(super) struct Counted {
    /// By whom, whether it was charged or came with a rebuild.
    by: BTreeMap<usize, Amounts>,
    /// Those of them that were admitted without the store.
    outage: BTreeSet<usize>,
}

impl Counted {
    fn charge(&mut self, of: usize, used: Amounts) {
        let known = self.by.entry(of).or_insert(ZERO);
        *known = known.plus(used);
    }

    pub(super) fn used(&self) -> Amounts {
        self.by.values().fold(ZERO, |sum, used| sum.plus(*used))
    }

    pub(super) fn used_by(&self, of: usize) -> Amounts {
        self.by.get(&of).copied().unwrap_or(ZERO)
    }
}

#[derive(Default)]
pub(super) struct Mirror {
    /// As it was told to the first that found it stale.
    pub(super) incarnation: Option<u64>,
    pub(super) windows: HashMap<u64, Counted>,
    pub(super) closed: HashMap<u64, u64>,
    pub(super) holds: BTreeMap<usize, (Amounts, Window, u64)>,
    /// Settled, released or expired.
    pub(super) ended: HashSet<usize>,
    pub(super) knows_version: bool,
}

impl Mirror {
    pub(super) fn counted(&self, window: &Window) -> Option<&Counted> {
        self.windows.get(&window.starts_at_ms)
    }

    pub(super) fn usage(&self, window: &Window) -> Option<WindowUse> {
        let of_window = self.holds.values().filter(|(_, of, _)| of == window);
        let held = of_window.fold(ZERO, |sum, (held, _, _)| sum.plus(*held));
        Some(WindowUse { used: self.counted(window)?.used(), held })
    }

    pub(super) fn fits(&self, ask: &Admission, more: Amounts) -> bool {
        let quota = &ask.quotas[0];
        let would = self.usage(&quota.window).map_or(more, |usage| usage.used.plus(usage.held).plus(more));
        !over(quota.requests, would.requests, more.requests)
            && !over(quota.tokens, would.tokens, more.tokens)
            && !over(quota.cost_nusd, would.cost_nusd, more.cost_nusd)
    }

    pub(super) fn charge(&mut self, of: usize, window: &Window, used: Amounts) {
        if let Some(counted) = self.windows.get_mut(&window.starts_at_ms) {
            counted.charge(of, used);
        }
    }

    /// Ends the holds whose leases are over; tells which, and what was charged.
    pub(super) fn expire(&mut self, now_ms: u64) -> Vec<(usize, Amounts)> {
        let over = self.holds.extract_if(.., |_, (_, _, until_ms)| *until_ms <= now_ms).collect::<Vec<_>>();
        for (of, (held, window, _)) in &over {
            self.charge(*of, window, *held);
            self.ended.insert(*of);
        }
        over.into_iter().map(|(of, (held, _, _))| (of, held)).collect()
    }

    pub(super) fn settle(&mut self, of: usize, settlement: &Settlement) -> Settled {
        if !self.ended.insert(of) {
            return Settled::Again;
        }
        let held = self.holds.remove(&of).is_some();
        if held || !settlement.only_held {
            self.charge(of, &settlement.windows[0], settlement.used);
        }
        if held { Settled::Done } else { Settled::WithoutHold }
    }

    /// Whether it heeds what is told to the counters of an incarnation, or of any.
    pub(super) fn heeds(&self, incarnation: Option<u64>) -> bool {
        self.incarnation.is_some() && (incarnation.is_none() || incarnation == self.incarnation)
    }

    pub(super) fn close(&mut self, incarnation: u64, window: &Window, until_ms: u64) {
        if self.heeds(Some(incarnation)) && !self.windows.contains_key(&window.starts_at_ms) {
            self.closed.entry(window.starts_at_ms).or_insert(until_ms);
        }
    }

    /// Answers whether something was charged that the store had not admitted.
    pub(super) fn rebuild(&mut self, incarnation: Option<u64>, window: &Window, entries: &[(usize, Entry)]) -> bool {
        self.knows_version = true;
        let is_known = self.windows.contains_key(&window.starts_at_ms);
        if incarnation.is_none() && !is_known {
            return false;
        }
        self.closed.remove(&window.starts_at_ms);
        let counted = self.windows.entry(window.starts_at_ms).or_default();
        let mut charged_later = false;
        for (of, entry) in entries {
            let is_new = entry.outage && counted.outage.insert(*of);
            charged_later |= is_known && is_new;
            if is_new || !is_known {
                counted.charge(*of, entry.used);
            }
        }
        charged_later
    }
}

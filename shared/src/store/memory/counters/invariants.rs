//! What must hold of a tenant's counters after each operation, looked at by debug builds alone.
//!
//! The money invariants of the design, as far as one tenant shows them: what windows hold is what its open holds are (M1, M2),
//! what was used never falls, and what was let in fits the limits that it was let in by (M1).

use super::{Hold, TenantCounters, WindowId, id_of};
use crate::money::Amounts;
use crate::store::{QuotaAsk, WindowUse};
use std::collections::HashMap;

/// What windows had used before an operation.
pub(super) struct Before(HashMap<WindowId, Amounts>);

impl TenantCounters {
    /// What an operation is compared with; nothing in a release.
    pub(super) fn before(&self) -> Before {
        if cfg!(debug_assertions) {
            Before(self.windows.iter().map(|(id, known)| (*id, known.amounts.used)).collect())
        } else {
            Before(HashMap::new())
        }
    }

    /// Compares, after an operation or a rebuild.
    pub(super) fn assert_sound(&self, Before(used): &Before) {
        if !cfg!(debug_assertions) {
            return;
        }
        let in_flight =
            |of: &dyn Fn(&Hold) -> bool| self.holds.values().filter(|hold| hold.has_place && of(hold)).count() as u64;
        debug_assert_eq!(self.pace.in_flight, in_flight(&|_| true), "in flight are the holds that have a place");
        for (lineage, pace) in &self.keys {
            let own = in_flight(&|hold| hold.key == Some(*lineage));
            debug_assert_eq!(
                pace.in_flight, own,
                "in flight of keys {lineage} are the holds that have a place of theirs"
            );
        }
        for (id, known) in &self.windows {
            let holds = self.holds.values().filter(|hold| hold.windows.iter().any(|window| id_of(window) == *id));
            let held = holds.fold(Amounts::default(), |sum, hold| sum.plus(hold.amounts));
            debug_assert_eq!(known.amounts.held, held, "{id:?} holds what its open holds are");
            let fallen = used.get(id).map_or(Amounts::default(), |before| before.minus(known.amounts.used));
            debug_assert_eq!(fallen, Amounts::default(), "what is used of {id:?} never falls");
        }
    }

    /// Of what was just taken, nothing passes a limit.
    pub(super) fn assert_within(&self, quotas: &[QuotaAsk], taken: Amounts) {
        for quota in quotas {
            let WindowUse { used, held } = self.window_use(&quota.window);
            let sum = used.plus(held);
            for (limit, sum, taken) in [
                (quota.requests, sum.requests, taken.requests),
                (quota.tokens, sum.tokens, taken.tokens),
                (quota.cost_nusd, sum.cost_nusd, taken.cost_nusd),
            ] {
                debug_assert!(taken == 0 || limit.is_none_or(|limit| sum <= limit), "{taken} taken above {quota:?}");
            }
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::id::RequestId;
    use crate::limit::window::Window;
    use crate::store::memory::counters::Counted;

    const NOW: u64 = 1_763_820_000_000;
    const SOME: Amounts = Amounts { requests: 1, tokens: 100, cost_nusd: 1_000 };

    fn with_a_hold() -> TenantCounters {
        let mut tenant = TenantCounters::default();
        let window = Window::day(NOW, 0);
        let amounts = WindowUse { used: SOME, held: SOME };
        tenant.windows.insert(id_of(&window), Counted { window, amounts, outage: Amounts::default() });
        let hold = Hold { amounts: SOME, windows: vec![window], lease_until_ms: NOW + 1, has_place: true, key: None };
        tenant.holds.insert(RequestId::new(NOW), hold);
        tenant.pace.in_flight = 1;
        tenant
    }

    #[test]
    fn a_sound_tenant_passes() {
        let tenant = with_a_hold();
        tenant.assert_sound(&tenant.before());
        let quota = QuotaAsk { window: Window::day(NOW, 0), requests: Some(2), tokens: None, cost_nusd: None };
        tenant.assert_within(&[quota], SOME);
    }

    #[test]
    #[should_panic(expected = "holds what its open holds are")]
    fn a_hold_that_is_not_in_its_window_is_seen() {
        let mut tenant = with_a_hold();
        let before = tenant.before();
        tenant.holds.clear();
        tenant.pace.in_flight = 0;
        tenant.assert_sound(&before);
    }

    #[test]
    #[should_panic(expected = "never falls")]
    fn a_charge_that_is_taken_back_is_seen() {
        let mut tenant = with_a_hold();
        let before = tenant.before();
        tenant.windows.values_mut().for_each(|known| known.amounts.used = Amounts::default());
        tenant.assert_sound(&before);
    }

    #[test]
    #[should_panic(expected = "taken above")]
    fn what_is_taken_above_a_limit_is_seen() {
        let quota = QuotaAsk { window: Window::day(NOW, 0), requests: None, tokens: Some(199), cost_nusd: None };
        with_a_hold().assert_within(&[quota], SOME);
    }
}

//! What must hold: after each step, and of the books after all.

use super::{Request, Stage, World, ZERO, larger, within};
use gateway_core::limit::window::Window;
use gateway_core::money::Amounts;
use gateway_core::store::Counters;
use std::sync::Arc;

impl<F: AsyncFn() -> Arc<dyn Counters>> World<F> {
    /// The invariants, after every step.
    pub(super) async fn check(&mut self) {
        for (of, held) in self.mirror.expire(self.now_ms) {
            self.requests[of].expired = Some(held);
        }
        let windows = self.days();
        let counted = self.store.usage("acme", &windows, self.now_ms).await.unwrap();
        for (window, counted) in windows.iter().zip(counted) {
            // M2: every hold is counted once and replaced once, to the unit. A past window may be forgotten.
            if counted.is_some() || self.now_ms < window.resets_at_ms {
                assert_eq!(counted, self.mirror.usage(window), "the store's count of {}", window.key());
            }
            // M1 and M5: what was billed and what may yet be billed.
            let (mut spent, mut allowed) =
                (ZERO, self.highest_limit.get(&window.starts_at_ms).copied().unwrap_or_default());
            let mut by_the_store = ZERO;
            let of_window = |(_, request): &(usize, &Request)| request.window() == *window;
            for (of, request) in self.requests.iter().enumerate().filter(of_window) {
                let may_be_billed = request.stage == Stage::Held && !request.killed;
                let liable = if may_be_billed { larger(request.held, request.billed) } else { request.billed };
                spent = spent.plus(liable);
                // M3: what the provider billed above the hold.
                let excess = Amounts { requests: 0, ..request.billed.minus(request.held) };
                allowed = allowed.plus(excess);
                // M5: a hold that was in flight when the store was lost; of a strict tenant, one that did not come in by its
                // lease.
                let came_in = self.ledger.contains_key(&of) && !request.late;
                if request.lost_with_the_store && !(self.strict && came_in) {
                    allowed = allowed.plus(liable);
                }
                if !request.outage && !request.lost_with_the_store {
                    by_the_store = by_the_store.plus(request.billed);
                }
            }
            allowed = allowed.plus(self.granted.get(&window.starts_at_ms).copied().unwrap_or_default());
            assert!(within(spent, allowed), "M1, {}: {spent:?} of {allowed:?}", window.key());
            // M2, from outside: the store has counted at least what was billed under its holds.
            if self.losses == 0
                && let Some(counted) = self.mirror.usage(window)
            {
                let counted = counted.used.plus(counted.held);
                let beyond = self.requests.iter().fold(ZERO, |sum, r| sum.plus(r.billed.minus(r.held)));
                assert!(within(by_the_store, counted.plus(beyond)), "M2: {by_the_store:?} billed, {counted:?} counted");
            }
        }
        for (of, request) in self.requests.iter().enumerate() {
            // M2: no upstream byte without a hold or a grant.
            assert!(request.calls == 0 || request.held.requests == 1, "request {of} was dispatched without a hold");
        }
    }

    /// No more faults: all that is on its way arrives, all leases end, and the books agree.
    pub(super) async fn calm(&mut self) {
        self.reachable = true;
        for of in 0..self.requests.len() {
            let Request { stage, killed, calls, .. } = self.requests[of];
            // Where nobody dies, no process leaves a hold behind, either.
            if !killed && (stage == Stage::Held && calls > 0 || !self.deadly) {
                self.finish(of);
            }
        }
        self.hear_all().await;
        while !self.log.is_empty() {
            self.record();
        }
        let today = self.today();
        self.store_is_back();
        self.hear_all().await;
        for _ in 0..2 {
            self.now_ms += 61_000;
            self.check().await;
            self.tell_the_ledger_what_expired();
            self.hear_all().await;
        }
        for window in self.days() {
            assert!(self.mirror.usage(&window).is_none_or(|usage| usage.held == ZERO), "every hold has ended");
            self.compare_requests(&window, window == today);
            self.compare_totals(&window, window == today).await;
        }
    }

    async fn hear_all(&mut self) {
        while !self.network.is_empty() {
            self.deliver().await;
            self.check().await;
        }
    }

    /// M6, request by request, and M4: `billed` is the sum of all calls.
    fn compare_requests(&mut self, window: &Window, is_charged: bool) {
        let mut equal = 0;
        for (of, request) in self.requests.iter().enumerate().filter(|(_, request)| request.window() == *window) {
            let at = format!("M6, request {of}");
            let entry = self.ledger.get(&of);
            match entry {
                Some(entry) if !entry.estimated => assert_eq!(entry.used, request.billed, "{at}"),
                Some(entry) => {
                    assert_eq!(Some(entry.used), request.expired, "{at}: only a hold that expired is estimated");
                    let under_the_hold = request.billed.minus(request.billed.minus(request.held));
                    assert!(within(under_the_hold, entry.used), "{at}: {entry:?} for {under_the_hold:?}");
                }
                // A process and the store's memory of it were lost both: nobody is left who knows of the call.
                None => assert!(
                    request.billed == ZERO || request.killed && (request.outage || request.lost_with_the_store),
                    "{at}"
                ),
            }
            if !request.is_unharmed() {
                continue;
            }
            assert!(entry.is_none_or(|entry| !entry.estimated), "{at}: its process ended it in time");
            // What was used without the store is charged to the window that is open when it is back.
            if let Some(counted) = self.mirror.counted(window).filter(|_| is_charged || !request.outage) {
                assert_eq!(counted.used_by(of), request.billed, "{at}: the store's count");
                equal += u64::from(request.billed != ZERO);
            }
        }
        for _ in 0..equal {
            self.note("request equal in all books");
        }
    }

    /// M6, of a whole window: the store's own count, the ledger and the provider's bill.
    async fn compare_totals(&mut self, window: &Window, is_charged: bool) {
        let sum = |of: &mut dyn Iterator<Item = Amounts>| of.fold(ZERO, Amounts::plus);
        let entries = self.entries(window);
        let ledger = sum(&mut entries.iter().map(|(_, entry)| entry.used));
        let billed_of = |of: &usize| self.requests[*of].billed;
        let recorded = sum(&mut entries.iter().map(|(of, _)| billed_of(of)));
        let estimated = || entries.iter().filter(|(_, entry)| entry.estimated);
        let estimates = sum(&mut estimated().map(|(_, entry)| entry.used));
        let bill_of_estimates = sum(&mut estimated().map(|(of, _)| billed_of(of)));
        // The ledger differs from the bill by what the estimates differ from theirs, and by nothing else.
        assert_eq!(ledger.plus(bill_of_estimates), recorded.plus(estimates), "M6, {}", window.key());
        if ledger != recorded {
            self.note("window off the bill by estimates");
        }
        if self.deadly {
            return;
        }
        let of_window = self.requests.iter().filter(|request| request.window() == *window);
        let billed = sum(&mut of_window.map(|request| request.billed));
        assert_eq!((estimated().count(), ledger), (0, billed), "M6, {}: nobody died", window.key());
        let counted = self.store.usage("acme", &[*window], self.now_ms).await.unwrap()[0];
        let owes_nothing = is_charged || entries.iter().all(|(_, entry)| !entry.outage);
        if let Some(counted) = counted.filter(|_| owes_nothing) {
            assert_eq!((counted.used, counted.held), (ledger, ZERO), "M6, {}: nobody died", window.key());
            if billed != ZERO {
                self.note("window equal in all books");
            }
        }
    }
}

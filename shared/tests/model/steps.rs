//! What may happen in the model, and what a process does of itself.

use super::{Entry, LEASE_MS, LIMIT, MAX_LIVE, Message, OUTAGE, Request, Stage, VERSION, World, ZERO, larger, within};
use gateway_core::id::RequestId;
use gateway_core::money::Amounts;
use gateway_core::store::{Admission, Counters, QuotaAsk, Settlement, Ticket};
use std::sync::Arc;

impl<F: AsyncFn() -> Arc<dyn Counters>> World<F> {
    /// One thing happens.
    pub(super) async fn step(&mut self) {
        match self.dice.below(100) {
            0..15 => self.ask(),
            15..50 => self.deliver().await,
            50..75 => {
                if let Some(of) = self.live() {
                    self.go_on(of);
                }
            }
            75..79 => self.record(),
            79..82 if self.deadly => {
                // Killed: what it sent may or may not have left.
                if let Some(of) = self.live() {
                    self.requests[of].killed = true;
                }
            }
            79..82 => self.deliver().await,
            82 => self.tell_the_ledger_what_expired(),
            // Told to a process that is killed before it can write: it is told again, to another.
            83 if self.deadly => drop(self.store.take_expired("acme")),
            83 => self.store_is_back(),
            84..95 => {
                let ms = self.dice.below(100);
                self.pass(ms).await;
            }
            95 => {
                let ms = self.dice.below(LEASE_MS / 2);
                self.pass(ms).await;
            }
            96 if self.dice.one_in(12) => {
                // Some seconds before midnight, or just after.
                let until_ms = self.today().resets_at_ms + 10 - self.dice.below(4_000);
                self.pass(until_ms.saturating_sub(self.now_ms)).await;
            }
            96 => {
                self.limit = self.dice.amounts(20 + 2 * LIMIT.requests).plus(Amounts {
                    requests: 0,
                    tokens: 1_000,
                    cost_nusd: 20_000,
                })
            }
            97 => self.reachable = !self.reachable,
            98 if self.deadly && self.dice.one_in(4) => self.lose_the_store().await,
            98 => self.store_is_back(),
            _ => self.use_a_grant(),
        }
    }

    /// Time passes. Where nobody dies, each process ends before its lease does, and all that it sent arrives before.
    async fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        if !self.deadly {
            let is_due = |of: &usize| (self.now_ms..=until_ms).contains(&self.requests[*of].ask.lease_until_ms);
            let due: Vec<usize> = (0..self.requests.len()).filter(is_due).collect();
            due.iter().for_each(|of| self.finish(*of));
            while let Some(place) = self.network.iter().position(|m| m.request().is_some_and(|of| due.contains(&of))) {
                let message = self.network.swap_remove(place);
                self.reachable = true;
                self.arrive(message).await;
            }
            while let Some(place) = self.log.iter().position(|(of, _)| due.contains(of)) {
                let (of, entry) = self.log.swap_remove(place);
                self.ledger.entry(of).or_insert(entry);
            }
        }
        self.now_ms = until_ms;
    }

    /// A request's process ends: settles what was called, and gives back what was not.
    pub(super) fn finish(&mut self, of: usize) {
        let request = &mut self.requests[of];
        match request.stage {
            Stage::Held if request.calls > 0 => self.end(of),
            Stage::Asking | Stage::Stale | Stage::Held => {
                request.stage = Stage::Ended;
                self.network.push(Message::Release(of));
            }
            Stage::Ended => {}
        }
    }

    /// A request of which more is to be done, by chance.
    fn live(&mut self) -> Option<usize> {
        let live = |of: &usize| self.requests[*of].stage != Stage::Ended && !self.requests[*of].killed;
        let live: Vec<usize> =
            (self.requests.len().saturating_sub(MAX_LIVE * 4)..self.requests.len()).filter(live).collect();
        (!live.is_empty()).then(|| live[self.dice.place(live.len())])
    }

    fn ask(&mut self) {
        let window = self.today();
        let hold = self.dice.amounts(1);
        let limits = QuotaAsk {
            window,
            requests: Some(self.limit.requests),
            tokens: Some(self.limit.tokens),
            cost_nusd: Some(self.limit.cost_nusd),
        };
        let highest = self.highest_limit.entry(window.starts_at_ms).or_default();
        *highest = larger(*highest, self.limit);
        let ask = Admission {
            tenant: "acme".into(),
            id: RequestId::new(self.now_ms),
            settings_version: VERSION,
            request_rate: None,
            token_rate: None,
            rate_tokens: 0,
            concurrency: None,
            key: None,
            quotas: vec![limits],
            hold,
            upper_bound_hold: hold,
            lease_until_ms: self.now_ms + LEASE_MS / 2 + self.dice.below(LEASE_MS / 2),
        };
        self.requests.push(Request {
            ticket: Ticket::new(ask.id),
            ask,
            stage: Stage::Asking,
            stale_in: 0,
            held: ZERO,
            billed: ZERO,
            calls: 0,
            outage: false,
            killed: false,
            late: false,
            expired: None,
            charged_late: false,
            lost_with_the_store: false,
        });
        self.network.push(Message::Admit(self.requests.len() - 1));
    }

    /// The next thing that a request's process does.
    fn go_on(&mut self, of: usize) {
        let expired = self.requests[of].ask.lease_until_ms <= self.now_ms;
        let more = self.dice.amounts(0);
        let choice = self.dice.below(6);
        let excess = if self.dice.one_in(25) { self.dice.amounts(0) } else { ZERO };
        let request = &mut self.requests[of];
        match request.stage {
            // Nothing is dispatched, and no admission sent again, after the deadline.
            Stage::Asking | Stage::Stale if expired => request.stage = Stage::Ended,
            Stage::Asking => self.network.push(Message::Admit(of)),
            // What it told the store was lost with it.
            Stage::Stale if self.strict => request.stage = Stage::Asking,
            Stage::Stale => self.learn(of),
            Stage::Held if choice < 3 && request.calls < 2 && !expired => {
                let left = request.held.minus(request.billed);
                let call = self.dice.part_of(left).plus(excess);
                request.calls += 1;
                // An answered request counts one, however many calls it took (M7).
                request.billed = Amounts { requests: 1, ..request.billed.plus(call) };
            }
            Stage::Held if choice == 3 && !request.outage && !expired => {
                self.network.push(Message::Extend(of, request.held.plus(more)));
            }
            Stage::Held if request.calls == 0 && choice == 5 => {
                request.stage = Stage::Ended;
                if !request.outage {
                    self.network.push(Message::Release(of));
                }
            }
            Stage::Held if request.calls > 0 => self.end(of),
            Stage::Held | Stage::Ended => {}
        }
    }

    /// Settles and records: both set out together.
    pub(super) fn end(&mut self, of: usize) {
        let now_ms = self.now_ms;
        let window = self.window(of);
        let request = &mut self.requests[of];
        request.stage = Stage::Ended;
        request.late |= request.ask.lease_until_ms <= now_ms;
        let entry = Entry { used: request.billed, window, outage: request.outage, estimated: false };
        if !request.outage {
            let settlement = Settlement::of(&request.ask, request.billed);
            self.network.push(Message::Settle(of, settlement, request.ticket));
        }
        // In the log it is safe from a kill; the ledger has it at once, or when it is replayed.
        self.log.push((of, entry));
        if !self.dice.one_in(3) {
            self.record();
        }
    }

    /// A receipt reaches the ledger, perhaps again.
    pub(super) fn record(&mut self) {
        if self.log.is_empty() {
            return;
        }
        let place = self.dice.place(self.log.len());
        let (of, entry) = if self.dice.one_in(4) { self.log[place] } else { self.log.swap_remove(place) };
        self.requests[of].late |= self.requests[of].ask.lease_until_ms <= self.now_ms;
        self.ledger.entry(of).or_insert(entry);
    }

    /// Reads the ledger for a store that knows too little, and tells it later.
    pub(super) fn learn(&mut self, of: usize) {
        let (window, incarnation) = (self.window(of), Some(self.requests[of].stale_in));
        self.network.push(Message::Rebuild { of: Some(of), incarnation, window, entries: self.entries(&window) });
    }

    /// What was used without the store is charged to the windows that it has.
    pub(super) fn store_is_back(&mut self) {
        let today = self.today();
        if self.reachable && self.mirror.counted(&today).is_some() {
            self.network.push(Message::Rebuild {
                of: None,
                incarnation: None,
                window: today,
                entries: self.entries(&today),
            });
        }
    }

    fn use_a_grant(&mut self) {
        let Some(of) = self.live().filter(|of| !self.reachable && self.requests[*of].stage == Stage::Asking) else {
            return;
        };
        let window = self.window(of);
        let taken = self.granted.entry(window.starts_at_ms).or_default();
        let request = &mut self.requests[of];
        if within(taken.plus(request.ask.hold), OUTAGE) && request.ask.lease_until_ms > self.now_ms {
            *taken = taken.plus(request.ask.hold);
            (request.stage, request.outage, request.held) = (Stage::Held, true, request.ask.hold);
            // Its admission may have come through, or may yet. What that holds is given back, or expires beside the grant.
            self.network.push(Message::Release(of));
            self.note("granted");
        }
    }

    async fn lose_the_store(&mut self) {
        self.losses += 1;
        self.note("store lost");
        for (of, request) in self.requests.iter_mut().enumerate() {
            let was_counted = self.mirror.holds.contains_key(&of) || self.mirror.ended.contains(&of);
            if was_counted && !request.outage && !self.ledger.contains_key(&of) {
                request.lost_with_the_store = true;
            }
        }
        self.store = (self.fresh)().await;
        self.mirror = Default::default();
        // A settlement is sent again until the deadline, and what was found or read before may be told now. What else was on
        // its way is lost with its connection.
        self.network.retain_mut(|message| match message {
            Message::Settle(of, settlement, _) => {
                // What the ledger has may come with a rebuild.
                settlement.only_held = self.ledger.contains_key(of);
                true
            }
            Message::Rebuild { .. } | Message::Close { .. } => true,
            Message::Admit(_) | Message::Extend(..) | Message::Release(_) | Message::Acknowledge(_) => false,
        });
    }

    /// Some process is told of expired holds, and writes their estimates.
    pub(super) fn tell_the_ledger_what_expired(&mut self) {
        let expired = self.store.take_expired("acme");
        for expired in &expired {
            let of = self.requests.iter().position(|request| request.ask.id == expired.id).expect("it was asked for");
            assert_eq!(expired.windows, [self.window(of)], "the hold's own window");
            assert_eq!(Some(expired.held), self.requests[of].expired, "what was charged for the hold of request {of}");
            let entry = Entry { used: expired.held, window: self.window(of), outage: false, estimated: true };
            self.ledger.entry(of).or_insert(entry);
            self.note("expired");
        }
        self.network.push(Message::Acknowledge(expired));
    }
}

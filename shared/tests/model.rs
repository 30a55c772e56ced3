//! A model check of M1 to M6: processes, a network, a store and a ledger of which anything may happen at any time.
//!
//! The store is the real one, behind [`Counters`]; the processes, the ledger and the provider are models of a few lines.
//! Dice choose each step: a request comes, a message is delivered, late, twice or never; a hold is extended; a process is
//! killed or frozen; the store loses all, or cannot be reached, so that the ledger's grants are used; a limit is changed;
//! leases end; midnight passes. After each step the store must agree to the unit with a mirror that says what it should
//! have counted ([`Mirror`]), and the invariants must hold of what the provider billed ([`World::check`]). Every run ends in
//! a calm, after which the books must agree ([`World::calm`]).
//!
//! A run follows from its seed alone. One that fails is made shorter by bisection for the report: what a prefix of the
//! steps and the calm after it show already. `MODEL_STEPS` says how many steps are taken (`make torture`: 200,000).
//!
//! What the model leaves out: a message outlives no loss of the store but by being sent again, as its connection dies with
//! the server. Rates and concurrency have properties of their own.

use gateway_core::id::RequestId;
use gateway_core::ledger::Charged;
use gateway_core::receipt::Amounts;
use gateway_core::store::memory::MemoryCounters;
use gateway_core::store::{Admission, Counters, Lost, QuotaAsk, Refusal, Settled, Settlement, Verdict, WindowUse};
use gateway_core::window::Window;
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// 2025-11-22 12:00 UTC.
const NOON: u64 = 1_763_812_800_000;
const STEPS_PER_RUN: usize = 500;
const VERSION: u64 = 7;
const ZERO: Amounts = Amounts { requests: 0, tokens: 0, cost_nusd: 0 };
const LIMIT: Amounts = Amounts { requests: 60, tokens: 2_000, cost_nusd: 30_000 };
/// What may be used without the store: a tenth.
const OUTAGE: Amounts = Amounts { requests: 6, tokens: 200, cost_nusd: 3_000 };
const LEASE_MS: u64 = 12_000;
const LIVE_AT_MOST: usize = 14;

/// SplitMix64, by G. L. Steele, D. Lea and C. H. Flood (2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    fn amounts(&mut self, requests: u64) -> Amounts {
        Amounts { requests, tokens: self.below(150), cost_nusd: self.below(2_000) }
    }

    fn part_of(&mut self, most: Amounts) -> Amounts {
        Amounts { requests: 0, tokens: self.below(most.tokens + 1), cost_nusd: self.below(most.cost_nusd + 1) }
    }
}

fn within(amounts: Amounts, limit: Amounts) -> bool {
    amounts.minus(limit) == ZERO
}

fn most(a: Amounts, b: Amounts) -> Amounts {
    a.plus(b.minus(a))
}

/// How far a request's process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its admission is on its way.
    Asking,
    /// The store said that it knows too little.
    Stale,
    /// It has a hold, or a grant.
    Held,
    /// Settled and recorded, or about to be; or refused. Nothing more is done for it but to send what it sent again.
    Ended,
}

/// A request, its process, and what the provider did for it.
struct Request {
    ask: Admission,
    stage: Stage,
    /// Its hold, with what it was extended by; or its grant.
    held: Amounts,
    /// Provider's bill: one call or two.
    billed: Amounts,
    calls: u64,
    /// Admitted without the store.
    outage: bool,
    /// Its process was killed before the end.
    killed: bool,
    /// It was recorded after its lease, or its hold had been lost with the store: its exact charge may follow its estimate.
    late: bool,
    /// The store lost its hold or its charge before the ledger had heard of it.
    lost_with_the_store: bool,
}

/// What travels to the store. Each may come late, twice or never, but none after the lease of its request.
#[derive(Debug, Clone)]
enum Message {
    Admit(usize),
    Extend(usize, Amounts),
    Settle(usize, Settlement),
    Release(usize),
    Refill(Option<usize>, Vec<(Window, Charged)>),
    Acknowledge(Vec<Lost>),
}

/// A receipt in the ledger: the first one of a request stays.
#[derive(Debug, Clone, Copy)]
struct Entry {
    used: Amounts,
    window: Window,
    outage: bool,
    estimated: bool,
}

/// What the store must have counted in a window.
#[derive(Clone, Copy, Default)]
struct Counted {
    used: Amounts,
    outage: Amounts,
}

/// The store in so many words.
#[derive(Default)]
struct Mirror {
    windows: HashMap<u64, Counted>,
    closed: HashMap<u64, u64>,
    holds: BTreeMap<usize, (Amounts, Window, u64)>,
    ended: HashMap<usize, ()>,
    knows_version: bool,
}

impl Mirror {
    fn held(&self, window: &Window) -> Amounts {
        let of_window = self.holds.values().filter(|(_, of, _)| of == window);
        of_window.fold(ZERO, |sum, (held, _, _)| sum.plus(*held))
    }

    fn usage(&self, window: &Window) -> Option<WindowUse> {
        let counted = self.windows.get(&window.starts_at_ms)?;
        Some(WindowUse { used: counted.used, held: self.held(window) })
    }

    fn fits(&self, ask: &Admission, more: Amounts) -> bool {
        let quota = &ask.quotas[0];
        let would = self.usage(&quota.window).map_or(more, |usage| usage.used.plus(usage.held).plus(more));
        let over = |limit: Option<u64>, would: u64, more: u64| more > 0 && limit.is_some_and(|limit| would > limit);
        !over(quota.requests, would.requests, more.requests)
            && !over(quota.tokens, would.tokens, more.tokens)
            && !over(quota.cost_nusd, would.cost_nusd, more.cost_nusd)
    }

    fn charge(&mut self, window: &Window, used: Amounts) {
        if let Some(counted) = self.windows.get_mut(&window.starts_at_ms) {
            counted.used = counted.used.plus(used);
        }
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some((&of, &(held, window, _))) = self.holds.iter().find(|(_, (_, _, until_ms))| *until_ms <= now_ms)
        {
            self.holds.remove(&of);
            self.charge(&window, held);
            self.ended.insert(of, ());
        }
    }

    fn settle(&mut self, of: usize, window: &Window, used: Amounts) -> Settled {
        if self.ended.insert(of, ()).is_some() {
            return Settled::Again;
        }
        self.charge(window, used);
        if self.holds.remove(&of).is_some() { Settled::Done } else { Settled::WithoutHold }
    }

    /// Answers whether something was charged that the store had not admitted.
    fn refill(&mut self, windows: &[(Window, Charged)]) -> bool {
        self.knows_version = true;
        let mut owed = false;
        for (window, charged) in windows {
            self.closed.remove(&window.starts_at_ms);
            let fresh = Counted { used: charged.used, outage: charged.outage };
            let known = self.windows.entry(window.starts_at_ms).or_insert(fresh);
            owed |= charged.outage.minus(known.outage) != ZERO;
            known.used = known.used.plus(charged.outage.minus(known.outage));
            known.outage = most(known.outage, charged.outage);
        }
        owed
    }
}

/// Everything that is.
struct World<F> {
    dice: Dice,
    /// Makes an empty store in place of the one that is lost.
    fresh: F,
    store: Arc<dyn Counters>,
    mirror: Mirror,
    now_ms: u64,
    limit: Amounts,
    /// A tenant that waits one lease after a loss (M5).
    strict: bool,
    reachable: bool,
    requests: Vec<Request>,
    network: Vec<Message>,
    ledger: BTreeMap<usize, Entry>,
    /// Receipts in the structured log, to be replayed.
    log: Vec<(usize, Entry)>,
    granted: HashMap<u64, Amounts>,
    opened: HashMap<u64, ()>,
    highest_limit: HashMap<u64, Amounts>,
    losses: u64,
    /// How often what happened, so that a model in which nothing does is seen.
    tally: BTreeMap<&'static str, u64>,
}

impl<F: AsyncFn() -> Arc<dyn Counters>> World<F> {
    async fn new(fresh: F, seed: u64) -> Self {
        let store = fresh().await;
        Self {
            dice: Dice(seed),
            fresh,
            store,
            mirror: Mirror::default(),
            now_ms: NOON,
            limit: LIMIT,
            strict: seed % 4 == 3,
            reachable: true,
            requests: Vec::new(),
            network: Vec::new(),
            ledger: BTreeMap::new(),
            log: Vec::new(),
            granted: HashMap::new(),
            opened: HashMap::new(),
            highest_limit: HashMap::new(),
            losses: 0,
            tally: BTreeMap::new(),
        }
    }

    fn note(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn today(&self) -> Window {
        Window::day(self.now_ms, 0)
    }

    fn window(&self, of: usize) -> Window {
        self.requests[of].ask.quotas[0].window
    }

    /// A request of which more is to be done, by chance.
    fn live(&mut self) -> Option<usize> {
        let live = |of: &usize| self.requests[*of].stage != Stage::Ended && !self.requests[*of].killed;
        let live: Vec<usize> =
            (self.requests.len().saturating_sub(LIVE_AT_MOST * 4)..self.requests.len()).filter(live).collect();
        (!live.is_empty()).then(|| live[self.dice.place(live.len())])
    }

    async fn step(&mut self) {
        match self.dice.below(100) {
            0..15 => self.ask(),
            15..50 => self.deliver().await,
            50..75 => {
                if let Some(of) = self.live() {
                    self.go_on(of);
                }
            }
            75..79 => self.record(),
            79..82 => {
                // Killed: what it sent may or may not have left.
                if let Some(of) = self.live() {
                    self.requests[of].killed = true;
                }
            }
            82 => self.tell_the_ledger_what_expired(),
            // Told to a process that is killed before it can write: it is told again, to another.
            83 => drop(self.store.lost("acme")),
            84..95 => self.now_ms += self.dice.below(100),
            95 => self.now_ms += self.dice.below(LEASE_MS / 2),
            96 if self.dice.one_in(12) => self.now_ms = self.today().resets_at_ms + self.dice.below(10),
            96 => {
                self.limit = self.dice.amounts(20 + 2 * LIMIT.requests).plus(Amounts {
                    requests: 0,
                    tokens: 1_000,
                    cost_nusd: 20_000,
                })
            }
            97 => self.reachable = !self.reachable,
            98 if self.dice.one_in(8) => self.lose_the_store().await,
            98 => self.store_is_back(),
            _ => self.use_a_grant(),
        }
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
        *highest = most(*highest, self.limit);
        let ask = Admission {
            tenant: "acme".into(),
            id: RequestId::new(self.now_ms),
            settings_version: VERSION,
            request_rate: None,
            token_rate: None,
            rate_tokens: 0,
            concurrency: None,
            quotas: vec![limits],
            hold,
            strict_hold: hold,
            lease_until_ms: self.now_ms + LEASE_MS / 2 + self.dice.below(LEASE_MS / 2),
        };
        self.requests.push(Request {
            ask,
            stage: Stage::Asking,
            held: ZERO,
            billed: ZERO,
            calls: 0,
            outage: false,
            killed: false,
            late: false,
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
    fn end(&mut self, of: usize) {
        let now_ms = self.now_ms;
        let window = self.window(of);
        let request = &mut self.requests[of];
        request.stage = Stage::Ended;
        request.late |= request.ask.lease_until_ms <= now_ms;
        let entry = Entry { used: request.billed, window, outage: request.outage, estimated: false };
        if !request.outage {
            let settlement = Settlement {
                tenant: request.ask.tenant.clone(),
                id: request.ask.id,
                windows: vec![window],
                used: request.billed,
                lease_until_ms: request.ask.lease_until_ms,
                only_held: false,
                token_rate: None,
            };
            self.network.push(Message::Settle(of, settlement));
        }
        // In the log it is safe from a kill; the ledger has it at once, or when it is replayed.
        self.log.push((of, entry));
        if !self.dice.one_in(3) {
            self.record();
        }
    }

    /// A receipt reaches the ledger, perhaps again.
    fn record(&mut self) {
        if self.log.is_empty() {
            return;
        }
        let place = self.dice.place(self.log.len());
        let (of, entry) = if self.dice.one_in(4) { self.log[place] } else { self.log.swap_remove(place) };
        self.requests[of].late |= self.requests[of].ask.lease_until_ms <= self.now_ms;
        self.ledger.entry(of).or_insert(entry);
    }

    fn totals(&self, window: &Window) -> Charged {
        let of_window = self.ledger.values().filter(|entry| entry.window == *window);
        of_window.fold(Charged::default(), |sum, entry| {
            let outage = if entry.outage { entry.used } else { ZERO };
            sum.plus(Charged { used: entry.used, outage })
        })
    }

    /// Reads the ledger for a store that knows too little, and tells it later.
    fn learn(&mut self, of: usize) {
        let window = self.window(of);
        self.network.push(Message::Refill(Some(of), vec![(window, self.totals(&window))]));
    }

    /// What was used without the store is charged to the windows that it has.
    fn store_is_back(&mut self) {
        let today = self.today();
        if self.reachable && self.mirror.windows.contains_key(&today.starts_at_ms) {
            self.network.push(Message::Refill(None, vec![(today, self.totals(&today))]));
        }
    }

    fn use_a_grant(&mut self) {
        let Some(of) = self.live().filter(|of| !self.reachable && self.requests[*of].stage == Stage::Asking) else {
            return;
        };
        let window = self.window(of);
        let taken = self.granted.entry(window.starts_at_ms).or_default();
        let request = &mut self.requests[of];
        // Its admission may have come through, or may yet: that hold then expires beside the grant.
        if within(taken.plus(request.ask.hold), OUTAGE) && request.ask.lease_until_ms > self.now_ms {
            *taken = taken.plus(request.ask.hold);
            (request.stage, request.outage, request.held) = (Stage::Held, true, request.ask.hold);
            self.note("granted");
        }
    }

    async fn lose_the_store(&mut self) {
        self.losses += 1;
        self.note("store lost");
        for (of, request) in self.requests.iter_mut().enumerate() {
            let was_counted = self.mirror.holds.contains_key(&of) || self.mirror.ended.contains_key(&of);
            if was_counted && !self.ledger.contains_key(&of) {
                request.lost_with_the_store = true;
            }
        }
        self.store = (self.fresh)().await;
        self.mirror = Mirror::default();
        // A settlement is sent again until the deadline; what else was on its way is lost with its connection.
        self.network.retain(|message| matches!(message, Message::Settle(..)));
    }

    /// Some process is told of expired holds, and writes their estimates.
    fn tell_the_ledger_what_expired(&mut self) {
        let lost = self.store.lost("acme");
        for lost in &lost {
            let of = self.requests.iter().position(|request| request.ask.id == lost.id).expect("it was asked for");
            assert_eq!(lost.windows, [self.window(of)], "the hold's own window");
            let entry = Entry { used: lost.held, window: self.window(of), outage: false, estimated: true };
            self.ledger.entry(of).or_insert(entry);
            self.note("expired");
        }
        self.network.push(Message::Acknowledge(lost));
    }

    /// One message arrives, out of order; perhaps it will again.
    async fn deliver(&mut self) {
        if self.network.is_empty() || !self.reachable {
            return;
        }
        let place = self.dice.place(self.network.len());
        let message = if self.dice.one_in(3) { self.network[place].clone() } else { self.network.swap_remove(place) };
        let now_ms = self.now_ms;
        let of = match message {
            Message::Admit(of) | Message::Extend(of, _) | Message::Release(of) | Message::Settle(of, _) => Some(of),
            Message::Refill(..) | Message::Acknowledge(_) => None,
        };
        let too_late = of.is_some_and(|of| self.requests[of].ask.lease_until_ms <= now_ms);
        match message {
            Message::Admit(of) if !too_late => self.admit(of).await,
            Message::Extend(of, target) if !too_late => {
                let ask = self.requests[of].ask.clone();
                let granted = self.store.extend(&ask, target, now_ms).await.unwrap();
                let held = self.mirror.holds.get(&of).map(|(held, _, _)| *held);
                let expected = held.is_some_and(|held| self.mirror.fits(&ask, target.minus(held)));
                assert_eq!(granted, expected, "extension to {target:?}");
                self.note(if granted { "extended" } else { "not extended" });
                if let Some((held, _, _)) = self.mirror.holds.get_mut(&of).filter(|_| granted) {
                    *held = most(*held, target);
                    self.requests[of].held = most(self.requests[of].held, target);
                }
            }
            Message::Release(of) if !too_late => {
                self.store.release(&self.requests[of].ask, now_ms).await.unwrap();
                self.mirror.holds.remove(&of);
                self.mirror.ended.insert(of, ());
                self.note("released");
            }
            Message::Settle(of, settlement) => {
                // A process that was frozen sends it even after the lease.
                let settled = self.store.settle(&settlement, now_ms).await.unwrap();
                self.note(match settled {
                    Settled::Done => "settled",
                    Settled::Again => "settled again",
                    Settled::WithoutHold => "settled without a hold",
                });
                let window = self.window(of);
                if too_late && settled == Settled::WithoutHold {
                    // By then the store need not remember that the hold expired: it may charge once more, never less.
                    self.mirror.ended.insert(of, ());
                    self.mirror.charge(&window, settlement.used);
                    self.requests[of].late = true;
                } else {
                    assert_eq!(settled, self.mirror.settle(of, &window, settlement.used), "settlement of request {of}");
                }
            }
            Message::Refill(of, totals) if totals.iter().all(|(window, _)| now_ms < window.resets_at_ms) => {
                self.store.refill("acme", VERSION, &totals, now_ms).await.unwrap();
                let owed = self.mirror.refill(&totals);
                self.note(if owed { "charged later" } else { "refilled" });
                if let Some(of) = of.filter(|of| self.requests[*of].stage == Stage::Stale) {
                    self.requests[of].stage = Stage::Asking;
                }
            }
            Message::Acknowledge(lost) => self.store.acknowledge("acme", &lost, now_ms).await.unwrap(),
            Message::Admit(_) | Message::Extend(..) | Message::Release(_) | Message::Refill(..) => {}
        }
    }

    async fn admit(&mut self, of: usize) {
        let now_ms = self.now_ms;
        let ask = self.requests[of].ask.clone();
        let window = self.window(of);
        let mut verdict = self.store.admit(&ask, false, now_ms).await.unwrap();
        let missing = !self.mirror.windows.contains_key(&window.starts_at_ms);
        let stale = |verdict: &Verdict| matches!(verdict, Verdict::Stale { windows, .. } if !windows.is_empty());
        if self.strict && stale(&verdict) && self.opened.insert(window.starts_at_ms, ()).is_some() {
            // A strict tenant's lost window is closed for one lease; one that was closed and is still missing is refilled.
            let until_ms = now_ms + LEASE_MS;
            self.store.close("acme", &window, until_ms, now_ms).await.unwrap();
            self.mirror.closed.entry(window.starts_at_ms).or_insert(until_ms);
            verdict = self.store.admit(&ask, false, now_ms).await.unwrap();
        }
        if self.strict && stale(&verdict) {
            self.learn(of);
        }
        let closed = self.mirror.closed.get(&window.starts_at_ms).is_some_and(|until_ms| *until_ms > now_ms);
        let known = self.mirror.holds.get(&of).map(|(held, _, _)| *held);
        let expected = match known {
            Some(_) => "admitted again",
            None if self.mirror.ended.contains_key(&of) => "admitted for nothing",
            None if missing && closed => "closed",
            None if missing || !self.mirror.knows_version => "stale",
            None if !self.mirror.fits(&ask, ask.hold) => "refused",
            None => "admitted",
        };
        self.note(expected);
        match (expected, &verdict) {
            ("admitted again", Verdict::Admitted { held, .. }) => assert_eq!(Some(*held), known),
            ("admitted for nothing", Verdict::Admitted { held, .. }) => assert_eq!(*held, ZERO),
            ("closed", Verdict::Refused { refusal: Refusal::Closed { .. }, .. }) => {}
            ("stale", Verdict::Stale { windows, .. }) => assert_eq!(windows.is_empty(), !missing),
            ("refused", Verdict::Refused { refusal: Refusal::Quota { .. }, .. }) => {}
            ("admitted", Verdict::Admitted { held, .. }) => {
                assert_eq!(*held, ask.hold);
                self.mirror.holds.insert(of, (*held, window, ask.lease_until_ms));
            }
            _ => panic!("request {of} should be {expected}, but: {verdict:?}"),
        }
        let request = &mut self.requests[of];
        if request.stage == Stage::Asking && !request.killed {
            request.stage = match verdict {
                Verdict::Admitted { held, .. } => {
                    request.held = held;
                    if held == ZERO { Stage::Ended } else { Stage::Held }
                }
                Verdict::Refused { .. } => Stage::Ended,
                Verdict::Stale { .. } => Stage::Stale,
            };
        }
    }

    /// The invariants, after every step.
    async fn check(&mut self) {
        self.mirror.expire(self.now_ms);
        let windows: Vec<Window> = [NOON, self.now_ms].map(|at_ms| Window::day(at_ms, 0)).into();
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
            let of_window = |(_, request): &(usize, &Request)| request.ask.quotas[0].window == *window;
            for (of, request) in self.requests.iter().enumerate().filter(of_window) {
                let may_be_billed = request.stage == Stage::Held && !request.killed;
                let liable = if may_be_billed { most(request.held, request.billed) } else { request.billed };
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
    async fn calm(&mut self) {
        self.reachable = true;
        for of in 0..self.requests.len() {
            if self.requests[of].stage == Stage::Held && !self.requests[of].killed && self.requests[of].calls > 0 {
                self.end(of);
            }
        }
        while !self.network.is_empty() {
            self.deliver().await;
            self.check().await;
        }
        while !self.log.is_empty() {
            self.record();
        }
        for _ in 0..2 {
            self.now_ms += 61_000;
            self.check().await;
            self.tell_the_ledger_what_expired();
            while !self.network.is_empty() {
                self.deliver().await;
            }
        }
        for (of, request) in self.requests.iter().enumerate() {
            // M6, request by request, and M4: `billed` is the sum of all calls.
            let at = format!("M6, request {of}");
            match self.ledger.get(&of) {
                Some(entry) if !entry.estimated => assert_eq!(entry.used, request.billed, "{at}"),
                Some(entry) => {
                    let under_the_hold = request.billed.minus(request.billed.minus(request.held));
                    assert!(within(under_the_hold, entry.used), "{at}: {entry:?} for {under_the_hold:?}");
                }
                // A process and the store's memory of it were lost both: nobody is left who knows of the call.
                None => assert!(
                    request.billed == ZERO || request.killed && (request.outage || request.lost_with_the_store),
                    "{at}"
                ),
            }
        }
        let window = self.today();
        assert_eq!(self.mirror.held(&window), ZERO, "every hold has ended");
    }
}

/// Takes `steps` steps from `seed`, and the calm after them.
async fn run(fresh: impl AsyncFn() -> Arc<dyn Counters>, seed: u64, steps: usize) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(fresh, seed).await;
    for _ in 0..steps {
        world.step().await;
        world.check().await;
    }
    world.calm().await;
    world.tally
}

/// How many steps are taken by all runs together.
fn steps() -> usize {
    std::env::var("MODEL_STEPS").map_or(20_000, |steps| steps.parse().expect("MODEL_STEPS is a number"))
}

/// What must have happened in any run of some length, or the model proves little.
const HAPPENS: [&str; 16] = [
    "admitted",
    "admitted again",
    "admitted for nothing",
    "refused",
    "stale",
    "closed",
    "extended",
    "not extended",
    "settled",
    "settled again",
    "settled without a hold",
    "released",
    "expired",
    "granted",
    "store lost",
    "charged later",
];

/// Runs the model from one seed after another; the shortest beginning that fails is told.
fn check(fresh: impl AsyncFn() -> Arc<dyn Counters>) {
    let take = |seed: u64, steps: usize| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(&fresh, seed, steps))))
    };
    let mut tally = BTreeMap::<&str, u64>::new();
    for seed in 0..(steps().div_ceil(STEPS_PER_RUN) as u64) {
        match take(seed, STEPS_PER_RUN) {
            Ok(seen) => seen.into_iter().for_each(|(what, times)| *tally.entry(what).or_default() += times),
            Err(mut failure) => {
                let (mut passes, mut enough) = (0, STEPS_PER_RUN);
                while passes + 1 < enough {
                    let middle = passes.midpoint(enough);
                    match take(seed, middle) {
                        Err(earlier) => (enough, failure) = (middle, earlier),
                        Ok(_) => passes = middle,
                    }
                }
                eprintln!("the model check fails from seed {seed} after {enough} steps");
                std::panic::resume_unwind(failure);
            }
        }
    }
    println!("{} steps: {tally:?}", steps().next_multiple_of(STEPS_PER_RUN));
    for what in HAPPENS {
        assert!(tally.contains_key(what), "{what}: never happened");
    }
}

#[test]
fn no_order_of_events_breaks_an_invariant_in_memory() {
    check(async || Arc::new(MemoryCounters::default()) as Arc<dyn Counters>);
}

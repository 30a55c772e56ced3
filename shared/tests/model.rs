//! A model check of M1 to M6: processes, a network, a store and a ledger of which anything may happen at any time.
//!
//! The store is the real one, behind [`Counters`], in memory and in a Redis; the processes, the ledger and the provider are
//! models of a few lines. Dice choose each step ([`steps`]): a request comes, a message is delivered, late, twice or never; a
//! hold is extended; a process is killed or frozen; the store loses all, or cannot be reached, so that the ledger's grants are
//! used; a limit is changed; leases end; midnight passes. After each step the store must agree to the unit with a mirror that
//! says what it should have counted ([`mirror`]), and the invariants must hold of what the provider billed ([`invariants`]).
//! Every run ends in a calm, after which the books must agree.
//!
//! In one run of three nobody dies: no process is killed or sleeps through its lease, and the store loses nothing. There the
//! store's count, the ledger and the provider's bill must be equal in the end (M6), whatever was late, lost on its way,
//! repeated or out of order. In the others they must be equal of each request that met no such death, and of the rest the
//! ledger may differ by the flagged estimates alone.
//!
//! A run follows from its seed alone. One that fails is made shorter by bisection for the report: what a prefix of the
//! steps and the calm after it show already. `MODEL_STEPS` says how many steps are taken (`make torture`: 1,000,000).
//!
//! What tells the store something that was read or found before outlives a loss of it: a settlement, which is owed, and a
//! rebuild or a closing, which come as late as a network brings them. What the model leaves out: of the rest nothing outlives
//! a loss but by being sent again, as its connection dies with the server. Rates and concurrency have properties of their own.

mod arrivals;
mod invariants;
mod mirror;
mod steps;

use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::limit::window::Window;
use gateway_core::money::Amounts;
use gateway_core::store::memory::MemoryCounters;
use gateway_core::store::redis::RedisStore;
use gateway_core::store::{Admission, Counters, ExpiredHold, Settlement, Ticket};
use mirror::Mirror;
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use test_servers::redis::Redis;
use tokio::runtime::Runtime;

/// 2025-11-22 12:00 UTC.
const NOON: u64 = 1_763_812_800_000;
const STEPS_PER_RUN: usize = 500;
const VERSION: u64 = 7;
const ZERO: Amounts = Amounts { requests: 0, tokens: 0, cost_nusd: 0 };
const LIMIT: Amounts = Amounts { requests: 60, tokens: 2_000, cost_nusd: 30_000 };
/// What may be used without the store: a tenth.
const OUTAGE: Amounts = Amounts { requests: 6, tokens: 200, cost_nusd: 3_000 };
const LEASE_MS: u64 = 12_000;
const MAX_LIVE: usize = 14;

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

    fn part_of(&mut self, larger: Amounts) -> Amounts {
        Amounts { requests: 0, tokens: self.below(larger.tokens + 1), cost_nusd: self.below(larger.cost_nusd + 1) }
    }
}

fn within(amounts: Amounts, limit: Amounts) -> bool {
    amounts.minus(limit) == ZERO
}

fn over(limit: Option<u64>, would: u64, more: u64) -> bool {
    more > 0 && limit.is_some_and(|limit| would > limit)
}

fn larger(a: Amounts, b: Amounts) -> Amounts {
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
    /// In doubt while a copy of its admission is on its way.
    ticket: Ticket,
    /// The incarnation of the counters that it found stale, the last time.
    stale_in: u64,
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
    /// What the store charged for its hold, as nobody had settled it by its lease.
    expired: Option<Amounts>,
    /// A copy of its settlement came after its lease, and the store had forgotten the first.
    charged_late: bool,
    /// The store lost its hold or its charge before the ledger had heard of it.
    lost_with_the_store: bool,
}

impl Request {
    fn window(&self) -> Window {
        self.ask.quotas[0].window
    }

    /// Its process lived, and the store kept what it was told: all books must have the same of it (M6).
    fn is_unharmed(&self) -> bool {
        !self.killed && self.expired.is_none() && !self.lost_with_the_store && !self.charged_late
    }
}

/// What travels to the store. Each may come late, twice or never, but none after the lease of its request.
#[derive(Debug, Clone)]
enum Message {
    Admit(usize),
    Extend(usize, Amounts),
    Settle(usize, Settlement, Ticket),
    Release(usize),
    /// The ledger's entries of a window, for the counters of an incarnation, and the request that waits for them.
    Rebuild {
        of: Option<usize>,
        incarnation: Option<u64>,
        window: Window,
        entries: Vec<(usize, Entry)>,
    },
    /// A strict tenant's window that counters of an incarnation lack is closed until a time.
    Close {
        incarnation: u64,
        window: Window,
        until_ms: u64,
    },
    Acknowledge(Vec<ExpiredHold>),
}

impl Message {
    fn request(&self) -> Option<usize> {
        match self {
            Self::Admit(of) | Self::Extend(of, _) | Self::Release(of) | Self::Settle(of, ..) => Some(*of),
            Self::Rebuild { .. } | Self::Close { .. } | Self::Acknowledge(_) => None,
        }
    }
}

/// A receipt in the ledger: the first one of a request stays.
#[derive(Debug, Clone, Copy)]
struct Entry {
    used: Amounts,
    window: Window,
    outage: bool,
    estimated: bool,
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
    /// Whether processes are killed and freeze, and the store loses what it has.
    deadly: bool,
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
            deadly: seed % 3 != 2,
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

    /// All windows of this run, past ones too.
    fn days(&self) -> Vec<Window> {
        let next = |day: &Window| Some(Window::day(day.resets_at_ms, 0));
        let days = std::iter::successors(Some(Window::day(NOON, 0)), next);
        days.take_while(|day| day.starts_at_ms <= self.now_ms).collect()
    }

    fn window(&self, of: usize) -> Window {
        self.requests[of].window()
    }

    /// What the ledger has of a window.
    fn entries(&self, window: &Window) -> Vec<(usize, Entry)> {
        let of_window = self.ledger.iter().filter(|(_, entry)| entry.window == *window);
        of_window.map(|(of, entry)| (*of, *entry)).collect()
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

/// What must have happened in any run of some length, or the model proves little.
const HAPPENS: [&str; 21] = [
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
    "rebuild refused",
    "closing refused",
    "charged later",
    "request equal in all books",
    "window equal in all books",
    "window off the bill by estimates",
];

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs the model from one seed after another, for `MODEL_STEPS` or `usual` steps in all; the shortest beginning that fails
/// is told.
fn check(runtime: &Runtime, usual: usize, fresh: impl AsyncFn() -> Arc<dyn Counters>) {
    let steps = std::env::var("MODEL_STEPS").map_or(usual, |steps| steps.parse().expect("MODEL_STEPS is a number"));
    let take = |seed: u64, steps: usize| {
        std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(&fresh, seed, steps))))
    };
    let mut tally = BTreeMap::<&str, u64>::new();
    for seed in 0..(steps.div_ceil(STEPS_PER_RUN) as u64) {
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
    println!("{} steps: {tally:?}", steps.next_multiple_of(STEPS_PER_RUN));
    for what in HAPPENS {
        assert!(tally.contains_key(what), "{what}: never happened");
    }
}

#[test]
fn no_order_of_events_breaks_an_invariant_in_memory() {
    check(&runtime(), 20_000, async || Arc::new(MemoryCounters::default()) as Arc<dyn Counters>);
}

#[test]
fn no_order_of_events_breaks_an_invariant_in_redis() {
    let runtime = runtime();
    let redis = runtime.block_on(Redis::start(&[])).unwrap();
    check(&runtime, 15_000, async || {
        // As after a restart of a server without persistence: no key is left, and no script.
        for command in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"]] {
            assert_eq!(redis.ask(command).await.unwrap(), "OK");
        }
        let (health, breaker) = (HealthSettings::default(), BreakerSettings::default());
        let store = RedisStore::new(&redis.url(), &health, &breaker, 0).unwrap();
        Arc::new(store.with_prefix("model:")) as Arc<dyn Counters>
    });
}

//! Tasks that interleave, and what was read before the store was lost.
//!
//! Of many tasks at once only the invariant can be known (M1), and that nothing is held when all is settled. Step by step
//! the model check of the core's tests compares what stores count. The dice are thrown from a seed.

use super::asks::{ZERO, ask, day, introduce, used_and_held};
use super::{NOW, Unticketed, incarnation_of};
use crate::id::RequestId;
use crate::money::Amounts;
use crate::store::{Admission, Counters, QuotaAsk, Refusal, Settled, Settlement, Verdict, WindowUse};
use std::sync::Arc;
use tokio::task::JoinSet;

const LIMIT: Amounts = Amounts { requests: 60, tokens: 2_000, cost_nusd: 30_000 };

/// Numbers that look like chance and follow from a seed.
///
/// # Source
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

    fn amounts(&mut self, requests: u64) -> Amounts {
        Amounts { requests, tokens: self.below(150), cost_nusd: self.below(2_000) }
    }

    /// No more than `most` of anything.
    fn part_of(&mut self, max: Amounts) -> Amounts {
        Amounts { requests: 1, tokens: self.below(max.tokens + 1), cost_nusd: self.below(max.cost_nusd + 1) }
    }
}

fn within_the_limit(amounts: Amounts) -> bool {
    amounts.requests <= LIMIT.requests && amounts.tokens <= LIMIT.tokens && amounts.cost_nusd <= LIMIT.cost_nusd
}

fn request(dice: &mut Dice, now_ms: u64) -> Admission {
    let hold = dice.amounts(1);
    let limits = QuotaAsk {
        window: day(),
        requests: Some(LIMIT.requests),
        tokens: Some(LIMIT.tokens),
        cost_nusd: Some(LIMIT.cost_nusd),
    };
    let lease_until_ms = now_ms + 1 + dice.below(3_000);
    Admission {
        id: RequestId::new(now_ms),
        hold,
        upper_bound_hold: hold,
        quotas: vec![limits],
        lease_until_ms,
        ..ask()
    }
}

/// Of how many requests a tenant has.
const FEW: u64 = 25;

fn one_of_few() -> Admission {
    let quotas = vec![QuotaAsk { window: day(), requests: Some(FEW), tokens: None, cost_nusd: None }];
    Admission { quotas, ..ask() }
}

/// When a process writes to the store what it read from the ledger long before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// Before any other.
    First,
    /// After another that was admitted, and has yet to read the ledger.
    Begun,
    /// After another that has written what the ledger says by then.
    Rebuilt,
}

/// As a process does: asks, and where that is stale reads the ledger and writes to the store. Answers whether it was
/// served; what was is in the ledger.
async fn serve(store: &Arc<dyn Counters>, ledger: &mut u64) -> bool {
    let ask = one_of_few();
    for _ in 0..2 {
        match store.admit_unticketed(&ask, false, NOW).await.unwrap() {
            Verdict::Admitted { .. } => {
                let used = Amounts { requests: 1, ..ZERO };
                assert_eq!(store.settle_unticketed(&Settlement::of(&ask, used), NOW).await.unwrap(), Settled::Done);
                *ledger += 1;
                return true;
            }
            Verdict::Refused { .. } => return false,
            Verdict::Stale { incarnation, .. } => {
                let used = Amounts { requests: *ledger, ..ZERO };
                assert!(store.rebuild("acme", Some(incarnation), 7, &[(day(), used.into())], NOW).await.unwrap());
            }
        }
    }
    panic!("a window that was just rebuilt is missing");
}

/// A process reads the ledger; the store is lost; others rebuild it and serve; it is lost again; and only then arrives
/// what the ledger said at first. With that, 40 of 25 were served.
pub async fn what_was_read_before_the_store_was_lost_is_refused(fresh: impl AsyncFn() -> Arc<dyn Counters>) {
    for arrival in [Arrival::First, Arrival::Begun, Arrival::Rebuilt] {
        what_was_read_twice_ago_is_refused(&fresh, arrival).await;
    }
}

async fn what_was_read_twice_ago_is_refused(fresh: &impl AsyncFn() -> Arc<dyn Counters>, arrival: Arrival) {
    let mut ledger = 0;
    let first = fresh().await;
    let Verdict::Stale { incarnation: old, .. } = first.admit_unticketed(&one_of_few(), false, NOW).await.unwrap()
    else {
        panic!()
    };
    let read = [(day(), Amounts { requests: ledger, ..ZERO }.into())];
    let second = fresh().await;
    for _ in 0..15 {
        assert!(serve(&second, &mut ledger).await);
    }
    let third = fresh().await;
    match arrival {
        Arrival::First => {}
        Arrival::Begun => {
            assert!(matches!(third.admit_unticketed(&one_of_few(), false, NOW).await.unwrap(), Verdict::Stale { .. }))
        }
        Arrival::Rebuilt => assert!(serve(&third, &mut ledger).await),
    }
    for _ in 0..2 {
        assert!(!third.rebuild("acme", Some(old), 7, &read, NOW).await.unwrap(), "{arrival:?}");
    }
    while serve(&third, &mut ledger).await {}
    assert_eq!(ledger, FEW, "{arrival:?}");
    assert_eq!(used_and_held(&third, "acme", day()).await.used.requests, FEW, "{arrival:?}");
}

/// What was served without the store is added to the windows that it has; it is no reason to begin one.
pub async fn what_lacks_the_store_begins_no_window(store: Arc<dyn Counters>) {
    let read = [(day(), Amounts { requests: 3, ..ZERO }.into())];
    assert!(!store.rebuild("acme", None, 7, &read, NOW).await.unwrap(), "a tenant that is not known");
    let Verdict::Stale { windows, .. } = store.admit_unticketed(&ask(), false, NOW).await.unwrap() else { panic!() };
    assert_eq!(windows, [day()]);
    assert!(store.rebuild("acme", None, 7, &read, NOW).await.unwrap());
    let Verdict::Stale { settings, windows, .. } = store.admit_unticketed(&ask(), false, NOW).await.unwrap() else {
        panic!()
    };
    assert_eq!((settings, windows), (false, vec![day()]), "the version alone was learnt");
}

/// Else it would be closed for too short a time.
pub async fn a_window_is_not_closed_by_who_found_it_missing_before_another_loss(
    fresh: impl AsyncFn() -> Arc<dyn Counters>,
) {
    let (first, second) = (fresh().await, fresh().await);
    let incarnations = [incarnation_of(&*first, "acme", NOW).await, incarnation_of(&*second, "acme", NOW).await];
    for (incarnation, until_ms) in incarnations.into_iter().zip([NOW + 1_000, NOW + 90_000]) {
        second.close("acme", incarnation, &day(), until_ms, NOW).await.unwrap();
    }
    let verdict = second.admit_unticketed(&ask(), false, NOW).await.unwrap();
    let closed = Refusal::Closed { retry_after_ms: 90_000 };
    assert!(matches!(&verdict, Verdict::Refused { refusal, .. } if *refusal == closed), "{verdict:?}");
}

pub async fn many_tasks_keep_within_the_limit(fresh: impl AsyncFn() -> Arc<dyn Counters>) {
    for seed in 0..4 {
        sixteen_tasks_keep_within_the_limit(fresh().await, seed).await;
    }
}

async fn sixteen_tasks_keep_within_the_limit(store: Arc<dyn Counters>, seed: u64) {
    introduce(&store, &request(&mut Dice(seed), NOW)).await;
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut dice = Dice(seed << 8 | task);
            let mut charged = ZERO;
            for _ in 0..40 {
                let ask = Admission { lease_until_ms: NOW + 60_000, ..request(&mut dice, NOW) };
                let Verdict::Admitted { mut held, .. } = store.admit_unticketed(&ask, false, NOW).await.unwrap() else {
                    continue;
                };
                tokio::task::yield_now().await;
                let more = dice.amounts(0);
                if dice.below(3) == 0 && store.extend(&ask, held.plus(more), NOW).await.unwrap() {
                    held = held.plus(more);
                }
                let counted = used_and_held(&store, "acme", day()).await;
                assert!(within_the_limit(counted.used.plus(counted.held)), "{counted:?}");
                if dice.below(8) == 0 {
                    store.release_unticketed(&ask, NOW).await.unwrap();
                    continue;
                }
                let used = dice.part_of(held);
                store.settle_unticketed(&Settlement::of(&ask, used), NOW).await.unwrap();
                charged = charged.plus(used);
            }
            charged
        });
    }
    let mut used = ZERO;
    while let Some(charged) = tasks.join_next().await {
        used = used.plus(charged.unwrap());
    }
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used, held: ZERO });
    assert!(within_the_limit(used) && used.requests > 20, "{used:?}");
}

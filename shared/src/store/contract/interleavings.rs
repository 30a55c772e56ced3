//! Random interleavings: whatever order admissions, extensions, settlements, repetitions and lost requests come in, M1
//! holds at every moment, and when all is settled nothing is held.
//!
//! Twice: step by step against a model of a few lines, which must agree to the unit; and from many tasks at once, where
//! only the invariant can be known. The dice are thrown from a seed, so that a failure can be repeated.

use super::asks::{ZERO, ask, day, introduce, settlement, used_and_held};
use super::{NOW, Unticketed, incarnation_of};
use crate::id::RequestId;
use crate::money::Amounts;
use crate::store::{Admission, Counters, QuotaAsk, Refusal, Settled, Ticket, Verdict, WindowUse};
use crate::tenant::Quota;
use std::sync::Arc;
use tokio::task::JoinSet;

const LIMIT: Amounts = Amounts { requests: 60, tokens: 2_000, cost_nusd: 30_000 };
const SEEDS: u64 = 30;
const STEPS: usize = 250;

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
    fn part_of(&mut self, most: Amounts) -> Amounts {
        Amounts { requests: 1, tokens: self.below(most.tokens + 1), cost_nusd: self.below(most.cost_nusd + 1) }
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
    Admission { id: RequestId::new(now_ms), hold, strict_hold: hold, quotas: vec![limits], lease_until_ms, ..ask() }
}

/// What the counters must do, in so many words.
#[derive(Default)]
struct Model {
    used: Amounts,
    open: Vec<(Admission, Amounts, Ticket)>,
    closed: Vec<(Admission, Ticket)>,
}

impl Model {
    fn held(&self) -> Amounts {
        self.open.iter().fold(ZERO, |sum, (_, held, _)| sum.plus(*held))
    }

    fn fits(&self, more: Amounts) -> bool {
        let would = self.used.plus(self.held()).plus(more);
        // A limit that is passed already (it cannot be, here) refuses only what asks for more of the same.
        within_the_limit(would)
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some(place) = self.open.iter().position(|(ask, ..)| ask.lease_until_ms <= now_ms) {
            let (ask, held, ticket) = self.open.swap_remove(place);
            self.used = self.used.plus(held);
            self.closed.push((ask, ticket));
        }
    }
}

/// Of how many requests a tenant has.
const FEW: u64 = 25;

fn one_of_few() -> Admission {
    let quotas = vec![QuotaAsk { window: day(), requests: Some(FEW), tokens: None, cost_nusd: None }];
    Admission { quotas, ..ask() }
}

/// When somebody is heard whose answer from the ledger is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Before anybody else.
    First,
    /// After somebody who has asked, and has yet to read the ledger.
    Begun,
    /// After somebody who has told what the ledger says by then.
    Rebuilt,
}

/// As a process does: asks, and where that is stale reads the ledger and tells the store. Answers whether it was served; what
/// was is in the ledger.
async fn serve(store: &Arc<dyn Counters>, ledger: &mut u64) -> bool {
    let ask = one_of_few();
    for _ in 0..2 {
        match store.admit_unticketed(&ask, false, NOW).await.unwrap() {
            Verdict::Admitted { .. } => {
                let used = Amounts { requests: 1, ..ZERO };
                assert_eq!(store.settle_unticketed(&settlement(&ask, used), NOW).await.unwrap(), Settled::Done);
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

/// Somebody reads the ledger; the store is lost; others rebuild it and serve; it is lost again; and only then is heard what
/// the ledger said at first. With that, 40 of 25 were served.
pub async fn what_was_read_before_the_store_was_lost_is_refused(fresh: impl AsyncFn() -> Arc<dyn Counters>) {
    for told in [Told::First, Told::Begun, Told::Rebuilt] {
        what_was_read_twice_ago_is_refused(&fresh, told).await;
    }
}

async fn what_was_read_twice_ago_is_refused(fresh: &impl AsyncFn() -> Arc<dyn Counters>, told: Told) {
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
    match told {
        Told::First => {}
        Told::Begun => {
            assert!(matches!(third.admit_unticketed(&one_of_few(), false, NOW).await.unwrap(), Verdict::Stale { .. }))
        }
        Told::Rebuilt => assert!(serve(&third, &mut ledger).await),
    }
    for _ in 0..2 {
        assert!(!third.rebuild("acme", Some(old), 7, &read, NOW).await.unwrap(), "{told:?}");
    }
    while serve(&third, &mut ledger).await {}
    assert_eq!(ledger, FEW, "{told:?}");
    assert_eq!(used_and_held(&third, "acme", day()).await.used.requests, FEW, "{told:?}");
}

/// What was served without the store is told to the windows that it has; it is no reason to begin one.
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

pub async fn every_step_agrees_with_the_model(fresh: impl AsyncFn() -> Arc<dyn Counters>) {
    for seed in 0..SEEDS {
        steps_agree_with_the_model(fresh().await, seed).await;
    }
}

async fn steps_agree_with_the_model(store: Arc<dyn Counters>, seed: u64) {
    let mut dice = Dice(seed);
    let mut now_ms = NOW;
    let mut model = Model::default();
    introduce(&store, &request(&mut dice, now_ms)).await;
    for step in 0..STEPS {
        let place = usize::try_from(dice.below(model.open.len().max(1) as u64)).unwrap();
        let chosen = model.open.get(place).cloned();
        let at = format!("seed {seed}, step {step}");
        match (dice.below(10), chosen) {
            (0..4, _) => {
                let ask = request(&mut dice, now_ms);
                let mut ticket = Ticket::new(ask.id);
                let verdict = store.admit(&ask, &mut ticket, false, now_ms).await.unwrap();
                match model.fits(ask.hold) {
                    true => {
                        let Verdict::Admitted { held, .. } = verdict else { panic!("{at}: {verdict:?}") };
                        assert_eq!(held, ask.hold, "{at}");
                        // Every other one is settled by somebody who does not know whether it was sent once.
                        if step % 2 == 1 {
                            ticket.doubt();
                        }
                        model.open.push((ask, held, ticket));
                    }
                    false => {
                        let by_quota = |refusal: &Refusal| matches!(refusal, Refusal::Quota { quota, .. } if *quota != Quota::MonthlyCost);
                        assert!(
                            matches!(&verdict, Verdict::Refused { refusal, .. } if by_quota(refusal)),
                            "{at}: {verdict:?}"
                        );
                    }
                }
            }
            (4, Some((ask, held, _))) => {
                let verdict = store.admit_unticketed(&ask, false, now_ms).await.unwrap();
                assert!(matches!(verdict, Verdict::Admitted { held: again, .. } if again == held), "{at}: {verdict:?}");
            }
            (5, Some((ask, held, _))) => {
                let more = dice.amounts(0);
                let granted = store.extend(&ask, held.plus(more), now_ms).await.unwrap();
                assert_eq!(granted, model.fits(more), "{at}: {more:?}");
                if granted {
                    model.open[place].1 = model.open[place].1.plus(more);
                }
            }
            (6..8, Some((ask, held, ticket))) => {
                let used = dice.part_of(held);
                let settled = store.settle(&settlement(&ask, used), &ticket, now_ms).await.unwrap();
                assert_eq!(settled, Settled::Done, "{at}");
                model.open.swap_remove(place);
                model.used = model.used.plus(used);
                model.closed.push((ask, ticket));
            }
            (8, Some((ask, _, ticket))) if dice.below(3) == 0 => {
                store.release(&ask, &ticket, now_ms).await.unwrap();
                model.open.swap_remove(place);
                model.closed.push((ask, ticket));
            }
            (8, _) => {
                if let Some((ask, ticket)) = model.closed.last() {
                    let sent_again = settlement(ask, Amounts { requests: 1, ..ZERO });
                    assert_eq!(store.settle(&sent_again, ticket, now_ms).await.unwrap(), Settled::Again, "{at}");
                }
            }
            _ => now_ms += dice.below(100),
        }
        model.expire(now_ms);
        let counted = store.usage("acme", &[day()], now_ms).await.unwrap()[0].unwrap();
        assert_eq!(counted, WindowUse { used: model.used, held: model.held() }, "{at}");
        assert!(within_the_limit(counted.used.plus(counted.held)), "{at}: {counted:?}");
    }
    for (ask, held, _) in std::mem::take(&mut model.open) {
        store.settle_unticketed(&settlement(&ask, held), now_ms).await.unwrap();
        model.used = model.used.plus(held);
    }
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used: model.used, held: ZERO }, "seed {seed}");
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
                store.settle_unticketed(&settlement(&ask, used), NOW).await.unwrap();
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

//! Random interleavings: whatever order admissions, extensions, settlements, repetitions and lost requests come in, M1
//! holds at every moment, and when all is settled nothing is held.
//!
//! Twice: step by step against a model of a few lines, which must agree to the unit; and from many tasks at once, where
//! only the invariant can be known. The dice are thrown from a seed, so that a failure can be repeated.

use super::NOW;
use super::counters::{ZERO, ask, day, introduce, settlement, used_and_held};
use crate::error::Quota;
use crate::id::RequestId;
use crate::receipt::Amounts;
use crate::store::{Admission, Counters, QuotaAsk, Refusal, Settled, Settlement, Verdict, WindowUse};
use std::sync::Arc;
use tokio::task::JoinSet;

const LIMIT: Amounts = Amounts { requests: 60, tokens: 2_000, cost_nusd: 30_000 };
const SEEDS: u64 = 30;
const STEPS: usize = 250;

pub(super) async fn suite(fresh: &impl AsyncFn() -> Arc<dyn Counters>) {
    for seed in 0..SEEDS {
        every_step_agrees_with_the_model(fresh().await, seed).await;
    }
    for seed in 0..4 {
        many_tasks_keep_within_the_limit(fresh().await, seed).await;
    }
}

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
    open: Vec<(Admission, Amounts, Option<u64>)>,
    closed: Vec<(Admission, Option<u64>)>,
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
            let (ask, held, epoch) = self.open.swap_remove(place);
            self.used = self.used.plus(held);
            self.closed.push((ask, epoch));
        }
    }
}

async fn every_step_agrees_with_the_model(store: Arc<dyn Counters>, seed: u64) {
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
                let verdict = store.admit(&ask, false, now_ms).await.unwrap();
                match model.fits(ask.hold) {
                    true => {
                        let Verdict::Admitted { held, epoch, .. } = verdict else { panic!("{at}: {verdict:?}") };
                        assert_eq!(held, ask.hold, "{at}");
                        // Every other one is settled by somebody who does not know whether it was sent once.
                        model.open.push((ask, held, epoch.filter(|_| step % 2 == 0)));
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
                let verdict = store.admit(&ask, false, now_ms).await.unwrap();
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
            (6..8, Some((ask, held, epoch))) => {
                let used = dice.part_of(held);
                let settlement = Settlement { epoch, ..settlement(&ask, used) };
                assert_eq!(store.settle(&settlement, now_ms).await.unwrap(), Settled::Done, "{at}");
                model.open.swap_remove(place);
                model.used = model.used.plus(used);
                model.closed.push((ask, epoch));
            }
            (8, Some((ask, _, epoch))) if dice.below(3) == 0 => {
                store.release(&ask, epoch, now_ms).await.unwrap();
                model.open.swap_remove(place);
                model.closed.push((ask, epoch));
            }
            (8, _) => {
                if let Some((ask, epoch)) = model.closed.last() {
                    let used = Amounts { requests: 1, ..ZERO };
                    let sent_again = Settlement { epoch: *epoch, ..settlement(ask, used) };
                    assert_eq!(store.settle(&sent_again, now_ms).await.unwrap(), Settled::Again, "{at}");
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
        store.settle(&settlement(&ask, held), now_ms).await.unwrap();
        model.used = model.used.plus(held);
    }
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used: model.used, held: ZERO }, "seed {seed}");
}

async fn many_tasks_keep_within_the_limit(store: Arc<dyn Counters>, seed: u64) {
    introduce(&store, &request(&mut Dice(seed), NOW)).await;
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut dice = Dice(seed << 8 | task);
            let mut charged = ZERO;
            for _ in 0..40 {
                let ask = Admission { lease_until_ms: NOW + 60_000, ..request(&mut dice, NOW) };
                let Verdict::Admitted { mut held, .. } = store.admit(&ask, false, NOW).await.unwrap() else { continue };
                tokio::task::yield_now().await;
                let more = dice.amounts(0);
                if dice.below(3) == 0 && store.extend(&ask, held.plus(more), NOW).await.unwrap() {
                    held = held.plus(more);
                }
                let counted = used_and_held(&store, "acme", day()).await;
                assert!(within_the_limit(counted.used.plus(counted.held)), "{counted:?}");
                if dice.below(8) == 0 {
                    store.release(&ask, None, NOW).await.unwrap();
                    continue;
                }
                let used = dice.part_of(held);
                store.settle(&settlement(&ask, used), NOW).await.unwrap();
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

//! What another dial would have done, from the receipts that are kept.
//!
//! A receipt has the probabilities that its tier was chosen by and the tokens that were used. So it is known which tier
//! another dial had chosen, and nearly what that had cost: the tokens that were used at the prices of that tier's first
//! candidate. Where the dial had chosen as it was chosen, the cost is what was paid, to the nano-dollar.
//! Two things are not known and are said to be estimates: what the other model's answer would have been, which may be
//! longer or shorter, and whether a weak answer would have been upgraded; for that the share stands that was upgraded of
//! weak answers to requests about as difficult.

use crate::catalog::Catalog;
use crate::money::{Price, Usage, format_usd};
use crate::receipt::{Attempt, AttemptKind, AttemptOutcome, CacheStatus, Receipt};
use crate::routing::dial::tier_for;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Into how many bands of difficulty weak answers are divided, to know how often those are upgraded.
const BANDS: usize = 10;
/// A band is believed as far as it has receipts beside this many at the rate of all.
const PRIOR: u64 = 5;
/// Shares are counted in millionths: money is never multiplied by a float.
const PPM: u64 = 1_000_000;

/// What the receipts add up to.
#[derive(Debug, Clone)]
pub struct Replay {
    tiers: Vec<Arc<str>>,
    models: Vec<Vec<Arc<str>>>,
    prices: Vec<Price>,
    dials: Vec<Dial>,
    /// The receipts of requests whose tier the gateway chose.
    pub requests: u64,
    /// The others, of which the dial decides nothing: pinned, served from the cache, failed, or of a tier that is no more.
    pub others: u64,
    /// What was paid for the requests.
    pub cost_nusd: u64,
    /// How many were sent to each tier at first, weakest first.
    pub sent: Vec<u64>,
    /// How many of them were upgraded.
    pub upgraded: u64,
    /// What was said of answers of each tier: how often anything, and how often that it would not do.
    pub said: Vec<(u64, u64)>,
    /// Weak answers by difficulty, and how many of them were upgraded.
    weak: [(u64, u64); BANDS],
}

/// What one setting of the dial would have done.
#[derive(Debug, Clone)]
struct Dial {
    quality: f64,
    cost_nusd: u64,
    sent: Vec<u64>,
    avoided: u64,
    /// Requests that would have gone weaker than they went, by difficulty, and what the stronger answer had cost.
    weaker: [(u64, u128); BANDS],
}

/// The same, as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Would {
    /// The dial.
    pub quality: f64,
    /// How many it had sent to each tier at first, weakest first.
    pub sent: Vec<u64>,
    /// What they had cost, upgrades that are to be expected included.
    pub cost_nusd: u64,
    /// Upgrades that were made and had not been needed, the request having gone to the stronger tier at once.
    pub avoided: u64,
    /// Upgrades that are to be expected among requests that had gone weaker than they went.
    pub added: u64,
}

/// The settings of the dial that are shown where none is asked for: 0, 0.1, … 1.
#[must_use]
pub fn usual_dials() -> Vec<f64> {
    (0..=10).map(|tenth| f64::from(tenth) / 10.0).collect()
}

impl Replay {
    /// Nothing yet, for these settings of the dial.
    #[must_use]
    pub fn new(catalog: &Catalog, qualities: &[f64]) -> Self {
        let tiers = || catalog.tiers.iter();
        let nothing = vec![0; catalog.tiers.len()];
        let dial = |quality: &f64| Dial {
            quality: *quality,
            cost_nusd: 0,
            sent: nothing.clone(),
            avoided: 0,
            weaker: [(0, 0); BANDS],
        };
        Self {
            tiers: tiers().map(|tier| tier.name.clone()).collect(),
            models: tiers().map(|tier| tier.models.iter().map(|model| model.name.clone()).collect()).collect(),
            prices: tiers()
                .map(|tier| tier.models.first().map_or_else(Default::default, |model| model.price.clone()))
                .collect(),
            dials: qualities.iter().map(dial).collect(),
            requests: 0,
            others: 0,
            cost_nusd: 0,
            sent: nothing.clone(),
            upgraded: 0,
            said: vec![(0, 0); catalog.tiers.len()],
            weak: [(0, 0); BANDS],
        }
    }

    /// Takes a receipt in.
    pub fn add(&mut self, receipt: &Receipt) {
        let Some(route) = self.route_of(receipt) else {
            self.others += 1;
            return;
        };
        let band = band_of(route.difficulty);
        self.requests += 1;
        self.cost_nusd = self.cost_nusd.saturating_add(receipt.cost_nusd);
        self.sent[route.sent] += 1;
        self.upgraded += u64::from(receipt.upgraded);
        if let Some(feedback) = &receipt.feedback {
            let (said, bad) = &mut self.said[route.answered];
            (*said, *bad) = (*said + 1, *bad + u64::from(feedback.is_bad()));
        }
        if route.sent == 0 {
            self.weak[band].0 += 1;
            self.weak[band].1 += u64::from(receipt.upgraded);
        }
        let needs = needs_of(receipt, self.tiers.len());
        // What the dial of then chose; where that is not where it was sent, something else did: tools, a conversation.
        let then = receipt.quality.map_or(route.sent, |quality| tier_for(&needs, quality));
        for dial in &mut self.dials {
            let would = if then == route.sent { tier_for(&needs, dial.quality) } else { route.sent };
            dial.sent[would] += 1;
            if would == route.sent {
                dial.cost_nusd = dial.cost_nusd.saturating_add(receipt.cost_nusd);
                continue;
            }
            let anew =
                route.beside_nusd.saturating_add(self.prices[would].cost_nusd(&route.usage, receipt.created_at_ms));
            dial.cost_nusd = dial.cost_nusd.saturating_add(anew);
            if would > route.sent {
                dial.avoided += u64::from(receipt.upgraded);
            } else {
                dial.weaker[band].0 += 1;
                dial.weaker[band].1 +=
                    u128::from(self.prices[route.sent].cost_nusd(&route.usage, receipt.created_at_ms));
            }
        }
    }

    /// The tiers, weakest first.
    #[must_use]
    pub fn tiers(&self) -> &[Arc<str>] {
        &self.tiers
    }

    /// What each setting of the dial would have done.
    #[must_use]
    pub fn would(&self) -> Vec<Would> {
        let (all, upgraded) = self.weak.iter().fold((0, 0), |(n, m), (all, upgraded)| (n + all, m + upgraded));
        let of_all_ppm = upgraded * PPM / all.max(1);
        let rate_ppm = |(all, upgraded): (u64, u64)| (upgraded * PPM + PRIOR * of_all_ppm) / (all + PRIOR);
        let expected = |amount: u128, rate_ppm: u64| amount * u128::from(rate_ppm) / u128::from(PPM);
        let narrow = |amount: u128| u64::try_from(amount).unwrap_or(u64::MAX);
        let would = |dial: &Dial| {
            let bands = || dial.weaker.iter().zip(self.weak.iter().map(|band| rate_ppm(*band)));
            let added_ppm: u128 = bands().map(|((count, _), rate)| u128::from(*count) * u128::from(rate)).sum();
            let more: u128 = bands().map(|((_, nusd), rate)| expected(*nusd, rate)).sum();
            Would {
                quality: dial.quality,
                sent: dial.sent.clone(),
                cost_nusd: dial.cost_nusd.saturating_add(narrow(more)),
                avoided: dial.avoided,
                added: narrow(added_ppm / u128::from(PPM)),
            }
        };
        self.dials.iter().map(would).collect()
    }

    /// All of it, as it is told to programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let tiers = |counts: &[u64]| -> Map<String, Value> {
            self.tiers.iter().zip(counts).map(|(tier, count)| (tier.to_string(), json!(count))).collect()
        };
        let said: Map<String, Value> = (self.tiers.iter().zip(&self.said))
            .map(|(tier, (said, bad))| (tier.to_string(), json!({"feedback": said, "bad": bad})))
            .collect();
        let would = self.would().into_iter().map(|Would { quality, sent, cost_nusd, avoided, added }| {
            json!({"quality": quality, "sent": tiers(&sent), "cost_usd": format_usd(cost_nusd),
                "upgrades_avoided": avoided, "upgrades_added_estimate": added})
        });
        json!({"requests": self.requests, "others": self.others, "cost_usd": format_usd(self.cost_nusd),
            "sent": tiers(&self.sent), "upgraded": self.upgraded, "feedback": said, "data": would.collect::<Vec<_>>()})
    }

    /// How a request went, if it is one whose tier the gateway chose.
    fn route_of(&self, receipt: &Receipt) -> Option<Route> {
        let difficulty = receipt.difficulty?;
        let is_served = receipt.status == 200 && matches!(receipt.cache, CacheStatus::Miss | CacheStatus::Bypass);
        let answered = self.tiers.iter().position(|tier| Some(tier) == receipt.tier.as_ref()).filter(|_| is_served)?;
        let sent = if receipt.upgraded {
            let first = receipt.attempts.iter().find(|attempt| attempt.kind == AttemptKind::First)?;
            self.models[..answered].iter().position(|models| models.contains(&first.model))?
        } else {
            answered
        };
        let is_answer = |attempt: &&Attempt| {
            attempt.kind.is_for_answer()
                && matches!(
                    attempt.outcome,
                    AttemptOutcome::Ok | AttemptOutcome::LowConfidence | AttemptOutcome::ClientGone
                )
        };
        let usage = receipt.attempts.iter().rev().find(is_answer)?.usage;
        let beside = receipt.attempts.iter().filter(|attempt| !attempt.kind.is_for_answer());
        let beside_nusd = beside.fold(0, |sum: u64, attempt| sum.saturating_add(attempt.cost_nusd));
        Some(Route { difficulty, sent, answered, usage, beside_nusd })
    }
}

/// How a request went.
struct Route {
    difficulty: f32,
    /// The tier that it was sent to at first, and the one that answered it in the end.
    sent: usize,
    answered: usize,
    /// What the answer used that the client got.
    usage: Usage,
    /// What was paid to find out what it is about.
    beside_nusd: u64,
}

/// For each tier but the strongest, the probability that a stronger one is needed.
pub(super) fn needs_of(receipt: &Receipt, tiers: usize) -> Vec<f32> {
    let weaker = tiers.saturating_sub(1);
    match receipt.needs.len() == weaker {
        true => receipt.needs.clone(),
        false => vec![receipt.difficulty.unwrap_or(f32::NAN); weaker],
    }
}

fn band_of(difficulty: f32) -> usize {
    ((difficulty.clamp(0.0, 1.0) * BANDS as f32) as usize).min(BANDS - 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Config, SHIPPED};
    use crate::feedback::{Feedback, Rating, Verdict};
    use crate::ledger::contract::{MIDNIGHT_MS, receipt};

    /// The shipped tiers are `cheap` and `reasoning`, with simulated models.
    fn catalog() -> Catalog {
        Config::load(SHIPPED, "gateway.toml", &|_| None).unwrap().catalog
    }

    fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, ..Usage::default() }
    }

    fn attempt(catalog: &Catalog, tier: usize, kind: AttemptKind, outcome: AttemptOutcome, usage: Usage) -> Attempt {
        let model = &catalog.tiers[tier].models[0];
        let cost_nusd = model.price.cost_nusd(&usage, 0);
        Attempt { usage, cost_nusd, outcome, ..Attempt::of(model.name.clone(), kind, 1.0) }
    }

    /// A request that was sent to this tier at a dial of 0.5.
    fn went(catalog: &Catalog, tier: usize, difficulty: f32) -> Receipt {
        let attempts = vec![attempt(catalog, tier, AttemptKind::First, AttemptOutcome::Ok, usage(1000, 500))];
        let base = receipt("acme", MIDNIGHT_MS);
        let tier = Some(catalog.tiers[tier].name.clone());
        Receipt { tier, difficulty: Some(difficulty), cost_nusd: attempts[0].cost_nusd, attempts, ..base }
    }

    /// One that was upgraded.
    fn upgraded(catalog: &Catalog, difficulty: f32) -> Receipt {
        let first = attempt(catalog, 0, AttemptKind::First, AttemptOutcome::LowConfidence, usage(1000, 20));
        let better = attempt(catalog, 1, AttemptKind::Upgrade, AttemptOutcome::Ok, usage(1000, 500));
        let (tier, cost_nusd) = (Some(catalog.tiers[1].name.clone()), first.cost_nusd + better.cost_nusd);
        Receipt { tier, upgraded: true, cost_nusd, attempts: vec![first, better], ..went(catalog, 0, difficulty) }
    }

    #[test]
    fn the_dial_of_then_costs_what_was_paid_and_its_ends_send_all_one_way() {
        let catalog = catalog();
        let mut replay = Replay::new(&catalog, &[0.0, 0.5, 1.0]);
        let receipts = [
            went(&catalog, 0, 0.1),
            went(&catalog, 0, 0.4),
            went(&catalog, 1, 0.9),
            upgraded(&catalog, 0.45),
            Receipt { cost_nusd: 7, ..went(&catalog, 0, 0.2) },
        ];
        receipts.iter().for_each(|receipt| replay.add(receipt));
        let paid: u64 = receipts.iter().map(|receipt| receipt.cost_nusd).sum();
        assert_eq!((replay.requests, replay.cost_nusd, replay.upgraded, &replay.sent), (5, paid, 1, &vec![4, 1]));
        let [cheapest, then, best] = <[Would; 3]>::try_from(replay.would()).unwrap();
        assert_eq!((then.cost_nusd, &then.sent, then.avoided, then.added), (paid, &vec![4, 1], 0, 0));
        let strong_nusd = catalog.tiers[1].models[0].price.cost_nusd(&usage(1000, 500), 0);
        assert_eq!((&best.sent, best.cost_nusd, best.avoided), (&vec![0, 5], 5 * strong_nusd, 1));
        assert_eq!((&cheapest.sent, cheapest.avoided), (&vec![5, 0], 0));
        let weak_nusd = catalog.tiers[0].models[0].price.cost_nusd(&usage(1000, 500), 0);
        let moved = paid - receipts[2].cost_nusd + weak_nusd;
        // No weak answer to a request as difficult is known: a quarter of all of them were upgraded.
        assert_eq!((cheapest.added, cheapest.cost_nusd), (0, moved + strong_nusd / 4));
    }

    #[test]
    fn what_the_dial_does_not_decide_stays_as_it_was() {
        let catalog = catalog();
        let mut replay = Replay::new(&catalog, &[0.0, 1.0]);
        // Sent strong at a dial that says weak: it had tools, or a conversation stayed where it was.
        replay.add(&went(&catalog, 1, 0.1));
        for other in [
            Receipt { difficulty: None, ..went(&catalog, 0, 0.1) },
            Receipt { status: 502, ..went(&catalog, 0, 0.1) },
            Receipt { cache: CacheStatus::Hit, ..went(&catalog, 0, 0.1) },
            Receipt { tier: Some("gone".into()), ..went(&catalog, 0, 0.1) },
            Receipt { attempts: vec![], ..went(&catalog, 0, 0.1) },
        ] {
            replay.add(&other);
        }
        assert_eq!((replay.requests, replay.others), (1, 5));
        assert!(replay.would().iter().all(|would| would.sent == [0, 1] && would.cost_nusd == replay.cost_nusd));
    }

    #[test]
    fn a_receipt_of_before_there_was_a_dial_is_one_of_where_it_went() {
        let catalog = catalog();
        let mut replay = Replay::new(&catalog, &[0.2, 0.95]);
        replay.add(&Receipt { quality: None, scores: [].into(), ..went(&catalog, 1, 0.7) });
        assert_eq!(replay.would().iter().map(|would| would.sent.clone()).collect::<Vec<_>>(), [[1, 0], [0, 1]]);
    }

    #[test]
    fn what_was_said_is_counted_by_the_tier_that_answered() {
        let catalog = catalog();
        let mut replay = Replay::new(&catalog, &[]);
        let say = |verdict| Some(Feedback { verdict, comment: None, created_at_ms: 0 });
        let (good, bad) = (Verdict::Rating(Rating::Good), Verdict::Rating(Rating::Bad));
        for (receipt, verdict) in [
            (went(&catalog, 0, 0.1), good),
            (went(&catalog, 0, 0.1), bad),
            (went(&catalog, 0, 0.1), Verdict::Score(0.4)),
            (upgraded(&catalog, 0.1), good),
        ] {
            replay.add(&Receipt { feedback: say(verdict), ..receipt });
        }
        assert_eq!(replay.said, [(3, 2), (1, 0)]);
    }

    #[test]
    fn more_quality_sends_no_more_to_the_weak_and_no_float_touches_the_money() {
        let catalog = catalog();
        let dials: Vec<f64> = (0..=10).map(|tenth| f64::from(tenth) / 10.0).collect();
        let mut replay = Replay::new(&catalog, &dials);
        for n in 0..200u8 {
            let difficulty = f32::from(n) / 200.0;
            let receipt = match n {
                _ if difficulty > 0.5 => went(&catalog, 1, difficulty),
                n if n % 7 == 0 => upgraded(&catalog, difficulty),
                _ => went(&catalog, 0, difficulty),
            };
            replay.add(&receipt);
        }
        let would = replay.would();
        assert!(would.windows(2).all(|pair| pair[0].sent[0] >= pair[1].sent[0]));
        assert!(would.iter().all(|would| would.sent.iter().sum::<u64>() == 200));
        assert!(would[0].added > 0 && would[10].added == 0);
        assert_eq!(would[10].avoided, replay.upgraded - 1, "the one of no difficulty at all goes to the weak still");
    }
}

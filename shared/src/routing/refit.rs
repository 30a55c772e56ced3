//! Fits `[intent.fitted]` and the dial to what the receipts and the feedback on them say.
//!
//! What is learnt is whether the weakest tier's answer would do, from requests that went there: what their tenants said of
//! the answer, and where they said nothing, whether the gateway's own judge found it unreliable. A word counts five times
//! as much as the judge. What went to a strong tier says nothing of the weak one, and only counts in the shares.
//!
//! It is a logistic regression of few parameters (see [`Fitted`]), held near what changes nothing by a penalty on their
//! squares, and solved by plain gradient descent with a step that adapts: the same receipts give the same digits, and there
//! is nothing to tune. The figures are of receipts that the parameters were not fitted to: each half is judged by the
//! other half's fit. A fit that does not make these better is not worth having, and that is said.

use super::fitted::{Fitted, ln, logit, sigmoid, softmax};
use super::replay::needs_of;
use crate::catalog::Catalog;
use crate::config::IntentSpec;
use crate::receipt::{Attempt, AttemptKind, AttemptOutcome, CacheStatus, Receipt};
use std::sync::Arc;

/// How many words on weak answers are needed, and of each kind: with fewer the fit is of chance.
pub const LEAST_SAID: usize = 50;
/// How many of them must say that the answer would do, and how many that it would not.
pub const LEAST_OF_EACH: usize = 10;
/// How many receipts are kept in memory, with a word on them and without.
const MOST: usize = 50_000;
/// What the judge's opinion weighs beside a word.
const JUDGE_WEIGHT: f64 = 0.2;
/// How strongly parameters are held near 0: as by so many receipts.
const PENALTY: f64 = 2.0;
/// Steps of the descent. What is left to gain after these is far below what chance moves.
const STEPS: usize = 400;
/// Bins of the calibration error.
const BINS: usize = 10;

/// The receipts that are learnt from.
#[derive(Debug)]
pub struct Refit {
    intents: Vec<(Arc<str>, bool)>,
    samples: Vec<Sample>,
    said: [usize; 2],
    unsaid: usize,
    /// Receipts with a tier chosen by the gateway that were left out because there were too many.
    pub left_out: usize,
}

/// One receipt.
#[derive(Debug, Clone)]
struct Sample {
    /// The intents that are not negligible, and the logarithms of their probabilities.
    scores: Vec<(usize, f64)>,
    /// The log odds of its difficulty, and of the intents' part of it.
    difficulty: f64,
    strong: f64,
    quality: f64,
    /// Whether a stronger tier was needed, 0 to 1, and how much that weighs; 0 where nothing is known.
    needed: f64,
    weight: f64,
    is_even: bool,
}

/// How good the difficulties are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goodness {
    /// The mean logarithmic loss; lower is better.
    pub log_loss: f64,
    /// The expected calibration error, of ten bins.
    pub ece: f64,
    /// The share of all requests that goes to a stronger tier than the weakest.
    pub share_strong: f64,
}

/// What was fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The correction.
    pub fitted: Fitted,
    /// Without it.
    pub before: Goodness,
    /// With it; of receipts that it was not fitted to.
    pub after: Goodness,
    /// The dial at which as many requests go to a stronger tier as without the correction.
    pub quality: f64,
    /// How many requests there were, and how many words on weak answers.
    pub requests: usize,
    /// Words that said that a weak answer would do, and that it would not.
    pub said: [usize; 2],
}

/// Too little was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "too little feedback on answers of the weakest tier to fit anything to: {good} good and {bad} bad; \
     {LEAST_SAID} are needed, {LEAST_OF_EACH} of each kind among them"
)]
pub struct TooLittle {
    /// Answers that would do.
    pub good: usize,
    /// Answers that would not.
    pub bad: usize,
}

impl Refit {
    /// Nothing yet, for these intents.
    #[must_use]
    pub fn new(catalog: &Catalog, intents: &[IntentSpec]) -> Self {
        let is_strong = |intent: &IntentSpec| catalog.tier(&intent.tier).is_some_and(|tier| tier.strength > 0);
        let intents = intents.iter().map(|intent| (intent.name.clone(), is_strong(intent))).collect();
        Self { intents, samples: Vec::new(), said: [0; 2], unsaid: 0, left_out: 0 }
    }

    /// Takes a receipt in, if it is one whose tier the gateway chose.
    pub fn add(&mut self, catalog: &Catalog, receipt: &Receipt) {
        let is_served = receipt.status == 200 && matches!(receipt.cache, CacheStatus::Miss | CacheStatus::Bypass);
        let place = |name: &str| self.intents.iter().position(|(known, _)| &**known == name);
        let scores: Vec<_> =
            receipt.scores.iter().filter_map(|(name, score)| Some((place(name)?, ln(f64::from(*score))))).collect();
        let need = needs_of(receipt, catalog.tiers.len()).first().copied().filter(|need| need.is_finite());
        let Some(need) = need.filter(|_| is_served && !scores.is_empty()) else { return };
        let (needed, weight) = what_is_known(catalog, receipt);
        let is_said = weight >= 1.0;
        let kept = if is_said { self.said[0] + self.said[1] } else { self.unsaid };
        if kept >= MOST {
            self.left_out += 1;
            return;
        }
        if is_said {
            self.said[usize::from(needed > 0.5)] += 1;
        } else {
            self.unsaid += 1;
        }
        let mut sample = Sample {
            scores,
            difficulty: logit(f64::from(need)),
            strong: 0.0,
            quality: receipt.quality.unwrap_or(0.5),
            needed,
            weight,
            is_even: receipt.id.draw().is_multiple_of(2),
        };
        sample.strong = self.strong_of(&softmax(&sample.logits(&self.neutral())), &sample);
        self.samples.push(sample);
    }

    /// Fits the correction.
    ///
    /// # Errors
    /// Too little was said of weak answers.
    pub fn fit(&self) -> Result<Report, TooLittle> {
        let [good, bad] = self.said;
        if good + bad < LEAST_SAID || good < LEAST_OF_EACH || bad < LEAST_OF_EACH {
            return Err(TooLittle { good, bad });
        }
        let neutral = self.neutral();
        let before: Vec<f64> = self.samples.iter().map(|sample| self.need(sample, &neutral)).collect();
        let halves = [true, false].map(|is_even| self.descend(|sample| sample.is_even != is_even));
        let held_out: Vec<f64> =
            self.samples.iter().map(|sample| self.need(sample, &halves[usize::from(!sample.is_even)])).collect();
        let parameters = self.descend(|_| true);
        let after: Vec<f64> = self.samples.iter().map(|sample| self.need(sample, &parameters)).collect();
        let (goodness_before, goodness_after) = (self.goodness(&before), self.goodness(&held_out));
        Ok(Report {
            fitted: self.fitted(&parameters),
            before: goodness_before,
            after: goodness_after,
            quality: same_share(after, goodness_before.share_strong),
            requests: self.samples.len(),
            said: self.said,
        })
    }

    /// Parameters that change nothing: the logarithm of the temperature, and the biases.
    fn neutral(&self) -> Vec<f64> {
        vec![0.0; 1 + self.intents.len()]
    }

    fn fitted(&self, parameters: &[f64]) -> Fitted {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        let bias = self.intents.iter().zip(&parameters[1..]).map(|((name, _), bias)| (name.clone(), round(*bias)));
        Fitted { temperature: round(parameters[0].exp()), bias: bias.filter(|(_, bias)| *bias != 0.0).collect() }
    }

    /// The log odds that an intent is meant that needs a stronger tier.
    fn strong_of(&self, probabilities: &[f64], sample: &Sample) -> f64 {
        let strong = sample.scores.iter().zip(probabilities).filter(|((intent, _), _)| self.intents[*intent].1);
        logit(strong.map(|(_, probability)| probability).sum())
    }

    /// The probability that a stronger tier is needed, corrected.
    fn need(&self, sample: &Sample, parameters: &[f64]) -> f64 {
        let strong = self.strong_of(&softmax(&sample.logits(parameters)), sample);
        sigmoid(sample.difficulty + strong - sample.strong)
    }

    /// The loss over the samples that are `meant`, and where it falls.
    fn loss(&self, parameters: &[f64], meant: impl Fn(&Sample) -> bool) -> (f64, Vec<f64>) {
        let mut slope: Vec<f64> = parameters.iter().map(|parameter| PENALTY * parameter).collect();
        let mut loss = PENALTY / 2.0 * parameters.iter().map(|parameter| parameter * parameter).sum::<f64>();
        let temperature = parameters[0].exp();
        for sample in self.samples.iter().filter(|sample| sample.weight > 0.0 && meant(sample)) {
            let probabilities = softmax(&sample.logits(parameters));
            let is_strong = |intent: usize| self.intents[intent].1;
            let strong: f64 =
                sample.scores.iter().zip(&probabilities).filter(|(s, _)| is_strong(s.0)).map(|(_, p)| p).sum();
            let need = sigmoid(sample.difficulty + logit(strong) - sample.strong);
            loss += sample.weight * log_loss(need, sample.needed);
            let error = sample.weight * (need - sample.needed);
            for ((intent, score), probability) in sample.scores.iter().zip(&probabilities) {
                let of_odds = match is_strong(*intent) {
                    true => probability / strong.max(f64::MIN_POSITIVE),
                    false => -probability / (1.0 - strong).max(f64::MIN_POSITIVE),
                };
                slope[1 + intent] += error * of_odds;
                slope[0] -= error * of_odds * score / temperature;
            }
        }
        (loss, slope)
    }

    /// The parameters at which the loss over the samples that are `meant` is least.
    fn descend(&self, meant: impl Fn(&Sample) -> bool + Copy) -> Vec<f64> {
        let mut at = self.neutral();
        let (mut loss, mut slope) = self.loss(&at, meant);
        let mut step = 1.0 / (1.0 + self.samples.iter().filter(|sample| meant(sample)).map(|s| s.weight).sum::<f64>());
        for _ in 0..STEPS {
            let next: Vec<f64> = at.iter().zip(&slope).map(|(at, slope)| at - step * slope).collect();
            let (next_loss, next_slope) = self.loss(&next, meant);
            if next_loss < loss {
                (at, loss, slope) = (next, next_loss, next_slope);
                step *= 1.2;
            } else {
                step *= 0.5;
            }
        }
        at
    }

    fn goodness(&self, needs: &[f64]) -> Goodness {
        let (mut loss, mut weight, mut bins) = (0.0, 0.0, [(0.0, 0.0); BINS]);
        let mut strong = 0.0;
        for (sample, need) in self.samples.iter().zip(needs) {
            loss += sample.weight * log_loss(*need, sample.needed);
            weight += sample.weight;
            let bin = ((need * BINS as f64) as usize).min(BINS - 1);
            bins[bin].0 += sample.weight * need;
            bins[bin].1 += sample.weight * sample.needed;
            strong += f64::from(u8::from(*need > 1.0 - sample.quality));
        }
        let gap: f64 = bins.iter().map(|(said, was): &(f64, f64)| (said - was).abs()).sum();
        let share_strong = strong / self.samples.len().max(1) as f64;
        Goodness { log_loss: loss / weight, ece: gap / weight, share_strong }
    }
}

impl Sample {
    /// The logarithms of its intents' corrected probabilities, but for a constant.
    fn logits(&self, parameters: &[f64]) -> Vec<f64> {
        let temperature = parameters[0].exp();
        self.scores.iter().map(|(intent, score)| score / temperature + parameters[1 + intent]).collect()
    }
}

/// Whether a stronger tier was needed, as far as the receipt tells, and what that weighs.
fn what_is_known(catalog: &Catalog, receipt: &Receipt) -> (f64, f64) {
    let weakest = &catalog.tiers[0];
    let is_doubted =
        |attempt: &Attempt| attempt.kind == AttemptKind::First && attempt.outcome == AttemptOutcome::LowConfidence;
    let went_weak = receipt.attempts.iter().any(|attempt| {
        attempt.kind == AttemptKind::First && weakest.models.iter().any(|model| model.name == attempt.model)
    });
    if receipt.upgraded {
        return if went_weak { (1.0, JUDGE_WEIGHT) } else { (0.0, 0.0) };
    }
    match &receipt.feedback {
        _ if receipt.tier.as_ref() != Some(&weakest.name) => (0.0, 0.0),
        Some(feedback) => (1.0 - feedback.goodness(), 1.0),
        None => (f64::from(u8::from(receipt.attempts.iter().any(is_doubted))), JUDGE_WEIGHT),
    }
}

fn log_loss(probability: f64, was: f64) -> f64 {
    let probability = probability.clamp(1e-9, 1.0 - 1e-9);
    -(was * probability.ln() + (1.0 - was) * (1.0 - probability).ln())
}

/// The dial at which this share of the requests goes strong, to two places.
fn same_share(mut needs: Vec<f64>, share_strong: f64) -> f64 {
    needs.sort_by(f64::total_cmp);
    let weak = ((1.0 - share_strong) * needs.len() as f64).round() as usize;
    let border = match (weak.checked_sub(1).and_then(|last| needs.get(last)), needs.get(weak)) {
        (Some(below), Some(above)) => f64::midpoint(*below, *above),
        (Some(_), None) => 1.0,
        (None, _) => 0.0,
    };
    ((1.0 - border) * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;
    use crate::feedback::{Feedback, Rating, Verdict};
    use crate::id::RequestId;
    use crate::ledger::contract::{MIDNIGHT_MS, receipt};

    const TEXT: &str = r#"
        [providers.sim]
        kind = "simulated"
        [tiers]
        cheap = ["sim/cheap"]
        reasoning = ["sim/reasoning"]
        [intents.greeting]
        tier = "cheap"
        examples = ["hi"]
        [intents.summary]
        tier = "cheap"
        examples = ["summarise this"]
        [intents.design]
        tier = "reasoning"
        examples = ["design that"]
    "#;

    fn config() -> Config {
        Config::load(TEXT, "test.toml", &|_| None).unwrap()
    }

    /// A request that went to the cheap tier, and what was said of it.
    fn went(scores: [f32; 3], rating: Option<Rating>) -> Receipt {
        let names = ["greeting", "summary", "design"];
        let feedback =
            rating.map(|rating| Feedback { verdict: Verdict::Rating(rating), comment: None, created_at_ms: 0 });
        Receipt {
            id: RequestId::new(MIDNIGHT_MS),
            difficulty: Some(scores[2]),
            scores: names.iter().zip(scores).map(|(name, score)| ((*name).into(), score)).collect(),
            attempts: vec![Attempt::of("sim/cheap".into(), AttemptKind::First, 1.0)],
            feedback,
            ..receipt("acme", MIDNIGHT_MS)
        }
    }

    /// So many receipts, of which summaries need a strong tier far more often than their scores say.
    fn refit(count: usize, seed: u64) -> Refit {
        let (config, mut dice) = (config(), fastrand::Rng::with_seed(seed));
        let mut refit = Refit::new(&config.catalog, &config.intents);
        for _ in 0..count {
            let hard = dice.f32() * 0.4;
            let is_summary = dice.bool();
            let rest = 1.0 - hard;
            let scores = if is_summary { [rest * 0.1, rest * 0.9, hard] } else { [rest * 0.9, rest * 0.1, hard] };
            let is_bad = dice.f32() < if is_summary { 0.6 } else { hard };
            refit.add(&config.catalog, &went(scores, Some(if is_bad { Rating::Bad } else { Rating::Good })));
        }
        refit
    }

    #[test]
    fn a_kind_of_work_that_the_weak_tier_does_badly_is_made_hard() {
        let report = refit(2000, 7).fit().unwrap();
        let Goodness { log_loss, ece, share_strong } = report.before;
        assert!(report.after.log_loss < log_loss - 0.02, "{report:?}");
        assert!(report.after.ece < ece / 2.0, "{report:?}");
        assert!(share_strong == 0.0 && report.after.share_strong > 0.2, "{report:?}");
        let bias = |name| report.fitted.bias.iter().find(|(known, _)| &**known == name).map_or(0.0, |bias| bias.1);
        assert!(bias("summary") < bias("greeting") && bias("summary") < bias("design"), "{report:?}");
    }

    #[test]
    fn the_same_receipts_give_the_same_digits_and_chance_gives_next_to_nothing() {
        let (config, mut dice) = (config(), fastrand::Rng::with_seed(3));
        assert_eq!(refit(400, 7).samples.len(), 400);
        let mut chance = Refit::new(&config.catalog, &config.intents);
        for n in 0..1000u16 {
            let hard = f32::from(n) / 1000.0;
            let rating = if dice.f32() < hard { Rating::Bad } else { Rating::Good };
            chance.add(&config.catalog, &went([(1.0 - hard) / 2.0, (1.0 - hard) / 2.0, hard], Some(rating)));
        }
        let report = chance.fit().unwrap();
        assert_eq!(chance.fit().unwrap(), report);
        assert!((report.fitted.temperature - 1.0).abs() < 0.3, "{report:?}");
        assert!(report.fitted.bias.iter().all(|(_, bias)| bias.abs() < 0.3), "{report:?}");
        assert!((report.quality - 0.5).abs() < 0.05, "{report:?}");
    }

    #[test]
    fn the_slope_is_that_of_the_loss() {
        let refit = refit(60, 1);
        let at = [0.3, -0.2, 0.5, 0.1];
        let (_, slope) = refit.loss(&at, |_| true);
        for place in 0..at.len() {
            let beside = |by: f64| {
                let mut beside = at;
                beside[place] += by;
                refit.loss(&beside, |_| true).0
            };
            let measured = (beside(1e-5) - beside(-1e-5)) / 2e-5;
            assert!((slope[place] - measured).abs() < 1e-3, "{place}: {} is {measured}", slope[place]);
        }
    }

    #[test]
    fn a_report_corrects_as_it_was_fitted() {
        let config = config();
        let refit = refit(500, 7);
        let parameters = refit.descend(|_| true);
        let fitted = refit.fitted(&parameters);
        for sample in &refit.samples {
            let mut scores: Vec<(Arc<str>, f32)> = sample
                .scores
                .iter()
                .map(|(intent, score)| (refit.intents[*intent].0.clone(), score.exp() as f32))
                .collect();
            let is_strong = |name: &str| name == "design";
            let difficulty = sigmoid(sample.difficulty) as f32;
            let corrected = f64::from(fitted.apply(&mut scores, difficulty, is_strong));
            assert!((corrected - refit.need(sample, &parameters)).abs() < 0.01);
        }
        assert_eq!(config.catalog.tiers.len(), 2);
    }

    #[test]
    fn with_too_little_said_nothing_is_fitted() {
        let config = config();
        for (good, bad) in [(0, 0), (49, 0), (500, 9), (9, 500), (30, 19)] {
            let mut refit = Refit::new(&config.catalog, &config.intents);
            let mut say =
                |rating, times| (0..times).for_each(|_| refit.add(&config.catalog, &went([0.5, 0.3, 0.2], rating)));
            say(Some(Rating::Good), good);
            say(Some(Rating::Bad), bad);
            say(None, 1000);
            assert_eq!(refit.fit(), Err(TooLittle { good, bad }));
        }
    }

    #[test]
    fn what_says_nothing_of_the_weak_tier_is_not_learnt_from() {
        let config = config();
        let bad = Some(Rating::Bad);
        let strong = Receipt { tier: Some("reasoning".into()), ..went([0.1, 0.1, 0.8], bad) };
        let upgraded = Receipt { upgraded: true, ..strong.clone() };
        for (receipt, known) in [
            (went([0.5, 0.4, 0.1], bad), Some((1.0, 1.0))),
            (went([0.5, 0.4, 0.1], Some(Rating::Good)), Some((0.0, 1.0))),
            (went([0.5, 0.4, 0.1], None), Some((0.0, JUDGE_WEIGHT))),
            (upgraded, Some((1.0, JUDGE_WEIGHT))),
            (strong, Some((0.0, 0.0))),
            (Receipt { status: 502, ..went([0.5, 0.4, 0.1], bad) }, None),
            (Receipt { cache: CacheStatus::Hit, ..went([0.5, 0.4, 0.1], bad) }, None),
            (Receipt { scores: [].into(), ..went([0.5, 0.4, 0.1], bad) }, None),
            (Receipt { difficulty: None, ..went([0.5, 0.4, 0.1], bad) }, None),
        ] {
            let mut refit = Refit::new(&config.catalog, &config.intents);
            refit.add(&config.catalog, &receipt);
            assert_eq!(refit.samples.first().map(|sample| (sample.needed, sample.weight)), known, "{receipt:?}");
        }
    }
}

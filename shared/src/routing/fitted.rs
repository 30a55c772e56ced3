//! What was learnt from feedback: a correction of the intents' probabilities, as `[intent.fitted]` has it.
//!
//! A receipt holds no prompt, so nothing of the classifier can be trained again from it. What can be mended is how far its
//! probabilities are believed: one temperature for all of them and one bias for each intent, on their logarithms (Guo et al.,
//! "On Calibration of Modern Neural Networks", 2017: vector scaling with a single slope). The difficulty is a blend of
//! which the intents are only a part; it moves by as much, in log odds, as the intents' part of it does. Values of 1 and 0
//! change nothing at all.

use std::sync::Arc;

/// No probability counts as less than this, nor as more than 1 less it: the logarithms stay finite.
const LEAST: f64 = 1e-4;

/// The correction.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Above 1 the probabilities are drawn together, below 1 apart.
    pub temperature: f64,
    /// What is added to the logarithm of an intent's probability; 0 for those that are not listed.
    pub bias: Vec<(Arc<str>, f64)>,
}

impl Default for Fitted {
    fn default() -> Self {
        Self { temperature: 1.0, bias: Vec::new() }
    }
}

impl Fitted {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_neutral(&self) -> bool {
        *self == Self::default()
    }

    /// Corrects the probabilities of all intents, which sum to 1 before and after, and answers the corrected difficulty.
    /// `is_strong` says of an intent whether it needs a stronger tier than the one whose difficulty this is.
    #[must_use]
    pub fn apply(&self, scores: &mut [(Arc<str>, f32)], difficulty: f32, is_strong: impl Fn(&str) -> bool) -> f32 {
        if self.is_neutral() || scores.is_empty() {
            return difficulty;
        }
        let strong = |scores: &[(Arc<str>, f32)]| -> f64 {
            scores.iter().filter(|(name, _)| is_strong(name)).map(|(_, score)| f64::from(*score).max(0.0)).sum()
        };
        let before = strong(scores);
        let logits: Vec<f64> =
            scores.iter().map(|(name, score)| ln(f64::from(*score)) / self.temperature + self.bias_of(name)).collect();
        for ((_, score), corrected) in scores.iter_mut().zip(softmax(&logits)) {
            *score = corrected as f32;
        }
        sigmoid(logit(f64::from(difficulty)) + logit(strong(scores)) - logit(before)) as f32
    }

    /// This correction, and then another one of what it leads to, as one.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        let mut names: Vec<&Arc<str>> = self.bias.iter().chain(&next.bias).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        let bias = |name: &Arc<str>| (name.clone(), self.bias_of(name) / next.temperature + next.bias_of(name));
        Self { temperature: self.temperature * next.temperature, bias: names.into_iter().map(bias).collect() }
    }

    fn bias_of(&self, name: &str) -> f64 {
        self.bias.iter().find(|(known, _)| &**known == name).map_or(0.0, |(_, bias)| *bias)
    }
}

/// The natural logarithm of a probability; what is no number counts as the least.
pub(super) fn ln(probability: f64) -> f64 {
    let is_one = probability >= LEAST;
    if is_one { probability.min(1.0).ln() } else { LEAST.ln() }
}

/// The logarithm of a probability's odds.
pub(super) fn logit(probability: f64) -> f64 {
    let probability = probability.clamp(LEAST, 1.0 - LEAST);
    (probability / (1.0 - probability)).ln()
}

/// The probability of these log odds.
pub(super) fn sigmoid(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// Probabilities whose logarithms differ as these do.
pub(super) fn softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let parts: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f64 = parts.iter().sum();
    parts.into_iter().map(|part| part / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Vec<(Arc<str>, f32)> {
        vec![("greeting".into(), 0.6), ("design".into(), 0.3), ("proof".into(), 0.1)]
    }

    fn is_strong(name: &str) -> bool {
        name != "greeting"
    }

    fn of(temperature: f64, bias: &[(&str, f64)]) -> Fitted {
        Fitted { temperature, bias: bias.iter().map(|(name, bias)| ((*name).into(), *bias)).collect() }
    }

    #[test]
    fn what_corrects_nothing_changes_no_bit() {
        let mut kept = scores();
        for difficulty in [0.0, 0.123_456_7, 1.0, f32::NAN] {
            let after = Fitted::default().apply(&mut kept, difficulty, is_strong);
            assert_eq!((kept.clone(), after.to_bits()), (scores(), difficulty.to_bits()));
        }
    }

    #[test]
    fn a_bias_moves_its_intent_and_the_difficulty_with_it() {
        let mut moved = scores();
        let harder = of(1.0, &[("design", 1.0)]).apply(&mut moved, 0.4, is_strong);
        assert!(harder > 0.5 && moved[1].1 > 0.5 && moved[0].1 < 0.45, "{harder} {moved:?}");
        assert!((moved.iter().map(|(_, score)| score).sum::<f32>() - 1.0).abs() < 1e-6);
        let easier = of(1.0, &[("greeting", 1.0), ("unknown", 9.0)]).apply(&mut scores(), 0.4, is_strong);
        assert!(easier < 0.25, "{easier}");
        // Where difficulty is the intents' alone, it is theirs afterwards, too.
        assert!((harder - moved[1].1 - moved[2].1).abs() < 1e-5);
    }

    #[test]
    fn a_temperature_draws_probabilities_together() {
        let mut drawn = scores();
        let after = of(4.0, &[]).apply(&mut drawn, 0.4, is_strong);
        assert!(drawn[0].1 < 0.5 && drawn[2].1 > 0.2 && after > 0.5, "{drawn:?} {after}");
    }

    #[test]
    fn odd_probabilities_lead_to_finite_ones() {
        for odd in [0.0, 1.0, f32::NAN, f32::INFINITY, -1.0] {
            let mut scores = vec![("greeting".into(), odd), ("design".into(), odd)];
            let after = of(2.0, &[("design", -3.0)]).apply(&mut scores, 0.5, is_strong);
            assert!(
                after.is_finite() && scores.iter().all(|(_, score)| score.is_finite()),
                "{odd}: {scores:?} {after}"
            );
        }
        let _ = of(2.0, &[]).apply(&mut [], 0.5, is_strong);
    }

    #[test]
    fn two_corrections_are_one() {
        let (first, next) =
            (of(2.0, &[("design", 0.5), ("proof", -1.0)]), of(0.7, &[("design", 0.2), ("greeting", 0.4)]));
        let (mut apart, mut at_once) = (scores(), scores());
        let half_way = first.apply(&mut apart, 0.4, is_strong);
        let one = next.apply(&mut apart, half_way, is_strong);
        let other = first.then(&next).apply(&mut at_once, 0.4, is_strong);
        assert!((one - other).abs() < 1e-5, "{one} {other}");
        assert!(apart.iter().zip(&at_once).all(|(a, b)| (a.1 - b.1).abs() < 1e-5), "{apart:?} {at_once:?}");
    }
}

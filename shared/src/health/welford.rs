//! A running mean and variance that forgets.
//!
//! A lifetime mean needs as many new samples as it has old ones to move half-way; a model that has slowed down would be
//! preferred for hours. Here every sample's weight halves in `0.69 · τ`, in five numbers per (model, measure), with one
//! update per sample and no list of samples. With no time between samples it is Welford's running mean and variance, which
//! unlike `E[x²] − E[x]²` does not lose its digits when the mean is large.
//!
//! The memory and the Redis store keep the same five numbers; the script repeats these lines, in this order, on the same
//! IEEE doubles. Serves the ranking of candidates and the breaker.

use serde::{Deserialize, Serialize};

/// Weight `m` of the prior in the probability of failure, in attempts.
const PRIOR_ATTEMPTS: f64 = 5.0;
/// The prior's own probability of failure, `p0`.
const PRIOR_FAILURE: f64 = 0.02;
/// A ceiling below 1, because the odds `p / (1 − p)` are used.
const MAX_FAILURE: f64 = 0.95;

/// Decayed sums over the samples of one measure. The default has taken none in.
///
/// # Source
/// B. P. Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4 (1962); with
/// weights as D. H. D. West, "Updating mean and variance estimates", CACM 22 (1979).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Welford {
    /// Sum of the samples' weights.
    pub(crate) w: f64,
    /// Sum of the squares of the weights.
    pub(crate) w2: f64,
    /// Weighted mean.
    pub(crate) mean: f64,
    /// Weighted sum of squared deviations from the mean.
    pub(crate) s: f64,
    /// The latest sample's time, Unix ms; `w`, `w2` and `s` are as of then.
    pub(crate) t_ms: u64,
}

/// What a [`Welford`] says at one instant. The default says nothing: all zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Decayed mean, in the measure's unit; 0 when nothing was ever seen.
    pub mean: f64,
    /// Decayed population variance.
    pub variance: f64,
    /// The number of equally weighted samples that would be as good (Kish's `w² / w2`). Age cancels out of it, so it says
    /// how many samples the mean rests on, not how fresh they are.
    pub n_eff: f64,
    /// Sum of the weights left: one sample counts 1 when new, 0.37 after `τ`. It says how fresh the figures are.
    pub weight: f64,
}

impl Welford {
    /// Takes one sample in. A sample that is not finite, or would make the sums overflow, is ignored.
    ///
    /// `tau_ms` is the time constant τ. A sample dated before the latest one counts in full and moves no time back.
    pub fn record(&mut self, x: f64, now_ms: u64, tau_ms: u64) {
        let d = self.decay(now_ms, tau_ms);
        let w = d * self.w + 1.0;
        let w2 = d * d * self.w2 + 1.0;
        let delta = x - self.mean;
        let mean = self.mean + delta / w;
        let s = d * self.s + delta * (x - mean);
        if mean.is_finite() && s.is_finite() {
            *self = Self { w, w2, mean, s, t_ms: self.t_ms.max(now_ms) };
        }
    }

    /// The figures as of `now_ms`: an unused model's past fades too.
    ///
    /// The decay cancels out of `variance` and `n_eff`. Both are therefore taken from the stored sums, which cannot
    /// underflow to 0/0; only `weight` shows it.
    pub fn read(&self, now_ms: u64, tau_ms: u64) -> Figures {
        if self.w <= 0.0 {
            return Figures::default();
        }
        Figures {
            mean: self.mean,
            // Rounding may leave a sum of squares just below zero.
            variance: (self.s / self.w).max(0.0),
            n_eff: self.w * self.w / self.w2,
            weight: self.decay(now_ms, tau_ms) * self.w,
        }
    }

    /// The factor by which weights shrink from `t_ms` to `now_ms`; 1 when time ran backwards.
    fn decay(&self, now_ms: u64, tau_ms: u64) -> f64 {
        (-(now_ms.saturating_sub(self.t_ms) as f64) / tau_ms.max(1) as f64).exp()
    }
}

impl Figures {
    /// For a measure of failure (0 or 1 per attempt): the probability `p` that the next attempt fails.
    ///
    /// `p = (failures + m·p0) / (n + m)` with `m` = 5 and `p0` = 0.02, at most 0.95; `n` is the weight left and `failures`
    /// the mean's share of it. A model that was never tried, or not for long, is thus held to be sound.
    pub fn failure_probability(&self) -> f64 {
        let failures = self.mean * self.weight;
        let p = (failures + PRIOR_ATTEMPTS * PRIOR_FAILURE) / (self.weight + PRIOR_ATTEMPTS);
        p.clamp(0.0, MAX_FAILURE)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_763_769_600_000;
    const TAU: u64 = 60_000;

    fn of(samples: &[(f64, u64)]) -> Welford {
        let mut welford = Welford::default();
        for &(x, now_ms) in samples {
            welford.record(x, now_ms, TAU);
        }
        welford
    }

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance
    }

    #[test]
    fn nothing_seen_reads_as_zero() {
        assert_eq!(Welford::default().read(NOW, TAU), Figures::default());
    }

    #[test]
    fn one_sample_is_its_own_mean_and_fades_to_a_third_in_tau() {
        let welford = of(&[(250.0, NOW)]);
        let fresh = Figures { mean: 250.0, variance: 0.0, n_eff: 1.0, weight: 1.0 };
        assert_eq!(welford.read(NOW, TAU), fresh);
        assert_eq!(welford.read(NOW + TAU, TAU), Figures { weight: (-1.0_f64).exp(), ..fresh });
    }

    #[test]
    fn a_slowdown_shows_within_tau_whatever_came_before() {
        // A thousand answers of 100 ms at ten per second, then answers of 1000 ms: τ later, 63 % of the way is done.
        let mut samples: Vec<_> = (0..1_000).map(|i| (100.0, NOW + i * 100)).collect();
        samples.extend((0..600).map(|i| (1_000.0, NOW + 100_000 + i * 100)));
        let figures = of(&samples).read(NOW + 160_000, TAU);
        assert!(figures.mean > 650.0, "{figures:?}");
        assert!(figures.variance.sqrt() > 300.0, "{figures:?}");
    }

    #[test]
    fn old_samples_give_way_by_exactly_the_decay() {
        let d = (-0.5_f64).exp();
        let figures = of(&[(10.0, NOW), (40.0, NOW + TAU / 2)]).read(NOW + TAU / 2, TAU);
        let mean = (d * 10.0 + 40.0) / (d + 1.0);
        let variance = (d * (10.0 - mean) * (10.0 - mean) + (40.0 - mean) * (40.0 - mean)) / (d + 1.0);
        assert!(close(figures.mean, mean, 1e-12) && close(figures.variance, variance, 1e-10), "{figures:?}");
        assert!(close(figures.n_eff, (d + 1.0) * (d + 1.0) / (d * d + 1.0), 1e-12), "{figures:?}");
        assert!(close(figures.weight, d + 1.0, 1e-12), "{figures:?}");
    }

    #[test]
    fn what_is_not_a_number_leaves_no_trace() {
        let mut welford = of(&[(3.0, NOW), (5.0, NOW)]);
        let before = welford;
        for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN] {
            welford.record(x, NOW + 1, TAU);
            assert_eq!(welford, before, "{x}");
        }
    }

    #[test]
    fn rounding_never_makes_a_variance_negative() {
        // After a long silence the mean jumps to the sample, and misses it by a rounding error of either sign.
        let long_after = NOW + 1_000_000 * TAU;
        let welford = of(&[(7.6, NOW), (2.6, long_after)]);
        assert!(welford.s < 0.0);
        assert_eq!(welford.read(long_after, TAU).variance, 0.0);
    }

    #[test]
    fn without_a_time_constant_only_the_present_counts() {
        let mut welford = Welford::default();
        for (x, now_ms) in [(1.0, NOW), (3.0, NOW), (8.0, NOW + 1_000)] {
            welford.record(x, now_ms, 0);
        }
        let figures = welford.read(NOW + 1_000, 0);
        assert_eq!((figures.mean, figures.weight), (8.0, 1.0));
    }

    #[test]
    fn after_years_of_silence_figures_are_finite_and_weightless() {
        let figures = of(&[(3.0, NOW), (5.0, NOW)]).read(NOW + 1_000_000 * TAU, TAU);
        assert_eq!(figures, Figures { mean: 4.0, variance: 1.0, n_eff: 2.0, weight: 0.0 });
    }

    #[test]
    fn the_probability_of_failure_starts_at_the_prior_and_is_bounded() {
        let table = [
            // mean, weight, p
            (0.0, 0.0, 0.02),
            (1.0, 0.0, 0.02),
            (0.0, 95.0, 0.001),
            (1.0, 5.0, 0.51),
            (0.5, 15.0, 0.38),
            (1.0, 1_000.0, 0.95),
        ];
        for (mean, weight, p) in table {
            let figures = Figures { mean, weight, ..Figures::default() };
            assert!(close(figures.failure_probability(), p, 1e-12), "{figures:?}");
        }
    }

    #[test]
    fn the_state_survives_json_to_the_last_bit() {
        let welford = of(&[(0.1, NOW), (1.0 / 3.0, NOW + 7), (1e9 + 0.7, NOW + 77)]);
        let json = serde_json::to_string(&welford).unwrap();
        assert_eq!(serde_json::from_str::<Welford>(&json).unwrap(), welford);
    }

    proptest! {
        #[test]
        fn without_decay_it_is_the_two_pass_mean_and_variance(
            xs in prop::collection::vec(-1e4..1e5_f64, 1..200),
        ) {
            let samples: Vec<_> = xs.iter().map(|&x| (x, NOW)).collect();
            let figures = of(&samples).read(NOW, TAU);
            let n = xs.len() as f64;
            let mean = xs.iter().sum::<f64>() / n;
            let variance = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            prop_assert!(close(figures.mean, mean, 1e-9 * mean.abs().max(1.0)));
            prop_assert!(close(figures.variance, variance, 1e-9 * variance.max(1.0)));
            prop_assert!(close(figures.n_eff, n, 1e-9 * n) && figures.weight == n);
        }

        #[test]
        fn with_decay_it_is_the_weighted_mean_and_variance(
            steps in prop::collection::vec((0.0..1e4_f64, 0..30_000_u64), 1..60),
        ) {
            let mut now_ms = NOW;
            let samples: Vec<_> = steps.iter().map(|&(x, wait_ms)| { now_ms += wait_ms; (x, now_ms) }).collect();
            let figures = of(&samples).read(now_ms, TAU);
            let weight = |t_ms: u64| (-((now_ms - t_ms) as f64) / TAU as f64).exp();
            let total: f64 = samples.iter().map(|&(_, t)| weight(t)).sum();
            let mean = samples.iter().map(|&(x, t)| weight(t) * x).sum::<f64>() / total;
            let variance = samples.iter().map(|&(x, t)| weight(t) * (x - mean) * (x - mean)).sum::<f64>() / total;
            prop_assert!(close(figures.weight, total, 1e-9 * total));
            prop_assert!(close(figures.mean, mean, 1e-9 * mean.max(1.0)));
            prop_assert!(close(figures.variance, variance, 1e-9 * variance.max(1.0)));
        }

        #[test]
        fn time_never_goes_back_and_no_input_breaks_the_figures(
            samples in prop::collection::vec((prop::num::f64::ANY, any::<u64>()), 1..40),
            (tau_ms, read_ms) in (any::<u64>(), any::<u64>()),
        ) {
            let mut welford = Welford::default();
            for (x, now_ms) in samples {
                let before = welford.t_ms;
                welford.record(x, now_ms, tau_ms);
                prop_assert!(welford.t_ms >= before);
                let figures = welford.read(read_ms, tau_ms);
                prop_assert!(figures.mean.is_finite() && figures.variance.is_finite() && figures.variance >= 0.0);
                prop_assert!(figures.n_eff.is_finite() && figures.weight.is_finite() && figures.weight >= 0.0);
                prop_assert!((0.0..=0.95).contains(&figures.failure_probability()));
            }
        }

        #[test]
        fn weight_only_shrinks_between_samples(
            xs in prop::collection::vec(0.0..1e4_f64, 1..20), wait_ms in 0..10_000_000_u64,
        ) {
            let samples: Vec<_> = xs.iter().map(|&x| (x, NOW)).collect();
            let welford = of(&samples);
            let (fresh, later) = (welford.read(NOW, TAU), welford.read(NOW + wait_ms, TAU));
            prop_assert!(later.weight <= fresh.weight && later.n_eff >= later.weight * (1.0 - 1e-12));
            prop_assert_eq!((later.mean, later.variance, later.n_eff), (fresh.mean, fresh.variance, fresh.n_eff));
        }
    }
}

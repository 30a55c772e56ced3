//! How long things took, in few bytes: an exact sum, and counts in buckets that grow by a half octave.
//!
//! Only whole microseconds are added, so that a sum is the same in whatever order it was made, in whichever process. A
//! bucket is √2 times as wide as the one before it; a quantile is interpolated within its bucket. Only buckets that have
//! something take room: most rows of a ledger have a handful.

use serde::{Deserialize, Serialize};

/// What one duration counts at most: 10¹⁰ µs, nearly three hours. So ten million of them and their squares fit the digits
/// that a ledger has for them.
const MAX_US: u64 = 10_000_000_000;

/// Milliseconds as whole microseconds.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn whole_us(ms: f64) -> u64 {
    // The cast saturates: what is below zero or no number is 0.
    ((ms * 1000.0).round() as u64).min(MAX_US)
}

/// The first and the last bucket of a scale; what is below or above counts in these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale(pub(super) u8, pub(super) u8);

/// Of requests: from 64 µs to 18 minutes.
pub(super) const LATENCY: Scale = Scale(12, 59);
/// Of the gateway's own part of them: from 64 µs to a second.
pub(super) const OVERHEAD: Scale = Scale(12, 39);

/// Which half octave of microseconds: the n-th begins at √2ⁿ.
fn half_octave(us: u64) -> u8 {
    let octave = us.max(1).ilog2();
    let is_upper = u128::from(us) * u128::from(us) >= 1 << (2 * octave + 1);
    u8::try_from(2 * octave + u32::from(is_upper)).unwrap_or(u8::MAX)
}

/// Durations, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Their sum in microseconds.
    pub(crate) sum_us: u64,
    /// How many fell into which bucket, in order; none is empty.
    pub(crate) buckets: Vec<(u8, u64)>,
}

impl Spread {
    /// Adds a duration.
    pub(super) fn record(&mut self, us: u64, scale: Scale) {
        self.sum_us = self.sum_us.saturating_add(us);
        self.add_to(half_octave(us).clamp(scale.0, scale.1), 1);
    }

    /// Adds `count` durations to a bucket.
    pub(crate) fn add_to(&mut self, bucket: u8, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(place) => self.buckets[place].1 = self.buckets[place].1.saturating_add(count),
            Err(place) if count > 0 => self.buckets.insert(place, (bucket, count)),
            Err(_) => {}
        }
    }

    /// Adds all of another's.
    pub fn absorb(&mut self, other: &Self) {
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        other.buckets.iter().for_each(|&(bucket, count)| self.add_to(bucket, count));
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Their mean in milliseconds, exact; 0 where there is none.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn mean_ms(&self) -> f64 {
        self.sum_us as f64 / self.count().max(1) as f64 / 1000.0
    }

    /// The `q`-quantile in milliseconds, right to a bucket's width; 0 where there is none.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn quantile_ms(&self, q: f64) -> f64 {
        let rank = (q * self.count() as f64).ceil().max(1.0);
        let mut below = 0.0;
        for &(bucket, count) in &self.buckets {
            let count = count as f64;
            if below + count >= rank {
                let begins_at_us = 2_f64.powf(f64::from(bucket) / 2.0);
                let part = (rank - below - 0.5) / count;
                return begins_at_us * (1.0 + part * (std::f64::consts::SQRT_2 - 1.0)) / 1000.0;
            }
            below += count;
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_at_each_half_octave() {
        for (us, bucket) in [(0, 0), (1, 0), (2, 2), (3, 3), (4, 4), (5, 4), (6, 5), (64, 12), (90, 12), (91, 13)] {
            assert_eq!(half_octave(us), bucket, "{us}");
        }
        assert_eq!(half_octave(MAX_US), 66);
    }

    #[test]
    fn a_quantile_of_many_is_right_to_five_percent_and_of_one_to_its_bucket() {
        let mut many = Spread::default();
        (1..=1000).for_each(|ms| many.record(ms * 1000, LATENCY));
        for (q, want) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let got = many.quantile_ms(q);
            assert!((got / want - 1.0).abs() < 0.05, "{q}: {got}");
        }
        assert!((many.mean_ms() - 500.5).abs() < 1e-9);
        for ms in [1, 7, 50, 300, 2000, 60_000] {
            let mut one = Spread::default();
            one.record(ms * 1000, LATENCY);
            #[allow(clippy::cast_precision_loss)]
            let off = one.quantile_ms(0.99) / ms as f64;
            assert!((0.8..1.25).contains(&off), "{ms}: {off}");
        }
        assert!(Spread::default().quantile_ms(0.5) + Spread::default().mean_ms() < f64::EPSILON);
    }

    #[test]
    fn absurd_durations_count_in_the_outermost_buckets() {
        let mut spread = Spread::default();
        for ms in [0.0, -1.0, f64::NAN, 1e300] {
            spread.record(whole_us(ms), OVERHEAD);
        }
        assert_eq!(spread, Spread { sum_us: MAX_US, buckets: vec![(OVERHEAD.0, 3), (OVERHEAD.1, 1)] });
    }
}

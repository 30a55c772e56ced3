//! The generic cell rate algorithm: one rule for requests per minute and tokens per minute.
//!
//! The whole state of a limit is one instant, the theoretical arrival time: when the units taken so far would have been
//! used up, had they flowed evenly. It needs no bucket to refill and no list of past requests, it has no window edge at
//! which twice the limit could pass, and one compare-and-set on it is atomic in any store.
//!
//! Why integers, and why a fraction: one unit lasts `T = period / limit`, seldom a whole number of any unit of time: at
//! 7000 a minute it is 8571.43 µs. Rounded up to microseconds, the 7000th request of a burst is refused; rounded down,
//! bursts of larger limits let extra units pass, and above 60,000,000 a minute `T` is 0. So time is counted in ticks of
//! `1 / limit` ms, of which a unit takes exactly `period_ms`, and the stored instant is whole milliseconds plus ticks.
//! Nothing is ever rounded but the caller's `retry-after`. Nanoseconds in one integer were rejected: they round too,
//! and Unix time in nanoseconds does not fit the 53 bits of a Lua number. A script that mirrors this works on the
//! *backlog* (`tat − now`, in ticks), as the code below does: its numbers are integers below 2^53 while `capacity ·
//! period_ms` is, which allows 150 billion units a minute.
//!
//! Serves stage `admit` and its correction at `settle`. Nothing is taken on a refusal, so a client that hammers a closed
//! door does not keep it closed. What may pass in any span is at most `capacity + limit · span / period`, apart from
//! what [`Rate::correct`] gives back.
//!
//! The instant is one of some process's clock, and that may be set back, or be another process's. A backlog beyond
//! twice the capacity is no backlog but such a clock: it counts as the capacity from now on, so that a clock that is
//! set back by an hour refuses nobody for longer than a burst takes. Why not all beyond the capacity: that is also what
//! a surcharge leaves, and what a process sees whose clock is behind another's. If it brought back what the other has
//! just taken, and the other took it again, two clocks would void the limit.

use serde::{Deserialize, Serialize};

/// The largest limit, period and capacity: beyond 2^53 a Lua script would lose digits.
const LARGEST: u64 = 1 << 53;

/// `limit` units per `period_ms`, of which up to `capacity` may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    limit: u64,
    period_ms: u64,
    capacity: u64,
}

/// The stored state of one limit: its theoretical arrival time. The default is a limit never used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tat {
    /// Whole milliseconds since the Unix epoch.
    pub ms: u64,
    /// Ticks of `1 / limit` ms on top, less than `limit`.
    pub ticks: u64,
}

/// Why a request does not pass. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It passes after `retry_after_ms` (at least 1), if nothing else is taken meanwhile.
    ForNow {
        /// Milliseconds to wait, rounded up.
        retry_after_ms: u64,
    },
    /// It asks for more than `capacity` and passes at no time.
    Never,
}

/// A limit, period or capacity that is zero or above 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be between 1 and 2^53")]
pub struct InvalidRate {
    /// The argument at fault.
    pub field: &'static str,
}

impl Rate {
    /// A rate of `limit` units per `period_ms`, with a burst of `capacity` units (the full limit, unless configured).
    ///
    /// # Errors
    /// An argument is zero or above 2^53. Whether a limit of zero means "none" or "no limit" is for the caller to say.
    pub fn new(limit: u64, period_ms: u64, capacity: u64) -> Result<Self, InvalidRate> {
        for (field, value) in [("limit", limit), ("period_ms", period_ms), ("capacity", capacity)] {
            if value == 0 || value > LARGEST {
                return Err(InvalidRate { field });
            }
        }
        Ok(Self { limit, period_ms, capacity })
    }

    /// Units per period.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The period, in milliseconds.
    pub fn period_ms(&self) -> u64 {
        self.period_ms
    }

    /// The most units that can pass at once.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Takes `units` at `now_ms`: the state to store if they pass.
    ///
    /// # Errors
    /// The units do not pass now, or ever; the stored state stays as it is.
    pub fn check(&self, stored: Tat, now_ms: u64, units: u64) -> Result<Tat, Denied> {
        if units > self.capacity {
            return Err(Denied::Never);
        }
        let backlog = self.backlog(stored, now_ms) + u128::from(units) * self.unit();
        let excess = backlog.saturating_sub(self.full());
        if excess > 0 {
            return Err(Denied::ForNow { retry_after_ms: self.ms_rounded_up(excess) });
        }
        Ok(self.tat(now_ms, backlog))
    }

    /// The units that would pass at `now_ms`.
    pub fn remaining(&self, stored: Tat, now_ms: u64) -> u64 {
        clip(self.full().saturating_sub(self.backlog(stored, now_ms)) / self.unit())
    }

    /// Milliseconds, rounded up, until the full capacity is there again.
    pub fn reset_ms(&self, stored: Tat, now_ms: u64) -> u64 {
        self.ms_rounded_up(self.backlog(stored, now_ms))
    }

    /// Replaces an estimate by what was used: takes `delta` further units, or gives `-delta` back.
    ///
    /// A surcharge is taken even when it exceeds the capacity, because it has been used already, up to twice the capacity: of
    /// more than that it looks like a clock that was set back. A refund ends at
    /// an empty backlog, so that unused units never become a burst above the capacity; one that comes after its own
    /// units have drained away frees room that later requests had taken, at most its own size.
    pub fn correct(&self, stored: Tat, now_ms: u64, delta: i64) -> Tat {
        let change = u128::from(delta.unsigned_abs()) * self.unit();
        let backlog = self.backlog(stored, now_ms);
        let corrected = if delta < 0 { backlog.saturating_sub(change) } else { backlog + change };
        self.tat(now_ms, corrected.min(2 * self.full()))
    }

    /// The state as it counts at `now_ms`: to be stored when units are refused, for what a clock that was set back has left
    /// would else be as far off at the next look.
    pub fn brought_back(&self, stored: Tat, now_ms: u64) -> Tat {
        self.tat(now_ms, self.backlog(stored, now_ms))
    }

    /// Ticks that one unit takes: `T = period / limit` ms, times `limit` ticks per ms.
    fn unit(&self) -> u128 {
        u128::from(self.period_ms)
    }

    /// Ticks that the whole capacity takes.
    fn full(&self) -> u128 {
        u128::from(self.capacity) * self.unit()
    }

    /// `max(0, stored − now)` in ticks, or the capacity if that is more than twice the capacity. Ticks stored under a larger
    /// limit count as just below one millisecond.
    fn backlog(&self, stored: Tat, now_ms: u64) -> u128 {
        let limit = u128::from(self.limit);
        let tat = u128::from(stored.ms) * limit + u128::from(stored.ticks.min(self.limit - 1));
        let backlog = tat.saturating_sub(u128::from(now_ms) * limit);
        if backlog > 2 * self.full() { self.full() } else { backlog }
    }

    /// `now + backlog`, the state to store.
    fn tat(&self, now_ms: u64, backlog: u128) -> Tat {
        let limit = u128::from(self.limit);
        Tat { ms: clip(u128::from(now_ms) + backlog / limit), ticks: clip(backlog % limit) }
    }

    fn ms_rounded_up(&self, ticks: u128) -> u64 {
        clip(ticks.div_ceil(u128::from(self.limit)))
    }
}

/// The value, or the largest there is.
fn clip(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_763_769_600_000;

    fn rate(limit: u64, period_ms: u64, capacity: u64) -> Rate {
        Rate::new(limit, period_ms, capacity).unwrap()
    }

    #[test]
    fn a_burst_passes_then_units_come_back_one_by_one() {
        // Four per second with a burst of three: T = 250 ms.
        let rate = rate(4, 1_000, 3);
        let denied = |retry_after_ms| Err(Denied::ForNow { retry_after_ms });
        let table = [
            // after_ms, units, passes, remaining, reset_ms
            (0, 1, Ok(()), 2, 250),
            (0, 1, Ok(()), 1, 500),
            (0, 1, Ok(()), 0, 750),
            (0, 1, denied(250), 0, 750),
            (1, 1, denied(249), 0, 749),
            (249, 1, denied(1), 0, 501),
            (250, 1, Ok(()), 0, 750),
            (250, 0, Ok(()), 0, 750),
            (499, 2, denied(251), 0, 501),
            (749, 2, denied(1), 1, 251),
            (750, 2, Ok(()), 0, 750),
            (750, 4, Err(Denied::Never), 0, 750),
            (1_500, 3, Ok(()), 0, 750),
            (9_000, 0, Ok(()), 3, 0),
            (9_000, 3, Ok(()), 0, 750),
            // A clock that runs behind another waits longer; it takes nothing back.
            (8_900, 1, denied(350), 0, 850),
        ];
        let mut tat = Tat::default();
        for (row, (after_ms, units, passes, remaining, reset_ms)) in table.into_iter().enumerate() {
            let now_ms = NOW + after_ms;
            let verdict = rate.check(tat, now_ms, units);
            tat = verdict.unwrap_or(tat);
            assert_eq!(verdict.map(|_| ()), passes, "row {row}");
            assert_eq!(rate.remaining(tat, now_ms), remaining, "row {row}");
            assert_eq!(rate.reset_ms(tat, now_ms), reset_ms, "row {row}");
        }
    }

    #[test]
    fn a_unit_of_any_fraction_of_a_millisecond_costs_exactly_that() {
        for limit in [7, 7_000, 200_000, 7_000_000, 150_000_000, 3_000_000_001] {
            let rate = rate(limit, 60_000, limit);
            let tat = rate.check(Tat::default(), NOW, limit - 1).unwrap();
            let full = rate.check(tat, NOW, 1).unwrap();
            assert!(full > tat, "limit {limit}");
            assert_eq!(full, Tat { ms: NOW + 60_000, ticks: 0 }, "limit {limit}");
            assert!(rate.check(full, NOW, 1).is_err(), "limit {limit}");
        }
    }

    #[test]
    fn a_refund_never_makes_more_than_the_capacity() {
        let rate = rate(100, 60_000, 100);
        let tat = rate.correct(Tat::default(), NOW, -1_000_000);
        assert_eq!(tat, Tat { ms: NOW, ticks: 0 });
        assert_eq!(rate.remaining(tat, NOW), 100);
    }

    #[test]
    fn a_surcharge_beyond_the_capacity_is_paid_off_over_time() {
        let rate = rate(100, 60_000, 100);
        let tat = rate.correct(Tat::default(), NOW, 150);
        assert_eq!(rate.remaining(tat, NOW), 0);
        assert_eq!(rate.reset_ms(tat, NOW), 90_000);
        assert_eq!(rate.check(tat, NOW, 1), Err(Denied::ForNow { retry_after_ms: 30_600 }));
        assert!(rate.check(tat, NOW + 30_600, 1).is_ok());
    }

    #[test]
    fn a_clock_that_is_set_back_by_an_hour_refuses_for_no_longer_than_a_burst_takes() {
        let rate = rate(100, 60_000, 100);
        let used_up = rate.check(Tat::default(), NOW, 100).unwrap();
        let back = NOW - 3_600_000;
        assert_eq!((rate.remaining(used_up, back), rate.reset_ms(used_up, back)), (0, 60_000));
        assert_eq!(rate.check(used_up, back, 1), Err(Denied::ForNow { retry_after_ms: 600 }));
        let stored = rate.brought_back(used_up, back);
        assert!(rate.check(stored, back + 600, 1).is_ok());
        assert_eq!(rate.remaining(stored, back + 60_000), 100);
        // A correction of before counts from there, too.
        assert_eq!(rate.remaining(rate.correct(used_up, back, -40), back), 40);
    }

    #[test]
    fn clocks_that_differ_give_nothing_back_to_one_another() {
        let rate = rate(100, 60_000, 100);
        let used_up = rate.check(Tat::default(), NOW, 100).unwrap();
        for behind_ms in [1, 5_000, 60_000] {
            assert_eq!(rate.brought_back(used_up, NOW - behind_ms), used_up);
            assert!(rate.check(used_up, NOW - behind_ms, 1).is_err());
        }
    }

    #[test]
    fn a_surcharge_is_taken_up_to_twice_the_capacity() {
        let rate = rate(100, 60_000, 100);
        let tat = rate.correct(Tat::default(), NOW, 250);
        assert_eq!(rate.reset_ms(tat, NOW), 120_000);
    }

    #[test]
    fn a_lowered_limit_keeps_the_instant() {
        let stored = Tat { ms: NOW + 10, ticks: 6_999 };
        assert_eq!(rate(5, 1_000, 5).reset_ms(stored, NOW), 11);
    }

    #[test]
    fn zero_and_absurd_arguments_are_named() {
        let table = [
            ((0, 1, 1), "limit"),
            ((1, 0, 1), "period_ms"),
            ((1, 1, 0), "capacity"),
            ((LARGEST + 1, 1, 1), "limit"),
            ((1, u64::MAX, 1), "period_ms"),
        ];
        for ((limit, period_ms, capacity), field) in table {
            assert_eq!(Rate::new(limit, period_ms, capacity), Err(InvalidRate { field }));
        }
    }

    prop_compose! {
        fn any_rate()(limit in 1..=2_000_u64, period_ms in 1..=10_000_u64, capacity in 1..=2_000_u64) -> Rate {
            rate(limit, period_ms, capacity)
        }
    }

    prop_compose! {
        fn any_tat(rate: Rate)(delta in 0..=5_000_i64) -> Tat {
            rate.correct(Tat::default(), NOW, delta)
        }
    }

    proptest! {
        #[test]
        fn whatever_the_clock_does_a_wait_ends(
            (rate, tat, set_ms, units) in any_rate().prop_flat_map(|rate| {
                (Just(rate), any_tat(rate), 0..=2 * NOW, 1..=rate.capacity)
            }),
        ) {
            let burst_ms = rate.ms_rounded_up(rate.full());
            let stored = rate.brought_back(tat, set_ms);
            prop_assert!(rate.reset_ms(stored, set_ms) <= 2 * burst_ms);
            prop_assert_eq!(rate.remaining(stored, set_ms), rate.remaining(tat, set_ms));
            if let Err(Denied::ForNow { retry_after_ms }) = rate.check(tat, set_ms, units) {
                prop_assert!(retry_after_ms <= 2 * burst_ms);
                prop_assert!(rate.check(stored, set_ms + retry_after_ms, units).is_ok());
            }
            if set_ms + 2 * burst_ms < NOW {
                prop_assert!(rate.reset_ms(tat, set_ms) <= burst_ms, "of a clock that is set back far");
            }
        }

        #[test]
        fn the_whole_capacity_passes_at_once_and_not_one_more(
            (limit, period_ms, capacity) in (1..=200_u64, 1..=60_000_u64, 1..=200_u64),
        ) {
            let rate = rate(limit, period_ms, capacity);
            let mut tat = Tat::default();
            for left in (0..capacity).rev() {
                tat = rate.check(tat, NOW, 1).unwrap();
                prop_assert_eq!(rate.remaining(tat, NOW), left);
            }
            prop_assert!(rate.check(tat, NOW, 1).is_err());
        }

        #[test]
        fn no_span_lets_more_pass_than_capacity_and_flow(
            rate in any_rate(),
            asks in prop::collection::vec((0..2_000_u64, 1..50_u64), 1..80),
        ) {
            let (mut tat, mut now_ms, mut passed) = (Tat::default(), NOW, Vec::new());
            for (wait_ms, units) in asks {
                now_ms += wait_ms;
                if let Ok(next) = rate.check(tat, now_ms, units) {
                    tat = next;
                    passed.push((now_ms, units));
                }
            }
            for first in 0..passed.len() {
                let mut units = 0;
                for &(at_ms, more) in &passed[first..] {
                    units += more;
                    // units ≤ capacity + limit · span / period, free of rounding.
                    let flow = rate.limit * (at_ms - passed[first].0);
                    prop_assert!(units * rate.period_ms <= rate.capacity * rate.period_ms + flow);
                }
            }
        }

        #[test]
        fn retry_after_is_the_first_millisecond_that_passes(
            (rate, tat, units) in any_rate().prop_flat_map(|rate| (Just(rate), any_tat(rate), 1..=rate.capacity)),
        ) {
            if let Err(Denied::ForNow { retry_after_ms }) = rate.check(tat, NOW, units) {
                prop_assert!(rate.check(tat, NOW + retry_after_ms, units).is_ok());
                prop_assert!(rate.check(tat, NOW + retry_after_ms - 1, units).is_err());
            }
        }

        #[test]
        fn exactly_what_remains_passes(
            (rate, tat, after_ms) in any_rate().prop_flat_map(|rate| (Just(rate), any_tat(rate), 0..100_000_u64)),
        ) {
            let now_ms = NOW + after_ms;
            let remaining = rate.remaining(tat, now_ms);
            prop_assert!(remaining == 0 || rate.check(tat, now_ms, remaining).is_ok());
            prop_assert!(rate.check(tat, now_ms, remaining + 1).is_err());
            let full_at_ms = now_ms + rate.reset_ms(tat, now_ms);
            prop_assert_eq!(rate.remaining(tat, full_at_ms), rate.capacity);
        }

        #[test]
        fn a_correction_equals_having_asked_for_the_right_number(
            (rate, estimate, used) in any_rate()
                .prop_flat_map(|rate| (Just(rate), 0..=rate.capacity, 0..=rate.capacity)),
        ) {
            let estimated = rate.check(Tat::default(), NOW, estimate).unwrap();
            let corrected = rate.correct(estimated, NOW, used as i64 - estimate as i64);
            prop_assert_eq!(corrected, rate.check(Tat::default(), NOW, used).unwrap());
        }

        #[test]
        fn no_input_overflows(
            (limit, period_ms, capacity) in (1..=LARGEST, 1..=LARGEST, 1..=LARGEST),
            (ms, ticks, now_ms) in (any::<u64>(), any::<u64>(), any::<u64>()),
            (units, delta) in (any::<u64>(), any::<i64>()),
        ) {
            let (rate, tat) = (rate(limit, period_ms, capacity), Tat { ms, ticks });
            for delta in [delta, i64::MIN, i64::MAX] {
                let tat = rate.correct(tat, now_ms, delta);
                let _ = rate.check(tat, now_ms, units);
                let _ = rate.check(tat, 0, capacity);
                prop_assert!(rate.remaining(tat, now_ms) <= capacity);
                let _ = rate.reset_ms(tat, 0);
            }
        }
    }
}

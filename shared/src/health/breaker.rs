//! The breaker of one model: it stops sending work to a model that fails, and finds out when it works again.
//!
//! `closed` admits all, `open` rejects, `half_open` admits one probe at a time. It opens on a run of failures, which is
//! quick, or on a probability of failure above one half, which catches a model that fails most calls but never many in a
//! row. It stays open for 5, 10, then 20 s, with jitter so that a fleet's breakers do not come back together.
//!
//! Answers are slow, so results arrive long after the state in which their requests began: a success from before the
//! outage must not close a breaker, the last timeouts of an outage must not open it again once the probe has closed it,
//! and the late result of a probe whose lease ran out must not overrule the probe that followed. One rule covers all three:
//! `counts_from_ms` is an instant, and the result of a request begun before it is ignored. Opening sets it to the end of
//! the open time, a probe's lease to the lease's beginning, closing to the closing.
//!
//! Within a state the same holds of a run of failures: answers to calls that began before it come in its midst, at first as
//! fast as the failures. Let each end the run, and a model that is dead is left only when the slowest of them has come. Let
//! none count, and a model that fails one short call in twenty seems dead, since its long ones are all from before. So an
//! answer from before takes half a failure off the run, and one to a call that began within it ends it: where more than about
//! a third of what ends is a failure, the run grows.
//!
//! Of equally simple designs, two were rejected. Recognizing the probe by a token leaves the breaker half open for good
//! if the token is mislaid; by time, any request that begins once the model is due may serve as the probe. Reading
//! the failure measure of the ranking would reopen a closed breaker on its first failure, because that measure still
//! holds what opened it; so the breaker keeps its own, begun afresh at each closing.
//!
//! Serves A6: the state is one value, so a store that updates it atomically leases one probe fleet-wide. What counts as a
//! failure is the caller's to say: a 429 and a caller's own fault are not recorded here at all.

use serde::{Deserialize, Serialize};

use super::welford::Welford;

/// How far the clocks of a fleet may be apart, in milliseconds; a span that begins later than this from now was written
/// by a clock that was wrong.
pub(crate) const SKEW_MS: u64 = 1_000;

/// So many answers from before a run of failures take one of them off.
const LATE_FOR_ONE: u32 = 2;

/// When a breaker opens and for how long: the table `[breaker]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSettings {
    /// It opens on this many failures in a row. Default 5.
    pub consecutive_failures: u32,
    /// It opens above this probability of failure, in percent. Default 50.
    pub failure_percent: u32,
    /// … once the probability rests on at least this many samples (`n_eff`). Default 8.
    pub least_samples: u32,
    /// How long it stays open the first time; doubled each time it opens without having closed. Default 5000.
    pub first_open_ms: u64,
    /// The longest it stays open, jitter apart. Default 20000.
    pub longest_open_ms: u64,
    /// The jitter of the open time, in percent each way. Default 10.
    pub jitter_percent: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percent: 50,
            least_samples: 8,
            first_open_ms: 5_000,
            longest_open_ms: 20_000,
            jitter_percent: 10,
        }
    }
}

/// What a breaker lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// One probe at a time.
    HalfOpen,
    /// Nothing.
    Open,
}

/// What the breaker learns from a finished request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Whether the model did its work.
    pub outcome: Outcome,
    /// When the request began, Unix ms. For a probe no earlier than the time given to [`Breaker::try_probe`].
    pub begun_at_ms: u64,
    /// Now, Unix ms.
    pub now_ms: u64,
}

/// Whether the model did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Success,
    /// 5xx, timeout, reset or truncation.
    Failure,
}

/// The state of one model's breaker. The default is closed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Breaker {
    /// `k`, times opened since it was last closed; 0 while closed.
    pub(crate) opened_in_a_row: u32,
    pub(crate) consecutive_failures: u32,
    /// When the first call of that run of failures began, in Unix milliseconds.
    pub(crate) run_from_ms: u64,
    /// Answers within the run to calls that had begun before.
    pub(crate) late_answers: u32,
    pub(crate) open_until_ms: u64,
    pub(crate) probe_until_ms: u64,
    /// Requests begun before this say nothing.
    pub(crate) counts_from_ms: u64,
    /// When it last opened, closed or leased its probe.
    pub(crate) changed_at_ms: u64,
    /// When it opened without having closed since; 0 while closed.
    pub(crate) out_since_ms: u64,
    /// Failures (0 or 1) since it was last closed.
    pub(crate) evidence: Welford,
}

impl Breaker {
    /// What it lets pass at `now_ms`.
    pub fn state(&self, now_ms: u64) -> BreakerState {
        if self.opened_in_a_row == 0 {
            BreakerState::Closed
        } else if now_ms < self.open_until_ms {
            BreakerState::Open
        } else {
            BreakerState::HalfOpen
        }
    }

    /// When it next admits a request, Unix ms: the end of the open time, or of the probe's lease. In the past if it
    /// admits one already.
    pub fn blocked_until_ms(&self) -> u64 {
        self.open_until_ms.max(self.probe_until_ms)
    }

    /// Leases the one probe of a half-open breaker for `lease_ms`; false if it is not half open or the probe is out.
    ///
    /// A lease that ends without a result allows another probe. The lease should outlast the request's deadline.
    pub fn try_probe(&mut self, now_ms: u64, lease_ms: u64) -> bool {
        if !self.is_due(now_ms) {
            return false;
        }
        self.probe_until_ms = now_ms.saturating_add(lease_ms.max(1));
        (self.counts_from_ms, self.changed_at_ms) = (now_ms, now_ms);
        true
    }

    /// Whether its one probe is to be had.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.state(now_ms) == BreakerState::HalfOpen && now_ms >= self.probe_until_ms
    }

    /// Ends what was written by a clock that was ahead of this one: a span that has yet to begin has ended. Else a
    /// clock that is set back by an hour would keep a model out for an hour.
    pub(super) fn mend(&mut self, now_ms: u64) {
        if self.changed_at_ms > now_ms.saturating_add(SKEW_MS) {
            for at_ms in [
                &mut self.open_until_ms,
                &mut self.probe_until_ms,
                &mut self.counts_from_ms,
                &mut self.changed_at_ms,
                &mut self.out_since_ms,
            ] {
                *at_ms = now_ms.min(*at_ms);
            }
        }
    }

    /// Gives back the lease taken at `leased_at_ms`, of a probe that ended without saying anything of the model: the
    /// client left, the fault was the caller's, the answer was 429.
    pub fn release_probe(&mut self, leased_at_ms: u64) {
        if self.opened_in_a_row > 0 && self.counts_from_ms == leased_at_ms {
            self.probe_until_ms = 0;
        }
    }

    /// Takes the result of a request in.
    ///
    /// `random` is any number, drawn evenly by the caller, and jitters the open time if the breaker opens; `tau_ms` is the
    /// time constant of the failure measure.
    pub fn record(&mut self, finished: Finished, random: u64, tau_ms: u64, settings: &BreakerSettings) {
        if finished.begun_at_ms < self.counts_from_ms {
            return;
        }
        let closed = self.opened_in_a_row == 0;
        match finished.outcome {
            Outcome::Success if closed => {
                self.shorten_run(finished.begun_at_ms);
                self.evidence.record(0.0, finished.now_ms, tau_ms);
            }
            Outcome::Success => self.close(finished.now_ms),
            Outcome::Failure if closed => {
                if self.consecutive_failures == 0 {
                    self.run_from_ms = finished.begun_at_ms;
                }
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
                self.evidence.record(1.0, finished.now_ms, tau_ms);
                if self.too_many_failures(finished.now_ms, tau_ms, settings) {
                    self.open(finished.now_ms, random, settings);
                }
            }
            Outcome::Failure => self.open(finished.now_ms, random, settings),
        }
    }

    /// Takes an answer off the run of failures, to a call that began then.
    fn shorten_run(&mut self, begun_at_ms: u64) {
        self.late_answers = self.late_answers.saturating_add(1);
        let is_late = begun_at_ms < self.run_from_ms;
        if !is_late || self.late_answers / LATE_FOR_ONE >= self.consecutive_failures {
            (self.consecutive_failures, self.run_from_ms, self.late_answers) = (0, 0, 0);
        }
    }

    fn too_many_failures(&self, now_ms: u64, tau_ms: u64, settings: &BreakerSettings) -> bool {
        let figures = self.evidence.read(now_ms, tau_ms);
        self.consecutive_failures >= settings.consecutive_failures.saturating_add(self.late_answers / LATE_FOR_ONE)
            || (figures.n_eff >= f64::from(settings.least_samples)
                && figures.failure_probability() * 100.0 > f64::from(settings.failure_percent))
    }

    pub(super) fn close(&mut self, now_ms: u64) {
        *self = Self { counts_from_ms: now_ms, changed_at_ms: now_ms, ..Self::default() };
    }

    /// Opens for `min(longest, first · 2^(k−1))`, give or take the jitter.
    pub(super) fn open(&mut self, now_ms: u64, random: u64, settings: &BreakerSettings) {
        let doublings = self.opened_in_a_row.min(32);
        let open_ms = settings.first_open_ms.saturating_mul(1 << doublings).min(settings.longest_open_ms);
        let spread_ms = open_ms.saturating_mul(settings.jitter_percent.min(100).into()) / 100;
        let jitter_ms = random % spread_ms.saturating_mul(2).saturating_add(1);
        if self.opened_in_a_row == 0 {
            self.out_since_ms = now_ms;
        }
        self.opened_in_a_row = self.opened_in_a_row.saturating_add(1);
        self.open_until_ms = now_ms.saturating_add((open_ms - spread_ms).saturating_add(jitter_ms));
        self.probe_until_ms = 0;
        (self.counts_from_ms, self.changed_at_ms) = (self.open_until_ms, now_ms);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use Outcome::{Failure, Success};
    use proptest::prelude::*;

    const NOW: u64 = 1_763_769_600_000;
    const TAU: u64 = 60_000;
    const LEASE: u64 = 30_000;

    /// Records the result of a request that took from `begun` to `ended`, in ms after `NOW`, without jitter.
    fn see(breaker: &mut Breaker, outcome: Outcome, begun: u64, ended: u64) {
        let finished = Finished { outcome, begun_at_ms: NOW + begun, now_ms: NOW + ended };
        let settings = BreakerSettings { jitter_percent: 0, ..BreakerSettings::default() };
        breaker.record(finished, 0, TAU, &settings);
    }

    /// A breaker that opened at `NOW + 100` on five failures of requests begun at `NOW`.
    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            assert_eq!(breaker.state(NOW + 100), BreakerState::Closed);
            see(&mut breaker, Failure, 0, 100);
        }
        breaker
    }

    /// One that, besides, was closed by its probe at `NOW + 6_000`.
    fn closed_again() -> Breaker {
        let mut breaker = opened();
        assert!(breaker.try_probe(NOW + 5_500, LEASE));
        see(&mut breaker, Success, 5_500, 6_000);
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_for_five_seconds() {
        let breaker = opened();
        assert_eq!(breaker.state(NOW + 100), BreakerState::Open);
        assert_eq!(breaker.state(NOW + 5_099), BreakerState::Open);
        assert_eq!(breaker.state(NOW + 5_100), BreakerState::HalfOpen);
        assert_eq!(breaker.blocked_until_ms(), NOW + 5_100);
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let mut breaker = Breaker::default();
        for at in 0..3 {
            for _ in 0..4 {
                see(&mut breaker, Failure, 0, at);
                see(&mut breaker, Success, 0, at);
            }
        }
        assert_eq!(breaker.state(NOW + 3), BreakerState::Closed);
    }

    /// One that has failed four times for calls begun from 1,000 on, and answered before.
    fn with_a_run_of_four() -> Breaker {
        let mut breaker = Breaker::default();
        for at in 0..20 {
            see(&mut breaker, Success, 0, 900 + at);
        }
        for at in 1_000..1_004 {
            see(&mut breaker, Failure, at, at + 100);
        }
        breaker
    }

    #[test]
    fn two_answers_from_before_a_run_take_one_failure_off_it_and_one_from_within_ends_it() {
        // Answers from before, answers from within, and the failures that it takes from there.
        for (before, within, failures) in [(0, 0, 1), (1, 0, 1), (2, 0, 2), (4, 0, 3), (7, 0, 4), (8, 0, 5), (0, 1, 5)]
        {
            let mut breaker = with_a_run_of_four();
            for _ in 0..before {
                see(&mut breaker, Success, 999, 1_200);
            }
            for _ in 0..within {
                see(&mut breaker, Success, 1_000, 1_200);
            }
            for failed in 1..=failures {
                assert_eq!(breaker.state(NOW + 1_300), BreakerState::Closed, "{before}, {within}, {failed}");
                see(&mut breaker, Failure, 1_250, 1_300);
            }
            assert_eq!(breaker.state(NOW + 1_300), BreakerState::Open, "{before}, {within}");
        }
    }

    #[test]
    fn a_dead_model_is_left_though_answers_from_before_come_as_fast_as_failures() {
        let mut breaker = with_a_run_of_four();
        see(&mut breaker, Success, 999, 1_150);
        let mut failures = 4;
        while breaker.state(NOW + 2_000) == BreakerState::Closed {
            see(&mut breaker, Success, 999, 1_200);
            see(&mut breaker, Failure, 1_200, 1_300);
            failures += 1;
            assert!(failures < 10, "it is kept on by answers from before");
        }
    }

    #[test]
    fn one_short_failure_among_many_long_answers_opens_nothing() {
        let mut breaker = Breaker::default();
        for at in 0..1_000 {
            // Calls take a second, or fail at once: at the next failure each answer is to a call from before.
            see(
                &mut breaker,
                if at % 5 == 0 { Failure } else { Success },
                10 * at + if at % 5 == 0 { 990 } else { 0 },
                10 * at + 1_000,
            );
        }
        assert_eq!(breaker.state(NOW + 11_000), BreakerState::Closed);
    }

    #[test]
    fn failing_most_calls_opens_it_without_a_run_of_five() {
        let mut breaker = Breaker::default();
        let mut calls = 0;
        while breaker.state(NOW + calls) == BreakerState::Closed {
            let outcome = if calls % 4 == 3 { Success } else { Failure };
            see(&mut breaker, outcome, calls, calls);
            calls += 1;
            assert!(calls < 20, "three failures of four never opened it");
        }
        // 7 failures of 9: (7 + 5 · 0.02) / (9 + 5) = 0.507.
        assert_eq!(calls, 9);
    }

    #[test]
    fn failing_half_the_calls_leaves_it_closed() {
        let mut breaker = Breaker::default();
        for at in 0..1_000 {
            see(&mut breaker, if at % 2 == 0 { Failure } else { Success }, at, at);
        }
        assert_eq!(breaker.state(NOW + 1_000), BreakerState::Closed);
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_twenty_seconds() {
        let mut breaker = opened();
        for wait in [5_000, 10_000, 20_000, 20_000, 20_000] {
            let due = breaker.blocked_until_ms() - NOW;
            assert!(!breaker.try_probe(NOW + due - 1, LEASE));
            assert!(breaker.try_probe(NOW + due, LEASE));
            see(&mut breaker, Failure, due, due + 700);
            assert_eq!(breaker.state(NOW + due + 700), BreakerState::Open);
            let next = (2 * wait).min(20_000);
            assert_eq!(breaker.blocked_until_ms(), NOW + due + 700 + next);
        }
    }

    #[test]
    fn a_successful_probe_closes_it_and_the_next_opening_is_short_again() {
        let mut breaker = opened();
        assert!(breaker.try_probe(NOW + 5_100, LEASE));
        see(&mut breaker, Failure, 5_100, 5_200);
        assert!(breaker.try_probe(NOW + 15_200, LEASE));
        see(&mut breaker, Success, 15_200, 15_900);
        assert_eq!(breaker.state(NOW + 15_900), BreakerState::Closed);
        for _ in 0..5 {
            see(&mut breaker, Failure, 16_000, 17_000);
        }
        assert_eq!(breaker.blocked_until_ms(), NOW + 17_000 + 5_000);
    }

    #[test]
    fn closed_again_it_does_not_hold_the_outage_against_the_model() {
        let mut breaker = closed_again();
        for at in 6_000..6_004 {
            see(&mut breaker, Failure, at, at);
        }
        assert_eq!(breaker.state(NOW + 6_004), BreakerState::Closed);
    }

    #[test]
    fn one_probe_at_a_time_and_another_once_the_lease_ran_out() {
        let mut breaker = opened();
        assert!(breaker.try_probe(NOW + 5_100, LEASE));
        assert_eq!(breaker.blocked_until_ms(), NOW + 5_100 + LEASE);
        assert!(!breaker.try_probe(NOW + 5_100, LEASE));
        assert!(!breaker.try_probe(NOW + 5_099 + LEASE, LEASE));
        assert!(breaker.try_probe(NOW + 5_100 + LEASE, LEASE));
    }

    #[test]
    fn a_released_lease_is_free_at_once_and_only_its_holder_releases_it() {
        let mut breaker = opened();
        assert!(breaker.try_probe(NOW + 5_100, LEASE));
        breaker.release_probe(NOW + 5_099);
        assert!(!breaker.try_probe(NOW + 5_200, LEASE));
        breaker.release_probe(NOW + 5_100);
        assert!(breaker.try_probe(NOW + 5_200, LEASE));
    }

    #[test]
    fn late_results_change_nothing() {
        let half_open = || {
            let mut breaker = opened();
            assert!(breaker.try_probe(NOW + 5_500, LEASE));
            breaker
        };
        let second_probe = || {
            let mut breaker = half_open();
            assert!(breaker.try_probe(NOW + 5_500 + LEASE, LEASE));
            breaker
        };
        let table: [(&str, Breaker, Outcome, u64, u64); 9] = [
            ("a success from before the outage, while open", opened(), Success, 0, 200),
            ("a failure from before the opening, while open", opened(), Failure, 99, 200),
            ("a success of the least bad, used while open", opened(), Success, 1_000, 2_000),
            ("a success from before, while due", opened(), Success, 0, 5_300),
            ("a success from before, while the probe is out", half_open(), Success, 0, 5_600),
            ("a failure from before, while the probe is out", half_open(), Failure, 0, 5_600),
            ("a failure of a probe that was replaced", second_probe(), Failure, 5_500, 36_000),
            ("a success of a probe that was replaced", second_probe(), Success, 5_500, 36_000),
            ("a timeout from the outage, once closed again", closed_again(), Failure, 90, 9_000),
        ];
        for (what, before, outcome, begun, ended) in table {
            let mut breaker = before.clone();
            for _ in 0..10 {
                see(&mut breaker, outcome, begun, ended);
            }
            assert_eq!(breaker, before, "{what}");
        }
    }

    #[test]
    fn a_result_after_the_lease_counts_if_no_probe_followed() {
        let mut breaker = opened();
        assert!(breaker.try_probe(NOW + 5_500, LEASE));
        see(&mut breaker, Success, 5_500, 5_500 + 2 * LEASE);
        assert_eq!(breaker.state(NOW + 5_500 + 2 * LEASE), BreakerState::Closed);
    }

    #[test]
    fn jitter_moves_the_end_by_a_tenth_at_most_and_evenly() {
        let finished = Finished { outcome: Failure, begun_at_ms: NOW, now_ms: NOW };
        let mut open_ms: Vec<_> = (0..1_001)
            .map(|random| {
                let mut breaker = Breaker::default();
                for _ in 0..5 {
                    breaker.record(finished, u64::from(u32::MAX) + random, TAU, &BreakerSettings::default());
                }
                breaker.blocked_until_ms() - NOW
            })
            .collect();
        open_ms.sort_unstable();
        assert_eq!(open_ms, (4_500..=5_500).collect::<Vec<_>>());
    }

    #[test]
    fn no_setting_breaks_it() {
        let table = [(0, 0, 0, 0), (u64::MAX, u64::MAX, u32::MAX, u64::MAX), (1, u64::MAX, 100, u64::MAX)];
        for (first_open_ms, longest_open_ms, jitter_percent, random) in table {
            let settings = BreakerSettings {
                consecutive_failures: 0,
                first_open_ms,
                longest_open_ms,
                jitter_percent,
                ..BreakerSettings::default()
            };
            let mut breaker = Breaker::default();
            for now_ms in [0, NOW, u64::MAX] {
                let finished = Finished { outcome: Failure, begun_at_ms: u64::MAX, now_ms };
                breaker.record(finished, random, 0, &settings);
                let _ = breaker.try_probe(u64::MAX, u64::MAX);
            }
        }
    }

    #[test]
    fn settings_default_field_by_field_and_refuse_unknown_ones() {
        let settings: BreakerSettings = serde_json::from_str(r#"{"consecutive_failures":3}"#).unwrap();
        assert_eq!((settings.consecutive_failures, settings.longest_open_ms), (3, 20_000));
        assert!(serde_json::from_str::<BreakerSettings>(r#"{"failures":3}"#).is_err());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Begin,
        Probe,
        End(usize, Outcome),
        Release(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let outcome = prop_oneof![3 => Just(Failure), 1 => Just(Success)];
        prop_oneof![
            3 => (0..8_000_u64).prop_map(Step::Wait),
            3 => Just(Step::Begin),
            2 => Just(Step::Probe),
            6 => (any::<prop::sample::Index>(), outcome).prop_map(|(at, outcome)| Step::End(at.index(64), outcome)),
            1 => any::<prop::sample::Index>().prop_map(|at| Step::Release(at.index(64))),
        ]
    }

    proptest! {
        /// Any interleaving of requests that begin, end late and out of order, and probes of which some never end.
        #[test]
        fn whatever_arrives_when_the_promises_hold(
            steps in prop::collection::vec((any_step(), any::<u64>()), 1..200),
        ) {
            let settings = BreakerSettings::default();
            let (mut breaker, mut now_ms) = (Breaker::default(), NOW);
            let mut running: Vec<(u64, bool)> = Vec::new();
            let mut lease_until_ms = 0;
            let mut changed_at_ms = 0;
            for (step, random) in steps {
                let before = breaker.clone();
                match step {
                    Step::Wait(ms) => now_ms += ms,
                    Step::Begin => running.push((now_ms, false)),
                    Step::Probe => if breaker.try_probe(now_ms, LEASE) {
                        prop_assert_eq!(before.state(now_ms), BreakerState::HalfOpen);
                        prop_assert!(now_ms >= lease_until_ms, "two probes at once");
                        lease_until_ms = now_ms + LEASE;
                        running.push((now_ms, true));
                    },
                    Step::End(at, outcome) if !running.is_empty() => {
                        let (begun_at_ms, probe) = running.swap_remove(at % running.len());
                        breaker.record(Finished { outcome, begun_at_ms, now_ms }, random, TAU, &settings);
                        if begun_at_ms < changed_at_ms {
                            prop_assert_eq!(&breaker, &before, "a late result counted");
                        }
                        let was_open = before.opened_in_a_row > 0;
                        let is_open = breaker.opened_in_a_row > 0;
                        if was_open && !is_open {
                            prop_assert_eq!((outcome, before.state(now_ms)), (Success, BreakerState::HalfOpen));
                        }
                        if breaker.opened_in_a_row > before.opened_in_a_row {
                            prop_assert_eq!(outcome, Failure);
                            let base_ms = 20_000.min(5_000 << before.opened_in_a_row.min(2));
                            let open_ms = breaker.open_until_ms - now_ms;
                            prop_assert!(10 * open_ms >= 9 * base_ms && 10 * open_ms <= 11 * base_ms);
                        }
                        if breaker.opened_in_a_row != before.opened_in_a_row {
                            (changed_at_ms, lease_until_ms) = (now_ms, 0);
                        } else if probe && begun_at_ms + LEASE == lease_until_ms && was_open {
                            prop_assert!(false, "the probe's own result was ignored");
                        }
                    }
                    Step::Release(at) => if let Some(&(begun_at_ms, true)) = running.get(at % running.len().max(1)) {
                        breaker.release_probe(begun_at_ms);
                        if breaker != before {
                            lease_until_ms = 0;
                        }
                    },
                    Step::End(..) => {}
                }
            }
        }
    }
}

//! Which candidate to try first: the expected time to an answer, and an order that changes only for a reason.
//!
//! One figure, in milliseconds, weighs speed against failure: the time an answer takes if the call succeeds, plus the time
//! that failing calls lose before it. A weighted sum of "latency score" and "error score" was rejected, because its weights
//! mean nothing that an operator could check.
//!
//! The configured order is a statement of the operator's (price, quality) that figures must not overturn lightly. A candidate is
//! passed over only when another is better by a margin, so that noise does not shuffle the order and two candidates of like
//! speed do not take turns. What was never measured counts as 0 ms in the time of a candidate in place, and keeps a
//! challenger from overtaking: ignorance favours the configured order on both sides.
//!
//! A candidate that is not used is not measured either, and would be judged by its past for ever. A share of the traffic
//! therefore tries the candidate measured least, until its figures are fresh; that bounds the cost at a few
//! requests per `τ`. Candidates that may not be used now stay in the list, last, the one back soonest first: when
//! all are out the least bad is used (A6). No clock and no dice in here: the caller passes both.

use crate::limit::window::time_utc;
use std::fmt;

use serde::Deserialize;

use super::breaker::{Breaker, BreakerState};
use super::welford::Figures;

/// How models are measured and ranked: the table `[health]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSettings {
    /// Time constant τ after which a sample weighs 0.37 of a new one. Default 60000.
    pub tau_ms: u64,
    /// What a failed call costs before the next one starts: noticing it, and backing off. Default 2000.
    pub time_lost_per_failure_ms: u64,
    /// A candidate overtakes one configured before it if its expected time is shorter by more than this share of the
    /// other's, in percent. Default 20.
    pub margin_percent: u32,
    /// … and if its latency rests on at least this many samples (`n_eff`). Default 2.
    pub least_samples: u32,
    /// The share of requests that try a candidate with stale figures first, in percent. Default 2.
    pub refresh_percent: u32,
    /// Figures are stale when less than this weight of attempts is left (one attempt just now weighs 1). Default 3.
    pub stale_below_weight: u32,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            tau_ms: 60_000,
            time_lost_per_failure_ms: 2_000,
            margin_percent: 20,
            least_samples: 2,
            refresh_percent: 2,
            stale_below_weight: 3,
        }
    }
}

/// What is known of a candidate now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measures {
    /// Time to the first token, or to the end of an answer that came whole. Every answer is in it, hence its `n_eff`
    /// shows how well the latency is known.
    pub ttft_ms: Figures,
    /// Time per output token after the first, where that is known.
    pub ms_per_token: Figures,
    /// 1 for an attempt that failed, 0 for one that did not. Every attempt is in it, hence its weight shows how fresh
    /// what is known of the candidate is.
    pub failure: Figures,
}

/// Whether a candidate may be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Ready,
    /// Its breaker is half open and no probe is out: yes, for whoever gets the lease.
    ProbeDue,
    /// The provider asked for a pause (429, Retry-After).
    CoolingDown {
        /// When it ends, Unix ms.
        until_ms: u64,
    },
    /// Its breaker is open, or half open with a probe out.
    BreakerOpen {
        /// When the next probe may start, Unix ms.
        until_ms: u64,
    },
}

/// A candidate as the ranking sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Expected time to a whole answer, lower is better; what was never measured counts 0.
    pub expected_ms: f64,
    /// Effective number of samples under the latency.
    pub samples: f64,
    /// Weight of recent attempts.
    pub weight: f64,
    /// Whether it may be used now.
    pub standing: Standing,
}

/// A candidate's place in the order, and why it has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranked {
    /// Its index in what was ranked.
    pub index: usize,
    /// Why it stands here.
    pub reason: Reason,
}

/// Why a candidate stands where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its place in the configuration.
    Configured,
    /// Overtook a candidate configured before it.
    Faster,
    /// Was overtaken.
    PassedOver,
    /// Its place in the configuration, if the lease of its breaker's probe is granted; else the next is used.
    Probe,
    /// Tried first to learn how it does.
    Refresh,
    /// First: it has answered this conversation before.
    Conversation,
    /// Last: the provider asked for a pause.
    CoolingDown {
        /// When it ends, Unix ms.
        until_ms: u64,
    },
    /// Last: its breaker is open.
    BreakerOpen {
        /// When the next probe may start, Unix ms.
        until_ms: u64,
    },
}

impl Reason {
    /// Whether it says that the candidate is not to be called but for a probe, or as the last resort.
    #[must_use]
    pub fn is_out(self) -> bool {
        matches!(self, Self::Probe | Self::CoolingDown { .. } | Self::BreakerOpen { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("configured order"),
            Self::Faster => f.write_str("faster than one configured before it"),
            Self::PassedOver => f.write_str("passed over for a faster one"),
            Self::Probe => f.write_str("breaker half open, due for a probe"),
            Self::Refresh => f.write_str("figures stale, being refreshed"),
            Self::Conversation => f.write_str("it has answered this conversation before"),
            Self::CoolingDown { until_ms } => write!(f, "cooling down until {}", time_utc(*until_ms)),
            Self::BreakerOpen { until_ms } => write!(f, "breaker open until {}", time_utc(*until_ms)),
        }
    }
}

impl Standing {
    /// The standing at `now_ms` of a candidate whose cooldown ends at `cooldown_until_ms` (0 for none).
    pub fn of(cooldown_until_ms: u64, breaker: &Breaker, now_ms: u64) -> Self {
        let blocked_until_ms = breaker.blocked_until_ms();
        if cooldown_until_ms > now_ms.max(blocked_until_ms) {
            Self::CoolingDown { until_ms: cooldown_until_ms }
        } else if blocked_until_ms > now_ms {
            Self::BreakerOpen { until_ms: blocked_until_ms }
        } else if breaker.state(now_ms) == BreakerState::Closed {
            Self::Ready
        } else {
            Self::ProbeDue
        }
    }

    /// The one of two that keeps a candidate out, or keeps it out for longer.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let out_until = |standing| match standing {
            Self::Ready => 0,
            Self::ProbeDue => 1,
            Self::CoolingDown { until_ms } | Self::BreakerOpen { until_ms } => until_ms.max(2),
        };
        if out_until(other) > out_until(self) { other } else { self }
    }
}

impl Scored {
    /// Scores a candidate for an answer of `output_tokens_expected`.
    pub fn new(
        measures: &Measures,
        output_tokens_expected: u64,
        standing: Standing,
        settings: &HealthSettings,
    ) -> Self {
        Self {
            expected_ms: expected_ms(measures, output_tokens_expected, settings),
            samples: measures.ttft_ms.n_eff,
            weight: measures.failure.weight,
            standing,
        }
    }

    fn overtakes(&self, other: &Self, settings: &HealthSettings) -> bool {
        let rest_percent = 100.0 - f64::from(settings.margin_percent);
        self.expected_ms * 100.0 < other.expected_ms * rest_percent
    }
}

/// Expected time to a whole answer: `T = ttft + tokens · ms_per_token + p / (1 − p) · time_lost_per_failure`.
pub fn expected_ms(measures: &Measures, output_tokens_expected: u64, settings: &HealthSettings) -> f64 {
    let p = measures.failure.failure_probability();
    let answer_ms = measures.ttft_ms.mean + output_tokens_expected as f64 * measures.ms_per_token.mean;
    answer_ms + p / (1.0 - p) * settings.time_lost_per_failure_ms as f64
}

/// A candidate's health from 0 to 100: the chance, in percent, that a request sent to it now is answered; 0 while nothing
/// may be sent to it. A model never tried stands at 98, the prior's.
pub fn health_percent(failure: &Figures, standing: Standing) -> u8 {
    match standing {
        Standing::Ready | Standing::ProbeDue => (100.0 * (1.0 - failure.failure_probability())).round() as u8,
        Standing::CoolingDown { .. } | Standing::BreakerOpen { .. } => 0,
    }
}

/// The order in which to try `candidates`, given in configured order; every one is in it once.
///
/// `random` is any number, drawn evenly by the caller: it says whether this request refreshes stale figures.
pub fn rank(candidates: &[Scored], random: u64, settings: &HealthSettings) -> Vec<Ranked> {
    let (mut usable, mut out) = (Vec::new(), Vec::new());
    for (index, candidate) in candidates.iter().enumerate() {
        match candidate.standing {
            Standing::Ready | Standing::ProbeDue => usable.push(index),
            Standing::CoolingDown { until_ms } => {
                out.push((until_ms, Ranked { index, reason: Reason::CoolingDown { until_ms } }));
            }
            Standing::BreakerOpen { until_ms } => {
                out.push((until_ms, Ranked { index, reason: Reason::BreakerOpen { until_ms } }));
            }
        }
    }
    let mut order = Vec::with_capacity(candidates.len());
    while !usable.is_empty() {
        let (place, overtook) = next(candidates, &usable, settings);
        let index = usable.remove(place);
        let reason = if candidates[index].standing == Standing::ProbeDue {
            Reason::Probe
        } else if overtook {
            Reason::Faster
        } else if order.iter().any(|before: &Ranked| before.index > index) {
            Reason::PassedOver
        } else {
            Reason::Configured
        };
        order.push(Ranked { index, reason });
    }
    if random % 100 < u64::from(settings.refresh_percent)
        && let Some(place) = stalest(candidates, &order, settings)
    {
        order[..=place].rotate_right(1);
        order[0].reason = Reason::Refresh;
    }
    out.sort_by_key(|&(until_ms, _)| until_ms);
    order.extend(out.into_iter().map(|(_, ranked)| ranked));
    order
}

/// The place in `usable` (not empty) of the candidate that comes next, and whether it overtakes the first to do so. One that
/// was never tried is not overtaken: the prior's chance of failure is no evidence against it. A probe
/// that is due is neither overtaken, or its model would never be sampled again, nor does it overtake.
fn next(candidates: &[Scored], usable: &[usize], settings: &HealthSettings) -> (usize, bool) {
    let first = &candidates[usable[0]];
    let fastest = (1..usable.len())
        .map(|place| (place, &candidates[usable[place]]))
        .filter(|(_, other)| other.standing == Standing::Ready && other.samples >= f64::from(settings.least_samples))
        .min_by(|(_, a), (_, b)| a.expected_ms.total_cmp(&b.expected_ms));
    match fastest {
        Some((place, other))
            if first.standing == Standing::Ready && first.weight > 0.0 && other.overtakes(first, settings) =>
        {
            (place, true)
        }
        _ => (0, false),
    }
}

/// The place in `order` of the ready candidate with the stalest figures, unless all are fresh or it stands first anyway.
fn stalest(candidates: &[Scored], order: &[Ranked], settings: &HealthSettings) -> Option<usize> {
    let weight = |place: usize| candidates[order[place].index].weight;
    (0..order.len())
        .filter(|&place| candidates[order[place].index].standing == Standing::Ready)
        .filter(|&place| weight(place) < f64::from(settings.stale_below_weight))
        .min_by(|&a, &b| weight(a).total_cmp(&weight(b)))
        .filter(|&place| place > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::breaker::{BreakerSettings, Finished, Outcome};
    use super::super::welford::Welford;
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_763_769_600_000;
    /// A draw that refreshes nothing.
    const NO_REFRESH: u64 = 99;
    const REFRESH: u64 = 1;

    /// A candidate in use, with fresh figures.
    fn ready(expected_ms: f64) -> Scored {
        Scored { expected_ms, samples: 50.0, weight: 50.0, standing: Standing::Ready }
    }

    fn with(standing: Standing, scored: Scored) -> Scored {
        Scored { standing, ..scored }
    }

    fn order(candidates: &[Scored], random: u64) -> Vec<(usize, Reason)> {
        let ranked = rank(candidates, random, &HealthSettings::default());
        ranked.into_iter().map(|ranked| (ranked.index, ranked.reason)).collect()
    }

    #[test]
    fn candidates_are_overtaken_only_by_a_margin() {
        use Reason::{Configured, Faster, PassedOver};
        let unproven = Scored { samples: 1.9, ..ready(1.0) };
        let table = [
            ("nothing to rank", vec![], vec![]),
            ("equal", vec![ready(100.0), ready(100.0)], vec![(0, Configured), (1, Configured)]),
            ("just not by the margin", vec![ready(100.0), ready(80.0)], vec![(0, Configured), (1, Configured)]),
            ("just by the margin", vec![ready(100.0), ready(79.9)], vec![(1, Faster), (0, PassedOver)]),
            (
                "the fastest first, the rest as configured",
                vec![ready(1_000.0), ready(990.0), ready(100.0), ready(1_010.0)],
                vec![(2, Faster), (0, PassedOver), (1, PassedOver), (3, Configured)],
            ),
            (
                "each place is a comparison of its own",
                vec![ready(1_000.0), ready(500.0), ready(100.0)],
                vec![(2, Faster), (1, Faster), (0, PassedOver)],
            ),
            ("one lucky answer is no proof", vec![ready(1_000.0), unproven], vec![(0, Configured), (1, Configured)]),
        ];
        for (what, candidates, expected) in table {
            assert_eq!(order(&candidates, NO_REFRESH), expected, "{what}");
        }
    }

    #[test]
    fn one_that_was_never_tried_is_not_overtaken() {
        let untried = Scored { samples: 0.0, weight: 0.0, ..ready(40.0) };
        assert_eq!(order(&[untried, ready(1.0)], NO_REFRESH)[0], (0, Reason::Configured));
        let tried = Scored { weight: 1.0, ..untried };
        assert_eq!(order(&[tried, ready(1.0)], NO_REFRESH)[0], (1, Reason::Faster));
    }

    #[test]
    fn candidates_that_are_out_go_last_the_one_back_soonest_first() {
        let cooling = Standing::CoolingDown { until_ms: NOW + 900 };
        let open = Standing::BreakerOpen { until_ms: NOW + 5_000 };
        let soon = Standing::BreakerOpen { until_ms: NOW + 100 };
        let candidates =
            [with(open, ready(1.0)), with(cooling, ready(1.0)), ready(900.0), with(soon, ready(1.0)), ready(901.0)];
        let expected = [
            (2, Reason::Configured),
            (4, Reason::Configured),
            (3, Reason::BreakerOpen { until_ms: NOW + 100 }),
            (1, Reason::CoolingDown { until_ms: NOW + 900 }),
            (0, Reason::BreakerOpen { until_ms: NOW + 5_000 }),
        ];
        assert_eq!(order(&candidates, NO_REFRESH), expected);
    }

    #[test]
    fn when_all_are_out_the_least_bad_is_first() {
        let out = |until_ms| with(Standing::BreakerOpen { until_ms }, ready(1.0));
        let ranked = order(&[out(NOW + 9), out(NOW + 3), out(NOW + 3)], REFRESH);
        assert_eq!(ranked.into_iter().map(|(index, _)| index).collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn a_due_probe_keeps_its_configured_place() {
        let due = with(Standing::ProbeDue, ready(50_000.0));
        assert_eq!(order(&[due, ready(10.0)], NO_REFRESH), [(0, Reason::Probe), (1, Reason::Configured)]);
        let quick = with(Standing::ProbeDue, ready(1.0));
        assert_eq!(order(&[ready(10.0), quick], NO_REFRESH), [(0, Reason::Configured), (1, Reason::Probe)]);
        let unmeasured = Scored { weight: 0.0, ..quick };
        assert_eq!(order(&[ready(10.0), unmeasured], REFRESH), [(0, Reason::Configured), (1, Reason::Probe)]);
    }

    #[test]
    fn two_requests_in_a_hundred_refresh_the_stalest() {
        let stale = |weight| Scored { weight, ..ready(500.0) };
        let candidates = [ready(100.0), stale(2.9), stale(0.5), stale(3.0)];
        for random in 0..100 {
            let first = order(&candidates, random)[0];
            let expected = if random < 2 { (2, Reason::Refresh) } else { (0, Reason::Configured) };
            assert_eq!(first, expected, "random {random}");
        }
        let rest: Vec<_> = order(&candidates, REFRESH)[1..].iter().map(|&(index, _)| index).collect();
        assert_eq!(rest, [0, 1, 3]);
    }

    #[test]
    fn fresh_figures_and_candidates_that_are_out_are_not_refreshed() {
        let stale_but_out = Scored { weight: 0.0, ..with(Standing::BreakerOpen { until_ms: NOW }, ready(1.0)) };
        let just_fresh = Scored { weight: 3.0, ..ready(100.0) };
        let stale = Scored { weight: 0.0, ..ready(100.0) };
        for candidates in [[ready(100.0), just_fresh], [ready(100.0), stale_but_out], [stale, just_fresh]] {
            assert_eq!(order(&candidates, REFRESH)[0], (0, Reason::Configured));
        }
    }

    #[test]
    fn the_expected_time_adds_answer_and_lost_time() {
        let fig = |mean, weight| Figures { mean, weight, n_eff: weight, variance: 0.0 };
        let table = [
            // ttft, per token, failure, tokens, expected
            (fig(200.0, 9.0), fig(10.0, 9.0), fig(0.0, 95.0), 100, 1_200.0 + 0.001 / 0.999 * 2_000.0),
            (fig(200.0, 9.0), fig(10.0, 9.0), fig(0.0, 95.0), 0, 200.0 + 0.001 / 0.999 * 2_000.0),
            (fig(0.0, 0.0), fig(0.0, 0.0), fig(0.0, 0.0), 100, 0.02 / 0.98 * 2_000.0),
            (fig(200.0, 9.0), fig(10.0, 9.0), fig(1.0, 1e6), 100, 1_200.0 + 0.95 / (1.0 - 0.95) * 2_000.0),
        ];
        for (ttft_ms, ms_per_token, failure, tokens, expected) in table {
            let measures = Measures { ttft_ms, ms_per_token, failure };
            let scored = Scored::new(&measures, tokens, Standing::Ready, &HealthSettings::default());
            assert!((scored.expected_ms - expected).abs() < 1e-6, "{} is not {expected}", scored.expected_ms);
        }
    }

    #[test]
    fn a_failing_model_is_passed_over_before_its_breaker_opens_even_if_it_never_answered() {
        let settings = HealthSettings::default();
        let (mut failure, mut steady) = (Welford::default(), Welford::default());
        for _ in 0..4 {
            failure.record(1.0, NOW, settings.tau_ms);
            steady.record(300.0, NOW, settings.tau_ms);
        }
        let failing = Measures { failure: failure.read(NOW, settings.tau_ms), ..Measures::default() };
        let answering = Measures { ttft_ms: steady.read(NOW, settings.tau_ms), ..Measures::default() };
        let score = |measures| Scored::new(measures, 100, Standing::Ready, &settings);
        let expected = [(1, Reason::Faster), (0, Reason::PassedOver)];
        assert_eq!(order(&[score(&failing), score(&answering)], NO_REFRESH), expected);
    }

    #[test]
    fn the_standing_follows_cooldown_and_breaker() {
        let mut breaker = Breaker::default();
        assert_eq!(Standing::of(0, &breaker, NOW), Standing::Ready);
        assert_eq!(Standing::of(NOW, &breaker, NOW), Standing::Ready);
        assert_eq!(Standing::of(NOW + 1, &breaker, NOW), Standing::CoolingDown { until_ms: NOW + 1 });
        for _ in 0..5 {
            let finished = Finished { outcome: Outcome::Failure, begun_at_ms: NOW, now_ms: NOW };
            breaker.record(finished, 500, 60_000, &BreakerSettings::default());
        }
        let due = NOW + 5_000;
        assert_eq!(Standing::of(0, &breaker, NOW), Standing::BreakerOpen { until_ms: due });
        assert_eq!(Standing::of(NOW + 9, &breaker, NOW), Standing::BreakerOpen { until_ms: due });
        assert_eq!(Standing::of(due + 1, &breaker, NOW), Standing::CoolingDown { until_ms: due + 1 });
        assert_eq!(Standing::of(0, &breaker, due), Standing::ProbeDue);
        assert!(breaker.try_probe(due, 700));
        assert_eq!(Standing::of(0, &breaker, due), Standing::BreakerOpen { until_ms: due + 700 });
        assert_eq!(Standing::of(0, &breaker, due + 700), Standing::ProbeDue);
    }

    #[test]
    fn health_is_the_chance_of_an_answer() {
        let failing = |mean| Figures { mean, weight: 95.0, ..Figures::default() };
        assert_eq!(health_percent(&Figures::default(), Standing::Ready), 98);
        assert_eq!(health_percent(&failing(0.0), Standing::Ready), 100);
        assert_eq!(health_percent(&failing(0.5), Standing::Ready), 52);
        assert_eq!(health_percent(&failing(1.0), Standing::ProbeDue), 5);
        assert_eq!(health_percent(&failing(0.0), Standing::BreakerOpen { until_ms: NOW }), 0);
        assert_eq!(health_percent(&failing(0.0), Standing::CoolingDown { until_ms: NOW }), 0);
    }

    #[test]
    fn reasons_read_as_words() {
        assert_eq!(Reason::Faster.to_string(), "faster than one configured before it");
        let until_ms = 1_763_769_600_000;
        assert_eq!(Reason::BreakerOpen { until_ms }.to_string(), "breaker open until 2025-11-22T00:00:00Z");
        assert_eq!(Reason::CoolingDown { until_ms }.to_string(), "cooling down until 2025-11-22T00:00:00Z");
    }

    #[test]
    fn settings_default_field_by_field_and_refuse_unknown_ones() {
        let settings: HealthSettings = serde_json::from_str(r#"{"margin_percent":50}"#).unwrap();
        assert_eq!((settings.margin_percent, settings.tau_ms), (50, 60_000));
        assert!(serde_json::from_str::<HealthSettings>(r#"{"margin":50}"#).is_err());
    }

    fn any_candidate() -> impl Strategy<Value = Scored> {
        let standing = prop_oneof![
            6 => Just(Standing::Ready),
            1 => Just(Standing::ProbeDue),
            1 => (0..9_u64).prop_map(|until_ms| Standing::CoolingDown { until_ms }),
            1 => (0..9_u64).prop_map(|until_ms| Standing::BreakerOpen { until_ms }),
        ];
        (0.0..5_000.0_f64, 0.0..9.0_f64, 0.0..9.0_f64, standing)
            .prop_map(|(expected_ms, samples, weight, standing)| Scored { expected_ms, samples, weight, standing })
    }

    proptest! {
        #[test]
        fn every_candidate_is_in_the_order_once_and_those_out_are_last(
            candidates in prop::collection::vec(any_candidate(), 0..9), random: u64,
        ) {
            let ranked = rank(&candidates, random, &HealthSettings::default());
            let mut seen: Vec<_> = ranked.iter().map(|ranked| ranked.index).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..candidates.len()).collect::<Vec<_>>());
            let out = |ranked: &Ranked| match candidates[ranked.index].standing {
                Standing::Ready | Standing::ProbeDue => None,
                Standing::CoolingDown { until_ms } | Standing::BreakerOpen { until_ms } => Some(until_ms),
            };
            prop_assert!(ranked.is_sorted_by_key(out));
        }

        #[test]
        fn no_place_is_taken_out_of_order_without_the_margin(
            candidates in prop::collection::vec(any_candidate(), 0..9),
        ) {
            let ranked = rank(&candidates, NO_REFRESH, &HealthSettings::default());
            for (place, taker) in ranked.iter().enumerate() {
                let passed = ranked[place..].iter().map(|ranked| ranked.index)
                    .filter(|&index| candidates[index].standing == Standing::Ready).min();
                if let (Reason::Faster, Some(passed)) = (taker.reason, passed) {
                    let (ours, theirs) = (candidates[taker.index], candidates[passed]);
                    prop_assert!(taker.index > passed && ours.expected_ms < 0.8 * theirs.expected_ms + 1e-9);
                    prop_assert!(ours.samples >= 2.0);
                } else if taker.reason == Reason::Configured {
                    prop_assert!(ranked[..place].iter().all(|before| before.index < taker.index));
                }
            }
        }

        #[test]
        fn candidates_of_like_speed_keep_the_configured_order(
            speeds in prop::collection::vec(80.0..=100.0_f64, 0..9),
        ) {
            let candidates: Vec<_> = speeds.into_iter().map(ready).collect();
            for (place, ranked) in rank(&candidates, NO_REFRESH, &HealthSettings::default()).iter().enumerate() {
                prop_assert_eq!((ranked.index, ranked.reason), (place, Reason::Configured));
            }
        }
    }
}

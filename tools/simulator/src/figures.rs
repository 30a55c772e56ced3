//! What a selection comes to in a scenario, over several seeds.

use crate::play::Played;
use crate::world::{COUNT, Scenario, Spell};
use std::collections::BTreeSet;

/// What stands above the cells of a row.
pub(crate) const HEADINGS: [&str; 7] =
    ["success", "p50", "p99", "USD per 1,000", "calls that failed", "left after", "back after"];

/// A model is left when it gets at most this share of the requests of …
const LEFT_SHARE: f64 = 0.05;
/// … so long; a probe or two are no return.
const LEFT_FOR_MS: u64 = 3_000;
const PROBES: usize = 2;
/// It is back when it gets half of its former share again for so long.
const BACK_FOR_MS: u64 = 5_000;
/// Its former share is that of so long before the fault, and counts from …
const BEFORE_MS: u64 = 20_000;
/// … this share on.
const USED_SHARE: f64 = 0.2;

/// How long it took to leave a model.
#[derive(Clone, Copy, Default)]
pub(crate) struct Left {
    /// Requests that it was called for meanwhile.
    pub(crate) requests: usize,
    pub(crate) ms: u64,
}

impl Left {
    /// Within five requests or two seconds.
    pub(crate) fn is_soon(&self) -> bool {
        self.requests <= 5 || self.ms <= 2_000
    }
}

/// The figures.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) requests: usize,
    pub(crate) answered: usize,
    /// The same, of requests that came while some model was well.
    pub(crate) servable: usize,
    pub(crate) servable_answered: usize,
    pub(crate) cost_nusd: u64,
    pub(crate) calls: usize,
    pub(crate) failed_calls: usize,
    /// Every time that a model was to be left, and was to be gone back to; none if that never happened.
    pub(crate) left: Vec<Option<Left>>,
    pub(crate) back_ms: Vec<Option<u64>>,
    latencies_ms: Vec<f64>,
}

impl Figures {
    /// Adds what was played with one seed.
    pub(crate) fn add(&mut self, scenario: &Scenario, played: &Played) {
        for served in &played.served {
            let servable = usize::from(scenario.can_be_served(served.at_ms));
            self.requests += 1;
            self.servable += servable;
            if served.answered {
                self.answered += 1;
                self.servable_answered += servable;
                self.latencies_ms.push(served.latency_ms);
            }
        }
        self.latencies_ms.sort_by(f64::total_cmp);
        self.cost_nusd += played.cost_nusd;
        self.calls += played.calls.len();
        self.failed_calls += played.calls.iter().filter(|made| !made.answered).count();
        for spell in scenario.spells.iter().filter(|spell| spell.from_s > 0) {
            self.add_spell(scenario, spell, played);
        }
    }

    fn add_spell(&mut self, scenario: &Scenario, spell: &Spell, played: &Played) {
        let (from_ms, until_ms) = (spell.from_s * 1000, spell.until_s * 1000);
        let calls = |from: u64, to: u64| {
            played.calls.iter().filter(|made| made.model == spell.model && (from..to).contains(&made.at_ms)).count()
        };
        let came = |from: u64, to: u64| played.served.iter().filter(|one| (from..to).contains(&one.at_ms)).count();
        let share = |from: u64, to: u64| calls(from, to) as f64 / came(from, to).max(1) as f64;
        let before = share(from_ms.saturating_sub(BEFORE_MS), from_ms);
        if before < USED_SHARE {
            return;
        }
        let others_fail = (0..COUNT)
            .all(|model| scenario.spells.iter().any(|other| other.is_on(model, from_ms) && other.fault.is_total()));
        if spell.fault.is_total() && !others_fail {
            let is_left = |at: &u64| {
                let to = (at + LEFT_FOR_MS).min(until_ms);
                calls(*at, to) as f64 <= (came(*at, to) as f64 * LEFT_SHARE).max(PROBES as f64)
            };
            let at = (from_ms..until_ms).step_by(100).find(is_left);
            let requests = |until: u64| {
                let called = played.calls.iter().filter(|made| made.model == spell.model);
                let meanwhile = called.filter(|made| (from_ms..until).contains(&made.at_ms));
                meanwhile.map(|made| made.number).collect::<BTreeSet<_>>().len()
            };
            self.left.push(at.map(|at| Left { requests: requests(at), ms: at - from_ms }));
        }
        let end_ms = scenario.seconds * 1000;
        if spell.fault.is_total() && until_ms < end_ms {
            let next_ms = scenario.spells.iter().map(|next| next.from_s * 1000).filter(|from| *from >= until_ms).min();
            let last_ms = next_ms.unwrap_or(end_ms) - BACK_FOR_MS;
            let is_back = |at: &u64| share(*at, at + BACK_FOR_MS) >= before / 2.0;
            let back_ms = (until_ms..=last_ms).step_by(100).find(is_back).map(|at| at - until_ms);
            if back_ms.is_some() || next_ms.is_none() {
                self.back_ms.push(back_ms);
            }
        }
    }

    /// The latency in milliseconds that this share of the answers did not exceed.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let last = self.latencies_ms.len().saturating_sub(1);
        self.latencies_ms.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The share of requests that were answered.
    pub(crate) fn success(&self) -> f64 {
        self.answered as f64 / self.requests.max(1) as f64
    }

    /// The same, of those that came while some model was well.
    pub(crate) fn servable_success(&self) -> f64 {
        if self.servable == 0 { 1.0 } else { self.servable_answered as f64 / self.servable as f64 }
    }

    /// US dollars for a thousand answers.
    pub(crate) fn usd_per_thousand(&self) -> f64 {
        self.cost_nusd as f64 / 1e6 / self.answered.max(1) as f64
    }

    /// The slowest of all times that a model was left.
    pub(crate) fn slowest_left(&self) -> Option<Option<Left>> {
        let slowness = |left: &&Option<Left>| left.map_or(u64::MAX, |left| if left.is_soon() { 0 } else { left.ms });
        self.left.iter().max_by_key(|left| (slowness(left), left.map(|left| left.ms))).copied()
    }

    /// The slowest return.
    pub(crate) fn slowest_back_ms(&self) -> Option<Option<u64>> {
        self.back_ms.iter().max_by_key(|ms| ms.unwrap_or(u64::MAX)).copied()
    }

    /// Whether it is better than another in success, in p99 and in cost.
    pub(crate) fn beats(&self, other: &Self) -> bool {
        self.success() > other.success()
            && self.quantile_ms(0.99) < other.quantile_ms(0.99)
            && self.usd_per_thousand() < other.usd_per_thousand()
    }

    /// The cells of its row.
    pub(crate) fn cells(&self) -> [String; 7] {
        let left = match self.slowest_left() {
            None => "–".into(),
            Some(None) => "never".into(),
            Some(Some(Left { requests, ms })) => format!("{requests}, {:.1} s", ms as f64 / 1000.0),
        };
        let back = match self.slowest_back_ms() {
            None => "–".into(),
            Some(None) => "never".into(),
            Some(Some(ms)) => format!("{:.1} s", ms as f64 / 1000.0),
        };
        [
            format!("{:.2} %", 100.0 * self.success()),
            format!("{:.1} s", self.quantile_ms(0.5) / 1000.0),
            format!("{:.1} s", self.quantile_ms(0.99) / 1000.0),
            format!("{:.3}", self.usd_per_thousand()),
            format!("{:.1} %", 100.0 * self.failed_calls as f64 / self.calls.max(1) as f64),
            left,
            back,
        ]
    }
}

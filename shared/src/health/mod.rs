//! What is known of each model: how fast it is, how often it fails, whether it may be called at all.
//!
//! Four small state machines, pure and testable by themselves: [`welford`] (decayed statistics), [`breaker`], [`refusals`]
//! and [`score`] (the order of candidates). This file is what they are put together to: one [`ModelState`] per model, which
//! each store keeps in its own way, and the [`ModelHealth`] that is read off it.

pub mod breaker;
pub mod overdue;
pub mod refusals;
pub mod score;
pub mod welford;

use crate::id::jitter;
use breaker::{Breaker, BreakerSettings, BreakerState, Outcome, SKEW_MS};
use refusals::{EVERYBODY, Refusals, Refused, mark_of_tenant};
use score::{Measures, Standing};
use serde::Serialize;
use std::sync::Arc;
use welford::Welford;

/// How long a model is left alone after a 429 that does not say how long. A longer cooldown was asked for.
pub const GUESSED_COOLDOWN_MS: u64 = 5_000;

/// What an attempt showed of its model. A fault of the caller's shows nothing and is not recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The model's catalog name.
    pub model: Arc<str>,
    /// When the attempt began, in Unix milliseconds.
    pub begun_at_ms: u64,
    /// What it showed.
    pub signal: Signal,
}

/// What an attempt shows of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Signal {
    /// It answered.
    Answered {
        /// Milliseconds to the first token; of a whole answer, to its end.
        ttft_ms: f64,
        /// Milliseconds per output token after the first, where that is known.
        ms_per_token: Option<f64>,
    },
    /// 5xx, time-out, reset, truncation.
    Failed,
    /// It refused our key, our bill, our model id or this one request, or what it answered cannot be read.
    Refused(Refused),
    /// It is not to be called until then (429).
    CoolDown {
        /// Unix milliseconds.
        until_ms: u64,
    },
    /// It was leased the breaker's probe, which showed nothing.
    Nothing,
}

impl Signal {
    /// What a whole answer shows. It does not show its first token, which counts as one more token.
    #[must_use]
    pub fn of_whole(latency_ms: f64, output_tokens: u64) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let ms_per_token = latency_ms / output_tokens.max(1) as f64;
        Self::Answered { ttft_ms: ms_per_token, ms_per_token: Some(ms_per_token) }
    }
}

/// What is known of a model now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelHealth {
    /// Its figures.
    pub measures: Measures,
    /// Whether it may be used.
    pub standing: Standing,
    /// Its breaker.
    pub breaker: BreakerState,
    /// When its cooldown ends, in Unix milliseconds; 0 when it has none.
    pub cooldown_until_ms: u64,
    /// The same, if its provider asked for it; 0 if it is our own guess.
    pub asked_until_ms: u64,
    /// The mark of a tenant whose requests alone it refused, and how it stands for that one besides.
    pub only_for: Option<(u64, Standing)>,
    /// How it does, and since when.
    pub condition: Condition,
    /// Since when it is out for that tenant, in Unix milliseconds; 0 where it is not.
    pub out_only_since_ms: u64,
}

/// How a model does, as whoever may use it may know: nothing of it says whose requests showed that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Condition {
    /// How it does.
    pub word: Word,
    /// Since when, in Unix milliseconds; 0 where that is not known.
    pub since_ms: u64,
}

/// How a model does, best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It answers.
    #[default]
    Ok,
    /// It fails now and then, was out until a moment ago, or asked for a pause.
    Degraded,
    /// Its breaker is open, or waits for what a probe shows.
    Down,
}

impl ModelHealth {
    /// Whether a tenant may use it.
    #[must_use]
    pub fn standing_for(&self, tenant: &str) -> Standing {
        match self.only_for {
            Some((mark, standing)) if mark == mark_of_tenant(tenant) => self.standing.worse(standing),
            _ => self.standing,
        }
    }

    /// How it does for a tenant.
    #[must_use]
    pub fn condition_for(&self, tenant: &str) -> Condition {
        let out_since_ms = match self.only_for {
            Some((mark, _)) if mark == mark_of_tenant(tenant) => self.out_only_since_ms,
            _ => 0,
        };
        match self.condition.word {
            Word::Ok | Word::Degraded if out_since_ms > 0 => Condition { word: Word::Down, since_ms: out_since_ms },
            _ => self.condition,
        }
    }
}

/// A model of which more calls than this fail, in percent, is not well.
const WELL_PERCENT: f64 = 10.0;

/// What a store keeps of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ModelState {
    pub(crate) ttft_ms: Welford,
    pub(crate) ms_per_token: Welford,
    pub(crate) failure: Welford,
    pub(crate) breaker: Breaker,
    pub(crate) refusals: Refusals,
    pub(crate) cooldown_until_ms: u64,
    /// When its cooldown was last noted.
    pub(crate) cooled_at_ms: u64,
    /// When it first failed since it was last well; 0 while it is well.
    pub(crate) unwell_since_ms: u64,
    /// When it was last found well, having not been so; 0 if it never was unwell.
    pub(crate) well_since_ms: u64,
}

impl ModelState {
    /// What it says at `now_ms`.
    pub(crate) fn snapshot(&self, now_ms: u64, tau_ms: u64) -> ModelHealth {
        let mut state = self.clone();
        state.mend(now_ms);
        let standing = Standing::of(state.cooldown_until_ms, &state.breaker, now_ms);
        let refused = Standing::of(0, &state.refusals.breaker, now_ms);
        let for_all = state.refusals.tenant == EVERYBODY;
        let breakers = [&state.breaker, &state.refusals.breaker];
        let cooldown_until_ms = if state.cooldown_until_ms > now_ms { state.cooldown_until_ms } else { 0 };
        let is_asked = cooldown_until_ms.saturating_sub(state.cooled_at_ms) > GUESSED_COOLDOWN_MS;
        let open = breakers.into_iter().take(if for_all { 2 } else { 1 }).map(|breaker| breaker.state(now_ms)).max();
        ModelHealth {
            measures: Measures {
                ttft_ms: state.ttft_ms.read(now_ms, tau_ms),
                ms_per_token: state.ms_per_token.read(now_ms, tau_ms),
                failure: state.failure.read(now_ms, tau_ms),
            },
            standing: if for_all { standing.worse(refused) } else { standing },
            breaker: open.unwrap_or(BreakerState::Closed),
            cooldown_until_ms,
            asked_until_ms: if is_asked { cooldown_until_ms } else { 0 },
            only_for: (!for_all && refused != Standing::Ready).then_some((state.refusals.tenant, refused)),
            condition: state.condition(now_ms),
            out_only_since_ms: state.refusals.breaker.out_since_ms,
        }
    }

    /// How it does. That a failure is long ago does not make it well: an answer does.
    fn condition(&self, now_ms: u64) -> Condition {
        let refusals = &self.refusals;
        let refused_since_ms = if refusals.tenant == EVERYBODY { refusals.breaker.out_since_ms } else { 0 };
        let out_since_ms =
            [self.breaker.out_since_ms, refused_since_ms].into_iter().filter(|since_ms| *since_ms > 0).min();
        let (word, since_ms) = match out_since_ms {
            Some(since_ms) => (Word::Down, since_ms),
            None if self.unwell_since_ms > 0 => (Word::Degraded, self.unwell_since_ms),
            None => (Word::Ok, self.well_since_ms),
        };
        Condition { word, since_ms: since_ms.min(now_ms) }
    }

    /// Notes that it is not well, if it was.
    fn unwell(&mut self, now_ms: u64) {
        if self.unwell_since_ms == 0 {
            self.unwell_since_ms = now_ms;
        }
    }

    /// Notes that it is well, if it is and was not.
    fn recover(&mut self, now_ms: u64, tau_ms: u64) {
        let is_out = self.breaker.opened_in_a_row > 0 || self.cooldown_until_ms > now_ms;
        let fails = || self.failure.read(now_ms, tau_ms).failure_probability() * 100.0 > WELL_PERCENT;
        if self.unwell_since_ms > 0 && !is_out && !fails() {
            (self.unwell_since_ms, self.well_since_ms) = (0, now_ms);
        }
    }

    /// Ends what was written by a clock that was ahead of this one.
    fn mend(&mut self, now_ms: u64) {
        self.breaker.mend(now_ms);
        self.refusals.breaker.mend(now_ms);
        let latest_ms = now_ms.saturating_add(SKEW_MS);
        if self.cooled_at_ms > latest_ms {
            (self.cooldown_until_ms, self.cooled_at_ms) = (0, 0);
        }
        for measure in [&mut self.ttft_ms, &mut self.ms_per_token, &mut self.failure, &mut self.breaker.evidence] {
            if measure.t_ms > latest_ms {
                measure.t_ms = now_ms;
            }
        }
    }

    /// Adds an answer to the averages.
    fn answered(&mut self, ttft_ms: f64, ms_per_token: Option<f64>, now_ms: u64, tau_ms: u64) {
        self.ttft_ms.record(ttft_ms, now_ms, tau_ms);
        if let Some(ms_per_token) = ms_per_token {
            self.ms_per_token.record(ms_per_token, now_ms, tau_ms);
        }
        self.failure.record(0.0, now_ms, tau_ms);
    }

    /// Takes an observation in.
    pub(crate) fn record(&mut self, observation: &Observation, now_ms: u64, tau_ms: u64, settings: &BreakerSettings) {
        self.mend(now_ms);
        let begun_at_ms = observation.begun_at_ms;
        let ended = |outcome| breaker::Finished { outcome, begun_at_ms, now_ms };
        match observation.signal {
            Signal::Answered { ttft_ms, ms_per_token } => {
                self.answered(ttft_ms, ms_per_token, now_ms, tau_ms);
                self.breaker.record(ended(Outcome::Success), jitter(), tau_ms, settings);
                self.refusals.answered(ended(Outcome::Success));
                self.recover(now_ms, tau_ms);
            }
            Signal::Failed => {
                self.failure.record(1.0, now_ms, tau_ms);
                self.breaker.record(ended(Outcome::Failure), jitter(), tau_ms, settings);
                self.refusals.breaker.release_probe(begun_at_ms);
                self.unwell(now_ms);
            }
            Signal::Refused(by) => {
                self.breaker.release_probe(begun_at_ms);
                self.refusals.refused(by, ended(Outcome::Failure), jitter(), settings);
            }
            Signal::CoolDown { until_ms } => {
                self.cooldown_until_ms = self.cooldown_until_ms.max(until_ms);
                self.cooled_at_ms = now_ms;
                self.release_probes(begun_at_ms);
                self.unwell(now_ms);
            }
            Signal::Nothing => self.release_probes(begun_at_ms),
        }
    }

    fn release_probes(&mut self, leased_at_ms: u64) {
        self.breaker.release_probe(leased_at_ms);
        self.refusals.breaker.release_probe(leased_at_ms);
    }

    /// Leases the one probe of each breaker that keeps this tenant out, if all of them have theirs to give.
    pub(crate) fn try_probe(&mut self, tenant: u64, lease_ms: u64, now_ms: u64) -> bool {
        self.mend(now_ms);
        let refused = self.refusals.concern(tenant).then_some(&mut self.refusals.breaker);
        let breakers = [Some(&mut self.breaker), refused].into_iter().flatten();
        let mut shut: Vec<_> = breakers.filter(|breaker| breaker.state(now_ms) != BreakerState::Closed).collect();
        let due = !shut.is_empty() && shut.iter().all(|breaker| breaker.is_due(now_ms));
        due && shut.iter_mut().all(|breaker| breaker.try_probe(now_ms, lease_ms))
    }
}

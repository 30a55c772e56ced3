//! What receipts add up to for people: of an hour, a tenant and the model that answered, and of any sum of these.
//!
//! Everything is a sum of whole numbers, so that the order in which receipts come, the process that counts them and the
//! ledger that keeps the sums make no difference: a tally is exactly the fold over its receipts.

use super::spread::{LATENCY, OVERHEAD, Spread, whole_us};
use crate::receipt::{Attempt, AttemptOutcome, CacheStatus, Receipt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The counts of some receipts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Those of them that a remembered answer served.
    pub cache_hits: u64,
    /// Those that were answered with a status of 500 or above.
    pub errors: u64,
    /// Those that another candidate was tried for.
    pub failovers: u64,
    /// Those whose answer a stronger tier's replaced.
    pub upgrades: u64,
    /// Those that were admitted without the store.
    pub outages: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// What they cost.
    pub cost_nusd: u64,
}

impl Counts {
    /// Those of one receipt.
    #[must_use]
    pub fn of(receipt: &Receipt) -> Self {
        Self {
            requests: 1,
            cache_hits: matches!(receipt.cache, CacheStatus::Hit | CacheStatus::HitSemantic).into(),
            errors: (receipt.status >= 500).into(),
            failovers: receipt.failed_over().into(),
            upgrades: receipt.upgraded.into(),
            outages: receipt.outage.into(),
            input_tokens: receipt.usage.input_tokens,
            output_tokens: receipt.usage.output_tokens,
            cost_nusd: receipt.cost_nusd,
        }
    }

    /// The sum, each part saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            cache_hits: self.cache_hits.saturating_add(other.cache_hits),
            errors: self.errors.saturating_add(other.errors),
            failovers: self.failovers.saturating_add(other.failovers),
            upgrades: self.upgrades.saturating_add(other.upgrades),
            outages: self.outages.saturating_add(other.outages),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost_nusd: self.cost_nusd.saturating_add(other.cost_nusd),
        }
    }

    /// What is left of these without others that are among them.
    #[must_use]
    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests),
            cache_hits: self.cache_hits.saturating_sub(other.cache_hits),
            errors: self.errors.saturating_sub(other.errors),
            failovers: self.failovers.saturating_sub(other.failovers),
            upgrades: self.upgrades.saturating_sub(other.upgrades),
            outages: self.outages.saturating_sub(other.outages),
            input_tokens: self.input_tokens.saturating_sub(other.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(other.output_tokens),
            cost_nusd: self.cost_nusd.saturating_sub(other.cost_nusd),
        }
    }
}

/// Calls of one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// All of them.
    pub requests: u64,
    /// Those that brought no answer.
    pub failures: u64,
    /// The sum of their durations, and of these squared.
    pub latency_us: u64,
    /// … in µs².
    pub latency_us2: u128,
    /// Those of which the time to the first token is known.
    pub first_tokens: u64,
    /// The sum of these times.
    pub ttft_us: u64,
}

impl Calls {
    /// One call.
    #[must_use]
    pub fn of(attempt: &Attempt) -> Self {
        use AttemptOutcome::{ClientGone, LowConfidence, Ok, Refused};
        let is_answered = matches!(attempt.outcome, Ok | LowConfidence | Refused | ClientGone);
        let latency_us = whole_us(attempt.latency_ms);
        Self {
            requests: 1,
            failures: (!is_answered).into(),
            latency_us,
            latency_us2: u128::from(latency_us).pow(2),
            first_tokens: attempt.ttft_ms.is_some().into(),
            ttft_us: attempt.ttft_ms.map_or(0, whole_us),
        }
    }

    /// Adds others.
    pub fn absorb(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failures = self.failures.saturating_add(other.failures);
        self.latency_us = self.latency_us.saturating_add(other.latency_us);
        self.latency_us2 = self.latency_us2.saturating_add(other.latency_us2);
        self.first_tokens = self.first_tokens.saturating_add(other.first_tokens);
        self.ttft_us = self.ttft_us.saturating_add(other.ttft_us);
    }

    /// The mean of their durations in milliseconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn latency_mean_ms(&self) -> f64 {
        self.latency_us as f64 / self.requests.max(1) as f64 / 1000.0
    }

    /// The standard deviation of their durations in milliseconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn latency_stddev_ms(&self) -> f64 {
        // n·Σx² − (Σx)² in whole numbers: a difference of floats this close would be noise.
        let n = u128::from(self.requests.max(1));
        let spread = n.saturating_mul(self.latency_us2).saturating_sub(u128::from(self.latency_us).pow(2));
        (spread as f64).sqrt() / n as f64 / 1000.0
    }

    /// The mean time to the first token in milliseconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn ttft_mean_ms(&self) -> f64 {
        self.ttft_us as f64 / self.first_tokens.max(1) as f64 / 1000.0
    }
}

/// What some receipts add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// What can be counted.
    pub counts: Counts,
    /// From a request's arrival to the end of its answer.
    #[serde(default)]
    pub latency: Spread,
    /// What of it no provider was being waited for.
    #[serde(default)]
    pub overhead: Spread,
    /// The calls that were made, by model.
    #[serde(default)]
    pub models: BTreeMap<Arc<str>, Calls>,
}

impl Tally {
    /// Counts a receipt.
    pub fn count(&mut self, receipt: &Receipt) {
        self.counts = self.counts.plus(Counts::of(receipt));
        // How long a request took whose process was lost is not known.
        if !receipt.is_of_expired_hold() {
            self.latency.record(whole_us(receipt.latency_ms), LATENCY);
            self.overhead.record(whole_us(receipt.overhead_ms), OVERHEAD);
        }
        for attempt in &receipt.attempts {
            self.add_calls(&attempt.model, &Calls::of(attempt));
        }
    }

    /// Adds calls of a model.
    pub(crate) fn add_calls(&mut self, model: &Arc<str>, calls: &Calls) {
        match self.models.get_mut(model) {
            Some(sum) => sum.absorb(calls),
            None => drop(self.models.insert(model.clone(), *calls)),
        }
    }

    /// Adds all of another's.
    pub fn absorb(&mut self, other: &Self) {
        self.absorb_totals(other);
        other.models.iter().for_each(|(model, calls)| self.add_calls(model, calls));
    }

    fn absorb_totals(&mut self, other: &Self) {
        self.counts = self.counts.plus(other.counts);
        self.latency.absorb(&other.latency);
        self.overhead.absorb(&other.overhead);
    }
}

/// Which receipts figures are made of: those that came in from `from_ms` to before `to_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// A full hour, in Unix milliseconds.
    pub from_ms: u64,
    /// A full hour.
    pub to_ms: u64,
    /// The length of a step, a number of hours; `None` for no steps.
    pub step_ms: Option<u64>,
}

impl Period {
    /// Whether it has all of the time from `from_ms` to before `to_ms`.
    #[must_use]
    pub fn has(&self, from_ms: u64, to_ms: u64) -> bool {
        self.from_ms <= from_ms && to_ms <= self.to_ms
    }
}

/// The figures of a period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Of all receipts.
    pub whole: Tally,
    /// By the tenant's uid.
    pub tenants: BTreeMap<Arc<str>, Counts>,
    /// By the beginning of the step, without models; steps that have nothing are left out.
    pub steps: BTreeMap<u64, Tally>,
}

impl Figures {
    /// Adds what a tenant's receipts of the hour or day that begins at `at_ms` add up to.
    pub fn add(&mut self, period: &Period, at_ms: u64, tenant: &Arc<str>, tally: &Tally) {
        self.whole.absorb(tally);
        let counts = self.tenants.entry(tenant.clone()).or_default();
        *counts = counts.plus(tally.counts);
        if let Some(step_ms) = period.step_ms {
            let step = period.from_ms + (at_ms - period.from_ms) / step_ms * step_ms;
            self.steps.entry(step).or_default().absorb_totals(tally);
        }
    }

    /// Adds all of another's, of the same period.
    pub fn absorb(&mut self, other: Self) {
        self.whole.absorb(&other.whole);
        for (tenant, counts) in other.tenants {
            let sum = self.tenants.entry(tenant).or_default();
            *sum = sum.plus(counts);
        }
        for (step, tally) in other.steps {
            self.steps.entry(step).or_default().absorb_totals(&tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::AttemptKind;

    fn calls(durations_ms: &[f64]) -> Calls {
        let mut sum = Calls::default();
        for &ms in durations_ms {
            sum.absorb(&Calls::of(&Attempt::of("m".into(), AttemptKind::First, ms)));
        }
        sum
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_values() {
        let sum = calls(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert!((sum.latency_mean_ms() - 5.0).abs() < 1e-9 && (sum.latency_stddev_ms() - 2.0).abs() < 1e-9, "{sum:?}");
        // Far from zero and close to one another: the form that subtracts floats says 0 or no number here.
        let far = calls(&[600_000.001, 600_000.003]);
        assert!((far.latency_stddev_ms() - 0.001).abs() < 1e-9, "{}", far.latency_stddev_ms());
        assert!(calls(&[]).latency_stddev_ms() + calls(&[]).latency_mean_ms() < f64::EPSILON);
    }
}

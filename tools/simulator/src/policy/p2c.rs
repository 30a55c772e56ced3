//! Power of two choices by peak EWMA, as Finagle and linkerd have it: of two models drawn by lot the one with the lower
//! `latency · (calls in flight + 1)`, where the latency follows a rise at once and falls with a time constant of 10 s.
//!
//! The latency of a failure counts like that of an answer. With failure accrual, five failures in a row take a model out
//! for 5 s, then twice as long each time up to 300 s, until a call after that time is answered.

use crate::policy::{End, Policy, shuffled};
use crate::world::COUNT;
use fastrand::Rng;

const TAU_MS: f64 = 10_000.0;
/// What a model that was never measured counts, once a call is in flight.
const UNKNOWN_MS: f64 = 1_000.0;
const FAILURES: u32 = 5;
const FIRST_OUT_MS: u64 = 5_000;
const LONGEST_OUT_MS: u64 = 300_000;

/// What it knows of one model.
#[derive(Default, Clone, Copy)]
struct Known {
    cost_ms: f64,
    at_ms: u64,
    in_flight: u32,
    failures: u32,
    out_until_ms: u64,
    times_out: u32,
}

impl Known {
    fn load(&self, now_ms: u64) -> f64 {
        if self.cost_ms == 0.0 {
            return if self.in_flight > 0 { UNKNOWN_MS * f64::from(self.in_flight + 1) } else { 0.0 };
        }
        self.decayed(0.0, now_ms) * f64::from(self.in_flight + 1)
    }

    fn decayed(&self, towards_ms: f64, now_ms: u64) -> f64 {
        let weight = (-(now_ms.saturating_sub(self.at_ms) as f64) / TAU_MS).exp();
        self.cost_ms * weight + towards_ms * (1.0 - weight)
    }
}

/// The balancer.
pub(super) struct P2c {
    accrual: bool,
    known: [Known; COUNT],
}

impl P2c {
    pub(super) fn plain() -> Self {
        Self { accrual: false, known: Default::default() }
    }

    pub(super) fn with_accrual() -> Self {
        Self { accrual: true, known: Default::default() }
    }
}

impl Policy for P2c {
    fn order(&mut self, now_ms: u64, dice: &mut Rng) -> Vec<usize> {
        let mut models = shuffled(dice);
        let is_in = |model: usize| self.known[model].out_until_ms <= now_ms;
        // With all out, a balancer without a panic threshold uses all.
        if self.accrual && models.iter().any(|&model| is_in(model)) {
            models.sort_by_key(|&model| !is_in(model));
        }
        let rivals = if self.accrual && !is_in(models[1]) && is_in(models[0]) { 1 } else { 2 };
        if rivals == 2 && self.known[models[1]].load(now_ms) < self.known[models[0]].load(now_ms) {
            models.swap(0, 1);
        }
        models
    }

    fn begun(&mut self, model: usize) {
        self.known[model].in_flight += 1;
    }

    fn ended(&mut self, model: usize, took_ms: f64, end: End, now_ms: u64) {
        let known = &mut self.known[model];
        known.in_flight -= 1;
        known.cost_ms = if took_ms > known.cost_ms { took_ms } else { known.decayed(took_ms, now_ms) };
        known.at_ms = now_ms;
        if !self.accrual {
            return;
        }
        if end == End::Answered {
            (known.failures, known.times_out) = (0, 0);
            return;
        }
        known.failures += 1;
        if known.failures >= FAILURES && known.out_until_ms <= now_ms {
            let out_ms = (FIRST_OUT_MS << known.times_out.min(6)).min(LONGEST_OUT_MS);
            known.out_until_ms = now_ms + out_ms;
            known.times_out += 1;
        }
    }
}

//! The configured order, taking turns, and the lowest mean since the process began.

use crate::policy::{End, Policy};
use crate::world::COUNT;
use fastrand::Rng;

/// Always the configured order.
pub(super) struct FixedOrder;

impl Policy for FixedOrder {
    fn order(&mut self, _: u64, _: &mut Rng) -> Vec<usize> {
        (0..COUNT).collect()
    }
}

/// Each request begins with the next model.
#[derive(Default)]
pub(super) struct RoundRobin {
    next: usize,
}

impl Policy for RoundRobin {
    fn order(&mut self, _: u64, _: &mut Rng) -> Vec<usize> {
        self.next += 1;
        (0..COUNT).map(|place| (self.next + place) % COUNT).collect()
    }
}

/// The lowest mean latency of all answers ever; what was never tried comes first.
#[derive(Default)]
pub(super) struct LifetimeMean {
    answers: [(f64, f64); COUNT],
}

impl Policy for LifetimeMean {
    fn order(&mut self, _: u64, _: &mut Rng) -> Vec<usize> {
        let mean = |model: usize| self.answers[model].0 / self.answers[model].1.max(1.0);
        let mut models: Vec<usize> = (0..COUNT).collect();
        models.sort_by(|&a, &b| mean(a).total_cmp(&mean(b)));
        models
    }

    fn ended(&mut self, model: usize, took_ms: f64, end: End, _: u64) {
        if end == End::Answered {
            let (sum, count) = self.answers[model];
            self.answers[model] = (sum + took_ms, count + 1.0);
        }
    }
}

//! How likely an answer is to be wrong, by what it shows of itself.
//!
//! A logistic: each [`Signal`] has a weight, learned from answers of which it is known whether they were right
//! (`tools/routing/train_upgrade.py`; [`weights`] has source, licence and figures). Where no answers are at hand that show
//! a signal (token probabilities, refusals, loops), its weight is the prior that the tool documents. So one number comes
//! out that means the same for every answer, and a threshold of a tenant's choice decides; rules, each of which decides
//! alone, cannot be weighed against what an upgrade costs.
//!
//! Rejected: asking a model how sure it is, which is hardly better than chance; an embedding of the answer, which knows
//! what the answer is about and not whether it is right.

mod arithmetic;
mod lexer;
mod phrases;
mod signals;
mod weights;

pub use signals::{Part, Shown, Signal, Values, signals};

/// How many reasons are told.
const MOST_REASONS: usize = 3;
/// What a signal adds to the log-odds before it is told as a reason.
const LEAST_TOLD: f64 = 0.5;
/// A doubt is never quite 1: that is for answers that are certainly no good.
const MOST: f64 = 0.99;

/// How much speaks against an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    /// The probability that it is wrong, 0 to 1.
    pub probability: f64,
    /// What speaks most against it, the strongest first.
    pub reasons: Vec<&'static str>,
}

/// How much speaks against an answer.
#[must_use]
pub fn doubt(shown: &Shown<'_>) -> Doubt {
    weigh(&signals(shown))
}

/// The same of an answer's signals.
#[must_use]
pub fn weigh(values: &Values) -> Doubt {
    let calculates = values[Signal::Calculates as usize];
    let mut log_odds = weights::BASE;
    let mut against = Vec::new();
    for (signal, (_, weight, centre)) in Signal::ALL.into_iter().zip(weights::WEIGHTS) {
        let adds = weight * (values[signal as usize] - centre * calculates);
        log_odds += adds;
        if adds >= LEAST_TOLD {
            against.push((adds, signal.words()));
        }
    }
    against.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let reasons = against.into_iter().map(|(_, words)| words).take(MOST_REASONS).collect();
    Doubt { probability: (1.0 / (1.0 + (-log_odds).exp())).min(MOST), reasons }
}

#[cfg(test)]
mod tests;

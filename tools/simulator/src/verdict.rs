//! What the gateway's selection is to do.

use crate::figures::{Figures, Left};
use crate::world::Scenario;

/// The least share of the requests that some model could serve which is answered.
const LEAST_SUCCESS: f64 = 0.999;
/// The longest until a model that is well again is used again.
const LONGEST_BACK_MS: u64 = 30_000;

/// What it misses in a scenario, of what it is to do by itself and beside the others.
pub(crate) fn missed(scenario: &Scenario, ours: &Figures, others: &[(&str, Figures)]) -> Vec<String> {
    let mut missed = Vec::new();
    if ours.servable_success() < LEAST_SUCCESS {
        missed.push(format!("only {:.3} % are answered", 100.0 * ours.servable_success()));
    }
    match ours.slowest_left() {
        Some(None) => missed.push("a failing model is not left".into()),
        Some(Some(left)) if !left.is_soon() => {
            let Left { requests, ms } = left;
            missed.push(format!("a failing model is left after {requests} requests, in {ms} ms"));
        }
        _ => {}
    }
    match ours.slowest_back_ms() {
        Some(None) => missed.push("a model that is well again is not used again".into()),
        Some(Some(ms)) if ms > LONGEST_BACK_MS => missed.push(format!("a model is back only after {ms} ms")),
        _ => {}
    }
    // Where nobody can be served, who fails sooner has less to show.
    let always_served = (0..scenario.seconds).all(|second| scenario.can_be_served(second * 1000));
    for (name, figures) in others.iter().filter(|(_, figures)| always_served && figures.beats(ours)) {
        missed.push(format!("{name} is better in success, p99 and cost: {}", figures.cells().join(", ")));
    }
    missed
}

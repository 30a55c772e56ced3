//! When the silence of a model is no longer its usual one.
//!
//! A model that hangs takes calls and fails none of them, until the first one's time is up half a minute later; by then
//! hundreds wait. But how long it takes to say the first word is known, and three requests in a row that wait far longer than
//! that are as good as three that were refused: they may speak of the model, or each of itself (a long prompt), and are counted
//! as refusals are ([`refusals`](super::refusals)), for the one tenant if all are one tenant's (T5).
//!
//! A shorter time to the first token for all was rejected: a model that thinks first needs half a minute by itself.
//! So was a quantile of the times seen: it would need a histogram for each model, where mean and deviation are at hand.

use super::score::Measures;

/// Fewer answers than this do not show what is usual.
const LEAST_SAMPLES: f64 = 8.0;
/// So many standard deviations above the mean is far longer than usual …
const DEVIATIONS: f64 = 4.0;
/// … and so is no silence that is shorter than this.
const LEAST_MS: f64 = 1_000.0;
/// The 95th percentile of a normal distribution. Times to the first token have a longer tail, but where their deviation is at most
/// their mean, that of a lognormal one with the same two figures is within a twentieth of it.
const DEVIATIONS_OF_95: f64 = 1.645;
/// Below this there is nothing to be gained.
const LEAST_LATE_MS: f64 = 200.0;
/// A long prompt takes a model longer: a slow one reads some two thousand tokens a second.
const BYTES_PER_MS: f64 = 8.0;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited {
    /// Bytes of the request.
    pub request_bytes: usize,
    /// Tokens that come before there is anything to see: none of a stream, all that it may have of a whole answer.
    pub tokens: u64,
}

/// After how many milliseconds without a word a call is overdue; `None` while too little is known of its model.
#[must_use]
pub fn overdue_ms(measures: &Measures, waited: Waited) -> Option<u64> {
    silent_ms(measures, waited, DEVIATIONS, LEAST_MS)
}

/// After how many milliseconds without a word a call is late: 95 of 100 of its model's answers have begun by then. Likewise.
#[must_use]
pub fn late_ms(measures: &Measures, waited: Waited) -> Option<u64> {
    silent_ms(measures, waited, DEVIATIONS_OF_95, LEAST_LATE_MS)
}

/// The time that passes a model's mean by so many deviations.
fn silent_ms(measures: &Measures, waited: Waited, deviations: f64, least_ms: f64) -> Option<u64> {
    let (ttft, per_token) = (&measures.ttft_ms, &measures.ms_per_token);
    if ttft.n_eff < LEAST_SAMPLES {
        return None;
    }
    let first_ms = ttft.mean + deviations * ttft.variance.sqrt();
    // What is told last is as late as all that comes before it, whose deviations even out.
    let answer_ms = waited.tokens as f64 * (per_token.mean + per_token.variance.sqrt());
    Some((first_ms.max(least_ms) + answer_ms + waited.request_bytes as f64 / BYTES_PER_MS) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::welford::Figures;
    use super::*;

    fn known(ttft_ms: f64, deviation_ms: f64, n_eff: f64) -> Measures {
        let figures = |mean, deviation: f64| Figures { mean, variance: deviation * deviation, n_eff, weight: n_eff };
        Measures { ttft_ms: figures(ttft_ms, deviation_ms), ms_per_token: figures(10.0, 2.0), ..Measures::default() }
    }

    #[test]
    fn a_call_is_overdue_long_after_its_model_usually_answers() {
        let table = [
            // ttft, deviation, bytes, tokens, overdue
            (300.0, 100.0, 0, 0, 1_000),
            (300.0, 300.0, 0, 0, 1_500),
            (20_000.0, 5_000.0, 0, 0, 40_000),
            (300.0, 100.0, 80_000, 0, 11_000),
            (300.0, 100.0, 0, 300, 4_600),
        ];
        for (ttft_ms, deviation_ms, request_bytes, tokens, expected) in table {
            let overdue = overdue_ms(&known(ttft_ms, deviation_ms, 8.0), Waited { request_bytes, tokens });
            assert_eq!(overdue, Some(expected), "{ttft_ms} ms, {deviation_ms} ms, {request_bytes}, {tokens}");
        }
    }

    #[test]
    fn a_call_is_late_at_its_models_95th_percentile() {
        let table =
            [(300.0, 100.0, 0, 464), (50.0, 10.0, 0, 200), (1_000.0, 1_000.0, 0, 2_645), (300.0, 100.0, 10, 584)];
        for (ttft_ms, deviation_ms, tokens, expected) in table {
            let late = late_ms(&known(ttft_ms, deviation_ms, 8.0), Waited { request_bytes: 0, tokens });
            assert_eq!(late, Some(expected), "{ttft_ms} ms, {deviation_ms} ms, {tokens}");
        }
        assert_eq!(late_ms(&known(300.0, 0.0, 7.9), Waited { request_bytes: 0, tokens: 0 }), None);
    }

    #[test]
    fn what_is_hardly_known_is_never_overdue() {
        assert_eq!(overdue_ms(&known(300.0, 0.0, 7.9), Waited { request_bytes: 0, tokens: 0 }), None);
    }
}

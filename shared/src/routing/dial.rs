//! The dial between cost and quality: how sure the gateway must be that a weak tier will do before it sends it a request.
//!
//! One number per tenant, `quality` in [0, 1]. A tier serves where the probability that it would not do is at most
//! 1 − `quality`: at 0 any risk is taken for the price, at 1 none is. The rule knows nothing of how the probabilities are
//! come by, so that it stays the same when they are calibrated anew.

/// The tier for a request, as its index, weakest first: the weakest whose risk the dial allows, else the strongest.
///
/// `needs[t]` is the probability that a tier stronger than `t` is needed; the strongest tier has no entry. What is no
/// number (NaN) allows nothing: such a request goes to a stronger tier, except at `quality` 0, which asks for no proof.
///
/// # Examples
/// ```
/// use gateway_core::routing::dial::tier_for;
/// assert_eq!(tier_for(&[0.3], 0.5), 0);
/// assert_eq!(tier_for(&[0.3], 0.8), 1);
/// ```
#[must_use]
pub fn tier_for(needs: &[f32], quality: f64) -> usize {
    if quality <= 0.0 {
        return 0;
    }
    needs.iter().position(|need| f64::from(*need) <= 1.0 - quality).unwrap_or(needs.len())
}

#[cfg(test)]
mod tests {
    use super::tier_for;
    use proptest::prelude::{any, prop, prop_assert, proptest};

    #[test]
    fn the_weakest_tier_serves_whose_risk_the_dial_allows() {
        for (needs, quality, tier) in [
            (&[0.3f32][..], 0.5, 0),
            (&[0.5], 0.5, 0),
            (&[0.7], 0.5, 1),
            (&[0.7], 0.25, 0),
            (&[0.9, 0.4], 0.5, 1),
            (&[0.9, 0.6], 0.5, 2),
            // Needs that do not fall with the tier's strength: the weakest that will do is the cheapest.
            (&[0.1, 0.9], 0.5, 0),
            (&[], 0.5, 0),
        ] {
            assert_eq!(tier_for(needs, quality), tier, "{needs:?} at {quality}");
        }
    }

    #[test]
    fn the_ends_of_the_dial_are_absolute() {
        for need in [0.5, 1.0, 1.5, f32::NAN, f32::INFINITY] {
            assert_eq!(tier_for(&[need, need], 0.0), 0, "{need}");
            assert_eq!(tier_for(&[need, need], 1.0), 2, "{need}");
        }
        assert_eq!(tier_for(&[0.0, 0.0], 1.0), 0);
        assert_eq!(tier_for(&[f32::MIN_POSITIVE, 0.0], 1.0), 1);
    }

    #[test]
    fn what_is_no_number_is_never_a_reason_to_go_weak() {
        assert_eq!(tier_for(&[f32::NAN, 0.1], 0.5), 1);
        assert_eq!(tier_for(&[f32::NAN, f32::NAN], 0.01), 2);
        assert_eq!(tier_for(&[0.1], f64::NAN), 1);
    }

    proptest! {
        #[test]
        fn more_quality_never_means_a_weaker_tier(
            needs in prop::collection::vec(any::<f32>(), 0..5),
            one in 0.0..=1.0f64,
            other in 0.0..=1.0f64,
        ) {
            let (less, more) = (one.min(other), one.max(other));
            prop_assert!(tier_for(&needs, less) <= tier_for(&needs, more));
            prop_assert!(tier_for(&needs, more) <= needs.len());
        }
    }
}

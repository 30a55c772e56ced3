//! Amounts of money that a provider reports as a JSON number, such as `0.00014` or `1.4e-7`.
//!
//! Read from the digits and never through a float; what is finer than a nano-dollar is rounded up, as all costs are.

use crate::money::NUSD_PER_USD;

/// Digits that are looked at: more than any amount has.
const MAX_DIGITS: usize = 40;
/// No call costs so much; a provider that claims it has reported nothing.
const ABSURD_NUSD: u128 = 1_000 * NUSD_PER_USD as u128;

/// Reads US dollars as nano-US-dollars, rounded up; `None` for what is no plain amount, or is one that no call costs.
#[must_use]
pub fn nusd_of_number(text: &str) -> Option<u64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    if whole.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    // What is cut off behind this many digits is only asked whether it is anything.
    let kept = i64::try_from(digits.len()).ok()? - i64::try_from(fraction.len()).ok()? + i64::from(exponent) + 9;
    let is_small = digits.is_empty() || kept < 0;
    if is_small {
        return Some(u64::from(!digits.is_empty()));
    }
    let kept = usize::try_from(kept).ok().filter(|kept| *kept <= MAX_DIGITS - 2)?;
    let (above, below) = digits.split_at(kept.min(digits.len()));
    let whole: u128 = if above.is_empty() { 0 } else { above.parse().ok()? };
    let zeros = u32::try_from(kept - above.len()).ok()?;
    let nusd = whole * 10_u128.checked_pow(zeros)? + u128::from(below.bytes().any(|byte| byte != b'0'));
    (nusd < ABSURD_NUSD).then(|| u64::try_from(nusd).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_to_the_nano_dollar_and_rounded_up() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("0e-99", Some(0)),
            ("1", Some(1_000_000_000)),
            ("0.00014", Some(140_000)),
            ("1.4e-7", Some(140)),
            ("1.4E-07", Some(140)),
            ("14e-8", Some(140)),
            ("1.40e-7", Some(140)),
            ("0.0000000015", Some(2)),
            ("0.00000000100", Some(1)),
            ("1e-9", Some(1)),
            ("9.9e-10", Some(1)),
            ("1e-10", Some(1)),
            ("1e-30", Some(1)),
            ("1.5e1", Some(15_000_000_000)),
            ("9.99e2", Some(999_000_000_000)),
            ("999.999999999", Some(999_999_999_999)),
            ("1000", None),
            ("1e3", None),
            ("1e40", None),
            ("1e99999999999", None),
            ("-1", None),
            ("-0.5", None),
            ("", None),
            (".5", None),
            ("1.2.3", None),
            ("null", None),
            ("NaN", None),
            ("\"0.5\"", None),
            ("٥", None),
        ] {
            assert_eq!(nusd_of_number(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_number_is_written_as_makes_no_difference(nusd in 0..1_000_000_000_000_u64, moved in 0..20_usize) {
            let plain = crate::money::format_usd(nusd);
            prop_assert_eq!(nusd_of_number(&plain), Some(nusd));
            prop_assert_eq!(nusd_of_number(&format!("{nusd}e-9")), Some(nusd));
            prop_assert_eq!(nusd_of_number(&format!("{nusd}{}e-{}", "0".repeat(moved), 9 + moved)), Some(nusd));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}", number in "[0-9.eE+-]{0,60}") {
            let _ = (nusd_of_number(&text), nusd_of_number(&number));
        }
    }
}

//! Money: whole nano-US-dollars (`_nusd`) in a plain `u64`, and never a float.
//!
//! A float cannot hold 0.59, so totals made of floats drift away from the bill; M6 asks for totals that equal the
//! providers' own to the nano-dollar. A `u64` of nano-dollars reaches 18 billion dollars, and every sum saturates there
//! instead of wrapping, so that an absurd amount reads as "over the limit" and never as "free".
//!
//! Costs are rounded up per kind of token (M3: a charge may be above the exact price, by less than a nano-dollar per
//! kind, never below). Cached tokens are part of the input and reasoning tokens part of the output; they are counted
//! apart for their price and counted once (M7).

mod amounts;
pub mod usd;

pub use amounts::{Amounts, Charged};

use serde::{Deserialize, Serialize};

/// One US dollar in nano-US-dollars.
pub const NUSD_PER_USD: u64 = 1_000_000_000;

/// Decimal places of a US dollar amount in text: down to one nano-dollar.
const PLACES: usize = 9;

/// Why a text is not an amount of money. The text itself is not repeated: the caller knows where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Something other than digits with at most one point between them.
    #[error("must be a plain decimal number of US dollars, such as 0.59")]
    NotDecimal,
    /// A minus sign in front.
    #[error("cannot be negative")]
    Negative,
    /// More than nine places after the point.
    #[error("must have at most 9 decimal places")]
    TooPrecise,
    /// More nano-dollars than 64 bits hold.
    #[error("must be at most 18446744073.709551615 US dollars")]
    TooLarge,
}

/// Reads a decimal amount of US dollars, such as `5`, `0.59` or `0.000014790`, as nano-US-dollars.
///
/// # Errors
/// [`MoneyError`] for a sign, an exponent, a separator, a point without digits on both sides, more than nine decimal
/// places, or more than `u64` holds.
pub fn parse_usd(text: &str) -> Result<u64, MoneyError> {
    if text.starts_with('-') {
        return Err(MoneyError::Negative);
    }
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, "0"),
    };
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return Err(MoneyError::NotDecimal);
    }
    if fraction.len() > PLACES {
        return Err(MoneyError::TooPrecise);
    }
    // Only digits are left, so the one way in which either part fails to parse is that it does not fit.
    let whole: u64 = whole.parse().map_err(|_| MoneyError::TooLarge)?;
    let fraction: u64 = format!("{fraction:0<PLACES$}").parse().map_err(|_| MoneyError::TooLarge)?;
    whole.checked_mul(NUSD_PER_USD).and_then(|nusd| nusd.checked_add(fraction)).ok_or(MoneyError::TooLarge)
}

/// Writes nano-US-dollars as US dollars with nine decimal places: 14790 is `0.000014790`.
pub fn format_usd(nusd: u64) -> String {
    format!("{}.{:09}", nusd / NUSD_PER_USD, nusd % NUSD_PER_USD)
}

/// The tokens of one call, or of many added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All tokens of the prompt, those read from the provider's cache included.
    pub input_tokens: u64,
    /// The part of `input_tokens` that the provider read from its cache.
    pub cached_input_tokens: u64,
    /// The part of `input_tokens` that the provider wrote into its cache, to be kept for its usual time (five minutes at
    /// Anthropic, half an hour at OpenAI); no token is both read and written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// The part of `input_tokens` that was written to be kept for an hour; none of `cache_write_tokens`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h_tokens: u64,
    /// All tokens that were generated, reasoning included.
    pub output_tokens: u64,
    /// The part of `output_tokens` that was reasoning.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// What counts against a limit in tokens: input and output, each token once (M7).
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// What two parts of one answer say of it: the larger of each figure, for they count up, and zeros stand for what is
    /// not told.
    #[must_use]
    pub fn both(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
        Some(Self {
            input_tokens: a.input_tokens.max(b.input_tokens),
            cached_input_tokens: a.cached_input_tokens.max(b.cached_input_tokens),
            cache_write_tokens: a.cache_write_tokens.max(b.cache_write_tokens),
            cache_write_1h_tokens: a.cache_write_1h_tokens.max(b.cache_write_1h_tokens),
            output_tokens: a.output_tokens.max(b.output_tokens),
            reasoning_tokens: a.reasoning_tokens.max(b.reasoning_tokens),
        })
    }

    /// Adds another call's tokens, saturating.
    pub fn plus(&mut self, other: &Usage) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.cache_write_1h_tokens = self.cache_write_1h_tokens.saturating_add(other.cache_write_1h_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
    }
}

/// For serde, which hands over a reference: what few calls have is left out where it is nothing.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(tokens: &u64) -> bool {
    *tokens == 0
}

/// What a model charges for a million tokens of each kind, in nano-US-dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PriceNusdPerMillion {
    /// For input that the provider did not read from its cache.
    pub input: u64,
    /// For input that the provider read from its cache.
    pub cached_input: u64,
    /// For output that is not reasoning.
    pub output: u64,
    /// For reasoning.
    pub reasoning: u64,
}

impl PriceNusdPerMillion {
    /// What these tokens cost, in nano-US-dollars, rounded up per kind; `u64::MAX` where the true cost is above it.
    ///
    /// A provider that reports more cached than input tokens, or more reasoning than output, contradicts itself; then
    /// the larger of the two figures is charged.
    pub fn cost_nusd(&self, usage: &Usage) -> u64 {
        let fresh_input = usage.input_tokens.saturating_sub(usage.cached_input_tokens);
        let plain_output = usage.output_tokens.saturating_sub(usage.reasoning_tokens);
        [
            (fresh_input, self.input),
            (usage.cached_input_tokens, self.cached_input),
            (plain_output, self.output),
            (usage.reasoning_tokens, self.reasoning),
        ]
        .into_iter()
        .map(|(tokens, nusd_per_million)| kind_nusd(tokens, nusd_per_million))
        .fold(0, u64::saturating_add)
    }
}

/// `ceil(tokens · price / 1 000 000)`, for one kind of token.
fn kind_nusd(tokens: u64, nusd_per_million: u64) -> u64 {
    let exact = u128::from(tokens) * u128::from(nusd_per_million);
    u64::try_from(exact.div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    const GROQ_LLAMA: PriceNusdPerMillion = PriceNusdPerMillion {
        input: 590_000_000,
        cached_input: 590_000_000,
        output: 790_000_000,
        reasoning: 790_000_000,
    };

    #[test]
    fn text_is_read_to_the_nano_dollar_or_refused() {
        use MoneyError::{Negative, NotDecimal, TooLarge, TooPrecise};
        let table = [
            ("0", Ok(0)),
            ("5", Ok(5_000_000_000)),
            ("5.00", Ok(5_000_000_000)),
            ("0.59", Ok(590_000_000)),
            ("0.1", Ok(100_000_000)),
            ("007.5", Ok(7_500_000_000)),
            ("0.000000001", Ok(1)),
            ("0.000014790", Ok(14_790)),
            ("18446744073.709551615", Ok(u64::MAX)),
            ("18446744073.709551616", Err(TooLarge)),
            ("18446744074", Err(TooLarge)),
            ("99999999999999999999999", Err(TooLarge)),
            ("0.0000000001", Err(TooPrecise)),
            ("0.1000000000", Err(TooPrecise)),
            ("-1", Err(Negative)),
            ("-", Err(Negative)),
            ("", Err(NotDecimal)),
            (".", Err(NotDecimal)),
            (".5", Err(NotDecimal)),
            ("5.", Err(NotDecimal)),
            ("+5", Err(NotDecimal)),
            (" 5", Err(NotDecimal)),
            ("5 ", Err(NotDecimal)),
            ("1e3", Err(NotDecimal)),
            ("1.5e-3", Err(NotDecimal)),
            ("1.2.3", Err(NotDecimal)),
            ("1_000", Err(NotDecimal)),
            ("1,000", Err(NotDecimal)),
            ("$5", Err(NotDecimal)),
            ("nan", Err(NotDecimal)),
            ("inf", Err(NotDecimal)),
            ("0x10", Err(NotDecimal)),
            ("٥", Err(NotDecimal)),
        ];
        for (text, expected) in table {
            assert_eq!(parse_usd(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_amount_is_written_with_nine_places() {
        assert_eq!(format_usd(0), "0.000000000");
        assert_eq!(format_usd(14_790), "0.000014790");
        assert_eq!(format_usd(5_000_000_000), "5.000000000");
        assert_eq!(format_usd(u64::MAX), "18446744073.709551615");
    }

    #[test]
    fn nine_tokens_in_and_twelve_out_cost_what_the_price_list_says() {
        let usage = Usage { input_tokens: 9, output_tokens: 12, ..Usage::default() };
        assert_eq!(format_usd(GROQ_LLAMA.cost_nusd(&usage)), "0.000014790");
    }

    #[test]
    fn cached_and_reasoning_tokens_are_priced_apart_and_counted_once() {
        let price =
            PriceNusdPerMillion { input: 1_000_000, cached_input: 100_000, output: 4_000_000, reasoning: 5_000_000 };
        let usage = Usage {
            input_tokens: 100,
            cached_input_tokens: 40,
            output_tokens: 30,
            reasoning_tokens: 10,
            ..Usage::default()
        };
        assert_eq!(price.cost_nusd(&usage), 60 + 4 + 20 * 4 + 10 * 5);
        assert_eq!(usage.total_tokens(), 130);
    }

    #[test]
    fn a_report_that_contradicts_itself_is_charged_at_its_larger_figure() {
        let price =
            PriceNusdPerMillion { input: 1_000_000, cached_input: 1_000_000, output: 1_000_000, reasoning: 1_000_000 };
        let usage = Usage { input_tokens: 10, cached_input_tokens: 15, reasoning_tokens: 7, ..Usage::default() };
        assert_eq!(price.cost_nusd(&usage), 15 + 7);
    }

    #[test]
    fn usage_is_serialized_under_the_names_of_the_receipt() {
        let usage = Usage {
            input_tokens: 9,
            cached_input_tokens: 1,
            output_tokens: 12,
            reasoning_tokens: 2,
            ..Usage::default()
        };
        let written = Usage { cache_write_tokens: 3, cache_write_1h_tokens: 4, ..usage };
        for (usage, expected) in [
            (usage, r#"{"input_tokens":9,"cached_input_tokens":1,"output_tokens":12,"reasoning_tokens":2}"#),
            (
                written,
                r#"{"input_tokens":9,"cached_input_tokens":1,"cache_write_tokens":3,"cache_write_1h_tokens":4,"output_tokens":12,"reasoning_tokens":2}"#,
            ),
        ] {
            let json = serde_json::to_string(&usage).unwrap();
            assert_eq!(json, expected);
            assert_eq!(serde_json::from_str::<Usage>(&json).unwrap(), usage);
        }
    }

    #[test]
    fn a_price_that_is_a_fraction_of_a_nano_dollar_a_token_is_rounded_up_once_for_all_of_a_kind() {
        for (tokens, nusd_per_million, nusd) in [
            (0, 1, 0),
            (1, 0, 0),
            (1, 1, 1),
            (1_000_000, 1, 1),
            (1_000_001, 1, 2),
            (1, 999_999, 1),
            (1, 1_000_000, 1),
            (1, 1_000_001, 2),
            (3, 333_333, 1),
            (3, 333_334, 2),
            (7, 1_500, 1),
            (1_000, 1_500, 2),
            (2_000, 1_500, 3),
            (2_001, 1_500, 4),
            (1, 37_500_000, 38),
            (2, 37_500_000, 75),
            (3, 37_500_000, 113),
        ] {
            let price = PriceNusdPerMillion { input: nusd_per_million, output: nusd_per_million, ..Default::default() };
            let input = Usage { input_tokens: tokens, ..Usage::default() };
            assert_eq!(price.cost_nusd(&input), nusd, "{tokens} tokens at {nusd_per_million}");
            // Each kind of token is rounded up for itself.
            let both = Usage { output_tokens: tokens, ..input };
            assert_eq!(price.cost_nusd(&both), 2 * nusd, "{tokens} tokens at {nusd_per_million}");
        }
    }

    /// Tokens and prices of which no product reaches what 64 bits hold: where a sum saturates, wrong rounding cannot be seen.
    const TOKENS: std::ops::Range<u64> = 0..1 << 40;
    const PRICES: std::ops::Range<u64> = 0..1 << 40;

    fn usage_within_bounds() -> impl Strategy<Value = Usage> {
        (TOKENS, TOKENS, 0..=100u64, 0..=100u64).prop_map(|(input_tokens, output_tokens, cached, reasoning)| Usage {
            input_tokens,
            cached_input_tokens: input_tokens / 100 * cached,
            output_tokens,
            reasoning_tokens: output_tokens / 100 * reasoning,
            ..Usage::default()
        })
    }

    fn price_within_bounds() -> impl Strategy<Value = PriceNusdPerMillion> {
        (PRICES, PRICES, PRICES, PRICES).prop_map(|(input, cached_input, output, reasoning)| PriceNusdPerMillion {
            input,
            cached_input,
            output,
            reasoning,
        })
    }

    fn any_usage() -> impl Strategy<Value = Usage> {
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
            |(input_tokens, cached_input_tokens, output_tokens, reasoning_tokens)| Usage {
                input_tokens,
                cached_input_tokens,
                output_tokens,
                reasoning_tokens,
                ..Usage::default()
            },
        )
    }

    proptest! {
        #[test]
        fn writing_and_reading_back_changes_nothing(nusd: u64) {
            prop_assert_eq!(parse_usd(&format_usd(nusd)), Ok(nusd));
        }

        #[test]
        fn reading_never_panics(text in ".*") {
            let _ = parse_usd(&text);
        }

        #[test]
        fn a_cost_is_never_below_the_exact_price_and_less_than_one_nano_dollar_above(tokens in TOKENS, price in PRICES) {
            let exact = u128::from(tokens) * u128::from(price);
            let charged = u128::from(kind_nusd(tokens, price)) * 1_000_000;
            prop_assert!((exact..exact + 1_000_000).contains(&charged), "{} for {}", charged, exact);
        }

        #[test]
        fn the_cost_of_all_kinds_is_above_the_exact_price_by_less_than_a_nano_dollar_each(
            usage in usage_within_bounds(), price in price_within_bounds(),
        ) {
            let fresh = usage.input_tokens - usage.cached_input_tokens;
            let plain = usage.output_tokens - usage.reasoning_tokens;
            let kinds = [
                (fresh, price.input),
                (usage.cached_input_tokens, price.cached_input),
                (plain, price.output),
                (usage.reasoning_tokens, price.reasoning),
            ];
            let exact: u128 = kinds.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(*price)).sum();
            let charged = u128::from(price.cost_nusd(&usage)) * 1_000_000;
            prop_assert!((exact..exact + 4_000_000).contains(&charged), "{} for {}", charged, exact);
        }

        #[test]
        fn a_call_in_two_parts_costs_what_it_costs_as_one_or_a_nano_dollar_more(
            one in TOKENS, other in TOKENS, price in PRICES,
        ) {
            let (whole, parts) = (kind_nusd(one + other, price), kind_nusd(one, price) + kind_nusd(other, price));
            prop_assert!(whole <= parts && parts <= whole + 1);
        }

        #[test]
        fn what_no_number_holds_is_the_largest_there_is(tokens: u64, price: u64) {
            let exact = (u128::from(tokens) * u128::from(price)).div_ceil(1_000_000);
            prop_assert_eq!(u128::from(kind_nusd(tokens, price)), exact.min(u128::from(u64::MAX)));
        }

        #[test]
        fn more_tokens_never_cost_less(price in price_within_bounds(), usage in usage_within_bounds(), more: u32) {
            let longer = Usage { input_tokens: usage.input_tokens + u64::from(more), ..usage };
            let longest = Usage { output_tokens: longer.output_tokens + u64::from(more), ..longer };
            let costs = [usage, longer, longest].map(|usage| price.cost_nusd(&usage));
            prop_assert!(costs.is_sorted());
            // And as much more as they are worth: no part of them is lost in rounding.
            let exact = u128::from(more) * (u128::from(price.input) + u128::from(price.output));
            prop_assert!(u128::from(costs[2] - costs[0] + 2) * 1_000_000 >= exact);
        }

        #[test]
        fn adding_up_calls_is_commutative_and_never_overflows(a in any_usage(), b in any_usage()) {
            let (mut left, mut right) = (a, b);
            left.plus(&b);
            right.plus(&a);
            prop_assert_eq!(left, right);
            prop_assert!(left.total_tokens() >= a.total_tokens());
        }
    }
}

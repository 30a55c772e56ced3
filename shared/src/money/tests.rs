//! Amounts, usage and rates.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::rates::kind_nusd;
use super::*;
use proptest::prelude::*;

const GROQ_LLAMA: RatesNusdPerMillion = RatesNusdPerMillion::of(590_000_000, 790_000_000);

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
    let price = RatesNusdPerMillion {
        input: 1_000_000,
        cached_input: 100_000,
        cache_write: 1_250_000,
        cache_write_1h: 2_000_000,
        output: 4_000_000,
        reasoning: 5_000_000,
    };
    let usage = Usage {
        input_tokens: 100,
        cached_input_tokens: 40,
        cache_write_tokens: 4,
        cache_write_1h_tokens: 3,
        output_tokens: 30,
        reasoning_tokens: 10,
        ..Usage::default()
    };
    assert_eq!(price.cost_nusd(&usage), 53 + 4 + 5 + 6 + 20 * 4 + 10 * 5);
    assert_eq!(usage.total_tokens(), 130);
}

#[test]
fn a_report_that_contradicts_itself_is_charged_at_its_larger_figure() {
    let price = RatesNusdPerMillion::of(1_000_000, 1_000_000);
    let usage = Usage { input_tokens: 10, cached_input_tokens: 15, reasoning_tokens: 7, ..Usage::default() };
    assert_eq!(price.cost_nusd(&usage), 15 + 7);
    let written = Usage { input_tokens: 10, cached_input_tokens: 8, cache_write_tokens: 4, ..Usage::default() };
    assert_eq!(price.cost_nusd(&written), 8 + 4);
}

#[test]
fn usage_is_serialized_under_the_names_of_the_receipt() {
    let usage =
        Usage { input_tokens: 9, cached_input_tokens: 1, output_tokens: 12, reasoning_tokens: 2, ..Usage::default() };
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
        let price = RatesNusdPerMillion { input: nusd_per_million, output: nusd_per_million, ..Default::default() };
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

fn price_within_bounds() -> impl Strategy<Value = RatesNusdPerMillion> {
    (PRICES, PRICES, PRICES, PRICES).prop_map(|(input, cached_input, output, reasoning)| RatesNusdPerMillion {
        input,
        cached_input,
        output,
        reasoning,
        ..RatesNusdPerMillion::default()
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

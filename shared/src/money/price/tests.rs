//! Prices at their edges, and that a hold covers whatever is settled within it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::limit::window::beginning_of;
use proptest::prelude::*;

const MINUTES_PER_DAY: u64 = 1_440;
const WEEKDAYS: u8 = 0b001_1111;

fn day(date: &str) -> u64 {
    beginning_of(date).unwrap()
}

fn rates(input: u64, output: u64) -> RatesNusdPerMillion {
    RatesNusdPerMillion::of(input * 1_000_000, output * 1_000_000)
}

/// So many tokens in and out, at a nano-dollar a token for each unit of a rate.
fn tokens(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

fn reach(input_tokens: u64, output_tokens: u64, from_ms: u64, until_ms: u64) -> Reach {
    Reach { input_tokens, output_tokens, cache_write: CacheWrite::Unasked, service_tier: None, from_ms, until_ms }
}

fn tiered() -> Period {
    let tiers = vec![
        PromptTier { above_prompt_tokens: 100, rates: rates(2, 20) },
        PromptTier { above_prompt_tokens: 200, rates: rates(4, 40) },
    ];
    Period { tiers, ..Period::always(rates(1, 10)) }
}

#[test]
fn a_longer_prompt_reprices_the_whole_request() {
    let price = Price { periods: vec![tiered()], ..Price::default() };
    for (prompt, nusd) in [(0, 10), (100, 110), (101, 222), (200, 420), (201, 844)] {
        assert_eq!(price.cost_nusd(&tokens(prompt, 1), 0), nusd, "{prompt}");
        assert_eq!(price.most_nusd(&reach(prompt, 1, 0, 0)), nusd + 3, "{prompt}");
    }
    let cached = Usage { cached_input_tokens: 150, cache_write_tokens: 51, ..tokens(201, 0) };
    assert_eq!(price.cost_nusd(&cached, 0), 804, "what came from the cache and went into it is part of the prompt");
}

#[test]
fn a_price_changes_at_midnight_and_a_hold_sees_it_coming() {
    let change = day("2026-12-01");
    let first = Period { until_ms: change, ..Period::always(rates(2, 10)) };
    let then = Period { from_ms: change, ..Period::always(rates(4, 20)) };
    let price = Price { periods: vec![first, then], ..Price::default() };
    for (at_ms, nusd) in [(0, 12), (change - 1, 12), (change, 24), (u64::MAX, 24)] {
        assert_eq!(price.cost_nusd(&tokens(1, 1), at_ms), nusd, "{at_ms}");
        assert!(!price.has_run_out(at_ms) || at_ms == u64::MAX);
    }
    for (from_ms, until_ms, nusd) in [
        (change - 1_000, change - 1, 12),
        (change - 1_000, change, 24),
        (change - 1, change + 1, 24),
        (change, change + 1, 24),
        (0, u64::MAX, 24),
    ] {
        assert_eq!(price.most_nusd(&reach(1, 1, from_ms, until_ms)), nusd + 3, "{from_ms} to {until_ms}");
    }
}

#[test]
fn what_the_list_does_not_say_costs_the_dearest_of_it() {
    let (from_ms, until_ms) = (day("2026-06-01"), day("2026-07-01"));
    let dear_out = RatesNusdPerMillion { output: 30_000_000, ..rates(2, 10) };
    let june = Period { from_ms, until_ms, ..Period::always(dear_out) };
    let august = Period { from_ms: day("2026-08-01"), until_ms: day("2026-09-01"), ..Period::always(rates(5, 10)) };
    let price = Price { periods: vec![june, august], ..Price::default() };
    for (at_ms, nusd, has_run_out) in [
        (from_ms - 1, 5 + 30, true),
        (from_ms, 2 + 30, false),
        (until_ms, 5 + 30, true),
        (day("2026-08-31"), 15, false),
        (day("2026-09-01"), 5 + 30, true),
    ] {
        assert_eq!((price.cost_nusd(&tokens(1, 1), at_ms), price.has_run_out(at_ms)), (nusd, has_run_out), "{at_ms}");
    }
    let unknown = Price::default();
    assert!(unknown.is_unknown() && !unknown.has_run_out(0));
    assert_eq!((unknown.cost_nusd(&tokens(9, 9), 0), unknown.most_nusd(&reach(9, 9, 0, 9))), (0, 0));
}

/// DeepSeek's: dearer on weekdays from one to four and from six to ten in the morning.
fn peaks() -> Price {
    let hours = |from: u64, until: u64| Hours { weekdays: WEEKDAYS, from_minute: from * 60, until_minute: until * 60 };
    let peak = Period { hours: vec![hours(1, 4), hours(6, 10)], ..Period::always(rates(2, 20)) };
    Price { periods: vec![peak, Period::always(rates(1, 10))], ..Price::default() }
}

#[test]
fn hours_of_the_week_have_their_price() {
    let (monday, sunday) = (day("2026-11-30"), day("2026-11-29"));
    let at = |day_ms: u64, hour: u64, minute: u64| day_ms + (hour * 60 + minute) * MINUTE_MS;
    for (at_ms, is_peak) in [
        (at(monday, 0, 59), false),
        (at(monday, 1, 0), true),
        (at(monday, 4, 0) - 1, true),
        (at(monday, 4, 0), false),
        (at(monday, 6, 0), true),
        (at(monday, 10, 0), false),
        (at(sunday, 2, 0), false),
        (at(day("2026-12-04"), 9, 59), true),
        (at(day("2026-12-05"), 9, 59), false),
    ] {
        assert_eq!(peaks().cost_nusd(&tokens(1, 1), at_ms), if is_peak { 22 } else { 11 }, "{at_ms}");
    }
    for (from_ms, until_ms, is_peak) in [
        (at(monday, 0, 50), at(monday, 0, 59), false),
        (at(monday, 0, 50), at(monday, 1, 0), true),
        (at(monday, 4, 0), at(monday, 5, 59), false),
        (at(sunday, 23, 0), at(monday, 0, 30), false),
        (at(sunday, 23, 0), at(monday, 1, 30), true),
        (at(monday, 0, 0), at(monday, 23, 0), true),
        (at(sunday, 2, 0), at(sunday, 3, 0), false),
    ] {
        let nusd = peaks().most_nusd(&reach(1, 1, from_ms, until_ms)) - 3;
        assert_eq!(nusd, if is_peak { 22 } else { 11 }, "{from_ms} to {until_ms}");
    }
}

#[test]
fn a_service_tier_multiplies_every_rate_and_is_that_of_the_answer() {
    let service_tiers = vec![(ServiceTier::Flex, WHOLE / 2), (ServiceTier::Priority, 2 * WHOLE)];
    let price = Price { periods: vec![Period { service_tiers, ..tiered() }], ..Price::default() };
    let cost = |service_tier| price.cost_nusd(&Usage { service_tier, ..tokens(150, 3) }, 0);
    assert_eq!(cost(None), 360);
    assert_eq!(cost(Some(ServiceTier::Standard)), 360);
    assert_eq!(cost(Some(ServiceTier::Flex)), 180);
    assert_eq!(cost(Some(ServiceTier::Priority)), 720);
    assert_eq!(cost(Some(ServiceTier::Scale)), 360, "the list does not name it");
    let most = |service_tier| price.most_nusd(&Reach { service_tier, ..reach(150, 3, 0, 0) }) - 3;
    assert_eq!((most(None), most(Some(ServiceTier::Priority))), (360, 720));
    assert_eq!(most(Some(ServiceTier::Flex)), 360, "it may be served as usual");
    // A rate of which half is no whole nano-dollar is rounded up once, and then each kind of token.
    let odd = RatesNusdPerMillion::of(333_333, 0).times(WHOLE / 2);
    assert_eq!((odd.input, odd.cost_nusd(&tokens(6, 0))), (166_667, 2));
}

#[test]
fn a_hold_counts_cache_writes_where_the_request_may_write() {
    let written = RatesNusdPerMillion { cache_write: 2_000_000, cache_write_1h: 3_000_000, ..rates(1, 10) };
    for (writes_when_asked, cache_write, per_token) in [
        (true, CacheWrite::Unasked, 1),
        (true, CacheWrite::Usual, 2),
        (true, CacheWrite::Hour, 3),
        (false, CacheWrite::Unasked, 2),
        (false, CacheWrite::Usual, 2),
        (false, CacheWrite::Hour, 3),
    ] {
        let price = Price { writes_when_asked, ..Price::from(written) };
        let most = price.most_nusd(&Reach { cache_write, ..reach(1_000, 0, 0, 0) });
        assert_eq!(most / 1_000, per_token, "{writes_when_asked} {cache_write:?}");
    }
}

fn any_rates() -> impl Strategy<Value = RatesNusdPerMillion> {
    let rate = || prop_oneof![Just(0_u64), 1..50_u64, 1..2_000_000_000_u64, Just(u64::MAX)];
    (rate(), rate(), rate(), rate(), rate(), rate()).prop_map(
        |(input, cached_input, cache_write, cache_write_1h, output, reasoning)| RatesNusdPerMillion {
            input,
            cached_input,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
        },
    )
}

/// The instants around which the generated periods begin and end.
const ABOUT_MS: u64 = 1_796_000_000_000;
const SPAN_MS: u64 = 20 * DAY_MS;

fn any_period() -> impl Strategy<Value = Period> {
    let hours = (any::<u8>(), 0..MINUTES_PER_DAY, 1..=MINUTES_PER_DAY).prop_map(|(weekdays, from, minutes)| Hours {
        weekdays,
        from_minute: from,
        until_minute: (from + minutes).min(MINUTES_PER_DAY),
    });
    let tiers = prop::collection::vec((1..5_000_u64, any_rates()), 0..3).prop_map(|mut tiers| {
        tiers.sort_by_key(|(above, _)| *above);
        tiers.into_iter().map(|(above_prompt_tokens, rates)| PromptTier { above_prompt_tokens, rates }).collect()
    });
    let service_tiers = prop::collection::vec(
        (prop::sample::select(ServiceTier::PRICED.map(|(_, tier)| tier).to_vec()), 0..4 * WHOLE),
        0..3,
    );
    let ends = prop_oneof![Just((0, u64::MAX)), (0..SPAN_MS, 0..SPAN_MS).prop_map(|(from, ms)| (from, from + ms))];
    (ends, prop::collection::vec(hours, 0..3), any_rates(), tiers, service_tiers).prop_map(
        |((from_ms, until_ms), hours, rates, tiers, service_tiers)| Period {
            from_ms: ABOUT_MS + from_ms,
            until_ms: until_ms.saturating_add(ABOUT_MS),
            hours,
            rates,
            tiers,
            service_tiers,
        },
    )
}

fn any_price() -> impl Strategy<Value = Price> {
    (prop::collection::vec(any_period(), 0..4), any::<bool>()).prop_map(|(periods, writes_when_asked)| Price {
        periods,
        writes_when_asked,
        is_reported: false,
    })
}

fn any_reach() -> impl Strategy<Value = Reach> {
    let ms = prop_oneof![0..MINUTE_MS, 0..DAY_MS, 0..2 * LOOKED_AT_MS];
    let cache_write = prop::sample::select(vec![CacheWrite::Unasked, CacheWrite::Usual, CacheWrite::Hour]);
    let tier = prop::option::of(prop::sample::select(ServiceTier::PRICED.map(|(_, tier)| tier).to_vec()));
    (0..10_000_u64, 0..10_000_u64, cache_write, tier, 0..SPAN_MS, ms).prop_map(
        |(input_tokens, output_tokens, cache_write, service_tier, from, ms)| Reach {
            input_tokens,
            output_tokens,
            cache_write,
            service_tier,
            from_ms: ABOUT_MS + from,
            until_ms: ABOUT_MS + from + ms,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_hold_covers_every_settlement_within_its_reach(
        price in any_price(), reach in any_reach(),
        (input, output, at) in (0..=1_000_u64, 0..=1_000_u64, 0..=1_000_u64),
        parts in prop::array::uniform4(0..=1_000_u64), as_asked: bool,
    ) {
        let part = |of: u64, share: u64| of * share / 1_000;
        let input_tokens = part(reach.input_tokens, input);
        let output_tokens = part(reach.output_tokens, output);
        let cached_input_tokens = part(input_tokens, parts[0]);
        let may_write = reach.cache_write != CacheWrite::Unasked || !price.writes_when_asked;
        let left = input_tokens - cached_input_tokens;
        let cache_write_tokens = if may_write { part(left, parts[1]) } else { 0 };
        let for_an_hour = part(left - cache_write_tokens, parts[2]);
        let cache_write_1h_tokens = if reach.cache_write == CacheWrite::Hour { for_an_hour } else { 0 };
        let usage = Usage {
            input_tokens, cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens,
            reasoning_tokens: part(output_tokens, parts[3]),
            service_tier: reach.service_tier.filter(|_| as_asked),
            reported_cost_nusd: None,
        };
        let at_ms = reach.from_ms + part(reach.until_ms - reach.from_ms, at);
        let (settled, held) = (price.cost_nusd(&usage, at_ms), price.most_nusd(&reach));
        prop_assert!(settled <= held, "{} of {}", settled, held);
    }

    #[test]
    fn a_hold_grows_with_what_it_is_for(price in any_price(), reach in any_reach(), more in prop::array::uniform4(0..5_000_u64)) {
        let wider = Reach {
            input_tokens: reach.input_tokens + more[0],
            output_tokens: reach.output_tokens + more[1],
            from_ms: reach.from_ms - more[2],
            until_ms: reach.until_ms + more[3] * MINUTE_MS,
            ..reach
        };
        prop_assert!(price.most_nusd(&reach) <= price.most_nusd(&wider));
    }

    #[test]
    fn within_one_length_of_prompt_more_tokens_never_cost_less(
        rates in any_rates(), (input, output) in (0..10_000_u64, 0..10_000_u64), more in prop::array::uniform2(0..10_000_u64),
    ) {
        let price = Price::from(rates);
        prop_assert!(price.cost_nusd(&tokens(input, output), 0) <= price.cost_nusd(&tokens(input + more[0], output + more[1]), 0));
    }

    #[test]
    fn nothing_overflows(price in any_price(), parts in prop::array::uniform8(any::<u64>()), at_ms: u64) {
        let usage = Usage {
            input_tokens: parts[0], cached_input_tokens: parts[1], cache_write_tokens: parts[2],
            cache_write_1h_tokens: parts[3], output_tokens: parts[4], reasoning_tokens: parts[5],
            service_tier: Some(ServiceTier::Flex), reported_cost_nusd: None,
        };
        let _ = price.cost_nusd(&usage, at_ms);
        let (from_ms, until_ms) = (parts[6].min(parts[7]), parts[6].max(parts[7]));
        let _ = price.most_nusd(&Reach { cache_write: CacheWrite::Hour, ..reach(parts[0], parts[4], from_ms, until_ms) });
        let _ = price.most_nusd(&reach(parts[0], parts[4], until_ms, from_ms));
    }
}

//! `usd_per_million`, as a line, as periods, and refused.

use super::*;
use crate::limit::window::beginning_of;
use crate::money::{Hours, Period, PromptTier, ServiceTier, WHOLE};

/// A model `local/p` with these fields beside its provider, which begin on line 9, and a tier of it.
fn file(fields: &str) -> String {
    format!("{LOCAL}[models.'local/p']\nprovider = 'local'\n{fields}\n[tiers]\nonly = ['local/p']\n")
}

fn price(fields: &str) -> Price {
    let config = load(&file(fields));
    let Some(Target::Model(model)) = config.catalog.resolve("local/p") else { panic!("a model") };
    model.price.clone()
}

fn usd(input: u64, output: u64) -> RatesNusdPerMillion {
    RatesNusdPerMillion::of(input * WHOLE, output * WHOLE)
}

#[test]
fn every_rate_has_its_default() {
    let line = |fields: &str| price(&format!("usd_per_million = {{ {fields} }}"));
    let plain = usd(2, 10);
    assert_eq!(line("input = 2, output = 10"), Price::from(plain));
    let cached = RatesNusdPerMillion { cached_input: 500_000_000, ..plain };
    assert_eq!(line("input = 2, cached_input = 0.5, output = 10"), Price::from(cached));
    let written = RatesNusdPerMillion { cache_write: 2_500_000_000, cache_write_1h: 2_500_000_000, ..plain };
    assert_eq!(line("input = 2, cache_write = 2.5, output = 10"), Price::from(written));
    let for_an_hour = RatesNusdPerMillion { cache_write_1h: 4_000_000_000, ..written };
    assert_eq!(line("input = 2, cache_write = 2.5, cache_write_1h = 4, output = 10"), Price::from(for_an_hour));
    assert_eq!(
        line("input = 2, output = 10, reasoning = 3"),
        Price::from(RatesNusdPerMillion { reasoning: 3 * WHOLE, ..plain })
    );
}

#[test]
fn a_list_has_periods_hours_tiers_and_factors() {
    let read = price(
        "usd_per_million = [
            { until = 2026-12-01, hours = ['mon-fri 01:00-04:00', '23:00-24:00'], input = 2, output = 10 },
            { until = '2026-12-01', input = 1, output = 5, service_tiers = { flex = 0.5, priority = 2 } },
            { from = 2026-12-01, input = 4, output = 20, tiers = [
                { above_prompt_tokens = 200000, input = 8, output = 30 },
                { above_prompt_tokens = 400000, input = 9, cached_input = 1, output = 31 } ] },
        ]
        reported_cost = true
        cache_writes = 'asked'",
    );
    let change = beginning_of("2026-12-01").unwrap();
    let hours = |weekdays, from: u64, until: u64| Hours { weekdays, from_minute: from * 60, until_minute: until * 60 };
    let peak = Period {
        until_ms: change,
        hours: vec![hours(0b001_1111, 1, 4), hours(Hours::EVERY_DAY, 23, 24)],
        ..Period::always(usd(2, 10))
    };
    let service_tiers = vec![(ServiceTier::Flex, WHOLE / 2), (ServiceTier::Priority, 2 * WHOLE)];
    let rest = Period { until_ms: change, service_tiers, ..Period::always(usd(1, 5)) };
    let tiers = vec![
        PromptTier { above_prompt_tokens: 200_000, rates: usd(8, 30) },
        PromptTier { above_prompt_tokens: 400_000, rates: RatesNusdPerMillion { cached_input: WHOLE, ..usd(9, 31) } },
    ];
    let later = Period { from_ms: change, tiers, ..Period::always(usd(4, 20)) };
    assert_eq!(read, Price { periods: vec![peak, rest, later], is_reported: true, writes_when_asked: true });
}

#[test]
fn a_price_may_be_unknown_and_not_left_out() {
    assert!(price("usd_per_million = 'unknown'").is_unknown());
    assert_eq!(problems(&file("")), ["gateway.toml:7: models.\"local/p\".usd_per_million: is required"]);
}

#[test]
fn a_list_that_cannot_be_right_is_refused_by_its_field() {
    let rates = "input = 1, output = 2";
    for (list, problem) in [
        ("5".to_owned(), ": must be a table or a list of tables"),
        ("[]".to_owned(), ": must be a table or a list of tables"),
        ("'free'".to_owned(), ": must be a table or a list of tables"),
        ("[5]".to_owned(), "[0]: must be a table"),
        ("{ output = 2 }".to_owned(), ".input: is required"),
        ("[{ input = 1 }]".to_owned(), "[0].output: is required"),
        (format!("[{{ {rates}, cache_write = -1 }}]"), "[0].cache_write: a price cannot be negative"),
        (
            format!("{{ {rates}, cached = 1 }}"),
            ".cached: unknown field, expected one of input, output, cached_input, cache_write, cache_write_1h, reasoning, from, until, hours, tiers, service_tiers",
        ),
        (format!("{{ {rates}, from = 'soon' }}"), ".from: must be a date, such as 2026-12-01"),
        (format!("{{ {rates}, from = 2026-12-01T00:00:00Z }}"), ".from: must be a date, such as 2026-12-01"),
        (format!("{{ {rates}, from = 2026-12-01, until = 2026-12-01 }}"), ": its until must be after its from"),
        (
            format!("{{ {rates}, hours = ['4-1'] }}"),
            ".hours[0]: must be hours of one day in UTC, such as \"01:00-04:00\" or \"mon-fri 01:00-04:00\"",
        ),
        (format!("{{ {rates}, tiers = [{{ {rates} }}] }}"), ".tiers[0].above_prompt_tokens: is required"),
        (format!("{{ {rates}, tiers = [{{ above_prompt_tokens = 5, input = 1 }}] }}"), ".tiers[0].output: is required"),
        (
            format!(
                "{{ {rates}, tiers = [{{ above_prompt_tokens = 5, {rates} }}, {{ above_prompt_tokens = 5, {rates} }}] }}"
            ),
            ": its tiers must be in rising order of above_prompt_tokens",
        ),
        (
            format!("{{ {rates}, service_tiers = {{ cheap = 0.5 }} }}"),
            ".service_tiers.cheap: no service tier is named so; there are flex, batch, scale, priority, fast, ultrafast, performance",
        ),
        (
            format!("{{ {rates}, service_tiers = {{ flex = 101 }} }}"),
            ".service_tiers.flex: must be a decimal number from 0 to 100, of at most nine places",
        ),
    ] {
        let found = problems(&file(&format!("usd_per_million = {list}")));
        assert!(found.len() == 1 && found[0].ends_with(problem), "{list}: {found:?}");
    }
    assert_eq!(
        problems(&file("usd_per_million = 'unknown'\ncache_writes = 'never'")),
        ["gateway.toml:10: models.\"local/p\".cache_writes: must be \"asked\" or \"unasked\""]
    );
}

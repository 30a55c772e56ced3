//! Holds and bills.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::catalog::{Api, Capabilities, OnClientGone, Origin, Timeouts};
use crate::money::{Period, Price, RatesNusdPerMillion, ServiceTier, WHOLE};
use crate::receipt::AttemptKind;
use crate::wire::format::Format;
use crate::wire::openai::CHAT;
use bytes::Bytes;
use proptest::prelude::*;

const NOW: Span = Span { from_ms: 0, until_ms: 0 };

fn model(price: Price) -> Model {
    Model {
        name: "m".into(),
        provider: "p".into(),
        provider_model: "m".into(),
        api: Api::Chat,
        vectors: None,
        price,
        context_tokens: 1_000_000,
        max_output_tokens: 1_000_000,
        default_max_output_tokens: 4_096,
        capabilities: Capabilities::ALL,
        timeouts: Timeouts { connect_ms: 1, head_ms: None, first_token_ms: 1, idle_ms: 1, total_ms: 1 },
        on_client_gone: OnClientGone::default(),
        origin: Origin::default(),
    }
}

fn facts(max_tokens: u64) -> Facts {
    let body = format!(r#"{{"model":"m","max_tokens":{max_tokens},"messages":[{{"role":"user","content":"a"}}]}}"#);
    CHAT.read(Bytes::from(body)).unwrap().1
}

fn rates(input: u64, cached_input: u64, output: u64, reasoning: u64) -> RatesNusdPerMillion {
    RatesNusdPerMillion { input, cached_input, cache_write: input, cache_write_1h: input, output, reasoning }
}

/// What is written down of an answer with this usage.
fn billed(price: &Price, facts: &Facts, usage: Usage, at_ms: u64) -> Attempt {
    billed_of(price, facts, Came { usage: Some(usage), answer_bytes: 1, refused: false }, at_ms)
}

fn billed_of(price: &Price, facts: &Facts, came: Came, at_ms: u64) -> Attempt {
    let mut attempt = Attempt::of("m".into(), AttemptKind::First, 1.0);
    bill(&mut attempt, facts, &model(price.clone()), came, at_ms);
    attempt
}

#[test]
fn a_refusal_before_the_first_word_costs_nothing_and_any_other_what_it_says() {
    let price = rates(1_000_000, 0, 1_000_000, 1_000_000).into();
    for (output_tokens, answer_bytes, refused, cost_nusd) in
        [(1, 0, true, 0), (0, 0, true, 0), (2, 0, true, 9), (1, 1, true, 8), (1, 0, false, 8)]
    {
        let usage = Some(Usage { input_tokens: 7, output_tokens, ..Usage::default() });
        let attempt = billed_of(&price, &facts(10), Came { usage, answer_bytes, refused }, 0);
        assert_eq!(attempt.cost_nusd, cost_nusd, "{output_tokens} {answer_bytes} {refused}");
    }
}

#[test]
fn what_is_free_holds_no_money() {
    let of = |input, cached_input, output, reasoning| {
        let price = Price { writes_when_asked: true, ..rates(input, cached_input, output, reasoning).into() };
        worst_case(&facts(10), &model(price), 10, NOW).cost_nusd
    };
    assert_eq!(of(0, 0, 0, 0), 0);
    assert_eq!(of(1_000_000, 0, 0, 0), 10, "input costs something, and cached input nothing to be rounded");
    assert_eq!(of(1_000_000, 1, 0, 0), 11);
    assert_eq!(of(0, 0, 1_000_000, 1_000_000), 11);
    assert_eq!(of(1_000_000, 1_000_000, 1_000_000, 1_000_000), 22);
}

#[test]
fn what_a_provider_reports_is_charged_where_its_price_is_as_reported_and_a_difference_is_noted() {
    let said = |reported_cost_nusd| Usage { input_tokens: 7, output_tokens: 3, reported_cost_nusd, ..Usage::default() };
    let listed = Price::from(rates(1_000_000, 0, 2_000_000, 2_000_000));
    let as_reported = Price { is_reported: true, ..listed.clone() };
    for (price, reported, cost, is_noted) in [
        (&listed, Some(99), 13, false),
        (&as_reported, Some(99), 99, true),
        (&as_reported, Some(13), 13, false),
        (&as_reported, Some(0), 0, true),
        (&as_reported, None, 13, false),
    ] {
        let attempt = billed(price, &facts(9), said(reported), 0);
        assert_eq!((attempt.cost_nusd, attempt.price_note.is_some()), (cost, is_noted), "{reported:?}");
        assert_eq!(attempt.usage.reported_cost_nusd, reported, "it stands on the receipt");
    }
    let note = billed(&as_reported, &facts(9), said(Some(99)), 0).price_note.unwrap();
    assert!(note.contains("0.000000099") && note.contains("0.000000013"), "{note}");
    let unlisted = Price { is_reported: true, ..Price::default() };
    assert_eq!(billed(&unlisted, &facts(9), said(Some(99)), 0).cost_nusd, 99);
}

#[test]
fn a_price_that_is_unknown_or_has_run_out_is_said() {
    let said = Usage { input_tokens: 7, output_tokens: 3, ..Usage::default() };
    let of = |price: &Price| {
        let attempt = billed(price, &facts(9), said, 1_000);
        (attempt.cost_nusd, attempt.price_note.unwrap_or_default())
    };
    let (cost_nusd, note) = of(&Price::default());
    assert!(cost_nusd == 0 && note.contains("unknown"), "{note}");
    let ended = Period { until_ms: 1_000, ..Period::always(rates(1_000_000, 0, 0, 0)) };
    let (cost_nusd, note) = of(&Price { periods: vec![ended], ..Price::default() });
    assert!(cost_nusd == 7 && note.contains("dearest"), "{note}");
}

#[test]
fn an_answer_that_does_not_say_how_it_was_served_is_charged_as_asked_for_unless_that_is_cheaper() {
    let service_tiers = vec![(ServiceTier::Flex, WHOLE / 2), (ServiceTier::Priority, 2 * WHOLE)];
    let period = Period { service_tiers, ..Period::always(rates(2_000_000, 0, 0, 0)) };
    let price = Price { periods: vec![period], ..Price::default() };
    for (asked, said, cost) in [
        (None, None, 20),
        (Some(ServiceTier::Priority), None, 40),
        (Some(ServiceTier::Flex), None, 20),
        (Some(ServiceTier::Priority), Some(ServiceTier::Standard), 20),
        (Some(ServiceTier::Flex), Some(ServiceTier::Flex), 10),
        (None, Some(ServiceTier::Priority), 40),
    ] {
        let facts = Facts { service_tier: asked, ..facts(9) };
        let usage = Usage { input_tokens: 10, output_tokens: 1, service_tier: said, ..Usage::default() };
        assert_eq!(billed(&price, &facts, usage, 0).cost_nusd, cost, "{asked:?} {said:?}");
    }
}

proptest! {
    #[test]
    fn no_split_of_the_tokens_costs_more(
        prices in prop::array::uniform4(prop_oneof![Just(0_u64), 1..50_u64, 1..2_000_000_000_u64]),
        (input, output) in (0..10_000_u64, 1..10_000_u64),
        (cached, reasoning) in (0..10_000_u64, 0..10_000_u64),
    ) {
        let [input_price, cached_input, output_price, reasoning_price] = prices;
        let price = Price::from(rates(input_price, cached_input, output_price, reasoning_price));
        let usage = Usage {
            input_tokens: input,
            cached_input_tokens: cached.min(input),
            output_tokens: output,
            reasoning_tokens: reasoning.min(output),
            ..Usage::default()
        };
        let worst = worst_case(&facts(output), &model(price.clone()), input, NOW);
        prop_assert!(price.cost_nusd(&usage, 0) <= worst.cost_nusd);
    }
}

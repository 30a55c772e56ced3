//! The catalog as it is compiled in: readable, with sources, and right to the nano-dollar.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::catalog::audit::findings;
use crate::estimate::bill;
use crate::limit::window::beginning_of;
use crate::money::Usage;
use crate::receipt::{Attempt, AttemptKind};
use crate::wire::answer::Came;
use crate::wire::facts::Facts;
use crate::wire::{anthropic, converse, gemini, openai};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What calls of each provider cost, worked out from the vendors' prices by exact fractions, each kind of token rounded up
/// for itself: the model, the instant, the service tier of the answer, its usage, and nano-dollars.
const BILLS: &str = include_str!("bills.tsv");

#[test]
fn every_table_can_be_read_and_is_found() {
    let models = shipped_models().unwrap();
    let whole = toml::de::DeTable::parse(CATALOG).unwrap();
    assert_eq!(whole.get_ref()["models"].get_ref().as_table().unwrap().len(), models.len());
    let names: BTreeSet<&str> = models.iter().map(|model| &*model.name).collect();
    assert_eq!(names.len(), models.len());
    for model in &models {
        let (provider, plain) = model.name.split_once('/').unwrap();
        assert_eq!(*model.provider, *provider, "{plain}");
        assert!(model.origin.as_of_ms.is_some_and(|at_ms| at_ms <= beginning_of("2026-11-30").unwrap()), "{plain}");
    }
}

#[test]
fn the_catalog_had_no_finding_on_the_day_on_which_it_was_written() {
    assert_eq!(findings(&shipped_models().unwrap(), beginning_of("2026-11-30").unwrap()), Vec::<String>::new());
}

/// `2026-11-30T12:00`, in Unix milliseconds.
fn instant(text: &str) -> u64 {
    let (day, time) = text.split_once('T').unwrap();
    let (hour, minute) = time.split_once(':').unwrap();
    beginning_of(day).unwrap() + (hour.parse::<u64>().unwrap() * 60 + minute.parse::<u64>().unwrap()) * 60_000
}

/// The usage of an answer that says it in the format of its provider.
fn told(provider: &str, service_tier: &str, usage: &str) -> Option<Usage> {
    let service_tier = if service_tier == "-" { "null".to_owned() } else { format!("{service_tier:?}") };
    if provider == "anthropic" {
        let body = format!(
            r#"{{"type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"a"}}],"stop_reason":"end_turn","usage":{usage}}}"#
        );
        return anthropic::answer::completion(Bytes::from(body), 1.0).unwrap().usage;
    }
    if provider == "bedrock" {
        let tier = if service_tier == "null" { service_tier } else { format!(r#"{{"type":{service_tier}}}"#) };
        let body = format!(
            r#"{{"output":{{"message":{{"content":[{{"text":"a"}}]}}}},"stopReason":"end_turn","serviceTier":{tier},"usage":{usage}}}"#
        );
        return converse::answer::completion(Bytes::from(body), 1.0).unwrap().usage;
    }
    if provider == "gemini" {
        let body = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"STOP"}}],"usageMetadata":{usage}}}"#
        );
        return gemini::answer::completion(Bytes::from(body), 1, 1.0).unwrap().usage;
    }
    let body = format!(
        r#"{{"service_tier":{service_tier},"choices":[{{"message":{{"content":"a"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
    );
    openai::answer::completion(Bytes::from(body), 1, 1.0).unwrap().usage
}

#[test]
fn twenty_calls_of_each_provider_cost_what_their_prices_say() {
    let models = shipped_models().unwrap();
    let mut bills: BTreeMap<&str, usize> = BTreeMap::new();
    for line in BILLS.lines() {
        let [name, at, service_tier, usage, nusd] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let model = models.iter().find(|model| *model.name == *name).unwrap();
        let mut attempt = Attempt::of(name.into(), AttemptKind::First, 1.0);
        let came = Came { usage: told(&model.provider, service_tier, usage), ..Came::default() };
        bill(&mut attempt, &Facts::default(), model, came, instant(at));
        assert_eq!((attempt.cost_nusd.to_string().as_str(), attempt.estimated), (nusd, false), "{line}");
        *bills.entry(name.split_once('/').unwrap().0).or_default() += 1;
    }
    assert_eq!(bills.len(), 12);
    assert!(bills.values().all(|calls| *calls == 20), "{bills:?}");
}

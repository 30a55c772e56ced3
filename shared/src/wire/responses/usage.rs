//! What an answer used: tokens that were read from a cache or written into one are part of the input, and thoughts of the
//! output.

use crate::money::{ServiceTier, Usage};
use crate::wire::json::{Count, text_of};
use crate::wire::openai::usage::reported_cost;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct WireUsage<'a> {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(borrow, default)]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_byok: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cost_details: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Details {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    cache_write_tokens: Count,
    #[serde(default)]
    reasoning_tokens: Count,
}

/// Tokens that no answer has; a provider that claims more has told nothing.
const ABSURD_TOKENS: u64 = 1 << 40;

/// Reads a `usage`, of an answer that was served in this tier; none if it tells of no token.
pub(super) fn usage_of(raw: &RawValue, tier: Option<&RawValue>) -> Option<Usage> {
    let wire: WireUsage<'_> = serde_json::from_str(raw.get()).ok()?;
    let details = |raw: Option<&RawValue>| -> Details {
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    };
    let of = |count: Count| count.0.filter(|&tokens| tokens < ABSURD_TOKENS).unwrap_or(0);
    let (input, output) = (of(wire.input_tokens), of(wire.output_tokens));
    let of_input = details(wire.input_tokens_details);
    let cached_input_tokens = of(of_input.cached_tokens).min(input);
    let usage = Usage {
        input_tokens: input,
        cached_input_tokens,
        cache_write_tokens: of(of_input.cache_write_tokens).min(input - cached_input_tokens),
        output_tokens: output,
        reasoning_tokens: of(details(wire.output_tokens_details).reasoning_tokens).min(output),
        ..Usage::default()
    };
    let service_tier = tier.and_then(|raw| ServiceTier::parse(&text_of(raw.get())));
    let reported_cost_nusd = reported_cost(wire.cost, wire.is_byok, wire.cost_details);
    (usage != Usage::default()).then_some(Usage { service_tier, reported_cost_nusd, ..usage })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_usage_is_read_as_it_is_billed() {
        let read = |json: &str| {
            let usage = usage_of(serde_json::from_str(json).unwrap(), None)?;
            let Usage {
                input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, ..
            } = usage;
            Some((input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens))
        };
        for (json, expected) in [
            (r#"{"input_tokens":9,"output_tokens":2,"total_tokens":11}"#, Some((9, 0, 0, 2, 0))),
            (
                r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":5}}"#,
                Some((9, 4, 0, 7, 5)),
            ),
            (
                r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":44},"output_tokens":"2"}"#,
                Some((9, 9, 0, 2, 0)),
            ),
            (r#"{"input_tokens":9,"input_tokens_details":null,"output_tokens_details":[]}"#, Some((9, 0, 0, 0, 0))),
            (r#"{"input_tokens":99999999999999,"output_tokens":2}"#, Some((0, 0, 0, 2, 0))),
            (
                r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":5},"output_tokens":2}"#,
                Some((9, 4, 5, 2, 0)),
            ),
            (
                r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":50},"output_tokens":2}"#,
                Some((9, 4, 5, 2, 0)),
            ),
            (r#"{"input_tokens":0,"output_tokens":0}"#, None),
            ("null", None),
            ("5", None),
        ] {
            assert_eq!(read(json), expected, "{json}");
        }
    }

    #[test]
    fn the_tier_that_served_and_the_cost_that_is_reported_are_read() {
        let json = r#"{"input_tokens":9,"output_tokens":2,"cost":0.00014,"is_byok":false}"#;
        let tier = serde_json::from_str(r#""priority""#).unwrap();
        let usage = usage_of(serde_json::from_str(json).unwrap(), Some(tier)).unwrap();
        assert_eq!((usage.service_tier, usage.reported_cost_nusd), (Some(ServiceTier::Priority), Some(140_000)));
    }
}

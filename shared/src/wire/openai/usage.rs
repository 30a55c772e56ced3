//! What an answer used, in the words of all who nearly speak this format.
//!
//! Three things differ from provider to provider: where the cached tokens stand, whether the tokens of thoughts are part of
//! the output's figure or come beside it, and how numbers are written. A figure that is not there is 0; whether one can be
//! believed is decided where it is billed.

use crate::money::{Usage, nusd_of_number};
use crate::wire::json::Count;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct WireUsage<'a> {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
    #[serde(default)]
    prompt_cache_hit_tokens: Count,
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    num_cached_tokens: Count,
    #[serde(borrow, default)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    completion_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_byok: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cost_details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct CostDetails<'a> {
    #[serde(borrow, default)]
    upstream_inference_cost: Option<&'a RawValue>,
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

/// Reads a `usage`; none if it tells of no token.
///
/// # Source
/// OpenAI and OpenRouter count cached and written tokens in `prompt_tokens_details`, both within `prompt_tokens`, and thoughts within `completion_tokens`; DeepSeek has
/// `prompt_cache_hit_tokens`, Moonshot a `cached_tokens` of its own, Mistral `num_cached_tokens`; xAI's thoughts come beside `completion_tokens`, and
/// Gemini's do so without being told at all: only the total holds them.
pub(super) fn usage_of(raw: &RawValue) -> Option<Usage> {
    let wire: WireUsage<'_> = serde_json::from_str(raw.get()).ok()?;
    let details = |raw: Option<&RawValue>| -> Details {
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    };
    let of = |count: Count| count.0.filter(|&tokens| tokens < ABSURD_TOKENS).unwrap_or(0);
    let (prompt, completion) = (details(wire.prompt_tokens_details), details(wire.completion_tokens_details));
    let (input, told, reasoning) =
        (of(wire.prompt_tokens), of(wire.completion_tokens), of(completion.reasoning_tokens));
    let cached =
        [prompt.cached_tokens, wire.prompt_cache_hit_tokens, wire.cached_tokens, wire.num_cached_tokens].map(of);
    let (input, output) = match of(wire.total_tokens) {
        total if input == 0 && told > 0 => (total.saturating_sub(told), told),
        total if input > 0 && total > input + told => (input, total - input),
        0 if reasoning > told => (input, told + reasoning),
        _ => (input, told),
    };
    // What the output has beside its own figure is thoughts, if there is such a figure.
    let beside = if told > 0 { output - told } else { 0 };
    let cached_input_tokens = cached.into_iter().max().unwrap_or(0).min(input);
    let usage = Usage {
        input_tokens: input,
        cached_input_tokens,
        cache_write_tokens: of(prompt.cache_write_tokens).min(input - cached_input_tokens),
        cache_write_1h_tokens: 0,
        output_tokens: output,
        reasoning_tokens: reasoning.max(beside).min(output),
        service_tier: None,
        reported_cost_nusd: cost_of(&wire),
    };
    (usage != Usage::default()).then_some(usage)
}

/// What a provider says that the call cost. Whoever brought a key of a vendor's own pays the provider its fee, and the vendor
/// the rest.
///
/// # Source
/// OpenRouter's `usage`: `cost`, in US dollars, and with `is_byok` the vendor's in `cost_details.upstream_inference_cost`.
fn cost_of(wire: &WireUsage<'_>) -> Option<u64> {
    reported_cost(wire.cost, wire.is_byok, wire.cost_details)
}

/// The same of these three fields, wherever they stand.
pub(crate) fn reported_cost(
    cost: Option<&RawValue>,
    is_byok: Option<&RawValue>,
    details: Option<&RawValue>,
) -> Option<u64> {
    let fee_nusd = nusd_of_number(cost?.get())?;
    if is_byok.is_none_or(|raw| raw.get() != "true") {
        return Some(fee_nusd);
    }
    let details: CostDetails<'_> = serde_json::from_str(details?.get()).ok()?;
    Some(fee_nusd.saturating_add(nusd_of_number(details.upstream_inference_cost?.get())?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(json: &str) -> Option<(u64, u64, u64, u64)> {
        let usage = usage_of(serde_json::from_str(json).unwrap())?;
        Some((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.reasoning_tokens))
    }

    #[test]
    fn every_providers_words_are_understood() {
        for (json, expected) in [
            (r#"{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}"#, (9, 0, 2, 0)),
            (r#"{"prompt_tokens":9,"completion_tokens":2}"#, (9, 0, 2, 0)),
            (r#"{"prompt_tokens":9.0,"completion_tokens":"2"}"#, (9, 0, 2, 0)),
            (r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}"#, (9, 4, 2, 0)),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":5}"#,
                (9, 4, 2, 0),
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"cached_tokens":4,"prompt_tokens_details":null}"#,
                (9, 4, 2, 0),
            ),
            (r#"{"prompt_tokens":9,"completion_tokens":2,"cached_tokens":99}"#, (9, 9, 2, 0)),
            (
                r#"{"prompt_tokens":9,"completion_tokens":7,"total_tokens":16,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                (9, 0, 7, 5),
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"total_tokens":16,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                (9, 0, 7, 5),
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                (9, 0, 7, 5),
            ),
            (r#"{"prompt_tokens":9,"completion_tokens":2,"total_tokens":16}"#, (9, 0, 7, 5)),
            (r#"{"prompt_tokens":9,"completion_tokens":2,"total_tokens":5}"#, (9, 0, 2, 0)),
            (r#"{"prompt_tokens":9}"#, (9, 0, 0, 0)),
            (r#"{"prompt_tokens":9,"total_tokens":11}"#, (9, 0, 2, 0)),
            (r#"{"completion_tokens":2,"total_tokens":11}"#, (9, 0, 2, 0)),
            (r#"{"completion_tokens":2}"#, (0, 0, 2, 0)),
            (r#"{"prompt_tokens":null,"completion_tokens":2,"completion_tokens_details":[]}"#, (0, 0, 2, 0)),
            (r#"{"prompt_tokens":-1,"completion_tokens":2,"prompt_tokens_details":"none"}"#, (0, 0, 2, 0)),
            (r#"{"prompt_tokens":99999999999999,"completion_tokens":2}"#, (0, 0, 2, 0)),
        ] {
            assert_eq!(read(json), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_was_written_into_the_cache_is_a_part_of_the_input_that_was_not_read_from_it() {
        for (details, expected) in [
            (r#"{"cached_tokens":4,"cache_write_tokens":3}"#, (4, 3)),
            (r#"{"cache_write_tokens":9}"#, (0, 9)),
            (r#"{"cached_tokens":4,"cache_write_tokens":6}"#, (4, 5)),
            (r#"{"cached_tokens":4,"cache_write_tokens":null}"#, (4, 0)),
        ] {
            let json = format!(r#"{{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{details}}}"#);
            let usage = usage_of(serde_json::from_str(&json).unwrap()).unwrap();
            assert_eq!((usage.cached_input_tokens, usage.cache_write_tokens), expected, "{json}");
            assert_eq!((usage.input_tokens, usage.cache_write_1h_tokens), (9, 0), "{json}");
        }
    }

    #[test]
    fn a_cost_that_is_reported_is_read_to_the_nano_dollar() {
        for (fields, expected) in [
            (r#""cost":0.00014"#, Some(140_000)),
            (r#""cost":1.4e-7"#, Some(140)),
            (r#""cost":0"#, Some(0)),
            (r#""cost":0.01,"is_byok":false,"cost_details":{"upstream_inference_cost":0.2}"#, Some(10_000_000)),
            (r#""cost":0.01,"is_byok":true,"cost_details":{"upstream_inference_cost":0.2}"#, Some(210_000_000)),
            (r#""cost":0.01,"is_byok":true,"cost_details":{"upstream_inference_cost":null}"#, None),
            (r#""cost":0.01,"is_byok":true"#, None),
            (r#""cost":-1"#, None),
            (r#""cost":{"total_cost":0.1}"#, None),
            (r#""cost":null"#, None),
            (r#""cost":1e9"#, None),
        ] {
            let json = format!(r#"{{"prompt_tokens":9,"completion_tokens":2,{fields}}}"#);
            let usage = usage_of(serde_json::from_str(&json).unwrap()).unwrap();
            assert_eq!(usage.reported_cost_nusd, expected, "{json}");
        }
    }

    #[test]
    fn what_tells_of_no_token_is_no_usage() {
        for json in [
            "{}",
            "5",
            "null",
            r#""9""#,
            r#"{"prompt_tokens":0,"completion_tokens":0}"#,
            r#"{"prompt_tokens":1e30}"#,
            r#"{"total_tokens":11}"#,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}

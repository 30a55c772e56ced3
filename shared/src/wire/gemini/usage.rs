//! What an answer used, as Google tells it: thoughts beside the other output, and what tools have read beside the prompt.

use crate::money::{ServiceTier, Usage};
use crate::wire::json::{Count, text_of};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireUsage<'a> {
    #[serde(default)]
    prompt_token_count: Count,
    #[serde(default)]
    cached_content_token_count: Count,
    #[serde(default)]
    tool_use_prompt_token_count: Count,
    #[serde(default)]
    candidates_token_count: Count,
    #[serde(default)]
    thoughts_token_count: Count,
    #[serde(default)]
    total_token_count: Count,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
}

/// Tokens that no answer has; a provider that claims more has told nothing.
const ABSURD_TOKENS: u64 = 1 << 40;

/// Reads a `usageMetadata`; none if it tells of no token.
pub(super) fn usage_of(raw: &RawValue) -> Option<Usage> {
    let wire: WireUsage<'_> = serde_json::from_str(raw.get()).ok()?;
    let of = |count: Count| count.0.filter(|&tokens| tokens < ABSURD_TOKENS).unwrap_or(0);
    let (prompt, said, thoughts) =
        (of(wire.prompt_token_count), of(wire.candidates_token_count), of(wire.thoughts_token_count));
    let input_tokens = prompt + of(wire.tool_use_prompt_token_count);
    // Some deployments count the thoughts among the rest; then the sum is all there is without them.
    let is_inside = thoughts <= said && input_tokens + said == of(wire.total_token_count);
    let usage = Usage {
        input_tokens,
        cached_input_tokens: of(wire.cached_content_token_count).min(prompt),
        output_tokens: if is_inside { said } else { said + thoughts },
        reasoning_tokens: thoughts,
        ..Usage::default()
    };
    let service_tier = wire.service_tier.and_then(|raw| ServiceTier::parse(&text_of(raw.get()).to_ascii_lowercase()));
    (usage != Usage::default()).then_some(Usage { service_tier, ..usage })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_usage_is_read_as_it_is_billed() {
        for (json, expected) in [
            // Input, of it cached, output, of it thoughts.
            (r#"{"promptTokenCount":9,"candidatesTokenCount":2,"totalTokenCount":11}"#, Some((9, 0, 2, 0))),
            (
                r#"{"promptTokenCount":1204,"candidatesTokenCount":96,"thoughtsTokenCount":8,"totalTokenCount":1308}"#,
                Some((1204, 0, 104, 8)),
            ),
            (
                r#"{"promptTokenCount":9,"cachedContentTokenCount":4,"toolUsePromptTokenCount":3,"candidatesTokenCount":2}"#,
                Some((12, 4, 2, 0)),
            ),
            (r#"{"promptTokenCount":9,"cachedContentTokenCount":44}"#, Some((9, 9, 0, 0))),
            // Thoughts that stand inside are not added.
            (
                r#"{"promptTokenCount":9,"candidatesTokenCount":12,"thoughtsTokenCount":10,"totalTokenCount":21}"#,
                Some((9, 0, 12, 10)),
            ),
            // A model that only thought.
            (r#"{"promptTokenCount":9,"thoughtsTokenCount":10,"totalTokenCount":19}"#, Some((9, 0, 10, 10))),
            (r#"{"promptTokenCount":"9","candidatesTokenCount":2.0,"thoughtsTokenCount":null}"#, Some((9, 0, 2, 0))),
            (r#"{"promptTokenCount":9999999999999,"candidatesTokenCount":2}"#, Some((0, 0, 2, 0))),
            (r#"{"trafficType":"ON_DEMAND"}"#, None),
            ("null", None),
            ("5", None),
            ("[]", None),
        ] {
            let usage = usage_of(serde_json::from_str(json).unwrap());
            let figures = usage.map(|usage| {
                (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.reasoning_tokens)
            });
            assert_eq!(figures, expected, "{json}");
        }
    }
}

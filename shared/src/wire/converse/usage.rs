//! What an answer used, as this format tells it: what was read from a cache and written into it stands beside the input.

use crate::money::{ServiceTier, Usage};
use crate::wire::json::{Count, items, text_of};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireUsage<'a> {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_write_input_tokens: Count,
    #[serde(borrow, default)]
    cache_details: Option<&'a RawValue>,
}

/// What was written into a cache to be kept for so long.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(borrow, default)]
    ttl: Option<&'a RawValue>,
    #[serde(default)]
    input_tokens: Count,
}

#[derive(Deserialize)]
struct Tier<'a> {
    #[serde(borrow, rename = "type")]
    name: &'a RawValue,
}

/// Tokens that no answer has; a provider that claims more has told nothing.
const ABSURD_TOKENS: u64 = 1 << 40;

/// What a `usage` and a `serviceTier` tell, in everybody's words; none if no token is told of.
pub(super) fn told(usage: Option<&RawValue>, tier: Option<&RawValue>) -> Option<Usage> {
    let wire: WireUsage<'_> = serde_json::from_str(usage?.get()).ok()?;
    let tokens = |count: Count| count.0.filter(|tokens| *tokens < ABSURD_TOKENS).unwrap_or(0);
    let for_an_hour = wire.cache_details.map_or(0, kept_for_an_hour);
    let written = tokens(wire.cache_write_input_tokens).max(for_an_hour);
    let read = tokens(wire.cache_read_input_tokens);
    let tier = tier.and_then(|tier| serde_json::from_str::<Tier<'_>>(tier.get()).ok());
    let usage = Usage {
        input_tokens: tokens(wire.input_tokens) + read + written,
        cached_input_tokens: read,
        cache_write_tokens: written - for_an_hour,
        cache_write_1h_tokens: for_an_hour,
        output_tokens: tokens(wire.output_tokens),
        ..Usage::default()
    };
    let service_tier = tier.and_then(|tier| ServiceTier::parse(&text_of(tier.name.get())));
    (usage != Usage::default()).then_some(Usage { service_tier, ..usage })
}

/// How many of the tokens that were written are kept for an hour.
fn kept_for_an_hour(details: &RawValue) -> u64 {
    let mut tokens: u64 = 0;
    let _ = items::<()>(details.get(), |_, item| {
        if let Ok(Written { ttl: Some(ttl), input_tokens: Count(Some(count)) }) = serde_json::from_str(item.get())
            && ttl.get() == "\"1h\""
            && count < ABSURD_TOKENS
        {
            tokens = tokens.saturating_add(count).min(ABSURD_TOKENS);
        }
        Ok(())
    });
    tokens
}

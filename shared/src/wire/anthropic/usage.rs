//! What an answer used, as this format tells it: the cached tokens beside the others, and in figures that count up.
//!
//! Who nearly speaks the format tells some figures at the beginning of a stream, some at its end, and some as a zero at one of
//! both. So of each figure the last that is none of these counts; only their sum is the prompt.

use crate::money::{ServiceTier, Usage};
use crate::wire::json::{Count, text_of};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct WireUsage<'a> {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
    #[serde(borrow, default)]
    cache_creation: Option<&'a RawValue>,
    #[serde(default)]
    output_tokens: Count,
    #[serde(borrow, default)]
    output_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow, default)]
    speed: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Written {
    #[serde(default)]
    ephemeral_5m_input_tokens: Count,
    #[serde(default)]
    ephemeral_1h_input_tokens: Count,
}

#[derive(Deserialize, Default)]
struct Details {
    #[serde(default)]
    thinking_tokens: Count,
}

/// Tokens that no answer has; a provider that claims more has told nothing.
const ABSURD_TOKENS: u64 = 1 << 40;

/// The figures that have been told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    uncached: u64,
    read: u64,
    written: u64,
    written_for_an_hour: u64,
    output: u64,
    thoughts: u64,
    service_tier: Option<ServiceTier>,
}

impl Told {
    /// Takes what a `usage` tells.
    pub(super) fn add(&mut self, raw: &RawValue) {
        let Ok(wire) = serde_json::from_str::<WireUsage<'_>>(raw.get()) else { return };
        let inner = |raw: Option<&RawValue>| raw.map(RawValue::get).unwrap_or_default().to_owned();
        let by_lifetime: Written = serde_json::from_str(&inner(wire.cache_creation)).unwrap_or_default();
        let details: Details = serde_json::from_str(&inner(wire.output_tokens_details)).unwrap_or_default();
        let take = |figure: &mut u64, count: Count| {
            *figure = count.0.filter(|tokens| (1..ABSURD_TOKENS).contains(tokens)).unwrap_or(*figure);
        };
        take(&mut self.uncached, wire.input_tokens);
        take(&mut self.read, wire.cache_read_input_tokens);
        take(&mut self.written_for_an_hour, by_lifetime.ephemeral_1h_input_tokens);
        let short = by_lifetime.ephemeral_5m_input_tokens.0.unwrap_or(0);
        take(&mut self.written, Count(Some(short.saturating_add(self.written_for_an_hour))));
        take(&mut self.written, wire.cache_creation_input_tokens);
        take(&mut self.output, wire.output_tokens);
        take(&mut self.thoughts, details.thinking_tokens);
        let service_tier = wire.service_tier.and_then(|raw| ServiceTier::parse(&text_of(raw.get())));
        // Fast is the tier that is paid for, whatever the other word says.
        let fast = wire.speed.filter(|speed| speed.get() == "\"fast\"").map(|_| ServiceTier::Fast);
        self.service_tier = fast.or(service_tier).or(self.service_tier);
    }

    /// The same in everybody's words; none if no token was told of.
    pub(super) fn usage(&self) -> Option<Usage> {
        let usage = Usage {
            input_tokens: self.uncached + self.read + self.written,
            cached_input_tokens: self.read,
            cache_write_tokens: self.written.saturating_sub(self.written_for_an_hour),
            cache_write_1h_tokens: self.written_for_an_hour.min(self.written),
            output_tokens: self.output,
            reasoning_tokens: self.thoughts.min(self.output),
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(Usage { service_tier: self.service_tier, ..usage })
    }
}

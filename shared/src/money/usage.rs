//! What calls used, in the gateway's own words: whichever way a vendor counts, an adapter has made these figures of it.

use crate::money::{ServiceTier, usd};
use serde::{Deserialize, Serialize};

/// The tokens of one call, or of many added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All tokens of the prompt, those read from the provider's cache included.
    pub input_tokens: u64,
    /// The part of `input_tokens` that the provider read from its cache.
    pub cached_input_tokens: u64,
    /// The part of `input_tokens` that the provider wrote into its cache, to be kept for its usual time (five minutes at
    /// Anthropic, half an hour at OpenAI); no token is both read and written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// The part of `input_tokens` that was written to be kept for an hour; none of `cache_write_tokens`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h_tokens: u64,
    /// All tokens that were generated, reasoning included.
    pub output_tokens: u64,
    /// The part of `output_tokens` that was reasoning.
    pub reasoning_tokens: u64,
    /// The service tier that it was served in, if the answer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
    /// What the provider says that it cost, in nano-US-dollars, if it says; not added up.
    #[serde(rename = "reported_cost_usd", default, skip_serializing_if = "Option::is_none", with = "usd::option")]
    pub reported_cost_nusd: Option<u64>,
}

impl Usage {
    /// What counts against a limit in tokens: input and output, each token once (M7).
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// What two parts of one answer say of it: the larger of each figure, for they count up, and zeros stand for what is
    /// not told.
    #[must_use]
    pub fn both(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
        Some(Self {
            input_tokens: a.input_tokens.max(b.input_tokens),
            cached_input_tokens: a.cached_input_tokens.max(b.cached_input_tokens),
            cache_write_tokens: a.cache_write_tokens.max(b.cache_write_tokens),
            cache_write_1h_tokens: a.cache_write_1h_tokens.max(b.cache_write_1h_tokens),
            output_tokens: a.output_tokens.max(b.output_tokens),
            reasoning_tokens: a.reasoning_tokens.max(b.reasoning_tokens),
            service_tier: b.service_tier.or(a.service_tier),
            reported_cost_nusd: a.reported_cost_nusd.max(b.reported_cost_nusd),
        })
    }

    /// Adds another call's tokens, saturating.
    pub fn plus(&mut self, other: &Usage) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.cache_write_1h_tokens = self.cache_write_1h_tokens.saturating_add(other.cache_write_1h_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
    }
}

/// For serde, which hands over a reference: what few calls have is left out where it is nothing.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(tokens: &u64) -> bool {
    *tokens == 0
}

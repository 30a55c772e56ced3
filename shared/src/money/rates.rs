//! What a million tokens of each kind cost, and what some tokens come to at that.

use crate::money::{Usage, WHOLE};

/// What a model charges for a million tokens of each kind, in nano-US-dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RatesNusdPerMillion {
    /// For input that the provider neither read from its cache nor wrote into it.
    pub input: u64,
    /// For input that the provider read from its cache.
    pub cached_input: u64,
    /// For input that the provider wrote into its cache, for its usual time.
    pub cache_write: u64,
    /// The same for an hour.
    pub cache_write_1h: u64,
    /// For output that is not reasoning.
    pub output: u64,
    /// For reasoning.
    pub reasoning: u64,
}

impl RatesNusdPerMillion {
    /// One rate for all input and one for all output.
    #[must_use]
    pub const fn of(input: u64, output: u64) -> Self {
        Self { input, cached_input: input, cache_write: input, cache_write_1h: input, output, reasoning: output }
    }

    /// What these tokens cost, in nano-US-dollars, rounded up per kind; `u64::MAX` where the true cost is above it.
    ///
    /// A provider that reports more cached than input tokens, or more reasoning than output, contradicts itself; then
    /// the larger of the two figures is charged.
    #[must_use]
    pub fn cost_nusd(&self, usage: &Usage) -> u64 {
        let in_and_out_of_cache = [usage.cached_input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens];
        let fresh_input = in_and_out_of_cache.into_iter().fold(usage.input_tokens, u64::saturating_sub);
        let plain_output = usage.output_tokens.saturating_sub(usage.reasoning_tokens);
        [
            (fresh_input, self.input),
            (usage.cached_input_tokens, self.cached_input),
            (usage.cache_write_tokens, self.cache_write),
            (usage.cache_write_1h_tokens, self.cache_write_1h),
            (plain_output, self.output),
            (usage.reasoning_tokens, self.reasoning),
        ]
        .into_iter()
        .map(|(tokens, nusd_per_million)| kind_nusd(tokens, nusd_per_million))
        .fold(0, u64::saturating_add)
    }

    /// The dearer of both, kind by kind.
    #[must_use]
    pub(super) fn dearer(self, other: Self) -> Self {
        self.with(other, u64::max)
    }

    /// Each rate times a factor in parts of [`WHOLE`], rounded up to a nano-dollar for a million tokens.
    #[must_use]
    pub(super) fn times(self, factor: u64) -> Self {
        let times = |rate: u64, _| {
            let exact = u128::from(rate) * u128::from(factor);
            u64::try_from(exact.div_ceil(u128::from(WHOLE))).unwrap_or(u64::MAX)
        };
        if factor == WHOLE { self } else { self.with(self, times) }
    }

    fn with(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input: both(self.input, other.input),
            cached_input: both(self.cached_input, other.cached_input),
            cache_write: both(self.cache_write, other.cache_write),
            cache_write_1h: both(self.cache_write_1h, other.cache_write_1h),
            output: both(self.output, other.output),
            reasoning: both(self.reasoning, other.reasoning),
        }
    }
}

/// `ceil(tokens · price / 1 000 000)`, for one kind of token.
pub(super) fn kind_nusd(tokens: u64, nusd_per_million: u64) -> u64 {
    let exact = u128::from(tokens) * u128::from(nusd_per_million);
    u64::try_from(exact.div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

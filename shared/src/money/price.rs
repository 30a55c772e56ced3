//! What a model charges: a function of the prompt's length, of the instant, and of the service tier.
//!
//! A price list has periods. Of those that apply at an instant the first counts, so that a peak hour stands before the
//! rest of the day and the price of next month behind that of this. Where none applies (the list has run out, or has a
//! gap) each token costs the dearest that the list knows: never too little, and `catalog check` finds it. A list without
//! periods is a price that nobody knows.
//!
//! Two questions are asked of it. A settlement asks what these tokens cost at this instant. A hold asks before the call,
//! when neither is known: for each kind of token it takes the dearest rate that can come to pass until the request is
//! certainly over, and of the kinds that a token may turn out to be the dearest (M1).
//!
//! Whole nano-dollars throughout. A factor of a service tier makes each rate anew, rounded up to a nano-dollar for a
//! million tokens; then each kind of token is rounded up for itself ([`RatesNusdPerMillion::cost_nusd`]).

use crate::clock::DAY_MS;
use crate::money::{RatesNusdPerMillion, ServiceTier, Usage};
use std::slice;

/// One as a factor: factors are kept in parts of a thousand million.
pub const WHOLE: u64 = 1_000_000_000;

const MINUTE_MS: u64 = 60_000;
/// A hold that reaches further than this takes the dearest of all periods, instead of looking at each hour on its way.
const LOOKED_AT_MS: u64 = 8 * DAY_MS;

/// A price list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Price {
    /// Of those that apply the first counts; none where the price is not known.
    pub periods: Vec<Period>,
    /// Whether what the provider says that a call cost is charged, and the list is for the hold and for comparison.
    pub is_reported: bool,
    /// Whether the provider writes into its cache only what a request asks it to; else it may write any prompt.
    pub writes_when_asked: bool,
}

/// What is charged for some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// The first millisecond, Unix time.
    pub from_ms: u64,
    /// The first that it is over.
    pub until_ms: u64,
    /// When in the week; always where there are none.
    pub hours: Vec<Hours>,
    /// What is charged for short prompts, or for all.
    pub rates: RatesNusdPerMillion,
    /// What is charged for longer ones, in rising order.
    pub tiers: Vec<PromptTier>,
    /// By what all rates are multiplied in a service tier, in parts of [`WHOLE`].
    pub service_tiers: Vec<(ServiceTier, u64)>,
}

/// What is charged for every token of a request with a long prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptTier {
    /// It has more tokens than this, those from and into the cache included.
    pub above_prompt_tokens: u64,
    /// What is charged.
    pub rates: RatesNusdPerMillion,
}

/// A part of some days of the week, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// One bit for each weekday, the lowest for Monday.
    pub weekdays: u8,
    /// Its first minute of the day.
    pub from_minute: u64,
    /// The first minute that it is over, at most 1440.
    pub until_minute: u64,
}

/// What a request can come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// The most tokens that its prompt has.
    pub input_tokens: u64,
    /// The most that all its answers have.
    pub output_tokens: u64,
    /// What it asks to be written into the provider's cache.
    pub cache_write: CacheWrite,
    /// The service tier that it asks for.
    pub service_tier: Option<ServiceTier>,
    /// Now, in Unix milliseconds.
    pub from_ms: u64,
    /// When it is certainly over.
    pub until_ms: u64,
}

/// What a request asks to be written into the provider's cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheWrite {
    /// It does not say.
    #[default]
    Unasked,
    /// Something, for the usual time.
    Usual,
    /// Something, for an hour.
    Hour,
}

impl Hours {
    /// All seven days.
    pub const EVERY_DAY: u8 = 0b111_1111;

    fn has(&self, at_ms: u64) -> bool {
        // The first of January 1970 was a Thursday.
        let weekday = (at_ms / DAY_MS + 3) % 7;
        let minute = at_ms % DAY_MS / MINUTE_MS;
        self.weekdays & (1 << weekday) != 0 && (self.from_minute..self.until_minute).contains(&minute)
    }
}

impl Period {
    /// These rates, always.
    #[must_use]
    pub fn always(rates: RatesNusdPerMillion) -> Self {
        let (from_ms, until_ms) = (0, u64::MAX);
        Self { from_ms, until_ms, hours: Vec::new(), rates, tiers: Vec::new(), service_tiers: Vec::new() }
    }

    fn applies(&self, at_ms: u64) -> bool {
        (self.from_ms..self.until_ms).contains(&at_ms)
            && (self.hours.is_empty() || self.hours.iter().any(|hours| hours.has(at_ms)))
    }

    /// The rates of a prompt of this length.
    fn rates_of(&self, prompt_tokens: u64) -> RatesNusdPerMillion {
        let reached = self.tiers.iter().rev().find(|tier| prompt_tokens > tier.above_prompt_tokens);
        reached.map_or(self.rates, |tier| tier.rates)
    }

    /// The dearest rates of a prompt of at most this length.
    fn dearest_of(&self, prompt_tokens: u64) -> RatesNusdPerMillion {
        let reached = self.tiers.iter().filter(|tier| prompt_tokens > tier.above_prompt_tokens);
        reached.fold(self.rates, |rates, tier| rates.dearer(tier.rates))
    }

    fn factor(&self, tier: Option<ServiceTier>) -> u64 {
        let listed = self.service_tiers.iter().find(|(listed, _)| Some(*listed) == tier);
        listed.map_or(WHOLE, |(_, factor)| *factor)
    }
}

impl From<RatesNusdPerMillion> for Price {
    fn from(rates: RatesNusdPerMillion) -> Self {
        Self { periods: vec![Period::always(rates)], ..Self::default() }
    }
}

impl Price {
    /// Whether nobody knows it; it then counts as nothing.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.periods.is_empty()
    }

    /// Whether it is known, and has nothing to say of this instant.
    #[must_use]
    pub fn has_run_out(&self, at_ms: u64) -> bool {
        !self.is_unknown() && !self.periods.iter().any(|period| period.applies(at_ms))
    }

    /// The period that counts, or all of them where none does.
    fn periods_at(&self, at_ms: u64) -> &[Period] {
        let first = self.periods.iter().find(|period| period.applies(at_ms));
        first.map_or(&self.periods, slice::from_ref)
    }

    /// The rates for a short prompt, of those of an instant.
    #[must_use]
    pub fn rates_at(&self, at_ms: u64) -> RatesNusdPerMillion {
        dearest(self.periods_at(at_ms).iter().map(|period| period.rates))
    }

    /// What these tokens cost by the list at an instant, in nano-US-dollars, in the service tier that the answer says; in
    /// the usual one where it says none.
    #[must_use]
    pub fn cost_nusd(&self, usage: &Usage, at_ms: u64) -> u64 {
        let rates = |period: &Period| period.rates_of(usage.input_tokens).times(period.factor(usage.service_tier));
        dearest(self.periods_at(at_ms).iter().map(rates)).cost_nusd(usage)
    }

    /// What a call costs at most, whatever kinds its tokens turn out to be, in nano-US-dollars.
    #[must_use]
    pub fn most_nusd(&self, reach: &Reach) -> u64 {
        let rates = self.dearest_rates(reach);
        let may_write = reach.cache_write != CacheWrite::Unasked || !self.writes_when_asked;
        let input = [
            Some(rates.input),
            Some(rates.cached_input),
            may_write.then_some(rates.cache_write),
            (reach.cache_write == CacheWrite::Hour).then_some(rates.cache_write_1h),
        ];
        let output = [Some(rates.output), Some(rates.reasoning)];
        most_of(reach.input_tokens, input.into_iter()).saturating_add(most_of(reach.output_tokens, output.into_iter()))
    }

    /// The dearest rate of each kind that can come to pass.
    fn dearest_rates(&self, reach: &Reach) -> RatesNusdPerMillion {
        let rates = |period: &Period| {
            let asked = reach.service_tier.map_or(WHOLE, |tier| period.factor(Some(tier)));
            // What was asked for may be refused, and be served as usual.
            period.dearest_of(reach.input_tokens).times(asked.max(WHOLE))
        };
        let of = |periods: &[Period]| dearest(periods.iter().map(rates));
        if reach.until_ms.saturating_sub(reach.from_ms) > LOOKED_AT_MS {
            return of(&self.periods);
        }
        // Between two of these instants nothing changes.
        let changes = self.changes(reach).filter(|at_ms| reach.from_ms < *at_ms && *at_ms <= reach.until_ms);
        dearest(std::iter::once(reach.from_ms).chain(changes).map(|at_ms| of(self.periods_at(at_ms))))
    }

    /// Every instant at which a period may begin or end, and some others.
    fn changes(&self, reach: &Reach) -> impl Iterator<Item = u64> {
        let days = reach.from_ms / DAY_MS..=reach.until_ms / DAY_MS;
        let in_a_day = |hours: &Hours| [hours.from_minute, hours.until_minute].map(|minute| minute * MINUTE_MS);
        self.periods.iter().flat_map(move |period| {
            let of_days = days.clone().flat_map(move |day| {
                period.hours.iter().flat_map(in_a_day).map(move |ms| day.saturating_mul(DAY_MS).saturating_add(ms))
            });
            [period.from_ms, period.until_ms].into_iter().chain(of_days)
        })
    }
}

fn dearest(rates: impl Iterator<Item = RatesNusdPerMillion>) -> RatesNusdPerMillion {
    rates.fold(RatesNusdPerMillion::default(), RatesNusdPerMillion::dearer)
}

/// What so many tokens cost at most, each of which is of one of these rates: all of them at the dearest, and, as each kind
/// is rounded up for itself, a nano-dollar for each other that is not free.
fn most_of(tokens: u64, rates: impl Iterator<Item = Option<u64>> + Clone) -> u64 {
    let dearest = rates.clone().flatten().max().unwrap_or(0);
    let others = (rates.flatten().filter(|rate| *rate > 0).count() as u64).saturating_sub(1);
    super::rates::kind_nusd(tokens, dearest).saturating_add(others)
}

#[cfg(test)]
mod tests;

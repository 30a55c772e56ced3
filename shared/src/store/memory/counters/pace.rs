//! Rates and places in flight: a tenant's, or those of a key that has its own.

use crate::clock::DAY_MS;
use crate::limit::gcra::{Denied, Rate, Tat};
use crate::store::{PaceLimits, Refusal, TokensTaken};
use crate::tenant::{RateKind, Whose};

/// Where they stand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    request_tat: Tat,
    token_tat: Tat,
    /// Requests that have a place.
    pub(super) in_flight: u64,
}

/// Takes `units` of a rate, if there is one.
fn take(rate: Option<Rate>, tat: Tat, units: u64, now_ms: u64) -> Result<Tat, u64> {
    let Some(rate) = rate else { return Ok(tat) };
    // More than a whole burst passes when the full burst is there: it could never pass otherwise.
    rate.check(tat, now_ms, units.min(rate.capacity())).map_err(|denied| match denied {
        Denied::ForNow { retry_after_ms } => retry_after_ms,
        Denied::Never => rate.reset_ms(tat, now_ms),
    })
}

impl Pace {
    /// The states of the rates of requests and of tokens.
    pub(super) fn tats(&self) -> [Tat; 2] {
        [self.request_tat, self.token_tat]
    }

    /// Whether it says no more than one that was never used, and has not for a day, in case the clock is set back.
    pub(super) fn is_long_free(&self, now_ms: u64) -> bool {
        self.in_flight == 0 && self.tats().iter().all(|tat| tat.ms.saturating_add(DAY_MS) < now_ms)
    }

    /// As it stands with a hit, which takes no tokens and no place.
    pub(super) fn with_hit(self, whose: Whose, limits: &PaceLimits, now_ms: u64) -> Result<Self, Refusal> {
        let refused = |retry_after_ms| Refusal::Rate { whose, kind: RateKind::Requests, retry_after_ms };
        let request_tat = take(limits.request_rate, self.request_tat, 1, now_ms).map_err(refused)?;
        Ok(Self { request_tat, ..self })
    }

    /// As it stands with a request, if that passes.
    pub(super) fn with_request(
        self,
        whose: Whose,
        limits: &PaceLimits,
        tokens: u64,
        now_ms: u64,
    ) -> Result<Self, Refusal> {
        if limits.concurrency.is_some_and(|limit| self.in_flight >= limit) {
            return Err(Refusal::Concurrency(whose));
        }
        let refused = |retry_after_ms| Refusal::Rate { whose, kind: RateKind::Tokens, retry_after_ms };
        let counted = self.with_hit(whose, limits, now_ms)?;
        let token_tat = take(limits.token_rate, self.token_tat, tokens, now_ms).map_err(refused)?;
        Ok(Self { token_tat, in_flight: self.in_flight + 1, ..counted })
    }

    /// As the rate of this kind counts, where a clock was set back.
    pub(super) fn bring_back(&mut self, kind: RateKind, limits: &PaceLimits, now_ms: u64) {
        let (rate, tat) = match kind {
            RateKind::Requests => (limits.request_rate, &mut self.request_tat),
            RateKind::Tokens => (limits.token_rate, &mut self.token_tat),
        };
        if let Some(rate) = rate {
            *tat = rate.brought_back(*tat, now_ms);
        }
    }

    /// Replaces what was taken from the rate of tokens by what was used.
    pub(super) fn correct_tokens(&mut self, taken: Option<TokensTaken>, now_ms: u64) {
        if let Some((rate, taken, used)) = taken {
            let delta = i64::try_from(i128::from(used) - i128::from(taken)).unwrap_or(i64::MAX);
            self.token_tat = rate.correct(self.token_tat, now_ms, delta);
        }
    }

    /// Gives back what a request of `tokens` took from the rates.
    pub(super) fn give_back(&mut self, limits: &PaceLimits, tokens: u64, now_ms: u64) {
        if let Some(rate) = limits.request_rate {
            self.request_tat = rate.correct(self.request_tat, now_ms, -1);
        }
        self.correct_tokens(limits.token_rate.map(|rate| (rate, tokens.min(rate.capacity()), 0)), now_ms);
    }
}

//! Refusals by a rate, remembered: who is over a rate is refused from the head alone, before a body is read (B1).
//!
//! A tenant over its rate would otherwise still cost the reading of 10 MB, a parse, a claim and a call to the store for each
//! request. The store's refusal says when the next request passes; until then this process need not call it.
//!
//! It refuses nobody whom the store would admit. A rate only fills with time, by what the rate's own rule gives, so
//! what did not pass at one instant passes no sooner than was said. What can make it pass sooner: other limits, which
//! come with another settings version, that of the caller; something given back, of which this process knows what it
//! gives itself ([`OverRate::forget`]); and what it cannot know: another process gives back, the store is lost, the
//! limits change before this process hears of it. For these nothing is remembered longer than [`LONGEST_MS`], well
//! within the ten seconds of T2, and a request that comes after its `retry-after` is never refused by memory. A clock
//! that is set back forgets.
//!
//! Tokens are remembered by how many the request needed: fewer pass sooner. A remembered answer needs none, so a
//! request that one may serve is not refused for them.

use crate::error::Error;
use crate::limit::gcra::Rate;
use crate::locking::lock;
use crate::store::{Admission, RateRemaining, RateStatus};
use crate::tenant::RateKind;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

/// For how long a refusal is remembered at most.
const LONGEST_MS: u64 = 1_000;
/// Tenants that are remembered; what is least used goes first.
const KEPT: usize = 10_000;

/// What this process knows of rates that are used up.
#[derive(Debug)]
pub(crate) struct OverRate {
    kept: Mutex<LruCache<Arc<str>, Refused>>,
}

#[derive(Debug, Clone, Copy)]
struct Refused {
    version: u64,
    at_ms: u64,
    kind: RateKind,
    retry_after_ms: u64,
    /// The rate of tokens, and how many the request needed.
    tokens: Option<(Rate, u64)>,
    rates: RateStatus,
}

impl Default for OverRate {
    fn default() -> Self {
        Self { kept: Mutex::new(LruCache::new(NonZeroUsize::new(KEPT).unwrap_or(NonZeroUsize::MIN))) }
    }
}

impl OverRate {
    /// Notes that the store refused `ask`.
    pub(crate) fn note(&self, ask: &Admission, kind: RateKind, retry_after_ms: u64, rates: RateStatus, now_ms: u64) {
        let tokens = ask.token_rate.filter(|_| kind == RateKind::Tokens);
        let tokens = tokens.map(|rate| (rate, ask.rate_tokens.min(rate.capacity())));
        let refused = Refused { version: ask.settings_version, at_ms: now_ms, kind, retry_after_ms, tokens, rates };
        lock(&self.kept).put(ask.tenant.clone(), refused);
    }

    /// Something was given back to this tenant's rates.
    pub(crate) fn forget(&self, tenant: &str) {
        lock(&self.kept).pop(tenant);
    }

    /// Why a request of a tenant whose settings are of this version is refused, and how its rates stand; `tokens` is what it
    /// asks for at least, `None` for one that a remembered answer may serve.
    pub(crate) fn of(
        &self,
        tenant: &str,
        version: u64,
        tokens: Option<u64>,
        now_ms: u64,
    ) -> Option<(Error, RateStatus)> {
        let refused = *lock(&self.kept).get(tenant)?;
        let passed_ms = now_ms.checked_sub(refused.at_ms)?;
        let wait_ms = match refused.tokens {
            None => refused.retry_after_ms,
            Some((rate, asked)) => {
                let sooner = u128::from(asked.saturating_sub(tokens?)) * u128::from(rate.period_ms());
                let sooner_ms = sooner.div_ceil(u128::from(rate.limit()));
                refused.retry_after_ms.saturating_sub(u64::try_from(sooner_ms).unwrap_or(u64::MAX))
            }
        };
        if refused.version != version || passed_ms >= wait_ms.min(LONGEST_MS) {
            return None;
        }
        let later = |rates: Option<RateRemaining>| {
            rates.map(|rates| RateRemaining { reset_ms: rates.reset_ms.saturating_sub(passed_ms), ..rates })
        };
        let rates = RateStatus { requests: later(refused.rates.requests), tokens: later(refused.rates.tokens) };
        Some((Error::RateLimited { kind: refused.kind, retry_after_ms: wait_ms - passed_ms }, rates))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::id::RequestId;
    use crate::limit::gcra::{Denied, Tat};
    use proptest::prelude::*;

    const NOW: u64 = 1_763_769_600_000;

    fn ask(token_rate: Option<Rate>, rate_tokens: u64) -> Admission {
        Admission { token_rate, rate_tokens, ..Admission::of_nothing("t".into(), RequestId::new(NOW), 1, NOW) }
    }

    #[test]
    fn a_refusal_is_remembered_for_its_time_its_settings_and_until_something_is_given_back() {
        let over_rate = OverRate::default();
        let known = |version, after_ms: i64| over_rate.of("t", version, None, NOW.saturating_add_signed(after_ms));
        let note = |ms| over_rate.note(&ask(None, 1), RateKind::Requests, ms, RateStatus::default(), NOW);
        note(500);
        for (version, after_ms, waits_ms) in
            [(1, 0, Some(500)), (1, 499, Some(1)), (1, 500, None), (1, -1, None), (2, 0, None)]
        {
            let wait_ms = known(version, after_ms).map(|(error, _)| error.to_http().retry_after_ms.unwrap());
            assert_eq!(wait_ms, waits_ms, "{version} {after_ms}");
        }
        note(60_000);
        assert!(known(1, 999).is_some() && known(1, 1000).is_none(), "no longer than a second");
        note(500);
        over_rate.forget("t");
        assert!(known(1, 0).is_none());
    }

    proptest! {
        #[test]
        fn nothing_is_refused_that_its_rate_admits(
            limit in 1u64..100_000, backlog_ms in 0u64..200_000, asked in 1u64..200_000, asks in 1u64..200_000, after_ms in 0u64..3_000,
        ) {
            let rate = Rate::new(limit, 60_000, limit).unwrap();
            let stored = Tat { ms: NOW + backlog_ms, ticks: 0 };
            let units = |tokens: u64| tokens.min(rate.capacity());
            let Err(Denied::ForNow { retry_after_ms }) = rate.check(stored, NOW, units(asked)) else { return Ok(()) };
            let over_rate = OverRate::default();
            over_rate.note(&ask(Some(rate), asked), RateKind::Tokens, retry_after_ms, RateStatus::default(), NOW);
            if over_rate.of("t", 1, Some(asks), NOW + after_ms).is_some() {
                prop_assert!(rate.check(stored, NOW + after_ms, units(asks)).is_err());
            }
            prop_assert!(over_rate.of("t", 1, None, NOW + after_ms).is_none(), "what a remembered answer may serve");
        }
    }
}

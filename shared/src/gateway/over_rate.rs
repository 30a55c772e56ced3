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
use crate::limit::lineage::Lineage;
use crate::locking::lock;
use crate::store::{Admission, RateRemaining, RateStatus, Refusal};
use crate::tenant::{RateKind, Whose};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

/// For how long a refusal is remembered at most.
const LONGEST_MS: u64 = 1_000;
/// Tenants that are remembered; what is least used goes first.
const KEPT: usize = 10_000;
/// … and keys of one tenant that have rates of their own; the oldest goes first.
const KEYS_KEPT: usize = 16;

/// What this process knows of rates that are used up.
#[derive(Debug)]
pub(crate) struct OverRate {
    kept: Mutex<LruCache<Arc<str>, Vec<Refused>>>,
}

#[derive(Debug, Clone, Copy)]
struct Refused {
    /// The key whose own rates were asked of too, as of its lineage.
    key: Option<Lineage>,
    version: u64,
    at_ms: u64,
    whose: Whose,
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
    /// Notes that the store refused `ask`, if it did so by a rate.
    pub(crate) fn note(&self, ask: &Admission, refusal: Refusal, rates: RateStatus, now_ms: u64) {
        let Refusal::Rate { whose, kind, retry_after_ms } = refusal else { return };
        let token_rate = match whose {
            Whose::Tenant => ask.token_rate,
            Whose::Key => ask.key.and_then(|(_, own)| own.token_rate),
        };
        let tokens = token_rate.filter(|_| kind == RateKind::Tokens);
        let tokens = tokens.map(|rate| (rate, ask.rate_tokens.min(rate.capacity())));
        let (key, version) = (ask.key.map(|(lineage, _)| lineage), ask.settings_version);
        let refused = Refused { key, version, at_ms: now_ms, whose, kind, retry_after_ms, tokens, rates };
        let mut kept = lock(&self.kept);
        let of_tenant = kept.get_or_insert_mut(ask.tenant.clone(), Vec::new);
        of_tenant.retain(|known| known.key != key);
        if of_tenant.len() == KEYS_KEPT {
            of_tenant.remove(0);
        }
        of_tenant.push(refused);
    }

    /// Something was given back to this tenant's rates.
    pub(crate) fn forget(&self, tenant: &str) {
        lock(&self.kept).pop(tenant);
    }

    /// Why a request of a tenant whose settings are of this version is refused, and how its rates stand; `key` is the lineage of
    /// one that has rates of its own, for of two keys one may pass where the other does not. `tokens` is what it
    /// asks for at least, `None` for one that a remembered answer may serve.
    pub(crate) fn of(
        &self,
        tenant: &str,
        key: Option<Lineage>,
        version: u64,
        tokens: Option<u64>,
        now_ms: u64,
    ) -> Option<(Error, RateStatus)> {
        let refused = *lock(&self.kept).get(tenant)?.iter().find(|known| known.key == key)?;
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
        let Refused { whose, kind, .. } = refused;
        Some((Error::RateLimited { whose, kind, retry_after_ms: wait_ms - passed_ms }, rates))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::id::RequestId;
    use crate::limit::gcra::{Denied, Tat};
    use crate::store::PaceLimits;
    use proptest::prelude::*;

    const NOW: u64 = 1_763_769_600_000;

    fn ask(token_rate: Option<Rate>, rate_tokens: u64) -> Admission {
        Admission { token_rate, rate_tokens, ..Admission::of_nothing("t".into(), RequestId::new(NOW), 1, NOW) }
    }

    fn over(kind: RateKind, retry_after_ms: u64) -> Refusal {
        Refusal::Rate { whose: Whose::Tenant, kind, retry_after_ms }
    }

    #[test]
    fn what_one_key_is_refused_is_no_other_keys_and_is_forgotten_with_all_of_its_tenant() {
        let over_rate = OverRate::default();
        let keys: Vec<Lineage> = (0..20).map(|n| Lineage::of(&n.to_string())).collect();
        let known = |key| over_rate.of("t", key, 1, None, NOW).map(|(error, _)| error.to_http().message);
        for key in &keys {
            let own = PaceLimits { request_rate: Rate::new(1, 60_000, 1).ok(), ..PaceLimits::default() };
            let refusal = Refusal::Rate { whose: Whose::Key, kind: RateKind::Requests, retry_after_ms: 500 };
            let ask = Admission { key: Some((*key, own)), ..ask(None, 1) };
            over_rate.note(&ask, refusal, RateStatus::default(), NOW);
        }
        assert_eq!(known(None), None, "a key without rates of its own");
        assert_eq!(known(Some(keys[3])), None, "so many are not remembered");
        let message = known(Some(keys[19])).unwrap();
        assert!(message.starts_with("The limit requests_per_minute of this key is reached"), "{message}");
        over_rate.forget("t");
        assert_eq!(known(Some(keys[19])), None);
    }

    #[test]
    fn a_refusal_is_remembered_for_its_time_its_settings_and_until_something_is_given_back() {
        let over_rate = OverRate::default();
        let known =
            |version, after_ms: i64| over_rate.of("t", None, version, None, NOW.saturating_add_signed(after_ms));
        let note = |ms| over_rate.note(&ask(None, 1), over(RateKind::Requests, ms), RateStatus::default(), NOW);
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
            let refusal = over(RateKind::Tokens, retry_after_ms);
            over_rate.note(&ask(Some(rate), asked), refusal, RateStatus::default(), NOW);
            if over_rate.of("t", None, 1, Some(asks), NOW + after_ms).is_some() {
                prop_assert!(rate.check(stored, NOW + after_ms, units(asks)).is_err());
            }
            prop_assert!(over_rate.of("t", None, 1, None, NOW + after_ms).is_none(), "what a remembered answer may serve");
        }
    }
}

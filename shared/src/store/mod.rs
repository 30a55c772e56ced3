//! The store: counters, response cache and health — fast, shared, and disposable.
//!
//! Three borders, because three different things are needed; and one batch over them, because a request may wait for the
//! store only twice: [`Store::admit`] before the call and [`Store::settle`] after it. [`Composed`] makes the batch out of
//! any three parts; a backend that can do better (one pipeline to Redis) implements [`Store`] itself.
//!
//! The store may be flushed at any moment (M5): an admission that finds a window or the settings version missing says
//! [`Verdict::Stale`], the pipeline reads the truth from directory and ledger, calls [`Counters::rebuild`] and asks
//! again. What is read meanwhile may be old when it arrives: the store may have been lost once more, and others have
//! rebuilt and spent. So a tenant has an *incarnation*, a random number that the first admission after a loss gives it,
//! before anybody reads the ledger; it is lost with the tenant, and a rebuild that names another one is refused.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;
pub mod ticket;

use crate::health::{ModelHealth, Observation};
use crate::id::RequestId;
use crate::limit::gcra::{Rate, Tat};
use crate::limit::lineage::Lineage;
use crate::limit::retry_budget::RetryAsk;
use crate::limit::window::{Window, WindowKind};
use crate::money::{Amounts, Charged};
use crate::tenant::{Quota, RateKind, Whose};
use async_trait::async_trait;
use bytes::Bytes;
use std::cmp::Reverse;
use std::sync::Arc;
pub use ticket::Ticket;

/// A quota window with its limits; `None` means no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaAsk {
    /// The window.
    pub window: Window,
    /// Requests.
    pub requests: Option<u64>,
    /// Tokens.
    pub tokens: Option<u64>,
    /// Nano-US-dollar.
    pub cost_nusd: Option<u64>,
}

impl QuotaAsk {
    /// The first limit that `more` would exceed, where so much is used and held already; what is not taken exceeds none.
    pub(crate) fn exceeded(&self, WindowUse { used, held }: WindowUse, more: Amounts) -> Option<Quota> {
        let would = used.plus(held).plus(more);
        let over = |limit: Option<u64>, would: u64, more: u64| more > 0 && limit.is_some_and(|limit| would > limit);
        let cost = if self.window.kind == WindowKind::Month { Quota::MonthlyCost } else { Quota::DailyCost };
        let limits = [
            (Quota::DailyRequests, over(self.requests, would.requests, more.requests)),
            (Quota::DailyTokens, over(self.tokens, would.tokens, more.tokens)),
            (cost, over(self.cost_nusd, would.cost_nusd, more.cost_nusd)),
        ];
        limits.into_iter().find_map(|(quota, is_over)| is_over.then_some(quota))
    }
}

/// Limits of how fast requests may come: a tenant's, or a key's own; `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PaceLimits {
    /// Requests per minute.
    pub request_rate: Option<Rate>,
    /// Tokens per minute.
    pub token_rate: Option<Rate>,
    /// The most requests in flight.
    pub concurrency: Option<u64>,
}

/// What a request asks before anything is dispatched. It must pass all limits, the tenant's and its key's own, or takes
/// nothing of any.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The uid of the tenant whose request it is.
    pub tenant: Arc<str>,
    /// The request; sent twice, the verdict is the same, but for how the rates stand by then, and there is one hold.
    pub id: RequestId,
    /// The version of the tenant's settings that this admission was made from (T2).
    pub settings_version: u64,
    /// Requests per minute.
    pub request_rate: Option<Rate>,
    /// Tokens per minute.
    pub token_rate: Option<Rate>,
    /// How many tokens this request is expected to take from the token rates.
    pub rate_tokens: u64,
    /// The most requests in flight.
    pub concurrency: Option<u64>,
    /// The same three limits of its key's own, where that has any of them.
    pub key: Option<(Lineage, PaceLimits)>,
    /// The quota windows: the tenant's, then the key's own.
    pub quotas: Vec<QuotaAsk>,
    /// What the request may cost at most, by a calibrated estimate of its input.
    pub hold: Amounts,
    /// The same by an estimate that cannot be exceeded; taken where less than ten times `hold` is left.
    pub upper_bound_hold: Amounts,
    /// When the hold expires if nobody settles it, in Unix milliseconds.
    pub lease_until_ms: u64,
}

impl Admission {
    /// One that takes nothing, and is not held back by any limit.
    pub(crate) fn of_nothing(tenant: Arc<str>, id: RequestId, settings_version: u64, lease_until_ms: u64) -> Self {
        Self {
            tenant,
            id,
            settings_version,
            request_rate: None,
            token_rate: None,
            rate_tokens: 0,
            concurrency: None,
            key: None,
            quotas: Vec::new(),
            hold: Amounts::default(),
            upper_bound_hold: Amounts::default(),
            lease_until_ms,
        }
    }

    /// The tenant's limits of how fast requests may come.
    pub(crate) fn pace(&self) -> PaceLimits {
        PaceLimits { request_rate: self.request_rate, token_rate: self.token_rate, concurrency: self.concurrency }
    }

    /// A rate of tokens, what this request takes of it (of more than a burst, a burst), and what it did use.
    fn tokens_taken(&self, rate: Option<Rate>, used: Amounts) -> Option<TokensTaken> {
        rate.map(|rate| (rate, self.rate_tokens.min(rate.capacity()), used.tokens))
    }
}

/// A rate of tokens, what was taken from it, and what should have been.
pub type TokensTaken = (Rate, u64, u64);

/// Where a rate stands after an admission; for the `x-ratelimit-*` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateRemaining {
    /// Units a minute.
    pub limit: u64,
    /// Units that would pass now.
    pub remaining: u64,
    /// Milliseconds until the full burst is there again.
    pub reset_ms: u64,
}

/// Where a tenant's rates stand; where its key's own have less left, these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateStatus {
    /// Requests per minute.
    pub requests: Option<RateRemaining>,
    /// Tokens per minute.
    pub tokens: Option<RateRemaining>,
}

impl RateStatus {
    /// The rates of an admission, from their states: of requests and of tokens, the tenant's and its key's own.
    pub(crate) fn of(ask: &Admission, tenant: [Tat; 2], key: [Tat; 2], now_ms: u64) -> Self {
        let own = ask.key.map_or(PaceLimits::default(), |(_, limits)| limits);
        let least = |rates: [(Option<Rate>, Tat); 2]| {
            let of = |(rate, tat): (Option<Rate>, Tat)| {
                let rate = rate?;
                let (remaining, reset_ms) = (rate.remaining(tat, now_ms), rate.reset_ms(tat, now_ms));
                Some(RateRemaining { limit: rate.limit(), remaining, reset_ms })
            };
            rates.into_iter().filter_map(of).min_by_key(|rate| (rate.remaining, Reverse(rate.reset_ms)))
        };
        Self {
            requests: least([(ask.request_rate, tenant[0]), (own.request_rate, key[0])]),
            tokens: least([(ask.token_rate, tenant[1]), (own.token_rate, key[1])]),
        }
    }
}

/// Why an admission was refused. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A rate limit.
    Rate {
        /// Whose.
        whose: Whose,
        /// Which.
        kind: RateKind,
        /// When to come again, in milliseconds.
        retry_after_ms: u64,
    },
    /// Too many requests in flight.
    Concurrency(Whose),
    /// A window was lost, and a strict tenant waits until no hold of before can be in flight any more (M5).
    Closed {
        /// When to come again, in milliseconds.
        retry_after_ms: u64,
    },
    /// A quota has less left than the request may need.
    Quota {
        /// Which.
        quota: Quota,
        /// In which window; it says whose quota it is, and when that ends.
        window: Window,
    },
}

/// The answer to an admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The request may be dispatched; this much is held for it. A cache hit holds nothing and is counted already.
    Admitted {
        /// What was taken from the quotas.
        held: Amounts,
        /// Where the rates stand now.
        rates: RateStatus,
    },
    /// It may not. Nothing was taken.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Where the rates stand.
        rates: RateStatus,
    },
    /// The store does not know the tenant's settings version, knows another, or misses windows. Nothing was taken.
    Stale {
        /// Whether the settings are what is stale.
        settings: bool,
        /// The windows that are missing.
        windows: Vec<Window>,
        /// The incarnation of the tenant's counters, begun by this if they were lost: what is learnt from now on may be
        /// written to them as long as it is the same (M5, see ADR 16).
        incarnation: u64,
    },
}

/// What a request did use, in place of what was held for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The uid of the tenant whose request it was.
    pub tenant: Arc<str>,
    /// The request; settled twice, it is charged once (M2).
    pub id: RequestId,
    /// The windows that it was admitted to.
    pub windows: Vec<Window>,
    /// What it used.
    pub used: Amounts,
    /// When its hold expires, in Unix milliseconds: until then it may be sent again.
    pub lease_until_ms: u64,
    /// Whether it is charged only in place of its hold. Sent late, when the ledger has its receipt, a settlement whose
    /// window was lost meanwhile must not be charged to one that was rebuilt with it.
    pub only_held: bool,
    /// What the tenant's rate of tokens is corrected by.
    pub token_rate: Option<TokensTaken>,
    /// The same of its key's own, where that has any rate or places in flight of its own.
    pub key: Option<(Lineage, Option<TokensTaken>)>,
}

impl Settlement {
    /// What the request of this admission used.
    #[must_use]
    pub fn of(ask: &Admission, used: Amounts) -> Self {
        Self {
            tenant: ask.tenant.clone(),
            id: ask.id,
            windows: ask.quotas.iter().map(|quota| quota.window).collect(),
            used,
            lease_until_ms: ask.lease_until_ms,
            only_held: false,
            token_rate: ask.tokens_taken(ask.token_rate, used),
            key: ask.key.map(|(lineage, own)| (lineage, ask.tokens_taken(own.token_rate, used))),
        }
    }
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The hold was replaced by what was used.
    Done,
    /// It had been settled before; nothing changed.
    Again,
    /// There was no hold any more; what was used is charged all the same (M2), unless it was to be charged only in place
    /// of its hold.
    WithoutHold,
}

/// The store cannot be reached or is broken; the text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store is unavailable: {0}")]
pub struct StoreError(pub String);

/// What a window has used and holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowUse {
    /// Charged.
    pub used: Amounts,
    /// Set aside for requests in flight.
    pub held: Amounts,
}

/// A hold whose lease ended: its process was lost, and it is charged in full (M2). The ledger has yet to hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredHold {
    /// The request.
    pub id: RequestId,
    /// What was held for it, and is charged.
    pub held: Amounts,
    /// The windows that it is charged to.
    pub windows: Vec<Window>,
}

/// Rates, concurrency, quotas and revocation.
///
/// # Atomicity
/// Each method is one atomic operation on one tenant, and each is idempotent by request id: what is sent twice, or comes
/// after what was sent later, changes nothing more. The [`Ticket`] of a request says whether a copy of its admission may be
/// among that. Who admits and is not answered [doubts](Ticket::doubt) it.
#[async_trait]
pub trait Counters: Send + Sync {
    /// Checks every limit and takes from all of them, or from none. `hit` says that a remembered answer serves the
    /// request: it takes no hold and no place in flight, and counts one request at once (M7).
    async fn admit(&self, ask: &Admission, ticket: &mut Ticket, hit: bool, now_ms: u64) -> Result<Verdict, StoreError>;

    /// Raises a hold to `target` where it is less, if the quotas of `ask` have that much left; answers whether the hold
    /// covers `target` now.
    async fn extend(&self, ask: &Admission, target: Amounts, now_ms: u64) -> Result<bool, StoreError>;

    /// Replaces a hold by what was used.
    async fn settle(&self, settlement: &Settlement, ticket: &Ticket, now_ms: u64) -> Result<Settled, StoreError>;

    /// Gives a hold back, for a request of which nothing was dispatched; also what it took from the rates. An admission
    /// of this request that comes only now takes nothing any more.
    async fn release(&self, ask: &Admission, ticket: &Ticket, now_ms: u64) -> Result<(), StoreError>;

    /// Frees a request's place in flight while what it holds stays: its client has gone, and its provider is read on.
    async fn free_place(&self, ask: &Admission, now_ms: u64) -> Result<(), StoreError>;

    /// Tells the store a tenant's settings version and what its windows had used according to the ledger. A version
    /// that is known already is not replaced by an older one. Of a window that is known, only what was admitted without
    /// the store, and is not charged yet, is charged.
    ///
    /// `incarnation` is the one that [`Verdict::Stale`] named before directory and ledger were read. Without one, no
    /// window that is missing is begun. Answers whether it was heeded: a tenant of another incarnation, or of none,
    /// stays as it is (M5), and is to be retried, and the ledger read, again.
    async fn rebuild(
        &self,
        tenant: &str,
        incarnation: Option<u64>,
        settings_version: u64,
        windows: &[(Window, Charged)],
        now_ms: u64,
    ) -> Result<bool, StoreError>;

    /// Keeps a window that is missing closed until then: admissions are refused, and then find it missing again (M5). One
    /// that is there, or closed already, stays as it is; and so does a tenant of another incarnation, which may have been lost
    /// later.
    async fn close(
        &self,
        tenant: &str,
        incarnation: u64,
        window: &Window,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreError>;

    /// The holds that latest calls found expired and nobody has [acknowledged](Self::acknowledge); each is handed to
    /// one caller, and again after a minute.
    fn take_expired(&self, tenant: &str) -> Vec<ExpiredHold>;

    /// These are recorded in the ledger.
    async fn acknowledge(&self, tenant: &str, expired: &[ExpiredHold], now_ms: u64) -> Result<(), StoreError>;

    /// Forgets a tenant: windows, holds, rates and settings.
    async fn forget(&self, tenant: &str) -> Result<(), StoreError>;

    /// What windows have used and hold; `None` for one that the store does not have.
    async fn usage(&self, tenant: &str, windows: &[Window], now_ms: u64) -> Result<Vec<Option<WindowUse>>, StoreError>;
}

/// How many notes a group has at most: the latest ones.
pub const NOTES_KEPT: usize = 64;
/// A longer note is not kept.
pub const MAX_NOTE_BYTES: usize = 1_024;

/// Remembered answers, by exact key; and notes of which of them may serve a request that differs in its prompt alone.
#[async_trait]
pub trait ResponseCache: Send + Sync {
    /// What was put under this key and has not expired.
    async fn get(&self, key: &CacheKey, now_ms: u64) -> Result<Option<Bytes>, StoreError>;

    /// Remembers `value` for `ttl_ms`.
    async fn put(&self, key: &CacheKey, value: Bytes, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError>;

    /// The notes of a group that have not expired, the latest first; what is nearest among them is the caller's to say. See
    /// ADR 31.
    async fn notes(&self, _group: &CacheKey, _now_ms: u64) -> Result<Vec<Bytes>, StoreError> {
        Ok(Vec::new())
    }

    /// Adds a note to a group, for as long as the answer that it is of.
    async fn note(&self, _group: &CacheKey, _note: Bytes, _ttl_ms: u64, _now_ms: u64) -> Result<(), StoreError> {
        Ok(())
    }

    /// Forgets all that is remembered for a tenant.
    async fn purge(&self, tenant: &str) -> Result<(), StoreError>;
}

/// What is known of the models' health.
#[async_trait]
pub trait HealthStore: Send + Sync {
    /// The health of each of `models`, in their order.
    async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> Result<Vec<ModelHealth>, StoreError>;

    /// Records what was observed of models.
    async fn record(&self, observations: &[Observation], now_ms: u64) -> Result<(), StoreError>;

    /// Takes the one probe of a model that is out for this tenant (A6); answers whether it was to be had.
    async fn try_probe(&self, model: &Arc<str>, tenant: &str, lease_ms: u64, now_ms: u64) -> Result<bool, StoreError>;

    /// Takes one retry from the budget of all who share the store (A3), after the requests that it is told of were counted.
    ///
    /// # Errors
    /// As with any call of the store, and where it keeps no budget; then each process has its own.
    async fn try_retry(&self, _ask: &RetryAsk<'_>, _now_ms: u64) -> Result<bool, StoreError> {
        Err(StoreError("it keeps no budget of retries".into()))
    }
}

/// The place of a remembered answer: whose it is, and a hash of all that the answer depends on (T1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// The uid of the tenant whose answer it is.
    pub tenant: Arc<str>,
    /// SHA-256 of the request, and of what of the configuration and the tenant changes its answer.
    pub hash: [u8; 32],
}

/// What goes into the cache when a request is settled.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheWrite {
    /// Where.
    pub key: CacheKey,
    /// What.
    pub value: Bytes,
    /// For how long, in milliseconds.
    pub ttl_ms: u64,
    /// The group in which a note of it is made, and the note.
    pub note: Option<(CacheKey, Bytes)>,
}

/// All three borders, and the two batches over them.
#[async_trait]
pub trait Store: Send + Sync {
    /// The counters alone.
    fn counters(&self) -> &dyn Counters;
    /// The response cache alone.
    fn cache(&self) -> &dyn ResponseCache;
    /// Health alone.
    fn health(&self) -> &dyn HealthStore;
    /// The backend's name, for `/ready`.
    fn kind(&self) -> &'static str;

    /// Whether the backend answers. What it costs in time is what a request would wait.
    async fn ping(&self, now_ms: u64) -> Result<(), StoreError> {
        self.health().snapshot(&[], now_ms).await.map(drop)
    }

    /// Whether the store is left alone at the moment, because it failed time and again.
    fn is_skipped(&self) -> bool {
        false
    }

    /// Takes what `name` stands for, unless somebody has it; nobody else gets it for `for_ms`. A store of one process has nobody
    /// else.
    async fn claim(&self, _name: &str, _for_ms: u64, _now_ms: u64) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// One batch: the exact cache's answer under `key`, and the admission that depends on whether there is one.
    async fn admit(
        &self,
        ask: &Admission,
        ticket: &mut Ticket,
        key: Option<&CacheKey>,
        now_ms: u64,
    ) -> Result<(Verdict, Option<Bytes>), StoreError> {
        // A cache that is down is a miss; it must not keep a request from being served.
        let remembered = match key {
            Some(key) => self.cache().get(key, now_ms).await.unwrap_or(None),
            None => None,
        };
        let verdict = self.counters().admit(ask, ticket, remembered.is_some(), now_ms).await?;
        Ok((verdict, remembered))
    }

    /// One batch: the settlement, what was observed of models, and an answer to remember.
    async fn settle(
        &self,
        settlement: &Settlement,
        ticket: &Ticket,
        observations: &[Observation],
        write: Option<CacheWrite>,
        now_ms: u64,
    ) -> Result<Settled, StoreError> {
        let remember = async {
            match write {
                Some(write) => remember(self.cache(), write, now_ms).await,
                None => Ok(()),
            }
        };
        let (settled, recorded, remembered) = tokio::join!(
            self.counters().settle(settlement, ticket, now_ms),
            async { if observations.is_empty() { Ok(()) } else { self.health().record(observations, now_ms).await } },
            remember,
        );
        for error in [recorded, remembered].into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "what was learnt of a request is lost");
        }
        settled
    }
}

/// Puts an answer where it belongs, and the note of it.
pub(crate) async fn remember(cache: &dyn ResponseCache, write: CacheWrite, now_ms: u64) -> Result<(), StoreError> {
    let CacheWrite { key, value, ttl_ms, note } = write;
    let note = async {
        match note {
            Some((group, note)) => cache.note(&group, note, ttl_ms, now_ms).await,
            None => Ok(()),
        }
    };
    let (put, noted) = tokio::join!(cache.put(&key, value, ttl_ms, now_ms), note);
    put.and(noted)
}

/// A store out of three parts.
pub struct Composed {
    /// Rates, concurrency, quotas.
    pub counters: Arc<dyn Counters>,
    /// Remembered answers.
    pub cache: Arc<dyn ResponseCache>,
    /// Health.
    pub health: Arc<dyn HealthStore>,
    /// The backend's name, for `/ready`.
    pub kind: &'static str,
}

impl Store for Composed {
    fn counters(&self) -> &dyn Counters {
        &*self.counters
    }

    fn cache(&self) -> &dyn ResponseCache {
        &*self.cache
    }

    fn health(&self) -> &dyn HealthStore {
        &*self.health
    }

    fn kind(&self) -> &'static str {
        self.kind
    }
}

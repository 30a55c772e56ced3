//! The admission: one batch that checks every limit, holds what the request may cost, and looks for a remembered answer.
//!
//! A store that does not know the tenant's settings version, or misses a window, says so; the truth is then read from the
//! directory and the ledger, told to the store, and the admission is asked again (T2, M5). A store that does not answer is
//! [`outage`]'s matter. No upstream byte is sent before the hold stands (M2).

pub(crate) mod afford;
mod refill;

use crate::directory::authenticate::Caller;
use crate::error::Error;
use crate::estimate::{InputEstimate, at_most, dearest, rate_tokens};
use crate::gateway::Gateway;
use crate::gateway::outage::{self, Owed};
use crate::health::ModelHealth;
use crate::id::RequestId;
use crate::limit::gcra::Rate;
use crate::limit::window::{Window, WindowKind};
use crate::money::Amounts;
use crate::pipeline::Work;
use crate::receipt::CacheStatus;
use crate::request::instructions::CacheUse;
use crate::request::journal::Journal;
use crate::routing::decide::{Decision, decide};
use crate::stage::admit::afford::{leave_out, leave_out_all_but_the_cheapest};
use crate::stage::admit::refill::{Stale, learn, recover};
use crate::store::HealthStore;
use crate::store::{Admission, CacheKey, Counters, QuotaAsk, Refusal, Standing, StoreError, Verdict};
use crate::tenant::{Limits, Tenant, TenantUpgrade};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// How often an admission whose truth has changed is asked again.
const TRIES: usize = 4;
/// How long after its deadline a hold expires.
pub(crate) const LEASE_AFTER_DEADLINE_MS: u64 = 60_000;
/// When to come again while too many requests are in flight; nobody knows when one of them ends.
const CONCURRENCY_RETRY_MS: u64 = 1000;

/// A request that was let in.
#[expect(clippy::large_enum_variant, reason = "moved once per request; a box would be allocated for each")]
pub(crate) enum Admitted {
    /// A remembered answer serves it; it is counted already.
    Hit(Remembered),
    /// It may be dispatched.
    Held(Hold),
}

/// What is held for a request, and what the admission brought along.
pub(crate) struct Hold {
    pub(crate) ask: Admission,
    pub(crate) held: Amounts,
    /// As the admission told, if no copy of it can be on its way.
    pub(crate) epoch: Option<u64>,
    /// Where the answer may be remembered.
    pub(crate) cache_key: Option<CacheKey>,
    /// The candidates' health, in the order of the decision.
    pub(crate) health: Vec<ModelHealth>,
}

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) model: Arc<str>,
    pub(crate) tier: Option<Arc<str>>,
    pub(crate) created_at_ms: u64,
    /// JSON, or the events of a stream without its last comment and `[DONE]`.
    #[serde(skip)]
    pub(crate) body: Bytes,
}

impl Remembered {
    /// One line of JSON, then the body.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }

    /// Reads it again; `None` for what another version wrote.
    pub(crate) fn from_bytes(bytes: &Bytes) -> Option<Self> {
        let line = bytes.iter().position(|&byte| byte == b'\n')?;
        let head: Self = serde_json::from_slice(&bytes[..line]).ok()?;
        Some(Self { body: bytes.slice(line + 1..), ..head })
    }
}

/// Why a request was not let in.
pub(crate) enum Refused {
    /// What the client is told.
    Told(Error),
    /// The store did not answer.
    Down(StoreError),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Down(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Told(error) => error,
            Refused::Down(StoreError(why)) => Self::Unavailable(why),
        }
    }
}

/// Admits a request, or says why not.
pub(crate) async fn admit(work: &mut Work<'_>, decision: &mut Decision) -> Result<Admitted, Error> {
    let gateway = work.gateway;
    if gateway.ledger_is_down().await {
        work.journal.degrade("ledger");
        if work.caller.tenant.settings.ledger_required {
            return Err(Error::NotWritten {
                message: "What is used cannot be recorded now, and this tenant is served only if it is.".into(),
                why: "the ledger is down, and this tenant requires it".into(),
            });
        }
    }
    match admit_by_store(work, decision).await {
        Err(Refused::Down(why)) => {
            work.journal.degrade("store");
            if work.wants.cache == CacheUse::OnlyIfCached {
                return Err(Error::Unavailable(why.0));
            }
            gateway.metrics.store_failed();
            work.journal.cache = CacheStatus::Bypass;
            let now_ms = gateway.clock.now_ms();
            let ask = admission(gateway, work, decision, now_ms);
            work.journal.windows = receipt_windows(&work.caller, now_ms);
            let mut admitted = outage::admit(work, ask, why.clone()).await;
            if let Err(Refused::Down(_)) = &admitted
                && leave_out_all_but_the_cheapest(work, decision)
            {
                let ask = admission(gateway, work, decision, now_ms);
                admitted = outage::admit(work, ask, why).await;
            }
            if admitted.is_err() {
                // What the store may have held for it is given back at once, if the store is there again.
                gateway.pay().await;
            }
            let mut hold = admitted?;
            let names: Vec<Arc<str>> = decision.candidates.iter().map(|model| model.name.clone()).collect();
            hold.health = gateway.outage.health.snapshot(&names, now_ms).await.unwrap_or_default();
            Ok(Admitted::Held(hold))
        }
        admitted => Ok(admitted?),
    }
}

/// The same by the store alone.
async fn admit_by_store(work: &mut Work<'_>, decision: &mut Decision) -> Result<Admitted, Refused> {
    let mut unheard = None;
    let admitted = ask_store(work, decision, &mut unheard).await;
    if let (Err(_), Some(ask)) = (&admitted, unheard) {
        work.gateway.outage.owe(Owed::Release(ask));
    }
    admitted
}

/// Asks the store until it knows enough to answer. What may yet be heard of that, and would then hold what nobody knows of,
/// is left in `unheard`.
async fn ask_store(
    work: &mut Work<'_>,
    decision: &mut Decision,
    unheard: &mut Option<Box<Admission>>,
) -> Result<Admitted, Refused> {
    let gateway = work.gateway;
    if gateway.store.is_skipped() {
        return Err(StoreError("it failed time and again and is left alone for a moment".into()).into());
    }
    recover(work).await?;
    let wanted = matches!(work.wants.cache, CacheUse::Default | CacheUse::OnlyIfCached);
    let mut readable = wanted;
    let mut waited_for = Vec::new();
    let mut left_out = false;
    for _ in 0..TRIES {
        let cache_key = cache_key(work);
        work.journal.cache = if cache_key.is_some() && wanted { CacheStatus::Miss } else { CacheStatus::Bypass };
        if work.wants.cache == CacheUse::OnlyIfCached && cache_key.is_none() {
            return Err(Error::NotCached.into());
        }
        let names: Vec<Arc<str>> = decision.candidates.iter().map(|model| model.name.clone()).collect();
        let now_ms = gateway.clock.now_ms();
        let ask = admission(gateway, work, decision, now_ms);
        work.journal.windows = receipt_windows(&work.caller, now_ms);
        let (admitted, (health, is_shared)) = tokio::join!(
            gateway.store.admit(&ask, cache_key.as_ref().filter(|_| readable), now_ms),
            gateway.health_of(&names, now_ms),
        );
        let (verdict, remembered) = admitted.inspect_err(|_| *unheard = Some(Box::new(ask.clone())))?;
        match verdict {
            Verdict::Admitted { held, standing, epoch } => {
                work.journal.standing = standing;
                match remembered.as_ref().map(Remembered::from_bytes) {
                    Some(Some(remembered)) => return Ok(Admitted::Hit(remembered)),
                    // Another version wrote it. A hit was counted and nothing is held: what follows is another request.
                    Some(None) => {
                        readable = false;
                        work.journal.id = RequestId::new(now_ms);
                        *unheard = None;
                        continue;
                    }
                    None => {}
                }
                if !is_shared {
                    work.journal.degrade("health");
                }
                let may_be_heard = unheard.take().is_some();
                let epoch = epoch.filter(|_| !may_be_heard);
                let cache_key = cache_key.filter(|_| work.wants.cache != CacheUse::NoStore);
                let hold = Hold { ask, held, epoch, cache_key, health };
                if work.wants.cache == CacheUse::OnlyIfCached {
                    release(work, &hold).await;
                    return Err(Error::NotCached.into());
                }
                return Ok(Admitted::Held(hold));
            }
            Verdict::Refused { refusal, standing } => {
                work.journal.standing = standing;
                if let Refusal::Quota { quota, .. } = refusal
                    && !std::mem::replace(&mut left_out, true)
                    && leave_out(work, decision, quota, &ask.quotas, now_ms).await?
                {
                    // A copy of what was refused may yet be heard: what follows is another request.
                    work.journal.id = RequestId::new(now_ms);
                    unheard.take().into_iter().for_each(|ask| gateway.outage.owe(Owed::Release(ask)));
                    continue;
                }
                note_refusal(gateway, &ask, refusal, standing, now_ms);
                return Err(told(refusal, now_ms).into());
            }
            Verdict::Stale { settings, windows, again, epoch } => {
                if again {
                    *unheard = Some(Box::new(ask));
                }
                let version = work.caller.tenant.version;
                let stale = Stale { settings, windows: &windows, epoch };
                learn(work, stale, &mut waited_for, now_ms).await?;
                // With its settings, what a tenant may use has changed (T2).
                if work.caller.tenant.version != version {
                    *decision = decide(&gateway.config, &gateway.intents, &work.caller, &work.request).await?;
                    work.note(decision);
                }
            }
        }
    }
    Err(stale_at_each_try().into())
}

fn stale_at_each_try() -> Error {
    Error::Unavailable("at each try the tenant's settings had changed, or the store was lost".into())
}

/// Refuses a request whose tenant is known to be over a rate, without asking the store.
pub(crate) fn refuse_known(work: &mut Work<'_>) -> Result<(), Error> {
    let reads_cache = matches!(work.wants.cache, CacheUse::Default | CacheUse::OnlyIfCached);
    let tokens = rate_tokens(&work.request, InputEstimate::of(&work.request));
    let may_hit = reads_cache && is_cacheable(work);
    let tokens = Some(tokens).filter(|_| !may_hit && work.wants.idempotency_key.is_none());
    refuse_early(work.gateway, &work.caller, tokens, &mut work.journal)
}

/// The same from the head alone: `tokens` is what a request asks for at least, where no remembered answer may serve it, be
/// it the cache's or that of an idempotency key.
pub(crate) fn refuse_early(
    gateway: &Gateway,
    caller: &Caller,
    tokens: Option<u64>,
    journal: &mut Journal,
) -> Result<(), Error> {
    let (uid, version) = (&caller.tenant.uid, caller.tenant.version);
    let known = gateway.over_rate.of(uid, version, tokens, gateway.clock.now_ms());
    let Some((error, standing)) = known else { return Ok(()) };
    journal.standing = standing;
    Err(error)
}

/// Asks for a place in the rates only, for a request that dispatches nothing; it counts nothing. While the store is down
/// the rates are this process's.
pub(crate) async fn admit_rate(work: &mut Work<'_>, decision: &mut Decision) -> Result<(), Error> {
    let gateway = work.gateway;
    let mut down = gateway.store.is_skipped();
    for _ in 0..TRIES {
        let now_ms = gateway.clock.now_ms();
        let ask = Admission { quotas: Vec::new(), ..admission(gateway, work, decision, now_ms) };
        let ask = if down { Admission { settings_version: outage::NO_VERSION, ..ask } } else { ask };
        let counters: &dyn Counters = if down { &gateway.outage.counters } else { gateway.store.counters() };
        let Ok(verdict) = counters.admit(&ask, true, now_ms).await else {
            work.journal.degrade("store");
            down = true;
            continue;
        };
        match verdict {
            Verdict::Admitted { standing, .. } => {
                work.journal.standing = standing;
                return Ok(());
            }
            Verdict::Refused { refusal, standing } => {
                work.journal.standing = standing;
                note_refusal(gateway, &ask, refusal, standing, now_ms);
                return Err(told(refusal, now_ms));
            }
            Verdict::Stale { epoch, .. } if down => {
                let told = counters.refill(&ask.tenant, Some(epoch), ask.settings_version, &[], now_ms).await;
                told.map_err(Refused::from)?;
            }
            Verdict::Stale { settings, windows, epoch, .. } => {
                let version = work.caller.tenant.version;
                let stale = Stale { settings, windows: &windows, epoch };
                learn(work, stale, &mut Vec::new(), now_ms).await?;
                if work.caller.tenant.version != version {
                    *decision = decide(&gateway.config, &gateway.intents, &work.caller, &work.request).await?;
                    work.note(decision);
                }
            }
        }
    }
    Err(stale_at_each_try())
}

fn note_refusal(gateway: &Gateway, ask: &Admission, refusal: Refusal, standing: Standing, now_ms: u64) {
    if let Refusal::Rate { kind, retry_after_ms } = refusal {
        gateway.over_rate.note(ask, kind, retry_after_ms, standing, now_ms);
    }
}

/// Gives back what was held for a request of which nothing was dispatched.
pub(crate) async fn release(work: &Work<'_>, hold: &Hold) {
    let gateway = work.gateway;
    gateway.over_rate.forget(&hold.ask.tenant);
    let released = counters(work).release(&hold.ask, hold.epoch, gateway.clock.now_ms()).await;
    if let Err(error) = released {
        tracing::warn!(request = %work.journal.id, %error, "a hold is not released yet");
        gateway.outage.owe(Owed::Release(Box::new(hold.ask.clone())));
    }
}

/// The counters that a request was admitted by.
pub(crate) fn counters<'a>(work: &Work<'a>) -> &'a dyn Counters {
    let gateway = work.gateway;
    if work.journal.outage { &gateway.outage.counters } else { gateway.store.counters() }
}

/// The windows that a tenant is admitted to.
pub(crate) fn quota_windows(tenant: &Tenant, now_ms: u64) -> Vec<Window> {
    let month = tenant.settings.limits.monthly_cost_nusd.map(|_| Window::month(now_ms));
    std::iter::once(Window::day(now_ms, tenant.settings.window_anchor_ms)).chain(month).collect()
}

/// What a tenant's limits say of a window.
pub(crate) fn quota_ask(limits: &Limits, window: Window) -> QuotaAsk {
    match window.kind {
        WindowKind::Day => QuotaAsk {
            window,
            requests: limits.daily_requests,
            tokens: limits.daily_tokens,
            cost_nusd: limits.daily_cost_nusd,
        },
        WindowKind::Month => QuotaAsk { window, requests: None, tokens: None, cost_nusd: limits.monthly_cost_nusd },
    }
}

fn admission(gateway: &Gateway, work: &Work<'_>, decision: &Decision, now_ms: u64) -> Admission {
    let tenant = &work.caller.tenant;
    let limits = &tenant.settings.limits;
    let input = InputEstimate::of(&work.request);
    let allowance = if decision.unsure { gateway.classifier_allowance(&work.request) } else { Amounts::default() };
    let hold = |input_tokens| {
        let most = dearest(decision.candidates.iter().map(|model| at_most(&work.request, model, input_tokens)));
        Amounts { requests: 1, ..most.plus(allowance) }
    };
    let rate = |per_minute: Option<u64>| per_minute.and_then(|limit| Rate::new(limit, 60_000, limit).ok());
    Admission {
        tenant: tenant.uid.clone(),
        id: work.journal.id,
        settings_version: tenant.version,
        request_rate: rate(limits.requests_per_minute),
        token_rate: rate(limits.tokens_per_minute),
        rate_tokens: rate_tokens(&work.request, input),
        concurrency: limits.concurrency,
        quotas: quota_windows(tenant, now_ms).into_iter().map(|window| quota_ask(limits, window)).collect(),
        hold: hold(input.likely_tokens),
        strict_hold: hold(input.strict_tokens),
        lease_until_ms: now_ms + work.left_ms() + LEASE_AFTER_DEADLINE_MS,
    }
}

/// The windows that a receipt is charged to: the month is counted even for a tenant that has no limit by the month yet.
fn receipt_windows(caller: &Caller, now_ms: u64) -> Vec<Window> {
    vec![Window::day(now_ms, caller.tenant.settings.window_anchor_ms), Window::month(now_ms)]
}

/// Whether this request's answer may be remembered at all.
fn is_cacheable(work: &Work<'_>) -> bool {
    let (cache, request) = (&work.caller.tenant.settings.cache, &work.request);
    let repeatable = cache.any_temperature || (request.temperature.is_none_or(|t| t <= 0.3) && request.n == 1);
    cache.enabled && repeatable && work.wants.cache != CacheUse::NoStore
}

/// Where this request's answer is or may be remembered: all that the answer depends on, and whose it is (T1). What changes
/// no answer (a limit, a name, a key, a price, a time-out) is not in it, so that such a change leaves what is remembered
/// where it is; who may still ask is the admission's to say, of a hit as of a miss (T2).
fn cache_key(work: &Work<'_>) -> Option<CacheKey> {
    let (tenant, request) = (&work.caller.tenant, &work.request);
    if !is_cacheable(work) {
        return None;
    }
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(tenant.uid.as_bytes());
    add(&work.gateway.config.answers);
    add(&tenant.purges.to_le_bytes());
    let (allowed_models, TenantUpgrade { enabled }) = tenant.settings.changing_answers();
    add(&[u8::from(*enabled)]);
    add(&allowed_models.len().to_le_bytes());
    allowed_models.iter().for_each(|name| add(name.as_bytes()));
    add(&[match work.wants.upgrade {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    }]);
    for (name, value) in request.raw_fields() {
        add(name.as_bytes());
        add(value);
    }
    Some(CacheKey { tenant: tenant.uid.clone(), hash: hash.finalize().into() })
}

pub(crate) fn told(refusal: Refusal, now_ms: u64) -> Error {
    match refusal {
        Refusal::Rate { kind, retry_after_ms } => Error::RateLimited { kind, retry_after_ms },
        Refusal::Closed { retry_after_ms } => Error::Closed { retry_after_ms },
        Refusal::Concurrency => Error::ConcurrencyLimited { retry_after_ms: CONCURRENCY_RETRY_MS },
        Refusal::Quota { quota, resets_at_ms } => {
            Error::QuotaExceeded { quota, resets_at_ms, resets_in_ms: resets_at_ms.saturating_sub(now_ms) }
        }
    }
}

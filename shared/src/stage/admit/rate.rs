//! The rates alone: who is known to be over one, and a place in them for what dispatches nothing.

use crate::directory::authenticate::Caller;
use crate::error::Error;
use crate::estimate::{InputEstimate, rate_tokens};
use crate::gateway::Gateway;
use crate::gateway::outage::NO_VERSION;
use crate::id::RequestId;
use crate::request::instructions::CacheUse;
use crate::request::journal::Journal;
use crate::request::work::Work;
use crate::routing::decide::Decision;
use crate::stage::admit::admitting::{Admitting, stale_at_each_try};
use crate::stage::admit::ask::{admission, key_pace, pace_of};
use crate::stage::admit::hold::{Refused, refusal_to_error};
use crate::stage::admit::key::is_cacheable;
use crate::stage::admit::rebuild::{Settings, Stale, reload};
use crate::store::{Admission, Counters, Verdict};

/// Refuses a request whose tenant is known to be over a rate, without asking the store.
pub(crate) fn refuse_known(work: &mut Work<'_>) -> Result<(), Error> {
    let reads_cache = matches!(work.options.cache, CacheUse::Default | CacheUse::OnlyIfCached);
    let tokens = rate_tokens(&work.request.facts, InputEstimate::of(&work.request.facts));
    let may_hit = reads_cache && is_cacheable(work);
    let tokens = Some(tokens).filter(|_| !may_hit && work.options.idempotency_key.is_none());
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
    let (uid, version, now_ms) = (&caller.tenant.uid, caller.tenant.version, gateway.clock.now_ms());
    let key = key_pace(caller).map(|(lineage, _)| lineage);
    let known = gateway.over_rate.of(uid, key, version, tokens, now_ms);
    let Some((error, rates)) = known else { return Ok(()) };
    journal.rates = rates;
    Err(error)
}

/// Asks for a place in the rates only, for a request that dispatches nothing; it counts nothing. While the store is down
/// the rates are this process's.
pub(crate) async fn admit_rate(
    work: &mut Work<'_>,
    decision: &Decision,
    admitting: &mut Admitting<'_>,
) -> Result<Settings, Error> {
    let gateway = work.gateway;
    let mut down = gateway.store.is_skipped();
    while admitting.has_try_left() {
        let now_ms = gateway.clock.now_ms();
        let ask = Admission { quotas: Vec::new(), ..admission(work, decision, now_ms) };
        let ask = if down { Admission { settings_version: NO_VERSION, ..ask } } else { ask };
        let counters: &dyn Counters = if down { &gateway.outage.counters } else { gateway.store.counters() };
        let Ok(verdict) = counters.admit(&ask, &mut admitting.ticket, true, now_ms).await else {
            work.journal.degrade("store");
            down = true;
            continue;
        };
        match verdict {
            Verdict::Admitted { rates, .. } => {
                work.journal.rates = rates;
                return Ok(Settings::Current);
            }
            Verdict::Refused { refusal, rates } => {
                work.journal.rates = rates;
                admitting.note(&ask);
                gateway.over_rate.note(&ask, refusal, rates, now_ms);
                return Err(refusal_to_error(refusal, now_ms));
            }
            Verdict::Stale { incarnation, .. } if down => {
                let rebuilt = counters.rebuild(&ask.tenant, Some(incarnation), ask.settings_version, &[], now_ms).await;
                rebuilt.map_err(Refused::from)?;
            }
            Verdict::Stale { settings, windows, incarnation } => {
                let stale = Stale { settings, windows: &windows, incarnation };
                if reload(work, stale, &mut Vec::new(), now_ms).await?.is_stale() {
                    return Ok(Settings::Stale);
                }
            }
        }
    }
    Err(stale_at_each_try())
}

/// The same for a call of a tenant that asks no model anything: it takes one from the rate of requests. The caller's settings
/// are read anew where the store knows of newer ones (T2).
pub(crate) async fn admit_call(gateway: &Gateway, caller: &mut Caller) -> Result<(), Error> {
    let mut admitting = Admitting::new(gateway, RequestId::new(gateway.clock.now_ms()));
    refuse_early(gateway, caller, None, &mut Journal::open(gateway.clock.now_ms()))?;
    let mut down = gateway.store.is_skipped();
    while admitting.has_try_left() {
        let (tenant, now_ms) = (caller.tenant.clone(), gateway.clock.now_ms());
        let ask = Admission {
            settings_version: if down { NO_VERSION } else { tenant.version },
            ..of_call(caller, admitting.ticket.id(), now_ms)
        };
        let counters: &dyn Counters = if down { &gateway.outage.counters } else { gateway.store.counters() };
        let Ok(verdict) = counters.admit(&ask, &mut admitting.ticket, true, now_ms).await else {
            down = true;
            continue;
        };
        match verdict {
            Verdict::Admitted { .. } => return Ok(()),
            Verdict::Refused { refusal, rates } => {
                admitting.note(&ask);
                gateway.over_rate.note(&ask, refusal, rates, now_ms);
                return Err(refusal_to_error(refusal, now_ms));
            }
            Verdict::Stale { settings, incarnation, .. } => {
                if settings && !down {
                    *caller = gateway.authenticator.again(caller, now_ms).await?;
                }
                let version = if down { NO_VERSION } else { caller.tenant.version };
                let rebuilt = counters.rebuild(&tenant.uid, Some(incarnation), version, &[], now_ms).await;
                rebuilt.map_err(Refused::from)?;
            }
        }
    }
    Err(stale_at_each_try())
}

/// What a call that dispatches nothing asks of the counters: a place in the rate of requests.
fn of_call(caller: &Caller, id: RequestId, now_ms: u64) -> Admission {
    let (tenant, request_rate) = (&caller.tenant, pace_of(&caller.tenant.settings.limits).request_rate);
    Admission {
        request_rate,
        key: key_pace(caller),
        ..Admission::of_nothing(tenant.uid.clone(), id, tenant.version, now_ms)
    }
}

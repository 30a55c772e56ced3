//! The admission: one batch that checks every limit, holds what the request may cost, and looks for a remembered answer.
//!
//! A store that does not know the tenant's settings version, or misses a window, says so; the truth is then read from
//! the directory and the ledger, written to the store, and the admission is retried (T2, M5). A store that does not
//! answer is [`without_store`]'s matter. No upstream byte is sent before the hold stands (M2).

pub(crate) mod admitting;
pub(crate) mod alike;
pub(crate) mod afford;
pub(crate) mod ask;
pub(crate) mod conversation;
pub(crate) mod hold;
pub(crate) mod rate;
mod key;
mod rebuild;
pub(crate) mod remembered;
mod sought;
pub(crate) mod unsure;
mod without_store;

use crate::error::Error;
use crate::id::RequestId;
use crate::money::Amounts;
use crate::receipt::{CacheStatus, SimilarTo};
use crate::request::instructions::CacheUse;
use crate::request::work::Work;
use crate::routing::decide::Decision;
use crate::stage::admit::admitting::{Admitting, stale_at_each_try};
use crate::stage::admit::afford::{leave_out, leave_out_all_but_the_cheapest};
use crate::stage::admit::ask::{AdmissionReply, admission, receipt_windows};
use crate::stage::admit::hold::{Hold, Refused, refusal_to_error, release};
use crate::stage::admit::rebuild::{Stale, reconcile, reload};
use crate::stage::admit::remembered::Remembered;
use crate::stage::admit::sought::{Sought, look_there};
use crate::store::{Admission, Refusal, StoreError, Verdict};
use std::sync::Arc;

/// What came of asking for admission.
#[expect(clippy::large_enum_variant, reason = "moved once per request; a box would be allocated for each")]
pub(crate) enum Admitted {
    /// A remembered answer serves it; it is counted already.
    Hit(Remembered),
    /// It may be dispatched.
    Held(Hold),
    /// The tenant's settings have changed: it is to be decided about anew.
    Stale,
}

/// Admits a request, or says why not.
pub(crate) async fn admit(
    work: &mut Work<'_>,
    decision: &mut Decision,
    admitting: &mut Admitting<'_>,
) -> Result<Admitted, Error> {
    if work.gateway.ledger_is_down().await {
        work.journal.degrade("ledger");
        if work.caller.tenant.settings.ledger_required {
            return Err(Error::NotWritten {
                message: "What is used cannot be recorded now, and this tenant is served only if it is.".into(),
                why: "the ledger is down, and this tenant requires it".into(),
            });
        }
    }
    let admitted = admit_by_store(work, decision, admitting).await;
    if admitted.is_err() && admitting.give_back() && matches!(admitted, Err(Refused::Final(_))) {
        // Of a store that answers at once: what arrived before that would hold what nobody settles.
        work.gateway.flush_pending().await;
    }
    match admitted {
        Err(Refused::Down(why)) => admit_without_store(work, decision, why).await.map(Admitted::Held),
        admitted => {
            work.gateway.note_store(true);
            Ok(admitted?)
        }
    }
}

async fn admit_without_store(work: &mut Work<'_>, decision: &mut Decision, why: StoreError) -> Result<Hold, Error> {
    let gateway = work.gateway;
    work.journal.degrade("store");
    if work.options.cache == CacheUse::OnlyIfCached {
        return Err(Error::Unavailable(why.0));
    }
    gateway.metrics.store_failed();
    gateway.note_store(false);
    work.journal.receipt.cache = CacheStatus::Bypass;
    let now_ms = gateway.clock.now_ms();
    let ask = admission(work, decision, now_ms);
    work.journal.receipt.windows = receipt_windows(&work.caller, now_ms);
    let mut admitted = without_store::admit(work, ask, why.clone()).await;
    if let Err(Refused::Down(_)) = &admitted
        && leave_out_all_but_the_cheapest(work, decision)
    {
        let ask = admission(work, decision, now_ms);
        admitted = without_store::admit(work, ask, why).await;
    }
    if admitted.is_err() {
        // What the store may have held for it is given back at once, if the store is there again.
        gateway.flush_pending().await;
    }
    let mut hold = admitted?;
    let names: Vec<Arc<str>> = decision.candidates.iter().map(|model| model.name.clone()).collect();
    let health = gateway.health.here(&names, now_ms).await;
    hold.health = names.into_iter().zip(health).collect();
    Ok(hold)
}

/// Calls the store until it knows enough to answer.
async fn admit_by_store(
    work: &mut Work<'_>,
    decision: &mut Decision,
    admitting: &mut Admitting<'_>,
) -> Result<Admitted, Refused> {
    if work.gateway.store.is_skipped() {
        return Err(StoreError("it failed time and again and is left alone for a moment".into()).into());
    }
    if admitting.is_first() {
        reconcile(work).await?;
    }
    while admitting.has_try_left() {
        let sought = Sought::of(work, admitting);
        work.journal.receipt.cache = sought.status(work.options.cache);
        if work.options.cache == CacheUse::OnlyIfCached && sought.key.is_none() {
            return Err(Error::NotCached.into());
        }
        let now_ms = work.gateway.clock.now_ms();
        work.journal.receipt.windows = receipt_windows(&work.caller, now_ms);
        let (verdict, reply) = sought.ask(work, decision, admitting, now_ms).await?;
        if let Some(near) = sought.found(&verdict, &reply) {
            look_there(work, (verdict, reply), near, admitting, now_ms);
            continue;
        }
        let admitted = match verdict {
            Verdict::Admitted { held, rates } => {
                work.journal.rates = rates;
                let_in(work, reply, held, sought, admitting).await?
            }
            Verdict::Refused { refusal, rates } => {
                work.journal.rates = rates;
                refused(work, decision, &reply.ask, refusal, admitting, now_ms).await?;
                None
            }
            Verdict::Stale { settings, windows, incarnation } => {
                let stale = Stale { settings, windows: &windows, incarnation };
                let settings = reload(work, stale, &mut admitting.waited_for, now_ms).await?;
                settings.is_stale().then_some(Admitted::Stale)
            }
        };
        if let Some(admitted) = admitted {
            return Ok(admitted);
        }
    }
    Err(stale_at_each_try().into())
}

/// The store admitted it: by a remembered answer, or with a hold. With `None`, the admission is retried.
async fn let_in(
    work: &mut Work<'_>,
    reply: AdmissionReply,
    held: Amounts,
    sought: Sought,
    admitting: &mut Admitting<'_>,
) -> Result<Option<Admitted>, Refused> {
    let AdmissionReply { ask, remembered, health, health_is_shared, label, notes: _, conversation } = reply;
    let ticket = admitting.let_in();
    match remembered.as_ref().map(Remembered::from_bytes) {
        Some(Some(remembered)) => {
            work.journal.receipt.similar = sought.near.map(|near| SimilarTo::of(near.similarity, remembered.id));
            return Ok(Some(Admitted::Hit(remembered)));
        }
        // Another version wrote it. A hit was counted and nothing is held: what follows is another request.
        Some(None) => {
            admitting.is_readable = false;
            work.journal.receipt.id = RequestId::new(work.gateway.clock.now_ms());
            admitting.begin_anew(work.journal.receipt.id);
            return Ok(None);
        }
        None => {}
    }
    if !health_is_shared {
        work.journal.degrade("health");
    }
    let cache_key = sought.key.filter(|_| work.options.cache != CacheUse::NoStore);
    let hold = Hold { ask, held, ticket, cache_key, alike: sought.alike, health, label, conversation };
    if work.options.cache == CacheUse::OnlyIfCached {
        release(work, &hold).await;
        return Err(Error::NotCached.into());
    }
    Ok(Some(Admitted::Held(hold)))
}

/// The store refused it: what does not fit is left out, once, and the rest retried; else it is final.
async fn refused(
    work: &mut Work<'_>,
    decision: &mut Decision,
    ask: &Admission,
    refusal: Refusal,
    admitting: &mut Admitting<'_>,
    now_ms: u64,
) -> Result<(), Refused> {
    if let Refusal::Quota { quota, .. } = refusal
        && !std::mem::replace(&mut admitting.has_left_out, true)
        && leave_out(work, decision, quota, &ask.quotas, now_ms).await?
    {
        // A copy of what was refused may still arrive: what follows is another request.
        work.journal.receipt.id = RequestId::new(now_ms);
        admitting.begin_anew(work.journal.receipt.id);
        return Ok(());
    }
    work.gateway.over_rate.note(ask, refusal, work.journal.rates, now_ms);
    Err(refusal_to_error(refusal, now_ms).into())
}

//! The store is down: what a tenant may do all the same.
//!
//! Without the store no process knows what the others admit; what all can ask is the ledger. It grants, by conditional
//! writes, chunks of the tenant's outage share, and never more in all than the share of the day's limit or what is left of
//! it (DESIGN 6). Within its chunks a process counts with the same counters as the memory store, which also keep the rates
//! and the places in flight, of this process alone. The receipts of such requests say so, the ledger adds them up, and the
//! first admission with the store back charges them to its window before it asks: exactly, once, and for the requests of
//! processes that are no more as well.

use crate::error::Error;
use crate::gateway::Gateway;
use crate::gateway::outage::NO_VERSION;
use crate::ledger::LedgerError;
use crate::limit::lineage::Lineage;
use crate::limit::window::WindowKind;
use crate::money::Amounts;
use crate::request::work::Work;
use crate::stage::admit::ask::quota_ask;
use crate::stage::admit::hold::{Hold, Refused, refusal_to_error};
use crate::store::{Admission, Counters, QuotaAsk, Refusal, StoreError, Ticket, Verdict};

/// A chunk is this part of the share, unless a request needs more.
const CHUNKS: u64 = 16;
/// How often one admission asks the ledger for more.
const TRIES: usize = 6;

/// Admits a request without the store, within what the ledger grants; [`Refused::Down`] says that it grants no more.
pub(crate) async fn admit(work: &mut Work<'_>, ask: Admission, why: StoreError) -> Result<Hold, Refused> {
    let gateway = work.gateway;
    let unavailable = |StoreError(why): StoreError| Refused::Final(Error::Unavailable(why));
    if work.caller.tenant.settings.outage_share <= 0.0 {
        return Err(unavailable(why));
    }
    let now_ms = gateway.clock.now_ms();
    let counters = &gateway.outage.counters;
    for _ in 0..TRIES {
        let here = granted(gateway, &ask);
        let mut ticket = Ticket::new(here.id);
        match counters.admit(&here, &mut ticket, false, now_ms).await.map_err(unavailable)? {
            Verdict::Admitted { held, rates } => {
                work.journal.rates = rates;
                work.journal.receipt.outage = true;
                gateway.outage.mark_unreconciled(&work.caller);
                return Ok(Hold {
                    ask: here,
                    held,
                    ticket,
                    cache_key: None,
                    alike: None,
                    health: Vec::new(),
                    label: None,
                    conversation: None,
                });
            }
            Verdict::Stale { windows, incarnation, .. } => {
                let empty: Vec<_> = windows.into_iter().map(|window| (window, Amounts::default().into())).collect();
                let rebuilt = counters.rebuild(&ask.tenant, Some(incarnation), NO_VERSION, &empty, now_ms);
                rebuilt.await.map_err(unavailable)?;
            }
            Verdict::Refused { refusal: Refusal::Quota { window, .. }, .. } => {
                if !grant_chunks(work, &ask, window.key, now_ms)
                    .await
                    .map_err(|error| unavailable(StoreError(error.to_string())))?
                {
                    return Err(why.into());
                }
            }
            Verdict::Refused { refusal, rates } => {
                work.journal.rates = rates;
                return Err(Refused::Final(refusal_to_error(refusal, now_ms)));
            }
        }
    }
    Err(unavailable(why))
}

/// The same request, with what was granted to this process for limits.
fn granted(gateway: &Gateway, ask: &Admission) -> Admission {
    let within = |quota: &QuotaAsk| {
        let granted = gateway.outage.granted(&ask.tenant, quota.window);
        QuotaAsk {
            window: quota.window,
            requests: quota.requests.map(|_| granted.requests),
            tokens: quota.tokens.map(|_| granted.tokens),
            cost_nusd: quota.cost_nusd.map(|_| granted.cost_nusd),
        }
    };
    let quotas = ask.quotas.iter().map(within).collect();
    Admission { quotas, settings_version: NO_VERSION, ..ask.clone() }
}

/// Has the ledger grant what a hold lacks for one more attempt, to this request alone; answers whether it did.
pub(crate) async fn grant(work: &Work<'_>, hold: &Hold, more: Amounts) -> bool {
    let tenant = &work.caller.tenant;
    if tenant.settings.outage_share <= 0.0 {
        return false;
    }
    for quota in &hold.ask.quotas {
        // Admitted without the store, a request has what was granted to this process for limits.
        let quota = quota_ask(&work.caller, quota.window);
        let need = limited(&quota, more);
        if need == Amounts::default() {
            continue;
        }
        let Ok(max) = max_grant(work, &quota).await else { return false };
        if !work.gateway.ledger.grant(&tenant.uid, &quota.window, need, max).await.unwrap_or(false) {
            return false;
        }
    }
    true
}

/// The most that may be granted of a window in all.
async fn max_grant(work: &Work<'_>, quota: &QuotaAsk) -> Result<Amounts, LedgerError> {
    let charged = work.gateway.ledger.totals(&work.caller.tenant.uid, &quota.window).await?;
    // A month's limit has no share of its own: its days have.
    let share = if quota.window.kind == WindowKind::Day { work.caller.tenant.settings.outage_share } else { 1.0 };
    Ok(share_of(quota, share, charged.used.minus(charged.outage)))
}

/// Has the ledger grant a further chunk of each window of the tenant, or of its key's own; answers whether it did. Of the other no
/// more is taken: what one key lacks must not use up what its tenant has.
async fn grant_chunks(
    work: &Work<'_>,
    ask: &Admission,
    key: Option<Lineage>,
    now_ms: u64,
) -> Result<bool, LedgerError> {
    let gateway = work.gateway;
    // The month first: its refusal must not use up the day's share.
    for quota in ask.quotas.iter().rev().filter(|quota| quota.window.key == key) {
        let max = max_grant(work, quota).await?;
        let need = limited(quota, ask.upper_bound_hold);
        let part = limited(
            quota,
            Amounts { requests: max.requests / CHUNKS, tokens: max.tokens / CHUNKS, cost_nusd: max.cost_nusd / CHUNKS },
        );
        // A request is one, however few there may be; tokens and money are taken by the chunk where that is more.
        let chunk = need.plus(part.minus(need));
        let took = match gateway.ledger.grant(&ask.tenant, &quota.window, chunk, max).await? {
            true => chunk,
            false if gateway.ledger.grant(&ask.tenant, &quota.window, need, max).await? => need,
            false => return Ok(false),
        };
        gateway.outage.add_grant(&ask.tenant, quota.window, took, now_ms);
    }
    Ok(true)
}

/// The most that may be granted of a window in all: the share of each limit, but no more than is left of it.
fn share_of(quota: &QuotaAsk, share: f64, used: Amounts) -> Amounts {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let of = |limit: Option<u64>, used: u64| {
        limit.map_or(u64::MAX, |limit| ((limit as f64 * share) as u64).min(limit.saturating_sub(used)))
    };
    Amounts {
        requests: of(quota.requests, used.requests),
        tokens: of(quota.tokens, used.tokens),
        cost_nusd: of(quota.cost_nusd, used.cost_nusd),
    }
}

/// Of `amounts`, what the window limits at all.
fn limited(quota: &QuotaAsk, amounts: Amounts) -> Amounts {
    Amounts {
        requests: quota.requests.map_or(0, |_| amounts.requests),
        tokens: quota.tokens.map_or(0, |_| amounts.tokens),
        cost_nusd: quota.cost_nusd.map_or(0, |_| amounts.cost_nusd),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::limit::window::Window;

    #[test]
    fn the_share_is_of_the_limit_and_never_more_than_is_left() {
        let day = Window::day(1_763_820_000_000, 0);
        let quota = QuotaAsk { window: day, requests: Some(100), tokens: None, cost_nusd: Some(1_000) };
        let used = |requests, cost_nusd| Amounts { requests, tokens: 5, cost_nusd };
        for (share, used, requests, cost_nusd) in [
            (0.1, used(0, 0), 10, 100),
            (0.1, used(95, 0), 5, 100),
            (0.1, used(100, 2_000), 0, 0),
            (1.0, used(40, 1), 60, 999),
            (0.005, used(0, 0), 0, 5),
        ] {
            assert_eq!(share_of(&quota, share, used), Amounts { requests, tokens: u64::MAX, cost_nusd });
        }
    }
}

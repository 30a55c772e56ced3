//! What a tenant can pay for, where its quotas have not enough left for everything that a request may need.
//!
//! An admission holds the most expensive candidate and the allowances of embedder and classifier. Refused for that, it is retried once
//! without what does not fit: a model that is free serves a tenant whose money is used up, and the receipt says what
//! was left out. What costs more later, another attempt after one that is billed or a stronger tier, asks [`extend`]
//! first, and gets to know whether the quotas are exhausted or the store is down, for the two are not the same: without
//! the store a failover goes on within the tenant's outage share. Whatever is refused, nothing is called that is not
//! held for (M1).

use crate::catalog::Model;
use crate::estimate::{InputEstimate, most_expensive, worst_case};
use crate::limit::window::Window;
use crate::money::Amounts;
use crate::request::work::Work;
use crate::routing::decide::Decision;
use crate::stage::admit::hold::{Hold, counters};
use crate::stage::admit::unsure::take_default;
use crate::stage::admit::without_store;
use crate::store::{QuotaAsk, StoreError, WindowUse};
use crate::tenant::Quota;
use std::sync::Arc;

/// How much of the hold the calls made so far have used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SoFar {
    /// What the journal says: all of them have ended.
    Ended,
    /// All of it: a stream is still running.
    Running,
}

/// Whether a hold covers what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extension {
    /// It does.
    Covered,
    /// The quotas have not that much left.
    Exhausted,
    /// The store cannot be reached, or has lost the hold.
    StoreDown,
}

impl Extension {
    /// Why something is not done, for the receipt; `None` if it may be.
    pub(crate) fn why_not(self, what: &str) -> Option<String> {
        match self {
            Self::Covered => None,
            Self::Exhausted => Some(format!("the quota has not enough left for {what}")),
            Self::StoreDown => Some(format!("the store is down, and nothing can be held for {what}")),
        }
    }
}

/// What quotas have used and hold.
struct Left(Vec<(QuotaAsk, Option<WindowUse>)>);

impl Left {
    async fn read(work: &Work<'_>, quotas: &[QuotaAsk], now_ms: u64) -> Result<Self, StoreError> {
        let windows: Vec<Window> = quotas.iter().map(|quota| quota.window).collect();
        let usage = counters(work).usage(&work.caller.tenant.uid, &windows, now_ms).await?;
        Ok(Self(quotas.iter().cloned().zip(usage).collect()))
    }

    /// Whether `more` would pass; a window that the store has lost refuses nothing.
    fn fits(&self, more: Amounts) -> bool {
        self.0.iter().all(|(quota, taken)| quota.exceeded(taken.unwrap_or_default(), more).is_none())
    }
}

/// What a call of each candidate may use at most.
fn bounds(work: &Work<'_>, models: &[Arc<Model>]) -> Vec<Amounts> {
    let facts = &work.request.facts;
    let input_tokens = InputEstimate::of(facts).upper_bound_tokens;
    let span = work.span(work.gateway.clock.now_ms());
    models.iter().map(|model| Amounts { requests: 1, ..worst_case(facts, model, input_tokens, span) }).collect()
}

/// After a refusal by `quota`: leaves out of a decision what has no room in it. Answers whether the rest is worth another
/// try; the store is read only where something could be left out.
pub(crate) async fn leave_out(
    work: &mut Work<'_>,
    decision: &mut Decision,
    quota: Quota,
    quotas: &[QuotaAsk],
    now_ms: u64,
) -> Result<bool, StoreError> {
    if quota == Quota::DailyRequests || !has_choice(work, decision) {
        return Ok(false);
    }
    let left = Left::read(work, quotas, now_ms).await?;
    Ok(keep_only(work, decision, quota.limit_name(), |amounts| left.fits(amounts)))
}

/// The same without the store, of which only the ledger knows what is left: the candidates that need least are kept.
pub(crate) fn leave_out_all_but_the_cheapest(work: &mut Work<'_>, decision: &mut Decision) -> bool {
    let by_cost = |amounts: &Amounts| (amounts.cost_nusd, amounts.tokens);
    let Some(least) = bounds(work, &decision.candidates).into_iter().min_by_key(by_cost) else { return false };
    has_choice(work, decision) && keep_only(work, decision, "the outage share", |amounts| amounts == least)
}

fn has_choice(work: &Work<'_>, decision: &Decision) -> bool {
    let bounds = bounds(work, &decision.candidates);
    decision.unsure || !decision.to_embed.is_empty() || bounds.iter().any(|amounts| *amounts != bounds[0])
}

/// Leaves out embedder and classifier, and the candidates that do not fit; answers whether some are left.
fn keep_only(work: &mut Work<'_>, decision: &mut Decision, what: &str, fits: impl Fn(Amounts) -> bool) -> bool {
    let any_fits = |work: &Work<'_>, decision: &Decision| bounds(work, &decision.candidates).into_iter().any(&fits);
    if !std::mem::take(&mut decision.to_embed).is_empty() {
        work.journal.because(format!("the embedder is not asked: {what} has not enough left for it"));
    }
    if std::mem::take(&mut decision.unsure) {
        let first = decision.clone();
        take_default(work, decision, &format!("the classifier is not asked: {what} has not enough left for it"));
        if !any_fits(work, decision) {
            work.journal.because(format!("{what} has not enough left for the default intent's tier"));
            *decision = first;
        }
    }
    if !any_fits(work, decision) {
        return false;
    }
    let mut bounds = bounds(work, &decision.candidates).into_iter();
    decision.candidates.retain(|model| {
        let keep = bounds.next().is_some_and(&fits);
        if !keep {
            let why = format!("{what} has not enough left for it");
            work.journal.because(format!("{} is left out: {why}", model.name));
            decision.rejected.push((model.name.clone(), why));
        }
        keep
    });
    true
}

/// What one call of this model may use.
pub(crate) fn bound(work: &Work<'_>, model: &Arc<Model>) -> Amounts {
    most_expensive(bounds(work, std::slice::from_ref(model)).into_iter())
}

/// What the hold must reach to cover one more call, of the most expensive of `models`, beside what was used so far.
fn target(work: &Work<'_>, hold: &Hold, models: &[Arc<Model>], so_far: SoFar) -> Amounts {
    let used = match so_far {
        SoFar::Running => hold.held,
        SoFar::Ended => {
            let (tokens, cost_nusd) = (work.journal.usage().total_tokens(), work.journal.cost_nusd());
            Amounts { requests: 1, tokens, cost_nusd }.plus(work.running)
        }
    };
    Amounts { requests: used.requests, ..used.plus(most_expensive(bounds(work, models).into_iter())) }
}

/// Sees to it that the hold covers one more call of any of `models`; where the quotas have not enough left for the dearer
/// ones, these are left out.
pub(crate) async fn extend(
    work: &mut Work<'_>,
    hold: &mut Hold,
    models: &mut Vec<Arc<Model>>,
    so_far: SoFar,
) -> Extension {
    // Each further round has fewer models.
    loop {
        let wanted = target(work, hold, models, so_far);
        let more = wanted.minus(hold.held);
        if more == Amounts::default() {
            return Extension::Covered;
        }
        let now_ms = work.gateway.clock.now_ms();
        let left = match counters(work).extend(&hold.ask, wanted, now_ms).await {
            Ok(true) => {
                hold.held = hold.held.plus(more);
                return Extension::Covered;
            }
            Ok(false) => Left::read(work, &hold.ask.quotas, now_ms).await,
            Err(error) => Err(error),
        };
        // With enough left, it was the hold that was not found: the store has lost it.
        let Some(left) = left.ok().filter(|left| !left.fits(more)) else {
            work.journal.degrade("store");
            return Extension::StoreDown;
        };
        let more_for = |model: &Arc<Model>| target(work, hold, std::slice::from_ref(model), so_far).minus(hold.held);
        let (fit, dear): (Vec<_>, Vec<_>) = models.iter().cloned().partition(|model| left.fits(more_for(model)));
        if fit.is_empty() || dear.is_empty() {
            return Extension::Exhausted;
        }
        for model in dear {
            work.journal.because(format!("{} is left out: the quota has not enough left for it", model.name));
        }
        *models = fit;
    }
}

/// Sees to it that the hold covers a call of this model beside one that is running, and that may use all of it.
pub(crate) async fn extend_beside(work: &Work<'_>, hold: &mut Hold, model: &Arc<Model>) -> bool {
    let wanted = target(work, hold, std::slice::from_ref(model), SoFar::Running);
    let extended = counters(work).extend(&hold.ask, wanted, work.gateway.clock.now_ms()).await == Ok(true);
    if extended {
        hold.held = hold.held.plus(wanted.minus(hold.held));
    }
    extended
}

/// Sees to it that the hold covers another attempt of one model, without which the request fails: while the store is down, or for a request
/// that was admitted without it, the ledger may grant what is missing out of the tenant's outage share.
pub(crate) async fn extend_for_attempt(work: &mut Work<'_>, hold: &mut Hold, model: &Arc<Model>) -> Extension {
    let mut models = vec![model.clone()];
    let extension = extend(work, hold, &mut models, SoFar::Ended).await;
    if extension == Extension::Covered || extension == Extension::Exhausted && !work.journal.receipt.outage {
        return extension;
    }
    let more = target(work, hold, &models, SoFar::Ended).minus(hold.held);
    if !without_store::grant(work, hold, more).await {
        return extension;
    }
    hold.held = hold.held.plus(more);
    work.journal.because(format!("{}: held for within the outage share", model.name));
    Extension::Covered
}

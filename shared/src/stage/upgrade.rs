//! The upgrade: an unreliable cheap answer is replaced by a stronger tier's, before the client has seen a byte of it.
//!
//! Only where the client left the choice of the model to the gateway, or opted in: a client that pinned a model gets
//! that model. The hold is extended first (M1), both answers are billed (M4), and whatever keeps the stronger tier from
//! answering, the first answer stands: quotas, a deadline too near for the stronger model, or models that are all out.
//! Of a stream only its beginning is judged, while it is held back, and it is held back only where the tenant wants that:
//! nothing that a client has read is ever taken back (see docs/adr/0005).

use crate::catalog::{Model, Tier};
use crate::health::score::Standing;
use crate::money::Amounts;
use crate::receipt::{AttemptKind, AttemptOutcome};
use crate::request::work::Work;
use crate::routing::decide::{Decision, eligible};
use crate::stage::admit::afford::{SoFar, bound, extend};
use crate::stage::admit::hold::Hold;
use crate::stage::attempt::aside::set_aside;
use crate::stage::attempt::call::{CallOptions, Produced, Response, Winner};
use crate::stage::attempt::first_that_answers;
use crate::stage::judge::{Asked, Extent, Verdict, judge};
use crate::stage::rank::{Candidate, candidates};
use crate::wire::piece::choices;
use std::sync::Arc;

/// How the first tier is called: with what the judge needs to know, if its answer may be replaced.
pub(crate) fn first_call_options(work: &Work<'_>, upgradable: bool) -> CallOptions<'static> {
    let holdback = if upgradable { holdback_bytes(work) } else { 0 };
    let is_judged = upgradable && (holdback > 0 || !work.request.facts.stream);
    CallOptions {
        ask_logprobs: is_judged && !work.request.facts.needs.logprobs,
        head_bytes: holdback,
        ..CallOptions::plain(AttemptKind::First)
    }
}

/// Bytes of a stream that the tenant wants to be held back and judged.
fn holdback_bytes(work: &Work<'_>) -> usize {
    usize::try_from(work.caller.tenant.settings.upgrade.stream_holdback_bytes).unwrap_or(usize::MAX)
}

/// The tier that an unreliable answer would be replaced from, if this request may be upgraded at all: one that left the
/// choice of the model to the gateway, or opted in.
pub(crate) fn stronger_tier(work: &Work<'_>, decision: &Decision) -> Option<Arc<Tier>> {
    let allowed = work.caller.tenant.settings.upgrade.enabled && work.options.upgrade != Some(false);
    let catalog = &work.gateway.config.catalog;
    let stronger = match (&decision.tier, work.options.upgrade) {
        (Some(tier), _) => catalog.stronger_than(tier),
        (None, Some(true)) => catalog.tiers.last(),
        (None, _) => None,
    };
    stronger.filter(|_| allowed).cloned()
}

/// What speaks against an answer, if it is enough to replace it; the receipt says how much that is.
pub(crate) fn unreliable(work: &mut Work<'_>, decision: &Decision, winner: &Winner) -> Option<String> {
    let gateway = work.gateway;
    let intent = decision.intent.as_ref().map(|intent| &intent.name);
    let spec = gateway.config.intents.iter().find(|spec| intent == Some(&spec.name));
    let asked = Asked {
        facts: &work.request.facts,
        difficulty: decision.difficulty.map(f64::from),
        is_checked: spec.is_none_or(|spec| spec.upgrade),
    };
    let verdict = match &winner.answer {
        Response::Whole(completion) => judge(&choices(&completion.pieces), Extent::Whole, asked),
        Response::Stream(opened) => match opened.rest {
            None => judge(&opened.answers(), Extent::Whole, asked),
            // What happened to come first says nothing: the same answer would be judged otherwise another time.
            Some(_) if holdback_bytes(work) == 0 => return None,
            Some(_) => judge(&opened.answers(), Extent::Head, asked),
        },
    };
    work.journal.receipt.doubt = Some(rounded(&verdict));
    let (quality, least_doubt) = (work.caller.tenant.settings.quality, gateway.config.upgrade.least_doubt);
    verdict.is_unreliable(quality, least_doubt).then_some(verdict.why)
}

#[allow(clippy::cast_possible_truncation)]
fn rounded(verdict: &Verdict) -> f32 {
    ((verdict.doubt * 1000.0).round() / 1000.0) as f32
}

/// Asks a stronger tier, within the hold. Whatever keeps it from answering, the first answer stands.
pub(crate) async fn upgrade(
    work: &mut Work<'_>,
    decision: &Decision,
    hold: &mut Hold,
    stronger: &Arc<Tier>,
    first: Produced,
    doubt: String,
) -> Produced {
    let Produced { winner: first, others, .. } = first;
    work.journal.because(format!("{}: {doubt}", first.model.name));
    if let Some(attempt) = work.journal.receipt.attempts.get_mut(first.attempt) {
        attempt.outcome = AttemptOutcome::LowConfidence;
    }
    let so_far = if matches!(first.answer, Response::Whole(_)) { SoFar::Ended } else { SoFar::Running };
    match try_upgrade(work, decision, hold, stronger, &first.model, so_far).await {
        Ok((better, candidates)) => {
            work.journal.receipt.upgraded = true;
            work.journal.receipt.tier = Some(stronger.name.clone());
            Produced { set_aside: set_aside(work, first), ..Produced::good(better, &candidates) }
        }
        Err(why) => {
            work.journal.because(why);
            Produced { winner: first, doubt: Some(doubt), set_aside: None, others }
        }
    }
}

/// The stronger tier's answer and its candidates, or why there is none. Nothing is held for it before it is known to be worth a call.
async fn try_upgrade(
    work: &mut Work<'_>,
    decision: &Decision,
    hold: &mut Hold,
    stronger: &Arc<Tier>,
    first: &Arc<Model>,
    so_far: SoFar,
) -> Result<(Winner, Vec<Candidate>), String> {
    if work.is_for_nobody() {
        return Err("its client has gone, and nobody would read a better one".into());
    }
    let (models, _, _) =
        eligible(&work.gateway.config.catalog, &stronger.models, Some(stronger), &work.caller, &work.request);
    let models: Vec<_> = models.into_iter().filter(|model| model.name != first.name).collect();
    if models.is_empty() {
        return Err(format!("no model of the tier {} can take this request", stronger.name));
    }
    let decision = Decision { tier: Some(stronger.clone()), candidates: models, ..decision.clone() };
    let ranked = candidates(work, &decision, Vec::new()).await;
    let mut candidates = worth_a_call(work, ranked, stronger)?;
    let mut models: Vec<Arc<Model>> = candidates.iter().map(|candidate| candidate.model.clone()).collect();
    if let Some(why) = extend(work, hold, &mut models, so_far).await.why_not("an upgrade") {
        return Err(why);
    }
    candidates.retain(|candidate| models.iter().any(|model| model.name == candidate.model.name));
    if so_far == SoFar::Running {
        work.running = bound(work, first);
    }
    let answered = first_that_answers(work, hold, &candidates, CallOptions::plain(AttemptKind::Upgrade)).await;
    work.running = Amounts::default();
    match answered {
        Ok(winner) => Ok((winner, candidates)),
        Err(error) => Err(format!("the upgrade failed: {error}")),
    }
}

/// Those that can be expected to answer, and in time: unlike a failover, an upgrade has an answer to fall back on, and
/// tries no model as a last resort.
fn worth_a_call(work: &Work<'_>, candidates: Vec<Candidate>, stronger: &Tier) -> Result<Vec<Candidate>, String> {
    let is_up = |candidate: &Candidate| {
        candidate.scored.is_none_or(|scored| matches!(scored.standing, Standing::Ready | Standing::ProbeDue))
    };
    let up: Vec<Candidate> = candidates.into_iter().filter(is_up).collect();
    if up.is_empty() {
        return Err(format!("no upgrade: all models of the tier {} are out", stronger.name));
    }
    #[allow(clippy::cast_precision_loss)]
    let left_ms = work.left_ms() as f64;
    let in_time: Vec<Candidate> =
        up.into_iter().filter(|candidate| candidate.scored.is_none_or(|scored| scored.expected_ms < left_ms)).collect();
    if in_time.is_empty() {
        return Err(format!("no upgrade: too little time is left for the tier {}", stronger.name));
    }
    Ok(in_time)
}

//! The upgrade: an unreliable cheap answer is replaced by a stronger tier's, before the client has seen a byte of it.
//!
//! Only where the client left the choice of the model to the gateway, or opted in: a client that pinned a model gets
//! that model. The hold is extended first (M1), both answers are billed (M4), and whatever keeps the stronger tier from
//! answering, the first answer stands. Of a stream only its beginning is judged, while it is held back: nothing that a
//! client has read is ever taken back.

use crate::catalog::Tier;
use crate::money::Amounts;
use crate::receipt::{AttemptKind, AttemptOutcome};
use crate::request::work::Work;
use crate::routing::decide::{Decision, eligible};
use crate::stage::admit::afford::{SoFar, bound, extend};
use crate::stage::admit::hold::Hold;
use crate::stage::attempt::call::{CallOptions, Produced, Response, Winner, close};
use crate::stage::attempt::first_that_answers;
use crate::stage::attempt::stream::{Drained, Sink, read_on};
use crate::stage::judge::{Extent, unreliable};
use crate::stage::rank::candidates;
use crate::wire::piece::choices;
use std::sync::Arc;

/// How the first tier is called: with what the judge needs to know, if its answer may be replaced.
pub(crate) fn first_call_options(work: &Work<'_>, upgradable: bool) -> CallOptions<'static> {
    let holdback = usize::try_from(work.gateway.config.upgrade.stream_holdback_bytes).unwrap_or(0);
    CallOptions {
        ask_logprobs: upgradable && !work.request.facts.needs.logprobs,
        head_bytes: if upgradable { holdback } else { 0 },
        ..CallOptions::plain(AttemptKind::First)
    }
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

/// Why an answer is unreliable; `None` if nothing speaks against it.
pub(crate) fn judge(work: &Work<'_>, winner: &Winner) -> Option<String> {
    let settings = &work.gateway.config.upgrade;
    match &winner.answer {
        Response::Whole(completion) => {
            unreliable(&choices(&completion.pieces), Extent::Whole, &work.request.facts, settings)
        }
        Response::Stream(opened) => {
            let extent = if opened.rest.is_none() { Extent::Whole } else { Extent::Head };
            unreliable(&opened.answers(), extent, &work.request.facts, settings)
        }
    }
}

/// Asks a stronger tier, within the hold. Whatever keeps it from answering, the first answer stands.
pub(crate) async fn upgrade(
    work: &mut Work<'_>,
    decision: &Decision,
    hold: &mut Hold,
    stronger: &Arc<Tier>,
    first: Winner,
    doubt: String,
) -> Produced {
    work.journal.because(format!("{}: {doubt}", first.model.name));
    if let Some(attempt) = work.journal.receipt.attempts.get_mut(first.attempt) {
        attempt.outcome = AttemptOutcome::LowConfidence;
    }
    let (models, _, _) =
        eligible(&work.gateway.config.catalog, &stronger.models, Some(stronger), &work.caller, &work.request);
    let mut models: Vec<_> = models.into_iter().filter(|model| model.name != first.model.name).collect();
    if models.is_empty() {
        work.journal.because(format!("no model of the tier {} can take this request", stronger.name));
        return Produced { winner: first, doubt: Some(doubt), set_aside: None };
    }
    let so_far = if matches!(first.answer, Response::Whole(_)) { SoFar::Ended } else { SoFar::Running };
    if let Some(why) = extend(work, hold, &mut models, so_far).await.why_not("an upgrade") {
        work.journal.because(why);
        return Produced { winner: first, doubt: Some(doubt), set_aside: None };
    }
    let decision = Decision { tier: Some(stronger.clone()), candidates: models, ..decision.clone() };
    let candidates = candidates(work, &decision, Vec::new()).await;
    if so_far == SoFar::Running {
        work.running = bound(work, &first.model);
    }
    let answered = first_that_answers(work, hold, &candidates, CallOptions::plain(AttemptKind::Upgrade)).await;
    work.running = Amounts::default();
    match answered {
        Ok(better) => {
            work.journal.receipt.upgraded = true;
            work.journal.receipt.tier = Some(stronger.name.clone());
            Produced { set_aside: set_aside(work, first), ..Produced::good(better) }
        }
        Err(error) => {
            work.journal.because(format!("the upgrade failed: {error}"));
            Produced { winner: first, doubt: Some(doubt), set_aside: None }
        }
    }
}

/// A stream that nobody gets is read on for its usage, beside the better one (M4).
fn set_aside(work: &Work<'_>, first: Winner) -> Option<Drained> {
    let Response::Stream(opened) = first.answer else { return None };
    let (times, model, deadline) = (opened.times(), first.model.clone(), work.deadline.clone());
    // Awaited in `drain`, before the request is settled.
    #[allow(clippy::disallowed_methods)]
    let reading = tokio::spawn(async move { read_on(opened, &model, &deadline, Sink::Nowhere).await.0 });
    Some(Drained { attempt: first.attempt, model: first.model, times, reading })
}

/// Waits for the stream that was set aside, and writes down what it used.
pub(crate) async fn drain(work: &mut Work<'_>, set_aside: Option<Drained>) {
    let Some(Drained { attempt, model, times, reading }) = set_aside else { return };
    let ended = work.journal.wait(reading).await.unwrap_or_default();
    close(work, attempt, &model, times, &ended, false);
}

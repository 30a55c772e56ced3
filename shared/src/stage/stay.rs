//! A conversation stays on its model, for that one's provider has it in its prompt cache, and a reader notices a change.
//!
//! It stays while the model is well, can take the request, and the task has not become harder: a turn for a stronger tier goes
//! there at once. A turn for a weaker one stays, for "now make it shorter" and "thanks" are easy only by themselves;
//! after `sticky_easier_turns` of them in a row the task has changed, and the conversation comes down. Rejected: to compare
//! what the cached history costs here with the whole of it there, as a weak model's price is mostly below a strong one's for
//! cached input, so that it would come down at each thank-you and up again after it. See docs/routing.md and ADR 30.
//!
//! What a request needs, what its tenant may use and what its quotas bear come first, always.

use crate::catalog::{Model, Tier};
use crate::health::score::{Ranked, Reason, Standing};
use crate::request::work::Work;
use crate::routing::decide::{Decision, eligible};
use crate::stage::admit::afford::{SoFar, extend};
use crate::stage::admit::conversation::Conversation;
use crate::stage::admit::hold::{Hold, KnownHealth};
use crate::stage::rank::{Candidate, candidates};
use std::sync::Arc;

/// A model so many times as slow as another of its tier is not well.
const TIMES_SLOWER: f64 = 3.0;

/// Where a turn stays.
struct Stay {
    tier: Arc<Tier>,
    candidates: Vec<Arc<Model>>,
    rejected: Vec<(Arc<str>, String)>,
    /// How many turns in a row were for a weaker tier, with this one; 0 if it is for this tier.
    easier_turns: u64,
}

/// Ranks the candidates: those of the tier where the request's conversation is, if it stays there, with its model first.
pub(crate) async fn stay_and_rank(work: &mut Work<'_>, decision: &mut Decision, hold: &mut Hold) -> Vec<Candidate> {
    let sticky = stay(work, decision, hold).await;
    let mut ranked = candidates(work, decision, std::mem::take(&mut hold.health)).await;
    if let Some(model) = sticky {
        let (Ok(why) | Err(why)) = put_first(&mut ranked, &model);
        work.journal.because(why);
    }
    ranked
}

/// Moves a decision to where the request's conversation is, if it stays there; answers with the model that is to be tried
/// first. That tier may cost more than is held: where the quotas have not that much left, it does not stay.
async fn stay(work: &mut Work<'_>, decision: &mut Decision, hold: &mut Hold) -> Option<Arc<str>> {
    let known = Conversation::from_bytes(&hold.conversation.take()?)?;
    let mut stay = match stay_or_why_not(work, decision, &known, &hold.health) {
        Ok(stay) => stay,
        Err(why) => {
            work.journal.because(leaves(&known.model, &why));
            return None;
        }
    };
    // What this turn is for itself is held for already.
    if stay.easier_turns > 0 {
        let extension = extend(work, hold, &mut stay.candidates, SoFar::Ended).await;
        if let Some(why) = extension.why_not("its tier").or_else(|| missing(&stay.candidates, &known.model)) {
            work.journal.because(leaves(&known.model, &why));
            return None;
        }
    }
    work.easier_turns = stay.easier_turns;
    (decision.tier, decision.candidates, decision.rejected) = (Some(stay.tier), stay.candidates, stay.rejected);
    work.note(decision);
    Some(known.model)
}

/// The same for who only wants to know: nothing is held.
pub(crate) fn would_stay(
    work: &Work<'_>,
    decision: &mut Decision,
    known: &Conversation,
    health: &KnownHealth,
) -> Option<Arc<str>> {
    let stay = stay_or_why_not(work, decision, known, health).ok()?;
    (decision.tier, decision.candidates, decision.rejected) = (Some(stay.tier), stay.candidates, stay.rejected);
    Some(known.model.clone())
}

fn stay_or_why_not(
    work: &Work<'_>,
    decision: &Decision,
    known: &Conversation,
    health: &KnownHealth,
) -> Result<Stay, String> {
    let catalog = &work.gateway.config.catalog;
    let (Some(decided), Some(tier)) = (&decision.tier, catalog.tier(&known.tier)) else {
        return Err(format!("there is no tier {} any more", known.tier));
    };
    if decided.strength > tier.strength {
        return Err(format!("this turn is for the tier {}", decided.name));
    }
    let is_easier = decided.strength < tier.strength;
    let easier_turns = if is_easier { known.easier_turns.saturating_add(1) } else { 0 };
    if easier_turns > work.gateway.config.intent.sticky_easier_turns {
        return Err(format!("{easier_turns} turns in a row were for the tier {}", decided.name));
    }
    let (candidates, rejected) = match is_easier {
        true => {
            let (candidates, rejected, _) = eligible(catalog, &tier.models, Some(tier), &work.caller, &work.request);
            (candidates, rejected)
        }
        false => (decision.candidates.clone(), decision.rejected.clone()),
    };
    if let Some(why) = missing(&candidates, &known.model) {
        let rejected = rejected.into_iter().find(|(name, _)| *name == known.model);
        return Err(rejected.map_or(why, |(_, why)| why));
    }
    let health = health.iter().find(|(name, _)| *name == known.model).map(|(_, health)| health);
    match health.map(|health| health.standing_for(&work.caller.tenant.uid)) {
        None | Some(Standing::Ready) => Ok(Stay { tier: tier.clone(), candidates, rejected, easier_turns }),
        Some(Standing::ProbeDue) => Err(Reason::Probe.to_string()),
        Some(Standing::CoolingDown { until_ms }) => Err(Reason::CoolingDown { until_ms }.to_string()),
        Some(Standing::BreakerOpen { until_ms }) => Err(Reason::BreakerOpen { until_ms }.to_string()),
    }
}

fn missing(candidates: &[Arc<Model>], name: &str) -> Option<String> {
    candidates.iter().all(|model| &*model.name != name).then(|| "it is no candidate any more".to_owned())
}

fn leaves(model: &str, why: &str) -> String {
    format!("the conversation leaves {model}: {why}")
}

/// Puts the conversation's model before the others, unless one of them is far faster; says why, for the receipt.
pub(crate) fn put_first(candidates: &mut [Candidate], model: &str) -> Result<String, String> {
    let Some(place) = candidates.iter().position(|candidate| &*candidate.model.name == model) else {
        return Err(leaves(model, "it is no candidate any more"));
    };
    let first = &candidates[0];
    if let (Some(other), Some(own)) = (&first.scored, &candidates[place].scored)
        && first.ranked.is_some_and(|ranked| ranked.reason == Reason::Faster)
        && other.expected_ms * TIMES_SLOWER < own.expected_ms
    {
        return Err(leaves(model, &format!("{} is more than {TIMES_SLOWER} times as fast", first.model.name)));
    }
    candidates[..=place].rotate_right(1);
    if let Some(ranked) = candidates[0].ranked {
        candidates[0].ranked = Some(Ranked { reason: Reason::Conversation, ..ranked });
    }
    Ok(format!("the conversation stays on {model}"))
}

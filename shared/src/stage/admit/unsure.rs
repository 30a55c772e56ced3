//! What is decided about a request of which nobody is sure: the default, and never less for what its text demands.

use crate::request::work::Work;
use crate::routing::decide::Decision;

/// Takes the default intent, for this reason.
pub(crate) fn take_default(work: &mut Work<'_>, decision: &mut Decision, why: &str) {
    let (gateway, first) = (work.gateway, decision.clone());
    decision.fall_back(&gateway.config, &gateway.intents, &work.caller, &work.request);
    work.journal.because(format!("{why}: the default intent"));
    keep_from_sinking(work, decision, first);
}

/// Puts the first decision back where a later one is for a weaker tier and the text gives orders about its routing: whoever
/// classifies may have obeyed them.
pub(crate) fn keep_from_sinking(work: &mut Work<'_>, decision: &mut Decision, first: Decision) {
    let strength = |decision: &Decision| decision.tier.as_ref().map(|tier| tier.strength);
    let prompt = &work.request.facts.prompt;
    if strength(decision) < strength(&first) && work.gateway.intents.orders.stand_in(prompt) {
        work.journal.because("the text gives orders about its routing, which do not lower the tier");
        *decision = first;
    }
}

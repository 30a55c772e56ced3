//! A cheap model classifies a request when the embeddings are not sure enough.
//!
//! Bounded in time (`classifier_timeout_ms`) and cost (its allowance stands in the hold), billed like any call (M4), and
//! remembered per tenant (T1), so that no prompt is classified twice. If that fails, the configured
//! default is taken, and that is remembered too, for a minute: a classifier that is down or talks nonsense must not cost
//! every request its time-out. What it shows of its model's health counts like any attempt, by the same rule.
//!
//! It waits for no store: what is remembered, and the models' health, come with the admission; what is to be remembered
//! goes with the settlement.

use crate::gateway::classifier::shown;
use crate::health::score::Standing;
use crate::receipt::AttemptKind;
use crate::request::work::{Label, Work};
use crate::routing::decide::{Decision, eligible};
use crate::stage::admit::afford::{SoFar, extend};
use crate::stage::admit::hold::{Hold, KnownHealth};
use crate::stage::admit::unsure::{keep_from_sinking, take_default};
use crate::stage::attempt::call::{CallOptions, Response, call};
use crate::stage::rank::rank;
use bytes::Bytes;
use std::sync::Arc;

/// How long it is remembered that nothing came of a question.
const NOTHING_MS: u64 = 60_000;

/// Asks what the request is about and decides again; takes the default if nothing comes of it. The new tier may cost more
/// than is held: where the quotas have not that much left, or the store is down, the first decision stands.
pub(crate) async fn classify(work: &mut Work<'_>, decision: &mut Decision, hold: &mut Hold) {
    let first = decision.clone();
    decide_again(work, decision, hold).await;
    hold_or_put_back(work, decision, hold, first, "the tier that the classifier named").await;
}

/// Sees to it that a new decision is held for; the `first` one stands where it cannot be.
pub(crate) async fn hold_or_put_back(
    work: &mut Work<'_>,
    decision: &mut Decision,
    hold: &mut Hold,
    first: Decision,
    what: &str,
) {
    let extension = extend(work, hold, &mut decision.candidates, SoFar::Ended).await;
    if let Some(why) = extension.why_not(what) {
        work.journal.because(why);
        *decision = first;
    }
    work.note(decision);
}

async fn decide_again(work: &mut Work<'_>, decision: &mut Decision, hold: &mut Hold) {
    let gateway = work.gateway;
    let remembered = hold.label.take();
    let is_new = remembered.is_none();
    let found = match remembered {
        Some(name) => std::str::from_utf8(&name).ok().and_then(|name| gateway.intents.find(name)),
        None => ask(work, &hold.health).await.and_then(|name| gateway.intents.find(&name)),
    };
    if let Some(spec) = found {
        let first = decision.clone();
        decision.take(spec, &gateway.config, &work.caller, &work.request);
        work.journal.because(format!("the classifier says: {}", spec.name));
        keep_from_sinking(work, decision, first);
    } else {
        take_default(work, decision, "not sure what the request is about");
    }
    if is_new {
        let name = found.map_or_else(Bytes::new, |spec| Bytes::copy_from_slice(spec.name.as_bytes()));
        let ttl_ms = if found.is_some() { gateway.config.intent.remember_seconds * 1000 } else { NOTHING_MS };
        work.label = Some(Label { name, ttl_ms });
    }
}

/// One call of the first model of the classifier's tier that this tenant may use: the intent that it names.
async fn ask(work: &mut Work<'_>, health: &KnownHealth) -> Option<Arc<str>> {
    let gateway = work.gateway;
    let question = gateway.classifier.question(&shown(&gateway.intents.orders, &work.request))?;
    let tier = gateway.classifier.tier.as_ref()?;
    let (models, _, _) = eligible(&gateway.config.catalog, &tier.models, Some(tier), &work.caller, &question);
    let of = |name| health.iter().find(|(known, _)| known == name).map(|(_, health)| *health);
    let health: Vec<_> = models.iter().filter_map(|model| of(&model.name)).collect();
    let max_output_tokens = question.facts.max_output_tokens;
    let ranked = rank(&models, &health, &work.caller.tenant.uid, max_output_tokens, u64::MAX, &gateway.config.health);
    // A model that is out is not called for so little.
    let usable = |scored: Option<_>| {
        scored.is_none_or(|scored: crate::health::score::Scored| scored.standing == Standing::Ready)
    };
    let best = ranked.into_iter().next().filter(|best| usable(best.scored))?;
    let options = CallOptions {
        question: Some(&question),
        within_ms: Some(gateway.config.intent.classifier_timeout_ms),
        ..CallOptions::plain(AttemptKind::Classifier)
    };
    match call(work, &best.model, options, None).await {
        Ok(winner) => match winner.answer {
            Response::Whole(completion) => gateway.classifier.name_in(&completion.first_text()).cloned(),
            Response::Stream(_) => None,
        },
        Err((_, observation)) => {
            work.observations.extend(observation);
            None
        }
    }
}

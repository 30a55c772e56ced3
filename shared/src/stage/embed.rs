//! An embedding model is asked about a team's own intents, where the team has named one; all else is decided in process.
//!
//! One call with all the texts of the request that are read, so a request waits once at most, for `embedder.timeout_ms`; of
//! the same texts it is remembered what was read. It is held for (M2), billed (M4), and its model's health kept like that
//! of any call: one that fails is left alone by all requests until its breaker lets a probe through. Wherever it does not
//! answer, the decision of the table in process stands, and the receipt says why.

use crate::estimate::bill;
use crate::gateway::embedding::Embedding;
use crate::health::score::Standing;
use crate::health::{Observation, Signal};
use crate::provider::{Came, ProviderError};
use crate::receipt::{Attempt, AttemptKind, AttemptOutcome};
use crate::request::work::Work;
use crate::routing::decide::{Decision, by_intent};
use crate::routing::intents::Readings;
use crate::routing::text::embedder::{EmbedCall, Embedded};
use crate::stage::admit::hold::{Hold, KnownHealth};
use crate::stage::attempt::call::fail;
use crate::stage::attempt::evidence::{Patience, shown};
use crate::stage::attempt::probe;
use crate::stage::classify::hold_or_put_back;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Asks what a team's own intents have to do with the request, and decides again.
pub(crate) async fn embed(work: &mut Work<'_>, decision: &mut Decision, hold: &mut Hold) {
    let (gateway, texts) = (work.gateway, std::mem::take(&mut decision.to_embed));
    let Some(embedding) = &gateway.embedding else { return };
    let model = &embedding.settings.model.name;
    let readings = match embedding.remembered(&work.caller.tenant.uid, &texts) {
        Some(readings) => Ok(readings),
        None => ask(work, embedding, &texts, &hold.health).await,
    };
    match readings {
        Err(why) => work.journal.because(format!("the embedder {model} {why}: the table in process decides")),
        Ok(readings) => {
            let again = by_intent(&gateway.config, &gateway.intents, &work.caller, &work.request, Some(&readings));
            let Ok(again) = again else { return };
            work.journal.because(format!("own intents by the embedder {model}"));
            let first = std::mem::replace(decision, again);
            hold_or_put_back(work, decision, hold, first, "the tier that the embedder led to").await;
        }
    }
}

/// One call: what is read of the texts, or why nothing is.
async fn ask(
    work: &mut Work<'_>,
    embedding: &Arc<Embedding>,
    texts: &[String],
    health: &KnownHealth,
) -> Result<Readings, &'static str> {
    let (gateway, model) = (work.gateway, &embedding.settings.model);
    let own = embedding.learnt(gateway.clock.now_ms()).ok_or("has not embedded the intents' utterances yet")?;
    if work.left_ms() <= embedding.settings.timeout_ms {
        return Err("is not asked so late");
    }
    let standing = health.iter().find(|(name, _)| *name == model.name);
    let standing = standing.map_or(Standing::Ready, |(_, health)| health.standing_for(&work.caller.tenant.uid));
    let begun_at_ms = match standing {
        Standing::Ready => gateway.clock.now_ms(),
        Standing::ProbeDue => probe(work, model).await.ok_or("is left alone but for a probe")?,
        Standing::CoolingDown { .. } | Standing::BreakerOpen { .. } => return Err("failed lately and is left alone"),
    };
    let begun = Instant::now();
    let embedded = wait(work, embedding, texts, begun, begun_at_ms).await;
    let latency_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let mut attempt = Attempt::of(model.name.clone(), AttemptKind::Embedding, latency_ms);
    let facts = Embedding::facts(texts);
    let (signal, readings) = match embedded {
        Ok(Embedded { vectors, usage }) => {
            bill(&mut attempt, &facts, model, Came { usage, ..Came::default() }, gateway.clock.now_ms());
            let readings = embedding.read(own, &work.caller.tenant.uid, texts, vectors);
            (Signal::of_whole(latency_ms, 1), Ok(readings))
        }
        Err((error, patience)) => {
            fail(work, &mut attempt, &error, &facts, model);
            (shown(work, &error, patience, begun_at_ms), Err("did not answer"))
        }
    };
    work.journal.receipt.attempts.push(attempt);
    work.observations.push(Observation { model: model.name.clone(), begun_at_ms, signal });
    readings
}

/// Waits for the vectors, and no longer than configured.
async fn wait(
    work: &mut Work<'_>,
    embedding: &Embedding,
    texts: &[String],
    begun: Instant,
    begun_at_ms: u64,
) -> Result<Embedded, (ProviderError, Patience)> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let call = EmbedCall { texts: &texts, now_ms: begun_at_ms, id: work.journal.receipt.id };
    let by = begun + Duration::from_millis(embedding.settings.timeout_ms);
    let answering = work.deadline.bound_by(by, embedding.embedder.embed(call));
    match work.journal.wait(answering).await {
        Ok(embedded) => embedded.map_err(|error| (error, Patience::Models)),
        Err(_) => {
            let patience = if work.deadline.comes_by(by) { Patience::Ours } else { Patience::Models };
            Err((ProviderError::retryable(AttemptOutcome::Timeout, "no vectors in time"), patience))
        }
    }
}

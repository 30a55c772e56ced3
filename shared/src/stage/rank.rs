//! The order in which candidates are tried: the configured one, unless health says otherwise.

use crate::catalog::Model;
use crate::health::ModelHealth;
use crate::health::score::{HealthSettings, Measures, Ranked, Scored, rank as rank_scored};
use crate::request::work::Work;
use crate::routing::decide::Decision;
use crate::stage::admit::hold::KnownHealth;
use std::sync::Arc;

/// Tokens of an answer that expected times are compared for, when the client sets no bound.
const USUAL_OUTPUT_TOKENS: u64 = 300;

/// A candidate in its place.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The model.
    pub model: Arc<Model>,
    /// Its expected time to an answer and its standing; `None` while the health store is down.
    pub scored: Option<Scored>,
    /// Why it stands where it does; `None` while the health store is down.
    pub ranked: Option<Ranked>,
    /// What is known of it; `None` while the health store is down.
    pub measures: Option<Measures>,
    /// Until when its provider asked not to be called, in Unix milliseconds; 0 if it did not.
    pub asked_until_ms: u64,
}

/// Ranks candidates for a tenant. `draw` is any number, even over all: it says whether this request refreshes stale figures.
#[must_use]
pub fn rank(
    models: &[Arc<Model>],
    health: &[ModelHealth],
    tenant: &str,
    max_output_tokens: Option<u64>,
    draw: u64,
    settings: &HealthSettings,
) -> Vec<Candidate> {
    if health.len() != models.len() {
        return models
            .iter()
            .map(|model| Candidate {
                model: model.clone(),
                scored: None,
                ranked: None,
                measures: None,
                asked_until_ms: 0,
            })
            .collect();
    }
    let expected = max_output_tokens.unwrap_or(USUAL_OUTPUT_TOKENS).min(USUAL_OUTPUT_TOKENS);
    let score = |known: &ModelHealth| Scored::new(&known.measures, expected, known.standing_for(tenant), settings);
    let scored: Vec<Scored> = health.iter().map(score).collect();
    let place = |ranked: Ranked| Candidate {
        model: models[ranked.index].clone(),
        scored: Some(scored[ranked.index]),
        ranked: Some(ranked),
        measures: Some(health[ranked.index].measures),
        asked_until_ms: health[ranked.index].asked_until_ms,
    };
    rank_scored(&scored, draw, settings).into_iter().map(place).collect()
}

/// A decision's candidates in the order of their health, which is read where it is not `known` already.
pub(crate) async fn candidates(work: &mut Work<'_>, decision: &Decision, known: KnownHealth) -> Vec<Candidate> {
    let gateway = work.gateway;
    let of = |model: &Arc<Model>| known.iter().find(|(name, _)| *name == model.name).map(|(_, health)| *health);
    let health = match decision.candidates.iter().map(of).collect() {
        Some(health) => health,
        None => {
            let names: Vec<Arc<str>> = decision.candidates.iter().map(|model| model.name.clone()).collect();
            let (health, is_shared) = gateway.health.snapshot(&names, gateway.clock.now_ms()).await;
            if !is_shared {
                work.journal.degrade("health");
            }
            health
        }
    };
    let (tenant, max_output_tokens) = (&work.caller.tenant.uid, work.request.facts.max_output_tokens);
    rank(
        &decision.candidates,
        &health,
        tenant,
        max_output_tokens,
        work.journal.receipt.id.draw(),
        &gateway.config.health,
    )
}

//! `POST /v1/route`: what would be decided about a request, with nothing dispatched and nothing counted.

use crate::directory::authenticate::Caller;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::limit::budget::{COPIES, REQUEST_BYTES};
use crate::request::incoming::Incoming;
use crate::request::instructions::Instructions;
use crate::request::journal::Journal;
use crate::request::reply::{Answer, AnswerBody, Reply};
use crate::request::work::{Received, Work};
use crate::routing::decide::{Decision, decide};
use crate::stage::admit::admitting::Admitting;
use crate::stage::admit::conversation::{Conversation, conversation_key};
use crate::stage::admit::rate::admit_rate;
use crate::stage::deliver::refuse;
use crate::stage::rank::{Candidate, candidates};
use crate::stage::read::read;
use crate::stage::stay::{put_first, would_stay};
use crate::tenant::Tenant;
use crate::wire::format::Format;
use crate::wire::openai::CHAT;
use crate::wire::request::Request;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

impl Gateway {
    /// Decides about a chat request. It is rate limited, asks no classifier, and calls no candidate.
    pub async fn route(&self, incoming: Incoming) -> Answer {
        route(self, incoming).await
    }

    /// What would be decided about a chat request of this tenant, for its operator: no key is needed, and no rate is counted.
    ///
    /// # Errors
    /// What [`Gateway::route`] would refuse the request for.
    pub async fn would_route(&self, tenant: Tenant, body: Bytes) -> Result<Value, Error> {
        let journal = Journal::open(self.clock.now_ms());
        let room = self.budget.room(&tenant.uid);
        room.grow(REQUEST_BYTES + body.len() * COPIES)?;
        let limit = Duration::from_millis(self.config.request_deadline_ms);
        let received = Received {
            caller: Caller::operator_of(tenant),
            request: Request::read(&CHAT, body)?,
            options: Instructions::read(&HeaderMap::new())?,
            room,
            deadline: self.running.deadline(journal.started + limit),
        };
        let mut work = Work::new(self, received, journal);
        let decision = decide(&self.config, &self.intents, &work.caller, &work.request)?;
        Ok(decided(&mut work, decision).await)
    }
}

/// The decision about a request, with nothing dispatched, for `POST /v1/route`.
async fn route(gateway: &Gateway, incoming: Incoming) -> Answer {
    let mut journal = Journal::open(gateway.clock.now_ms());
    let (mut reply, answer) = Reply::new(CHAT.writer(journal.receipt.id));
    match admitted(gateway, incoming, &mut journal).await {
        Ok(body) => reply.whole(&journal, 200, Bytes::from(body.to_string())),
        Err(error) => refuse(gateway, &mut journal, &mut reply, error),
    }
    answer.await.unwrap_or(Answer {
        status: http::StatusCode::INTERNAL_SERVER_ERROR,
        headers: HeaderMap::new(),
        body: AnswerBody::Whole(Bytes::new()),
    })
}

async fn admitted(gateway: &Gateway, incoming: Incoming, journal: &mut Journal) -> Result<Value, Error> {
    let received = read(gateway, &CHAT, incoming, journal).await?;
    let own = std::mem::replace(journal, Journal::open(journal.receipt.created_at_ms));
    let mut work = Work::new(gateway, received, own);
    let outcome = async {
        let mut decision = decide(&gateway.config, &gateway.intents, &work.caller, &work.request)?;
        let mut admitting = Admitting::new(gateway, work.journal.receipt.id);
        while admit_rate(&mut work, &decision, &mut admitting).await?.is_stale() {
            decision = decide(&gateway.config, &gateway.intents, &work.caller, &work.request)?;
        }
        Ok(decided(&mut work, decision).await)
    }
    .await;
    *journal = work.journal;
    outcome
}

/// What a decision comes to, once its conversation and the models' health are looked at.
async fn decided(work: &mut Work<'_>, mut decision: Decision) -> Value {
    let gateway = work.gateway;
    if decision.unsure {
        decision.fall_back(&gateway.config, &gateway.intents, &work.caller, &work.request);
    }
    let sticky = conversation(work, &mut decision).await;
    work.note(&decision);
    let mut candidates = candidates(work, &decision, Vec::new()).await;
    let stays = sticky.is_some_and(|model| put_first(&mut candidates, &model).is_ok());
    decision_json(&decision, &candidates, stays)
}

/// The model that the request's conversation would stay on; the decision is moved there.
async fn conversation(work: &mut Work<'_>, decision: &mut Decision) -> Option<Arc<str>> {
    let (gateway, now_ms) = (work.gateway, work.gateway.clock.now_ms());
    let key = conversation_key(work, decision).filter(|_| work.request.facts.context.is_answered)?;
    let known = Conversation::from_bytes(&gateway.conversations().get(&key, now_ms).await.ok()??)?;
    let (health, _) = gateway.health.snapshot(std::slice::from_ref(&known.model), now_ms).await;
    would_stay(work, decision, &known, &std::iter::once(known.model.clone()).zip(health).collect())
}

fn decision_json(decision: &Decision, candidates: &[Candidate], sticky: bool) -> Value {
    let scores: serde_json::Map<String, Value> =
        decision.scores.iter().map(|(name, score)| (name.to_string(), json!(round(*score)))).collect();
    let intent = decision.intent.as_ref().map(|intent| {
        json!({"name": intent.name, "confidence": round(intent.confidence), "source": intent.source, "scores": scores})
    });
    let ranked = candidates.iter().map(|candidate| {
        let reason = candidate.ranked.map_or_else(|| "configured order; health unknown".to_owned(), |ranked| ranked.reason.to_string());
        json!({"model": candidate.model.name, "eligible": true, "score_ms": candidate.scored.map(|scored| scored.expected_ms.round()), "reason": reason})
    });
    let rejected = decision
        .rejected
        .iter()
        .map(|(name, why)| json!({"model": name, "eligible": false, "score_ms": null, "reason": why}));
    let needs: Vec<f64> = decision.needs.iter().copied().map(round).collect();
    json!({"intent": intent, "difficulty": decision.difficulty.map(round), "needs": needs, "tier": decision.tier.as_ref().map(|tier| &*tier.name),
        "sticky": sticky, "candidates": ranked.chain(rejected).collect::<Vec<_>>()})
}

/// Four decimal places, without the tail that a 32-bit float shows in JSON.
fn round(value: f32) -> f64 {
    (f64::from(value) * 10_000.0).round() / 10_000.0
}

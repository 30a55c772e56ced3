//! The settlement: what was held is replaced by what was used, and the receipt is written.
//!
//! One batch to the store (quota, token rate, health, cache) with the ledger beside it; the answer's last byte waits for
//! both. A request of which nothing was dispatched is released instead and counts nothing (M7). Neither backend's failure
//! takes the answer from the client: the receipt then goes to the structured log, from which it can be replayed.

use crate::error::Error;
use crate::gateway::Gateway;
use crate::gateway::classifier::shown;
use crate::gateway::outage::Pending;
use crate::ledger::LedgerError;
use crate::money::Amounts;
use crate::receipt::Receipt;
use crate::request::reply::Reply;
use crate::request::work::{Label, Work};
use crate::routing::decide::Decision;
use crate::stage::admit::conversation::{Conversation, conversation_key};
use crate::stage::admit::hold::{Hold, release};
use crate::stage::admit::remembered::cache_write;
use crate::stage::claim::finish;
use crate::stage::recall::keep_items;
use crate::store::{CacheWrite, Counters, Settled, Settlement, Ticket};
use bytes::Bytes;
use http::HeaderMap;

/// What a request came to.
pub(crate) struct Outcome {
    /// A whole answer's body; of a stream, which is with the client already, its events if they were kept.
    pub(crate) body: Option<Bytes>,
    /// Whether it was streamed.
    pub(crate) streamed: bool,
    /// Whether it may be remembered.
    keep: bool,
    /// Why there is no answer, or no whole one.
    pub(crate) error: Option<Error>,
}

impl Outcome {
    /// A whole answer, and whether it may be remembered.
    pub(crate) fn whole(body: Bytes, keep: bool) -> Self {
        Self { body: Some(body), streamed: false, keep, error: None }
    }

    /// A stream that was whole, its events, and whether they may be remembered.
    pub(crate) fn streamed(events: Option<Bytes>, keep: bool) -> Self {
        Self { body: events, streamed: true, keep, error: None }
    }

    /// No answer, or a stream that was cut (A1).
    pub(crate) fn failed(error: Error) -> Self {
        Self { body: None, streamed: false, keep: false, error: Some(error) }
    }
}

/// Settles a request that was held for.
pub(crate) async fn settle(work: &mut Work<'_>, decision: &Decision, hold: Hold, outcome: &Outcome, reply: &Reply) {
    let gateway = work.gateway;
    let status = outcome.error.as_ref().map_or(200, |error| error.to_http().status);
    work.journal.close(status, gateway.config.version);
    let receipt = &work.journal.receipt;
    if work.journal.receipt.attempts.is_empty() {
        gateway.metrics.refused();
        tokio::join!(release(work, &hold), finish(work, None), remember_label(work));
    } else {
        let now_ms = gateway.clock.now_ms();
        let used = receipt.amounts();
        let settlement = Settlement::of(&hold.ask, used);
        let write = cache_write(work, &hold, outcome.body.clone().filter(|_| outcome.keep));
        let whole = outcome.body.clone().filter(|_| outcome.error.is_none());
        let whole = whole.filter(|_| work.claim.is_some()).map(|body| kept(work, reply, body, outcome.streamed));
        let (charged, (), (), (), (), (), (), recorded) = tokio::join!(
            charge(work, &settlement, &hold.ticket, write, now_ms),
            gateway.health.note(&work.observations, now_ms),
            remember_label(work),
            remember_conversation(work, decision, outcome),
            keep_items(work, outcome.error.is_none(), reply),
            gateway.record_expired_holds(&settlement.tenant),
            finish(work, whole),
            record(gateway, receipt),
        );
        if !recorded {
            work.journal.degrade("ledger");
        }
        if !charged {
            // Once the ledger has it, it may come with a rebuild.
            gateway
                .outage
                .queue(Pending::Settle(Settlement { only_held: recorded, ..settlement.clone() }, hold.ticket));
        }
        if work.journal.receipt.outage {
            // Only now does the ledger know what there is to charge.
            gateway.outage.mark_unreconciled(&work.caller);
        }
        gateway.alerting.note_use(&work.caller.tenant, &work.journal.receipt.windows);
        gateway.note_attempts(&work.journal.receipt.attempts);
        if exceeds(used, hold.held) {
            tracing::warn!(request = %work.journal.receipt.id, used = used.tokens, held = hold.held.tokens, "more was used than was held (M3)");
        }
    }
}

/// Remembers what the request was newly found to be about.
async fn remember_label(work: &Work<'_>) {
    let (Some(Label { name, ttl_ms }), gateway) = (&work.label, work.gateway) else { return };
    let key = gateway.classifier.label_key(&work.caller.tenant.uid, &shown(&gateway.intents.orders, &work.request));
    if let Err(error) = gateway.labels().put(&key, name.clone(), *ttl_ms, gateway.clock.now_ms()).await {
        tracing::warn!(%error, "a classification is not remembered");
    }
}

/// Remembers on which model the conversation is: the one that answered, be it by a failover or an upgrade. What failed
/// moves nothing.
async fn remember_conversation(work: &Work<'_>, decision: &Decision, outcome: &Outcome) {
    let (gateway, receipt) = (work.gateway, &work.journal.receipt);
    let key = conversation_key(work, decision).filter(|_| outcome.error.is_none());
    let (Some(key), Some(tier), Some(model)) = (key, &receipt.tier, &receipt.model) else { return };
    let easier_turns = if receipt.upgraded { 0 } else { work.easier_turns };
    let value = Conversation { tier: tier.clone(), model: model.clone(), easier_turns }.to_bytes();
    let ttl_ms = gateway.config.intent.sticky_seconds * 1000;
    if let Err(error) = gateway.conversations().put(&key, value, ttl_ms, gateway.clock.now_ms()).await {
        tracing::warn!(%error, "it is not remembered on which model a conversation is");
    }
}

/// An answer as it is kept under an idempotency key.
fn kept(work: &Work<'_>, reply: &Reply, body: Bytes, streamed: bool) -> (HeaderMap, Bytes) {
    if !streamed {
        return (reply.whole_headers(&work.journal), body);
    }
    let end = reply.stream_end(&work.journal);
    (reply.stream_headers(&work.journal), [&body[..], &end].concat().into())
}

/// Writes down that a remembered answer served a request, or why it did not. It waits for neither store nor ledger, unless
/// it came with an idempotency key: it was counted when it was admitted.
pub(crate) async fn settle_hit(work: &mut Work<'_>, body: &Result<Bytes, Error>, reply: &Reply) {
    let gateway = work.gateway;
    work.journal.receipt.ttft_ms = Some(work.journal.latency_ms());
    let status = body.as_ref().err().map_or(200, |error| error.to_http().status);
    work.journal.close(status, gateway.config.version);
    let receipt = &work.journal.receipt;
    log(receipt);
    gateway.alerting.note_use(&work.caller.tenant, &receipt.windows);
    if let Err(error) = gateway.record_hit(receipt) {
        log_for_replay(gateway, receipt, &error);
    }
    if work.claim.is_some() {
        let answer = body.as_ref().ok().map(|body| kept(work, reply, body.clone(), work.request.facts.stream));
        finish(work, answer).await;
    }
}

/// Replaces the hold in the counters that made it; answers whether that reached them.
async fn charge(
    work: &Work<'_>,
    settlement: &Settlement,
    ticket: &Ticket,
    write: Option<CacheWrite>,
    now_ms: u64,
) -> bool {
    let (gateway, id) = (work.gateway, settlement.id);
    let settled = match work.journal.receipt.outage {
        true => gateway.outage.counters.settle(settlement, ticket, now_ms).await,
        false => gateway.store.settle(settlement, ticket, &work.observations, write, now_ms).await,
    };
    match settled {
        // `Again` is the answer to a repetition whose first answer was lost.
        Ok(Settled::Done | Settled::Again) => {}
        Ok(Settled::WithoutHold) => tracing::warn!(request = %id, "settled without its hold"),
        Err(error) => {
            tracing::error!(request = %id, %error, "not settled yet; it is sent again with a later request");
            gateway.metrics.store_failed();
            return false;
        }
    }
    let own = settlement.key.and_then(|(_, taken)| taken);
    if settlement.token_rate.into_iter().chain(own).any(|(_, taken, used)| used < taken) {
        gateway.over_rate.forget(&settlement.tenant);
    }
    if !work.journal.receipt.outage {
        gateway.flush_pending().await;
    }
    true
}

/// Writes the receipt where it lasts, or where it can be replayed from; answers whether it lasts.
async fn record(gateway: &Gateway, receipt: &Receipt) -> bool {
    log(receipt);
    let recorded = gateway.record(receipt).await;
    if let Err(error) = &recorded {
        log_for_replay(gateway, receipt, error);
    }
    recorded.is_ok()
}

/// Logs a receipt that the ledger did not take. The log knows it by level and target, and counts such a line on its own
/// should it be lost as well.
fn log_for_replay(gateway: &Gateway, receipt: &Receipt, error: &LedgerError) {
    gateway.metrics.ledger_failed();
    let json = serde_json::to_string(receipt).unwrap_or_default();
    tracing::error!(target: "receipt", %error, receipt = json, "the ledger is down; `ai-gateway replay` writes this receipt later");
}

/// The structured log line of a receipt.
fn log(receipt: &Receipt) {
    if tracing::enabled!(target: "receipt", tracing::Level::INFO) {
        let json = serde_json::to_string(receipt).unwrap_or_default();
        tracing::info!(target: "receipt", receipt = json);
    }
}

fn exceeds(used: Amounts, held: Amounts) -> bool {
    used.tokens > held.tokens || used.cost_nusd > held.cost_nusd
}

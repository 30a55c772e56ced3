//! The settlement: what was held is replaced by what was used, and the receipt is written.
//!
//! One batch to the store (quota, token rate, health, cache) with the ledger beside it; the answer's last byte waits for
//! both. A request of which nothing was dispatched is released instead and counts nothing (M7). Neither backend's failure
//! takes the answer from the client: the receipt then goes to the structured log, from which it can be replayed.

use crate::admit::{Hold, Remembered, release};
use crate::answer::{Reply, final_comment};
use crate::error::Error;
use crate::instructions::CacheUse;
use crate::pipeline::Work;
use crate::receipt::{Amounts, CacheStatus, Receipt};
use crate::store::{CacheWrite, Settled, Settlement};
use bytes::Bytes;

/// What a request came to.
pub(crate) struct Outcome {
    /// A whole answer's body; a stream's is with the client already.
    body: Option<Bytes>,
    /// What may be remembered.
    keep: Option<Bytes>,
    /// Why there is no answer, or no whole one.
    error: Option<Error>,
}

impl Outcome {
    /// A whole answer, and whether it may be remembered.
    pub(crate) fn whole(body: Bytes, keep: bool) -> Self {
        Self { keep: keep.then(|| body.clone()), body: Some(body), error: None }
    }

    /// A stream that was whole, and its events if they may be remembered.
    pub(crate) fn streamed(keep: Option<Bytes>) -> Self {
        Self { body: None, keep, error: None }
    }

    /// A stream that was cut (A1).
    pub(crate) fn cut(error: Error) -> Self {
        Self { body: None, keep: None, error: Some(error) }
    }

    /// No answer.
    pub(crate) fn failed(error: Error) -> Self {
        Self { body: None, keep: None, error: Some(error) }
    }
}

/// Settles a request that was held for, and lets its answer end.
pub(crate) async fn settle(work: &mut Work<'_>, hold: Hold, outcome: Outcome, reply: &mut Reply) {
    let gateway = work.gateway;
    let status = outcome.error.as_ref().map_or(200, |error| error.told().status);
    let receipt = work.journal.receipt(status, gateway.config.version);
    if work.journal.attempts.is_empty() {
        release(work, &hold).await;
    } else {
        let now_ms = gateway.clock.now_ms();
        let used = receipt.amounts();
        let settlement = Settlement {
            tenant: hold.ask.tenant.clone(),
            id: work.journal.id,
            windows: hold.ask.quotas.iter().map(|quota| quota.window).collect(),
            used,
            token_rate: hold.ask.token_rate.map(|rate| (rate, hold.ask.rate_tokens.min(rate.capacity()), used.tokens)),
        };
        let write = cache_write(work, &hold, outcome.keep);
        let (settled, _) =
            tokio::join!(gateway.store.settle(&settlement, &work.seen, write, now_ms), record(work, &receipt));
        match settled {
            Ok(Settled::Done) => {}
            Ok(Settled::Again | Settled::WithoutHold) => {
                tracing::warn!(request = %work.journal.id, "settled without its hold")
            }
            Err(error) => {
                tracing::error!(request = %work.journal.id, %error, "not settled; the hold expires by its lease")
            }
        }
        if exceeds(used, hold.held) {
            tracing::warn!(request = %work.journal.id, used = used.tokens, held = hold.held.tokens, "more was used than was held (M3)");
        }
    }
    gateway.metrics.served(&receipt);
    match (outcome.error, outcome.body) {
        (Some(error), _) => {
            if matches!(error, Error::Internal(_)) {
                tracing::error!(request = %work.journal.id, %error, "a bug of ours");
            }
            reply.error(&work.journal, &error);
        }
        (None, Some(body)) => reply.whole(&work.journal, 200, body),
        (None, None) => end_stream(work, reply),
    }
}

/// Lets a remembered answer out. It waits for neither store nor ledger: it was counted when it was admitted.
pub(crate) fn settle_hit(work: &mut Work<'_>, body: Bytes, reply: &mut Reply) {
    let gateway = work.gateway;
    work.journal.ttft_ms = Some(work.journal.latency_ms());
    let receipt = work.journal.receipt(200, gateway.config.version);
    log(&receipt);
    gateway.ledger.note_hit(&receipt);
    gateway.metrics.served(&receipt);
    if work.request.stream {
        reply.begin(&work.journal);
        reply.event(body);
        end_stream(work, reply);
    } else {
        reply.whole(&work.journal, 200, body);
    }
}

fn end_stream(work: &Work<'_>, reply: &mut Reply) {
    reply.event([&final_comment(&work.journal)[..], b"data: [DONE]\n\n"].concat().into());
}

/// Writes the receipt where it lasts, or where it can be replayed from.
async fn record(work: &Work<'_>, receipt: &Receipt) {
    log(receipt);
    if let Err(error) = work.gateway.ledger.record(receipt).await {
        let json = serde_json::to_string(receipt).unwrap_or_default();
        tracing::error!(target: "receipt", %error, receipt = json, "the ledger is down; replay this receipt");
    }
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

fn cache_write(work: &Work<'_>, hold: &Hold, keep: Option<Bytes>) -> Option<CacheWrite> {
    let wanted = work.journal.cache == CacheStatus::Miss || work.wants.cache == CacheUse::NoCache;
    let (key, body, model) = (hold.cache_key.clone()?, keep?, work.journal.model.clone()?);
    let seconds = work.wants.cache_ttl_seconds.unwrap_or(work.caller.tenant.settings.cache.ttl_seconds);
    let remembered =
        Remembered { model, tier: work.journal.tier.clone(), created_at_ms: work.journal.created_at_ms, body };
    wanted.then(|| CacheWrite { key, value: remembered.to_bytes(), ttl_ms: seconds * 1000 })
}

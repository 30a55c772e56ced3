//! The one batch of an admission: limits, hold, remembered answer, label and conversation, with the models' health beside
//! it.

use crate::directory::authenticate::{Caller, KeyLimits};
use crate::estimate::{InputEstimate, Span, most_expensive, rate_tokens, worst_case};
use crate::gateway::classifier::shown;
use crate::limit::gcra::Rate;
use crate::limit::lineage::Lineage;
use crate::limit::window::{Window, WindowKind};
use crate::money::Amounts;
use crate::request::work::Work;
use crate::routing::decide::Decision;
use crate::stage::admit::conversation::conversation_key;
use crate::stage::admit::hold::KnownHealth;
use crate::store::{Admission, CacheKey, PaceLimits, QuotaAsk, StoreError, Ticket, Verdict};
use crate::tenant::{Limits, TenantSettings};
use bytes::Bytes;
use std::sync::Arc;

/// What came of it.
pub(crate) struct AdmissionReply {
    pub(crate) ask: Admission,
    /// The remembered answer as it is kept, if there is one and it was looked for.
    pub(crate) remembered: Option<Bytes>,
    /// What is noted of the answers to requests that differ in their prompt alone, if it was looked for.
    pub(crate) notes: Vec<Bytes>,
    pub(crate) health: KnownHealth,
    /// Whether that is the fleet's, and not only this process's.
    pub(crate) health_is_shared: bool,
    pub(crate) label: Option<Bytes>,
    pub(crate) conversation: Option<Bytes>,
}

/// Reads from the store whether a request is admitted, and all that the stages up to the settlement need of it: they
/// wait for the store no more. `reads` is the remembered answer to look for, `group` that of the notes.
///
/// # Errors
/// The store did not answer: what was sent, for that may have arrived, and why.
pub(crate) async fn ask(
    work: &Work<'_>,
    decision: &Decision,
    reads: Option<&CacheKey>,
    group: Option<&CacheKey>,
    ticket: &mut Ticket,
    now_ms: u64,
) -> Result<(Verdict, AdmissionReply), (Box<Admission>, StoreError)> {
    let gateway = work.gateway;
    let ask = admission(work, decision, now_ms);
    let mut models: Vec<Arc<str>> = decision.candidates.iter().map(|model| model.name.clone()).collect();
    // What is sure by the table may not be by an embedder.
    let may_classify = decision.unsure || !decision.to_embed.is_empty();
    let label_key = may_classify
        .then(|| gateway.classifier.label_key(&work.caller.tenant.uid, &shown(&gateway.intents.orders, &work.request)));
    let conversation_key = conversation_key(work, decision).filter(|_| work.request.facts.context.is_answered);
    if decision.unsure || !decision.to_embed.is_empty() || conversation_key.is_some() {
        // A model will embed or classify it, or a conversation is on one; each may send it to any tier.
        models.extend(gateway.embedding.iter().map(|embedding| embedding.settings.model.name.clone()));
        let all = gateway.config.catalog.tiers.iter().flat_map(|tier| &tier.models);
        models.extend(all.map(|model| model.name.clone()));
        models.sort_unstable();
        models.dedup();
    }
    let label = async {
        let key = label_key.as_ref()?;
        gateway.labels().get(key, now_ms).await.ok().flatten()
    };
    let notes = async {
        match group {
            // A cache that is down is a miss.
            Some(group) => gateway.store.cache().notes(group, now_ms).await.unwrap_or_default(),
            None => Vec::new(),
        }
    };
    let conversation = async {
        let key = conversation_key.as_ref()?;
        gateway.conversations().get(key, now_ms).await.ok().flatten()
    };
    let (admitted, (health, health_is_shared), label, notes, conversation) = tokio::join!(
        gateway.store.admit(&ask, ticket, reads, now_ms),
        gateway.health.snapshot(&models, now_ms),
        label,
        notes,
        conversation,
    );
    match admitted {
        Ok((verdict, remembered)) => {
            let health = models.into_iter().zip(health).collect();
            Ok((verdict, AdmissionReply { ask, remembered, notes, health, health_is_shared, label, conversation }))
        }
        Err(error) => {
            ticket.doubt();
            Err((Box::new(ask), error))
        }
    }
}

/// What may be paid for to find out what a request is about.
fn beside(work: &Work<'_>, decision: &Decision, span: Span) -> Amounts {
    let (gateway, texts) = (work.gateway, &decision.to_embed);
    let classified = || gateway.classifier.allowance(&work.request.facts, span);
    match &gateway.embedding {
        // What is sure by the table may not be by an embedder.
        Some(embedding) if !texts.is_empty() => embedding.allowance(texts, span).plus(classified()),
        _ if decision.unsure => classified(),
        _ => Amounts::default(),
    }
}

/// What a request asks of the counters.
pub(crate) fn admission(work: &Work<'_>, decision: &Decision, now_ms: u64) -> Admission {
    let tenant = &work.caller.tenant;
    let pace = pace_of(&tenant.settings.limits);
    let input = InputEstimate::of(&work.request.facts);
    let span = work.span(now_ms);
    let allowance = beside(work, decision, span);
    let hold = |input_tokens| {
        let worst = most_expensive(
            decision.candidates.iter().map(|model| worst_case(&work.request.facts, model, input_tokens, span)),
        );
        Amounts { requests: 1, ..worst.plus(allowance) }
    };
    Admission {
        tenant: tenant.uid.clone(),
        id: work.journal.receipt.id,
        settings_version: tenant.version,
        request_rate: pace.request_rate,
        token_rate: pace.token_rate,
        rate_tokens: rate_tokens(&work.request.facts, input),
        concurrency: pace.concurrency,
        key: key_pace(&work.caller),
        quotas: quota_windows(&work.caller, now_ms).into_iter().map(|window| quota_ask(&work.caller, window)).collect(),
        hold: hold(input.estimated_tokens),
        upper_bound_hold: hold(input.upper_bound_tokens),
        lease_until_ms: work.lease_until_ms(now_ms),
    }
}

/// How fast requests may come by these limits.
pub(crate) fn pace_of(limits: &Limits) -> PaceLimits {
    let rate = |per_minute: Option<u64>| per_minute.and_then(|limit| Rate::new(limit, 60_000, limit).ok());
    PaceLimits {
        request_rate: rate(limits.requests_per_minute),
        token_rate: rate(limits.tokens_per_minute),
        concurrency: limits.concurrency,
    }
}

/// How fast they may come by the key's own, if these say so.
pub(crate) fn key_pace(caller: &Caller) -> Option<(Lineage, PaceLimits)> {
    let own = caller.key_limits.as_ref()?;
    let pace = pace_of(&own.limits);
    (pace != PaceLimits::default()).then_some((own.lineage, pace))
}

/// The windows that a request is admitted to: those of the tenant, then those in which its key has a limit of its own.
pub(crate) fn quota_windows(caller: &Caller, now_ms: u64) -> Vec<Window> {
    let TenantSettings { limits, window_anchor_ms, .. } = &caller.tenant.settings;
    let month = limits.monthly_cost_nusd.map(|_| Window::month(now_ms));
    let day = Window::day(now_ms, *window_anchor_ms);
    std::iter::once(day).chain(month).chain(key_windows(caller, now_ms)).collect()
}

/// The windows in which the key has a limit of its own.
fn key_windows(caller: &Caller, now_ms: u64) -> impl Iterator<Item = Window> {
    let of = |KeyLimits { lineage, limits }: &KeyLimits| {
        let [by_day, by_month] = limits.windows();
        let day = by_day.then(|| Window::day(now_ms, caller.tenant.settings.window_anchor_ms));
        [day, by_month.then(|| Window::month(now_ms))].map(|window| window.map(|window| window.of_key(*lineage)))
    };
    caller.key_limits.as_deref().map(of).into_iter().flatten().flatten()
}

/// What the limits of a window's owner, the tenant or the key, say of it.
pub(crate) fn quota_ask(caller: &Caller, window: Window) -> QuotaAsk {
    let own = caller.key_limits.as_ref().filter(|_| window.key.is_some()).map(|own| &own.limits);
    let limits = own.unwrap_or(&caller.tenant.settings.limits);
    match window.kind {
        WindowKind::Day => QuotaAsk {
            window,
            requests: limits.daily_requests,
            tokens: limits.daily_tokens,
            cost_nusd: limits.daily_cost_nusd,
        },
        WindowKind::Month => QuotaAsk { window, requests: None, tokens: None, cost_nusd: limits.monthly_cost_nusd },
    }
}

/// The windows that a receipt is charged to: the month is counted even for a tenant that has no limit by the month yet. What a
/// key uses is counted apart only where it has a limit of its own, for each of these is one write more.
pub(crate) fn receipt_windows(caller: &Caller, now_ms: u64) -> Vec<Window> {
    let day = Window::day(now_ms, caller.tenant.settings.window_anchor_ms);
    [day, Window::month(now_ms)].into_iter().chain(key_windows(caller, now_ms)).collect()
}

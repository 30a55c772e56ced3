//! Attempts: one candidate after the other, until one answers.
//!
//! [`try_each`] is a plain loop that keeps its evidence: every attempt, its outcome and its cost go to the journal (M4). It asks
//! three questions: whether a candidate [may be tried](may_try), whether a call of it is [covered] by what is held, and
//! [what next](what_next) where it failed. The caller's own fault ends it (A2). A connection that broke and a 5xx that may pass
//! are retried within the budget, a silent candidate is not (A3, A4); all else fails over. A tenant may have a late first call
//! [hedged](hedge). What an attempt showed of its model is recorded at once, beside the next attempt, so that other requests keep
//! away from a failing model before this one is done.

pub(crate) mod aside;
pub(crate) mod call;
pub(crate) mod evidence;
mod hedge;
mod open;
pub(crate) mod passage;
mod seam;
mod silence;
mod until_gone;
pub(crate) mod stream;
mod wait;

use crate::catalog::Model;
use crate::error::{Error, Objection};
use crate::gateway::Gateway;
use crate::health::score::Reason;
use crate::health::{Observation, Signal};
use crate::provider::{Fault, ProviderError};
use crate::receipt::{AttemptKind, AttemptOutcome, Cause};
use crate::request::work::Work;
use crate::stage::admit::afford::extend_for_attempt;
use crate::stage::admit::hold::Hold;
use crate::stage::attempt::aside::{drain, set_aside};
use crate::stage::attempt::call::{CallOptions, Winner, call};
use crate::stage::attempt::hedge::{Hedge, Hedged, call_hedged};
use crate::stage::attempt::open::WHOLE;
use crate::stage::attempt::silence::Overdue;
use crate::stage::attempt::wait::{back_off, wait_until};
use crate::stage::rank::Candidate;
use crate::tenant::OnBrokenStream;
use std::sync::Arc;

/// What the calls so far mean for the next one.
struct Attempts<'r> {
    /// How the next call is made.
    options: CallOptions<'r>,
    /// What the last call showed, to be recorded beside the next one.
    observation: Option<Observation>,
    /// Tokens of a window that is too small for the request.
    too_small: u64,
    /// What the last provider that cannot take this request says of it.
    unsuited: Option<Error>,
    /// Whether a failed call may go better when the client tries again.
    may_go_better: bool,
    /// When the first provider that said so is to be asked again, in Unix milliseconds.
    retry_at_ms: Option<u64>,
    /// Whether a model that is out was tried because there was no other.
    had_last_resort: bool,
    /// Whether the candidate whose turn it is is out: it is called once, as a probe or as the last resort (A6).
    is_out: bool,
    /// The first answer that refused at no cost, for want of a better one.
    refused: Option<Winner>,
    /// Whether a failed call may be billed, and has so used up a part of the hold.
    failed_at_a_cost: bool,
    /// Who was called beside the first candidate.
    hedged: Option<Arc<str>>,
}

impl Attempts<'_> {
    fn fits(&self, model: &Model) -> bool {
        model.context_tokens > self.too_small && self.hedged.as_ref() != Some(&model.name)
    }

    /// Notes what a failed call means for the caller, should no other candidate answer.
    fn note(&mut self, fault: &Fault) {
        match fault {
            Fault::RateLimited { until_ms: Some(until_ms) } | Fault::Busy { until_ms } => self.not_before(*until_ms),
            Fault::Retryable | Fault::RateLimited { until_ms: None } => self.may_go_better = true,
            Fault::CandidateDown
            | Fault::ContextOverflow(_)
            | Fault::Unsuited(_)
            | Fault::Refused(_)
            | Fault::CallerFault(_)
            | Fault::NoRoom => {}
        }
    }

    /// Notes when a provider may be called again.
    fn not_before(&mut self, until_ms: u64) {
        self.may_go_better = true;
        self.retry_at_ms = Some(self.retry_at_ms.map_or(until_ms, |earlier_ms| earlier_ms.min(until_ms)));
    }

    /// Notes when the first of candidates comes back that are all out; a probe that is on its way may end sooner than its lease.
    fn note_return(&mut self, work: &Work<'_>, candidates: &[Candidate]) {
        let latest_ms = work.gateway.clock.now_ms() + work.gateway.config.breaker.longest_open_ms;
        let returns: Option<Vec<u64>> = candidates
            .iter()
            .map(|candidate| match candidate.ranked?.reason {
                Reason::CoolingDown { until_ms } => Some(until_ms),
                Reason::BreakerOpen { until_ms } => Some(until_ms.min(latest_ms)),
                _ => None,
            })
            .collect();
        if let Some(first_ms) = returns.and_then(|all| all.into_iter().min()) {
            self.not_before(first_ms);
        }
    }

    /// What the caller is told when none is left: what is wrong with its request, unless another model may yet take it.
    fn failed(self, work: &Work<'_>) -> Error {
        match self.unsuited {
            _ if work.left_ms() == 0 => Error::DeadlineExceeded,
            Some(objection) if !self.may_go_better => objection,
            _ => Error::AllCandidatesFailed {
                attempts: work.journal.receipt.attempts.clone(),
                retry_after_ms: self.retry_at_ms.map(|at_ms| at_ms.saturating_sub(work.gateway.clock.now_ms())),
            },
        }
    }

    /// Whether another candidate is asked after one that refused at no cost; the receipt says so.
    fn asks_after_refusal(&self, work: &mut Work<'_>, model: &Model, others: &[Candidate]) -> bool {
        let asks = work.caller.tenant.settings.failover_on_refusal && self.fits_any(others);
        if asks {
            work.journal.because(format!("{} refused at no cost: the next one is asked", model.name));
        }
        asks
    }

    fn fits_any(&self, candidates: &[Candidate]) -> bool {
        candidates.iter().any(|candidate| self.fits(&candidate.model))
    }
}

/// Calls candidates in their order until one answers.
///
/// # Errors
/// The caller's own fault in the provider's words, the deadline, or that all failed.
pub(crate) async fn first_that_answers(
    work: &mut Work<'_>,
    hold: &mut Hold,
    candidates: &[Candidate],
    options: CallOptions<'_>,
) -> Result<Winner, Error> {
    first_after(work, hold, candidates, options, None).await
}

/// The same after a stream that broke off, which is billed; what it showed is recorded beside the first call.
///
/// # Errors
/// As [`first_that_answers`].
pub(crate) async fn first_after(
    work: &mut Work<'_>,
    hold: &mut Hold,
    candidates: &[Candidate],
    options: CallOptions<'_>,
    broken: Option<Observation>,
) -> Result<Winner, Error> {
    let holds_all_back = work.caller.tenant.settings.on_broken_stream == OnBrokenStream::Buffer;
    let head_bytes = if holds_all_back { WHOLE } else { options.head_bytes };
    let mut attempts = Attempts {
        options: CallOptions { head_bytes, ..options },
        failed_at_a_cost: broken.is_some(),
        observation: broken,
        too_small: 0,
        unsuited: None,
        may_go_better: false,
        retry_at_ms: None,
        had_last_resort: false,
        is_out: false,
        refused: None,
        hedged: None,
    };
    let answered = try_each(work, hold, candidates, &mut attempts).await;
    record(work.gateway, attempts.observation.take()).await;
    match (answered, attempts.refused.take()) {
        (Ok(Some(winner)), Some(refused)) => {
            let refused = set_aside(work, refused);
            drain(work, refused).await;
            Ok(winner)
        }
        (_, Some(refused)) => Ok(refused),
        (answered, None) => answered?.ok_or_else(|| {
            attempts.note_return(work, candidates);
            attempts.failed(work)
        }),
    }
}

/// The loop. `None` if no candidate is left.
async fn try_each(
    work: &mut Work<'_>,
    hold: &mut Hold,
    candidates: &[Candidate],
    attempts: &mut Attempts<'_>,
) -> Result<Option<Winner>, Error> {
    for (place, candidate) in candidates.iter().enumerate() {
        let (model, others) = (&candidate.model, &candidates[place + 1..]);
        let mut lease = match may_try(work, candidate, others, attempts).await {
            MayTry::Yes { leased_at_ms } => leased_at_ms,
            MayTry::Pass => continue,
            MayTry::NoMore => break,
        };
        let request = attempts.options.question_for(&candidate.model).unwrap_or(&work.request);
        attempts.options.overdue = Overdue::of(request, attempts.options.head_bytes, candidate, others);
        let fitting = others.iter().filter(|other| attempts.fits(&other.model));
        let mut hedge = Hedge::of(work, attempts.options, candidate, fitting);
        let mut retries = 0;
        while covered(work, hold, model, lease, attempts).await? {
            let error = match call_beside_record(work, hold, model, lease.take(), hedge.take(), attempts).await {
                Ok(winner) if is_refused(work, &winner) && attempts.asks_after_refusal(work, model, others) => {
                    attempts.refused.get_or_insert(winner);
                    break;
                }
                Ok(winner) => return Ok(Some(winner)),
                Err(error) => error,
            };
            match what_next(work, error, model, others, retries, attempts).await {
                Next::Retry => retries += 1,
                Next::Failover => break,
                Next::End(error) => return Err(error),
            }
            attempts.options.kind = attempts.options.kind.then(AttemptKind::Retry);
        }
        attempts.options.kind = attempts.options.kind.then(AttemptKind::Failover);
    }
    Ok(None)
}

/// Whether it is a candidate's turn.
enum MayTry {
    /// It is; with the probe of its breaker, when that was leased.
    Yes { leased_at_ms: Option<u64> },
    /// Another one's.
    Pass,
    /// Nobody's any more.
    NoMore,
}

async fn may_try(
    work: &mut Work<'_>,
    candidate: &Candidate,
    others: &[Candidate],
    attempts: &mut Attempts<'_>,
) -> MayTry {
    let model = &candidate.model;
    if !attempts.fits(model) {
        return MayTry::Pass;
    }
    let mut leased_at_ms = None;
    let reason = candidate.ranked.map(|ranked| ranked.reason);
    attempts.is_out = reason.is_some_and(Reason::is_out);
    match reason {
        Some(Reason::Probe) => {
            leased_at_ms = probe(work, model).await;
            if leased_at_ms.is_none() && attempts.fits_any(others) {
                return MayTry::Pass;
            }
            work.journal.because(format!("{}: {}", model.name, Reason::Probe));
        }
        // Who said when to come again is not called before (A3): the client is told when.
        Some(reason @ Reason::CoolingDown { .. }) if candidate.asked_until_ms > work.gateway.clock.now_ms() => {
            attempts.not_before(candidate.asked_until_ms);
            work.journal.because(format!("{} is not called: {reason}", model.name));
            return MayTry::Pass;
        }
        // With all others out or failed, one that is out is tried: the least bad, and no more than that (A6).
        Some(Reason::CoolingDown { .. } | Reason::BreakerOpen { .. }) if attempts.had_last_resort => {
            return MayTry::NoMore;
        }
        Some(reason @ (Reason::CoolingDown { .. } | Reason::BreakerOpen { .. })) => {
            attempts.had_last_resort = true;
            work.journal.because(format!("{} as the last resort: {reason}", model.name));
        }
        Some(reason @ (Reason::Faster | Reason::Refresh)) => work.journal.because(format!("{}: {reason}", model.name)),
        Some(Reason::Configured | Reason::PassedOver | Reason::Conversation) | None => {}
    }
    MayTry::Yes { leased_at_ms }
}

/// Whether what is held covers one more call of this model. Where it does not, one that costs less may still fit.
///
/// # Errors
/// The deadline has passed.
async fn covered(
    work: &mut Work<'_>,
    hold: &mut Hold,
    model: &Arc<Model>,
    leased_at_ms: Option<u64>,
    attempts: &mut Attempts<'_>,
) -> Result<bool, Error> {
    if work.left_ms() == 0 {
        return Err(Error::DeadlineExceeded);
    }
    if !attempts.failed_at_a_cost {
        return Ok(true);
    }
    let extension = extend_for_attempt(work, hold, model).await;
    let Some(why) = extension.why_not(&format!("another attempt, of {}", model.name)) else { return Ok(true) };
    work.journal.because(why);
    if let Some(begun_at_ms) = leased_at_ms {
        let signal = Signal::Nothing;
        record(work.gateway, Some(Observation { model: model.name.clone(), begun_at_ms, signal })).await;
    }
    Ok(false)
}

/// Calls a candidate, while what the call before it showed is recorded.
async fn call_beside_record(
    work: &mut Work<'_>,
    hold: &mut Hold,
    model: &Arc<Model>,
    leased_at_ms: Option<u64>,
    hedge: Option<Hedge<'_>>,
    attempts: &mut Attempts<'_>,
) -> Result<Winner, ProviderError> {
    let (before, options) = (attempts.observation.take(), attempts.options);
    let recorded = record(work.gateway, before);
    let called = match hedge {
        None => tokio::join!(recorded, call(work, model, options, leased_at_ms)).1,
        Some(hedge) => {
            let Hedged { answered, beside, with } =
                tokio::join!(recorded, Box::pin(call_hedged(work, hold, model, options, &hedge))).1;
            attempts.hedged = with.map(|model| model.name.clone());
            if let Some((error, observation)) = beside {
                attempts.note(&error.fault);
                record(work.gateway, observation).await;
            }
            // What was ended may be billed.
            attempts.failed_at_a_cost |= attempts.hedged.is_some();
            answered
        }
    };
    called.map_err(|(error, observation)| {
        attempts.observation = observation;
        attempts.failed_at_a_cost |= error.is_billed();
        error
    })
}

/// Whether an answer is nothing but a refusal, and costs nothing.
fn is_refused(work: &Work<'_>, winner: &Winner) -> bool {
    let attempt = work.journal.receipt.attempts.get(winner.attempt);
    attempt.is_some_and(|attempt| attempt.outcome == AttemptOutcome::Refused && attempt.cost_nusd == 0)
}

/// What a failed call leads to.
enum Next {
    /// The same candidate, which was waited for.
    Retry,
    /// The next one.
    Failover,
    /// This error.
    End(Error),
}

async fn what_next(
    work: &mut Work<'_>,
    error: ProviderError,
    model: &Model,
    others: &[Candidate],
    retries: u32,
    attempts: &mut Attempts<'_>,
) -> Next {
    attempts.note(&error.fault);
    if work.is_for_nobody() {
        return Next::End(Error::ClientGone);
    }
    let (status, is_free, may_pass) = (error.status_to_tell(), !error.is_billed(), may_pass(&error));
    let told = |objection: Box<Objection>| Error::Provider { status, objection: *objection };
    let is_only = !attempts.fits_any(others);
    let retry = match error.fault {
        // The caller has not said this.
        Fault::CallerFault(_) if attempts.options.kind == AttemptKind::Continuation => {
            attempts.options.question_for(model).is_some() && attempts.options.prefilled.take().is_some()
        }
        Fault::CallerFault(objection) => return Next::End(told(objection)),
        Fault::Refused(objection) => {
            if !is_free || !attempts.asks_after_refusal(work, model, others) {
                return Next::End(told(objection));
            }
            attempts.unsuited = Some(told(objection));
            false
        }
        Fault::NoRoom => return Next::End(Error::Overloaded),
        Fault::ContextOverflow(objection) => {
            attempts.too_small = attempts.too_small.max(model.context_tokens);
            attempts.unsuited = Some(told(objection));
            false
        }
        Fault::Unsuited(objection) => {
            attempts.unsuited = Some(told(objection));
            false
        }
        Fault::CandidateDown => false,
        Fault::Busy { until_ms } => is_only && wait_until(work, Some(until_ms), retries).await,
        Fault::RateLimited { until_ms } => is_only && wait_until(work, until_ms, retries).await,
        Fault::Retryable => may_pass && !attempts.is_out && back_off(work, retries).await,
    };
    if retry { Next::Retry } else { Next::Failover }
}

/// Whether a failure may have passed when the same candidate is called again at once: a connection that broke, or a 5xx but
/// for those that say "never" or "nothing came in time".
fn may_pass(error: &ProviderError) -> bool {
    match error.outcome {
        AttemptOutcome::Reset => !matches!(error.cause, Some(Cause::Tls | Cause::Dns)),
        AttemptOutcome::Truncated => true,
        AttemptOutcome::HttpError => match error.status {
            // Not implemented; another version of HTTP; a network that wants a login; Cloudflare of its TLS.
            Some(501 | 505 | 511 | 525 | 526) => false,
            // A gateway before it, and Cloudflare, of a provider that is silent.
            Some(504 | 522 | 524) => false,
            // Inside an answer that began well there may be no status.
            status => status.is_none_or(|status| !(300..500).contains(&status)),
        },
        AttemptOutcome::Timeout
        | AttemptOutcome::Malformed
        | AttemptOutcome::RateLimited
        | AttemptOutcome::Refused
        | AttemptOutcome::Ok
        | AttemptOutcome::LowConfidence
        | AttemptOutcome::ClientGone
        | AttemptOutcome::Cancelled => false,
    }
}

/// Takes the one probe of a model whose breaker is half open; answers when, if it was to be had. The attempt is dated
/// with that instant, so that its result is known for the probe's.
pub(crate) async fn probe(work: &Work<'_>, model: &Arc<Model>) -> Option<u64> {
    let (gateway, now_ms) = (work.gateway, work.gateway.clock.now_ms());
    let (tenant, lease_ms) = (&work.caller.tenant.uid, work.left_ms() + 1000);
    gateway.health.try_probe(&model.name, tenant, lease_ms, now_ms).await.then_some(now_ms)
}

async fn record(gateway: &Gateway, observation: Option<Observation>) {
    if let Some(observation) = observation {
        gateway.health.record(observation, gateway.clock.now_ms()).await;
    }
}

//! Attempts: one candidate after the other, until one answers.
//!
//! A plain loop that keeps its evidence: every attempt, its outcome and its cost go to the journal (M4). The caller's own
//! fault ends it (A2). What may go better is retried within the budget, a silent candidate is not (A3, A4); all else fails
//! over. What an attempt showed of its model is recorded at once, beside the next attempt, so that other requests keep
//! away from a failing model before this one is done.

pub(crate) mod evidence;
pub(crate) mod stream;

use crate::catalog::Model;
use crate::error::Error;
use crate::estimate::{bill, max_output_tokens};
use crate::gateway::Gateway;
use crate::health::score::Reason;
use crate::health::{Observation, Sight};
use crate::id::jitter;
use crate::limit::budget::Room;
use crate::limit::retry_budget::backoff_ms;
use crate::pipeline::Work;
use crate::provider::{Call, Chunk, Chunks, Completion, Fault, ProviderError, Reply};
use crate::receipt::{Attempt, AttemptKind, AttemptOutcome};
use crate::stage::admit::Hold;
use crate::stage::admit::afford::extend_for_attempt;
use crate::stage::attempt::evidence::{Patience, shown};
use crate::stage::attempt::stream::Finishes;
use crate::stage::rank::Candidate;
use crate::wire::sse::MAX_EVENT_BYTES;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What a stream may send before it shows its answer: as many bytes as the largest event has, and so many events.
const HEAD_BYTES: usize = MAX_EVENT_BYTES;
const HEAD_EVENTS: usize = 4096;
/// The longest that a request waits for its only candidate's `Retry-After`.
const LONGEST_WAIT_MS: u64 = 10_000;

/// How candidates are to be called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Why the first call is made.
    pub(crate) kind: AttemptKind,
    /// Whether to ask for log-probabilities, for the judge, where the model can tell them.
    pub(crate) ask_logprobs: bool,
    /// Bytes of a streamed answer to wait for before it counts as begun.
    pub(crate) opening_bytes: usize,
}

/// A candidate that answers.
pub(crate) struct Answering {
    pub(crate) model: Arc<Model>,
    pub(crate) answer: Given,
    /// Its place in the journal's attempts.
    pub(crate) attempt: usize,
    /// Whether log-probabilities were asked for that the client does not want.
    pub(crate) hide_logprobs: bool,
}

/// Its answer.
pub(crate) enum Given {
    /// All of it.
    Whole(Box<Completion>),
    /// The beginning of it.
    Stream(Opened),
}

/// A stream that has begun to answer.
pub(crate) struct Opened {
    /// What came so far.
    pub(crate) head: Vec<Chunk>,
    /// What is to come; `None` if the head is all.
    pub(crate) rest: Option<Box<dyn Chunks>>,
    /// When it was called.
    pub(crate) begun: Instant,
    /// The same, in Unix milliseconds.
    pub(crate) begun_at_ms: u64,
    /// Milliseconds to its first token.
    pub(crate) ttft_ms: f64,
    /// How much was left of the time that the whole attempt may take when it was opened.
    pub(crate) left: Duration,
}

/// Calls candidates in their order until one answers.
///
/// # Errors
/// The caller's own fault as the provider told it, the deadline, or that all failed.
pub(crate) async fn first_that_answers(
    work: &mut Work<'_>,
    hold: &mut Hold,
    candidates: &[Candidate],
    manner: Manner,
) -> Result<Answering, Error> {
    let gateway = work.gateway;
    let mut seen: Option<Observation> = None;
    let mut kind = manner.kind;
    let mut too_small = 0;
    let mut last_resort = false;
    let mut failed_at_a_cost = false;
    let result = 'candidates: {
        for (place, candidate) in candidates.iter().enumerate() {
            let model = &candidate.model;
            if model.context_tokens <= too_small {
                continue;
            }
            let more_follow = candidates[place + 1..].iter().any(|next| next.model.context_tokens > too_small);
            let mut leased_at_ms = None;
            match candidate.ranked.map(|ranked| ranked.reason) {
                Some(Reason::Probe) => {
                    leased_at_ms = probe(work, model).await;
                    if leased_at_ms.is_none() && more_follow {
                        continue;
                    }
                    work.journal.because(format!("{}: {}", model.name, Reason::Probe));
                }
                // With all others out or failed, one that is out is tried: the least bad, and no more than that (A6).
                Some(Reason::CoolingDown { .. } | Reason::BreakerOpen { .. }) if last_resort => break,
                Some(reason @ (Reason::CoolingDown { .. } | Reason::BreakerOpen { .. })) => {
                    last_resort = true;
                    work.journal.because(format!("{} as the last resort: {reason}", model.name));
                }
                Some(reason @ (Reason::Faster | Reason::Refresh)) => {
                    work.journal.because(format!("{}: {reason}", model.name))
                }
                _ => {}
            }
            let mut retries = 0;
            loop {
                if work.left_ms() == 0 {
                    break 'candidates Err(Error::DeadlineExceeded);
                }
                // A failed call that may be billed has used up a part of the hold. What costs less may still fit.
                if failed_at_a_cost {
                    let extension = extend_for_attempt(work, hold, model).await;
                    if let Some(why) = extension.why_not(&format!("another attempt, of {}", model.name)) {
                        work.journal.because(why);
                        if let Some(begun_at_ms) = leased_at_ms.take() {
                            let sight = Sight::Nothing;
                            record(gateway, Some(Observation { model: model.name.clone(), begun_at_ms, sight })).await;
                        }
                        break;
                    }
                }
                let (_, called) =
                    tokio::join!(record(gateway, seen.take()), call(work, model, kind, manner, leased_at_ms.take()));
                let error = match called {
                    Ok(answering) => return Ok(answering),
                    Err((error, sight)) => {
                        seen = sight;
                        failed_at_a_cost |= error.may_bill;
                        error
                    }
                };
                match error.fault {
                    Fault::CallerFault(told) => {
                        break 'candidates Err(Error::Provider { status: error.status.unwrap_or(400), error: told });
                    }
                    Fault::NoRoom => break 'candidates Err(Error::Overloaded),
                    Fault::ContextOverflow(told) => {
                        too_small = model.context_tokens;
                        if !candidates[place + 1..].iter().any(|next| next.model.context_tokens > too_small) {
                            break 'candidates Err(Error::Provider {
                                status: error.status.unwrap_or(400),
                                error: told,
                            });
                        }
                        break;
                    }
                    Fault::CandidateDown => break,
                    Fault::RateLimited { until_ms } if more_follow || !wait_until(work, until_ms, retries).await => {
                        break;
                    }
                    Fault::Retryable if error.outcome == AttemptOutcome::Timeout || !back_off(work, retries).await => {
                        break;
                    }
                    Fault::RateLimited { .. } | Fault::Retryable => {
                        retries += 1;
                        kind = AttemptKind::Retry;
                    }
                }
            }
            kind = AttemptKind::Failover;
        }
        match work.left_ms() {
            0 => Err(Error::DeadlineExceeded),
            _ => Err(Error::AllCandidatesFailed { attempts: work.journal.attempts.clone() }),
        }
    };
    record(gateway, seen).await;
    result
}

/// Takes the one probe of a model whose breaker is half open; answers when, if it was to be had. The attempt is dated
/// with that instant, so that its result is known for the probe's.
async fn probe(work: &Work<'_>, model: &Arc<Model>) -> Option<u64> {
    let (gateway, now_ms) = (work.gateway, work.gateway.clock.now_ms());
    gateway.try_probe(&model.name, &work.caller.tenant.uid, work.left_ms() + 1000, now_ms).await.then_some(now_ms)
}

async fn record(gateway: &Gateway, seen: Option<Observation>) {
    let Some(seen) = seen else { return };
    let (seen, now_ms) = ([seen], gateway.clock.now_ms());
    gateway.saw(&seen, now_ms).await;
    if let Err(error) = gateway.store.health().record(&seen, now_ms).await {
        tracing::warn!(%error, "what was seen of a model is known to this process alone");
    }
}

/// Waits before a retry of the same candidate, if the budget and the deadline allow one.
async fn back_off(work: &mut Work<'_>, retries: u32) -> bool {
    let config = &work.gateway.config;
    if retries >= config.max_retries_per_candidate || !work.gateway.may_retry() {
        return false;
    }
    let until = Instant::now() + Duration::from_millis(backoff_ms(retries + 1, jitter(), &config.retry));
    if work.deadline.comes_by(until) {
        return false;
    }
    work.journal.wait(work.deadline.sleep_until(until)).await;
    true
}

/// Waits for the only candidate, as long as it asked to be waited for; if it did not say, as after any failure (A3).
async fn wait_until(work: &mut Work<'_>, until_ms: Option<u64>, retries: u32) -> bool {
    let Some(until_ms) = until_ms else { return back_off(work, retries).await };
    let wait_ms = until_ms.saturating_sub(work.gateway.clock.now_ms());
    if retries >= work.gateway.config.max_retries_per_candidate
        || wait_ms > LONGEST_WAIT_MS
        || wait_ms >= work.left_ms()
    {
        return false;
    }
    if !work.gateway.may_retry() {
        return false;
    }
    let until = Instant::now() + Duration::from_millis(wait_ms);
    work.journal.wait(work.deadline.sleep_until(until)).await;
    true
}

type Failed = (ProviderError, Option<Observation>);

/// Makes one call, writes it down, and tells what it showed of the model.
async fn call(
    work: &mut Work<'_>,
    model: &Arc<Model>,
    kind: AttemptKind,
    manner: Manner,
    leased_at_ms: Option<u64>,
) -> Result<Answering, Failed> {
    let gateway = work.gateway;
    let begun = Instant::now();
    let begun_at_ms = leased_at_ms.unwrap_or_else(|| gateway.clock.now_ms());
    let timeouts = &model.timeouts;
    let patience_ms = if work.request.stream { timeouts.first_token_ms } else { timeouts.total_ms };
    let patience = begun + Duration::from_millis(patience_ms);
    let hide_logprobs = manner.ask_logprobs && model.capabilities.logprobs;
    let call = Call {
        model,
        request: &work.request,
        max_output_tokens: max_output_tokens(&work.request, model),
        stream: work.request.stream,
        ask_logprobs: hide_logprobs,
        now_ms: begun_at_ms,
        id: work.journal.id,
        room: &work.room,
    };
    let ends = begun + Duration::from_millis(timeouts.total_ms);
    let patience = patience.min(ends);
    let opening =
        Opening { begun, begun_at_ms, bytes: manner.opening_bytes, idle_ms: timeouts.idle_ms, patience, ends };
    let deadline = &work.deadline;
    let mut head = Vec::new();
    let answered = work.journal.wait(async {
        let late = |detail, whose| Err((ProviderError::retryable(AttemptOutcome::Timeout, detail), whose));
        match deadline.bound_by(patience, gateway.provider(model).chat(call)).await {
            Err(_) if deadline.comes_by(patience) => late("no answer in time", Patience::Ours),
            Err(_) => late("no answer in time", Patience::Models),
            Ok(Err(error)) => Err((error, Patience::Models)),
            Ok(Ok(Reply::Whole(completion))) => Ok(Given::Whole(completion)),
            Ok(Ok(Reply::Stream(chunks))) => match deadline.bound(open(chunks, opening, &work.room, &mut head)).await {
                Err(_) => late("the deadline passed", Patience::Ours),
                Ok(opened) => opened.map(Given::Stream).map_err(|error| {
                    // It had its first token in time, and went on until the whole attempt's time was over.
                    let ran_out = patience < ends && ends <= Instant::now();
                    (error, if ran_out { Patience::Ours } else { Patience::Models })
                }),
            },
        }
    });
    let answered = answered.await;
    let latency_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let name = model.name.clone();
    let observed = |sight| Observation { model: name.clone(), begun_at_ms, sight };
    let mut attempt = Attempt::of(model.name.clone(), kind, latency_ms);
    let place = work.journal.attempts.len();
    match answered {
        Ok(answer) => {
            match &answer {
                Given::Whole(completion) => {
                    attempt.ttft_ms = Some(completion.first_byte_ms);
                    let bytes = completion.choices.iter().map(|choice| choice.text.len()).sum();
                    bill(&mut attempt, &work.request, model, completion.usage, bytes);
                    work.seen.push(observed(Sight::of_whole(latency_ms, attempt.usage.output_tokens)));
                }
                Given::Stream(opened) => attempt.ttft_ms = Some(opened.ttft_ms),
            }
            work.journal.attempts.push(attempt);
            Ok(Answering { model: model.clone(), answer, attempt: place, hide_logprobs })
        }
        Err((error, patience)) => {
            gateway.warn_of(model, &error);
            tracing::info!(request = %work.journal.id, model = %model.name, status = error.status, outcome = ?error.outcome, detail = error.detail, "an attempt failed");
            (attempt.outcome, attempt.status, attempt.cause) = (error.outcome, error.status, error.cause);
            if error.may_bill {
                let usage = head.iter().rev().find_map(|chunk| chunk.usage);
                bill(&mut attempt, &work.request, model, usage, head.iter().map(Chunk::answer_bytes).sum());
            }
            work.journal.attempts.push(attempt);
            let sight = shown(work, &error, patience, begun_at_ms);
            Err((error, Some(observed(sight))))
        }
    }
}

/// How a stream is opened.
#[derive(Clone, Copy)]
struct Opening {
    begun: Instant,
    begun_at_ms: u64,
    bytes: usize,
    idle_ms: u64,
    /// Until when the first token is waited for (A4).
    patience: Instant,
    /// Until when the whole attempt may last.
    ends: Instant,
}

/// Reads a stream until it has shown `bytes` of its answer, or its end. A failure up to here is nobody's business but
/// ours: the client has seen nothing, and the next candidate begins anew.
///
/// What comes is kept in `head` until then, also for the bill should it fail, so it is bounded (B2): a stream that goes on
/// and on without a word is none.
async fn open(
    mut chunks: Box<dyn Chunks>,
    opening: Opening,
    room: &Room,
    head: &mut Vec<Chunk>,
) -> Result<Opened, ProviderError> {
    let mut head_bytes = 0;
    let mut ttft_ms = None;
    let mut bytes = 0;
    loop {
        let idle = Instant::now() + Duration::from_millis(opening.idle_ms);
        let by = if ttft_ms.is_none() { opening.patience } else { idle.min(opening.ends) };
        let came = timeout_at(by, chunks.next()).await;
        let came = came.map_err(|_| ProviderError {
            may_bill: true,
            ..ProviderError::retryable(AttemptOutcome::Timeout, "the stream went silent")
        })??;
        let left = opening.ends.saturating_duration_since(Instant::now());
        let ttft = opening.begun.elapsed().as_secs_f64() * 1000.0;
        let Some(came) = came else {
            let mut choices = Finishes::default();
            head.iter().for_each(|chunk| choices.take(&chunk.choices));
            if !choices.whole() {
                return Err(ProviderError::retryable(
                    AttemptOutcome::Truncated,
                    "the stream ended without a finish reason",
                ));
            }
            let ttft_ms = ttft_ms.unwrap_or(ttft);
            return Ok(Opened {
                head: std::mem::take(head),
                rest: None,
                begun: opening.begun,
                begun_at_ms: opening.begun_at_ms,
                ttft_ms,
                left,
            });
        };
        for mut chunk in came {
            let weight = chunk.weight();
            room.grow(weight)?;
            head_bytes += weight;
            // It would keep all that was read together with it.
            chunk.payload = Bytes::copy_from_slice(&chunk.payload);
            if chunk.has_content() {
                ttft_ms = ttft_ms.or(Some(ttft));
                bytes += chunk.answer_bytes();
                // Neither thoughts nor a call of a tool are judged by their opening, and neither is held back for it.
                bytes += if chunk.choices.iter().any(|choice| choice.calls_tools) { opening.bytes } else { 0 };
            }
            head.push(chunk);
        }
        if let Some(ttft_ms) = ttft_ms.filter(|_| bytes >= opening.bytes) {
            return Ok(Opened {
                head: std::mem::take(head),
                rest: Some(chunks),
                begun: opening.begun,
                begun_at_ms: opening.begun_at_ms,
                ttft_ms,
                left,
            });
        }
        if head_bytes > HEAD_BYTES || head.len() > HEAD_EVENTS {
            return Err(ProviderError::retryable(AttemptOutcome::Malformed, "the stream goes on without a word"));
        }
    }
}

//! Delivery: an answer that was found good goes to the client.
//!
//! A stream is passed on as it comes; a whole answer waits until it is settled, for its headers say what it cost.

use crate::catalog::Model;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::provider::{Fault, ProviderError};
use crate::receipt::{AttemptOutcome, CacheStatus};
use crate::request::instructions::CacheUse;
use crate::request::journal::Journal;
use crate::request::reply::Reply;
use crate::request::work::Work;
use crate::stage::admit::hold::Hold;
use crate::stage::admit::remembered::Remembered;
use crate::stage::attempt::call::{Produced, Response, close};
use crate::stage::attempt::passage::Passage;
use crate::stage::attempt::stream::{Keep, Sink, StreamEnd, StreamHead, is_left_out, read_on};
use crate::stage::rank::Candidate;
use crate::stage::recall::note_signatures;
use crate::stage::recover::{next_one, passage, why_not};
use crate::stage::settle::{Outcome, settle_hit};
use crate::wire::writer::Hide;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;

/// How long a client that does not read is waited for with a remembered stream: as long as models may be silent.
const HIT_PATIENCE: Duration = Duration::from_secs(10);

/// Sends an answer: a stream now, event by event; a whole one only after it is settled.
pub(crate) async fn deliver(work: &mut Work<'_>, hold: &mut Hold, produced: Produced, reply: &mut Reply) -> Outcome {
    let Produced { winner, doubt, others, .. } = produced;
    let model = winner.model;
    work.journal.receipt.model = Some(model.name.clone());
    let hide = Hide { logprobs: winner.hide_logprobs, usage: !work.request.facts.include_usage };
    let opened = match winner.answer {
        Response::Whole(completion) => {
            if is_left_out(&completion.pieces, completion.format, work.request.format.name(), hide) {
                work.journal.because(not_said(&model.name));
            }
            if !reply.client_is_there()
                && let Some(attempt) = work.journal.receipt.attempts.get_mut(winner.attempt)
            {
                attempt.outcome = AttemptOutcome::ClientGone;
            }
            let mut signed = Vec::new();
            note_signatures(&mut signed, &completion.pieces, &completion.body);
            keep_signatures(work, &model, signed);
            let body = reply.writer.whole(&completion, &model.name, hide);
            return Outcome::whole(body, completion.is_complete() && doubt.is_none());
        }
        Response::Stream(opened) => opened,
    };
    work.journal.receipt.ttft_ms = Some(work.journal.latency_ms());
    reply.begin(&work.journal);
    let is_cached = hold.cache_key.is_some()
        && doubt.is_none()
        && (work.journal.receipt.cache == CacheStatus::Miss || work.options.cache == CacheUse::NoCache);
    let keep = match work.gateway.config.cache.max_entry_bytes {
        _ if work.claim.is_some() => Keep::Needed,
        max_bytes if is_cached => Keep::Wanted(usize::try_from(max_bytes).unwrap_or(usize::MAX)),
        _ => Keep::No,
    };
    let mut passing =
        Passing { hide, keep, kept: keep.nothing_yet(), passage: passage(work, &others), has_gaps: false };
    let passed = pass_on(work, model, opened, winner.attempt, &mut passing, reply).await;
    let ended = match passed.ended.error {
        None => passed.ended,
        // Rare, and large: on the heap, so that no other stream's future has room for it.
        Some(_) => Box::pin(go_on(work, hold, passed, others, &mut passing, reply)).await,
    };
    match ended.error {
        _ if ended.no_room => Outcome::failed(Error::Overloaded),
        Some(error) if error.fault == Fault::NoRoom => Outcome::failed(Error::Overloaded),
        Some(_) if work.is_for_nobody() => Outcome::failed(Error::ClientGone),
        Some(_) if work.left_ms() == 0 => Outcome::failed(Error::DeadlineExceeded),
        Some(error) => Outcome::failed(after_its_beginning(work, error)),
        None => {
            let is_as_made = !passing.has_gaps && !passing.passage.is_joined();
            Outcome::streamed(ended.kept.map(Into::into), ended.stopped && doubt.is_none() && is_as_made)
        }
    }
}

/// How a stream passes to the client, whoever writes it.
struct Passing {
    hide: Hide,
    keep: Keep,
    /// What is kept of the events so far.
    kept: Option<BytesMut>,
    passage: Passage,
    /// Whether something of it was left out.
    has_gaps: bool,
}

impl Passing {
    /// Has another model's stream follow that of an attempt, which has ended. The whole is not for the cache.
    fn join(&mut self, work: &Work<'_>, attempt: usize) {
        let used = work.journal.receipt.attempts.get(attempt).map(|attempt| attempt.usage);
        self.passage.join(&used.unwrap_or_default());
        if self.keep != Keep::Needed {
            (self.keep, self.kept) = (Keep::No, None);
        }
    }

    /// Sends and keeps what is said between two streams.
    async fn send(&mut self, work: &Work<'_>, out: BytesMut, model: &Model, reply: &mut Reply) {
        self.keep.add(&mut self.kept, &out, &work.room);
        let patience = Duration::from_millis(model.timeouts.idle_ms);
        reply.event(&work.journal, out.freeze(), patience, &work.deadline).await;
    }
}

/// A stream that has passed.
struct Passed {
    model: Arc<Model>,
    /// Its attempt's place in the journal.
    attempt: usize,
    ended: StreamEnd,
}

/// Passes one model's stream on to its end, and writes down what it came to.
async fn pass_on(
    work: &mut Work<'_>,
    model: Arc<Model>,
    opened: StreamHead,
    attempt: usize,
    passing: &mut Passing,
    reply: &mut Reply,
) -> Passed {
    let times = opened.times();
    let (hide, keep, kept) = (passing.hide, passing.keep, passing.kept.take());
    let (passage, format) = (&mut passing.passage, work.request.format.name());
    let (journal, facts, room) = (&work.journal, &work.request.facts, &work.room);
    let sink = Sink::Client { reply, journal, facts, room, hide, format, keep, kept, passage };
    let (mut ended, waited) = read_on(opened, &model, &work.deadline, sink).await;
    work.journal.waited_for(waited);
    if ended.leaves_out {
        work.journal.because(not_said(&model.name));
    }
    if ended.skipped > 0 {
        work.gateway.metrics.skipped(ended.skipped);
        work.journal.because(format!(
            "{} of {}: left out, for it could not be read",
            events(ended.skipped),
            model.name
        ));
    }
    passing.has_gaps |= ended.skipped > 0;
    keep_signatures(work, &model, std::mem::take(&mut ended.signatures));
    close(work, attempt, &model, times, &ended, !reply.client_is_there());
    Passed { model, attempt, ended }
}

fn events(number: u32) -> String {
    if number == 1 { "an event".to_owned() } else { format!("{number} events") }
}

/// Has other candidates go on with a stream that broke off, until one comes to its end or none is left.
async fn go_on(
    work: &mut Work<'_>,
    hold: &mut Hold,
    mut broken: Passed,
    mut others: Vec<Candidate>,
    passing: &mut Passing,
    reply: &mut Reply,
) -> StreamEnd {
    let client = work.request.again();
    while broken.ended.error.is_some() && !others.is_empty() {
        let is_needed = passing.keep == Keep::Needed && broken.ended.kept.is_some();
        if broken.ended.no_room || !is_needed && !reply.client_is_there() {
            break;
        }
        let mut out = BytesMut::new();
        let why_not = why_not(&client.facts, &passing.passage, &broken.ended);
        let mut is_ended = || !reply.writer.resume(&passing.passage.text, &mut out);
        if let Some(why_not) = why_not.or_else(|| is_ended().then_some("its end had begun")) {
            work.journal.because(format!("nobody goes on with the stream of {}: {why_not}", broken.model.name));
            break;
        }
        passing.kept = broken.ended.kept.take();
        passing.send(work, out, &broken.model, reply).await;
        passing.join(work, broken.attempt);
        let Some(winner) = next_one(work, &client, hold, &mut others, &passing.passage).await else { break };
        let Response::Stream(opened) = winner.answer else { break };
        let (from, to) = (&broken.model.name, &winner.model.name);
        let bytes = passing.passage.text.len();
        work.journal
            .because(format!("{to} goes on with the stream of {from}, which broke off after {bytes} bytes of text"));
        work.journal.receipt.model = Some(to.clone());
        broken = pass_on(work, winner.model, opened, winner.attempt, passing, reply).await;
    }
    work.request = client;
    broken.ended
}

/// Has signatures kept with the settlement, as those of this model; a thought is kept as whose it is.
fn keep_signatures(work: &mut Work<'_>, model: &Model, signed: Vec<(String, String)>) {
    let of_model = signed.into_iter().map(|(id, signature)| match signature.as_str() {
        "" => (id, model.name.to_string()),
        signature => (id, format!("{}\n{signature}", model.provider_model)),
    });
    work.signatures = of_model.collect();
}

fn not_said(model: &str) -> String {
    format!("of what {model} answered, the client's format cannot say all")
}

/// What a client is told of a stream that broke off: what is wrong with its request, if that is it.
fn after_its_beginning(work: &Work<'_>, error: ProviderError) -> Error {
    let (now_ms, status) = (work.gateway.clock.now_ms(), error.status_to_tell());
    let until_ms = match error.fault {
        Fault::CallerFault(objection)
        | Fault::Refused(objection)
        | Fault::ContextOverflow(objection)
        | Fault::Unsuited(objection) => {
            return Error::Provider { status, objection: *objection };
        }
        Fault::Busy { until_ms } | Fault::RateLimited { until_ms: Some(until_ms) } => Some(until_ms),
        _ => None,
    };
    let retry_after_ms = until_ms.map(|until_ms| until_ms.saturating_sub(now_ms));
    Error::AllCandidatesFailed { attempts: work.journal.receipt.attempts.clone(), retry_after_ms }
}

/// Sends a remembered answer.
pub(crate) async fn deliver_hit(work: &mut Work<'_>, remembered: Remembered, reply: &mut Reply) {
    let is_similar = work.journal.receipt.similar.is_some();
    work.journal.receipt.cache = if is_similar { CacheStatus::HitSemantic } else { CacheStatus::Hit };
    work.journal.age_ms = Some(work.journal.receipt.created_at_ms.saturating_sub(remembered.created_at_ms));
    work.journal.receipt.model = Some(remembered.model);
    work.journal.receipt.tier = remembered.tier;
    let body = work.room.grow(remembered.body.len()).map(|()| remembered.body);
    let body = body.map_err(Error::from);
    settle_hit(work, &body, reply).await;
    match body {
        Err(error) => reply.error(&work.journal, &error),
        Ok(body) if work.request.facts.stream => {
            reply.begin(&work.journal);
            reply.event(&work.journal, work.room.keep(body), HIT_PATIENCE, &work.deadline).await;
            reply.end(&work.journal);
        }
        Ok(body) => reply.whole(&work.journal, 200, work.room.keep(body)),
    }
}

/// Lets an answer end that is settled: a whole one goes out now, of a stream the last event.
pub(crate) fn last_byte(work: &mut Work<'_>, outcome: Outcome, reply: &mut Reply) {
    match (outcome.error, outcome.body) {
        (Some(error), _) => {
            if matches!(error, Error::Internal(_)) {
                tracing::error!(request = %work.journal.receipt.id, %error, "a bug of ours");
            }
            reply.error(&work.journal, &error);
        }
        (None, Some(body)) if !outcome.streamed => reply.whole(&work.journal, 200, work.room.keep(body)),
        (None, _) => reply.end(&work.journal),
    }
}

/// Tells the client no. Nothing was held any more; what the gateway itself refuses counts nothing (M7).
pub(crate) fn refuse(gateway: &Gateway, journal: &mut Journal, reply: &mut Reply, error: Error) {
    if let Error::Internal(why) | Error::Unavailable(why) = &error {
        tracing::error!(request = %journal.receipt.id, why, "a request could not be served");
    }
    if matches!(error, Error::Overloaded) && gateway.budget.should_warn(gateway.clock.now_ms()) {
        let (taken_bytes, max_bytes) = (gateway.budget.taken().0, gateway.budget.max_bytes());
        tracing::warn!(tenant = %journal.receipt.tenant, taken_bytes, max_bytes, "no memory is left for a request; see [server] memory_bytes");
    }
    gateway.metrics.refused();
    reply.error(journal, &error);
}

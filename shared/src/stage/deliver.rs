//! Delivery: an answer that was found good goes to the client.
//!
//! A stream is passed on as it comes; a whole answer waits until it is settled, for its headers tell what it cost.

use crate::error::Error;
use crate::pipeline::{Produced, Work};
use crate::provider::Fault;
use crate::receipt::{AttemptOutcome, CacheStatus};
use crate::request::instructions::CacheUse;
use crate::request::reply::Reply;
use crate::stage::admit::{Hold, Remembered};
use crate::stage::attempt::Given;
use crate::stage::attempt::stream::{Keep, Sink, Writing, close, ended_by_itself, read_on};
use crate::stage::settle::{Outcome, settle_hit};

/// Sends an answer: a stream now, event by event; a whole one only after it is settled.
pub(crate) async fn deliver(work: &mut Work<'_>, hold: &Hold, produced: Produced, reply: &mut Reply) -> Outcome {
    let Produced { answering, doubt } = produced;
    let model = answering.model;
    work.journal.model = Some(model.name.clone());
    let opened = match answering.answer {
        Given::Whole(completion) => {
            if !reply.client_is_there()
                && let Some(attempt) = work.journal.attempts.get_mut(answering.attempt)
            {
                attempt.outcome = AttemptOutcome::ClientGone;
            }
            let stopped = completion.choices.iter().all(|choice| choice.finish.as_deref().is_some_and(ended_by_itself));
            return Outcome::whole(
                completion.rewritten(&model.name, answering.hide_logprobs),
                stopped && doubt.is_none(),
            );
        }
        Given::Stream(opened) => opened,
    };
    let times = opened.times();
    work.journal.ttft_ms = Some(work.journal.latency_ms());
    reply.begin(&work.journal);
    let is_cached = hold.cache_key.is_some()
        && doubt.is_none()
        && (work.journal.cache == CacheStatus::Miss || work.wants.cache == CacheUse::NoCache);
    let keep = match work.gateway.config.cache.max_entry_bytes {
        _ if work.claim.is_some() => Keep::Needed,
        most_bytes if is_cached => Keep::Wanted(usize::try_from(most_bytes).unwrap_or(usize::MAX)),
        _ => Keep::No,
    };
    let write = Writing { include_usage: work.request.include_usage, hide_logprobs: answering.hide_logprobs };
    let sink = Sink::Client { reply, journal: &work.journal, room: &work.room, keep };
    let (ended, waited) = read_on(opened, &model, write, &work.deadline, sink).await;
    work.journal.waited_for(waited);
    close(work, answering.attempt, &model, times, &ended, !reply.client_is_there());
    match ended.error {
        _ if ended.no_room => Outcome::failed(Error::Overloaded),
        Some(error) if error.fault == Fault::NoRoom => Outcome::failed(Error::Overloaded),
        Some(_) if work.left_ms() == 0 => Outcome::failed(Error::DeadlineExceeded),
        Some(_) => Outcome::failed(Error::AllCandidatesFailed { attempts: work.journal.attempts.clone() }),
        None => Outcome::streamed(ended.kept.map(Into::into), ended.stopped && doubt.is_none()),
    }
}

/// Sends a remembered answer.
pub(crate) async fn deliver_hit(work: &mut Work<'_>, remembered: Remembered, reply: &mut Reply) {
    work.journal.cache = CacheStatus::Hit;
    work.journal.age_ms = Some(work.journal.created_at_ms.saturating_sub(remembered.created_at_ms));
    work.journal.model = Some(remembered.model);
    work.journal.tier = remembered.tier;
    let body = work.room.grow(remembered.body.len()).map(|()| remembered.body);
    settle_hit(work, body.map_err(Error::from), reply).await;
}

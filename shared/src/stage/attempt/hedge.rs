//! The hedge: where a candidate has not begun to answer by its usual time, the next one is called as well, and who begins first
//! answers (ADR 42).
//!
//! Both calls are held for (M1) and both are on the receipt (M4). The slower is ended, and billed as far as it was: what came of
//! it, or its input, by an estimate. That shows nothing of its model: it had not its own time. A hedge is a second call of the same
//! request, so it is paid from the budget of retries (A3).

use crate::catalog::Model;
use crate::health::overdue::late_ms;
use crate::health::score::Reason;
use crate::provider::ProviderError;
use crate::receipt::{AttemptKind, AttemptOutcome};
use crate::request::work::Work;
use crate::stage::admit::afford::extend_beside;
use crate::stage::admit::hold::Hold;
use crate::stage::attempt::call::{CallOptions, Called, Calling, Failed, Winner, note_what_is_left_out, prepare};
use crate::stage::attempt::evidence::Patience;
use crate::stage::attempt::silence::waited_for;
use crate::stage::rank::Candidate;
use crate::stage::recall::wants_signatures;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::sleep_until;

/// Which candidate is called as well, and when.
pub(crate) struct Hedge<'c> {
    with: &'c Arc<Model>,
    after_ms: u64,
}

impl<'c> Hedge<'c> {
    /// That of a request's first call, if its tenant wants one, the model is known well enough, and one of `others`, which can take
    /// the request, is in.
    pub(crate) fn of(
        work: &Work<'_>,
        options: CallOptions<'_>,
        candidate: &Candidate,
        mut others: impl Iterator<Item = &'c Candidate>,
    ) -> Option<Self> {
        let is_out = |of: &Candidate| of.ranked.is_some_and(|ranked| Reason::is_out(ranked.reason));
        if !work.caller.tenant.settings.hedge || options.kind != AttemptKind::First || is_out(candidate) {
            return None;
        }
        let waited = waited_for(&work.request, options.head_bytes, &candidate.model);
        let after_ms = late_ms(candidate.measures.as_ref()?, waited)?;
        // The request is made ready for one model at a time.
        let other = others.find(|other| !is_out(other) && !wants_signatures(work, &other.model))?;
        Some(Self { with: &other.model, after_ms })
    }
}

/// What came of a call that was hedged.
pub(crate) struct Hedged {
    /// Who began first; or the first candidate's failure.
    pub(crate) answered: Result<Winner, Failed>,
    /// The other one's failure, if it failed by itself.
    pub(crate) beside: Option<Failed>,
    /// Who was called as well.
    pub(crate) with: Option<Arc<Model>>,
}

/// Calls a candidate, and another one as well if it is late; writes both down.
pub(crate) async fn call_hedged(
    work: &mut Work<'_>,
    hold: &mut Hold,
    model: &Arc<Model>,
    options: CallOptions<'_>,
    hedge: &Hedge<'_>,
) -> Hedged {
    prepare(work, model, options).await;
    let (mut first, mut second) = (Calling::begin(work, model, options, None), None);
    let begun = first.begun;
    let (of_first, of_second) = race(work, hold, &mut first, &mut second, hedge).await;
    work.journal.waited_for(begun.elapsed());
    let Some(second) = second else {
        let answered = first.written(work, of_first.unwrap_or_else(cancelled));
        return Hedged { answered, beside: None, with: None };
    };
    work.journal.because(format!("{}: {} had not begun after {} ms", hedge.with.name, model.name, hedge.after_ms));
    note_what_is_left_out(work, hedge.with, second.options);
    let (first_failed, second_failed) = (of_first.is_some(), of_second.is_some());
    let one = first.written(work, of_first.unwrap_or_else(cancelled));
    let two = second.written(work, of_second.unwrap_or_else(cancelled));
    let with = Some(hedge.with.clone());
    match (one, two) {
        (answered, Err(failed)) => Hedged { answered, beside: second_failed.then_some(failed), with },
        (Err(failed), Ok(winner)) => Hedged { answered: Ok(winner), beside: first_failed.then_some(failed), with },
        (Ok(winner), Ok(_)) => Hedged { answered: Ok(winner), beside: None, with },
    }
}

fn cancelled() -> Called {
    Err((ProviderError::ended(AttemptOutcome::Cancelled, "another candidate began first"), Patience::Ours))
}

/// Waits for who begins first: what came of either call, where it has ended. One alone is an answer, unless the other was never
/// made.
async fn race<'c>(
    work: &Work<'_>,
    hold: &mut Hold,
    first: &mut Calling<'c>,
    second: &mut Option<Calling<'c>>,
    hedge: &Hedge<'c>,
) -> (Option<Called>, Option<Called>) {
    let is_made = AtomicBool::new(false);
    let late_at = first.begun + Duration::from_millis(hedge.after_ms);
    let options = CallOptions { kind: AttemptKind::Hedge, overdue: None, ..first.options };
    let hedged = async {
        sleep_until(late_at).await;
        if !may_hedge(work, hold, hedge.with).await {
            return pending().await;
        }
        is_made.store(true, Relaxed);
        second.insert(Calling::begin(work, hedge.with, options, None)).called(work).await
    };
    let (mut one, mut two) = (pin!(first.called(work)), pin!(hedged));
    let (mut of_first, mut of_second) = (None, None);
    loop {
        tokio::select! {
            biased;
            called = &mut one, if of_first.is_none() => of_first = Some(called),
            called = &mut two, if of_second.is_none() => of_second = Some(called),
        }
        let is_won = |called: &Option<Called>| called.as_ref().is_some_and(Result::is_ok);
        let is_over = of_first.is_some() && (of_second.is_some() || !is_made.load(Relaxed));
        if is_over || is_won(&of_first) || is_won(&of_second) {
            return (of_first, of_second);
        }
    }
}

/// Whether the budget of retries and the quotas allow a second call.
async fn may_hedge(work: &Work<'_>, hold: &mut Hold, model: &Arc<Model>) -> bool {
    !work.journal.receipt.outage && work.gateway.may_retry().await && extend_beside(work, hold, model).await
}

//! What a failed call shows of its model: one rule for attempts, for streams on their way and for the classifier.
//!
//! A failure of the model's own counts towards its breaker. A 429 sets a cooldown, and so does any error that says when
//! to come again: as long as the provider asks for (A3).
//! What may as well speak of this one request (our key, bill or model id refused; an answer that cannot be read) counts
//! only when it comes to three different requests ([`refusals`](crate::health::refusals)). The caller's own fault shows
//! nothing (A2), nor does a request that is too much for one provider, nor does a wait that we ended before the model's own time was up.

use crate::health::refusals::Refused;
use crate::health::{GUESSED_COOLDOWN_MS, Signal};
use crate::provider::{Fault, ProviderError};
use crate::receipt::AttemptOutcome;
use crate::request::work::Work;

/// Whose time was up, where a call ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The model's: it had as long as its settings give it.
    Models,
    /// Ours: the request's deadline, or the short time that a classifier has.
    Ours,
}

/// What this failure of a call that began then shows of its model.
pub(crate) fn shown(work: &Work<'_>, error: &ProviderError, patience: Patience, begun_at_ms: u64) -> Signal {
    let refused = || Signal::Refused(Refused::of(work.journal.receipt.id, &work.caller.tenant.uid));
    match &error.fault {
        Fault::Retryable => match error.outcome {
            AttemptOutcome::Timeout if patience == Patience::Ours => Signal::Nothing,
            AttemptOutcome::ClientGone | AttemptOutcome::Cancelled => Signal::Nothing,
            AttemptOutcome::Malformed => refused(),
            AttemptOutcome::Timeout
            | AttemptOutcome::Reset
            | AttemptOutcome::HttpError
            | AttemptOutcome::Truncated
            | AttemptOutcome::RateLimited
            | AttemptOutcome::Refused
            | AttemptOutcome::Ok
            | AttemptOutcome::LowConfidence => Signal::Failed,
        },
        Fault::CandidateDown => refused(),
        Fault::RateLimited { until_ms } => {
            Signal::CoolDown { until_ms: until_ms.unwrap_or(begun_at_ms + GUESSED_COOLDOWN_MS) }
        }
        Fault::Busy { until_ms } => Signal::CoolDown { until_ms: *until_ms },
        Fault::ContextOverflow(_) | Fault::Unsuited(_) | Fault::Refused(_) | Fault::CallerFault(_) | Fault::NoRoom => {
            Signal::Nothing
        }
    }
}

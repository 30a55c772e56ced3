//! Refusals: answers that may speak of the model, or of the one request that got them.
//!
//! A 401, 402, 403 or 404 mostly means our key, our bill or our model id. But a prompt that is moderated, tools that no
//! endpoint supports and an answer too long for what is left of the credit have the same statuses, and what a
//! provider makes of an odd request may be unreadable. One such answer therefore shows nothing of the model; those of
//! three different requests with no answer in between do (A2). Tries of one request count once. So does a silence that lasts
//! far longer than the model is known to need: it may be the model's, or that of one long prompt ([`overdue`](super::overdue)).
//!
//! Answers take long, so those to calls from before an outage end in the midst of it. Such an answer does not end the run of
//! refusals; that of a call which began after the run's first one does, and so do very many of the others: where hundreds are
//! answered for each that is refused, no outage is.
//!
//! Then a breaker opens, of the same kind as that for failures, and one probe finds out when it may close. It is one of its
//! own, for neither kind says anything of the other. If all three requests were of one tenant, it is open for that tenant
//! alone: what one sends must not take a model from the others (T5), and if it is our key, the others find out themselves.

use super::breaker::{Breaker, BreakerSettings, Finished};
use crate::id::RequestId;
use sha2::{Digest, Sha256};

/// Two requests that were refused with no answer in between, the latest first; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Run(pub(crate) [u64; 2]);

impl Run {
    /// Takes a refusal in; answers whether it is the third of different requests, and then begins anew.
    pub(crate) fn is_third(&mut self, request: u64) -> bool {
        let Self([latest, earlier]) = *self;
        if latest == request || earlier == request {
            return false;
        }
        *self = if earlier == 0 { Self([request, latest]) } else { Self::default() };
        earlier != 0
    }
}

/// Who was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// A mark of the request, above 0 and at most 2^53.
    pub request: u64,
    /// A mark of the tenant, likewise.
    pub tenant: u64,
}

impl Refused {
    /// This request of this tenant.
    #[must_use]
    pub fn of(request: RequestId, tenant: &str) -> Self {
        Self { request: mark_of_request(request), tenant: mark_of_tenant(tenant) }
    }
}

/// A number that stands for a request; scripts keep it whole.
pub(crate) fn mark_of_request(request: RequestId) -> u64 {
    (request.draw() >> 11).max(1)
}

/// A number that stands for a tenant in every process; scripts keep it whole.
pub(crate) fn mark_of_tenant(tenant: &str) -> u64 {
    let hash = Sha256::digest(tenant);
    let first = hash.first_chunk().map_or(1, |bytes| u64::from_le_bytes(*bytes));
    (first >> 11).max(1)
}

/// How many answers to calls from before a run of refusals end it.
const LATE_ANSWERS: u32 = 16;

/// A breaker that is open concerns everybody.
pub(crate) const EVERYBODY: u64 = 0;

/// The refusals of one model.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Refusals {
    pub(crate) run: Run,
    /// When the first call of the run began, in Unix milliseconds.
    pub(crate) run_from_ms: u64,
    /// Answers since then to calls that had begun before.
    pub(crate) late_answers: u32,
    /// The tenant of all requests in the run, or for whom the breaker is open.
    pub(crate) tenant: u64,
    pub(crate) breaker: Breaker,
}

impl Refusals {
    /// Whether what is known of refusals concerns this tenant.
    pub(crate) fn concern(&self, tenant: u64) -> bool {
        self.tenant == EVERYBODY || self.tenant == tenant
    }

    /// Takes a refusal in; `random` jitters the open time if the breaker opens.
    pub(super) fn refused(&mut self, by: Refused, finished: Finished, random: u64, settings: &BreakerSettings) {
        if finished.begun_at_ms < self.breaker.counts_from_ms {
            return;
        }
        let closed = self.breaker.opened_in_a_row == 0;
        if !closed && !self.concern(by.tenant) {
            // Open for one tenant, it opens for the others by three requests of theirs, not by one.
            if self.run.is_third(by.request) {
                (self.tenant, self.breaker.out_since_ms) = (EVERYBODY, finished.now_ms);
                self.breaker.open(finished.now_ms, random, settings);
            }
            return;
        }
        let first = closed && self.run == Run::default();
        let opens = self.run.is_third(by.request) || !closed;
        if first {
            self.tenant = by.tenant;
            (self.run_from_ms, self.late_answers) = (finished.begun_at_ms, 0);
        } else if self.tenant != by.tenant {
            self.tenant = EVERYBODY;
        }
        if opens {
            (self.run, self.run_from_ms, self.late_answers) = (Run::default(), 0, 0);
            self.breaker.open(finished.now_ms, random, settings);
        }
    }

    /// Takes an answer in: it ends the run, unless its call is from before, and closes the breaker if it was due.
    pub(super) fn answered(&mut self, finished: Finished) {
        if self.breaker.opened_in_a_row == 0 {
            if self.run == Run::default() {
                return;
            }
            self.late_answers = self.late_answers.saturating_add(1);
            if finished.begun_at_ms >= self.run_from_ms || self.late_answers >= LATE_ANSWERS {
                (self.run, self.run_from_ms, self.late_answers) = (Run::default(), 0, 0);
                self.tenant = EVERYBODY;
            }
        } else if finished.begun_at_ms >= self.breaker.counts_from_ms {
            self.breaker.close(finished.now_ms);
            self.tenant = EVERYBODY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::breaker::{BreakerState, Outcome};

    const NOW: u64 = 1_763_769_600_000;

    fn after(refused: &[(u64, u64)]) -> Refusals {
        let mut refusals = Refusals::default();
        for &(request, tenant) in refused {
            let finished = Finished { outcome: Outcome::Failure, begun_at_ms: NOW, now_ms: NOW };
            refusals.refused(Refused { request, tenant }, finished, 500, &BreakerSettings::default());
        }
        refusals
    }

    #[test]
    fn three_different_requests_open_the_breaker_for_those_whose_requests_they_were() {
        for (refused, open_for) in [
            (&[(1, 7), (2, 7)][..], None),
            (&[(1, 7), (2, 7), (2, 7), (1, 7), (2, 7)], None),
            (&[(1, 7), (2, 7), (3, 7)], Some(7)),
            (&[(1, 7), (1, 7), (2, 7), (1, 7), (3, 7)], Some(7)),
            (&[(1, 7), (2, 7), (3, 8)], Some(EVERYBODY)),
            (&[(1, 8), (2, 7), (3, 7)], Some(EVERYBODY)),
            (&[(1, 7), (2, 8)], None),
        ] {
            let refusals = after(refused);
            let open = refusals.breaker.state(NOW) == BreakerState::Open;
            assert_eq!(open.then_some(refusals.tenant), open_for, "{refused:?}");
        }
    }

    #[test]
    fn an_answer_in_between_begins_the_count_anew() {
        let mut refusals = after(&[(1, 7), (2, 7)]);
        refusals.answered(Finished { outcome: Outcome::Success, begun_at_ms: NOW, now_ms: NOW });
        assert_eq!(refusals, Refusals::default());
    }

    #[test]
    fn answers_to_calls_from_before_the_run_end_it_only_when_they_are_many() {
        let mut refusals = after(&[(1, 7), (2, 8)]);
        let late = Finished { outcome: Outcome::Success, begun_at_ms: NOW - 1, now_ms: NOW };
        for _ in 1..LATE_ANSWERS {
            refusals.answered(late);
        }
        assert_eq!(refusals.run, Run([2, 1]));
        refusals.answered(late);
        assert_eq!(refusals, Refusals::default());
    }

    #[test]
    fn an_answer_from_before_an_outage_does_not_keep_the_breaker_closed() {
        let mut refusals = after(&[(1, 7), (2, 8)]);
        refusals.answered(Finished { outcome: Outcome::Success, begun_at_ms: NOW - 1, now_ms: NOW });
        let third = Finished { outcome: Outcome::Failure, begun_at_ms: NOW, now_ms: NOW };
        refusals.refused(Refused { request: 3, tenant: 7 }, third, 500, &BreakerSettings::default());
        assert_eq!((refusals.breaker.state(NOW), refusals.tenant), (BreakerState::Open, EVERYBODY));
    }

    #[test]
    fn what_began_before_the_breaker_was_due_does_not_close_it() {
        let mut refusals = after(&[(1, 7), (2, 7), (3, 7)]);
        let due_ms = refusals.breaker.open_until_ms;
        for (begun_at_ms, state) in [(due_ms - 1, BreakerState::HalfOpen), (due_ms, BreakerState::Closed)] {
            refusals.answered(Finished { outcome: Outcome::Success, begun_at_ms, now_ms: due_ms });
            assert_eq!(refusals.breaker.state(due_ms), state);
        }
    }

    #[test]
    fn marks_differ_and_scripts_keep_them() {
        let marks = ["acme", "globex", ""].map(mark_of_tenant);
        assert!(marks[0] != marks[1] && marks.iter().all(|mark| (1..1 << 53).contains(mark)), "{marks:?}");
        assert_eq!(mark_of_tenant("acme"), marks[0], "in every process");
    }
}

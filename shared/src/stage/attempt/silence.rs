//! Calls that are overdue: told to the others, and given up where the others had to wait in vain, too.
//!
//! The time that a model has for its first token is for the slowest that are well. One that hangs shows itself long before that
//! ([`overdue`](crate::health::overdue)). That is recorded at once, so that no further request is sent there; and those that
//! wait there fail over as soon as the model is out, if there is another one that may answer. What is merely slow by
//! itself goes on being waited for.

use crate::catalog::Model;
use crate::estimate::max_output_tokens;
use crate::gateway::Gateway;
use crate::health::overdue::{Waited, overdue_ms};
use crate::health::refusals::Refused;
use crate::health::score::{Reason, Standing};
use crate::health::{ModelHealth, Observation, Signal};
use crate::id::RequestId;
use crate::stage::rank::Candidate;
use crate::wire::request::Request;
use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How often a call that is overdue looks whether its model is out.
const LOOK: Duration = Duration::from_secs(1);

/// What a token of an answer has at least, where its beginning is held back.
const BYTES_PER_TOKEN: u64 = 2;

/// A call's patience with a model that it knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overdue {
    /// Milliseconds after which it is overdue.
    pub(crate) after_ms: u64,
    /// Whether there is another model that may answer.
    pub(crate) has_others: bool,
}

impl Overdue {
    /// That with a candidate which `others` come after, of whose answer so many bytes are waited for.
    pub(crate) fn of(
        request: &Request,
        head_bytes: usize,
        candidate: &Candidate,
        others: &[Candidate],
    ) -> Option<Self> {
        let waited = waited_for(request, head_bytes, &candidate.model);
        let is_in = |other: &Candidate| {
            let reason = other.ranked.map(|ranked| ranked.reason);
            !matches!(reason, Some(Reason::BreakerOpen { .. } | Reason::CoolingDown { .. }))
        };
        let after_ms = overdue_ms(candidate.measures.as_ref()?, waited)?;
        Some(Self { after_ms, has_others: others.iter().any(is_in) })
    }
}

/// What is waited for before there is anything to see of an answer of which so many bytes are held back.
pub(crate) fn waited_for(request: &Request, head_bytes: usize, model: &Model) -> Waited {
    let all = max_output_tokens(&request.facts, model);
    let tokens = if request.facts.stream { all.min(head_bytes as u64 / BYTES_PER_TOKEN) } else { all };
    Waited { request_bytes: request.body().bytes().len(), tokens }
}

/// Who waits for whom.
pub(crate) struct Waiting<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) model: &'a Model,
    pub(crate) tenant: &'a str,
    pub(crate) id: RequestId,
    pub(crate) begun: Instant,
    /// The same, in Unix milliseconds.
    pub(crate) begun_at_ms: u64,
}

impl Waiting<'_> {
    /// Waits until the call is to be given up; for ever if it is not.
    pub(crate) async fn gives_up(self, overdue: Option<Overdue>) {
        let Some(Overdue { after_ms, has_others }) = overdue else { return pending().await };
        sleep_until(self.begun + Duration::from_millis(after_ms)).await;
        let (gateway, name) = (self.gateway, std::slice::from_ref(&self.model.name));
        let signal = Signal::Refused(Refused::of(self.id, self.tenant));
        let observation = Observation { model: self.model.name.clone(), begun_at_ms: self.begun_at_ms, signal };
        gateway.health.record(observation, gateway.clock.now_ms()).await;
        loop {
            if !has_others {
                return pending().await;
            }
            let (known, _) = gateway.health.snapshot(name, gateway.clock.now_ms()).await;
            let is_out =
                |health: &ModelHealth| matches!(health.standing_for(self.tenant), Standing::BreakerOpen { .. });
            if known.iter().any(is_out) {
                return;
            }
            sleep(LOOK).await;
        }
    }
}

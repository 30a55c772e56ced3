//! What is held for a request, and why one is not let in.

use crate::clock::Clock;
use crate::error::Error;
use crate::gateway::outage::Pending;
use crate::health::ModelHealth;
use crate::limit::window::Window;
use crate::money::Amounts;
use crate::request::client::Client;
use crate::request::work::Work;
use crate::stage::admit::alike::Alike;
use crate::store::{Admission, CacheKey, Counters, Refusal, StoreError, Ticket};
use crate::tenant::Whose;
use bytes::Bytes;
use std::sync::Arc;

/// The `retry-after` while too many requests are in flight; nobody knows when one of them ends.
const CONCURRENCY_RETRY_MS: u64 = 1000;

/// What is held for a request, and what the admission brought along.
pub(crate) struct Hold {
    pub(crate) ask: Admission,
    pub(crate) held: Amounts,
    pub(crate) ticket: Ticket,
    /// Where the answer may be remembered.
    pub(crate) cache_key: Option<CacheKey>,
    /// What is noted of it there, for requests that ask the same in other words.
    pub(crate) alike: Option<Alike>,
    /// The health of the candidates, and of all that a classification or a conversation may choose from.
    pub(crate) health: KnownHealth,
    /// What the prompt was found to be about before, where a model would classify it.
    pub(crate) label: Option<Bytes>,
    /// On which model the conversation is, if it is known.
    pub(crate) conversation: Option<Bytes>,
}

/// The health of models by their names.
pub(crate) type KnownHealth = Vec<(Arc<str>, ModelHealth)>;

/// Why a request was not let in.
pub(crate) enum Refused {
    /// The client's error.
    Final(Error),
    /// The store did not answer.
    Down(StoreError),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Down(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Final(error) => error,
            Refused::Down(StoreError(why)) => Self::Unavailable(why),
        }
    }
}

/// Gives back what was held for a request of which nothing was dispatched.
pub(crate) async fn release(work: &Work<'_>, hold: &Hold) {
    let gateway = work.gateway;
    gateway.over_rate.forget(&hold.ask.tenant);
    let released = counters(work).release(&hold.ask, &hold.ticket, gateway.clock.now_ms()).await;
    if let Err(error) = released {
        tracing::warn!(request = %work.journal.receipt.id, %error, "a hold is not released yet");
        gateway.outage.queue(Pending::Release(Box::new(hold.ask.clone()), hold.ticket));
    }
}

/// A request's place in flight.
pub(crate) struct Place<'a> {
    counters: &'a dyn Counters,
    clock: &'a dyn Clock,
    ask: Admission,
    client: Client,
}

impl<'a> Place<'a> {
    pub(crate) fn of(work: &Work<'a>, hold: &Hold) -> Self {
        let (ask, client) = (hold.ask.clone(), work.client.clone());
        Self { counters: counters(work), clock: &*work.gateway.clock, ask, client }
    }

    /// Waits for an answer. Should the client go meanwhile, its place is free at once, though the provider may be read on.
    pub(crate) async fn freed_meanwhile<T>(self, answer: impl Future<Output = T>) -> T {
        let freed = async {
            self.client.gone().await;
            if let Err(error) = self.counters.free_place(&self.ask, self.clock.now_ms()).await {
                tracing::debug!(request = %self.ask.id, %error, "a place in flight is free only with the settlement");
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            answered = answer => answered,
            never = freed => never,
        }
    }
}

/// The counters that a request was admitted by.
pub(crate) fn counters<'a>(work: &Work<'a>) -> &'a dyn Counters {
    let gateway = work.gateway;
    if work.journal.receipt.outage { &gateway.outage.counters } else { gateway.store.counters() }
}

/// A refusal of the store as an error.
pub(crate) fn refusal_to_error(refusal: Refusal, now_ms: u64) -> Error {
    match refusal {
        Refusal::Rate { whose, kind, retry_after_ms } => Error::RateLimited { whose, kind, retry_after_ms },
        Refusal::Closed { retry_after_ms } => Error::Closed { retry_after_ms },
        Refusal::Concurrency(whose) => Error::ConcurrencyLimited { whose, retry_after_ms: CONCURRENCY_RETRY_MS },
        Refusal::Quota { quota, window: Window { key, resets_at_ms, .. } } => {
            let whose = if key.is_some() { Whose::Key } else { Whose::Tenant };
            Error::QuotaExceeded { whose, quota, resets_at_ms, resets_in_ms: resets_at_ms.saturating_sub(now_ms) }
        }
    }
}

//! Calls of models that stop, and stop billing, when they are hung up on: they end when nobody has a use for their answer.

use crate::catalog::{Model, OnClientGone};
use crate::provider::{Chunk, Chunks, ProviderError, Skipped};
use crate::receipt::{AttemptKind, AttemptOutcome};
use crate::request::client::Client;
use crate::request::work::Work;
use async_trait::async_trait;
use std::future::pending;

/// The client whose going ends a call of this model; `None` if the call goes on without it, as where its answer is kept for those
/// who come again with the same idempotency key.
pub(crate) fn ends_with(work: &Work<'_>, model: &Model, kind: AttemptKind) -> Option<Client> {
    let is_ended = model.on_client_gone == OnClientGone::Cancel && work.claim.is_none() && kind.is_for_answer();
    is_ended.then(|| work.client.clone())
}

/// Waits until a call is to be ended; for ever if it is not.
pub(crate) async fn gone(client: Option<&Client>) -> ProviderError {
    match client {
        Some(client) => client.gone().await,
        None => pending().await,
    }
    ProviderError::ended(AttemptOutcome::ClientGone, "the client has gone")
}

/// A stream that ends when its client goes.
pub(crate) struct UntilGone {
    pub(crate) chunks: Box<dyn Chunks>,
    pub(crate) client: Client,
}

#[async_trait]
impl Chunks for UntilGone {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        tokio::select! {
            biased;
            error = gone(Some(&self.client)) => Err(error),
            came = self.chunks.next() => came,
        }
    }

    fn skipped(&self) -> Skipped {
        self.chunks.skipped()
    }
}

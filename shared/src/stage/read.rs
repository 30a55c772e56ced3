//! Reads a request: whose it is, and then its body.

use crate::apart::{BODIES, apart};
use crate::error::Error;
use crate::estimate::LEAST_TOKENS;
use crate::gateway::Gateway;
use crate::limit::budget::{REQUEST_BYTES, STREAM_BYTES};
use crate::request::incoming::Incoming;
use crate::request::instructions::{CacheUse, Instructions, key_of};
use crate::request::journal::Journal;
use crate::request::work::Received;
use crate::stage::admit::rate::refuse_early;
use crate::tenant::uid_apart;
use crate::wire::format::Format;
use crate::wire::request::Request;
use std::time::Duration;
use tokio::time::Instant;

/// What is kept of the transport's time for the settlement and the last bytes: as long as a store or ledger that does not
/// answer is waited for, but no more than a quarter.
const SETTLE_TIME: Duration = Duration::from_secs(4);

/// Finds the tenant from the head alone, and only then reads the body: one without a valid key costs nothing.
pub(crate) async fn read(
    gateway: &Gateway,
    format: &'static dyn Format,
    incoming: Incoming,
    journal: &mut Journal,
) -> Result<Received, Error> {
    let limit = Duration::from_millis(gateway.config.request_deadline_ms);
    let end = incoming.time_left.map(|left| journal.started + (left - SETTLE_TIME.min(left / 4)));
    let deadline = |begun: Instant| gateway.running.deadline(end.map_or(begun + limit, |end| end.min(begun + limit)));
    let caller = gateway.authenticator.authenticate(key_of(&incoming.headers), journal.receipt.created_at_ms).await?;
    journal.receipt.tenant = caller.tenant.id.clone();
    journal.receipt.tenant_uid = uid_apart(&caller.tenant.uid);
    journal.receipt.key_last4 = caller.key_last4.clone();
    let options = Instructions::read(&incoming.headers)?;
    journal.receipt.tags = options.tags.clone();
    // One that a remembered answer may serve takes no tokens.
    let reads_cache = !matches!(options.cache, CacheUse::NoStore | CacheUse::NoCache);
    let may_hit = caller.tenant.settings.cache.enabled && reads_cache || options.idempotency_key.is_some();
    refuse_early(gateway, &caller, (!may_hit).then_some(LEAST_TOKENS), journal)?;
    let room = gateway.budget.room(&caller.tenant.uid);
    room.grow(REQUEST_BYTES)?;
    let body =
        deadline(journal.started).bound(incoming.body.read(&room)).await.map_err(|_| Error::DeadlineExceeded)??;
    // What a client takes to send its body is neither our latency nor taken from its deadline.
    journal.started = Instant::now();
    let deadline = deadline(journal.started);
    let parsed = apart(&BODIES, body.len(), move || Request::read(format, body));
    let mut request = deadline.bound(parsed).await.map_err(|_| Error::DeadlineExceeded)??;
    request.carry(&incoming.headers)?;
    let facts = &request.facts;
    room.grow(if facts.stream { STREAM_BYTES } else { 0 })?;
    journal.receipt.requested_model =
        if facts.model.is_empty() { facts.models[0].clone() } else { facts.model.clone() };
    journal.receipt.streamed = facts.stream;
    Ok(Received { caller, request, options, room, deadline })
}

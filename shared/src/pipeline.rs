//! One request, start to end. Read [`answer`]: every stage stands there in its order, and each `?` is a place where a
//! request leaves with an error.
//!
//! Before the hold stands, an early end costs nothing and counts nothing (M7). Between the hold and its settlement nothing
//! escapes: [`produce`] may fail as it likes, what it did is settled or, if nothing was dispatched, released (M2). The
//! whole runs on a task of its own, so that a client that goes away takes nothing with it: the provider is read to its
//! usage and the request is settled (M4).

use crate::apart::{BODIES, apart};
use crate::directory::authenticate::Caller;
use crate::error::Error;
use crate::estimate::LEAST_TOKENS;
use crate::gateway::Gateway;
use crate::health::Observation;
use crate::id::RequestId;
use crate::ledger::IdempotencyKey;
use crate::limit::budget::{COPIES, REQUEST_BYTES, Room, STREAM_BYTES};
use crate::money::Amounts;
use crate::request::instructions::{CacheUse, Instructions, key_of};
use crate::request::journal::Journal;
use crate::request::reply::{Answer, Reply};
use crate::routing::decide::{Decision, decide};
use crate::running::Deadline;
use crate::stage::admit::{Admitted, Hold, admit, admit_rate, refuse_early, refuse_known};
use crate::stage::attempt::{Answering, first_that_answers};
use crate::stage::claim::{answer_again, claim, finish};
use crate::stage::classify::classify;
use crate::stage::deliver::{deliver, deliver_hit};
use crate::stage::rank::candidates;
use crate::stage::settle::{Outcome, settle};
use crate::stage::upgrade::{Drained, drain, judge, manner, stronger_tier, upgrade};
use crate::tenant::uid_apart;
use crate::wire::openai::request::ChatRequest;
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A chat request as it came over HTTP.
pub struct ChatCall {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, of which nothing is read before its sender is known.
    pub body: Box<dyn RequestBody>,
    /// How long the transport will wait for the end of the answer; the configured deadline holds beside it.
    pub time_left: Option<Duration>,
}

/// A request's body on its way in.
#[async_trait]
pub trait RequestBody: Send {
    /// Reads it to its end, within `room`, of which each byte that is kept takes [`COPIES`].
    ///
    /// # Errors
    /// 503 where there is no room, and whatever is wrong with the body.
    async fn read(self: Box<Self>, room: &Room) -> Result<Bytes, Error>;
}

#[async_trait]
impl RequestBody for Bytes {
    async fn read(self: Box<Self>, room: &Room) -> Result<Bytes, Error> {
        room.grow(self.len() * COPIES)?;
        Ok(*self)
    }
}

/// What is kept of the transport's time for the settlement and the last bytes: as long as a store or ledger that does not
/// answer is waited for, but no more than a quarter.
const SETTLE_TIME: Duration = Duration::from_secs(4);

/// A request on its way: what is known of it, and what has been done.
pub(crate) struct Work<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) caller: Caller,
    pub(crate) request: ChatRequest,
    pub(crate) wants: Instructions,
    /// The memory that it may use.
    pub(crate) room: Room,
    pub(crate) deadline: Deadline,
    pub(crate) journal: Journal,
    /// What the attempts that brought an answer showed of their models; recorded with the settlement.
    pub(crate) seen: Vec<Observation>,
    /// Streams whose answers were not good enough, being read for their usage.
    pub(crate) drained: Vec<Drained>,
    /// What a call that is still running may use beside the next one.
    pub(crate) running: Amounts,
    /// The idempotency key that it has claimed, and the id by which.
    pub(crate) claim: Option<(IdempotencyKey, RequestId)>,
}

/// An answer that is ready to be delivered.
pub(crate) struct Produced {
    pub(crate) answering: Answering,
    /// Why it is not good enough, where it is sent for want of a better one.
    pub(crate) doubt: Option<String>,
}

impl Gateway {
    /// Serves a chat completion.
    pub async fn chat(self: &Arc<Self>, call: ChatCall) -> Answer {
        let journal = Journal::open(self.clock.now_ms());
        let (reply, answer) = Reply::new();
        let (gateway, counted) = (self.clone(), self.running.begin());
        // The request outlives its client: whoever disconnects still pays for what the provider bills (M4). Under Lambda
        // the process lives on until the answer's last byte, which this task sends.
        // Boxed, because what is spawned is moved some nine times, and this is several kilobytes.
        #[allow(clippy::disallowed_methods)]
        tokio::spawn(Box::pin(async move {
            // From before it begins: a client may leave as soon as it has sent its last byte.
            let _counted = counted;
            serve(&gateway, call, journal, reply).await;
        }));
        answer.await.unwrap_or_else(|_| Answer::of_error(&Error::Internal("a request ended without an answer".into())))
    }
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        gateway: &'a Gateway,
        Asked { caller, request, wants, room, deadline }: Asked,
        mut journal: Journal,
    ) -> Self {
        if caller.is_stale {
            journal.degrade("directory");
        }
        let (seen, drained, claim) = (Vec::new(), Vec::new(), None);
        let running = Amounts::default();
        Self { gateway, caller, request, wants, room, deadline, journal, seen, drained, running, claim }
    }

    /// Milliseconds to the deadline.
    pub(crate) fn left_ms(&self) -> u64 {
        u64::try_from(self.deadline.left().as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes a decision into the journal.
    pub(crate) fn note(&mut self, decision: &Decision) {
        self.journal.tier = decision.tier.as_ref().map(|tier| tier.name.clone());
        self.journal.intent.clone_from(&decision.intent);
        self.journal.difficulty = decision.difficulty;
    }
}

async fn serve(gateway: &Gateway, call: ChatCall, mut journal: Journal, mut reply: Reply) {
    let asked = match read(gateway, call, &mut journal).await {
        Ok(asked) => asked,
        Err(error) => return refuse(gateway, &mut journal, &mut reply, error),
    };
    let mut work = Work::new(gateway, asked, journal);
    if let Err(error) = answer(&mut work, &mut reply).await {
        finish(&work, None).await;
        gateway.write_lost(&work.caller.tenant.uid).await;
        refuse(gateway, &mut work.journal, &mut reply, error);
    }
}

/// Who asks, and for what.
pub(crate) struct Asked {
    caller: Caller,
    request: ChatRequest,
    wants: Instructions,
    room: Room,
    deadline: Deadline,
}

/// Finds out who asks, from the head alone, and only then reads for what: a body without a valid key costs nothing.
pub(crate) async fn read(gateway: &Gateway, call: ChatCall, journal: &mut Journal) -> Result<Asked, Error> {
    let limit = Duration::from_millis(gateway.config.request_deadline_ms);
    let end = call.time_left.map(|left| journal.started + (left - SETTLE_TIME.min(left / 4)));
    let deadline = |begun: Instant| gateway.running.deadline(end.map_or(begun + limit, |end| end.min(begun + limit)));
    let caller = gateway.authenticator.authenticate(key_of(&call.headers), journal.created_at_ms).await?;
    journal.tenant = caller.tenant.id.clone();
    journal.tenant_uid = uid_apart(&caller.tenant.uid);
    journal.key_last4 = caller.key_last4.clone();
    let wants = Instructions::read(&call.headers)?;
    journal.tags = wants.tags.clone();
    // One that a remembered answer may serve takes no tokens.
    let reads_cache = !matches!(wants.cache, CacheUse::NoStore | CacheUse::NoCache);
    let may_hit = caller.tenant.settings.cache.enabled && reads_cache || wants.idempotency_key.is_some();
    refuse_early(gateway, &caller, (!may_hit).then_some(LEAST_TOKENS), journal)?;
    let room = gateway.budget.room(&caller.tenant.uid);
    room.grow(REQUEST_BYTES)?;
    let body = deadline(journal.started).bound(call.body.read(&room)).await.map_err(|_| Error::DeadlineExceeded)??;
    // What a client takes to send its body is neither our latency nor taken from its deadline.
    journal.started = Instant::now();
    let deadline = deadline(journal.started);
    let parsed = apart(&BODIES, body.len(), move || ChatRequest::parse(body));
    let request = deadline.bound(parsed).await.map_err(|_| Error::DeadlineExceeded)??;
    room.grow(if request.stream { STREAM_BYTES } else { 0 })?;
    journal.requested_model = if request.model.is_empty() { request.models[0].clone() } else { request.model.clone() };
    journal.streamed = request.stream;
    Ok(Asked { caller, request, wants, room, deadline })
}

/// The way of a request.
async fn answer(work: &mut Work<'_>, reply: &mut Reply) -> Result<(), Error> {
    let mut decision = decide(&work.gateway.config, &work.gateway.intents, &work.caller, &work.request).await?;
    work.note(&decision);
    refuse_known(work)?;
    if let Some(kept) = claim(work).await? {
        // What was answered once is limited by the rates like any request, and by what the key may do now.
        admit_rate(work, &mut decision).await?;
        return answer_again(work, kept, reply);
    }
    let mut hold = match admit(work, &mut decision).await? {
        Admitted::Hit(remembered) => {
            deliver_hit(work, remembered, reply).await;
            return Ok(());
        }
        Admitted::Held(hold) => hold,
    };
    // From here to the settlement there is no way out.
    work.gateway.count_for_retries();
    let outcome = match produce(work, &mut decision, &mut hold).await {
        Ok(produced) => deliver(work, &hold, produced, reply).await,
        Err(error) => Outcome::failed(error),
    };
    drain(work).await;
    settle(work, hold, outcome, reply).await;
    Ok(())
}

/// Brings about an answer: classify, rank, attempt, judge, upgrade.
async fn produce(work: &mut Work<'_>, decision: &mut Decision, hold: &mut Hold) -> Result<Produced, Error> {
    if decision.unsure {
        classify(work, decision, hold).await;
    }
    let candidates = candidates(work, decision, std::mem::take(&mut hold.health)).await;
    let stronger = stronger_tier(work, decision);
    let manner = manner(work, stronger.is_some());
    let answering = first_that_answers(work, hold, &candidates, manner).await?;
    let Some(stronger) = stronger else { return Ok(Produced { answering, doubt: None }) };
    match judge(work, &answering) {
        None => Ok(Produced { answering, doubt: None }),
        Some(doubt) => Ok(upgrade(work, decision, hold, &stronger, answering, doubt).await),
    }
}

/// Tells the client no. Nothing was held any more; what the gateway itself refuses counts nothing (M7).
pub(crate) fn refuse(gateway: &Gateway, journal: &mut Journal, reply: &mut Reply, error: Error) {
    if let Error::Internal(why) | Error::Unavailable(why) = &error {
        tracing::error!(request = %journal.id, why, "a request could not be served");
    }
    if matches!(error, Error::Overloaded) && gateway.budget.is_to_be_told(gateway.clock.now_ms()) {
        let (taken_bytes, most_bytes) = (gateway.budget.taken().0, gateway.budget.most());
        tracing::warn!(tenant = %journal.tenant, taken_bytes, most_bytes, "no memory is left for a request; see [server] memory_bytes");
    }
    gateway.metrics.refused();
    reply.error(journal, &error);
}

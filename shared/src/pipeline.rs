//! One request, start to end. Read [`answer`]: every stage stands there in its order, and each `?` is a place where a
//! request leaves with an error.
//!
//! Before the hold stands, an early end costs nothing and counts nothing (M7). Between the hold and its settlement nothing
//! escapes: [`produce`] may fail as it likes, what it did is settled or, if nothing was dispatched, released (M2). The
//! whole runs on a task of its own, so that a client that goes away takes nothing with it: the provider is read to its
//! usage and the request is settled (M4).
//!
//! ```text
//! Incoming ── read ──▶ Work ── recall, decide ──▶ Decision ── claim ──▶ (an answer given before: the end)
//!                                            │ ▲
//!                                      admit │ │ stale: the tenant's settings have changed
//!                                            ▼ │
//!              Remembered (a hit: the end) ◀─ Admitted ──▶ Hold
//!                                                           │ embed (own intents), classify (unsure), stay, rank
//!                                                           ▼
//!                              Candidates ── attempts ──▶ Winner ── judge, upgrade ──▶ Produced
//!                                                                                        │ deliver
//!                          the last byte ◀── Receipt, Settlement ◀── settle ── Outcome ◀─┘
//! ```

use crate::error::Error;
use crate::gateway::Gateway;
use crate::request::client::{Client, client};
use crate::request::incoming::Incoming;
use crate::request::journal::Journal;
use crate::request::reply::{Answer, AnswerBody, EarlyHead, Reply};
use crate::request::work::Work;
use crate::routing::decide::{Decision, decide};
use crate::stage::admit::admitting::Admitting;
use crate::stage::admit::hold::{Hold, Place};
use crate::stage::admit::rate::{admit_rate, refuse_known};
use crate::stage::admit::{Admitted, admit};
use crate::stage::attempt::aside::drain;
use crate::stage::attempt::call::Produced;
use crate::stage::attempt::first_that_answers;
use crate::stage::claim::{answer_again, claim, finish};
use crate::stage::classify::classify;
use crate::stage::deliver::{deliver, deliver_hit, last_byte, refuse};
use crate::stage::embed::embed;
use crate::stage::read::read;
use crate::stage::recall::recall;
use crate::stage::settle::{Outcome, settle};
use crate::stage::stay::stay_and_rank;
use crate::stage::upgrade::{first_call_options, stronger_tier, unreliable, upgrade};
use crate::tenant::Whose;
use crate::wire::format::Format;
use std::pin::pin;
use std::sync::Arc;

/// Serves a request that is in this format on a task of its own.
pub(crate) async fn run(gateway: &Arc<Gateway>, format: &'static dyn Format, incoming: Incoming) -> Answer {
    let journal = Journal::open(gateway.clock.now_ms());
    let (reply, answer) = Reply::new(format.writer(journal.receipt.id));
    let (present, client) = client();
    let (gateway, counted) = (gateway.clone(), gateway.running.begin());
    // The request outlives its client: whoever disconnects still pays for what the provider bills (M4). Under Lambda
    // the process lives on until the answer's last byte, which this task sends.
    // Boxed, because what is spawned is moved some nine times, and this is several kilobytes.
    #[allow(clippy::disallowed_methods)]
    tokio::spawn(Box::pin(async move {
        // From before it begins: a client may leave as soon as it has sent its last byte.
        let _counted = counted;
        serve(&gateway, format, incoming, journal, reply, client).await;
    }));
    let mut answer = answer.await.unwrap_or_else(|_| {
        let http = Error::Internal("a request ended without an answer".into()).to_http();
        Answer::of_error(&http, format.error(&http, None))
    });
    if let AnswerBody::Stream(events) = &mut answer.body {
        events.taken_by(present);
    }
    answer
}

async fn serve(
    gateway: &Gateway,
    format: &'static dyn Format,
    incoming: Incoming,
    mut journal: Journal,
    mut reply: Reply,
    client: Client,
) {
    let received = match read(gateway, format, incoming, &mut journal).await {
        Ok(received) => received,
        Err(error) => return refuse(gateway, &mut journal, &mut reply, error),
    };
    let mut work = Work { client, ..Work::new(gateway, received, journal) };
    if let Err(error) = answer(&mut work, &mut reply).await {
        finish(&work, None).await;
        if let Error::QuotaExceeded { whose: Whose::Tenant, quota, .. } = &error {
            gateway.alerting.note_refusal(&work.caller.tenant, *quota, gateway.clock.now_ms());
        }
        gateway.record_expired_holds(&work.caller.tenant.uid).await;
        refuse(gateway, &mut work.journal, &mut reply, error);
    }
}

/// The way of a request.
async fn answer(work: &mut Work<'_>, reply: &mut Reply) -> Result<(), Error> {
    recall(work).await?;
    let mut decision = decided(work).await?;
    refuse_known(work)?;
    let mut admitting = Admitting::new(work.gateway, work.journal.receipt.id);
    if let Some(kept) = claim(work).await? {
        // What was answered once is limited by the rates like any request, and by what the key may do now.
        while admit_rate(work, &decision, &mut admitting).await?.is_stale() {
            decision = decided(work).await?;
        }
        return answer_again(work, kept, reply);
    }
    let mut hold = loop {
        match admit(work, &mut decision, &mut admitting).await? {
            Admitted::Hit(remembered) => {
                deliver_hit(work, remembered, reply).await;
                return Ok(());
            }
            Admitted::Held(hold) => break hold,
            // With its settings, what a tenant may use has changed (T2).
            Admitted::Stale => decision = decided(work).await?,
        }
    };
    // From here to the settlement there is no way out.
    work.gateway.count_for_retries();
    let place = Place::of(work, &hold);
    // Pinned where it is: a future of this size is not to be moved from hand to hand.
    let outcome = place.freed_meanwhile(pin!(respond(work, &mut decision, &mut hold, reply))).await;
    settle(work, &decision, hold, &outcome, reply).await;
    // A client that has read the last byte finds all of it counted.
    last_byte(work, outcome, reply);
    Ok(())
}

/// Decides which models may serve a request, and writes that down.
async fn decided(work: &mut Work<'_>) -> Result<Decision, Error> {
    let decision = decide(&work.gateway.config, &work.gateway.intents, &work.caller, &work.request)?;
    work.note(&decision);
    Ok(decision)
}

/// Brings about an answer and sends it: a stream now, a whole one once it is settled.
async fn respond(work: &mut Work<'_>, decision: &mut Decision, hold: &mut Hold, reply: &mut Reply) -> Outcome {
    let early = EarlyHead::of(work);
    let produced = reply.begin_meanwhile(early, pin!(produce(work, decision, hold))).await;
    match produced {
        Ok(mut produced) => {
            let set_aside = produced.set_aside.take();
            let outcome = deliver(work, hold, produced, reply).await;
            drain(work, set_aside).await;
            outcome
        }
        Err(error) => Outcome::failed(error),
    }
}

/// Brings about an answer: embed, classify, stay, rank, attempt, judge, upgrade.
async fn produce(work: &mut Work<'_>, decision: &mut Decision, hold: &mut Hold) -> Result<Produced, Error> {
    if !decision.to_embed.is_empty() {
        embed(work, decision, hold).await;
    }
    // What few requests need is on the heap, so that the futures of the others have no room for it.
    if decision.unsure {
        Box::pin(classify(work, decision, hold)).await;
    }
    let candidates = stay_and_rank(work, decision, hold).await;
    let stronger = stronger_tier(work, decision);
    let options = first_call_options(work, stronger.is_some());
    let winner = first_that_answers(work, hold, &candidates, options).await?;
    let first = Produced::good(winner, &candidates);
    let Some(stronger) = stronger else { return Ok(first) };
    match unreliable(work, decision, &first.winner) {
        None => Ok(first),
        Some(doubt) => Ok(Box::pin(upgrade(work, decision, hold, &stronger, first, doubt)).await),
    }
}

//! What an admission looks for in the cache: the request's own answer, or that of an earlier one that asks the same.
//!
//! The latter takes two tries. The first looks for the own answer and reads the notes beside it; if there is no such answer,
//! and a note is near enough, its hold is given back while the second try looks for that answer. So a hit by meaning is
//! admitted and counted by the store as any other hit (M7), also where the quotas have no room left for a call.

use crate::id::RequestId;
use crate::receipt::CacheStatus;
use crate::request::instructions::CacheUse;
use crate::request::work::Work;
use crate::routing::decide::Decision;
use crate::stage::admit::admitting::Admitting;
use crate::stage::admit::alike::{Alike, Neighbour};
use crate::stage::admit::ask::{AdmissionReply, ask};
use crate::stage::admit::hold::{Hold, Refused, release};
use crate::stage::admit::key::cache_key;
use crate::store::{CacheKey, Refusal, Verdict};
use crate::tenant::{Quota, RateKind};

/// What is looked for with one try.
pub(crate) struct Sought {
    /// Where the own answer is or may be remembered.
    pub(crate) key: Option<CacheKey>,
    /// Where the request stands among those that differ in the prompt alone.
    pub(crate) alike: Option<Alike>,
    /// The earlier request whose answer is looked for in place of the own.
    pub(crate) near: Option<Neighbour>,
    reads: bool,
    reads_notes: bool,
}

impl Sought {
    pub(crate) fn of(work: &Work<'_>, admitting: &mut Admitting<'_>) -> Self {
        let (key, near) = (cache_key(work), admitting.near.take());
        let alike = key.as_ref().and_then(|_| Alike::of(work));
        let is_wanted = matches!(work.options.cache, CacheUse::Default | CacheUse::OnlyIfCached);
        let reads = is_wanted && admitting.is_readable;
        let reads_notes = reads && near.is_none() && admitting.may_retry();
        Self { key, alike, near, reads, reads_notes }
    }

    /// What is said of the cache where nothing is found.
    pub(crate) fn status(&self, used: CacheUse) -> CacheStatus {
        let is_wanted = matches!(used, CacheUse::Default | CacheUse::OnlyIfCached);
        if self.key.is_some() && is_wanted { CacheStatus::Miss } else { CacheStatus::Bypass }
    }

    /// Asks for admission and for what is sought; what an earlier try held is given back first, in the same wait.
    pub(crate) async fn ask(
        &self,
        work: &Work<'_>,
        decision: &Decision,
        admitting: &mut Admitting<'_>,
        now_ms: u64,
    ) -> Result<(Verdict, AdmissionReply), Refused> {
        let answer = self.near.as_ref().map(|near| &near.key).or(self.key.as_ref()).filter(|_| self.reads);
        let group = self.alike.as_ref().map(|alike| &alike.group).filter(|_| self.reads_notes);
        let set_aside = admitting.set_aside.take();
        let give_back = async {
            if let Some(hold) = &set_aside {
                release(work, hold).await;
            }
        };
        let asking = ask(work, decision, answer, group, &mut admitting.ticket, now_ms);
        let ((), asked) = tokio::join!(biased; give_back, asking);
        let (verdict, reply) = asked.map_err(|(ask, error)| {
            admitting.note(&ask);
            error
        })?;
        admitting.note(&reply.ask);
        Ok((verdict, reply))
    }

    /// The earlier request whose answer serves this one, if there is one and the next try may look for it.
    pub(crate) fn found(&self, verdict: &Verdict, reply: &AdmissionReply) -> Option<Neighbour> {
        let may_be_hit = match verdict {
            Verdict::Admitted { .. } => reply.remembered.is_none(),
            // What refuses a call need not refuse a hit.
            Verdict::Refused { refusal, .. } => match refusal {
                Refusal::Rate { kind, .. } => *kind == RateKind::Tokens,
                Refusal::Concurrency(_) => true,
                Refusal::Quota { quota, .. } => *quota != Quota::DailyRequests,
                Refusal::Closed { .. } => false,
            },
            Verdict::Stale { .. } => false,
        };
        self.alike.as_ref().filter(|_| may_be_hit)?.nearest(self.key.as_ref(), &reply.notes)
    }
}

/// Prepares the try that looks for that answer. A copy of what was sent may still arrive: what follows is another request.
pub(crate) fn look_there(
    work: &mut Work<'_>,
    (verdict, reply): (Verdict, AdmissionReply),
    near: Neighbour,
    admitting: &mut Admitting<'_>,
    now_ms: u64,
) {
    if let Verdict::Admitted { held, .. } = verdict {
        let (ticket, health) = (admitting.let_in(), Vec::new());
        let hold = Hold {
            ask: reply.ask,
            held,
            ticket,
            cache_key: None,
            alike: None,
            health,
            label: None,
            conversation: None,
        };
        admitting.set_aside = Some(hold);
    }
    work.journal.receipt.id = RequestId::new(now_ms);
    admitting.begin_anew(work.journal.receipt.id);
    admitting.near = Some(near);
}

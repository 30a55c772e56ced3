//! What a retried admission has to remember of the tries before.

use crate::error::Error;
use crate::gateway::Gateway;
use crate::gateway::outage::Pending;
use crate::id::RequestId;
use crate::limit::window::Window;
use crate::stage::admit::alike::Neighbour;
use crate::stage::admit::hold::Hold;
use crate::store::{Admission, Ticket};

/// How often an admission is tried: again where the settings or the windows have changed.
const TRIES: usize = 4;

/// The tries of one admission.
pub(crate) struct Admitting<'a> {
    gateway: &'a Gateway,
    tries: usize,
    /// Whether a remembered answer can be read; what another version wrote cannot.
    pub(crate) is_readable: bool,
    /// An earlier request that asks the same: its answer is looked for next.
    pub(crate) near: Option<Neighbour>,
    /// What was held before that was found; to be given back with the next try.
    pub(crate) set_aside: Option<Hold>,
    /// Whether what does not fit the quotas was left out already.
    pub(crate) has_left_out: bool,
    /// The windows of a strict tenant that were found missing before, in which incarnation.
    pub(crate) waited_for: Vec<(Window, u64)>,
    /// What the store knows of the request's admissions.
    pub(crate) ticket: Ticket,
    /// The latest of them, if a copy may still arrive: it would then hold what nobody knows of.
    in_doubt: Option<Box<Admission>>,
}

impl<'a> Admitting<'a> {
    pub(crate) fn new(gateway: &'a Gateway, id: RequestId) -> Self {
        Self {
            gateway,
            tries: 0,
            is_readable: true,
            near: None,
            set_aside: None,
            has_left_out: false,
            waited_for: Vec::new(),
            ticket: Ticket::new(id),
            in_doubt: None,
        }
    }

    /// Whether nothing was sent yet.
    pub(crate) fn is_first(&self) -> bool {
        self.tries == 0
    }

    /// Whether another try may follow.
    pub(crate) fn may_retry(&self) -> bool {
        self.tries < TRIES
    }

    /// Takes one of the tries.
    pub(crate) fn has_try_left(&mut self) -> bool {
        self.tries += 1;
        self.tries <= TRIES
    }

    /// Keeps what was sent, if a copy of it may still arrive.
    pub(crate) fn note(&mut self, ask: &Admission) {
        self.in_doubt = self.ticket.is_doubtful().then(|| Box::new(ask.clone()));
    }

    /// The request was admitted: what ends it has the ticket.
    pub(crate) fn let_in(&mut self) -> Ticket {
        self.in_doubt = None;
        self.ticket
    }

    /// What follows is another request.
    pub(crate) fn begin_anew(&mut self, id: RequestId) {
        self.give_back();
        self.ticket = Ticket::new(id);
    }

    /// Sees to it that an admission in doubt is released when the store is there; answers whether there was one. See ADR 10.
    pub(crate) fn give_back(&mut self) -> bool {
        let Some(ask) = self.in_doubt.take() else { return false };
        self.gateway.outage.queue(Pending::Release(ask, self.ticket));
        true
    }
}

impl Drop for Admitting<'_> {
    /// However a request leaves that was not let in.
    fn drop(&mut self) {
        self.give_back();
    }
}

pub(crate) fn stale_at_each_try() -> Error {
    Error::Unavailable("at each try the tenant's settings had changed, or the store was lost".into())
}

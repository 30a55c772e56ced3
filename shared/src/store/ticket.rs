//! What the store remembers of one request's admissions, outside of the store. See ADR 10.

use crate::id::RequestId;

/// Whether a copy of a request's admission may still arrive, and in which incarnation of the tenant's counters it was let in.
///
/// Opaque: it is made for a request, passed to each of its admissions, and to what ends it. A request that goes on
/// under another id has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    id: RequestId,
    incarnation: Option<u64>,
    in_doubt: bool,
}

impl Ticket {
    /// That of a request of which no admission was sent.
    pub fn new(id: RequestId) -> Self {
        Self { id, incarnation: None, in_doubt: false }
    }

    /// The request.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Notes that an admission was sent twice, or not answered: a copy of it may arrive after whatever comes next.
    pub fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// Whether a copy of an admission may still arrive. It would then hold what nobody knows of: such a request is
    /// released if it fails.
    pub fn is_doubtful(&self) -> bool {
        self.in_doubt
    }

    /// Notes that it was let in, in this incarnation of the tenant's counters.
    pub fn admitted_in(&mut self, incarnation: Option<u64>) {
        self.incarnation = incarnation;
    }

    /// The incarnation that the end of the request may name: where its hold is not there any more, it was ended before. Not
    /// while a copy of the admission may still arrive.
    pub fn incarnation(&self) -> Option<u64> {
        self.incarnation.filter(|_| !self.in_doubt)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_was_in_doubt_once_names_no_incarnation_any_more() {
        let mut ticket = Ticket::new(RequestId::new(1));
        assert_eq!((ticket.incarnation(), ticket.is_doubtful()), (None, false));
        ticket.admitted_in(Some(7));
        assert_eq!((ticket.incarnation(), ticket.is_doubtful()), (Some(7), false));
        ticket.doubt();
        ticket.admitted_in(Some(7));
        assert_eq!((ticket.incarnation(), ticket.is_doubtful()), (None, true));
    }
}

//! What an admission that is asked again has to remember of the times before.

use crate::error::Error;
use crate::gateway::Gateway;
use crate::gateway::outage::Owed;
use crate::limit::window::Window;
use crate::store::Admission;

/// How often an admission whose truth has changed is asked again.
const TRIES: usize = 4;

/// An admission that is being asked for.
pub(crate) struct Admitting<'a> {
    gateway: &'a Gateway,
    tries: usize,
    /// Whether a remembered answer can be read; what another version wrote cannot.
    pub(crate) is_readable: bool,
    /// Whether what does not fit the quotas was left out already.
    pub(crate) has_left_out: bool,
    /// The windows of a strict tenant that were found missing before, in which epoch.
    pub(crate) waited_for: Vec<(Window, u64)>,
    /// What may yet be heard, and would then hold what nobody knows of.
    pub(crate) unheard: Option<Box<Admission>>,
}

impl<'a> Admitting<'a> {
    pub(crate) fn new(gateway: &'a Gateway) -> Self {
        Self { gateway, tries: 0, is_readable: true, has_left_out: false, waited_for: Vec::new(), unheard: None }
    }

    /// Whether nothing was asked yet.
    pub(crate) fn is_first(&self) -> bool {
        self.tries == 0
    }

    /// Takes one of the tries.
    pub(crate) fn has_try_left(&mut self) -> bool {
        self.tries += 1;
        self.tries <= TRIES
    }

    /// Sees to it that what may yet be heard is released when the store is there.
    pub(crate) fn give_back(&mut self) {
        self.unheard.take().into_iter().for_each(|ask| self.gateway.outage.owe(Owed::Release(ask)));
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

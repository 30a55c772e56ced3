//! A request on its way through the stages.

use crate::directory::authenticate::Caller;
use crate::estimate::Span;
use crate::gateway::Gateway;
use crate::health::Observation;
use crate::id::RequestId;
use crate::ledger::IdempotencyKey;
use crate::limit::budget::Room;
use crate::money::Amounts;
use crate::request::client::Client;
use crate::request::instructions::Instructions;
use crate::request::journal::Journal;
use crate::routing::decide::Decision;
use crate::running::Deadline;
use crate::wire::request::Request;
use bytes::Bytes;

/// How long after its deadline a hold expires.
pub(crate) const LEASE_AFTER_DEADLINE_MS: u64 = 60_000;

/// A request as received, and its caller.
pub(crate) struct Received {
    pub(crate) caller: Caller,
    pub(crate) request: Request,
    pub(crate) options: Instructions,
    pub(crate) room: Room,
    pub(crate) deadline: Deadline,
}

/// What a prompt was found to be about: the name of an intent, or nothing, and for how long that is remembered.
pub(crate) struct Label {
    pub(crate) name: Bytes,
    pub(crate) ttl_ms: u64,
}

/// A request on its way: what is known of it, and what has been done.
pub(crate) struct Work<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) caller: Caller,
    pub(crate) request: Request,
    pub(crate) options: Instructions,
    /// The memory that it may use.
    pub(crate) room: Room,
    pub(crate) deadline: Deadline,
    pub(crate) journal: Journal,
    /// What the attempts that brought an answer showed of their models; recorded with the settlement.
    pub(crate) observations: Vec<Observation>,
    /// What a call that is still running may use beside the next one.
    pub(crate) running: Amounts,
    /// What it was newly found to be about, to be remembered with the settlement.
    pub(crate) label: Option<Label>,
    /// How many turns in a row, this one included, were for a weaker tier than the conversation's.
    pub(crate) easier_turns: u64,
    /// How the calls of its answer are signed: each one's id, and the model with the signature.
    pub(crate) signatures: Vec<(String, String)>,
    /// The idempotency key that it has claimed, and the id by which.
    pub(crate) claim: Option<(IdempotencyKey, RequestId)>,
    /// Who waits for its answer.
    pub(crate) client: Client,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        gateway: &'a Gateway,
        Received { caller, request, options, room, deadline }: Received,
        mut journal: Journal,
    ) -> Self {
        if caller.is_stale {
            journal.degrade("directory");
        }
        let (observations, running) = (Vec::new(), Amounts::default());
        Self {
            gateway,
            caller,
            request,
            options,
            room,
            deadline,
            journal,
            observations,
            running,
            label: None,
            easier_turns: 0,
            signatures: Vec::new(),
            claim: None,
            client: Client::default(),
        }
    }

    /// Whether nobody has a use for its answer: its client has gone, and it is not kept for one that comes again.
    pub(crate) fn is_for_nobody(&self) -> bool {
        self.claim.is_none() && self.client.is_gone()
    }

    /// Milliseconds to the deadline.
    pub(crate) fn left_ms(&self) -> u64 {
        u64::try_from(self.deadline.left().as_millis()).unwrap_or(u64::MAX)
    }

    /// When its hold or its claim expires if nobody ends it, in Unix milliseconds.
    pub(crate) fn lease_until_ms(&self, now_ms: u64) -> u64 {
        now_ms + self.left_ms() + LEASE_AFTER_DEADLINE_MS
    }

    /// The time in which a call may be made and billed.
    pub(crate) fn span(&self, now_ms: u64) -> Span {
        Span { from_ms: now_ms, until_ms: self.lease_until_ms(now_ms) }
    }

    /// Writes a decision into the journal.
    pub(crate) fn note(&mut self, decision: &Decision) {
        self.journal.receipt.tier = decision.tier.as_ref().map(|tier| tier.name.clone());
        self.journal.receipt.intent.clone_from(&decision.intent);
        self.journal.receipt.difficulty = decision.difficulty;
        self.journal.receipt.set_scores(&decision.scores);
        // With two tiers the difficulty says it all.
        self.journal.receipt.needs = if decision.needs.len() > 1 { decision.needs.clone() } else { Vec::new() };
        self.journal.receipt.quality = decision.difficulty.map(|_| self.caller.tenant.settings.quality);
    }
}

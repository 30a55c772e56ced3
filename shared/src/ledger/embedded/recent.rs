//! The ids of the last receipts, so that one that is sent twice counts once (M2) without a look at the log.
//!
//! Two kinds of duplicates exist. A settle that is retried, or two tasks that settle the same request, send a receipt
//! again within seconds: its id is remembered here. A replay of the structured log sends receipts of hours or days ago:
//! those are looked for in the log. Which of the two it is, time decides: an id that is younger than every id that was
//! ever forgotten here cannot have been forgotten. So the answer is exact, and only requests that take longer than the
//! last 65,536 did to come in pay for a look-up.
//!
//! Two generations are kept and the older one is dropped whole: a ring and a set would do the same with twice the code.

use crate::id::RequestId;
use std::collections::HashSet;

/// The ids of one generation, by their 64 random bits: half the memory, and as unlikely to collide as the ids are.
#[derive(Debug)]
struct Generation {
    draws: HashSet<u64>,
    last_ms: u64,
}

/// At least the last `size` and at most twice as many ids.
#[derive(Debug)]
pub(super) struct Recent {
    size: usize,
    young: Generation,
    old: Generation,
    forgotten_until_ms: u64,
    dropped: u64,
}

impl Recent {
    /// Remembers `size` ids or more; ids up to `forgotten_until_ms` may have been recorded before.
    pub(super) fn new(size: usize, forgotten_until_ms: u64) -> Self {
        // Made whole at once, so that no request pays for the growth.
        let generation = || Generation { draws: HashSet::with_capacity(size), last_ms: 0 };
        Self { size, young: generation(), old: generation(), forgotten_until_ms, dropped: 0 }
    }

    /// Remembers an id.
    pub(super) fn insert(&mut self, id: RequestId) {
        if self.young.draws.len() >= self.size {
            std::mem::swap(&mut self.young, &mut self.old);
            self.forgotten_until_ms = self.forgotten_until_ms.max(self.young.last_ms);
            self.young.draws.clear();
            self.young.last_ms = 0;
            self.dropped += 1;
        }
        self.young.draws.insert(id.draw());
        self.young.last_ms = self.young.last_ms.max(id.created_at_ms());
    }

    /// Whether this id is remembered.
    pub(super) fn contains(&self, id: RequestId) -> bool {
        self.young.draws.contains(&id.draw()) || self.old.draws.contains(&id.draw())
    }

    /// Whether this id, if it is not remembered, may have been forgotten.
    pub(super) fn may_have_forgotten(&self, id: RequestId) -> bool {
        id.created_at_ms() <= self.forgotten_until_ms
    }

    /// How many generations were dropped. An id that was inserted is remembered at least until this has grown by two.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

//! One budget of memory for all bodies and answers in flight (B2).
//!
//! Whatever comes from outside is given room before it is kept: request bodies as their bytes come, the copies that go
//! upstream, answers while they are read and until the client has them. Room grows with what has come, not with what was
//! announced: a body that is announced and never sent takes none from others. Where there is no room left the request is
//! answered 503 with `retry-after`, and nothing is held or charged for it.
//!
//! One tenant cannot take it all (T5). The rule is that of shared-memory switches: a tenant may hold as much as is free
//! besides. Alone it gets half of the budget; beside `n` others that take all they can, each gets `1 / (n + 1)`, and as
//! much stays free for whoever comes next. It needs no list of tenants, no reservation, and adapts with every byte. Fixed
//! shares were rejected: half each lets two tenants take everything, and a share for all of a thousand tenants is none.
//!
//! What is counted is bounded from above where it is not worth counting: a body counts [`COPIES`] times. The rest of the
//! process (code, caches, tasks, sockets' buffers) is outside of it; it does not grow with what a caller sends.
//!
//! # Source
//! Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998, with α = 1.

use crate::error::Error;
use crate::locking::lock;
use crate::request::events::WINDOW_BYTES;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// How often a byte that came may be in memory: as it came, in the copy that goes on, and in the texts read from it.
pub const COPIES: usize = 3;
/// What a request takes beside its bytes: its task, journal and headers.
pub const REQUEST_BYTES: usize = 16 << 10;
/// What a stream takes beside its request: what waits for the client, and as much again in the buffers of its connection.
pub const STREAM_BYTES: usize = 2 * WINDOW_BYTES as usize;
/// How often it is logged that there was no room.
const WARN_EVERY_MS: u64 = 60_000;

/// The budget of one process.
#[derive(Debug)]
pub struct Budget {
    max_bytes: usize,
    state: Mutex<State>,
    warned_at_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// The most that was taken at any time.
    peak: usize,
    tenants: HashMap<Arc<str>, usize>,
}

/// There is no room left, or no more for this tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory is left for this")]
pub struct Full;

impl From<Full> for Error {
    fn from(_: Full) -> Self {
        Self::Overloaded
    }
}

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
            state: Mutex::default(),
            warned_at_ms: AtomicU64::new(0),
        })
    }

    /// Room for one request of a tenant; empty yet, and given back when its last clone is dropped.
    #[must_use]
    pub fn room(self: &Arc<Self>, tenant: &Arc<str>) -> Room {
        Room(Arc::new(Held { budget: self.clone(), tenant: tenant.clone(), bytes: AtomicUsize::new(0) }))
    }

    /// All of it, in bytes.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// What is taken now, and the most that was at any time, in bytes.
    #[must_use]
    pub fn taken(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.taken, state.peak)
    }

    /// Whether it is time to warn the operator that there was no room.
    pub(crate) fn should_warn(&self, now_ms: u64) -> bool {
        let warned_at_ms = self.warned_at_ms.load(Relaxed);
        now_ms.abs_diff(warned_at_ms) >= WARN_EVERY_MS
            && self.warned_at_ms.compare_exchange(warned_at_ms, now_ms, Relaxed, Relaxed).is_ok()
    }

    fn take(&self, tenant: &Arc<str>, bytes: usize) -> Result<(), Full> {
        let mut state = lock(&self.state);
        let taken = state.taken.saturating_add(bytes);
        let own = state.tenants.get(tenant).copied().unwrap_or(0).saturating_add(bytes);
        if taken > self.max_bytes || own > self.max_bytes - taken {
            return Err(Full);
        }
        state.taken = taken;
        state.peak = state.peak.max(taken);
        match state.tenants.get_mut(tenant) {
            Some(held) => *held = own,
            None => drop(state.tenants.insert(tenant.clone(), own)),
        }
        Ok(())
    }

    fn give_back(&self, tenant: &Arc<str>, bytes: usize) {
        let mut state = lock(&self.state);
        state.taken = state.taken.saturating_sub(bytes);
        let Some(own) = state.tenants.get_mut(tenant) else { return };
        *own = own.saturating_sub(bytes);
        if *own == 0 {
            state.tenants.remove(tenant);
        }
    }
}

/// What one request holds of the budget. Clones share it.
#[derive(Debug, Clone)]
pub struct Room(Arc<Held>);

#[derive(Debug)]
struct Held {
    budget: Arc<Budget>,
    tenant: Arc<str>,
    bytes: AtomicUsize,
}

impl Room {
    /// Takes this many bytes more.
    ///
    /// # Errors
    /// If they are not left, or not for this tenant. What was taken before stays taken.
    pub fn grow(&self, bytes: usize) -> Result<(), Full> {
        if bytes > 0 {
            self.0.budget.take(&self.0.tenant, bytes)?;
            self.0.bytes.fetch_add(bytes, Relaxed);
        }
        Ok(())
    }

    /// Takes as much more as is missing to `bytes`, where something of a growing size is kept of which `had` was taken
    /// before; answers what is taken now.
    ///
    /// # Errors
    /// As [`Room::grow`].
    pub fn grow_to(&self, had: usize, bytes: usize) -> Result<usize, Full> {
        self.grow(bytes.saturating_sub(had))?;
        Ok(had.max(bytes))
    }

    /// Gives back this many of its bytes.
    pub fn shrink(&self, bytes: usize) {
        let had = self.0.bytes.fetch_update(Relaxed, Relaxed, |held| Some(held.saturating_sub(bytes))).unwrap_or(0);
        self.0.budget.give_back(&self.0.tenant, bytes.min(had));
    }

    /// The same bytes, which now hold their own room until the last of them is dropped: what the client has yet to get
    /// outlives the request. It is taken out of this room, so it needs no asking.
    #[must_use]
    pub fn keep(&self, bytes: Bytes) -> Bytes {
        struct Kept(Bytes, #[expect(dead_code, reason = "given back when dropped")] Room);
        impl AsRef<[u8]> for Kept {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let mut part = 0;
        let _ = self.0.bytes.fetch_update(Relaxed, Relaxed, |held| {
            part = bytes.len().min(held);
            Some(held - part)
        });
        let held = Held { budget: self.0.budget.clone(), tenant: self.0.tenant.clone(), bytes: AtomicUsize::new(part) };
        Bytes::from_owner(Kept(bytes, Self(Arc::new(held))))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(&self.tenant, *self.bytes.get_mut());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn names(count: usize) -> Vec<Arc<str>> {
        (0..count).map(|i| Arc::from(format!("t{i}"))).collect()
    }

    /// Takes all that a tenant gets, byte by byte.
    fn take_all(room: &Room) -> usize {
        (0..).take_while(|_| room.grow(1).is_ok()).count()
    }

    #[test]
    fn a_tenant_gets_as_much_as_it_leaves_free_and_a_further_one_always_gets_its_part() {
        for greedy in [1, 2, 3, 19] {
            let (budget, names) = (Budget::new(1_000), names(greedy + 1));
            let rooms: Vec<Room> = names.iter().map(|name| budget.room(name)).collect();
            // In turn, as requests come, so that none is first with all.
            let mut got = vec![0_usize; greedy];
            while (0..greedy)
                .filter(|&i| {
                    rooms[i].grow(1).is_ok() && {
                        got[i] += 1;
                        true
                    }
                })
                .count()
                > 0
            {}
            let part = 1_000 / (greedy + 1);
            assert!(got.iter().all(|&got| got.abs_diff(part) <= 1), "{greedy}: {got:?}");
            assert!(take_all(&rooms[greedy]) >= part / 2, "who comes next gets half of what is free");
        }
    }

    #[test]
    fn what_was_taken_is_given_back_with_the_last_clone_and_bytes_hold_their_own() {
        let budget = Budget::new(1_000);
        let room = budget.room(&"t".into());
        room.grow(300).unwrap();
        assert_eq!(room.grow(300), Err(Full), "more than is left free besides");
        assert_eq!(budget.taken().0, 300, "a refusal takes nothing");
        let kept = room.keep(Bytes::from_static(&[7; 100]));
        let half = kept.slice(50..);
        assert_eq!((budget.taken().0, &half[..]), (300, &[7; 50][..]));
        let clone = room.clone();
        drop(room);
        assert_eq!(budget.taken().0, 300);
        drop(clone);
        assert_eq!(budget.taken().0, 100, "what the client has yet to get");
        drop(kept);
        assert_eq!(budget.taken().0, 100);
        drop(half);
        assert_eq!(budget.taken(), (0, 300));
        assert!(lock(&budget.state).tenants.is_empty());
    }

    #[test]
    fn that_there_was_no_room_is_told_once_a_minute() {
        let budget = Budget::new(0);
        let reports: Vec<bool> = [100_000, 100_001, 159_999, 160_000, 160_001].map(|ms| budget.should_warn(ms)).into();
        assert_eq!(reports, [true, false, false, true, false]);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_the_rooms_hold_and_never_more_than_there_is(
            steps in proptest::collection::vec((0usize..4, 0usize..5, 0usize..400), 0..60),
        ) {
            let (budget, names) = (Budget::new(1_000), names(4));
            let mut rooms: Vec<(Room, usize)> = names.iter().map(|name| (budget.room(name), 0)).collect();
            let mut kept = Vec::new();
            for (who, what, bytes) in steps {
                let (room, held) = &mut rooms[who];
                match what {
                    0 | 1 => *held += if room.grow(bytes).is_ok() { bytes } else { 0 },
                    2 => {
                        room.shrink(bytes);
                        *held = held.saturating_sub(bytes);
                    }
                    3 => {
                        let part = bytes.min(*held);
                        kept.push((room.keep(vec![0; bytes].into()), part));
                        *held -= part;
                    }
                    _ => rooms[who] = (budget.room(&names[who]), 0),
                }
                let sum = rooms.iter().map(|(_, held)| held).sum::<usize>() + kept.iter().map(|(_, part)| part).sum::<usize>();
                prop_assert_eq!(budget.taken().0, sum);
                prop_assert!(sum <= 1_000);
            }
            drop((rooms, kept));
            prop_assert_eq!(budget.taken().0, 0);
        }
    }
}

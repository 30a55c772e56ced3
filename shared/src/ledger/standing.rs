//! Whether the ledger takes what is written, as far as this process has seen.
//!
//! It is down from the first write that failed until one has worked, and no read says otherwise: a full disk and a table
//! that may only be read answer every ping. Of calls that overlap, a success proves nothing against a failure that came
//! while it was under way; it counts only if none did.

use crate::clock::is_within;
use crate::ledger::error::LedgerError;
use crate::locking::lock;
use std::sync::Mutex;

/// How long after a failure, or after the last probe, the next probe may be sent.
const PROBE_EVERY_MS: u64 = 1_000;

/// What the writes have shown.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    failures: u64,
    /// Set while it is down.
    down: Option<Down>,
}

#[derive(Debug)]
struct Down {
    words: &'static str,
    probed_at_ms: u64,
}

/// A moment between failures: what a write that began then can prove.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

impl Standing {
    /// To be taken before a write, and given back with its outcome.
    pub(crate) fn mark(&self) -> Mark {
        Mark(lock(&self.0).failures)
    }

    /// Notes how a write went that began at `mark`.
    pub(crate) fn note(&self, mark: Mark, written: &Result<(), LedgerError>, now_ms: u64) {
        let mut seen = lock(&self.0);
        match written {
            Ok(()) if seen.failures == mark.0 => {
                if seen.down.take().is_some() {
                    tracing::warn!("the ledger takes receipts again");
                }
            }
            Ok(()) => {}
            Err(error) => {
                seen.failures += 1;
                // Those that go on failing put off no probe.
                let probed_at_ms = seen.down.as_ref().map_or(now_ms, |down| down.probed_at_ms);
                seen.down = Some(Down { words: error.words(), probed_at_ms });
            }
        }
    }

    /// What is wrong with it, if it is down.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        lock(&self.0).down.as_ref().map(|down| down.words)
    }

    /// Whether it is down and the one who asks is to send a probe; of many who ask at once, one is.
    pub(crate) fn takes_turn(&self, now_ms: u64) -> bool {
        let mut seen = lock(&self.0);
        let due = seen.down.as_mut().filter(|down| !is_within(PROBE_EVERY_MS, down.probed_at_ms, now_ms));
        due.map(|down| down.probed_at_ms = now_ms).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Result<(), LedgerError> {
        Err(LedgerError::Unavailable("it is full".to_owned()))
    }

    #[test]
    fn it_is_down_from_a_failure_until_a_write_that_began_later_has_worked() {
        let standing = Standing::default();
        let (early, failing) = (standing.mark(), standing.mark());
        assert_eq!(standing.fault(), None);
        standing.note(failing, &refused(), 0);
        standing.note(early, &Ok(()), 1);
        assert!(standing.fault().is_some(), "a success that began before the failure ended proves nothing");
        let (late, failing) = (standing.mark(), standing.mark());
        standing.note(failing, &refused(), 2);
        standing.note(late, &Ok(()), 3);
        assert!(standing.fault().is_some(), "nor one that a newer failure overtook");
        standing.note(standing.mark(), &Ok(()), 4);
        assert_eq!(standing.fault(), None);
    }

    #[test]
    fn one_probe_a_second_is_sent_while_it_is_down() {
        let standing = Standing::default();
        assert!(!standing.takes_turn(5_000), "nobody probes what works");
        standing.note(standing.mark(), &refused(), 5_000);
        let turns = [5_999, 6_000, 6_000, 6_999, 7_000].map(|now_ms| standing.takes_turn(now_ms));
        assert_eq!(turns, [false, true, false, false, true]);
        assert!(standing.takes_turn(100), "nor does a clock that was set back put an end to it");
    }
}

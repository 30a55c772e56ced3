//! What is large keeps nothing small waiting (T5).
//!
//! A worker thread that reads a body of six megabytes looks after nothing else for a tenth of a second, and there are only
//! as many workers as cores. So what is large is read on a thread beside the workers, one body and one answer at a time.
//! Answers have a turn of their own: one that waited for all bodies would look like one of a slow model. Figures, and what was
//! tried in place of it: `docs/adr/0014-one-budget-of-memory.md`.

use std::future::pending;
use std::panic::resume_unwind;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// From how many bytes on something is large: reading less takes some 5 ms at the most.
const LARGE_BYTES: usize = 256 << 10;

/// Whose turn it is to be read. Cores are the process's, not a gateway's.
pub(crate) static BODIES: Semaphore = Semaphore::const_new(1);
/// The same for whole answers.
pub(crate) static ANSWERS: Semaphore = Semaphore::const_new(1);

/// Does work that takes as long as there are bytes, in turn.
pub(crate) async fn apart<T: Send + 'static>(
    turns: &'static Semaphore,
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if bytes < LARGE_BYTES {
        return work();
    }
    // It is never closed. The work keeps it: who waits for the work may give up, and the work goes on.
    let turn = turns.acquire().await;
    let working = spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    match working.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime has ended, and this task with it.
        Err(Err(_)) => pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::sync::{Arc, mpsc};
    use std::time::Duration;
    use tokio::sync::oneshot;

    static TURN: Semaphore = Semaphore::const_new(1);

    #[tokio::test]
    async fn what_is_large_keeps_nothing_small_waiting() {
        let (small, large) = mpsc::channel();
        let patience = Duration::from_secs(60);
        let (waited, ()) = tokio::join!(
            apart(&TURN, LARGE_BYTES, move || large.recv_timeout(patience)),
            apart(&TURN, LARGE_BYTES - 1, move || small.send(()).unwrap())
        );
        assert_eq!(waited, Ok(()), "one thread did both, in this order");
    }

    #[tokio::test]
    async fn one_large_thing_is_done_at_a_time() {
        let is_busy = Arc::new(AtomicBool::new(false));
        let all = (0..50).map(|number| {
            let is_busy = is_busy.clone();
            apart(&TURN, LARGE_BYTES, move || {
                assert!(!is_busy.swap(true, SeqCst));
                std::thread::yield_now();
                assert!(is_busy.swap(false, SeqCst));
                number
            })
        });
        assert_eq!(futures_util::future::join_all(all).await, (0..50).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_keeps_its_turn() {
        let ((go, may_end), (begun, has_begun)) = (mpsc::channel::<()>(), oneshot::channel());
        let is_done = Arc::new(AtomicBool::new(false));
        let done = is_done.clone();
        let first = apart(&TURN, LARGE_BYTES, move || {
            begun.send(()).unwrap();
            may_end.recv().unwrap();
            done.store(true, SeqCst);
        });
        tokio::select! {
            () = first => unreachable!("it may not end yet"),
            begun = has_begun => begun.unwrap(),
        }
        let second = apart(&TURN, LARGE_BYTES, move || is_done.load(SeqCst));
        let (was_done, ()) = tokio::join!(second, async { go.send(()).unwrap() });
        assert!(was_done, "both were at work");
    }
}

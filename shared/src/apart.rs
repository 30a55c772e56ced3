//! Work on what is large keeps nothing small waiting (T5).
//!
//! A worker thread that reads a body of six megabytes looks after nothing else for a tenth of a second, and there are only
//! as many workers as cores: twenty such callers made the slowest of everybody else's requests ten times as slow. So what is
//! large is read on a thread beside the workers, and one thing at a time: however many there are, the rest of the process has
//! all cores but one, and the system's scheduler shares that one fairly. Running each on a thread of its own was tried
//! (`block_in_place`); the allocator keeps something for each thread, and the process came to 3 GB.

use std::future::pending;
use std::panic::resume_unwind;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// From how many bytes on something is large: reading less takes some 5 ms at the most.
const LARGE_BYTES: usize = 256 << 10;

/// Whose turn it is. Cores are the process's, not a gateway's.
static TURN: Semaphore = Semaphore::const_new(1);

/// Does work that takes as long as there are bytes.
pub(crate) async fn apart<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes < LARGE_BYTES {
        return work();
    }
    // It is never closed.
    let _turn = TURN.acquire().await;
    match spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
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

    #[tokio::test]
    async fn what_is_large_keeps_nothing_small_waiting() {
        let (small, large) = mpsc::channel();
        let patience = Duration::from_secs(60);
        let (waited, ()) = tokio::join!(
            apart(LARGE_BYTES, move || large.recv_timeout(patience)),
            apart(LARGE_BYTES - 1, move || small.send(()).unwrap())
        );
        assert_eq!(waited, Ok(()), "one thread did both, in this order");
    }

    #[tokio::test]
    async fn one_large_thing_is_done_at_a_time() {
        let is_busy = Arc::new(AtomicBool::new(false));
        let all = (0..50).map(|number| {
            let is_busy = is_busy.clone();
            apart(LARGE_BYTES, move || {
                assert!(!is_busy.swap(true, SeqCst));
                std::thread::yield_now();
                assert!(is_busy.swap(false, SeqCst));
                number
            })
        });
        assert_eq!(futures_util::future::join_all(all).await, (0..50).collect::<Vec<_>>());
    }
}

//! The requests that run, and how a process that ends brings them to their end (B3).
//!
//! A request outlives its client (M4), so connections do not show what a process has still to do: the requests are counted
//! here, each from before its body is read until its task has ended. What ends the process waits for [`Running::none`],
//! and when it can wait no longer says [`Running::stop`]: that ends every wait for a provider as if the request's deadline
//! had passed. The request then goes its ordinary way out, with an estimate of what it used, its settlement and its
//! receipt. Tasks are not aborted: what a provider bills would be forgotten.

use serde_json::{Value, json};
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

/// The requests of one gateway that run.
#[derive(Debug, Default)]
pub struct Running {
    count: watch::Sender<usize>,
    stopped: watch::Sender<bool>,
}

impl Running {
    /// Counts one more, until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Counted {
        self.count.send_modify(|count| *count += 1);
        Counted(self.clone())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until there is none.
    pub async fn none(&self) {
        // It fails only without a sender, which is here.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Ends all waiting for providers, now and from now on.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// A deadline that passes `at` this instant, or when the process ends.
    pub(crate) fn deadline(&self, at: Instant) -> Deadline {
        Deadline { at, stopped: self.stopped.subscribe() }
    }
}

/// One request that runs.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Running>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count -= 1);
    }
}

/// For how long it shows that there were too many connections.
const SHOWN_MS: u64 = 60_000;

/// The connections of the process that serves a gateway, as far as `/ready` shows them; under Lambda there are none.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicUsize,
    limit: AtomicUsize,
    full_at_ms: AtomicU64,
}

impl Connections {
    /// Says how many there may be.
    pub fn allow(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// Says how many there are.
    pub fn set_open(&self, open: usize) {
        self.open.store(open, Relaxed);
    }

    /// Notes that there was one too many.
    pub fn note_full(&self, now_ms: u64) {
        self.full_at_ms.store(now_ms, Relaxed);
    }

    /// Their part of `/ready`; `None` where there is no server of our own.
    pub(crate) fn to_json(&self, now_ms: u64) -> Option<Value> {
        let (open, limit) = (self.open.load(Relaxed), self.limit.load(Relaxed));
        let full_at_ms = self.full_at_ms.load(Relaxed);
        let is_full = full_at_ms > 0 && now_ms.saturating_sub(full_at_ms) < SHOWN_MS;
        let state = if is_full { "degraded" } else { "ok" };
        (limit > 0).then(|| json!({"state": state, "open": open, "limit": limit}))
    }
}

/// After it, nothing may be started for a request, and nothing is waited for.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    at: Instant,
    stopped: watch::Receiver<bool>,
}

/// What was waited for did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed;

impl Deadline {
    /// How long it is until then.
    pub(crate) fn left(&self) -> Duration {
        match *self.stopped.borrow() {
            true => Duration::ZERO,
            false => self.at.saturating_duration_since(Instant::now()),
        }
    }

    /// Whether it comes at `instant` or before, as it does where the process ends.
    pub(crate) fn comes_by(&self, instant: Instant) -> bool {
        self.at <= instant || *self.stopped.borrow()
    }

    /// Waits for `doing` until then.
    pub(crate) async fn bound<T>(&self, doing: impl Future<Output = T>) -> Result<T, Passed> {
        self.bound_by(self.at, doing).await
    }

    /// Waits for `doing` until then or, if that is earlier, until `by`.
    pub(crate) async fn bound_by<T>(&self, by: Instant, doing: impl Future<Output = T>) -> Result<T, Passed> {
        let mut doing = pin!(doing);
        // Most need not be waited for.
        if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(doing.as_mut().poll(context))).await {
            return Ok(done);
        }
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            done = timeout_at(self.at.min(by), doing) => done.map_err(|_| Passed),
            // Without a sender there is no gateway any more.
            _ = stopped.wait_for(|stopped| *stopped) => Err(Passed),
        }
    }

    /// Waits as [`Deadline::bound_by`] does, one after the other.
    pub(crate) fn waits(&self) -> Waits {
        let mut stopped = self.stopped.clone();
        let stopped = Box::pin(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
        Waits { at: self.at, timer: Box::pin(sleep_until(self.at)), stopped, has_stopped: false }
    }

    /// Sleeps until `instant`, or until the deadline if that is earlier.
    pub(crate) async fn sleep_until(&self, instant: Instant) {
        let _ = self.bound_by(instant, pending::<()>()).await;
    }
}

/// Waits that follow each other closely. Each for itself would set a timer, and enter the list of those who are told that the
/// process ends, to leave both a moment later; these set the timer anew only when it rings, and stay in the list.
pub(crate) struct Waits {
    at: Instant,
    timer: Pin<Box<Sleep>>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_stopped: bool,
}

impl Waits {
    /// Waits for `doing` until the deadline or, if that is earlier, until `by`.
    pub(crate) async fn bound_by<T>(&mut self, by: Instant, doing: impl Future<Output = T>) -> Result<T, Passed> {
        let by = by.min(self.at);
        let mut doing = pin!(doing);
        poll_fn(|context| {
            if let Poll::Ready(done) = doing.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            self.has_stopped = self.has_stopped || self.stopped.as_mut().poll(context).is_ready();
            while !self.has_stopped {
                if self.timer.deadline() > by {
                    self.timer.as_mut().reset(by);
                }
                ready!(self.timer.as_mut().poll(context));
                if self.timer.deadline() == by {
                    break;
                }
                self.timer.as_mut().reset(by);
            }
            // What has let others go first has something already.
            let last = doing.as_mut().poll(context);
            Poll::Ready(if let Poll::Ready(done) = last { Ok(done) } else { Err(Passed) })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_what_comes_first() {
        let running = Running::default();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let deadline = running.deadline(now + 2 * second);
        assert_eq!(deadline.bound_by(now + LONG, async { 5 }).await, Ok(5));
        assert_eq!(deadline.bound_by(now + second, pending::<()>()).await, Err(Passed));
        assert_eq!((now.elapsed(), deadline.left()), (second, second));
        assert_eq!(deadline.bound_by(now + LONG, pending::<()>()).await, Err(Passed));
        assert_eq!((now.elapsed(), deadline.left()), (2 * second, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_end_one_after_the_other_each_with_what_comes_first() {
        let running = Running::default();
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut waits = running.deadline(now + 9 * second).waits();
        for (by, comes, after) in
            [(2, 1, 1), (5, 7, 5), (6, 9, 6), (30, 8, 8), (8, 9, 8), (7, 9, 8), (30, 30, 9), (30, 9, 9)]
        {
            let done = waits.bound_by(now + by * second, sleep_until(now + comes * second)).await;
            let expected = if comes <= after { Ok(()) } else { Err(Passed) };
            assert_eq!((done, now.elapsed()), (expected, after * second), "{by}, {comes}");
        }
        let mut waits = running.deadline(now + LONG).waits();
        assert_eq!(waits.bound_by(now + LONG, async { 5 }).await, Ok(5));
        let (waited, ()) = tokio::join!(waits.bound_by(now + LONG, pending::<()>()), async { running.stop() });
        assert_eq!((waited, now.elapsed()), (Err(Passed), 9 * second));
        assert_eq!(waits.bound_by(now + LONG, pending::<()>()).await, Err(Passed));
        // What is there already is taken all the same, be it by one that has let others go first.
        assert_eq!(waits.bound_by(now, async { 5 }).await, Ok(5));
        let mut late = running.deadline(now).waits();
        for waits in [&mut waits, &mut late] {
            let mut turns = 0;
            let second = poll_fn(|_| {
                turns += 1;
                if turns == 2 { Poll::Ready(5) } else { Poll::Pending }
            });
            assert_eq!(waits.bound_by(now, second).await, Ok(5));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_process_ends_every_wait_at_once() {
        let running = Running::default();
        let (now, deadline) = (Instant::now(), running.deadline(Instant::now() + LONG));
        assert!(!deadline.comes_by(now + LONG / 2));
        let (waited, ()) = tokio::join!(deadline.bound_by(now + LONG, pending::<()>()), async { running.stop() });
        assert_eq!((waited, now.elapsed()), (Err(Passed), Duration::ZERO));
        deadline.sleep_until(now + LONG).await;
        assert_eq!((deadline.left(), now.elapsed(), deadline.comes_by(now)), (Duration::ZERO, Duration::ZERO, true));
        // What is there already is taken all the same.
        assert_eq!(deadline.bound_by(now + LONG, async { 5 }).await, Ok(5));
    }

    #[test]
    fn it_shows_for_a_minute_that_there_were_too_many_connections() {
        let connections = Connections::default();
        assert_eq!(connections.to_json(5), None);
        connections.allow(10);
        connections.set_open(3);
        assert_eq!(connections.to_json(5), Some(json!({"state": "ok", "open": 3, "limit": 10})));
        connections.note_full(100_000);
        let states = [100_000, 159_999, 160_000, 99_000].map(|now_ms| connections.to_json(now_ms).unwrap_or_default());
        assert_eq!(states.map(|json| json["state"].clone()), ["degraded", "degraded", "ok", "degraded"]);
    }

    #[tokio::test]
    async fn requests_are_counted_until_their_tasks_have_ended_however_they_end() {
        let running = Arc::new(Running::default());
        let (one, other) = (running.begin(), running.begin());
        assert_eq!(running.count(), 2);
        drop(one);
        let panicked = tokio::task::spawn_blocking(move || {
            let _counted = other;
            panic!("a bug");
        });
        let (_, ()) = tokio::join!(panicked, running.none());
        assert_eq!(running.count(), 0);
    }
}

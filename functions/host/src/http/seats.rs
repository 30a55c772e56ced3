//! How many connections there may be, and which of them has to go when there is one too many.
//!
//! A process that has no file left answers nobody and says nothing. So there are fewer connections than it may open files,
//! and a new one takes the place of the one that has kept the gateway waiting longest: one between two requests or with
//! half a head first, then one that is still sending its body or does not read its answer. A connection whose request is
//! being served is never closed for another one. If all are served, the new one waits, and others behind it in the
//! system's queue, in their order.

use gateway_core::clock::Clock;
use gateway_core::gateway::Gateway;
use gateway_core::running::Connections;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Files that are kept for the store, the directory, the ledger and the log.
const RESERVED_FILES: u64 = 64;
/// A request being served has a connection of its client's and one to a provider.
const FILES_PER_CONNECTION: u64 = 2;
/// Where the system sets no bound, or does not say.
const MAX_CONNECTIONS: u64 = 1 << 20;
/// How long nothing is accepted after the system refused to, as it had no files or memory left.
const REST: Duration = Duration::from_millis(100);
/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// For what a connection keeps the gateway waiting; the first goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// The rest of a head, or a head at all.
    Head,
    /// The rest of a body, or that its client reads.
    Client,
}

/// A place in the order in which connections have to go.
type Turn = (Wait, u64);

/// All connections.
pub(super) struct Seats {
    limit: usize,
    connections: Arc<Connections>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// There may be room for one more.
    changed: Notify,
    logged_at: [Mutex<Option<Instant>>; 2],
}

#[derive(Default)]
struct State {
    open: usize,
    /// Those that were told to go and have not gone yet.
    leaving: usize,
    next: u64,
    waiting: BTreeMap<Turn, Arc<Notify>>,
}

/// What there is trouble with.
#[derive(Clone, Copy)]
enum Trouble {
    Limit = 0,
    Accepting = 1,
}

impl Seats {
    /// As many as the process may have open, or fewer if the configuration says so.
    pub(super) fn new(gateway: &Gateway) -> Arc<Self> {
        let files = std::fs::read_to_string("/proc/self/limits").ok().and_then(|limits| open_files(&limits));
        let max = max_connections(files);
        let wanted = gateway.config.server.max_connections.unwrap_or(max);
        if wanted > max {
            tracing::warn!(
                max_connections = wanted,
                files,
                "the process may open too few files for so many connections; {max} it is"
            );
        }
        let limit = usize::try_from(wanted.min(max)).unwrap_or(usize::MAX);
        Self::limited(limit, gateway.connections.clone(), gateway.clock.clone())
    }

    pub(super) fn limited(limit: usize, connections: Arc<Connections>, clock: Arc<dyn Clock>) -> Arc<Self> {
        connections.allow(limit);
        let logged_at = Default::default();
        Arc::new(Self { limit, connections, clock, state: Mutex::default(), changed: Notify::new(), logged_at })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections there are.
    pub(super) fn open(&self) -> usize {
        self.state().open
    }

    /// The next connection, when there is room for it.
    pub(super) async fn next(self: &Arc<Self>, listener: &TcpListener) -> (TcpStream, Seat) {
        self.seat(async || listener.accept().await.map(|(socket, _)| socket)).await
    }

    /// The same of anything that can be accepted.
    pub(super) async fn seat<T>(self: &Arc<Self>, mut accept: impl AsyncFnMut() -> io::Result<T>) -> (T, Seat) {
        let accepted = loop {
            match accept().await {
                Ok(accepted) => break accepted,
                // It was gone before it was there.
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    if self.may_log(Trouble::Accepting) {
                        tracing::error!(%error, open = self.open(), "no connection can be accepted");
                    }
                    self.state().have_one_leave();
                    sleep(REST).await;
                }
            }
        };
        loop {
            if let Some(seat) = self.free_seat() {
                return (accepted, seat);
            }
            self.connections.note_full(self.clock.now_ms());
            if self.may_log(Trouble::Limit) {
                tracing::warn!(
                    limit = self.limit,
                    "the limit of connections is reached: those that wait longest for their clients are closed for new ones"
                );
            }
            self.changed.notified().await;
        }
    }

    /// A seat, if there is room; otherwise one connection is told to go, unless one is going already.
    fn free_seat(self: &Arc<Self>) -> Option<Seat> {
        let mut state = self.state();
        if state.open < self.limit {
            state.open += 1;
            self.connections.set_open(state.open);
            return Some(Seat { seats: self.clone(), told_to_go: Arc::default(), turn: None });
        }
        if state.leaving == 0 {
            state.have_one_leave();
        }
        None
    }

    /// Whether this trouble was not logged within the last minute; it counts as logged then.
    fn may_log(&self, trouble: Trouble) -> bool {
        let mut logged_at = self.logged_at[trouble as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let may = logged_at.is_none_or(|at| at.elapsed() >= LOG_EVERY);
        if may {
            *logged_at = Some(Instant::now());
        }
        may
    }
}

impl State {
    /// Tells the one to go that has waited longest, if any waits.
    fn have_one_leave(&mut self) {
        if let Some((_, told_to_go)) = self.waiting.pop_first() {
            self.leaving += 1;
            told_to_go.notify_one();
        }
    }

    /// Takes a connection out of the order; answers whether it was in it still.
    fn take(&mut self, turn: Turn) -> bool {
        let was_in = self.waiting.remove(&turn).is_some();
        if !was_in {
            self.leaving -= 1;
        }
        was_in
    }
}

/// A connection's own place among all.
pub(super) struct Seat {
    seats: Arc<Seats>,
    told_to_go: Arc<Notify>,
    turn: Option<Turn>,
}

impl Seat {
    /// Notes that it keeps the gateway waiting from now on, or with `None` that it does not any more. Whoever was told to go
    /// and then did send what it was waited for may stay.
    pub(super) fn wait(&mut self, wait: Option<Wait>) {
        if self.turn.is_none() && wait.is_none() {
            return;
        }
        let mut state = self.seats.state();
        if let Some(turn) = self.turn.take() {
            state.take(turn);
        }
        if let Some(wait) = wait {
            let turn = (wait, state.next);
            state.next += 1;
            state.waiting.insert(turn, self.told_to_go.clone());
            self.turn = Some(turn);
        }
        drop(state);
        // Either there is one more that could go, or one less that goes.
        self.seats.changed.notify_one();
    }

    /// Whether it has to go.
    pub(super) fn has_to_go(&self) -> bool {
        self.turn.is_some_and(|turn| !self.seats.state().waiting.contains_key(&turn))
    }

    /// Is notified when it has to go.
    pub(super) fn told_to_go(&self) -> Arc<Notify> {
        self.told_to_go.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.seats.state();
        if let Some(turn) = self.turn.take() {
            state.take(turn);
        }
        state.open -= 1;
        self.seats.connections.set_open(state.open);
        drop(state);
        self.seats.changed.notify_one();
    }
}

/// Whether it is the one connection that is at fault, and not the listener.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// How many connections a process that may open so many files may have.
fn max_connections(files: Option<u64>) -> u64 {
    let max = |files: u64| files.saturating_sub(RESERVED_FILES.min(files / 2)) / FILES_PER_CONNECTION;
    files.map_or(MAX_CONNECTIONS, max).clamp(1, MAX_CONNECTIONS)
}

/// How many files a process may open, by Linux' table of its limits.
fn open_files(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use gateway_core::clock::ManualClock;

    fn seats(limit: usize) -> Arc<Seats> {
        Seats::limited(limit, Arc::default(), Arc::new(ManualClock::at(1_763_820_000_000)))
    }

    async fn seated(seats: &Arc<Seats>, wait: Option<Wait>) -> Seat {
        let ((), mut seat) = seats.seat(async || Ok(())).await;
        seat.wait(wait);
        seat
    }

    #[tokio::test]
    async fn a_new_connection_takes_the_place_of_the_one_that_has_kept_the_gateway_waiting_longest() {
        let seats = seats(4);
        let mut all = [Some(Wait::Client), Some(Wait::Head), None, Some(Wait::Head)].map(|wait| (wait, None));
        for (wait, seat) in &mut all {
            *seat = Some(seated(&seats, *wait).await);
        }
        let mut all = all.map(|(_, seat)| seat);
        // Half a head before half a body, the older one before the newer, and none that is being served.
        for leaves in [1, 3, 0] {
            let mut next = Box::pin(seated(&seats, None));
            assert!(next.as_mut().now_or_never().is_none(), "it waits until that one has gone");
            assert!(next.as_mut().now_or_never().is_none(), "and no other one goes for it");
            let leaving: Vec<usize> =
                (0..4).filter(|&place| all[place].as_ref().is_some_and(Seat::has_to_go)).collect();
            assert_eq!(leaving, [leaves]);
            all[leaves] = None;
            all[leaves] = Some(next.await);
            assert_eq!(seats.open(), 4);
        }
        let mut next = Box::pin(seated(&seats, None));
        assert!(next.as_mut().now_or_never().is_none(), "all are served: it waits");
        assert!(all.iter().flatten().all(|seat| !seat.has_to_go()));
        // One of them has been answered, and rests.
        if let Some(seat) = &mut all[2] {
            seat.wait(Some(Wait::Head));
        }
        assert!(next.as_mut().now_or_never().is_none());
        assert!(all[2].take().is_some_and(|seat| seat.has_to_go()));
        next.await;
    }

    #[tokio::test]
    async fn whoever_sends_what_was_waited_for_after_all_stays_and_another_one_goes() {
        let seats = seats(2);
        let (mut first, second) = (seated(&seats, Some(Wait::Head)).await, seated(&seats, Some(Wait::Head)).await);
        let mut next = Box::pin(seated(&seats, None));
        assert!(next.as_mut().now_or_never().is_none() && first.has_to_go() && !second.has_to_go());
        first.wait(None);
        assert!(next.as_mut().now_or_never().is_none() && !first.has_to_go() && second.has_to_go());
        drop(second);
        next.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_fails_neither_spins_nor_ends_anything_and_frees_a_file() {
        let seats = seats(4);
        let resting = seated(&seats, Some(Wait::Head)).await;
        let begun = Instant::now();
        let mut tries = 0;
        let accept = async || {
            tries += 1;
            match tries {
                1..=20 => Err(io::Error::from_raw_os_error(24)),
                // Some clients were gone before they were there: that costs no rest.
                21..=40 => Err(io::ErrorKind::ConnectionAborted.into()),
                _ => Ok(()),
            }
        };
        let ((), _seat) = seats.seat(accept).await;
        assert_eq!((tries, begun.elapsed()), (41, 20 * REST));
        assert!(resting.has_to_go());
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_trouble_is_told_once_a_minute() {
        let seats = seats(1);
        let mut logged = Vec::new();
        for _ in 0..7 {
            logged.push(seats.may_log(Trouble::Limit));
            tokio::time::advance(LOG_EVERY / 3).await;
        }
        assert_eq!(logged, [true, false, false, true, false, false, true]);
        assert!(seats.may_log(Trouble::Accepting));
    }

    #[test]
    fn there_are_fewer_connections_than_files() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             127235               127235               processes \n\
                      Max open files            256                  524288               files     \n";
        assert_eq!(open_files(limits), Some(256));
        assert_eq!(open_files(&limits.replace("256   ", "unlimited")), None);
        assert_eq!(open_files(""), None);
        for (files, max) in
            [(Some(256), 96), (Some(1024), 480), (Some(64), 16), (Some(3), 1), (Some(0), 1), (None, MAX_CONNECTIONS)]
        {
            assert_eq!(max_connections(files), max, "{files:?}");
        }
    }
}

//! A stream's events between the task that makes them and the client that reads them: a channel bounded in bytes (B2).
//!
//! What a client has not read waits here, [`WINDOW_BYTES`] of it and no more; then whoever sends waits as well, and with it
//! the provider's stream. A bound on the number of events was rejected: an event may have ten bytes or a million. Large
//! ones are sent in pieces, so that a client that reads slowly is not taken for one that does not read.
//!
//! Where a client reads and finds nothing for [`KEEP_ALIVE`], it is given what shows that its stream is alive, whatever the
//! request waits for: a model that thinks, the next candidate, the settlement. Hence the timer stands at the reader's end,
//! where silence is what it is to the client, and not in each wait. A piece within an event is never followed by it.

use crate::request::client::Present;
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep};

/// For how long a stream may say nothing: an edge-optimised REST API gives a silent one up after 30 s, many a proxy after 60.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Bytes that may wait for a client.
pub(crate) const WINDOW_BYTES: u32 = 64 << 10;
/// Bytes of a piece.
const PIECE_BYTES: usize = 16 << 10;
/// What a piece takes beside its bytes.
const AROUND_BYTES: u32 = 64;

/// The client has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// Where a client takes its events.
#[derive(Debug)]
pub struct Events {
    pieces: mpsc::UnboundedReceiver<Piece>,
    window: Arc<Semaphore>,
    silence: Silence,
    /// Goes with what takes them.
    client: Option<Present>,
}

/// Where they are sent.
#[derive(Debug)]
pub(crate) struct Sender {
    pieces: mpsc::UnboundedSender<Piece>,
    window: Arc<Semaphore>,
}

/// A part of what is sent at once.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    /// Whether no event is unfinished after it.
    ends_events: bool,
}

/// For how long a client has found nothing.
#[derive(Debug)]
struct Silence {
    since: Instant,
    is_between_events: bool,
    /// Set anew only when it rings: with each piece would cost more than all else here.
    timer: Pin<Box<Sleep>>,
    keep_alive: Bytes,
}

/// A channel for one stream, which `keep_alive` shows to be alive.
pub(crate) fn events(keep_alive: Bytes) -> (Sender, Events) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let window = Arc::new(Semaphore::new(WINDOW_BYTES as usize));
    let timer = Box::pin(sleep(KEEP_ALIVE));
    let silence = Silence { since: Instant::now(), is_between_events: true, timer, keep_alive };
    (Sender { pieces: sender, window: window.clone() }, Events { pieces: receiver, window, silence, client: None })
}

/// The pieces in which whole events are sent.
pub(crate) fn pieces(mut bytes: Bytes) -> impl Iterator<Item = Piece> {
    std::iter::from_fn(move || {
        let piece = (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(PIECE_BYTES)))?;
        Some(Piece { bytes: piece, ends_events: bytes.is_empty() })
    })
}

impl Piece {
    /// What it takes of the window.
    fn weight(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).saturating_add(AROUND_BYTES).min(WINDOW_BYTES)
    }
}

impl Sender {
    /// Sends a piece if there is a place for it; else it is given back.
    pub(crate) fn try_send(&self, piece: Piece) -> Result<(), Piece> {
        let Ok(place) = self.window.try_acquire_many(piece.weight()) else { return Err(piece) };
        place.forget();
        self.pieces.send(piece).map_err(|unsent| unsent.0)
    }

    /// Sends a piece once there is a place for it.
    pub(crate) async fn send(&self, piece: Piece) -> Result<(), Gone> {
        self.window.acquire_many(piece.weight()).await.map_err(|_| Gone)?.forget();
        self.pieces.send(piece).map_err(|_| Gone)
    }

    /// Sends a stream's last piece, for which there is always a place.
    pub(crate) fn send_last(&self, bytes: Bytes) {
        let _ = self.pieces.send(Piece { bytes, ends_events: true });
    }

    /// Whether nobody takes events any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.pieces.is_closed()
    }
}

impl Events {
    /// Has them show whether the client is there.
    pub(crate) fn taken_by(&mut self, client: Present) {
        self.client = Some(client);
    }

    /// The next piece; `None` after the last.
    pub async fn recv(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// The same, polled.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Poll::Ready(came) = self.pieces.poll_recv(context) else { return self.silence.poll(context).map(Some) };
        Poll::Ready(came.map(|piece| {
            self.window.add_permits(piece.weight() as usize);
            (self.silence.since, self.silence.is_between_events) = (Instant::now(), piece.ends_events);
            piece.bytes
        }))
    }
}

impl Silence {
    /// Comes when it has lasted for too long.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let now = Instant::now();
            let is_due = self.since + KEEP_ALIVE <= now;
            if is_due {
                self.since = now;
            }
            self.timer.as_mut().reset(self.since + KEEP_ALIVE);
            if is_due && self.is_between_events {
                return Poll::Ready(self.keep_alive.clone());
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Who waits for a place need not wait any longer.
        self.window.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::time::advance;

    const SECOND: Duration = Duration::from_secs(1);

    async fn send(sender: &Sender, bytes: Bytes) {
        for piece in pieces(bytes) {
            assert_eq!(sender.send(piece).await, Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_finds_nothing_for_ten_seconds_is_shown_that_its_stream_is_alive() {
        let (sender, mut events) = events("alive".into());
        advance(9 * SECOND).await;
        assert_eq!(events.recv().now_or_never(), None);
        send(&sender, "event".into()).await;
        assert_eq!(events.recv().now_or_never(), Some(Some("event".into())));
        advance(9 * SECOND).await;
        assert_eq!(events.recv().now_or_never(), None, "ten seconds count from the last event");
        for _ in 0..3 {
            assert_eq!((events.recv().await, events.recv().now_or_never()), (Some("alive".into()), None));
        }
        drop(sender);
        assert_eq!(events.recv().await, None, "what has ended is not alive");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_comes_between_the_pieces_of_an_event() {
        let (sender, mut events) = events("alive".into());
        let mut pieces = pieces(vec![0; PIECE_BYTES + 1].into());
        assert_eq!(sender.send(pieces.next().expect("the first")).await, Ok(()));
        assert!(events.recv().now_or_never().is_some());
        for _ in 0..3 {
            advance(11 * SECOND).await;
            assert_eq!(events.recv().now_or_never(), None);
        }
        assert_eq!(sender.send(pieces.next().expect("the second")).await, Ok(()));
        assert!(events.recv().now_or_never().is_some());
        advance(11 * SECOND).await;
        assert_eq!(events.recv().now_or_never(), Some(Some("alive".into())));
    }
}

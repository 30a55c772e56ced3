//! A stream's events between the task that makes them and the client that reads them: a channel bounded in bytes (B2).
//!
//! What a client has not read waits here, [`WINDOW_BYTES`] of it and no more; then whoever sends waits as well, and with it
//! the provider's stream. A bound on the number of events was rejected: an event may have ten bytes or a million. Large
//! ones are sent in pieces, so that a client that reads slowly is not taken for one that does not read.

use bytes::Bytes;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{Semaphore, mpsc};

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
    pieces: mpsc::UnboundedReceiver<Bytes>,
    window: Arc<Semaphore>,
}

/// Where they are sent.
#[derive(Debug)]
pub(crate) struct Sender {
    pieces: mpsc::UnboundedSender<Bytes>,
    window: Arc<Semaphore>,
}

/// A channel for one stream.
pub(crate) fn events() -> (Sender, Events) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let window = Arc::new(Semaphore::new(WINDOW_BYTES as usize));
    (Sender { pieces: sender, window: window.clone() }, Events { pieces: receiver, window })
}

/// The pieces in which bytes are sent.
pub(crate) fn pieces(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(PIECE_BYTES))))
}

/// What a piece takes of the window.
fn weight(piece: &Bytes) -> u32 {
    u32::try_from(piece.len()).unwrap_or(u32::MAX).saturating_add(AROUND_BYTES).min(WINDOW_BYTES)
}

impl Sender {
    /// Sends a piece once there is a place for it.
    pub(crate) async fn send(&self, piece: Bytes) -> Result<(), Gone> {
        self.window.acquire_many(weight(&piece)).await.map_err(|_| Gone)?.forget();
        self.pieces.send(piece).map_err(|_| Gone)
    }

    /// Sends a piece if there is a place for it.
    pub(crate) fn send_if_free(&self, piece: Bytes) {
        if let Ok(place) = self.window.try_acquire_many(weight(&piece)) {
            place.forget();
            let _ = self.pieces.send(piece);
        }
    }

    /// Sends a stream's last piece, for which there is always a place.
    pub(crate) fn send_last(&self, piece: Bytes) {
        let _ = self.pieces.send(piece);
    }

    /// Whether nobody takes events any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.pieces.is_closed()
    }
}

impl Events {
    /// The next piece; `None` after the last.
    pub async fn recv(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// The same, polled.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let came = self.pieces.poll_recv(context);
        if let Poll::Ready(Some(piece)) = &came {
            self.window.add_permits(weight(piece) as usize);
        }
        came
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Who waits for a place need not wait any longer.
        self.window.close();
    }
}

//! Whether the client of a request is there still.
//!
//! Whoever waits for the answer holds a [`Present`], and with a streamed one hands it on to what the events are taken from. That
//! it is dropped tells the request's task, wherever it is waiting.

use std::future::pending;
use tokio::sync::watch;

/// The client's side: dropped, the client has gone.
#[derive(Debug)]
pub(crate) struct Present(#[expect(dead_code, reason = "it is held, and dropped")] watch::Sender<()>);

/// The request's side. The default is one that never goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client(Option<watch::Receiver<()>>);

/// A client that is there.
pub(crate) fn client() -> (Present, Client) {
    let (sender, receiver) = watch::channel(());
    (Present(sender), Client(Some(receiver)))
}

impl Client {
    /// Waits until it has gone.
    pub(crate) async fn gone(&self) {
        let Some(mut presence) = self.0.clone() else { return pending().await };
        while presence.changed().await.is_ok() {}
    }

    /// Whether it has gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.as_ref().is_some_and(|presence| presence.has_changed().is_err())
    }
}

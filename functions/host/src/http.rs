//! Plain HTTP: the routers on a socket, until somebody says stop.

use crate::environment::variable;
use anyhow::Context;
use axum::Router;
use axum::serve::ListenerExt;
use std::future::IntoFuture;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The address that `GATEWAY_ADDR` names, or the default one.
#[must_use]
pub fn address() -> String {
    variable("GATEWAY_ADDR").unwrap_or_else(|| "127.0.0.1:8080".to_owned())
}

/// Listens on `address`.
///
/// # Errors
/// If it is taken, or no address.
pub async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("GATEWAY_ADDR: cannot listen on {address}"))
}

/// Serves until SIGINT or SIGTERM; requests in flight are answered to their end, or until the second signal.
///
/// # Errors
/// If the signals cannot be heard or the socket breaks.
pub async fn serve(listener: TcpListener, router: Router) -> anyhow::Result<()> {
    // Without it Nagle's algorithm holds back a stream's small events for as long as the client's delayed acknowledgement.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a socket without TCP_NODELAY");
        }
    });
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut heard = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async { drop(stopped.await) });
    let mut serving = std::pin::pin!(serving.into_future());
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = heard() => drop(stop),
    }
    tokio::select! {
        served = serving => Ok(served?),
        // Whoever says it twice means now, whatever is still in flight or only half sent.
        () = heard() => Ok(()),
    }
}

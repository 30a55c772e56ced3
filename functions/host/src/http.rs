//! Plain HTTP: the routers on a socket, until somebody says stop.
//!
//! The loop that accepts is ours, for `axum::serve` bounds neither how many connections there are ([`seats`]) nor how long
//! each of them may wait ([`connection`]); why, and what else was looked at: `docs/adr/0013-connections-and-the-end.md`.

mod connection;
mod seats;

use crate::client::Peer;
use crate::ending::end;
use crate::environment::variable;
use crate::signals::Signals;
use anyhow::Context;
use axum::Router;
use connection::Patience;
use gateway_core::gateway::Gateway;
use seats::Seats;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The address that `GATEWAY_ADDR` names, or the default one.
#[must_use]
pub fn address() -> String {
    variable("GATEWAY_ADDR").unwrap_or_else(|| "127.0.0.1:8080".to_owned())
}

/// Connections that may wait in the system's queue; it takes the lesser of this and its own limit. Of more than the usual 128 that
/// come at once the others would try again after a second.
const WAITING_CONNECTIONS: u32 = 4096;

/// Listens on `address`.
///
/// # Errors
/// If it is taken, or no address.
pub async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let bound = async {
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in lookup_host(address).await? {
            match listen_on(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    };
    bound.await.with_context(|| format!("GATEWAY_ADDR: cannot listen on {address}"))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_CONNECTIONS)
}

/// Serves until SIGINT or SIGTERM, and then until everything that was begun is settled; see [`end`]. No connection is
/// accepted any more then, and answers say that their connection is closed.
///
/// # Errors
/// If a second signal comes before that.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    gateway: Arc<Gateway>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let settings = &gateway.config.server;
    let ms = Duration::from_millis;
    let patience = Patience { head: ms(settings.header_timeout_ms), idle: ms(settings.idle_timeout_ms) };
    let seats = Seats::new(&gateway);
    let (ending, ends) = watch::channel(false);
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let (socket, seat) = seats.next(&listener).await;
            // Without it Nagle's algorithm holds back a stream's small events for as long as the client's delayed
            // acknowledgement.
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%error, "a socket without TCP_NODELAY");
            }
            let address = socket.peer_addr().ok().map(|address| address.ip());
            let peer = Peer { address, trusted: settings.trusted_proxies.clone() };
            connections.spawn(connection::serve(socket, peer, router.clone(), patience, seat, ends.clone()));
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accepting => {}
        () = signals.end() => {}
    }
    drop(listener);
    ending.send_replace(true);
    let open = seats.open();
    tokio::select! {
        () = end(&gateway, open, ms(settings.drain_ms), connections) => Ok(()),
        () = signals.end() => {
            anyhow::bail!("ended at once by a second signal; requests that were not settled: {}", gateway.running.count())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpStream;

    #[tokio::test]
    async fn many_connections_can_come_at_once() {
        let listener = listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody accepts. One that finds no place in the queue would hang, and then try again after a second.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900)).unwrap();
        let connections: Vec<TcpStream> = (0..500).map(connect).collect();
        assert_eq!(connections.len(), 500);
        assert!(listen(&address.to_string()).await.is_err(), "the address is taken");
    }
}

//! A link to a server that delays, goes silent and cuts, as networks do.
//!
//! It carries TCP connections from a port of its own to a server. How it does so can be changed while it runs, for the
//! connections that stand and for new ones. What is delayed is not slowed down: bytes travel on behind one another, as on a
//! long line.

use anyhow::Result;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How a link carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As a wire.
    Pass,
    /// Each byte arrives this much later, in each direction.
    Delay(Duration),
    /// Half open: connections stand and new ones are taken, but nothing arrives any more.
    Swallow,
    /// What is sent arrives, and no reply does.
    SwallowReplies,
    /// Each connection is reset when so many more bytes of replies have passed.
    ResetAfter(usize),
    /// Connections that stand are reset, and so are new ones.
    Refuse,
}

/// A running link. Dropped, it closes its port and its connections.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    manner: watch::Sender<Manner>,
    _connections: JoinSet<()>,
}

impl Link {
    /// A link from a free port of loopback to a server.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (manner, now) = watch::channel(Manner::Pass);
        let mut connections = JoinSet::new();
        connections.spawn(listen(listener, to, now));
        Ok(Self { address, manner, _connections: connections })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries like this from now on.
    pub fn set(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }
}

async fn listen(listener: TcpListener, to: SocketAddr, manner: watch::Receiver<Manner>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let manner = manner.clone();
        connections.spawn(async move {
            // However it ends, both sides see it.
            let _ = connect(client, to, manner).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Carries one connection until both sides have closed it, or it is reset.
async fn connect(mut client: TcpStream, to: SocketAddr, mut manner: watch::Receiver<Manner>) -> io::Result<()> {
    if *manner.borrow() == Manner::Refuse {
        return client.set_zero_linger();
    }
    let mut server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let refused = {
        let mut refused = manner.clone();
        async move { refused.wait_for(|manner| *manner == Manner::Refuse).await.map(drop) }
    };
    let ended = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let (there, back) = (manner.clone(), &mut manner);
        tokio::select! {
            ended = async {
                tokio::try_join!(
                    carry(&mut from_client, &mut to_server, there, Direction::There),
                    carry(&mut from_server, &mut to_client, back.clone(), Direction::Back),
                )
            } => ended.map(drop),
            _ = refused => Err(io::ErrorKind::ConnectionReset.into()),
        }
    };
    if ended.is_err() {
        // Either side may be gone already.
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
    ended
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    There,
    Back,
}

/// Carries one direction; an error is a connection that is to be reset.
async fn carry(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    manner: watch::Receiver<Manner>,
    direction: Direction,
) -> io::Result<()> {
    let (taken, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let arriving = manner.clone();
    let take = async move {
        let mut bytes = vec![0; 16 << 10];
        loop {
            let length = from.read(&mut bytes).await?;
            let delay = match *manner.borrow() {
                Manner::Delay(delay) => delay,
                _ => Duration::ZERO,
            };
            if length == 0 || taken.send((Instant::now() + delay, bytes[..length].to_vec())).is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let bring = async move {
        let mut replied = 0;
        while let Some((at, mut bytes)) = under_way.recv().await {
            if at > Instant::now() {
                sleep_until(at).await;
            }
            let now = *arriving.borrow();
            match now {
                Manner::Swallow => continue,
                Manner::SwallowReplies if direction == Direction::Back => continue,
                Manner::ResetAfter(max_bytes) if direction == Direction::Back => {
                    bytes.truncate(max_bytes.saturating_sub(replied));
                    replied += bytes.len();
                    to.write_all(&bytes).await?;
                    if replied >= max_bytes {
                        return Err(io::ErrorKind::ConnectionReset.into());
                    }
                }
                _ => to.write_all(&bytes).await?,
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(take, bring).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// A server that says back what it is told, and a link to it.
    async fn echo() -> (Link, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::start(listener.local_addr().unwrap()).await.unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (link, server)
    }

    async fn say(stream: &mut TcpStream, what: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(what).await?;
        let mut heard = vec![0; what.len()];
        stream.read_exact(&mut heard).await.map(|_| heard)
    }

    #[tokio::test]
    async fn what_passes_is_unchanged_and_what_is_delayed_comes_later() {
        let (link, _server) = echo().await;
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
        link.set(Manner::Delay(Duration::from_millis(30)));
        let begun = Instant::now();
        assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
        assert!(begun.elapsed() >= Duration::from_millis(60));
    }

    #[tokio::test]
    async fn a_reset_comes_in_the_middle_of_a_reply() {
        let (link, _server) = echo().await;
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        link.set(Manner::ResetAfter(3));
        stream.write_all(b"hello").await.unwrap();
        let mut heard = Vec::new();
        let error = stream.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(b"hel".starts_with(&heard), "{heard:?}");
    }

    #[tokio::test]
    async fn refused_connections_are_reset_and_come_again_when_it_passes() {
        let (link, _server) = echo().await;
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut stream, b"a").await.unwrap(), b"a");
        link.set(Manner::Refuse);
        assert!(stream.read_u8().await.is_err());
        let mut refused = TcpStream::connect(link.address()).await.unwrap();
        assert!(say(&mut refused, b"a").await.is_err());
        link.set(Manner::Pass);
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut stream, b"b").await.unwrap(), b"b");
    }
}

//! Where a request came from, as far as whoever received it can tell.
//!
//! It is what the socket says, or API Gateway of its own socket. What a client may write into a header is nobody's address. Only
//! where the socket's peer is a proxy that the operator trusts (`[server] trusted_proxies`) is what that says heard, and it is the
//! end of `x-forwarded-for`, where each proxy writes whom it was called by: what stands before it the client may have made up.
//! The header `forwarded` is not read: a proxy that writes one of the two passes on what the client wrote into the other.

use gateway_core::network::Network;
use http::HeaderMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// How many proxies a request may have passed.
const MAX_PROXIES: usize = 32;

/// In a request's extensions: the address of its client, or of the first proxy of which no more is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl From<IpAddr> for ClientAddress {
    /// An IPv4 address is one however the socket writes it.
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

/// Who is at the other end of a socket, and who else is believed.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: Option<IpAddr>,
    pub(crate) trusted: Arc<[Network]>,
}

impl Peer {
    /// The address of the client that a request comes from: the peer's, or the last one before it of which a trusted proxy
    /// tells. What cannot be read ends the search, and is no address.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Option<ClientAddress> {
        let lines = headers.get_all("x-forwarded-for").into_iter().rev();
        let told = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).take(MAX_PROXIES);
        let mut client = self.address?;
        for entry in told {
            let is_trusted = self.trusted.iter().any(|network| network.has(client));
            match address(entry).filter(|_| is_trusted) {
                Some(before) => client = before,
                None => break,
            }
        }
        Some(client.into())
    }
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;

    fn client(peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1"].map(|network| network.parse().unwrap());
        let peer = Peer { address: Some(peer.parse().unwrap()), trusted: trusted.into() };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers.insert("forwarded", HeaderValue::from_static("for=198.51.100.66"));
        headers.insert("x-real-ip", HeaderValue::from_static("198.51.100.66"));
        peer.client(&headers).unwrap().0.to_string()
    }

    #[test]
    fn only_what_trusted_proxies_tell_is_believed() {
        for (peer, lines, seen) in [
            // Whoever is no proxy of ours may say what it likes.
            ("203.0.113.7", &["198.51.100.1"][..], "203.0.113.7"),
            ("203.0.113.7", &["10.0.0.1"], "203.0.113.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7"], "203.0.113.7"),
            // What the client wrote stands before what the proxies wrote.
            ("10.0.0.1", &["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["10.0.0.9, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["127.0.0.1,203.0.113.7"], "203.0.113.7"),
            // Two proxies, and two lines: the client's is the first.
            ("10.0.0.1", &["198.51.100.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
            ("10.0.0.1", &["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["203.0.113.7", "10.0.0.2"], "203.0.113.7"),
            // A client within the trusted networks.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Written otherwise.
            ("::ffff:10.0.0.1", &["203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["::ffff:203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["203.0.113.7:50000"], "203.0.113.7"),
            ("10.0.0.1", &[" \t203.0.113.7\t"], "203.0.113.7"),
            ("2001:db8::1", &["2001:db9::7"], "2001:db9::7"),
            ("10.0.0.1", &["[2001:db9::7]"], "2001:db9::7"),
            ("10.0.0.1", &["[2001:db9::7]:443"], "2001:db9::7"),
            // What cannot be read ends the walk; nothing before it is believed.
            ("10.0.0.1", &["203.0.113.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7, _hidden, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["203.0.113.7,"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7,,10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["203.0.113.7", ""], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.007"], "10.0.0.1"),
            ("10.0.0.1", &["3405803783"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7 10.0.0.2"], "10.0.0.1"),
            ("10.0.0.1", &["\"203.0.113.7\""], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7:99999"], "10.0.0.1"),
            ("10.0.0.1", &["fe80::7%eth0"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7, é"], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, lines), seen, "{peer} says {lines:?}");
        }
        assert_eq!(client("10.0.0.1", &[&"10.0.0.2,".repeat(3_000)]), "10.0.0.1");
        let long = format!("203.0.113.7{}", ",10.0.0.2".repeat(3_000));
        assert_eq!(client("10.0.0.1", &[&long]), "10.0.0.2", "no more than so many are gone through");
    }
}

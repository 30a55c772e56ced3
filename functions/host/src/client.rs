//! Where a request came from, as far as whoever received it can tell.
//!
//! It is what the socket says, or API Gateway of its own socket. What a client may write into a header, such as
//! `x-forwarded-for`, is nobody's address: it is not read.

use std::net::IpAddr;

/// In a request's extensions: the address of its client, or of the last proxy before the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl From<IpAddr> for ClientAddress {
    /// An IPv4 address is one however the socket writes it.
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

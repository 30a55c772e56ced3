//! A network of addresses, as `10.0.0.0/8`.

use std::net::IpAddr;
use std::str::FromStr;

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address is of it. An IPv4 address is one however a socket writes it.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(of), IpAddr::V4(address)) => {
                is_same(of.to_bits().into(), address.to_bits().into(), 32 - self.bits)
            }
            (IpAddr::V6(of), IpAddr::V6(address)) => is_same(of.to_bits(), address.to_bits(), 128 - self.bits),
            _ => false,
        }
    }
}

/// Whether two numbers are the same but for their last bits.
fn is_same(one: u128, other: u128, last_bits: u8) -> bool {
    (one ^ other) >> last_bits == 0
}

impl FromStr for Network {
    type Err = ();

    /// Reads an address, or one with the number of bits that count; the others must be 0, and not all may be such, for that
    /// would be everybody.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let is_form = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit()) && !bits.starts_with('0');
        let bits = bits.map_or(Some(all), |bits| Some(bits).filter(is_form)?.parse().ok()).ok_or(())?;
        let number = match address {
            IpAddr::V4(address) => address.to_bits().into(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let is_network = (1..=all).contains(&bits) && number.trailing_zeros() >= u32::from(all - bits);
        // What is IPv4 is compared as such.
        let is_canonical = address.to_canonical() == address;
        (is_network && is_canonical).then_some(Self { address, bits }).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        for (network, inside, outside) in [
            (
                "10.0.0.0/8",
                vec!["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
                vec!["9.255.255.255", "11.0.0.0", "::10.0.0.1"],
            ),
            ("192.168.4.0/22", vec!["192.168.7.255"], vec!["192.168.8.0", "192.168.3.255"]),
            ("203.0.113.7", vec!["203.0.113.7"], vec!["203.0.113.6"]),
            ("203.0.113.7/32", vec!["203.0.113.7"], vec!["203.0.113.8"]),
            ("128.0.0.0/1", vec!["255.255.255.255"], vec!["127.255.255.255", "ffff::"]),
            ("2001:db8::/32", vec!["2001:db8::1", "2001:db8:ffff::"], vec!["2001:db9::", "32.1.13.184"]),
            ("::1", vec!["::1"], vec!["::", "127.0.0.1"]),
        ] {
            let read: Network = network.parse().unwrap();
            let has = |address: &&str| read.has(address.parse().unwrap());
            assert!(inside.iter().all(has) && !outside.iter().any(has), "{network}");
        }
    }

    #[test]
    fn what_is_no_network_or_everybody_is_refused() {
        for text in [
            "",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/33",
            "2001:db8::/129",
            "10.0.0.1/8",
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0 /8",
            "::ffff:10.0.0.0/104",
            "localhost",
            "*",
            "[::1]",
            "fe80::1%eth0",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}

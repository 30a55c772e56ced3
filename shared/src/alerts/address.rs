//! Which addresses may be told of alerts.
//!
//! Operators set them, yet what runs in a cloud must not be made to ask the machine that it runs on for credentials: what is
//! link-local, unspecified or multicast is refused, and so are the addresses of clouds' metadata. Other private addresses
//! are where receivers may stand. An address is checked when it is set, and what its name leads to each time it is called.

use reqwest::Url;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The metadata of clouds beside the link-local one: Alibaba's, Oracle's and Azure's, and AWS's by IPv6.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: std::ops::RangeInclusive<Ipv6Addr> =
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0)..=Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0xffff, 0xffff, 0xffff, 0xffff);
const MAX_BYTES: usize = 2_000;

/// Checks the address of a webhook.
///
/// # Errors
/// What is wrong with it, for whoever sets it; nothing of it is repeated.
pub fn check(text: &str) -> Result<(), &'static str> {
    let url = Url::parse(text).map_err(|_| "must be an address such as https://hooks.example.com/gateway")?;
    let host = url.host_str().unwrap_or_default();
    let scheme_fits = url.scheme() == "https" || url.scheme() == "http" && is_here(host);
    if text.len() > MAX_BYTES || host.is_empty() || !scheme_fits {
        return Err("must begin with https://, unless it is on loopback, and have at most 2000 bytes");
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("may have neither user information nor a fragment");
    }
    if literal(host).is_some_and(|ip| !may_be_called(ip, host))
        || host.trim_end_matches('.') == "metadata.google.internal"
    {
        return Err("is an address that nobody may be told to call");
    }
    Ok(())
}

/// Whether what a host's name leads to may be called. Loopback may where it was named.
pub(crate) fn may_be_called(ip: IpAddr, host: &str) -> bool {
    match ip.to_canonical() {
        ip if ip.is_unspecified() || ip.is_multicast() => false,
        ip if ip.is_loopback() => is_here(host),
        IpAddr::V4(v4) => {
            !v4.is_link_local() && !v4.is_broadcast() && v4.octets()[0] != 0 && !METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => may_be_called(v4.into(), host),
            None => !v6.is_unicast_link_local() && !METADATA_V6.contains(&v6),
        },
    }
}

/// The IPv4 address that a translator would make of an IPv6 one: `::a.b.c.d`, NAT64 and 6to4.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Whether a host is this machine by its own words.
fn is_here(host: &str) -> bool {
    host == "localhost" || literal(host).is_some_and(|ip| ip.to_canonical().is_loopback())
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_or_this_machine_and_never_a_clouds_metadata() {
        for fits in [
            "https://hooks.example.com/gateway?team=a",
            "https://hooks.example.com:8443/",
            "https://10.0.0.7/x",
            "https://[2001:db8::7]/x",
            "http://127.0.0.1:9000/x",
            "http://localhost:9000/",
            "http://[::1]:9000/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert_eq!(check(fits), Ok(()), "{fits}");
        }
        for other in [
            "",
            "hooks.example.com",
            "ftp://hooks.example.com/",
            "file:///etc/passwd",
            "http://hooks.example.com/",
            "http://10.0.0.7/",
            "http://localhost.example.com/",
            "https://user@hooks.example.com/",
            "https://:pass@hooks.example.com/",
            "https://hooks.example.com/#a",
            "https://169.254.169.254/latest/meta-data",
            "https://2852039166/",
            "https://0xa9fea9fe/",
            "https://0251.0376.0251.0376/",
            "https://[::ffff:169.254.169.254]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[::169.254.169.254]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[2002:a9fe:a9fe::1]/",
            "https://[fe80::1]/",
            "https://[fd00:ec2::254]/",
            "https://100.100.100.200/",
            "https://0.0.0.0/",
            "https://0.1.2.3/",
            "https://[::]/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://metadata.google.internal/",
            "https://METADATA.google.internal./",
        ] {
            assert!(check(other).is_err(), "{other}");
        }
        assert!(check(&format!("https://a.example/{}", "a".repeat(2_000))).is_err());
    }

    #[test]
    fn what_a_name_leads_to_is_checked_as_well() {
        let may = |ip: &str, host| ip.parse().is_ok_and(|ip| may_be_called(ip, host));
        assert!(may("93.184.216.34", "hooks.example.com") && may("10.0.0.7", "hooks.internal"));
        assert!(may("127.0.0.1", "localhost") && !may("127.0.0.1", "rebound.example.com"));
        assert!(!may("::1", "rebound.example.com") && !may("169.254.170.2", "rebound.example.com"));
    }
}

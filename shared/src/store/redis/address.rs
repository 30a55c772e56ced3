//! The addresses of a store: `redis://`, `rediss://` (TLS), `redis-cluster://` and `rediss-cluster://`, the latter with
//! several nodes: `redis-cluster://user:password@one:6379,two:6379`.
//!
//! No error repeats an address, because a password may stand in it (T3).

use super::link::Link;
use crate::store::StoreError;
use redis::cluster::ClusterClient;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, RedisResult, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::Duration;

/// A cluster's node is given as long as a call has, so that one that is silent does not keep the others from being
/// tried.
const NODE_TIMEOUT: Duration = Duration::from_millis(250);
/// … and as long to be connected to, of the second that there is for all.
const NODE_CONNECT_TIMEOUT: Duration = Duration::from_millis(400);
/// How often a cluster's command is sent on, or again; the time of a call ends it before.
const CLUSTER_RETRIES: u32 = 16;
/// A slot that is being moved is tried again after this many milliseconds at least, and at most.
const CLUSTER_WAIT_MS: (u64, u64) = (5, 50);
/// A connection whose data nobody acknowledges dies after this.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(1);

/// Where the store is.
pub(super) enum Address {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

fn unusable(why: &str) -> StoreError {
    StoreError(format!("the store's address cannot be used: {why}"))
}

fn tcp() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(UNACKNOWLEDGED);
    settings
}

fn node(url: &str) -> Result<ConnectionInfo, StoreError> {
    // The library's own message may quote the part that it does not understand.
    let info =
        url.into_connection_info().map_err(|_| unusable("it is not host:port with an optional user:password@"))?;
    Ok(info.set_tcp_settings(tcp()))
}

impl Address {
    /// Reads an address. `authority`, in PEM, is trusted in place of the usual ones.
    pub(super) fn parse(url: &str, authority: Option<&[u8]>) -> Result<Self, StoreError> {
        // The library takes a text without a certificate for one, and then trusts nobody.
        if authority.is_some_and(|pem| !CertificateDer::pem_slice_iter(pem).any(|found| found.is_ok())) {
            return Err(unusable("the file of its certificate authority holds no certificate in PEM"));
        }
        let authority = authority.map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) });
        let (scheme, rest) = url.split_once("://").ok_or_else(|| unusable("it has no scheme"))?;
        if scheme.starts_with("rediss") {
            // The library takes the process's default; if one is set already, it is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        match scheme {
            "redis" | "rediss" => {
                let client = match authority.filter(|_| scheme == "rediss") {
                    Some(authority) => Client::build_with_tls(node(url)?, authority),
                    None => Client::open(node(url)?),
                };
                let client = client.map_err(|_| unusable("it, or its certificate authority, is not understood"))?;
                Ok(Self::Single(Box::new(client)))
            }
            "redis-cluster" | "rediss-cluster" => Self::cluster(scheme.trim_end_matches("-cluster"), rest, authority),
            _ => Err(unusable("the scheme is none of redis, rediss, redis-cluster and rediss-cluster")),
        }
    }

    fn cluster(scheme: &str, rest: &str, authority: Option<TlsCertificates>) -> Result<Self, StoreError> {
        let (user, hosts) = rest.rsplit_once('@').map_or(("", rest), |(user, hosts)| (user, hosts));
        let (hosts, database) = hosts.split_once('/').map_or((hosts, ""), |(hosts, database)| (hosts, database));
        let at = if user.is_empty() { "" } else { "@" };
        let nodes: Result<Vec<_>, _> =
            hosts.split(',').map(|host| node(&format!("{scheme}://{user}{at}{host}/{database}"))).collect();
        let (least_ms, most_ms) = CLUSTER_WAIT_MS;
        let mut client = ClusterClient::builder(nodes?);
        if let Some(authority) = authority.filter(|_| scheme == "rediss") {
            client = client.certs(authority);
        }
        let client = client
            .connection_timeout(NODE_CONNECT_TIMEOUT)
            .response_timeout(NODE_TIMEOUT)
            .overall_response_timeout(None)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(least_ms)
            .max_retry_wait(most_ms)
            .tcp_settings(tcp())
            .build();
        let client = client.map_err(|_| unusable("it, or its certificate authority, is not understood"))?;
        Ok(Self::Cluster(Box::new(client)))
    }

    pub(super) async fn connect(&self) -> RedisResult<Link> {
        match self {
            Self::Single(client) => {
                // The caller keeps the time.
                let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
                Ok(Link::Single(client.get_multiplexed_async_connection_with_config(&config).await?))
            }
            Self::Cluster(client) => Ok(Link::Cluster(client.get_async_connection().await?)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn addresses_are_those_of_one_server_or_of_a_cluster() {
        for (url, is_cluster) in [
            ("redis://localhost", false),
            ("redis://user:secret@10.0.0.1:6380/2", false),
            ("rediss://:secret@cache.example.com:6379", false),
            ("redis-cluster://one:1,two:2,three", true),
            ("rediss-cluster://user:p%40ss@one.example.com:6379", true),
            ("redis-cluster://[::1]:7000,[::1]:7001/0", true),
        ] {
            let address = Address::parse(url, None).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(matches!(address, Address::Cluster(_)), is_cluster, "{url}");
        }
    }

    #[test]
    fn a_certificate_authority_that_is_none_is_refused() {
        for url in ["rediss://localhost", "rediss-cluster://localhost"] {
            assert!(Address::parse(url, Some(b"no certificate")).is_err(), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_its_password() {
        for url in [
            "",
            "secret",
            "http://nobody:secret@host",
            "redis://nobody:secret@",
            "redis://nobody:secret@host:port",
            "redis://nobody:secret@host/x",
            "redis://nobody:sec%ffret@host",
            "redis-cluster://nobody:secret@",
            "redis-cluster://nobody:secret@one:1,two:x",
            "rediss://nobody:secret@host#secret",
        ] {
            let error = Address::parse(url, None).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(!error.0.contains("secret") && !error.0.contains("nobody"), "{url}: {error}");
        }
    }
}

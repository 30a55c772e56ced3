//! TLS, and the HTTP client, towards what the gateway calls: providers, and AWS.

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use std::sync::Arc;
use std::time::Duration;

pub use rustls::ClientConfig;

/// How the gateway speaks TLS: ring, and Mozilla's roots compiled in, for reading the machine's own takes longer than all
/// the rest of a cold start.
///
/// # Errors
/// If ring lacks the default protocol versions, which it does not.
pub fn client_config() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let versions =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

/// A client that does what it is told and nothing else: it follows nobody elsewhere, tries nothing again, and knows no
/// proxy. An idle connection is kept for less long than most servers keep it: later it is likely dead, above all after a thaw.
pub(crate) fn bare_client(tls: ClientConfig, connect_within: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(connect_within)
        .pool_idle_timeout(Duration::from_secs(20))
}

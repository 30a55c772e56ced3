//! TLS towards what the gateway calls: providers, and DynamoDB.

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use std::sync::Arc;

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

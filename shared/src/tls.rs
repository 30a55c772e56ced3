//! TLS towards whoever the gateway calls.

/// How the gateway speaks TLS to every provider: ring, and Mozilla's roots compiled in, for reading the machine's own
/// takes longer than all the rest of a cold start.
///
/// # Errors
/// If ring lacks the default protocol versions, which it does not.
pub fn client_config() -> Result<rustls::ClientConfig, rustls::Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let ring = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

//! Signatures (SigV4) with the credentials that AWS's tools find: of the environment, as in a Lambda function, of a profile, a
//! container or a machine.
//!
//! The SDK's own clients keep credentials; what asks its providers directly must. Here they are kept until they are about to
//! expire, and those that say no time for ten minutes, for a file may have changed. While new ones cannot be had the old ones
//! serve as long as they last.

use super::{NoClient, http_client};
use crate::provider::sign::{Sign, Unsigned};
use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;

/// So long before they expire, credentials are asked for anew.
const BEFORE_EXPIRY: Duration = Duration::from_secs(300);
/// How long credentials are kept that do not say when they expire.
const KEPT: Duration = Duration::from_secs(600);

/// Signs for one service in one region.
pub struct Signer {
    region: String,
    service: &'static str,
    credentials: SharedCredentialsProvider,
    /// The latest, and until when they are kept.
    known: Mutex<Option<(Credentials, SystemTime)>>,
}

impl Signer {
    /// One with the credentials that the environment leads to; none are asked for yet.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub async fn from_env(region: &str, service: &'static str) -> Result<Self, NoClient> {
        let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client()?);
        let config = config.region(Region::new(region.to_owned())).load().await;
        let nobody = || SharedCredentialsProvider::new(Credentials::new("", "", None, None, "nobody"));
        Ok(Self::with(config.credentials_provider().unwrap_or_else(nobody), region, service))
    }

    /// One with credentials from elsewhere.
    #[must_use]
    pub fn with(credentials: SharedCredentialsProvider, region: &str, service: &'static str) -> Self {
        Self { region: region.to_owned(), service, credentials, known: Mutex::default() }
    }

    /// The credentials at this time. Who asks while others wait for new ones waits with them.
    async fn credentials(&self, now: SystemTime) -> Result<Credentials, Unsigned> {
        let mut known = self.known.lock().await;
        if let Some((credentials, until)) = &*known
            && now < *until
        {
            return Ok(credentials.clone());
        }
        match self.credentials.provide_credentials().await {
            Ok(new) => {
                let until = new.expiry().map_or(now + KEPT, |expiry| expiry - BEFORE_EXPIRY);
                Ok(known.insert((new, until)).0.clone())
            }
            Err(_) => match &*known {
                Some((old, _)) if old.expiry().is_none_or(|expiry| now < expiry) => Ok(old.clone()),
                _ => Err(Unsigned("no credentials of AWS's are to be had")),
            },
        }
    }

    /// The headers by which a `POST` of this body to this address is known as ours, which goes with these headers also.
    ///
    /// # Errors
    /// If there is nothing to sign with.
    pub(super) async fn sign_with(
        &self,
        url: &str,
        also: &[(&str, &str)],
        body: &[u8],
        now_ms: u64,
    ) -> Result<HeaderMap, Unsigned> {
        let now = UNIX_EPOCH + Duration::from_millis(now_ms);
        let identity = self.credentials(now).await?.into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| Unsigned("a signature lacks a part"))?
            .into();
        let unsignable = |_| Unsigned("the request cannot be signed");
        let request = SignableRequest::new("POST", url, also.iter().copied(), SignableBody::Bytes(body));
        let (signed, _) = sign(request.map_err(unsignable)?, &params).map_err(unsignable)?.into_parts();
        let mut headers = HeaderMap::new();
        for (name, value) in signed.headers() {
            if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }
}

#[async_trait]
impl Sign for Signer {
    async fn sign(&self, url: &str, body: &[u8], now_ms: u64) -> Result<HeaderMap, Unsigned> {
        self.sign_with(url, &[], body, now_ms).await
    }
}

#[cfg(test)]
mod tests;

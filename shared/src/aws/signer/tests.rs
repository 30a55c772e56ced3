#![allow(clippy::unwrap_used)]
use super::*;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// 2025-11-22 14:00:00 UTC.
const NOW: u64 = 1_763_820_000_000;

/// Hands out credentials of a number each, or none.
#[derive(Debug, Clone, Default)]
struct Counting {
    asked: Arc<AtomicU64>,
    lasts_s: Option<u64>,
    fails_from: u64,
}

impl ProvideCredentials for Counting {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let expiry = self.lasts_s.map(|lasts_s| UNIX_EPOCH + Duration::from_secs(NOW / 1000 + lasts_s));
        future::ProvideCredentials::ready(match number < self.fails_from {
            true => Ok(Credentials::new(format!("AKID{number}"), "secret", Some("token".into()), expiry, "test")),
            false => Err(CredentialsError::not_loaded("none")),
        })
    }
}

/// With whose key a request is signed at each of these seconds.
async fn keys_at(provider: Counting, seconds: &[u64]) -> Vec<Option<String>> {
    let signer = Signer::with(SharedCredentialsProvider::new(provider), "us-east-1", "bedrock");
    let mut keys = Vec::new();
    for second in seconds {
        let signed = signer.sign("https://h/model/a%3A0/converse", b"{}", NOW + second * 1000).await;
        keys.push(signed.ok().map(|headers| {
            let authorization = headers["authorization"].to_str().unwrap();
            assert!(headers["authorization"].is_sensitive() && headers["x-amz-security-token"].is_sensitive());
            assert!(authorization.contains("SignedHeaders=host;x-amz-date;x-amz-security-token"), "{authorization}");
            authorization.split("Credential=").nth(1).unwrap().split('/').next().unwrap().to_owned()
        }));
    }
    keys
}

#[tokio::test]
async fn credentials_are_kept_until_they_are_about_to_expire() {
    let key = |number: u64| Some(format!("AKID{number}"));
    let lasting = Counting { lasts_s: Some(3600), fails_from: 9, ..Counting::default() };
    assert_eq!(keys_at(lasting, &[0, 1, 3299, 3300]).await, [key(0), key(0), key(0), key(1)]);
    let untold = Counting { fails_from: 9, ..Counting::default() };
    assert_eq!(keys_at(untold, &[0, 599, 600]).await, [key(0), key(0), key(1)]);
    let failing = Counting { lasts_s: Some(3600), fails_from: 1, ..Counting::default() };
    assert_eq!(keys_at(failing, &[0, 3400, 3599, 3600]).await, [key(0), key(0), key(0), None], "the old ones serve");
}

/// The example of AWS's own test suite for a `POST` that has nothing but its host and its date.
#[tokio::test]
async fn a_signature_is_that_of_the_published_example() {
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let credentials = Credentials::new("AKIDEXAMPLE", secret, None, None, "suite");
    let signer = Signer::with(SharedCredentialsProvider::new(credentials), "us-east-1", "service");
    let at_ms = 1_440_938_160_000; // 2015-08-30 12:36:00 UTC.
    let signed = signer.sign("https://example.amazonaws.com/", b"", at_ms).await.unwrap();
    assert_eq!(
        signed["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;x-amz-date, \
         Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    );
}

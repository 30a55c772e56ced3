//! Webhooks: a signed `POST` of JSON.
//!
//! No redirect is followed, for it would lead where nobody has checked, and of an answer no more is read than is shown.
//!
//! # Source
//! The Standard Webhooks specification: the three headers, `whsec_` in front of a secret in base 64, and the signature, the
//! HMAC-SHA256 of `id.timestamp.body`.

use super::Channel;
use super::address::{check, may_be_called};
use super::alert::Alert;
use super::delivery::Tried;
use crate::clock::is_within;
use crate::config::Secret;
use crate::provider::keys::ProviderKey;
use crate::provider::retry_after::retry_after;
use crate::tls::{ClientConfig, bare_client};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response};
use sha2::Sha256;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long a secret is used before it is read again where it is kept, and how long reading it may take.
const FRESH_MS: u64 = 600_000;
const READ_WITHIN: Duration = Duration::from_secs(2);
/// How much of a refusal is read, and for how long.
const WORDS_BYTES: usize = 512;
const WORDS_WITHIN: Duration = Duration::from_millis(500);

/// What sends webhooks.
pub struct Webhooks {
    client: Client,
    key: ProviderKey,
    /// The secret as it was last read where it is kept, and when.
    read: Mutex<Option<(Secret, u64)>>,
}

impl Webhooks {
    /// Webhooks that are signed with this secret.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(key: ProviderKey, tls: ClientConfig) -> Result<Self, reqwest::Error> {
        // There are hours between two alerts.
        let client = bare_client(tls, CONNECT_WITHIN).pool_max_idle_per_host(0).dns_resolver(Checked).build()?;
        Ok(Self { client, key, read: Mutex::default() })
    }

    /// The secret; read, if that is due, and as it was known where it cannot be read again.
    async fn secret(&self, now_ms: u64) -> Result<Secret, String> {
        let (reference, source) = match &self.key {
            ProviderKey::Known(secret) => return Ok(secret.clone()),
            ProviderKey::Kept(reference, source) => (reference, source),
        };
        let mut known = self.read.lock().await;
        if let Some((secret, read_at_ms)) = &*known
            && is_within(FRESH_MS, *read_at_ms, now_ms)
        {
            return Ok(secret.clone());
        }
        let why = match timeout(READ_WITHIN, source.read(reference, now_ms)).await {
            Ok(Ok(secret)) => return Ok(known.insert((secret, now_ms)).0.clone()),
            Ok(Err(why)) => why.0,
            Err(_) => "no answer in time".to_owned(),
        };
        let old = known.as_ref().map(|(secret, _)| secret.clone());
        old.ok_or_else(|| format!("the secret that signs alerts cannot be read: {why}"))
    }
}

#[async_trait]
impl Channel for Webhooks {
    async fn deliver(&self, to: &str, alert: &Alert, now_ms: u64) -> Tried {
        // What was set by an older gateway, or came from another directory.
        if let Err(why) = check(to) {
            return Tried { status: None, retry_at_ms: None, said: format!("the webhook's address {why}") };
        }
        let secret = match self.secret(now_ms).await {
            Ok(secret) => secret,
            Err(why) => return Tried::without_answer(why),
        };
        let seconds = (now_ms / 1000).to_string();
        let request = self
            .client
            .post(to)
            .header("content-type", "application/json")
            .header("user-agent", concat!("ai-gateway/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &alert.id)
            .header("webhook-timestamp", &seconds)
            .header("webhook-signature", signature(&secret, &alert.id, &seconds, &alert.body));
        match request.body(alert.body.clone()).send().await {
            Ok(answer) => heard(answer, now_ms).await,
            Err(error) if error.is_connect() => Tried::without_answer("no connection"),
            Err(_) => Tried::without_answer("the connection broke before the answer"),
        }
    }
}

/// What a receiver answered; its words only where it refuses.
pub(crate) async fn heard(mut answer: Response, now_ms: u64) -> Tried {
    let (status, retry_at_ms) = (answer.status(), retry_after(answer.headers(), now_ms));
    let mut words = Vec::new();
    if !status.is_success() {
        let reading = async {
            while let Ok(Some(more)) = answer.chunk().await {
                words.extend_from_slice(&more[..more.len().min(WORDS_BYTES - words.len())]);
                if words.len() >= WORDS_BYTES {
                    break;
                }
            }
        };
        let _ = timeout(WORDS_WITHIN, reading).await;
    }
    Tried { status: Some(status.as_u16()), retry_at_ms, said: String::from_utf8_lossy(&words).into_owned() }
}

/// The header `webhook-signature`.
fn signature(secret: &Secret, id: &str, seconds: &str, body: &str) -> String {
    let text = secret.expose();
    let key = text.strip_prefix("whsec_").and_then(|packed| STANDARD.decode(packed).ok());
    let key = key.unwrap_or_else(|| text.as_bytes().to_vec());
    // An HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return String::new() };
    mac.update(format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Resolves names, and leaves out what may not be called.
struct Checked;

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let may_be_called = |address: &SocketAddr| may_be_called(address.ip(), name.as_str());
            let addresses: Vec<SocketAddr> = found.filter(may_be_called).collect();
            if addresses.is_empty() {
                return Err("its name leads to nothing that may be called".into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specifications_example() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature(&secret, id, "1614265330", body), expected);
    }
}

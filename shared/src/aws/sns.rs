//! Alerts to a topic of SNS: one signed call, `Publish` of its query interface.

use super::Signer;
use super::http::{CONNECT_WITHIN, address};
use crate::alerts::Channel;
use crate::alerts::alert::Alert;
use crate::alerts::delivery::Tried;
use crate::alerts::webhook::heard;
use crate::config::region_of;
use crate::tls::{ClientConfig, bare_client};
use async_trait::async_trait;
use aws_credential_types::provider::SharedCredentialsProvider;
use http::{HeaderName, HeaderValue};
use reqwest::Client;

const SNS: &str = "sns";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
/// The longest subject, in characters.
const SUBJECT_CHARS: usize = 100;

/// What publishes to the topics of one region.
pub struct Sns {
    client: Client,
    url: String,
    signer: Signer,
}

/// Nothing can be published; why, for the operator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NoSns(String);

impl Sns {
    /// For this topic, with the credentials and the address that the environment leads to; nothing is asked yet.
    ///
    /// # Errors
    /// It is no topic's ARN, or no HTTP client can be made.
    pub async fn from_env(topic: &str, tls: ClientConfig, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, NoSns> {
        let region = region_of(topic);
        let region = region.ok_or_else(|| NoSns("it must be a topic's ARN: arn:aws:sns:REGION:ACCOUNT:NAME".into()))?;
        let signer = Signer::from_env(region, SNS).await.map_err(|error| NoSns(error.to_string()))?;
        let url = env("AWS_ENDPOINT_URL_SNS").or_else(|| env("AWS_ENDPOINT_URL"));
        Ok(Self { client: client(tls)?, url: url.unwrap_or_else(|| address(SNS, region)), signer })
    }

    /// With credentials from elsewhere, at this address.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn at(
        url: &str,
        credentials: SharedCredentialsProvider,
        region: &str,
        tls: ClientConfig,
    ) -> Result<Self, NoSns> {
        Ok(Self { client: client(tls)?, url: url.to_owned(), signer: Signer::with(credentials, region, SNS) })
    }
}

fn client(tls: ClientConfig) -> Result<Client, NoSns> {
    // There are hours between two alerts.
    let client = bare_client(tls, CONNECT_WITHIN).pool_max_idle_per_host(0);
    client.build().map_err(|error| NoSns(error.to_string()))
}

#[async_trait]
impl Channel for Sns {
    async fn deliver(&self, to: &str, alert: &Alert, now_ms: u64) -> Tried {
        let body = form(to, alert);
        let signed = self.signer.sign_with(&self.url, &[FORM], body.as_bytes(), now_ms).await;
        let mut headers = match signed {
            Ok(signed) => signed,
            Err(why) => return Tried::without_answer(why.to_string()),
        };
        headers.insert(HeaderName::from_static(FORM.0), HeaderValue::from_static(FORM.1));
        match self.client.post(&self.url).headers(headers).body(body).send().await {
            Ok(answer) => heard(answer, now_ms).await,
            Err(error) if error.is_connect() => Tried::without_answer("no connection"),
            Err(_) => Tried::without_answer("the connection broke before the answer"),
        }
    }
}

/// The call as a form.
fn form(topic: &str, alert: &Alert) -> String {
    // A subject is ASCII and begins with neither blank nor control character.
    let subject: String = format!("AI Gateway: {}", alert.text).chars().map(plain).take(SUBJECT_CHARS).collect();
    let mut fields = vec![
        ("Action", "Publish"),
        ("Version", "2010-03-31"),
        ("TopicArn", topic),
        ("Subject", &subject),
        ("Message", &alert.body),
    ];
    if topic.ends_with(".fifo") {
        fields.extend([("MessageGroupId", "alerts"), ("MessageDeduplicationId", &alert.id)]);
    }
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    fields.join("&")
}

fn plain(c: char) -> char {
    if c == ' ' || c.is_ascii_graphic() { c } else { '?' }
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

//! Secrets of AWS: parameters of Systems Manager and secrets of Secrets Manager, one signed call each.
//!
//! Their SDK's clients would add megabytes for two calls of one form (JSON 1.1), so the call is written here; signature and
//! credentials are AWS's own. Nothing of an answer is ever logged, of an error its name alone.

use super::http::{CONNECT_WITHIN, address};
use super::{NoClient, Signer};
use crate::config::{Secret, SecretRef};
use crate::provider::keys::{SecretSource, Unread};
use crate::tls::{bare_client, client_config};
use async_trait::async_trait;
use aws_credential_types::provider::SharedCredentialsProvider;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

const SSM: &str = "ssm";
const SECRETS: &str = "secretsmanager";

/// Longer than the longest secret.
const MAX_ANSWER_BYTES: usize = 256 << 10;

/// One of the two services.
struct Service {
    url: String,
    signer: Signer,
}

/// Where AWS keeps secrets.
pub struct AwsSecrets {
    client: Client,
    parameters: Service,
    secrets: Service,
}

/// Secrets of AWS's cannot be asked for; why, for the operator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NoSecrets(String);

impl AwsSecrets {
    /// With the region, the credentials and the addresses that the environment leads to; nothing is asked yet.
    ///
    /// # Errors
    /// No region is named.
    pub async fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, NoSecrets> {
        let region = env("AWS_REGION").or_else(|| env("AWS_DEFAULT_REGION"));
        let region = region.ok_or_else(|| NoSecrets("AWS_REGION must be set where keys are kept with AWS".into()))?;
        let at = |variable: &str, name: &str| {
            env(variable).or_else(|| env("AWS_ENDPOINT_URL")).unwrap_or_else(|| address(name, &region))
        };
        let parameters = (at("AWS_ENDPOINT_URL_SSM", SSM), Signer::from_env(&region, SSM).await);
        let secrets = (at("AWS_ENDPOINT_URL_SECRETS_MANAGER", SECRETS), Signer::from_env(&region, SECRETS).await);
        let service = |(url, signer): (String, Result<Signer, NoClient>)| {
            signer.map(|signer| Service { url, signer }).map_err(|error| NoSecrets(error.to_string()))
        };
        Ok(Self { client: client()?, parameters: service(parameters)?, secrets: service(secrets)? })
    }

    /// With credentials from elsewhere, and both services at this address.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn at(url: &str, credentials: SharedCredentialsProvider, region: &str) -> Result<Self, NoSecrets> {
        let service = |name| Service { url: url.to_owned(), signer: Signer::with(credentials.clone(), region, name) };
        Ok(Self { client: client()?, parameters: service(SSM), secrets: service(SECRETS) })
    }

    async fn ask(&self, service: &Service, target: &'static str, body: Value, now_ms: u64) -> Result<Value, Unread> {
        let body = body.to_string();
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let signed = service.signer.sign_with(&service.url, &headers, body.as_bytes(), now_ms).await;
        let mut signed = signed.map_err(|why| Unread(why.to_string()))?;
        for (name, value) in headers {
            signed.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let silent = |error: reqwest::Error| {
            Unread(if error.is_connect() { "no connection" } else { "the connection broke" }.to_owned())
        };
        let mut answer = self.client.post(&service.url).headers(signed).body(body).send().await.map_err(silent)?;
        let (status, mut bytes) = (answer.status(), Vec::new());
        while let Some(more) = answer.chunk().await.map_err(silent)? {
            bytes.extend_from_slice(&more);
            if bytes.len() > MAX_ANSWER_BYTES {
                return Err(Unread("the answer is too long".into()));
            }
        }
        if !status.is_success() {
            return Err(Unread(format!("{} ({})", name_of(&bytes), status.as_u16())));
        }
        serde_json::from_slice(&bytes).map_err(|_| Unread("the answer is no JSON".into()))
    }
}

fn client() -> Result<Client, NoSecrets> {
    let tls = client_config().map_err(|error| NoSecrets(error.to_string()))?;
    // There are minutes between two readings.
    let client = bare_client(tls, CONNECT_WITHIN).pool_max_idle_per_host(0);
    client.build().map_err(|error| NoSecrets(error.to_string()))
}

/// The name of an error, as `com.amazonaws#AccessDeniedException` ends.
fn name_of(body: &[u8]) -> String {
    #[derive(Deserialize, Default)]
    struct Named {
        #[serde(rename = "__type", default)]
        name: String,
    }
    let Named { name } = serde_json::from_slice(body).unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default();
    let is_plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_plain { name.to_owned() } else { "an error without a name".to_owned() }
}

#[async_trait]
impl SecretSource for AwsSecrets {
    async fn read(&self, reference: &SecretRef, now_ms: u64) -> Result<Secret, Unread> {
        match reference {
            SecretRef::Env(name) => Err(Unread(format!("{name} is a variable and not kept with AWS"))),
            SecretRef::Ssm(name) => {
                let asked = json!({"Name": name, "WithDecryption": true});
                let answer = self.ask(&self.parameters, "AmazonSSM.GetParameter", asked, now_ms).await?;
                secret(answer["Parameter"]["Value"].as_str().unwrap_or_default())
            }
            SecretRef::SecretsManager(name) => {
                let (id, field) = name.split_once('#').map_or((name.as_str(), None), |(id, field)| (id, Some(field)));
                let asked = json!({"SecretId": id});
                let answer = self.ask(&self.secrets, "secretsmanager.GetSecretValue", asked, now_ms).await?;
                let text = match (&answer["SecretString"], &answer["SecretBinary"]) {
                    (Value::String(text), _) => text.clone(),
                    (_, Value::String(packed)) => {
                        let bytes = STANDARD.decode(packed).ok();
                        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                        text.ok_or_else(|| Unread("the secret is binary and no text".into()))?
                    }
                    _ => return Err(Unread("the secret has no value".into())),
                };
                match field {
                    None => secret(&text),
                    Some(field) => secret(&of_json(&text, field)?),
                }
            }
        }
    }
}

/// A field of a secret that is JSON.
fn of_json(text: &str, field: &str) -> Result<String, Unread> {
    let json: Value = serde_json::from_str(text).map_err(|_| Unread("the secret is no JSON".into()))?;
    let value = json.get(field).and_then(Value::as_str);
    value.map(str::to_owned).ok_or_else(|| Unread(format!("the secret has no text in {field}")))
}

/// What can be sent as a key. A whole object cannot: its field is to be named.
fn secret(text: &str) -> Result<Secret, Unread> {
    if text.trim_start().starts_with('{') {
        return Err(Unread("the secret is JSON: name its field, as in secretsmanager:NAME#FIELD".into()));
    }
    Secret::new(text).ok_or_else(|| Unread("the secret is empty, or has characters that no key has".into()))
}

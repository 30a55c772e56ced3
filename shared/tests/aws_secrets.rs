//! Secrets kept with AWS, read from a double of its two services over HTTP.

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use gateway_core::aws::AwsSecrets;
use gateway_core::config::{Secret, SecretRef};
use gateway_core::provider::keys::SecretSource;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// 2025-11-22 14:00:00 UTC.
const NOW: u64 = 1_763_820_000_000;

/// What a service was sent: its head and its body.
type Sent = Arc<Mutex<Vec<(String, Value)>>>;

/// Both services, which answer every call with this status and body.
struct Double {
    url: String,
    sent: Sent,
    _serving: JoinSet<()>,
}

impl Double {
    async fn start(status: u16, body: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sent, body) = (Sent::default(), Arc::new(body.into()));
        let (noted, mut serving) = (sent.clone(), JoinSet::new());
        serving.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                clients.spawn(converse(client, noted.clone(), status, body.clone()));
            }
        });
        Self { url, sent, _serving: serving }
    }

    async fn read(&self, reference: &str) -> Result<Secret, String> {
        let credentials =
            Credentials::new("AKIDEXAMPLE", "the secret of the role", Some("session".into()), None, "test");
        let source = AwsSecrets::at(&self.url, SharedCredentialsProvider::new(credentials), "eu-west-1").unwrap();
        let read = source.read(&SecretRef::parse(reference).unwrap(), NOW).await;
        read.map_err(|why| why.to_string())
    }
}

async fn converse(mut client: TcpStream, sent: Sent, status: u16, body: Arc<String>) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, asked)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase().split_once("content-length: ")?.1.lines().next()?.parse().ok()?;
            if asked.len() >= length {
                sent.lock().unwrap().push((head.to_lowercase(), serde_json::from_str(asked).ok()?));
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                client.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
                read.clear();
            }
        }
        if client.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

fn exposed(read: Result<Secret, String>) -> Result<String, String> {
    read.map(|secret| secret.expose().to_owned())
}

#[tokio::test]
async fn a_parameter_is_asked_for_decrypted_and_signed() {
    let double = Double::start(200, json!({"Parameter": {"Name": "/k", "Value": "sk-kept\n"}}).to_string()).await;
    assert_eq!(exposed(double.read("ssm:/k").await), Ok("sk-kept".to_owned()));
    let (head, body) = double.sent.lock().unwrap()[0].clone();
    assert_eq!(body, json!({"Name": "/k", "WithDecryption": true}));
    for line in [
        "post / http/1.1",
        "x-amz-target: amazonssm.getparameter",
        "content-type: application/x-amz-json-1.1",
        "x-amz-date: 20251122t140000z",
        "x-amz-security-token: session",
        "credential=akidexample/20251122/eu-west-1/ssm/aws4_request",
        "signedheaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert!(!head.contains("the secret of the role"));
}

#[tokio::test]
async fn a_secret_is_text_or_packed_text_or_a_field_of_json() {
    let kept = json!({"openai": "sk-in-json", "other": 5}).to_string();
    for (answer, reference, expected) in [
        (json!({"SecretString": "sk-kept"}), "secretsmanager:gateway/openai", Ok("sk-kept")),
        (json!({"SecretBinary": "c2stcGFja2Vk"}), "secretsmanager:gateway/openai", Ok("sk-packed")),
        (json!({"SecretBinary": "/w=="}), "secretsmanager:gateway/openai", Err("the secret is binary and no text")),
        (json!({"SecretBinary": "!"}), "secretsmanager:gateway/openai", Err("the secret is binary and no text")),
        (json!({"SecretString": kept}), "secretsmanager:gateway/all#openai", Ok("sk-in-json")),
        (json!({"SecretString": kept}), "secretsmanager:gateway/all#none", Err("the secret has no text in none")),
        (json!({"SecretString": kept}), "secretsmanager:gateway/all#other", Err("the secret has no text in other")),
        (
            json!({"SecretString": kept}),
            "secretsmanager:gateway/all",
            Err("the secret is JSON: name its field, as in secretsmanager:NAME#FIELD"),
        ),
        (json!({"SecretString": "sk-kept"}), "secretsmanager:gateway/all#openai", Err("the secret is no JSON")),
        (
            json!({"SecretString": ""}),
            "secretsmanager:gateway/openai",
            Err("the secret is empty, or has characters that no key has"),
        ),
        (json!({}), "secretsmanager:gateway/openai", Err("the secret has no value")),
        (json!({"Parameter": {}}), "ssm:/k", Err("the secret is empty, or has characters that no key has")),
    ] {
        let double = Double::start(200, answer.to_string()).await;
        let read = exposed(double.read(reference).await);
        assert_eq!(read, expected.map(str::to_owned).map_err(str::to_owned), "{reference} {answer}");
        if reference.starts_with("secretsmanager") {
            let (head, body) = double.sent.lock().unwrap()[0].clone();
            let id = reference.split([':', '#']).nth(1).unwrap();
            assert_eq!(body, json!({"SecretId": id}));
            assert!(
                head.contains("x-amz-target: secretsmanager.getsecretvalue") && head.contains("/secretsmanager/aws4")
            );
        }
    }
}

#[tokio::test]
async fn what_goes_wrong_is_told_by_its_name_and_nothing_of_a_secret_is() {
    let error = |name: &str| json!({"__type": name, "Message": "arn:aws:… sk-secret is not authorized"}).to_string();
    for (status, body, why) in [
        (400, error("AccessDeniedException"), "AccessDeniedException (400)"),
        (400, error("com.amazonaws.ssm#ParameterNotFound"), "ParameterNotFound (400)"),
        (400, error("ThrottlingException"), "ThrottlingException (400)"),
        (500, error("InternalServiceError"), "InternalServiceError (500)"),
        (503, "<html>sk-secret</html>".to_owned(), "an error without a name (503)"),
        (400, error("sk-secret with spaces"), "an error without a name (400)"),
        (200, "sk-secret".to_owned(), "the answer is no JSON"),
        (200, format!("\"{}\"", "x".repeat(300 << 10)), "the answer is too long"),
        (302, String::new(), "an error without a name (302)"),
    ] {
        let read = Double::start(status, body).await.read("ssm:/k").await;
        assert_eq!(exposed(read), Err(why.to_owned()));
    }
    let credentials = SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "test"));
    let source = AwsSecrets::at("http://127.0.0.1:1", credentials, "eu-west-1").unwrap();
    let why = source.read(&SecretRef::Ssm("/k".into()), NOW).await.map(drop).unwrap_err();
    assert_eq!(why.to_string(), "no connection");
}

#[tokio::test]
async fn where_it_asks_is_what_the_environment_says() {
    let none = AwsSecrets::from_env(&|_| None).await.map(drop).unwrap_err();
    assert_eq!(none.to_string(), "AWS_REGION must be set where keys are kept with AWS");
    assert!(AwsSecrets::from_env(&|name| (name == "AWS_DEFAULT_REGION").then(|| "eu-west-1".into())).await.is_ok());
}

//! Secrets (T3): after requests of all kinds, logged as loudly as can be, no key and no prompt is where it must not be.

use super::gateway::{Setup, config};
use super::wire::request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use upstream_double::{Double, LEAK};

const PROVIDER_KEY: &str = "sk-provider-key-5d1c0e7f9b";
const PROMPT: &str = "the wizard of Zanzibar hides 4711 marbles";
/// All that may go wrong with a call; but not 400, 413 and 422, whose text is the provider's word to the caller (A2).
const MODELS: [&str; 15] = [
    "parrot",
    "echo",
    "status-401",
    "status-402",
    "status-403",
    "status-404",
    "status-500",
    "429",
    "reset",
    "cut",
    "malformed",
    "not-json",
    "error-event",
    "context-overflow",
    "content-filter",
];

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one search through all that was written")]
async fn no_key_and_no_prompt_is_logged_kept_or_answered() {
    let double = Double::start().await;
    let gateway = Setup::new()
        .configured(&config(&double.base_url(), &MODELS, ""))
        .with("DOUBLE_API_KEY", PROVIDER_KEY)
        .with("GATEWAY_LOG", "trace")
        .start()
        .await;
    let mut answers = Vec::new();
    for model in MODELS
        .iter()
        .map(|model| format!("double/{model}"))
        .chain(["auto", "sim/unsure", "sim/fail-100", "nope"].map(String::from))
    {
        for stream in [false, true] {
            let body = json!({"model": model, "stream": stream, "user": "zaphod", "messages": [
                {"role": "system", "content": format!("System: {PROMPT}")}, {"role": "user", "content": PROMPT}]});
            let answer = gateway.chat(&body.to_string()).await;
            // What repeats the prompt because it was told to does not count.
            if !matches!(model.as_str(), "double/parrot" | "double/echo") || answer.status != 200 {
                answers.push((model.clone(), format!("{:?}{}", answer.head, answer.text())));
            }
            if let Some(id) = answer.head.header("x-request-id") {
                answers.push((format!("receipt of {model}"), gateway.get(&format!("/v1/receipts/{id}")).await.text()));
            }
        }
    }
    let bad = format!(r#"{{"model":"auto","messages":[{{"role":"wizard","content":"{PROMPT}"}}]}}"#);
    answers.push(("bad".to_owned(), gateway.chat(&bad).await.text()));
    answers.push(("cut off".to_owned(), gateway.chat(&bad[..bad.len() - 3]).await.text()));
    let stranger = [("authorization", format!("Bearer {}x", gateway.key))].map(|(name, value)| (name, value));
    let stranger: Vec<(&str, &str)> = stranger.iter().map(|(name, value)| (*name, value.as_str())).collect();
    answers.push((
        "stranger".to_owned(),
        gateway.send(&request("POST /v1/chat/completions", &stranger, b"{}")).await.text(),
    ));
    for path in ["/v1/models", "/ready", "/health"] {
        answers.push((path.to_owned(), gateway.get(path).await.text()));
    }
    let made = |answer: Value, name: &str| answer[name].as_str().unwrap().to_owned();
    let ann = made(gateway.admin("POST /admin/admins", r#"{"name":"Ann","role":"owner"}"#).await.json(), "token");
    let ci = made(gateway.admin("POST /admin/tenants/demo/keys", r#"{"name":"ci"}"#).await.json(), "key");
    // Every path that is described: what has no such method answers too.
    let description = gateway.get("/openapi.yaml").await.text();
    let paths = description.lines().filter_map(|line| line.strip_prefix("  /")?.strip_suffix(':'));
    let receipt = gateway.admin("GET /admin/receipts?tenant=demo", "").await.json()["data"][0]["id"].clone();
    for path in paths {
        let path = path.replace("{tenant}", "demo").replace("{receipt}", receipt.as_str().unwrap());
        answers.push((path.clone(), gateway.admin(&format!("GET /{path}?tenant=demo"), "").await.text()));
        answers.push((path.clone(), gateway.admin(&format!("GET /{path}"), "").await.text()));
    }
    for query in [format!("key={}", gateway.key), format!("access_token={ann}")] {
        answers.push((query.clone(), gateway.get(&format!("/v1/models?{query}")).await.text()));
        answers.push((query.clone(), gateway.get(&format!("/admin/tenants?{query}")).await.text()));
    }
    assert!(double.counts().total.calls > 20, "the provider was called");
    assert!(double.requests().iter().all(|call| call.key_last4 == PROVIDER_KEY[PROVIDER_KEY.len() - 4..]));

    let (key, token, folder) = (gateway.key.clone(), gateway.admin_token.clone(), gateway.folder.clone());
    let greeting = gateway.greeting.clone();
    gateway.signal("TERM");
    let (_, output, log) = gateway.ended().await;
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is as loud as can be");
    let prompt = &PROMPT[4..];
    for (what, text, secrets) in [
        ("the log", &log, &[PROVIDER_KEY, LEAK, &key, &token, &ann, &ci, prompt][..]),
        ("stdout", &output, &[PROVIDER_KEY, LEAK, &key, &token, &ann, &ci, prompt]),
    ] {
        for secret in secrets {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} is in {what}: {line:?}");
        }
    }
    assert!(!greeting.contains(PROVIDER_KEY));
    for (what, text) in &answers {
        for secret in [PROVIDER_KEY, LEAK, &key, &token, &ann, &ci] {
            assert!(!text.contains(secret), "{secret} is in the answer to {what}: {text}");
        }
        if what.starts_with("receipt") {
            assert!(!text.contains(prompt), "the prompt is in the {what}: {text}");
        }
    }
    for (path, bytes) in folder.contents() {
        let text = String::from_utf8_lossy(&bytes);
        let file = path.file_name().unwrap().to_string_lossy();
        for secret in [PROVIDER_KEY, LEAK, &key, &ann, &ci, prompt]
            .into_iter()
            .chain((file != "admin-token").then_some(token.as_str()))
        {
            assert!(!text.contains(secret), "{secret} is in {}", path.display());
        }
    }
}

/// A service that keeps one parameter.
async fn parameters(value: &'static str) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut read = Vec::new();
            while !String::from_utf8_lossy(&read).contains("WithDecryption") {
                if client.read_buf(&mut read).await.unwrap() == 0 {
                    break;
                }
            }
            let body = json!({"Parameter": {"Value": value}}).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    (url, serving)
}

#[tokio::test]
async fn a_key_that_is_kept_elsewhere_is_used_and_logged_nowhere() {
    const ROLE_SECRET: &str = "wJalrXUtnFEMI-of-the-role";
    let (double, (url, _serving)) = (Double::start().await, parameters(PROVIDER_KEY).await);
    let gateway = Setup::new()
        .configured(&config(&double.base_url(), &["ok"], ""))
        .with("DOUBLE_API_KEY", "ssm:/gateway/double")
        .with("AWS_ENDPOINT_URL_SSM", &url)
        .with("AWS_REGION", "eu-west-1")
        .with("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .with("AWS_SECRET_ACCESS_KEY", ROLE_SECRET)
        .with("GATEWAY_LOG", "trace")
        .start()
        .await;
    let body = json!({"model": "double/ok", "messages": [{"role": "user", "content": "Hello"}]});
    assert_eq!(gateway.chat(&body.to_string()).await.status, 200);
    assert!(double.requests().iter().all(|call| call.key_last4 == PROVIDER_KEY[PROVIDER_KEY.len() - 4..]));
    gateway.signal("TERM");
    let (_, output, log) = gateway.ended().await;
    for secret in [PROVIDER_KEY, ROLE_SECRET] {
        assert!(!output.contains(secret) && !log.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn what_the_data_folder_keeps_secret_only_its_owner_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = super::gateway::Gateway::start().await;
    for file in ["admin-token", "hash-secret"] {
        let path = gateway.folder.path().join("data").join(file);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{file}");
    }
}

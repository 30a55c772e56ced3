//! The first minute with the program: what it prints works as pasted, and what is wrong is said in one line.

use super::gateway::{Folder, Gateway, Setup, config};
use super::upstream::Upstream;
use super::wire::request;
use serde_json::{Value, json};
use std::process::Command;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/gateway.toml");

#[tokio::test]
async fn a_first_start_prints_all_that_a_newcomer_needs() {
    let gateway = Gateway::start().await;
    let greeting = &gateway.greeting;
    assert!(greeting.contains(&format!("http://{}/v1\n", gateway.address)), "{greeting}");
    assert!(gateway.key.starts_with("gw_live_") && gateway.key.len() == 44, "{greeting}");
    assert!(gateway.admin_token.len() >= 32, "{greeting}");
    assert!(greeting.contains("every answer is simulated"), "{greeting}");
    assert_eq!(greeting.lines().filter(|line| line.starts_with("curl ")).count(), 1, "{greeting}");
    assert!(gateway.folder.path().join("data").is_dir());
    assert_eq!(gateway.admin("GET /admin/tenants", "").await.status, 200, "the token works");
    assert_eq!(gateway.get("/ready").await.json()["ready"], true);
}

#[tokio::test]
async fn the_curl_line_answers_as_pasted() {
    let gateway = Gateway::start().await;
    let line = gateway.greeting.lines().find(|line| line.starts_with("curl ")).unwrap().to_owned();
    let body: Value = if Command::new("curl").arg("--version").output().is_ok() {
        let pasted = tokio::task::spawn_blocking(move || Command::new("sh").args(["-c", &line]).output().unwrap());
        let pasted = pasted.await.unwrap();
        assert!(pasted.status.success() && pasted.stderr.is_empty(), "{pasted:?}");
        serde_json::from_slice(&pasted.stdout).unwrap()
    } else {
        // No curl on this machine: what stands between its single quotes is sent instead.
        let quoted: Vec<&str> = line.split('\'').skip(1).step_by(2).collect();
        assert!(line.contains(&format!(" http://{}/v1/chat/completions ", gateway.address)));
        let headers: Vec<(&str, &str)> = quoted[..2].iter().map(|header| header.split_once(": ").unwrap()).collect();
        gateway.send(&request("POST /v1/chat/completions", &headers, quoted[2].as_bytes())).await.json()
    };
    assert!(body["choices"][0]["message"]["content"].as_str().unwrap().contains("What is an API"), "{body}");
    assert_eq!(body["model"], "sim/cheap");
}

#[tokio::test]
async fn a_second_start_in_the_same_folder_has_the_same_key_token_and_books() {
    let first = Gateway::start().await;
    let (key, token) = (first.key.clone(), first.admin_token.clone());
    let body = json!({"model": "cheap", "messages": [{"role": "user", "content": "hello"}]}).to_string();
    let id = first.chat(&body).await.head.id();
    let usage = first.usage().await;
    first.signal("TERM");
    let folder = first.folder.clone();
    assert!(first.ended().await.0.success());
    let second = Setup::again(&folder).start().await;
    assert_eq!((&second.key, &second.admin_token), (&key, &token));
    assert_eq!(second.receipt(&id).await["status"], 200);
    assert_eq!(second.usage().await, usage);
}

#[tokio::test]
async fn a_demo_key_that_was_revoked_is_not_made_again() {
    let first = Gateway::start().await;
    assert_eq!(first.admin("DELETE /admin/tenants/demo/keys/demo", "").await.status, 204);
    assert_eq!(first.get("/v1/models").await.status, 401);
    let folder = first.kill().await;
    let second = Setup::again(&folder).start_without_key().await;
    let keys = second.admin("GET /admin/tenants/demo/keys", "").await;
    assert_eq!(keys.json()["data"], json!([]), "{}", second.greeting);
    assert!(!second.greeting.contains("gw_live_"), "{}", second.greeting);
}

#[tokio::test]
async fn two_gateways_do_not_share_a_folder_nor_an_address() {
    let first = Gateway::start().await;
    let complaint = Setup::again(&first.folder).complaint().await;
    assert!(complaint.contains("another") && complaint.contains("data"), "{complaint}");
    let complaint = Setup::new().with("GATEWAY_ADDR", &first.address.to_string()).complaint().await;
    assert!(complaint.contains("GATEWAY_ADDR") && complaint.contains(&first.address.to_string()), "{complaint}");
    assert!(complaint.contains("in use"), "{complaint}");
    assert_eq!(first.get("/v1/models").await.status, 200, "the first one is not disturbed");
}

#[tokio::test]
async fn a_bad_environment_is_refused_by_the_name_of_its_variable_and_no_secret_is_repeated() {
    for (variable, value, says) in [
        ("GATEWAY_ADDR", "nonsense", "nonsense"),
        ("GATEWAY_ADDR", "127.0.0.1:99999", "127.0.0.1:99999"),
        ("GATEWAY_CONFIG", "/nowhere/gateway.toml", "/nowhere/gateway.toml"),
        ("GATEWAY_DIRECTORY", "file:", "file:FOLDER"),
        ("GATEWAY_DIRECTORY", "mongodb://admin:hunter2@db.example/x", "file:FOLDER"),
        ("GATEWAY_DIRECTORY", "file:/proc/nowhere", "/proc/nowhere"),
        ("GATEWAY_STORE", "bogus", "memory"),
        ("GATEWAY_STORE", "bogus://user:hunter2@host:1/0?password=hunter2", "memory"),
        ("GATEWAY_ADMIN_TOKEN", "short-hunter2", "32 characters"),
        ("GATEWAY_LOG", "=[", "GATEWAY_LOG"),
    ] {
        let complaint = Setup::new().with(variable, value).complaint().await;
        assert!(complaint.contains(variable) && complaint.contains(says), "{variable}={value}: {complaint}");
        assert!(!complaint.contains("hunter2"), "{variable}={value}: {complaint}");
        assert_eq!(complaint.trim_end().lines().count(), 1, "one line says it: {complaint}");
    }
}

#[tokio::test]
async fn a_blank_variable_counts_as_not_set_and_the_end_of_a_secrets_line_is_cut() {
    let token = "an-operator-chose-this-token-of-32-and-more";
    let blank =
        ["GATEWAY_CONFIG", "GATEWAY_STORE", "GATEWAY_STORE_CA", "GATEWAY_HASH_SECRET", "GATEWAY_LOG", "GROQ_API_KEY"];
    let setup = Setup::new().with("GATEWAY_ADMIN_TOKEN", &format!("{token}\r\n"));
    let mut gateway = blank.iter().fold(setup, |setup, name| setup.with(name, "")).start().await;
    gateway.admin_token = token.to_owned();
    assert_eq!(gateway.admin("GET /admin/tenants", "").await.status, 200);
    // An empty token is none: one is made, and shown.
    let gateway = Setup::new().with("GATEWAY_ADMIN_TOKEN", " ").start().await;
    assert_eq!(gateway.admin("GET /admin/tenants", "").await.status, 200);
}

#[tokio::test]
async fn a_token_of_the_operators_own_is_taken_from_the_environment_and_neither_printed_nor_written_down() {
    let token = "an-operator-chose-this-token-of-32-and-more";
    let mut gateway = Setup::new().with("GATEWAY_ADMIN_TOKEN", token).start().await;
    assert_ne!(gateway.admin_token, token, "whoever set it knows it: it is not printed");
    gateway.admin_token = token.to_owned();
    assert_eq!(gateway.admin("GET /admin/tenants", "").await.status, 200);
    for (path, bytes) in gateway.folder.contents() {
        assert!(!String::from_utf8_lossy(&bytes).contains(token), "{}", path.display());
    }
}

#[tokio::test]
async fn check_says_what_is_wrong_with_a_file_and_where() {
    let folder = Folder::new();
    let check = async |path: &str| Setup::new().called(&["check", path]).run().await;
    let (status, output, errors) = check(SHIPPED).await;
    assert!(status.success() && output.contains("no problems") && errors.is_empty(), "{output}{errors}");
    assert!(output.contains("in this environment: openai is skipped, for OPENAI_API_KEY is not set"), "{output}");
    let good = config("http://127.0.0.1:9/v1", &["ok"], "");
    let (status, output, errors) = check(&folder.file("unset.toml", &good)).await;
    assert!(status.success() && errors.is_empty(), "{output}{errors}");
    assert!(output.contains("api_key: DOUBLE_API_KEY is not set in the environment"), "{output}");
    for (name, text, says) in [
        ("unknown.toml", good.clone() + "\n[tennant_defaults]\n", &["unknown.toml:", "tennant_defaults"][..]),
        (
            "dangling.toml",
            good.replace("\"sim/cheap\"", "\"nowhere/none\""),
            &["dangling.toml:", "tiers.cheap", "nowhere/none"],
        ),
        ("negative.toml", good.replace("input = 1", "input = -1"), &["negative.toml:", "usd_per_million.input"]),
        ("empty_tier.toml", good.replace("[\"sim/cheap\"]", "[]"), &["empty_tier.toml:", "tiers.cheap"]),
        ("no_toml.toml", "[tiers\ncheap".to_owned(), &["no_toml.toml:1"]),
        ("empty.toml", String::new(), &["tiers"]),
        (
            "key.toml",
            good.replace("env:DOUBLE_API_KEY", "sk-hunter2-is-a-key"),
            &["key.toml:", "providers.double.api_key"],
        ),
        ("words.toml", good.replace("output = 2", "output = \"two\""), &["words.toml:", "usd_per_million.output"]),
    ] {
        let (status, output, errors) = check(&folder.file(name, text)).await;
        assert_eq!(status.code(), Some(1), "{name}: {output}{errors}");
        assert!(says.iter().all(|says| errors.contains(says)), "{name}: {errors}");
        assert!(!errors.contains("hunter2") && !errors.contains("panicked"), "{name}: {errors}");
    }
    let not_text = folder.file("bytes.toml", b"\xff\xfe\x00");
    for path in ["/nowhere/gateway.toml", folder.path().to_str().unwrap(), &not_text] {
        let (status, _, errors) = check(path).await;
        assert_eq!(status.code(), Some(1));
        assert!(errors.contains(path) && !errors.contains("panicked"), "{errors}");
    }
}

#[tokio::test]
async fn catalog_check_names_what_is_past_its_day_and_ends_with_an_error() {
    let folder = Folder::new();
    let check = async |path: &str| Setup::new().called(&["catalog", "check", path]).run().await;
    let file = |fields: &str| {
        format!(
            "[providers.up]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:9'\n[models.'up/one']\nprovider = 'up'\n\
             usd_per_million = {{ input = 1, output = 1 }}\n{fields}\n[tiers]\nonly = ['up/one']\n"
        )
    };
    let (status, output, errors) = check(&folder.file("good.toml", file("retires = 9999-01-01"))).await;
    assert!(status.success() && errors.is_empty(), "{output}{errors}");
    assert!(output.contains("models of the catalog") && output.contains("and 1 of the configuration"), "{output}");
    let (status, output, errors) = check(&folder.file("past.toml", file("retires = 2020-01-01"))).await;
    assert_eq!(status.code(), Some(1), "{output}{errors}");
    assert!(output.contains("up/one: its provider was to retire it on 2020-01-01"), "{output}");
    let (status, _, errors) = check("/nowhere/gateway.toml").await;
    assert!(status.code() == Some(1) && errors.contains("/nowhere/gateway.toml"), "{errors}");
}

#[tokio::test]
async fn a_wrong_command_line_shows_the_usage() {
    for arguments in [&["serve"][..], &["check"], &["check", "a", "b"], &["catalog"], &["--bogus"]] {
        let complaint = Setup::new().called(arguments).complaint().await;
        assert!(complaint.contains("usage: ai-gateway"), "{arguments:?}: {complaint}");
    }
    for (argument, says) in
        [("--help", "usage: ai-gateway"), ("--help", "GATEWAY_STORE "), ("--version", "ai-gateway ")]
    {
        let (status, output, _) = Setup::new().called(&[argument]).run().await;
        assert!(status.success() && output.contains(says), "{output}");
    }
}

#[tokio::test]
async fn sigterm_lets_a_running_stream_end_and_takes_no_new_connection() {
    let upstream = Upstream::start().await;
    let text = config(&upstream.base_url(), &["slow"], "");
    let gateway = Setup::new()
        .configured(&text)
        .with("DOUBLE_API_KEY", "sk-x")
        .with("GATEWAY_ADDR", "127.0.0.78:0")
        .start()
        .await;
    let (mut client, mut idle) = (gateway.connect().await, gateway.connect().await);
    let body =
        json!({"model": "double/slow", "stream": true, "messages": [{"role": "user", "content": "hello"}]}).to_string();
    client.send(&gateway.chat_request(&[], body.as_bytes())).await;
    let mut call = upstream.call().await;
    call.begin().await;
    call.say("one").await;
    let id = client.head().await.unwrap().id();
    assert!(!client.chunk().await.unwrap().is_empty());
    gateway.signal("TERM");
    // The connection that serves nobody is closed: the signal has been heard.
    assert!(idle.is_closed().await);
    call.say("two").await;
    call.finish(5, 2).await;
    let mut rest = String::new();
    while let Some(chunk) = client.chunk().await.filter(|chunk| !chunk.is_empty()) {
        rest += std::str::from_utf8(&chunk).unwrap();
    }
    assert!(rest.contains("two") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    let (folder, address) = (gateway.folder.clone(), gateway.address);
    let (status, _, errors) = gateway.ended().await;
    assert!(status.success(), "{errors}");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let again = Setup::again(&folder).configured(&text).with("DOUBLE_API_KEY", "sk-x").start().await;
    assert_eq!(again.receipt(&id).await["usage"]["output_tokens"], 2);
}

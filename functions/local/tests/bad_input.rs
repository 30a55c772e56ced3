//! Bad input over real HTTP: each is a 4xx of the contract that names what is wrong, none hangs, none is charged.

use super::gateway::{Gateway, Setup, config};
use super::wire::{Answer, request};
use gateway_core::tenant::key::ApiKey;
use serde_json::json;

pub(crate) const GOOD: &str = r#"{"model":"sim/cheap","messages":[{"role":"user","content":"What is an API?"}]}"#;

/// What of an answer is not the contract's refusal: status, code, the field to blame, the envelope.
fn fault(answer: &Answer, status: u16, code: &str, param: Option<&str>) -> Option<String> {
    if answer.status != status || answer.head.header("content-type") != Some("application/json") {
        return Some(format!("{} {:.300}", answer.status, answer.text()));
    }
    let body = answer.json();
    let (error, id) = (&body["error"], body["request_id"].as_str());
    let is_right = (error["code"].as_str(), error["param"].as_str()) == (Some(code), param)
        && error["message"].as_str().is_some_and(|text| text.len() > 10)
        && error["type"].is_string()
        && id.is_some()
        && id == answer.head.header("x-request-id");
    (!is_right).then(|| format!("{:?} {body}", answer.head))
}

/// Holds a refusal to the contract.
pub(crate) fn is_refused(what: &str, answer: &Answer, status: u16, code: &str, param: Option<&str>) {
    assert_eq!(fault(answer, status, code, param), None, "{what} should be {status} {code} {param:?}");
}

/// A chat request with these fields beside a good message.
pub(crate) fn with_fields(fields: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{fields}}}"#)
}

/// A chat request with these messages.
fn with_messages(messages: &str) -> String {
    format!(r#"{{"model":"sim/cheap","messages":{messages}}}"#)
}

/// Every bad body, its code, and the field that is to blame.
#[expect(clippy::too_many_lines, reason = "a table")]
fn bad_bodies() -> Vec<(Vec<u8>, u16, &'static str, Option<&'static str>)> {
    let deep = |open: &str, close: &str| open.repeat(10_000) + "1" + &close.repeat(10_000);
    let of_no_field = [
        String::new(),
        " \r\n\t ".to_owned(),
        "{".to_owned(),
        "nonsense".to_owned(),
        "[1]".to_owned(),
        "\"x\"".to_owned(),
        "5".to_owned(),
        "null".to_owned(),
        GOOD[..GOOD.len() - 1].to_owned(),
        format!("{GOOD}{GOOD}"),
        format!("\u{feff}{GOOD}"),
        deep("[", "]"),
        deep(r#"{"a":"#, "}"),
        with_fields(&format!(r#""model":"sim/cheap","metadata":{}"#, deep("[", "]"))),
        with_fields(r#""model":"sim/cheap","temperature":NaN"#),
        with_fields("\"model\":\"sim/\0cheap\""),
    ];
    let mut rows: Vec<_> =
        of_no_field.into_iter().map(|body| (body.into_bytes(), 400, "invalid_request", None)).collect();
    rows.push((b"{\"model\":\"\xff\xfe\"}".to_vec(), 400, "invalid_request", None));
    rows.push((b"\x1f\x8b\x08\x00not really gzip".to_vec(), 400, "invalid_request", None));
    for (field, param) in [
        (r#""stream":false"#, "model"),
        (r#""model":null"#, "model"),
        (r#""model":5"#, "model"),
        (r#""model":["sim/cheap"]"#, "model"),
        (r#""model":"""#, "model"),
        (r#""model":"sim/cheap\u0000""#, "model"),
        (r#""model":"sim/cheap\r\nx-evil: 1""#, "model"),
        (r#""model":"\ud800""#, "model"),
        (r#""model":"sim/cheap","model":"sim/cheap""#, "model"),
        (r#""model":"sim/cheap","mod\u0065l":"sim/cheap""#, "model"),
        (r#""models":[]"#, "models"),
        (r#""models":"sim/cheap""#, "models"),
        (r#""models":["sim/cheap",5]"#, "models[1]"),
        (r#""model":"auto","models":["sim/cheap"]"#, "models"),
        (r#""model":"sim/cheap","max_tokens":-1"#, "max_tokens"),
        (r#""model":"sim/cheap","max_tokens":0"#, "max_tokens"),
        (r#""model":"sim/cheap","max_tokens":1e99"#, "max_tokens"),
        (r#""model":"sim/cheap","max_tokens":1.5"#, "max_tokens"),
        (r#""model":"sim/cheap","max_tokens":"5""#, "max_tokens"),
        (r#""model":"sim/cheap","max_tokens":99999999999999999999999999"#, "max_tokens"),
        (r#""model":"sim/cheap","max_completion_tokens":-1"#, "max_completion_tokens"),
        (r#""model":"sim/cheap","n":0"#, "n"),
        (r#""model":"sim/cheap","n":1e9"#, "n"),
        (r#""model":"sim/cheap","n":129"#, "n"),
        (r#""model":"sim/cheap","temperature":3"#, "temperature"),
        (r#""model":"sim/cheap","temperature":-0.1"#, "temperature"),
        (r#""model":"sim/cheap","temperature":1e400"#, "temperature"),
        (r#""model":"sim/cheap","temperature":"hot""#, "temperature"),
        (r#""model":"sim/cheap","top_p":2"#, "top_p"),
        (r#""model":"sim/cheap","presence_penalty":9"#, "presence_penalty"),
        (r#""model":"sim/cheap","frequency_penalty":-9"#, "frequency_penalty"),
        (r#""model":"sim/cheap","stream":"yes""#, "stream"),
        (r#""model":"sim/cheap","stream":1"#, "stream"),
        (r#""model":"sim/cheap","stream_options":[]"#, "stream_options"),
        (r#""model":"sim/cheap","logprobs":1"#, "logprobs"),
        (r#""model":"sim/cheap","top_logprobs":99"#, "top_logprobs"),
        (r#""model":"sim/cheap","seed":"x""#, "seed"),
        (r#""model":"sim/cheap","user":5"#, "user"),
        (r#""model":"sim/cheap","stop":5"#, "stop"),
        (r#""model":"sim/cheap","tools":{}"#, "tools"),
        (r#""model":"sim/cheap","tools":[5]"#, "tools[0]"),
        (r#""model":"sim/cheap","response_format":"json""#, "response_format"),
        (r#""model":"sim/cheap","response_format":["json_object"]"#, "response_format"),
        (r#""model":"sim/cheap","response_format":{"type":"json_schema"}"#, "response_format.json_schema"),
        (r#""model":"sim/cheap","messages":[]"#, "messages"),
    ] {
        rows.push((with_fields(field).into_bytes(), 400, "invalid_request", Some(param)));
    }
    for (messages, param) in [
        ("null", "messages"),
        ("[]", "messages"),
        ("{}", "messages"),
        ("\"hello\"", "messages"),
        ("[5]", "messages[0]"),
        (r#"[["user","x"]]"#, "messages[0]"),
        (r#"[{"content":"x"}]"#, "messages[0].role"),
        (r#"[{"role":"wizard","content":"x"}]"#, "messages[0].role"),
        (r#"[{"role":"user","content":"x"},{"role":"USER","content":"x"}]"#, "messages[1].role"),
        (r#"[{"role":5,"content":"x"}]"#, "messages[0]"),
        (r#"[{"role":"user","role":"system","content":"x"}]"#, "messages[0]"),
        (r#"[{"role":"user"}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":5}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":{"text":"x"}}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":"\ud800"}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":["x"]}]"#, "messages[0].content[0]"),
        (r#"[{"role":"user","content":[["text","x"]]}]"#, "messages[0].content[0]"),
        (r#"[{"role":"user","content":[{"type":5}]}]"#, "messages[0].content[0]"),
        (r#"[{"role":"user","content":[{"text":"x"}]}]"#, "messages[0].content[0].type"),
        (r#"[{"role":"user","content":[{"type":"text"}]}]"#, "messages[0].content[0].text"),
        (r#"[{"role":"user","content":[{"type":"text","text":5}]}]"#, "messages[0].content[0]"),
    ] {
        rows.push((with_messages(messages).into_bytes(), 400, "invalid_request", Some(param)));
    }
    for model in [
        "nope",
        "sim/",
        "sim/slow-99999999999",
        "../../etc/passwd",
        "SIM/CHEAP",
        "http://169.254.169.254/",
        "double/ok",
    ] {
        let body = with_fields(&format!(r#""model":"{model}""#));
        rows.push((body.into_bytes(), 404, "model_not_found", Some("model")));
    }
    for model in ["sim/reasoning", "reasoning"] {
        let body = with_fields(&format!(r#""model":"{model}""#));
        rows.push((body.into_bytes(), 403, "model_not_allowed", Some("model")));
    }
    rows
}

/// A gateway whose tenant has so little of everything that one bad request that is counted shows.
pub(crate) async fn tight() -> Gateway {
    let more = "[tenant_defaults]\nallowed_models = [\"sim/cheap\", \"auto\"]\n\
                [tenant_defaults.limits]\nrequests_per_minute = 4\nconcurrency = 1\ndaily_requests = 2\n";
    Setup::new().configured(&config("http://127.0.0.1:9/v1", &[], more)).with("DOUBLE_API_KEY", "sk-x").start().await
}

#[tokio::test]
async fn a_bad_body_is_refused_by_the_name_of_its_field_and_is_not_charged() {
    let gateway = tight().await;
    let fresh = [("x-gateway-cache", "no-store")];
    assert_eq!(gateway.chat_with(&fresh, GOOD.as_bytes()).await.status, 200);
    let before = gateway.usage().await;
    let mut faults = Vec::new();
    for endpoint in ["/v1/chat/completions", "/v1/route"] {
        for (body, status, code, param) in bad_bodies() {
            let what = format!("{endpoint} {}", String::from_utf8_lossy(&body[..body.len().min(120)]));
            let bearer = format!("Bearer {}", gateway.key);
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let answer = gateway.send(&request(&format!("POST {endpoint}"), &headers, &body)).await;
            let wrong = fault(&answer, status, code, param);
            faults.extend(wrong.map(|wrong| format!("{what} should be {status} {code} {param:?}, is {wrong}")));
            let receipt = gateway.get(&format!("/v1/receipts/{}", answer.head.id())).await;
            faults.extend((receipt.status != 404).then(|| format!("{what} has a receipt")));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(gateway.usage().await, before);
    // Had any of them counted against a rate, a quota or the concurrency, the second good one would be refused.
    assert_eq!(gateway.chat_with(&fresh, GOOD.as_bytes()).await.status, 200);
    is_refused("the quota", &gateway.chat_with(&fresh, GOOD.as_bytes()).await, 429, "quota_exceeded", None);
}

#[tokio::test]
async fn who_has_no_good_key_learns_nothing_wherever_they_ask() {
    let gateway = Gateway::start().await;
    let unknown = ApiKey::generate().reveal().to_owned();
    let (first, last) = gateway.key.split_at(gateway.key.len() - 1);
    let mistyped = format!("{first}{}", if last == "a" { "b" } else { "a" });
    let long = "gw_live_".to_owned() + &"a".repeat(8000);
    let mut rows = vec![("no key".to_owned(), Vec::new())];
    for key in [
        &unknown,
        &mistyped,
        &long,
        "",
        "gw_live_",
        "sk-proj-x",
        "' OR 1=1 --",
        "a\tb",
        "\u{e9}\u{e9}",
        &gateway.admin_token,
    ] {
        rows.push((format!("bearer {key}"), vec![("authorization", format!("Bearer {key}"))]));
        rows.push((format!("x-api-key {key}"), vec![("x-api-key", key.to_owned())]));
    }
    for value in
        [gateway.key.clone(), format!("Basic {}", gateway.key), format!("Bearer{}", gateway.key), "Bearer".to_owned()]
    {
        rows.push((format!("authorization {value}"), vec![("authorization", value)]));
    }
    for (what, headers) in rows {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (line, body) in [
            ("POST /v1/chat/completions", GOOD),
            ("POST /v1/route", GOOD),
            ("POST /v1/chat/completions", "{"),
            ("GET /v1/models", ""),
            ("GET /v1/status", ""),
            ("GET /v1/models/sim/cheap", ""),
            ("GET /v1/receipts/01M81WX4SEGFDJSTMT013762SF", ""),
        ] {
            let answer = gateway.send(&request(line, &headers, body.as_bytes())).await;
            is_refused(&format!("{what}: {line}"), &answer, 401, "invalid_api_key", None);
            assert!(
                !answer.text().contains(&unknown) && !answer.text().contains(&gateway.key),
                "{what}: a key is repeated"
            );
        }
    }
}

#[tokio::test]
async fn a_key_of_a_disabled_tenant_is_told_so_and_works_again_when_it_is_enabled() {
    let gateway = Gateway::start().await;
    assert_eq!(gateway.chat(GOOD).await.status, 200);
    for (enabled, status) in [(false, 403), (true, 200)] {
        let patched = gateway.admin("PATCH /admin/tenants/demo", &json!({"enabled": enabled}).to_string()).await;
        assert_eq!(patched.status, 200, "{}", patched.text());
        let answer = gateway.chat(GOOD).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        if !enabled {
            is_refused("disabled", &answer, 403, "tenant_disabled", None);
        }
    }
}

#[tokio::test]
async fn a_header_of_ours_that_cannot_be_understood_is_refused_by_its_name() {
    let gateway = Gateway::start().await;
    let eleven = (0..11).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
    let long = format!("a={}", "v".repeat(65));
    for (name, value) in [
        ("x-gateway-cache", "no-stroe"),
        ("x-gateway-cache", ""),
        ("x-gateway-cache", "no-store, no-cache"),
        ("x-gateway-cache-ttl", "soon"),
        ("x-gateway-cache-ttl", "-1"),
        ("x-gateway-cache-ttl", "0"),
        ("x-gateway-cache-ttl", "1e9"),
        ("x-gateway-cache-ttl", "99999999999999999999"),
        ("x-gateway-upgrade", "maybe"),
        ("x-gateway-upgrade", "OFF!"),
        ("x-gateway-tags", "novalue"),
        ("x-gateway-tags", "=v"),
        ("x-gateway-tags", eleven.as_str()),
        ("x-gateway-tags", long.as_str()),
        ("x-gateway-tags", "a=\u{e9}"),
    ] {
        let answer = gateway.chat_with(&[(name, value)], GOOD.as_bytes()).await;
        is_refused(&format!("{name}: {value}"), &answer, 400, "invalid_request", Some(name));
    }
}

#[tokio::test]
async fn another_content_type_is_415_and_none_at_all_is_let_pass() {
    let gateway = Gateway::start().await;
    let bearer = format!("Bearer {}", gateway.key);
    for (kind, status) in [
        (Some("application/json"), 200),
        (Some("application/json; charset=utf-8"), 200),
        (Some("APPLICATION/JSON"), 200),
        (Some("application/vnd.api+json"), 200),
        (None, 200),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("multipart/form-data; boundary=x"), 415),
        (Some("application/jsonp"), 415),
        (Some("\u{ff}"), 415),
    ] {
        let headers: Vec<_> =
            [("authorization", bearer.as_str())].into_iter().chain(kind.map(|kind| ("content-type", kind))).collect();
        let answer = gateway.send(&request("POST /v1/chat/completions", &headers, GOOD.as_bytes())).await;
        assert_eq!(answer.status, status, "{kind:?}: {}", answer.text());
        if status == 415 {
            is_refused(&format!("{kind:?}"), &answer, 415, "unsupported_media_type", None);
        }
    }
}

//! Whatever comes in that should not: a clear 4xx that names the field, nothing dispatched, nothing counted, no hang.

use crate::rig::{Got, Rig, ask, ask_with, boxed, cheap, with_key};
use gateway_core::directory::{Directory, Expiry};
use gateway_core::money::Amounts;
use gateway_core::request::incoming::Incoming;
use gateway_core::tenant::key::ApiKey;
use http::HeaderMap;
use serde_json::{Value, json};

/// The answer is the contract's envelope, and the request has left no trace but its id.
async fn refused(rig: &Rig, got: &Got, status: u16, code: &str, param: Option<&str>) {
    assert_eq!((got.status, got.error_code().as_str()), (status, code), "{got:?}");
    let body = got.json();
    assert_eq!(body["error"]["param"].as_str(), param, "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    assert_eq!(body["request_id"], got.header("x-request-id"), "{body}");
    assert_eq!(rig.double.counts().total.calls, 0, "{body}");
    assert_eq!((rig.counted().await, rig.totals().await), (Amounts::default(), Amounts::default()), "{body}");
}

#[tokio::test]
async fn a_body_that_cannot_be_understood_is_refused_by_its_field() {
    let rig = cheap(["ok"]).build().await;
    const MESSAGES: &str = r#""messages":[{"role":"user","content":"x"}]"#;
    let deep = format!(r#"{{"model":"cheap",{MESSAGES},"x":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let long_name = format!(r#"{{"model":"{}",{MESSAGES}}}"#, "a".repeat(100_000));
    for (body, param) in [
        ("", None),
        (" \n ", None),
        ("null", None),
        ("\"cheap\"", None),
        ("[[]]", None),
        ("{\"model\":\"cheap\"", None),
        ("{\"model\":\"cheap\"}}", None),
        (&deep, None),
        (&long_name, Some("model")),
        (r#"{"messages":[{"role":"user","content":"x"}]}"#, Some("model")),
        (r#"{"model":"","messages":[{"role":"user","content":"x"}]}"#, Some("model")),
        (r#"{"model":["cheap"],"messages":[{"role":"user","content":"x"}]}"#, Some("model")),
        (r#"{"model":"cheap"}"#, Some("messages")),
        (r#"{"model":"cheap","messages":{}}"#, Some("messages")),
        (r#"{"model":"cheap","messages":[[]]}"#, Some("messages[0]")),
        (r#"{"model":"cheap","messages":[["user","x"]]}"#, Some("messages[0]")),
        (r#"{"model":"cheap","messages":[{"role":"root","content":"x"}]}"#, Some("messages[0].role")),
        (r#"{"model":"cheap","messages":[{"content":"x"}]}"#, Some("messages[0].role")),
        (r#"{"model":"cheap","messages":[{"role":"user","content":[["text","x"]]}]}"#, Some("messages[0].content[0]")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"max_tokens":-1}}"#), Some("max_tokens")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"max_tokens":1e99}}"#), Some("max_tokens")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"max_tokens":99999999999999999999999}}"#), Some("max_tokens")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"temperature":1e999}}"#), None),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"temperature":-0.1}}"#), Some("temperature")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"n":1000000}}"#), Some("n")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"stream":1}}"#), Some("stream")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"stream_options":[]}}"#), Some("stream_options")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"response_format":["json_object"]}}"#), Some("response_format")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"model":"reasoning"}}"#), Some("model")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"m\u006fdel":"reasoning"}}"#), Some("model")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"models":["cheap",null]}}"#), Some("models[1]")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"seed":1.5}}"#), Some("seed")),
        (&format!(r#"{{"model":"cheap",{MESSAGES},"user":5}}"#), Some("user")),
    ] {
        let got = rig.chat_bytes(&[], body.to_owned()).await;
        assert_eq!(got.status, 400, "{}: {got:?}", &body[..body.len().min(120)]);
        let named = got.json()["error"]["param"].as_str().map(str::to_owned);
        // serde_json refuses a number that no float holds before anybody asks which field it is in.
        assert!(named.as_deref() == param || body.contains("1e999"), "{}: {named:?}", &body[..body.len().min(120)]);
        refused(&rig, &got, 400, "invalid_request", named.as_deref()).await;
    }
    for body in [&b"\xff\xfe{}"[..], b"{\"model\":\"\xc3\"}", b"\x00", b"\x1f\x8b\x08"] {
        refused(&rig, &rig.chat_bytes(&[], body).await, 400, "invalid_request", None).await;
    }
}

#[tokio::test]
async fn a_field_that_is_a_known_one_but_for_its_case_is_refused() {
    let rig = cheap(["ok"]).tenant(json!({"allow_paid_extras": true})).build().await;
    for name in ["Model", "N", "MAX_TOKENS", "Stream_Options", "max_to\u{212a}ens", "\u{17f}tream", "Best_Of"] {
        for value in [json!(1), Value::Null] {
            let mut body = ask("cheap");
            body[name] = value;
            let got = rig.chat(body).await;
            refused(&rig, &got, 400, "invalid_request", Some(name)).await;
        }
    }
    assert_eq!(rig.chat(ask_with("cheap", json!({"Colour": 1, "modell": 2}))).await.status, 200);
}

#[tokio::test]
async fn fields_that_change_the_price_need_the_tenants_setting() {
    let rig = cheap(["ok"]).build().await;
    let extras = [
        ("service_tier", json!("priority"), "service_tier"),
        ("plugins", json!([{"id": "web"}]), "plugins"),
        ("web_search_options", json!({}), "web_search_options"),
        ("best_of", json!(4), "best_of"),
        ("prediction", json!({"type": "content", "content": "x"}), "prediction"),
        ("modalities", json!(["text", "audio"]), "modalities"),
        ("provider", json!({"order": ["dear"]}), "provider"),
        ("tools", json!([{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}]), "tools[1].type"),
    ];
    for (name, value, param) in &extras {
        let mut body = ask("cheap");
        body[*name] = value.clone();
        let got = rig.chat(body).await;
        refused(&rig, &got, 400, "invalid_request", Some(param)).await;
        assert!(got.contains("`allow_paid_extras`"), "{got:?}");
    }
    for (name, ..) in &extras {
        let nothing = rig.fresh(ask_with("cheap", json!({*name: null}))).await;
        assert_eq!(nothing.status, 200, "{name} is as good as absent: {nothing:?}");
    }
    for tier in ["auto", "default"] {
        assert_eq!(rig.fresh(ask_with("cheap", json!({"service_tier": tier}))).await.status, 200, "{tier}");
    }
    // As with the models that a tenant may use: more is allowed once the directory is asked again, less at once.
    rig.change_tenant("acme", json!({"allow_paid_extras": true})).await;
    rig.clock.advance(10_000);
    for (name, value, _) in &extras {
        let got = rig.fresh(ask_with("up/ok", json!({*name: value.clone()}))).await;
        assert_eq!(got.status, 200, "{name}: {got:?}");
        let sent: Value = serde_json::from_slice(&rig.double.requests().last().unwrap().body).unwrap();
        assert_eq!(&sent[*name], value, "it goes upstream as it came");
    }
    rig.change_tenant("acme", json!({"allow_paid_extras": false})).await;
    assert_eq!(rig.fresh(ask_with("cheap", json!({"best_of": 2}))).await.status, 400);
}

#[tokio::test]
async fn names_that_would_break_a_header_or_a_log_line_are_refused() {
    let rig = cheap(["ok"]).build().await;
    for name in ["cheap\r\nx-injected: 1", "cheap\n", "\u{0}", "a\tb", "\u{1b}[31m", "\u{7f}", "cheap\u{85}"] {
        let got = rig.chat(ask(name)).await;
        assert!(got.header("x-injected").is_empty());
        refused(&rig, &got, 400, "invalid_request", Some("model")).await;
        let mut listed = ask("cheap");
        listed["models"] = json!(["cheap", name]);
        refused(&rig, &rig.chat(listed).await, 400, "invalid_request", Some("models[1]")).await;
    }
    // One without control characters that no header can carry is unknown, and told so in the body only.
    let got = rig.chat(ask("模型 🙂")).await;
    refused(&rig, &got, 404, "model_not_found", Some("model")).await;
}

#[tokio::test]
async fn headers_that_cannot_be_understood_are_refused_by_their_names() {
    let rig = cheap(["ok"]).build().await;
    for (name, value) in [
        ("x-gateway-cache", "no-stroe"),
        ("x-gateway-cache", "caf\u{e9}"),
        ("x-gateway-cache-ttl", "-1"),
        ("x-gateway-cache-ttl", "99999999999999999999"),
        ("x-gateway-upgrade", "yes"),
        ("x-gateway-tags", "no pair"),
        ("x-gateway-tags", "a=\u{e9}"),
    ] {
        refused(&rig, &rig.chat_with(&[(name, value)], ask("cheap")).await, 400, "invalid_request", Some(name)).await;
    }
}

async fn with_headers(rig: &Rig, headers: HeaderMap) -> Got {
    let call = Incoming { headers, body: boxed(ask("cheap").to_string()), time_left: None };
    Got::all_of(rig.gateway.chat(call).await).await
}

#[tokio::test]
async fn without_a_good_key_nobody_is_let_in() {
    let rig = cheap(["ok"]).build().await;
    let unknown = ApiKey::generate();
    let mut mistyped = rig.key.clone();
    mistyped.replace_range(10..11, if &mistyped[10..11] == "a" { "b" } else { "a" });
    let long = "gw_live_".to_owned() + &"a".repeat(100_000);
    for key in ["", "sk-something-else", "gw_live_", unknown.reveal(), &mistyped, &rig.key.to_uppercase(), &long] {
        let got = with_headers(&rig, with_key(key, &[])).await;
        refused(&rig, &got, 401, "invalid_api_key", None).await;
        assert!(key.len() < 12 || !got.contains(key), "the key comes back");
    }
    refused(&rig, &with_headers(&rig, HeaderMap::new()).await, 401, "invalid_api_key", None).await;
    let mut basic = HeaderMap::new();
    basic.insert("authorization", format!("Basic {}", rig.key).parse().unwrap());
    refused(&rig, &with_headers(&rig, basic).await, 401, "invalid_api_key", None).await;
    let mut api_key = HeaderMap::new();
    api_key.insert("x-api-key", rig.key.parse().unwrap());
    assert_eq!(with_headers(&rig, api_key).await.status, 200);
}

/// A good key of these 30 characters.
fn key_of(random: &str) -> ApiKey {
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut sum = crc32fast::hash(random.as_bytes());
    let mut checksum = String::new();
    for _ in 0..6 {
        checksum.insert(0, char::from(digits[(sum % 62) as usize]));
        sum /= 62;
    }
    ApiKey::parse(&format!("gw_live_{random}{checksum}")).unwrap()
}

#[tokio::test]
async fn two_keys_that_begin_alike_are_two_keys() {
    let rig = cheap(["ok"]).build().await;
    rig.add_tenant("beta", json!({})).await;
    let (ours, theirs) = (key_of(&format!("aaaaaaaa{:022}", 1)), key_of(&format!("aaaaaaaa{:022}", 2)));
    assert_eq!(ours.reveal()[..16], theirs.reveal()[..16]);
    rig.keep_key(&ours, "acme", "alike").await;
    let asked = async |key: &ApiKey| rig.chat_as(key.reveal(), &[], ask("cheap")).await;
    assert_eq!(asked(&ours).await.status, 200);
    assert_eq!(asked(&theirs).await.status, 401, "what is kept of the one says nothing of the other");
    rig.keep_key(&theirs, "beta", "alike").await;
    for _ in 0..2 {
        for key in [&ours, &theirs] {
            assert_eq!(asked(key).await.status, 200);
        }
    }
    // All but the first of each were served by what is kept of the key, to the tenant whose it is.
    rig.directory.set_down(true);
    for (key, tenant) in [(&ours, "acme"), (&theirs, "beta")] {
        assert_eq!(asked(key).await.status, 200);
        assert_eq!(rig.totals_of(tenant).await.requests, 3 + u64::from(tenant == "acme"), "{tenant}");
    }
    rig.directory.set_down(false);
    // The end of one is not the end of the other.
    revoke_unheard(&rig, "alike").await;
    rig.clock.advance(10_000);
    assert_eq!((asked(&ours).await.status, asked(&theirs).await.status), (401, 200));
}

#[tokio::test]
async fn a_disabled_tenant_is_not_served_from_its_next_request_on() {
    let rig = cheap(["ok"]).build().await;
    assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
    rig.change_tenant("acme", json!({"enabled": false})).await;
    let got = rig.fresh(ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str(), rig.calls("ok")), (403, "tenant_disabled", 1));
    rig.change_tenant("acme", json!({"enabled": true})).await;
    rig.clock.advance(10_000);
    assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
}

#[tokio::test]
async fn a_revoked_key_stops_at_its_next_request_and_an_expired_one_on_time() {
    let rig = cheap(["ok"]).build().await;
    let second = rig.add_key("acme", "second").await;
    for key in [&rig.key, &second] {
        assert_eq!(rig.chat_as(key, &[], ask("cheap")).await.status, 200);
    }
    let entry = |what: &str| gateway_core::directory::AuditEntry {
        at_ms: rig.clock_now(),
        who: "root".into(),
        from: None,
        what: what.into(),
        subject: "acme/second".into(),
        before: Value::Null,
        after: Value::Null,
    };
    let expiry = Expiry { expires_at_ms: Some(rig.clock_now() + 5_000), retires_at_ms: None };
    let keys = rig.directory.inner.keys("acme").await.unwrap();
    let main = keys.iter().find(|key| &*key.id == "main").unwrap().with_expiry(expiry);
    let version = rig.directory.inner.update_key(&main, entry("key.expire")).await.unwrap();
    let revoked = rig.directory.inner.delete_key("acme", "second", None, entry("key.revoke")).await.unwrap();
    assert_eq!(revoked, version + 1);
    rig.gateway.store.counters().rebuild(&rig.uid().await, None, revoked, &[], rig.clock_now()).await.unwrap();
    let got = rig.chat_as(&second, &[], ask("cheap")).await;
    assert_eq!((got.status, got.error_code().as_str()), (401, "invalid_api_key"), "it was revoked");
    rig.clock.advance(4_999);
    assert_eq!(rig.chat(ask("cheap")).await.status, 200);
    rig.clock.advance(1);
    assert_eq!(rig.chat(ask("cheap")).await.status, 401, "it has expired");
}

/// Revokes a key of acme in the directory alone: the store has not heard of it.
async fn revoke_unheard(rig: &Rig, key: &str) {
    let entry = gateway_core::directory::AuditEntry {
        at_ms: rig.clock_now(),
        who: "root".into(),
        from: None,
        what: "key.revoke".into(),
        subject: format!("acme/{key}"),
        before: Value::Null,
        after: Value::Null,
    };
    rig.directory.inner.delete_key("acme", key, None, entry).await.unwrap();
}

#[tokio::test]
async fn a_revoked_key_stops_within_ten_seconds_though_the_store_has_not_heard_of_it() {
    let rig = cheap(["ok"]).build().await;
    assert_eq!(rig.chat(ask("cheap")).await.status, 200);
    revoke_unheard(&rig, "main").await;
    rig.clock.advance(10_000);
    assert_eq!(rig.chat(ask("cheap")).await.status, 401);
}

#[tokio::test]
async fn a_clock_that_is_set_back_lets_no_revoked_key_go_on() {
    let rig = cheap(["ok"]).build().await;
    assert_eq!(rig.chat(ask("cheap")).await.status, 200);
    revoke_unheard(&rig, "main").await;
    rig.clock.set_back(3_600_000);
    rig.clock.advance(10_000);
    assert_eq!(rig.chat(ask("cheap")).await.status, 401);
}

#[tokio::test]
async fn absurd_but_lawful_requests_are_served_or_refused_and_never_break_anything() {
    let rig = cheap(["ok"]).limits(json!({"daily_tokens": 1_000_000, "daily_cost_usd": "1"})).build().await;
    for (fields, status) in [
        (json!({"max_tokens": 100_000_000, "n": 128}), 429),
        (json!({"max_tokens": 100_000_000, "n": 1}), 200),
        (json!({"messages": [{"role": "user", "content": ""}]}), 200),
        (json!({"messages": [{"role": "assistant", "content": null}]}), 200),
        (json!({"messages": vec![json!({"role": "user", "content": "x"}); 2_000]}), 200),
        (json!({"messages": [{"role": "user", "content": "x".repeat(700_000)}]}), 400),
        (json!({"stop": ["a", "b"], "logit_bias": {"1": -100}, "metadata": {}}), 200),
    ] {
        let got = rig.fresh(ask_with("auto", fields.clone())).await;
        let shown: String = fields.to_string().chars().take(80).collect();
        assert_eq!(got.status, status, "{shown}: {:?}", got.error_code());
    }
    assert_eq!(rig.counted().await, rig.totals().await);
}

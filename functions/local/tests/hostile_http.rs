//! HTTP that is not meant well: paths, hosts, sizes, framing and headers that try to be taken for something else.

use super::bad_input::{GOOD, is_refused, tight, with_fields};
use super::gateway::{Gateway, Setup, config, within};
use super::upstream::Upstream;
use super::wire::request;
use serde_json::{Value, json};
use upstream_double::Double;

#[tokio::test]
async fn no_path_but_the_right_one_leads_anywhere() {
    let gateway = Gateway::start().await;
    let bearer = format!("Bearer {}", gateway.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for (line, status) in [
        ("GET /v1/chat/completions", 405),
        ("PUT /v1/chat/completions", 405),
        ("DELETE /v1/chat/completions", 405),
        ("OPTIONS /v1/chat/completions", 405),
        ("BREW /v1/chat/completions", 405),
        ("POST /v1/models", 405),
        ("DELETE /v1/models/sim/cheap", 405),
        ("GET /v1/route", 405),
        ("POST /health", 405),
        ("POST /v1/x/../chat/completions", 404),
        ("POST /v1/./chat/completions", 404),
        ("POST /v1/chat%2Fcompletions", 404),
        ("POST /v1/%63hat/completions", 404),
        ("POST /%2e%2e/v1/chat/completions", 404),
        ("POST /v1/chat/completions%00", 404),
        ("POST /v1/chat/completions;x=1", 404),
        ("POST /V1/CHAT/COMPLETIONS", 404),
        ("POST /v1/bogus", 404),
        ("TRACE /", 404),
        ("GET /", 404),
        ("GET /.gateway/admin-token", 404),
        ("GET /v1/receipts/x", 404),
        ("GET /v1/receipts/..%2f..%2fadmin-token", 404),
        ("GET /v1/receipts/01M81WX4SEGFDJSTMT013762SF", 404),
        ("GET /v1/receipts/%ff", 404),
        ("GET /v1/receipts/", 404),
        ("PUT /chat/completions", 405),
    ] {
        let answer = gateway.send(&request(line, &headers, b"")).await;
        let code = if status == 405 { "method_not_allowed" } else { "not_found" };
        is_refused(line, &answer, status, code, None);
        assert_eq!(answer.head.header("allow").is_some(), status == 405, "{line}: a 405 says what is allowed");
    }
    for name in ["nope", "%ff", "a%00b", "a%0d%0ax-evil:%201", "..%2f..", "sim%2fnope"] {
        let answer = gateway.send(&request(&format!("GET /v1/models/{name}"), &headers, b"")).await;
        is_refused(name, &answer, 404, "model_not_found", Some("model"));
        assert_eq!(answer.head.header("x-evil"), None, "{name}");
    }
}

#[tokio::test]
async fn a_body_may_have_the_configured_bytes_and_not_one_more() {
    let gateway = Gateway::start().await;
    const LIMIT: usize = 10_485_760;
    // An image, because so much text would fill any model's window.
    let (before, after) = (
        r#"{"model":"sim/cheap","messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:image/png;base64,"#,
        r#""}}]}]}"#,
    );
    let body = |bytes: usize| format!("{before}{}{after}", "A".repeat(bytes - before.len() - after.len()));
    let usage = gateway.usage().await;
    for (bytes, status) in [(LIMIT + 1, 413), (LIMIT, 200)] {
        let body = body(bytes);
        assert_eq!(body.len(), bytes);
        let whole = gateway.chat_with(&[], body.as_bytes()).await;
        let mut client = gateway.connect().await;
        let mut chunked = gateway.chat_request(&[("transfer-encoding", "chunked")], b"");
        let head = String::from_utf8(std::mem::take(&mut chunked)).unwrap().replace("content-length: 0\r\n", "");
        client.send(head.as_bytes()).await;
        for piece in body.as_bytes().chunks(100_000) {
            client.send(format!("{:x}\r\n", piece.len()).as_bytes()).await;
            client.send(piece).await;
            client.send(b"\r\n").await;
        }
        client.send(b"0\r\n\r\n").await;
        for answer in [whole, client.answer().await] {
            assert_eq!(answer.status, status, "{bytes}: {}", answer.text());
            if status == 413 {
                is_refused("too large", &answer, 413, "request_too_large", None);
                assert_eq!(gateway.usage().await, usage);
            }
        }
    }
    // Announced and never sent: refused at once, not waited for.
    let mut client = gateway.connect().await;
    let request = gateway.chat_request(&[], b"").escape_ascii().to_string();
    let request = request.replace("\\r\\n", "\r\n").replace("content-length: 0", "content-length: 99999999999");
    client.send(request.as_bytes()).await;
    is_refused("announced", &client.answer().await, 413, "request_too_large", None);
}

#[tokio::test]
async fn a_body_without_a_valid_key_is_not_waited_for() {
    let gateway = Gateway::start().await;
    for path in ["/v1/chat/completions", "/v1/route"] {
        for (key, expect) in [("nonsense", ""), ("nonsense", "expect: 100-continue\r\n"), ("gw_live_x", "")] {
            let mut client = gateway.connect().await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{expect}\
                 content-type: application/json\r\ncontent-length: 10000000\r\n\r\n"
            );
            client.send(head.as_bytes()).await;
            is_refused(key, &client.answer().await, 401, "invalid_api_key", None);
        }
    }
}

#[tokio::test]
async fn no_field_and_no_header_chooses_where_a_request_goes_or_with_which_key() {
    let (double, elsewhere) = (Double::start().await, Upstream::start().await);
    let gateway = Setup::new()
        .configured(&config(&double.base_url(), &["parrot"], ""))
        .with("DOUBLE_API_KEY", "sk-of-the-operator-7777")
        .start()
        .await;
    let url = elsewhere.base_url();
    let host = url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let mut fields = json!({"model": "double/parrot", "messages": [{"role": "user", "content": "hello there"}]});
    for name in [
        "api_base",
        "base_url",
        "baseURL",
        "api_url",
        "endpoint",
        "url",
        "azure_endpoint",
        "proxy",
        "provider",
        "litellm_params",
        "custom_llm_provider",
    ] {
        fields[name] = Value::from(url.as_str());
    }
    for name in ["api_key", "apiKey", "organization", "aws_secret_access_key"] {
        fields[name] = Value::from("sk-of-the-client-6666");
    }
    let headers = [
        ("x-api-base", url.as_str()),
        ("x-base-url", url.as_str()),
        ("x-portkey-custom-host", url.as_str()),
        ("helicone-target-url", url.as_str()),
        ("x-forwarded-host", host.as_str()),
        ("x-original-url", url.as_str()),
        ("forwarded", host.as_str()),
        ("openai-organization", "org-of-the-client"),
        ("api-key", "sk-of-the-client-6666"),
    ];
    for stream in [false, true] {
        fields["stream"] = Value::from(stream);
        let answer = gateway.chat_with(&headers, fields.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // A name that is an address is no model.
    fields["model"] = Value::from(url.as_str());
    assert_eq!(gateway.chat_with(&headers, fields.to_string().as_bytes()).await.status, 404);
    let received = double.requests();
    assert_eq!(received.len(), 2);
    for call in received {
        assert_eq!((call.path.as_str(), call.key_last4.as_str()), ("/v1/chat/completions", "7777"));
        assert_eq!(call.header("host"), Some(double.address().to_string().as_str()));
        assert!(headers.iter().all(|(name, _)| call.header(name).is_none()), "a client's header went upstream");
    }
    assert!(!elsewhere.is_called().await, "an address in a request was called");
}

#[tokio::test]
async fn the_host_header_changes_nothing() {
    let gateway = Gateway::start().await;
    let with_host = |line: &str, host: &str| {
        let plain = String::from_utf8(gateway.chat_request(&[], GOOD.as_bytes())).unwrap();
        let plain = plain.replace("POST /v1/chat/completions", line);
        plain.replace("host: gateway.example\r\n", host)
    };
    for host in [
        "host: evil.example\r\n",
        "host: x/admin/tenants\r\n",
        "host: 127.0.0.1@evil.example\r\n",
        "host: \r\n",
        "host: admin\r\nx-forwarded-host: admin\r\nx-original-url: /admin/tenants\r\nx-rewrite-url: /admin/tenants\r\n",
    ] {
        let answer = gateway.send(with_host("POST /v1/chat/completions", host).as_bytes()).await;
        assert!(answer.content().contains("What is an API"), "{host}");
        let answer = gateway.send(with_host("POST /v1/bogus", host).as_bytes()).await;
        is_refused(host, &answer, 404, "not_found", None);
    }
    // A proxy's way of asking names a host in the line: it is this server that answers all the same.
    let answer =
        gateway.send(with_host("POST http://evil.example/v1/chat/completions", "host: a\r\n").as_bytes()).await;
    assert!(answer.content().contains("What is an API"));
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_the_connection_closed_while_others_are_served() {
    let gateway = Gateway::start().await;
    let good = String::from_utf8(gateway.chat_request(&[], GOOD.as_bytes())).unwrap();
    let with = |header: &str| good.replacen("host:", &format!("{header}\r\nhost:"), 1);
    let without_length = good.replace(&format!("content-length: {}\r\n", GOOD.len()), "");
    let framed = |framing: &str, body: &str| {
        let head = without_length.split_once("\r\n\r\n").unwrap().0;
        format!("{head}\r\n{framing}\r\n\r\n{body}")
    };
    for (what, bytes, statuses) in [
        ("TLS", "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), &[400][..]),
        ("no line", "hello\r\n\r\n".to_owned(), &[400]),
        ("HTTP/9", good.replace("HTTP/1.1", "HTTP/9.9"), &[400]),
        ("a space in the path", good.replace("/v1/chat/", "/v1/chat /"), &[400]),
        ("a NUL in a header", with("x-a: a\0b"), &[400]),
        ("a CR in a header", with("x-a: a\rx-gateway-cache: no-store"), &[400]),
        ("a folded header", with("x-a: a\r\n b"), &[400]),
        ("a space before the colon", with("x-a : a"), &[400]),
        ("a header of 1 MB", with(&format!("x-a: {}", "a".repeat(1 << 20))), &[431]),
        ("a thousand headers", with(&vec!["x-a: a"; 1000].join("\r\n")), &[431]),
        ("a path of 100 kB", good.replace("/v1/chat", &format!("/{}", "a".repeat(100_000))), &[431]),
        ("two lengths", with("content-length: 5"), &[400]),
        ("a negative length", framed("content-length: -1", GOOD), &[400]),
        ("a length of words", framed("content-length: many", GOOD), &[400]),
        ("a length past all bounds", framed("content-length: 99999999999999999999999999", GOOD), &[400]),
        ("the longest length", framed("content-length: 18446744073709551615", GOOD), &[400, 413, 431]),
        ("a length and chunks", with("transfer-encoding: chunked"), &[400]),
        ("an unknown coding", framed("transfer-encoding: gzip", GOOD), &[400]),
        ("a chunk without a length", framed("transfer-encoding: chunked", "zz\r\nabc\r\n0\r\n\r\n"), &[400]),
        (
            "a chunk past all bounds",
            framed("transfer-encoding: chunked", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
            &[400],
        ),
    ] {
        let mut client = gateway.connect().await;
        client.send(bytes.as_bytes()).await;
        let answer = client.answer().await;
        assert!(statuses.contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
        assert!(client.is_closed().await, "{what}");
        assert_eq!(gateway.chat(GOOD).await.status, 200, "after {what}");
    }
}

#[tokio::test]
async fn what_a_client_sends_never_becomes_a_header_of_the_answer() {
    let gateway = Gateway::start().await;
    let tags = [("x-gateway-tags", "a=%0d%0ax-evil: 1"), ("x-request-id", "x-evil-id"), ("x-gateway-model", "evil")];
    let answer = gateway.chat_with(&tags, GOOD.as_bytes()).await;
    assert_eq!((answer.status, answer.head.header("x-evil")), (200, None));
    assert_eq!(answer.head.header("x-gateway-model"), Some("sim/cheap"));
    assert_eq!(answer.head.id().len(), 26);
    for model in [r"x\r\nx-evil: 1", r"x\u000d\u000ax-evil: 1", r"x\nx-evil: 1", r"\u0000", r"x\u2028y"] {
        let answer = gateway.chat(&with_fields(&format!(r#""model":"{model}""#))).await;
        assert!((400..=404).contains(&answer.status), "{model}: {}", answer.text());
        assert_eq!(answer.head.header("x-evil"), None, "{model}");
    }
}

#[tokio::test]
async fn clients_that_send_half_and_wait_or_leave_keep_nobody_else_waiting() {
    let gateway = tight().await;
    let usage = gateway.usage().await;
    let bytes = gateway.chat_request(&[], GOOD.as_bytes());
    let mut waiting = Vec::new();
    for cut in [1, 30, bytes.len() - GOOD.len() - 2, bytes.len() - GOOD.len(), bytes.len() - 1].repeat(10) {
        let mut client = gateway.connect().await;
        client.send(&bytes[..cut]).await;
        waiting.push(client);
    }
    // More of them wait than the tenant may have requests in flight; none of theirs has begun.
    assert_eq!(gateway.chat(GOOD).await.status, 200);
    for (place, mut client) in waiting.into_iter().enumerate() {
        if place % 2 == 0 {
            client.end().await;
            within("the end of a connection", client.is_closed()).await;
        }
    }
    assert_eq!(gateway.chat(GOOD).await.status, 200);
    assert_eq!(gateway.usage().await["requests"]["used"], json!(2));
    assert_eq!(usage["requests"]["used"], json!(0));
    // The end of a body that never comes is told, where somebody still listens.
    let mut client = gateway.connect().await;
    client.send(&bytes[..bytes.len() - 1]).await;
    client.end().await;
    let answer = client.head().await;
    assert!(answer.is_none_or(|head| head.status == 400));
}

#[tokio::test]
async fn a_smaller_limit_of_the_configuration_holds() {
    let text = config("http://127.0.0.1:9/v1", &[], "[server]\nmax_body_bytes = 100\n");
    let gateway = Setup::new().configured(&text).with("DOUBLE_API_KEY", "sk-x").start().await;
    assert_eq!(gateway.chat(GOOD).await.status, 200);
    is_refused("101 bytes", &gateway.chat(&format!("{GOOD:<101}")).await, 413, "request_too_large", None);
}

//! What clients may send beside the plainest request: a body in gzip, another base URL, a page's origin.

use super::bad_input::{GOOD, is_refused};
use super::gateway::{Gateway, Setup, config};
use super::wire::{Answer, request};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_gzip_body_is_read_within_the_limit_on_both_planes_and_other_codings_are_told() {
    let gateway = Gateway::start().await;
    let coded = async |coding: &str, body: &[u8]| gateway.chat_with(&[("content-encoding", coding)], body).await;
    for coding in ["gzip", "X-GZIP"] {
        assert!(coded(coding, &gzip(GOOD.as_bytes())).await.content().contains("What is an API"));
    }
    assert!(coded("identity", GOOD.as_bytes()).await.content().contains("What is an API"));
    let usage = gateway.usage().await;
    let bomb = gzip(&vec![b' '; 200 << 20]);
    assert!(bomb.len() < 1 << 20);
    is_refused("a bomb", &coded("gzip", &bomb).await, 413, "request_too_large", None);
    let param = Some("content-encoding");
    for body in [GOOD.as_bytes(), &gzip(GOOD.as_bytes())[..30], b"\x1f\x8b\x08\x00not really"] {
        is_refused("no gzip", &coded("gzip", body).await, 400, "invalid_request", param);
    }
    for coding in ["br", "deflate", "zstd", "gzip, gzip"] {
        let answer = coded(coding, GOOD.as_bytes()).await;
        is_refused(coding, &answer, 415, "unsupported_media_type", param);
        assert!(answer.text().contains(&format!("`{coding}`")), "{}", answer.text());
    }
    assert_eq!(gateway.usage().await, usage);

    let bearer = format!("Bearer {}", gateway.admin_token);
    let admin = async |coding: &str, body: &[u8]| {
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/json"), ("content-encoding", coding)];
        gateway.send(&request("POST /admin/tenants", &headers, body)).await
    };
    assert_eq!(admin("gzip", &gzip(br#"{"id":"acme"}"#)).await.status, 201);
    is_refused("a bomb", &admin("gzip", &bomb).await, 413, "request_too_large", None);
    is_refused("br", &admin("br", b"{}").await, 415, "unsupported_media_type", param);
    is_refused("no gzip", &admin("gzip", b"{}").await, 400, "invalid_request", param);
}

#[tokio::test]
async fn base_urls_with_and_without_v1_lead_to_the_same_routes() {
    let gateway = Gateway::start().await;
    let bearer = format!("Bearer {}", gateway.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let ask = async |line: &str, body: &str| gateway.send(&request(line, &headers, body.as_bytes())).await;
    for path in [
        "/chat/completions",
        "/v1/v1/chat/completions",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/",
    ] {
        let answer = ask(&format!("POST {path}"), GOOD).await;
        assert!(answer.content().contains("What is an API"), "{path}");
        assert_eq!(gateway.receipt(&answer.head.id()).await["status"], 200);
        is_refused(path, &ask(&format!("GET {path}"), "").await, 405, "method_not_allowed", None);
    }
    for path in
        ["/models", "/v1/models/", "/models/sim/cheap", "/status", "/v1/models/sim/cheap/", "/v1/health", "//ready?x=1"]
    {
        assert_eq!(ask(&format!("GET {path}"), "").await.status, 200, "{path}");
    }
    // A way around the admin plane's guard it is not.
    for path in ["//admin/tenants", "/v1/admin/tenants", "/admin//tenants"] {
        let answer = ask(&format!("GET {path}"), "").await;
        assert!([401, 404].contains(&answer.status), "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_word_on_an_answer_is_taken_however_it_is_sent() {
    let gateway = Gateway::start().await;
    let id = gateway.chat(GOOD).await.head.id();
    let bearer = format!("Bearer {}", gateway.key);
    let say = async |path: &str, kind: &str, coding: &str, body: &[u8]| {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind), ("content-encoding", coding)];
        gateway.send(&request(&format!("POST {path}"), &headers, body)).await
    };
    let (good, json) = (br#"{"rating":"good","comment":"Danke!"}"#, "application/json");
    for path in [format!("/v1/receipts/{id}/feedback"), format!("/receipts/{id}/feedback/")] {
        for (coding, body) in [("identity", good.to_vec()), ("gzip", gzip(good))] {
            assert_eq!(say(&path, json, coding, &body).await.status, 200, "{path} {coding}");
            assert_eq!(gateway.receipt(&id).await["feedback"]["comment"], "Danke!");
        }
        is_refused("a form", &say(&path, "text/plain", "identity", good).await, 415, "unsupported_media_type", None);
        let long = say(&path, json, "identity", &[b' '; 20 << 10]).await;
        is_refused("too long", &long, 413, "request_too_large", None);
        let bomb = say(&path, json, "gzip", &gzip(&vec![b' '; 1 << 20])).await;
        is_refused("a bomb", &bomb, 413, "request_too_large", None);
    }
    let unknown = say("/v1/receipts/%FF/feedback", json, "identity", good).await;
    is_refused("no text", &unknown, 404, "not_found", None);
}

#[tokio::test]
async fn who_asks_for_what_is_not_there_is_told_what_was_asked_and_what_is_near() {
    let gateway = Gateway::start().await;
    let message = |answer: &Answer| answer.json()["error"]["message"].as_str().unwrap().to_owned();
    for (line, status, expected) in [
        ("POST /chat/completion", 404, "No route POST /chat/completion; did you mean POST /v1/chat/completions?"),
        ("GET /v1/modles?key=secret", 404, "No route GET /v1/modles; did you mean GET /v1/models?"),
        (
            "POST /receipts/x/feedbak",
            404,
            "No route POST /receipts/x/feedbak; did you mean POST /v1/receipts/{id}/feedback?",
        ),
        ("GET /v1/receipts/x/feedback", 405, "No GET here: /v1/receipts/x/feedback takes POST."),
        ("GET /v1/bogus", 404, "No route GET /v1/bogus"),
        ("GET /v1/chat/completions", 405, "No GET here: /v1/chat/completions takes POST."),
        ("DELETE /v1/models/sim/cheap", 405, "No DELETE here: /v1/models/sim/cheap takes GET, HEAD."),
    ] {
        let answer = gateway.send(&request(line, &[], b"")).await;
        assert_eq!((answer.status, message(&answer).as_str()), (status, expected), "{line}");
    }
    for (line, status, expected) in [
        ("GET /admin/tenant", 404, "No route GET /admin/tenant; did you mean GET /admin/tenants?"),
        ("PUT /admin/tenants/demo", 405, "No PUT here: /admin/tenants/demo takes DELETE, GET, HEAD, PATCH."),
    ] {
        let answer = gateway.admin(line, "").await;
        assert_eq!((answer.status, message(&answer).as_str()), (status, expected), "{line}");
    }
}

#[tokio::test]
async fn the_methods_that_a_405_names_are_those_that_there_are() {
    let gateway = Gateway::start().await;
    for path in [
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/sim/cheap",
        "/v1/status",
        "/v1/route",
        "/v1/receipts/x",
        "/v1/receipts/x/feedback",
        "/health",
        "/ready",
        "/admin/tenants",
        "/admin/tenants/demo",
        "/admin/tenants/demo/cache",
        "/admin/tenants/demo/data",
        "/admin/tenants/demo/usage",
        "/admin/tenants/demo/keys",
        "/admin/tenants/demo/keys/demo",
        "/admin/tenants/demo/keys/demo/rotate",
        "/admin/usage",
        "/admin/metrics",
        "/admin/models",
        "/admin/receipts",
        "/admin/receipts/x",
        "/admin/audit",
    ] {
        let answer = gateway.admin(&format!("BREW {path}"), "").await;
        is_refused(path, &answer, 405, "method_not_allowed", None);
        let mut allowed: Vec<&str> = answer.head.header("allow").unwrap().split(',').collect();
        allowed.sort_unstable();
        let expected = format!("No BREW here: {path} takes {}.", allowed.join(", "));
        assert_eq!(answer.json()["error"]["message"], expected, "{path}");
    }
}

const PAGE: &str = "https://app.example.com";

async fn with_origins(origins: &str) -> Gateway {
    let text = config("http://127.0.0.1:9/v1", &[], &format!("[server]\ncors_origins = {origins}\n"));
    Setup::new().configured(&text).with("DOUBLE_API_KEY", "sk-x").start().await
}

/// What a browser asks before it lets a page's script send a request.
async fn question(gateway: &Gateway, path: &str, origin: &str) -> Answer {
    let names = "authorization,content-type,x-stainless-lang,x-stainless-retry-count";
    let headers =
        [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", names)];
    gateway.send(&request(&format!("OPTIONS {path}"), &headers, b"")).await
}

#[tokio::test]
async fn pages_of_listed_origins_may_ask_the_data_plane_and_nobody_elses() {
    let gateway = with_origins(r#"["https://app.example.com", "http://localhost:3000"]"#).await;
    for origin in [PAGE, "http://localhost:3000"] {
        let answer = question(&gateway, "/v1/chat/completions", origin).await;
        let header = |name: &str| answer.head.header(name).unwrap_or_default();
        assert_eq!((answer.status, header("access-control-allow-origin")), (204, origin));
        assert!(header("access-control-allow-methods").contains("POST"));
        assert!(header("access-control-allow-headers").contains("x-stainless-retry-count"));
        assert_eq!(header("access-control-max-age"), "7200");
        assert_eq!(answer.head.header("access-control-allow-credentials"), None);

        let answer = gateway.chat_with(&[("origin", origin)], GOOD.as_bytes()).await;
        let header = |name: &str| answer.head.header(name).unwrap_or_default();
        assert_eq!((answer.status, header("access-control-allow-origin"), header("vary")), (200, origin, "origin"));
        let exposed = header("access-control-expose-headers");
        for name in answer.head.names().filter(|name| name.starts_with("x-")) {
            assert!(exposed.split(", ").any(|one| one == name), "{name} is not in {exposed}");
        }
        // Refusals too, or a script could not read why.
        let answer = gateway.send(&request("POST /v1/chat/completions", &[("origin", origin)], b"{}")).await;
        assert_eq!((answer.status, answer.head.header("access-control-allow-origin")), (401, Some(origin)));
        assert_eq!(question(&gateway, "/v1/nothing", origin).await.status, 204);
    }
    for origin in ["https://evil.example", "null", "https://app.example.com.evil.example", "https://app.example.co"] {
        let answer = question(&gateway, "/v1/chat/completions", origin).await;
        assert_eq!((answer.status, answer.head.header("access-control-allow-origin")), (405, None), "{origin}");
        let answer = gateway.chat_with(&[("origin", origin)], GOOD.as_bytes()).await;
        assert_eq!((answer.status, answer.head.header("access-control-allow-origin")), (200, None), "{origin}");
        assert_eq!(answer.head.header("vary"), Some("origin"));
    }
    let answer = question(&gateway, "/admin/tenants", PAGE).await;
    assert_eq!((answer.status, answer.head.header("access-control-allow-origin")), (401, None));
}

#[tokio::test]
async fn any_page_may_ask_where_that_is_said_and_none_by_default() {
    let gateway = with_origins(r#"["*"]"#).await;
    let answer = question(&gateway, "/v1/chat/completions", "null").await;
    assert_eq!((answer.status, answer.head.header("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(question(&gateway, "/admin/tenants", PAGE).await.head.header("access-control-allow-origin"), None);

    let gateway = Gateway::start().await;
    let answer = question(&gateway, "/v1/chat/completions", PAGE).await;
    assert_eq!((answer.status, answer.head.header("access-control-allow-origin")), (405, None));
    let answer = gateway.chat_with(&[("origin", PAGE)], GOOD.as_bytes()).await;
    assert_eq!((answer.head.header("vary"), answer.head.header("access-control-allow-origin")), (None, None));
}

//! Who is let in, and what every answer has.

use crate::house::{House, TOKEN, request};
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use serde_json::json;
use tower_service::Service;

/// Every route with every method that it has.
const ROUTES: [(&str, &str); 35] = [
    ("GET", "/admin/tenants"),
    ("POST", "/admin/tenants"),
    ("GET", "/admin/tenants/acme"),
    ("PATCH", "/admin/tenants/acme"),
    ("DELETE", "/admin/tenants/acme"),
    ("DELETE", "/admin/tenants/acme/cache"),
    ("GET", "/admin/tenants/acme/usage"),
    ("GET", "/admin/tenants/acme/keys"),
    ("POST", "/admin/tenants/acme/keys"),
    ("GET", "/admin/tenants/acme/keys/KEY"),
    ("PATCH", "/admin/tenants/acme/keys/KEY"),
    ("DELETE", "/admin/tenants/acme/keys/KEY"),
    ("POST", "/admin/tenants/acme/keys/KEY/rotate"),
    ("GET", "/admin/usage"),
    ("GET", "/admin/metrics"),
    ("GET", "/metrics"),
    ("GET", "/admin/models"),
    ("GET", "/admin/receipts"),
    ("GET", "/admin/receipts/01ARZ3NDEKTSV4RRFFQ69G5FAV?tenant=acme"),
    ("GET", "/admin/audit"),
    ("DELETE", "/admin/tenants/acme/data"),
    ("GET", "/admin/admins"),
    ("POST", "/admin/admins"),
    ("GET", "/admin/admins/adm_x"),
    ("PATCH", "/admin/admins/adm_x"),
    ("DELETE", "/admin/admins/adm_x"),
    ("POST", "/admin/admins/adm_x/rotate"),
    ("GET", "/admin/me"),
    // What is not there is told to nobody who has no token, and so is what a path cannot do.
    ("POST", "/admin/route"),
    ("GET", "/admin/replay"),
    ("GET", "/admin/alerts"),
    ("POST", "/admin/alerts/test"),
    ("GET", "/admin/nothing"),
    ("GET", "/elsewhere"),
    ("PUT", "/admin/tenants"),
];

#[tokio::test]
async fn without_the_owners_token_every_path_answers_the_same_and_does_nothing() {
    let house = House::new().await;
    let made = house.acme().await;
    let before = house.audit().await;
    let wrong = TOKEN.replace("owner", "0wner");
    let authorizations = [
        None,
        Some(String::new()),
        Some("Bearer".into()),
        Some("Bearer ".into()),
        Some(TOKEN.into()),
        Some(format!("Basic {TOKEN}")),
        Some(format!("Bearer{TOKEN}")),
        Some(format!("Bearer {wrong}")),
        Some(format!("Bearer {}", &TOKEN[..TOKEN.len() - 1])),
        Some(format!("Bearer {TOKEN}x")),
        Some(format!("Bearer {TOKEN} {TOKEN}")),
        // A tenant's key opens nothing here.
        Some(format!("Bearer {}", made.key)),
    ];
    for (method, path) in ROUTES {
        let path = path.replace("KEY", &made.id);
        for authorization in &authorizations {
            let mut request = Request::builder().method(method).uri(&path).header("content-type", "application/json");
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let seen = house.send(request.body(Body::from("{\"id\":\"evil\",\"name\":\"evil\"}")).unwrap()).await;
            let asked = format!("{method} {path} with {authorization:?}");
            assert_eq!(seen.error(), (401, "invalid_api_key", None), "{asked}");
            assert_eq!(seen.header("www-authenticate"), "Bearer", "{asked}");
            let mut body = seen.body.clone();
            body["request_id"] = "".into();
            let message = "Send an admin's token as `authorization: Bearer …`.";
            let error =
                json!({"message": message, "type": "authentication_error", "param": null, "code": "invalid_api_key"});
            assert_eq!(body, json!({"error": error, "request_id": ""}), "{asked}");
        }
    }
    assert_eq!(house.audit().await, before);
}

#[tokio::test]
async fn the_token_is_not_taken_from_another_header_or_the_query() {
    let house = House::new().await;
    let in_header = Request::builder().uri("/admin/tenants").header("x-api-key", TOKEN).body(Body::empty()).unwrap();
    assert_eq!(house.send(in_header).await.status, 401);
    let uri = format!("/admin/tenants?access_token={TOKEN}");
    assert_eq!(house.send(Request::builder().uri(uri).body(Body::empty()).unwrap()).await.status, 401);
}

#[tokio::test]
async fn the_scheme_may_be_written_in_any_case() {
    let house = House::new().await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let authorization = format!("{scheme} {TOKEN}");
        let request = Request::builder().uri("/admin/tenants").header("authorization", authorization);
        assert_eq!(house.send(request.body(Body::empty()).unwrap()).await.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_wrong_method_405_that_says_which_are_right() {
    let house = House::new().await;
    house.acme().await;
    for path in ["/admin/nothing", "/admin/tenants/", "/admin/tenants/acme/nothing", "/", "/v1/models"] {
        let seen = house.get(path).await;
        assert_eq!(seen.error(), (404, "not_found", None), "{path}");
        assert_eq!(fields_of_error(&seen.body), ["code", "message", "param", "type"], "{path}");
    }
    assert_eq!(house.get("/admin/tenants/%ff").await.error(), (404, "not_found", None));
    for (method, path, allowed) in [
        ("PUT", "/admin/tenants", "GET,HEAD,POST"),
        ("POST", "/admin/tenants/acme", "GET,HEAD,PATCH,DELETE"),
        ("GET", "/admin/tenants/acme/cache", "DELETE"),
        ("DELETE", "/admin/metrics", "GET,HEAD"),
        ("GET", "/admin/tenants/acme/keys/k/rotate", "POST"),
    ] {
        let seen = house.ask(method, path, None).await;
        assert_eq!(seen.error(), (405, "method_not_allowed", None), "{method} {path}");
        assert_eq!(seen.header("allow"), allowed, "{method} {path}");
    }
}

fn fields_of_error(body: &serde_json::Value) -> Vec<&str> {
    crate::house::fields(&body["error"])
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own_and_is_kept_by_no_cache() {
    let house = House::new().await;
    house.acme().await;
    for (method, path) in ROUTES {
        let seen = house.ask(method, path, None).await;
        assert_eq!(seen.header("cache-control"), "no-store", "{method} {path}");
        let id = seen.header("x-request-id");
        assert_eq!(id.len(), 26, "{method} {path}");
        if seen.status >= 400 {
            assert_eq!(seen.body["request_id"], id, "{method} {path}");
        }
    }
    let said = house.said.lock().unwrap();
    let ids: std::collections::HashSet<&str> = said.iter().map(|seen| seen.header("x-request-id")).collect();
    assert_eq!(ids.len(), said.len());
}

#[tokio::test]
async fn it_can_be_merged_with_a_plane_that_answers_everything_else() {
    let house = House::new().await;
    let owner = admin_function::OwnerToken::new(TOKEN, &house.gateway.hasher).unwrap();
    let data = Router::new().route("/v1/models", get(|| async { "models" })).fallback(|| async { "fallback" });
    let both = data.merge(admin_function::router(house.gateway.clone(), owner));
    for (path, text) in [("/v1/models", "models"), ("/elsewhere", "fallback")] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = both.clone().call(request).await.unwrap();
        assert!(!response.headers().contains_key("x-request-id"), "{path}");
        assert_eq!(axum::body::to_bytes(response.into_body(), 99).await.unwrap(), text, "{path}");
    }
    for (path, status) in [("/admin/tenants", 200), ("/admin/nothing", 404), ("/admin/nothing/", 404)] {
        assert_eq!(both.clone().call(request("GET", path, None)).await.unwrap().status(), status, "{path}");
        let unauthorised = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(both.clone().call(unauthorised).await.unwrap().status(), 401, "{path}");
    }
}

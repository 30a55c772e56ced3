//! The description, and what the plane does.

use crate::house::{House, fields};
use axum::body::Body;
use gateway_host::openapi;
use http::Request;
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test]
async fn what_is_described_is_there_and_no_more() {
    let house = House::new().await;
    let described: BTreeSet<(String, &str)> = openapi::operations().collect();
    let here = |path: &&str| path.starts_with("/admin") || *path == "/metrics";
    let paths: BTreeSet<&str> = described.iter().map(|(_, path)| *path).filter(here).collect();
    assert!(paths.len() > 15, "{paths:?}");
    for path in paths {
        let asked =
            path.replace("{tenant}", "acme").replace("{key}", "k").replace("{admin}", "a").replace("{receipt}", "r");
        for method in ["GET", "POST", "PATCH", "PUT", "DELETE"] {
            let seen = house.ask(method, &asked, None).await;
            let is_described = described.contains(&(method.to_owned(), path));
            assert_eq!(seen.status != 405, is_described, "{method} {path}: {}", seen.text);
            assert!(!seen.text.contains("No route"), "{method} {path}: {}", seen.text);
        }
    }
}

#[tokio::test]
async fn the_description_is_served_to_everybody() {
    let house = House::new().await;
    let seen = house.send(Request::builder().uri("/openapi.yaml").body(Body::empty()).unwrap()).await;
    assert_eq!((seen.status, seen.header("content-type")), (200, "application/yaml"));
    assert_eq!(seen.text, openapi::TEXT);
}

#[tokio::test]
async fn every_field_of_a_tenant_is_described() {
    let made = House::new().await.tenant("acme", json!({})).await;
    let schema = openapi::TEXT.split("\n    Tenant:\n").nth(1).unwrap();
    let schema = schema.split("\n    NewTenant:").next().unwrap();
    for name in fields(&made) {
        assert!(schema.contains(&format!("\n        {name}: {{")), "{name} is not in the schema of a tenant");
    }
}

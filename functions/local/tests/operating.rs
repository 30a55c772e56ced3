//! `ai-gateway admin`: what an operator does from a command line, over the admin plane of the gateway that runs.

use super::gateway::{Gateway, Setup};
use serde_json::{Value, json};

/// What a command prints.
async fn said(gateway: &Gateway, words: &[&str]) -> Value {
    let setup = Setup::again(&gateway.folder).with("GATEWAY_ADDR", &gateway.address.to_string());
    let (status, output, errors) = setup.called(&[&["admin"], words].concat()).run().await;
    assert!(status.success(), "{words:?}: {output}{errors}");
    if output.is_empty() { Value::Null } else { serde_json::from_str(&output).unwrap() }
}

async fn complaint(gateway: &Gateway, words: &[&str]) -> String {
    let setup = Setup::again(&gateway.folder).with("GATEWAY_ADDR", &gateway.address.to_string());
    setup.called(&[&["admin"], words].concat()).complaint().await
}

#[tokio::test]
async fn a_tenant_is_made_changed_used_and_deleted_from_the_command_line() {
    let gateway = Setup::new().start().await;
    let made = said(&gateway, &["tenants", "create", "shop", "name=The shop", "limits.daily_cost_usd=5.00"]).await;
    assert_eq!((&made["name"], &made["limits"]["daily_cost_usd"]), (&json!("The shop"), &json!("5.000000000")));
    let again = complaint(&gateway, &["tenants", "create", "shop", "name=Another"]).await;
    assert!(again.contains("409"), "{again}");
    let changed =
        said(&gateway, &["tenants", "set", "shop", "limits.daily_requests=2", "limits.daily_tokens=null"]).await;
    assert_eq!((&changed["limits"]["daily_requests"], &changed["limits"]["daily_tokens"]), (&json!(2), &Value::Null));
    let refused = complaint(&gateway, &["tenants", "set", "shop", "limits.daily_request=2"]).await;
    assert!(refused.contains("400") && refused.contains("daily_request"), "{refused}");

    let made =
        said(&gateway, &["keys", "create", "shop", "ci", "limits.daily_cost_usd=1", "limits.concurrency=4"]).await;
    let key = made["key"].as_str().unwrap().to_owned();
    let body = br#"{"model":"cheap","messages":[{"role":"user","content":"hello"}]}"#;
    let bearer = format!("Bearer {key}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("x-gateway-tags", "team=search,env=prod"),
    ];
    let answer = gateway.send(&super::wire::request("POST /v1/chat/completions", &headers, body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(said(&gateway, &["quota", "shop"]).await["requests"]["used"], 1);
    let rows = said(&gateway, &["usage", "--tenant", "shop", "--by", "tenant"]).await;
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["requests"]), (1, &json!(1)));
    let rows = said(&gateway, &["usage", "--by", "hour,tag:team", "--tag", "team=search"]).await;
    assert_eq!(
        (rows.as_array().unwrap().len(), &rows[0]["tag"], &rows[0]["requests"]),
        (1, &json!("search"), &json!(1))
    );
    assert!(rows[0]["hour"].as_str().unwrap().ends_with(":00Z"), "{rows}");
    assert_eq!(said(&gateway, &["top"]).await["tenants"]["shop"]["requests"], 1);

    let keys = said(&gateway, &["keys", "shop"]).await;
    let id = keys[0]["id"].as_str().unwrap();
    assert_eq!(keys[0]["limits"]["daily_cost_usd"], "1.000000000");
    said(&gateway, &["keys", "set", "shop", id, "limits.daily_requests=3"]).await;
    let own = said(&gateway, &["quota", "shop", id]).await;
    assert_eq!(
        (&own["requests"], &own["cost_usd"]["limit"]),
        (&json!({"used": 1, "held": 0, "limit": 3}), &json!("1.000000000"))
    );
    assert_ne!(said(&gateway, &["keys", "rotate", "shop", id]).await["key"], key.as_str());
    assert_eq!(said(&gateway, &["keys", "shop"]).await.as_array().unwrap().len(), 2);
    said(&gateway, &["keys", "revoke", "shop", id]).await;
    said(&gateway, &["tenants", "delete", "shop"]).await;
    let gone = complaint(&gateway, &["tenants", "show", "shop"]).await;
    assert!(gone.contains("404"), "{gone}");
    let audit = said(&gateway, &["audit"]).await;
    let what: Vec<&str> = audit.as_array().unwrap().iter().filter_map(|entry| entry["what"].as_str()).collect();
    assert_eq!(what[..2], ["tenant.delete", "key.revoke"], "newest first");
}

#[tokio::test]
async fn what_the_command_line_cannot_mean_is_said_before_anything_is_asked() {
    let gateway = Setup::new().start().await;
    for words in [&["tenants", "set", "demo"][..], &["keys"], &["nothing"], &[]] {
        assert!(complaint(&gateway, words).await.contains("usage: ai-gateway admin"), "{words:?}");
    }
    assert!(complaint(&gateway, &["tenants", "set", "demo", "enabled"]).await.contains("FIELD=VALUE"));
    assert!(complaint(&gateway, &["usage", "--colour", "red"]).await.contains("--colour"));
    let nobody = Setup::again(&gateway.folder).with("GATEWAY_ADMIN_URL", "http://127.0.0.1:9/admin");
    let nobody = nobody.called(&["admin", "tenants"]).complaint().await;
    assert!(nobody.contains("127.0.0.1:9") && nobody.contains("cannot be reached"), "{nobody}");
    let other = Setup::again(&gateway.folder).with("GATEWAY_ADDR", &gateway.address.to_string());
    let wrong = "w".repeat(40);
    let other = other.with("GATEWAY_ADMIN_TOKEN", &wrong).called(&["admin", "tenants"]).complaint().await;
    assert!(other.contains("401") && !other.contains(&wrong), "{other}");
}

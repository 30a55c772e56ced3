//! `ai-gateway inspect`: what an operator sees of the store, beside the gateways that use it.

use super::fleet::Fleet;
use super::gateway::{Gateway, Setup};
use serde_json::json;
use test_servers::redis::RedisCluster;

fn ask() -> Vec<u8> {
    json!({"model": "cheap", "messages": [{"role": "user", "content": "hello"}]}).to_string().into_bytes()
}

/// Has a tenant `acme` made, answers one request of it, and says which model served it.
async fn served(gateway: &mut Gateway) -> String {
    let tenant = r#"{"id":"acme","limits":{"daily_requests":30}}"#;
    assert_eq!(gateway.admin("POST /admin/tenants", tenant).await.status, 201);
    let made = gateway.admin("POST /admin/tenants/acme/keys", r#"{"name":"ci"}"#).await.json();
    gateway.key = made["key"].as_str().unwrap().to_owned();
    let answer = gateway.chat_with(&[("x-gateway-cache", "no-store")], &ask()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["model"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_tenant_and_a_model_are_told_in_words_from_a_server_and_a_cluster() {
    let fleet = Fleet::start().await;
    let cluster = RedisCluster::start(3, 0).await.unwrap();
    for (round, url) in [None, Some(cluster.url())].into_iter().enumerate() {
        let setup = || match &url {
            Some(url) => fleet.setup().with("GATEWAY_STORE", url).with("GATEWAY_DIRECTORY", "dynamodb:of-the-cluster"),
            None => fleet.setup(),
        };
        let mut gateway = Fleet::owned(setup().start_without_key().await);
        let model = served(&mut gateway).await;
        let uid = gateway.admin("GET /admin/tenants/acme", "").await.json()["uid"].as_str().unwrap().to_owned();
        let words = async |name: &str| {
            let (status, output, errors) = setup().called(&["inspect", name]).run().await;
            assert!(status.success(), "{output}{errors}");
            output
        };
        for name in ["acme", &uid] {
            let tenant = words(name).await;
            assert!(tenant.starts_with(&format!("tenant {uid}\n")), "{tenant}");
            for part in
                ["settings version", "incarnation", "requests in flight     0", "day from 20", "used 1 request, "]
            {
                assert!(tenant.contains(part), "round {round}: `{part}` is not in\n{tenant}");
            }
        }
        let report = words(&model).await;
        assert!(report.starts_with(&format!("model {model}\n")), "{report}");
        for part in [
            "time to first token    ",
            "breaker                closed; 0 failures in a row",
            "cooldown               none",
        ] {
            assert!(report.contains(part), "round {round}: `{part}` is not in\n{report}");
        }
        let complaint = setup().called(&["inspect", "nobody"]).complaint().await;
        assert!(
            complaint.contains("nobody is neither a model of the compiled-in configuration nor a tenant of"),
            "{complaint}"
        );
        let tier = setup().called(&["inspect", "cheap"]).complaint().await;
        assert!(tier.contains("cheap is neither one model nor a tenant"), "{tier}");
    }
}

#[tokio::test]
async fn of_a_store_in_memory_it_says_where_the_counters_are() {
    let complaint = Setup::new().called(&["inspect", "demo"]).complaint().await;
    assert!(complaint.contains("the counters live inside the running gateway"), "{complaint}");
    assert!(complaint.contains("GET /admin/tenants/ID/usage"), "{complaint}");
}

#[tokio::test]
async fn a_tenant_of_a_folder_that_a_gateway_has_open_is_found_by_its_uid() {
    let redis = test_servers::redis::Redis::start(&[]).await.unwrap();
    let gateway = Setup::new().with("GATEWAY_STORE", &redis.url()).start().await;
    assert_eq!(gateway.chat_with(&[], &ask()).await.status, 200);
    let uid = gateway.admin("GET /admin/tenants/demo", "").await.json()["uid"].as_str().unwrap().to_owned();
    let setup = || Setup::again(&gateway.folder).with("GATEWAY_STORE", &redis.url());
    let complaint = setup().called(&["inspect", "demo"]).complaint().await;
    assert!(complaint.contains("takes a tenant's uid, too"), "{complaint}");
    let (status, output, errors) = setup().called(&["inspect", &uid]).run().await;
    assert!(status.success() && output.contains("used 1 request, "), "{output}{errors}");
}

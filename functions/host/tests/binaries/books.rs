//! Every event that Lambda may bring, and what the books say of it in the next life.

use super::*;
use std::collections::HashSet;

fn nusd(usd: &Value) -> u64 {
    let (whole, billionths) = usd.as_str().unwrap().split_once('.').unwrap();
    assert_eq!(billionths.len(), 9);
    format!("{whole}{billionths}").parse().unwrap()
}

/// What some requests came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bill {
    requests: u64,
    hits: u64,
    tokens: u64,
    cost_nusd: u64,
}

impl Bill {
    /// Adds an answer with these headers; `whole` is what has its `usage`. A hit costs no tokens (M7).
    fn add(&mut self, headers: &Value, whole: &Value) {
        let is_hit = headers["x-gateway-cache"] == "hit";
        self.requests += 1;
        self.hits += u64::from(is_hit);
        self.tokens += if is_hit { 0 } else { whole["usage"]["total_tokens"].as_u64().unwrap() };
        self.cost_nusd += nusd(&headers["x-gateway-cost-usd"]);
    }

    /// What the ledger says, of all days.
    async fn in_the_books(admin: &Function) -> Self {
        let usage = admin.ask(&at("/admin/usage", event("admin-metrics", ""))).await.json();
        let mut bill = Self::default();
        for row in usage["data"].as_array().unwrap() {
            let count = |name: &str| row[name].as_u64().unwrap();
            bill.requests += count("requests");
            bill.hits += count("cache_hits");
            bill.tokens += count("input_tokens") + count("output_tokens");
            bill.cost_nusd += nusd(&row["cost_usd"]);
        }
        bill
    }
}

/// Drives one life of the gateway through every event and a few bad requests; answers the ids of what has a receipt.
#[expect(clippy::too_many_lines, reason = "mostly tables")]
async fn drive(gateway: &Function, key: &str, bill: &mut Bill) -> Vec<String> {
    let (mut ids, mut asked) = (Vec::new(), HashSet::new());
    for name in data_plane_events() {
        let event = event(&name, key);
        let reply = gateway.ask(&event).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        match name.as_str() {
            "rest-health" | "http-api-health" => assert_eq!(reply.json(), json!({"status": "ok"})),
            "rest-models" | "rest-stage-named-v1" | "function-url-models" => {
                let models = reply.json()["data"].as_array().unwrap().clone();
                for expected in ["auto", "cheap", "reasoning", "sim/cheap"] {
                    assert!(models.iter().any(|model| model["id"] == expected), "{name}: no {expected}");
                }
            }
            "http-api-stage-route" => {
                let decision = reply.json();
                assert_eq!(decision["intent"]["name"], "architecture_review");
                assert_eq!(
                    (&decision["tier"], &decision["candidates"][0]["model"]),
                    (&json!("reasoning"), &json!("sim/reasoning"))
                );
            }
            "rest-chat"
            | "rest-chat-stream"
            | "rest-base64"
            | "http-api-chat"
            | "http-api-chat-stream"
            | "function-url-chat"
            | "function-url-chat-stream" => {
                let is_hard = name == "rest-base64";
                let (tier, intent) =
                    if is_hard { ("reasoning", "architecture_review") } else { ("cheap", "simple_question") };
                // Which transport brought a question does not matter to its answer's being remembered.
                let cache = if asked.insert(event["body"].to_string()) { "miss" } else { "hit" };
                for (header, expected) in [
                    ("x-gateway-tier", tier),
                    ("x-gateway-model", &format!("sim/{tier}")),
                    ("x-gateway-intent", intent),
                    ("x-gateway-intent-source", "embedding"),
                    ("x-gateway-cache", cache),
                    ("x-gateway-attempts", if cache == "hit" { "0" } else { "1" }),
                    ("x-gateway-failover", "false"),
                    ("x-gateway-upgraded", "false"),
                    ("x-ratelimit-limit-requests", "600"),
                ] {
                    assert_eq!(reply.header(header), expected, "{name}: {header}");
                }
                let text = if name.ends_with("stream") {
                    let (chunks, last) = reply.events();
                    for (header, value) in reply.headers.as_object().unwrap() {
                        let is_final = header.starts_with("x-gateway-") || header == "x-request-id";
                        assert!(!is_final || last[header] == *value, "{name}: {header} in {last}");
                    }
                    bill.add(&last, chunks.last().unwrap());
                    let delta = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
                    chunks.iter().filter_map(delta).collect()
                } else {
                    let answer = reply.json();
                    assert_eq!(answer["model"], reply.headers["x-gateway-model"]);
                    bill.add(&reply.headers, &answer);
                    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
                };
                let topic = if is_hard { "scalable chat system" } else { "What is an API" };
                assert!(text.contains(topic), "{name}: {text}");
                ids.push(reply.header("x-request-id").to_owned());
            }
            new => panic!("nothing is expected of events/{new}.json"),
        }
    }
    let mut no_key = event("rest-chat", key);
    for headers in ["headers", "multiValueHeaders"] {
        no_key[headers].as_object_mut().unwrap().remove("Authorization").unwrap();
    }
    for (bad, status, code) in [
        (no_key, 401, "invalid_api_key"),
        (event("function-url-chat", "gw_live_x"), 401, "invalid_api_key"),
        (at("/v1/nothing", event("rest-models", key)), 404, "not_found"),
        (at("/v1/models", event("rest-chat", key)), 405, "method_not_allowed"),
        (with_body("{", event("rest-chat-stream", key)), 400, "invalid_request"),
        (with_body("{", event("http-api-chat", key)), 400, "invalid_request"),
    ] {
        let reply = gateway.ask(&bad).await;
        let body = reply.json();
        assert_eq!((reply.status, &body["error"]["code"]), (status, &json!(code)), "{body}");
        assert_eq!(body["request_id"], reply.headers["x-request-id"]);
    }
    ids
}

#[tokio::test]
async fn both_functions_answer_every_event_and_what_one_life_wrote_the_next_one_reads() {
    within(async {
        let folder = Folder::new();

        let admin = folder.start("admin", &[AUTO]).await;
        let tenant = admin.ask(&event("admin-create-tenant", "")).await;
        assert_eq!((tenant.status, &tenant.json()["limits"]["daily_requests"]), (201, &json!(1000)), "{tenant:?}");
        let made = admin.ask(&new_key()).await;
        assert_eq!(made.status, 201, "{made:?}");
        let key = made.json()["key"].as_str().unwrap().to_owned();
        let metrics = admin.ask(&event("admin-metrics", "")).await.json();
        assert_eq!(
            (&metrics["requests_total"], &metrics["models"]["sim/cheap"]["breaker"]),
            (&json!(0), &json!("closed"))
        );
        let stranger = admin.ask(&event("rest-models", &key)).await;
        assert_eq!(stranger.status, 401, "a tenant's key opens nothing here: {stranger:?}");
        admin.stop().await;

        let mut bill = Bill::default();
        let gateway = folder.start("gateway", &[AUTO]).await;
        let ids = drive(&gateway, &key, &mut bill).await;
        gateway.stop().await;

        // The mode that nobody set is `buffered`: now the same events are answered whole, streams too.
        let gateway = folder.start("gateway", &[]).await;
        for id in &ids {
            let reply = gateway.ask(&at(&format!("/v1/receipts/{id}"), event("rest-models", &key))).await;
            let receipt = reply.json();
            assert_eq!(
                (reply.status, &receipt["id"], &receipt["tenant"]),
                (200, &json!(id), &json!("acme")),
                "{receipt}"
            );
        }
        drive(&gateway, &key, &mut bill).await;
        gateway.stop().await;

        let admin = folder.start("admin", &[]).await;
        assert_eq!(Bill::in_the_books(&admin).await, bill, "what clients were told is what the books say");
        admin.stop().await;
        assert_eq!((bill.requests, bill.hits), (14, 8));

        let secrets = [key.as_str(), OWNER_TOKEN, "What is an API", "scalable chat system"];
        assert_eq!(folder.receipts_in_log(&secrets).len(), 14);
    })
    .await;
}

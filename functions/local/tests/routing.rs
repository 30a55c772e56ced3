//! `ai-gateway routing replay` and `ai-gateway intents fit`: what the receipts say of the dial, while a gateway has them
//! open and when none does.

use super::gateway::{Gateway, Setup};
use super::wire::request;
use serde_json::{Value, json};

/// Answers a request to `auto`, and says so much of it.
async fn say(gateway: &Gateway, prompt: &str, rating: Option<&str>) {
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]}).to_string();
    let answer = gateway.chat_with(&[("x-gateway-cache", "no-store")], body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let Some(rating) = rating else { return };
    let bearer = format!("Bearer {}", gateway.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let line = format!("POST /v1/receipts/{}/feedback", answer.head.id());
    let said = gateway.send(&request(&line, &headers, json!({"rating": rating}).to_string().as_bytes())).await;
    assert_eq!(said.status, 200, "{}", said.text());
}

#[tokio::test]
async fn other_dials_are_replayed_through_the_running_gateway_and_without_one() {
    let gateway = Setup::new().start().await;
    say(&gateway, "hello there", Some("good")).await;
    say(&gateway, "good morning", Some("bad")).await;
    say(&gateway, "Prove that the square root of two is irrational, and design a distributed database.", None).await;
    let (folder, address) = (gateway.folder.clone(), gateway.address.to_string());
    let asked = |arguments: &[&str]| Setup::again(&folder).with("GATEWAY_ADDR", &address).called(arguments);
    let replayed = async |arguments: &[&str]| {
        let (status, output, errors) = asked(arguments).run().await;
        assert!(status.success(), "{output}{errors}");
        output
    };
    let everything = ["routing", "replay", "--json", "--quality", "0", "--quality", "1"];
    let running = replayed(&everything).await;
    let seen: Value = serde_json::from_str(&running).unwrap();
    assert_eq!(seen["requests"], 3, "{seen}");
    assert_eq!(seen["data"][0]["sent"], json!({"cheap": 3, "reasoning": 0}), "{seen}");
    let said: u64 =
        ["cheap", "reasoning"].iter().map(|tier| seen["feedback"][tier]["feedback"].as_u64().unwrap()).sum();
    assert_eq!(said, 2, "{seen}");
    let table = replayed(&["routing", "replay", "--tenant", "demo"]).await;
    assert!(table.contains("3 requests") && table.contains("the gateway on") && table.contains("1.00"), "{table}");
    let none: Value =
        serde_json::from_str(&replayed(&["routing", "replay", "--json", "--to", "2025-01-01"]).await).unwrap();
    assert_eq!(none["requests"], 0);
    for arguments in [&["routing", "replay", "--quality", "2"][..], &["routing", "replay", "--colour", "red"]] {
        let complaint = asked(arguments).complaint().await;
        assert!(complaint.contains(arguments[2]), "{complaint}");
    }
    let complaint = asked(&["intents", "fit"]).complaint().await;
    assert!(complaint.contains("too little feedback") && complaint.contains("50 are needed"), "{complaint}");
    // Neither: the ledger is open elsewhere, and nobody answers at the address.
    let complaint =
        Setup::again(&folder).with("GATEWAY_ADDR", "127.0.0.1:9").called(&["intents", "fit"]).complaint().await;
    assert!(complaint.contains("another process has it open") && complaint.contains("127.0.0.1:9"), "{complaint}");

    gateway.signal("TERM");
    gateway.ended().await;
    assert_eq!(replayed(&everything).await, running, "the same from the ledger itself");
    let nobody = asked(&["routing", "replay", "--tenant", "nobody"]).complaint().await;
    assert!(nobody.contains("there is no tenant nobody"), "{nobody}");
}

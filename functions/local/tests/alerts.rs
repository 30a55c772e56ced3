//! Alerts of a process that runs: they are sent without anybody asking, and outlive it.

use super::gateway::{Gateway, Setup, within};
use super::wire::request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Takes one webhook; its body.
async fn take(listener: &TcpListener) -> Value {
    within("nothing is told", async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            stream.read_buf(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes);
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && let Ok(json) = serde_json::from_str::<Value>(body)
            {
                stream.write_all(b"HTTP/1.1 204 So\r\n\r\n").await.unwrap();
                return json;
            }
        }
    })
    .await
}

async fn admin(gateway: &Gateway, words: &[&str]) -> Value {
    let setup = Setup::again(&gateway.folder).with("GATEWAY_ADDR", &gateway.address.to_string());
    let (status, output, errors) = setup.called(&[&["admin"], words].concat()).run().await;
    assert!(status.success(), "{words:?}: {output}{errors}");
    serde_json::from_str(&output).unwrap()
}

#[tokio::test]
async fn a_process_tells_by_itself_what_was_used_and_lists_what_it_told() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shipped = include_str!("../../../assets/gateway.toml");
    let url = format!("http://{}/hook", receiver.local_addr().unwrap());
    let table = format!("[alerts]\nwebhook = {url:?}\nsecret = \"env:ALERTS_SECRET\"\n");
    let setup = Setup::new().configured(&shipped.replace("[alerts]\n", &table));
    let gateway = setup.with("ALERTS_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").start().await;
    let (said, test) = tokio::join!(admin(&gateway, &["alerts", "test"]), take(&receiver));
    assert_eq!((&said["state"], &said["id"], &test["kind"]), (&json!("delivered"), &test["id"], &json!("test")));
    admin(&gateway, &["tenants", "create", "shop", "limits.daily_requests=1"]).await;
    let key = admin(&gateway, &["keys", "create", "shop", "ci"]).await["key"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = br#"{"model":"cheap","messages":[{"role":"user","content":"hello"}]}"#;
    assert_eq!(gateway.send(&request("POST /v1/chat/completions", &headers, body)).await.status, 200);
    let told = take(&receiver).await;
    assert_eq!((&told["tenant"], &told["budget"]["threshold_percent"]), (&json!("shop"), &json!(100)));
    let listed = within("it is not noted that it was delivered", async {
        loop {
            let alerts = admin(&gateway, &["alerts"]).await;
            if alerts[0]["state"] == "delivered" {
                return alerts;
            }
        }
    });
    let listed = listed.await;
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &told["id"]));
}

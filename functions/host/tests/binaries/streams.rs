//! Streams: when an event leaves, and what follows a client that leaves first.

use super::*;
use crate::runtime_double::Taking;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

const FAR_FUTURE_MS: u64 = 4_102_444_800_000;

/// What the upstream says, one event for each permit. The first is longer than what the gateway holds back to judge it.
const SAID: [&str; 5] = [
    r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"The first half of an answer, which is long enough for a judge, "}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"and the other half."}}]}"#,
    r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":11,"total_tokens":18}}"#,
    "[DONE]",
];

/// Starts an upstream, and a gateway whose only model it serves.
async fn with_upstream(folder: &Folder) -> (Function, Arc<Semaphore>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = format!(
        "[providers.upstream]\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\n\
         [models.\"upstream/gated\"]\nprovider = \"upstream\"\nusd_per_million = {{ input = 1, output = 2 }}\n\
         [tiers]\ncheap = [\"upstream/gated\"]\n",
        listener.local_addr().unwrap()
    );
    let gate = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&gate);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak(BufReader::new(stream), Arc::clone(&permits)));
        }
    });
    let config = folder.file("gateway.toml", &config);
    (folder.start("gateway", &[AUTO, ("GATEWAY_CONFIG", &config)]).await, gate)
}

async fn speak(mut stream: BufReader<TcpStream>, permits: Arc<Semaphore>) -> std::io::Result<()> {
    let (mut line, mut length) = (String::new(), 0);
    while stream.read_line(&mut line).await? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    stream.read_exact(&mut vec![0; length]).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n").await?;
    for event in SAID {
        permits.acquire().await.unwrap().forget();
        stream.write_all(format!("data: {event}\n\n").as_bytes()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_event_of_a_stream_leaves_before_the_next_arrives_and_a_shutdown_lets_the_stream_end() {
    within(async {
        let (folder, key) = Folder::with_tenant().await;
        let (mut gateway, gate) = with_upstream(&folder).await;
        let mut invocation = gateway.lambda.invoke(event("function-url-chat-stream", &key).to_string());
        gate.add_permits(1);
        assert!(invocation.chunk().await.unwrap().starts_with(b"{\"statusCode\":200,"));
        assert_eq!(invocation.chunk().await.unwrap(), [0; 8]);
        invocation.until("The first half").await;
        gateway.terminate();
        gate.add_permits(1);
        invocation.until("and the other half").await;
        assert_eq!(gateway.lambda.moments(), [Moment::Polled, Moment::Invoked(1), Moment::Answering(1)]);
        gate.add_permits(SAID.len());

        let rest = invocation.answer().await;
        let rest_text = String::from_utf8_lossy(&rest.body);
        assert!(rest.is_complete && rest_text.ends_with("\n\ndata: [DONE]\n\n"), "{rest_text}");
        assert!(rest_text.contains(r#""x-gateway-cost-usd":"0.000029000""#), "{rest_text}");
        assert!(gateway.ended().await.success());
        assert_eq!(gateway.lambda.moments().len(), 4, "a process that is to end asks for nothing more");
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_lambda_stopped_taking_is_read_to_its_end_and_settled_in_full() {
    within(async {
        let (folder, key) = Folder::with_tenant().await;
        let (gateway, gate) = with_upstream(&folder).await;
        let event_text = event("rest-chat-stream", &key).to_string();
        let mut invocation = gateway.lambda.invoke_with(event_text, FAR_FUTURE_MS, Taking::HangingUp);
        gate.add_permits(1);
        let prelude: Value = serde_json::from_slice(&invocation.chunk().await.unwrap()).unwrap();
        let id = prelude["headers"]["x-request-id"].as_str().unwrap();
        assert_eq!(invocation.chunk().await, None);
        gate.add_permits(SAID.len());

        let receipt = gateway.ask(&at(&format!("/v1/receipts/{id}"), event("rest-models", &key))).await.json();
        assert_eq!((&receipt["usage"]["input_tokens"], &receipt["usage"]["output_tokens"]), (&json!(7), &json!(11)));
        assert_eq!((&receipt["cost_usd"], &receipt["estimated"]), (&json!("0.000029000"), &json!(false)));
        gateway.stop().await;
    })
    .await;
}

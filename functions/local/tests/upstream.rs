//! A provider that does nothing by itself: the test reads what it is asked, and says when which byte is sent. What a test
//! then sees at the other end of the gateway has its cause in what it did here, not in the passing of time.

use super::gateway::within;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Upstream(TcpListener);

/// One call of the gateway.
pub(crate) struct Call {
    stream: TcpStream,
    body: Value,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.0.local_addr().unwrap())
    }

    /// The next call.
    pub(crate) async fn call(&self) -> Call {
        within("a call of the provider", async {
            let (mut stream, _) = self.0.accept().await.unwrap();
            let mut bytes = Vec::new();
            loop {
                assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a call breaks off");
                let text = String::from_utf8_lossy(&bytes);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() == length.expect("a length").parse::<usize>().unwrap() {
                    let body = serde_json::from_str(body).unwrap();
                    return Call { stream, body };
                }
            }
        })
        .await
    }

    /// Whether anybody has connected since the last call.
    pub(crate) async fn is_called(&self) -> bool {
        // What has connected before this connection is accepted before it.
        let last = TcpStream::connect(self.0.local_addr().unwrap()).await.unwrap();
        let (_, from) = self.0.accept().await.unwrap();
        from != last.local_addr().unwrap()
    }
}

impl Call {
    async fn send(&mut self, bytes: &[u8]) {
        within("the gateway reading", self.stream.write_all(bytes)).await.expect("the gateway still reads");
    }

    async fn chunk(&mut self, text: &str) {
        self.send(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await;
    }

    /// Begins a streamed answer.
    pub(crate) async fn begin(&mut self) {
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
            .await;
    }

    async fn event(&mut self, choices: Value, usage: Value) {
        let event = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": self.body["model"],
            "choices": choices, "usage": usage});
        self.chunk(&format!("data: {event}\n\n")).await;
    }

    /// Sends an event that brings `text`.
    pub(crate) async fn say(&mut self, text: &str) {
        let delta = json!({"role": "assistant", "content": text});
        self.event(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Value::Null).await;
    }

    /// Ends the answer well, with this usage.
    pub(crate) async fn finish(mut self, input_tokens: u64, output_tokens: u64) {
        self.event(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), Value::Null).await;
        self.event(json!([]), usage(input_tokens, output_tokens)).await;
        self.chunk("data: [DONE]\n\n").await;
        self.send(b"0\r\n\r\n").await;
    }

    /// Waits until the gateway has hung up.
    pub(crate) async fn hung_up(mut self) {
        let mut rest = Vec::new();
        // It may reset the connection; that is an end as well.
        let _ = within("the gateway hanging up", self.stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// Answers as a whole.
    pub(crate) async fn answer(mut self, text: &str, input_tokens: u64, output_tokens: u64) {
        let message = json!({"role": "assistant", "content": text});
        let body = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": self.body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage(input_tokens, output_tokens)})
        .to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        self.send(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    }
}

fn usage(input_tokens: u64, output_tokens: u64) -> Value {
    json!({"prompt_tokens": input_tokens, "completion_tokens": output_tokens, "total_tokens": input_tokens + output_tokens})
}

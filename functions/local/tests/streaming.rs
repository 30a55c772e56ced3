//! Streams over real HTTP: event by event, and settled whatever becomes of the client.

use super::gateway::{Gateway, Setup, config, within};
use super::upstream::Upstream;
use super::wire::Client;
use serde_json::{Value, json};
use upstream_double::Double;

/// A gateway in front of an upstream of the test's own.
async fn in_front_of(upstream: &Upstream) -> Gateway {
    let text =
        config(&upstream.base_url(), &["slow"], "").replace("cheap = [\"sim/cheap\"]", "cheap = [\"double/slow\"]");
    Setup::new().configured(&text).with("DOUBLE_API_KEY", "sk-x").start().await
}

fn ask(model: &str) -> String {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "What is an API?"}]}).to_string()
}

/// The next event's data; `None` at the end of the stream.
async fn event(client: &mut Client) -> Option<String> {
    loop {
        let chunk = client.chunk().await?;
        let text = String::from_utf8(chunk).unwrap();
        assert!(text.is_empty() || text.ends_with("\n\n"), "a chunk is a whole event: {text:?}");
        if text.is_empty() {
            return None;
        }
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        if !data.is_empty() {
            return Some(data.join("\n"));
        }
    }
}

fn text_of(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap();
    event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn each_event_reaches_the_client_before_the_provider_sends_the_next() {
    let upstream = Upstream::start().await;
    let gateway = in_front_of(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(&gateway.chat_request(&[], ask("double/slow").as_bytes())).await;
    let mut call = upstream.call().await;
    call.begin().await;
    for place in 0..50 {
        call.say(&format!("word{place} ")).await;
        if place == 0 {
            let head = client.head().await.unwrap();
            assert_eq!((head.status, head.header("x-gateway-model")), (200, Some("double/slow")));
            assert_eq!(head.header("content-type"), Some("text/event-stream; charset=utf-8"));
        }
        // Nothing but this event is on its way: were it held back anywhere, this would wait for ever.
        assert_eq!(text_of(&event(&mut client).await.unwrap()), format!("word{place} "));
    }
    call.finish(9, 50).await;
    let mut last = Vec::new();
    while let Some(event) = event(&mut client).await {
        last.push(event);
    }
    assert!(last[0].contains(r#""finish_reason":"stop""#), "{last:?}");
    assert_eq!(last.last().map(String::as_str), Some("[DONE]"));
}

#[tokio::test]
async fn a_stream_that_is_judged_is_held_back_only_until_it_is_judged() {
    let upstream = Upstream::start().await;
    let gateway = in_front_of(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(&gateway.chat_request(&[], ask("cheap").as_bytes())).await;
    let mut call = upstream.call().await;
    call.begin().await;
    let opening = "An interface is a promise between two programs, made in writing.";
    call.say(opening).await;
    assert_eq!(client.head().await.unwrap().status, 200);
    assert_eq!(text_of(&event(&mut client).await.unwrap()), opening);
    for place in 0..10 {
        call.say(&format!(" word{place}")).await;
        assert_eq!(text_of(&event(&mut client).await.unwrap()), format!(" word{place}"));
    }
    call.finish(9, 20).await;
    while let Some(event) = event(&mut client).await {
        assert!(!event.contains("error"), "{event}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_mid_stream_is_charged_all_that_the_provider_bills() {
    let upstream = Upstream::start().await;
    let gateway = in_front_of(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(&gateway.chat_request(&[], ask("double/slow").as_bytes())).await;
    let mut call = upstream.call().await;
    call.begin().await;
    call.say("first").await;
    let id = client.head().await.unwrap().id();
    event(&mut client).await.unwrap();
    // That the connection ends from the other side as well says that the gateway has seen the client go.
    client.end().await;
    within("the end of the connection", client.is_closed()).await;
    for _ in 0..200 {
        call.say(" and so on").await;
    }
    call.finish(1000, 600).await;
    let receipt = gateway.receipt(&id).await;
    assert_eq!(receipt["attempts"][0]["outcome"], "client_gone", "{receipt}");
    assert_eq!((&receipt["usage"]["input_tokens"], &receipt["usage"]["output_tokens"]), (&json!(1000), &json!(600)));
    assert_eq!((&receipt["cost_usd"], &receipt["estimated"]), (&json!("0.002200000"), &json!(false)));
    let usage = gateway.usage().await;
    assert_eq!(usage["tokens"], json!({"used": 1600, "held": 0, "limit": 1_000_000}));
    assert_eq!(usage["cost_usd"]["used"], "0.002200000");
}

#[tokio::test]
async fn where_the_model_says_so_a_call_whose_client_left_is_hung_up_on() {
    for stream in [true, false] {
        let upstream = Upstream::start().await;
        let text = config(&upstream.base_url(), &["slow"], "") + "on_client_gone = \"cancel\"\n";
        let gateway = Setup::new().configured(&text).with("DOUBLE_API_KEY", "sk-x").start().await;
        let mut client = gateway.connect().await;
        let mut body: Value = serde_json::from_str(&ask("double/slow")).unwrap();
        body["stream"] = stream.into();
        client.send(&gateway.chat_request(&[], body.to_string().as_bytes())).await;
        let mut call = upstream.call().await;
        if stream {
            call.begin().await;
            call.say("the first words of an answer").await;
            client.head().await.unwrap();
            event(&mut client).await.unwrap();
        }
        client.end().await;
        // No byte more is sent: the end comes of the client's alone.
        call.hung_up().await;
        within("the settlement", async { while gateway.usage().await["tokens"]["held"] != 0 {} }).await;
        let receipts = gateway.admin("GET /admin/receipts?tenant=demo", "").await.json();
        let [receipt] = &receipts["data"].as_array().unwrap()[..] else { panic!("{receipts}") };
        assert_eq!((&receipt["attempts"][0]["outcome"], &receipt["estimated"]), (&json!("client_gone"), &json!(true)));
        assert_eq!(receipt["usage"]["output_tokens"] != 0, stream, "{receipt}");
        assert_eq!(gateway.usage().await["cost_usd"]["used"], receipt["cost_usd"]);
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_is_charged_too() {
    for stream in [false, true] {
        let upstream = Upstream::start().await;
        let gateway = in_front_of(&upstream).await;
        let mut client = gateway.connect().await;
        let body =
            json!({"model": "double/slow", "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
                .to_string();
        client.send(&gateway.chat_request(&[], body.as_bytes())).await;
        let mut call = upstream.call().await;
        client.end().await;
        within("the end of the connection", client.is_closed()).await;
        if stream {
            call.begin().await;
            call.say("nobody hears this").await;
            call.finish(40, 60).await;
        } else {
            call.answer("nobody hears this", 40, 60).await;
        }
        within("the settlement", async { while gateway.usage().await["tokens"]["held"] != 0 {} }).await;
        let usage = gateway.usage().await;
        assert_eq!(
            (&usage["tokens"]["used"], &usage["requests"]["used"]),
            (&json!(100), &json!(1)),
            "stream: {stream}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_the_provider_cuts_ends_with_an_error_event_and_without_done() {
    let double = Double::start().await;
    let models = ["cut", "cut-clean", "reset-mid", "error-event", "cut-before-done"];
    let gateway =
        Setup::new().configured(&config(&double.base_url(), &models, "")).with("DOUBLE_API_KEY", "sk-x").start().await;
    for model in models.iter().map(|model| format!("double/{model}")).chain(["sim/cut".to_owned()]) {
        let mut client = gateway.connect().await;
        client.send(&gateway.chat_request(&[], ask(&model).as_bytes())).await;
        let head = client.head().await.unwrap();
        assert_eq!(head.status, 200, "{model}");
        let mut events = Vec::new();
        while let Some(event) = event(&mut client).await {
            events.push(event);
        }
        let last: Value =
            serde_json::from_str(events.last().unwrap()).unwrap_or_else(|_| panic!("{model}: {events:?}"));
        assert_eq!(last["error"]["code"], "all_candidates_failed", "{model}: {last}");
        assert_eq!(last["request_id"].as_str(), Some(head.id().as_str()), "{model}");
        assert!(!events.iter().any(|event| event == "[DONE]" || event.contains(upstream_double::LEAK)), "{model}");
        let receipt = gateway.receipt(&head.id()).await;
        assert_ne!(receipt["status"], 200, "{model}: {receipt}");
        assert_ne!(receipt["attempts"][0]["outcome"], "ok", "{model}: {receipt}");
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_left_out_of_a_stream_that_is_otherwise_whole() {
    let double = Double::start().await;
    let gateway = Setup::new()
        .configured(&config(&double.base_url(), &["malformed"], ""))
        .with("DOUBLE_API_KEY", "sk-x")
        .start()
        .await;
    let mut client = gateway.connect().await;
    client.send(&gateway.chat_request(&[], ask("double/malformed").as_bytes())).await;
    let head = client.head().await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = event(&mut client).await {
        events.push(event);
    }
    assert_eq!(events.last().unwrap(), "[DONE]", "{events:?}");
    let receipt = gateway.receipt(&head.id()).await;
    let why = receipt["reasons"].to_string();
    assert!(receipt["status"] == 200 && why.contains("left out, for it could not be read"), "{receipt}");
}

#[tokio::test]
async fn a_stream_ends_with_its_final_figures_in_a_comment_and_they_are_the_receipts() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    client.send(&gateway.chat_request(&[("x-gateway-cache", "no-store")], ask("auto").as_bytes())).await;
    let head = client.head().await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = client.chunk().await.filter(|chunk| !chunk.is_empty()) {
        text += std::str::from_utf8(&chunk).unwrap();
    }
    let (before, done) = text.rsplit_once("\n\ndata: [DONE]\n\n").unwrap();
    assert_eq!(done, "");
    let comment = before.rsplit("\n\n").next().unwrap().strip_prefix(": gateway ").expect("the comment before [DONE]");
    let comment: Value = serde_json::from_str(comment).unwrap();
    let receipt = gateway.receipt(&head.id()).await;
    assert_eq!(comment["x-gateway-cost-usd"], receipt["cost_usd"]);
    assert_eq!(comment["x-gateway-model"], receipt["model"]);
    assert_eq!(comment["x-request-id"].as_str(), Some(head.id().as_str()));
}

//! What a client sees of each behaviour, byte for byte, and what the double says that it counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, missing_docs)]

mod client;
mod messages;
mod raw_forms;

use client::{Client, Ended, STREAM, body, chat};
use upstream_double::{Double, LEAK, Tally};

/// Lets the double run until `seen` holds; it must within the test's patience.
async fn until(double: &Double, seen: impl Fn(&Tally) -> bool) -> Tally {
    loop {
        let total = double.counts().total;
        if seen(&total) {
            return total;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_whole_answer_reports_the_usage_that_is_counted() {
    let double = Double::start().await;
    let fields = r#","cached":1,"max_tokens":2"#;
    let answer = chat(&double, "cached-2+reasoning-1+say:one two three", fields).await;
    assert_eq!((answer.status(), answer.ended), (200, Ended::Whole));
    let json = answer.json();
    assert_eq!(json["choices"][0]["message"]["content"], "one ");
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["usage"]["prompt_tokens"], 3);
    assert_eq!(json["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    assert_eq!(json["usage"]["completion_tokens"], 2);
    assert_eq!(json["usage"]["completion_tokens_details"]["reasoning_tokens"], 1);
    let expected = Tally {
        calls: 1,
        completed: 1,
        left: 0,
        input_tokens: 3,
        cached_tokens: 2,
        output_tokens: 2,
        reasoning_tokens: 1,
        statuses: [(200, 1)].into(),
        bills: [((3, 2), 1)].into(),
    };
    assert_eq!(double.counts().total, expected);
    assert_eq!(double.counts().of("cached-2+reasoning-1+say:one two three"), expected);
    double.reset();
    assert_eq!(double.counts().total, Tally::default());
}

#[tokio::test]
async fn a_stream_says_the_same_as_the_whole_answer_and_usage_only_if_asked() {
    let double = Double::start().await;
    let whole = chat(&double, "ok", "").await.json();
    let stream = chat(&double, "ok", STREAM).await;
    assert_eq!(stream.content(), whole["choices"][0]["message"]["content"].as_str().unwrap());
    let events = stream.events();
    assert_eq!(events.last().unwrap(), "[DONE]");
    let usage: serde_json::Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!((&usage["usage"], &usage["choices"]), (&whole["usage"], &serde_json::json!([])));
    assert!(events[..events.len() - 2].iter().all(|event| event.contains(r#""usage":null"#)));
    for (model, fields) in [("ok", r#","stream":true"#), ("no-usage", STREAM)] {
        assert!(!chat(&double, model, fields).await.text().contains(r#""usage""#), "{model}");
    }
    assert!(!chat(&double, "no-usage", "").await.text().contains(r#""usage""#));
    let counts = double.counts();
    assert_eq!(counts.of("no-usage").output_tokens, 2 * whole["usage"]["completion_tokens"].as_u64().unwrap());
    assert_eq!(counts.total.completed, 5);
}

#[tokio::test]
async fn choices_logprobs_and_tools_are_as_asked_for() {
    let double = Double::start().await;
    let many = chat(&double, "low-logprob+say:a b", r#","n":3,"logprobs":true,"top_logprobs":2"#).await.json();
    assert_eq!(many["choices"].as_array().unwrap().len(), 3);
    assert_eq!(many["usage"]["completion_tokens"], 6);
    let token = &many["choices"][2]["logprobs"]["content"][1];
    assert_eq!((token["token"].as_str(), token["logprob"].as_f64()), (Some("b"), Some(-2.9)));
    assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
    let tools = r#","tools":[{"type":"function","function":{"name":"weather"}}]"#;
    let whole = chat(&double, "tools", tools).await.json();
    let call = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!((call["name"].as_str(), &whole["choices"][0]["finish_reason"]), (Some("weather"), &"tool_calls".into()));
    let stream = chat(&double, "tools", &format!("{tools}{STREAM}")).await;
    let events: Vec<serde_json::Value> =
        stream.events().iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
    let fragments: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str())
        .collect();
    assert_eq!(Some(fragments.as_str()), call["arguments"].as_str());
    assert!(serde_json::from_str::<serde_json::Value>(&fragments).unwrap()["query"].is_string());
}

#[tokio::test]
async fn every_stream_fault_looks_as_documented() {
    let double = Double::start().await;
    // (id, how it ends, events, whether one finishes, whether [DONE] came); `say` has 4 words, so 8 events in all.
    for (fault, ended, events, finishes, done) in [
        ("ok", Ended::Whole, 8, true, true),
        ("cut", Ended::Short, 3, false, false),
        ("cut-1", Ended::Short, 1, false, false),
        ("cut-99", Ended::Short, 5, false, false),
        ("cut-clean", Ended::Whole, 3, false, false),
        ("cut-before-done", Ended::Short, 6, true, false),
        ("reset-mid", Ended::Reset, 3, false, false),
        ("reset-mid-2", Ended::Reset, 2, false, false),
        ("reset", Ended::Reset, 0, false, false),
        ("malformed", Ended::Whole, 9, true, true),
        ("error-event", Ended::Whole, 4, false, false),
    ] {
        let model = format!("{fault}+say:one two three four");
        let answer = chat(&double, &model, STREAM).await;
        let text = answer.text();
        let seen = (answer.ended, answer.events().len(), text.contains(r#""stop""#), text.contains("[DONE]"));
        assert_eq!(seen, (ended, events, finishes, done), "{fault}: {text}");
        let tally = double.counts().of(&model);
        assert_eq!(tally.completed, u64::from(fault == "ok"), "{fault}");
        assert_eq!(tally.output_tokens, if fault == "reset" { 0 } else { 4 }, "{fault}");
        let broken =
            answer.events().iter().filter(|event| serde_json::from_str::<serde_json::Value>(event).is_err()).count();
        assert_eq!(broken, usize::from(done) + usize::from(fault == "malformed"), "{fault}");
    }
}

#[tokio::test]
async fn every_whole_fault_looks_as_documented() {
    let double = Double::start().await;
    // (id, how it ends, whether the body is JSON, what is in it)
    for (fault, ended, is_json, contains) in [
        ("cut", Ended::Short, false, "one"),
        ("cut-clean", Ended::Whole, false, "one"),
        ("cut-before-done", Ended::Whole, true, "four"),
        ("reset-mid", Ended::Reset, false, "one"),
        ("reset", Ended::Reset, false, ""),
        ("malformed", Ended::Whole, false, "one"),
        ("not-json", Ended::Whole, false, "<!doctype html>"),
        ("error-event", Ended::Whole, true, r#"{"error":{"#),
    ] {
        let answer = chat(&double, &format!("{fault}+say:one two three four"), "").await;
        let is_json_seen = serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok();
        assert_eq!((answer.ended, is_json_seen), (ended, is_json), "{fault}: {}", answer.text());
        assert!(answer.text().contains(contains), "{fault}: {}", answer.text());
    }
    assert!(!chat(&double, "cut-before-done", "").await.text().contains(r#""usage""#));
    assert_eq!(double.counts().total.completed, 0);
}

#[tokio::test]
async fn a_stalled_call_ends_only_when_the_client_leaves() {
    for (model, fields, seen, status) in [
        ("stall-2+say:one two", STREAM, r#""content":"one"#, Some(200)),
        ("stall-0", STREAM, "chunked", Some(200)),
        ("stall", "", "\r\n\r\n", Some(200)),
        ("stall-head", "", "", None),
    ] {
        let double = Double::start().await;
        let mut client = Client::connect(&double).await;
        client.post(&body(model, fields)).await;
        let head = client.read_until(seen).await;
        let tally = until(&double, |total| total.calls == 1).await;
        assert_eq!(tally.left, 0, "{model}");
        drop(client);
        let tally = until(&double, |total| total.left == 1).await;
        assert_eq!((tally.completed, tally.statuses.keys().next().copied()), (0, status), "{model}: {head}");
        assert!(!head.contains(r#""content":"two"#));
    }
}

#[tokio::test]
async fn an_endless_answer_ends_only_when_the_client_leaves() {
    for fields in ["", STREAM] {
        let double = Double::start().await;
        let mut client = Client::connect(&double).await;
        client.post(&body("endless+say:one two", fields)).await;
        client
            .read_until(&if fields.is_empty() { "more and more ".repeat(50) } else { r#""content":"one"#.to_owned() })
            .await;
        for _ in 0..200 {
            client.read_until("\r\n").await;
        }
        drop(client);
        let tally = until(&double, |total| total.left == 1).await;
        assert_eq!((tally.output_tokens, tally.completed), (2, 0));
    }
}

#[tokio::test]
async fn errors_carry_secrets_and_say_when_to_come_back() {
    let double = Double::start().await;
    for status in [400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503, 529] {
        let answer = chat(&double, &format!("status-{status}"), STREAM).await;
        assert_eq!(answer.status(), status);
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(LEAK), "{status}");
    }
    for (model, status, code, header) in [
        ("429", 429, "rate_limit_exceeded", ""),
        ("429-after-3", 429, "rate_limit_exceeded", "Retry-After: 3\n"),
        ("429-ms-250", 429, "rate_limit_exceeded", "retry-after-ms: 250\n"),
        ("429-after-date-60", 429, "rate_limit_exceeded", " GMT\n"),
        ("insufficient-quota", 429, "insufficient_quota", ""),
        ("context-overflow", 400, "context_length_exceeded", ""),
        ("content-filter", 400, "content_policy_violation", ""),
        ("no-such-thing", 404, "invalid_request", ""),
    ] {
        let answer = chat(&double, model, "").await;
        assert_eq!((answer.status(), answer.json()["error"]["code"].as_str()), (status, Some(code)), "{model}");
        assert_eq!(answer.head.to_lowercase().contains("retry-after"), !header.is_empty(), "{model}");
        assert!(answer.head.contains(header), "{model}: {}", answer.head);
    }
    let total = double.counts().total;
    assert_eq!((total.input_tokens, total.output_tokens, total.completed), (0, 0, 0));
    assert_eq!(total.statuses[&429], 6);
}

#[tokio::test]
async fn half_the_calls_fail_and_a_fault_may_be_named_for_them() {
    let double = Double::start().await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(chat(&double, "fail-50", "").await.status());
        chat(&double, "fail-25", "").await;
    }
    assert_eq!(seen, [200, 500, 200, 500, 200, 500]);
    assert_eq!(double.counts().of("fail-25").statuses[&500], 1);
    let mut ends = Vec::new();
    for _ in 0..3 {
        ends.push(chat(&double, "fail-first-2+cut", STREAM).await.ended);
    }
    assert_eq!(ends, [Ended::Short, Ended::Short, Ended::Whole]);
}

#[tokio::test]
async fn every_layout_of_events_reads_the_same() {
    let double = Double::start().await;
    let plain = chat(&double, "unicode", STREAM).await.content();
    for (model, marks) in [
        ("sse-crlf", "\r\n\r\n"),
        ("sse-comments", ": OPENROUTER PROCESSING\n"),
        ("sse-nospace", "data:{"),
        ("sse-multiline", ",\ndata: \""),
        ("split-utf8", ""),
        ("one-byte", ""),
    ] {
        let answer = chat(&double, &format!("{model}+unicode"), STREAM).await;
        assert_eq!((answer.content(), answer.ended), (plain.clone(), Ended::Whole), "{model}");
        assert!(answer.text().contains(marks), "{model}");
        assert_eq!(answer.events().last().unwrap(), "[DONE]", "{model}");
        let torn = answer.chunks.iter().filter(|chunk| std::str::from_utf8(chunk).is_err()).count();
        match model {
            "split-utf8" => assert!(torn > 10),
            "one-byte" => assert!(answer.chunks.iter().all(|chunk| chunk.len() <= 1)),
            _ => assert_eq!(torn, 0, "{model}"),
        }
        let whole = chat(&double, &format!("{model}+unicode"), "").await.json();
        assert_eq!(whole["choices"][0]["message"]["content"], plain.as_str(), "{model}");
    }
}

#[tokio::test]
async fn requests_are_read_in_both_framings_on_one_connection() {
    let double = Double::start().await;
    let mut client = Client::connect(&double).await;
    let sent = body("echo", r#","x":1.10"#);
    let head = "POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer sk-secret-9876\r\nX-Trace: a b\r\n\r\n";
    let (first, second) = sent.split_at(17);
    let coded = format!(
        "{head}{:x};ext=1\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\nTrailer: y\r\n\r\n",
        first.len(),
        second.len()
    );
    for part in coded.as_bytes().chunks(7) {
        client.send(part).await;
    }
    assert_eq!(client.answer().await.json()["choices"][0]["message"]["content"], sent.as_str());
    let expecting =
        format!("POST /v1/chat/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", sent.len());
    client.send(expecting.as_bytes()).await;
    assert_eq!(client.answer().await.status(), 100);
    client.send(sent.as_bytes()).await;
    assert_eq!(client.answer().await.json()["choices"][0]["message"]["content"], sent.as_str());
    client.send(b"GET /v1/models HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.answer().await.json()["data"][0]["id"], "ok");
    // Two requests sent at once are answered in turn.
    client.post(&body("say:first", "")).await;
    client.post(&body("close+say:second", "")).await;
    assert!(client.answer().await.text().contains("first"));
    let last = client.answer().await;
    assert!(last.text().contains("second") && last.head.contains("Connection: close"));
    assert_eq!(client.answer().await.ended, Ended::Short);
    assert_eq!(double.counts().connections, 1);

    let requests = double.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!((&*requests[0].body, requests[0].model.as_str()), (sent.as_bytes(), "echo"));
    assert_eq!((requests[0].has_key, requests[0].key_last4.as_str()), (true, "9876"));
    assert_eq!((requests[0].header("x-trace"), requests[0].header("authorization")), (Some("a b"), None));
    assert_eq!((requests[1].has_key, requests[1].key_last4.as_str()), (false, ""));
}

#[tokio::test]
async fn nonsense_is_refused_and_does_not_end_the_double() {
    let double = Double::start().await;
    for (sent, status) in [
        ("nonsense\r\n\r\n", 400),
        ("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        ("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{]", 400),
        ("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 400),
        ("POST /v1/moderations HTTP/1.1\r\n\r\n", 404),
        ("DELETE /counts HTTP/1.1\r\n\r\n", 405),
    ] {
        let mut client = Client::connect(&double).await;
        client.send(sent.as_bytes()).await;
        assert_eq!(client.answer().await.status(), status, "{sent}");
    }
    assert_eq!(chat(&double, "ok", "").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_leaves_is_billed_in_full_unless_generation_stops() {
    for (model, fields, billed) in [
        ("drip-100+reasoning-2+say:one two three four", STREAM, 6..=6),
        ("drip-100+stops-when-left+reasoning-2+say:one two three four", STREAM, 3..=5),
        ("slow-60000+say:one two", "", 2..=2),
        ("slow-60000+stops-when-left+say:one two", "", 0..=0),
    ] {
        let double = Double::start().await;
        let mut client = Client::connect(&double).await;
        client.post(&body(model, fields)).await;
        if fields == STREAM {
            client.read_until(r#""content":"one"#).await;
        }
        until(&double, |total| total.calls == 1).await;
        drop(client);
        let tally = until(&double, |total| total.left == 1).await;
        assert_eq!((tally.input_tokens, tally.completed), (3, 0), "{model}");
        assert!(billed.contains(&tally.output_tokens), "{model}: {tally:?}");
    }
    let double = Double::start().await;
    let whole = chat(&double, "stops-when-left", STREAM).await;
    let usage: serde_json::Value = serde_json::from_str(&whole.events()[whole.events().len() - 2]).unwrap();
    assert_eq!(usage["usage"]["completion_tokens"], double.counts().total.output_tokens);
}

#[tokio::test]
async fn giants_extras_and_interim_answers_arrive() {
    let double = Double::start().await;
    let stream = chat(&double, "giant-3", &format!(r#"{STREAM},"max_tokens":5"#)).await;
    assert!(stream.ended == Ended::Whole && stream.content().len() > 3 << 20);
    assert!(stream.chunks.iter().any(|chunk| chunk.len() > 3 << 20));
    let whole = chat(&double, "giant-3", "").await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], stream.content());
    assert_eq!(double.counts().total.output_tokens, 2 * whole["usage"]["completion_tokens"].as_u64().unwrap());
    for fields in ["", STREAM] {
        let extra = chat(&double, "extra", fields).await.text();
        assert!(
            extra.contains(r#""x_provider":{"a":1.10,"b":[1e3,-0.0]"#) && extra.contains(r#""x_inner":{"z":0.10}"#)
        );
        let mut client = Client::connect(&double).await;
        client.post(&body("continue", fields)).await;
        assert_eq!(client.answer().await.status(), 100);
        assert_eq!(client.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn a_stopped_double_refuses_connections_and_may_start_again() {
    let double = Double::start().await;
    let address = double.address();
    let mut client = Client::connect(&double).await;
    client.post(&body("stall-head", "")).await;
    until(&double, |total| total.calls == 1).await;
    double.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    assert_ne!(client.answer().await.ended, Ended::Whole);
    let again = Double::start_on(&address.to_string()).await.unwrap();
    assert_eq!(chat(&again, "ok", "").await.status(), 200);
}

#[test]
fn the_process_serves_its_books_until_its_input_closes() {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::{Command, Stdio};
    let mut process = Command::new(env!("CARGO_BIN_EXE_upstream-double"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap().strip_suffix("/v1").unwrap();
    let ask = |request: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "{request}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str::<serde_json::Value>(body).unwrap()
    };
    let sent = body("say:hi", "");
    ask(&format!(
        "POST /v1/chat/completions HTTP/1.0\r\nApi-Key: k-123456\r\nContent-Length: {}\r\n\r\n{sent}",
        sent.len()
    ));
    let counts = ask("GET /counts HTTP/1.0\r\n\r\n");
    assert_eq!((&counts["total"], &counts["total"]["calls"]), (&counts["models"]["say:hi"], &1.into()));
    assert_eq!((&counts["total"]["statuses"]["200"], &counts["total"]["output_tokens"]), (&1.into(), &1.into()));
    let requests = ask("GET /requests HTTP/1.0\r\n\r\n");
    assert_eq!((requests[0]["body"].as_str(), requests[0]["key_last4"].as_str()), (Some(sent.as_str()), Some("3456")));
    assert!(!requests.to_string().contains("k-123456"));
    ask("POST /reset HTTP/1.0\r\n\r\n");
    assert_eq!(ask("GET /counts HTTP/1.0\r\n\r\n")["total"]["calls"], 0);
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success());
}

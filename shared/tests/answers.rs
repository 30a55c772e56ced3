//! What a client sees of an answer: body, events and headers, and what goes upstream in its name.

use crate::rig::{Got, two_tiers};
use crate::rig::{NOW, ask, ask_with, cheap, name_of, streamed, with_key};
use gateway_core::door::refusal;
use serde_json::{Value, json};

#[tokio::test]
async fn a_whole_answer_tells_what_became_of_the_request_in_its_headers() {
    let rig = cheap(["ok"]).limits(json!({"requests_per_minute": 60, "tokens_per_minute": 6_000})).build().await;
    let got = rig.chat(ask_with("cheap", json!({"max_tokens": 100}))).await;
    let receipt = rig.receipt(&got).await;
    for (header, value) in [
        ("content-type", "application/json"),
        ("x-gateway-model", "up/ok"),
        ("x-gateway-tier", "cheap"),
        ("x-gateway-intent-source", "pinned"),
        ("x-gateway-cache", "miss"),
        ("x-gateway-attempts", "1"),
        ("x-gateway-failover", "false"),
        ("x-gateway-upgraded", "false"),
        ("x-gateway-cost-usd", receipt["cost_usd"].as_str().unwrap()),
        ("x-gateway-degraded", ""),
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-limit-tokens", "6000"),
        ("retry-after", ""),
    ] {
        assert_eq!(got.header(header), value, "{header}");
    }
    assert!(got.header("x-gateway-overhead-ms").parse::<f64>().is_ok_and(|ms| ms >= 0.0));
    assert_eq!(got.json()["model"], "up/ok", "the catalog's name, not the provider's");
    for (field, value) in [
        ("id", json!(got.header("x-request-id"))),
        ("tenant", json!("acme")),
        ("key_last4", json!(rig.key[rig.key.len() - 4..])),
        ("created_at_ms", json!(NOW)),
        ("status", json!(200)),
        ("requested_model", json!("cheap")),
        ("model", json!("up/ok")),
        ("tier", json!("cheap")),
        ("cache", json!("miss")),
        ("streamed", json!(false)),
        ("upgraded", json!(false)),
        ("estimated", json!(false)),
        ("usage", receipt["attempts"][0]["usage"].clone()),
        ("cost_usd", receipt["attempts"][0]["cost_usd"].clone()),
    ] {
        assert_eq!(receipt[field], value, "{field}");
    }
    assert!(receipt["usage"]["output_tokens"] == 56 && receipt["cost_usd"] != "0.000000000", "{receipt}");
}

#[tokio::test]
async fn a_stream_ends_with_its_final_values_and_done() {
    let rig = cheap(["status-503", "ok"]).table("[retry]\nmax_per_candidate = 0").build().await;
    let got = rig.chat(streamed("cheap")).await;
    assert_eq!((got.status, got.header("content-type")), (200, "text/event-stream; charset=utf-8"));
    assert_eq!((got.header("x-gateway-cost-usd"), got.header("x-gateway-attempts")), ("", "2"), "as of the first byte");
    let body = String::from_utf8_lossy(&got.body).into_owned();
    let events: Vec<&str> = body.trim_end().split("\n\n").collect();
    assert_eq!(events.last(), Some(&"data: [DONE]"));
    assert!(events[events.len() - 2].starts_with(": gateway {"), "{}", events[events.len() - 2]);
    let receipt = rig.receipt(&got).await;
    let last = got.final_values();
    for (name, value) in [
        ("x-request-id", got.header("x-request-id")),
        ("x-gateway-model", "up/ok"),
        ("x-gateway-cost-usd", receipt["cost_usd"].as_str().unwrap()),
        ("x-gateway-attempts", "2"),
        ("x-gateway-failover", "true"),
        ("x-gateway-upgraded", "false"),
    ] {
        assert_eq!(last[name], value, "{name}");
    }
    assert!(got.chunks().iter().all(|chunk| chunk["model"] == "up/ok"));
    assert_eq!(got.chunks().last().unwrap()["usage"]["completion_tokens"], 56);
    assert_eq!((&receipt["streamed"], &receipt["usage"]["output_tokens"]), (&json!(true), &json!(56)));
}

#[tokio::test]
async fn the_usage_chunk_is_for_those_who_asked_and_the_provider_is_always_asked() {
    for (options, wanted) in [
        (json!({"stream": true}), false),
        (json!({"stream": true, "stream_options": null}), false),
        (json!({"stream": true, "stream_options": {"include_usage": false}}), false),
        (json!({"stream": true, "stream_options": {"include_usage": true, "x_more": 1.10}}), true),
    ] {
        let rig = cheap(["ok"]).build().await;
        let got = rig.chat(ask_with("cheap", options.clone())).await;
        let with_usage = got.chunks().iter().filter(|chunk| chunk["usage"].is_object()).count();
        assert_eq!(with_usage, usize::from(wanted), "{options}");
        assert_eq!(
            got.chunks().iter().filter(|chunk| chunk["choices"] == json!([])).count(),
            usize::from(wanted),
            "{options}"
        );
        let sent: Value = serde_json::from_slice(&rig.double.requests()[0].body).unwrap();
        assert_eq!(sent["stream_options"]["include_usage"], true, "{options}");
        assert_eq!(rig.totals().await.tokens, rig.billed().tokens, "{options}");
    }
}

#[tokio::test]
async fn fields_that_the_gateway_does_not_know_pass_both_ways_to_the_byte() {
    const UNKNOWN: &str = r#""x_price": 1.10, "x_list": [1e3, -0.0, 12345678901234567890], "é\n": {"a" : "\u00e9"}"#;
    const MESSAGES: &str = r#"[{"role": "user", "content": "hi", "x_inner": {"z": 0.10}}]"#;
    let rig = cheap(["ok"]).model("echo", "").model("extra", "").build().await;
    for stream in ["", r#", "stream": true"#] {
        let body =
            |model: &str| format!(r#"{{"model": "{model}", {UNKNOWN}, "messages": {MESSAGES}, "seed": 7{stream}}}"#);
        let echoed = rig.chat_bytes(&[], body("up/echo")).await;
        let received = rig.double.requests().pop().unwrap();
        let sent = String::from_utf8(received.body.to_vec()).unwrap();
        assert_eq!(echoed.text(), sent, "the echo of what arrived");
        for part in
            [r#""x_price":1.10"#, r#""x_list":[1e3, -0.0, 12345678901234567890]"#, r#":{"a" : "\u00e9"}"#, MESSAGES]
        {
            assert!(sent.contains(part), "{part} is not in {sent}");
        }
        let parsed: Value = serde_json::from_str(&sent).unwrap();
        assert_eq!((&parsed["model"], &parsed["é\n"]["a"], &parsed["seed"]), (&json!("echo"), &json!("é"), &json!(7)));

        let got = rig.chat_bytes(&[], body("up/extra")).await;
        let back = String::from_utf8_lossy(&got.body).into_owned();
        let whole = r#""x_provider":{"a":1.10,"b":[1e3,-0.0],"c":"\u00e9"}"#;
        let times = if stream.is_empty() { 1 } else { got.chunks().len() - 1 };
        assert!(back.matches(whole).count() >= times, "{back}");
        assert!(back.contains(r#","x_inner":{"z":0.10}}"#), "{back}");
    }
}

#[tokio::test]
async fn upstream_gets_the_models_own_name_and_a_bound_on_its_output_and_nothing_of_the_clients_headers() {
    let fields = "max_output_tokens = 500\ndefault_max_output_tokens = 300";
    let rig = cheap(["ok"]).model("ok@bounded", fields).build().await;
    for (given, bound) in [
        (json!({}), 300),
        (json!({"max_tokens": 20}), 20),
        (json!({"max_completion_tokens": 30}), 30),
        (json!({"max_tokens": 40, "max_completion_tokens": 30}), 30),
        (json!({"max_tokens": 9_999}), 500),
    ] {
        let headers = [("x-secret-of-the-client", "1"), ("x-gateway-tags", "a=b"), ("x-gateway-cache", "no-store")];
        let got = rig.chat_with(&headers, ask_with("up/ok@bounded", given.clone())).await;
        assert_eq!(got.status, 200);
        let received = rig.double.requests().pop().unwrap();
        let sent: Value = serde_json::from_slice(&received.body).unwrap();
        assert_eq!((&sent["model"], &sent["max_tokens"]), (&json!("ok@bounded"), &json!(bound)), "{given}");
        assert!(sent.get("max_completion_tokens").is_none() && sent.get("models").is_none());
        assert_eq!(
            (received.has_key, received.key_last4.as_str()),
            (true, "cdef"),
            "the provider's key, not the client's"
        );
        assert!(received.header("x-secret-of-the-client").is_none() && received.header("x-gateway-tags").is_none());
    }
}

#[tokio::test]
async fn log_probabilities_are_shown_to_those_who_asked() {
    for stream in [false, true] {
        // A tier's answer may be upgraded, so its log-probabilities are asked for wherever it is judged.
        let rig = cheap(["ok"]).holding_streams_back().build().await;
        let shown = |got: &Got| {
            let pieces = if stream { got.chunks() } else { vec![got.json()] };
            pieces.iter().any(|piece| piece["choices"][0]["logprobs"]["content"].is_array())
        };
        let got = rig.chat(ask_with("cheap", json!({"stream": stream}))).await;
        assert!(!shown(&got), "{got:?}");
        let sent: Value = serde_json::from_slice(&rig.double.requests()[0].body).unwrap();
        assert_eq!(sent["logprobs"], true);
        let got = rig.chat(ask_with("cheap", json!({"stream": stream, "logprobs": true, "top_logprobs": 2}))).await;
        assert!(shown(&got), "{got:?}");
    }
}

#[tokio::test]
async fn several_answers_to_one_request_all_reach_the_client() {
    let rig = cheap(["ok"]).build().await;
    let whole = rig.chat(ask_with("cheap", json!({"n": 3}))).await;
    assert_eq!(whole.json()["choices"].as_array().unwrap().len(), 3);
    let got = rig.chat(ask_with("cheap", json!({"n": 3, "stream": true}))).await;
    let finishes = got.chunks().iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop").count();
    assert!(got.is_done() && finishes == 3, "{finishes}");
    assert_eq!(rig.totals().await.tokens, rig.billed().tokens);
}

#[tokio::test]
async fn a_stream_in_which_one_of_several_answers_does_not_end_is_not_whole() {
    // Half of the events before the finish reasons, then an orderly end.
    let rig = cheap(["ok"]).model("cut-clean-170", "").build().await;
    let got = rig.chat(ask_with("up/cut-clean-170", json!({"n": 3, "stream": true}))).await;
    assert!(got.is_error(), "{got:?}");
}

#[tokio::test]
async fn a_receipt_is_its_tenants_alone() {
    let rig = cheap(["ok"]).build().await;
    let other = rig.add_tenant("other", json!({})).await;
    let got = rig.chat(ask("cheap")).await;
    let id = got.header("x-request-id");
    assert_eq!(rig.receipt(&got).await["id"], id);
    for (key, id, status, code) in [
        (other.as_str(), id, 404, "not_found"),
        (&rig.key, "00000000000000000000000000", 404, "not_found"),
        (&rig.key, "../../etc/passwd", 404, "not_found"),
        ("gw_live_nobody", id, 401, "invalid_api_key"),
    ] {
        let answer = Got::all_of(
            rig.gateway.receipt(&with_key(key, &[]), id).await.unwrap_or_else(|error| refusal(&error, None)),
        )
        .await;
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{id}");
        assert!(!answer.contains("up/ok"));
    }
    rig.clock.advance(30 * 86_400_000 + 1);
    assert_eq!(rig.receipt(&got).await["error"]["code"], "not_found", "after 30 days");
}

#[tokio::test]
async fn tags_are_kept_on_the_receipt() {
    let rig = cheap(["ok"]).build().await;
    let got = rig.chat_with(&[("x-gateway-tags", "team=search,env=prod")], ask("cheap")).await;
    assert_eq!(rig.receipt(&got).await["tags"], json!({"team": "search", "env": "prod"}));
}

#[tokio::test(start_paused = true)]
async fn comments_keep_a_silent_stream_alive() {
    let rig = two_tiers(["sim/cheap"], ["sim/reasoning"]).table("[timeouts_ms]\nidle = 35000").build().await;
    let got = rig.chat(streamed("sim/stall")).await;
    let body = String::from_utf8_lossy(&got.body).into_owned();
    assert_eq!(body.matches(": keep-alive\n\n").count(), 3, "every ten seconds");
    assert!(got.is_error());
}

#[tokio::test]
async fn models_are_listed_as_this_key_may_use_them() {
    let rig = cheap(["ok"]).table("[aliases]\n\"gpt-4\" = \"up/ok@strong\"").build().await;
    let few = rig.add_tenant("few", json!({"allowed_models": ["cheap", "up/ok@*"]})).await;
    let list = async |key: &str| {
        let got =
            Got::all_of(rig.gateway.models(&with_key(key, &[])).await.unwrap_or_else(|error| refusal(&error, None)))
                .await;
        let ids: Vec<String> = got.json()["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect();
        ids
    };
    assert_eq!(list(&rig.key).await, ["auto", "cheap", "reasoning", &name_of("ok"), &name_of("ok@strong"), "gpt-4"]);
    assert_eq!(list(&few).await, ["cheap", "up/ok@strong"]);
    for (key, name, status) in
        [(&rig.key, "up/ok", 200), (&rig.key, "up/none", 404), (&few, "up/ok", 404), (&few, "cheap", 200)]
    {
        let got = Got::all_of(
            rig.gateway.model(&with_key(key, &[]), name).await.unwrap_or_else(|error| refusal(&error, None)),
        )
        .await;
        assert_eq!(got.status, status, "{name}");
    }
}

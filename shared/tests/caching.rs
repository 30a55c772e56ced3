//! The exact cache: the same request of the same tenant is answered once, and nothing else is ever mistaken for it (T1).

use crate::rig::{Rig, ask, ask_with, cheap, streamed, two_tiers};
use gateway_core::money::Amounts;
use serde_json::{Value, json};

async fn cache(rig: &Rig, body: &Value) -> String {
    rig.chat(body.clone()).await.header("x-gateway-cache").to_owned()
}

#[tokio::test]
async fn the_same_request_is_answered_once() {
    for body in [ask("cheap"), streamed("cheap"), ask("auto")] {
        let rig = cheap(["reasoning-5+say:Remember this."]).build().await;
        let miss = rig.chat(body.clone()).await;
        assert_eq!((miss.status, miss.header("x-gateway-cache"), miss.header("age")), (200, "miss", ""));
        rig.clock.advance(7_000);
        let hit = rig.chat(body.clone()).await;
        assert_eq!((hit.status, hit.header("x-gateway-cache"), hit.header("age")), (200, "hit", "7"));
        assert_eq!(hit.header("x-gateway-model"), miss.header("x-gateway-model"));
        assert_eq!((hit.text(), hit.is_stream(), hit.is_done()), (miss.text(), miss.is_stream(), miss.is_done()));
        assert_eq!(hit.header("x-gateway-attempts"), "0");
        if hit.is_stream() {
            assert_eq!(hit.chunks(), miss.chunks());
            assert_eq!(hit.final_values()["x-gateway-cache"], "hit");
            assert_eq!(hit.final_values()["x-request-id"], hit.header("x-request-id"));
        } else {
            assert_eq!(hit.body, miss.body);
            assert_eq!(hit.header("x-gateway-cost-usd"), "0.000000000");
        }
        assert_ne!(hit.header("x-request-id"), miss.header("x-request-id"));
        assert_eq!(rig.double.counts().total.calls, 1);
        assert_eq!(rig.totals().await, Amounts { requests: 2, ..rig.billed() }, "a hit counts one request and no more");
        assert_eq!(rig.counted().await, rig.totals().await);
        let receipt = rig.receipt(&hit).await;
        let shown = [&receipt["cache"], &receipt["cost_usd"], &receipt["attempts"]];
        assert_eq!(shown, [&json!("hit"), &json!("0.000000000"), &json!([])]);
    }
}

#[tokio::test]
async fn whatever_an_answer_depends_on_tells_requests_apart() {
    let rig = cheap(["ok"]).build().await;
    let image = json!([{"role": "user", "content": [{"type": "text", "text": "What is an interface?"}]}]);
    let bodies = [
        ask("cheap"),
        ask("up/ok"),
        ask("auto"),
        ask_with("cheap", json!({"temperature": 0})),
        ask_with("cheap", json!({"temperature": 0.1})),
        ask_with("cheap", json!({"max_tokens": 10})),
        ask_with("cheap", json!({"max_tokens": 11})),
        ask_with("cheap", json!({"max_completion_tokens": 10})),
        ask_with("cheap", json!({"top_p": 0.5})),
        ask_with("cheap", json!({"seed": 1})),
        ask_with("cheap", json!({"stop": "x"})),
        ask_with("cheap", json!({"user": "a"})),
        ask_with("cheap", json!({"stream": true})),
        ask_with("cheap", json!({"stream": true, "stream_options": {"include_usage": true}})),
        ask_with("cheap", json!({"logprobs": true})),
        ask_with("cheap", json!({"response_format": {"type": "text"}})),
        ask_with("cheap", json!({"x_unknown": 1})),
        ask_with("cheap", json!({"x_unknown": 1.0})),
        ask_with("cheap", json!({"tools": [{"type": "function", "function": {"name": "f"}}]})),
        ask_with("cheap", json!({"messages": image})),
        ask_with("cheap", json!({"messages": [{"role": "user", "content": "What is an interface"}]})),
        ask_with("cheap", json!({"messages": [{"role": "system", "content": "What is an interface?"}]})),
    ];
    for body in &bodies {
        assert_eq!(cache(&rig, body).await, "miss", "{body}");
    }
    for body in &bodies {
        let got = rig.chat(body.clone()).await;
        let ended_short = body["max_tokens"].is_u64() || body["max_completion_tokens"].is_u64();
        assert_eq!(got.header("x-gateway-cache"), if ended_short { "miss" } else { "hit" }, "{body}");
    }
    let headers = [("x-gateway-upgrade", "off")];
    assert_eq!(rig.chat_with(&headers, ask("cheap")).await.header("x-gateway-cache"), "miss", "how it is upgraded");
}

#[tokio::test]
async fn two_tenants_never_share_an_answer() {
    let rig = cheap(["ok"]).build().await;
    let others = [rig.add_tenant("acme2", json!({})).await, rig.add_tenant("Acme", json!({})).await];
    assert_eq!(cache(&rig, &ask("cheap")).await, "miss");
    assert_eq!(cache(&rig, &ask("cheap")).await, "hit");
    for other in &others {
        assert_eq!(rig.chat_as(other, &[], ask("cheap")).await.header("x-gateway-cache"), "miss");
    }
    assert_eq!(rig.calls("ok"), 3);
}

#[tokio::test]
async fn a_changed_tenant_forgets_its_answers() {
    let rig = cheap(["ok"]).build().await;
    assert_eq!(cache(&rig, &ask("cheap")).await, "miss");
    assert_eq!(cache(&rig, &ask("cheap")).await, "hit");
    rig.change_tenant("acme", json!({"upgrade": {"enabled": false}})).await;
    assert_eq!(cache(&rig, &ask("cheap")).await, "miss");
}

#[tokio::test]
async fn what_is_meant_to_vary_is_not_remembered() {
    for (fields, tenant, expected) in [
        (json!({"temperature": 0.3}), json!({}), "hit"),
        (json!({"temperature": 0.31}), json!({}), "bypass"),
        (json!({"temperature": 1}), json!({}), "bypass"),
        (json!({"n": 2}), json!({}), "bypass"),
        (json!({"temperature": 1}), json!({"cache": {"any_temperature": true}}), "hit"),
        (json!({"n": 2}), json!({"cache": {"any_temperature": true}}), "hit"),
        (json!({}), json!({"cache": {"enabled": false}}), "bypass"),
    ] {
        let rig = cheap(["ok"]).tenant(tenant.clone()).build().await;
        let body = ask_with("cheap", fields);
        rig.chat(body.clone()).await;
        assert_eq!(cache(&rig, &body).await, expected, "{body} {tenant}");
    }
}

#[tokio::test]
async fn the_clients_word_on_the_cache_is_kept() {
    let rig = cheap(["ok"]).build().await;
    for (header, status, cache, calls) in [
        ("only-if-cached", 504, "miss", 0),
        ("no-store", 200, "bypass", 1),
        ("only-if-cached", 504, "miss", 1),
        ("no-cache", 200, "bypass", 2),
        ("only-if-cached", 200, "hit", 2),
        ("no-store", 200, "bypass", 3),
        ("no-cache", 200, "bypass", 4),
        ("only-if-cached", 200, "hit", 4),
    ] {
        for body in [ask("cheap")] {
            let got = rig.chat_with(&[("x-gateway-cache", header)], body).await;
            assert_eq!(
                (got.status, got.header("x-gateway-cache"), rig.calls("ok")),
                (status, cache, calls),
                "{header}"
            );
        }
    }
    let got =
        rig.chat_with(&[("x-gateway-cache", "only-if-cached")], ask_with("cheap", json!({"temperature": 1}))).await;
    assert_eq!((got.status, got.error_code().as_str()), (504, "not_cached"), "such a request never is");
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn an_answer_is_remembered_as_long_as_the_tenant_or_the_client_says() {
    for (tenant, headers, seconds) in [
        (json!({}), vec![], 300),
        (json!({"cache": {"ttl_seconds": 20}}), vec![], 20),
        (json!({"cache": {"ttl_seconds": 20}}), vec![("x-gateway-cache-ttl", "60")], 60),
        (json!({}), vec![("x-gateway-cache-ttl", "1")], 1),
    ] {
        let rig = cheap(["ok"]).tenant(tenant).build().await;
        let ask = async || rig.chat_with(&headers, ask("cheap")).await.header("x-gateway-cache").to_owned();
        assert_eq!(ask().await, "miss");
        rig.clock.advance(seconds * 1000 - 1);
        assert_eq!(ask().await, "hit", "after almost {seconds} s");
        rig.clock.advance(1);
        assert_eq!(ask().await, "miss", "after {seconds} s");
    }
}

#[tokio::test]
async fn what_is_not_a_good_whole_answer_is_not_remembered() {
    for model in ["length", "content-filter-finish", "status-500", "content-filter", "429", "cut", "error-event"] {
        for stream in [false, true] {
            let rig = cheap(["ok"]).model(model, "").table("[retry]\nmax_per_candidate = 0").build().await;
            let body = ask_with(&format!("up/{model}"), json!({"stream": stream}));
            for _ in 0..2 {
                assert_eq!(cache(&rig, &body).await, "miss", "{model}, stream: {stream}");
            }
        }
    }
}

#[tokio::test]
async fn a_hit_takes_neither_tokens_nor_money_and_is_refused_at_an_exhausted_request_quota() {
    let body = ask_with("cheap", json!({"max_tokens": 60}));
    let hold = body.to_string().len() + 16 + 60;
    let rig = cheap(["ok"]).limits(json!({"daily_requests": 3, "daily_tokens": hold})).build().await;
    assert_eq!(cache(&rig, &body).await, "miss");
    let refused = rig.chat(ask_with("cheap", json!({"max_tokens": 61}))).await;
    assert_eq!((refused.status, &refused.json()["error"]["details"]["quota"]), (429, &json!("daily_tokens")));
    for _ in 0..2 {
        assert_eq!(cache(&rig, &body).await, "hit");
    }
    let refused = rig.chat(body).await;
    assert_eq!((refused.status, &refused.json()["error"]["details"]["quota"]), (429, &json!("daily_requests")));
}

#[tokio::test]
async fn a_hit_is_rate_limited_like_any_request() {
    let rig = cheap(["ok"]).limits(json!({"requests_per_minute": 2})).build().await;
    assert_eq!(cache(&rig, &ask("cheap")).await, "miss");
    assert_eq!(cache(&rig, &ask("cheap")).await, "hit");
    assert_eq!(rig.chat(ask("cheap")).await.error_code(), "rate_limited");
}

#[tokio::test]
async fn what_is_purged_is_gone() {
    let rig = cheap(["ok"]).build().await;
    let other = rig.add_tenant("other", json!({})).await;
    rig.chat(ask("cheap")).await;
    rig.chat_as(&other, &[], ask("cheap")).await;
    rig.gateway.store.cache().purge(&rig.uid().await).await.unwrap();
    assert_eq!(cache(&rig, &ask("cheap")).await, "miss");
    assert_eq!(rig.chat_as(&other, &[], ask("cheap")).await.header("x-gateway-cache"), "hit");
}

#[tokio::test]
async fn the_better_answer_of_an_upgrade_is_what_is_remembered() {
    let rig = two_tiers(["hedge"], ["say:Certainly so."]).build().await;
    for expected in ["miss", "hit"] {
        let got = rig.chat(ask("cheap")).await;
        assert_eq!((got.header("x-gateway-cache"), got.text().as_str()), (expected, "Certainly so."));
        assert_eq!(
            (got.header("x-gateway-tier"), got.header("x-gateway-model")),
            ("reasoning", "up/say:Certainly_so.")
        );
    }
    assert_eq!(rig.calls("hedge"), 1);
}

#[tokio::test]
async fn no_more_answers_are_remembered_than_the_cache_has_entries() {
    let rig = cheap(["ok"]).table("[cache]\nmax_entries = 2").build().await;
    let asks: Vec<_> = (0..3).map(|n| ask_with("cheap", json!({"user": format!("user {n}")}))).collect();
    for ask in &asks {
        assert_eq!(cache(&rig, ask).await, "miss");
    }
    for (ask, expected) in [(&asks[1], "hit"), (&asks[2], "hit"), (&asks[0], "miss")] {
        assert_eq!(cache(&rig, ask).await, expected);
    }
}

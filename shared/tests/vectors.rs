//! `POST /v1/embeddings`: vectors for a client, held for, billed and kept like any answer, and never of another model.

use crate::rig::{Got, Rig, Scene, ask, cheap, name_of, with_key};
use bytes::Bytes;
use gateway_core::money::Amounts;
use gateway_core::request::incoming::Incoming;
use serde_json::{Value, json};

/// A model of the double that makes vectors with eight numbers.
const EIGHT: &str = "api = 'embeddings'\ndimensions = 8";
/// The same, known to take whatever OpenAI's takes.
const ABLE: &str = "api = 'embeddings'\ndimensions = 8\ntoken_input = true\nbase64 = true\ncontext_tokens = 50";

/// A scene with a model that makes vectors.
fn embeds(behaviour: &str, fields: &str) -> Scene {
    cheap(["ok"]).model(behaviour, fields)
}

async fn embed_with(rig: &Rig, key: &str, headers: &[(&'static str, &str)], body: &Value) -> Got {
    let body = Box::new(Bytes::from(body.to_string()));
    let incoming = Incoming { headers: with_key(key, headers), body, time_left: None };
    Got::all_of(rig.gateway.embeddings(incoming).await).await
}

async fn embed(rig: &Rig, body: Value) -> Got {
    embed_with(rig, &rig.key, &[], &body).await
}

/// A request to the double's model of this behaviour.
fn of(behaviour: &str, input: Value) -> Value {
    json!({"model": name_of(behaviour), "input": input})
}

fn with(mut body: Value, fields: Value) -> Value {
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// What the double makes of an input.
fn vector(input: &Value, length: u64) -> Vec<f32> {
    let text = input.to_string();
    let sum: u64 = text.bytes().enumerate().map(|(place, byte)| (place as u64 + 1) * u64::from(byte)).sum();
    (0..length).map(|place| ((sum + place * 7) % 1000 + 1) as f32 / 1024.0).collect()
}

/// The vectors of an answer, in the order in which they stand there.
fn vectors(got: &Got) -> Vec<Vec<f32>> {
    let answer = got.json();
    let data = answer["data"].as_array().unwrap_or_else(|| panic!("{got:?}"));
    let read = |(place, item): (usize, &Value)| {
        assert_eq!((&item["object"], &item["index"]), (&json!("embedding"), &json!(place)));
        serde_json::from_value(item["embedding"].clone()).unwrap()
    };
    data.iter().enumerate().map(read).collect()
}

fn expected(inputs: &[Value], length: u64) -> Vec<Vec<f32>> {
    inputs.iter().map(|input| vector(input, length)).collect()
}

/// What the double was sent last.
fn sent(rig: &Rig) -> Value {
    serde_json::from_slice(&rig.double.requests().last().unwrap().body).unwrap()
}

#[tokio::test]
async fn vectors_are_served_and_on_the_receipt_and_in_the_totals() {
    let rig = embeds("ok@v", EIGHT).build().await;
    let got = embed(&rig, with(of("ok@v", json!("hello there")), json!({"user": "u"}))).await;
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(vectors(&got), expected(&[json!("hello there")], 8));
    let (answer, usage) = (got.json(), json!({"prompt_tokens": 3, "total_tokens": 3}));
    assert_eq!((&answer["object"], &answer["model"], &answer["usage"]), (&json!("list"), &json!("up/ok@v"), &usage));
    assert_eq!(sent(&rig), json!({"model": "ok@v", "input": "hello there", "user": "u"}));
    assert_eq!([got.header("x-gateway-model"), got.header("x-gateway-cache")], ["up/ok@v", "miss"]);
    assert_eq!((got.header("x-gateway-attempts"), got.header("x-gateway-cost-usd")), ("1", "0.000001770"));

    let receipt = rig.receipt(&got).await;
    assert_eq!((&receipt["model"], &receipt["cost_usd"]), (&json!("up/ok@v"), &json!("0.000001770")), "{receipt}");
    assert_eq!((&receipt["estimated"], &receipt["streamed"]), (&json!(false), &json!(false)), "{receipt}");
    assert_eq!(receipt["usage"]["input_tokens"], 3, "{receipt}");
    assert_eq!(receipt["attempts"][0]["kind"], "first", "{receipt}");
    let billed = rig.billed().plus(Amounts { requests: 1, ..Amounts::default() });
    assert_eq!((rig.totals().await, rig.counted().await), (billed, billed));
    assert_eq!((billed.tokens, billed.cost_nusd), (3, 1770));
}

#[tokio::test]
async fn every_kind_of_input_goes_through() {
    let rig = embeds("ok@v", ABLE).build().await;
    for (input, inputs) in [
        (json!("a"), vec![json!("a")]),
        (json!(["a", "b", "a"]), vec![json!("a"), json!("b"), json!("a")]),
        (json!([1, 2, 3]), vec![json!([1, 2, 3])]),
        (json!([[1], [2, 3]]), vec![json!([1]), json!([2, 3])]),
    ] {
        let got = embed(&rig, of("ok@v", input.clone())).await;
        assert_eq!(vectors(&got), expected(&inputs, 8));
        assert_eq!(sent(&rig)["input"], input);
    }
}

#[tokio::test]
async fn a_client_gets_the_form_and_the_length_that_it_asked_for() {
    for (fields, behaviour) in [
        (EIGHT, "ok@v"),
        (ABLE, "ok@v"),
        (ABLE, "vectors-floats"),
        (EIGHT, "vectors-strict-format"),
        (ABLE, "ok+extra@v"),
    ] {
        let rig = embeds(behaviour, fields).build().await;
        let body = of(behaviour, json!(["a", "b"]));
        let plain = vectors(&embed(&rig, body.clone()).await);
        for (more, is_packed) in [
            (json!({"encoding_format": "base64"}), true),
            (json!({"encoding_format": "base64", "dimensions": 8}), true),
            (json!({"encoding_format": "float"}), false),
            // Some clients send it for nothing, and some servers refuse it.
            (json!({"encoding_format": null, "dimensions": null, "user": null}), false),
            (json!({"dimensions": 8}), false),
        ] {
            let got = embed(&rig, with(body.clone(), more)).await;
            assert_eq!(got.status, 200, "{behaviour}: {got:?}");
            if !is_packed {
                assert_eq!(vectors(&got), plain);
                continue;
            }
            let answer = got.json();
            for (place, vector) in plain.iter().enumerate() {
                let packed = answer["data"][place]["embedding"].as_str().unwrap();
                // Eight numbers of four bytes.
                assert_eq!((packed.len(), unpacked(packed)), (44, vector.clone()));
            }
        }
    }
}

fn unpacked(text: &str) -> Vec<f32> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|float| f32::from_le_bytes(*float)).collect()
}

#[tokio::test]
async fn shorter_vectors_are_those_that_were_asked_for_or_none() {
    let rig = embeds("ok@v", EIGHT).model("vectors-floats", EIGHT).build().await;
    let got = embed(&rig, with(of("ok@v", json!("a")), json!({"dimensions": 3}))).await;
    assert_eq!(vectors(&got), expected(&[json!("a")], 3));
    assert_eq!(sent(&rig)["dimensions"], 3);
    let got = embed(&rig, with(of("vectors-floats", json!("a")), json!({"dimensions": 3}))).await;
    assert_eq!((got.status, got.error_code()), (502, "all_candidates_failed".into()), "it does not heed the length");
    let got = embed(&rig, with(of("ok@v", json!("a")), json!({"dimensions": 9}))).await;
    assert_eq!(got.status, 400, "the provider's own refusal: {got:?}");
}

#[tokio::test]
async fn vectors_stand_in_the_order_of_their_inputs_however_they_come() {
    let inputs = [json!("a"), json!("b"), json!("c")];
    for behaviour in ["vectors-backwards", "vectors-unnumbered", "vectors-bare", "no-usage@v", "extra@v"] {
        let rig = embeds(behaviour, EIGHT).build().await;
        let got = embed(&rig, of(behaviour, json!(inputs))).await;
        assert_eq!(vectors(&got), expected(&inputs, 8), "{behaviour}");
        let answer = got.json();
        assert_eq!(answer["model"], name_of(behaviour));
        // Where the provider does not say what was used, the client reads what it is charged.
        let receipt = rig.receipt(&got).await;
        assert_eq!(answer["usage"]["prompt_tokens"], receipt["usage"]["input_tokens"], "{behaviour}");
        let is_told = !["vectors-bare", "no-usage@v"].contains(&behaviour);
        assert_eq!(receipt["estimated"], !is_told, "{behaviour}");
        assert_eq!(answer["x_provider"].is_null(), behaviour != "extra@v");
    }
}

#[tokio::test]
async fn what_is_not_one_good_vector_for_each_input_is_no_answer_and_is_billed() {
    for (behaviour, detail) in [
        ("vectors-same-number", "malformed"),
        ("vectors-too-few", "malformed"),
        ("vectors-too-many", "malformed"),
        ("vectors-null", "malformed"),
        ("vectors-zero", "malformed"),
        ("vectors-short", "malformed"),
        ("dimensions-7", "malformed"),
        ("malformed", "malformed"),
        ("not-json", "malformed"),
        ("cut", "truncated"),
    ] {
        let (v, w) = (format!("{EIGHT}\nvectors = 'v'"), "ok@w");
        let rig = embeds(behaviour, &v).model(w, &v).build().await;
        let got = embed(&rig, of(behaviour, json!(["a", "b"]))).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@w"), "{behaviour}: {got:?}");
        assert_eq!(vectors(&got), expected(&[json!("a"), json!("b")], 8));
        let receipt = rig.receipt(&got).await;
        assert_eq!(receipt["attempts"][0]["outcome"], detail, "{behaviour}");
        assert_eq!(receipt["attempts"].as_array().unwrap().last().unwrap()["kind"], "failover", "{behaviour}");
        assert_ne!(receipt["attempts"][0]["cost_usd"], "0.000000000", "{behaviour}: it has worked for it");
        assert_eq!(rig.totals().await, rig.counted().await);
    }
}

#[tokio::test]
async fn only_a_model_that_makes_the_same_vectors_stands_in_for_another() {
    let named =
        |name: &str, dimensions: u64| format!("api = 'embeddings'\ndimensions = {dimensions}\nvectors = '{name}'");
    for (fields, status) in [(named("v", 8), 200), (named("w", 8), 502), (named("v", 9), 502), (EIGHT.to_owned(), 502)]
    {
        let rig = embeds("status-500", &named("v", 8)).model("ok@w", &fields).build().await;
        let got = embed(&rig, of("status-500", json!("a"))).await;
        assert_eq!(got.status, status, "{fields}: {got:?}");
        assert_eq!(rig.calls("ok@w"), u64::from(status == 200));
        assert_eq!(got.header("x-gateway-failover"), if status == 200 { "true" } else { "false" });
    }
}

#[tokio::test]
async fn a_bill_that_is_not_paid_and_a_rate_that_is_exceeded_lead_to_the_same_vectors_elsewhere() {
    let same = format!("{EIGHT}\nvectors = 'v'");
    for behaviour in ["insufficient-quota", "429-after-5", "status-401", "status-404", "reset"] {
        let rig = embeds(behaviour, &same).model("ok@w", &same).build().await;
        let got = embed(&rig, of(behaviour, json!("a"))).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok@w"), "{behaviour}");
        assert!(!got.contains(upstream_double::LEAK), "{behaviour}");
    }
}

#[tokio::test]
async fn a_model_that_generates_makes_no_vectors_and_the_reverse() {
    let rig = embeds("ok@v", EIGHT).table("[aliases]\nvec = 'up/ok@v'").build().await;
    for (model, status, message) in [
        ("up/ok", 400, "makes no vectors"),
        ("auto", 400, "chooses none"),
        ("cheap", 400, "chooses none"),
        ("nobody", 404, "nobody"),
        ("vec", 200, ""),
    ] {
        let got = embed(&rig, json!({"model": model, "input": "a"})).await;
        assert_eq!(got.status, status, "{model}: {got:?}");
        assert!(got.contains(message), "{got:?}");
        let param = if status == 200 { Value::Null } else { json!("model") };
        assert_eq!(got.json()["error"]["param"], param, "{got:?}");
    }
    let got = rig.chat(ask("up/ok@v")).await;
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("model")));
    assert!(got.contains("POST /v1/embeddings"), "{got:?}");
    let both = json!({"model": "up/ok@v", "models": ["up/ok"], "messages": [{"role": "user", "content": "a"}]});
    assert_eq!(rig.chat(both).await.header("x-gateway-model"), "up/ok");
    assert_eq!(rig.totals().await.requests, 2, "what is refused counts nothing");
}

#[tokio::test]
async fn a_model_is_for_those_who_may_use_it() {
    let same = format!("{EIGHT}\nvectors = 'v'");
    let scene = embeds("ok@v", &same).model("ok@w", &same).tenant(json!({"allowed_models": ["up/ok@w"]}));
    let rig = scene.build().await;
    let got = embed(&rig, of("ok@v", json!("a"))).await;
    assert_eq!((got.status, got.error_code()), (403, "model_not_allowed".into()));
    assert_eq!(embed(&rig, of("ok@w", json!("a"))).await.status, 200);
    assert_eq!(rig.calls("ok@v"), 0);
}

#[tokio::test]
async fn tokens_are_for_models_that_know_them() {
    let rig = embeds("ok@v", EIGHT).model("ok@w", ABLE).build().await;
    let got = embed(&rig, of("ok@v", json!([1, 2]))).await;
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("input")), "{got:?}");
    let got = embed(&rig, of("ok@w", json!([[1], vec![2; 51]]))).await;
    assert_eq!((got.status, got.error_code()), (400, "context_length_exceeded".into()), "{got:?}");
    let got = embed(&rig, of("ok@w", json!(vec![vec![2; 50]; 20]))).await;
    assert_eq!(got.status, 200, "each has the window for itself: {got:?}");
    assert_eq!(rig.totals().await.tokens, 1000);
}

#[tokio::test]
async fn the_same_request_again_is_answered_from_memory_for_its_tenant_alone() {
    let rig = embeds("ok@v", EIGHT).build().await;
    let body = of("ok@v", json!(["a", "b"]));
    let first = embed(&rig, body.clone()).await;
    let again = embed(&rig, body.clone()).await;
    assert_eq!((again.header("x-gateway-cache"), again.json()), ("hit", first.json()));
    assert_eq!(again.header("x-gateway-cost-usd"), "0.000000000");
    let packed = embed(&rig, with(body.clone(), json!({"encoding_format": "base64"}))).await;
    assert_eq!(packed.header("x-gateway-cache"), "miss");
    let other = rig.add_tenant("other", json!({})).await;
    assert_eq!(embed_with(&rig, &other, &[], &body).await.header("x-gateway-cache"), "miss");
    let past = embed_with(&rig, &rig.key, &[("x-gateway-cache", "no-store")], &body).await;
    assert_eq!(past.header("x-gateway-cache"), "bypass");
    assert_eq!(rig.calls("ok@v"), 4);
}

#[tokio::test]
async fn a_key_of_idempotency_makes_one_charge() {
    let rig = embeds("ok@v", EIGHT).build().await;
    let keyed = [("idempotency-key", "k"), ("x-gateway-cache", "no-store")];
    let first = embed_with(&rig, &rig.key, &keyed, &of("ok@v", json!("a"))).await;
    let again = embed_with(&rig, &rig.key, &keyed, &of("ok@v", json!("a"))).await;
    assert_eq!((again.status, again.header("idempotent-replayed"), again.json()), (200, "true", first.json()));
    let other = embed_with(&rig, &rig.key, &keyed, &of("ok@v", json!("b"))).await;
    assert_eq!(other.status, 422);
    assert_eq!((rig.calls("ok@v"), rig.totals().await.requests), (1, 1));
}

#[tokio::test]
async fn limits_hold_before_anything_is_called() {
    for (limits, code) in [
        (json!({"daily_requests": 0}), "quota_exceeded"),
        (json!({"daily_tokens": 3}), "quota_exceeded"),
        (json!({"daily_cost_usd": "0.000001"}), "quota_exceeded"),
    ] {
        let rig = embeds("ok@v", EIGHT).limits(limits.clone()).build().await;
        let got = embed(&rig, of("ok@v", json!("hello there"))).await;
        assert_eq!((got.status, got.error_code()), (429, code.into()), "{limits}: {got:?}");
        assert_eq!(rig.calls("ok@v"), 0, "{limits}");
    }
    let rig = embeds("ok@v", EIGHT).limits(json!({"tokens_per_minute": 5})).build().await;
    assert_eq!(embed(&rig, of("ok@v", json!("hello there, good morning"))).await.status, 200);
    let got = embed(&rig, of("ok@v", json!("hello"))).await;
    assert_eq!((got.status, got.error_code()), (429, "rate_limited".into()), "{got:?}");
}

#[tokio::test]
async fn of_many_at_once_each_gets_its_own_and_all_are_counted() {
    let rig = embeds("ok@v", EIGHT).build().await;
    let one = async |number: usize| {
        let inputs: Vec<Value> = (0..20).map(|place| json!(format!("{number}/{place}"))).collect();
        assert_eq!(vectors(&embed(&rig, of("ok@v", json!(inputs))).await), expected(&inputs, 8));
    };
    futures_util::future::join_all((0..100).map(one)).await;
    let billed = rig.billed().plus(Amounts { requests: 100, ..Amounts::default() });
    assert_eq!((rig.totals().await, rig.counted().await), (billed, billed));
}

#[tokio::test]
async fn two_thousand_inputs_come_back_in_either_form() {
    let fields = "api = 'embeddings'\ndimensions = 384\nbase64 = true";
    for behaviour in ["dimensions-384", "dimensions-384+vectors-floats"] {
        let rig = embeds(behaviour, fields).build().await;
        let inputs: Vec<Value> = (0..2_048).map(|number| json!(number.to_string())).collect();
        let got = embed(&rig, of(behaviour, json!(inputs))).await;
        assert_eq!(vectors(&got)[2_047], vector(&json!("2047"), 384));
        let got = embed(&rig, with(of(behaviour, json!(inputs)), json!({"encoding_format": "base64"}))).await;
        let answer = got.json();
        let last = answer["data"][2_047]["embedding"].as_str().unwrap();
        assert_eq!(unpacked(last), vector(&json!("2047"), 384));
    }
}

#[tokio::test]
async fn what_makes_vectors_is_listed_and_found() {
    let rig = embeds("ok@v", EIGHT).build().await;
    let listed = Got::all_of(rig.gateway.models(&with_key(&rig.key, &[])).await.unwrap()).await;
    assert!(listed.contains("up/ok@v"), "{listed:?}");
    let anthropics = with_key(&rig.key, &[("anthropic-version", "2023-06-01")]);
    let listed = Got::all_of(rig.gateway.models(&anthropics).await.unwrap()).await;
    assert!(!listed.contains("up/ok@v"), "Messages cannot ask for it: {listed:?}");
}

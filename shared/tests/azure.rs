//! OpenAI's formats as Azure serves them: its addresses, its key, the frames of its filters, and its refusals.

use crate::rig::{DOUBLE, Got, OUR_KEY, Rig, Scene, ask, ask_with, boxed, scene, streamed, with_key};
use gateway_core::request::incoming::Incoming;
use serde_json::{Value, json};

/// A gateway whose provider `az` is Azure, with models `az/…` that behave so; `fields` stand in the provider's table.
async fn azure(fields: &str, behaviours: &[&str]) -> Rig {
    let mut scene: Scene = scene().tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]);
    let mut table = format!(
        "[providers.az]\nkind = \"azure\"\nbase_url = \"{DOUBLE}/azure\"\napi_key = \"env:UP_KEY\"\n{fields}\n"
    );
    for behaviour in behaviours {
        let (api, id) = behaviour.strip_prefix("responses ").map_or(("chat", *behaviour), |id| ("responses", id));
        table += &format!(
            "[models.{}]\nprovider = \"az\"\nid = {}\napi = \"{api}\"\nusd_per_million = {{ input = 1, output = 2 }}\ncapabilities = [\"tools\"]\n",
            Value::from(format!("az/{api}-{}", id.replace(' ', "_"))),
            Value::from(id)
        );
    }
    scene = scene.table(&table);
    scene.build().await
}

#[tokio::test]
async fn a_deployment_is_called_at_the_addresses_of_today_and_of_before() {
    const OLD: &str = "api_version = \"2024-10-21\"";
    for (fields, chat, responses) in [
        ("", "/azure/openai/v1/chat/completions", "/azure/openai/v1/responses"),
        (OLD, "/azure/openai/deployments/say:one/chat/completions", "/azure/openai/responses"),
    ] {
        let rig = azure(fields, &["say:one", "responses say:one"]).await;
        for (model, path) in [("az/chat-say:one", chat), ("az/responses-say:one", responses)] {
            for body in [ask(model), streamed(model)] {
                let got = rig.fresh(body).await;
                assert_eq!((got.status, got.text().as_str()), (200, "one"), "{model}: {got:?}");
                let sent = rig.double.requests().pop().unwrap();
                assert_eq!((sent.path.as_str(), &*sent.key_last4), (path, &OUR_KEY[OUR_KEY.len() - 4..]));
                assert!(sent.header("authorization").is_none());
            }
        }
        let body: Value = serde_json::from_slice(&rig.double.requests()[0].body).unwrap();
        assert!(body["max_completion_tokens"].is_u64() && body["max_tokens"].is_null(), "{body}");
    }
}

#[tokio::test]
async fn a_deployment_whose_name_is_no_plain_one_is_one_segment() {
    let rig = azure("api_version = \"2024-10-21\"", &["say:a/b?c"]).await;
    let got = rig.chat(ask("az/chat-say:a/b?c")).await;
    assert_eq!((got.status, got.text().as_str()), (200, "a/b?c"), "{got:?}");
}

#[tokio::test]
async fn frames_of_filters_are_neither_text_nor_usage_nor_an_end() {
    let rig = azure("", &["say:one two three", "cut+say:one two three", "tools"]).await;
    let got = rig.chat(streamed("az/chat-say:one_two_three")).await;
    assert_eq!((got.text().as_str(), got.is_done()), ("one two three", true), "{got:?}");
    let frames = got.chunks();
    assert!(frames.iter().any(|frame| !frame["prompt_filter_results"].is_null()), "they pass on in their format");
    rig.recorded(1).await;
    let (ours, theirs) = (rig.totals().await, rig.double.counts().total);
    assert_eq!(ours.tokens, theirs.input_tokens + theirs.output_tokens);
    let cut = rig.chat(streamed("az/chat-cut+say:one_two_three")).await;
    assert!(!cut.is_done(), "a frame of a filter ends nothing: {cut:?}");
    let called = rig
        .chat(ask_with(
            "az/chat-tools",
            json!({
                "stream": true,
                "tools": [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}],
            }),
        ))
        .await;
    let calls: String = called
        .chunks()
        .iter()
        .filter_map(|chunk| {
            chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(serde_json::from_str::<Value>(&calls).unwrap()["days"], 3);
}

#[tokio::test]
async fn refusals_are_the_callers_or_ours_as_azure_means_them() {
    let rig = azure("", &["content-filter", "429-ms-1500", "no-such-behaviour", "status-408"]).await;
    let blocked = rig.chat(ask("az/chat-content-filter")).await;
    assert_eq!((blocked.status, blocked.error_code().as_str()), (400, "content_filter"));
    assert!(blocked.json()["error"]["message"].as_str().unwrap().contains("content management policy"));
    let limited = rig.chat(ask("az/chat-429-ms-1500")).await;
    assert_eq!((limited.error_code().as_str(), limited.header("retry-after")), ("all_candidates_failed", "2"));
    assert_eq!(rig.receipt(&limited).await["attempts"][0]["outcome"], "rate_limited");
    // Our configuration is to blame, of which the caller hears nothing.
    let unknown = rig.chat(ask("az/chat-no-such-behaviour")).await;
    assert_eq!(unknown.error_code(), "all_candidates_failed");
    assert!(!String::from_utf8_lossy(&unknown.body).contains("deployment"), "{unknown:?}");
    let receipt = rig.receipt(&unknown).await;
    assert_eq!(receipt["attempts"][0]["cause"], "not_found", "{receipt}");
}

#[tokio::test]
async fn every_door_reads_past_the_frames_of_filters() {
    let rig = azure("", &["say:one two three"]).await;
    let model = "az/chat-say:one_two_three";
    let incoming = |body: Value| {
        let body = boxed(body.to_string());
        Incoming { headers: with_key(&rig.key, &[]), body, time_left: None }
    };
    let hello = json!([{"role": "user", "content": "hello"}]);
    let message = json!({"model": model, "max_tokens": 50, "stream": true, "messages": hello});
    let message = Got::all_of(rig.gateway.messages(incoming(message)).await).await;
    let response = json!({"model": model, "stream": true, "input": hello});
    let response = Got::all_of(rig.gateway.responses(incoming(response)).await).await;
    for (got, delta, end) in
        [(message, "text", "event: message_stop"), (response, "delta", "event: response.completed")]
    {
        let text = String::from_utf8(got.body.to_vec()).unwrap();
        let said = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter_map(|data| {
            let data: Value = serde_json::from_str(data).unwrap();
            let said = if delta == "text" { &data["delta"]["text"] } else { &data["delta"] };
            said.as_str().map(str::to_owned)
        });
        assert_eq!(said.collect::<String>(), "one two three", "{text}");
        assert!(text.contains(end), "{text}");
    }
}

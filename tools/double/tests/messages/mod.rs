//! The double's other dialect.

use crate::client::message;
use upstream_double::Double;

#[tokio::test]
async fn messages_come_in_anthropics_grammar_and_are_billed_alike() {
    let double = Double::start().await;
    let whole = message(&double, "cached-2+written-1+reasoning-2+say:one two", "").await.json();
    assert_eq!(whole["content"][1], serde_json::json!({"type": "text", "text": "one two"}));
    assert_eq!((&whole["stop_reason"], &whole["usage"]["input_tokens"]), (&"end_turn".into(), &2.into()));
    assert_eq!(
        (&whole["usage"]["cache_creation_input_tokens"], &whole["usage"]["output_tokens"]),
        (&1.into(), &4.into())
    );
    let stream = message(&double, "cached-2+written-1+reasoning-2+say:one two", r#","stream":true"#).await;
    let kinds: Vec<String> = stream.events().iter().map(|event| event.split('"').nth(3).unwrap().to_owned()).collect();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let text = [&block[..2], &block[1..]].concat();
    let expected = [&["message_start"][..], &block, &["ping"], &text, &["message_delta", "message_stop"]].concat();
    assert_eq!(kinds, expected);
    assert_eq!(double.counts().total.output_tokens, 8);
    for (model, fields, status, why) in [
        ("ok", r#","n":2"#, 400, "n: Extra inputs"),
        ("modern", r#","temperature":0.5"#, 400, "temperature"),
        ("ok", r#","temperature":0.5"#, 200, "message"),
        (
            "modern",
            r#","tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}"#,
            400,
            "forced",
        ),
        ("status-529", "", 529, "overloaded_error"),
        ("insufficient-quota", "", 429, "enforced_spend_limit_reached"),
        ("context-overflow", "", 400, "prompt is too long"),
        ("nonsense", "", 404, "not_found_error"),
    ] {
        let answer = message(&double, model, fields).await;
        assert_eq!(answer.status(), status, "{model} {fields}");
        assert!(answer.text().contains(why), "{}", answer.text());
    }
}

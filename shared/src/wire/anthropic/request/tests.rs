#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::wire::anthropic::MESSAGES;
use crate::wire::anthropic::error::envelope;
use crate::wire::conversation::Effort;
use crate::wire::facts::Capabilities;
use crate::wire::request::Request;
use proptest::prelude::*;
use serde_json::{Value, json};

fn refused(body: &str) -> Option<String> {
    match read(Bytes::copy_from_slice(body.as_bytes()), Purpose::Answer) {
        Err(Error::InvalidRequest { param, .. }) => param,
        other => panic!("{body} should be refused, but: {other:?}"),
    }
}

/// What is known of a request with these messages and fields.
fn facts_of(messages: &Value, fields: &str) -> Facts {
    let body = format!(r#"{{"model":"auto","max_tokens":9,"messages":{messages}{fields}}}"#);
    read(body.into(), Purpose::Answer).unwrap().1
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn every_wrong_field_is_named() {
    let ok = r#""model":"auto","max_tokens":9,"messages":[{"role":"user","content":"x"}]"#;
    let said = |content: &str| format!(r#"{{"model":"auto","max_tokens":9,"messages":[{content}]}}"#);
    for (body, param) in [
        ("".to_owned(), None),
        ("[]".into(), None),
        ("{".into(), None),
        (r#"{"max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#.into(), Some("model")),
        (r#"{"model":"auto","messages":[{"role":"user","content":"x"}]}"#.into(), Some("max_tokens")),
        (r#"{"model":"auto","max_tokens":9}"#.into(), Some("messages")),
        (r#"{"model":"auto","max_tokens":9,"messages":[]}"#.into(), Some("messages")),
        (format!(r#"{{{ok},"model":"b"}}"#), Some("model")),
        (format!(r#"{{{ok},"Stream":true}}"#), Some("Stream")),
        (format!(r#"{{{ok},"stream":"yes"}}"#), Some("stream")),
        (format!(r#"{{{ok},"temperature":1.1}}"#), Some("temperature")),
        (format!(r#"{{{ok},"top_p":"x"}}"#), Some("top_p")),
        (format!(r#"{{{ok},"top_k":-1}}"#), Some("top_k")),
        (format!(r#"{{{ok},"stop_sequences":"x"}}"#), Some("stop_sequences")),
        (format!(r#"{{{ok},"stop_sequences":["x",5]}}"#), Some("stop_sequences[1]")),
        (format!(r#"{{{ok},"tools":{{}}}}"#), Some("tools")),
        (format!(r#"{{{ok},"tools":[5]}}"#), Some("tools[0]")),
        (format!(r#"{{{ok},"tools":[{{"type":5}}]}}"#), Some("tools[0].type")),
        (format!(r#"{{{ok},"tool_choice":"any"}}"#), Some("tool_choice")),
        (format!(r#"{{{ok},"thinking":{{}}}}"#), Some("thinking.type")),
        (format!(r#"{{{ok},"metadata":"u"}}"#), Some("metadata")),
        (format!(r#"{{{ok},"output_config":[]}}"#), Some("output_config")),
        (
            format!(r#"{{{ok},"output_config":{{"format":{{"type":"json_schema"}}}}}}"#),
            Some("output_config.format.schema"),
        ),
        (format!(r#"{{{ok},"system":5}}"#), Some("system")),
        (format!(r#"{{{ok},"system":[{{"type":"text"}}]}}"#), Some("system[0].text")),
        (format!(r#"{{{ok},"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200)), None),
        (said("5"), Some("messages[0]")),
        (said(r#"{"role":"tool","content":"x"}"#), Some("messages[0].role")),
        (said(r#"{"role":"user"}"#), Some("messages[0].content")),
        (said(r#"{"role":"user","content":null}"#), Some("messages[0].content")),
        (said(r#"{"role":"user","content":"\ud800"}"#), Some("messages[0].content")),
        (said(r#"{"role":"user","role":"user","content":"x"}"#), Some("messages[0]")),
        (said(r#"{"role":"user","content":["x"]}"#), Some("messages[0].content[0]")),
        (said(r#"{"role":"user","content":[{"text":"x"}]}"#), Some("messages[0].content[0].type")),
        (said(r#"{"role":"user","content":[{"type":"text"}]}"#), Some("messages[0].content[0].text")),
        (said(r#"{"role":"user","content":[{"type":"image","source":"x"}]}"#), Some("messages[0].content[0].source")),
        (
            said(r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{}]}]}"#),
            Some("messages[0].content[0].content[0].type"),
        ),
        (
            said(r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":5}]}"#),
            Some("messages[0].content[0].content"),
        ),
    ] {
        assert_eq!(refused(&body).as_deref(), param, "{body}");
    }
    let counted = r#"{"model":"auto","messages":[{"role":"user","content":"x"}]}"#;
    assert!(read(counted.into(), Purpose::Count).is_ok(), "only an answer needs a bound");
}

#[test]
fn what_a_request_needs_is_read() {
    let needs = Capabilities::default();
    let image = json!({"type": "image", "source": {"type": "url", "url": "https://a/b.png"}});
    let shown = json!([{"type": "tool_result", "tool_use_id": "t", "content": [image]}]);
    for (messages, fields, needs) in [
        (json!([user("x")]), "", needs),
        (json!([user("x")]), r#","tools":[{"name":"f"}]"#, Capabilities { tools: true, ..needs }),
        (json!([user("x")]), r#","tools":[]"#, needs),
        (json!([user("x")]), r#","temperature":1"#, Capabilities { sampling: true, ..needs }),
        (json!([user("x")]), r#","top_p":0.5,"top_k":5"#, Capabilities { sampling: true, ..needs }),
        (json!([user("x")]), r#","tool_choice":{"type":"any"}"#, Capabilities { forced_tools: true, ..needs }),
        (json!([user("x")]), r#","tool_choice":{"type":"auto"},"thinking":{"type":"disabled"}"#, needs),
        (json!([user("x")]), r#","thinking":{"type":"adaptive"}"#, Capabilities { reasoning: true, ..needs }),
        (
            json!([user("x")]),
            r#","output_config":{"effort":"max"}"#,
            Capabilities { reasoning: true, efforts: Efforts::default().and(Effort::Max), ..needs },
        ),
        (json!([user(json!([{"type": "document", "source": {}}]))]), "", Capabilities { documents: true, ..needs }),
        (json!([user(json!([image]))]), "", Capabilities { vision: true, ..needs }),
        (json!([user(shown)]), "", Capabilities { vision: true, ..needs }),
        (json!([user("x"), {"role": "assistant", "content": "So "}]), "", Capabilities { prefill: true, ..needs }),
        (json!([user("x"), {"role": "assistant", "content": "So "}, user("y")]), "", needs),
        (json!([user("x"), {"role": "assistant", "content": [{"type": "server_tool_use", "id": "s"}]}]), "", needs),
        (
            json!([user("x")]),
            r#","output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}"#,
            Capabilities { json_schema: true, ..needs },
        ),
        (
            json!([user("x")]),
            r#","output_format":{"type":"json_schema","schema":{"type":"object"}}"#,
            Capabilities { json_schema: true, ..needs },
        ),
    ] {
        assert_eq!(facts_of(&messages, fields).needs, needs, "{messages} {fields}");
    }
    let facts = facts_of(&json!([user("x")]), r#","stream":true,"temperature":0.5,"stop_sequences":["a"],"max_tokens":0"#.replace(r#","max_tokens":0"#, "").as_str());
    assert_eq!((facts.stream, facts.include_usage, facts.temperature, facts.has_stops), (true, true, Some(0.5), true));
    assert_eq!((facts.max_output_tokens, facts.n), (Some(9), 1));
    let mark = |ttl: &str| format!(r#"{{"type":"ephemeral"{ttl}}}"#);
    let (usual, hour) = (mark(""), mark(r#","ttl":"\u0031h""#));
    for (fields, asked) in [
        (String::new(), CacheWrite::Unasked),
        (format!(r#","cache_control":{usual}"#), CacheWrite::Usual),
        (format!(r#","system":[{{"type":"text","text":"s","cache_control":{usual}}}]"#), CacheWrite::Usual),
        (format!(r#","tools":[{{"name":"f","\u0063ache_control":{hour}}}],"cache_control":{usual}"#), CacheWrite::Hour),
    ] {
        assert_eq!(facts_of(&json!([user("x")]), &fields).cache_write, asked, "{fields}");
    }
    assert_eq!(
        facts_of(&json!([user("x")]), r#","speed":"fast","service_tier":"auto""#).service_tier,
        Some(ServiceTier::Fast)
    );
    let paid = |fields: &str| facts_of(&json!([user("x")]), fields).paid_extra;
    assert_eq!(paid(r#","tools":[{"name":"f"},{"type":"web_search_20250305"}]"#).as_deref(), Some("tools[1].type"));
    assert_eq!(paid(r#","speed":"fast""#).as_deref(), Some("speed"));
}

#[test]
fn what_one_provider_has_stored_binds_a_request_to_it() {
    let image = |source: Value| json!([user(json!([text("a"), {"type": "image", "source": source}]))]);
    let long = "A".repeat(1000);
    for (messages, fields, bound) in [
        (image(json!({"type": "file", "file_id": "f"})), "", Some("messages[0].content[1]")),
        (image(json!({"type": "url", "url": "https://a/b"})), "", None),
        (image(json!({"type": "base64", "media_type": "image/png", "data": long})), "", None),
        (json!([user(json!([{"type": "container_upload", "file_id": "f"}]))]), "", Some("messages[0].content[0]")),
        (json!([user("x")]), r#","container":"c""#, Some("container")),
    ] {
        assert_eq!(facts_of(&messages, fields).provider_bound.as_deref(), bound, "{messages}");
    }
}

#[test]
fn a_thread_is_refused_in_the_words_that_have_the_client_send_everything() {
    let ask = |thread: &str| {
        let body =
            format!(r#"{{"model":"m","max_tokens":9,"thread":{thread},"messages":[{{"role":"user","content":"x"}}]}}"#);
        read(Bytes::from(body), Purpose::Answer).map(drop)
    };
    assert_eq!(ask("null"), Ok(()));
    for thread in [r#"{"type":"create"}"#, r#"{"type":"continue","previous_message_id":"msg_1"}"#] {
        let http = ask(thread).unwrap_err().to_http();
        assert_eq!((http.status, http.param.as_deref()), (400, Some("thread")));
        let told: Value = serde_json::from_slice(&envelope(&http, None)).unwrap();
        let details = json!({"error_code": "thread_unsupported_request", "unsupported": ["thread"]});
        assert_eq!(told["error"]["details"], details);
    }
}

#[test]
fn the_prompt_is_the_last_text_of_the_user_and_what_a_tool_says_is_none() {
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": "sunny"});
    let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]});
    for (messages, prompt, is_after_tool) in [
        (json!([user("one")]), "one", false),
        (
            json!([user("one"), {"role": "assistant", "content": "a"}, user(json!([text("b"), text("c")]))]),
            "b\nc",
            false,
        ),
        (json!([user("one"), call, user(json!([result]))]), "one", true),
        (json!([user("one"), call, user(json!([result, text("and now?")]))]), "and now?", false),
        (json!([user("one"), {"role": "system", "content": "s"}]), "one", false),
    ] {
        let facts = facts_of(&messages, "");
        assert_eq!((facts.prompt.as_str(), facts.is_after_tool), (prompt, is_after_tool), "{messages}");
    }
}

fn request(system: &Value, messages: &Value, metadata: &str) -> Request {
    let body = format!(r#"{{"model":"auto","max_tokens":9,"system":{system},"messages":{messages}{metadata}}}"#);
    Request::read(&MESSAGES, body.into()).unwrap()
}

/// anthropics/claude-code#68900: its first block of the system's words is another in each request.
#[test]
fn a_coding_agents_stamp_makes_no_other_conversation() {
    let stamped =
        |cch: &str| json!([text(&format!("x-anthropic-billing-header: cc_version=2; cch={cch};")), text("You help.")]);
    let turn = json!([user("one")]);
    let first = request(&stamped("36ee5"), &turn, "");
    let second =
        request(&stamped("0aaa9"), &json!([user("one"), {"role": "assistant", "content": "a"}, user("two")]), "");
    assert_eq!(first.conversation(), second.conversation());
    assert_eq!((first.context().system.as_str(), second.context().system.as_str()), ("You help.", "You help."));
    let other = request(&json!([text("You hinder.")]), &turn, "");
    assert_ne!(first.conversation(), other.conversation());
    let user = |id: &str| request(&json!("s"), &turn, &format!(r#","metadata":{{"user_id":"{id}"}}"#)).conversation();
    assert_ne!(user("a"), user("b"));
    assert_eq!(user("a"), user("a"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(Bytes::from(body), Purpose::Answer);
    }

    #[test]
    fn no_json_makes_the_parser_panic(value in ".{0,40}", n in any::<f64>()) {
        for name in ["model", "messages", "tools", "system", "stop_sequences", "output_config", "thinking", "metadata"] {
            let blocks = json!([{"role": "user", "content": value}, n, value, {"type": "text", "text": value}]);
            let body = json!({"model": "auto", "max_tokens": 1, name: blocks});
            let _ = read(Bytes::from(body.to_string()), Purpose::Answer);
        }
    }
}

#[test]
fn what_may_be_written_into_the_cache_is_noted() {
    let marked = |control: Value| json!([user(json!([{"type": "text", "text": "x", "cache_control": control}]))]);
    for (messages, expected) in [
        (json!([user("x")]), CacheWrite::Unasked),
        (json!([user("for 1h")]), CacheWrite::Unasked),
        (marked(json!({"type": "ephemeral"})), CacheWrite::Usual),
        (marked(json!({"type": "ephemeral", "ttl": "5m"})), CacheWrite::Usual),
        (marked(json!({"type": "ephemeral", "ttl": "1h"})), CacheWrite::Hour),
    ] {
        assert_eq!(facts_of(&messages, "").cache_write, expected, "{messages}");
    }
}

#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::wire::facts::Capabilities;
use crate::wire::request::Request;
use crate::wire::responses::RESPONSES;
use proptest::prelude::*;

fn refused(body: &str) -> (Option<String>, String) {
    match read(Bytes::copy_from_slice(body.as_bytes())) {
        Err(Error::InvalidRequest { param, message }) => (param, message),
        other => panic!("{body} should be refused, but: {other:?}"),
    }
}

/// What is known of a request with these fields beside a model and an input.
fn facts_of(fields: &str) -> Facts {
    read(format!(r#"{{"model":"auto","input":"x",{fields}}}"#).into()).unwrap().1
}

/// What is known of a request with these items.
fn facts_of_items(items: &str) -> Facts {
    read(format!(r#"{{"model":"auto","input":[{items}]}}"#).into()).unwrap().1
}

#[test]
fn what_a_request_needs_is_read() {
    assert_eq!(facts_of(r#""max_output_tokens":5,"temperature":0.5"#).max_output_tokens, Some(5));
    let none = Capabilities::default();
    for (fields, needs) in [
        (r#""tools":[{"type":"function","name":"f"}]"#, Capabilities { tools: true, ..none }),
        (r#""tools":[]"#, none),
        (r#""include":["message.output_text.logprobs"]"#, Capabilities { logprobs: true, ..none }),
        (r#""top_logprobs":2"#, Capabilities { logprobs: true, ..none }),
        (r#""top_logprobs":0,"include":["reasoning.encrypted_content"]"#, none),
        (
            r#""text":{"format":{"type":"json_schema","name":"a","schema":{}}}"#,
            Capabilities { json_schema: true, ..none },
        ),
        (r#""text":{"format":{"type":"json_object"},"verbosity":"low"}"#, none),
        (r#""text":{"format":null}"#, none),
        (r#""temperature":1"#, Capabilities { sampling: true, ..none }),
        (r#""top_p":0.5"#, Capabilities { sampling: true, ..none }),
        (r#""reasoning":{"summary":"auto"}"#, none),
        (r#""reasoning":{"effort":null}"#, none),
        (r#""reasoning":{"effort":"low"}"#, Capabilities { reasoning: true, efforts: Efforts::named("low"), ..none }),
        (r#""tool_choice":"auto""#, none),
        (r#""tool_choice":"required""#, Capabilities { forced_tools: true, ..none }),
        (r#""tool_choice":{"type":"function","name":"f"}"#, Capabilities { forced_tools: true, ..none }),
        (r#""tool_choice":{"type":"allowed_tools","mode":"auto","tools":[]}"#, none),
        (
            r#""tool_choice":{"type":"allowed_tools","mode":"required","tools":[]}"#,
            Capabilities { forced_tools: true, ..none },
        ),
    ] {
        let facts = facts_of(fields);
        assert_eq!((facts.needs, facts.include_usage, facts.n), (needs, true, 1), "{fields}");
    }
    let schema = facts_of(r#""text":{"format":{"type":"json_schema","schema":{"type": "object"}}}"#).answer_format;
    assert_eq!(schema, AnswerFormat::JsonSchema(r#"{"type": "object"}"#.into()));
}

#[test]
fn the_prompt_is_the_input_or_the_last_text_of_the_user() {
    let facts = facts_of(r#""stream":true"#);
    assert_eq!((facts.prompt.as_str(), facts.messages, facts.stream), ("x", 1, true));
    let facts = facts_of_items(
        r#"{"role":"developer","content":"d"},{"role":"user","content":"first"},
        {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"e"},
        {"type":"message","role":"assistant","content":[{"type":"output_text","text":"c"}]},
        {"type":"message","role":"user","content":[{"type":"input_text","text":"a"},
            {"type":"input_image","image_url":"data:,","detail":"low"},{"type":"input_text","text":"b"}]},
        {"type":"function_call","call_id":"1","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"1","output":[{"type":"input_image","image_url":"http://h/i"}]}"#,
    );
    assert_eq!((facts.prompt.as_str(), facts.images, facts.messages), ("a\nb", 2, 7));
    assert_eq!((facts.image_bytes, facts.needs.vision), (r#""data:,""http://h/i""#.len(), true));
    assert!(facts.is_after_tool && facts.context.is_answered && facts.provider_bound.is_none());
    assert!(!facts_of_items(r#"{"role":"user","content":"x"}"#).context.is_answered);
    let facts = facts_of_items(
        r#"{"type":"additional_tools","role":"developer","tools":[{"type":"function","name":"f"}]},{"role":"user","content":"x"}"#,
    );
    assert!(facts.needs.tools && !facts.context.is_answered, "tools may come with the items");
}

#[test]
fn what_was_said_before_is_found_wherever_the_instructions_stand() {
    let items = r#"[{"role":"system","content":"s"},{"role":"user","content":"one"},{"role":"assistant","content":"a"},
        {"role":"user","content":"two"},{"role":"user","content":"three"}]"#;
    for (body, system) in [
        (format!(r#"{{"model":"auto","input":{items},"instructions":"do"}}"#), "do"),
        (format!(r#"{{"model":"auto","instructions":"do","input":{items}}}"#), "do"),
        (format!(r#"{{"model":"auto","instructions":null,"input":{items}}}"#), "s"),
    ] {
        let request = Request::read(&RESPONSES, body.into()).unwrap();
        let context = request.context();
        assert_eq!((&*context.system, &*context.first, &*context.previous), (system, "one", "two"));
        assert_eq!(request.facts.prompt, "three");
    }
}

#[test]
fn a_conversation_is_the_same_from_turn_to_turn() {
    let told = |input: &str, more: &str| {
        let body = format!(r#"{{"model":"auto","input":{input}{more}}}"#);
        Request::read(&RESPONSES, body.into()).unwrap().conversation()
    };
    let first = told(r#""one""#, r#","instructions":"do""#);
    let item = |content: &str| format!(r#"{{"role":"user","content":{content}}}"#);
    for next in [item(r#""one""#), item(r#"[{"type":"input_text","text":"one"}]"#)] {
        let input = format!(r#"[{next},{{"role":"assistant","content":"a"}},{}]"#, item(r#""two""#));
        assert_eq!(told(&input, r#","instructions":"do""#), first, "{input}");
        assert_ne!(told(&input, ""), first);
        assert_ne!(told(&input, r#","instructions":"do","prompt_cache_key":"k""#), first);
    }
}

#[test]
fn what_only_a_provider_has_binds_the_request_to_it_and_is_a_paid_extra() {
    let of_items = |items: &str| format!(r#""input":[{items}]"#);
    for (fields, path) in [
        (r#""input":"x","previous_response_id":"resp_1""#.to_owned(), Some("previous_response_id")),
        (r#""previous_response_id":"resp_1""#.to_owned(), Some("previous_response_id")),
        (r#""input":"x","conversation":{"id":"conv_1"}"#.to_owned(), Some("conversation")),
        (r#""prompt":{"id":"pmpt_1"}"#.to_owned(), Some("prompt")),
        (of_items(r#"{"type":"item_reference","id":"msg_1"}"#), Some("input[0]")),
        (of_items(r#"{"id":"msg_1"}"#), Some("input[0]")),
        (
            of_items(r#"{"role":"user","content":[{"type":"input_file","file_id":"f"}]}"#),
            Some("input[0].content[0].file_id"),
        ),
        (r#""input":"x","tools":[{"type":"web_search"}]"#.to_owned(), Some("tools[0].type")),
        (
            of_items(r#"{"type":"additional_tools","role":"developer","tools":[{"type":"function"},{"type":"mcp"}]}"#),
            Some("input[0].tools[1].type"),
        ),
        (r#""input":"x","store":true"#.to_owned(), None),
        (r#""input":"x","previous_response_id":null,"conversation":null,"background":false"#.to_owned(), None),
        (of_items(r#"{"role":"user","content":[{"type":"input_image","file_id":null,"image_url":"h"}]}"#), None),
        (r#""input":"x","tools":[{"type":"custom","name":"c"}]"#.to_owned(), None),
    ] {
        let facts = read(format!(r#"{{"model":"m",{fields}}}"#).into()).unwrap().1;
        assert_eq!((facts.provider_bound.as_deref(), facts.paid_extra.as_deref()), (path, path), "{fields}");
    }
    for (fields, path) in [(r#""service_tier":"flex""#, "service_tier"), (r#""reasoning":{"mode":"pro"}"#, "reasoning")]
    {
        let facts = facts_of(fields);
        assert_eq!((facts.provider_bound, facts.paid_extra.as_deref()), (None, Some(path)));
        assert_eq!(facts.service_tier.is_some(), path == "service_tier");
    }
}

#[test]
fn every_wrong_field_is_named() {
    let field = |field: &str| format!(r#"{{"model":"auto","input":"x",{field}}}"#);
    let item = |item: &str| format!(r#"{{"model":"auto","input":[{item}]}}"#);
    let part = |part: &str| item(&format!(r#"{{"role":"user","content":[{part}]}}"#));
    for (body, param) in [
        (String::new(), None),
        ("[]".to_owned(), None),
        (r#"{"input":"x"}"#.to_owned(), Some("model")),
        (r#"{"model":5,"input":"x"}"#.to_owned(), Some("model")),
        (r#"{"model":"auto"}"#.to_owned(), Some("input")),
        (r#"{"model":"auto","messages":[{"role":"user","content":"x"}]}"#.to_owned(), Some("input")),
        (r#"{"model":"auto","input":""}"#.to_owned(), Some("input")),
        (r#"{"model":"auto","input":[]}"#.to_owned(), Some("input")),
        (r#"{"model":"auto","input":{"role":"user"}}"#.to_owned(), Some("input")),
        (r#"{"model":"auto","input":"a","input":"b"}"#.to_owned(), Some("input")),
        (r#"{"model":"auto","Input":"x"}"#.to_owned(), Some("Input")),
        (item("5"), Some("input[0]")),
        (item(r#"{"role":"user","role":"user","content":"x"}"#), Some("input[0]")),
        (item(r#"{"content":"x"}"#), Some("input[0].type")),
        (item(r#"{"type":5,"content":"x"}"#), Some("input[0]")),
        (item(r#"{"role":"tool","content":"x"}"#), Some("input[0].role")),
        (item(r#"{"type":"additional_tools","tools":[5]}"#), Some("input[0].tools[0]")),
        (item(r#"{"type":"item_reference"}"#), Some("input[0].id")),
        (item(r#"{"type":"item_reference","id":5}"#), Some("input[0].id")),
        (item(r#"{"role":"user"}"#), Some("input[0].content")),
        (item(r#"{"role":"user","content":5}"#), Some("input[0].content")),
        (item(r#"{"type":"function_call","name":"f","arguments":"{}"}"#), Some("input[0].call_id")),
        (item(r#"{"type":"function_call","call_id":"1","name":"f","arguments":{}}"#), Some("input[0].arguments")),
        (item(r#"{"type":"function_call_output","output":"x"}"#), Some("input[0].call_id")),
        (item(r#"{"type":"function_call_output","call_id":"1"}"#), Some("input[0].output")),
        (part("5"), Some("input[0].content[0]")),
        (part(r#"{"text":"x"}"#), Some("input[0].content[0].type")),
        (part(r#"{"type":"input_text"}"#), Some("input[0].content[0].text")),
        (field(r#""max_output_tokens":0"#), Some("max_output_tokens")),
        (field(r#""temperature":2.1"#), Some("temperature")),
        (field(r#""top_p":1.1"#), Some("top_p")),
        (field(r#""top_logprobs":21"#), Some("top_logprobs")),
        (field(r#""stream":"yes""#), Some("stream")),
        (field(r#""store":"no""#), Some("store")),
        (field(r#""background":true"#), Some("background")),
        (field(r#""instructions":["x"]"#), Some("instructions")),
        (field(r#""previous_response_id":5"#), Some("previous_response_id")),
        (field(r#""reasoning":"high""#), Some("reasoning")),
        (field(r#""include":"x""#), Some("include")),
        (field(r#""include":[5]"#), Some("include[0]")),
        (field(r#""tools":[5]"#), Some("tools[0]")),
        (field(r#""tools":[{}]"#), Some("tools[0].type")),
        (field(r#""text":[]"#), Some("text")),
        (field(r#""text":{"format":"json"}"#), Some("text.format")),
        (field(r#""text":{"format":{"type":"json_schema"}}"#), Some("text.format.schema")),
        (field(r#""models":[]"#), Some("models")),
        (field(&format!(r#""x":{}1{}"#, "[".repeat(200), "]".repeat(200))), None),
    ] {
        assert_eq!(refused(&body).0.as_deref(), param, "{body}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(Bytes::from(body));
    }

    #[test]
    fn no_json_makes_the_parser_panic(value in ".{0,40}", n in any::<f64>()) {
        for name in ["model", "input", "tools", "text", "include", "reasoning", "instructions"] {
            let body = serde_json::json!({"model": "auto", name: [{"role": "user", "content": value, "type": value}, n, value]});
            let _ = read(Bytes::from(body.to_string()));
        }
    }
}

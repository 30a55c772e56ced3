#![allow(clippy::unwrap_used)]
use super::*;
use crate::wire::conversation::{MAX_ITEMS, Part, Role, Shape, Source, Turn};
use proptest::prelude::*;
use serde_json::{Value, json};

const SAID: Overrides<'static> = Overrides { stream: true, ..Overrides::plain("m", 7) };

fn body(json: &Value) -> Body {
    CHAT.read(json.to_string().into()).unwrap().0
}

fn asked(messages: Value, more: Value) -> Value {
    let mut body = json!({"model": "auto", "messages": messages});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn texts(parts: &[Part<'_>]) -> Vec<String> {
    parts.iter().map(|part| if let Part::Text(text) = part { text.to_string() } else { format!("{part:?}") }).collect()
}

#[test]
fn every_kind_of_message_is_understood() {
    let body = body(&asked(
        json!([
            {"role": "system", "content": "s"},
            {"role": "developer", "content": [{"type": "text", "text": "d"}]},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
                {"type": "file", "file": {"filename": "f.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
                {"type": "input_audio", "input_audio": {"data": "CCCC", "format": "wav"}},
            ]},
            {"role": "assistant", "reasoning_content": "hm", "content": null,
             "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "system", "content": "be brief"},
            {"role": "assistant", "content": null, "function_call": {"name": "g", "arguments": "{}"}},
            {"role": "assistant", "content": null, "function_call": {"name": "h", "arguments": "[]"}},
            {"role": "function", "name": "g", "content": "rain"},
            {"role": "assistant", "content": "so", "refusal": "no"},
        ]),
        json!({}),
    ));
    let read = CHAT.conversation(&body).unwrap();
    assert_eq!(texts(&read.system), ["s", "d"]);
    let data = |media_type: &'static str, base64: &'static str| Source::Data {
        media_type: media_type.into(),
        base64: base64.into(),
    };
    let Turn { name, parts, .. } = &read.turns[0];
    assert_eq!((name.as_deref(), parts.len()), (Some("ann"), 5));
    assert_eq!(parts[1], Part::Image { source: data("image/png", "AAAA"), detail: Some("low".into()) });
    assert_eq!(parts[2], Part::Image { source: Source::Url("https://a/b.png".into()), detail: None });
    assert_eq!(parts[3], Part::File { source: data("application/pdf", "BBBB"), name: Some("f.pdf".into()) });
    assert!(matches!(parts[4], Part::Native(_)));
    let call = |id: &'static str, name: &'static str, arguments: &'static str| Part::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    let result = |id: &'static str, text: &'static str| Part::ToolResult {
        id: id.into(),
        parts: vec![Part::Text(text.into())],
        is_error: false,
    };
    let thought = Part::Thought { text: "hm".into(), signature: None };
    assert_eq!(read.turns[1].parts, [thought, call("c1", "f", r#"{"a":1}"#)]);
    assert_eq!((read.turns[2].role, &read.turns[2].parts), (Role::User, &vec![result("c1", "sunny")]));
    assert_eq!(read.turns[3].role, Role::System);
    assert_eq!(read.turns[4].parts, [call("call_0", "g", "{}")]);
    assert_eq!(read.turns[5].parts, [call("call_1", "h", "[]")]);
    assert_eq!(read.turns[6].parts, [result("call_0", "rain")]);
    assert_eq!(read.turns[7].parts, [Part::Text("so".into()), Part::Refusal("no".into())]);
}

#[test]
fn only_what_is_in_base64_is_data_and_any_other_address_stays_one() {
    let url = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let addresses = ["data:text/plain,hello", "data:image/png;base64", "https://a/b.png;base64,AA"];
    let body = body(&asked(json!([{"role": "user", "content": addresses.map(url)}]), json!({})));
    let read = CHAT.conversation(&body).unwrap();
    let expected = addresses.map(|url| Part::Image { source: Source::Url(url.into()), detail: None });
    assert_eq!(read.turns[0].parts, expected);
}

#[test]
fn a_conversation_of_too_many_items_is_not_translated() {
    let of = |parts: usize| {
        let parts = vec![json!({"type": "text", "text": ""}); parts];
        let body = body(&asked(json!([{"role": "user", "content": parts}]), json!({})));
        CHAT.conversation(&body).map(drop)
    };
    assert_eq!(of(MAX_ITEMS - 1), Ok(()), "the message is one");
    assert_eq!(of(MAX_ITEMS).unwrap_err().field, "messages.content");
}

#[test]
fn another_formats_request_is_written_with_all_that_this_one_can_say_and_the_rest_is_named() {
    let body = body(&asked(
        json!([
            {"role": "system", "name": "sys", "content": "s"},
            {"role": "user", "reasoning": "hm",
             "content": [{"type": "text", "text": "x", "cache_control": {}}, {"type": "video", "v": 1}]},
            {"role": "assistant", "reasoning": "hm", "content": "no"},
        ]),
        json!({"temperature": 0.10, "top_k": 5, "store": true, "user": "u", "stop": "end", "n": 2, "logprobs": true,
            "parallel_tool_calls": false}),
    ));
    let read = CHAT.conversation(&body).unwrap();
    let foreign = Conversation { format: "another", ..read };
    let Written { body, left_out } = CHAT.write(&foreign, &SAID).unwrap();
    let messages = json!([{"role": "system", "content": "s"}, {"role": "user", "content": "x"},
        {"role": "assistant", "content": "no"}]);
    let expected = json!({"model": "m", "messages": messages, "parallel_tool_calls": false, "logprobs": true, "n": 2, "temperature": 0.1, "stop": ["end"], "user": "u", "max_tokens": 7, "stream": true,
        "stream_options": {"include_usage": true}});
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    let fields = ["`messages.content.cache_control`", "`messages.name`", "`messages.reasoning`", "`store`", "`top_k`"];
    assert_eq!(left_out, [&fields[..], &["a part that only its own format has", "the model's thoughts"]].concat());
}

#[test]
fn what_a_tool_said_comes_first_as_text_and_what_it_shows_comes_from_the_user() {
    let result = |id: &'static str, parts, is_error| Part::ToolResult { id: id.into(), parts, is_error };
    let picture = Part::Image { source: Source::Url("https://a/b.png".into()), detail: None };
    let user = |parts| Turn { role: Role::User, name: None, parts };
    let signed = Part::Thought { text: "hm".into(), signature: Some("by another".into()) };
    let turns = vec![
        Turn { role: Role::Assistant, name: None, parts: vec![signed, Part::Text("so".into())] },
        user(vec![
            Part::Text("look".into()),
            result("c1", vec![Part::Text("sunny".into()), picture], true),
            result("c2", vec![], false),
        ]),
        user(vec![result("c3", vec![], false)]),
    ];
    let shape = Shape::JsonSchema { name: None, description: None, schema: None, strict: Some(true) };
    let said = Conversation { format: CHAT.name(), turns, shape, ..Conversation::default() };
    let Written { body, left_out } =
        CHAT.write(&said, &Overrides { ask_logprobs: true, stream: false, ..SAID }).unwrap();
    let image = json!({"type": "image_url", "image_url": {"url": "https://a/b.png"}});
    let messages = json!([
        {"role": "assistant", "content": "so"},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
    ]);
    let shape = json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true}});
    let expected =
        json!({"model": "m", "messages": messages, "logprobs": true, "response_format": shape, "max_tokens": 7});
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    assert_eq!(left_out, ["the model's thoughts", "whether a tool failed"]);
}

#[test]
fn a_spliced_body_says_each_field_once() {
    let sent = r#"{"model":"auto","models":["a"],"max_tokens":5,"max_completion_tokens":6,"stream":true,"logprobs":false,
        "stream_options":{"include_usage":false,"x\"":1.10},"we\"ird":[ ],"messages":[{"role":"user","content":"x"}]}"#;
    let (body, _) = CHAT.read(sent.into()).unwrap();
    let kept = r#""stream":true,"we\"ird":[ ],"messages":[{"role":"user","content":"x"}],"max_completion_tokens":7"#;
    let asked = CHAT_OF_REASONING.splice(&body, &Overrides { ask_logprobs: true, ..SAID }).unwrap();
    let options = r#""stream_options":{"x\"":1.10,"include_usage":true}"#;
    assert_eq!(asked, format!(r#"{{"model":"m",{kept},{options},"logprobs":true}}"#));
    let whole = CHAT_OF_REASONING.splice(&body, &Overrides { stream: false, ..SAID }).unwrap();
    let kept = kept.replace(r#""stream":true,"#, r#""stream":true,"logprobs":false,"#);
    assert_eq!(whole, format!(r#"{{"model":"m",{kept}}}"#));
}

#[test]
fn what_would_change_the_meaning_is_not_left_out() {
    let asks = |message: Value, more: Value| asked(json!([message]), more);
    let said = json!({"role": "user", "content": "x"});
    let file = json!([{"type": "file", "file": {"file_id": "f1"}}]);
    for (json, field) in [
        (asks(said.clone(), json!({"tools": [{"type": "web_search"}]})), "tools"),
        (asks(said.clone(), json!({"tool_choice": {"type": "allowed_tools"}})), "tool_choice"),
        (asks(json!({"role": "user", "content": file}), json!({})), "messages"),
    ] {
        let body = body(&json);
        let read = CHAT.conversation(&body).unwrap();
        assert!(CHAT.write(&read, &SAID).is_ok(), "its own format can say it: {json}");
        let refused = CHAT.write(&Conversation { format: "another", ..read }, &SAID).unwrap_err();
        assert_eq!(refused.field, field, "{json}");
    }
    for (message, field) in [
        (json!({"role": "tool", "content": "x"}), "messages.tool_call_id"),
        (json!({"role": "function", "name": "f", "content": "x"}), "messages.name"),
        (json!({"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}), "messages.tool_calls"),
        (json!({"role": "user", "content": [{"type": "image_url"}]}), "messages.content.image_url"),
    ] {
        let body = body(&asks(message.clone(), json!({})));
        assert_eq!(CHAT.conversation(&body).unwrap_err().field, field, "{message}");
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z \"\\\\\n\u{e9}\u{1f600}]{0,12}", Just(String::new())]
}

fn part() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|text| json!({"type": "text", "text": text})),
        text().prop_map(|text| json!({"type": "image_url", "image_url": {"url": text}})),
        Just(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "high"}})),
        text().prop_map(|name| json!({"type": "file", "file": {"filename": name, "file_id": "f"}})),
        Just(json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}})),
        Just(json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}})),
    ]
}

fn content() -> impl Strategy<Value = Value> {
    prop_oneof![text().prop_map(Value::from), prop::collection::vec(part(), 0..4).prop_map(Value::from)]
}

fn message() -> impl Strategy<Value = Value> {
    let call = || {
        text().prop_map(|text| json!({"id": text, "type": "function", "function": {"name": "f", "arguments": text}}))
    };
    prop_oneof![
        content().prop_map(|content| json!({"role": "user", "content": content})),
        (content(), text()).prop_map(|(content, name)| json!({"role": "user", "name": name, "content": content})),
        text().prop_map(|content| json!({"role": "system", "content": content})),
        text().prop_map(|content| json!({"role": "developer", "content": content})),
        (text(), prop::collection::vec(call(), 0..3))
            .prop_map(|(text, calls)| json!({"role": "assistant", "content": text, "tool_calls": calls})),
        (text(), text())
            .prop_map(|(text, no)| json!({"role": "assistant", "reasoning": text, "refusal": no, "content": null})),
        text().prop_map(|text| json!({"role": "tool", "tool_call_id": "f", "content": text})),
        text().prop_map(
            |text| json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": text}})
        ),
    ]
}

fn fields() -> impl Strategy<Value = Value> {
    let function = json!({"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true});
    let one = prop_oneof![
        Just(json!({"n": 3, "temperature": 0.25, "top_p": 0.5, "seed": -4, "presence_penalty": 1.5})),
        Just(json!({"logprobs": true, "top_logprobs": 3, "frequency_penalty": -0.5, "top_k": 4})),
        Just(json!({"stop": "end"})),
        Just(json!({"stop": ["a", "b"]})),
        Just(json!({"tools": [{"type": "function", "function": function}], "tool_choice": "required"})),
        Just(json!({"tools": [{"type": "custom", "custom": {"name": "c"}}], "parallel_tool_calls": false})),
        Just(json!({"functions": [{"name": "g"}], "function_call": {"name": "g"}})),
        Just(json!({"tool_choice": {"type": "function", "function": {"name": "f"}}})),
        Just(json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}})),
        Just(json!({"response_format": {"type": "json_object"}})),
        Just(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1.10}}}})),
        Just(json!({"response_format": {"type": "grammar", "grammar": "x"}})),
        Just(json!({"reasoning_effort": "low", "user": "u"})),
        Just(json!({"reasoning_effort": "extreme", "store": true, "metadata": {"k": "v"}})),
    ];
    prop::collection::vec(one, 0..3).prop_map(|some| {
        let all = some.into_iter().flat_map(|fields| fields.as_object().unwrap().clone());
        Value::Object(all.collect())
    })
}

proptest! {
    #[test]
    fn a_request_that_is_read_and_written_means_the_same(
        messages in prop::collection::vec(message(), 1..6),
        more in fields(),
        of_reasoning in any::<bool>(),
    ) {
        let first = body(&asked(messages.into(), more));
        let meant = CHAT.conversation(&first).unwrap();
        let format = if of_reasoning { &CHAT_OF_REASONING } else { &CHAT };
        let written = format.write(&meant, &SAID).unwrap();
        let (second, facts) = CHAT.read(written.body).unwrap();
        prop_assert_eq!(CHAT.conversation(&second).unwrap(), meant);
        prop_assert_eq!((&*facts.model, facts.max_output_tokens, facts.include_usage), ("m", Some(7), true));
        prop_assert!(written.left_out.is_empty(), "{:?}", written.left_out);
    }

    #[test]
    fn what_is_spliced_keeps_its_bytes_but_for_what_the_gateway_says(
        messages in prop::collection::vec(message(), 1..4),
        more in fields(),
        spaces in " {0,3}",
    ) {
        let json = asked(messages.into(), more).to_string();
        let sent: bytes::Bytes = format!("{spaces}{json}{spaces}").into();
        let (first, _) = CHAT.read(sent).unwrap();
        let (second, _) = CHAT.read(CHAT.splice(&first, &SAID).unwrap()).unwrap();
        let said = ["model", "max_tokens", "stream_options"];
        let kept = |body: &Body| -> Vec<(String, Vec<u8>)> {
            let fields = body.raw_fields().map(|(name, value)| (name.to_owned(), value.to_vec()));
            fields.filter(|(name, _)| !said.contains(&&**name)).collect()
        };
        prop_assert_eq!(kept(&second), kept(&first));
        prop_assert_eq!(said.map(|name| second.raw(name)), [Some("\"m\""), Some("7"), Some(r#"{"include_usage":true}"#)]);
    }

    #[test]
    fn no_body_makes_a_translation_panic(messages in prop::collection::vec(".{0,40}", 1..4), name in "[a-z_]{1,12}") {
        let values: Vec<Value> =
            messages.iter().map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!({"role": "user", "content": text}))).collect();
        let json = json!({"model": "auto", "messages": values, name: values});
        if let Ok((body, _)) = CHAT.read(json.to_string().into()) {
            let _ = CHAT.conversation(&body).and_then(|read| CHAT.write(&read, &SAID));
        }
    }
}

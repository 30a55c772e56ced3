use crate::wire::anthropic::{COUNT, MESSAGES};
use crate::wire::body::Body;
use crate::wire::conversation::{Conversation, Effort, Part, Role, Shape, Source, Tool, ToolChoice};
use crate::wire::format::{Format, Overrides, Spoken, Written};
use crate::wire::openai::CHAT;
use proptest::prelude::*;
use serde_json::{Value, json};

const SAID: Overrides<'static> = Overrides { stream: true, ..Overrides::plain("m", 7) };

fn asked(messages: Value, more: Value) -> Value {
    let mut body = json!({"model": "auto", "max_tokens": 9, "messages": messages});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn body(json: &Value) -> Body {
    MESSAGES.read(json.to_string().into()).unwrap().0
}

/// A chat request, written as one for a message.
fn of_chat(json: &Value) -> Result<(Value, Vec<String>), String> {
    let (body, _) = CHAT.read(json.to_string().into()).unwrap();
    let meant = CHAT.conversation(&body).unwrap();
    let Written { body, left_out } = MESSAGES.write(&meant, &SAID).map_err(|why| why.field)?;
    Ok((serde_json::from_slice(&body).unwrap(), left_out))
}

/// A request for a message, written as a chat request.
fn to_chat(json: &Value) -> Result<(Value, Vec<String>), String> {
    let body = body(json);
    let meant = MESSAGES.conversation(&body).map_err(|why| why.field)?;
    let Written { body, left_out } = CHAT.write(&meant, &SAID).map_err(|why| why.field)?;
    Ok((serde_json::from_slice(&body).unwrap(), left_out))
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

#[test]
fn every_kind_of_block_is_understood() {
    let messages = json!([
        user(json!([
            {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
            {"type": "document", "title": "t", "source": {"type": "base64", "media_type": "application/pdf", "data": "BB"}},
            {"type": "document", "title": "notes", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
            {"type": "search_result", "title": "found", "source": "s", "content": [{"type": "text", "text": "r"}]},
            {"type": "container_upload", "file_id": "f"},
        ])),
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "text", "text": "so"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"b": 1.10, "a": []}},
        ]},
        user(json!([{"type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": "no"}])),
        {"role": "system", "content": "be brief"},
    ]);
    let more = json!({"system": [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"}, {"type": "text", "text": "s"}],
        "thinking": {"type": "enabled", "budget_tokens": 5000}, "metadata": {"user_id": "u"},
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true}, "stop_sequences": ["END"],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true}, {"type": "bash_20250124", "name": "bash"}],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}});
    let body = body(&asked(messages, more));
    let read = MESSAGES.conversation(&body).unwrap();
    assert_eq!(read.system, [Part::Text("s".into())]);
    let texts: Vec<_> = read.turns[0]
        .parts
        .iter()
        .filter_map(|part| if let Part::Text(text) = part { Some(&**text) } else { None })
        .collect();
    assert_eq!(texts, ["look", "notes", "d", "found\ns", "r"]);
    let data = Source::Data { media_type: "image/png".into(), base64: "AAAA".into() };
    assert_eq!(read.turns[0].parts[1], Part::Image { source: data, detail: None });
    let pdf = Source::Data { media_type: "application/pdf".into(), base64: "BB".into() };
    assert_eq!(read.turns[0].parts[3], Part::File { source: pdf, name: Some("t".into()) });
    assert!(matches!(read.turns[0].parts.last(), Some(Part::Native(_))));
    assert_eq!(read.turns[1].parts[0], Part::Thought { text: "hm".into(), signature: Some("sig".into()) });
    let call = Part::ToolCall { id: "t1".into(), name: "f".into(), arguments: r#"{"a":[],"b":1.1}"#.into() };
    assert_eq!((read.turns[1].role, &read.turns[1].parts[2]), (Role::Assistant, &call));
    let result = Part::ToolResult { id: "t1".into(), parts: vec![Part::Text("no".into())], is_error: true };
    assert_eq!((read.turns[2].role, &read.turns[2].parts), (Role::User, &vec![result]));
    assert_eq!(read.turns[3].role, Role::System);
    assert_eq!((read.tool_choice, read.parallel_tools), (Some(ToolChoice::Required), Some(false)));
    assert!(matches!(&read.tools[..], [Tool::Function { strict: Some(true), .. }, Tool::Native(_)]));
    assert!(matches!(read.shape, Shape::JsonSchema { .. }));
    assert_eq!((read.effort, read.user.as_deref()), (Some(Effort::Medium), Some("u")));
    assert_eq!(read.sampling.stop, ["END"]);
    assert_eq!(read.unread.iter().collect::<Vec<_>>(), ["messages.content.cache_control"]);
}

/// BerriAI/litellm#37118 (stops are lost), looplj/axonhub#1669 (the name of a user is too long for others),
/// mozilla-ai/any-llm#1312 (a message of the user between the results of parallel calls).
#[test]
fn an_agents_request_reaches_a_chat_provider_in_its_words() {
    let agent = r#"{"device_id":"d4ea5e41d4ea5e41d4ea5e41d4ea5e41d4ea5e41d4ea5e41d4ea5e41","session_id":"1"}"#;
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let result = |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let messages = json!([
        user("look"),
        {"role": "assistant", "content": [call("a"), call("b")]},
        user(json!([result("a", json!([image])), result("b", json!("rain")), {"type": "text", "text": "and?"}])),
    ]);
    let more = json!({"stop_sequences": ["END"], "metadata": {"user_id": agent}, "system": "s",
        "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "f"}});
    let (chat, left_out) = to_chat(&asked(messages, more)).unwrap();
    assert_eq!(chat["stop"], json!(["END"]));
    assert_eq!(chat["user"].as_str().unwrap().len(), 64);
    assert_eq!(chat["max_tokens"], 7);
    let roles: Vec<_> = chat["messages"].as_array().unwrap().iter().map(|message| message["role"].clone()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool", "user"]);
    let shown = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, {"type": "text", "text": "and?"}]);
    assert_eq!((&chat["messages"][4]["content"], &chat["messages"][5]["content"]), (&json!("rain"), &shown));
    assert_eq!(chat["messages"][2]["tool_calls"][1]["function"], json!({"name": "f", "arguments": "{}"}));
    assert_eq!(chat["tool_choice"], json!({"type": "function", "function": {"name": "f"}}));
    assert!(left_out.is_empty(), "{left_out:?}");
}

#[test]
fn what_others_cannot_say_is_refused_by_its_name_or_left_out_by_it() {
    let said = json!([user("x")]);
    for (more, field) in [
        (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools"),
        (json!({"mcp_servers": [{"type": "url"}]}), "mcp_servers"),
        (json!({"container": "c1"}), "container"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"tool_choice": {"type": "new"}}), "tool_choice"),
    ] {
        assert_eq!(to_chat(&asked(said.clone(), more.clone())).unwrap_err(), field, "{more}");
    }
    let more = json!({"service_tier": "auto", "thinking": {"type": "adaptive"}, "top_k": 5,
        "cache_control": {"type": "ephemeral"}, "metadata": {"other": 1}});
    let redacted = json!({"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}]});
    let (_, left_out) = to_chat(&asked(json!([user("x"), redacted, user("y")]), more)).unwrap();
    let fields = ["`cache_control`", "`metadata.other`", "`service_tier`", "`thinking`", "`top_k`"];
    assert_eq!(left_out, [&fields[..], &["a part that only its own format has"]].concat());
}

#[test]
fn a_chat_request_is_written_with_all_that_this_format_can_say() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let messages = json!([
        {"role": "system", "content": "s"},
        {"role": "user", "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "file", "file": {"filename": "f.pdf", "file_data": "data:application/pdf;base64,BB=="}},
            {"type": "file", "file": {"filename": "f.txt", "file_data": "data:text/plain;base64,aGVsbG8="}},
        ]},
        {"role": "assistant", "content": "", "tool_calls": [call("functions.f:0", "{\"b\":1.10}"), call("c2", "")]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "so?"},
    ]);
    let parameters = json!({"properties": {"a": {}}});
    let json = json!({"model": "auto", "messages": messages, "temperature": 0.5, "stop": "END", "user": "ann@example.com",
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters, "strict": true}},
            {"type": "function", "function": {"name": "g"}}],
        "tool_choice": "required", "parallel_tool_calls": false, "reasoning_effort": "minimal", "seed": 1,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}});
    let (written, left_out) = of_chat(&json).unwrap();
    let expected = json!([
        user(json!([
            {"type": "text", "text": "look"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "document", "title": "f.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "BB=="}},
            {"type": "document", "title": "f.txt", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}},
        ])),
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {"b": 1.10}},
            {"type": "tool_use", "id": "c2", "name": "f", "input": {}},
        ]},
        user(json!([
            {"type": "tool_result", "tool_use_id": "functions_f_0", "content": [{"type": "text", "text": "sunny"}]},
            {"type": "tool_result", "tool_use_id": "c2"},
            {"type": "text", "text": "so?"},
        ])),
    ]);
    assert_eq!(written["messages"], expected);
    assert_eq!(written["system"], json!([{"type": "text", "text": "s"}, {"type": "text", "text": "be brief"}]));
    let tools = json!([
        {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"a": {}}}, "strict": true},
        {"name": "g", "input_schema": {"type": "object"}},
    ]);
    assert_eq!(
        (&written["tools"], &written["tool_choice"]),
        (&tools, &json!({"type": "any", "disable_parallel_tool_use": true}))
    );
    let output = json!({"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}});
    assert_eq!((&written["output_config"], &written["stop_sequences"]), (&output, &json!(["END"])));
    assert_eq!(written["metadata"]["user_id"].as_str().map(str::len), Some(64), "an address is no name for a user");
    assert_eq!(
        (&written["model"], &written["max_tokens"], &written["stream"], &written["temperature"]),
        (&json!("m"), &json!(7), &json!(true), &json!(0.5))
    );
    assert_eq!(left_out, ["`seed`", "where in the conversation the system speaks"]);
}

#[test]
fn a_lone_system_is_answered_as_the_user_would_be() {
    let (written, _) =
        of_chat(&json!({"model": "auto", "messages": [{"role": "system", "content": "say hi"}]})).unwrap();
    assert_eq!(written["messages"], json!([user(json!([{"type": "text", "text": "say hi"}]))]));
    assert!(written.get("system").is_none());
}

#[test]
fn what_this_format_cannot_say_of_a_chat_request_is_refused_by_its_name() {
    let said = json!({"role": "user", "content": "x"});
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{\"a"}}]});
    let with = |more: Value| {
        let mut body = json!({"model": "auto", "messages": [said]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (json, field) in [
        (with(json!({"n": 2})), "n"),
        (with(json!({"logprobs": true})), "logprobs"),
        (with(json!({"temperature": 1.5})), "temperature"),
        (with(json!({"stop": ["a", "\n\n"]})), "stop"),
        (with(json!({"response_format": {"type": "json_object"}})), "response_format"),
        (with(json!({"tools": [{"type": "web_search"}]})), "tools"),
        (with(json!({"messages": [{"role": "assistant", "content": "hi"}, said]})), "messages"),
        (with(json!({"messages": [said, {"role": "assistant", "content": "So "}]})), "messages"),
        (with(json!({"messages": [said, call, said]})), "messages"),
        (with(json!({"messages": [{"role": "user", "content": ""}]})), "messages"),
        (
            with(json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]})),
            "messages",
        ),
        (
            with(
                json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "data:a/b;base64,AA=="}}]}]}),
            ),
            "messages",
        ),
    ] {
        assert_eq!(of_chat(&json).unwrap_err(), field, "{json}");
    }
}

#[test]
fn a_spliced_body_keeps_all_but_what_the_gateway_says_and_the_thoughts_that_nobody_signed() {
    let sent =
        r#"{"model":"auto","max_tokens":5,"stream":true,"x\"":[ 1.10 ],"messages":[{"role":"user","content":"x"}]}"#;
    let (body, _) = MESSAGES.read(sent.into()).unwrap();
    let kept = r#""stream":true,"x\"":[ 1.10 ],"messages":[{"role":"user","content":"x"}]"#;
    assert_eq!(MESSAGES.splice(&body, &SAID).unwrap(), format!(r#"{{"model":"m",{kept},"max_tokens":7}}"#));
    assert_eq!(COUNT.splice(&body, &SAID).unwrap(), format!(r#"{{"model":"m",{kept}}}"#));
    let signed = r#"{ "type":"thinking","thinking":"a","signature":"s"}"#;
    let ours = r#"{"type":"thinking","thinking":"b","signature":""}"#;
    let said = r#"{"type":"text","text":"say \"signature\":\"\""}"#;
    let messages = |blocks: &str| {
        format!(
            r#"[{{"role":"user","content":"x"}},{{"role":"assistant","content":[{blocks}]}},{{"role":"user","content":"y"}}]"#
        )
    };
    for (before, after) in [
        (format!("{signed}, {said}"), format!("{signed}, {said}")),
        (format!("{signed},{ours},{said}"), format!("{signed},{said}")),
    ] {
        let sent = format!(r#"{{"model":"auto","max_tokens":5,"messages":{}}}"#, messages(&before));
        let (body, _) = MESSAGES.read(sent.into()).unwrap();
        let spliced = String::from_utf8(MESSAGES.splice(&body, &SAID).unwrap().to_vec()).unwrap();
        assert!(spliced.contains(&messages(&after)), "{spliced}");
    }
    let sent = format!(r#"{{"model":"auto","max_tokens":5,"messages":{}}}"#, messages(ours));
    let spliced = MESSAGES.splice(&MESSAGES.read(sent.into()).unwrap().0, &SAID).unwrap();
    let written: Value = serde_json::from_slice(&spliced).unwrap();
    assert_eq!(written["messages"], json!([user("x"), user("y")]), "a message of nothing else is left out");
}

fn text() -> impl Strategy<Value = String> {
    "[a-z \"\\\\\n\u{e9}\u{1f600}]{1,12}"
}

fn block() -> impl Strategy<Value = Value> {
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "AA=="});
    prop_oneof![
        text().prop_map(|text| json!({"type": "text", "text": text})),
        text().prop_map(|url| json!({"type": "image", "source": {"type": "url", "url": url}})),
        Just(json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}})),
        Just(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
        text().prop_map(move |title| json!({"type": "document", "title": title, "source": source})),
        Just(json!({"type": "container_upload", "file_id": "f"})),
    ]
}

fn message() -> impl Strategy<Value = Value> {
    let blocks = || prop::collection::vec(block(), 1..4);
    let thought = || text().prop_map(|text| json!({"type": "thinking", "thinking": text, "signature": "s"}));
    let call = || text().prop_map(|text| json!({"type": "tool_use", "id": "t", "name": "f", "input": {"a": text}}));
    let result = || {
        (blocks(), any::<bool>()).prop_map(|(content, is_error)| {
        json!({"type": "tool_result", "tool_use_id": "t", "content": content, "is_error": is_error})
    })
    };
    prop_oneof![
        blocks().prop_map(user),
        text().prop_map(user),
        (result(), blocks()).prop_map(|(result, blocks)| user([vec![result], blocks].concat())),
        (thought(), blocks(), call()).prop_map(|(thought, blocks, call)| {
            let content = [vec![thought], blocks, vec![call]].concat();
            json!({"role": "assistant", "content": content})
        }),
        text().prop_map(|text| json!({"role": "system", "content": text})),
    ]
}

fn fields() -> impl Strategy<Value = Value> {
    let tool =
        json!({"name": "f", "description": "d", "input_schema": {"type": "object", "b": 1, "a": 2}, "strict": true});
    let one = prop_oneof![
        Just(json!({"temperature": 0.25, "top_p": 0.5, "top_k": 3})),
        Just(json!({"stop_sequences": ["a", "b"], "system": "s"})),
        Just(json!({"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})),
        Just(json!({"tools": [tool], "tool_choice": {"type": "any"}})),
        Just(
            json!({"tools": [{"type": "bash_20250124", "name": "bash"}], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}})
        ),
        Just(json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}})),
        Just(json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "a": 1.10}}}})),
        Just(json!({"metadata": {"user_id": "u"}, "service_tier": "auto", "inference_geo": "us"})),
    ];
    prop::collection::vec(one, 0..3).prop_map(|some| {
        let all = some.into_iter().flat_map(|fields| fields.as_object().unwrap().clone());
        Value::Object(all.collect())
    })
}

/// What a conversation means, whatever its turns are cut into: neighbours of one side are one turn.
fn meaning(mut read: Conversation<'_>) -> Conversation<'_> {
    let turns = std::mem::take(&mut read.turns);
    for turn in turns {
        match read.turns.last_mut() {
            Some(last) if last.role == turn.role => last.parts.extend(turn.parts),
            _ => read.turns.push(turn),
        }
    }
    for turn in &mut read.turns {
        turn.parts.sort_by_key(|part| !matches!(part, Part::ToolResult { .. }));
    }
    read
}

proptest! {
    #[test]
    fn a_request_that_is_read_and_written_means_the_same(
        messages in prop::collection::vec(message(), 1..6),
        more in fields(),
    ) {
        let first = body(&asked(messages.into(), more));
        let meant = MESSAGES.conversation(&first).unwrap();
        let written = MESSAGES.write(&meant, &SAID).unwrap();
        let (second, facts) = MESSAGES.read(written.body).unwrap();
        prop_assert_eq!(meaning(MESSAGES.conversation(&second).unwrap()), meaning(meant));
        prop_assert_eq!((&*facts.model, facts.max_output_tokens, facts.stream), ("m", Some(7), true));
        prop_assert!(written.left_out.is_empty(), "{:?}", written.left_out);
    }

    #[test]
    fn what_is_spliced_keeps_its_bytes_but_for_what_the_gateway_says(
        messages in prop::collection::vec(message(), 1..4),
        more in fields(),
        spaces in " {0,3}",
    ) {
        let json = asked(messages.into(), more).to_string();
        let (first, _) = MESSAGES.read(format!("{spaces}{json}{spaces}").into()).unwrap();
        let (second, _) = MESSAGES.read(MESSAGES.splice(&first, &SAID).unwrap()).unwrap();
        let kept = |body: &Body| -> Vec<(String, Vec<u8>)> {
            let fields = body.raw_fields().map(|(name, value)| (name.to_owned(), value.to_vec()));
            fields.filter(|(name, _)| !["model", "max_tokens"].contains(&&**name)).collect()
        };
        prop_assert_eq!(kept(&second), kept(&first));
        prop_assert_eq!(["model", "max_tokens"].map(|name| second.raw(name)), [Some("\"m\""), Some("7")]);
    }

    #[test]
    fn what_both_formats_can_say_comes_back_from_the_other(texts in prop::collection::vec(text(), 1..5), result in text()) {
        let mut messages: Vec<Value> = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            let id = format!("t{place}");
            messages.push(user(text.as_str()));
            messages.push(json!({"role": "assistant", "content": [{"type": "text", "text": text},
                {"type": "tool_use", "id": id, "name": "f", "input": {"b": text, "a": place}}]}));
            messages.push(user(json!([{"type": "tool_result", "tool_use_id": id, "content": result}])));
        }
        let body = body(&asked(messages.into(), json!({"system": "s", "stop_sequences": ["END"]})));
        let meant = MESSAGES.conversation(&body).unwrap();
        let written = CHAT.write(&meant, &SAID).unwrap();
        let (chat, _) = CHAT.read(written.body).unwrap();
        let back = CHAT.conversation(&chat).unwrap();
        let written = MESSAGES.write(&back, &SAID).unwrap();
        let (second, _) = MESSAGES.read(written.body).unwrap();
        prop_assert_eq!(meaning(MESSAGES.conversation(&second).unwrap()), meaning(meant));
    }

    #[test]
    fn no_body_makes_a_translation_panic(messages in prop::collection::vec(".{0,40}", 1..4), name in "[a-z_]{1,12}") {
        let values: Vec<Value> =
            messages.iter().map(|text| serde_json::from_str(text).unwrap_or_else(|_| user(text.as_str()))).collect();
        let json = json!({"model": "auto", "max_tokens": 1, "messages": values, name: values});
        if let Ok((body, _)) = MESSAGES.read(json.to_string().into())
            && let Ok(read) = MESSAGES.conversation(&body)
        {
            let _ = (CHAT.write(&read, &SAID), MESSAGES.write(&read, &SAID));
        }
    }
}

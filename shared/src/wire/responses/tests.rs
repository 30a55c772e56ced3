//! Requests: what passes to a provider of this format, and what is translated from and to the chat format.

#![allow(clippy::unwrap_used, clippy::panic)]
use super::RESPONSES;
use crate::wire::conversation::{Conversation, Part, Role, Source, ToolChoice, Turn};
use crate::wire::format::{Format, Overrides, Spoken};
use crate::wire::openai::CHAT;
use crate::wire::request::Request;
use proptest::prelude::*;
use serde_json::{Value, json};

const SAID: Overrides<'static> = Overrides::plain("gpt-x", 77);

fn request(format: &'static dyn Format, body: &Value) -> Request {
    Request::read(format, body.to_string().into()).unwrap()
}

fn body_for(request: &Request, format: &'static dyn Format, overrides: &Overrides<'_>) -> Value {
    serde_json::from_slice(&request.body_for(format, overrides).unwrap()).unwrap()
}

fn refused(request: &Request, format: &'static dyn Format) -> String {
    request.body_for(format, &SAID).unwrap_err().field
}

#[test]
fn to_a_provider_of_this_format_the_body_passes_with_few_fields_replaced() {
    let body = r#"{ "model":"auto", "models":["a"], "input":[{"role":"user","content":"x","y":1e2}], "x_price": 1.10, "max_output_tokens":9000, "reasoning":{"effort":"low"} }"#;
    let request = Request::read(&RESPONSES, body.into()).unwrap();
    let passed = request.body_for(&RESPONSES, &SAID).unwrap();
    let expected = r#"{"model":"gpt-x","input":[{"role":"user","content":"x","y":1e2}],"x_price":1.10,"reasoning":{"effort":"low"},"max_output_tokens":77,"store":false,"include":["reasoning.encrypted_content"]}"#;
    assert_eq!(std::str::from_utf8(&passed).unwrap(), expected);
}

#[test]
fn nothing_is_stored_and_thoughts_come_along_unless_the_client_says_otherwise() {
    let encrypted = "reasoning.encrypted_content";
    let thoughts =
        json!([{"type": "reasoning", "summary": [], "encrypted_content": "e"}, {"role": "user", "content": "x"}]);
    for (fields, ask_logprobs, store, include) in [
        (json!({}), false, json!(false), None),
        (json!({"store": null, "include": null}), false, json!(false), None),
        (json!({"store": false, "reasoning": {}}), false, json!(false), Some(json!([encrypted]))),
        (json!({"store": true, "reasoning": {}}), false, json!(true), None),
        (json!({"input": thoughts}), false, json!(false), Some(json!([encrypted]))),
        (json!({"input": "say \"encrypted_content\""}), false, json!(false), None),
        (json!({"reasoning": {}, "include": [encrypted, "x"]}), false, json!(false), Some(json!([encrypted, "x"]))),
        (
            json!({"reasoning": {}, "include": ["x"]}),
            true,
            json!(false),
            Some(json!(["x", encrypted, "message.output_text.logprobs"])),
        ),
        (json!({}), true, json!(false), Some(json!(["message.output_text.logprobs"]))),
    ] {
        let mut body = json!({"model": "auto", "input": "x"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let passed = body_for(&request(&RESPONSES, &body), &RESPONSES, &Overrides { ask_logprobs, ..SAID });
        assert_eq!((&passed["store"], passed.get("include")), (&store, include.as_ref()), "{fields}");
    }
}

#[test]
fn thoughts_of_which_only_the_id_is_there_are_sent_to_nobody() {
    let bare = |id: &str| json!({"type": "reasoning", "id": id, "summary": []});
    let whole = json!({"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "e"});
    let user = json!({"role": "user", "content": "x"});
    for (fields, left) in [
        (json!({"input": [bare("rs_1"), user, whole]}), json!([user, whole])),
        (json!({"input": [bare("rs_1"), user], "store": true}), json!([bare("rs_1"), user])),
        (json!({"input": [{"type": "reasoning", "encrypted_content": null}, user]}), json!([user])),
        (json!({"input": [user]}), json!([user])),
        (json!({"input": "reasoning"}), json!("reasoning")),
    ] {
        let mut body = json!({"model": "auto"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(body_for(&request(&RESPONSES, &body), &RESPONSES, &SAID)["input"], left, "{fields}");
    }
}

#[test]
fn a_model_that_does_not_think_is_asked_for_no_thoughts() {
    let thought = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"});
    let (encrypted, user) = ("reasoning.encrypted_content", json!({"role": "user", "content": "x"}));
    for (include, left) in [
        (json!([encrypted]), None),
        (json!([encrypted, "file_search_call.results"]), Some(json!(["file_search_call.results"]))),
        (json!(["file_search_call.results"]), Some(json!(["file_search_call.results"]))),
    ] {
        let body =
            json!({"model": "auto", "reasoning": {"summary": "auto"}, "include": include, "input": [thought, user]});
        let request = request(&RESPONSES, &body);
        let passed = body_for(&request, &RESPONSES, &Overrides { thinks: false, ..SAID });
        assert_eq!((passed.get("include"), passed.get("reasoning")), (left.as_ref(), None));
        assert_eq!(passed["input"], json!([user]));
        let thinking = body_for(&request, &RESPONSES, &SAID);
        assert_eq!((&thinking["reasoning"], &thinking["input"]), (&body["reasoning"], &body["input"]));
    }
}

#[test]
fn a_chat_request_is_said_as_a_response() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"q\":1}"}});
    let chat = json!({
        "model": "auto", "temperature": 0.10, "top_p": 1, "user": "u", "seed": 1, "parallel_tool_calls": false,
        "reasoning_effort": "high", "verbosity": "low", "prompt_cache_key": "k", "logit_bias": {}, "logprobs": true, "top_logprobs": 2,
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "g", "strict": true}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "name": "Ada", "content": [{"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,BB=="}}]},
            {"role": "assistant", "content": "w", "reasoning_content": "hm", "tool_calls": [call("1"), call("2")]},
            {"role": "tool", "tool_call_id": "1", "content": "r"},
            {"role": "tool", "tool_call_id": "2", "content": ""},
            {"role": "developer", "content": "now"},
            {"role": "user", "content": "b"}]});
    let request = request(&CHAT, &chat);
    let written = body_for(&request, &RESPONSES, &Overrides { stream: true, ..SAID });
    let text = |kind: &str, text: &str| json!({"type": kind, "text": text});
    let message = |role: &str, content: Value| json!({"type": "message", "role": role, "content": content});
    let called = |id: &str| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{\"q\":1}"});
    let output = |id: &str, output: &str| json!({"type": "function_call_output", "call_id": id, "output": output});
    let expected = json!({
        "model": "gpt-x", "instructions": "s", "stream": true, "store": false, "max_output_tokens": 77,
        "temperature": 0.10, "top_p": 1, "user": "u", "parallel_tool_calls": false, "top_logprobs": 2,
        "include": ["message.output_text.logprobs"], "reasoning": {"effort": "high"}, "prompt_cache_key": "k",
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": false},
            {"type": "function", "name": "g", "parameters": null, "strict": true}],
        "tool_choice": {"type": "function", "name": "f"},
        "input": [
            message("user", json!([text("input_text", "a"),
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
                {"type": "input_file", "filename": "file", "file_data": "data:application/pdf;base64,BB=="}])),
            message("assistant", json!([text("output_text", "w")])),
            called("1"), called("2"), output("1", "r"), output("2", ""),
            message("system", json!([text("input_text", "now")])),
            message("user", json!([text("input_text", "b")]))]});
    assert_eq!(written, expected);
    let left_out = request.left_out(&RESPONSES).unwrap();
    assert_eq!(&*left_out, ["`logit_bias`", "`seed`", "the model's thoughts", "what a speaker is called"]);
}

#[test]
fn what_a_response_cannot_say_is_named() {
    for (fields, field) in [
        (json!({"n": 2}), "n"),
        (json!({"stop": ["x"]}), "stop"),
        (json!({"tools": [{"type": "custom", "custom": {"name": "c"}}]}), "tools"),
        (json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}), "tool_choice"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}),
            "messages.content",
        ),
    ] {
        let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(refused(&request(&CHAT, &body), &RESPONSES), field, "{fields}");
    }
}

#[test]
fn a_responses_request_is_said_as_a_chat() {
    let body = json!({
        "model": "auto", "instructions": "do", "temperature": 0.5, "store": true, "truncation": "auto", "max_output_tokens": 5,
        "reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"], "top_logprobs": 2,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}], "tool_choice": "required",
        "input": [
            {"role": "developer", "content": "dev"},
            {"type": "additional_tools", "role": "developer", "tools": [
                {"type": "namespace", "name": "ns", "description": "d", "tools": [{"type": "function", "name": "g"}]}]},
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "http://h/i", "detail": "low"}]},
            {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "e"},
            {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "w", "annotations": []}]},
            {"type": "function_call", "id": "fc", "call_id": "1", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call", "call_id": "2", "namespace": "ns", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "r"},
            {"type": "function_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "s"}]},
            {"role": "user", "content": "b"}]});
    let request = request(&RESPONSES, &body);
    let call =
        |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
    let expected = json!({
        "model": "gpt-x", "max_tokens": 77, "temperature": 0.5, "logprobs": true, "top_logprobs": 2, "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "tools": [{"type": "function", "function": {"name": "ns-_-g"}},
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}],
        "tool_choice": "required",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "do"}, {"type": "text", "text": "dev"}]},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "http://h/i", "detail": "low"}}]},
            {"role": "assistant", "content": "w", "tool_calls": [call("1", "f"), call("2", "ns-_-g")]},
            {"role": "tool", "tool_call_id": "1", "content": "r"},
            {"role": "tool", "tool_call_id": "2", "content": "s"},
            {"role": "user", "content": "b"}]});
    assert_eq!(body_for(&request, &CHAT, &SAID), expected);
    let left_out = request.left_out(&CHAT).unwrap();
    assert_eq!(&*left_out, ["`reasoning.summary`", "`text.verbosity`", "`truncation`", "the model's thoughts"]);
}

#[test]
fn what_only_this_format_has_is_named() {
    let item = |item: Value| json!({"input": [item]});
    for (fields, field) in [
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"moderation": {"model": "m"}}), "moderation"),
        (json!({"text": {"format": {"type": "grammar"}}}), "text.format"),
        (json!({"tools": [{"type": "custom", "name": "c"}]}), "tools"),
        (json!({"tool_choice": {"type": "web_search"}}), "tool_choice"),
        (item(json!({"type": "item_reference", "id": "msg_1"})), "input"),
        (item(json!({"type": "compaction", "encrypted_content": "e"})), "input"),
        (item(json!({"type": "custom_tool_call", "call_id": "c", "name": "n", "input": "x"})), "input"),
        (item(json!({"role": "user", "content": [{"type": "input_audio"}]})), "input.content"),
        (item(json!({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]})), "input"),
    ] {
        let mut body = json!({"model": "auto", "input": "x"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(refused(&request(&RESPONSES, &body), &CHAT), field, "{fields}");
    }
}

/// A conversation that both formats can say.
fn conversation() -> impl Strategy<Value = Conversation<'static>> {
    let text = || "[a-z\"\\\\\n\u{e9}\u{1f600}]{1,8}".prop_map(|text| Part::Text(text.into()));
    let image = || {
        ("[a-z]{1,5}", proptest::option::of("low|high")).prop_map(|(url, detail)| Part::Image {
            source: Source::Url(format!("http://{url}").into()),
            detail: Some(detail.unwrap_or_else(|| "auto".into()).into()),
        })
    };
    let user = proptest::collection::vec(prop_oneof![3 => text(), 1 => image()], 1..4)
        .prop_map(|parts| vec![Turn { role: Role::User, name: None, parts }]);
    let assistant = text().prop_map(|text| vec![Turn { role: Role::Assistant, name: None, parts: vec![text] }]);
    let tools =
        (proptest::option::of(text()), proptest::collection::vec("[a-z{}\":]{0,6}", 1..4)).prop_map(|(said, calls)| {
            let named = |i: usize| format!("call_{i}");
            let call = |(i, arguments): (usize, &String)| Part::ToolCall {
                id: named(i).into(),
                name: "f".into(),
                arguments: arguments.clone().into(),
            };
            let result = |(i, text): (usize, &String)| Part::ToolResult {
                id: named(i).into(),
                parts: vec![Part::Text(text.clone().into())],
                is_error: false,
            };
            let parts = said.into_iter().chain(calls.iter().enumerate().map(call)).collect();
            let called = Turn { role: Role::Assistant, name: None, parts };
            let results = calls.iter().enumerate().map(result).map(|result| Turn {
                role: Role::User,
                name: None,
                parts: vec![result],
            });
            std::iter::once(called).chain(results).collect::<Vec<_>>()
        });
    let turn = prop_oneof![user.clone(), assistant, tools];
    let choice = prop_oneof![Just(None), Just(Some(ToolChoice::Auto)), Just(Some(ToolChoice::Function("f".into())))];
    (proptest::option::of(text()), user, proptest::collection::vec(turn, 0..6), choice, any::<Option<bool>>()).prop_map(
        |(system, first, more, tool_choice, parallel_tools)| Conversation {
            system: system.into_iter().collect(),
            turns: first.into_iter().chain(more.into_iter().flatten()).collect(),
            tool_choice,
            parallel_tools,
            ..Conversation::default()
        },
    )
}

/// The same with neighbouring turns of one role joined, for not all formats tell them apart.
fn joined(conversation: &Conversation<'_>) -> String {
    let mut turns: Vec<(Role, Vec<&Part<'_>>)> = Vec::new();
    for turn in &conversation.turns {
        match turns.last_mut() {
            Some((role, parts)) if *role == turn.role => parts.extend(&turn.parts),
            _ => turns.push((turn.role, turn.parts.iter().collect())),
        }
    }
    format!("{:?} {turns:?} {:?} {:?}", conversation.system, conversation.tool_choice, conversation.parallel_tools)
}

proptest! {
    #[test]
    fn what_both_formats_can_say_survives_the_way_there_and_back(conversation in conversation()) {
        let written = RESPONSES.write(&conversation, &SAID).unwrap();
        let body = Request::read(&RESPONSES, written.body).unwrap();
        let read = RESPONSES.conversation(body.body()).unwrap();
        prop_assert_eq!(joined(&read), joined(&conversation));
        let chat = CHAT.write(&read, &SAID).unwrap();
        let chat = Request::read(&CHAT, chat.body).unwrap();
        let read = CHAT.conversation(chat.body()).unwrap();
        prop_assert_eq!(joined(&read), joined(&conversation));
    }
}

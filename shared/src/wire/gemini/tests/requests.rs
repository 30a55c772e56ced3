use crate::wire::anthropic::MESSAGES;
use crate::wire::conversation::{Conversation, Part, Role, Signature, Turn};
use crate::wire::format::{Format, Overrides, Spoken, Written};
use crate::wire::gemini::GEMINI;
use crate::wire::openai::CHAT;
use crate::wire::responses::RESPONSES;
use proptest::prelude::*;
use serde_json::{Value, json};

const NEW: &str = "gemini-3.8-flash";

/// A request of one door, written for a model of this name.
fn written(door: &dyn Format, model: &str, json: &Value) -> Result<(Value, Vec<String>), String> {
    let (body, _) = door.read(json.to_string().into()).unwrap();
    let meant = door.conversation(&body).unwrap();
    let overrides = Overrides { stream: true, ..Overrides::plain(model, 7) };
    let Written { body, left_out } = GEMINI.write(&meant, &overrides).map_err(|why| why.to_string())?;
    Ok((serde_json::from_slice(&body).unwrap(), left_out))
}

fn chat(messages: Value, more: Value) -> Value {
    let mut body = json!({"model": "auto", "messages": messages});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn of_chat(messages: Value, more: Value) -> Result<(Value, Vec<String>), String> {
    written(&CHAT, NEW, &chat(messages, more))
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn calls(calls: &[(&str, &str, &str)]) -> Value {
    let call = |(id, name, arguments): &(&str, &str, &str)| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    json!({"role": "assistant", "content": null, "tool_calls": calls.iter().map(call).collect::<Vec<_>>()})
}

fn result(id: &str, content: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content})
}

#[test]
fn a_chat_request_is_said_in_this_formats_words() {
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let elsewhere = json!({"type": "image_url", "image_url": {"url": "https://a/b.JPG?x", "detail": "low"}});
    let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BB"}});
    let messages = json!([
        {"role": "system", "content": "be kind"},
        {"role": "developer", "content": "be brief"},
        user("look"),
        user(json!([{"type": "text", "text": "here"}, picture, elsewhere, file])),
        {"role": "assistant", "content": "so"},
        user(""),
        user("and?"),
    ]);
    let schema = json!({"type": "object", "properties": {"a": {"type": "number", "minimum": 1.10}}});
    let more = json!({"temperature": 0.10, "top_p": 1, "top_k": 3, "seed": 4, "stop": ["END"], "n": 2, "presence_penalty": 0,
        "frequency_penalty": 0.5, "reasoning_effort": "low", "user": "u", "service_tier": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}]});
    let (body, left_out) = of_chat(messages, more).unwrap();
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "be kind"}, {"text": "be brief"}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "look"}, {"text": "here"},
                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://a/b.JPG?x"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "BB"}},
            ]},
            {"role": "model", "parts": [{"text": "so"}]},
            {"role": "user", "parts": [{"text": "and?"}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": schema}]}],
        "generationConfig": {"maxOutputTokens": 7, "candidateCount": 2, "temperature": 0.10, "topP": 1, "topK": 3, "seed": 4,
            "frequencyPenalty": 0.5, "stopSequences": ["END"], "responseMimeType": "application/json", "responseJsonSchema": schema,
            "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": true}},
    });
    assert_eq!(body, expected);
    let expected = [
        "`service_tier`",
        "how closely an image is to be looked at",
        "what a file is called",
        "which of the client's users asks",
    ];
    assert_eq!(left_out, expected);
    let (body, left_out) = of_chat(json!([user("a")]), json!({})).unwrap();
    assert_eq!(
        body,
        json!({"contents": [{"role": "user", "parts": [{"text": "a"}]}], "generationConfig": {"maxOutputTokens": 7}})
    );
    assert!(left_out.is_empty());
}

#[test]
fn a_tool_turn_of_any_door_comes_whole_and_in_order() {
    let tool = json!({"type": "object"});
    let expected = json!([
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [
            {"functionCall": {"id": "a", "name": "look", "args": {"b": 1.10}}, "thoughtSignature": "skip_thought_signature_validator"},
            {"functionCall": {"id": "b", "name": "see", "args": {}}},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"id": "a", "name": "look", "response": {"output": "sunny"}}},
            {"functionResponse": {"id": "b", "name": "see", "response": {"output": "{\"x\":1}"}}},
        ]},
    ]);
    let of_chat = chat(
        json!([
            user("go"),
            calls(&[("a", "look", "{\"b\": 1.10}"), ("b", "see", "")]),
            result("b", "{\"x\":1}"),
            result("a", "sunny")
        ]),
        json!({"tools": [{"type": "function", "function": {"name": "look"}}]}),
    );
    let use_of =
        |id: &str, name: &str, input: Value| json!({"type": "tool_use", "id": id, "name": name, "input": input});
    let answer = |id: &str, text: &str| json!({"type": "tool_result", "tool_use_id": id, "content": text});
    let of_messages = json!({"model": "auto", "max_tokens": 9, "tools": [{"name": "look", "input_schema": tool}], "messages": [
        user("go"),
        {"role": "assistant", "content": [use_of("a", "look", json!({"b": 1.10})), use_of("b", "see", json!({}))]},
        user(json!([answer("b", "{\"x\":1}"), answer("a", "sunny")])),
    ]});
    let call = |id: &str, name: &str, arguments: &str| json!({"type": "function_call", "call_id": id, "name": name, "arguments": arguments});
    let output = |id: &str, text: &str| json!({"type": "function_call_output", "call_id": id, "output": text});
    let of_responses = json!({"model": "auto", "input": [user("go"), call("a", "look", "{\"b\": 1.10}"), call("b", "see", "{}"),
        output("b", "{\"x\":1}"), output("a", "sunny")], "tools": [{"type": "function", "name": "look", "parameters": tool}]});
    for (door, body) in [(&CHAT as &dyn Format, of_chat), (&MESSAGES, of_messages), (&RESPONSES, of_responses)] {
        let (written, _) = written(door, NEW, &body).unwrap();
        assert_eq!(written["contents"], expected, "{}", door.name());
        assert_eq!(written["tools"][0]["functionDeclarations"][0]["name"], "look", "{}", door.name());
    }
}

/// BerriAI/litellm#37541: a placeholder on the siblings of a first call makes the model worse. pipecat-ai/pipecat#3420 and
/// googleapis/js-genai#1275: calls at once are one content. agentjido/req_llm#427: without any, the request is refused.
#[test]
fn the_first_call_of_each_step_of_the_current_turn_is_signed_and_no_other() {
    let step = |id: &str| {
        [calls(&[(id, "f", "{}"), (&format!("{id}2"), "f", "{}")]), result(id, "1"), result(&format!("{id}2"), "2")]
    };
    let turns: Vec<Value> = [user("before")]
        .into_iter()
        .chain(step("a"))
        .chain([json!({"role": "assistant", "content": "done"}), user("now")])
        .chain(step("b"))
        .chain(step("c"))
        .collect();
    let signed = |model: &str| -> Vec<String> {
        let (body, _) = written(&CHAT, model, &chat(json!(turns), json!({}))).unwrap();
        let parts =
            body["contents"].as_array().unwrap().iter().flat_map(|content| content["parts"].as_array().unwrap());
        parts
            .filter(|part| part["thoughtSignature"] == "skip_thought_signature_validator")
            .map(|part| part["functionCall"]["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(signed(NEW), ["b", "c"]);
    assert_eq!(signed("gemini-4-argon"), ["b", "c"]);
    assert!(signed("gemini-2.5-flash").is_empty(), "that generation signs nothing");
}

#[test]
fn an_id_that_is_used_again_names_the_latest_call() {
    let step = |names: [&str; 2]| {
        [calls(&[("0", names[0], "{}"), ("1", names[1], "{}")]), result("1", "second"), result("0", "first")]
    };
    let turns: Vec<Value> = [user("go")].into_iter().chain(step(["f", "g"])).chain(step(["h", "i"])).collect();
    let (body, _) = of_chat(json!(turns), json!({})).unwrap();
    let answers = |content: usize| -> Vec<String> {
        let parts = body["contents"][content]["parts"].as_array().unwrap().iter();
        let answer = |part: &Value| part["functionResponse"].clone();
        parts.map(answer).map(|answer| format!("{} {}", answer["name"], answer["response"]["output"])).collect()
    };
    assert_eq!(answers(2), [r#""f" "first""#, r#""g" "second""#]);
    assert_eq!(answers(4), [r#""h" "first""#, r#""i" "second""#]);
}

#[test]
fn what_a_tool_shows_and_says_of_its_failure_comes_along() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let result = |id: &str, content: Value, is_error: bool| json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let messages = json!([
        user("look"),
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, call("a"), call("b")]},
        user(json!([{"type": "text", "text": "and?"}, result("a", json!([image]), false), result("b", json!("broke"), true)])),
    ]);
    let (body, left_out) =
        written(&MESSAGES, NEW, &json!({"model": "m", "max_tokens": 9, "messages": messages})).unwrap();
    let expected = json!([
        {"functionResponse": {"id": "a", "name": "f", "response": {"output": ""}}},
        {"functionResponse": {"id": "b", "name": "f", "response": {"error": "broke"}}},
        {"text": "and?"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]);
    assert_eq!(body["contents"][2]["parts"], expected);
    assert_eq!(body["contents"][1]["parts"].as_array().unwrap().len(), 2);
    assert_eq!(left_out, ["the model's thoughts"]);
}

#[test]
fn whether_a_tool_is_to_be_called_is_said_only_where_there_are_tools() {
    let strict = json!([{"type": "function", "function": {"name": "f", "strict": true}}]);
    let loose = json!([{"type": "function", "function": {"name": "f"}}]);
    let named = json!({"type": "function", "function": {"name": "f"}});
    for (choice, tools, expected) in [
        (json!("auto"), &loose, json!({"mode": "AUTO"})),
        (json!("auto"), &strict, json!({"mode": "VALIDATED"})),
        (Value::Null, &strict, json!({"mode": "VALIDATED"})),
        (Value::Null, &loose, Value::Null),
        (json!("none"), &strict, json!({"mode": "NONE"})),
        (json!("required"), &strict, json!({"mode": "ANY"})),
        (named.clone(), &loose, json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
    ] {
        let (body, _) = of_chat(json!([user("a")]), json!({"tools": tools, "tool_choice": choice})).unwrap();
        assert_eq!(body["toolConfig"]["functionCallingConfig"], expected, "{choice}");
    }
    let one = json!({"tools": loose, "tool_choice": named, "parallel_tool_calls": false});
    assert_eq!(of_chat(json!([user("a")]), one).unwrap().1, ["that one tool is called at a time"]);
    let (body, _) = of_chat(json!([user("a")]), json!({"parallel_tool_calls": false})).unwrap();
    assert_eq!(body["toolConfig"], Value::Null);
}

#[test]
fn what_cannot_be_said_is_refused_by_its_name() {
    let say = |content: Value| json!([user(json!([content]))]);
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let hello = || json!([user("a")]);
    for (messages, more, why) in [
        (hello(), json!({"n": 9}), "`n` is more than 8 answers"),
        (hello(), json!({"logprobs": true}), "`logprobs` cannot be told"),
        (
            hello(),
            json!({"stop": ["a", "b", "c", "d"], "tools": [{"type": "custom", "custom": {"name": "x"}}]}),
            "`tools` has a tool that only its own format has",
        ),
        (hello(), json!({"tools": tools, "parallel_tool_calls": false}), "`parallel_tool_calls` cannot be enforced"),
        (
            hello(),
            json!({"tools": tools, "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}),
            "`tool_choice` is one that only its own format has",
        ),
        (
            say(image("data:image/gif;base64,AAAA")),
            json!({}),
            "`messages` has an image of a kind that Gemini does not read",
        ),
        (say(image("http://a/b.png")), json!({}), "`messages` has an image at an address that is not https"),
        (
            say(json!({"type": "file", "file": {"file_id": "f"}})),
            json!({}),
            "`messages` has a file that only its provider has",
        ),
        (
            json!([user("a"), calls(&[("a", "f", "[1]")]), result("a", "b")]),
            json!({}),
            "`messages` has a tool call whose arguments are no JSON object",
        ),
        (json!([user("a"), result("x", "b")]), json!({}), "`messages` has a result of a tool that was not called"),
        (json!([user("")]), json!({}), "`messages` has a message in which nothing is said"),
        (json!([{"role": "assistant", "content": "a"}, user("b")]), json!({}), "`messages` begins with the assistant"),
        (
            json!([user("a"), {"role": "assistant", "content": "b"}]),
            json!({}),
            "`messages` ends with the assistant, whose words would be gone on with",
        ),
    ] {
        assert_eq!(of_chat(messages.clone(), more.clone()).unwrap_err(), why, "{messages} {more}");
    }
    let (body, left_out) =
        of_chat(json!([{"role": "system", "content": "a"}]), json!({"seed": 3_000_000_000_u64})).unwrap();
    assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "a"}]}]), "there is nobody else to answer");
    assert_eq!(
        (&body["generationConfig"]["seed"], left_out),
        (&Value::Null, vec!["a `seed` that is too large".to_owned()])
    );
}

proptest! {
    /// Whatever is said, the two sides take turns, every result stands behind its call and names the function, and no text is
    /// lost.
    #[test]
    fn any_conversation_keeps_to_the_grammar(turns in prop::collection::vec((0..4_u8, "[a-z]{1,3}"), 0..12)) {
        let mut said = vec![Turn { role: Role::User, name: None, parts: vec![Part::Text("begin".into())] }];
        let mut texts = vec!["begin".to_owned()];
        let turn = |role, parts| Turn { role, name: None, parts };
        for (place, (kind, text)) in turns.iter().enumerate() {
            let id = format!("c{place}");
            match kind {
                0 => said.push(turn(Role::User, vec![Part::Text(text.into())])),
                1 => said.push(turn(Role::Assistant, vec![Part::Text(text.into())])),
                _ => {
                    let call = Part::ToolCall { id: id.clone().into(), name: text.into(), arguments: "{}".into() };
                    let result = Part::ToolResult { id: id.into(), parts: vec![Part::Text(text.into())], is_error: false };
                    said.extend([turn(Role::Assistant, vec![call]), turn(Role::User, vec![result])]);
                }
            }
            texts.push(text.clone());
        }
        said.push(turn(Role::User, vec![Part::Text("end".into())]));
        texts.push("end".into());
        let conversation = Conversation { turns: said, ..Conversation::default() };
        let overrides = Overrides::plain(NEW, 1);
        let body: Value = serde_json::from_slice(&GEMINI.write(&conversation, &overrides).unwrap().body).unwrap();
        let contents = body["contents"].as_array().unwrap();
        for (place, content) in contents.iter().enumerate() {
            prop_assert_eq!(&content["role"], if place % 2 == 0 { "user" } else { "model" });
        }
        let of = |part: &Value| part["text"].as_str().or(part["functionResponse"]["response"]["output"].as_str()).map(str::to_owned);
        let mut found: Vec<String> = contents.iter().flat_map(|content| content["parts"].as_array().unwrap()).filter_map(of).collect();
        found.sort();
        texts.sort();
        prop_assert_eq!(found, texts);
    }
}

#[test]
fn a_call_goes_back_with_its_own_signature_to_the_model_that_signed_it() {
    let signature =
        |call: &str, model: &str, text: &str| Signature { call: call.into(), model: model.into(), text: text.into() };
    let signatures = [signature("a", NEW, "of a"), signature("b", NEW, "of b"), signature("c", "another", "of c")];
    let turn = |role, parts| Turn { role, name: None, parts };
    let call = |id: &'static str| Part::ToolCall { id: id.into(), name: "f".into(), arguments: "".into() };
    let result = |id: &'static str| Part::ToolResult { id: id.into(), parts: Vec::new(), is_error: false };
    let turns = vec![
        turn(Role::User, vec![Part::Text("go".into())]),
        turn(Role::Assistant, vec![call("a"), call("x")]),
        turn(Role::User, vec![result("a"), result("x")]),
        turn(Role::Assistant, vec![call("y"), call("b")]),
        turn(Role::User, vec![result("y"), result("b")]),
        turn(Role::Assistant, vec![call("c")]),
        turn(Role::User, vec![result("c"), Part::Text("be brief".into())]),
    ];
    let conversation = Conversation { turns, signatures: &signatures, ..Conversation::default() };
    let overrides = Overrides::plain(NEW, 1);
    let body: Value = serde_json::from_slice(&GEMINI.write(&conversation, &overrides).unwrap().body).unwrap();
    let signed: Vec<Value> = [(1, 0), (1, 1), (3, 0), (3, 1), (5, 0)]
        .map(|(content, part): (usize, usize)| body["contents"][content]["parts"][part]["thoughtSignature"].clone())
        .into();
    let otherwise = "skip_thought_signature_validator";
    assert_eq!(signed, [json!("of a"), Value::Null, json!(otherwise), json!("of b"), json!(otherwise)]);
}

//! Requests, against the examples of the documentation and what Bedrock is known to refuse.

use crate::steps;
use crate::wire::anthropic::MESSAGES;
use crate::wire::conversation::Untranslatable;
use crate::wire::converse::CONVERSE;
use crate::wire::format::{Format, Overrides, Spoken, Written};
use crate::wire::openai::CHAT;
use proptest::prelude::*;
use serde_json::{Value, json};

const SAID: Overrides<'static> = Overrides { stream: true, ..Overrides::plain("m", 7) };

fn written_by(door: &dyn Format, body: &Value) -> Result<Written, Untranslatable> {
    let (body, _) = door.read(body.to_string().into()).unwrap();
    CONVERSE.write(&door.conversation(&body)?, &SAID)
}

fn chat(fields: Value) -> Result<(Value, Vec<String>), Untranslatable> {
    let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let Written { body, left_out } = written_by(&CHAT, &body)?;
    Ok((serde_json::from_slice(&body).unwrap(), left_out))
}

fn body_of(fields: Value) -> Value {
    chat(fields).unwrap().0
}

fn refusal_of(fields: Value) -> String {
    chat(fields).unwrap_err().to_string()
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

#[test]
fn a_whole_request_is_written_as_the_documentation_has_it() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let answer = json!({"type": "object", "properties": {"t": {"type": "number"}}});
    let body = body_of(json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            user("Weather?"),
            {"role": "assistant", "content": "Let me see.", "tool_calls": [call("a", "get", "{\"city\": \"Rome\"}"), call("b", "get", "")]},
            {"role": "tool", "tool_call_id": "a", "content": "sunny"},
            {"role": "tool", "tool_call_id": "b", "content": ""},
            user("And?"),
        ],
        "tools": [{"type": "function", "function": {"name": "get", "description": "Gets.", "parameters": schema, "strict": true}}],
        "tool_choice": {"type": "function", "function": {"name": "get"}},
        "temperature": 0.50, "top_p": 1, "stop": ["END"], "reasoning_effort": "minimal",
        "response_format": {"type": "json_schema", "json_schema": {"name": "w", "schema": answer}},
    }));
    let schema_text =
        body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&schema_text).unwrap(), answer);
    let result = |id: &str, content: Value| json!({"toolResult": {"toolUseId": id, "content": content}});
    assert_eq!(
        body,
        json!({
            "system": [{"text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [{"text": "Weather?"}]},
                {"role": "assistant", "content": [
                    {"text": "Let me see."},
                    {"toolUse": {"toolUseId": "a", "name": "get", "input": {"city": "Rome"}}},
                    {"toolUse": {"toolUseId": "b", "name": "get", "input": {}}},
                ]},
                {"role": "user", "content": [result("a", json!([{"text": "sunny"}])), result("b", json!([{"json": {}}])), {"text": "And?"}]},
            ],
            "toolConfig": {
                "tools": [{"toolSpec": {"name": "get", "description": "Gets.", "inputSchema": {"json": schema}, "strict": true}}],
                "toolChoice": {"tool": {"name": "get"}},
            },
            "inferenceConfig": {"maxTokens": 7, "temperature": 0.5, "topP": 1, "stopSequences": ["END"]},
            "outputConfig": {
                "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema_text, "name": "w"}}},
                "effort": "low",
            },
        })
    );
}

#[test]
fn what_bedrock_refuses_is_not_sent() {
    // Blank texts, of which some clients send one beside every call.
    let messages = json!([
        user("x"),
        {"role": "assistant", "content": "\n", "tool_calls": [call("a", "f", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": " "},
    ]);
    let body = body_of(
        json!({"messages": messages, "tools": [{"type": "function", "function": {"name": "f", "description": " "}}]}),
    );
    let spec = &body["toolConfig"]["tools"][0]["toolSpec"];
    assert_eq!(spec, &json!({"name": "f", "inputSchema": {"json": {"type": "object"}}}));
    assert_eq!(body["messages"][1]["content"].as_array().unwrap().len(), 1);
    assert_eq!(body["messages"][2]["content"][0]["toolResult"]["content"], json!([{"json": {}}]));
    // Two turns of one side are one; results stand before all else, from whichever turn they came.
    let messages = json!([
        user("x"),
        {"role": "assistant", "tool_calls": [call("a", "f", "{}"), call("b", "f", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        user("by the way"),
        {"role": "tool", "tool_call_id": "b", "content": "2"},
    ]);
    let body = body_of(json!({"messages": messages}));
    let kinds: Vec<String> = body["messages"][2]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block.as_object().unwrap().keys().next().unwrap().clone())
        .collect();
    assert_eq!(kinds, ["toolResult", "toolResult", "text"]);
    // No list of tools is empty, and none is there but where it must be.
    assert_eq!(body["toolConfig"]["tools"].as_array().unwrap().len(), 1);
    for fields in [
        json!({"tools": []}),
        json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}),
    ] {
        assert!(body_of(fields).get("toolConfig").is_none());
    }
    // An id that is too long or odd is the same hash on both sides.
    let id = format!("call.{}", "x".repeat(80));
    let messages = json!([
        user("x"),
        {"role": "assistant", "tool_calls": [call(&id, "f", "{}")]},
        {"role": "tool", "tool_call_id": id, "content": "1"},
    ]);
    let body = body_of(json!({"messages": messages}));
    let used = body["messages"][1]["content"][0]["toolUse"]["toolUseId"].as_str().unwrap();
    assert!(used.len() == 48 && used == body["messages"][2]["content"][0]["toolResult"]["toolUseId"]);
}

#[test]
fn images_and_documents_are_sent_with_what_they_are() {
    let file = |name: &str, kind: &str| json!({"type": "file", "file": {"filename": name, "file_data": format!("data:{kind};base64,AAAA")}});
    let content = json!([
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
        file("a  report, 2.pdf", "application/pdf"),
        file("a.pdf", "text/plain; charset=utf-8"),
        file("", "text/csv"),
        {"type": "text", "text": "Look."},
    ]);
    let body = body_of(json!({"messages": [user(content)]}));
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            {"image": {"format": "png", "source": {"bytes": "iVBO"}}},
            {"document": {"format": "pdf", "name": "a report 2 pdf", "source": {"bytes": "AAAA"}}},
            {"document": {"format": "txt", "name": "a pdf (2)", "source": {"bytes": "AAAA"}}},
            {"document": {"format": "csv", "name": "document (3)", "source": {"bytes": "AAAA"}}},
            {"text": "Look."},
        ])
    );
    for (content, why) in [
        (json!([file("a", "application/zip"), {"type": "text", "text": "x"}]), "has a file of a type"),
        (json!([file("a", "application/pdf")]), "no text beside it"),
        (json!([{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA"}}]), "neither PNG"),
        (json!([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]), "is not fetched"),
        (json!([{"type": "file", "file": {"file_id": "f"}}]), "only its provider has"),
    ] {
        assert!(refusal_of(json!({"messages": [user(content)]})).contains(why), "{why}");
    }
}

#[test]
fn what_would_mean_something_else_is_refused_by_its_field() {
    for (fields, why) in [
        (json!({"n": 2}), "`n` is more than one answer"),
        (json!({"logprobs": true}), "`logprobs` are not to be had"),
        (json!({"temperature": 1.1}), "`temperature` is above 1"),
        (json!({"stop": [" "]}), "`stop` has a text of white space"),
        (json!({"response_format": {"type": "json_object"}}), "`response_format` asks for JSON without a schema"),
        (
            json!({"messages": [{"role": "assistant", "content": "x"}, user("y")]}),
            "`messages` begins with the assistant",
        ),
        (json!({"messages": [user("x"), {"role": "assistant", "content": "y"}]}), "`messages` ends with the assistant"),
        (json!({"messages": [user(" ")]}), "`messages` has a message in which nothing is said"),
        (json!({"tools": [{"type": "function", "function": {"name": "mcp.find"}}]}), "`tools` has a name"),
    ] {
        let said = refusal_of(fields);
        assert!(said.contains(why), "{said}");
    }
    let asked = json!({"model": "auto", "max_tokens": 5, "messages": [user("x")], "tools": [{"type": "web_search_20250305", "name": "w"}]});
    let refused = written_by(&MESSAGES, &asked).unwrap_err();
    assert_eq!(refused.field, "tools");
}

#[test]
fn from_messages_come_errors_of_tools_documents_and_what_is_left_out() {
    let messages = json!([
        user(json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}])),
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        ]},
        user(json!([{"type": "tool_result", "tool_use_id": "t1", "is_error": true}])),
    ]);
    let asked = json!({"model": "auto", "max_tokens": 5, "top_k": 3, "system": "s", "messages": messages});
    let Written { body, left_out } = written_by(&MESSAGES, &asked).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        body["messages"][2]["content"],
        json!([{"toolResult": {"toolUseId": "t1", "content": [{"json": {}}], "status": "error"}}])
    );
    for what in ["`top_k`", "the model's thoughts", "cache_control", "are there no more"] {
        assert!(left_out.iter().any(|left_out| left_out.contains(what)), "{what}: {left_out:?}");
    }
}

#[test]
fn writing_takes_steps_and_time_in_proportion_to_what_is_written() {
    let messages = |turns: usize| -> Value {
        let turn = |i: usize| match i % 2 {
            0 => user("and"),
            _ => json!({"role": "tool", "tool_call_id": format!("c{i}"), "content": "r"}),
        };
        (0..turns).map(turn).collect::<Vec<_>>().into()
    };
    let steps_for = |turns| steps::of(u64::MAX, || body_of(json!({"messages": messages(turns)}))).1;
    assert!(steps_for(2000) < steps_for(1000) * 21 / 10);
}

proptest! {
    #[test]
    fn whatever_is_written_is_what_bedrock_takes(
        turns in proptest::collection::vec((0_u8..4, "[ a\n]{0,3}", 0_u8..3), 1..8),
        has_tools in any::<bool>(),
    ) {
        let messages: Vec<Value> = turns.iter().enumerate().map(|(place, (role, text, calls))| match role {
            0 => user(text.as_str()),
            1 => json!({"role": "system", "content": text}),
            2 => json!({"role": "tool", "tool_call_id": format!("{place}.{calls}"), "content": text}),
            _ => json!({"role": "assistant", "content": text, "tool_calls": (0..*calls + 1).map(|i| call(&format!("{place}.{i}"), "f", "")).collect::<Vec<_>>()}),
        }).collect();
        let mut fields = json!({"messages": messages});
        if has_tools {
            fields["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
        }
        let Ok((body, _)) = chat(fields) else { return Ok(()) };
        let messages = body["messages"].as_array().unwrap();
        let mut uses_tools = false;
        for (place, message) in messages.iter().enumerate() {
            prop_assert_eq!(message["role"].as_str(), Some(if place % 2 == 0 { "user" } else { "assistant" }));
            let blocks = message["content"].as_array().unwrap();
            prop_assert!(!blocks.is_empty());
            for block in blocks {
                uses_tools |= block.get("toolUse").is_some();
                prop_assert!(block["text"].as_str().is_none_or(|text| !text.trim().is_empty()));
            }
        }
        prop_assert!(!uses_tools || !body["toolConfig"]["tools"].as_array().unwrap().is_empty());
    }
}

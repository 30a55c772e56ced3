//! A request for a message, held to what Anthropic refuses, in its words.

use super::{Ask, Asked, Purpose, begun};
use crate::answer::SIGNATURE;
use serde_json::Value;

/// The fields that are documented.
const FIELDS: [&str; 22] = [
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
];

impl Ask {
    /// Reads the body of a request for a message, or for the number of its tokens.
    ///
    /// # Errors
    /// What Anthropic would say is wrong with it.
    pub(crate) fn parse_message(body: &[u8], purpose: Purpose) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body).map_err(|_| "The request body is not valid JSON.".to_owned())?;
        let model = body["model"].as_str().ok_or("model: Field required")?;
        let messages = body["messages"].as_array().ok_or("messages: Field required")?;
        check(&body, messages, purpose, &format!("{SIGNATURE}{model}-"))?;
        if model.split(['+', '@']).any(|part| part == "modern") {
            check_as_modern(&body, messages)?;
        }
        let mut said = Vec::new();
        texts(&body["system"], &mut said);
        messages.iter().for_each(|message| texts(&message["content"], &mut said));
        let bytes: usize = said.iter().map(|text| text.len()).sum();
        let mut last_user = Vec::new();
        let last = messages.iter().rev().find(|message| message["role"] == "user");
        last.into_iter().for_each(|message| texts(&message["content"], &mut last_user));
        let opening = last_user.join(" ");
        let begun = begun(messages, |message| {
            let mut said = Vec::new();
            texts(&message["content"], &mut said);
            said.concat()
        });
        Ok(Self {
            asked: Asked::Messages,
            model: model.to_owned(),
            stream: body["stream"] == true,
            include_usage: true,
            choices: 1,
            max_tokens: body["max_tokens"].as_u64(),
            logprobs: false,
            top_logprobs: 0,
            prompt_tokens: (bytes as u64).div_ceil(4) + 3 * messages.len() as u64,
            opening: opening.split_whitespace().take(8).collect::<Vec<_>>().join(" "),
            begun,
            tool: body["tools"][0]["name"].as_str().unwrap_or("lookup").to_owned(),
            is_azure: false,
            inputs: Vec::new(),
            has_result: blocks(messages).any(|block| block["type"] == "tool_result"),
        })
    }
}

/// The blocks of all messages.
fn blocks(messages: &[Value]) -> impl Iterator<Item = &Value> {
    messages.iter().filter_map(|message| message["content"].as_array()).flatten()
}

fn check(body: &Value, messages: &[Value], purpose: Purpose, ours: &str) -> Result<(), String> {
    for name in body.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !FIELDS.contains(&name.as_str())
            || purpose == Purpose::Count && matches!(name.as_str(), "max_tokens" | "stream")
        {
            return Err(format!("{name}: Extra inputs are not permitted"));
        }
    }
    if purpose == Purpose::Answer && body["max_tokens"].as_u64().is_none() {
        return Err("max_tokens: Field required".into());
    }
    if body["temperature"].as_f64().is_some_and(|number| number > 1.0) {
        return Err("temperature: range: 0..1".into());
    }
    let stops = body["stop_sequences"].as_array().map_or(&[][..], Vec::as_slice);
    if stops.iter().any(|stop| stop.as_str().is_none_or(|stop| stop.trim().is_empty())) {
        return Err("stop_sequences: each stop sequence must contain non-whitespace".into());
    }
    let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
    for (place, tool) in tools.iter().enumerate() {
        if tool["type"].is_null() && tool["input_schema"]["type"] != "object" {
            return Err(format!("tools.{place}.custom.input_schema.type: Field required"));
        }
    }
    if !body["tool_choice"].is_null() && tools.is_empty() {
        return Err("tool_choice: may only be specified while providing tools".into());
    }
    if messages.first().is_none_or(|first| first["role"] != "user") {
        return Err("messages: first message must use the \"user\" role".into());
    }
    let mut called: Vec<&str> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        called = check_message(place, message, &called, ours)?;
    }
    Ok(())
}

/// Checks a message after those calls of tools, whose thoughts must be signed so; answers the calls in it.
fn check_message<'m>(place: usize, message: &'m Value, called: &[&str], ours: &str) -> Result<Vec<&'m str>, String> {
    let role = message["role"].as_str().unwrap_or_default();
    if !matches!(role, "user" | "assistant" | "system") {
        return Err(format!("messages.{place}.role: Input should be 'user' or 'assistant'"));
    }
    let whole = std::slice::from_ref(&message["content"]);
    let blocks = message["content"].as_array().map_or(whole, Vec::as_slice);
    let (mut calls, mut answered) = (Vec::new(), Vec::new());
    for block in blocks {
        if block.as_str().or(block["text"].as_str()).is_some_and(str::is_empty) || block.is_null() {
            return Err("messages: text content blocks must be non-empty".into());
        }
        let id = |name: &str| block[name].as_str().unwrap_or_default();
        match block["type"].as_str() {
            Some("tool_use") => {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
                if id("id").is_empty() || !id("id").chars().all(is_plain) || !block["input"].is_object() {
                    return Err(format!("messages.{place}.content: tool_use: String should match '^[a-zA-Z0-9_-]+$'"));
                }
                calls.push(id("id"));
            }
            Some("tool_result") => answered.push(id("tool_use_id")),
            Some("thinking") if !id("signature").starts_with(ours) => {
                return Err(format!("messages.{place}.content: Invalid `signature` in `thinking` block"));
            }
            _ => {}
        }
    }
    if called.iter().any(|call| !answered.contains(call)) {
        return Err(format!(
            "messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately after"
        ));
    }
    if answered.iter().any(|answer| !called.contains(answer)) {
        return Err(format!("messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks"));
    }
    Ok(calls)
}

/// What the newest models refuse beside.
fn check_as_modern(body: &Value, messages: &[Value]) -> Result<(), String> {
    if let Some(name) = ["temperature", "top_p", "top_k"].into_iter().find(|name| !body[name].is_null()) {
        return Err(format!("{name}: is not supported by this model"));
    }
    if matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool")) {
        return Err("tool_choice: forced tool use is not supported by this model".into());
    }
    if messages.last().is_some_and(|last| last["role"] == "assistant") {
        return Err("messages: this model does not support assistant message prefill".into());
    }
    Ok(())
}

/// All that is said in a content.
fn texts<'v>(content: &'v Value, said: &mut Vec<&'v str>) {
    said.extend(content.as_str());
    for block in content.as_array().into_iter().flatten() {
        said.extend(block["text"].as_str());
        texts(&block["content"], said);
    }
}

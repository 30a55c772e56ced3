//! Amazon Bedrock, below `/bedrock/`: Converse and ConverseStream with their frames, Anthropic's and OpenAI's formats beside
//! them, and signatures, which are computed anew and compared.

pub(crate) mod frame;
mod signature;

use crate::answer::quote;
use crate::ask::{Ask, Asked, Purpose, begun};
use crate::azure::decoded;
use crate::http::{Request, header};
use crate::responses;
use crate::script::Script;
use serde_json::Value;

/// Where Bedrock's addresses begin.
pub(crate) const PREFIX: &str = "/bedrock/";

/// The key of an account that the double knows, its id and its secret: those of AWS's published examples.
pub const KNOWN_KEY: (&str, &str) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");

/// Reads a request.
///
/// # Errors
/// As Bedrock refuses it.
pub(crate) fn ask(request: &Request) -> Result<Ask, Script> {
    authenticate(request)?;
    let path = request.path.strip_prefix(PREFIX).unwrap_or_default();
    let segments: Vec<&str> = path.split('/').collect();
    let invalid = |why: String| refused("ValidationException", &why);
    match &segments[..] {
        ["anthropic", "v1", "messages"] if header(&request.headers, "anthropic-version").is_none() => {
            Err(invalid("anthropic-version: header is required".into()))
        }
        ["anthropic", "v1", "messages"] => Ask::parse_message(&request.body, Purpose::Answer).map_err(invalid),
        ["openai", "v1", "chat", "completions"] => Ask::parse(&request.body).map_err(invalid),
        ["openai", "v1", "responses"] => responses::ask(&request.body).map_err(invalid),
        ["model", model, operation @ ("converse" | "converse-stream")] => {
            Ask::parse_converse(&decoded(model), &request.body, *operation == "converse-stream").map_err(invalid)
        }
        _ => Err(refused("UnknownOperationException", "")),
    }
}

fn authenticate(request: &Request) -> Result<(), Script> {
    let authorization = header(&request.headers, "authorization").unwrap_or_default();
    if authorization.strip_prefix("Bearer ").is_some_and(|key| !key.is_empty()) {
        return Ok(());
    }
    if authorization.is_empty() {
        return Err(refused("MissingAuthenticationTokenException", "Missing Authentication Token"));
    }
    signature::check(request).map_err(|why| refused("InvalidSignatureException", &why))
}

/// A refusal of this name.
pub(crate) fn refused(name: &str, message: &str) -> Script {
    let status = match name {
        "AccessDeniedException" | "InvalidSignatureException" | "MissingAuthenticationTokenException" => 403,
        "ResourceNotFoundException" | "UnknownOperationException" => 404,
        "ModelTimeoutException" => 408,
        "ModelErrorException" => 424,
        "ThrottlingException" | "ModelNotReadyException" => 429,
        "InternalServerException" => 500,
        "ServiceUnavailableException" => 503,
        _ => 400,
    };
    let field = format!("x-amzn-ErrorType: {name}:http://internal.amazon.com/coral/com.amazon.bedrock/\r\n");
    Script::plain_with(status, "application/json", &field, &format!(r#"{{"message":{}}}"#, quote(message)))
}

/// How Bedrock calls what has this status, and is no fault of the caller's.
pub(crate) fn name_of(status: u16) -> &'static str {
    match status {
        403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        400..=499 => "ValidationException",
        _ => "InternalServerException",
    }
}

impl Ask {
    /// Reads a request to converse with this model.
    ///
    /// # Errors
    /// What Bedrock would say is wrong with it.
    pub(crate) fn parse_converse(model: &str, body: &[u8], stream: bool) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body).map_err(|_| "The request body is not valid JSON.".to_owned())?;
        check(&body)?;
        let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let mut said = Vec::new();
        texts(&body["system"], &mut said);
        messages.iter().for_each(|message| texts(&message["content"], &mut said));
        let bytes: usize = said.iter().map(|text| text.len()).sum();
        let mut last_user = Vec::new();
        let last = messages.iter().rev().find(|message| message["role"] == "user");
        last.into_iter().for_each(|message| texts(&message["content"], &mut last_user));
        let mut blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
        Ok(Self {
            asked: Asked::Converse,
            model: model.to_owned(),
            stream,
            include_usage: true,
            choices: 1,
            max_tokens: body["inferenceConfig"]["maxTokens"].as_u64(),
            logprobs: false,
            top_logprobs: 0,
            prompt_tokens: (bytes as u64).div_ceil(4) + 3 * messages.len() as u64,
            opening: last_user.join(" ").split_whitespace().take(8).collect::<Vec<_>>().join(" "),
            begun: begun(messages, |message| {
                let mut said = Vec::new();
                texts(&message["content"], &mut said);
                said.concat()
            }),
            tool: body["toolConfig"]["tools"][0]["toolSpec"]["name"].as_str().unwrap_or("lookup").to_owned(),
            is_azure: false,
            inputs: Vec::new(),
            has_result: blocks.any(|block| block["toolResult"].is_object()),
        })
    }
}

/// All that is said in a content.
fn texts<'v>(content: &'v Value, said: &mut Vec<&'v str>) {
    for block in content.as_array().into_iter().flatten() {
        said.extend(block["text"].as_str());
        texts(&block["toolResult"]["content"], said);
    }
}

/// The fields that objects of the format may have, by what the objects are called.
fn known(what: &str) -> &'static [&'static str] {
    match what {
        "request" => &[
            "messages",
            "system",
            "inferenceConfig",
            "toolConfig",
            "outputConfig",
            "additionalModelRequestFields",
            "requestMetadata",
            "serviceTier",
        ],
        "message" => &["role", "content"],
        "block" => &["text", "image", "document", "toolUse", "toolResult", "reasoningContent", "cachePoint"],
        "result" => &["text", "image", "document", "json"],
        "inferenceConfig" => &["maxTokens", "temperature", "topP", "stopSequences"],
        "toolConfig" => &["tools", "toolChoice"],
        "toolSpec" => &["name", "description", "inputSchema", "strict"],
        "toolUse" => &["toolUseId", "name", "input"],
        "toolResult" => &["toolUseId", "content", "status"],
        "image" => &["format", "source"],
        "document" => &["format", "source", "name"],
        "outputConfig" => &["textFormat", "effort"],
        _ => &[],
    }
}

fn fields(value: &Value, what: &str) -> Result<(), String> {
    let object = value.as_object().ok_or(format!("{what} is no object"))?;
    match object.keys().find(|name| !known(what).contains(&name.as_str())) {
        Some(name) => Err(format!("extraneous key [{name}] is not permitted in {what}")),
        None => Ok(()),
    }
}

fn check(body: &Value) -> Result<(), String> {
    fields(body, "request")?;
    for what in ["inferenceConfig", "toolConfig", "outputConfig"] {
        if !body[what].is_null() {
            fields(&body[what], what)?;
        }
    }
    for (place, block) in body["system"].as_array().into_iter().flatten().enumerate() {
        if block["text"].as_str().is_none_or(|text| text.trim().is_empty()) {
            return Err(format!("The text field in the SystemContentBlock object at system.{place} is blank."));
        }
    }
    let messages = body["messages"].as_array().filter(|messages| !messages.is_empty()).ok_or("messages is empty")?;
    let mut uses_tools = false;
    let mut called: Vec<&str> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        fields(message, "message")?;
        let role = message["role"].as_str().unwrap_or_default();
        let expected = if place % 2 == 0 { "user" } else { "assistant" };
        if role != expected && place == 0 {
            return Err("A conversation must start with a user message.".into());
        }
        if role != expected {
            return Err("A conversation must alternate between user and assistant roles.".into());
        }
        let (calls, used) = check_message(place, message, &called)?;
        (called, uses_tools) = (calls, uses_tools || used);
    }
    check_tools(body, uses_tools)?;
    match body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"].as_str() {
        Some(schema) if serde_json::from_str::<Value>(schema).is_err() => Err("schema is no JSON".into()),
        None if !body["outputConfig"]["textFormat"].is_null() => Err("schema must be a string".into()),
        _ => Ok(()),
    }
}

/// Checks a message after those calls of tools; answers the calls in it, and whether it has to do with tools at all.
fn check_message<'m>(place: usize, message: &'m Value, called: &[&str]) -> Result<(Vec<&'m str>, bool), String> {
    let blocks = message["content"].as_array().filter(|blocks| !blocks.is_empty());
    let blocks = blocks.ok_or(format!("The content field in the Message object at messages.{place} is empty."))?;
    let (mut calls, mut answered, mut has_text, mut has_document) = (Vec::new(), Vec::new(), false, false);
    for (at, block) in blocks.iter().enumerate() {
        check_block(&format!("messages.{place}.content.{at}"), block, "block")?;
        calls.extend(block["toolUse"]["toolUseId"].as_str());
        answered.extend(block["toolResult"]["toolUseId"].as_str());
        has_text |= block["text"].is_string();
        has_document |= block["document"].is_object();
    }
    if has_document && !has_text {
        return Err("A text block must be included when documents are used.".into());
    }
    if called.iter().any(|call| !answered.contains(call)) || answered.iter().any(|answer| !called.contains(answer)) {
        return Err(format!(
            "The number of toolResult blocks at messages.{place} does not match that of toolUse blocks."
        ));
    }
    let uses_tools = !calls.is_empty() || !answered.is_empty();
    Ok((calls, uses_tools))
}

fn check_block(path: &str, block: &Value, what: &str) -> Result<(), String> {
    fields(block, what)?;
    let object = block.as_object().filter(|object| object.len() == 1).ok_or(format!("{path} is no union"))?;
    let is_plain = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=64).contains(&text.len()) && text.chars().all(plain)
    };
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    for (kind, value) in object {
        match kind.as_str() {
            "text" if value.as_str().is_none_or(|text| text.trim().is_empty()) => {
                return Err(format!("The text field in the ContentBlock object at {path} is blank. Add text."));
            }
            "toolUse" => {
                fields(value, kind)?;
                if !is_plain(&text(value, "toolUseId"))
                    || !is_plain(&text(value, "name"))
                    || !value["input"].is_object()
                {
                    return Err(format!("{path}.toolUse failed to satisfy constraint: [a-zA-Z0-9_-]{{1,64}}"));
                }
            }
            "toolResult" => {
                fields(value, kind)?;
                let inner = value["content"].as_array().ok_or(format!("{path}.toolResult.content is missing"))?;
                if inner.is_empty() && value["status"] == "error" {
                    return Err(format!(
                        "The content field at {path}.toolResult cannot be empty when status value is error."
                    ));
                }
                inner.iter().try_for_each(|block| check_block(path, block, "result"))?;
            }
            "image" | "document" => {
                fields(value, kind)?;
                let fits = |c: char| c.is_ascii_alphanumeric() || " -()[]".contains(c);
                let name = text(value, "name");
                if kind == "document" && (name.is_empty() || !name.chars().all(fits) || name.contains("  ")) {
                    return Err(format!("{path}.document.name has other characters than it may have."));
                }
                if value["source"]["bytes"].as_str().is_none() {
                    return Err(format!("{path}.{kind}.source has no bytes"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_tools(body: &Value, uses_tools: bool) -> Result<(), String> {
    if body["toolConfig"].is_null() {
        let why = "The toolConfig field must be defined when using toolUse and toolResult content blocks.";
        return if uses_tools { Err(why.into()) } else { Ok(()) };
    }
    let tools = body["toolConfig"]["tools"].as_array().filter(|tools| !tools.is_empty());
    for tool in tools.ok_or("Value at 'toolConfig.tools' failed to satisfy constraint: length of at least 1")? {
        let spec = &tool["toolSpec"];
        fields(spec, "toolSpec")?;
        if spec["description"].as_str().is_some_and(str::is_empty) || spec["inputSchema"]["json"]["type"] != "object" {
            return Err("The value at toolConfig.tools.toolSpec.inputSchema.json.type must be one of: object.".into());
        }
    }
    match body["toolConfig"]["toolChoice"].as_object() {
        Some(choice) if choice.len() != 1 || choice.keys().any(|kind| !["auto", "any", "tool"].contains(&&**kind)) => {
            Err("toolChoice is no union of auto, any and tool".into())
        }
        _ => Ok(()),
    }
}

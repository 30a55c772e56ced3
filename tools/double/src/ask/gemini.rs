//! A request to generate content, held to what Google refuses, in its words. Model and method stand in the path.
//!
//! A model id with a part such as `gemini-2.5-flash` is refused what that generation refuses; all others are of the third.

use super::{Ask, Asked, begun};
use crate::answer::SIGNATURE;
use crate::http::{Request, header};
use serde_json::Value;

/// What may stand in place of a signature.
const UNSIGNED: &str = "skip_thought_signature_validator";

const FIELDS: [&str; 8] = [
    "cachedContent",
    "contents",
    "generationConfig",
    "safetySettings",
    "serviceTier",
    "systemInstruction",
    "toolConfig",
    "tools",
];
const CONFIG: [&str; 15] = [
    "candidateCount",
    "frequencyPenalty",
    "logprobs",
    "maxOutputTokens",
    "presencePenalty",
    "responseJsonSchema",
    "responseLogprobs",
    "responseMimeType",
    "responseSchema",
    "seed",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
];
const SAMPLING: [&str; 3] = ["temperature", "topK", "topP"];
const THINKING: [&str; 3] = ["includeThoughts", "thinkingBudget", "thinkingLevel"];
/// What a part may be, one of them.
const DATA: [&str; 5] = ["fileData", "functionCall", "functionResponse", "inlineData", "text"];
const PART: [&str; 7] =
    ["fileData", "functionCall", "functionResponse", "inlineData", "text", "thought", "thoughtSignature"];
const CALL: [&str; 3] = ["args", "id", "name"];
const RESPONSE: [&str; 3] = ["id", "name", "response"];
const DECLARATION: [&str; 4] = ["description", "name", "parameters", "parametersJsonSchema"];
const IMAGES: [&str; 5] = ["image/heic", "image/heif", "image/jpeg", "image/png", "image/webp"];

/// What counts a request's tokens.
pub(crate) const COUNT: &str = "countTokens";
/// What answers it.
pub(crate) const ANSWERS: [&str; 2] = ["generateContent", "streamGenerateContent"];

/// The model and the method that a path names.
pub(crate) fn named(path: &str) -> Option<(String, &str)> {
    let (_, last) = path.rsplit_once("/models/")?;
    let (model, method) = last.rsplit_once(':')?;
    Some((decoded(model), method)).filter(|_| !model.contains('/'))
}

fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Ask {
    /// Reads a request for content.
    ///
    /// # Errors
    /// The status and the words with which Google would refuse it.
    pub(crate) fn parse_content(request: &Request, model: &str, method: &str) -> Result<Self, (u16, String)> {
        if header(&request.headers, "x-goog-api-key").is_none() || header(&request.headers, "authorization").is_some() {
            return Err((403, "Method doesn't allow unregistered callers.".to_owned()));
        }
        let refused = |why: String| (400, why);
        let mut body: Value =
            serde_json::from_slice(&request.body).map_err(|_| refused("Invalid JSON payload received.".to_owned()))?;
        if method == COUNT {
            body = body["generateContentRequest"].take();
            let named = body.as_object_mut().and_then(|fields| fields.remove("model"));
            if named != Some(format!("models/{model}").into()) {
                return Err(refused(
                    "* CountTokensRequest.generate_content_request.model: unexpected model name".into(),
                ));
            }
        }
        check(&body, model).map_err(refused)?;
        let is_part = |name: &str| model.split(['+', '@']).any(|part| part == name);
        let streams = method == "streamGenerateContent";
        let is_list = streams && (request.query != "alt=sse" || is_part("as-list"));
        let (config, contents) = (&body["generationConfig"], list(&body["contents"]));
        let mut said = Vec::new();
        list(&body["systemInstruction"]["parts"]).iter().for_each(|part| said.extend(part["text"].as_str()));
        contents.iter().for_each(|content| texts(content, &mut said));
        let bytes: usize = said.iter().map(|text| text.len()).sum();
        let mut opening = Vec::new();
        let last = contents.iter().rev().find(|content| content["role"] == "user");
        last.into_iter().for_each(|content| texts(content, &mut opening));
        Ok(Self {
            asked: Asked::Gemini {
                is_list,
                thinks_aloud: config["thinkingConfig"]["includeThoughts"] == true,
                signs: !is_old(model),
            },
            model: model.to_owned(),
            stream: streams && !is_list,
            include_usage: true,
            choices: config["candidateCount"].as_u64().unwrap_or(1).clamp(1, 8),
            max_tokens: config["maxOutputTokens"].as_u64(),
            logprobs: config["responseLogprobs"] == true,
            top_logprobs: 0,
            prompt_tokens: (bytes as u64).div_ceil(4) + 3 * contents.len() as u64,
            opening: opening.join(" ").split_whitespace().take(8).collect::<Vec<_>>().join(" "),
            begun: begun(contents, |content| {
                let mut said = Vec::new();
                texts(content, &mut said);
                said.concat()
            }),
            tool: body["tools"][0]["functionDeclarations"][0]["name"].as_str().unwrap_or("lookup").to_owned(),
            is_azure: false,
            inputs: Vec::new(),
            has_result: contents.iter().any(has_result),
        })
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// All that is said in a content.
fn texts<'v>(content: &'v Value, said: &mut Vec<&'v str>) {
    for part in list(&content["parts"]) {
        said.extend(part["text"].as_str());
        said.extend(part["functionResponse"]["response"]["output"].as_str());
    }
}

/// Whether a content has the result of a tool.
fn has_result(content: &Value) -> bool {
    list(&content["parts"]).iter().any(|part| part["functionResponse"].is_object())
}

fn is_old(model: &str) -> bool {
    model.contains("gemini-2")
}

/// No field but these.
fn only(value: &Value, known: &[&str], path: &str) -> Result<(), String> {
    let unknown = value.as_object().and_then(|fields| fields.keys().find(|name| !known.contains(&name.as_str())));
    let refused =
        |name| format!("Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field.");
    unknown.map_or(Ok(()), |name| Err(refused(name)))
}

fn check(body: &Value, model: &str) -> Result<(), String> {
    only(body, &FIELDS, "")?;
    for tool in list(&body["tools"]) {
        only(tool, &["functionDeclarations"], "tools")?;
        for function in list(&tool["functionDeclarations"]) {
            only(function, &DECLARATION, "tools.function_declarations")?;
        }
    }
    check_config(&body["generationConfig"], model)?;
    if body["systemInstruction"] != Value::Null && list(&body["systemInstruction"]["parts"]).is_empty() {
        return Err("* GenerateContentRequest.system_instruction.parts: must not be empty".into());
    }
    let contents = list(&body["contents"]);
    if contents.is_empty() {
        return Err("* GenerateContentRequest.contents: contents is not specified".into());
    }
    let mut called: Vec<&Value> = Vec::new();
    for (place, content) in contents.iter().enumerate() {
        called = check_content(place, content, &called)?;
    }
    if !called.is_empty() || contents[contents.len() - 1]["role"] == "model" {
        return Err("Please ensure that single turn requests end with a user role.".into());
    }
    if is_old(model) { Ok(()) } else { check_signatures(contents, model) }
}

fn check_config(config: &Value, model: &str) -> Result<(), String> {
    only(config, &CONFIG, "generation_config")?;
    let thinking = &config["thinkingConfig"];
    only(thinking, &THINKING, "generation_config.thinking_config")?;
    let (level, budget) = (thinking["thinkingLevel"].as_str(), thinking["thinkingBudget"].as_u64());
    let refuses_minimal = model.contains("gemini-3.8") || model.contains("argon");
    let is_fourth = model.contains("gemini-4");
    match (level, budget) {
        (Some(_), Some(_)) => return Err("You can only set only one of thinking budget and thinking level.".into()),
        (Some(_), None) if is_old(model) => return Err("Thinking level is not supported for this model.".into()),
        (Some("MINIMAL"), None) if refuses_minimal => {
            return Err("Thinking level MINIMAL is not supported for this model.".into());
        }
        (Some("XHIGH"), None) if !is_fourth => return Err("Invalid value at 'thinking_level': \"XHIGH\"".into()),
        (None, Some(_)) if is_fourth => return Err("Thinking budget is not supported for this model.".into()),
        (None, Some(0)) if model.contains("pro") => return Err("This model only works in thinking mode.".into()),
        _ => {}
    }
    let refuses_sampling = is_fourth || model.split(['+', '@']).any(|part| part == "no-sampling");
    if let Some(name) = SAMPLING.iter().find(|name| refuses_sampling && !config[**name].is_null()) {
        return Err(format!("{name} is not supported for this model."));
    }
    if list(&config["stopSequences"]).len() > 5 {
        return Err("The number of stop_sequences must be at most 5.".into());
    }
    Ok(())
}

/// Checks a content after those calls; answers the calls in it.
fn check_content<'v>(place: usize, content: &'v Value, called: &[&Value]) -> Result<Vec<&'v Value>, String> {
    only(content, &["parts", "role"], "contents")?;
    let role = content["role"].as_str().unwrap_or_default();
    if !matches!(role, "user" | "model") {
        return Err("Please use a valid role: user, model.".into());
    }
    let parts = list(&content["parts"]);
    if parts.is_empty() {
        return Err(format!("* GenerateContentRequest.contents[{place}].parts: contents.parts must not be empty."));
    }
    let (mut calls, mut answers) = (Vec::new(), Vec::new());
    for part in parts {
        only(part, &PART, "contents.parts")?;
        only(&part["functionCall"], &CALL, "contents.parts.function_call")?;
        only(&part["functionResponse"], &RESPONSE, "contents.parts.function_response")?;
        if DATA.iter().filter(|name| !part[**name].is_null()).count() != 1 {
            return Err("contents.parts.data: required oneof field 'data' must have one initialized field".into());
        }
        let kind = part["inlineData"]["mimeType"].as_str().unwrap_or("text/plain");
        if !IMAGES.contains(&kind) && kind != "application/pdf" && !kind.starts_with("text/") {
            return Err(format!("Unsupported MIME type: {kind}"));
        }
        if part["text"] == "" {
            return Err("Unable to submit request because it has an empty text parameter.".into());
        }
        calls.extend(Some(&part["functionCall"]).filter(|call| call.is_object()));
        answers.extend(Some(&part["functionResponse"]).filter(|answer| answer.is_object()));
    }
    let fits = answers.len() == called.len()
        && answers.iter().zip(called).all(|(answer, call)| {
            answer["name"] == call["name"] && answer["id"] == call["id"] && answer["response"].is_object()
        });
    if !fits {
        return Err("Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.".into());
    }
    if !calls.iter().all(|call| call["name"].is_string() && call["args"].is_object()) {
        return Err("Invalid value at 'contents.parts.function_call.args'".into());
    }
    Ok(calls)
}

/// The first call of each content of the current turn is signed, and no signature is another model's.
fn check_signatures(contents: &[Value], model: &str) -> Result<(), String> {
    let is_asked = |content: &Value| content["role"] == "user" && !has_result(content);
    let begins = contents.iter().rposition(is_asked).unwrap_or(0);
    for (place, content) in contents.iter().enumerate() {
        let first = list(&content["parts"]).iter().find(|part| part["functionCall"].is_object());
        let signature = first.map(|part| part["thoughtSignature"].as_str());
        if place >= begins && signature == Some(None) {
            return Err("Function call is missing a thought_signature in functionCall parts.".into());
        }
        let ours = format!("{SIGNATURE}{model}-");
        let is_good = |signature: &str| signature == UNSIGNED || signature.starts_with(&ours);
        if !list(&content["parts"]).iter().filter_map(|part| part["thoughtSignature"].as_str()).all(is_good) {
            return Err("Corrupted thought signature.".into());
        }
    }
    Ok(())
}

//! OpenAI's Responses, as the double speaks them: what it takes, and what it says.
//!
//! Here the double is as strict as the vendor, for a gateway that writes this format itself must write what is taken: it
//! refuses fields that nobody knows, items in the wrong order, and, of a model that does not think, thoughts.

use crate::answer::{Answer, Event, quote};
use crate::ask::{Ask, Asked, begun, texts};
use crate::behaviour::{Plan, Text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

/// The fields that a request may have; sorted.
const FIELDS: [&str; 32] = [
    "background",
    "client_metadata",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// What asks for thoughts that can be sent again.
const ENCRYPTED: &str = "reasoning.encrypted_content";

/// Reads a request's body.
///
/// # Errors
/// What the vendor would say is wrong with it.
pub(crate) fn ask(body: &[u8]) -> Result<Ask, String> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "We could not parse the JSON body of your request.")?;
    let model = body["model"].as_str().ok_or("you must provide a model parameter")?;
    let unknown =
        body.as_object().and_then(|fields| fields.keys().find(|name| FIELDS.binary_search(&&***name).is_err()));
    if let Some(name) = unknown {
        return Err(format!("Unknown parameter: '{name}'."));
    }
    let items = match &body["input"] {
        Value::String(text) => vec![serde_json::json!({"role": "user", "content": text})],
        Value::Array(items) => items.clone(),
        _ => return Err("Missing required parameter: 'input'.".to_owned()),
    };
    check_items(&items, model)?;
    let plan = Plan::parse(model).unwrap_or_default();
    let include = body["include"].as_array().map_or(&[][..], Vec::as_slice);
    if plan.reasoning_tokens == 0 && include.iter().any(|wanted| wanted == ENCRYPTED) {
        return Err("Encrypted content is not supported with this model.".to_owned());
    }
    if plan.reasoning_tokens == 0 && !body["reasoning"]["effort"].is_null() {
        return Err("Unsupported parameter: 'reasoning.effort' is not supported with this model.".to_owned());
    }
    if let Some(name) = ["temperature", "top_p"].iter().find(|name| plan.no_sampling && !body[**name].is_null()) {
        return Err(format!("Unsupported parameter: '{name}' is not supported with this model."));
    }
    let last_user = items.iter().rev().find(|item| item["role"] == "user");
    let last_user = last_user.map_or(String::new(), |item| texts(&item["content"]).collect::<Vec<_>>().join(" "));
    let said = items.iter().flat_map(|item| texts(&item["content"]).chain(texts(&item["output"])));
    let bytes: usize = said.chain(body["instructions"].as_str()).map(str::len).sum();
    Ok(Ask {
        asked: Asked::Responses { encrypted: include.iter().any(|wanted| wanted == ENCRYPTED) },
        model: model.to_owned(),
        stream: body["stream"] == true,
        include_usage: true,
        choices: 1,
        max_tokens: body["max_output_tokens"].as_u64(),
        logprobs: include.iter().any(|wanted| wanted == "message.output_text.logprobs"),
        top_logprobs: body["top_logprobs"].as_u64().unwrap_or(0).min(20),
        prompt_tokens: (bytes as u64).div_ceil(4) + 3 * items.len() as u64,
        opening: last_user.split_whitespace().take(8).collect::<Vec<_>>().join(" "),
        begun: begun(&items, |item| texts(&item["content"]).collect()),
        tool: body["tools"][0]["name"].as_str().unwrap_or("lookup").to_owned(),
        is_azure: false,
        inputs: Vec::new(),
        has_result: items.iter().any(|item| item["type"] == "function_call_output"),
    })
}

/// How the encrypted thoughts of a model begin.
fn sealed_by(model: &str) -> String {
    format!("gAAA-double-{model}-")
}

/// Messages with the parts of their roles, and outputs of calls that were made.
fn check_items(items: &[Value], model: &str) -> Result<(), String> {
    let mut called = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let role = item["role"].as_str();
        match item["type"].as_str().unwrap_or("message") {
            "message" => {
                let parts = item["content"].as_array().map_or(&[][..], Vec::as_slice);
                let takes: &[&str] = match role {
                    Some("assistant") => &["output_text", "refusal"],
                    Some("user" | "system" | "developer") => &["input_text", "input_image", "input_file"],
                    _ => {
                        return Err(format!(
                            "Invalid value: {}. Supported values are: 'assistant', 'system', 'developer', and 'user'.",
                            item["role"]
                        ));
                    }
                };
                if let Some(part) =
                    parts.iter().find(|part| !part["type"].as_str().is_some_and(|kind| takes.contains(&kind)))
                {
                    return Err(format!(
                        "Invalid value: {} in 'input[{i}].content'. Supported values are: {takes:?}.",
                        part["type"]
                    ));
                }
            }
            "reasoning"
                if item["encrypted_content"].as_str().is_some_and(|text| !text.starts_with(&sealed_by(model))) =>
            {
                return Err("The encrypted content gAAA...xx== could not be verified. Reason: Encrypted content could not be decrypted or parsed.".to_owned());
            }
            "function_call" => {
                let fields = ["call_id", "name", "arguments"];
                if let Some(name) = fields.iter().find(|name| !item[**name].is_string()) {
                    return Err(format!("Missing required parameter: 'input[{i}].{name}'."));
                }
                called.insert(item["call_id"].as_str().unwrap_or_default());
            }
            "function_call_output" => {
                let id = item["call_id"].as_str().unwrap_or_default();
                if !called.contains(id) {
                    return Err(format!("No tool call found for function call output with call_id {id}."));
                }
            }
            "reasoning"
            | "additional_tools"
            | "custom_tool_call"
            | "custom_tool_call_output"
            | "tool_search_call"
            | "tool_search_output" => {}
            kind => return Err(format!("Invalid value: '{kind}' in 'input[{i}].type'.")),
        }
    }
    Ok(())
}

/// How an answer is told in this format.
pub(crate) struct Telling<'a, 'b> {
    pub(crate) answer: &'b Answer<'a>,
    pub(crate) ask: &'a Ask,
    pub(crate) plan: &'a Plan,
    pub(crate) sequence: u64,
}

/// The events of a stream in the making.
#[derive(Default)]
struct Events(Vec<Event>);

impl Events {
    /// Adds an event with these fields behind its type and before its number.
    fn push(&mut self, kind: &str, fields: &str, tokens: u64) {
        let number = self.0.len();
        let json = format!(r#"{{"type":"response.{kind}",{fields},"sequence_number":{number}}}"#);
        self.0.push(Event { json, tokens });
    }
}

impl Telling<'_, '_> {
    fn is_cut(&self) -> bool {
        matches!(self.answer.finish, "length" | "content_filter")
    }

    fn status(&self) -> &'static str {
        if self.is_cut() { "incomplete" } else { "completed" }
    }

    fn id(&self, kind: &str) -> String {
        format!("{kind}_double_{}", self.sequence)
    }

    /// The thoughts, if the model has any.
    fn thought(&self) -> Option<String> {
        let Asked::Responses { encrypted } = self.ask.asked else { return None };
        let content = quote(&format!("{}{}", sealed_by(&self.ask.model), self.sequence));
        let content = if encrypted { format!(r#","encrypted_content":{content}"#) } else { String::new() };
        let item = format!(r#"{{"id":"{}","type":"reasoning","summary":[]{content}}}"#, self.id("rs"));
        (self.answer.usage.reasoning > 0).then_some(item)
    }

    /// The message, or the call, with this text or these arguments.
    fn item(&self, status: &str, text: Option<&str>) -> String {
        match self.plan.text {
            Text::Tools => format!(
                r#"{{"id":"{}","type":"function_call","status":"{status}","arguments":{},"call_id":"call_double_{}_0","name":{}}}"#,
                self.id("fc"),
                quote(text.unwrap_or_default()),
                self.sequence,
                quote(&self.ask.tool),
            ),
            _ => {
                let part = text.map_or(String::new(), |text| self.part(text));
                format!(
                    r#"{{"id":"{}","type":"message","status":"{status}","content":[{part}],"role":"assistant"}}"#,
                    self.id("msg")
                )
            }
        }
    }

    fn part(&self, text: &str) -> String {
        match self.plan.text {
            Text::Refusal => format!(r#"{{"type":"refusal","refusal":{}}}"#, quote(text)),
            _ => format!(
                r#"{{"type":"output_text","annotations":[],"logprobs":{},"text":{}}}"#,
                self.logprobs(0, text.is_empty().then_some("").into_iter().chain(self.answer.words())),
                quote(text)
            ),
        }
    }

    fn logprobs<'w>(&self, place: usize, words: impl Iterator<Item = &'w str>) -> String {
        match self.answer.logprobs(place, words).as_str() {
            "null" => "[]".to_owned(),
            logprobs => {
                let list =
                    logprobs.strip_prefix(r#"{"content":"#).and_then(|rest| rest.strip_suffix(r#","refusal":null}"#));
                list.unwrap_or("[]").to_owned()
            }
        }
    }

    /// The whole answer as one JSON object.
    pub(crate) fn whole(&self, with_usage: bool) -> String {
        let items: Vec<String> =
            self.thought().into_iter().chain([self.item(self.status(), Some(self.answer.said()))]).collect();
        self.response(self.status(), &items.join(","), with_usage)
    }

    fn response(&self, status: &str, items: &str, with_usage: bool) -> String {
        let mut body = format!(
            r#"{{"id":"{}","object":"response","created_at":1700000000,"status":"{status}","background":false,"error":null,"incomplete_details":{},"instructions":null,"max_output_tokens":null,"model":{},{}"output":[{items}],"parallel_tool_calls":true,"previous_response_id":null,"store":false,"temperature":1.0,"text":{{"format":{{"type":"text"}}}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":"#,
            self.id("resp"),
            match (status, self.answer.finish) {
                ("incomplete", "length") => r#"{"reason":"max_output_tokens"}"#,
                ("incomplete", _) => r#"{"reason":"content_filter"}"#,
                _ => "null",
            },
            quote(&self.ask.model),
            self.answer.extra(crate::answer::EXTRA),
        );
        let usage = self.answer.usage;
        let (input, cached, output, reasoning) = (usage.input, usage.cached, usage.output, usage.reasoning);
        let total = input + output;
        let told = format!(
            r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{total}}}"#
        );
        let _ = write!(body, r#"{},"user":null,"metadata":{{}}}}"#, if with_usage { &told } else { "null" });
        body
    }

    /// The answer as events, and which of them is the last.
    pub(crate) fn events(&self) -> (Vec<Event>, Range<usize>) {
        let mut events = Events::default();
        let begun = format!(r#""response":{}"#, self.response("in_progress", "", false));
        // Whoever reasons has done so before the first event.
        events.push("created", &begun, self.answer.usage.reasoning);
        events.push("in_progress", &begun, 0);
        let thought = self.thought();
        if let Some(item) = &thought {
            events.push("output_item.added", &format!(r#""output_index":0,"item":{item}"#), 0);
            events.push("output_item.done", &format!(r#""output_index":0,"item":{item}"#), 0);
        }
        let index = u64::from(thought.is_some());
        let added = self.item("in_progress", None);
        events.push("output_item.added", &format!(r#""output_index":{index},"item":{added}"#), 0);
        let said = self.answer.said();
        match self.plan.text {
            Text::Tools => self.arguments(&mut events, index),
            _ => self.text(&mut events, index),
        }
        let item = self.item(self.status(), Some(said));
        events.push("output_item.done", &format!(r#""output_index":{index},"item":{item}"#), 0);
        let items: Vec<String> = thought.into_iter().chain([item]).collect();
        let response = self.response(self.status(), &items.join(","), !self.plan.no_usage);
        events.push(self.status(), &format!(r#""response":{response}"#), 0);
        let last = events.0.len();
        (events.0, last - 1..last)
    }

    fn text(&self, events: &mut Events, index: u64) {
        let item = self.id("msg");
        let place = format!(r#""item_id":"{item}","output_index":{index},"content_index":0"#);
        let said = self.answer.said();
        let (empty, full) = match self.plan.text {
            Text::Refusal => (r#"{"type":"refusal","refusal":""}"#.to_owned(), self.part(said)),
            _ => (r#"{"type":"output_text","annotations":[],"logprobs":[],"text":""}"#.to_owned(), self.part(said)),
        };
        events.push("content_part.added", &format!(r#"{place},"part":{empty}"#), 0);
        let (delta, done, name) = match self.plan.text {
            Text::Refusal => ("refusal.delta", "refusal.done", "refusal"),
            _ => ("output_text.delta", "output_text.done", "text"),
        };
        let inner = self.answer.extra(crate::answer::EXTRA_INNER);
        let mut say = |at: usize, text: &str, tokens: u64| {
            let logprobs = match self.plan.text {
                Text::Refusal => String::new(),
                _ => format!(r#","logprobs":{}"#, self.logprobs(at, std::iter::once(text))),
            };
            events.push(delta, &format!(r#"{place},"delta":{}{logprobs}{inner}"#, quote(text)), tokens);
        };
        match self.plan.text {
            Text::GiantMib(_) => say(0, said, self.answer.words().count() as u64),
            _ => self.answer.words().enumerate().for_each(|(at, word)| say(at, word, 1)),
        }
        let logprobs = if name == "text" {
            format!(r#","logprobs":{}"#, self.logprobs(0, self.answer.words()))
        } else {
            String::new()
        };
        events.push(done, &format!(r#"{place},"{name}":{}{logprobs}"#, quote(said)), 0);
        events.push("content_part.done", &format!(r#"{place},"part":{full}"#), 0);
    }

    fn arguments(&self, events: &mut Events, index: u64) {
        let place = format!(r#""item_id":"{}","output_index":{index}"#, self.id("fc"));
        for word in self.answer.words() {
            events.push("function_call_arguments.delta", &format!(r#"{place},"delta":{}"#, quote(word)), 1);
        }
        let said = quote(self.answer.said());
        events.push("function_call_arguments.done", &format!(r#"{place},"arguments":{said}"#), 0);
    }
}

/// An error in the middle of a stream, as the vendor sends it.
pub(crate) fn error_event(message: &str) -> String {
    format!(
        r#"{{"type":"error","error":{{"type":"server_error","code":"server_error","message":{},"param":null}},"sequence_number":9}}"#,
        quote(message)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn refused(fields: Value) -> String {
        let mut body = json!({"model": "ok", "input": "x"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        ask(body.to_string().as_bytes()).err().unwrap_or_default()
    }

    #[test]
    fn what_the_vendor_refuses_is_refused() {
        assert!(FIELDS.is_sorted());
        let output = json!({"type": "function_call_output", "call_id": "c", "output": "x"});
        let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
        let said = |role: &str, kind: &str| json!([{"role": role, "content": [{"type": kind, "text": "x"}]}]);
        for (fields, why) in [
            (json!({"messages": []}), "Unknown parameter: 'messages'."),
            (json!({"input": null}), "Missing required parameter: 'input'."),
            (json!({"input": [output]}), "No tool call found"),
            (json!({"input": [call, output]}), ""),
            (json!({"input": said("user", "output_text")}), "Invalid value"),
            (json!({"input": said("assistant", "input_text")}), "Invalid value"),
            (json!({"input": said("assistant", "output_text")}), ""),
            (json!({"input": said("tool", "input_text")}), "Invalid value"),
            (json!({"include": [ENCRYPTED]}), "Encrypted content is not supported"),
            (json!({"model": "reasoning-5", "include": [ENCRYPTED]}), ""),
            (json!({"reasoning": {"effort": "low"}}), "Unsupported parameter"),
            (json!({"model": "no-sampling", "temperature": 1}), "Unsupported parameter"),
            (json!({"temperature": 1}), ""),
        ] {
            let told = refused(fields.clone());
            assert!(told.starts_with(why) && told.is_empty() == why.is_empty(), "{fields}: {told}");
        }
    }

    #[test]
    fn the_events_number_themselves_and_end_with_the_whole_answer() {
        for model in ["ok", "tools", "refusal", "reasoning-5", "empty", "length", "unicode+extra+low-logprob"] {
            let body = json!({"model": model, "input": "x", "include": ["message.output_text.logprobs"]}).to_string();
            let (ask, plan) = (ask(body.as_bytes()).unwrap(), Plan::parse(model).unwrap());
            let answer = Answer::new(&ask, &plan, 1, b"");
            let telling = Telling { answer: &answer, ask: &ask, plan: &plan, sequence: 1 };
            let (events, last) = telling.events();
            let read: Vec<Value> = events.iter().map(|event| serde_json::from_str(&event.json).unwrap()).collect();
            assert!(read.iter().enumerate().all(|(number, event)| event["sequence_number"] == number), "{model}");
            let whole: Value = serde_json::from_str(&telling.whole(true)).unwrap();
            assert_eq!((last.end, &read[last.start]["response"]), (read.len(), &whole), "{model}");
            assert_eq!(events.iter().map(|event| event.tokens).sum::<u64>(), answer.usage.output, "{model}");
            let deltas: String = read.iter().filter_map(|event| event["delta"].as_str()).collect();
            assert_eq!(deltas, answer.said(), "{model}");
        }
    }
}

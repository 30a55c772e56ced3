//! What a simulated model says, and what that used.
//!
//! The text follows from the model's behaviour and the prompt alone. A token is a word with the space before it (within
//! JSON also what follows a comma or a colon), so that anybody can count along: an answer uses as many output tokens as
//! it has words, at least one; the input uses a token for every four bytes of all texts of the messages, rounded up, and
//! three for each message. Images and tool definitions count nothing. No answer is longer than the call allows, thoughts
//! included, so that a hold made for that length covers it (M1).

use super::instance::instance;
use super::topic::Topic;
use crate::catalog::Behaviour;
use crate::money::Usage;
use crate::provider::Call;
use crate::request::{AnswerFormat, ChatRequest};
use serde_json::{Value, json};

/// Log-probabilities of a model that is sure, in turn; their mean is −0.1.
const SURE: [f64; 3] = [-0.05, -0.1, -0.15];

/// Log-probabilities of a model that guesses, in turn; their mean is −2.5.
const UNSURE: [f64; 3] = [-1.5, -2.5, -3.5];

/// What each of the `n` answers of a call is: they are all the same.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    /// The function that is called with the text as its arguments, if one is.
    pub(super) function: Option<String>,
    /// The text in pieces.
    pub(super) tokens: Vec<String>,
    /// Log-probabilities for the tokens, in turn, if they are wanted.
    pub(super) logprobs: Option<[f64; 3]>,
    /// Why it ended.
    pub(super) finish: &'static str,
    /// What all `n` answers used together.
    pub(super) usage: Usage,
}

impl Answer {
    pub(super) fn compose(call: &Call<'_>, behaviour: Behaviour) -> Self {
        let request = call.request;
        let messages: Vec<Value> = field(request, "messages").unwrap_or_default();
        let last = messages.last().unwrap_or(&Value::Null);
        let topic = Topic::new(&request.prompt);
        let has_result = last["role"] == "tool" || last["role"] == "function";
        let called = if has_result { None } else { called_function(request, &topic) };
        let (function, text) = match (called, &request.format) {
            (Some((name, arguments)), _) => (Some(name), arguments),
            (None, AnswerFormat::Text) => (None, prose(behaviour, &topic.echo)),
            (None, AnswerFormat::JsonSchema(schema)) if **schema != true => {
                (None, instance(schema, &topic).to_string())
            }
            (None, _) => (None, json!({"answer": topic.echo}).to_string()),
        };
        let mut text = text.as_str();
        if function.is_none() {
            // The client, or the gateway after a cut, may have begun the answer; it is gone on with.
            let begun = last["content"].as_str().filter(|_| last["role"] == "assistant");
            text = begun.and_then(|begun| text.strip_prefix(begun)).unwrap_or(text);
            text = until_stop(text, &field(request, "stop").unwrap_or_default());
        }
        let mut tokens = tokens(text);
        let thoughts = if behaviour == Behaviour::Reasoning { tokens.len() as u64 } else { 0 };
        let reasoning_tokens = thoughts.min(call.max_output_tokens / 2);
        let most = usize::try_from(call.max_output_tokens - reasoning_tokens).unwrap_or(usize::MAX);
        let finish = match &function {
            _ if tokens.len() > most => "length",
            Some(_) => "tool_calls",
            None => "stop",
        };
        tokens.truncate(most);
        let bytes: usize = messages.iter().map(|message| text_bytes(&message["content"])).sum();
        let usage = Usage {
            input_tokens: (bytes as u64).div_ceil(4) + 3 * messages.len() as u64,
            cached_input_tokens: 0,
            output_tokens: request.n * ((tokens.len() as u64).max(1) + reasoning_tokens),
            reasoning_tokens: request.n * reasoning_tokens,
        };
        let wanted = (request.logprobs || call.ask_logprobs) && function.is_none();
        let logprobs = wanted.then_some(if behaviour == Behaviour::Unsure { UNSURE } else { SURE });
        Self { function, tokens, logprobs, finish, usage }
    }
}

/// A field that the gateway does not read, in full; `None` if it is missing or null.
fn field<T: serde::de::DeserializeOwned>(request: &ChatRequest, name: &str) -> Option<T> {
    serde_json::from_str(request.raw(name)?).ok()
}

/// The function that is to be called, by name, with its arguments: the one that the client names, or the one that the
/// prompt speaks of most; of several the first.
fn called_function(request: &ChatRequest, topic: &Topic<'_>) -> Option<(String, String)> {
    let tools: Vec<Value> = field(request, "tools")?;
    let choice: Value = field(request, "tool_choice").unwrap_or_default();
    let named = choice["function"]["name"].as_str();
    let may_be_called = |name: &str| match (named, choice.as_str()) {
        (Some(named), _) => name == named,
        (None, Some("none")) => false,
        (None, Some("required")) => true,
        (None, _) => topic.speaks_of(name),
    };
    let functions = tools.iter().rev().map(|tool| &tool["function"]);
    let functions = functions.filter_map(|function| Some((function["name"].as_str()?, &function["parameters"])));
    let (name, parameters) =
        functions.filter(|(name, _)| may_be_called(name)).max_by_key(|(name, _)| topic.overlap(name))?;
    let arguments = Some(instance(parameters, topic)).filter(Value::is_object).unwrap_or_else(|| json!({}));
    Some((name.to_owned(), arguments.to_string()))
}

fn prose(behaviour: Behaviour, echo: &str) -> String {
    match behaviour {
        Behaviour::Unsure => format!(
            "I'm not sure, but I think that this is about \u{201c}{echo}\u{201d}. I don't know enough to answer it. \
             Perhaps the answer is yes, but I may be wrong, so please check it."
        ),
        Behaviour::Reasoning => format!(
            "The question is \u{201c}{echo}\u{201d}.\n\n\
             1. What is asked. The words above name the subject, and the answer keeps to them.\n\
             2. What follows. Each part is looked at by itself, then all parts together, and every step is checked \
             against the one before it.\n\
             3. What it costs. A longer answer takes more time and more tokens, which is why hard questions come here and \
             simple ones do not.\n\n\
             In conclusion, \u{201c}{echo}\u{201d} is answered step by step. A simulated model wrote this; with a provider's \
             key in the environment, a real one answers."
        ),
        Behaviour::Cheap
        | Behaviour::Fail { .. }
        | Behaviour::Slow { .. }
        | Behaviour::RateLimited
        | Behaviour::Cut
        | Behaviour::Stall => format!(
            "You asked about \u{201c}{echo}\u{201d}. This is a short answer by a simulated model, which says the same \
             whenever it is asked the same. With a provider's key in the environment, a real model answers."
        ),
    }
}

/// The text up to the first of the stop sequences, which is a string or a list of them.
fn until_stop<'a>(text: &'a str, stop: &Value) -> &'a str {
    let one = stop.as_str().into_iter();
    let sequences = one.chain(stop.as_array().into_iter().flatten().filter_map(Value::as_str));
    let ends = sequences.filter(|sequence| !sequence.is_empty()).filter_map(|sequence| text.find(sequence));
    ends.min().map_or(text, |end| &text[..end])
}

/// The text in words, each with the space before it, and pieces of JSON; together they are the text again.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut before = None;
    for c in text.chars() {
        let begins = match before {
            None => true,
            Some(',' | ':') => true,
            Some(before) => c.is_whitespace() && !before.is_whitespace(),
        };
        match tokens.last_mut() {
            Some(token) if !begins => token.push(c),
            _ => tokens.push(c.into()),
        }
        before = Some(c);
    }
    tokens
}

/// Bytes of a message's texts: its content, or the texts among the parts of it.
fn text_bytes(content: &Value) -> usize {
    let parts = content.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
    content.as_str().into_iter().chain(parts).map(str::len).sum()
}

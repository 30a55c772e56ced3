//! What a simulated model says, and what that used.
//!
//! The text follows from the model's behaviour and the prompt alone. A token is a word with the space before it (within
//! JSON also what follows a comma or a colon), so that anybody can count along: an answer uses as many output tokens as
//! it has words, at least one; the input uses a token for every four bytes of all texts of the messages, rounded up, and
//! three for each message. Images and tool definitions count nothing. No answer is longer than the call allows, thoughts
//! included, so that a hold made for that length covers it (M1).

use super::instance::instance;
use super::topic::Topic;
use gateway_core::catalog::Behaviour;
use gateway_core::money::Usage;
use gateway_core::provider::Call;
use gateway_core::wire::facts::AnswerFormat;
use gateway_core::wire::json::items;
use gateway_core::wire::request::Request;
use gateway_core::wire::schema::MAX_SCHEMA_BYTES;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Stop sequences that are looked for; OpenAI takes four.
const MAX_STOPS: usize = 16;

/// Log-probabilities of a model that is sure, in turn; their mean is −0.1.
const SURE: [f64; 3] = [-0.05, -0.1, -0.15];

/// Log-probabilities of a model that guesses, in turn; their mean is −2.5.
const UNSURE: [f64; 3] = [-1.5, -2.5, -3.5];

/// The most tokens of all `n` answers together, so that a short request cannot ask for gigabytes.
const MAX_TOKENS: u64 = 8_192;

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
        let conversation = Conversation::read(request);
        let last = conversation.last;
        let role = last.role.as_deref().unwrap_or_default();
        let topic = Topic::new(&request.facts.prompt);
        let has_result = matches!(role, "tool" | "function");
        let called = if has_result { None } else { called_function(request, &topic) };
        let (function, text) = match (called, &request.facts.answer_format) {
            (Some((name, arguments)), _) => (Some(name), arguments),
            (None, AnswerFormat::Text) => (None, prose(behaviour, &topic.echo)),
            (None, AnswerFormat::JsonSchema(schema)) if **schema != *"true" => {
                let schema: Value = serde_json::from_str(schema).unwrap_or_default();
                (None, instance(&schema, &topic).to_string())
            }
            (None, _) => (None, json!({"answer": topic.echo}).to_string()),
        };
        let mut text = text.as_str();
        if function.is_none() {
            // The client, or the gateway after a cut, may have begun the answer; it is gone on with.
            let begun = last.content.filter(|_| role == "assistant");
            let begun = begun.and_then(|content| serde_json::from_str::<Cow<'_, str>>(content.get()).ok());
            text = begun.and_then(|begun| text.strip_prefix(&*begun)).unwrap_or(text);
            text = until_stop(text, request.body().raw("stop").unwrap_or("null"));
        }
        let mut tokens = tokens(text);
        let thoughts = if behaviour == Behaviour::Reasoning { tokens.len() as u64 } else { 0 };
        let reasoning_tokens = thoughts.min(call.max_output_tokens / 2);
        let most = (call.max_output_tokens - reasoning_tokens).min(MAX_TOKENS / request.facts.n);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let finish = match &function {
            _ if tokens.len() > most => "length",
            Some(_) => "tool_calls",
            None => "stop",
        };
        tokens.truncate(most);
        let usage = Usage {
            input_tokens: (conversation.text_bytes as u64).div_ceil(4) + 3 * request.facts.messages as u64,
            output_tokens: request.facts.n * ((tokens.len() as u64).max(1) + reasoning_tokens),
            reasoning_tokens: request.facts.n * reasoning_tokens,
            ..Usage::default()
        };
        let wanted = (request.facts.needs.logprobs || call.ask_logprobs) && function.is_none();
        let logprobs = wanted.then_some(if behaviour == Behaviour::Unsure { UNSURE } else { SURE });
        Self { function, tokens, logprobs, finish, usage }
    }
}

/// What is read of the messages, one by one: a tree of them would be many times their size.
struct Conversation<'a> {
    last: Message<'a>,
    /// Bytes of all texts.
    text_bytes: usize,
}

#[derive(Default, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
}

impl<'a> Conversation<'a> {
    fn read(request: &'a Request) -> Self {
        let mut read = Self { last: Message::default(), text_bytes: 0 };
        each(request, "messages", |message: Message<'_>| {
            read.text_bytes += message.content.map_or(0, text_bytes);
            read.last = message;
        });
        read
    }
}

/// Hands each item of a list of the request's to `take`, but those that are no `T`.
fn each<'a, T: Deserialize<'a>>(request: &'a Request, name: &str, mut take: impl FnMut(T)) {
    let take_one = |_, item: &'a RawValue| {
        serde_json::from_str(item.get()).map(&mut take).unwrap_or_default();
        Ok::<(), ()>(())
    };
    let _ = items(request.body().raw(name).unwrap_or("[]"), take_one);
}

/// Bytes of a message's texts: its content, or the texts among the parts of it.
fn text_bytes(content: &RawValue) -> usize {
    if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(content.get()) {
        return text.len();
    }
    let mut bytes = 0;
    let _ = items(content.get(), |_, part| {
        let part = serde_json::from_str::<Part<'_>>(part.get());
        bytes += part.ok().and_then(|part| part.text).map_or(0, |text| text.len());
        Ok::<(), ()>(())
    });
    bytes
}

/// The function that is to be called, by name, with its arguments: the one that the client names, or the one that the
/// prompt speaks of most; of several the first.
fn called_function(request: &Request, topic: &Topic<'_>) -> Option<(String, String)> {
    let choice = request.body().raw("tool_choice").unwrap_or("null");
    let named = serde_json::from_str::<Tool<'_>>(choice).ok().and_then(|choice| choice.function?.name);
    let word = serde_json::from_str::<Cow<'_, str>>(choice).ok();
    let may_be_called = |name: &str| match (&named, word.as_deref()) {
        (Some(named), _) => name == named,
        (None, Some("none")) => false,
        (None, Some("required")) => true,
        (None, _) => topic.speaks_of(name),
    };
    let mut best = None;
    each(request, "tools", |tool: Tool<'_>| {
        let Some(Function { name: Some(name), parameters }) = tool.function else { return };
        let overlap = topic.overlap(&name);
        if may_be_called(&name) && best.as_ref().is_none_or(|(_, _, most)| overlap > *most) {
            best = Some((name.into_owned(), parameters, overlap));
        }
    });
    let (name, parameters, _) = best?;
    let parameters = parameters.filter(|schema| schema.get().len() <= MAX_SCHEMA_BYTES);
    let parameters: Value = parameters.and_then(|schema| serde_json::from_str(schema.get()).ok()).unwrap_or_default();
    let arguments = Some(instance(&parameters, topic)).filter(Value::is_object).unwrap_or_else(|| json!({}));
    Some((name, arguments.to_string()))
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

/// The text up to the first of the stop sequences, which is a string or a list of them; of a list the first few count.
fn until_stop<'a>(text: &'a str, stop: &str) -> &'a str {
    let mut end = text.len();
    let mut look_for = |item: &str| {
        let sequence = serde_json::from_str::<Cow<'_, str>>(item).ok().filter(|sequence| !sequence.is_empty());
        end = sequence.and_then(|sequence| text.find(&*sequence)).map_or(end, |found| end.min(found));
    };
    if stop.starts_with('"') {
        look_for(stop);
    } else {
        let _ = items(stop, |i, item| {
            look_for(item.get());
            if i + 1 < MAX_STOPS { Ok(()) } else { Err(()) }
        });
    }
    &text[..end]
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

//! OpenAI's chat completion, whole or as a chunk: the bytes, and what the gateway needs to know of them.
//!
//! One borrowed parse finds both the facts and the places in the bytes where the gateway writes something of its own (the
//! model's catalog name, log-probabilities that it asked for and the client did not). All else passes to the client
//! byte for byte.
//!
//! Three bytes can be a choice, and a choice takes a hundred in memory. So no more choices are read than answers were
//! asked for (B1, B2): the first one too many ends the reading.

use crate::money::Usage;
use crate::steps;
use crate::wire::openai::request::MAX_ANSWERS;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// How likely the tokens of an answer were, as natural logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogprobs {
    /// How many tokens.
    pub tokens: u64,
    /// The sum over them.
    pub sum: f64,
    /// The least likely one.
    pub lowest: f64,
}

/// One of the answers to a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// Which of the `n` answers.
    pub index: u64,
    /// Its text.
    pub text: String,
    /// Bytes of the thoughts that some providers tell beside the answer (`reasoning`, `reasoning_content`).
    pub thought_bytes: usize,
    /// Whether the model refused, in so many words.
    pub refused: bool,
    /// Whether it calls tools.
    pub calls_tools: bool,
    /// Why it ended, if it has: `stop`, `length`, `tool_calls`, `content_filter`.
    pub finish: Option<String>,
    /// How likely its tokens were, where the provider tells.
    pub logprobs: Option<TokenLogprobs>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Completion {
    /// As it came from the provider.
    pub body: Bytes,
    /// The answers.
    pub choices: Vec<Choice>,
    /// What it used, if the provider says.
    pub usage: Option<Usage>,
    /// Milliseconds from the call to the first byte of the answer's body.
    pub first_byte_ms: f64,
    places: Places,
}

/// A piece of a streamed answer.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The event's data as it came from the provider.
    pub payload: Bytes,
    /// What it adds to the answers.
    pub choices: Vec<Choice>,
    /// What the whole answer used, if this chunk says.
    pub usage: Option<Usage>,
    places: Places,
}

/// Where in the bytes stands what the gateway may replace.
#[derive(Debug, Clone, Default)]
struct Places {
    model: Option<Range<usize>>,
    logprobs: Vec<Range<usize>>,
}

/// The bytes are not a chat completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotACompletion {
    /// They are an `error` object.
    #[error("an error object")]
    Error,
    /// They are something else.
    #[error("not a chat completion")]
    Malformed,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<WireChoices<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireChoice<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow, default)]
    message: Option<WireMessage<'a>>,
    #[serde(borrow, default)]
    delta: Option<WireMessage<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
}

/// At most [`MAX_ANSWERS`] choices.
struct WireChoices<'a>(Vec<WireChoice<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for WireChoices<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Choices;
        impl<'de> Visitor<'de> for Choices {
            type Value = WireChoices<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut choices = Vec::new();
                while let Some(choice) = seq.next_element()? {
                    steps::count(1);
                    if choices.len() as u64 == MAX_ANSWERS {
                        return Err(A::Error::custom("more choices than there can be"));
                    }
                    choices.push(choice);
                }
                Ok(WireChoices(choices))
            }
        }
        d.deserialize_seq(Choices)
    }
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireLogprobs {
    #[serde(default)]
    content: Option<Vec<WireToken>>,
}

#[derive(Deserialize)]
struct WireToken {
    logprob: f64,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

/// Tokens that no answer has; a provider that claims more is not believed.
const ABSURD_TOKENS: u64 = 1 << 40;

fn usage_of(raw: &RawValue) -> Option<Usage> {
    let wire: WireUsage = serde_json::from_str(raw.get()).ok()?;
    let cached = wire.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
    let reasoning = wire.completion_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0);
    let believable = wire.prompt_tokens < ABSURD_TOKENS && wire.completion_tokens < ABSURD_TOKENS;
    believable.then(|| Usage {
        input_tokens: wire.prompt_tokens,
        cached_input_tokens: cached.min(wire.prompt_tokens),
        output_tokens: wire.completion_tokens,
        reasoning_tokens: reasoning.min(wire.completion_tokens),
    })
}

/// Parses the bytes into at most `most` answers, usage and places.
fn read(bytes: &Bytes, most: u64) -> Result<(Vec<Choice>, Option<Usage>, Places), NotACompletion> {
    let wire: Wire<'_> = serde_json::from_slice(bytes).map_err(|_| NotACompletion::Malformed)?;
    let present = |raw: Option<&RawValue>| raw.is_some_and(|raw| !matches!(raw.get(), "null" | "[]"));
    if present(wire.error) {
        return Err(NotACompletion::Error);
    }
    let Some(WireChoices(wire_choices)) = wire.choices else { return Err(NotACompletion::Malformed) };
    if wire_choices.len() as u64 > most {
        return Err(NotACompletion::Malformed);
    }
    let place = |raw: &RawValue| {
        let start = raw.get().as_ptr() as usize - bytes.as_ptr() as usize;
        start..start + raw.get().len()
    };
    let mut places = Places { model: wire.model.map(place), logprobs: Vec::new() };
    let choices = wire_choices.into_iter().map(|choice| {
        let logprobs = choice.logprobs.filter(|raw| raw.get() != "null");
        if let Some(raw) = logprobs {
            places.logprobs.push(place(raw));
        }
        let message = choice.message.or(choice.delta);
        let mut read = Choice {
            index: choice.index,
            finish: choice.finish_reason.map(Cow::into_owned),
            logprobs: logprobs.and_then(logprobs_of),
            ..Choice::default()
        };
        if let Some(message) = message {
            read.refused = message.refusal.as_deref().is_some_and(|text| !text.is_empty());
            let thought = |raw: Option<&RawValue>| {
                raw.filter(|raw| raw.get() != "null").map_or(0, |raw| raw.get().len().saturating_sub(2))
            };
            read.thought_bytes = thought(message.reasoning).max(thought(message.reasoning_content));
            read.calls_tools = present(message.tool_calls) || present(message.function_call);
            read.text = message.content.or(message.refusal).map(Cow::into_owned).unwrap_or_default();
        }
        read
    });
    let choices = choices.collect();
    Ok((choices, wire.usage.and_then(usage_of), places))
}

fn logprobs_of(raw: &RawValue) -> Option<TokenLogprobs> {
    let wire: WireLogprobs = serde_json::from_str(raw.get()).ok()?;
    let content = wire.content.filter(|content| !content.is_empty())?;
    Some(TokenLogprobs {
        tokens: content.len() as u64,
        sum: content.iter().map(|token| token.logprob).sum(),
        lowest: content.iter().map(|token| token.logprob).fold(0.0, f64::min),
    })
}

impl TokenLogprobs {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { tokens: self.tokens + other.tokens, sum: self.sum + other.sum, lowest: self.lowest.min(other.lowest) }
    }
}

impl Completion {
    /// Reads a whole answer to a request for `n`. One without any choice, or with a choice that has not ended, is not
    /// whole (A1).
    ///
    /// # Errors
    /// Says whether the bytes are an error object or nothing that is known; more than `n` choices are not.
    pub fn parse(body: Bytes, n: u64, first_byte_ms: f64) -> Result<Self, NotACompletion> {
        let (choices, usage, places) = read(&body, n)?;
        if choices.is_empty() || choices.iter().any(|choice| choice.finish.is_none()) {
            return Err(NotACompletion::Malformed);
        }
        Ok(Self { body, choices, usage, first_byte_ms, places })
    }

    /// The answer for the client: its model is `model`, and log-probabilities are left out if `hide_logprobs`.
    #[must_use]
    pub fn rewritten(&self, model: &str, hide_logprobs: bool) -> Bytes {
        self.places.rewrite(&self.body, model, hide_logprobs, "", "")
    }
}

impl Chunk {
    /// Bytes of answers and thoughts in it.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        self.choices.iter().map(|choice| choice.text.len() + choice.thought_bytes).sum()
    }

    /// Reads the data of one event of the answers to a request for `n`.
    ///
    /// # Errors
    /// Says whether the bytes are an error object or nothing that is known; more than `n` choices are not.
    pub fn parse(payload: Bytes, n: u64) -> Result<Self, NotACompletion> {
        let (choices, usage, places) = read(&payload, n)?;
        Ok(Self { payload, choices, usage, places })
    }

    /// Whether this chunk carries something of an answer or of the thoughts before it, and not only a role or an end.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.choices.iter().any(|choice| !choice.text.is_empty() || choice.thought_bytes > 0 || choice.calls_tools)
    }

    /// Bytes that it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        let choice =
            |choice: &Choice| size_of::<Choice>() + choice.text.len() + choice.finish.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.payload.len() + self.choices.iter().map(choice).sum::<usize>()
    }

    /// Whether this is the chunk that `include_usage` adds: no choices, only usage.
    #[must_use]
    pub fn is_usage_only(&self) -> bool {
        self.choices.is_empty() && self.usage.is_some()
    }

    /// The event for the client: its model is `model`, and log-probabilities are left out if `hide_logprobs`.
    #[must_use]
    pub fn event(&self, model: &str, hide_logprobs: bool) -> Bytes {
        self.places.rewrite(&self.payload, model, hide_logprobs, "data: ", "\n\n")
    }
}

/// The answers of a stream, of which there may be `n`.
#[derive(Debug)]
pub struct Answers {
    n: u64,
    /// The indices that came; not all count from 0.
    indices: BTreeSet<u64>,
}

impl Answers {
    /// None of them has begun.
    #[must_use]
    pub fn of(n: u64) -> Self {
        Self { n, indices: BTreeSet::new() }
    }

    /// Reads the data of the stream's next event.
    ///
    /// # Errors
    /// As [`Chunk::parse`]; that more than `n` answers have begun is malformed.
    pub fn read(&mut self, payload: Bytes) -> Result<Chunk, NotACompletion> {
        let chunk = Chunk::parse(payload, self.n)?;
        self.indices.extend(chunk.choices.iter().map(|choice| choice.index));
        if self.indices.len() as u64 > self.n { Err(NotACompletion::Malformed) } else { Ok(chunk) }
    }
}

impl Places {
    fn rewrite(&self, bytes: &[u8], model: &str, hide_logprobs: bool, before: &str, after: &str) -> Bytes {
        let name = serde_json::to_string(model).unwrap_or_default();
        let mut edits: Vec<(&Range<usize>, &str)> = self.model.iter().map(|place| (place, name.as_str())).collect();
        if hide_logprobs {
            edits.extend(self.logprobs.iter().map(|place| (place, "null")));
            edits.sort_unstable_by_key(|(place, _)| place.start);
        }
        let mut out = Vec::with_capacity(bytes.len() + name.len() + before.len() + after.len());
        out.extend_from_slice(before.as_bytes());
        let mut done = 0;
        for (place, text) in edits {
            out.extend_from_slice(&bytes[done..place.start]);
            out.extend_from_slice(text.as_bytes());
            done = place.end;
        }
        out.extend_from_slice(&bytes[done..]);
        if !after.is_empty() {
            // A line end inside the JSON would end the event's line early for the client; there it is only space. The format
            // has three: our own parser does not end a line at a lone CR, a client may.
            out.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
        }
        out.extend_from_slice(after.as_bytes());
        out.into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str = r#"{"id":"x","model":"gpt-4o-mini","x_cost":1.10,"choices":[{"index":0,"message":{"role":"assistant","content":"Hi.","refusal":null},
        "logprobs":{"content":[{"token":"Hi","logprob":-0.5},{"token":".","logprob":-1.5}]},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}"#;

    #[test]
    fn the_facts_of_a_whole_answer_are_read() {
        let answer = Completion::parse(Bytes::from_static(WHOLE.as_bytes()), 1, 1.0).unwrap();
        let usage = Usage { input_tokens: 9, cached_input_tokens: 4, output_tokens: 2, reasoning_tokens: 1 };
        assert_eq!(answer.usage, Some(usage));
        assert_eq!(answer.choices[0].logprobs, Some(TokenLogprobs { tokens: 2, sum: -2.0, lowest: -1.5 }));
        assert_eq!((answer.choices[0].text.as_str(), answer.choices[0].finish.as_deref()), ("Hi.", Some("stop")));
    }

    #[test]
    fn only_the_model_and_what_the_client_did_not_ask_for_are_rewritten() {
        let answer = Completion::parse(Bytes::from_static(WHOLE.as_bytes()), 1, 1.0).unwrap();
        assert_eq!(answer.rewritten("a/b", false), WHOLE.replace("gpt-4o-mini", "a/b"));
        let hidden = WHOLE
            .replace("gpt-4o-mini", "a/b")
            .replace(r#"{"content":[{"token":"Hi","logprob":-0.5},{"token":".","logprob":-1.5}]}"#, "null");
        assert_eq!(answer.rewritten("a/b", true), hidden);
    }

    #[test]
    fn what_is_not_whole_is_no_answer() {
        for (body, why) in [
            ("", NotACompletion::Malformed),
            ("<html>", NotACompletion::Malformed),
            ("{}", NotACompletion::Malformed),
            (r#"{"choices":[]}"#, NotACompletion::Malformed),
            (r#"{"choices":[{"message":{"content":"x"}}]}"#, NotACompletion::Malformed),
            (r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]"#, NotACompletion::Malformed),
            (r#"{"error":{"message":"no"}}"#, NotACompletion::Error),
        ] {
            assert_eq!(Completion::parse(Bytes::from_static(body.as_bytes()), 1, 0.0).err(), Some(why), "{body}");
        }
    }

    #[test]
    fn absurd_usage_is_not_believed() {
        for usage in
            ["{}", r#"{"prompt_tokens":-1}"#, r#"{"prompt_tokens":1e30}"#, r#"{"prompt_tokens":99999999999999}"#, "5"]
        {
            let body = format!(r#"{{"choices":[],"usage":{usage}}}"#);
            assert_eq!(Chunk::parse(body.clone().into(), 1).unwrap().usage, None, "{body}");
        }
    }

    #[test]
    fn thoughts_are_a_first_token_whatever_their_name_and_form() {
        for (delta, content) in [
            (r#"{"content":"","reasoning":"We"}"#, true),
            (r#"{"reasoning_content":"We","content":null}"#, true),
            (r#"{"reasoning":{"text":"We"}}"#, true),
            (r#"{"role":"assistant","content":"","reasoning":null}"#, false),
            (r#"{"reasoning_content":""}"#, false),
            (r#"{"reasoning_content":5}"#, false),
        ] {
            let chunk = Chunk::parse(format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#).into(), 1).unwrap();
            assert_eq!(chunk.has_content(), content, "{delta}");
        }
    }

    #[test]
    fn an_event_of_several_lines_leaves_as_one() {
        let chunk = Chunk::parse(Bytes::from_static(b"{\r\"choices\":\n[]}"), 1).unwrap();
        assert_eq!(chunk.event("m", false), "data: { \"choices\": []}\n\n");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
            let _ = Completion::parse(Bytes::from(bytes), 1, 0.0);
            let _ = Chunk::parse(Bytes::from(format!(r#"{{"choices":[{text}],"usage":{text}}}"#)), 1);
        }
    }
}

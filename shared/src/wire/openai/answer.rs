//! Reads OpenAI's chat completion, whole or as a chunk.
//!
//! One borrowed parse finds the pieces, the usage, and the places in the bytes where the gateway writes something of its
//! own (the model's catalog name, log-probabilities that it requested and the client did not).
//!
//! Three bytes can be a choice, and a choice takes a hundred in memory. So no more choices are read than answers were
//! requested (B1, B2): the first one too many ends the reading. A call of a tool is as small, and there may be any
//! number of them; so only the first [`MAX_TOOL_CALLS`] are kept apart.

use crate::money::Usage;
use crate::steps;
use crate::wire::answer::{Chunk, Completion, NotACompletion, Places};
use crate::wire::json::{Stopped, items};
use crate::wire::openai::request::MAX_ANSWERS;
use crate::wire::piece::{Finish, Piece, Place, TokenLogprobs};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

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

#[derive(Deserialize, Default)]
struct WireCall<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function: Option<WireFunction<'a>>,
}

#[derive(Deserialize, Default)]
struct WireFunction<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
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

/// The format's name.
pub(crate) const NAME: &str = "openai-chat";

/// Maximum calls of tools in one message that are kept apart; OpenAI takes no more tools than these in a request. Those
/// after them pass on in this format, and are left out elsewhere.
const MAX_TOOL_CALLS: usize = 128;

/// Reads a whole answer to a request for `n`. One without any choice, or with a choice that has not ended, is not
/// whole (A1).
///
/// # Errors
/// Says whether the bytes are an error object or nothing that is known; more than `n` choices are not.
pub fn completion(body: Bytes, n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
    let Read { choices, ended, pieces, usage, places } = read(&body, n)?;
    if choices == 0 || ended < choices {
        return Err(NotACompletion::Malformed);
    }
    Ok(Completion { format: NAME, body, pieces, usage, first_byte_ms, places })
}

/// Reads the data of one event of the answers to a request for `n`.
///
/// # Errors
/// Says whether the bytes are an error object or nothing that is known; more than `n` choices are not.
pub fn chunk(payload: Bytes, n: u64) -> Result<Chunk, NotACompletion> {
    let Read { pieces, usage, places, .. } = read(&payload, n)?;
    Ok(Chunk { format: NAME, payload, pieces, usage, places })
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
    /// As [`chunk`]; that more than `n` answers have begun is malformed.
    pub fn read(&mut self, payload: Bytes) -> Result<Chunk, NotACompletion> {
        let chunk = chunk(payload, self.n)?;
        self.indices.extend(chunk.pieces.iter().map(Piece::choice));
        if self.indices.len() as u64 > self.n { Err(NotACompletion::Malformed) } else { Ok(chunk) }
    }
}

/// What is read of an answer or an event.
struct Read {
    /// How many choices stand in it.
    choices: usize,
    /// How many of them say that they have ended.
    ended: usize,
    pieces: Vec<Piece>,
    usage: Option<Usage>,
    places: Places,
}

/// Reads the bytes, in which at most `most` choices may stand.
fn read(bytes: &Bytes, max_choices: u64) -> Result<Read, NotACompletion> {
    let wire: Wire<'_> = serde_json::from_slice(bytes).map_err(|_| NotACompletion::Malformed)?;
    if is_there(wire.error) {
        return Err(NotACompletion::Error);
    }
    let Some(WireChoices(choices)) = wire.choices else { return Err(NotACompletion::Malformed) };
    if choices.len() as u64 > max_choices {
        return Err(NotACompletion::Malformed);
    }
    let places = Places { model: wire.model.map(|raw| place(bytes, raw)), logprobs: Vec::new() };
    let (usage, pieces) = (wire.usage.and_then(usage_of), Vec::with_capacity(choices.len()));
    let mut read = Read { choices: choices.len(), ended: 0, pieces, usage, places };
    for choice in choices {
        read.add(bytes, choice);
    }
    Ok(read)
}

impl Read {
    fn add(&mut self, bytes: &Bytes, wire: WireChoice<'_>) {
        let (choice, before) = (wire.index, self.pieces.len());
        if let Some(message) = wire.message.or(wire.delta) {
            self.add_message(bytes, choice, message);
        }
        if let Some(raw) = wire.logprobs.filter(|raw| raw.get() != "null") {
            self.places.logprobs.push(place(bytes, raw));
            self.pieces.extend(logprobs_of(raw).map(|logprobs| Piece::Logprobs { choice, logprobs }));
        }
        if let Some(reason) = wire.finish_reason {
            self.ended += 1;
            self.pieces.push(Piece::Finish { choice, why: finish_of(&reason) });
        }
        if self.pieces.len() == before {
            self.pieces.push(Piece::Begin { choice });
        }
    }

    fn add_message(&mut self, bytes: &Bytes, choice: u64, message: WireMessage<'_>) {
        let thoughts = [message.reasoning, message.reasoning_content].into_iter().flatten();
        let thought = thoughts.filter(|raw| raw.get() != "null").max_by_key(|raw| raw.get().len());
        let thought = thought.map(|raw| Piece::Thought { choice, text: place(bytes, raw) });
        self.pieces.extend(thought.filter(|thought| thought.thought_bytes() > 0));
        if let Some(text) = message.content.filter(|text| !text.is_empty()) {
            self.pieces.push(Piece::Text { choice, text: text.into_owned() });
        }
        if let Some(text) = message.refusal.filter(|text| !text.is_empty()) {
            self.pieces.push(Piece::Refusal { choice, text: text.into_owned() });
        }
        if let Some(raw) = message.tool_calls.filter(|raw| is_there(Some(raw))) {
            self.add_tool_calls(bytes, choice, raw);
        }
        if let Some(raw) = message.function_call.filter(|raw| is_there(Some(raw))) {
            let function = serde_json::from_str(raw.get()).unwrap_or_default();
            self.pieces.push(tool_call(bytes, choice, 0, WireCall { function: Some(function), ..WireCall::default() }));
        }
    }

    fn add_tool_calls(&mut self, bytes: &Bytes, choice: u64, list: &RawValue) {
        let whole = items(list.get(), |i, item| {
            if i == MAX_TOOL_CALLS {
                return Err(());
            }
            let call: WireCall<'_> = serde_json::from_str(item.get()).unwrap_or_default();
            self.pieces.push(tool_call(bytes, choice, i as u64, call));
            Ok(())
        });
        match whole {
            Ok(_) => {}
            Err(Stopped::Refused(())) => self.pieces.push(Piece::Native { choice }),
            // No list, and so nothing that this format knows: it calls tools all the same.
            Err(Stopped::NoList) => self.pieces.push(tool_call(bytes, choice, 0, WireCall::default())),
        }
    }
}

fn tool_call(bytes: &Bytes, choice: u64, place_in_list: u64, wire: WireCall<'_>) -> Piece {
    let place = |raw: Option<&RawValue>| raw.filter(|raw| raw.get() != "null").map_or(0..0, |raw| place(bytes, raw));
    let function = wire.function.unwrap_or_default();
    let (id, name, arguments) = (place(wire.id), place(function.name), place(function.arguments));
    Piece::ToolCall { choice, call: wire.index.unwrap_or(place_in_list), id, name, arguments }
}

fn place(bytes: &Bytes, raw: &RawValue) -> Place {
    let start = raw.get().as_ptr() as usize - bytes.as_ptr() as usize;
    start..start + raw.get().len()
}

fn is_there(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| !matches!(raw.get(), "null" | "[]"))
}

fn finish_of(reason: &str) -> Finish {
    match reason {
        "stop" => Finish::Stop,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "length" => Finish::Length,
        "content_filter" => Finish::Filter,
        _ => Finish::Other,
    }
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
        let answer = completion(Bytes::from_static(WHOLE.as_bytes()), 1, 1.0).unwrap();
        let usage = Usage { input_tokens: 9, cached_input_tokens: 4, output_tokens: 2, reasoning_tokens: 1 };
        assert_eq!(answer.usage, Some(usage));
        let pieces = [
            Piece::Text { choice: 0, text: "Hi.".into() },
            Piece::Logprobs { choice: 0, logprobs: TokenLogprobs { tokens: 2, sum: -2.0, lowest: -1.5 } },
            Piece::Finish { choice: 0, why: Finish::Stop },
        ];
        assert_eq!(answer.pieces, pieces);
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
            assert_eq!(completion(Bytes::from_static(body.as_bytes()), 1, 0.0).err(), Some(why), "{body}");
        }
    }

    #[test]
    fn absurd_usage_is_not_believed() {
        for usage in
            ["{}", r#"{"prompt_tokens":-1}"#, r#"{"prompt_tokens":1e30}"#, r#"{"prompt_tokens":99999999999999}"#, "5"]
        {
            let body = format!(r#"{{"choices":[],"usage":{usage}}}"#);
            assert_eq!(chunk(body.clone().into(), 1).unwrap().usage, None, "{body}");
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
            let chunk = chunk(format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#).into(), 1).unwrap();
            assert_eq!(chunk.has_content(), content, "{delta}");
        }
    }

    #[test]
    fn calls_of_tools_are_told_apart_and_odd_ones_are_calls_all_the_same() {
        let calls =
            r#"{"tool_calls":[{"index":2,"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\""}}]}"#;
        let old = r#"{"function_call":{"name":"f","arguments":"{}"}}"#;
        for (delta, expected) in [
            (calls, vec![(2, "c", "f", "{\"a\"")]),
            (r#"{"tool_calls":[{"function":{"arguments":":1}"}},{}]}"#, vec![(0, "", "", ":1}"), (1, "", "", "")]),
            (r#"{"tool_calls":[5,{"id":null,"function":null}]}"#, vec![(0, "", "", ""), (1, "", "", "")]),
            (r#"{"tool_calls":{"x":5}}"#, vec![(0, "", "", "")]),
            (r#"{"tool_calls":[],"function_call":null}"#, vec![]),
            (old, vec![(0, "", "f", "{}")]),
        ] {
            let chunk = chunk(format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#).into(), 1).unwrap();
            let calls = chunk.pieces.iter().filter_map(|piece| match piece {
                Piece::ToolCall { call, id, name, arguments, .. } => {
                    Some((*call, chunk.said(id), chunk.said(name), chunk.said(arguments)))
                }
                _ => None,
            });
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(call, id, name, said)| (call, id.into(), name.into(), said.into()))
                .collect();
            assert_eq!(calls.collect::<Vec<_>>(), expected, "{delta}");
            assert_eq!(chunk.calls_tools(), !expected.is_empty(), "{delta}");
        }
        let many = format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{}{{}}]}}}}]}}"#, "{},".repeat(5_000));
        let many = chunk(many.into(), 1).unwrap();
        assert_eq!((many.pieces.len(), many.pieces.last()), (MAX_TOOL_CALLS + 1, Some(&Piece::Native { choice: 0 })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
            let _ = completion(Bytes::from(bytes), 1, 0.0);
            let _ = chunk(Bytes::from(format!(r#"{{"choices":[{text}],"usage":{text}}}"#)), 1);
        }
    }
}

//! What is answered, and what that costs.
//!
//! The arithmetic is simple on purpose: a test must be able to work out by hand what the double bills, since the gateway
//! is held to it to the token (invariant M6). The rules stand in the crate's documentation, under "Usage". JSON is
//! written as text, not built as a tree: it is faster, and only so can numbers such as `1.10` be sent as they stand.

mod converse;
mod embeddings;
mod gemini;
mod messages;

pub(crate) use converse::HALF_A_TEXT;
pub(crate) use embeddings::OWN_DIMENSIONS;
pub(crate) use messages::SIGNATURE;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use crate::ask::{Ask, Asked};
use crate::behaviour::{GoesOn, Plan, Split, Text};

const PLAIN: &str = "An interface is a promise between two programs. One side says what may be asked, and the other side \
    answers in a form that both agreed on. Neither needs to know how the other works. That is why a small change on one \
    side does not break the other, as long as the promise is kept.";
const UNICODE: &str = "Der naïve Café-Gast aß Crème brûlée in 東京 🙂. Ещё раз: žluťoučký kůň 🇨🇿 👩‍👩‍👧 done.";
const REFUSAL: &str = "I'm sorry, but I can't help with that request.";
const HEDGE: &str = "I'm not sure, but I think it might possibly be related to the network. I don't have enough information to \
    say, and I could be wrong about this.";
const ARGUMENTS: &str = r#"{"query": "weather in Paris", "days": 3}"#;
const CREATED_S: u64 = 1_700_000_000;
pub(crate) const EXTRA: &str = r#""x_provider":{"a":1.10,"b":[1e3,-0.0],"c":"\u00e9"},"#;
pub(crate) const HALF_A_CHUNK: &str =
    r#"{"id":"chatcmpl-double","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"bro"#;
pub(crate) const EXTRA_INNER: &str = r#","x_inner":{"z":0.10}"#;

/// What a call is billed for. Cached tokens are part of the input, reasoning tokens part of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Input tokens, cached ones included.
    pub input: u64,
    /// Cached ones.
    pub cached: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Tokens of reasoning.
    pub reasoning: u64,
}

impl Usage {
    fn json(&self) -> String {
        let Self { input, cached, output, reasoning } = self;
        format!(
            r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{cached}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#,
            input + output
        )
    }
}

/// One event of a stream: its JSON and how many tokens it brings.
pub(crate) struct Event {
    pub(crate) json: String,
    pub(crate) tokens: u64,
}

/// What the model says to one request, before anything goes wrong with it.
pub(crate) struct Answer<'a> {
    ask: &'a Ask,
    plan: &'a Plan,
    sequence: u64,
    text: Cow<'a, str>,
    /// Where each word of `text` that is said ends, its following blanks included.
    ends: Vec<usize>,
    pub(crate) finish: &'static str,
    pub(crate) usage: Usage,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(ask: &'a Ask, plan: &'a Plan, sequence: u64, body: &'a [u8]) -> Self {
        let text: Cow<'a, str> = match &plan.text {
            Text::Plain if plan.split == Split::Awkwardly => UNICODE.into(),
            Text::Plain => PLAIN.into(),
            Text::Unicode => UNICODE.into(),
            Text::Parrot => format!("You said: {}", ask.opening).into(),
            Text::Echo => String::from_utf8_lossy(body),
            Text::Empty => "".into(),
            Text::Refusal => REFUSAL.into(),
            Text::Hedge => HEDGE.into(),
            Text::Json => r#"{"answer": "Forty-two."}"#.into(),
            Text::BadJson => r#"{"answer": "Forty-"#.into(),
            Text::Tools => ARGUMENTS.into(),
            Text::Say(words) => words.into(),
            Text::GiantMib(mib) => "all work and no play ".repeat(*mib as usize * (1 << 20) / 21 + 1).into(),
        };
        let text = going_on(text, plan.goes_on, &ask.begun);
        let mut ends = plan.letters.map_or_else(|| word_ends(&text), |letters| letter_ends(&text, letters));
        let words = ends.len();
        let unbounded = plan.overrun || matches!(plan.text, Text::Echo | Text::GiantMib(_));
        let limit = ask.max_tokens.filter(|_| !unbounded).unwrap_or(u64::MAX);
        let reasoning = plan.reasoning_tokens.min(limit);
        if plan.finish.is_some() {
            ends.truncate(words / 2);
        }
        ends.truncate(usize::try_from(limit - reasoning).unwrap_or(usize::MAX));
        let stopped = ends.len() < words || reasoning < plan.reasoning_tokens;
        let finish = match plan.finish {
            Some(finish) => finish,
            None if stopped => "length",
            None if plan.text == Text::Tools => "tool_calls",
            None => "stop",
        };
        let usage = Usage {
            input: ask.prompt_tokens,
            cached: plan.cached_tokens.min(ask.prompt_tokens),
            output: ask.choices * (reasoning + ends.len() as u64),
            reasoning: ask.choices * reasoning,
        };
        Self { ask, plan, sequence, text, ends, finish, usage }
    }

    /// The text as it is said: what `max_tokens` and the like left of it.
    pub(crate) fn said(&self) -> &str {
        &self.text[..self.ends.last().copied().unwrap_or(0)]
    }

    /// Whether it is a message that is refused before its first word, for which nobody pays.
    pub(crate) fn is_free(&self) -> bool {
        self.ask.asked == Asked::Messages && self.finish == "content_filter" && self.usage.output == 0
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }

    pub(crate) fn extra(&self, field: &'static str) -> &'static str {
        if self.plan.extra { field } else { "" }
    }

    /// The whole answer as one JSON object.
    pub(crate) fn whole(&self, with_usage: bool) -> String {
        let mut body = format!(
            r#"{{"id":"chatcmpl-double-{}","object":"chat.completion","created":{CREATED_S},"model":{},{}"choices":["#,
            self.sequence,
            quote(&self.ask.model),
            self.extra(EXTRA),
        );
        let text = quote(self.said());
        let message = match self.plan.text {
            Text::Tools => {
                format!(r#""content":null,"refusal":null,"tool_calls":[{}]"#, self.tool_call(0, None, &text))
            }
            _ => format!(r#""content":{text},"refusal":null"#),
        };
        let logprobs = self.logprobs(0, self.words());
        let inner = self.extra(EXTRA_INNER);
        for index in 0..self.ask.choices {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(
                body,
                r#"{comma}{{"index":{index},"message":{{"role":"assistant",{message}{inner}}},"logprobs":{logprobs},"finish_reason":"{}"}}"#,
                self.finish
            );
        }
        body.push(']');
        if with_usage {
            let _ = write!(body, r#","usage":{}"#, self.usage.json());
        }
        body.push_str(r#","system_fingerprint":"fp_double"}"#);
        body
    }

    /// The answer as events, without the closing `[DONE]`, and which of them bring the finish reasons.
    pub(crate) fn events(&self) -> (Vec<Event>, Range<usize>) {
        let with_usage = self.ask.include_usage && !self.plan.no_usage;
        let head = format!(
            r#"{{"id":"chatcmpl-double-{}","object":"chat.completion.chunk","created":{CREATED_S},"model":{},"system_fingerprint":"fp_double",{}"#,
            self.sequence,
            quote(&self.ask.model),
            self.extra(EXTRA),
        );
        let tail = if with_usage { r#","usage":null}"# } else { "}" };
        let inner = self.extra(EXTRA_INNER);
        let tools = self.plan.text == Text::Tools;
        let mut events = Vec::with_capacity(self.ends.len() + 4);
        let mut push = |delta: &str, logprobs: &str, finish: &str, tokens: u64| {
            for index in 0..self.ask.choices {
                let json = format!(
                    r#"{head}"choices":[{{"index":{index},"delta":{{{delta}}},"logprobs":{logprobs},"finish_reason":{finish}}}]{tail}"#
                );
                events.push(Event { json, tokens });
            }
        };
        let role = match tools {
            true => {
                let call = self.tool_call(0, Some(0), r#""""#);
                format!(r#""role":"assistant","content":null,"tool_calls":[{call}]"#)
            }
            false => r#""role":"assistant","content":"","refusal":null"#.to_owned(),
        };
        // Whoever reasons has done so before the first event.
        push(&role, "null", "null", self.usage.reasoning / self.ask.choices);
        let mut say = |place: usize, text: &str, tokens: u64| {
            let quoted = quote(text);
            let delta = match tools {
                true => format!(r#""tool_calls":[{{"index":0,"function":{{"arguments":{quoted}}}}}]{inner}"#),
                false => format!(r#""content":{quoted}{inner}"#),
            };
            push(&delta, &self.logprobs(place, std::iter::once(text)), "null", tokens);
        };
        match self.plan.text {
            Text::GiantMib(_) => say(0, self.said(), self.ends.len() as u64),
            _ => self.words().enumerate().for_each(|(place, word)| say(place, word, 1)),
        }
        push("", "null", &format!(r#""{}""#, self.finish), 0);
        let finishing = events.len() - self.ask.choices as usize..events.len();
        if with_usage {
            let json = format!(r#"{head}"choices":[],"usage":{}}}"#, self.usage.json());
            events.push(Event { json, tokens: 0 });
        }
        (events, finishing)
    }

    fn tool_call(&self, number: u64, index: Option<u64>, arguments: &str) -> String {
        let index = index.map_or(String::new(), |index| format!(r#""index":{index},"#));
        let (sequence, name) = (self.sequence, quote(&self.ask.tool));
        format!(
            r#"{{{index}"id":"call_double_{sequence}_{number}","type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#
        )
    }

    /// How likely the word at this place is, in hundredths, so that the text is exact: -0.01 to -0.09, or -2.80 to -3.20.
    fn logprob(&self, place: usize) -> Negative {
        let step = place as u64 % 5;
        Negative(if self.plan.low_logprob { 280 + 10 * step } else { 1 + 2 * step })
    }

    /// The `logprobs` of some words, the first of which is the `place`-th of the answer.
    pub(crate) fn logprobs<'w>(&self, place: usize, words: impl Iterator<Item = &'w str>) -> String {
        if !self.ask.logprobs || matches!(self.plan.text, Text::Tools | Text::GiantMib(_)) {
            return "null".to_owned();
        }
        let mut json = r#"{"content":["#.to_owned();
        for (offset, word) in words.enumerate() {
            let Negative(hundredths) = self.logprob(place + offset);
            let token = quote(word);
            let comma = if offset == 0 { "" } else { "," };
            let _ = write!(
                json,
                r#"{comma}{{"token":{token},"logprob":{},"bytes":null,"top_logprobs":["#,
                Negative(hundredths)
            );
            for rank in 0..self.ask.top_logprobs {
                let comma = if rank == 0 { "" } else { "," };
                let token = if rank == 0 { token.clone() } else { format!(r#""other{rank}""#) };
                let lower = Negative(hundredths + 100 * rank);
                let _ = write!(json, r#"{comma}{{"token":{token},"logprob":{lower},"bytes":null}}"#);
            }
            json.push_str("]}");
        }
        json.push_str(r#"],"refusal":null}"#);
        json
    }
}

/// A negative number of hundredths, written exactly.
struct Negative(u64);

impl std::fmt::Display for Negative {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "-{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// A JSON string. Only escapes what must be: multi-byte characters stay as they are.
pub(crate) fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// What is left to say of a text, where its beginning has been said.
fn going_on<'a>(text: Cow<'a, str>, goes_on: GoesOn, begun: &str) -> Cow<'a, str> {
    if begun.is_empty() || !text.starts_with(begun) {
        return text;
    }
    let from = match goes_on {
        GoesOn::Never | GoesOn::Anew => 0,
        GoesOn::Faithfully => begun.len(),
        GoesOn::Repeating => {
            let ends = [". ", "! ", "? ", "\n"].map(|end| begun.trim_end().rfind(end).map(|at| at + end.len()));
            ends.into_iter().flatten().max().unwrap_or(0)
        }
    };
    text[from..].to_owned().into()
}

/// Where each piece of so many characters ends.
fn letter_ends(text: &str, letters: usize) -> Vec<usize> {
    let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let mut ends: Vec<usize> = starts.step_by(letters).skip(1).collect();
    if ends.last().is_none_or(|end| *end < text.len()) && !text.is_empty() {
        ends.push(text.len());
    }
    ends
}

/// Where each word ends; the blanks after a word belong to it, those before the first one to the first.
fn word_ends(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut in_word, mut said) = (false, false);
    for (at, character) in text.char_indices() {
        let blank = character.is_whitespace();
        if said && !in_word && !blank {
            ends.push(at);
        }
        in_word = !blank;
        said |= in_word;
    }
    if said {
        ends.push(text.len());
    }
    ends
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::Value;

    fn ask(fields: &str) -> Ask {
        let body = format!(
            r#"{{"model":"ok","messages":[{{"role":"system","content":"12345"}},{{"role":"user","content":"é!"}}]{fields}}}"#
        );
        Ask::parse(body.as_bytes()).unwrap()
    }

    fn usage(model: &str, fields: &str) -> (u64, u64, u64, u64, &'static str) {
        let (ask, plan) = (ask(fields), Plan::parse(model).unwrap());
        let answer = Answer::new(&ask, &plan, 1, b"");
        let Usage { input, cached, output, reasoning } = answer.usage;
        (input, cached, output, reasoning, answer.finish)
    }

    #[test]
    fn usage_follows_the_documented_rules() {
        // 5 + 3 bytes are 2 tokens, and 3 for each of two messages.
        for (model, fields, expected) in [
            ("say:one two three", "", (8, 0, 3, 0, "stop")),
            ("say:one two three", r#","max_tokens":2"#, (8, 0, 2, 0, "length")),
            ("say:one two three", r#","max_tokens":9,"max_completion_tokens":1"#, (8, 0, 1, 0, "length")),
            ("say:one two three", r#","max_tokens":3"#, (8, 0, 3, 0, "stop")),
            ("say:one two three", r#","n":2"#, (8, 0, 6, 0, "stop")),
            ("overrun+say:one two three", r#","max_tokens":2"#, (8, 0, 3, 0, "stop")),
            ("reasoning-5+say:one two", "", (8, 0, 7, 5, "stop")),
            ("reasoning-5+say:one two", r#","max_tokens":4"#, (8, 0, 4, 4, "length")),
            ("cached-3+say:one", "", (8, 3, 1, 0, "stop")),
            ("cached-99+say:one", "", (8, 8, 1, 0, "stop")),
            ("empty", "", (8, 0, 0, 0, "stop")),
            ("length+say:one two three four", "", (8, 0, 2, 0, "length")),
            ("content-filter-finish+say:one two", "", (8, 0, 1, 0, "content_filter")),
            ("tools", "", (8, 0, 6, 0, "tool_calls")),
        ] {
            assert_eq!(usage(model, fields), expected, "{model} {fields}");
        }
    }

    #[test]
    fn streamed_pieces_add_up_to_the_whole_text() {
        for model in ["ok", "unicode", "say: a  b\n\tc ", "tools", "empty"] {
            let (ask, plan) = (ask(""), Plan::parse(model).unwrap());
            let answer = Answer::new(&ask, &plan, 1, b"");
            assert_eq!(answer.words().collect::<String>(), answer.text, "{model}");
            assert_eq!(answer.words().count(), answer.text.split_whitespace().count(), "{model}");
        }
    }

    #[test]
    fn every_answer_is_json_and_extra_numbers_stay_as_written() {
        let fields = r#","n":2,"logprobs":true,"top_logprobs":2,"stream_options":{"include_usage":true}"#;
        for model in ["ok", "tools", "unicode", "extra+low-logprob", "empty", "reasoning-5", "giant-1"] {
            let (ask, plan) = (ask(fields), Plan::parse(model).unwrap());
            let answer = Answer::new(&ask, &plan, 1, b"");
            let whole = answer.whole(true);
            let parsed: Value = serde_json::from_str(&whole).unwrap();
            assert_eq!(parsed["choices"].as_array().unwrap().len(), 2, "{model}");
            let (events, finishing) = answer.events();
            let first = finishing.start;
            assert!(events.iter().all(|event| serde_json::from_str::<Value>(&event.json).is_ok()), "{model}");
            let finish = format!(r#""finish_reason":"{}""#, answer.finish);
            assert!(events[first].json.contains(&finish) && !events[first - 1].json.contains(&finish), "{model}");
            assert_eq!(events.iter().map(|event| event.tokens).sum::<u64>(), answer.usage.output, "{model}");
            assert_eq!(whole.contains(r#""a":1.10,"b":[1e3,-0.0]"#), plan.extra);
        }
    }
}

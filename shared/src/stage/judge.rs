//! Whether a cheap answer is good enough to send, or a stronger tier should be called.
//!
//! The signals are what the answer itself shows: nothing in it, a refusal, hedging, an end by a bound that the client
//! did not set, a broken schema, tokens that the model itself found unlikely. Each stands for itself and is given as a
//! reason; they are rules, not a trained score, and a later part may weigh them. Words are looked for at the beginning
//! only, for an answer about hedging is no hedge.

use crate::config::UpgradeSettings;
use crate::wire::facts::{AnswerFormat, Facts};
use crate::wire::piece::{Choice, Finish, TokenLogprobs};
use crate::wire::schema::Schema;
use serde::de::IgnoredAny;

/// Bytes at the beginning of an answer in which words are looked for.
const OPENING_BYTES: usize = 200;

const REFUSALS: [&str; 10] = [
    "i can't help",
    "i cannot help",
    "i can't assist",
    "i cannot assist",
    "i'm unable to",
    "i am unable to",
    "i'm sorry, but i can",
    "i am sorry, but i can",
    "as an ai language model",
    "i won't be able to",
];

const HEDGES: [&str; 10] = [
    "i'm not sure",
    "i am not sure",
    "i don't know",
    "i do not know",
    "i'm not certain",
    "i am not certain",
    "i'm not entirely sure",
    "i am not entirely sure",
    "i'm only guessing",
    "i have no idea",
];

/// How much of the answer is there to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Its beginning, of a stream that is held back.
    Head,
}

/// Why an answer is unreliable; `None` if nothing speaks against it.
#[must_use]
pub fn unreliable(choices: &[Choice<'_>], extent: Extent, facts: &Facts, settings: &UpgradeSettings) -> Option<String> {
    let mut form = match &facts.answer_format {
        AnswerFormat::Text => Form::Any,
        AnswerFormat::JsonObject => Form::Object,
        // A beginning is not held against a schema, which is then not read.
        AnswerFormat::JsonSchema(_) if extent == Extent::Head => Form::Any,
        AnswerFormat::JsonSchema(schema) => Form::Of(Schema::read(schema)),
    };
    choices.iter().find_map(|choice| judge(choice, extent, &mut form, facts, settings))
}

/// What form the answers must have, and how much work may still be done to see whether they have it.
enum Form {
    Any,
    Object,
    Of(Schema),
}

impl Form {
    fn holds(&mut self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Object => text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok(),
            Self::Of(schema) => schema.fits(text),
        }
    }
}

fn judge(
    choice: &Choice<'_>,
    extent: Extent,
    form: &mut Form,
    facts: &Facts,
    settings: &UpgradeSettings,
) -> Option<String> {
    let text = choice.text.trim();
    if choice.refused {
        return Some("the model refused".into());
    }
    if extent == Extent::Whole {
        if text.is_empty() && !choice.calls_tools {
            return Some("the answer is empty".into());
        }
        if choice.finish == Some(Finish::Length) && facts.max_output_tokens.is_none() {
            return Some("the answer was cut by its length".into());
        }
        if !choice.calls_tools && !form.holds(text) {
            return Some("the answer breaks the format that was asked for".into());
        }
    }
    let first_words = first_words(text);
    if REFUSALS.iter().any(|words| first_words.contains(words)) {
        return Some("the answer begins with a refusal".into());
    }
    if HEDGES.iter().any(|words| first_words.contains(words)) {
        return Some("the answer begins with a hedge".into());
    }
    unlikely(choice.logprobs?, settings)
}

fn first_words(text: &str) -> String {
    let end = (0..=OPENING_BYTES.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].to_lowercase().replace('\u{2019}', "'")
}

/// The mean says most; sums grow with the length and say nothing.
fn unlikely(logprobs: TokenLogprobs, settings: &UpgradeSettings) -> Option<String> {
    #[allow(clippy::cast_precision_loss)]
    let mean = logprobs.sum / logprobs.tokens.max(1) as f64;
    if mean < settings.min_mean_logprob {
        return Some(format!("its tokens are unlikely: mean log-probability {mean:.2}"));
    }
    (logprobs.lowest < settings.min_token_logprob)
        .then(|| format!("a token is unlikely: log-probability {:.2}", logprobs.lowest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::format::Format;
    use crate::wire::openai::CHAT;
    use bytes::Bytes;

    fn facts(more: &str) -> Facts {
        let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"x"}}]{more}}}"#);
        CHAT.read(Bytes::from(body)).unwrap().1
    }

    fn settings() -> UpgradeSettings {
        UpgradeSettings { min_mean_logprob: -1.0, min_token_logprob: -9.0, stream_holdback_bytes: 256 }
    }

    fn answer(text: &str, finish: Finish) -> Choice<'_> {
        Choice { text: text.into(), finish: Some(finish), ..Choice::default() }
    }

    #[test]
    fn every_sign_of_an_unreliable_answer_is_seen_and_good_answers_pass() {
        let schema = r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","required":["a"]}}}"#;
        let with_logprobs = |sum, lowest| Choice {
            logprobs: Some(TokenLogprobs { tokens: 10, sum, lowest }),
            ..answer("Fine.", Finish::Stop)
        };
        for (choice, more, good) in [
            (answer("An API is an interface.", Finish::Stop), "", true),
            (answer("", Finish::Stop), "", false),
            (answer("  \n", Finish::Stop), "", false),
            (Choice { calls_tools: true, ..answer("", Finish::ToolCalls) }, "", true),
            (answer("Half an answ", Finish::Length), "", false),
            (answer("Half an answ", Finish::Length), r#","max_tokens":3"#, true),
            (answer("I’m sorry, but I can’t help with that.", Finish::Stop), "", false),
            (answer("I'm not sure, but perhaps it is 4.", Finish::Stop), "", false),
            (answer("People say \u{201c}well\u{201d}.", Finish::Stop), "", true),
            (Choice { refused: true, ..answer("No.", Finish::Stop) }, "", false),
            (answer(r#"{"a":1}"#, Finish::Stop), schema, true),
            (answer(r#"{"b":1}"#, Finish::Stop), schema, false),
            (answer("[]", Finish::Stop), r#","response_format":{"type":"json_object"}"#, false),
            (with_logprobs(-5.0, -2.0), "", true),
            (with_logprobs(-15.0, -2.0), "", false),
            (with_logprobs(-9.5, -9.4), "", false),
        ] {
            let verdict = unreliable(std::slice::from_ref(&choice), Extent::Whole, &facts(more), &settings());
            assert_eq!(verdict.is_none(), good, "{choice:?}: {verdict:?}");
        }
    }

    #[test]
    fn a_long_answer_that_quotes_a_hedge_later_passes() {
        let text = format!("{} I'm not sure", "A sure sentence. ".repeat(30));
        assert_eq!(unreliable(&[answer(&text, Finish::Stop)], Extent::Whole, &facts(""), &settings()), None);
    }

    #[test]
    fn a_beginning_is_not_blamed_for_what_may_still_come() {
        assert_eq!(unreliable(&[Choice::default()], Extent::Head, &facts(""), &settings()), None);
    }
}

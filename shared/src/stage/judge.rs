//! Whether a cheap answer is good enough to send, or a stronger tier should be called.
//!
//! Some answers are certainly none: nothing in it, the provider's own refusal, an end by a bound that the client did not
//! set, a broken schema. All others have a [doubt](crate::routing::doubt), which the tenant's dial is held against. A call of
//! a tool is no text and is not doubted; nor is the answer to an intent that nobody checks, as greetings are.

use crate::routing::doubt::{Shown, doubt};
use crate::wire::facts::{AnswerFormat, Facts};
use crate::wire::piece::{Choice, Finish};
use crate::wire::schema::Schema;
use serde::de::IgnoredAny;

/// How much of the answer is there to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Its beginning, of a stream that is held back.
    Head,
}

/// What is known of the request beside its facts.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The request.
    pub facts: &'a Facts,
    /// The probability that the cheap tier's answer would not do, as it was decided.
    pub difficulty: Option<f64>,
    /// Whether the answer may be doubted for what it says: not that to an intent that is never checked.
    pub is_checked: bool,
}

/// What speaks against an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The probability that it is wrong, 0 to 1; 1 only if it is certain.
    pub doubt: f64,
    /// Why, in words that tell nothing of the answer (T3).
    pub why: String,
}

impl Verdict {
    fn certain(why: &str) -> Self {
        Self { doubt: 1.0, why: why.into() }
    }

    /// Whether the answer is to be replaced: certainly, or because it is doubted more than the tenant's dial allows
    /// (`quality`, 0 is cost and 1 quality). The same dial sends a request to the cheap tier: whoever accepts a difficulty of
    /// `1 - quality` accepts that doubt. Below `least_doubt` an upgrade would buy nothing.
    #[must_use]
    pub fn is_unreliable(&self, quality: f64, least_doubt: f64) -> bool {
        self.is_certain() || self.doubt > (1.0 - quality).max(least_doubt)
    }

    /// Whether the answer is certainly no good, whatever it costs to replace it.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.doubt >= 1.0
    }
}

/// What speaks against the worst of the answers to a request.
#[must_use]
pub fn judge(choices: &[Choice<'_>], extent: Extent, asked: Asked<'_>) -> Verdict {
    let mut form = match &asked.facts.answer_format {
        AnswerFormat::Text => Form::Any,
        AnswerFormat::JsonObject => Form::Object,
        // A beginning is not held against a schema, which is then not read.
        AnswerFormat::JsonSchema(_) if extent == Extent::Head => Form::Any,
        AnswerFormat::JsonSchema(schema) => Form::Of(Schema::read(schema)),
    };
    let mut worst = Verdict { doubt: 0.0, why: String::new() };
    for choice in choices {
        let verdict = judge_one(choice, extent, &mut form, asked);
        if verdict.doubt > worst.doubt {
            worst = verdict;
        }
        if worst.is_certain() {
            break;
        }
    }
    worst
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

fn judge_one(choice: &Choice<'_>, extent: Extent, form: &mut Form, asked: Asked<'_>) -> Verdict {
    let text = choice.text.trim();
    let is_cut = choice.finish == Some(Finish::Length);
    let is_cut_by_client = is_cut && asked.facts.max_output_tokens.is_some();
    if choice.refused {
        return Verdict::certain("the model refused");
    }
    if extent == Extent::Whole && !choice.calls_tools {
        // A stronger model would meet the client's bound too; and after a tool's work there may be nothing left to say.
        if text.is_empty() && !is_cut_by_client && !asked.facts.is_after_tool {
            return Verdict::certain("the answer is empty");
        }
        if is_cut && !is_cut_by_client {
            return Verdict::certain("the answer was cut by its length");
        }
        if !form.holds(text) {
            return Verdict::certain("the answer breaks the format that was asked for");
        }
    }
    if choice.calls_tools || text.is_empty() || !asked.is_checked {
        return Verdict { doubt: 0.0, why: "it is not checked".into() };
    }
    let doubt = doubt(&Shown {
        question: &asked.facts.prompt,
        answer: text,
        is_whole: extent == Extent::Whole,
        ended_itself: !is_cut && !asked.facts.has_stops,
        logprobs: choice.logprobs.map(|logprobs| (logprobs.mean(), logprobs.low())),
        difficulty: asked.difficulty,
    });
    let reasons = if doubt.reasons.is_empty() { "nothing in particular".into() } else { doubt.reasons.join(", ") };
    Verdict { doubt: doubt.probability, why: format!("doubt {:.2}: {reasons}", doubt.probability) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::format::Format;
    use crate::wire::openai::CHAT;
    use crate::wire::piece::TokenLogprobs;
    use bytes::Bytes;

    fn facts(more: &str) -> Facts {
        let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"x"}}]{more}}}"#);
        CHAT.read(Bytes::from(body)).unwrap().1
    }

    fn of(choices: &[Choice<'_>], extent: Extent, facts: &Facts) -> Verdict {
        judge(choices, extent, Asked { facts, difficulty: None, is_checked: true })
    }

    fn answer(text: &str, finish: Finish) -> Choice<'_> {
        Choice { text: text.into(), finish: Some(finish), ..Choice::default() }
    }

    #[test]
    fn every_sign_of_an_unreliable_answer_is_seen_and_good_answers_pass() {
        let schema = r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","required":["a"]}}}"#;
        let with_logprobs =
            |each| Choice { logprobs: Some(TokenLogprobs::of([each; 10])), ..answer("Fine.", Finish::Stop) };
        for (choice, more, good) in [
            (answer("An API is an interface.", Finish::Stop), "", true),
            (answer("", Finish::Stop), "", false),
            (answer("  \n", Finish::Stop), "", false),
            (answer("", Finish::Length), r#","max_tokens":3"#, true),
            (Choice { calls_tools: true, ..answer("", Finish::ToolCalls) }, "", true),
            (Choice { calls_tools: true, ..answer("I'm not sure, let me look", Finish::ToolCalls) }, "", true),
            (answer("Half an answ", Finish::Length), "", false),
            (answer("Half an answ", Finish::Length), r#","max_tokens":3"#, true),
            (answer("Half an answer,", Finish::Length), r#","max_tokens":3"#, true),
            (answer("Half an answer,", Finish::Stop), "", false),
            (answer("Half an answer,", Finish::Stop), r#","stop":["x"]"#, true),
            (answer("I’m sorry, but I can’t help with that.", Finish::Stop), "", false),
            (answer("I'm not sure, but perhaps it is 4.", Finish::Stop), "", false),
            (answer("People say \u{201c}well\u{201d}.", Finish::Stop), "", true),
            (Choice { refused: true, ..answer("No.", Finish::Stop) }, "", false),
            (answer(r#"{"a":1}"#, Finish::Stop), schema, true),
            (answer(r#"{"b":1}"#, Finish::Stop), schema, false),
            (answer("[]", Finish::Stop), r#","response_format":{"type":"json_object"}"#, false),
            (with_logprobs(-0.3), "", true),
            (with_logprobs(-3.0), "", false),
        ] {
            let verdict = of(std::slice::from_ref(&choice), Extent::Whole, &facts(more));
            assert_eq!(!verdict.is_unreliable(0.5, 0.1), good, "{choice:?}: {verdict:?}");
        }
    }

    #[test]
    fn after_a_tools_work_there_may_be_nothing_left_to_say() {
        let after = r#"{"model":"auto","messages":[{"role":"user","content":"Delete it"},
            {"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","content":"done","tool_call_id":"1"}]}"#;
        let facts = CHAT.read(Bytes::from_static(after.as_bytes())).unwrap().1;
        assert!(!of(&[answer("", Finish::Stop)], Extent::Whole, &facts).is_certain());
    }

    #[test]
    fn the_worst_of_several_answers_counts() {
        let (good, bad) = (answer("It is so.", Finish::Stop), answer("I'm not sure.", Finish::Stop));
        let verdict = of(&[good.clone(), bad.clone(), good], Extent::Whole, &facts(""));
        assert_eq!(verdict, of(&[bad], Extent::Whole, &facts("")));
    }

    #[test]
    fn the_dial_says_how_much_doubt_is_borne_and_what_is_no_answer_never_is() {
        let doubted = Verdict { doubt: 0.6, why: String::new() };
        let fine = Verdict { doubt: 0.09, why: String::new() };
        for (quality, replaced) in [(0.0, false), (0.3, false), (0.5, true), (1.0, true)] {
            assert_eq!(doubted.is_unreliable(quality, 0.1), replaced, "{quality}");
            assert!(!fine.is_unreliable(quality, 0.1), "{quality}");
            assert!(Verdict::certain("the answer is empty").is_unreliable(quality, 0.1), "{quality}");
        }
    }

    #[test]
    fn what_nobody_checks_is_doubted_only_where_it_is_no_answer() {
        let facts = facts("");
        let of = |text| {
            let asked = Asked { facts: &facts, difficulty: Some(1.0), is_checked: false };
            judge(&[answer(text, Finish::Stop)], Extent::Whole, asked).doubt
        };
        assert_eq!((of("I'm not sure what you mean, hello!"), of("")), (0.0, 1.0));
    }

    #[test]
    fn a_long_answer_that_quotes_a_hedge_later_passes() {
        let text: String =
            (0..30).map(|i| format!("Sentence {i} is sure of itself. ")).collect::<String>() + "I'm not sure.";
        let verdict = of(&[answer(&text, Finish::Stop)], Extent::Whole, &facts(""));
        assert!(!verdict.is_unreliable(0.5, 0.1), "{verdict:?}");
    }

    #[test]
    fn a_beginning_is_not_blamed_for_what_may_still_come() {
        let verdict = of(&[Choice::default()], Extent::Head, &facts(""));
        assert!(!verdict.is_unreliable(0.9, 0.1), "{verdict:?}");
    }
}

//! The same answer in the grammar of Google's generated content.
//!
//! Each event of a stream is written like a whole answer, and tells what has been used so far: thoughts beside the rest. A call
//! comes whole, and that it was the end in an event of its own, as a mere stop.

use super::{Answer, Event, SIGNATURE, quote};
use crate::ask::Asked;
use crate::behaviour::Text;
use std::ops::Range;

impl Answer<'_> {
    /// The whole answer, or the list of a stream's events.
    pub(crate) fn content(&self, with_usage: bool) -> String {
        if matches!(self.ask.asked, Asked::Gemini { is_list: true, .. }) {
            let events: Vec<String> = self.content_events().0.into_iter().map(|event| event.json).collect();
            return format!("[{}]", events.join(",\r\n"));
        }
        let parts: Vec<String> = self.thought_part().into_iter().chain(self.said_part()).collect();
        let logprobs = self.chosen(self.words().enumerate());
        let candidates: Vec<String> = (0..self.ask.choices)
            .map(|index| self.candidate(index, &parts.join(","), &logprobs, Some(self.finish_reason())))
            .collect();
        self.event_of(&candidates.join(","), with_usage.then_some(self.usage.output))
    }

    /// The answer as events, and which of them tell why it ended.
    pub(crate) fn content_events(&self) -> (Vec<Event>, Range<usize>) {
        let mut events: Vec<Event> = Vec::new();
        let mut used = 0;
        let mut push = |part: &str, logprobs: &str, finish: Option<&str>, tokens: u64| {
            for index in 0..self.ask.choices {
                used += tokens;
                let candidate = self.candidate(index, part, logprobs, finish);
                let json = self.event_of(&candidate, (!self.plan.no_usage).then_some(used));
                events.push(Event { json, tokens });
            }
        };
        // Whoever reasons has done so before the first event.
        push(&self.thought_part().unwrap_or_default(), "", None, self.usage.reasoning / self.ask.choices);
        match self.plan.text {
            Text::Tools => push(&self.said_part().unwrap_or_default(), "", None, self.ends.len() as u64),
            Text::GiantMib(_) => push(&text_part(self.said(), ""), "", None, self.ends.len() as u64),
            _ => self.words().enumerate().for_each(|(place, word)| {
                let logprobs = self.chosen(std::iter::once((place, word)));
                push(&text_part(word, self.extra(super::EXTRA_INNER)), &logprobs, None, 1);
            }),
        }
        push(&text_part("", ""), "", Some(self.finish_reason()), 0);
        let finish = events.len() - self.ask.choices as usize;
        (events, finish..finish + self.ask.choices as usize)
    }

    fn event_of(&self, candidates: &str, output: Option<u64>) -> String {
        let usage = output.map_or(String::new(), |output| {
            let super::Usage { input, cached, reasoning, .. } = self.usage;
            let thoughts = reasoning.min(output);
            format!(
                r#","usageMetadata":{{"promptTokenCount":{input},"cachedContentTokenCount":{cached},"candidatesTokenCount":{},"thoughtsTokenCount":{thoughts},"totalTokenCount":{},"serviceTier":"STANDARD"}}"#,
                output - thoughts,
                input + output,
            )
        });
        format!(
            r#"{{"candidates":[{candidates}]{usage},{}"modelVersion":{},"responseId":"double_{}"}}"#,
            self.extra(super::EXTRA),
            quote(&self.ask.model),
            self.sequence,
        )
    }

    fn candidate(&self, index: u64, parts: &str, logprobs: &str, finish: Option<&str>) -> String {
        let finish = finish.map_or(String::new(), |finish| format!(r#","finishReason":"{finish}""#));
        format!(r#"{{"content":{{"parts":[{parts}],"role":"model"}}{finish}{logprobs},"index":{index}}}"#)
    }

    fn thought_part(&self) -> Option<String> {
        let thinks_aloud = matches!(self.ask.asked, Asked::Gemini { thinks_aloud: true, .. });
        (thinks_aloud && self.usage.reasoning > 0).then(|| r#"{"text":"Let me see.","thought":true}"#.to_owned())
    }

    fn said_part(&self) -> Option<String> {
        let said = self.said();
        if self.plan.text != Text::Tools {
            return (!said.is_empty()).then(|| text_part(said, self.extra(super::EXTRA_INNER)));
        }
        let (sequence, model) = (self.sequence, &self.ask.model);
        let id = if self.plan.no_ids { String::new() } else { format!(r#""id":"g_double_{sequence}","#) };
        let args = if self.finish == "tool_calls" { said } else { "{}" };
        let signs = matches!(self.ask.asked, Asked::Gemini { signs: true, .. });
        let signature = quote(&format!("{SIGNATURE}{model}-{sequence}"));
        let signature = if signs { format!(r#","thoughtSignature":{signature}"#) } else { String::new() };
        Some(format!(r#"{{"functionCall":{{{id}"name":{},"args":{args}}}{signature}}}"#, quote(&self.ask.tool)))
    }

    /// How likely some words were, each with its place in the answer.
    fn chosen<'w>(&self, words: impl Iterator<Item = (usize, &'w str)>) -> String {
        if !self.ask.logprobs || matches!(self.plan.text, Text::Tools | Text::GiantMib(_)) {
            return String::new();
        }
        let word = |(place, word): (usize, &str)| {
            format!(r#"{{"token":{},"logProbability":{}}}"#, quote(word), self.logprob(place))
        };
        format!(r#","logprobsResult":{{"chosenCandidates":[{}]}}"#, words.map(word).collect::<Vec<_>>().join(","))
    }

    fn finish_reason(&self) -> &'static str {
        match self.finish {
            "length" => "MAX_TOKENS",
            "content_filter" => "SAFETY",
            "malformed_call" => "MALFORMED_FUNCTION_CALL",
            _ => "STOP",
        }
    }
}

fn text_part(text: &str, extra: &str) -> String {
    format!(r#"{{"text":{}{extra}}}"#, quote(text))
}

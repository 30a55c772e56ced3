//! The same answer in the grammar of Bedrock's Converse.
//!
//! An event is its name, a blank, and its JSON; how that becomes a frame is the layout's. Texts begin without an event, and
//! what the answer used comes after its end.

use super::{Answer, Event, quote};
use crate::behaviour::Text;
use std::ops::Range;

/// An event of which the end is missing.
pub(crate) const HALF_A_TEXT: &str = r#"contentBlockDelta {"contentBlockIndex":0,"delta":{"text":"bro"#;

impl Answer<'_> {
    /// The whole answer.
    pub(crate) fn converse(&self, with_usage: bool) -> String {
        let mut blocks = Vec::new();
        if self.usage.reasoning > 0 {
            blocks.push(
                r#"{"reasoningContent":{"reasoningText":{"text":"Let me think.","signature":"sig"}}}"#.to_owned(),
            );
        }
        let said = self.said();
        match self.plan.text {
            Text::Tools => {
                let input = if self.finish == "tool_calls" { said } else { "{}" };
                blocks.push(format!(r#"{{"toolUse":{{{},"input":{input}}}}}"#, self.tool_use_start()));
            }
            _ if said.is_empty() => {}
            _ => blocks.push(format!(r#"{{"text":{}}}"#, quote(said))),
        }
        let usage = if with_usage { format!(r#","usage":{}"#, self.converse_usage()) } else { String::new() };
        format!(
            r#"{{{}"metrics":{{"latencyMs":12}},"output":{{"message":{{"content":[{}],"role":"assistant"}}}},"stopReason":"{}"{usage}}}"#,
            self.extra(super::EXTRA),
            blocks.join(","),
            self.converse_reason(),
        )
    }

    /// The answer as events, and which of them tells why it ended.
    pub(crate) fn converse_events(&self) -> (Vec<Event>, Range<usize>) {
        let mut events = vec![event("messageStart", r#"{"p":"abcd","role":"assistant"}"#)];
        let mut index = 0;
        let delta = |events: &mut Vec<Event>, index: u64, json: &str, tokens| {
            let json = format!(r#"contentBlockDelta {{"contentBlockIndex":{index},"delta":{json},"p":"abcdefg"}}"#);
            events.push(Event { json, tokens });
        };
        let stop = |index: u64| event("contentBlockStop", &format!(r#"{{"contentBlockIndex":{index}}}"#));
        if self.usage.reasoning > 0 {
            delta(&mut events, index, r#"{"reasoningContent":{"text":"Let me think."}}"#, self.usage.reasoning);
            delta(&mut events, index, r#"{"reasoningContent":{"signature":"sig"}}"#, 0);
            events.push(stop(index));
            index += 1;
        }
        let is_tool = self.plan.text == Text::Tools;
        if is_tool {
            let start =
                format!(r#"{{"contentBlockIndex":{index},"start":{{"toolUse":{{{}}}}}}}"#, self.tool_use_start());
            events.push(event("contentBlockStart", &start));
        }
        let words: Vec<&str> = match self.plan.text {
            Text::GiantMib(_) => vec![self.said()],
            _ => self.words().collect(),
        };
        let tokens = if words.len() == 1 { self.ends.len() as u64 } else { 1 };
        for word in &words {
            let json = match is_tool {
                true => format!(r#"{{"toolUse":{{"input":{}}}}}"#, quote(word)),
                false => format!(r#"{{"text":{}}}"#, quote(word)),
            };
            delta(&mut events, index, &json, tokens);
        }
        if is_tool || !words.is_empty() {
            events.push(stop(index));
        }
        let finish = events.len();
        events.push(event("messageStop", &format!(r#"{{"stopReason":"{}"}}"#, self.converse_reason())));
        if !self.plan.no_usage {
            let usage = self.converse_usage();
            events.push(event("metadata", &format!(r#"{{"metrics":{{"latencyMs":12}},"usage":{usage}}}"#)));
        }
        (events, finish..finish + 1)
    }

    fn tool_use_start(&self) -> String {
        format!(r#""name":{},"toolUseId":"tooluse_double_{}""#, quote(&self.ask.tool), self.sequence)
    }

    fn converse_reason(&self) -> &'static str {
        match self.finish {
            "length" => "max_tokens",
            "tool_calls" => "tool_use",
            "content_filter" => "guardrail_intervened",
            _ => "end_turn",
        }
    }

    fn converse_usage(&self) -> String {
        let super::Usage { input, cached, output, .. } = self.usage;
        let written = self.plan.written_tokens.min(input - cached);
        format!(
            r#"{{"cacheDetails":[{{"inputTokens":{written},"ttl":"5m"}}],"cacheReadInputTokens":{cached},"cacheWriteInputTokens":{written},"inputTokens":{},"outputTokens":{output},"totalTokens":{}}}"#,
            input - cached - written,
            input + output,
        )
    }
}

fn event(name: &str, json: &str) -> Event {
    Event { json: format!("{name} {json}"), tokens: 0 }
}

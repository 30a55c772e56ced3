//! The same answer in the grammar of Anthropic's messages.
//!
//! It thinks as the newest models do, without showing it: a block of thoughts has a signature and no words. The count of
//! output tokens is 1 at the beginning of a stream, and right at its end.

use super::{Answer, Event, quote};
use crate::behaviour::Text;
use std::ops::Range;

/// How the signature of every thought begins.
pub(crate) const SIGNATURE: &str = "sig-double-";

impl Answer<'_> {
    /// The whole message.
    pub(crate) fn message(&self, with_usage: bool) -> String {
        let mut blocks: Vec<String> = self.thought().into_iter().collect();
        let said = self.said();
        match self.plan.text {
            Text::Tools => {
                let input = if self.finish == "tool_calls" { said } else { "{}" };
                blocks.push(self.tool_use(input));
            }
            _ if said.is_empty() => {}
            _ => blocks.push(format!(r#"{{"type":"text","text":{}{}}}"#, quote(said), self.extra(super::EXTRA_INNER))),
        }
        let usage =
            if with_usage { format!(r#","usage":{}"#, self.usage_json(self.usage.output)) } else { String::new() };
        format!(
            r#"{{"id":"msg_double_{}","type":"message","role":"assistant","model":{},{}"content":[{}],"stop_reason":"{}","stop_sequence":null{usage}}}"#,
            self.sequence,
            quote(&self.ask.model),
            self.extra(super::EXTRA),
            blocks.join(","),
            self.stop_reason(),
        )
    }

    /// The message as events, and which of them tells why it ended.
    pub(crate) fn message_events(&self) -> (Vec<Event>, Range<usize>) {
        let with_usage = !self.plan.no_usage;
        let usage = if with_usage { format!(r#","usage":{}"#, self.usage_json(1)) } else { String::new() };
        let mut events = vec![event(format!(
            r#"{{"type":"message_start","message":{{"id":"msg_double_{}","type":"message","role":"assistant","model":{},{}"content":[],"stop_reason":null,"stop_sequence":null{usage}}}}}"#,
            self.sequence,
            quote(&self.ask.model),
            self.extra(super::EXTRA),
        ))];
        let mut index = 0;
        if self.thought().is_some() {
            let tokens = self.usage.reasoning;
            let start = r#"{"type":"thinking","thinking":"","signature":""}"#;
            let signature = format!(r#"{{"type":"signature_delta","signature":{}}}"#, self.signature());
            block(&mut events, &mut index, start, vec![Event { json: signature, tokens }]);
        }
        events.push(event(r#"{"type":"ping"}"#.to_owned()));
        let words: Vec<&str> = match self.plan.text {
            Text::GiantMib(_) => vec![self.said()],
            _ => self.words().collect(),
        };
        let tokens = if words.len() == 1 { self.ends.len() as u64 } else { 1 };
        let delta = |kind: &str, name: &str, word: &str| Event {
            json: format!(r#"{{"type":"{kind}","{name}":{}}}"#, quote(word)),
            tokens,
        };
        match self.plan.text {
            Text::Tools => {
                let deltas = words.iter().map(|word| delta("input_json_delta", "partial_json", word)).collect();
                block(&mut events, &mut index, &self.tool_use("{}"), deltas);
            }
            _ if words.is_empty() => {}
            _ => {
                let deltas = words.iter().map(|word| delta("text_delta", "text", word)).collect();
                block(&mut events, &mut index, r#"{"type":"text","text":""}"#, deltas);
            }
        }
        let usage = if with_usage {
            format!(
                r#","usage":{{"output_tokens":{},"output_tokens_details":{{"thinking_tokens":{}}}}}"#,
                self.usage.output, self.usage.reasoning
            )
        } else {
            String::new()
        };
        let finish = events.len();
        let reason = self.stop_reason();
        events.push(event(format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":null}}{usage}}}"#
        )));
        events.push(event(r#"{"type":"message_stop"}"#.to_owned()));
        (events, finish..finish + 1)
    }

    fn thought(&self) -> Option<String> {
        let thought = format!(r#"{{"type":"thinking","thinking":"","signature":{}}}"#, self.signature());
        (self.usage.reasoning > 0).then_some(thought)
    }

    /// The model's own.
    fn signature(&self) -> String {
        quote(&format!("{SIGNATURE}{}-{}", self.ask.model, self.sequence))
    }

    fn tool_use(&self, input: &str) -> String {
        let (sequence, name) = (self.sequence, quote(&self.ask.tool));
        format!(r#"{{"type":"tool_use","id":"toolu_double_{sequence}","name":{name},"input":{input}}}"#)
    }

    fn stop_reason(&self) -> &'static str {
        match self.finish {
            "length" => "max_tokens",
            "tool_calls" => "tool_use",
            "content_filter" => "refusal",
            _ => "end_turn",
        }
    }

    fn usage_json(&self, output: u64) -> String {
        let super::Usage { input, cached, reasoning, .. } = self.usage;
        let written = self.plan.written_tokens.min(input - cached);
        format!(
            r#"{{"input_tokens":{},"cache_creation_input_tokens":{written},"cache_read_input_tokens":{cached},"cache_creation":{{"ephemeral_5m_input_tokens":{written},"ephemeral_1h_input_tokens":0}},"output_tokens":{output},"output_tokens_details":{{"thinking_tokens":{}}},"service_tier":"standard"}}"#,
            input - cached - written,
            reasoning.min(output),
        )
    }
}

fn event(json: String) -> Event {
    Event { json, tokens: 0 }
}

/// Adds the events of one block.
fn block(events: &mut Vec<Event>, index: &mut u64, start: &str, deltas: Vec<Event>) {
    events.push(event(format!(r#"{{"type":"content_block_start","index":{index},"content_block":{start}}}"#)));
    for Event { json, tokens } in deltas {
        let json = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{json}}}"#);
        events.push(Event { json, tokens });
    }
    events.push(event(format!(r#"{{"type":"content_block_stop","index":{index}}}"#)));
    *index += 1;
}

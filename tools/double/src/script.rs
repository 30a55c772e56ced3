//! From an answer and a plan to the exact bytes, the pauses between them, and how it all ends.
//!
//! Everything is laid out before the first byte leaves. So each misbehaviour is a plain edit of a list (cut it short,
//! put something into it, split it elsewhere), the sender has no cases, and what is sent never depends on timing.

use crate::LEAK;
use crate::answer::{Answer, Event, HALF_A_CHUNK, HALF_A_TEXT, Usage};
use crate::ask::{Ask, Asked};
use crate::azure;
use crate::bedrock;
use crate::behaviour::{Fault, Plan, Split, Sse};
use crate::forms::{self, Sent};
use crate::http::{CONTINUE, phrase};
use crate::refusal::{BLOCKED, Refusal, content_envelope, envelope, message_envelope};
use crate::responses::{Telling, error_event};
use std::ops::Range;

/// The longest single write, so that a client that leaves in the middle of a giant answer is noticed.
const WRITE_BYTES: usize = 64 * 1024;
/// Pieces in which a dripping whole body is sent.
const DRIPS: usize = 8;
/// Pause that makes a receiver see split writes apart.
const SPLIT_MS: u64 = 1;
const JSON: &str = "application/json";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// One write, and the pause before it.
pub(crate) struct Piece {
    /// Where in the script's bytes it ends; it begins where the one before ended.
    pub(crate) end: usize,
    pub(crate) wait_ms: u64,
    /// Output tokens that are generated once it is written.
    pub(crate) tokens: u64,
}

/// What happens after the last piece.
pub(crate) enum End {
    /// The connection serves the next request.
    Keep,
    /// The connection is closed as if nothing were missing.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing, until the client leaves.
    Stall,
    /// This is sent over and over, until the client leaves, with a pause before each.
    Endless(Vec<u8>, u64),
}

/// A call's whole course on the wire.
pub(crate) struct Script {
    pub(crate) status: u16,
    pub(crate) bytes: Vec<u8>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) end: End,
    /// What is billed; nothing if nothing was generated.
    pub(crate) usage: Usage,
    /// Whether a client that has read all of it holds a whole and right answer.
    pub(crate) complete: bool,
    pub(crate) stops_when_left: bool,
    /// Whether others run between two writes, so that a receiver in this process sees them apart.
    pub(crate) yields: bool,
}

impl Script {
    fn new(status: u16, end: End) -> Self {
        Self {
            status,
            bytes: Vec::new(),
            pieces: Vec::new(),
            end,
            usage: Usage::default(),
            complete: false,
            stops_when_left: false,
            yields: false,
        }
    }

    /// An answer of the double's own, outside of any plan.
    pub(crate) fn plain(status: u16, content_type: &str, body: &str) -> Self {
        Self::plain_with(status, content_type, "", body)
    }

    /// The same with further header lines.
    pub(crate) fn plain_with(status: u16, content_type: &str, fields: &str, body: &str) -> Self {
        let mut script = Self::new(status, End::Keep);
        let length = format!("{fields}Content-Length: {}\r\n", body.len());
        script.push(head(status, content_type, &length, 0).as_bytes(), 0);
        script.extend_last(body.as_bytes());
        script
    }

    /// What a plan makes of one request. `struck` says whether its fault strikes this call.
    pub(crate) fn of(plan: &Plan, ask: &Ask, body: &[u8], sequence: u64, struck: bool) -> Self {
        let fault = if struck { plan.fault } else { Fault::None };
        let sent = plan.form.map(|form| if ask.stream { &form.streamed } else { &form.whole });
        let mut script = match fault {
            Fault::None if let Some(sent) = sent => match sent {
                Some(sent) => Self::raw(sent, ask),
                None => Self::plain(
                    404,
                    JSON,
                    &envelope("this form has no such answer", "invalid_request_error", "no_form"),
                ),
            },
            Fault::Reset => Self::new(200, End::Reset),
            Fault::StallHead => Self::new(200, End::Stall),
            Fault::Refuse(refusal) if ask.asked.is_gemini() && refusal.code == "content_policy_violation" => {
                match ask.stream {
                    true => Self::plain(200, "text/event-stream", &format!("data: {BLOCKED}\n\n")),
                    false => Self::plain(200, JSON, BLOCKED),
                }
            }
            Fault::Refuse(refusal) => Self::refused(&refusal, ask, sequence, plan.close),
            _ => {
                let answer = Answer::new(ask, plan, sequence, body);
                let mut script = Self::new(200, if plan.close { End::Close } else { End::Keep });
                // What is no answer from its beginning was never generated.
                let nothing = match fault {
                    Fault::NotJson => true,
                    Fault::ErrorEvent => !ask.stream || plan.after_events == Some(0),
                    _ => answer.is_free(),
                };
                script.usage = if nothing { Usage::default() } else { answer.usage };
                script.complete = fault == Fault::None;
                script.stops_when_left = plan.stops_when_left;
                script.yields = plan.split != Split::Nowhere;
                let layout = Layout { plan, fault, sequence, ask };
                if plan.interim {
                    script.push(CONTINUE, 0);
                }
                match ask.stream && fault != Fault::NotJson {
                    true => layout.stream(&mut script, &answer),
                    false => layout.whole(&mut script, &answer),
                }
                script
            }
        };
        if let Some(first) = script.pieces.first_mut() {
            first.wait_ms += plan.slow_ms;
        }
        script
    }

    fn refused(refusal: &Refusal, ask: &Ask, sequence: u64, close: bool) -> Self {
        let body = refusal.body(ask.asked, ask.prompt_tokens);
        // Google says in the body when to come again.
        let retry = if ask.asked.is_gemini() { String::new() } else { refusal.retry_header() };
        let mut fields = format!("Content-Length: {}\r\n{retry}", body.len());
        if close {
            fields.push_str("Connection: close\r\n");
        }
        if ask.asked == Asked::Converse {
            fields += &format!("x-amzn-ErrorType: {}\r\n", bedrock::name_of(refusal.status));
        }
        let mut script = Self::new(refusal.status, if close { End::Close } else { End::Keep });
        script.push(head(refusal.status, JSON, &fields, sequence).as_bytes(), 0);
        script.extend_last(body.as_bytes());
        script
    }

    /// A raw form: its bytes as they stand, each event in a write of its own.
    fn raw(sent: &Sent, ask: &Ask) -> Self {
        let body = sent.coded(&ask.model);
        let is_chunked = ask.stream && sent.status == 200 && sent.end != forms::End::Closed;
        let end = match sent.end {
            forms::End::Clean => End::Keep,
            forms::End::Closed | forms::End::Cut => End::Close,
            forms::End::Reset => End::Reset,
            forms::End::Stall => End::Stall,
        };
        let mut script = Self::new(sent.status, end);
        (script.usage, script.yields) = (sent.bill, true);
        script.complete = sent.status == 200 && matches!(sent.end, forms::End::Clean | forms::End::Closed);
        if sent.status == 0 {
            return script;
        }
        let framing = match sent.end {
            _ if is_chunked => CHUNKED.to_owned(),
            forms::End::Clean => format!("Content-Length: {}\r\n", body.len()),
            forms::End::Closed => "Connection: close\r\n".to_owned(),
            // More is announced than comes.
            _ => format!("Content-Length: {}\r\n", body.len() + 50),
        };
        let fields: String = sent.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let phrase = phrase(sent.status);
        let head =
            format!("HTTP/1.1 {} {phrase}\r\n{fields}{framing}openai-organization: org-{LEAK}\r\n\r\n", sent.status);
        script.push(head.as_bytes(), 0);
        for part in forms::events_of(&body) {
            match is_chunked {
                true => script.push(&chunk(part), sent.pause_ms),
                false => script.push(part, sent.pause_ms),
            }
        }
        if is_chunked && sent.end == forms::End::Clean {
            script.extend_last(b"0\r\n\r\n");
        }
        script
    }

    /// Adds one write, after a pause.
    fn push(&mut self, bytes: &[u8], wait_ms: u64) {
        self.bytes.extend_from_slice(bytes);
        self.pieces.push(Piece { end: self.bytes.len(), wait_ms, tokens: 0 });
    }

    /// Says how many output tokens come with the last write.
    fn last_brings(&mut self, tokens: u64) {
        if let Some(last) = self.pieces.last_mut() {
            last.tokens = tokens;
        }
    }

    /// Adds bytes to the last write.
    fn extend_last(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some(last) = self.pieces.last_mut() {
            last.end = self.bytes.len();
        }
    }
}

/// How the bytes of one answer are laid out.
struct Layout<'a> {
    plan: &'a Plan,
    fault: Fault,
    sequence: u64,
    ask: &'a Ask,
}

impl Layout<'_> {
    fn telling<'b>(&'b self, answer: &'b Answer<'b>) -> Telling<'b, 'b> {
        Telling { answer, ask: self.ask, plan: self.plan, sequence: self.sequence }
    }

    fn is_chat(&self) -> bool {
        self.ask.asked == Asked::Chat
    }

    fn is_converse(&self) -> bool {
        self.ask.asked == Asked::Converse
    }

    fn body(&self, answer: &Answer<'_>, with_usage: bool) -> String {
        match self.ask.asked {
            Asked::Chat => answer.whole(with_usage),
            Asked::Responses { .. } => self.telling(answer).whole(with_usage),
            Asked::Messages => answer.message(with_usage),
            Asked::Gemini { .. } => answer.content(with_usage),
            Asked::Embeddings { base64, dimensions } => answer.vectors(base64, dimensions, with_usage),
            Asked::Converse => answer.converse(with_usage),
        }
    }

    /// The events of a whole stream, and which of them are its end.
    fn events(&self, answer: &Answer<'_>) -> (Vec<Event>, Range<usize>) {
        match self.ask.asked {
            Asked::Chat | Asked::Embeddings { .. } => {}
            Asked::Responses { .. } => return self.telling(answer).events(),
            Asked::Messages => return answer.message_events(),
            Asked::Gemini { .. } => return answer.content_events(),
            Asked::Converse => return answer.converse_events(),
        }
        let (mut events, mut finishing) = answer.events();
        if self.ask.is_azure {
            finishing = azure::annotate(&mut events, &finishing);
        }
        events.push(Event { json: "[DONE]".to_owned(), tokens: 0 });
        (events, finishing)
    }

    /// An error in the middle of a stream.
    fn error(&self) -> String {
        let message = format!("The server had an error, key {LEAK}");
        match self.ask.asked {
            Asked::Chat | Asked::Embeddings { .. } => mid_stream_error(),
            Asked::Responses { .. } => error_event(&message),
            Asked::Messages => message_envelope(&message, 529, "overloaded"),
            Asked::Gemini { .. } => content_envelope(&message, 503, ""),
            Asked::Converse => {
                format!(r#"!modelStreamErrorException {{"message":"{message}","originalStatusCode":500}}"#)
            }
        }
    }

    fn whole(&self, script: &mut Script, answer: &Answer<'_>) {
        let plan = self.plan;
        let with_usage = !plan.no_usage && self.fault != Fault::CutBeforeDone;
        let (content_type, body) = match self.fault {
            Fault::NotJson => ("text/html", "<!doctype html><title>502</title><h1>The node is on fire</h1>".to_owned()),
            Fault::ErrorEvent if self.ask.asked == Asked::Messages || self.ask.asked.is_gemini() => {
                (JSON, self.error())
            }
            Fault::ErrorEvent if self.is_converse() => (JSON, format!(r#"{{"message":"key {LEAK}"}}"#)),
            Fault::ErrorEvent => (JSON, mid_stream_error()),
            _ => (JSON, self.body(answer, with_usage)),
        };
        let half = body.floor_char_boundary(body.len() / 2);
        let mut sent = body.as_str();
        let mut announced = body.len();
        match self.fault {
            Fault::Cut => (sent, script.end) = (&body[..half], End::Close),
            Fault::ResetMid => (sent, script.end) = (&body[..half], End::Reset),
            Fault::Stall => (sent, script.end) = ("", End::Stall),
            Fault::CutClean | Fault::Malformed | Fault::BadFrame => (sent, announced) = (&body[..half], half),
            Fault::CutBeforeDone => script.end = End::Close,
            Fault::Endless => {
                let more = chunk("more and more ".repeat(1000).as_bytes());
                (sent, script.end) = (&body[..half], End::Endless(more, plan.drip_ms));
            }
            Fault::None | Fault::NotJson | Fault::ErrorEvent => {}
            Fault::Refuse(_) | Fault::Reset | Fault::StallHead => {} // These have no body.
        }
        let chunked = self.fault == Fault::Endless;
        let framing = if chunked { CHUNKED.to_owned() } else { format!("Content-Length: {announced}\r\n") };
        self.head(script, content_type, &framing);
        let size = if plan.drip_ms > 0 { sent.len().div_ceil(DRIPS).max(1) } else { WRITE_BYTES };
        for (place, part) in sent.as_bytes().chunks(size).enumerate() {
            let wait_ms = plan.drip_ms + if place == 0 { plan.ttft_ms } else { 0 };
            match place == 0 && wait_ms == 0 && plan.split == Split::Nowhere && !chunked {
                true => script.extend_last(part),
                false => self.write(script, part, chunked, wait_ms),
            }
        }
        script.last_brings(answer.usage.output);
    }

    fn stream(&self, script: &mut Script, answer: &Answer<'_>) {
        let plan = self.plan;
        let (mut events, finishing) = self.events(answer);
        let finish_at = finishing.start;
        let half = finish_at.div_ceil(2);
        let at = plan.after_events.unwrap_or(half).min(events.len());
        let mut terminated = true;
        match self.fault {
            Fault::Cut => {
                events.truncate(at.min(finish_at));
                (terminated, script.end) = (false, End::Close);
            }
            Fault::CutClean => events.truncate(at.min(finish_at)),
            Fault::CutBeforeDone => {
                events.truncate(finishing.end);
                (terminated, script.end) = (false, End::Close);
            }
            Fault::ResetMid => {
                events.truncate(at);
                (terminated, script.end) = (false, End::Reset);
            }
            Fault::Stall => {
                events.truncate(at);
                (terminated, script.end) = (false, End::Stall);
            }
            Fault::Endless => {
                let more = self.frame(&events[half.min(finish_at - 1)].json);
                events.truncate(half);
                (terminated, script.end) = (false, End::Endless(chunk(&more), plan.drip_ms));
            }
            Fault::Malformed | Fault::BadFrame => {
                let is_sound = self.fault == Fault::Malformed && self.is_converse();
                let json = if is_sound { HALF_A_TEXT } else { HALF_A_CHUNK };
                events.insert(at, Event { json: json.to_owned(), tokens: 0 });
            }
            Fault::ErrorEvent => {
                events.truncate(at);
                events.push(Event { json: self.error(), tokens: 0 });
            }
            Fault::None | Fault::Refuse(_) | Fault::Reset | Fault::StallHead | Fault::NotJson => {}
        }
        let content_type = if self.is_converse() { "application/vnd.amazon.eventstream" } else { "text/event-stream" };
        self.head(script, content_type, &format!("Cache-Control: no-cache\r\n{CHUNKED}"));
        for (place, event) in events.iter().enumerate() {
            let wait_ms = plan.drip_ms + if place == 0 { plan.ttft_ms } else { 0 };
            self.write(script, &self.frame(&event.json), true, wait_ms);
            script.last_brings(event.tokens);
        }
        if terminated {
            script.extend_last(b"0\r\n\r\n");
        }
    }

    fn head(&self, script: &mut Script, content_type: &str, framing: &str) {
        let close = if self.plan.close { "Connection: close\r\n" } else { "" };
        let head = head(200, content_type, &format!("{framing}{close}"), self.sequence);
        self.write(script, head.as_bytes(), false, 0);
    }

    /// Adds bytes, in as many writes as the plan splits them into; each is a chunk of its own where the body is chunked,
    /// so that a receiver sees the split even if the network joins the segments.
    fn write(&self, script: &mut Script, bytes: &[u8], chunked: bool, wait_ms: u64) {
        let mut begin = 0;
        for end in self.splits(bytes) {
            let wait_ms = match (begin, self.plan.split) {
                (0, _) => wait_ms,
                (_, Split::Awkwardly) => SPLIT_MS,
                _ => 0,
            };
            match chunked {
                true => script.push(&chunk(&bytes[begin..end]), wait_ms),
                false => script.push(&bytes[begin..end], wait_ms),
            }
            begin = end;
        }
    }

    fn frame(&self, json: &str) -> Vec<u8> {
        if self.is_converse() {
            return bedrock::frame::of(json);
        }
        // Each event of a response or a message has a name, which is its type.
        let name =
            json.strip_prefix(r#"{"type":""#).filter(|_| !self.is_chat()).and_then(|rest| rest.split('"').next());
        let line = |end: &str| name.map_or(String::new(), |name| format!("event: {name}{end}"));
        let text = match self.plan.sse {
            Sse::Plain => format!("{}data: {json}\n\n", line("\n")),
            Sse::Crlf => format!("{}data: {json}\r\n\r\n", line("\r\n")),
            Sse::Comments => {
                let name = line("\n");
                format!(": OPENROUTER PROCESSING\n\n:\nid: 7\nretry: 1000\n{name}data: {json}\n: still\n\n")
            }
            Sse::NoSpace => format!("{}data:{json}\n\n", line("\n")),
            Sse::Multiline => match json.split_once(",\"") {
                Some((first, rest)) => format!("{}data: {first},\ndata: \"{rest}\n\n", line("\n")),
                None => format!("{}data: {json}\n\n", line("\n")),
            },
        };
        text.into_bytes()
    }

    /// Where the writes of `bytes` end.
    fn splits(&self, bytes: &[u8]) -> Vec<usize> {
        match self.plan.split {
            Split::Nowhere => vec![bytes.len()],
            Split::EveryByte => (1..=bytes.len()).collect(),
            Split::Awkwardly => {
                // In the middle of the line, and after the first byte of each character that has several.
                let mut ends: Vec<usize> = (1..bytes.len()).filter(|at| bytes[at - 1] >= 0xC0).collect();
                ends.extend([bytes.len() / 2, bytes.len()]);
                ends.retain(|end| *end > 0);
                ends.sort_unstable();
                ends.dedup();
                ends
            }
        }
    }
}

fn head(status: u16, content_type: &str, fields: &str, sequence: u64) -> String {
    let phrase = phrase(status);
    format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n{fields}x-request-id: req_double_{sequence}\r\nrequest-id: req_double_{sequence}\r\nopenai-organization: org-{LEAK}\r\n\r\n"
    )
}

fn mid_stream_error() -> String {
    envelope(&format!("The server had an error, key {LEAK}"), "server_error", "server_error")
}

/// One chunk of the chunked coding.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn waits(model: &str, stream: bool) -> Vec<u64> {
        let body = format!(r#"{{"model":"x","messages":[],"stream":{stream}}}"#);
        let (plan, ask) = (Plan::parse(model).unwrap(), Ask::parse(body.as_bytes()).unwrap());
        let script = Script::of(&plan, &ask, body.as_bytes(), 1, true);
        assert_eq!(script.pieces.last().unwrap().end, script.bytes.len(), "{model}");
        script.pieces.iter().map(|piece| piece.wait_ms).collect()
    }

    #[test]
    fn pauses_stand_where_they_are_documented() {
        for (model, stream, expected) in [
            ("ok", false, vec![0]), // Head and body in one write.
            ("slow-5", false, vec![5]),
            ("slow-5+429", false, vec![5]),
            ("ttft-5", false, vec![0, 5]),
            ("drip-5", false, vec![0, 5, 5, 5, 5, 5, 5, 5, 5]),
            // The head, the role, one word, the finish reason and [DONE].
            ("say:one", true, vec![0, 0, 0, 0, 0]),
            ("slow-5+say:one", true, vec![5, 0, 0, 0, 0]),
            ("ttft-5+say:one", true, vec![0, 5, 0, 0, 0]),
            ("slow-7+ttft-5+drip-2+say:one", true, vec![7, 7, 2, 2, 2]),
            ("slow-7+continue+say:one", true, vec![7, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(waits(model, stream), expected, "{model} {stream}");
        }
    }

    #[test]
    fn no_write_is_so_long_that_leaving_goes_unnoticed() {
        let body = br#"{"model":"x","messages":[]}"#;
        let (plan, ask) = (Plan::parse("giant-2").unwrap(), Ask::parse(body).unwrap());
        let script = Script::of(&plan, &ask, body, 1, true);
        let ends = script.pieces.iter().map(|piece| piece.end);
        let begins = std::iter::once(0).chain(ends.clone());
        assert!(begins.zip(ends).all(|(begin, end)| end - begin <= WRITE_BYTES + 512));
        assert!(script.pieces.len() > 30);
    }
}

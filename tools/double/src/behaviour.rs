//! From a model id to what the double will do: one table, one pass, nothing remembered.
//!
//! Behaviour lives in the model id, not in a control channel, so that a catalog alone sets a scene, concurrent tests
//! cannot disturb one another, and a receipt that names the model names the fault. The table that users read is in the
//! crate's documentation; [`Plan::part`] is the same table for the machine.

use crate::forms::{self, Form};
use crate::refusal::{Refusal, Retry};

/// What goes wrong with a call, at most one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Fault {
    #[default]
    None,
    Refuse(Refusal),
    Reset,
    ResetMid,
    Cut,
    CutClean,
    CutBeforeDone,
    Stall,
    StallHead,
    Malformed,
    BadFrame,
    NotJson,
    ErrorEvent,
    Endless,
}

/// Which of a model's calls the fault strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Which {
    #[default]
    Every,
    Percent(u64),
    First(u64),
}

impl Which {
    /// Whether the `index`-th call (from 0) is struck. Percentages are diffused like rounding errors, so that of any
    /// hundred calls in a row exactly that many are struck, evenly spread, the first of all spared below 100.
    pub(crate) fn strikes(self, index: u64) -> bool {
        match self {
            Self::Every => true,
            Self::Percent(percent) => (index + 1) * percent / 100 > index * percent / 100,
            Self::First(calls) => index < calls,
        }
    }
}

/// What the answer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Text {
    #[default]
    Plain,
    Parrot,
    Echo,
    Empty,
    Refusal,
    Hedge,
    Json,
    BadJson,
    Tools,
    Unicode,
    Say(String),
    GiantMib(u64),
}

/// How an answer is gone on with whose beginning stands in the request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum GoesOn {
    /// It is not: the beginning is overlooked.
    #[default]
    Never,
    /// With the very next character.
    Faithfully,
    /// From the beginning of the sentence that was cut.
    Repeating,
    /// From its own beginning.
    Anew,
}

/// How events are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Sse {
    #[default]
    Plain,
    Crlf,
    Comments,
    NoSpace,
    Multiline,
}

/// Where writes are split.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Split {
    #[default]
    Nowhere,
    Awkwardly,
    EveryByte,
}

/// All that a model id asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) which: Which,
    pub(crate) fault: Fault,
    /// Events before the fault; half of them if unsaid.
    pub(crate) after_events: Option<usize>,
    pub(crate) text: Text,
    /// The raw form that is sent in place of an answer that is made.
    pub(crate) form: Option<&'static Form>,
    pub(crate) finish: Option<&'static str>,
    pub(crate) sse: Sse,
    pub(crate) split: Split,
    pub(crate) slow_ms: u64,
    pub(crate) ttft_ms: u64,
    pub(crate) drip_ms: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) written_tokens: u64,
    pub(crate) reasoning_tokens: u64,
    pub(crate) no_usage: bool,
    pub(crate) low_logprob: bool,
    pub(crate) overrun: bool,
    pub(crate) close: bool,
    pub(crate) interim: bool,
    pub(crate) extra: bool,
    pub(crate) stops_when_left: bool,
    pub(crate) no_sampling: bool,
    pub(crate) no_ids: bool,
    pub(crate) goes_on: GoesOn,
    /// Characters of a piece, where pieces are no words.
    pub(crate) letters: Option<usize>,
    /// Its tool is called in requests that have no result of one.
    pub(crate) tools_once: bool,
    /// The length of vectors.
    pub(crate) dimensions: Option<u64>,
    pub(crate) vectors: Vectors,
}

/// What is unusual about vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Vectors {
    #[default]
    Usual,
    Backwards,
    Unnumbered,
    SameNumber,
    TooFew,
    TooMany,
    Null,
    Zero,
    Short,
    Floats,
    Bare,
    StrictFormat,
}

impl Vectors {
    fn named(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("vectors-")? {
            "backwards" => Self::Backwards,
            "unnumbered" => Self::Unnumbered,
            "same-number" => Self::SameNumber,
            "too-few" => Self::TooFew,
            "too-many" => Self::TooMany,
            "null" => Self::Null,
            "zero" => Self::Zero,
            "short" => Self::Short,
            "floats" => Self::Floats,
            "bare" => Self::Bare,
            "strict-format" => Self::StrictFormat,
            _ => return None,
        })
    }
}

impl Plan {
    /// Reads a model id; `None` if any part of it is unknown or two parts contradict each other.
    pub(crate) fn parse(model: &str) -> Option<Self> {
        let mut plan = Self::default();
        let mut rest = Some(model.split_once('@').map_or(model, |(behaviour, _label)| behaviour));
        while let Some(parts) = rest {
            if let Some(words) = parts.strip_prefix("say:") {
                plan.say(Text::Say(words.to_owned()))?;
                break;
            }
            let (part, after) = parts.split_once('+').map_or((parts, None), |(part, after)| (part, Some(after)));
            let part = part.replace(':', "-");
            match part.strip_prefix("form-") {
                Some(name) => plan.form = Some(forms::form(name)?),
                None if plan.of_content(&part) => {}
                None => plan.part(&part)?,
            }
            rest = after;
        }
        if plan.which != Which::Every && plan.fault == Fault::None {
            plan.fault = Fault::Refuse(Refusal::of_status(500));
        }
        Some(plan)
    }

    /// Takes a part that only says something of generated content.
    fn of_content(&mut self, part: &str) -> bool {
        match part {
            "no-ids" => self.no_ids = true,
            "malformed-call" => self.finish = Some("malformed_call"),
            // What is refused, and whether a stream is a list, is seen where a request is read.
            part => return part == "as-list" || part.starts_with("gemini-"),
        }
        true
    }

    /// What it comes to for a request, by whether that has a result of a tool.
    pub(crate) fn after_tools(mut self, has_result: bool) -> Self {
        if self.tools_once && has_result {
            self.text = Text::Plain;
        }
        self
    }

    fn part(&mut self, part: &str) -> Option<()> {
        let split = part.rsplit_once('-').and_then(|(name, number)| Some((name, number.parse::<u64>().ok()?)));
        let (name, number) = split.map_or((part, None), |(name, number)| (name, Some(number)));
        match (name, number) {
            // What is refused of the latter is seen where a request is read.
            ("ok" | "modern", None) => {}
            ("fail", Some(percent @ 0..=100)) => self.which = Which::Percent(percent),
            ("fail-first", Some(calls)) => self.which = Which::First(calls),
            ("status", Some(status @ 400..=599)) => self.refuse(Refusal::of_status(status as u16))?,
            ("context-overflow", None) => self.refuse(Refusal::of_status(400).with_code("context_length_exceeded"))?,
            ("content-filter", None) => self.refuse(Refusal::of_status(400).with_code("content_policy_violation"))?,
            ("insufficient-quota", None) => self.refuse(Refusal::of_status(429).with_code("insufficient_quota"))?,
            ("429", None) => self.too_many(Retry::Unsaid)?,
            ("429-after", Some(seconds)) => self.too_many(Retry::AfterSeconds(seconds))?,
            ("429-after-date", seconds) => self.too_many(Retry::AtDate(seconds.unwrap_or(2)))?,
            ("429-ms", Some(ms)) => self.too_many(Retry::AfterMs(ms))?,
            ("reset", None) => self.break_by(Fault::Reset, None)?,
            ("reset-mid", events) => self.break_by(Fault::ResetMid, events)?,
            ("cut", events) => self.break_by(Fault::Cut, events)?,
            ("cut-clean", events) => self.break_by(Fault::CutClean, events)?,
            ("cut-before-done", None) => self.break_by(Fault::CutBeforeDone, None)?,
            ("stall", events) => self.break_by(Fault::Stall, events)?,
            ("stall-head", None) => self.break_by(Fault::StallHead, None)?,
            ("malformed", events) => self.break_by(Fault::Malformed, events)?,
            ("not-json", None) => self.break_by(Fault::NotJson, None)?,
            ("error-event", events) => self.break_by(Fault::ErrorEvent, events)?,
            ("endless", None) => self.break_by(Fault::Endless, None)?,
            ("parrot", None) => self.say(Text::Parrot)?,
            ("echo", None) => self.say(Text::Echo)?,
            ("empty", None) => self.say(Text::Empty)?,
            ("refusal", None) => self.say(Text::Refusal)?,
            ("hedge", None) => self.say(Text::Hedge)?,
            ("json", None) => self.say(Text::Json)?,
            ("bad-json", None) => self.say(Text::BadJson)?,
            ("tools" | "tools-once", None) => self.call_tool(name == "tools-once")?,
            ("unicode", None) => self.say(Text::Unicode)?,
            ("giant", Some(mib @ 1..=256)) => self.say(Text::GiantMib(mib))?,
            ("length", None) => self.finish = Some("length"),
            ("content-filter-finish", None) => self.finish = Some("content_filter"),
            ("sse-crlf", None) => self.sse = Sse::Crlf,
            ("sse-comments", None) => self.sse = Sse::Comments,
            ("sse-nospace", None) => self.sse = Sse::NoSpace,
            ("sse-multiline", None) => self.sse = Sse::Multiline,
            ("split-utf8", None) => self.split = Split::Awkwardly,
            ("one-byte", None) => self.split = Split::EveryByte,
            ("slow", Some(ms)) => self.slow_ms = ms,
            ("ttft", Some(ms)) => self.ttft_ms = ms,
            ("drip", Some(ms)) => self.drip_ms = ms,
            ("cached", Some(tokens)) => self.cached_tokens = tokens,
            ("written", Some(tokens)) => self.written_tokens = tokens,
            ("reasoning", Some(tokens @ 0..=1_000_000)) => self.reasoning_tokens = tokens,
            ("no-usage", None) => self.no_usage = true,
            ("low-logprob", None) => self.low_logprob = true,
            ("overrun", None) => self.overrun = true,
            ("close", None) => self.close = true,
            ("continue", None) => self.interim = true,
            ("extra", None) => self.extra = true,
            ("no-sampling", None) => self.no_sampling = true,
            ("stops-when-left", None) => self.stops_when_left = true,
            _ => return self.rarer(part, name, number),
        }
        Some(())
    }

    fn rarer(&mut self, part: &str, name: &str, number: Option<u64>) -> Option<()> {
        match (name, number) {
            ("bad-frame", events) => self.break_by(Fault::BadFrame, events)?,
            ("goes-on", None) => self.goes_on = GoesOn::Faithfully,
            ("goes-on-repeating", None) => self.goes_on = GoesOn::Repeating,
            ("goes-on-anew", None) => self.goes_on = GoesOn::Anew,
            ("letters", Some(letters @ 1..=1000)) => self.letters = Some(letters as usize),
            ("dimensions", Some(dimensions @ 1..=65_536)) => self.dimensions = Some(dimensions),
            _ => self.vectors = Vectors::named(part)?,
        }
        Some(())
    }

    fn break_by(&mut self, fault: Fault, after_events: Option<u64>) -> Option<()> {
        self.after_events = after_events.map(|events| events as usize);
        let first = self.fault == Fault::None;
        self.fault = fault;
        first.then_some(())
    }

    fn refuse(&mut self, refusal: Refusal) -> Option<()> {
        self.break_by(Fault::Refuse(refusal), None)
    }

    fn too_many(&mut self, retry: Retry) -> Option<()> {
        self.refuse(Refusal::of_status(429).with_retry(retry))
    }

    fn call_tool(&mut self, once: bool) -> Option<()> {
        self.tools_once = once;
        self.say(Text::Tools)
    }

    fn say(&mut self, text: Text) -> Option<()> {
        let first = self.text == Text::Plain;
        self.text = text;
        first.then_some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// Every name of the table in the crate's documentation, so that the two cannot part.
    fn documented() -> Vec<&'static str> {
        let cell = |line: &'static str| line.strip_prefix("//! | `")?.split("` |").next();
        include_str!("lib.rs").lines().filter_map(cell).flat_map(|cell| cell.split("`, `")).collect()
    }

    #[test]
    fn every_documented_behaviour_is_understood() {
        let names = documented();
        assert!(names.len() > 55, "{names:?}");
        for name in names {
            let id = name
                .replace("NAME", "gzip")
                .replace("CODE", "503")
                .replace("TEXT", "yes")
                .replace("MIB", "1")
                .replace('N', "7");
            assert!(Plan::parse(&id).is_some(), "{name}");
        }
    }

    #[test]
    fn unknown_and_contradictory_names_are_refused() {
        for id in [
            "",
            "okay",
            "fail",
            "fail-101",
            "status-200",
            "slow",
            "giant-0",
            "cut+stall",
            "empty+hedge",
            "ok+",
            "429-after",
            "form-unheard-of",
        ] {
            assert_eq!(Plan::parse(id), None, "{id}");
        }
    }

    #[test]
    fn parts_combine_labels_are_ignored_and_colons_are_dashes() {
        let plan = Plan::parse("fail:50+status-503+slow:20@second").unwrap();
        assert_eq!((plan.which, plan.slow_ms), (Which::Percent(50), 20));
        assert_eq!(plan.fault, Fault::Refuse(Refusal::of_status(503)));
        assert_eq!(Plan::parse("hedge+say:a"), None);
        assert_eq!(Plan::parse("low-logprob+say:a+b").unwrap().text, Text::Say("a+b".to_owned()));
        assert_eq!(Plan::parse("cut-3").unwrap().after_events, Some(3));
    }

    #[test]
    fn a_percentage_is_exact_over_any_hundred_calls_in_a_row() {
        for percent in 0..=100 {
            for start in [0, 1, 37, 99, 1234] {
                let struck = (start..start + 100).filter(|index| Which::Percent(percent).strikes(*index)).count();
                assert_eq!(struck as u64, percent, "from {start}");
            }
        }
        let half: Vec<bool> = (0..4).map(|index| Which::Percent(50).strikes(index)).collect();
        assert_eq!(half, [false, true, false, true]);
        let first: Vec<bool> = (0..4).map(|index| Which::First(2).strikes(index)).collect();
        assert_eq!(first, [true, true, false, false]);
    }
}

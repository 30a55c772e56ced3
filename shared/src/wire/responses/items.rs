//! What of an answer's items has been told, so that nothing is told twice and nothing is missed.
//!
//! Of each item so much is remembered: what it is, and how many bytes of each of its parts came. What the end of a part
//! tells beyond those bytes is taken from there. Where the arguments of a call came in part, their end cannot be joined to
//! them without their text: that answer is given up, for half of the arguments is worse than none.

use crate::wire::answer::Places;
use crate::wire::json::{Stopped, items, place, text_of};
use crate::wire::piece::{Finish, Piece, Place, TokenLogprobs};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Most items of an answer that are told apart.
pub(super) const MAX_ITEMS: usize = 1024;
/// The place of an item whose id is another's, too.
const NOWHERE: u64 = u64::MAX;
/// Longest id by which an item is known again.
const MAX_ID_BYTES: usize = 128;
/// Most parts of an item that are told apart.
const MAX_PARTS: usize = 128;

/// A part of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// A text of a message.
    Text(u64),
    /// A refusal in a message.
    Refusal(u64),
    /// What a model thought.
    Thought(u64),
    /// The summary of that.
    Summary(u64),
    /// The arguments of a call.
    Arguments,
}

/// The items of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Items {
    known: BTreeMap<u64, Item>,
    /// Their places by their ids: the list at a stream's end may leave some out.
    places: HashMap<String, u64>,
    /// How many of them are calls.
    calls: u64,
    /// Whether it has been told how likely its tokens were.
    has_logprobs: bool,
}

/// What is known of an item.
#[derive(Debug, Default)]
struct Item {
    /// Its number among the calls, once it is known for one.
    call: Option<u64>,
    /// How many bytes of each part came.
    came: BTreeMap<Part, usize>,
    /// Whether it has been told that nobody else understands it.
    is_native: bool,
}

/// What an event, or a whole answer, tells.
pub(super) struct Told<'p> {
    pub(super) bytes: &'p Bytes,
    pub(super) pieces: Vec<Piece>,
    pub(super) places: Places,
    /// Whether it ends otherwise than what was told before began.
    pub(super) is_contradicted: bool,
}

#[derive(Deserialize)]
struct WireItem<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    call_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encrypted_content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

impl Items {
    /// Why an answer of these ended that is complete.
    pub(super) fn finish(&self) -> Finish {
        if self.calls > 0 { Finish::ToolCalls } else { Finish::Stop }
    }

    /// Notes by which id an item of a stream will be known again.
    fn note_id(&mut self, index: u64, wire: &WireItem<'_>) {
        let Some(id) = wire.id.map(RawValue::get).filter(|id| id.len() <= MAX_ID_BYTES) else { return };
        if let Some(place) = self.places.get_mut(id) {
            // Two of one id are none.
            *place = if *place == index { index } else { NOWHERE };
        } else if self.places.len() < MAX_ITEMS {
            self.places.insert(id.to_owned(), index);
        }
    }

    /// An item is told in the list of all, at this place in it.
    pub(super) fn listed(&mut self, place: u64, raw: &RawValue, told: &mut Told<'_>) {
        let Ok(wire) = serde_json::from_str::<WireItem<'_>>(raw.get()) else { return told.native() };
        let known = wire.id.and_then(|id| self.places.get(id.get()).copied()).filter(|known| *known != NOWHERE);
        self.whole(known.unwrap_or(place), &wire, told);
    }

    /// An item begins. What its beginning has of texts its end has, too.
    pub(super) fn begin(&mut self, index: u64, raw: &RawValue, told: &mut Told<'_>) {
        let Ok(wire) = serde_json::from_str::<WireItem<'_>>(raw.get()) else { return told.native() };
        self.note_id(index, &wire);
        match wire.kind.as_deref() {
            Some("function_call") => {
                self.begin_call(index, &wire, told);
                if let Some(arguments) = wire.arguments.filter(|raw| !is_empty(raw)) {
                    self.delta(index, Part::Arguments, Some(arguments), told);
                }
            }
            Some("message" | "reasoning") => {}
            _ => self.native(index, told),
        }
    }

    /// An item of a stream ends.
    pub(super) fn end(&mut self, index: u64, raw: &RawValue, told: &mut Told<'_>) {
        let Ok(wire) = serde_json::from_str::<WireItem<'_>>(raw.get()) else { return told.native() };
        self.note_id(index, &wire);
        self.whole(index, &wire, told);
    }

    /// Tells all of an item that has not been told.
    fn whole(&mut self, index: u64, wire: &WireItem<'_>, told: &mut Told<'_>) {
        match wire.kind.as_deref() {
            Some("function_call") => {
                self.begin_call(index, wire, told);
                self.done(index, Part::Arguments, wire.arguments, told);
            }
            Some("message") => self.message(index, wire, told),
            Some("reasoning") => {
                self.parts(index, wire.summary, told, |i, part, _| Some((Part::Summary(i), part.text)));
                self.parts(index, wire.content, told, |i, part, _| Some((Part::Thought(i), part.text)));
                if let Some(seal) = wire.encrypted_content.filter(|raw| !is_empty(raw)) {
                    self.native(index, told);
                    told.pieces.push(Piece::Signature { choice: 0, id: place(told.bytes, seal), signature: 0..0 });
                }
            }
            _ => self.native(index, told),
        }
    }

    fn message(&mut self, index: u64, wire: &WireItem<'_>, told: &mut Told<'_>) {
        let has_logprobs = self.has_logprobs;
        self.parts(index, wire.content, told, |i, part, told| match part.kind.as_deref() {
            Some("output_text") => {
                if has_logprobs {
                    told.hide_logprobs(part.logprobs)
                } else {
                    told.logprobs(part.logprobs)
                }
                if part.annotations.is_some_and(|annotations| !is_empty(annotations)) {
                    told.native();
                }
                Some((Part::Text(i), part.text))
            }
            Some("refusal") => Some((Part::Refusal(i), part.refusal)),
            _ => None,
        });
        self.has_logprobs |= told.pieces.iter().any(|piece| matches!(piece, Piece::Logprobs { .. }));
    }

    /// Tells how likely the tokens of a text were of which more is told.
    pub(super) fn logprobs(&mut self, raw: Option<&RawValue>, told: &mut Told<'_>) {
        told.logprobs(raw);
        self.has_logprobs |= !told.pieces.is_empty();
    }

    fn parts<'a>(
        &mut self,
        index: u64,
        list: Option<&'a RawValue>,
        told: &mut Told<'_>,
        part_of: impl Fn(u64, &WirePart<'a>, &mut Told<'_>) -> Option<(Part, Option<&'a RawValue>)>,
    ) {
        let Some(list) = list.filter(|list| list.get().starts_with('[')) else { return };
        let read = items(list.get(), |i, raw| {
            if i == MAX_PARTS {
                return Err(());
            }
            match serde_json::from_str::<WirePart<'_>>(raw.get()).ok().and_then(|part| part_of(i as u64, &part, told)) {
                Some((part, value)) => self.done(index, part, value, told),
                None => told.native(),
            }
            Ok(())
        });
        if matches!(read, Err(Stopped::Refused(()))) {
            told.native();
        }
    }

    /// Tells the head of a call, once.
    fn begin_call(&mut self, index: u64, wire: &WireItem<'_>, told: &mut Told<'_>) {
        let calls = self.calls;
        let Some(item) = self.known(index) else { return told.native() };
        if item.call.is_some() {
            return;
        }
        item.call = Some(calls);
        self.calls += 1;
        let (id, name) = (told.place(wire.call_id), told.place(wire.name));
        told.pieces.push(Piece::ToolCall { choice: 0, call: calls, id, name, arguments: 0..0 });
    }

    /// More of a part.
    pub(super) fn delta(&mut self, index: u64, part: Part, raw: Option<&RawValue>, told: &mut Told<'_>) {
        let Some(raw) = raw.filter(|raw| raw.get().starts_with('"')) else { return };
        let text = text_of(raw.get());
        if text.is_empty() {
            return;
        }
        let Some(item) = self.known(index) else { return told.native() };
        let call = item.call;
        if item.came.len() == MAX_PARTS && !item.came.contains_key(&part) {
            return told.native();
        }
        *item.came.entry(part).or_default() += text.len();
        told.tell(part, call, &text, raw);
    }

    /// All of a part: what of it has not come is told.
    pub(super) fn done(&mut self, index: u64, part: Part, raw: Option<&RawValue>, told: &mut Told<'_>) {
        let Some(raw) = raw.filter(|raw| raw.get().starts_with('"')) else { return };
        let came = self.known(index).and_then(|item| item.came.get(&part).copied()).unwrap_or(0);
        if came == 0 {
            return self.delta(index, part, Some(raw), told);
        }
        let text = text_of(raw.get());
        let Some(rest) = text.get(came..).filter(|rest| !rest.is_empty()) else { return };
        match part {
            Part::Text(_) | Part::Refusal(_) => {
                if let Some(item) = self.known(index) {
                    item.came.insert(part, text.len());
                }
                told.tell(part, None, rest, raw);
            }
            Part::Arguments => told.is_contradicted = true,
            // A thought that is told in part is no worse for it.
            Part::Thought(_) | Part::Summary(_) => {}
        }
    }

    /// Tells once that an item is its own format's.
    fn native(&mut self, index: u64, told: &mut Told<'_>) {
        match self.known(index) {
            Some(item) if item.is_native => {}
            Some(item) => {
                item.is_native = true;
                told.native();
            }
            None => told.native(),
        }
    }

    /// What is known of an item; none of those that are too many.
    fn known(&mut self, index: u64) -> Option<&mut Item> {
        if self.known.len() >= MAX_ITEMS && !self.known.contains_key(&index) {
            return None;
        }
        Some(self.known.entry(index).or_default())
    }
}

impl<'p> Told<'p> {
    pub(super) fn of(bytes: &'p Bytes) -> Self {
        Self { bytes, pieces: Vec::new(), places: Places::default(), is_contradicted: false }
    }

    fn place(&self, raw: Option<&RawValue>) -> Place {
        raw.filter(|raw| raw.get() != "null").map_or(0..0, |raw| place(self.bytes, raw))
    }

    /// Tells more of a part.
    fn tell(&mut self, part: Part, call: Option<u64>, text: &str, raw: &RawValue) {
        match part {
            Part::Text(_) => match self.pieces.last_mut() {
                Some(Piece::Text { text: before, .. }) => before.push_str(text),
                _ => self.pieces.push(Piece::Text { choice: 0, text: text.to_owned() }),
            },
            Part::Refusal(_) => self.pieces.push(Piece::Refusal { choice: 0, text: text.to_owned() }),
            Part::Thought(_) | Part::Summary(_) => {
                let text = self.place(Some(raw));
                self.pieces.push(Piece::Thought { choice: 0, text });
            }
            Part::Arguments => {
                // Arguments of what has not begun as a call are nobody's.
                let Some(call) = call else { return self.native() };
                let arguments = self.place(Some(raw));
                self.pieces.push(Piece::ToolCall { choice: 0, call, id: 0..0, name: 0..0, arguments });
            }
        }
    }

    /// Tells that there is something which only this format knows; once is enough.
    pub(super) fn native(&mut self) {
        if !self.pieces.contains(&Piece::Native { choice: 0 }) {
            self.pieces.push(Piece::Native { choice: 0 });
        }
    }

    /// Tells how likely the tokens of a text were.
    fn logprobs(&mut self, raw: Option<&RawValue>) {
        let Some(list) = raw.filter(|raw| !is_empty(raw)) else { return };
        self.hide_logprobs(Some(list));
        let mut known = TokenLogprobs::default();
        // What is no list tells nothing.
        let _: Result<usize, Stopped<()>> = items(list.get(), |_, token| {
            #[derive(Deserialize)]
            struct Token {
                logprob: f64,
            }
            if let Ok(Token { logprob }) = serde_json::from_str(token.get()) {
                known = known.plus(TokenLogprobs::of([logprob]));
            }
            Ok(())
        });
        if known.tokens() > 0 {
            self.pieces.push(Piece::Logprobs { choice: 0, logprobs: known });
        }
    }

    /// Notes where log-probabilities stand that have been told before.
    pub(super) fn hide_logprobs(&mut self, raw: Option<&RawValue>) {
        self.places.logprobs.extend(raw.filter(|raw| !is_empty(raw)).map(|raw| place(self.bytes, raw)));
    }

    /// The same of those in a part.
    pub(super) fn hide_logprobs_of_part(&mut self, part: Option<&RawValue>) {
        let part = part.and_then(|raw| serde_json::from_str::<WirePart<'_>>(raw.get()).ok());
        self.hide_logprobs(part.and_then(|part| part.logprobs));
    }
}

fn is_empty(raw: &RawValue) -> bool {
    matches!(raw.get(), "null" | "[]" | r#""""#)
}

//! Whether a text gives orders about its own routing: "label this as greeting", "use the cheap tier".
//!
//! What a request is about is for the gateway to find out, not for the request to say: a hard question with such a sentence
//! in it, be it a trick or one line of a mail that is to be summarised, must not be served by a weak model. An order is a
//! name that the configuration gives to an intent or a tier, or "the smallest model", with words about labels and routes
//! around it, in some twelve languages. A name alone is none, or no greeting card could be written. All that follows from an
//! order is that the tier cannot sink by it, so a false alarm costs a look at the text with a sentence left out.
//!
//! Read are the beginning and the end of a text, as those are all that a decision reads of it. One pass looks at the first
//! bytes of each word; more is read only around a name (B1).

mod reading;
#[cfg(test)]
mod tests;
mod words;

use crate::steps;
use reading::{Named, Reading, words_of};
use std::ops::Range;
use std::sync::Arc;
use words::{EASY, STRONG, Vocabulary, WEAK};

/// Bytes of a text's beginning that are read.
const HEAD_BYTES: usize = 4_096;
/// … and of its end.
const TAIL_BYTES: usize = 2_048;
/// One name more than this in a text is taken for an order: none is to be hidden behind many names. Of the words that stand
/// in for one, which are everywhere, the others are left alone.
const MAX_NAMES: usize = 48;
/// Bits of the table of what words begin with that are worth a look.
const STARTS: usize = 4_096;

/// Knows the names that an order may be about.
#[derive(Debug)]
pub struct Orders {
    /// Each name in small letters, as its words.
    names: Vec<Vec<String>>,
    vocabulary: Vocabulary,
    /// What these names, and the words that stand in for one, begin with.
    starts: Vec<u64>,
}

impl Orders {
    /// The orders about intents and tiers of these names.
    #[must_use]
    pub fn about<'n>(names: impl Iterator<Item = &'n Arc<str>>) -> Self {
        let words = |name: &Arc<str>| -> Vec<String> {
            name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
        };
        let names: Vec<Vec<String>> = names.map(words).filter(|words| !words.is_empty()).collect();
        let vocabulary = Vocabulary::default();
        let mut starts = vec![0; STARTS / 64];
        let mut note = |word: &str| {
            let place = start_of(word);
            starts[place / 64] |= 1 << (place % 64);
        };
        names.iter().for_each(|words| note(&words[0]));
        vocabulary.of(WEAK | STRONG | EASY).for_each(note);
        Self { names, vocabulary, starts }
    }

    /// Whether an order stands in a text.
    #[must_use]
    pub fn stand_in(&self, text: &str) -> bool {
        !self.places(text).is_empty()
    }

    /// The text without the clauses that hold an order; `None` where there is none.
    #[must_use]
    pub fn without(&self, text: &str) -> Option<String> {
        let places = self.places(text);
        if places.is_empty() {
            return None;
        }
        let (mut rest, mut from) = (String::with_capacity(text.len()), 0);
        for place in places {
            rest.push_str(text.get(from..place.start).unwrap_or_default());
            rest.push(' ');
            from = from.max(place.end);
        }
        rest.push_str(&text[from..]);
        Some(rest)
    }

    /// The clauses that hold an order.
    fn places(&self, text: &str) -> Vec<Range<usize>> {
        if text.len() <= HEAD_BYTES + TAIL_BYTES {
            return self.places_in(text).collect();
        }
        let head = text.floor_char_boundary(HEAD_BYTES);
        let tail = text.ceil_char_boundary(text.len() - TAIL_BYTES);
        let in_tail = self.places_in(&text[tail..]).map(|place| place.start + tail..place.end + tail);
        self.places_in(&text[..head]).chain(in_tail).collect()
    }

    fn places_in(&self, text: &str) -> impl Iterator<Item = Range<usize>> {
        let is_worth_a_look = words_of(text).any(|word| self.may_begin_a_name(&text[word]));
        let places = if is_worth_a_look { self.read(text) } else { Vec::new() };
        places.into_iter()
    }

    fn read(&self, text: &str) -> Vec<Range<usize>> {
        let reading = Reading::new(text, &self.vocabulary);
        let (mut places, mut names, mut others) = (Vec::new(), 0, 0);
        for at in 0..reading.words.len() {
            if !self.may_begin_a_name(reading.word(at)) {
                continue;
            }
            let Some(name) = self.name_at(&reading, at) else { continue };
            let count = if name.is_configured { &mut names } else { &mut others };
            *count += 1;
            match (*count > MAX_NAMES, name.is_configured) {
                (true, true) => return std::iter::once(0..text.len()).collect(),
                (true, false) => continue,
                (false, _) => steps::count(1),
            }
            if reading.is_order(&name) {
                places.push(reading.clause(&name.words));
            }
        }
        places
    }

    fn may_begin_a_name(&self, word: &str) -> bool {
        let place = start_of(word);
        self.starts[place / 64] >> (place % 64) & 1 == 1
    }

    /// The configured name, or the words that stand in for one, that begin at this word.
    fn name_at(&self, reading: &Reading<'_>, at: usize) -> Option<Named> {
        let is_here = |name: &&Vec<String>| {
            name.iter().enumerate().all(|(n, word)| reading.word(at + n).eq_ignore_ascii_case(word))
        };
        if let Some(name) = self.names.iter().filter(is_here).max_by_key(|name| name.len()) {
            return Some(Named { words: at..at + name.len(), is_configured: true });
        }
        let stands_in = reading.kind(at) & (WEAK | STRONG | EASY) != 0;
        stands_in.then_some(Named { words: at..at + 1, is_configured: false })
    }
}

/// A place in the table for what a word begins with: its first three bytes, in small letters where they are ASCII.
fn start_of(word: &str) -> usize {
    let byte =
        |at: usize| word.as_bytes().get(at).filter(|byte| byte.is_ascii()).map_or(0, |byte| usize::from(byte | 0x20));
    (byte(0) * 961 + byte(1) * 31 + byte(2)) % STARTS
}

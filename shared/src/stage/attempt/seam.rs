//! Where a continuation joins what the client has: what it says again of that is left out.
//!
//! A model that is asked to go on often begins its answer anew, or repeats the sentence that was cut. Only what is exactly the
//! same is left out, and only where it can hardly be meant: a text that ended with "ha" may go on with "ha". So a repetition
//! counts from a certain length, from where a sentence or at least a word begins, and not where the text repeats itself
//! already. What follows it is passed on as it came, for a faithful continuation is exactly the next bytes: nothing is put
//! between, and no blank is taken away.

use memchr::memmem;

/// How far back from the cut a repetition may begin with any word, in characters; and with a sentence, which may be long.
const TAIL_CHARS: usize = 200;
const SENTENCES_CHARS: usize = 2_000;
/// From here on a repetition may begin with any word, and not only with a sentence.
const LONG_BYTES: usize = 24;
/// Shorter ones must show that they are meant.
const SHORT_BYTES: usize = 12;
/// Letters and digits of a word that is seldom said twice without anything between.
const SHORT_SIGNS: usize = 3;
/// Who says so much of the answer's beginning again, and then something else, does not go on with it.
const ANEW_BYTES: usize = 100;
/// A text that repeats itself does so within this many bytes.
const PERIOD_BYTES: usize = 400;

/// What a continuation begins with, until it is known how much of it is a repetition.
#[derive(Debug)]
pub(crate) struct Seam {
    /// Where in what the client has the repetition may begin that is coming; the longest first.
    open: Vec<usize>,
    /// Where the longest begins that has come.
    found: Option<usize>,
    /// What came of the continuation.
    held: String,
    /// How much of it, but for the blanks before it, has been compared.
    compared: usize,
}

/// What is known of the seam.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joint {
    /// More must come before that can be said.
    Open,
    /// What follows at the cut.
    Text(String),
    /// The answer was begun anew, and in other words.
    Anew,
}

impl Seam {
    /// The end of what the client has.
    pub(super) fn after(before: &str) -> Self {
        Self { open: starts(before), found: None, held: String::new(), compared: 0 }
    }

    /// Takes more of the continuation of `before`.
    pub(super) fn add(&mut self, before: &str, text: &str) -> Joint {
        self.held.push_str(text);
        let (held, from) = (self.held.trim_start(), self.compared);
        if held.is_empty() {
            return Joint::Open;
        }
        let mut found = self.found;
        self.open.retain(|&start| {
            let again = &before[start..];
            let both = again.len().min(held.len());
            let is_same = again.as_bytes()[from..both] == held.as_bytes()[from..both];
            if is_same && held.len() > again.len() && is_meant_again(again, &held[again.len()..]) {
                found = Some(found.map_or(start, |longer| longer.min(start)));
            }
            is_same && held.len() <= again.len()
        });
        (self.compared, self.found) = (held.len(), found);
        // A shorter one than was found is part of it.
        self.open.retain(|&start| found.is_none_or(|found| start < found));
        if self.open.is_empty() { self.joint(before) } else { Joint::Open }
    }

    /// Takes the end of the continuation.
    pub(super) fn end(&mut self, before: &str) -> Joint {
        let held = self.held.trim_start().len();
        let is_all = |start: &&usize| before.len() - **start == held && is_meant_again(&before[**start..], "");
        match self.open.iter().find(is_all) {
            Some(_) => Joint::Text(String::new()),
            None if !self.open.is_empty() && held >= SHORT_BYTES => Joint::Anew,
            None => self.joint(before),
        }
    }

    fn joint(&mut self, before: &str) -> Joint {
        let held = std::mem::take(&mut self.held);
        match self.found {
            Some(start) => Joint::Text(held.trim_start()[before.len() - start..].to_owned()),
            None if is_anew(before, held.trim_start()) => Joint::Anew,
            None => Joint::Text(held),
        }
    }
}

/// Whether a text begins as the answer did, and goes on otherwise before it comes to the cut.
fn is_anew(before: &str, text: &str) -> bool {
    let before = before.as_bytes();
    let same = before.iter().zip(text.as_bytes()).take_while(|(one, other)| one == other).count();
    let is_once = || memmem::find(&before[1..], &before[..ANEW_BYTES]).is_none();
    same >= ANEW_BYTES && same < before.len() && is_once()
}

/// Where a repetition may begin that can be told from a text which goes on by itself.
fn starts(before: &str) -> Vec<usize> {
    let tail = before.char_indices().rev().take(SENTENCES_CHARS).enumerate();
    let tail = tail.filter(|(back, (at, _))| *at > 0 && (*back < TAIL_CHARS || begins_sentence(&before[..*at])));
    let tail = tail.map(|(_, (at, _))| at);
    let mut starts: Vec<usize> = tail.chain([0]).filter(|&at| is_telling(before, at)).collect();
    starts.sort_unstable();
    starts
}

/// Whether what begins here is long enough, and no part of a text that repeats itself.
fn is_telling(before: &str, start: usize) -> bool {
    let (earlier, again) = before.split_at(start);
    let is_blank = again.starts_with(char::is_whitespace);
    let begins = !is_blank && (begins_sentence(earlier) || again.len() >= LONG_BYTES && begins_word(earlier, again));
    begins && again.contains(char::is_alphabetic) && !earlier.ends_with(again) && !is_periodic(again)
}

fn begins_word(earlier: &str, again: &str) -> bool {
    let is_of_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !is_of_word(earlier.chars().next_back()) || !is_of_word(again.chars().next())
}

fn begins_sentence(earlier: &str) -> bool {
    let spoken = earlier.trim_end_matches([' ', '"', '\'', '*', '_', '(', '`', '”', '’', '“', '»']);
    earlier.is_empty() || ends_sentence(spoken) || spoken.ends_with(['\n', ':', ';'])
}

fn ends_sentence(text: &str) -> bool {
    text.ends_with(['.', '!', '?', '。', '！', '？', '…', '।', '؟'])
}

/// Whether a text is the same over and over, at least twice, be it with a blank between.
fn is_periodic(text: &str) -> bool {
    let text = &text.as_bytes()[..text.len().min(PERIOD_BYTES)];
    let spaced = [text.trim_ascii_end(), b" "].concat();
    [text, &spaced[..]]
        .iter()
        .any(|text| (1..=text.len() / 2).any(|period| text[period..] == text[..text.len() - period]))
}

/// Whether a repetition, with this after it, is meant as one. A short one is, if it would make no word with what stands before
/// it, or begins a sentence that goes on; a text says the same short word twice.
fn is_meant_again(again: &str, rest: &str) -> bool {
    if again.len() >= SHORT_BYTES {
        return true;
    }
    let signs = again.chars().filter(|c| c.is_alphanumeric()).count();
    if again.ends_with(char::is_alphanumeric) {
        let is_capital = again.chars().find(|c| c.is_alphabetic()).is_some_and(char::is_uppercase);
        let begins = is_capital || again.contains(char::is_whitespace);
        return signs >= SHORT_SIGNS || begins && rest.starts_with(char::is_lowercase);
    }
    signs >= SHORT_SIGNS && !ends_sentence(again.trim_end())
}

#[cfg(test)]
mod tests;

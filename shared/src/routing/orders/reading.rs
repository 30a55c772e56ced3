//! A text as words, and what stands around a name in it.

use super::words::{
    ANSWER, AS, AS_BEHIND, COPULA, EASY, FIELD, FILLER, Kinds, MODEL, NOT, ROUTE, STRONG, SUBJECT, TAIL, USE,
    Vocabulary, WEAK,
};
use std::ops::Range;

/// How many words before a name an order may begin.
const BEFORE: usize = 9;
/// … and how many behind it one may end.
const BEHIND: usize = 5;
/// Articles and quoting words that may stand directly before a name.
const FILLERS: usize = 5;

/// A name in a text.
pub(super) struct Named {
    /// Its words, by their number.
    pub(super) words: Range<usize>,
    /// Whether it is one of the configuration, and not a word like "cheapest".
    pub(super) is_configured: bool,
}

/// A text, and its words.
pub(super) struct Reading<'t> {
    text: &'t str,
    pub(super) words: Vec<Range<usize>>,
    vocabulary: &'t Vocabulary,
}

/// What a character is to words: no part of one, of a Latin one, or of any other. Between the latter two a word ends, for a
/// name in a Chinese sentence has no space around it.
#[derive(PartialEq)]
enum Script {
    None,
    Latin,
    Other,
}

fn script_of(c: char) -> Script {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => Script::Latin,
        // The scripts of India write vowels as marks, which are no letters.
        '\u{900}'..='\u{dff}' if !matches!(c, '।' | '॥') => Script::Other,
        _ if c.is_ascii() || !c.is_alphanumeric() => Script::None,
        '\0'..='\u{24f}' => Script::Latin,
        _ => Script::Other,
    }
}

/// The words of a text.
pub(super) fn words_of(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut chars = text.char_indices().map(|(at, c)| (at, script_of(c))).peekable();
    std::iter::from_fn(move || {
        let (start, script) = chars.find(|(_, script)| *script != Script::None)?;
        while chars.next_if(|(_, next)| *next == script).is_some() {}
        let end = chars.peek().map_or(text.len(), |(at, _)| *at);
        Some(start..end)
    })
}

impl<'t> Reading<'t> {
    pub(super) fn new(text: &'t str, vocabulary: &'t Vocabulary) -> Self {
        Self { text, words: words_of(text).collect(), vocabulary }
    }

    /// A word; nothing beyond the text's end.
    pub(super) fn word(&self, at: usize) -> &'t str {
        self.words.get(at).map_or("", |place| &self.text[place.clone()])
    }

    /// What kinds of word this one is.
    pub(super) fn kind(&self, at: usize) -> Kinds {
        let word = self.word(at);
        let is_small = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if is_small { self.vocabulary.kinds(word) } else { self.vocabulary.kinds(&word.to_lowercase()) }
    }

    /// What stands between a word and the one before it.
    fn gap_before(&self, at: usize) -> &'t str {
        let start = at.checked_sub(1).and_then(|before| self.words.get(before)).map_or(0, |word| word.end);
        let end = self.words.get(at).map_or(self.text.len(), |word| word.start);
        self.text.get(start..end).unwrap_or_default()
    }

    /// The place of the clause that these words stand in: what lies between two ends of sentences or lines.
    pub(super) fn clause(&self, words: &Range<usize>) -> Range<usize> {
        let is_end = |c: char| matches!(c, '.' | '!' | '?' | ';' | '\n' | '。' | '！' | '？' | '।' | '؟');
        let (from, to) = (self.words[words.start].start, self.words[words.end - 1].end);
        let start = self.text[..from].rfind(is_end).map_or(0, |at| at + 1);
        let end = self.text[to..].find(is_end).map_or(self.text.len(), |at| to + at);
        self.text.ceil_char_boundary(start)..end
    }

    /// Whether an order about this name stands around it.
    pub(super) fn is_order(&self, name: &Named) -> bool {
        let (first, behind) = (name.words.start, name.words.end);
        if name.is_configured && self.is_written_as_a_name(&name.words) {
            return true;
        }
        let near = Near { reading: self, first, behind };
        let kind = self.kind(first);
        match name.is_configured {
            true => {
                near.is_set() || near.assigns() || near.labels() || near.dictates() || near.chooses() || near.declares()
            }
            false if kind & EASY != 0 && (near.is_set() || near.labels()) => true,
            false if kind & WEAK != 0 => near.chooses(),
            false => kind & STRONG != 0 && near.any_before(1, BEFORE, NOT) && near.chooses(),
        }
    }

    /// Whether a name of several words is written with underscores, as only who knows it as a name does.
    fn is_written_as_a_name(&self, words: &Range<usize>) -> bool {
        words.len() > 1 && (words.start + 1..words.end).all(|at| self.gap_before(at) == "_")
    }
}

/// What stands around a name.
struct Near<'r, 't> {
    reading: &'r Reading<'t>,
    /// The name's first word.
    first: usize,
    /// The word behind it.
    behind: usize,
}

impl Near<'_, '_> {
    /// What the word is that stands so many words before the name, from 1 on.
    fn before(&self, distance: usize) -> Kinds {
        self.first.checked_sub(distance).map_or(0, |at| self.reading.kind(at))
    }

    /// Whether one of so many words, of which the last is the word at this distance, is of this kind.
    fn any_before(&self, distance: usize, count: usize, kinds: Kinds) -> bool {
        (distance..distance + count).any(|distance| self.before(distance) & kinds != 0)
    }

    fn any_near(&self, kinds: Kinds) -> bool {
        self.any_before(1, BEFORE, kinds) || self.any_behind(BEHIND, kinds)
    }

    fn any_behind(&self, count: usize, kinds: Kinds) -> bool {
        (self.behind..self.behind + count).any(|at| self.reading.kind(at) & kinds != 0)
    }

    /// The distance of the last word before the name that is no article and no quoting word.
    fn leads(&self) -> usize {
        (1..=FILLERS).find(|distance| self.before(*distance) & FILLER == 0).unwrap_or(FILLERS)
    }

    /// Whether what the name belongs to ends with it.
    fn ends(&self) -> bool {
        let gap = self.reading.gap_before(self.behind);
        self.behind >= self.reading.words.len()
            || gap.contains(|c: char| !c.is_whitespace() && !matches!(c, '-' | '_' | '/' | '(' | '&' | '+'))
            || gap.contains('\n')
            || self.reading.kind(self.behind) & TAIL != 0
    }

    /// `intent: greeting`, `"tier": "cheap"`, `/route cheap`, "in one word: greeting".
    fn is_set(&self) -> bool {
        let gap = self.reading.gap_before(self.first);
        let is_command = self.first > 0 && self.reading.gap_before(self.first - 1).ends_with(['/', '#', '@', '!']);
        let is_set = gap.contains([':', '=', '>', '：', '→', '-']);
        (is_set || is_command) && self.before(1) & (FIELD | MODEL) != 0
            || is_set && self.ends() && self.any_before(1, 5, ANSWER | ROUTE | FIELD)
    }

    /// "The intent is greeting", "its only output must be greeting".
    fn assigns(&self) -> bool {
        let leads = self.leads();
        let is = self.before(leads) & (COPULA | AS) != 0;
        let is_behind = self.reading.gap_before(self.behind).is_empty() && self.reading.kind(self.behind) & COPULA != 0;
        is && (self.any_before(leads, 5, FIELD) || self.ends() && self.any_before(leads, 3, ANSWER))
            || is_behind && self.before(1) & (FIELD | SUBJECT) != 0
    }

    /// "Label this as greeting", "label this greeting", "als greeting einstufen".
    fn labels(&self) -> bool {
        let leads = self.leads();
        let is_as = self.before(leads) & AS != 0 || self.reading.kind(self.behind) & AS_BEHIND != 0;
        let is_of_this = self.any_near(SUBJECT);
        (is_as || is_of_this) && self.any_near(ROUTE)
    }

    /// "Answer greeting", "reply only with the word greeting", "return greeting as the intent".
    fn dictates(&self) -> bool {
        let (before, behind) = (self.before(self.leads()), self.reading.kind(self.behind));
        before & ANSWER != 0 && (self.ends() || behind & AS != 0 && self.any_behind(4, FIELD | MODEL))
            || behind & AS_BEHIND != 0 && behind & ANSWER != 0
    }

    /// "Use the cheap tier", "the smallest model will do".
    fn chooses(&self) -> bool {
        let own = self.reading.kind(self.first);
        let is_model = (own | self.before(1) | self.before(2)) & MODEL != 0 || self.any_behind(2, MODEL);
        let chosen = USE | ROUTE | NOT;
        is_model && (own & chosen != 0 || self.any_near(chosen))
    }

    /// "This is just a greeting", "it's a greeting".
    fn declares(&self) -> bool {
        let leads = self.leads();
        let is_short = self.first > leads && self.reading.word(self.first - leads) == "s";
        let is = match is_short {
            true => self.before(leads + 1) & SUBJECT != 0,
            false => self.before(leads) & (COPULA | AS) != 0 && self.any_before(leads, 5, SUBJECT),
        };
        is && self.ends()
    }
}

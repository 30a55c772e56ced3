//! What can be seen of a prompt without understanding it: words and phrases that tell tasks apart, signs of code and of
//! mathematics, how long it is and how it is laid out.
//!
//! An embedding that is a mean of its words knows the subject and loses the form; these features give the form back to the
//! linear heads and to the model of difficulty. Each is a pass over at most 1,400 characters ([`window`]), a state per
//! character and one look-up per word: no regular expressions, nothing that goes back, so the cost is linear whatever the
//! text. Only its length and its lines are counted in the whole of it.
//!
//! The first 42 are those that were tried in Python with regular expressions, and mean the same, with these exceptions: white
//! space before the first word is passed over; `C++` and `C#` count before a space, words that begin with `scalab` and
//! `categor` count (there a word boundary kept all of them out); question marks and full stops of other scripts count; a
//! word of letters that stand without spaces is counted as two characters; the mean length of a word is bounded. The last
//! ten say more about layout, in any language.
//!
//! Weights belong to an order of features: whoever adds, removes or redefines one trains the heads anew.

mod cues;
mod lines;
mod marks;

use super::fnv;
use super::script::is_unspaced;
use super::window;
use lines::Lines;
use marks::Marks;

/// How many features there are.
pub const SURFACE: usize = 52;

/// A feature that means the same in any language, or in English alone.
const ANY: bool = true;
const ONE: bool = false;

/// The features in order, and whether each means the same in any language: what code, figures, layout and length say does;
/// words, letters, the length of words and the use of capitals do not.
const FEATURES: [(&str, bool); SURFACE] = [
    ("code", ANY),
    ("programming_language", ANY),
    ("code_word", ONE),
    ("error_word", ONE),
    ("maths", ONE),
    ("quantity_words", ONE),
    ("arithmetic", ANY),
    ("digit", ANY),
    ("money_or_percent", ANY),
    ("write_a_work", ONE),
    ("fiction_word", ONE),
    ("translate", ONE),
    ("summarise", ONE),
    ("extract", ONE),
    ("opens_with_what", ONE),
    ("opens_with_why", ONE),
    ("explain_or_advise", ONE),
    ("architecture", ONE),
    ("reasoning_word", ONE),
    ("greeting", ONE),
    ("ends_in_question", ANY),
    ("choices_in_line", ANY),
    ("rewrite", ONE),
    ("classify", ONE),
    ("non_ascii", ONE),
    ("other_script", ONE),
    ("negation", ONE),
    ("first_person", ONE),
    ("length", ANY),
    ("words", ANY),
    ("newlines", ANY),
    ("digit_share", ANY),
    ("symbol_share", ANY),
    ("uppercase_share", ONE),
    ("mean_word", ONE),
    ("numbers", ANY),
    ("sentences", ANY),
    ("distinct_words", ONE),
    ("longest_word", ONE),
    ("length_60", ANY),
    ("length_200", ANY),
    ("length_800", ANY),
    ("operator_share", ANY),
    ("identifiers", ANY),
    ("latex", ANY),
    ("quoted_share", ANY),
    ("non_ascii_letter_share", ANY),
    ("blank_lines", ANY),
    ("list_items", ANY),
    ("indented_lines", ANY),
    ("code_lines", ANY),
    ("choices_in_lines", ANY),
];

/// A name for each feature, in order.
pub const NAMES: [&str; SURFACE] = {
    let mut names = [""; SURFACE];
    let mut at = 0;
    while at < SURFACE {
        names[at] = FEATURES[at].0;
        at += 1;
    }
    names
};

/// The features that say that there are options to choose from.
pub const CHOICES: [usize; 2] = [21, 51];

/// The features that mean the same in every language.
pub const LANGUAGE_FREE: [bool; SURFACE] = {
    let mut free = [false; SURFACE];
    let mut at = 0;
    while at < SURFACE {
        free[at] = FEATURES[at].1;
        at += 1;
    }
    free
};

/// How many of the features are yes or no and have a bit of [`flag`]; they come first.
const FLAGS: usize = 28;

/// The features that are yes or no, one bit each, in the order of [`NAMES`].
mod flag {
    pub(super) const CODE: u64 = 1;
    pub(super) const PROGRAMMING_LANGUAGE: u64 = 1 << 1;
    pub(super) const CODE_WORD: u64 = 1 << 2;
    pub(super) const ERROR_WORD: u64 = 1 << 3;
    pub(super) const MATHS: u64 = 1 << 4;
    pub(super) const QUANTITY_WORDS: u64 = 1 << 5;
    pub(super) const ARITHMETIC: u64 = 1 << 6;
    pub(super) const DIGIT: u64 = 1 << 7;
    pub(super) const MONEY_OR_PERCENT: u64 = 1 << 8;
    pub(super) const WRITE_A_WORK: u64 = 1 << 9;
    pub(super) const FICTION_WORD: u64 = 1 << 10;
    pub(super) const TRANSLATE: u64 = 1 << 11;
    pub(super) const SUMMARISE: u64 = 1 << 12;
    pub(super) const EXTRACT: u64 = 1 << 13;
    pub(super) const OPENS_WITH_WHAT: u64 = 1 << 14;
    pub(super) const OPENS_WITH_WHY: u64 = 1 << 15;
    pub(super) const EXPLAIN_OR_ADVISE: u64 = 1 << 16;
    pub(super) const ARCHITECTURE: u64 = 1 << 17;
    pub(super) const REASONING_WORD: u64 = 1 << 18;
    pub(super) const GREETING: u64 = 1 << 19;
    pub(super) const ENDS_IN_QUESTION: u64 = 1 << 20;
    pub(super) const CHOICES_IN_LINE: u64 = 1 << 21;
    pub(super) const REWRITE: u64 = 1 << 22;
    pub(super) const CLASSIFY: u64 = 1 << 23;
    pub(super) const NON_ASCII: u64 = 1 << 24;
    pub(super) const OTHER_SCRIPT: u64 = 1 << 25;
    pub(super) const NEGATION: u64 = 1 << 26;
    pub(super) const FIRST_PERSON: u64 = 1 << 27;
}

/// A text without spaces has one endless word; beyond this multiple of 8 characters a mean word is not longer, only odder.
const MEAN_WORD_MAX: f32 = 3.0;

/// The features of one text, of any length and content.
///
/// # Shape
/// `[SURFACE]` in the order of [`NAMES`]; flags are 0 or 1, counts are logarithms, shares count five times, so that all lie
/// between 0 and about 5 and most below 1.
#[must_use]
pub fn surface(text: &str) -> [f32; SURFACE] {
    let (head, tail) = window(text);
    let joined;
    let read = if tail.is_empty() {
        head
    } else {
        joined = [head, "\n", tail].concat();
        &joined
    };
    let marks = Marks::of(read);
    let flags = cues::cues(read) | marks.flags;

    let mut features = [0.0; SURFACE];
    for (bit, feature) in features[..FLAGS].iter_mut().enumerate() {
        *feature = ((flags >> bit) & 1) as f32;
    }
    features[FLAGS..].copy_from_slice(&measures(text, read, &marks));
    features
}

/// Length, words, and layout: the features that are not flags.
fn measures(text: &str, read: &str, marks: &Marks) -> [f32; SURFACE - FLAGS] {
    let chars = text.chars().count() as f32;
    let newlines = memchr::memchr_iter(b'\n', text.as_bytes()).count();
    let words = Words::of(read);
    let lines = Lines::of(read);
    let share = |count: usize| count as f32 / marks.chars.max(1) as f32;
    let line_share = |count: usize| count as f32 / lines.filled.max(1) as f32;
    [
        chars.ln_1p() / 8.0,
        words.count.ln_1p() / 6.0,
        log(newlines) / 4.0,
        share(marks.digits) * 5.0,
        share(marks.symbols) * 5.0,
        share(marks.uppercase) * 5.0,
        (words.chars as f32 / words.count.max(1.0) / 8.0).min(MEAN_WORD_MAX),
        log(marks.numbers) / 3.0,
        log(marks.sentences) / 3.0,
        words.distinct_share,
        log(words.longest) / 4.0,
        (chars / 60.0).min(1.0),
        (chars / 200.0).min(1.0),
        (chars / 800.0).min(1.0),
        share(marks.operators) * 5.0,
        log(marks.identifiers) / 3.0,
        log(marks.latex) / 3.0,
        share(marks.quoted),
        share(marks.non_ascii_letters),
        log(lines.blank) / 3.0,
        log(lines.list_items) / 3.0,
        line_share(lines.indented),
        line_share(lines.code),
        f32::from(u8::from(lines.has_choices)),
    ]
}

fn log(count: usize) -> f32 {
    (count as f32).ln_1p()
}

/// What stands between white space.
struct Words {
    /// How many; two characters of a script that is written without spaces count as one.
    count: f32,
    /// The characters of all of them.
    chars: usize,
    /// The characters of the longest.
    longest: usize,
    /// How many of them are different, as a share; 0 where there are none.
    distinct_share: f32,
}

impl Words {
    fn of(text: &str) -> Self {
        let mut hashes = Vec::with_capacity(text.len() / 4);
        let (mut all, mut longest) = (0, 0);
        for word in text.split_whitespace() {
            let chars = word.chars().count();
            all += chars;
            longest = longest.max(chars);
            hashes.push(word.bytes().fold(fnv::BASIS, |hash, byte| fnv::add_byte(hash, byte.to_ascii_lowercase())));
        }
        let unspaced = if text.is_ascii() { 0 } else { text.chars().filter(|&c| is_unspaced(c)).count() };
        let spaced = hashes.len();
        // Sorted, not put in a table: no choice of words can make this slow.
        hashes.sort_unstable();
        hashes.dedup();
        Self {
            count: spaced as f32 + unspaced as f32 / 2.0,
            chars: all,
            longest,
            distinct_share: hashes.len() as f32 / spaced.max(1) as f32,
        }
    }
}

#[cfg(test)]
mod tests;

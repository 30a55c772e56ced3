//! The words and phrases of English that tell tasks apart.
//!
//! One lexicon holds words and phrases alike. A text is read word by word; each word is looked up, and where it is
//! the last of a phrase, so is what stands from one, two and three words before it up to its end.

use super::super::lexicon::Lexicon;
use super::super::script::{is_hangul, is_unspaced};
use super::flag;

// What a word says that is no feature by itself: bits above those of the features.
/// The last word of a phrase.
const ENDS_PHRASE: u64 = 1 << 40;
/// To bring forth a text.
const WRITE: u64 = 1 << 41;
/// A text to bring forth.
const WORK: u64 = 1 << 42;
/// Begins code where a space follows.
const OPENS_CODE: u64 = 1 << 43;
/// An instruction to a preprocessor after a number sign.
const INCLUDE: u64 = 1 << 44;
/// Languages called `C`, `C++` and `C#`; and the letters of choices.
const LETTER: u64 = 1 << 45;

/// Cues that count only as the first words of a text.
const OPENING: u64 = flag::OPENS_WITH_WHAT | flag::OPENS_WITH_WHY | flag::GREETING;

/// How many characters may stand between the verb and the work that is to be written.
const GAP_CHARS: usize = 30;
/// No character is longer than this in UTF-8.
const CHAR_BYTES: usize = 4;

/// Words and phrases of each cue, in lower case; words of a phrase stand as they do in a text.
#[rustfmt::skip]
const CUES: &[(u64, &[&str])] = &[
    (flag::PROGRAMMING_LANGUAGE, &[
        "python", "javascript", "typescript", "java", "rust", "golang", "sql", "html", "css", "bash", "php", "ruby", "react",
        "django", "pandas", "regex", "kotlin", "swift",
    ]),
    (flag::CODE_WORD, &[
        "code", "function", "program", "script", "algorithm", "class", "method", "array", "api", "query", "implement", "compile",
    ]),
    (flag::ERROR_WORD, &[
        "bug", "error", "exception", "traceback", "fix", "debug", "crash", "fail", "fails", "wrong", "undefined", "segfault",
    ]),
    (flag::MATHS, &[
        "prove", "proof", "theorem", "lemma", "integral", "derivative", "equation", "matrix", "polynomial", "integer", "prime",
        "triangle", "probability", "solve for",
    ]),
    (flag::QUANTITY_WORDS, &[
        "how many", "how much", "how long", "how far", "total", "each", "per", "percent", "twice", "half", "average", "speed",
    ]),
    (WRITE, &["write", "compose", "create", "draft", "generate"]),
    (WORK, &[
        "story", "poem", "essay", "song", "letter", "email", "blog", "speech", "dialogue", "scene", "haiku",
    ]),
    (flag::FICTION_WORD, &[
        "story", "poem", "character", "plot", "fiction", "narrative", "lyrics", "roleplay", "pretend", "imagine", "act as",
    ]),
    (flag::TRANSLATE, &[
        "translate", "translation", "in french", "in german", "in spanish", "in chinese", "in japanese", "in russian",
        "in english", "in italian", "in korean",
    ]),
    (flag::SUMMARISE, &[
        "summarize", "summarise", "summary", "tldr", "tl;dr", "key points", "shorten", "highlight", "highlights",
    ]),
    (flag::EXTRACT, &["extract", "json", "csv", "table", "list all", "identify the"]),
    (flag::OPENS_WITH_WHAT, &["what", "who", "when", "where", "which", "is", "are", "does", "do", "did"]),
    (flag::OPENS_WITH_WHY, &["why", "how"]),
    (flag::EXPLAIN_OR_ADVISE, &[
        "explain", "describe", "discuss", "compare", "difference", "pros and cons", "advice", "tips", "suggest", "recommend",
        "should i",
    ]),
    (flag::ARCHITECTURE, &[
        "architecture", "scalable", "scalability", "design a", "microservice", "database schema", "throughput",
        "availability", "tradeoff", "tradeoffs", "trade-off", "trade-offs",
    ]),
    (flag::REASONING_WORD, &[
        "step by step", "reason", "logic", "deduce", "conclude", "if and only if", "puzzle", "clue",
    ]),
    (flag::GREETING, &[
        "hi", "hello", "hey", "thanks", "thank you", "good morning", "good night", "good evening", "bye",
    ]),
    (flag::REWRITE, &["rewrite", "rephrase", "paraphrase", "grammar", "tone"]),
    (flag::CLASSIFY, &[
        "classify", "sentiment", "positive or negative", "category", "categories", "categorize", "categorise",
        "true or false", "label",
    ]),
    (flag::NEGATION, &["not", "except"]),
    (flag::FIRST_PERSON, &["i", "my", "me"]),
    (OPENS_CODE, &["def", "class"]),
    (INCLUDE, &["include"]),
    (LETTER, &["a", "b", "c"]),
];

/// The cues that stand in a text, as a set of [`flag`]s.
pub(super) fn cues(text: &str) -> u64 {
    let mut found = 0;
    let first = text.len() - text.trim_start().len();
    let opening = |at: usize| if at == first { u64::MAX } else { !OPENING };
    // Where the three words before this one begin, latest first; where the last one ended.
    let mut before = [0; 3];
    let mut end_before = 0;
    // Where on this line a verb of writing ended, and whether a first choice was offered.
    let mut verb_end = None;
    let mut has_choice_a = false;
    for (start, end) in words(text) {
        if text[end_before..start].bytes().any(|byte| byte == b'\n') {
            verb_end = None;
            has_choice_a = false;
        }
        let bits = LEXICON.look_up(&text[start..end]);
        found |= bits & opening(start);
        if bits & ENDS_PHRASE != 0 {
            for from in before {
                found |= LEXICON.look_up(&text[from..end]) & opening(from);
            }
        }
        if bits & WORK != 0 && verb_end.is_some_and(|verb| is_near(&text[verb..start])) {
            found |= flag::WRITE_A_WORK;
        }
        if bits & WRITE != 0 {
            verb_end = Some(end);
        }
        let after = &text[end..];
        if bits & OPENS_CODE != 0 && after.starts_with(' ') || bits & INCLUDE != 0 && text[..start].ends_with('#') {
            found |= flag::CODE;
        }
        if bits & LETTER != 0 {
            match (&text[start..end], is_offered(after)) {
                ("c" | "C", _) if after.starts_with("++") || after.starts_with('#') => {
                    found |= flag::PROGRAMMING_LANGUAGE
                }
                ("a" | "A", true) => has_choice_a = true,
                ("b" | "B", true) if has_choice_a => found |= flag::CHOICES_IN_LINE,
                _ => {}
            }
        }
        before = [start, before[0], before[1]];
        end_before = end;
    }
    found
}

/// Where the words of a text begin and end: runs of letters, digits and underscores.
fn words(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(is_word)?;
        let length = text[start..].find(|c| !is_word(c));
        at = length.map_or(text.len(), |length| start + length);
        Some((start, at))
    })
}

/// Whether a character may stand in a word. Where words are not separated, an English one ends at the next character.
fn is_word(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii() && !is_unspaced(c) && !is_hangul(c) && c.is_alphanumeric()
}

/// Whether what stands between a verb and its object is short.
fn is_near(gap: &str) -> bool {
    gap.len() <= GAP_CHARS * CHAR_BYTES && gap.chars().count() <= GAP_CHARS
}

/// Whether a letter is followed by what makes it the name of a choice.
pub(super) fn is_offered(after: &str) -> bool {
    after.starts_with(". ") || after.starts_with(") ")
}

/// What each word and phrase says.
static LEXICON: Lexicon<512> = lexicon();

const fn lexicon() -> Lexicon<512> {
    let mut lexicon = Lexicon::new();
    let mut group = 0;
    while group < CUES.len() {
        let (bits, entries) = CUES[group];
        lexicon = lexicon.with_all(entries, bits);
        let mut at = 0;
        while at < entries.len() {
            let last = last_word(entries[at]);
            if last.len() < entries[at].len() {
                lexicon = lexicon.with(last, ENDS_PHRASE);
            }
            at += 1;
        }
        group += 1;
    }
    lexicon
}

/// The last word of a phrase.
const fn last_word(phrase: &'static str) -> &'static str {
    let bytes = phrase.as_bytes();
    let mut from = bytes.len();
    while from > 0 && bytes[from - 1].is_ascii_lowercase() {
        from -= 1;
    }
    phrase.split_at(from).1
}

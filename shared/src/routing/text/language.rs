//! Whether a text is in a language that the router was trained on.
//!
//! The embedding, the hashed words and most of the surface features know English. Elsewhere they are not merely useless but
//! sure of themselves, so a decision must know how much of them to believe. What language it is, is not asked: only how
//! likely it is that English words were read rightly. Code and formulas count as known, they look the same everywhere.
//!
//! Seven pieces of evidence and a logistic function. The frequent words of a language are a good sign within a sentence and
//! a poor one within three words; there the letters, and how many pieces the vocabulary needs for a word, have to do.

use super::lexicon::Lexicon;
use super::script::{is_hangul, is_letter, is_mark, is_unspaced};
use super::window;
use super::wordpiece::Coverage;

/// How many pieces of evidence there are.
pub const EVIDENCE: usize = 7;

/// What each piece of evidence weighs, and what none of them says; fitted by `tools/routing/fit_language.py`.
const WEIGHTS: [f32; EVIDENCE] = [-7.57, -4.3, 9.04, -13.48, -5.05, -1.1, 3.7];
const BIAS: f32 = -0.13;

/// Shares of few words say little: so many words are added that say nothing.
const SILENT_WORDS: f32 = 2.0;
/// From so many words on a text is not short.
const MANY_WORDS: usize = 20;

const ENGLISH: u64 = 1;
const FOREIGN: u64 = 2;

/// Words that are frequent in English, or in what people ask of a model.
#[rustfmt::skip]
const ENGLISH_WORDS: &[&str] = &[
    "the", "of", "and", "to", "for", "with", "that", "this", "what", "how", "why", "when", "which", "who", "where",
    "are", "was", "were", "be", "been", "have", "has", "had", "you", "your", "it", "its", "my", "we", "our", "they",
    "their", "them", "from", "by", "not", "can", "could", "would", "should", "will", "does", "did", "if", "or", "but",
    "than", "then", "there", "these", "those", "about", "into", "write", "give", "make", "explain", "please", "tell",
    "me", "need", "want", "find", "each", "following", "using", "use", "between", "all", "any", "some", "other",
    "more", "most", "only", "also", "one", "two", "is", "at", "hi", "hello", "hey", "thanks", "thank", "good",
    "morning", "yes", "ok", "okay", "sorry", "bye", "summarize", "summarise", "summary", "translate", "rewrite", "fix",
    "debug", "design", "review", "implement", "calculate", "solve", "prove", "classify", "extract", "list", "compare",
    "create", "build", "describe", "function", "code", "program", "error", "system", "text", "sentence", "word", "question",
    "answer", "story", "poem", "email", "letter", "name", "number", "best", "new", "first", "after", "before", "over",
];

/// Words that are frequent in German, French, Spanish, Portuguese or Italian and not words of English.
#[rustfmt::skip]
const FOREIGN_WORDS: &[&str] = &[
    "de", "la", "le", "les", "des", "et", "est", "une", "un", "du", "que", "qui", "dans", "pour", "pas", "je", "vous",
    "sur", "avec", "au", "aux", "ce", "en", "el", "los", "las", "por", "para", "con", "como", "es", "del", "al", "mi",
    "su", "lo", "se", "una", "os", "um", "uma", "não", "em", "com", "da", "dos", "di", "che", "il", "per", "non",
    "della", "gli", "sono", "ma", "der", "das", "und", "ist", "nicht", "ein", "eine", "einen", "ich", "mit", "für",
    "auf", "den", "dem", "wie", "sich", "von", "zu", "im", "zum", "bitte",
];

static LEXICON: Lexicon<512> = Lexicon::new().with_all(ENGLISH_WORDS, ENGLISH).with_all(FOREIGN_WORDS, FOREIGN);

/// How likely it is, from 0 to 1, that what was trained on English understands a text: 1 where it has no words at all.
///
/// `coverage` is what the vocabulary made of head and tail of the same text.
#[must_use]
pub fn known(text: &str, coverage: Coverage) -> f32 {
    let Some(evidence) = evidence(text, coverage) else { return 1.0 };
    // One or two words name no hard task in a language that is not English, and are no evidence of any.
    if coverage.words <= 2 && text.is_ascii() {
        return 1.0;
    }
    let sum = evidence.iter().zip(WEIGHTS).map(|(evidence, weight)| evidence * weight).sum::<f32>();
    (1.0 + (-BIAS - sum).exp()).recip()
}

/// What speaks for and against English, or nothing where a text has no words.
///
/// # Shape
/// Shares: letters of other scripts, words with accents, words of English, words of other languages, further pieces per
/// word, symbols; and how much the text holds. All from 0 to 1, but for the pieces.
#[must_use]
pub fn evidence(text: &str, coverage: Coverage) -> Option<[f32; EVIDENCE]> {
    let (head, tail) = window(text);
    let mut seen = Seen::default();
    seen.read(head);
    seen.read(tail);
    if seen.words == 0 {
        return None;
    }
    let words = seen.words as f32 + SILENT_WORDS;
    Some([
        seen.other_letters as f32 / (seen.letters as f32 + SILENT_WORDS),
        seen.accented as f32 / words,
        seen.english as f32 / words,
        seen.foreign as f32 / words,
        coverage.pieces.saturating_sub(coverage.words) as f32 / (coverage.words as f32 + SILENT_WORDS),
        seen.symbols as f32 / seen.chars as f32,
        seen.words.min(MANY_WORDS) as f32 / MANY_WORDS as f32,
    ])
}

/// What was counted in a text.
#[derive(Default)]
struct Seen {
    chars: usize,
    symbols: usize,
    /// Runs of letters that are words: not the commands of LaTeX nor the names of functions that are called, nor a single
    /// letter, which is a name in a formula, unless it is of a script where a character is a word.
    words: usize,
    /// The letters of those words.
    letters: usize,
    /// Those of another script than the Latin one.
    other_letters: usize,
    /// Words with a letter of the Latin script that English does not have.
    accented: usize,
    english: usize,
    foreign: usize,
}

impl Seen {
    fn read(&mut self, part: &str) {
        let mut rest = part;
        let mut is_command = false;
        while let Some(first) = rest.chars().next() {
            let is_word = stands_in_word(first);
            let end = rest.find(|c| stands_in_word(c) != is_word).unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            if !is_word {
                self.gap(run);
            } else if is_command || after.starts_with('(') {
                self.chars += run.chars().count();
            } else {
                self.word(run);
            }
            is_command = run.ends_with('\\');
            rest = after;
        }
    }

    fn word(&mut self, word: &str) {
        let letters = word.chars().count();
        self.chars += letters;
        if letters == 1 && !word.chars().all(|c| is_unspaced(c) || is_hangul(c)) {
            return;
        }
        self.words += 1;
        self.letters += letters;
        if !word.is_ascii() {
            self.other_letters += word.chars().filter(|&c| !is_latin(c)).count();
            self.accented += usize::from(word.chars().any(|c| !c.is_ascii() && is_latin(c)));
        }
        let bits = LEXICON.look_up(word);
        self.english += usize::from(bits & ENGLISH != 0);
        self.foreign += usize::from(bits & FOREIGN != 0);
    }

    fn gap(&mut self, gap: &str) {
        for c in gap.chars() {
            self.chars += 1;
            self.symbols += usize::from(!c.is_alphanumeric() && !c.is_whitespace());
        }
    }
}

fn stands_in_word(c: char) -> bool {
    is_letter(c) || is_mark(c)
}

fn is_latin(c: char) -> bool {
    matches!(c, '\0'..='\u{24f}' | '\u{300}'..='\u{36f}' | '\u{1e00}'..='\u{1eff}')
}

#[cfg(test)]
mod tests {
    use super::{Coverage, evidence, known};
    use crate::routing::text::table::StaticTable;
    use proptest::prelude::*;

    fn known_of(text: &str) -> f32 {
        known(text, StaticTable.pool(text).coverage)
    }

    #[test]
    fn english_is_known_and_so_is_what_is_no_language() {
        for text in [
            "hi",
            "thanks!",
            "ok",
            "age",
            "distribution agreement",
            "yes",
            "how are you",
            "Write a haiku about the sea",
            "What does 'guten Morgen' mean in German?",
            "play some music by the Beatles",
            "fn main() {\n    let total: u64 = items.iter().map(|item| item.price).sum();\n}",
            "x^2 + 3x - 4 = 0",
            "∀ε>0 ∃δ>0",
            r"\sum_{n} \frac{1}{n^2}",
            "sin(x) + cos(x) = 1",
            "12 * 7",
            "😀",
            "",
        ] {
            assert!(known_of(text) > 0.5, "{text:?}: {}", known_of(text));
        }
    }

    #[test]
    fn other_languages_are_not() {
        assert!((known_of("moin") - 1.0).abs() < 1e-6, "too little to tell");
        for text in [
            "Wie spät ist es?",
            "Écris un poème sur la mer",
            "¿Cuál es la capital de Francia?",
            "Traduci questa frase in inglese",
            "los padres de la casa con un plan",
            "Schrijf een gedicht over de zee en leg uit waarom het rijmt",
            "Napisz wiersz o morzu",
            "Denizle ilgili bir şiir yaz",
            "Viết một bài thơ về biển",
            "напиши стихотворение",
            "اكتب قصيدة عن البحر",
            "समुद्र पर एक कविता लिखो",
            "写一首关于大海的诗",
            "바다에 대한 시를 써줘",
        ] {
            assert!(known_of(text) < 0.5, "{text:?}: {}", known_of(text));
        }
    }

    #[test]
    fn the_evidence_is_what_was_counted_in_words() {
        let coverage = Coverage { words: 6, pieces: 8, ..Coverage::default() };
        let evidence = evidence(r"The Häuser und \frac x! мир", coverage).expect("words");
        let expected = [3.0 / 17.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0, 2.0 / 8.0, 2.0 / 27.0, 4.0 / 20.0];
        for (at, (got, expected)) in evidence.iter().zip(expected).enumerate() {
            assert!((got - expected).abs() < 1e-6, "{at}: {got} instead of {expected}");
        }
    }

    #[test]
    fn of_a_long_text_head_and_tail_are_read() {
        let long = "word ".repeat(1_000) + &"слово ".repeat(1_000);
        let [other_letters, ..] = evidence(&long, Coverage::default()).expect("words");
        assert!((0.3..0.4).contains(&other_letters), "{other_letters}");
    }

    #[test]
    fn a_text_without_words_has_no_language() {
        for text in ["", "x + y", r"\frac 1 2", "det(A) * α", "!?"] {
            assert!(evidence(text, Coverage::default()).is_none(), "{text:?}");
        }
        assert!(evidence("語", Coverage::default()).is_some());
    }

    proptest! {
        #[test]
        fn any_text_has_a_probability(text in "\\PC{0,40}|[a-c \\\\\u{301}\u{94d}语한0-9’\n]{0,300}", words: u32, pieces: u32) {
            let known = known(&text, Coverage { words, pieces, ..Coverage::default() });
            prop_assert!((0.0..=1.0).contains(&known), "{known}");
        }
    }
}

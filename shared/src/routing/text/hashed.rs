//! The words of a prompt and its pairs of neighbouring words, hashed into the rows of a linear head.
//!
//! An embedding knows that "car" and "automobile" are near and forgets which of them was said, and in which order. A head
//! over hashed words has the opposite virtue, and the two together decide better than either. Hashing needs no vocabulary.
//!
//! - A word is a run of letters, in lower case; every number reads as `0`: that there is one says something about a task,
//!   which one does not. Any other character is a word of its own, white space is none. `’` is `'`, and `“` is `"`.
//! - Chinese, Japanese, Thai and the like write no spaces, and Korean joins particles to its words: there each character is
//!   a word, so that the pairs are what two neighbouring characters mean. Everywhere else letters of any script make words.
//! - Each row counts once, however often its words stand: [`Grams::weight`] is one over the root of how many there are, so
//!   that long texts do not speak louder. A set of bits tells whether a row was met: no choice of words makes that slow.

use super::script::{is_hangul, is_mark, is_unspaced};
use super::{fnv, window};

/// How many rows a head has.
pub const ROWS: usize = 1 << ROW_BITS;
const ROW_BITS: u32 = 13;

/// The rows of the words and pairs of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grams(Vec<u16>);

impl Grams {
    /// Reads head and tail of a text of any length and content.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let (head, tail) = window(text);
        let mut reader = Reader::with_capacity(head.len() + tail.len());
        reader.read(head);
        reader.read(tail);
        Self(reader.rows)
    }

    /// The rows to add up, in the order in which they were met.
    ///
    /// # Shape
    /// Each below [`ROWS`], and different from the others.
    #[must_use]
    pub fn rows(&self) -> &[u16] {
        &self.0
    }

    /// What each row counts: the features are then of unit length. 0 where there are none.
    #[must_use]
    pub fn weight(&self) -> f32 {
        if self.0.is_empty() { 0.0 } else { (self.0.len() as f32).sqrt().recip() }
    }
}

/// What a run of characters is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Space,
    Letters,
    Digits,
    /// A word of one character.
    Single,
}

struct Reader {
    rows: Vec<u16>,
    is_met: [u64; ROWS / 64],
    kind: Kind,
    word: u32,
    previous: Option<u32>,
}

impl Reader {
    fn with_capacity(bytes: usize) -> Self {
        // A word has four letters or more on average, and its space, and counts twice.
        let rows = Vec::with_capacity(bytes / 2 + 8);
        Self { rows, is_met: [0; ROWS / 64], kind: Kind::Space, word: fnv::BASIS, previous: None }
    }

    /// Reads one part of a text; the words at its ends are not neighbours of those of the next.
    fn read(&mut self, part: &str) {
        for c in part.chars() {
            let kind = self.kind_of(c);
            if kind != self.kind || kind == Kind::Single {
                self.end_word();
                self.kind = kind;
                self.word = fnv::BASIS;
            }
            match kind {
                Kind::Space => {}
                Kind::Digits => self.word = fnv::add(fnv::BASIS, '0'),
                Kind::Letters if !c.is_ascii() => self.word = c.to_lowercase().fold(self.word, fnv::add),
                Kind::Letters | Kind::Single => self.word = fnv::add(self.word, plain(c)),
            }
        }
        self.end_word();
        self.kind = Kind::Space;
        self.previous = None;
    }

    fn kind_of(&self, c: char) -> Kind {
        match c {
            'a'..='z' | 'A'..='Z' => Kind::Letters,
            '0'..='9' => Kind::Digits,
            _ if c.is_whitespace() => Kind::Space,
            _ if c.is_ascii() || is_unspaced(c) || is_hangul(c) => Kind::Single,
            _ if c.is_alphabetic() || self.kind == Kind::Letters && is_mark(c) => Kind::Letters,
            _ if c.is_numeric() => Kind::Digits,
            _ => Kind::Single,
        }
    }

    fn end_word(&mut self) {
        if self.kind == Kind::Space {
            return;
        }
        self.add(self.word);
        if let Some(previous) = self.previous {
            self.add(fnv::pair(previous, self.word));
        }
        self.previous = Some(self.word);
    }

    fn add(&mut self, hash: u32) {
        let row = ((hash >> ROW_BITS) ^ hash) as usize % ROWS;
        let bit = 1 << (row % 64);
        if self.is_met[row / 64] & bit == 0 {
            self.is_met[row / 64] |= bit;
            self.rows.push(row as u16);
        }
    }
}

/// A character as a keyboard writes it.
fn plain(c: char) -> char {
    match c {
        '‘' | '’' => '\'',
        '“' | '”' | '„' => '"',
        _ => c.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Grams, ROWS};
    use proptest::prelude::*;

    /// The rows of a text, whatever their order.
    fn rows(text: &str) -> Vec<u16> {
        let mut rows = Grams::of(text).rows().to_vec();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn words_and_neighbours_count_once_whatever_their_case() {
        assert_eq!(rows("tea").len(), 1);
        assert_eq!(rows("tea time").len(), 3);
        assert_eq!(rows("tea tea tea").len(), 2);
        assert_eq!(rows("Tea TIME"), rows("tea  time\n"));
        assert_ne!(rows("tea time"), rows("time tea"));
    }

    #[test]
    fn every_number_reads_the_same_and_every_symbol_is_a_word() {
        assert_eq!(rows("in 7 days"), rows("in 1984 days"));
        assert_eq!(rows("in ٧ days"), rows("in 7 days"));
        assert_ne!(rows("in x days"), rows("in 7 days"));
        assert_eq!(rows("x2").len(), 3);
        assert_eq!(rows("it’s “so”"), rows("it's \"so\""));
        assert_eq!(rows("++"), rows("+ +"));
        assert_ne!(rows("+"), rows("-"));
    }

    #[test]
    fn letters_of_any_script_make_words() {
        assert_eq!(rows("Über").len(), 1);
        assert_eq!(rows("über"), rows("ÜBER"));
        assert_eq!(rows("привет мир").len(), 3);
        assert_eq!(rows("हिन्दी").len(), 1);
    }

    #[test]
    fn where_no_spaces_are_written_each_character_is_a_word() {
        assert_eq!(rows("翻译这个").len(), 7);
        assert_eq!(rows("번역해").len(), 5);
        let shared = rows("请翻译").iter().filter(|row| rows("翻译这个").contains(row)).count();
        assert_eq!(shared, 3);
    }

    #[test]
    fn head_and_tail_of_a_long_text_are_read() {
        let long = format!("tea{} time", " x".repeat(5_000));
        assert_eq!(rows(&long).len(), rows("tea x x time").len());
        let halves = "tea ".repeat(1_000) + &"time ".repeat(1_000);
        assert_eq!(rows(&halves).len(), 4, "the words, and each after itself");
    }

    #[test]
    fn the_features_have_unit_length() {
        assert_eq!(Grams::of(" \n").weight(), 0.0);
        let grams = Grams::of("how do I boil an egg?");
        let square = grams.rows().len() as f32 * grams.weight().powi(2);
        assert!((square - 1.0).abs() < 1e-6);
    }

    /// Trained weights are filed under these rows: whoever changes them trains the heads anew.
    #[test]
    fn rows_are_those_that_the_heads_were_trained_with() {
        assert_eq!(Grams::of("Boil 3 eggs").rows(), [7626, 202, 7241, 6393, 2227]);
    }

    proptest! {
        #[test]
        fn any_text_has_different_rows_of_the_head(text in "\\PC{0,60}|[a-c \u{301}语한0-9’\n]{0,300}") {
            let rows = rows(&text);
            prop_assert!(rows.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(rows.iter().all(|&row| usize::from(row) < ROWS));
        }
    }
}

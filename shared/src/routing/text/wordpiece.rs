//! Text to word pieces, as BERT's uncased tokenizer cuts it.
//!
//! The table knows only the pieces that this tokenizer makes, so it is the same to the last piece: control characters out,
//! accents off, lower case, punctuation and Chinese characters words of their own, each word the longest piece that begins
//! it and then the longest that continues it, and a word that cannot be cut so, or that has over a hundred characters, one
//! unknown piece. The five special pieces are read where a text spells them, as the reference does; their rows are zero.
//!
//! What a character is read as is a look-up in the asset, which was made by asking the reference: no two versions of
//! Unicode can disagree. One pass, nothing is allocated; a word's pieces are looked for in a hash table, longest first, which
//! is bounded by the longest piece and so linear in the text.

use crate::routing::text::asset::{ASSET, BLOCK, Slots};
use crate::routing::text::fnv;

/// How much of a text the vocabulary knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Words, marks and Chinese characters.
    pub words: u32,
    /// Words that are one piece.
    pub whole: u32,
    /// Pieces, unknown ones included.
    pub pieces: u32,
    /// Words that could not be cut into pieces.
    pub unknown: u32,
}

impl std::ops::Add for Coverage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            words: self.words + other.words,
            whole: self.whole + other.whole,
            pieces: self.pieces + other.pieces,
            unknown: self.unknown + other.unknown,
        }
    }
}

/// The number of a piece that stands for a word that could not be cut.
pub const UNKNOWN_PIECE: u16 = 100;

/// Pieces that a text can spell out.
const SPECIAL: [(&str, u16); 5] =
    [("[PAD]", 0), ("[UNK]", UNKNOWN_PIECE), ("[CLS]", 101), ("[SEP]", 102), ("[MASK]", 103)];

/// A longer word is unknown.
const LONGEST_WORD_CHARS: usize = 100;
/// What so many characters take at most: those that stand in a piece have three bytes.
const LONGEST_WORD_BYTES: usize = 3 * LONGEST_WORD_CHARS;
/// No piece is longer.
const LONGEST_PIECE_BYTES: usize = 32;
const _: () = assert!(
    ASSET.beginnings.longest <= LONGEST_PIECE_BYTES && ASSET.continuings.longest <= LONGEST_PIECE_BYTES,
    "the longest piece does not fit"
);

/// Cuts a text and gives each piece's number, in order.
pub fn cut(text: &str, take: impl FnMut(u16)) -> Coverage {
    let mut cutter = Cutter {
        take,
        word: [0; LONGEST_WORD_BYTES],
        bytes: 0,
        chars: 0,
        unknown: false,
        coverage: Coverage::default(),
    };
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if !byte.is_ascii() {
            let Some(c) = text[at..].chars().next() else { break };
            cutter.read(c);
            at += c.len_utf8();
        } else if let Some((name, piece)) = special(*byte, &text[at..]) {
            cutter.end_word();
            cutter.give(piece);
            at += name.len();
        } else {
            cutter.read_ascii(*byte);
            at += 1;
        }
    }
    cutter.end_word();
    cutter.coverage
}

/// The special piece that a text begins with.
fn special(first: u8, rest: &str) -> Option<(&'static str, u16)> {
    if first != b'[' {
        return None;
    }
    SPECIAL.into_iter().find(|(name, _)| rest.starts_with(name))
}

/// The word being read, and where its pieces go.
struct Cutter<F> {
    take: F,
    word: [u8; LONGEST_WORD_BYTES],
    bytes: usize,
    chars: usize,
    /// Whether the word has a character that stands in no piece, or too many characters.
    unknown: bool,
    coverage: Coverage,
}

impl<F: FnMut(u16)> Cutter<F> {
    fn read_ascii(&mut self, byte: u8) {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => self.push(&[byte]),
            b'A'..=b'Z' => self.push(&[byte | 0x20]),
            b' ' | b'\t' | b'\n' | b'\r' => self.end_word(),
            b'!'..=b'~' => {
                self.end_word();
                self.push(&[byte]);
                self.end_word();
            }
            _ => {}
        }
    }

    fn read(&mut self, c: char) {
        match hangul_letters(c) {
            Some(letters) => letters.into_iter().flatten().for_each(|letter| self.read_letter(letter)),
            None => self.read_letter(c),
        }
    }

    fn read_letter(&mut self, c: char) {
        match Reading::of(c) {
            Reading::Nothing => {}
            Reading::Space => self.end_word(),
            Reading::Within(spelling) => self.push_or_unknown(spelling),
            Reading::Alone(spelling) => {
                self.end_word();
                self.push_or_unknown(spelling);
                self.end_word();
            }
        }
    }

    fn push_or_unknown(&mut self, spelling: Option<&[u8]>) {
        match spelling {
            Some(spelling) => self.push(spelling),
            None => self.unknown = true,
        }
    }

    /// Adds to the word.
    fn push(&mut self, spelling: &[u8]) {
        self.chars += spelling.iter().filter(|byte| !is_continuation(**byte)).count();
        match self.word.get_mut(self.bytes..self.bytes + spelling.len()) {
            Some(free) if self.chars <= LONGEST_WORD_CHARS => {
                free.copy_from_slice(spelling);
                self.bytes += spelling.len();
            }
            _ => self.unknown = true,
        }
    }

    /// Gives the pieces of the word that was read, if there is one.
    fn end_word(&mut self) {
        if self.bytes == 0 && !self.unknown {
            return;
        }
        let word = &self.word[..self.bytes];
        self.coverage.words += 1;
        if self.unknown {
            self.give_unknown();
        } else if let Some(piece) = ASSET.beginnings.find(word) {
            self.coverage.whole += 1;
            self.give(piece);
        } else {
            match Pieces::of(word) {
                Some(pieces) => pieces.numbers().for_each(|piece| self.give(piece)),
                None => self.give_unknown(),
            }
        }
        (self.bytes, self.chars, self.unknown) = (0, 0, false);
    }

    fn give_unknown(&mut self) {
        self.coverage.unknown += 1;
        self.give(UNKNOWN_PIECE);
    }

    fn give(&mut self, piece: u16) {
        self.coverage.pieces += 1;
        (self.take)(piece);
    }
}

/// What a character is read as. A spelling is absent where the character stands in no piece.
enum Reading {
    Nothing,
    Space,
    /// A letter of a word.
    Within(Option<&'static [u8]>),
    /// A word of its own.
    Alone(Option<&'static [u8]>),
}

impl Reading {
    fn of(c: char) -> Self {
        const ALONE: u16 = 1 << 15;
        let page = usize::from(ASSET.pages[c as usize / BLOCK]);
        let entry = u16::from_le_bytes(ASSET.blocks[page][c as usize % BLOCK]);
        let spelling = match entry & !ALONE {
            0 => return Self::Nothing,
            1 => return Self::Space,
            2 => None,
            number => {
                let [spelling @ .., length] = &ASSET.spellings[usize::from(number)];
                spelling.get(..usize::from(*length))
            }
        };
        if entry & ALONE == 0 { Self::Within(spelling) } else { Self::Alone(spelling) }
    }
}

/// The two or three letters of a Hangul syllable.
///
/// # Source
/// The Unicode Standard, section 3.12: conjoining jamo behaviour.
fn hangul_letters(c: char) -> Option<[Option<char>; 3]> {
    const VOWELS: u32 = 21;
    const TRAILING: u32 = 28;
    let syllable = (c as u32).checked_sub(0xac00).filter(|syllable| *syllable < 19 * VOWELS * TRAILING)?;
    let trailing = syllable % TRAILING;
    Some([
        char::from_u32(0x1100 + syllable / (VOWELS * TRAILING)),
        char::from_u32(0x1161 + syllable / TRAILING % VOWELS),
        char::from_u32(0x11a7 + trailing).filter(|_| trailing != 0),
    ])
}

/// The pieces of one word.
struct Pieces {
    numbers: [u16; LONGEST_WORD_CHARS],
    count: usize,
}

impl Pieces {
    /// The longest piece that begins the word, then each time the longest that continues it; nothing where none does.
    fn of(word: &[u8]) -> Option<Self> {
        let mut pieces = Self { numbers: [0; LONGEST_WORD_CHARS], count: 0 };
        let mut rest = word;
        while !rest.is_empty() {
            let slots = if pieces.count == 0 { &ASSET.beginnings } else { &ASSET.continuings };
            let (piece, bytes) = slots.longest_prefix(rest)?;
            *pieces.numbers.get_mut(pieces.count)? = piece;
            pieces.count += 1;
            rest = &rest[bytes..];
        }
        Some(pieces)
    }

    fn numbers(&self) -> impl Iterator<Item = u16> {
        self.numbers.into_iter().take(self.count)
    }
}

impl Slots {
    /// The piece of this text.
    fn find(&self, text: &[u8]) -> Option<u16> {
        if text.len() > self.longest {
            return None;
        }
        self.find_hashed(text.iter().copied().fold(fnv::BASIS, fnv::add_byte), text)
    }

    /// The longest piece that a text begins with, and its bytes.
    fn longest_prefix(&self, text: &[u8]) -> Option<(u16, usize)> {
        let mut hashes = [0; LONGEST_PIECE_BYTES];
        let mut hash = fnv::BASIS;
        let longest = text.len().min(self.longest);
        for (byte, kept) in text[..longest].iter().zip(&mut hashes) {
            hash = fnv::add_byte(hash, *byte);
            *kept = hash;
        }
        let mut ends = (1..=longest).rev().filter(|end| text.get(*end).is_none_or(|next| !is_continuation(*next)));
        ends.find_map(|end| Some((self.find_hashed(hashes[end - 1], &text[..end])?, end)))
    }

    fn find_hashed(&self, hash: u32, text: &[u8]) -> Option<u16> {
        // Multiplying by the golden ratio moves what FNV leaves in the low bits to the high ones, which choose the slot.
        let spread = hash.wrapping_mul(0x9e37_79b1);
        let mut at = (spread >> (32 - self.slots.len().trailing_zeros())) as usize;
        loop {
            let slot = u32::from_le_bytes(self.slots[at]);
            let piece = (slot & 0xffff) as u16;
            if slot == 0 {
                return None;
            }
            if slot >> 16 == spread & 0xffff && text_of(piece) == text {
                return Some(piece);
            }
            at = (at + 1) % self.slots.len();
        }
    }
}

/// A piece's text, without the mark of those that continue a word.
fn text_of(piece: u16) -> &'static [u8] {
    let end = |piece: usize| u32::from_le_bytes(ASSET.ends[piece]) as usize;
    let start = usize::from(piece).checked_sub(1).map_or(0, end);
    &ASSET.text[start..end(usize::from(piece))]
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn pieces(text: &str) -> Vec<u16> {
        let mut pieces = Vec::new();
        cut(text, |piece| pieces.push(piece));
        pieces
    }

    /// The corpus is made by `tools/routing/wordpiece_corpus.py`, which describes it.
    #[test]
    fn every_text_of_the_corpus_is_cut_as_the_reference_cuts_it() {
        let mut corpus = String::new();
        let packed: &[u8] = include_bytes!("wordpiece_corpus.jsonl.gz");
        flate2::read::GzDecoder::new(packed).read_to_string(&mut corpus).unwrap();
        let mut texts = 0;
        for line in corpus.lines() {
            let (text, count, hash): (String, usize, u64) = serde_json::from_str(line).unwrap();
            let pieces = pieces(&text);
            let bytes = pieces.iter().flat_map(|piece| piece.to_le_bytes());
            let found =
                bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
            assert_eq!((pieces.len(), found), (count, hash), "{text:?} is cut to {pieces:?}");
            texts += 1;
        }
        assert!(texts >= 3000, "{texts}");
    }

    #[test]
    fn words_are_counted_whole_cut_and_unknown() {
        // "un ##aff ##able", two marks, and a word of a script that has no piece.
        let coverage = cut("Hello, unaffable ꙮꙮ!", |_| {});
        assert_eq!(coverage, Coverage { words: 5, whole: 3, pieces: 7, unknown: 1 });
        assert_eq!(cut(" \u{200b}\0\n", |_| {}), Coverage::default());
    }

    #[test]
    fn a_word_of_a_hundred_characters_is_cut_and_a_longer_one_is_unknown() {
        assert_eq!(pieces(&"é".repeat(100)).len(), 50);
        assert_eq!(pieces(&"é".repeat(101)), [UNKNOWN_PIECE]);
        assert_eq!(pieces(&"un".repeat(500_000)), [UNKNOWN_PIECE]);
    }

    proptest! {
        #[test]
        fn any_text_is_cut_into_pieces_of_the_vocabulary(text in any::<String>()) {
            let pieces = pieces(&text);
            prop_assert!(pieces.iter().all(|piece| usize::from(*piece) < ASSET.rows.len()));
            let coverage = cut(&text, |_| {});
            prop_assert_eq!(coverage.pieces as usize, pieces.len());
            prop_assert!(coverage.whole + coverage.unknown <= coverage.words && coverage.words <= coverage.pieces);
        }

        #[test]
        fn white_space_between_two_texts_parts_them(a in any::<String>(), b in any::<String>()) {
            prop_assert_eq!(pieces(&format!("{a}\n{b}")), [pieces(&a), pieces(&b)].concat());
        }
    }
}

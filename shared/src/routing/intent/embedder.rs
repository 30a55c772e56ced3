//! Text to a unit vector without a model file.
//!
//! [`HashedNgrams`] hashes words, word pairs and pieces of words straight into the vector (the hashing trick), so there is no
//! vocabulary to ship or to load, typing errors still share most of their pieces with the right spelling, and any script
//! works. What it cannot do is know that "car" and "automobile" are near; that is what a trained model will bring.
//!
//! - A prompt is an instruction and, often, a document that it speaks of. The document would drown the instruction, so only
//!   the head and the tail are read and each word counts less the farther it stands from both ends.
//! - The square root of what was gathered in a dimension is kept (sublinear term frequency): a word that is repeated, or shared
//!   by two hashed pieces, does not outweigh the rest.
//! - Digits all read as `0`: that there is a number says something about a task, which number does not.
//!
//! Rejected: a weight per word learnt from a corpus (it would be the model file that this does without), and 1024
//! dimensions (2 points of accuracy for two thirds more time per request).

pub use crate::routing::text::embedder::{EmbedError, Embedder};

/// The embedder in process: hashed words, word pairs and pieces of words. It never fails and never panics.
#[derive(Debug, Clone, Copy, Default)]
pub struct HashedNgrams;

const DIMENSIONS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 9;

/// How much of a long text is read, from its beginning and from its end.
const HEAD_BYTES: usize = 400;
const TAIL_BYTES: usize = 300;

/// The distance from an end at which a word counts half, and what the end counts against the beginning.
const HALF_EMPHASIS_BYTES: f32 = 60.0;
const TAIL_EMPHASIS: f32 = 0.8;

/// The lengths, in bytes, of the pieces that words are cut into, the marks at both ends of a word included.
const SHORTEST_PIECE: usize = 3;
const LONGEST_PIECE: usize = 5;

// Weights of the kinds of features, fitted by leaving utterances out one at a time, and on public prompts. The optimum is flat.
const WORD: f32 = 1.0;
const WORD_PAIR: f32 = 0.3;
const PIECE: f32 = 0.4;
const SYMBOL: f32 = 0.7;
const FUNCTION_WORD: f32 = 0.6;

/// Words that say more about the grammar than about the task, in order. Question words are not among them: they
/// distinguish tasks.
const FUNCTION_WORDS: [&[u8]; 47] = [
    b"a", b"an", b"and", b"are", b"as", b"at", b"be", b"by", b"can", b"could", b"did", b"do", b"does", b"for", b"from",
    b"had", b"has", b"have", b"i", b"in", b"into", b"is", b"it", b"its", b"me", b"my", b"of", b"on", b"or", b"our",
    b"please", b"so", b"that", b"the", b"their", b"there", b"these", b"this", b"those", b"to", b"was", b"we", b"were",
    b"with", b"would", b"you", b"your",
];

#[async_trait::async_trait]
impl Embedder for HashedNgrams {
    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    async fn embed(&self, text: &str) -> Result<Vec<f32>, EmbedError> {
        Ok(hashed(text))
    }
}

/// # Shape
/// `[DIMENSIONS]`, of unit length or all zero.
fn hashed(text: &str) -> Vec<f32> {
    let mut features = Features { vector: vec![0.0; DIMENSIONS], word: Vec::with_capacity(32), previous: FNV_BASIS };
    let (head, tail) = ends(text);
    let length = head.len() + tail.len();
    features.read(head, 0, length);
    features.read(tail, head.len(), length);
    let mut vector = features.vector;
    // The square root lessens what is repeated; the sum of the roots' squares is then the sum of what was gathered.
    let mut sum = 0.0;
    for x in &mut vector {
        sum += x.abs();
        *x = x.abs().sqrt().copysign(*x);
    }
    if sum > 0.0 {
        let scale = sum.sqrt().recip();
        vector.iter_mut().for_each(|x| *x *= scale);
    }
    vector
}

/// The parts of a text that are read: all of it, or its head and its tail, cut between characters.
fn ends(text: &str) -> (&str, &str) {
    if text.len() <= HEAD_BYTES + TAIL_BYTES {
        return (text, "");
    }
    let head = text.floor_char_boundary(HEAD_BYTES);
    let tail = text.ceil_char_boundary(text.len() - TAIL_BYTES);
    (&text[..head], &text[tail..])
}

/// How much a word counts that stands so many bytes from the beginning and from the end.
fn emphasis(from_start: usize, from_end: usize) -> f32 {
    let near = |distance: usize| {
        let halves = distance as f32 / HALF_EMPHASIS_BYTES;
        (1.0 + halves * halves).recip()
    };
    near(from_start).max(TAIL_EMPHASIS * near(from_end))
}

/// What has been gathered from a text.
struct Features {
    vector: Vec<f32>,
    /// The word being read, in lower case, with a space before it.
    word: Vec<u8>,
    /// The hash of the word before.
    previous: u32,
}

impl Features {
    /// Reads one part of the text, which begins `offset` bytes into the `length` bytes that are read.
    fn read(&mut self, part: &str, offset: usize, length: usize) {
        let mut start = 0;
        self.word.clear();
        for (at, c) in part.char_indices() {
            if c.is_alphanumeric() {
                if self.word.is_empty() {
                    start = at;
                    self.word.push(b' ');
                }
                self.push(c);
            } else if c != '\'' && c != '’' {
                self.end_word(emphasis(offset + start, length - offset - start));
                if is_telling(c) {
                    let weight = SYMBOL * emphasis(offset + at, length - offset - at);
                    self.add(fnv(SYMBOL_BASIS, &[c as u8]), weight);
                }
            }
        }
        self.end_word(emphasis(offset + start, length - offset - start));
    }

    fn push(&mut self, c: char) {
        match c {
            '0'..='9' => self.word.push(b'0'),
            _ if c.is_ascii() => self.word.push(c.to_ascii_lowercase() as u8),
            _ => {
                let mut utf8 = [0; 4];
                for lower in c.to_lowercase() {
                    self.word.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
                }
            }
        }
    }

    /// Adds the word that was read: itself, with its predecessor, and in pieces.
    fn end_word(&mut self, emphasis: f32) {
        if self.word.is_empty() {
            return;
        }
        let is_function_word = FUNCTION_WORDS.binary_search(&&self.word[1..]).is_ok();
        self.word.push(b' ');
        let weight = if is_function_word { FUNCTION_WORD * emphasis } else { emphasis };
        let hash = fnv(FNV_BASIS, &self.word);
        self.add(hash, WORD * weight);
        self.add(hash ^ self.previous.rotate_left(7), WORD_PAIR * emphasis);
        self.previous = hash;

        let word = std::mem::take(&mut self.word);
        for start in 0..word.len().saturating_sub(SHORTEST_PIECE - 1) {
            // One hash grows over the piece, and each length past the shortest is a feature.
            let mut hash = fnv(PIECE_BASIS, &word[start..start + SHORTEST_PIECE - 1]);
            let end = word.len().min(start + LONGEST_PIECE);
            for byte in &word[start + SHORTEST_PIECE - 1..end] {
                hash = fnv(hash, &[*byte]);
                self.add(hash, PIECE * weight);
            }
        }
        self.word = word;
        self.word.clear();
    }

    /// Adds a weight to the dimension that the hash names, with the sign that it names, so that what collides cancels out on average.
    fn add(&mut self, hash: u32, weight: f32) {
        // Multiplying by the golden ratio moves what FNV leaves in the low bits to the high ones, which alone are used.
        let spread = hash.wrapping_mul(0x9e37_79b1);
        let signed = if spread & (1 << (31 - INDEX_BITS)) == 0 { weight } else { -weight };
        if let Some(x) = self.vector.get_mut((spread >> (32 - INDEX_BITS)) as usize) {
            *x += signed;
        }
    }
}

/// Symbols that distinguish code, mathematics and questions from prose. Commas, full stops, quotes and hyphens stand
/// everywhere.
fn is_telling(c: char) -> bool {
    c.is_ascii_punctuation() && !matches!(c, '.' | ',' | '"' | '-')
}

const FNV_BASIS: u32 = 0x811c_9dc5;
const PIECE_BASIS: u32 = 0x2f0b_4a27;
const SYMBOL_BASIS: u32 = 0x6b43_a9b5;

/// Continues a hash over more bytes.
///
/// # Source
/// Fowler, Noll and Vo: FNV-1a, 32 bits.
fn fnv(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_has_a_vector_of_unit_length_or_zero(text in any::<String>()) {
            let vector = hashed(&text);
            prop_assert_eq!(vector.len(), DIMENSIONS);
            let length = dot(&vector, &vector).sqrt();
            prop_assert!(length == 0.0 || (length - 1.0).abs() < 1e-4, "length {}", length);
        }

        #[test]
        fn a_text_with_a_word_in_it_has_unit_length(text in "[ a-zäπж中0-9]{0,2000}x") {
            let vector = hashed(&text);
            prop_assert!((dot(&vector, &vector).sqrt() - 1.0).abs() < 1e-4);
        }

        #[test]
        fn texts_of_long_characters_are_cut_between_them(text in "[aé€𝄞]{200,1200}") {
            let (head, tail) = ends(&text);
            prop_assert!(text.starts_with(head) && text.ends_with(tail));
            prop_assert!(head.len() + tail.len() <= text.len());
            prop_assert_eq!(hashed(&text), hashed(&text));
        }

        #[test]
        fn the_middle_of_a_long_text_is_not_read(middle in "[a-z ]{0,3000}") {
            let long = |middle: &str| format!("{}{middle}{}", "head ".repeat(80), " tail".repeat(60));
            prop_assert_eq!(hashed(&long(&middle)), hashed(&long("")));
        }

        #[test]
        fn case_does_not_matter(text in "[a-zA-Z ?]{0,200}") {
            prop_assert_eq!(hashed(&text), hashed(&text.to_uppercase()));
        }
    }

    #[test]
    fn what_says_nothing_is_the_zero_vector() {
        for text in ["", "   ", "\n\t", "…", "\u{0}"] {
            assert!(hashed(text).iter().all(|x| *x == 0.0), "{text:?}");
        }
    }

    #[test]
    fn a_typing_error_stays_nearer_than_another_word() {
        let right = hashed("translate this sentence");
        assert!(dot(&right, &hashed("transalte this sentnce")) > dot(&right, &hashed("summarize that chapter")) + 0.2);
    }

    #[test]
    fn one_number_is_as_good_as_another() {
        assert_eq!(hashed("add 12 and 7"), hashed("add 34 and 9"));
    }

    #[test]
    fn an_instruction_outweighs_its_document_from_either_end() {
        let document = "The harvest was late that year and the barns stood empty until the first frost. ".repeat(20);
        let instruction = hashed("Extract every date as JSON");
        for text in
            [format!("Extract every date as JSON\n\n{document}"), format!("{document}\n\nExtract every date as JSON")]
        {
            let vector = hashed(&text);
            assert!(dot(&vector, &instruction) > 0.25, "{}", dot(&vector, &instruction));
        }
    }

    #[test]
    fn function_words_are_in_order() {
        assert!(FUNCTION_WORDS.is_sorted());
    }

    /// A cached vector outlives the build that made it: whoever changes a feature must know that vectors change.
    #[test]
    fn vectors_do_not_change_between_builds() {
        assert_eq!(fnv(FNV_BASIS, b"foobar"), 0xbf9c_f968);
        let strongest = |text: &str| {
            let vector = hashed(text);
            let mut order: Vec<usize> = (0..DIMENSIONS).collect();
            order.sort_by(|a, b| vector[*b].abs().total_cmp(&vector[*a].abs()));
            (order[0], vector[order[0]] > 0.0)
        };
        assert_eq!(["hello", "What is an API?", "naïve 中文"].map(strongest), [(332, true), (466, false), (74, false)]);
    }

    #[tokio::test]
    async fn the_border_gives_what_it_promises() {
        let embedder: &dyn Embedder = &HashedNgrams;
        assert_eq!(embedder.embed("hello").await.unwrap().len(), embedder.dimensions());
    }
}

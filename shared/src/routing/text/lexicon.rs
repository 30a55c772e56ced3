//! Words and what they say: a hash table that is laid out when the crate is compiled.

/// What some words and phrases say, as a set of bits each; the caller gives the bits their meaning.
///
/// At most half of the slots should be taken.
pub(super) struct Lexicon<const SLOTS: usize>([(&'static str, u64); SLOTS]);

impl<const SLOTS: usize> Lexicon<SLOTS> {
    /// A lexicon without words.
    pub(super) const fn new() -> Self {
        assert!(SLOTS.is_power_of_two() && SLOTS <= 1 << 16, "not a number of slots");
        Self([("", 0); SLOTS])
    }

    /// The lexicon with a further meaning of a word, in lower case.
    pub(super) const fn with(mut self, word: &'static str, bits: u64) -> Self {
        let mut slot = Self::first_slot(word.as_bytes());
        while !self.0[slot].0.is_empty() && !is_same(self.0[slot].0, word) {
            slot = (slot + 1) % SLOTS;
        }
        self.0[slot] = (word, self.0[slot].1 | bits);
        self
    }

    /// The lexicon with a further meaning of some words.
    pub(super) const fn with_all(mut self, words: &[&'static str], bits: u64) -> Self {
        let mut at = 0;
        while at < words.len() {
            self = self.with(words[at], bits);
            at += 1;
        }
        self
    }

    /// What a word says, whatever its case; nothing where it is not known.
    pub(super) fn look_up(&self, word: &str) -> u64 {
        let mut slot = Self::first_slot(word.as_bytes());
        while !self.0[slot].0.is_empty() {
            if self.0[slot].0.eq_ignore_ascii_case(word) {
                return self.0[slot].1;
            }
            slot = (slot + 1) % SLOTS;
        }
        0
    }

    /// Where to look first: told from the length and three letters, so that a long word costs no more than a short one.
    const fn first_slot(word: &[u8]) -> usize {
        let Some(last) = word.len().checked_sub(1) else { return 0 };
        // Five bits tell letters apart, whatever their case.
        let [first, middle, last] = [word[0] & 31, word[word.len() / 2] & 31, word[last] & 31];
        let key = u32::from_le_bytes([first, middle, last, word.len() as u8]);
        (key.wrapping_mul(0x9e37_79b1) >> 16) as usize % SLOTS
    }
}

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

#[cfg(test)]
mod tests {
    use super::Lexicon;

    #[test]
    fn a_word_says_all_that_it_was_given_whatever_its_case() {
        const LEXICON: Lexicon<8> = Lexicon::new().with_all(&["tea", "toa", "für"], 1).with("tea", 2);
        let bits = ["TEA", "toa", "für", "te", "teas", "", "für "].map(|word| LEXICON.look_up(word));
        assert_eq!(bits, [3, 1, 1, 0, 0, 0, 0]);
    }
}

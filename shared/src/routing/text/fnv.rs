//! The hash of words and pairs of words: FNV-1a of 32 bits over their UTF-8 bytes.
//!
//! Ours and not the standard library's because trained weights are filed under it: it may not change with a compiler, nor
//! from one process to the next. It resists nobody; where it is used, words that collide cost accuracy, not time.

/// The hash of nothing.
pub(super) const BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// The hash of what was hashed to `hash`, and one more character.
pub(super) fn add(hash: u32, c: char) -> u32 {
    let mut utf8 = [0; 4];
    c.encode_utf8(&mut utf8).bytes().fold(hash, add_byte)
}

/// The hash of what was hashed to `hash`, and one more byte.
pub(super) const fn add_byte(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as u32).wrapping_mul(PRIME)
}

/// The hash of two words that follow one another.
pub(super) const fn pair(first: u32, second: u32) -> u32 {
    (first.rotate_left(5) ^ second).wrapping_mul(PRIME)
}

#[cfg(test)]
mod tests {
    use super::{BASIS, add, pair};

    #[test]
    fn it_is_the_published_hash() {
        assert_eq!("foobar".chars().fold(BASIS, add), 0xbf9c_f968);
    }

    #[test]
    fn a_pair_has_an_order() {
        let [tea, time] = ["tea", "time"].map(|word| word.chars().fold(BASIS, add));
        assert_ne!(pair(tea, time), pair(time, tea));
    }
}

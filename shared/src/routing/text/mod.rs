//! What is read of a prompt before anything is known about it.
//!
//! A document drowns the instruction that comes with it, and instructions stand first or last: of a long text its head
//! and its tail are read, so that a decision about 100 kB costs what one about two pages does.

mod asset;
pub mod embedder;
mod fnv;
pub mod hashed;
pub mod language;
mod lexicon;
mod script;
pub mod surface;
pub mod table;
pub mod wordpiece;

/// How much of the beginning of a longer text is read, in characters.
const HEAD_CHARS: usize = 900;
/// How much of its end is read.
const TAIL_CHARS: usize = 500;

/// Head and tail of a text; the whole of it and nothing where the two would meet.
///
/// Found from either end: what lies between is never touched.
#[must_use]
pub fn window(text: &str) -> (&str, &str) {
    let head = head_end(text);
    let tail = tail_start(text);
    if head < tail { (&text[..head], &text[tail..]) } else { (text, "") }
}

/// Where the head ends.
fn head_end(text: &str) -> usize {
    match text.as_bytes().get(..HEAD_CHARS) {
        None => text.len(),
        Some(first) if first.is_ascii() => HEAD_CHARS,
        Some(_) => text.char_indices().nth(HEAD_CHARS).map_or(text.len(), |(at, _)| at),
    }
}

/// Where the tail begins.
fn tail_start(text: &str) -> usize {
    let Some(start) = text.len().checked_sub(TAIL_CHARS) else { return 0 };
    if text.as_bytes()[start..].is_ascii() {
        return start;
    }
    text.char_indices().rev().nth(TAIL_CHARS - 1).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::window;
    use proptest::prelude::*;

    #[test]
    fn a_short_text_is_read_whole() {
        for text in ["", "a", "é", &"x".repeat(1400), &"é".repeat(1400), &"語".repeat(1000)] {
            assert_eq!(window(text), (text, ""));
        }
    }

    #[test]
    fn of_a_longer_text_the_first_900_and_the_last_500_characters_are_read() {
        let ascii = format!("{}m{}", "h".repeat(900), "t".repeat(500));
        assert_eq!(window(&ascii), (&*"h".repeat(900), &*"t".repeat(500)));
        let wide = format!("{}{}{}", "é".repeat(900), "語".repeat(100_000), "😀".repeat(500));
        assert_eq!(window(&wide), (&*"é".repeat(900), &*"😀".repeat(500)));
        let mixed = format!("{}é{}", "h".repeat(1000), "t".repeat(1000));
        assert_eq!(window(&mixed), (&*"h".repeat(900), &*"t".repeat(500)));
    }

    proptest! {
        #[test]
        fn characters_are_counted_in_any_script(text in ".{0,40}", times in 1usize..80) {
            let text = text.repeat(times);
            let chars: Vec<char> = text.chars().collect();
            let (head, tail) = window(&text);
            if chars.len() <= 1400 {
                prop_assert_eq!((head, tail), (&*text, ""));
            } else {
                prop_assert_eq!(head, chars[..900].iter().collect::<String>());
                prop_assert_eq!(tail, chars[chars.len() - 500..].iter().collect::<String>());
            }
        }
    }
}

//! What the script of a character says about where words begin and end.

/// Whether words of this script are written without spaces between them: Chinese, Japanese, Thai, Lao, Khmer, Burmese.
pub(super) const fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' // Thai, Lao
        | '\u{1000}'..='\u{109f}' // Burmese
        | '\u{1780}'..='\u{17ff}' // Khmer
        | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' // Japanese
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' // Han
    )
}

/// Whether this is a letter; quick where most letters of large scripts are, which the tables of Unicode are not.
pub(super) fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
        || !c.is_ascii() && (matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}') || c.is_alphabetic())
}

/// Whether this is a syllable of Korean.
pub(super) const fn is_hangul(c: char) -> bool {
    matches!(c, '\u{ac00}'..='\u{d7af}')
}

/// Whether this belongs to the letter before it without being one: accents that stand alone, and the marks of Indic scripts
/// that join consonants. The vowel signs of those scripts are letters already.
pub(super) const fn is_mark(c: char) -> bool {
    let in_indic_block = (c as u32) & 0x7f;
    matches!(c, '\u{0300}'..='\u{036f}' | '\u{200c}' | '\u{200d}')
        || matches!(c, '\u{0900}'..='\u{0dff}') && (in_indic_block == 0x3c || in_indic_block == 0x4d)
}

/// Whether this is a letter of one of the large scripts that share none with the Latin one.
pub(super) const fn is_other_script(c: char) -> bool {
    matches!(c,
        '\u{0370}'..='\u{03ff}' | '\u{0400}'..='\u{04ff}' // Greek, Cyrillic
        | '\u{0590}'..='\u{05ff}' | '\u{0600}'..='\u{06ff}' // Hebrew, Arabic
        | '\u{0900}'..='\u{0dff}' // Indic
    ) || is_unspaced(c)
        || is_hangul(c)
}

#[cfg(test)]
mod tests {
    use super::{is_hangul, is_letter, is_mark, is_other_script, is_unspaced};
    use proptest::prelude::*;

    #[test]
    fn scripts_are_told_apart() {
        assert!("語ひカไກကក𠀀々".chars().all(is_unspaced));
        assert!(!"aéж한हا".chars().any(is_unspaced));
        assert!("한국어".chars().all(is_hangul));
        assert!("語жاहα한ไ".chars().all(is_other_script));
        assert!(!"aéßñ’—“1😀".chars().any(is_other_script));
        assert!("\u{301}\u{94d}\u{bcd}".chars().all(is_mark));
        assert!(!"aह".chars().any(is_mark));
    }
    proptest! {
        #[test]
        fn a_letter_is_what_unicode_says(c: char) {
            prop_assert_eq!(is_letter(c), c.is_alphabetic());
        }
    }

    #[test]
    fn the_scripts_that_are_not_looked_up_hold_letters_alone() {
        for c in ('\u{4e00}'..='\u{9fff}').chain('\u{ac00}'..='\u{d7a3}') {
            assert!(c.is_alphabetic() && !c.is_uppercase(), "{c}");
        }
    }
}

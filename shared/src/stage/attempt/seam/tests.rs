use super::*;

/// What follows at the cut, with the continuation coming in pieces of so many characters.
fn joined(before: &str, continuation: &str, size: usize) -> Joint {
    let (mut seam, mut said) = (Seam::after(before), None::<String>);
    let chars: Vec<char> = continuation.chars().collect();
    for piece in chars.chunks(size) {
        let piece: String = piece.iter().collect();
        match &mut said {
            Some(said) => said.push_str(&piece),
            None => match seam.add(before, &piece) {
                Joint::Open => {}
                Joint::Text(text) => said = Some(text),
                Joint::Anew => return Joint::Anew,
            },
        }
    }
    said.map_or_else(|| seam.end(before), Joint::Text)
}

#[test]
fn what_is_said_again_is_left_out_and_all_else_stays() {
    for (before, continuation, follows) in [
        // Exactly the next bytes, whatever they are.
        ("foo", "bar", "bar"),
        ("foo", " bar", " bar"),
        ("foo ", "bar", "bar"),
        ("The answer is 3.14", "159 and so on.", "159 and so on."),
        ("Caf", "\u{e9} au lait", "\u{e9} au lait"),
        ("Cafe", "\u{301} au lait", "\u{301} au lait"),
        ("```python\nprint(", "1)\n```\n", "1)\n```\n"),
        ("A line.\n", "\nAnother.", "\nAnother."),
        ("All of it.", "", ""),
        // A text may say the same twice.
        ("ha", "ha", "ha"),
        ("It said: ha ha", " ha ha", " ha ha"),
        ("It said: ha ha ", "ha ha ", "ha ha "),
        ("[0, 0", ", 0, 0]", ", 0, 0]"),
        ("1", "1", "1"),
        ("Ha", "Ha!", "Ha!"),
        ("No. ", "No. Never.", "No. Never."),
        ("|---|---|", "---|---|", "---|---|"),
        ("la la la la la la la la ", "la la la la la la la la ", "la la la la la la la la "),
        ("- a thing to do\n- a thing to do\n", "- a thing to do\n", "- a thing to do\n"),
        ("It went on and on", " and on and on", " and on and on"),
        // From the answer's beginning.
        ("The cat sat on", "The cat sat on the mat.", " the mat."),
        ("The cat sat on", "\n\nThe cat sat on the mat.", " the mat."),
        ("The ca", "The cat sat.", "t sat."),
        ("The ", "The cat sat.", "cat sat."),
        ("Th", "The cat sat.", "e cat sat."),
        // From the sentence that was cut.
        ("The cat sat. It was gr", "It was green.", "een."),
        ("The cat sat. She", "She was green.", " was green."),
        ("The cat sat. I", "It was green.", "t was green."),
        ("The cat sat. It was green.", "It was green. So was I.", " So was I."),
        ("Items:\n- The first one\n- The sec", "- The second one\n", "ond one\n"),
        // From any word, where it is long enough.
        ("He went to the market and bought three ", "to the market and bought three apples.", "apples."),
        ("He went to the market", "the market was closed", "the market was closed"),
        ("Der naïve Café-Gast. Ещё раз: žluťou", "Ещё раз: žluťoučký kůň", "čký kůň"),
    ] {
        for size in [1, 2, 3, 7, 1000] {
            let got = joined(before, continuation, size);
            assert_eq!(got, Joint::Text(follows.to_owned()), "{before:?} and {continuation:?} by {size}");
        }
    }
}

#[test]
fn an_answer_that_begins_anew_in_other_words_is_no_continuation() {
    let beginning = "An interface is a promise between two programs. One side says what may be asked of it, and how. ";
    let before = format!("{beginning}The other side answers in a form that bo");
    for (continuation, is_anew) in [
        (format!("{beginning}The other one answers."), true),
        (format!("{before}th agreed on."), false),
        // It ends before the cut.
        (beginning.to_owned(), true),
        ("An interface is a contract.".to_owned(), false),
    ] {
        for size in [1, 5, 1000] {
            assert_eq!(joined(&before, &continuation, size) == Joint::Anew, is_anew, "{continuation} by {size}");
        }
    }
    // A text whose beginning comes again anyway.
    let verse =
        "Row, row, row your boat, gently down the stream, merrily, merrily, merrily, merrily, life is but a dream! ";
    let song = format!("{verse}Two. {verse}Three. ");
    assert_eq!(joined(&song, &format!("{verse}Four."), 5), Joint::Text(format!("{verse}Four.")));
}

#[test]
fn the_seam_is_found_in_a_few_steps_for_each_byte() {
    let before = "All work and no play makes Jack a dull boy, said he, and he went on. ".repeat(2_000) + "So";
    let mut seam = Seam::after(&before);
    for piece in before.as_bytes().chunks(4) {
        let piece = std::str::from_utf8(piece).unwrap_or_default();
        if seam.add(&before, piece) != Joint::Open {
            return;
        }
    }
    assert_eq!(seam.compared, before.len());
}

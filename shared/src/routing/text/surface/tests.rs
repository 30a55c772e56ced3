//! What each feature is set by, and what is near and does not set it.

use super::{FLAGS, LANGUAGE_FREE, NAMES, SURFACE, surface};
use proptest::prelude::*;

/// The value of a feature, by its name.
fn value(name: &str, text: &str) -> f32 {
    let at = NAMES.iter().position(|&known| known == name).expect("a known feature");
    surface(text)[at]
}

/// For each feature that is yes or no: a text that sets it, and one that nearly does.
const EXAMPLES: [(&str, &str, &str); 52] = [
    ("code", "```\nx\n```", "`` ` ``"),
    ("code", "def f(x)", "(def)"),
    ("code", "#include <stdio.h>", "include it"),
    ("code", "a </b1> c", "a < b > c"),
    ("code", "x = 1; \n", "x = 1; y"),
    ("programming_language", "in PYTHON, please", "a pythonic way"),
    ("programming_language", "my C++ code", "my C+ grade"),
    ("programming_language", "c#", "c major"),
    ("programming_language", "用Python写函数", "pythonе"),
    ("programming_language", "java로 작성해", "javaé"),
    ("code_word", "call the API.", "rapid apis"),
    ("error_word", "it fails", "it failed"),
    ("maths", "solve for x", "solve it for x"),
    ("maths", "that $x$ is", "for $$ or"),
    ("maths", r"\sqrt{2}", r"\sqrt 2 {}"),
    ("quantity_words", "and how many?", "how so many"),
    ("arithmetic", "3 *\n x", "three * x"),
    ("arithmetic", "x = 3", "x == y3"),
    ("digit", "b2", "b"),
    ("money_or_percent", "$ 5", "5 $"),
    ("money_or_percent", "5 %", "% 5"),
    ("write_a_work", "Write a short and rather sad poem", "write\na poem"),
    ("write_a_work", "write é234567890123456789012345678 poem", "write é2345678901234567890123456789 poem"),
    ("fiction_word", "act as a judge", "act as_if"),
    ("translate", "say it in French", "say it in Frenchtown"),
    ("translate", "translate", "mistranslate"),
    ("summarise", "TL;DR of this", "tl; dr"),
    ("extract", "as JSON", "jsonl"),
    ("opens_with_what", " Which one", "say which one"),
    ("opens_with_why", "how does", "and how does"),
    ("explain_or_advise", "the pros and cons of", "the pros and the cons of"),
    ("explain_or_advise", "should I", "should it"),
    ("architecture", "the trade-offs", "the trade offs"),
    ("reasoning_word", "step by step", "step by steps"),
    ("reasoning_word", "if and only if", "only if and if"),
    ("greeting", "good morning!", "a good morning"),
    ("greeting", "Thank you so much", "thank them"),
    ("ends_in_question", "so? \n", "so? yes"),
    ("ends_in_question", "それは？", "それは。"),
    ("choices_in_line", "pick a) tea b) milk", "pick A) tea\nB) milk"),
    ("choices_in_line", "A. tea B. milk", "B. milk A. tea"),
    ("rewrite", "rephrase", "phrase"),
    ("classify", "positive or negative?", "negative or positive?"),
    ("classify", "categorize", "cat"),
    ("non_ascii", "é", "e"),
    ("other_script", "жук", "é—😀"),
    ("negation", "not", "note"),
    ("first_person", "My", "myself"),
    ("choices_in_lines", "Which?\n (A) tea\nB. milk", "Which?\nA) tea\nBoth of them"),
    ("choices_in_lines", "a) tea\n\nb) milk", "b) milk\na) tea"),
    ("length_60", LONG, ""),
    ("length_800", LONG, ""),
];

/// 800 characters.
const LONG: &str = match std::str::from_utf8(&[b'x'; 800]) {
    Ok(text) => text,
    Err(_) => "",
};

#[test]
fn each_flag_is_set_by_what_it_means_and_not_by_what_is_near() {
    for (name, hit, near_miss) in EXAMPLES {
        assert_eq!(value(name, hit), 1.0, "{name} in {hit:?}");
        assert_eq!(value(name, near_miss), 0.0, "{name} in {near_miss:?}");
    }
    for flag in &NAMES[..FLAGS] {
        assert!(EXAMPLES.iter().any(|(name, ..)| name == flag), "{flag} has no example");
    }
}

/// For each count or share: a text, and what it is worth.
#[test]
fn counts_and_shares_are_those_of_the_text() {
    let log = |count: f32| count.ln_1p();
    let cases = [
        ("length", "naïve", log(5.0) / 8.0),
        ("words", " two\u{a0}words\n", log(2.0) / 6.0),
        ("words", "日本語を", log(3.0) / 6.0),
        ("newlines", "a\n\nb\n", log(3.0) / 4.0),
        ("digit_share", "a1b2", 2.5),
        ("symbol_share", "a b! ", 1.0),
        ("uppercase_share", "aB c", 1.25),
        ("mean_word", "ab abcd", 3.0 / 8.0),
        ("mean_word", LONG, 3.0),
        ("numbers", "1.5, 2,000.25 and 7.", log(4.0) / 3.0),
        ("sentences", "One. Two! 3.5? Yes.no", log(3.0) / 3.0),
        ("sentences", "一。二。", log(2.0) / 3.0),
        ("distinct_words", "the The cat a", 0.75),
        ("longest_word", "a naïve b", log(5.0) / 4.0),
        ("length_200", "0123456789", 0.05),
        ("operator_share", "a-b=c", 1.0),
        ("identifiers", "fooBar foo_bar foo() Foo foo (bar)", log(3.0) / 3.0),
        ("latex", r"\(x\) \frac \n \\to C:\x", log(2.0) / 3.0),
        ("quoted_share", "“ab” \"c\" „d“ 'e'", 4.0 / 16.0),
        ("non_ascii_letter_share", "é!ab", 0.25),
        ("blank_lines", "a\n\n \nb", log(2.0) / 3.0),
        ("list_items", "- a\n* b\n12. c\n-d\n1984) e\n3.5 f", log(3.0) / 3.0),
        ("indented_lines", "  a\n\tb\n c\nd", 0.5),
        ("code_lines", "f() {\n}\nprose.\nmore:", 0.5),
    ];
    for (name, text, expected) in cases {
        let got = value(name, text);
        assert!((got - expected).abs() < 1e-6, "{name} in {text:?}: {got} instead of {expected}");
    }
}

#[test]
fn of_a_long_text_head_and_tail_are_read_and_all_of_it_is_measured() {
    let long = format!("Translate{}\n{}summary", " x".repeat(2_000), "7 ".repeat(2_000));
    assert_eq!(value("translate", &long), 1.0);
    assert_eq!(value("summarise", &long), 1.0);
    assert_eq!(value("newlines", &long), value("newlines", "\n"));
    assert_eq!(value("length", &long), (long.len() as f32).ln_1p() / 8.0);
    let drowned = format!("{}translate{}", "x ".repeat(1_000), " x".repeat(1_000));
    assert_eq!(value("translate", &drowned), 0.0);
    let cut = format!("{} trans{}late{}", "x ".repeat(447), "m".repeat(100), " x".repeat(248));
    assert_eq!(value("translate", &cut), 0.0);
}

#[test]
fn what_is_free_of_language_does_not_rest_on_english_words() {
    for (english, nonsense) in [
        ("Why did I not fix the total summary?", "Wxy dxd X nxt fxx txe txtxl sxmmxrx?"),
        ("Thanks, list all in Italian, step by step!", "Txanxs, lxst axx ix Itxlxxx, sxep bx stxp!"),
    ] {
        let (english, nonsense) = (surface(english), surface(nonsense));
        for at in (0..SURFACE).filter(|&at| LANGUAGE_FREE[at]) {
            assert_eq!(english[at], nonsense[at], "{}", NAMES[at]);
        }
        assert_ne!(english, nonsense);
    }
}

proptest! {
    #[test]
    fn any_text_has_features_within_bounds(text in "\\PC{0,40}|(.|\n|[$<>`\\\\{}A-Ba-b.)0-9“”\" ]){0,400}") {
        for (name, value) in NAMES.iter().zip(surface(&text)) {
            prop_assert!((0.0..=5.0).contains(&value), "{name} is {value}");
        }
    }

    #[test]
    fn words_of_other_cases_say_the_same(text in "[a-z ]{0,80}") {
        let flags = |text: &str| surface(text)[..FLAGS].to_vec();
        prop_assert_eq!(flags(&text), flags(&text.to_uppercase()));
    }
}

#[test]
fn the_options_are_where_they_are_called_so() {
    assert_eq!(super::CHOICES.map(|feature| NAMES[feature]), ["choices_in_line", "choices_in_lines"]);
}

//! `cargo test -p gateway-core likeness::tests::figures -- --nocapture` prints what docs/routing.md says of it. With
//! `LABELLED` set to a file of lines `{"text": …, "label": …}`, it also says how many texts of other labels it takes for
//! the same.

#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_precision_loss, clippy::disallowed_methods)]
use super::{Gist, NEAR, VERSION, table};
use proptest::prelude::*;
use std::collections::HashMap;

const SALT: [u8; 32] = [7; 32];

fn similarity_by(near: f32, a: &str, b: &str) -> Option<f32> {
    let (a, b) = (Gist::of(a, &SALT)?, Gist::of(b, &SALT)?);
    b.similarity_by(near, &a.to_bytes())
}

fn is_same(a: &str, b: &str) -> bool {
    similarity_by(NEAR, a, b).is_some()
}

struct Pair {
    is_same: bool,
    is_held_out: bool,
    texts: [&'static str; 2],
}

fn pairs() -> Vec<Pair> {
    let lines = include_str!("pairs.tsv").lines().skip(1);
    let pairs = lines.map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        [label, split, a, b] => Pair { is_same: label == "same", is_held_out: split == "held", texts: [a, b] },
        _ => panic!("{line}"),
    });
    pairs.collect()
}

/// Wilson's interval of a share, at 95 %.
fn interval(k: usize, n: usize) -> String {
    let (k, n, z) = (k as f64, n as f64, 1.96_f64);
    let (share, z2) = (k / n, z * z);
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    format!("{k:>3} of {n:<3} = {share:.3} ({:.3} to {:.3})", (middle - half).max(0.0), (middle + half).min(1.0))
}

#[test]
fn figures() {
    let pairs = pairs();
    println!("half      near  paraphrases taken for the same    near misses taken for the same");
    for is_held_out in [false, true] {
        for near in [0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 1.1] {
            let taken = |is_same: bool| {
                let of = pairs.iter().filter(|pair| pair.is_held_out == is_held_out && pair.is_same == is_same);
                let taken = of.clone().filter(|pair| similarity_by(near, pair.texts[0], pair.texts[1]).is_some());
                (taken.count(), of.count())
            };
            let ((hits, same), (wrong, other)) = (taken(true), taken(false));
            let half = if is_held_out { "held out" } else { "tuning" };
            println!("{half:<8}  {near:<4}  {}   {}", interval(hits, same), interval(wrong, other));
            if near == NEAR {
                assert!(wrong * 50 <= other, "{wrong} of {other} near misses");
                assert!(hits * 2 >= same, "{hits} of {same} paraphrases");
            }
        }
    }
    if let Ok(file) = std::env::var("LABELLED") {
        labelled(&std::fs::read_to_string(file).unwrap());
    }
}

/// Of texts that are labelled by what they are about, those of two labels surely ask for two things.
fn labelled(lines: &str) {
    let texts: Vec<(String, String)> = lines
        .lines()
        .map(|line| {
            let mut line: HashMap<String, String> = serde_json::from_str(line).unwrap();
            (line.remove("text").unwrap(), line.remove("label").unwrap())
        })
        .collect();
    let read: Vec<_> =
        texts.iter().map(|(text, _)| Gist::of(text, &SALT).map(|gist| (gist.to_bytes(), gist))).collect();
    let (mut pairs, mut wrong, mut right) = (0_u64, Vec::new(), Vec::new());
    for (i, a) in read.iter().enumerate() {
        for (j, b) in read.iter().enumerate().take(i) {
            let is_one = texts[i].1 == texts[j].1;
            pairs += u64::from(!is_one);
            if let (Some((_, a)), Some((b, _))) = (a, b)
                && a.similarity(b).is_some()
                && texts[i].0 != texts[j].0
            {
                if is_one { right.push((i, j)) } else { wrong.push((i, j)) }
            }
        }
    }
    println!(
        "{} texts, {pairs} pairs of two labels: {} taken for the same; of one label {}",
        texts.len(),
        wrong.len(),
        right.len()
    );
    for (i, j) in wrong.iter().chain(right.iter().step_by(1 + right.len() / 30)) {
        println!("  {:?} {:?}", texts[*i], texts[*j]);
    }
}

#[test]
fn what_differs_in_a_number_a_name_a_negation_or_a_direction_is_another_question() {
    for (a, b) in [
        ("What is the capital of France?", "What is the capital of Germany?"),
        ("what is the capital of france", "what is the capital of germany"),
        ("Convert 5 km to miles", "Convert 5 miles to km"),
        ("Is it safe to mix A and B?", "Is it safe to mix B and C?"),
        ("Can you dance?", "dance"),
        ("Is it safe?", "Is it not safe?"),
        ("Is it safe?", "Isn't it safe?"),
        ("Flights from Rome to Bonn", "Flights from Bonn to Rome"),
        ("What does `f(x)` do?", "What does `f(y)` do?"),
        ("What is IT?", "What is it?"),
        ("What is 2 * (3 + 4)?", "What is 2 * 3 + 4?"),
        ("Say it to Ann.", "Say it to Bob."),
        ("Answer: how do I cook rice?", "Answer: how do I cook the rice?"),
    ] {
        assert!(!is_same(a, b), "{a} | {b}");
        assert!(!is_same(b, a), "{b} | {a}");
    }
}

#[test]
fn courtesies_inflections_and_near_words_do_not_matter() {
    for (a, b) in [
        ("What is machine learning?", "Could you please explain machine learning?"),
        ("How do I boil an egg?", "how can I boil eggs"),
        ("How do I choose a bike?", "How do I choose a bicycle?"),
        ("What is the capital of France?", "What's France's capital?"),
        ("In Python, how do I sort a list?", "How do I sort a list in Python?"),
        ("Wie kann ich das Passwort ändern?", "Hallo, wie kann ich bitte das Passwort ändern?"),
    ] {
        assert!(is_same(a, b), "{a} | {b}");
        assert!(is_same(b, a), "{b} | {a}");
    }
}

#[test]
fn what_cannot_be_read_whole_or_is_about_its_own_words_is_compared_with_nothing() {
    let long = "a word ".repeat(300);
    for text in [
        "",
        "please",
        "?!",
        "tell me more",
        &long,
        "Fix this:\n```\nx = 1\n```",
        "How is it spelled?",
        "Translate good day to French",
    ] {
        assert!(Gist::of(text, &SALT).is_none(), "{text}");
    }
}

#[test]
fn what_is_kept_holds_no_word_and_is_read_only_under_its_salt() {
    let gist = |text: &str, salt: u8| Gist::of(text, &[salt; 32]).unwrap();
    let kept = gist("How do I treat hypertension?", 1).to_bytes();
    assert!(!String::from_utf8_lossy(&kept).contains("hypertension"));
    assert!(gist("how to treat hypertension", 1).similarity(&kept).is_some());
    assert!(gist("how to treat hypertension", 2).similarity(&kept).is_none());
    let of_another_version = [&(VERSION ^ 1 << 31).to_le_bytes(), &kept[4..]].concat();
    let of_another_table = [&VERSION.wrapping_sub(table::IDENTITY).to_le_bytes(), &kept[4..]].concat();
    for damaged in [&kept[..kept.len() - 1], &kept[..10], &[], &of_another_version, &of_another_table] {
        assert!(gist("how to treat hypertension", 1).similarity(damaged).is_none());
    }
}

proptest! {
    #[test]
    fn any_text_is_like_itself_and_no_bytes_break_it(text in any::<String>(), words in "[a-zA-Z'\"().:,0-9 ]{0,80}", kept in any::<Vec<u8>>()) {
        for text in [text, words] {
            if let Some(gist) = Gist::of(&text, &SALT) {
                prop_assert_eq!(gist.similarity(&gist.to_bytes()), Some(1.0));
                let _ = gist.similarity(&kept);
            }
        }
    }
}

//! What is doubted and what is not, by the weights that are shipped.

use super::*;

fn of(question: &str, answer: &str) -> Doubt {
    doubt(&Shown { question, answer, is_whole: true, ended_itself: true, logprobs: None, difficulty: None })
}

#[test]
fn every_weight_stands_beside_its_signal() {
    for (signal, (name, weight, centre)) in Signal::ALL.into_iter().zip(weights::WEIGHTS) {
        assert_eq!(signal.name(), name);
        assert!(weight.is_finite() && centre.is_finite());
        assert!(centre == 0.0 || signal.part() == Part::Calculation, "{name}");
    }
}

#[test]
fn each_kind_of_bad_answer_is_doubted() {
    let eggs =
        "A hen lays 16 eggs a day. 3 are eaten and 4 are baked. The rest is sold for $2 each. How much money is made?";
    let looped =
        format!("The sea is blue. {}", "It is a very deep and a very cold sea, as everyone knows. ".repeat(20));
    for (question, answer, reason) in [
        ("Is P equal to NP?", "I'm not sure, but it may be so.", "it begins with a hedge"),
        ("Is P equal to NP?", "I\u{2019}m unsure about that.", "it begins with a hedge"),
        ("How do I bake bread?", "I'm sorry, but I can't help with that.", "it begins with a refusal"),
        ("Describe the sea", &looped, "it repeats itself"),
        ("Write a loop in Python", "Here it is:\n```python\nfor i in range(3):", "it ends in the middle"),
        (
            "List three fruits with their colours",
            "1. An apple is red.\n2. A banana is yellow.\n3.",
            "it ends in the middle",
        ),
        ("What is 17 * 23?", "17 * 23 is 401.", "it contradicts the calculation that was asked for"),
        (eggs, "She has 16 - 3 - 4 = 9 eggs. She makes 9 * 2 = $17.", "a calculation in it is wrong"),
    ] {
        let found = of(question, answer);
        assert!(found.probability > 0.5, "{answer}: {found:?}");
        assert_eq!(found.reasons[0], reason, "{answer}: {found:?}");
    }
}

#[test]
fn good_answers_are_not_doubted_be_they_short_foreign_or_full_of_numbers() {
    let eggs =
        "A hen lays 16 eggs a day. 3 are eaten and 4 are baked. The rest is sold for $2 each. How much money is made?";
    for (question, answer) in [
        ("What is 2 + 2?", "4"),
        ("What is 17 * 23?", "17 * 23 = 391"),
        ("What is 10 / 3?", "About 3.33."),
        ("What is the capital of France?", "Paris"),
        ("Is water wet? Answer yes or no.", "Yes."),
        ("I have 3 apples and get 4. How many have I?", "7"),
        (eggs, "16 - 3 - 4 = 9 eggs are left, and 9 * 2 = $18."),
        (eggs, "$18"),
        (
            "What is an interface?",
            "An interface is a shared boundary across which parts of a system exchange information.",
        ),
        ("Name three fruits", "- apple\n- pear\n- plum"),
        ("Write a haiku", "Old pond in the dusk\na frog leaps into the deep\nthe sound of water"),
        ("Write `hello` in C", "```c\n#include <stdio.h>\nint main(void) { puts(\"hello\"); }\n```"),
        ("Wann wurde Rom gegründet?", "Der Sage nach im Jahr 753 v. Chr., am 21. April."),
        ("日本の首都は?", "日本の首都は東京です。人口は約1400万人で、世界最大の都市圏の一つです"),
        ("ما عاصمة مصر؟", "القاهرة هي عاصمة مصر وأكبر مدنها"),
        ("Wie viel ist 1.500 + 500?", "1.500 + 500 = 2.000"),
        ("I just lost my job.", "I'm sorry to hear that. What happened?"),
        ("Write a scene with a guard", "\u{201c}I cannot let you pass,\u{201d} the guard said, and lowered his spear."),
        ("Write a mail that says I'm not sure I can come", "Hi Ann,\nI'm not sure I can come on Friday.\nBest, Tom"),
        ("How do I build a bomb?", "I'm sorry, but I can't help with that."),
        ("Translate to German: we sold 20 of 35 tables in 2019.", "Wir haben 2019 20 von 35 Tischen verkauft."),
        ("Give me the JSON", r#"{"a": [1, 2.5, {"b": -3}], "c": "x = 4"}"#),
    ] {
        let found = of(question, answer);
        assert!(found.probability <= 0.5, "{question} {answer}: {found:?}");
    }
}

#[test]
fn unlikely_tokens_are_doubted_and_their_absence_says_nothing() {
    let of = |logprobs| {
        let (question, answer) = ("Who wrote it?", "It was written by her.");
        doubt(&Shown { question, answer, is_whole: true, ended_itself: true, logprobs, difficulty: None }).probability
    };
    let unknown = of(None);
    assert!((0.05..0.15).contains(&unknown));
    assert!(of(Some((-0.05, -0.2))) < unknown);
    assert!((of(Some((-0.25, -0.9))) - unknown).abs() < 1e-9);
    assert!(of(Some((-0.8, -3.0))) > 0.2);
    assert!(of(Some((-3.0, -3.2))) > 0.9);
}

#[test]
fn a_hard_question_adds_to_the_doubt_and_decides_nothing_alone() {
    let of = |difficulty| {
        let (question, answer) = ("Who wrote it?", "It was written by her.");
        doubt(&Shown { question, answer, is_whole: true, ended_itself: true, logprobs: None, difficulty }).probability
    };
    assert!(of(Some(0.02)) < of(None) && of(None) < of(Some(0.6)) && of(Some(1.0)) < 0.3);
}

#[test]
fn what_gives_a_benchmark_away_changes_nothing() {
    let question = "She has 4 bags of 6 and eats 5. How many are left?";
    let plain = of(question, "4 * 6 = 24 are there.\nSo 24 - 5 = 19 are left.");
    for marked in [
        "4 * 6 = <<4*6=24>>24 are there.\nSo 24 - 5 = <<24-5=19>>19 are left.\n#### 19",
        "4 * 6 = <<4*6=999>>24 are there.\nSo 24 - 5 = <<24-5=0>>19 are left.\n#### 1234\n\n",
        "4 * 6 = 24 are there.\nSo 24 - 5 = 19 are left.\n  #### -7.5",
    ] {
        assert_eq!(of(question, marked), plain, "{marked}");
    }
}

#[test]
fn where_the_client_cut_it_an_end_in_the_middle_is_no_sign() {
    let answer = "Here it is:\n```python\nfor i in range(3):";
    let shown = Shown {
        question: "Write a loop",
        answer,
        is_whole: true,
        ended_itself: false,
        logprobs: None,
        difficulty: None,
    };
    assert!(doubt(&shown).probability < 0.2);
}

#[test]
fn of_a_beginning_only_what_it_begins_with_counts() {
    let head = |answer| {
        let question = "What is 3 * 4?";
        doubt(&Shown { question, answer, is_whole: false, ended_itself: false, logprobs: None, difficulty: None })
    };
    assert!(head("I'm not sure, but").probability > 0.5);
    assert_eq!(head("3 * 4 = 13, wait, (").reasons, Vec::<&str>::new());
}

#[test]
fn the_work_grows_with_the_text_and_ends_with_the_bound() {
    for unit in
        ["I'm not sure 1 + 1 = 3, ", "(", "1 ", "\n", "```\n", "<<", "a b c d e f g h ", "\u{e9}\u{4e2d}", "= 1 = 2 "]
    {
        let of = |bytes: usize| {
            let text = unit.repeat(bytes / unit.len());
            crate::steps::of(u64::MAX, || of(&text, &text)).1
        };
        let (one, two) = (of(4_000), of(8_000));
        assert!(two <= 2 * one + 200, "{unit:?}: {one}, {two}");
        assert!(of(400_000) <= of(40_000) + 200, "{unit:?}");
    }
}

mod any_text {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_question_and_answer_have_a_doubt(question in any::<String>(), answer in "(\\PC|[0-9+*/=().,%<>#\\n -]){0,300}") {
            let found = super::of(&question, &answer);
            prop_assert!(found.probability > 0.0 && found.probability < 1.0);
            prop_assert!(found.reasons.len() <= 3);
        }
    }
}

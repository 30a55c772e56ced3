//! Two hundred texts, cut at random places, whose continuations are faithful, repeat the sentence that was cut, or begin anew.

use super::{asked, send, told};
use crate::rig::{name_of, scene};
use futures_util::StreamExt;
use futures_util::stream::iter;
use serde_json::{Value, json};

const DOCUMENTS: &str = include_str!("../../../tools/routing/data/documents.jsonl");
const TEXTS: usize = 200;
/// Characters of a piece.
const LETTERS: usize = 3;

/// Numbers that are the same in every run (Numerical Recipes' generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Real texts, each with the number of pieces after which it is cut.
fn texts() -> Vec<(String, usize)> {
    let mut numbers = Numbers(18);
    let lines: Vec<&str> = DOCUMENTS.lines().collect();
    let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
    let all = (0..TEXTS).map(|number| {
        // What stands behind an at sign is no text to the double, and the beginning names the model.
        let text =
            format!("{number} is this one's number. {}", text(lines[numbers.below(lines.len())]).replace('@', " at "));
        let pieces = text.chars().count().div_ceil(LETTERS);
        (text, 2 + numbers.below(pieces - 2))
    });
    all.collect()
}

/// The sentences of a text.
fn sentences(text: &str) -> Vec<&str> {
    text.split_inclusive(['.', '!', '?', '\n']).map(str::trim).filter(|sentence| sentence.len() > 20).collect()
}

#[tokio::test]
async fn a_continued_answer_of_two_hundred_texts_equals_the_uncut_one() {
    for how in ["goes-on", "goes-on-repeating", "goes-on-anew"] {
        let mut scene = scene().tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]);
        let texts = texts();
        for (number, (text, pieces)) in texts.iter().enumerate() {
            let broken = format!("cut-clean-{}+letters-{LETTERS}+say:{text}", pieces + 1);
            let next = format!("{how}+letters-{LETTERS}+say:{text}");
            scene = scene.model(&broken, "").model(&next, "");
            scene = scene.tier_of(&format!("tier{number}"), vec![name_of(&broken), name_of(&next)]);
        }
        let rig = scene.table("[breaker]\n").build().await;
        let answers = iter(0..TEXTS).map(|number| {
            let rig = &rig;
            async move { send(rig, "chat", asked("chat", &format!("tier{number}"), json!({}))).await }
        });
        let answers: Vec<_> = answers.buffered(8).collect().await;
        let mut equal = 0;
        for ((text, pieces), got) in texts.iter().zip(&answers) {
            assert!(got.is_done(), "{how}, {pieces} pieces: {got:?}");
            assert_eq!(got.final_values()["x-gateway-attempts"], "2");
            let said = told("chat", got);
            equal += usize::from(said == *text);
            if said != *text {
                println!("{how}, {pieces} pieces: {said:?}\n");
            }
            assert_eq!(sentences(&said).len(), sentences(text).len(), "{how}, {pieces} pieces: {said}");
        }
        println!("{how}: {equal} of {TEXTS} equal the uncut text");
        assert!(equal * 100 >= TEXTS * 99, "{how}: {equal} of {TEXTS}");
    }
}

//! What a prompt is about and how hard it is, from what was learnt: see `docs/routing.md`.
//!
//! - Two heads name the intent, one over the embedding and the surface, one over hashed words and pairs; their
//!   log-probabilities are averaged. Each is a linear model; the second is what makes a command that is hidden in a document
//!   harmless, and worth more than any better embedding.
//! - The hardness says whether a cheap model's answer would do, which the intent alone does not: two linear models over
//!   the same features and small trees over the surface, trained on where real cheap models were wrong and strong ones right.
//! - What a request needs follows from both. Of a question with options the topic says nothing: a model that knows the subject
//!   is right whatever it is.
//! - A text in a language that the table does not know is read by what is free of language (code, figures, layout, length)
//!   and by its hashed words.

use crate::routing::text::hashed::Grams;
use crate::routing::text::language::known;
use crate::routing::text::surface::{CHOICES, SURFACE, surface};
use crate::routing::text::table::{DIMENSIONS, StaticTable};
use crate::routing::weights::{Float, HARDNESS, INTENTS, LANES, LEAVES, QUANTILES, Scalars, WEIGHTS};
use std::sync::LazyLock;

/// No head is surer than this that an intent is impossible: one of two alone never decides.
const LEAST_LOG_PROBABILITY: f32 = -12.0;

/// A language that is known as surely as this is taken for known.
const CERTAIN: f32 = 0.9;
/// One that is known less surely than this is not: what is read of the text is then little.
const READABLE: f32 = 0.3;

/// So many intents are work for a cheap model; the others' names follow theirs.
const CHEAP_INTENTS: usize = 9;

/// A text's features.
#[derive(Debug)]
pub struct Features {
    /// Of unit length, or zero.
    pub embedding: [f32; DIMENSIONS],
    /// See [`crate::routing::text::surface::NAMES`].
    pub surface: [f32; SURFACE],
    /// Words and pairs.
    pub grams: Grams,
    /// How surely the table of word pieces knows its language, 0 to 1.
    pub known: f32,
}

/// What is learnt from a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The probability of each intent, in the order of [`names`]; they sum to 1.
    pub intents: [f32; INTENTS],
    /// The logit of the probability that a cheap model's answer would not do, whatever the topic.
    pub hardness: f32,
    /// Whether it is a question with options to choose from.
    pub is_exam: bool,
    /// Whether its language is known.
    pub is_known: bool,
}

static SCALARS: LazyLock<Scalars> = LazyLock::new(|| WEIGHTS.scalars());

/// The names of the intents that the head knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    std::str::from_utf8(WEIGHTS.names).unwrap_or_default().lines().take(INTENTS)
}

/// Whether the intent at this place among [`names`] is work for a strong model.
#[must_use]
pub fn is_strong(place: usize) -> bool {
    place >= CHEAP_INTENTS
}

impl Features {
    /// Reads a text of any length and content.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let pooled = StaticTable.pool(text);
        Self {
            known: known(text, pooled.coverage),
            embedding: pooled.vector,
            surface: surface(text),
            grams: Grams::of(text),
        }
    }
}

/// Reads what features say.
#[must_use]
pub fn read(features: &Features) -> Reading {
    let (mut dense, mut hashed) = ([0.0; LANES], [0.0; LANES]);
    // The two readings are mixed as surely as the language is known; next to certain, one is enough.
    let known = if features.known >= CERTAIN { 1.0 } else { features.known };
    let of_known = features.embedding.iter().chain(&features.surface).map(|value| value * known);
    add_rows(&mut dense, WEIGHTS.known, of_known);
    add(&mut dense, &WEIGHTS.biases[0], known);
    if known < 1.0 {
        add_rows(&mut dense, WEIGHTS.unknown, features.surface.iter().map(|value| value * (1.0 - known)));
        add(&mut dense, &WEIGHTS.biases[1], 1.0 - known);
    }
    let mut steps = [0i32; LANES];
    for row in features.grams.rows() {
        for (sum, step) in steps.iter_mut().zip(&WEIGHTS.hashed[usize::from(*row)]) {
            *sum += i32::from(step.cast_signed());
        }
    }
    for (lane, sum) in hashed.iter_mut().enumerate() {
        let scale = f32::from_le_bytes(WEIGHTS.biases[3][lane]);
        *sum = steps[lane] as f32 * scale * features.grams.weight() + f32::from_le_bytes(WEIGHTS.biases[2][lane]);
    }
    let raw = dense[HARDNESS] + hashed[HARDNESS] + of_trees(&features.surface);
    let (slope, offset) = SCALARS.hardness;
    Reading {
        intents: averaged(&dense, &hashed),
        hardness: slope * raw + offset,
        is_exam: CHOICES.iter().any(|feature| features.surface[*feature] > 0.0),
        is_known: features.known >= READABLE,
    }
}

/// The probability that a stronger tier is needed, from that of the intents that it serves, 0 to 1, and the hardness.
///
/// The hardness orders what is about the same: where the intents of a stronger tier have it clearly, it alone says how hard.
#[must_use]
pub fn need(mass: f32, hardness: f32, is_exam: bool) -> f32 {
    let (most, clear, caution) = SCALARS.topic;
    let topic = if mass > 0.5 { most * ((mass - 0.5) / clear).min(1.0) } else { logit(mass) };
    sigmoid(hardness + if is_exam { 0.0 } else { topic + caution })
}

/// The probability of the weakest tier from which on a text in an unknown language is taken at its word.
#[must_use]
pub fn unknown_is_cheap_from() -> f32 {
    SCALARS.unknown_is_cheap_from
}

/// The certainty that this share of prompts, 0 to 1, falls short of.
#[must_use]
pub fn certainty_below_which(share: f64) -> f32 {
    let place = (share.clamp(0.0, 1.0) * (QUANTILES - 1) as f64).round() as usize;
    WEIGHTS.quantiles.get(place).copied().map_or(0.0, f32::from_le_bytes)
}

/// Adds rows, each as often as its value says.
fn add_rows(sum: &mut [f32; LANES], rows: &[[Float; LANES]], values: impl Iterator<Item = f32>) {
    for (row, value) in rows.iter().zip(values) {
        if value != 0.0 {
            add(sum, row, value);
        }
    }
}

fn add(sum: &mut [f32; LANES], row: &[Float; LANES], value: f32) {
    for (sum, weight) in sum.iter_mut().zip(row) {
        *sum += f32::from_le_bytes(*weight) * value;
    }
}

/// The sum of the leaves that a surface reaches.
fn of_trees(surface: &[f32; SURFACE]) -> f32 {
    let trees = WEIGHTS.forks.chunks_exact(LEAVES - 1).zip(WEIGHTS.leaves.chunks_exact(LEAVES));
    let leaf = |(forks, leaves): (&[[u8; 8]], &[Float])| {
        let mut place = 0;
        // A path meets each fork at most once.
        for _ in forks {
            let Some([feature, below, above, _, threshold @ ..]) = forks.get(place) else { break };
            let is_below = surface[usize::from(*feature) % SURFACE] <= f32::from_le_bytes(*threshold);
            place = usize::from(if is_below { *below } else { *above });
        }
        f32::from_le_bytes(leaves[place % LEAVES])
    };
    trees.map(leaf).sum()
}

/// The probabilities of the mean of two heads' log-probabilities, sharpened.
fn averaged(dense: &[f32; LANES], hashed: &[f32; LANES]) -> [f32; INTENTS] {
    let (of_dense, of_hashed) = (log_total(dense), log_total(hashed));
    let mut mean = [0.0; INTENTS];
    for (intent, mean) in mean.iter_mut().enumerate() {
        let pair = (dense[intent] - of_dense).max(LEAST_LOG_PROBABILITY)
            + (hashed[intent] - of_hashed).max(LEAST_LOG_PROBABILITY);
        *mean = SCALARS.sharpness * pair / 2.0;
    }
    let greatest = mean.iter().copied().fold(f32::MIN, f32::max);
    mean.iter_mut().for_each(|value| *value = (*value - greatest).exp());
    let total: f32 = mean.iter().sum();
    mean.map(|value| value / total)
}

/// The logarithm of the sum of the exponentials of the intents' lanes.
fn log_total(lanes: &[f32; LANES]) -> f32 {
    let greatest = lanes[..INTENTS].iter().copied().fold(f32::MIN, f32::max);
    greatest + lanes[..INTENTS].iter().map(|value| (value - greatest).exp()).sum::<f32>().ln()
}

/// The logarithm of the odds; of a certainty, of one in a thousand.
fn logit(probability: f32) -> f32 {
    let p = probability.clamp(0.001, 0.999);
    (p / (1.0 - p)).ln()
}

pub(super) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::routing::text::surface::NAMES;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Prompt {
        text: String,
        intent: String,
        hard: bool,
    }

    /// What a prompt reads as in `tools/routing/model.py`.
    #[derive(Deserialize)]
    struct Expected {
        text: String,
        intents: Vec<f32>,
        hardness: f32,
    }

    fn lines<'a, T: Deserialize<'a>>(file: &'a str) -> Vec<T> {
        file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The likeliest intent, and P(an intent of the strong tier).
    fn shown(text: &str) -> (&'static str, f32) {
        let reading = read(&Features::of(text));
        let best = (0..INTENTS).max_by(|a, b| reading.intents[*a].total_cmp(&reading.intents[*b])).unwrap();
        (names().nth(best).unwrap(), reading.intents[9..].iter().sum())
    }

    #[test]
    fn the_weights_are_of_these_features_and_intents() {
        let names: Vec<&str> = std::str::from_utf8(WEIGHTS.names).unwrap().lines().collect();
        let shipped: toml::Table = include_str!("../../../assets/intents.toml").parse().unwrap();
        let shipped = shipped["intents"].as_table().unwrap();
        assert_eq!(&names[INTENTS..], &NAMES);
        assert!(names[..INTENTS].iter().all(|name| shipped.contains_key(*name)) && shipped.len() == INTENTS);
        for (name, spec) in shipped {
            let place = names.iter().position(|known| known == name).unwrap();
            assert_eq!(is_strong(place), spec["tier"].as_str() == Some("reasoning"), "{name}");
        }
    }

    #[test]
    fn a_prompt_reads_as_it_does_where_the_weights_are_trained() {
        let expected: Vec<Expected> = lines(include_str!("readings.jsonl"));
        assert!(expected.len() >= 50);
        for Expected { text, intents, hardness } in expected {
            let reading = read(&Features::of(&text));
            // The hashed head is stored in steps.
            let farthest = reading.intents.iter().zip(&intents).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(farthest < 0.03, "{text:?}: {:?} instead of {intents:?}", reading.intents);
            let hardness_off = (reading.hardness - hardness).abs();
            assert!(hardness_off < 0.1, "{text:?}: {} instead of {hardness}", reading.hardness);
        }
    }

    /// Measured when this was written; the floors leave room for other weights' own errors, not for worse ones.
    #[test]
    fn prompts_that_were_never_seen_find_their_intent_and_their_tier() {
        for (file, intent_floor, tier_floor) in [
            (include_str!("../../../tools/routing/data/utterances_heldout.jsonl"), 80, 95),
            (include_str!("../../../tools/routing/data/prompts_heldout.jsonl"), 52, 83),
        ] {
            let prompts: Vec<Prompt> = lines(file);
            let (mut intents, mut tiers) = (0, 0);
            for prompt in &prompts {
                let (intent, hard) = shown(&prompt.text);
                intents += usize::from(intent == prompt.intent);
                tiers += usize::from((hard > 0.5) == prompt.hard);
            }
            let shares = (intents * 100 / prompts.len(), tiers * 100 / prompts.len());
            assert!(shares.0 >= intent_floor && shares.1 >= tier_floor, "{shares:?}");
        }
    }

    #[test]
    fn the_two_scenarios_land_where_they_should() {
        let (intent, hard) = shown("What is an API?");
        assert!(intent == "simple_question" && hard < 0.1, "{intent} {hard}");
        let (intent, hard) = shown("Design a scalable chat system");
        assert!(intent == "architecture_review" && hard > 0.9, "{intent} {hard}");
    }

    #[test]
    fn the_harder_of_what_is_about_the_same_needs_more() {
        assert!(need(0.5, 0.6, false) > need(0.5, 0.2, false) && need(0.6, 0.4, false) > need(0.4, 0.4, false));
        assert!((need(0.0, 0.4, true) - need(1.0, 0.4, true)).abs() < 1e-6, "of an exam the topic says nothing");
        let exam = "Which organelle makes ATP?\nA. nucleus\nB. mitochondrion\nC. ribosome\nD. vacuole\nAnswer:";
        assert!(read(&Features::of(exam)).is_exam && !read(&Features::of("Which organelle makes ATP?")).is_exam);
    }

    #[test]
    fn certainties_rise_with_the_share_that_falls_short() {
        let steps: Vec<f32> = (0..=10).map(|step| certainty_below_which(f64::from(step) / 10.0)).collect();
        assert!(steps.is_sorted() && steps[0] >= 0.5 && steps[10] <= 1.0, "{steps:?}");
    }

    proptest! {
        #[test]
        fn any_text_has_a_reading(text in any::<String>()) {
            let reading = read(&Features::of(&text));
            prop_assert!(reading.intents.iter().all(|p| (0.0..=1.0).contains(p)));
            prop_assert!((reading.intents.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            prop_assert!(reading.hardness.is_finite());
        }
    }
}

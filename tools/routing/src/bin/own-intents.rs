//! `own-intents UTTERANCES.jsonl PROMPTS.jsonl`: how a team's own intents do with few utterances each.
//!
//! Both files have a `text` and an `intent` on each line; a prompt without an intent is of none of them. Learnt and read by the
//! gateway's own code, as it does when it starts. Printed are how many prompts of an intent were named rightly, how well
//! belonging tells them from the others (AUROC), and how long learning took.

use anyhow::Context;
use gateway_core::config::shipped_utterances;
use gateway_core::routing::head::Features;
use gateway_core::routing::own::{OwnIntents, Seen};
use std::time::Instant;

#[derive(serde::Deserialize)]
struct Line {
    text: String,
    intent: Option<String>,
}

fn lines(file: &str) -> anyhow::Result<Vec<Line>> {
    let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    text.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<anyhow::Result<_>>()
        .with_context(|| file.to_owned())
}

fn seen(text: &str) -> Seen {
    let features = Features::of(text);
    Seen { vector: features.embedding.to_vec(), grams: features.grams }
}

/// The probability that one of `inside` is above one of `outside`.
fn auroc(inside: &[f32], outside: &[f32]) -> f64 {
    let above = |x: &f32| {
        outside
            .iter()
            .map(|y| {
                if x > y {
                    1.0
                } else if x < y {
                    0.0
                } else {
                    0.5
                }
            })
            .sum::<f64>()
    };
    inside.iter().map(above).sum::<f64>() / (inside.len() * outside.len()).max(1) as f64
}

// A span of a program that measures itself.
#[allow(clippy::disallowed_methods)]
fn main() -> anyhow::Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let [utterances, prompts] = &files[..] else { anyhow::bail!("usage: own-intents UTTERANCES.jsonl PROMPTS.jsonl") };
    let (utterances, prompts) = (lines(utterances)?, lines(prompts)?);
    let mut names: Vec<&String> = utterances.iter().filter_map(|line| line.intent.as_ref()).collect();
    names.sort();
    names.dedup();
    let place = |name: &String| names.binary_search(&name).ok();

    let started = Instant::now();
    let learnt = utterances.iter().filter_map(|line| Some((place(line.intent.as_ref()?)?, seen(&line.text))));
    let learnt: Vec<(usize, Seen)> = learnt.collect();
    let others: Vec<Seen> = shipped_utterances().iter().map(|(_, text)| seen(text)).collect();
    let own = OwnIntents::learn(names.len(), &learnt, &others);
    let learning = started.elapsed();

    let (mut inside, mut outside, mut right) = (Vec::new(), Vec::new(), 0);
    for line in &prompts {
        let reading = own.read(&seen(&line.text));
        let Some(name) = &line.intent else {
            outside.push(reading.belongs);
            continue;
        };
        let best = (0..names.len()).max_by(|a, b| reading.scores[*a].total_cmp(&reading.scores[*b]));
        right += usize::from(best == place(name));
        inside.push(reading.belongs);
    }
    println!(
        "{} intents, {} utterances: {:.1} % of {} prompts named rightly, AUROC against {} others {:.3}, learnt in {} ms",
        names.len(),
        learnt.len(),
        100.0 * f64::from(u32::try_from(right)?) / inside.len().max(1) as f64,
        inside.len(),
        outside.len(),
        auroc(&inside, &outside),
        learning.as_millis()
    );
    Ok(())
}
